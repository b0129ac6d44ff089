"""`hfgen explain`: seeing inside a model."""

from __future__ import annotations

from hfgen.cli.explaining.asking import attribute, heads, positions
from hfgen.cli.explaining.looking import attention, lens, tokens
from hfgen.cli.program.commands import command_group

app = command_group(
    "See inside a model.",
    {
        "tokens": tokens,
        "attention": attention,
        "lens": lens,
        "attribute": attribute,
        "positions": positions,
        "heads": heads,
    },
)
