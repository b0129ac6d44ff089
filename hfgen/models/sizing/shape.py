"""The shape of a model, from its configuration alone: sizes, and the number of its weights.

Formulas cover the common families, so that an estimate needs no torch; each is compared with
Transformers' own models by a test. Other architectures are built on torch's meta device, which
holds no numbers. Tied embeddings count once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hfgen.errors import ModelUnsupported
from hfgen.models.gguf.header import GgufHeader

_GGUF_TABLES = ("token_embd.weight", "position_embd.weight", "output.weight")


@dataclass(frozen=True)
class Shape:
    """Sizes that decide what a model needs."""

    weights: int
    """Number of weights."""
    embedding_weights: int
    """Those of them in the tables of tokens and positions, which are not quantized."""
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """Width of the feed-forward layers."""
    is_gated: bool
    """Whether the feed-forward layers have a gate (SwiGLU), instead of one activation (GELU)."""
    vocabulary: int
    window: int | None

    @property
    def cached_values(self) -> int:
        """Numbers that one token leaves in the cache."""
        return 2 * self.layers * self.kv_heads * self.head_size


class _Fields:
    """A configuration as it is in the file: a field may have one of several names, or none."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def number(self, *names: str, default: int | None = None) -> int:
        for name in names:
            value = self.config.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        if default is None:
            raise KeyError(names[0])
        return default

    def flag(self, name: str, default: bool) -> bool:
        value = self.config.get(name)
        return default if value is None else bool(value)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a `config.json` describes.

    Raises `ModelUnsupported` when it describes no model that Transformers knows.
    """
    kind = str(config.get("model_type"))
    count = _COUNTS.get(kind)
    try:
        if count is not None:
            sizes = _sizes(_Fields(config), kind)
            return _counted(sizes, *count(sizes, _Fields(config), kind))
    except KeyError:
        pass  # a size that Transformers has a default for
    return _on_meta_device(config)


def shape_of_gguf(header: GgufHeader) -> Shape:
    """Return the shape that a GGUF file's header describes."""
    width = header.number("embedding_length") or 1
    heads = header.number("attention.head_count") or 1
    tables = {t.name: t for t in header.tensors if t.name in _GGUF_TABLES}
    tokens = tables.get("token_embd.weight")
    return Shape(
        weights=header.count,
        embedding_weights=sum(table.count for table in tables.values()),
        layers=header.number("block_count") or 0,
        width=width,
        heads=heads,
        kv_heads=header.number("attention.head_count_kv") or heads,
        head_size=header.number("attention.key_length") or width // heads,
        inner=header.number("feed_forward_length") or 4 * width,
        is_gated=any(".ffn_gate" in tensor.name for tensor in header.tensors),
        vocabulary=tokens.shape[-1] if tokens is not None else 0,
        window=header.number("context_length"),
    )


