"""Embedding tables in an adapter's file: which they are, and a base with as many rows.

peft saves input and output embeddings along where an adapter trains them (`modules_to_save`),
changes them (LoRA on `lm_head`), or where the vocabulary was enlarged before. Beside its own
weights a wrapped layer then has the base's, as `base_layer.weight` or `original_module.weight`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hfgen.errors import ModelDamaged
from hfgen.models.adapters.folder import read_adapter_config
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.silence import quiet

_PREFIX = "base_model.model."
_OF_BASE = ("base_layer.weight", "original_module.weight")
_ENDS = ("weight", "modules_to_save.weight", *_OF_BASE)


def table_names(model: Any) -> dict[str, Any]:
    """The names of a model's input and output embeddings, and the layers."""
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(table) for table in tables if table is not None}
    return {name: layer for name, layer in model.named_modules() if id(layer) in found}


def belongs_to_table(name: str, tables: Iterable[str]) -> bool:
    """Whether a weight of an adapter's file is an embedding table of the base."""
    known = {f"{_PREFIX}{table}.{end}" for table in tables for end in _ENDS}
    module, _, kind = name.rpartition(".")
    return kind in ("weight", "bias") and f"{module}.weight" in known


def resize(model: Any, weights: Mapping[str, Any], resolved: ResolvedModel) -> None:
    """Give the base as many rows as the tables in the adapter's file have.

    Raises `ModelDamaged` where rows would be left that neither the base nor the adapter has.
    """
    tables = table_names(model)
    sizes = {name: _rows_by_end(name, weights) for name in tables}
    found = {size for ends in sizes.values() for size in ends.values()}
    rows = model.get_input_embeddings().weight.shape[0]
    if not found or found == {rows}:
        return
    if len(found) > 1 or (max(found) > rows and not _covers_all(model, sizes, resolved)):
        raise ModelDamaged(
            f"{resolved.name} has embeddings of {' and '.join(f'{n:,}' for n in sorted(found))} "
            f"rows, its base model of {rows:,}, and not every table that would have to grow",
            hint="enlarge the base model first: resize_token_embeddings, save_pretrained",
        )
    with quiet():
        model.resize_token_embeddings(found.pop(), mean_resizing=False)


def _rows_by_end(table: str, weights: Mapping[str, Any]) -> dict[str, int]:
    """The rows that a table has in the file, under each of its names there."""
    keys = {end: f"{_PREFIX}{table}.{end}" for end in _ENDS}
    return {end: len(weights[key]) for end, key in keys.items() if key in weights}


def _covers_all(
    model: Any, sizes: Mapping[str, Mapping[str, int]], resolved: ResolvedModel
) -> bool:
    """Whether new rows of every table are in the file; a tied one may be there once."""
    if all(sizes.values()):
        return True
    names = list(sizes)
    tables = [model.get_submodule(name).weight for name in names]
    if len(tables) != 2 or tables[0] is not tables[1]:
        return False
    saved = read_adapter_config(resolved.path).get("modules_to_save") or ()
    (name,) = (name for name in names if sizes[name])
    is_own_copy = name.rpartition(".")[2] in saved
    return not is_own_copy or any(end in sizes[name] for end in _OF_BASE)
