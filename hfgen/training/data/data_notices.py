"""What the user is told about the data of a run: how it was read, and what is left out of it."""

from __future__ import annotations

import shlex

from hfgen.training.data.dataset import Prepared
from hfgen.training.data.long_rows import LongRows
from hfgen.training.data.prompt_template import template_of

WARNING = "warning: "
_MANY = 0.05
"""So much of the rows left out is a warning."""


def data_notices(
    data: Prepared, *, length: int, window: int | None, long_rows: LongRows
) -> list[str]:
    """A line each: first how the rows are read.

    `length` is what rows may have, `window` what the model would take, `long_rows` the policy.
    """
    counts = data.long_rows
    found = [data.description]
    if data.survey.glued:
        found.append(_glued(data))
    if data.skipped:
        begun, share = _share(data.skipped, data.skipped + len(data.rows) + counts.dropped)
        found.append(f"{begun}bad rows skipped: {share}, the first: {data.reasons[0]}")
    if counts.split:
        found.append(f"long texts: {counts.split:,}, split into {counts.windows:,} windows")
    if counts.truncated:
        _, share = _share(counts.truncated, len(data.lengths))
        found.append(f"long rows truncated: {share}")
    if counts.dropped:
        found.append(_left_out(data, length, window, long_rows))
    return found


def _glued(data: Prepared) -> str:
    prompt, completion = data.shape.columns[0], data.shape.columns[-1]
    text = (
        f"{WARNING}{data.survey.glued:,} of {len(data.rows):,} completions run into their prompts, "
        f"as in {data.survey.glued_example}"
    )
    template = template_of([prompt], completion)
    if template is None or data.shape.template is not None:
        return f"{text}; put a space or a line end between the two"
    return f"{text}; to keep them apart: --template {shlex.quote(template)}"


def _left_out(data: Prepared, length: int, window: int | None, long_rows: LongRows) -> str:
    counts = data.long_rows
    begun, share = _share(counts.dropped, len(data.lengths))
    places = ", ".join(counts.places) + ", …" * (counts.dropped > len(counts.places))
    text = f"long rows left out: {share} with more than {length:,} tokens ({places})"
    if long_rows == "drop":
        return text
    longest = max(data.lengths)
    helps = [f"--max-length {longest}"] * (window is not None and length < longest <= window)
    helps.append("--long-rows truncate (which drops the beginning of their prompts)")
    return f"{begun}{text}; to keep them: {' or '.join(helps)}"


def _share(count: int, total: int) -> tuple[str, str]:
    """How a line about so many of all rows begins, and the figures of it: `27 of 120 (23%)`."""
    share = count / max(1, total)
    percent = "under 1%" if share < 0.01 else f"{share:.0%}"
    return WARNING * (share >= _MANY), f"{count:,} of {total:,} rows ({percent})"
