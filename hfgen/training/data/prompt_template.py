"""Templates that `hfgen finetune` writes itself, from the names of columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hfgen.generation.prompts.row_template import spelled

_PLAIN_NAMES = ("completion", "response", "output", "text")
_NAME = re.compile(r"[^{}!:]*[^{}!:\s][^{}!:]*")


def template_of(columns: Sequence[str], completion: str) -> str | None:
    """A template that keeps columns apart, `completion` last; None for names it cannot hold.

    The name of the completion stands before it, so that a model is told what is asked for, but
    where it says no more than that it is the completion.
    """
    if not all(map(_NAME.fullmatch, (*columns, completion))):
        return None
    name = completion.casefold()
    heading = "Label" if name.startswith("label") else re.sub(r"[\s_]+", " ", completion).strip()
    heading = "" if name in _PLAIN_NAMES else f"{heading[:1].upper()}{spelled(heading[1:])}: "
    return "".join(f"{{{column}}}\\n" for column in columns) + f"{heading}{{{completion}}}"
