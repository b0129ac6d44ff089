"""Loading a model in view of the user: what is going on, and what should be known of the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfgen.cli.program.console import Console
from hfgen.models.checkpoint.load_options import LoadOptions

if TYPE_CHECKING:
    from hfgen.language_model import LanguageModel


def loaded(console: Console, which: LoadOptions) -> LanguageModel:
    """Load the model, with its notices; imports torch. Raises what `load_model` does."""
    from hfgen.loading import load_model

    console.status(f"loading {which.name or 'the model'} …")
    lm = load_model(which)
    for notice in lm.notices:
        console.notice(notice)
    return lm
