from __future__ import annotations

import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfgen.errors import (
    HfgenError,
    InvalidOption,
    ModelDamaged,
    ModelUnsupported,
    OutOfMemory,
    UsageError,
)
from hfgen.language_model import LanguageModel
from hfgen.models.checkpoint.load import LoadedModel, load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import ResolvedModel, bundled_folder, resolve
from tests import warm


def load_folder(folder: Path, **options: Any) -> LoadedModel:
    return load(ResolvedModel(folder.name, folder, "folder"), LoadOptions(device="cpu", **options))


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def expect(kind: type[HfgenError], match: str | None, folder: Path, **options: Any) -> HfgenError:
    with pytest.raises(HfgenError, match=match) as caught:
        load_folder(folder, **options)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    return caught.value


def test_weights_are_those_of_the_file(tiny_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    loaded = load_folder(tiny_folder)
    parameters = loaded.model.state_dict()
    saved = load_file(tiny_folder / "model.safetensors")
    assert saved
    for name, value in saved.items():
        assert torch.equal(parameters[name], value), name
    assert (
        parameters["lm_head.weight"].data_ptr() == parameters["transformer.wte.weight"].data_ptr()
    )


def test_loaded_model_is_ready(tiny_folder: Path) -> None:
    import torch
    import transformers

    loaded = load_folder(tiny_folder)
    assert type(loaded.model) is transformers.GPT2LMHeadModel
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert (loaded.window, loaded.is_chat) == (128, False)
    assert loaded.tokenizer.decode(loaded.tokenizer("A tale").input_ids) == "A tale"


def test_bundled_model_is_float32_on_a_cpu_though_saved_in_bfloat16() -> None:
    import torch

    loaded = load(resolve("storyteller"), LoadOptions(device="cpu"))
    assert (loaded.model.dtype, loaded.window) == (torch.float32, 512)
    half = load(resolve("storyteller"), LoadOptions(device="cpu", dtype="bf16"))
    assert half.model.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "window"),
    [("gpt_neo", 128), ("gptj", 128), ("gpt_neox", 128), ("opt", 128), ("gpt_bigcode", 128),
     ("llama", 128), ("qwen2", 128), ("bloom", None)],
)  # fmt: skip
def test_other_architectures(
    model_of: Callable[[str], Any], tokenizer: Any, tmp_path: Path, name: str, window: int | None
) -> None:
    import torch

    model_of(name).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_folder(tmp_path)
    assert loaded.window == window
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded.model(ids).logits, model_of(name)(ids).logits)


