"""What is here, what is known about it, fetching and removing: the functions."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from stand_ins import COMMIT, StandInHub, put_in_cache

from hfgen.errors import (
    HubUnreachable,
    ModelDamaged,
    ModelNotFound,
    UsageError,
)
from hfgen.models.hub import local, probe
from hfgen.models.naming.aliases import set_alias
from hfgen.models.naming.resolve import resolve
from hfgen.models.sizing import info
from hfgen.models.sizing.info import describe


@pytest.fixture
def offer(hub: StandInHub, tiny_folder: Path) -> dict[str, bytes]:
    hub.repos["org/name"] = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    return hub.repos["org/name"]


def parameters_of(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_cached_models(cache: Path, tiny_folder: Path) -> None:
    assert local.cached_models() == []
    whole = put_in_cache(cache, tiny_folder, "org/whole")
    torn = put_in_cache(cache, tiny_folder, "org/torn", ref=None)
    (torn / "model.safetensors").unlink()
    (cache / "models--org--begun" / "blobs").mkdir(parents=True)
    (cache / "models--org--begun" / "blobs" / "ab.hfgen.incomplete").write_bytes(b"12345")
    size = sum(file.stat().st_size for file in tiny_folder.iterdir())
    begun, torn_model, whole_model = local.cached_models()
    assert (whole_model.repo_id, whole_model.path, whole_model.commit, whole_model.problem) == (
        "org/whole", whole, COMMIT, None,
    )  # fmt: skip
    assert whole_model.size_bytes == size + len(COMMIT)
    assert torn_model.path == torn and "no weights" in (torn_model.problem or "")
    assert (begun.repo_id, begun.size_bytes, begun.path) == ("org/begun", 5, None)
    assert begun.problem == "the download is unfinished"


def test_pull_then_nothing_to_do(hub: StandInHub, offer: dict[str, bytes]) -> None:
    first = local.pull("org/name")
    assert (first.was_here, first.commit, first.repo_id) == (False, COMMIT, "org/name")
    assert first.size_bytes == sum(map(len, offer.values()))
    hub.requests.clear()
    second = local.pull("org/name")
    assert (second.was_here, second.path, hub.downloaded) == (True, first.path, set())


def test_pull_of_a_revision_leaves_main_alone(hub: StandInHub, offer: dict[str, bytes]) -> None:
    done = local.pull(f"org/name@{COMMIT}")
    assert resolve(f"org/name@{COMMIT}", offline=True).path == done.path
    hub.requests.clear()
    assert resolve("org/name").source == "hub"
    assert any("/main" in path or path.endswith("/org/name") for _, path in hub.requests)


def test_pull_replaces_what_is_damaged_here(
    hub: StandInHub, offer: dict[str, bytes], cache: Path
) -> None:
    path = local.pull("org/name").path
    blob = (path / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x55")
    told: list[str] = []
    hub.requests.clear()
    local.pull("org/name", progress=told.append)
    assert hub.downloaded == {"model.safetensors"}
    assert (path / "model.safetensors").read_bytes() == offer["model.safetensors"]
    assert "the cached model.safetensors is damaged: fetching it again" in told


def test_pull_without_network_checks_what_is_here(
    hub: StandInHub, offer: dict[str, bytes], cache: Path
) -> None:
    path = local.pull("org/name").path
    hub.requests.clear()
    done = local.pull("org/name", offline=True)
    assert done.was_here and hub.requests == []
    assert "offline mode is on: the copy that is here was checked" in done.notices[0]
    hub.hangs = True
    done = local.pull("org/name")
    assert "the Hugging Face Hub cannot be reached" in done.notices[0]
    blob = (path / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x55")
    with pytest.raises(ModelDamaged, match=r"model\.safetensors is damaged"):
        local.pull("org/name", offline=True)
    hub.hangs = False
    probe.stamp_file(hub.url).unlink()
    assert local.pull("org/name").path == path


def test_pull_of_what_is_not_the_hubs(tiny_folder: Path) -> None:
    assert local.pull("storyteller").was_here
    with pytest.raises(UsageError, match="is on this machine already"):
        local.pull(str(tiny_folder))
    with pytest.raises(ModelNotFound, match="there is no model 'gtp2'") as caught:
        local.pull("gtp2")
    assert caught.value.hint == "did you mean gpt2?"
    with pytest.raises(HubUnreachable, match="gpt2 is not on this machine and offline"):
        local.pull("gpt2", offline=True)


def test_pull_from_a_hub_that_is_not_there(hub: StandInHub) -> None:
    hub.hangs = True
    for _ in range(2):
        with pytest.raises(HubUnreachable, match="gpt2 is not on this machine and the Hugging"):
            local.pull("gpt2")
    assert len(hub.requests) == 1


def test_pull_announces_a_stand_in(hub: StandInHub, offer: dict[str, bytes]) -> None:
    hub.repos["HuggingFaceTB/SmolLM2-135M-Instruct"] = offer
    done = local.pull("gpt4-nano")
    assert done.repo_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert done.notices == (
        "gpt4-nano's weights are not public: using HuggingFaceTB/SmolLM2-135M-Instruct in its "
        "place",
    )


def test_removal(hub: StandInHub, offer: dict[str, bytes], cache: Path) -> None:
    local.pull("org/name")
    partial = cache / "models--org--name" / "blobs" / ("a" * 64 + ".hfgen.incomplete")
    partial.write_bytes(b"123")
    plan = local.plan_removal("org/name")
    assert (plan.repo_id, plan.commits, plan.folder.is_dir()) == ("org/name", (COMMIT,), True)
    assert plan.size_bytes >= sum(map(len, offer.values()))
    assert (cache / "models--org--name").is_dir()
    plan.execute()
    assert not (cache / "models--org--name").exists()
    with pytest.raises(ModelNotFound, match="org/name is not in the cache"):
        local.plan_removal("org/name")


def test_removal_of_an_unfinished_download(cache: Path) -> None:
    blobs = cache / "models--org--begun" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "ab.hfgen.incomplete").write_bytes(b"12345")
    plan = local.plan_removal("org/begun")
    assert (plan.size_bytes, plan.commits) == (5, ())
    plan.execute()
    assert local.cached_models() == []


def test_removal_of_one_revision(hub: StandInHub, offer: dict[str, bytes]) -> None:
    old = local.pull("org/name")
    hub.commit = "f" * 40
    offer["config.json"] += b"\n"
    new = local.pull("org/name")
    plan = local.plan_removal(f"org/name@{COMMIT}")
    assert plan.commits == (COMMIT,)
    assert plan.size_bytes == len(offer["config.json"]) - 1  # the rest is the new one's too
    plan.execute()
    assert not old.path.exists()
    assert resolve("org/name", offline=True).path == new.path
    assert (new.path / "model.safetensors").read_bytes() == offer["model.safetensors"]


def test_removal_follows_aliases_and_earlier_ids(cache: Path, tiny_folder: Path) -> None:
    put_in_cache(cache, tiny_folder, "gpt2")
    set_alias("mine", "gpt2")
    assert local.plan_removal("mine").repo_id == "gpt2"


def test_removal_refuses_what_is_not_the_caches(tiny_folder: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match="ships with hfgen"):
        local.plan_removal("storyteller")
    with pytest.raises(UsageError, match="a folder or file of your own"):
        local.plan_removal(str(tiny_folder))
    put_in_cache(cache, tiny_folder, "org/name")
    with pytest.raises(ModelNotFound) as caught:
        local.plan_removal("org/nmae")
    assert caught.value.hint == "did you mean org/name?"


def test_facts_of_the_bundled_model() -> None:
    known = describe("storyteller", offline=True)
    assert (known.where, known.architecture, known.window, known.vocabulary) == (
        "bundled", "gpt2", 512, 4096,
    )  # fmt: skip
    assert (known.layers, known.width, known.heads) == (6, 256, 4)
    assert (known.parameters, known.licence, known.has_template) == (5_918_720, "apache-2.0", False)
    assert known.memory_bytes == {
        "float32": 23_674_880, "bfloat16": 11_837_440, "float16": 11_837_440,
    }  # fmt: skip
    assert known.unknown == [] and known.disk_bytes and known.files["safetensors"] == 1


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neo", "gptj", "gpt_neox", "opt", "llama", "bloom"])
def test_parameters_are_counted_as_the_model_has_them(
    model_of: Any, tokenizer: Any, tmp_path: Path, kind: str
) -> None:
    model_of(kind).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    known = describe(str(tmp_path / "m"), offline=True)
    assert known.where == "folder"
    assert known.parameters == parameters_of(model_of(kind))
    assert known.window == getattr(model_of(kind).config, "max_position_embeddings", None)


def test_buffers_and_tied_weights_in_old_files_do_not_count(
    tiny_folder: Path, model_of: Any
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = tiny_folder / "model.safetensors"
    tensors = load_file(file)
    tensors["transformer.h.0.attn.bias"] = torch.zeros(1, 1, 128, 128)
    tensors["transformer.h.0.attn.masked_bias"] = torch.zeros(())
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, file)
    assert describe(str(tiny_folder)).parameters == parameters_of(model_of("gpt2"))


def test_facts_of_a_catalogue_model_that_is_not_here() -> None:
    known = describe("gpt3-curie", offline=True)
    assert (known.where, known.repo_id, known.parameters) == (
        "catalogue", "EleutherAI/gpt-j-6b", 6_050_882_784,
    )  # fmt: skip
    assert known.stands_in_for == "GPT-3 curie" and known.why
    assert known.unknown == ["architecture", "has_template", "disk_bytes"]


def test_facts_of_a_cached_model(cache: Path, tiny_folder: Path) -> None:
    (tiny_folder / "chat_template.jinja").write_text("{{ messages }}")
    (tiny_folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# x\n")
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    known = describe("org/name", offline=True)
    assert (known.where, known.path, known.revision) == ("cache", str(snapshot), COMMIT)
    assert (known.licence, known.has_template, known.files["template"]) == ("mit", True, 1)
    assert known.disk_bytes == sum(file.stat().st_size for file in tiny_folder.iterdir())


def test_facts_from_the_hub(hub: StandInHub, offer: dict[str, bytes], cache: Path) -> None:
    known = describe("org/name")
    assert (known.where, known.licence, known.parameters, known.architecture) == (
        "hub", "mit", 1234, "gpt2",
    )  # fmt: skip
    assert hub.downloaded == set() and not cache.exists()
    with pytest.raises(HubUnreachable):
        describe("org/name", offline=True)


def test_facts_of_an_incomplete_copy_say_so(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    (snapshot / "model.safetensors").unlink()
    known = describe("gpt2", offline=True)
    assert known.where == "catalogue"
    assert "the cached copy of openai-community/gpt2 is incomplete" in (known.problem or "")


def test_facts_of_a_broken_folder(tiny_folder: Path) -> None:
    (tiny_folder / "config.json").write_text("{")
    known = describe(str(tiny_folder))
    assert "config.json is no valid JSON" in (known.problem or "")
    (tiny_folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tiny_folder / "model.safetensors").write_bytes(b"\xff" * 9)
    assert describe(str(tiny_folder)).parameters is None


def test_facts_of_a_gguf_file(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(128)
    writer.add_block_count(2)
    writer.add_license("mit")
    import numpy

    writer.add_tensor("a.weight", numpy.zeros((8, 4), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    known = describe(str(file), offline=True)
    assert (known.where, known.architecture, known.window, known.layers) == (
        "gguf", "llama", 128, 2,
    )  # fmt: skip
    assert (known.parameters, known.licence, known.has_template) == (32, "mit", False)
    file.write_bytes(b"GGUF")
    assert describe(str(file), offline=True).problem


def test_facts_of_an_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "storyteller"})
    )
    (folder / "adapter_model.safetensors").write_bytes(b"")
    known = describe(str(folder), offline=True)
    assert (known.where, known.note, known.window) == ("adapter", "an adapter of storyteller", 512)


def test_facts_of_nothing() -> None:
    with pytest.raises(ModelNotFound, match="there is no model 'gtp2'"):
        describe("gtp2", offline=True)
    with pytest.raises(ModelNotFound, match="there is no folder"):
        describe("./none", offline=True)


def test_describing_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys\n"
        "from hfgen.models.sizing.info import describe\n"
        "from hfgen.models.hub.local import cached_models\n"
        "describe('storyteller', offline=True); cached_models()\n"
        "assert not {'torch', 'transformers', 'httpx2', 'tokenizers'} & set(sys.modules)\n"
    )
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)


def test_kinds_of_files() -> None:
    kinds = {
        "model.safetensors": "safetensors", "model.safetensors.index.json": "index",
        "pytorch_model.bin": "pickled", "tokenizer.json": "tokenizer", "merges.txt": "tokenizer",
        "chat_template.jinja": "template", "config.json": "configuration", "x.py": "code",
        "README.md": "other", "m.gguf": "gguf", "special_tokens_map.json": "tokenizer",
    }  # fmt: skip
    assert {name: info._kind_of(name) for name in kinds} == kinds


def test_hash_of_the_stand_in_is_the_hubs(offer: dict[str, bytes]) -> None:
    # The hash of an empty file in every Git repository, and SHA-256 as sha256sum prints it.
    from stand_ins import git_hash

    assert git_hash(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert sha256(b"").hexdigest().startswith("e3b0c44298fc1c14")
