"""Names of optimizers: Transformers' own, and those that hfgen adds to them."""

from __future__ import annotations

MUON = "muon"
"""Muon for matrices, AdamW for the rest (`hfgen.training.loop.optimizers`)."""


def stock_name(name: str) -> str:
    """The name that Transformers may be told."""
    return "adamw_torch" if name == MUON else name
