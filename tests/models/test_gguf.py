from __future__ import annotations

import copy
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from gguf_files import CHAT_TEMPLATE, write_gguf, write_gpt2_gguf

from hfgen.cli.program.main import run
from hfgen.errors import (
    HfgenError,
    MissingExtra,
    ModelDamaged,
    ModelNotFound,
    ModelUnsupported,
    OutputError,
    UsageError,
)
from hfgen.models.checkpoint.layout import check_folder
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.gguf import cached, convert, header
from hfgen.models.gguf.conversions import conversions
from hfgen.models.gguf.header import read_header
from hfgen.models.hub import local
from hfgen.models.naming.resolve import ResolvedModel, resolve
from hfgen.models.sizing.info import describe
from tests import warm
from tests.conftest import BUNDLED, build_model

TOKENS = 512
"""Few: the time that reading and converting a small file takes is that of its tokens."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The first tokens of the bundled tokenizer, and the merges that lead to them."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(BUNDLED, tmp_path_factory.mktemp("tokenizer") / "small"))
    values = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    model = values["model"]
    model["vocab"] = {token: n for token, n in model["vocab"].items() if n < TOKENS}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    assert len(model["merges"]) > 200
    (folder / "tokenizer.json").write_text(json.dumps(values), "utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def llama() -> Any:
    return build_model("llama", vocab_size=TOKENS)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return build_model("gpt2", vocab_size=TOKENS)


@pytest.fixture(scope="module")
def session_file(tmp_path_factory: pytest.TempPathFactory, llama: Any, tokenizer: Any) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", llama, tokenizer)


@pytest.fixture
def file(session_file: Path, tmp_path: Path) -> Path:
    """A GGUF file that was written long ago, and that the test may damage."""
    return Path(shutil.copy(session_file, tmp_path / "tiny.gguf"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hfgen-cache" / "gguf"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written just now may be stamped."""
    monkeypatch.setattr(cached, "_SETTLED_S", -1.0)


def expect(kind: type[HfgenError], match: str, file: Path) -> HfgenError:
    with pytest.raises(HfgenError, match=match) as caught:
        load(resolve(str(file)), LoadOptions(device="cpu"))
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    return caught.value


def contents(home: Path) -> list[str]:
    """What the cache holds besides locks and stamps."""
    if not home.exists():
        return []
    return sorted(p.name for p in home.iterdir() if p.suffix != ".lock" and p.name != "stamps")


def test_the_model_is_the_file_s(file: Path, llama: Any, tokenizer: Any) -> None:
    import torch
    import transformers

    loaded = load(resolve(str(file)), LoadOptions(device="cpu"))
    assert type(loaded.model) is transformers.LlamaForCausalLM
    assert (loaded.resolved.name, loaded.window) == (str(file), 128)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    for name, value in llama.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    text = "Once upon a time, 1872: it’s 你好 🙂\n"
    assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids
    assert loaded.tokenizer.chat_template == CHAT_TEMPLATE
    assert loaded.is_chat
    assert loaded.model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_a_tied_head_counts_once(tmp_path: Path, gpt2: Any, tokenizer: Any) -> None:
    import torch

    count = sum(parameter.numel() for parameter in gpt2.parameters())
    file = write_gpt2_gguf(tmp_path / "gpt2.gguf", gpt2, tokenizer)
    assert read_header(file).count == read_header(file).parameters == count
    assert describe(str(file)).parameters == count
    loaded = load(resolve(str(file)), LoadOptions(device="cpu")).model
    assert sum(parameter.numel() for parameter in loaded.parameters()) == count
    assert loaded.config.tie_word_embeddings
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    for name, value in gpt2.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_tied_head_in_a_type_of_its_own_is_held_beside_the_embedding(
    tmp_path: Path, gpt2: Any, tokenizer: Any
) -> None:
    count = sum(parameter.numel() for parameter in gpt2.parameters())
    head = gpt2.transformer.wte.weight.numel()
    file = write_gpt2_gguf(tmp_path / "gpt2.gguf", gpt2, tokenizer, head_kind="Q8_0")
    header = read_header(file)
    assert (header.parameters, header.count) == (count, count + head)
    loaded = load(resolve(str(file)), LoadOptions(device="cpu")).model
    assert not loaded.config.tie_word_embeddings
    assert sum(parameter.numel() for parameter in loaded.parameters()) == count + head


