from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import StandInHub, put_in_cache

import hfgen
from hfgen.errors import HubUnreachable, ModelNotFound
from hfgen.models.naming.resolve import resolve
from hfgen.models.sizing import estimate as module
from hfgen.models.sizing import fit, memory
from hfgen.models.sizing.estimate import estimate, need_of
from hfgen.models.sizing.memory import Memory
from hfgen.models.sizing.shape import shape_of

GPT2 = {
    "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
    "vocab_size": 50257,
}  # fmt: skip


def test_numbers_of_gpt2() -> None:
    shape = shape_of(GPT2)
    need = need_of(shape, "float32", "float32", 1024, 2)
    assert need.weights_bytes == 124_439_808 * 4
    assert need.kv_bytes == 2 * 1024 * 2 * 12 * 768 * 4
    assert need.loading_bytes == 0
    assert need.peak_bytes == need.weights_bytes + need.kv_bytes + need.working_bytes
    half = need_of(shape, "bfloat16", "float32", 1024, 2)
    assert half.weights_bytes * 2 == need.weights_bytes
    assert half.kv_bytes * 2 == need.kv_bytes
    assert half.loading_bytes == need.weights_bytes  # the file that it is read from
    small = [need_of(shape, dtype, None, 1024, 1).weights_bytes for dtype in ("int8", "int4")]
    embeddings = (50257 + 1024) * 768
    assert embeddings * 2 < small[1] < half.weights_bytes
    assert embeddings * 5 < small[0] < need.weights_bytes


def test_grouped_queries_shrink_the_cache(model_of: Callable[[str], Any]) -> None:
    config = json.loads(model_of("llama").config.to_json_string())
    few = need_of(shape_of(config), "float32", None, 100, 1).kv_bytes
    all_heads = need_of(shape_of(config | {"num_key_value_heads": 4}), "float32", None, 100, 1)
    assert few * 2 == all_heads.kv_bytes


@pytest.mark.parametrize("slots", [1, 2, 16])
def test_more_texts_and_context_need_more(slots: int) -> None:
    shape = shape_of(GPT2)
    peaks = [need_of(shape, "float32", None, n, slots).peak_bytes for n in (64, 128, 512, 1024)]
    assert peaks == sorted(peaks) and len(set(peaks)) == 4
    more = need_of(shape, "float32", None, 64, slots + 1).peak_bytes
    assert more > peaks[0]


def test_a_folder(tiny_folder: Path) -> None:
    found = estimate(str(tiny_folder))
    assert found.shape.weights == sum(
        p.numel() for p in hfgen.load(str(tiny_folder), device="cpu").model.parameters()
    )
    assert (found.context, found.slots) == (128, 1)
    assert estimate(str(tiny_folder), context=50).context == 50
    assert estimate(str(tiny_folder), context=500).context == 128
    assert found.needs[1].loading_bytes == found.needs[0].weights_bytes


def test_a_gguf_file_and_an_adapter(
    tmp_path: Path, model_of: Callable[[str], Any], tokenizer: Any, tiny_folder: Path
) -> None:
    pytest.importorskip("gguf")
    from gguf_files import write_gguf

    file = write_gguf(tmp_path / "a.gguf", model_of("llama"), tokenizer)
    shape = shape_of(json.loads(model_of("llama").config.to_json_string(use_diff=False)))
    assert estimate(str(file)).shape == shape
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tiny_folder)})
    )
    found = estimate(str(adapter))
    assert (found.name, found.shape.width) == (str(adapter), 32)


def test_the_hub_is_asked_for_the_configuration_alone(
    hub: StandInHub, tiny_folder: Path, cache: Path
) -> None:
    hub.repos["acme/tiny"] = {p.name: p.read_bytes() for p in tiny_folder.iterdir()}
    assert estimate("acme/tiny").shape.width == 32
    assert hub.downloaded == {"config.json"}
    assert not cache.exists() or not any(cache.glob("models--*"))
    with pytest.raises(ModelNotFound):
        estimate("acme/none")
    del hub.repos["acme/tiny"]["config.json"]
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        estimate("acme/tiny")


def test_offline(hub: StandInHub, tiny_folder: Path, cache: Path) -> None:
    with pytest.raises(HubUnreachable):
        estimate("acme/tiny", offline=True)
    put_in_cache(cache, tiny_folder, "acme/tiny")
    assert estimate("acme/tiny", offline=True).shape.width == 32
    assert hub.requests == []


