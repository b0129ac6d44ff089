"""LoRA adapters: loaded onto their base by peft and merged into it.

What comes out is the base's own Transformers class with changed weights. Adapters are read by
`PeftModel.from_pretrained`, since the automatic class reads DoRA wrongly. Where merging would
change what the adapter computes, it is refused: an adapter on embeddings that the output layer
shares, and in general whenever the merged model's logits differ from the adapter's.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection
from typing import Any

from hfgen.errors import HfgenError, MissingExtra, ModelDamaged, ModelUnsupported
from hfgen.models.adapters.folder import check_adapter
from hfgen.models.adapters.library import import_peft
from hfgen.models.adapters.tables import belongs_to_table, resize, table_names
from hfgen.models.checkpoint.load_checks import brief
from hfgen.models.checkpoint.weights import FETCH_AGAIN
from hfgen.models.naming.resolve import ResolvedModel
from hfgen.models.silence import quiet

# Largest difference of logits that rounding explains, as a part of the largest logit, by the size
# of the dtype in bytes.
ROUNDING = {4: 1e-3, 2: 0.25}
_PROBE_TOKENS = 8
_MISMATCH = re.compile(r"size mismatch for (\S+): .*?\[([\d, ]*)\].*?\[([\d, ]*)\]")


def check_loadable(resolved: ResolvedModel) -> None:
    """Check the adapter's files and that peft is installed, before anything is imported."""
    check_adapter(resolved.path)
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra("loading an adapter", "train")


def merged(model: Any, resolved: ResolvedModel) -> Any:
    """Return the base `model` with the adapter merged into it; `model` is used up.

    Raises `ModelDamaged` when the adapter does not fit the base, `ModelUnsupported` when merging
    would not be exact.
    """
    adapted = attached(model, resolved)
    before = probe(adapted)
    result = folded(adapted)
    _check_exactness(before, probe(result), result.dtype.itemsize, resolved)
    return result


def attached(model: Any, resolved: ResolvedModel) -> Any:
    """Return the base `model` with the adapter on it, not merged: a `PeftModel`.

    Where the adapter brings larger embeddings, the base gets as many rows.

    Raises `ModelDamaged` when the adapter does not fit the base, `ModelUnsupported` when it could
    not be merged.
    """
    peft = import_peft()
    file = check_adapter(resolved.path)
    with quiet():
        try:
            weights = peft.utils.load_peft_weights(str(file.parent), device="cpu")
            tables = table_names(model)
            resize(model, weights, resolved)
            adapted = peft.PeftModel.from_pretrained(
                model, str(resolved.path), is_trainable=False, local_files_only=True
            ).eval()
        except HfgenError:
            raise
        except Exception as error:
            raise _translate(error, resolved) from error
        _check_names(peft, adapted, weights, tables, resolved)
        _check_ties(model, adapted, resolved)
    return adapted


def folded(adapted: Any) -> Any:
    """Return the model of a `PeftModel` with the adapter merged into its weights."""
    with quiet():
        result = adapted.merge_and_unload(safe_merge=False).eval().requires_grad_(False)
        _settle_ties(result)
    return result


def _check_names(
    peft: Any,
    adapted: Any,
    weights: Collection[str],
    tables: Collection[str],
    resolved: ResolvedModel,
) -> None:
    """Compare the names in the file with those that the adapter has on this base.

    Embeddings that were saved along, named in `tables`, are peft's business: it loads them.
    """
    expected = set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False))
    found = set(weights)
    if missing := expected - found:
        raise ModelDamaged(
            f"{resolved.name} lacks {len(missing)} weights of its adapter, as {min(missing)}",
            hint=FETCH_AGAIN,
        )
    strange = {name for name in found - expected if not belongs_to_table(name, tables)}
    if strange:
        raise ModelDamaged(
            f"{resolved.name} changes {len(strange)} weights that its base model does not have, "
            f"as {min(strange)}",
            hint=_other_base(resolved),
        )


def _check_ties(model: Any, adapted: Any, resolved: ResolvedModel) -> None:
    """Refuse low-rank changes of a weight that serves as input and output embedding at once."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings(), head]
    weights = [_plain(table).weight for table in tables if table is not None]
    if len(weights) < 2 or weights[0] is not weights[1]:
        return
    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer) and module.get_base_layer().weight is weights[0]:
            layer = name.removeprefix("base_model.model.")
            raise ModelUnsupported(
                f"{resolved.name} adapts {layer}, which the model also uses at its "
                "other end: it cannot be merged exactly",
                hint="train it without the embeddings among target_modules (or modules_to_save)",
            )


def _plain(table: Any) -> Any:
    """The layer that a tuner's layer wraps."""
    return table.get_base_layer() if hasattr(table, "get_base_layer") else table


def _settle_ties(model: Any) -> None:
    """Have the configuration tell whether input and output embeddings are still one."""
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        model.config.get_text_config(decoder=True).tie_word_embeddings = False
        model.config.tie_word_embeddings = False


def probe(model: Any, tokens: int = _PROBE_TOKENS) -> Any:
    """Logits of a few tokens spread over the vocabulary: (T, V), float32."""
    import torch

    table = _plain(model.get_input_embeddings()).weight
    ids = torch.linspace(0, table.shape[0] - 1, tokens, device=table.device).long()
    with torch.inference_mode(), quiet():
        return model(input_ids=ids[None]).logits[0].float()


def difference_of(before: Any, after: Any) -> float:
    """The largest difference of logits, as a part of the largest logit; NaN where there is one."""
    return float((before - after).abs().max() / before.abs().max().clamp(min=1e-6))


def _check_exactness(before: Any, after: Any, itemsize: int, resolved: ResolvedModel) -> None:
    difference = difference_of(before, after)
    if not difference <= ROUNDING[itemsize]:
        raise ModelUnsupported(
            f"merging {resolved.name} into its base model would change its output "
            f"(by {difference:.1e} of the largest logit)",
            hint="hfgen runs adapters merged; use peft for this one",
        )


def _translate(error: Exception, resolved: ResolvedModel) -> HfgenError:
    text = str(error)
    if found := _MISMATCH.search(text):
        name, *sizes = found.groups()
        return ModelDamaged(
            f"{resolved.name} does not fit its base model: {name} is [{sizes[0]}] in the adapter, "
            f"[{sizes[1]}] in the base",
            hint=_other_base(resolved),
        )
    if "not found in the base model" in text or "No modules were targeted" in text:
        return ModelDamaged(
            f"{resolved.name} changes layers that its base model does not have",
            hint=_other_base(resolved),
        )
    return ModelDamaged(f"cannot load the adapter {resolved.name}: {brief(error)}")


def _other_base(resolved: ResolvedModel) -> str:
    name = resolved.base.name if resolved.base is not None else ""
    return f"it was trained on another model than {name}"
