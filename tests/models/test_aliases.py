from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from stand_ins import put_in_cache

from hfgen.errors import (
    HfgenError,
    HubUnreachable,
    InvalidOption,
    ModelNotFound,
    OutputError,
    UsageError,
)
from hfgen.models.hub.local import plan_removal
from hfgen.models.naming import aliases
from hfgen.models.naming.aliases import remove_alias, set_alias, user_aliases
from hfgen.models.naming.resolve import resolve


def test_set_list_and_remove() -> None:
    assert user_aliases() == {}
    assert set_alias("poet", "me/poems") == "me/poems"
    set_alias("big", "gpt2-xl")
    assert user_aliases() == {"big": "gpt2-xl", "poet": "me/poems"}
    set_alias("poet", "me/poems@v2")
    assert remove_alias("poet") == "me/poems@v2"
    assert user_aliases() == {"big": "gpt2-xl"}
    assert [path.name for path in aliases.alias_file().parent.iterdir()] == ["aliases.json"]


def test_an_alias_is_resolved_and_keeps_its_name(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "me/poems")
    set_alias("poet", "me/poems")
    found = resolve("poet")
    assert (found.name, found.path, found.repo_id) == ("poet", snapshot, "me/poems")


def test_a_folder_means_the_same_from_everywhere(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set_alias("draft", "./tiny") == set_alias("draft2", "tiny") == str(tiny_folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("draft", "draft2"):
        found = resolve(name)
        assert (found.name, found.source) == (name, "folder")
        assert found.path.samefile(tiny_folder)


def test_an_alias_of_a_stand_in_announces_it(cache: Path, tiny_folder: Path) -> None:
    put_in_cache(cache, tiny_folder, "EleutherAI/gpt-neo-1.3B")
    set_alias("old", "gpt3")
    assert resolve("old").notices == (
        "gpt3's weights are not public: using EleutherAI/gpt-neo-1.3B in its place",
    )


def test_errors_say_what_the_alias_stands_for() -> None:
    set_alias("poet", "me/poems")
    with pytest.raises(HubUnreachable, match="poet stands for me/poems: me/poems is not on this"):
        resolve("poet")


@pytest.mark.parametrize("name", ["gpt2", "storyteller", "gpt4-nano"])
def test_the_catalogue_is_not_shadowed(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is an alias of the catalogue") as caught:
        set_alias(name, "me/poems")
    assert f"alias my-{name}=me/poems" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="of the catalogue and stays"):
        remove_alias(name)


def test_the_catalogue_wins_where_the_file_says_otherwise(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    aliases.alias_file().parent.mkdir(parents=True)
    aliases.alias_file().write_text('{"gpt2": "me/poems"}')
    assert resolve("gpt2").path == snapshot


def test_no_alias_of_an_alias() -> None:
    set_alias("poet", "me/poems")
    with pytest.raises(UsageError, match="poet is an alias of your own"):
        set_alias("bard", "poet")
    with pytest.raises(UsageError, match="an alias of your own"):
        set_alias("self", "self")
    aliases.alias_file().write_text('{"a": "b", "b": "a"}')
    with pytest.raises(ModelNotFound, match="the alias a names the alias b"):
        resolve("a")


@pytest.mark.parametrize(
    "name", ["", "a/b", "a b", "a@b", "../x", "-x", "x.gguf", "x.safetensors", "a" * 65, "é"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidOption):
        set_alias(name, "gpt2")


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(InvalidOption):
        set_alias("poet", " ")


def test_removing_what_is_not_there_suggests_the_nearest() -> None:
    set_alias("poet", "me/poems")
    with pytest.raises(ModelNotFound) as caught:
        remove_alias("poett")
    assert caught.value.hint == "did you mean poet?"


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "\xff"])
def test_a_broken_file_is_named_and_left_alone(text: str, cache: Path, tiny_folder: Path) -> None:
    file = aliases.alias_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    for call in (lambda: resolve("poet"), lambda: set_alias("poet", "gpt2")):
        with pytest.raises(HfgenError, match=r"aliases\.json"):
            call()
    assert file.read_bytes() == text.encode("latin-1")
    put_in_cache(cache, tiny_folder, "org/name")
    assert resolve("org/name").source == "cache"
    assert resolve("storyteller").source == "bundled"


def test_a_failed_write_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    set_alias("poet", "me/poems")

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OutputError, match="No space left"):
            set_alias("bard", "me/plays")
    assert json.loads(aliases.alias_file().read_text()) == {"poet": "me/poems"}
    assert [path.name for path in aliases.alias_file().parent.iterdir()] == ["aliases.json"]


def test_a_wrong_name_suggests_an_alias_of_ones_own(tiny_folder: Path) -> None:
    set_alias("shakespeare", str(tiny_folder))
    with pytest.raises(ModelNotFound) as caught:
        resolve("shakespear")
    assert caught.value.hint == "did you mean shakespeare?"


def test_a_folder_of_the_name_does_not_hide_an_alias(
    cache: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "me/poems")
    set_alias("poet", "me/poems")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder, tmp_path / "poet")
    found = resolve("poet")
    assert found.path == snapshot
    assert found.notices == ("poet is an alias of yours; for the folder of that name write ./poet",)


def test_aliases_are_found_in_any_case(
    cache: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    large = put_in_cache(cache, tiny_folder, "openai-community/gpt2-xl")
    for name, expected in (("GPT2", snapshot), ("gpt-2", snapshot), ("Gpt-2-XL", large)):
        found = resolve(name)
        assert (found.name, found.path) == (name, expected)
    assert resolve("StoryTeller").source == "bundled"
    poems = put_in_cache(cache, tiny_folder, "me/poems")
    set_alias("Poet", "me/poems")
    assert resolve("poet").path == resolve("POET").path == poems
    assert plan_removal("GPT-2").repo_id == "openai-community/gpt2"
    # What is written otherwise never hides a folder of the very name.
    monkeypatch.chdir(tmp_path)
    for name in ("GPT2", "POET", "StoryTeller"):
        shutil.copytree(tiny_folder, tmp_path / name)
        assert resolve(name).source == "folder"
