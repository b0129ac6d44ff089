"""`merge`: what is written computes what the adapter does, and is an ordinary checkpoint."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hfgen
from hfgen.errors import (
    HfgenError,
    InvalidOption,
    ModelDamaged,
    ModelNotFound,
    ModelUnsupported,
    OutputError,
    OutputExists,
    UsageError,
)
from hfgen.models.adapters import merge as merge_module
from hfgen.models.adapters.merge import merge
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.checkpoint.save import valid_generation_config
from hfgen.models.naming.resolve import resolve

peft = pytest.importorskip("peft")

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "saved": {"modules_to_save": ["lm_head"]},
}
TARGETS: dict[str, Any] = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": "all-linear",
    "opt": ["q_proj", "fc1"],
    "gpt_neo": ["v_proj", "c_fc"],
}


def put_adapter(
    folder: Path, base: Path, model: Any, targets: Any = ("c_attn",), **settings: Any
) -> Any:
    """Write an adapter with random weights, far from neutral; return its logits of `ids()`."""
    arguments: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": targets} | settings
    config = peft.LoraConfig(task_type="CAUSAL_LM", **arguments)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapted = peft.get_peft_model(copy.deepcopy(model), config)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
    adapted.active_peft_config.base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return logits(adapted)


def ids() -> torch.Tensor:
    return torch.arange(7, 4000, 133)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model.eval()(input_ids=ids()).logits)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's, when the adapter is made
        yield


@pytest.fixture
def adapter(tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any]) -> Path:
    put_adapter(tmp_path / "adapter", tiny_folder, model_of("gpt2"))
    return tmp_path / "adapter"


def expect(kind: type[HfgenError], match: str, *arguments: Any, **settings: Any) -> HfgenError:
    with pytest.raises(HfgenError, match=match) as caught:
        merge(*arguments, **settings)
    assert type(caught.value) is kind
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value


# What comes out -------------------------------------------------------------------------------


PAIRS = [
    # Each kind on both layouts of weights, and each architecture; the other pairs are slow tests.
    pytest.param(
        kind, name, marks=() if kind == "lora" or name in ("gpt2", "llama") else pytest.mark.slow
    )
    for kind in KINDS
    for name in TARGETS
]  # fmt: skip


@pytest.mark.parametrize(("kind", "architecture"), PAIRS)
def test_it_computes_what_the_adapter_does(
    tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any, architecture: str, kind: str
) -> None:
    from transformers import AutoModelForCausalLM

    base = model_of(architecture)
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    expected = put_adapter(
        tmp_path / "adapter", tmp_path / "base", base, TARGETS[architecture], **KINDS[kind]
    )
    done = merge(tmp_path / "adapter", tmp_path / "out")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out"))
    assert difference(found, logits(base)) > 0.05
    assert difference(found, expected) <= 1e-5
    assert 0 <= done.difference <= 1e-5
    lm = hfgen.load(str(tmp_path / "out"), device="cpu")
    assert type(lm.model) is type(base)
    assert torch.equal(logits(lm.model), found)


def test_an_ordinary_checkpoint(adapter: Path, tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from transformers import AutoTokenizer, GenerationConfig

    config = json.loads((tiny_folder / "config.json").read_text())
    config |= {"task_specific_params": {"a": 1}, "resid_pdrop": 0.25}
    (tiny_folder / "config.json").write_text(json.dumps(config))
    done = merge(adapter, tmp_path / "out")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    written = json.loads((out / "config.json").read_text())
    unchanged = config.keys() - {"dtype", "transformers_version"}
    assert {name: written.get(name) for name in unchanged} == {n: config[n] for n in unchanged}
    assert written["dtype"] == "float32"
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert not any("lora" in name for name in weights.keys())  # noqa: SIM118
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float32}  # noqa: SIM118
    GenerationConfig.from_pretrained(out).validate(strict=True)
    text = "Once upon a time <|endoftext|>"
    assert (
        AutoTokenizer.from_pretrained(out)(text).input_ids
        == AutoTokenizer.from_pretrained(tiny_folder)(text).input_ids
    )
    assert (done.folder, done.adapter, done.base) == (out, str(adapter), str(tiny_folder))
    assert done.parameters == sum(p.numel() for p in load(resolve(str(out))).model.parameters())
    assert done.size_bytes == sum(path.stat().st_size for path in out.iterdir())
    assert json.loads(json.dumps(done.to_dict()))["folder"] == str(out)


def test_the_adapter_s_tokenizer_comes_first(
    adapter: Path, tiny_folder: Path, tmp_path: Path, tokenizer: Any
) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = "{{ messages[0]['content'] }}"
    own.save_pretrained(tiny_folder)
    merge(adapter, tmp_path / "one")
    assert hfgen.load(str(tmp_path / "one"), device="cpu").is_chat
    own.chat_template = "other {{ messages[0]['content'] }}"
    own.save_pretrained(adapter)
    merge(adapter, tmp_path / "two")
    lm = hfgen.load(str(tmp_path / "two"), device="cpu")
    assert lm.tokenizer.chat_template == own.chat_template


def test_a_generation_config_that_transformers_would_not_save(
    adapter: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tiny_folder / "generation_config.json").write_text('{"temperature": 0.5, "eos_token_id": 0}')
    merge(adapter, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (written["temperature"], written["do_sample"], written["eos_token_id"]) == (0.5, True, 0)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"top_k": 5, "do_sample": True}, {"top_k": 5, "do_sample": True}),
        ({"top_k": 5}, {"top_k": 5, "do_sample": True}),
        ({"top_k": 5, "do_sample": False, "eos_token_id": 3}, {"eos_token_id": 3}),
        (
            {"early_stopping": True, "num_beams": 1, "temperature": 0.5, "max_new_tokens": 9},
            {"max_new_tokens": 9},
        ),
        ({"num_beams": 4, "early_stopping": True}, {"num_beams": 4, "early_stopping": True}),
    ],
)
def test_valid_generation_configs(fields: dict[str, Any], kept: dict[str, Any]) -> None:
    from transformers import GenerationConfig

    found = valid_generation_config(GenerationConfig(**fields))
    found.validate(strict=True)
    values = found.to_dict()
    assert kept.items() <= values.items()
    dropped = fields.keys() - kept.keys() - {"do_sample", "num_beams"}
    assert all(values.get(name) is None for name in dropped)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_measured(
    adapter: Path, tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any], dtype: str
) -> None:
    expected = put_adapter(adapter, tiny_folder, model_of("gpt2"))
    done = merge(adapter, tmp_path / "out", dtype=dtype)
    loaded = load(resolve(str(tmp_path / "out")), LoadOptions(device="cpu", dtype="float32")).model
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    assert done.dtype == dtype
    # Measured on other tokens than here: the same order.
    assert 1e-5 < done.difference < 0.25
    assert 0.1 < done.difference / difference(logits(loaded), expected) < 10
    weights = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert weights < 0.6 * (tiny_folder / "model.safetensors").stat().st_size


def test_a_base_in_half_precision_is_merged_in_full(
    tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any
) -> None:
    copy.deepcopy(model_of("llama")).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert json.loads((tmp_path / "base" / "config.json").read_text())["dtype"] == "bfloat16"
    exact = load(resolve(str(tmp_path / "base")), LoadOptions(device="cpu", dtype="float32")).model
    expected = put_adapter(tmp_path / "adapter", tmp_path / "base", exact, ["q_proj"])
    merge(tmp_path / "adapter", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"
    assert difference(logits(load(resolve(str(tmp_path / "out"))).model), expected) <= 1e-5


def test_a_base_in_a_gguf_file(
    tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any
) -> None:
    pytest.importorskip("gguf")
    from gguf_files import write_gguf

    file = write_gguf(tmp_path / "base.gguf", model_of("llama"), tokenizer)
    expected = put_adapter(tmp_path / "adapter", file, model_of("llama"), ["q_proj"])
    done = merge(tmp_path / "adapter", tmp_path / "out")
    assert done.base == str(file)
    assert difference(logits(load(resolve(str(tmp_path / "out"))).model), expected) <= 1e-4


def test_relative_names(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is a folder, also where it is an alias of the catalogue."""
    monkeypatch.chdir(tmp_path)
    adapter.rename(tmp_path / "gpt2")
    assert merge("gpt2", "out").folder == tmp_path / "out"
    assert merge("./gpt2", "other").adapter == "./gpt2"