def test_quantized_weights_are_those_that_gguf_tells(
    tmp_path: Path, llama: Any, tokenizer: Any
) -> None:
    import torch
    from gguf import GGMLQuantizationType, dequantize, quantize

    file = write_gguf(tmp_path / "q8.gguf", llama, tokenizer, kind="Q8_0")
    found = load(resolve(str(file)), LoadOptions(device="cpu")).model.state_dict()
    name = "model.embed_tokens.weight"
    kind = GGMLQuantizationType.Q8_0
    expected = dequantize(quantize(llama.state_dict()[name].numpy(), kind), kind)
    assert torch.equal(found[name], torch.from_numpy(expected))
    assert not torch.equal(found[name], llama.state_dict()[name])


def test_converted_once(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    said: list[str] = []
    resolved = resolve(str(file))
    folder = cached.checkpoint_of(resolved, said.append)
    assert any("converting" in line for line in said)
    assert contents(home) == [folder.name]
    check_folder(folder)
    assert not (folder / "source").exists()

    def refuse(*arguments: object) -> None:
        raise AssertionError("converted or hashed again")

    monkeypatch.setattr(convert, "convert", refuse)
    moved = file.rename(file.with_name("moved.gguf"))
    assert cached.checkpoint_of(ResolvedModel("moved", moved, "gguf"), said.append) == folder
    monkeypatch.setattr(cached, "_hashed", refuse)
    monkeypatch.setattr(cached, "read_header", refuse)
    assert cached.checkpoint_of(ResolvedModel("moved", moved, "gguf"), said.append) == folder


def test_conversions_are_listed_and_removed(
    file: Path, home: Path, settled: None, capfd: Any
) -> None:
    said: list[str] = []
    load(resolve(str(file)), LoadOptions(device="cpu", progress=said.append))
    assert said[0].startswith(f"converting {file}") and "converting" in said[1]
    (one,) = conversions()
    assert (one.name, one.key) == (file.name, one.path.name) and one.size_bytes > 100_000
    assert run(["models", "list"]) == 0
    listed = capfd.readouterr().out.split("converted GGUF files\n")[1]
    assert listed.split()[0] == file.name and one.key in listed
    assert run(["models", "rm", str(file), "--yes"]) == 0
    assert (conversions(), contents(home), file.exists()) == ([], [], True)
    assert not list((home / "stamps").iterdir())
    load(resolve(str(file)), LoadOptions(device="cpu"))
    assert run(["models", "rm", conversions()[0].key, "--yes"]) == 0
    assert conversions() == []


def test_conversions_of_one_name_are_removed_by_their_keys(home: Path) -> None:
    for key in ("ab-2", "cd-2"):
        (home / key).mkdir(parents=True)
        (home / key / "hfgen.json").write_text('{"source": "m.gguf"}')
    with pytest.raises(UsageError, match=r"2 different files named m\.gguf") as caught:
        local.plan_removal("m.gguf")
    assert "hfgen models rm ab-2" in str(caught.value.hint)
    local.plan_removal("cd-2").execute()
    assert [one.key for one in conversions()] == ["ab-2"]


def test_a_changed_file_is_another_model(
    file: Path, llama: Any, tokenizer: Any, settled: None
) -> None:
    first = cached.checkpoint_of(resolve(str(file)))
    found = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))  # the same size and time
    assert cached.checkpoint_of(resolve(str(file))) != first


def test_a_fresh_file_is_not_stamped(file: Path, home: Path) -> None:
    cached.checkpoint_of(resolve(str(file)))
    assert not (home / "stamps").exists()