def test_sharded_weights(model_of: Callable[[str], Any], tokenizer: Any, tmp_path: Path) -> None:
    import torch

    model_of("gpt2").save_pretrained(tmp_path, max_shard_size="100KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(load_folder(tmp_path).model(ids).logits, model_of("gpt2")(ids).logits)


def test_gpt2_tokenizer_files_without_tokenizer_json(tiny_folder: Path, tokenizer: Any) -> None:
    data = json.loads((tiny_folder / "tokenizer.json").read_text())["model"]
    (tiny_folder / "tokenizer.json").unlink()
    (tiny_folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (tiny_folder / "vocab.json").write_text(json.dumps(data["vocab"]))
    merges = "".join(" ".join(pair) + "\n" for pair in data["merges"])
    (tiny_folder / "merges.txt").write_text("#version: 0.2\n" + merges)
    loaded = load_folder(tiny_folder)
    text = "Once upon a time, there was a fox."
    assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids
    assert len(loaded.tokenizer(text).input_ids) > 5


def test_chat_template_is_noticed(tiny_folder: Path) -> None:
    (tiny_folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert load_folder(tiny_folder).is_chat


def test_options_are_checked_before_anything_is_touched(tmp_path: Path) -> None:
    nowhere = ResolvedModel("x", tmp_path / "none", "folder")
    with pytest.raises(InvalidOption):
        load(nowhere, LoadOptions(device="gpu"))
    with pytest.raises(InvalidOption):
        load(nowhere, LoadOptions(dtype="int4"))


def test_missing_weights_are_an_error(tiny_folder: Path) -> None:
    change_weights(tiny_folder, lambda t: t.pop("transformer.h.1.mlp.c_fc.weight"))
    expect(ModelDamaged, r"1 weights are missing, as transformer\.h\.1\.mlp\.c_fc", tiny_folder)


def test_other_shapes_are_an_error(tiny_folder: Path) -> None:
    change_config(tiny_folder, n_positions=64)
    expect(ModelDamaged, r"another shape .*wpe.*\[128, 32\] instead of \[64, 32\]", tiny_folder)


def test_more_layers_in_the_configuration(tiny_folder: Path) -> None:
    change_config(tiny_folder, n_layer=4)
    expect(ModelDamaged, r"12 weights are missing, as transformer\.h\.3", tiny_folder)


def test_fewer_layers_in_the_configuration(tiny_folder: Path) -> None:
    change_config(tiny_folder, n_layer=2)
    expect(ModelDamaged, r"weights of layers .*as transformer\.h\.2", tiny_folder)


def test_left_over_buffers_and_heads_are_no_error(tiny_folder: Path) -> None:
    import torch

    def add(tensors: dict[str, Any]) -> None:
        for layer in range(3):
            tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 128, 128)
            tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["multiple_choice_head.summary.weight"] = torch.ones(1, 32)

    change_weights(tiny_folder, add)
    assert load_folder(tiny_folder).window == 128


def test_weights_without_the_base_prefix(tiny_folder: Path) -> None:
    import torch

    before = load_folder(tiny_folder).model.state_dict()

    def strip(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    change_weights(tiny_folder, strip)
    after = load_folder(tiny_folder).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    change_config(tiny_folder, n_layer=2)
    expect(ModelDamaged, "weights of layers", tiny_folder)


def test_corrupt_but_well_formed_header(tiny_folder: Path) -> None:
    file = tiny_folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"Q99"'))
    expect(ModelDamaged, "cannot load", tiny_folder)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    ("protocol", "kind"), [("zip", ModelUnsupported), (2, ModelUnsupported), (4, ModelDamaged)]
)
def test_a_malicious_pickle_is_refused_and_runs_nothing(
    tiny_folder: Path, protocol: Any, kind: type[HfgenError]
) -> None:
    import torch

    target = tiny_folder.parent / "executed"
    (tiny_folder / "model.safetensors").unlink()
    file = tiny_folder / "pytorch_model.bin"
    weights = {"transformer.wte.weight": Malicious(target)}
    if protocol == "zip":
        torch.save(weights, file)
    else:
        file.write_bytes(pickle.dumps(weights, protocol=protocol))
    expect(kind, "pickled weights", tiny_folder)
    assert not target.exists()
    # The bait is a real one.
    if protocol == "zip":
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert target.exists()


def test_pickled_weights_load_with_weights_only(tiny_folder: Path) -> None:
    import torch

    loaded = load_folder(tiny_folder)
    (tiny_folder / "model.safetensors").unlink()
    torch.save(loaded.model.state_dict(), tiny_folder / "pytorch_model.bin")
    again = load_folder(tiny_folder).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_pickled_weights_under_a_key(tiny_folder: Path, key: str) -> None:
    import torch
    from transformers import modeling_utils

    before = modeling_utils.load_state_dict
    weights = load_folder(tiny_folder).model.state_dict()
    (tiny_folder / "model.safetensors").unlink()
    optimizer = {"state": {0: {"step": 3}}, "param_groups": []}
    found = {"epoch": 3, key: weights, "optimizer": optimizer}
    torch.save(found, tiny_folder / "pytorch_model.bin")
    again = load_folder(tiny_folder).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert modeling_utils.load_state_dict is before


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 torn", b"not a pickle at all", b"\x80\x02."])
def test_broken_pickled_weights(tiny_folder: Path, data: bytes) -> None:
    (tiny_folder / "model.safetensors").unlink()
    (tiny_folder / "pytorch_model.bin").write_bytes(data)
    expect(ModelDamaged, None, tiny_folder)


def test_unknown_architecture(tiny_folder: Path) -> None:
    change_config(tiny_folder, model_type="gpt-99", architectures=["GPT99"])
    expect(ModelUnsupported, "Transformers does not know: gpt-99", tiny_folder)


@pytest.mark.parametrize("kind", ["vit", "clip_text_model", "wav2vec2", "eurobert"])
def test_architectures_that_generate_no_text(tiny_folder: Path, kind: str) -> None:
    (tiny_folder / "config.json").write_text(json.dumps({"model_type": kind}))
    expect(ModelUnsupported, "generates no text|encoder model", tiny_folder)


@pytest.mark.parametrize("fields", [{"n_embd": "many"}, {"n_head": 0}, {"n_layer": -1}])
def test_nonsense_in_the_configuration(tiny_folder: Path, fields: dict[str, Any]) -> None:
    change_config(tiny_folder, **fields)
    expect(ModelDamaged, None, tiny_folder)


def add_code(folder: Path, model_type: str) -> Path:
    proof = folder.parent / "executed"
    code = f"import pathlib\npathlib.Path({str(proof)!r}).touch()\nclass C: pass\nclass M: pass\n"
    (folder / "code.py").write_text(code)
    auto_map = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    change_config(folder, model_type=model_type, auto_map=auto_map)
    return proof


def test_code_of_an_unknown_architecture_is_not_run(tiny_folder: Path) -> None:
    proof = add_code(tiny_folder, "own-kind")
    error = expect(ModelUnsupported, "program code", tiny_folder)
    assert "trust_remote_code=True" in (error.hint or "")
    assert not proof.exists()


def test_code_of_a_known_architecture_is_not_needed(tiny_folder: Path) -> None:
    proof = add_code(tiny_folder, "gpt2")
    assert load_folder(tiny_folder).window == 128
    assert not proof.exists()


def test_code_of_a_tokenizer_is_not_run(tiny_folder: Path) -> None:
    proof = add_code(tiny_folder, "gpt2")
    config = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.C", None]}}
    (tiny_folder / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        load_folder(tiny_folder)
    except HfgenError as error:
        assert type(error) in (ModelUnsupported, ModelDamaged)
    assert not proof.exists()


def test_custom_generation_code_is_not_run(tiny_folder: Path) -> None:
    proof = tiny_folder.parent / "executed"
    (tiny_folder / "custom_generate").mkdir()
    code = f"import pathlib\npathlib.Path({str(proof)!r}).touch()\ndef generate(*a, **k): pass\n"
    (tiny_folder / "custom_generate" / "generate.py").write_text(code)
    load_folder(tiny_folder)
    assert not proof.exists()
    # The bait is a real one.
    load_folder(tiny_folder, trust_remote_code=True)
    assert proof.exists()


@pytest.mark.parametrize("kernel", ["kernels-community/flash-attn", "flash_attention_2"])
def test_attention_kernel_of_the_configuration_is_not_fetched(
    tiny_folder: Path, kernel: str
) -> None:
    change_config(tiny_folder, attn_implementation=kernel)
    assert load_folder(tiny_folder).model.config._attn_implementation == "sdpa"


def test_broken_tokenizer(tiny_folder: Path) -> None:
    for text in ("{}", "", "{"):
        (tiny_folder / "tokenizer.json").write_text(text)
        expect(ModelDamaged, "tokenizer", tiny_folder)


def test_tokenizer_larger_than_the_embedding(tiny_folder: Path, tokenizer: Any) -> None:
    larger = type(tokenizer).from_pretrained(tiny_folder)
    larger.add_tokens(["quicksilver"])
    larger.save_pretrained(tiny_folder)
    message = r"has 4,097 tokens, but the model only 4,096: quicksilver \(4,096\) has no embedding"
    expect(ModelDamaged, message, tiny_folder)


def test_special_tokens_beyond_the_embedding_do_no_harm(tiny_folder: Path, tokenizer: Any) -> None:
    larger = type(tokenizer).from_pretrained(tiny_folder)
    larger.add_special_tokens({"additional_special_tokens": ["<image>"]})
    larger.save_pretrained(tiny_folder)
    said: list[str] = []
    loaded = load_folder(tiny_folder, notify=said.append)
    assert len(loaded.tokenizer) == 4097
    assert said == [
        "the special token <image> (4,096) is beyond the 4,096 embeddings of tiny and cannot be "
        "used"
    ]
    lm = LanguageModel(loaded)
    assert lm.generate("an <image>", max_new_tokens=1).prompt == "an <image>"
    with pytest.raises(UsageError, match=r"token <image> \(4,096\), but .* only 4,096 embeddings"):
        lm.generate("an <image>", max_new_tokens=1, allow_special=True)


def test_special_tokens_beyond_the_embedding_that_the_template_writes(tiny_folder: Path) -> None:
    from transformers import AutoTokenizer

    larger = AutoTokenizer.from_pretrained(tiny_folder)
    larger.add_special_tokens({"additional_special_tokens": ["<user>"]})
    larger.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    larger.save_pretrained(tiny_folder)
    expect(ModelDamaged, r"only 4,096: <user> \(4,096\) has no embedding", tiny_folder)


def test_out_of_memory(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    expect(OutOfMemory, "does not fit into the memory of cpu", tiny_folder)


CLEAN = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("HF_", "TRANSFORMERS_", "PYTHONWARNINGS"))
} | {"OMP_NUM_THREADS": "1"}


def run(
    program: str, folder: Path, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", program, str(folder)], capture_output=True, text=True, env=CLEAN
    )


LOAD = (
    "import sys; from pathlib import Path\n"
    "from hfgen.models.checkpoint.load import load\n"
    "from hfgen.models.checkpoint.load_options import LoadOptions\n"
    "from hfgen.models.naming.resolve import ResolvedModel\n"
    "load(ResolvedModel('x', Path(sys.argv[1]), 'folder'), LoadOptions(device='cpu'))\n"
)


def test_nothing_is_printed_even_by_a_chatty_load(tiny_folder: Path) -> None:
    import torch

    def add(tensors: dict[str, Any]) -> None:
        tensors["another.head"] = torch.ones(3)

    change_weights(tiny_folder, add)
    change_config(tiny_folder, attn_implementation="flash_attention_2", n_ctx=7)
    found = run(LOAD, tiny_folder)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    # Without the silence there would be something to see.
    loud = (
        "import sys, transformers\ntransformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])"
    )
    change_config(tiny_folder, attn_implementation="sdpa")
    assert "another.head" in run(loud, tiny_folder).stderr


def test_verbosity_is_put_back(tiny_folder: Path) -> None:
    program = LOAD + (
        "import gc\n"
        "from transformers.utils import logging as t\n"
        "assert gc.isenabled() and t.is_progress_bar_enabled()\n"
        "assert t.get_verbosity() == t.WARNING\n"
    )
    found = run(program, tiny_folder)
    assert (found.returncode, found.stderr) == (0, "")


def test_loading_makes_no_request(tiny_folder: Path) -> None:
    program = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('a request')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n" + LOAD
    )
    shutil.copy(tiny_folder / "model.safetensors", tiny_folder / "spare")
    found = run(program, tiny_folder, warm.python("torch"))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_model_can_be_forgotten(tiny_folder: Path) -> None:
    program = LOAD.replace("load(Res", "lm = load(Res") + (
        "import gc, weakref\n"
        "alive = weakref.ref(lm.model)\n"
        "del lm; gc.collect()\n"
        "assert alive() is None\n"
    )
    found = run(program, tiny_folder, warm.python("torch"))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_configuration_of_a_far_larger_model_is_refused_before_it_is_built(
    tmp_path: Path,
) -> None:
    """A swapped config.json: Transformers would make up billions of weights first."""
    shutil.copytree(bundled_folder(), tmp_path / "swapped")
    (tmp_path / "swapped" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelDamaged, match="describes a model of"):
        load(resolve(str(tmp_path / "swapped")), LoadOptions(device="cpu"))


def test_a_configuration_may_ask_for_tuples(tmp_path: Path) -> None:
    folder = tmp_path / "tuples"
    shutil.copytree(bundled_folder(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"return_dict": False}))
    loaded = load(resolve(str(folder)), LoadOptions(device="cpu"))
    assert loaded.model.config.return_dict is True


