"""From the name of a model to its weights; the name is resolved before torch is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import resolve

if TYPE_CHECKING:
    from hfgen.models.checkpoint.load import LoadedModel


def load_named(options: LoadOptions) -> LoadedModel:
    """Resolve `options.name` and load what it means; raises what `resolve` and `load` do."""
    resolved = resolve(options.name, offline=options.offline, progress=options.progress)
    from hfgen.models.checkpoint.load import load

    return load(resolved, options)
