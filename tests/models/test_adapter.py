from __future__ import annotations

import copy
import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfgen.errors import (
    HfgenError,
    HubUnreachable,
    MissingExtra,
    ModelDamaged,
    ModelNotFound,
    ModelUnsupported,
    OptionConflict,
)
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import resolve

peft = pytest.importorskip("peft")

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "llama": ["q_proj", "v_proj", "down_proj"]}


def train(
    folder: Path, base: Path | str, model: Any, targets: Any = ("c_attn",), **settings: Any
) -> Any:
    """Write an adapter with random weights, far from neutral; return logits of `ids()`."""
    import torch

    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=16, target_modules=targets, **settings
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(copy.deepcopy(model), config)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data.add_(torch.randn_like(parameter) * 0.1)
        adapted.peft_config["default"].base_model_name_or_path = str(base)
        adapted.save_pretrained(folder, save_embedding_layers=False)
    with torch.inference_mode():
        return adapted.eval()(ids()).logits


def ids() -> Any:
    import torch

    return torch.arange(7, 4000, 133)[None]


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def expect(kind: type[HfgenError], match: str, folder: Path, **options: Any) -> HfgenError:
    with pytest.raises(HfgenError, match=match) as caught:
        load(resolve(str(folder), offline=True), LoadOptions(**({"device": "cpu"} | options)))
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    return caught.value


@pytest.fixture
def adapter(tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any]) -> Path:
    folder = tmp_path / "adapter"
    train(folder, tiny_folder, model_of("gpt2"))
    return folder


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_merging_is_exact(
    model_of: Callable[[str], Any], tokenizer: Any, tmp_path: Path, architecture: str, kind: str
) -> None:
    import torch

    base = model_of(architecture)
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    unmerged = train(
        tmp_path / "adapter", tmp_path / "base", base, TARGETS[architecture], **KINDS[kind]
    )
    loaded = load(resolve(str(tmp_path / "adapter")), LoadOptions(device="cpu"))
    assert type(loaded.model) is type(base)
    assert not any("lora" in name for name in loaded.model.state_dict())
    assert not any(p.requires_grad for p in loaded.model.parameters())
    with torch.inference_mode():
        found = loaded.model(ids()).logits
        assert (found - base(ids()).logits).abs().max() > 0.1
    assert (found - unmerged).abs().max() <= 1e-5 * unmerged.abs().max()


def test_all_linear_layers(tiny_folder: Path, tmp_path: Path, model_of: Any) -> None:
    import torch

    unmerged = train(tmp_path / "a", tiny_folder, model_of("gpt2"), "all-linear")
    loaded = load(resolve(str(tmp_path / "a")), LoadOptions(device="cpu"))
    with torch.inference_mode():
        found = loaded.model(ids()).logits
    assert (found - unmerged).abs().max() <= 1e-5 * unmerged.abs().max()


def test_what_is_loaded(adapter: Path, tiny_folder: Path, tokenizer: Any) -> None:
    loaded = load(resolve(str(adapter)), LoadOptions(device="cpu"))
    assert loaded.resolved.name == str(adapter)
    assert loaded.resolved.base is not None
    assert loaded.resolved.base.name == str(tiny_folder)
    assert (loaded.window, loaded.is_chat) == (128, False)
    text = "A tale"
    assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids


def test_its_own_tokenizer_and_template(adapter: Path, tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = "{{ messages[0]['content'] }}"
    own.save_pretrained(adapter)
    loaded = load(resolve(str(adapter)), LoadOptions(device="cpu"))
    assert loaded.is_chat and loaded.tokenizer.chat_template == own.chat_template


def test_a_tokenizer_with_more_tokens_than_the_base(adapter: Path, tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<new>"])
    own.save_pretrained(adapter)
    expect(ModelDamaged, "4,097 tokens, but the model only 4,096", adapter)


def test_half_precision(adapter: Path) -> None:
    import torch

    loaded = load(resolve(str(adapter)), LoadOptions(device="cpu", dtype="bfloat16"))
    assert loaded.model.dtype is torch.bfloat16


def test_the_generated_text_is_peft_s(adapter: Path, tiny_folder: Path) -> None:
    import torch

    import hfgen

    lm = hfgen.load(str(adapter), device="cpu")
    record = lm.generate("Once upon", do_sample=False, max_new_tokens=20)
    assert record.model == str(adapter)
    base = load(resolve(str(tiny_folder)), LoadOptions(device="cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(base.model, str(adapter)).eval()
    inputs = base.tokenizer("Once upon", return_tensors="pt")
    with torch.inference_mode():
        expected = adapted.generate(**inputs, do_sample=False, max_new_tokens=20, pad_token_id=0)
    assert list(record.token_ids) == expected[0, inputs.input_ids.shape[1] :].tolist()


# What cannot be merged exactly ---------------------------------------------------------------


@pytest.mark.parametrize("target", ["wte", "lm_head"])
def test_tied_embeddings_are_refused(
    tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any], target: str
) -> None:
    train(tmp_path / "a", tiny_folder, model_of("gpt2"), ["c_attn", target])
    error = expect(
        ModelUnsupported, f"adapts .*{target}.* cannot be merged exactly", tmp_path / "a"
    )
    assert error.hint is not None and "target_modules" in error.hint


def test_untied_embeddings_merge(
    tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any
) -> None:
    import torch

    base = model_of("gptj")
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    unmerged = train(tmp_path / "a", tmp_path / "base", base, ["wte", "lm_head", "q_proj"])
    loaded = load(resolve(str(tmp_path / "a")), LoadOptions(device="cpu"))
    with torch.inference_mode():
        found = loaded.model(ids()).logits
    assert (found - unmerged).abs().max() <= 1e-5 * unmerged.abs().max()


@pytest.mark.parametrize("saved", [["wte"], ["lm_head"], ["ln_f"]])
def test_modules_to_save(
    tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any], saved: list[str]
) -> None:
    import torch

    unmerged = train(tmp_path / "a", tiny_folder, model_of("gpt2"), modules_to_save=saved)
    loaded = load(resolve(str(tmp_path / "a")), LoadOptions(device="cpu"))
    model = loaded.model
    with torch.inference_mode():
        found = model(ids()).logits
    assert (found - unmerged).abs().max() <= 1e-5 * unmerged.abs().max()
    is_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.tie_word_embeddings == is_tied == (saved == ["ln_f"])
    # What is saved is what was merged.
    model.save_pretrained(tmp_path / "merged")
    loaded.tokenizer.save_pretrained(tmp_path / "merged")
    again = load(resolve(str(tmp_path / "merged")), LoadOptions(device="cpu"))
    with torch.inference_mode():
        assert torch.equal(again.model(ids()).logits, found)


def test_inexact_merging_is_refused(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever peft may get wrong in future is noticed."""
    from peft.tuners.lora.layer import Linear

    real = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: real(self, name) * 1.01)
    expect(ModelUnsupported, "would change its output", adapter)


@pytest.mark.parametrize("kind", ["IA3", "PROMPT_TUNING", "LOHA"])
def test_other_kinds(adapter: Path, kind: str) -> None:
    change_config(adapter, peft_type=kind)
    expect(ModelUnsupported, f"of the kind {kind}", adapter)


# The base ------------------------------------------------------------------------------------


def test_a_base_beside_the_adapter(
    adapter: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    for name in ("../tiny", "./../tiny"):
        change_config(adapter, base_model_name_or_path=name)
        base = load(resolve(str(adapter)), LoadOptions(device="cpu")).resolved.base
        assert base is not None and base.path == tiny_folder.resolve()
    # From the current folder first, as peft reads it.
    monkeypatch.chdir(tmp_path)
    change_config(adapter, base_model_name_or_path="./tiny")
    assert resolve(str(adapter)).base is not None


def test_a_base_in_the_hub_s_cache(adapter: Path, tiny_folder: Path, cache: Path) -> None:
    from stand_ins import COMMIT, put_in_cache

    put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    change_config(adapter, base_model_name_or_path="gpt2")
    base = resolve(str(adapter), offline=True).base
    assert base is not None and (base.name, base.source) == ("gpt2", "cache")
    change_config(adapter, base_model_name_or_path="openai-community/gpt2", revision=COMMIT)
    base = resolve(str(adapter), offline=True).base
    assert base is not None and base.revision == COMMIT
    load(resolve(str(adapter)), LoadOptions(device="cpu"))


def test_a_gguf_base(tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any) -> None:
    pytest.importorskip("gguf")
    from gguf_files import write_gguf

    file = write_gguf(tmp_path / "base.gguf", model_of("llama"), tokenizer)
    unmerged = train(tmp_path / "a", file, model_of("llama"), TARGETS["llama"])
    loaded = load(resolve(str(tmp_path / "a")), LoadOptions(device="cpu"))
    assert (loaded.model(ids()).logits - unmerged).abs().max() <= 1e-4 * unmerged.abs().max()


def test_a_missing_base(adapter: Path) -> None:
    change_config(adapter, base_model_name_or_path="/nowhere/base")
    expect(ModelNotFound, "the base model of .*adapter: there is no folder /nowhere/base", adapter)
    change_config(adapter, base_model_name_or_path="acme/base")
    expect(HubUnreachable, "the base model of .*acme/base is not on this machine", adapter)
    for nothing in (None, ""):
        change_config(adapter, base_model_name_or_path=nothing)
        expect(ModelNotFound, "does not name the adapter's base model", adapter)


def test_an_adapter_on_an_adapter(adapter: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    change_config(second, base_model_name_or_path=str(adapter))
    expect(ModelUnsupported, "on top of another adapter", second)
    change_config(second, base_model_name_or_path=str(second))
    expect(ModelUnsupported, "on top of another adapter", second)


@pytest.mark.parametrize("changes", [{"n_embd": 48}, {"n_layer": 2}])
def test_another_base(
    adapter: Path,
    tmp_path: Path,
    changes: dict[str, int],
    tokenizer: Any,
    model_of: Callable[[str], Any],
) -> None:
    config = copy.deepcopy(model_of("gpt2").config)
    config.update(changes)
    type(model_of("gpt2"))(config).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    change_config(adapter, base_model_name_or_path=str(tmp_path / "other"))
    error = expect(ModelDamaged, "does not fit|does not have", adapter)
    assert error.hint is not None and "other" in error.hint


def test_another_architecture(
    adapter: Path, tmp_path: Path, tokenizer: Any, model_of: Callable[[str], Any]
) -> None:
    model_of("llama").save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    change_config(adapter, base_model_name_or_path=str(tmp_path / "other"))
    expect(ModelDamaged, "does not have", adapter)


# Files ---------------------------------------------------------------------------------------


def test_missing_weights_of_the_adapter(adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors[min(tensors)]
    save_file(tensors, file)
    expect(ModelDamaged, "lacks 1 weights of its adapter", adapter)


def test_damaged_files(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    expect(ModelDamaged, "header tells of", adapter)
    file.unlink()
    expect(ModelDamaged, "has no weights", adapter)
    (adapter / "adapter_config.json").write_text("{")
    expect(ModelDamaged, "no valid JSON", adapter)
    (adapter / "adapter_config.json").write_text("{}")
    expect(ModelDamaged, "no peft_type", adapter)


def test_without_peft(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "peft" else find_spec(name, *rest),
    )
    error = expect(MissingExtra, "loading an adapter needs packages", adapter)
    assert error.hint == "pip install 'hfgen[train]'"


def test_spreading_an_adapter_is_refused(adapter: Path) -> None:
    expect(
        OptionConflict, "cannot spread it over devices", adapter, device="auto", device_map="auto"
    )