def _sizes(fields: _Fields, kind: str) -> Shape:
    """Everything but the number of weights."""
    width = fields.number("hidden_size", "n_embd", "d_model")
    heads = fields.number(
        "num_attention_heads", "n_head", "num_heads", "attention_heads", "n_heads"
    )
    kv_heads = fields.number("num_key_value_heads", default=heads)
    if kind == "gpt_bigcode":
        kv_heads = 1 if fields.flag("multi_query", True) else heads
    window = fields.number(
        "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", default=0
    )
    return Shape(
        weights=0,
        embedding_weights=0,
        layers=fields.number("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=fields.number("head_dim", default=width // heads),
        inner=fields.number("intermediate_size", "n_inner", "ffn_dim", default=4 * width),
        is_gated=_COUNTS.get(kind, _llama) is _llama,
        vocabulary=fields.number("vocab_size"),
        window=window or None,
    )


def _counted(sizes: Shape, tables: int, rest: int) -> Shape:
    values = dict(vars(sizes)) | {"weights": tables + rest, "embedding_weights": tables}
    return Shape(**values)


# Each returns the weights in tables of tokens and positions, and all others.


def _gpt2(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    tables = (s.vocabulary + (s.window or 0)) * s.width
    if not fields.flag("tie_word_embeddings", True):
        tables += s.vocabulary * s.width
    keys = 2 * s.kv_heads * s.head_size
    attention = s.width * (s.width + keys) + s.width * s.width
    biases = s.width + keys + s.width
    if kind == "gpt_neo":
        biases = s.width  # of the output projection alone
    feed_forward = 2 * s.width * s.inner + s.inner + s.width
    return tables, s.layers * (attention + biases + feed_forward + 4 * s.width) + 2 * s.width


def _gptj(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    is_tied = fields.flag("tie_word_embeddings", False)
    tables = s.vocabulary * s.width * (1 if is_tied else 2) + s.vocabulary
    layer = 4 * s.width**2 + 2 * s.width * s.inner + s.inner + s.width + 2 * s.width
    return tables, s.layers * layer + 2 * s.width


def _gpt_neox(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    is_tied = fields.flag("tie_word_embeddings", False)
    tables = s.vocabulary * s.width * (1 if is_tied else 2)
    attention = 4 * s.width**2 + (4 * s.width if fields.flag("attention_bias", True) else 0)
    feed_forward = 2 * s.width * s.inner + s.inner + s.width
    return tables, s.layers * (attention + feed_forward + 4 * s.width) + 2 * s.width


def _opt(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    projected = fields.number("word_embed_proj_dim", default=s.width)
    is_tied = fields.flag("tie_word_embeddings", True)
    tables = s.vocabulary * projected * (1 if is_tied else 2) + ((s.window or 0) + 2) * s.width
    layer = 4 * (s.width**2 + s.width) + 2 * s.width * s.inner + s.inner + s.width + 4 * s.width
    has_last_norm = fields.flag("do_layer_norm_before", True) and not fields.flag(
        "_remove_final_layer_norm", False
    )
    around = 2 * s.width if has_last_norm else 0
    if projected != s.width:
        around += 2 * projected * s.width
    return tables, s.layers * layer + around


def _bloom(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    is_tied = fields.flag("tie_word_embeddings", True)
    tables = s.vocabulary * s.width * (1 if is_tied else 2)
    layer = 4 * s.width**2 + 4 * s.width + 8 * s.width**2 + 5 * s.width + 4 * s.width
    return tables, s.layers * layer + 4 * s.width


def _llama(s: Shape, fields: _Fields, kind: str) -> tuple[int, int]:
    is_tied = fields.flag("tie_word_embeddings", kind.startswith("gemma") or kind == "smollm3")
    tables = s.vocabulary * s.width * (1 if is_tied else 2)
    query, key = s.heads * s.head_size, s.kv_heads * s.head_size
    layer = 2 * s.width * query + 2 * s.width * key + 3 * s.width * s.inner + 2 * s.width
    if kind == "qwen2":
        layer += query + 2 * key
    elif fields.flag("attention_bias", False):
        layer += query + 2 * key + s.width
    if kind == "llama" and fields.flag("mlp_bias", False):
        layer += 2 * s.inner + s.width
    if kind in ("qwen3", "gemma3_text"):
        layer += 2 * s.head_size
    if kind in ("gemma2", "gemma3_text"):
        layer += 2 * s.width
    return tables, s.layers * layer + s.width


_COUNTS: dict[str, Callable[[Shape, _Fields, str], tuple[int, int]]] = {
    "gpt2": _gpt2, "gpt_neo": _gpt2, "gpt_bigcode": _gpt2, "gptj": _gptj, "gpt_neox": _gpt_neox,
    "opt": _opt, "bloom": _bloom, "llama": _llama, "mistral": _llama, "qwen2": _llama,
    "qwen3": _llama, "smollm3": _llama, "gemma": _llama, "gemma2": _llama, "gemma3_text": _llama,
    "phi3": _llama,
}  # fmt: skip


def _on_meta_device(config: Mapping[str, Any]) -> Shape:
    """Have Transformers build the model without numbers, and count."""
    from hfgen.models.silence import quick_imports, quiet

    kind = config.get("model_type")
    with quick_imports():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    try:
        with quiet(), torch.device("meta"):
            full = AutoConfig.for_model(**config)
            model = AutoModelForCausalLM.from_config(full)
            text = full.get_text_config(decoder=True)
    except Exception as error:
        raise ModelUnsupported(
            f"the memory of a {kind} model cannot be estimated: Transformers does not know it",
            hint="hfgen estimates decoder models: GPT-2, GPT-Neo, GPT-NeoX, OPT, Llama, Qwen, …",
        ) from error
    try:
        sizes = _sizes(_Fields(text.to_dict()), str(kind))
    except KeyError as error:
        raise ModelUnsupported(
            f"the memory of a {kind} model cannot be estimated: it tells no {error.args[0]}",
            hint="hfgen estimates models with attention",
        ) from error
    tables = {
        id(table.weight): table.weight.numel()
        for table in (model.get_input_embeddings(), model.get_output_embeddings())
        if table is not None
    }
    total = sum(parameter.numel() for parameter in model.parameters())
    return _counted(sizes, sum(tables.values()), total - sum(tables.values()))