@pytest.mark.parametrize(
    "fields",
    [{"max_new_tokens": "x"}, {"max_new_tokens": 0}, {"early_stopping": "x"},
     {"suppress_tokens": [[1]]}, {"watermarking_config": {"foo": 1}}],
    ids=str,
)  # fmt: skip
def test_generation_defaults_that_transformers_refuses(
    tiny_folder: Path, fields: dict[str, Any]
) -> None:
    file = tiny_folder / "generation_config.json"
    file.write_text(json.dumps(fields))
    error = expect(ModelDamaged, re.escape(f"{file}: "), tiny_folder)
    assert "correct the file" in str(error.hint)


_FROZEN = """
import gc
import hfgen
garbage = [[] for _ in range(10)]
for item in garbage:
    item.append(item)
lm = hfgen.load("storyteller")
print(gc.get_freeze_count(), gc.isenabled())
"""


def test_the_callers_garbage_is_left_to_the_collector() -> None:
    """What `gc.freeze` puts away is never collected; in hfgen's own process there is no caller."""
    done = subprocess.run([sys.executable, "-c", _FROZEN], capture_output=True, timeout=120)
    assert done.stdout.split() == [b"0", b"True"], done.stderr


def test_the_program_puts_modules_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from hfgen.models import silence

    frozen: list[bool] = []
    monkeypatch.setattr(silence.gc, "freeze", lambda: frozen.append(gc.isenabled()))
    monkeypatch.setattr(silence, "_MANY_MODULES", -1)
    for is_own in (False, True):
        monkeypatch.setattr(silence, "is_own_process", is_own)
        with silence.quick_imports():
            assert not gc.isenabled()
        assert frozen == ([False] if is_own else [])
