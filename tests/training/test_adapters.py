"""Adapters: which layers they change, what their folders say, and that they load as trained."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hfgen
from hfgen.errors import HfgenError, InvalidOption, MissingExtra, ModelUnsupported, UsageError
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import ResolvedModel, resolve
from hfgen.training.model.lora import (
    attach,
    base_reference,
    check_installed,
    count_parameters,
    target_layers,
)
from hfgen.training.options.finetune import TrainingOptions
from tests.conftest import ARCHITECTURES, BUNDLED, build_model

peft = pytest.importorskip("peft")
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)

LORA = TrainingOptions(lora=True)
KINDS = {
    "lora": {"lora": True},
    "alpha": {"lora": True, "lora_r": 3, "lora_alpha": 7.5},
    "dora": {"dora": True, "lora_r": 4},
}
# What the matrices in attention are called, by hand from Transformers' sources.
ATTENTION = {
    "gpt2": {"c_attn", "c_proj"}, "gpt_neo": {"q_proj", "k_proj", "v_proj", "out_proj"},
    "gptj": {"q_proj", "k_proj", "v_proj", "out_proj"}, "gpt_neox": {"query_key_value", "dense"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj"}, "gpt_bigcode": {"c_attn", "c_proj"},
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "qwen2": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mistral": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "gemma3": {"q_proj", "k_proj", "v_proj", "o_proj"}, "bloom": {"query_key_value", "dense"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HFGEN_CACHE_DIR", str(tmp_path / "hfgen-cache"))


@pytest.fixture
def saved(tmp_path: Path, tokenizer: Any) -> Callable[..., Path]:
    """Write a random model to a folder: `saved("gpt2", n_embd=128)`."""

    def save(architecture: str, **changes: Any) -> Path:
        folder = tmp_path / "base"
        build_model(architecture, **changes).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


def ids(seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 4000, (2, 24), generator=torch.Generator().manual_seed(seed))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model.eval()(input_ids=ids()).logits)


def train(adapted: Any, steps: int = 4) -> None:
    """A few real optimizer steps."""
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.02)
    adapted.train()
    for step in range(steps):
        adapted(input_ids=ids(step), labels=ids(step)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval()


def gradients(adapted: Any) -> dict[str, torch.Tensor]:
    adapted.train()
    adapted.zero_grad()
    adapted(input_ids=ids(), labels=ids()).loss.backward()
    return {n: p.grad.clone() for n, p in adapted.named_parameters() if p.grad is not None}


def loaded_folder(folder: Path) -> Any:
    return load(resolve(str(folder)), LoadOptions(device="cpu"))


def bundled() -> ResolvedModel:
    return resolve("storyteller")


def assert_same(found: torch.Tensor, expected: torch.Tensor, part: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= part * expected.abs().max()


# Which layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("word", ["linear", "attention"])
def test_the_words(model_of: Callable[[str], Any], architecture: str, word: str) -> None:
    from transformers.pytorch_utils import Conv1D

    model = copy.deepcopy(model_of(architecture))
    head = model.get_output_embeddings()
    expected = {
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not head
        and (word == "linear" or name.split(".")[-1] in ATTENTION[architecture])
        and (word == "linear" or ".mlp." not in name)
    }
    options = TrainingOptions(lora=True, lora_r=2, lora_target=(word,))
    assert set(target_layers(model, options)) == expected
    total = count_parameters(model).total
    adapted = attach(model, options, bundled())
    # peft found the same layers by the names it was given.
    adapters = {
        name.removeprefix("base_model.model.")
        for name, module in adapted.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert adapters == expected
    counted = count_parameters(adapted)
    assert counted.total == total + counted.trainable > total


@pytest.mark.parametrize(
    ("word", "names"),
    [("linear", {"c_attn", "c_proj", "c_fc"}), ("attention", {"c_attn", "attn.c_proj"})],
)
def test_the_names_of_many_layers_are_shortened(word: str, names: set[str]) -> None:
    options = TrainingOptions(lora=True, lora_target=(word,))
    config = attach(build_model("gpt2", n_layer=12), options, bundled()).active_peft_config
    assert config.target_modules == names


@pytest.mark.parametrize("model_type", ["gemma3", "opt", "mamba"])
def test_layers_of_other_models(model_type: str) -> None:
    """Of a model that sees, only the decoder's; no weight that a kernel reads by itself."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type)
    config.get_text_config().num_hidden_layers = 1
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = target_layers(model, LORA)
    assert {name.rpartition(".")[2] for name in found} == {
        "gemma3": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        "opt": {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
        "mamba": {"in_proj", "x_proj", "dt_proj"},
    }[model_type]
    assert all("vision" not in name for name in found)


def test_names_of_layers(model_of: Callable[[str], Any]) -> None:
    def found(*names: str) -> list[str]:
        return target_layers(model_of("gpt2"), TrainingOptions(lora=True, lora_target=names))

    blocks = [f"transformer.h.{i}" for i in range(3)]
    assert found("c_fc") == [f"{block}.mlp.c_fc" for block in blocks]
    assert found("attn.c_proj") == [f"{block}.attn.c_proj" for block in blocks]
    assert found("transformer.h.1.mlp.c_proj") == ["transformer.h.1.mlp.c_proj"]
    assert found("attention", "c_fc") == [
        f"{block}.{name}" for block in blocks for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc")
    ]
    assert len(found("linear", "c_fc")) == 12


def test_one_layer_of_many_is_adapted_alone(model_of: Callable[[str], Any]) -> None:
    options = TrainingOptions(lora=True, lora_target=("transformer.h.1.mlp.c_proj",))
    adapted = attach(copy.deepcopy(model_of("gpt2")), options, bundled())
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == {
        f"base_model.model.transformer.h.1.mlp.c_proj.lora_{x}.default.weight" for x in "AB"
    }


@pytest.mark.parametrize(
    ("architecture", "target", "kind", "message"),
    [
        ("gpt2", "q_proj", InvalidOption, "attention, linear, c_attn, c_fc, c_proj"),
        ("gpt2", "mlp", InvalidOption, "attention, linear, c_attn"),
        ("llama", "c_attn", InvalidOption, "down_proj, gate_proj, k_proj"),
        ("gpt2", "wte", UsageError, "transformer.wte is an embedding"),
        ("gpt2", "wpe", UsageError, "transformer.wpe is an embedding"),
        ("gptj", "wte", UsageError, "transformer.wte is an embedding"),
        ("gpt2", "lm_head", UsageError, "shares its weight with the embeddings"),
    ],
)
def test_layers_that_cannot_be_had(
    model_of: Callable[[str], Any],
    architecture: str,
    target: str,
    kind: type[HfgenError],
    message: str,
) -> None:
    options = TrainingOptions(lora=True, lora_target=("c_fc", target)[-1:])
    with pytest.raises(kind, match=message) as caught:
        target_layers(model_of(architecture), options)
    assert "\n" not in caught.value.message and target in caught.value.message


def test_an_output_layer_of_its_own(saved: Callable[..., Path], tmp_path: Path) -> None:
    base = resolve(str(saved("gptj")))
    options = TrainingOptions(lora=True, lora_target=("lm_head", "q_proj"))
    adapted = attach(load(base, LoadOptions(device="cpu")).model, options, base)
    train(adapted)
    adapted.save_pretrained(tmp_path / "out")
    assert_same(logits(loaded_folder(tmp_path / "out").model), logits(adapted))


# Attaching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_is_neutral_and_drawn_with_the_seed(
    model_of: Callable[[str], Any], kind: str
) -> None:
    model = model_of("gpt2")
    before = logits(model)

    def drawn(seed: int) -> dict[str, torch.Tensor]:
        options = TrainingOptions(**KINDS[kind], seed=seed)  # type: ignore[arg-type]
        adapted = attach(copy.deepcopy(model), options, bundled())
        assert_same(logits(adapted), before, 1e-6)
        return {n: p for n, p in adapted.named_parameters() if p.requires_grad}

    torch.manual_seed(5)
    first = drawn(1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # the program's random numbers are as they were
    again, other = drawn(1), drawn(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert all("lora_" in name for name in first)


def test_the_settings_reach_peft(model_of: Callable[[str], Any]) -> None:
    options = TrainingOptions(lora=True, lora_r=3, lora_alpha=4.5, lora_dropout=0.25)
    config = attach(copy.deepcopy(model_of("llama")), options, bundled()).active_peft_config
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 4.5, 0.25)
    assert (config.fan_in_fan_out, config.use_dora, config.bias) == (False, False, "none")
    config = attach(copy.deepcopy(model_of("gpt2")), LORA, bundled()).active_peft_config
    assert (config.r, config.lora_alpha, config.lora_dropout) == (16, 32, 0.0)
    assert (config.fan_in_fan_out, config.task_type) == (True, "CAUSAL_LM")
    options = TrainingOptions(dora=True)
    assert attach(copy.deepcopy(model_of("gpt2")), options, bundled()).active_peft_config.use_dora


def test_recomputed_activations_give_the_same_gradients(model_of: Callable[[str], Any]) -> None:
    adapted = attach(build_model("llama"), LORA, bundled())
    train(adapted, 1)
    expected = gradients(adapted)
    adapted.activation_checkpointing_enable()
    found = gradients(adapted)
    assert expected and found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert_same(found[name], gradient)


# Trained, written, loaded ---------------------------------------------------------------------


PAIRS = [
    # Each kind on both layouts of weights, and each architecture; the other pairs are slow tests.
    pytest.param(
        kind, name, marks=() if kind == "alpha" or name in ("gpt2", "llama") else pytest.mark.slow
    )
    for kind in KINDS
    for name in ("gpt2", "llama", "opt", "gpt_neo")
]  # fmt: skip


@pytest.mark.parametrize(("kind", "architecture"), PAIRS)
def test_what_is_loaded_computes_what_was_trained(
    saved: Callable[..., Path], tmp_path: Path, architecture: str, kind: str
) -> None:
    base = resolve(str(saved(architecture)))
    model = load(base, LoadOptions(device="cpu")).model
    untrained = logits(model)
    adapted = attach(model, TrainingOptions(**KINDS[kind]), base)  # type: ignore[arg-type]
    train(adapted)
    trained = logits(adapted)
    assert (trained - untrained).abs().max() > 0.05 * untrained.abs().max()
    assert all(p.abs().max() > 0 for n, p in adapted.named_parameters() if "lora_B" in n)
    adapted.save_pretrained(tmp_path / "out")
    lm = hfgen.load(str(tmp_path / "out"), device="cpu")
    assert type(lm.model) is type(model)
    assert_same(logits(lm.model), trained)


def test_dora_is_read_wrongly_by_the_automatic_class(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    """Why hfgen reads adapters by peft itself; when this fails, a release has mended it."""
    from transformers import AutoModelForCausalLM

    base = resolve(str(saved("gpt2")))
    adapted = attach(load(base, LoadOptions(device="cpu")).model, TrainingOptions(dora=True), base)
    train(adapted)
    adapted.save_pretrained(tmp_path / "out")
    expected = logits(adapted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        automatic = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (logits(automatic) - expected).abs().max() > 0.01 * expected.abs().max()
    assert_same(logits(loaded_folder(tmp_path / "out").model), expected)


def test_saving_asks_no_network(
    model_of: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.utils import save_and_load

    asked: list[str] = []

    def check(name: str, file: str) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", check)
    base = dataclasses.replace(bundled(), source="hub", repo_id="someone/stories")
    adapted = attach(copy.deepcopy(model_of("gpt2")), LORA, base)
    adapted.save_pretrained(tmp_path / "out")
    assert asked == []
    # What peft would do by itself.
    type(adapted).save_pretrained(adapted, tmp_path / "other")
    assert asked == ["someone/stories"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names


# The base -------------------------------------------------------------------------------------


def write_on(base: ResolvedModel, folder: Path) -> Any:
    adapted = attach(load(base, LoadOptions(device="cpu")).model, LORA, base)
    train(adapted, 2)
    adapted.save_pretrained(folder)
    return logits(adapted)


def by_peft(folder: Path) -> Any:
    """Load an adapter without hfgen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def config_of(folder: Path) -> Any:
    return json.loads((folder / "adapter_config.json").read_text())


def test_a_folder_is_found_from_anywhere(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved("gpt2")
    monkeypatch.chdir(tmp_path)
    expected = write_on(resolve("./base"), tmp_path / "out")
    assert config_of(tmp_path / "out")["base_model_name_or_path"] == str(tmp_path / "base")
    monkeypatch.chdir("/")
    assert_same(logits(loaded_folder(tmp_path / "out").model), expected)


def test_the_bundled_model_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write_on(bundled(), tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["base_model_name_or_path"] == str(BUNDLED.resolve())
    monkeypatch.chdir(tmp_path)
    assert_same(logits(loaded_folder(tmp_path / "out").model), expected)
    assert_same(logits(by_peft(tmp_path / "out")), expected)
    # Where hfgen lies elsewhere, and by the name that earlier versions wrote, also where
    # something of that name lies about: an adapter, even.
    (tmp_path / "storyteller").mkdir()
    (tmp_path / "storyteller" / "adapter_config.json").write_text("{}")
    for name in ("/elsewhere/hfgen/models/bundled/storyteller", "storyteller"):
        config["base_model_name_or_path"] = name
        (tmp_path / "out" / "adapter_config.json").write_text(json.dumps(config))
        assert_same(logits(loaded_folder(tmp_path / "out").model), expected)


@pytest.mark.parametrize("repo_id", ["openai-community/gpt2", "acme/tales"])
def test_a_model_of_the_hub_is_found_by_its_commit(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo_id: str
) -> None:
    from tests.models.stand_ins import COMMIT, put_in_cache

    put_in_cache(tmp_path / "hub", saved("gpt2"), repo_id)
    base = resolve("gpt2" if "openai" in repo_id else repo_id, offline=True)
    assert base_reference(base) == (repo_id, COMMIT)
    expected = write_on(base, tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert (config["base_model_name_or_path"], config["revision"]) == (repo_id, COMMIT)
    # A folder of that name is not it.
    build_model("gpt2", n_layer=2).save_pretrained(tmp_path / repo_id)
    monkeypatch.chdir(tmp_path)
    assert_same(logits(loaded_folder(tmp_path / "out").model), expected)
    # The branch moves on, the adapter stays with its commit.
    (tmp_path / "hub" / f"models--{repo_id.replace('/', '--')}" / "refs" / "main").write_text("0")
    assert resolve(str(tmp_path / "out"), offline=True).base is not None


def test_a_moved_base_is_explained(saved: Callable[..., Path], tmp_path: Path) -> None:
    base = saved("gpt2")
    write_on(resolve(str(base)), tmp_path / "out")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(HfgenError, match=r"the base model of .*out: there is no folder") as caught:
        resolve(str(tmp_path / "out"))
    assert "adapter_config.json" in str(caught.value.hint)


def test_a_gguf_file_is_named_by_its_conversion(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = tmp_path / "hfgen-cache" / "gguf" / "ab-2"
    saved("gpt2").rename(converted.parent.mkdir(parents=True) or converted)
    monkeypatch.setattr("hfgen.models.gguf.cached.checkpoint_of", lambda *arguments: converted)
    base = ResolvedModel("./m.gguf", tmp_path / "m.gguf", "gguf")
    assert base_reference(base) == (str(converted), None)
    expected = write_on(base, tmp_path / "out")
    assert_same(logits(by_peft(tmp_path / "out")), expected)
    converted.rename(tmp_path / "gone")
    with pytest.raises(HfgenError, match="there is no folder") as caught:
        resolve(str(tmp_path / "out"))
    assert "hfgen generate -m FILE.gguf" in str(caught.value.hint)


def test_other_bases(tmp_path: Path) -> None:
    inner = ResolvedModel("poems", tmp_path, "adapter", base=bundled())
    with pytest.raises(ModelUnsupported, match="poems is an adapter") as caught:
        base_reference(inner)
    assert "hfgen merge poems" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "package", "extra"),
    [
        ({"lora": True}, "peft", "train"),
        ({"qlora": True}, "peft", "train"),
        ({"qlora": True}, "bitsandbytes", "quant"),
    ],
)
def test_packages_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], package: str, extra: str
) -> None:
    find = importlib.util.find_spec
    present = {"peft", "bitsandbytes"} - {package}

    def find_spec(name: str, *rest: Any) -> Any:
        if name in ("peft", "bitsandbytes"):
            return object() if name in present else None
        return find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(MissingExtra) as caught:
        check_installed(TrainingOptions(**options))  # type: ignore[arg-type]
    assert caught.value.hint == f"pip install 'hfgen[{extra}]'"
    check_installed(TrainingOptions())


# In 4 bits ------------------------------------------------------------------------------------

WIDE = {
    "gpt2": {"n_embd": 128, "attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0},
    "llama": {"hidden_size": 128, "intermediate_size": 192},
}
QLORA = TrainingOptions(qlora=True, lora_r=4)


def dequantized(quantized: Any, plain: Any) -> Any:
    """The float model with the weights that the 4 bits stand for."""
    from hfgen.models.adapters.library import import_bitsandbytes

    bnb = import_bitsandbytes()
    for name, module in quantized.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            is_transposed = type(plain.get_submodule(name)).__name__ == "Conv1D"
            plain.get_submodule(name).weight.data.copy_(weight.T if is_transposed else weight)
    return plain


@needs_bitsandbytes
@pytest.mark.parametrize("architecture", WIDE)
def test_a_model_in_4_bits(saved: Callable[..., Path], architecture: str) -> None:
    from hfgen.models.checkpoint.bnb import is_quantized, load_quantized

    base = resolve(str(saved(architecture, **WIDE[architecture])))
    plain = load(base, LoadOptions(device="cpu")).model
    exact = logits(plain)
    quantized = load_quantized(base, device="cpu").model
    assert is_quantized(quantized) and not is_quantized(plain)
    assert count_parameters(quantized).total == count_parameters(plain).total
    assert target_layers(quantized, QLORA) == target_layers(plain, QLORA)
    found = logits(quantized)
    assert_same(found, logits(dequantized(quantized, plain)))
    assert (found - exact).abs().max() > 0.01 * exact.abs().max()
    assert type(quantized.get_output_embeddings()) is torch.nn.Linear


@needs_bitsandbytes
@pytest.mark.parametrize("architecture", WIDE)
def test_evaluating_in_4_bits_changes_nothing(
    saved: Callable[..., Path], architecture: str
) -> None:
    """On a CPU with AVX512-BF16, bitsandbytes repacks the layers and then has no gradient."""
    from hfgen.models.checkpoint.bnb import load_quantized

    base = resolve(str(saved(architecture, **WIDE[architecture])))
    adapted = attach(load_quantized(base, device="cpu").model, QLORA, base)
    train(adapted, 1)
    expected = gradients(adapted)
    before = logits(adapted)
    adapted.eval()
    with torch.no_grad():
        adapted(input_ids=ids())
    found = gradients(adapted)
    assert found.keys() == expected.keys() and len(expected) > 10
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(logits(adapted), before)


@needs_bitsandbytes
@pytest.mark.parametrize("architecture", WIDE)
def test_an_adapter_trained_in_4_bits(
    saved: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    """On the weights that it was trained on it is exact; on the base's own it is another model."""
    from hfgen.models.adapters.load import attached, merged
    from hfgen.models.checkpoint.bnb import load_quantized

    base = resolve(str(saved(architecture, **WIDE[architecture])))
    quantized = load_quantized(base, device="cpu").model
    plain = dequantized(quantized, load(base, LoadOptions(device="cpu")).model)
    adapted = attach(quantized, QLORA, base)
    train(adapted)
    trained = logits(adapted)
    adapted.save_pretrained(tmp_path / "out")
    assert config_of(tmp_path / "out")["fan_in_fan_out"] is (architecture == "gpt2")
    written = resolve(str(tmp_path / "out"))
    assert_same(logits(attached(copy.deepcopy(plain), written)), trained)
    # Merging rounds the weights once more: each side is within 1e-5 of the result in float64.
    assert_same(logits(merged(plain, written)), trained, part=2e-5)
    run = logits(load(written, LoadOptions(device="cpu")).model)
    assert (run - trained).abs().max() > 0.01 * trained.abs().max()


@needs_bitsandbytes
def test_an_adapter_is_not_held_in_4_bits() -> None:
    from hfgen.models.checkpoint.bnb import load_quantized

    inner = ResolvedModel("poems", BUNDLED, "adapter", base=bundled())
    with pytest.raises(ModelUnsupported, match="poems is an adapter"):
        load_quantized(inner, device="cpu")


def test_importing_peft_says_nothing_and_asks_nobody(tmp_path: Path) -> None:
    """bitsandbytes, where peft finds it, would fetch a kernel from the Hub, or complain."""
    package = tmp_path / "kernels"
    package.mkdir()
    marker = tmp_path / "asked"
    (package / "__init__.py").write_text(
        f"def get_kernel(*a, **k):\n    open({str(marker)!r}, 'w').close()\n    raise OSError\n"
    )
    code = (
        "from hfgen.models.adapters.library import import_peft\n"
        "import_peft()\n"
        "import kernels, sys\n"
        "assert kernels.get_kernel and sys.modules['kernels'] is kernels\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not marker.exists()
