from __future__ import annotations

import gc
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_ins import environment

import hfgen
from hfgen.errors import (
    DeviceUnavailable,
    HfgenError,
    InvalidOption,
    MissingExtra,
    OptionConflict,
    OutOfMemory,
)
from hfgen.models.checkpoint import placement
from hfgen.models.checkpoint.load import load
from hfgen.models.checkpoint.load_options import LoadOptions
from hfgen.models.naming.resolve import resolve
from tests import warm

PROMPTS = ["Once upon a time", "The king said", "A"]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have accelerate believe in so many bytes of memory, and no GPU."""
    from transformers.integrations import accelerate

    def limit(size: int) -> None:
        monkeypatch.setattr(accelerate, "get_max_memory", lambda limits=None: {"cpu": size})

    return limit


def texts(lm: Any) -> list[str]:
    records = lm.generate(PROMPTS, do_sample=False, max_new_tokens=16, slots=2)
    records += lm.generate(PROMPTS, temperature=1.0, seed=3, max_new_tokens=16, slots=3)
    records += [lm.generate(PROMPTS[0], num_beams=2, do_sample=False, max_new_tokens=8)]
    return [record.completion for record in records]


def expect(kind: type[HfgenError], match: str, name: Path, **options: Any) -> None:
    with pytest.raises(HfgenError, match=match) as caught:
        load(resolve(str(name)), LoadOptions(**options))
    assert type(caught.value) is kind


def test_everything_on_one_device_without_need(tiny_folder: Path) -> None:
    loaded = load(resolve(str(tiny_folder)), LoadOptions(device_map="auto"))
    assert len({p.device for p in loaded.model.parameters()}) == 1
    assert all(p.device.type in ("cpu", "cuda") for p in loaded.model.parameters())


@pytest.mark.parametrize("is_sharded", [False, True])
def test_memory_and_disk(
    tiny_folder: Path,
    tmp_path: Path,
    memory: Callable[[int], None],
    is_sharded: bool,
    model_of: Any,
) -> None:
    """A model of which only a part fits into the memory writes the same texts."""
    if is_sharded:
        (tiny_folder / "model.safetensors").unlink()
        model_of("gpt2").save_pretrained(tiny_folder, max_shard_size="100KB")
        assert len(list(tiny_folder.glob("*.safetensors"))) > 2
    expected = texts(hfgen.load(str(tiny_folder), device="cpu"))
    memory(620_000)  # the embeddings are 541 kB, each of three layers is 51 kB
    lm = hfgen.load(str(tiny_folder), device_map="auto")
    placed = set(lm.model.hf_device_map.values())
    assert placed == {"cpu", "disk"}
    assert any(p.device.type == "meta" for p in lm.model.parameters())
    assert texts(lm) == expected
    # Safetensors are read where they are.
    assert not list((tmp_path / "hfgen-cache").glob("offload/**/*.safetensors"))


def test_no_memory_at_all(tiny_folder: Path, memory: Callable[[int], None]) -> None:
    memory(1000)
    expect(OutOfMemory, "no memory is left for the embeddings", tiny_folder, device_map="auto")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    offload = tmp_path / "hfgen-cache" / "offload"
    for process in ("1", "999999999"):
        (offload / process).mkdir(parents=True)
    placement._offload_folder()
    assert [p.name for p in offload.iterdir()] == ["1"]


def pickled(folder: Path) -> Path:
    """The folder with weights that have to be written again to be read from the disk."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_each_model_s_files_go_with_it(
    tiny_folder: Path, tmp_path: Path, memory: Callable[[int], None]
) -> None:
    offload = tmp_path / "hfgen-cache" / "offload"
    memory(620_000)
    name = str(pickled(tiny_folder))
    first, second = hfgen.load(name, device_map="auto"), hfgen.load(name, device_map="auto")
    count = len(list(offload.glob("*/*/*.safetensors")))
    assert count and texts(first)
    del first
    gc.collect()
    assert len(list(offload.glob("*/*/*.safetensors"))) == count // 2
    assert texts(second)
    placement.remove_offloaded()
    assert not offload.exists()


def test_the_program_leaves_no_files(tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ["generate", "-m", str(pickled(tiny_folder)), "hi", "-n", "2"]
    program = (
        "import sys; from transformers.integrations import accelerate; "
        "accelerate.get_max_memory = lambda limits=None: {'cpu': 620_000}; "
        f"sys.argv = {['hfgen', *arguments, '--device-map', 'auto']!r}; "
        "from hfgen.cli.program.main import main; main()"
    )
    done = subprocess.run(
        [warm.python("torch"), "-c", program],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("hi")
    assert not (tmp_path / "hfgen-cache" / "offload").exists()


def test_names(tiny_folder: Path) -> None:
    expect(InvalidOption, "device_map = 'gpu': must be auto", tiny_folder, device_map="gpu")
    expect(InvalidOption, "attn = 'fast': must be eager, sdpa", tiny_folder, attn="fast")
    expect(OptionConflict, "device cpu names one", tiny_folder, device="cpu", device_map="auto")


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_attention(tiny_folder: Path, attn: str) -> None:
    loaded = load(resolve(str(tiny_folder)), LoadOptions(device="cpu", attn=attn))
    assert loaded.model.config._attn_implementation == attn


def test_attention_changes_no_text(tiny_folder: Path) -> None:
    eager, sdpa = (
        texts(hfgen.load(str(tiny_folder), device="cpu", attn=attn)) for attn in ("eager", "sdpa")
    )
    assert eager == sdpa and all(eager)


def test_flash_attention_is_checked_first(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    has_package = False
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: has_package or None if name == "flash_attn" else find_spec(name, *rest),
    )
    options = {"device": "cpu", "attn": "flash_attention_2"}
    expect(MissingExtra, "flash_attention_2 needs packages", tiny_folder, **options)
    has_package = True
    expect(DeviceUnavailable, "runs on a CUDA GPU only, not on cpu", tiny_folder, **options)
