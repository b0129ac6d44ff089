"""A model that the user named is the model that answers, or there is an error."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import StandInHub, put_in_cache

from hfgen.errors import HfgenError
from hfgen.models.naming import catalogue
from hfgen.models.naming.aliases import set_alias
from hfgen.models.naming.resolve import ResolvedModel, bundled_folder, resolve

NAMED = [
    *catalogue.CATALOGUE, "org/name", "org/name@main", "poet", "tiny", "./tiny", "gpt2@main",
    "gtp2", "org/nmae", "none", "./none", "none.gguf", "gpt2-", "GPT2", "gpt-2", "gpt5",
]  # fmt: skip


def _nothing(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    """The Hub is there and has nothing."""


def _cached(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    for repo_id in ("openai-community/gpt2", "org/name", "EleutherAI/gpt-neo-1.3B"):
        put_in_cache(cache, folder, repo_id)


def _torn(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    _cached(hub, files, cache, folder)
    for weights in cache.rglob("model.safetensors"):
        weights.unlink()


def _on_the_hub(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    for entry in catalogue.CATALOGUE.values():
        if entry.repo_id:
            hub.repos[entry.repo_id] = files
    hub.repos["org/name"] = files


def _refusing(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    _on_the_hub(hub, files, cache, folder)
    hub.faults["/api/"] = (503, {})


def _corrupting(hub: StandInHub, files: dict[str, bytes], cache: Path, folder: Path) -> None:
    _on_the_hub(hub, files, cache, folder)
    hub.corrupted.add("model.safetensors")


WORLDS = [_nothing, _cached, _torn, _on_the_hub, _refusing, _corrupting]


@pytest.fixture
def world(
    hub: StandInHub, tiny_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Any], None]]:
    files = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    here = tmp_path / "here"
    shutil.copytree(tiny_folder, here / "tiny")
    monkeypatch.chdir(here)
    set_alias("poet", "org/name")
    yield lambda prepare: prepare(hub, files, cache, tiny_folder)


def is_what_was_named(name: str, found: ResolvedModel) -> bool:
    """Whether what was found is what the name means by the documentation."""
    bare = name.partition("@")[0]
    entry = catalogue.find(bare)
    if entry is not None and entry.is_bundled:
        return found.source == "bundled" and found.path == bundled_folder()
    if entry is not None:
        is_announced = catalogue.stand_in_notice(entry) in (None, *found.notices)
        return found.repo_id in (entry.repo_id, *entry.legacy_ids) and is_announced
    if bare in ("org/name", "poet"):
        return found.repo_id == "org/name"
    return name in ("tiny", "./tiny") and found.path.samefile(Path("tiny"))


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
@pytest.mark.parametrize("prepare", WORLDS, ids=lambda world: world.__name__.strip("_"))
def test_the_named_model_or_an_error(
    world: Callable[[Any], None], prepare: Callable[..., None], offline: bool
) -> None:
    world(prepare)
    answered = []
    for name in NAMED:
        try:
            found = resolve(name, offline=offline)
        except HfgenError as error:
            assert error.hint, name
            continue
        assert found.name == name
        assert is_what_was_named(name, found), (name, found)
        answered.append(name)
    assert "storyteller" in answered and "./tiny" in answered
    assert ("gpt2" in answered) == (prepare is _cached or (prepare is _on_the_hub and not offline))


def test_only_without_a_name_may_the_bundled_model_answer_and_it_says_so(
    world: Callable[[Any], None],
) -> None:
    world(_refusing)
    found = resolve(None)
    assert found.source == "bundled" and "using the bundled model" in found.notices[0]


def test_the_record_bears_the_name_that_was_typed(
    world: Callable[[Any], None], tmp_path: Path
) -> None:
    from hfgen.loading import load

    world(_cached)
    assert load("poet", device="cpu").name == "poet"
    lm = load("gpt3", device="cpu")
    assert lm.name == "gpt3"
    assert lm.notices == (
        "gpt3's weights are not public: using EleutherAI/gpt-neo-1.3B in its place",
    )
