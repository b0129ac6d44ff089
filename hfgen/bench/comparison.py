"""Two results of a benchmark, an earlier one and a new one, measurement by measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfgen.errors import DataError

_NAMES = ("prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s")


def read_result(file: str) -> dict[str, Any]:
    """Read what `hfgen bench --json` wrote. Raises `DataError`."""
    hint = "make one with: hfgen bench --json > FILE"
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        for result in found["results"]:
            int(result["batch_size"])
            for name in _NAMES:
                _ = [float(result[name][key]) for key in ("median", "min", "max")]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", hint=hint) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: no result of hfgen bench", hint=hint) from error
    assert isinstance(found, dict)
    return found


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Each measurement that both have; `is_beyond_spread` where their ranges do not overlap."""
    earlier = {result["batch_size"]: result for result in old["results"]}
    rows = []
    for result in new["results"]:
        before = earlier.get(result["batch_size"])
        for name in _NAMES if before else ():
            a, b = before[name], result[name]
            rows.append({
                "batch_size": result["batch_size"],
                "measurement": name,
                "old": a["median"],
                "new": b["median"],
                "ratio": b["median"] / a["median"] if a["median"] else None,
                "is_beyond_spread": b["min"] > a["max"] or b["max"] < a["min"],
            })  # fmt: skip
    return rows
