from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfgen.errors import ModelUnsupported
from hfgen.models.sizing import shape
from hfgen.models.sizing.shape import shape_of

FORMULAS = (
    "gpt2", "gpt_neo", "gptj", "gpt_neox", "opt", "gpt_bigcode", "llama", "qwen2", "mistral",
    "gemma3", "bloom",
)  # fmt: skip
# Architecture -> fields that change what is counted.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("GPT2Config", {"n_inner": 40, "tie_word_embeddings": False}),
    ("GPTBigCodeConfig", {"multi_query": False, "n_embd": 32, "n_head": 4, "n_layer": 2}),
    ("GPTNeoXConfig", {"attention_bias": False, "tie_word_embeddings": True}),
    ("OPTConfig", {"word_embed_proj_dim": 16, "hidden_size": 32, "num_attention_heads": 4}),
    ("OPTConfig", {"do_layer_norm_before": False}),
    ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    ("LlamaConfig", {"head_dim": 16, "tie_word_embeddings": True}),
    ("Qwen3Config", {"head_dim": 16, "num_key_value_heads": 2}),
    ("GemmaConfig", {"head_dim": 16}),
    ("Gemma2Config", {"head_dim": 16, "num_key_value_heads": 2}),
    ("Phi3Config", {}),
    ("SmolLM3Config", {}),
]


def raw(config: Any) -> dict[str, Any]:
    """The configuration as `config.json` holds it."""
    return json.loads(config.to_json_string(use_diff=False))


def expect_shape(found: shape.Shape, model: Any) -> None:
    assert found.weights == sum(p.numel() for p in model.parameters())
    key = model.config.get_text_config()
    assert (found.layers, found.width) == (key.num_hidden_layers, key.hidden_size)


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_count_as_transformers(
    model_of: Callable[[str], Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = model_of(name)
    monkeypatch.setattr(shape, "_on_meta_device", None)
    found = shape_of(raw(model.config))
    expect_shape(found, model)
    # Keys and values as they come out of a forward pass.
    cache = model(torch.tensor([[5, 6, 7]]), use_cache=True).past_key_values
    values = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert found.cached_values * 3 == values


@pytest.mark.parametrize(("name", "fields"), VARIANTS, ids=lambda value: str(value)[:40])
def test_variants(name: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    small = {
        "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100,
        "intermediate_size": 48, "pad_token_id": 0,
    }  # fmt: skip
    if name == "OPTConfig":
        small["ffn_dim"] = small.pop("intermediate_size")
        fields = {"word_embed_proj_dim": 32} | fields
    if name.startswith(("GPT2", "GPTBig")):
        del small["intermediate_size"]
    config = getattr(transformers, name)(**(small | fields))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    monkeypatch.setattr(shape, "_on_meta_device", None)
    expect_shape(shape_of(raw(config)), model)


def test_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations as they are on the Hub, without the fields that have defaults."""
    monkeypatch.setattr(shape, "_on_meta_device", None)
    gpt2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
            "vocab_size": 50257, "n_ctx": 1024}  # fmt: skip
    assert shape_of(gpt2).weights == 124_439_808
    smollm2 = {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "vocab_size": 49152,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True, "max_position_embeddings": 8192,
    }  # fmt: skip
    found = shape_of(smollm2)
    assert (found.weights, found.head_size, found.window) == (134_515_008, 64, 8192)


def test_other_architectures_are_built_without_numbers() -> None:
    import torch
    import transformers

    config = transformers.MixtralConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=100, num_local_experts=4,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    found = shape_of(raw(config))
    expect_shape(found, model)
    assert found.embedding_weights == 2 * 100 * 32


def test_unknown_architecture() -> None:
    with pytest.raises(ModelUnsupported, match="a frob model cannot be estimated"):
        shape_of({"model_type": "frob"})


def test_formulas_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from hfgen.models.sizing.shape import shape_of; "
        "shape_of({'model_type': 'gpt2', "
        "'n_embd': 768, 'n_layer': 12, 'n_head': 12, 'n_positions': 1024, 'vocab_size': 50257}); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