def test_an_alias_of_the_user_s(adapter: Path, tmp_path: Path) -> None:
    from hfgen.models.naming.aliases import set_alias

    set_alias("poems", str(adapter))
    assert merge("poems", tmp_path / "out").adapter == "poems"


# What is refused ------------------------------------------------------------------------------


def test_what_is_no_adapter(adapter: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expect(ModelNotFound, "there is no folder './none'", "./none", out)
    expect(ModelNotFound, "there is no folder ''", "", out)
    expect(ModelUnsupported, "is a whole model, not an adapter", tiny_folder, out)
    (tmp_path / "run" / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "checkpoint-9").mkdir()
    error = expect(ModelNotFound, "holds no adapter: it has no adapter_c", tmp_path / "run", out)
    assert str(error.hint).endswith("checkpoint-30")
    with pytest.raises(InvalidOption, match="dtype = 'int8'"):
        merge(adapter, out, dtype="int8")
    assert not out.exists()


def test_a_missing_base(adapter: Path, tiny_folder: Path, tmp_path: Path) -> None:
    tiny_folder.rename(tmp_path / "moved")
    error = expect(ModelNotFound, r"the base model of .*adapter: ", adapter, tmp_path / "out")
    assert "adapter_config.json" in str(error.hint)


@pytest.mark.parametrize("target", ["wte", "lm_head"])
def test_an_adapter_on_embeddings(
    tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any], target: str
) -> None:
    put_adapter(tmp_path / "a", tiny_folder, model_of("gpt2"), ["c_attn", target])
    expect(ModelUnsupported, "cannot be merged exactly", tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_would_not_be_exact(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever peft may get wrong in future is noticed, and nothing is left."""
    from peft.tuners.lora.layer import Linear

    real = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: real(self, name) * 1.001)
    before = sorted(path.name for path in tmp_path.iterdir())
    expect(ModelUnsupported, r"logits differ by .* at most 1e-05", adapter, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(("factor", "hint"), [(1.0001, "model="), (2.0, "use peft")])
def test_the_hint_of_a_refused_merge_holds(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, hint: str
) -> None:
    """The adapter is offered as it is only where `hfgen generate` takes it."""
    from peft.tuners.lora.layer import Linear

    real = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: real(self, name) * factor)
    error = expect(ModelUnsupported, "would change its output", adapter, tmp_path / "out")
    assert hint in str(error.hint)
    if hint == "model=":
        assert load(resolve(str(adapter)), LoadOptions(device="cpu"))
    else:
        with pytest.raises(ModelUnsupported, match="would change its output"):
            load(resolve(str(adapter)), LoadOptions(device="cpu"))


def test_a_tokenizer_that_does_not_fit_is_the_adapter_s(
    adapter: Path, tokenizer: Any, tmp_path: Path
) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<new>"])
    own.save_pretrained(adapter)
    error = expect(ModelDamaged, "only 4,096: <new>", adapter, tmp_path / "out")
    assert error.message.startswith(f"the tokenizer of {adapter} has")
    assert not (tmp_path / "out").exists()


def test_what_was_written_is_what_is_compared(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files count, not the model in memory."""
    real = merge_module.write_checkpoint

    def write_wrongly(model: Any, folder: Path, **how: Any) -> None:
        model.transformer.h[0].mlp.c_fc.weight.data.mul_(1.01)
        real(model, folder, **how)

    monkeypatch.setattr(merge_module, "write_checkpoint", write_wrongly)
    expect(ModelUnsupported, "would change its output", adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_number_is_no_equality(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = merge_module.write_checkpoint

    def write_nan(model: Any, folder: Path, **how: Any) -> None:
        model.transformer.ln_f.weight.data.fill_(torch.nan)
        real(model, folder, **how)

    monkeypatch.setattr(merge_module, "write_checkpoint", write_nan)
    expect(ModelUnsupported, "differ by nan", adapter, tmp_path / "out", dtype="bfloat16")


def test_rounding_of_float32_is_not_taken_for_a_change(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = merge_module.difference_of
    found: list[float] = []

    def measure(before: torch.Tensor, after: torch.Tensor) -> float:
        found.append(coarse(before, after))
        return 2e-5 if len(found) == 1 else found[-1]

    monkeypatch.setattr(merge_module, "difference_of", measure)
    done = merge(adapter, tmp_path / "out")
    assert len(found) == 2 and done.difference == found[1] <= 1e-6


# The folder -----------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(
    adapter: Path, tiny_folder: Path, tmp_path: Path, model_of: Callable[[str], Any]
) -> None:
    out = tmp_path / "out"
    merge(adapter, out)
    first = (out / "model.safetensors").read_bytes()
    put_adapter(adapter, tiny_folder, model_of("gpt2"), lora_alpha=8)
    expect(OutputExists, "out already exists", adapter, out)
    assert (out / "model.safetensors").read_bytes() == first
    merge(adapter, out, overwrite=True)
    assert (out / "model.safetensors").read_bytes() != first
    for source in (adapter, tiny_folder, tmp_path):
        expect(UsageError, "holds what is read for it", adapter, source, overwrite=True)


def test_space_is_looked_at_before_anything_is_loaded(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(merge_module, "load", None)
    expect(OutputError, "out needs .* MB, but only 1 B are left", adapter, tmp_path / "out")


def test_a_disk_that_fills_up(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **how: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge_module, "write_checkpoint", full)
    expect(OutputError, "no space left to write", adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment(adapter: Path, tmp_path: Path) -> None:
    """From the first merge on, the name always stands for a whole model; the next run clears up."""
    code = (
        "import sys; from hfgen.models.adapters import merge as merge_module\n"
        "while True:\n"
        "    merge_module.merge(sys.argv[1], sys.argv[2], overwrite=True)\n"
        "    print('merged', flush=True)"
    )
    out = tmp_path / "out"
    for number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(adapter), str(out)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"merged\n"
        time.sleep(0.05 + 0.09 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        load(resolve(str(out)), LoadOptions(device="cpu"))
    merge(adapter, out, overwrite=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_real_model(tmp_path: Path, kind: str) -> None:
    from smollm2 import smollm2_file

    base = smollm2_file(tmp_path)
    model = load(resolve(str(base)), LoadOptions(device="cpu")).model
    settings = KINDS[kind] | {"r": 16, "lora_alpha": 32}
    put_adapter(tmp_path / "adapter", base, model, "all-linear", **settings)
    del model
    assert merge(tmp_path / "adapter", tmp_path / "out").difference <= 1e-5