def test_neighbours_of_the_file_do_not_matter(file: Path) -> None:
    (file.parent / "tokenizer_config.json").write_text('{"chat_template": "other"}')
    (file.parent / "generation_config.json").write_text('{"eos_token_id": 7}')
    loaded = load(resolve(str(file)), LoadOptions(device="cpu"))
    assert loaded.tokenizer.chat_template == CHAT_TEMPLATE
    assert loaded.model.generation_config.eos_token_id != 7


def test_a_damaged_conversion_is_made_again(file: Path, settled: None) -> None:
    folder = cached.checkpoint_of(resolve(str(file)))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    assert cached.checkpoint_of(resolve(str(file))) == folder
    assert weights.read_bytes() == whole


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch, settled: None) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "gguf" else find_spec(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    error = expect(MissingExtra, "GGUF file needs packages", file)
    assert error.hint == "pip install 'hfgen[gguf]'"
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    cached.checkpoint_of(resolve(str(file)))
    monkeypatch.setattr(importlib.util, "find_spec", without)
    # Converted already: the package is not needed.
    load(resolve(str(file)), LoadOptions(device="cpu"))


def test_too_little_space(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(file.parent)._replace(free=10**7)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = expect(OutputError, "only 0.0 GB are left", file)
    assert error.hint is not None and "HFGEN_CACHE_DIR" in error.hint
    assert contents(home) == []


def test_unwritable_cache(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    monkeypatch.setenv("HFGEN_CACHE_DIR", str(tmp_path / "plain" / "below"))
    expect(OutputError, "cannot write the converted", file)


def test_disk_full_while_converting(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    def fail(model: Any, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "save_pretrained", fail)
        expect(OutputError, "no space left", file)
    assert contents(home) == []
    load(resolve(str(file)), LoadOptions(device="cpu"))


# Damaged, foreign and strange files ---------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    expect(ModelNotFound, "there is no file", tmp_path / "none.gguf")


def test_truncated_at_every_length(session_file: Path, tmp_path: Path, home: Path) -> None:
    data = session_file.read_bytes()
    file = tmp_path / "cut.gguf"
    for length in [0, 3, 4, 8, 20, 24, 30, *range(100, len(data), 9973), len(data) - 1]:
        file.write_bytes(data[:length])
        expect(ModelDamaged, "no GGUF file|within its header|its header tells of", file)
    assert contents(home) == []


def test_damaged_headers_end_soon(session_file: Path, tmp_path: Path) -> None:
    """Lengths and counts of a damaged header are never believed."""
    import random

    data = session_file.read_bytes()
    file = tmp_path / "damaged.gguf"
    chance = random.Random(0)
    began = time.perf_counter()
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[chance.randrange(4, 600)] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            header.read_header(file)
        except (ModelDamaged, ModelUnsupported):
            refused += 1
    assert refused > 50
    assert time.perf_counter() - began < 30


def test_weights_that_are_no_numbers(
    tmp_path: Path, llama: Any, tokenizer: Any, home: Path
) -> None:
    model = copy.deepcopy(llama)
    model.model.norm.weight.data[3] = float("nan")
    file = write_gguf(tmp_path / "nan.gguf", model, tokenizer)
    expect(ModelDamaged, "no numbers", file)
    assert contents(home) == []


def test_other_files(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"<html>")
    expect(ModelDamaged, "no GGUF file", file)
    data = b"GGUF" + (1).to_bytes(4, "little") + bytes(100)
    file.write_bytes(data)
    expect(ModelUnsupported, "version 0x1", file)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"architecture": "rwkv6"}, "Transformers cannot read .*rwkv6"),
        ({"architecture": "clip"}, "no language model but vision"),
        ({"general__type": "adapter"}, "no language model but adapter"),
        ({"split__count": 3}, "one of 3 parts"),
    ],
)
def test_what_hfgen_cannot_run(
    tmp_path: Path, llama: Any, tokenizer: Any, changes: dict[str, Any], match: str, home: Path
) -> None:
    file = write_gguf(tmp_path / "other.gguf", llama, tokenizer, **changes)
    error = expect(ModelUnsupported, match, file)
    assert error.hint
    assert contents(home) == []


