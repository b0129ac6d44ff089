"""Two results of a benchmark, an earlier one and a new one, measurement by measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hfgen.errors import DataError

_NAMES = ("prefill_tokens_per_s", "decode_tokens_per_s", "first_token_s")
_HINT = "make one with: hfgen bench --json > FILE"
_SETTINGS = ("model", "dtype", "prompt_tokens", "new_tokens")
_MACHINE = ("cpu", "gpu", "threads", "torch", "transformers")


def read_result(file: str) -> dict[str, Any]:
    """Read what `hfgen bench --json` wrote. Raises `DataError`."""
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        is_result = isinstance(found, dict) and all(map(_is_complete, found["results"]))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: no result of hfgen bench", hint=_HINT) from error
    if not is_result:
        raise DataError(f"{file}: no result of hfgen bench", hint=_HINT)
    whole: dict[str, Any] = found
    return whole


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Each measurement that both have; `is_beyond_spread` where their ranges do not overlap."""
    earlier = {_key(result): result for result in old["results"]}
    rows = []
    for result in new["results"]:
        before = earlier.get(_key(result))
        if before is None:
            continue
        for name in _NAMES:
            a, b = before[name], result[name]
            rows.append({
                "batch_size": result["batch_size"],
                "quantize": result["quantize"],
                "measurement": name,
                "old": a["median"],
                "new": b["median"],
                "ratio": b["median"] / a["median"],
                "is_beyond_spread": b["min"] > a["max"] or b["max"] < a["min"],
            })  # fmt: skip
    return rows


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What else than speed differs, in words: `new_tokens 64, now 16`."""
    machines = [value if isinstance(value, dict) else {} for value in
                (old.get("machine"), new.get("machine"))]  # fmt: skip
    pairs = [(name, old.get(name), new.get(name)) for name in _SETTINGS]
    pairs += [(name, machines[0].get(name), machines[1].get(name)) for name in _MACHINE]
    return [f"{name} {before}, now {now}" for name, before, now in pairs if before != now]


def _key(result: dict[str, Any]) -> tuple[int, str | None]:
    return result["batch_size"], result["quantize"]


def _is_complete(result: dict[str, Any]) -> bool:
    size, quantize = result["batch_size"], result["quantize"]
    return (
        type(size) is int
        and (quantize is None or isinstance(quantize, str))
        and all(_is_rate(result[name][key]) for name in _NAMES for key in ("median", "min", "max"))
    )


def _is_rate(value: object) -> bool:
    """Whether it is a number that can be divided by."""
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]