def test_what_fits(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "main_memory", lambda: Memory("cpu", 10**9, 900_000))
    monkeypatch.setattr(module, "gpu_memory", lambda: Memory("cuda", 10**9, 10**8))
    found = estimate(str(tiny_folder))
    assert 900_000 < found.needs[0].peak_bytes < 10**8
    written = found.to_dict()["needs"][0]  # type: ignore[index]
    assert written["fits"] == {"cpu": False, "cuda": True}


# This machine ---------------------------------------------------------------------------------


def test_main_memory_is_that_of_psutil() -> None:
    psutil = pytest.importorskip("psutil")
    found = memory.main_memory()
    assert found is not None
    assert 0 < found.available_bytes <= found.total_bytes <= psutil.virtual_memory().total
    assert found.total_bytes > 10**8


V2 = {"limit": "memory.max", "used": "memory.current", "cache": "inactive_file"}
V1 = {
    "limit": "memory.limit_in_bytes", "used": "memory.usage_in_bytes",
    "cache": "total_inactive_file",
}  # fmt: skip


def control_group(folder: Path, names: dict[str, str], limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names["limit"]).write_text(f"{limit}\n")
    (folder / names["used"]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"active_file 7\n{names['cache']} {cache}\n")


@pytest.mark.parametrize(
    ("names", "root", "unlimited"), [(V2, ".", "max"), (V1, "memory", str(2**63 - 4096))]
)
@pytest.mark.parametrize("groups", [None, "0::/\n4:memory:/\n", "0::/a/b\n4:memory:/a/b\n"])
def test_a_container_has_less(
    names: dict[str, str],
    root: str,
    unlimited: str,
    groups: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache of files that were read does not count as used."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    if groups is not None:
        (tmp_path / "own").write_text(groups)
    outside = memory.main_memory()
    assert outside is not None
    control_group(tmp_path / root, names, "100000000", 90_000_000, 50_000_000)
    assert memory.main_memory() == Memory("cpu", 100_000_000, 60_000_000)
    (tmp_path / root / "memory.stat").unlink()
    assert memory.main_memory() == Memory("cpu", 100_000_000, 10_000_000)
    control_group(tmp_path / root, names, unlimited, 90_000_000, 0)
    found = memory.main_memory()
    assert found is not None and found.total_bytes == outside.total_bytes


def test_the_lowest_limit_of_nested_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text("0::/jobs/mine\n")
    control_group(tmp_path / "jobs", V2, "300000000", 280_000_000, 0)
    control_group(tmp_path / "jobs" / "mine", V2, "200000000", 90_000_000, 50_000_000)
    assert memory.main_memory() == Memory("cpu", 200_000_000, 20_000_000)


def test_other_sources_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = memory.main_memory()
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    second = memory.main_memory()
    monkeypatch.setattr(memory, "_from_sysconf", lambda: None)
    third = memory.main_memory()
    assert first is not None and second is not None and third is not None
    assert second.total_bytes == pytest.approx(first.total_bytes, rel=0.01)
    assert third.total_bytes == pytest.approx(first.total_bytes, rel=0.01)


# The warning before loading -------------------------------------------------------------------


def test_a_model_that_fits_is_not_warned_of(tiny_folder: Path) -> None:
    said: list[str] = []
    hfgen.load(str(tiny_folder), device="cpu", notify=said.append)
    assert said == []


def test_one_line_of_warning_before_loading(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "main_memory", lambda: Memory("cpu", 10**6, 10**5))
    said: list[str] = []
    hfgen.load(str(tiny_folder), device="cpu", notify=said.append)
    (line,) = said
    assert line.startswith(f"{tiny_folder} needs about 1 MB in float32, but only 0 MB of memory")
    monkeypatch.setattr(fit, "has_nvidia_driver", lambda: True)
    fit.warn_of_main_memory(resolve(str(tiny_folder)), "auto", "auto", said.append)
    assert len(said) == 1  # a GPU may run it
    hfgen.load(str(tiny_folder), device_map="auto", notify=said.append)
    assert len(said) == 1  # it will be spread


def test_the_warning_is_never_an_error(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "main_memory", lambda: Memory("cpu", 10**6, 0))
    resolved = resolve(str(tiny_folder))
    (tiny_folder / "config.json").write_text('{"model_type": "frob"}')
    assert fit.warning(resolved, "float32", Memory("cpu", 1, 0)) is None
    (tiny_folder / "config.json").write_text("{")
    assert fit.warning(resolved, "float32", Memory("cpu", 1, 0)) is None
    missing = replace(resolved, path=tiny_folder / "none")
    assert fit.warning(missing, "float32", Memory("cpu", 1, 0)) is None