def test_missing_weights_are_not_made_up(
    tmp_path: Path, llama: Any, tokenizer: Any, home: Path
) -> None:
    model = copy.deepcopy(llama)
    model.config.num_hidden_layers = 3  # one more than there are weights for
    file = write_gguf(tmp_path / "short.gguf", model, tokenizer)
    expect(ModelDamaged, "weights are missing", file)
    assert contents(home) == []


def test_folders_with_gguf_files_name_the_file(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(file, folder / "b.gguf")
    error = expect(ModelUnsupported, "holds a GGUF file", folder)
    assert error.hint == f"name the file: -m {folder / 'b.gguf'}"
    (folder / "config.json").write_text('{"model_type": "llama"}')
    error = expect(ModelUnsupported, "weights in a GGUF file", folder)
    assert error.hint == f"name it: -m {folder / 'b.gguf'}"


def test_block_sizes_are_those_of_the_package() -> None:
    from gguf import GGML_QUANT_SIZES

    for kind, (name, elements, size) in header.BLOCKS.items():
        known = {int(k): (k.name, v) for k, v in GGML_QUANT_SIZES.items()}
        assert known[kind] == (name, (elements, size))


def test_header(session_file: Path, llama: Any) -> None:
    found = header.read_header(session_file)
    assert found.architecture == "llama"
    assert found.number("block_count") == 2
    assert found.number("attention.head_count_kv") == 2
    weights = {p.data_ptr(): p.numel() for p in llama.parameters()}
    assert found.count == sum(weights.values())


# Two processes, and kills -------------------------------------------------------------------

_CONVERT = """
import sys
from pathlib import Path
from hfgen.models.gguf.cached import checkpoint_of
from hfgen.models.naming.resolve import ResolvedModel
path = Path(sys.argv[1])
print(checkpoint_of(ResolvedModel("tiny.gguf", path, "gguf"), lambda line: print(line, flush=True)))
"""


def start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [warm.python("torch"), "-c", _CONVERT, str(file)], stdout=subprocess.PIPE, text=True
    )


def test_two_at_once(file: Path, home: Path) -> None:
    first, second = start(file), start(file)
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert outputs[0][-1] == outputs[1][-1]
    said = [line for output in outputs for line in output]
    assert sum("parameters), once" in line for line in said) == 1
    assert contents(home) == [Path(outputs[0][-1]).name]


def test_waiting_says_so(file: Path, home: Path) -> None:
    from filelock import FileLock

    folder = cached.checkpoint_of(resolve(str(file)))
    shutil.rmtree(folder)
    lock = FileLock(home / f"{folder.name}.lock")
    lock.acquire()
    process = start(file)
    assert process.stdout is not None
    assert "waiting for another process" in process.stdout.readline()
    lock.release()
    assert process.wait(timeout=120) == 0
    assert process.stdout.read().splitlines()[-1] == str(folder)
    process.stdout.close()


@pytest.mark.parametrize("when", ["converting", pytest.param("saved", marks=pytest.mark.slow)])
def test_killed(file: Path, home: Path, when: str, tmp_path: Path) -> None:
    """A kill at any moment leaves nothing that is loaded, and the next run succeeds."""
    script = _CONVERT.replace(
        "path = ",
        "import os, signal, shutil\n"
        "import transformers\n"
        "real = transformers.LlamaForCausalLM.save_pretrained\n"
        "def save(model, folder):\n"
        + ("    real(model, folder)\n" if when == "saved" else "    (folder / 'x').touch()\n")
        + "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "transformers.LlamaForCausalLM.save_pretrained = save\n"
        "path = ",
    )
    done = subprocess.run([warm.python("torch"), "-c", script, str(file)], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    (left,) = contents(home)
    assert left.endswith(".partial")
    loaded = load(resolve(str(file)), LoadOptions(device="cpu"))
    assert [left.removesuffix(".partial")] == contents(home)
    assert loaded.model.config.vocab_size == TOKENS
