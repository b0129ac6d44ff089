from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from stand_ins import COMMIT, put_in_cache

from hfgen.errors import (
    HubUnreachable,
    InvalidOption,
    ModelDamaged,
    ModelNotFound,
    ModelUnsupported,
)
from hfgen.models.checkpoint.layout import check_folder
from hfgen.models.hub import client as hub_module
from hfgen.models.hub import local
from hfgen.models.naming.resolve import bundled_folder, resolve


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub_module, "is_hub_reachable", refuse)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_bundled_model() -> None:
    found = resolve("storyteller")
    assert (found.name, found.source, found.notices) == ("storyteller", "bundled", ())
    check_folder(found.path)
    assert (found.path / "README.md").is_file()


def test_bundled_files_name_no_paths() -> None:
    for file in bundled_folder().iterdir():
        assert b"/home/" not in file.read_bytes(), file


def test_default_is_gpt2_when_cached(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    found = resolve(None)
    assert found.path == snapshot
    assert (found.name, found.source, found.repo_id, found.revision, found.notices) == (
        "gpt2", "cache", "openai-community/gpt2", COMMIT, (),
    )  # fmt: skip


def test_default_without_network_is_the_bundled_model_with_a_notice() -> None:
    found = resolve(None, offline=True)
    assert (found.name, found.source, found.path) == ("storyteller", "bundled", bundled_folder())
    assert found.notices == (
        "gpt2 is not on this machine and offline mode is on: using the bundled model "
        '"storyteller" (hfgen generate -m storyteller)',
    )


def test_environment_switches_the_network_off() -> None:
    # tests/conftest.py sets HF_HUB_OFFLINE.
    assert resolve(None).source == "bundled"


def test_a_named_model_is_never_replaced() -> None:
    with pytest.raises(HubUnreachable, match="gpt2 is not on this machine and offline mode is on"):
        resolve("gpt2")
    with pytest.raises(HubUnreachable, match="org/name is not on this machine"):
        resolve("org/name")


@pytest.mark.parametrize("repo_id", ["openai-community/gpt2", "gpt2"])
def test_alias_is_found_under_its_old_id_too(cache: Path, tiny_folder: Path, repo_id: str) -> None:
    snapshot = put_in_cache(cache, tiny_folder, repo_id)
    found = resolve("gpt2")
    assert (found.path, found.repo_id) == (snapshot, repo_id)
    if repo_id == "gpt2":
        with pytest.raises(HubUnreachable):
            resolve("openai-community/gpt2")
    else:
        assert resolve("openai-community/gpt2").path == snapshot


def test_cached_hub_id_and_revisions(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name", ref="refs/pr/1")
    for name in ("org/name@refs/pr/1", f"org/name@{COMMIT}"):
        found = resolve(name)
        assert (found.name, found.path, found.revision) == (name, snapshot, COMMIT)
    for name in ("org/name", "org/name@v2", "org/name@" + "f" * 40):
        with pytest.raises(HubUnreachable):
            resolve(name)


def test_revision_of_an_alias(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2", ref="v1")
    assert resolve("gpt2@v1").path == snapshot


@pytest.mark.parametrize(
    "name", ["org/name@", "org/name@../../x", "org/name@a b", "gpt2@", "", " ", "a\0b"]
)
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(InvalidOption):
        resolve(name)


@pytest.mark.parametrize(
    "name", ["../none", "/none/at/all", "~nobody-of-that-name/x", "./none", "none/"]
)
def test_missing_folder(here: Path, name: str) -> None:
    with pytest.raises(ModelNotFound, match="there is no folder"):
        resolve(name)


def test_folder_by_path(here: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_folder, here / "mine")
    monkeypatch.setenv("HOME", str(here))
    for name in ("./mine", "mine/", "mine", str(here / "mine"), "../here/mine", "~/mine"):
        found = resolve(name)
        assert (found.name, found.source, found.notices) == (name, "folder", ())
        assert found.path.samefile(here / "mine")


def test_alias_beats_a_folder_of_its_name_with_a_notice(
    here: Path, cache: Path, tiny_folder: Path
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "openai-community/gpt2")
    shutil.copytree(tiny_folder, here / "gpt2")
    found = resolve("gpt2")
    assert found.path == snapshot
    assert found.notices == (
        "gpt2 is the catalogue's model; for the folder of that name write ./gpt2",
    )
    assert resolve("./gpt2").path.samefile(here / "gpt2")


def test_folder_of_the_form_of_a_hub_id(here: Path, cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    (here / "org" / "name").mkdir(parents=True)
    assert resolve("org/name").path == snapshot
    shutil.copytree(tiny_folder, here / "org" / "name", dirs_exist_ok=True)
    assert resolve("org/name").source == "folder"


def test_folder_without_config_is_still_the_folder(here: Path) -> None:
    (here / "mine").mkdir()
    assert resolve("mine").source == "folder"


@pytest.mark.parametrize(
    ("name", "match"),
    [("m/model.safetensors", "is a file"), ("./m/x.bin", "is a file")],
)
def test_a_file_is_no_model(here: Path, name: str, match: str) -> None:
    (here / "m").mkdir()
    (here / name).touch()
    with pytest.raises(ModelUnsupported, match=match):
        resolve(name)


def test_missing_file(here: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"there is no file m/x\.safetensors"):
        resolve("m/x.safetensors")


def test_wrong_names_suggest_the_nearest(cache: Path, tiny_folder: Path) -> None:
    put_in_cache(cache, tiny_folder, "me/my-model")
    for name, near in (("gtp2", "gpt2"), ("my-model", "me/my-model")):
        with pytest.raises(ModelNotFound) as caught:
            resolve(name)
        assert caught.value.hint == f"did you mean {near}?"
    with pytest.raises(HubUnreachable) as unreachable:
        resolve("me/my-modle")
    assert "-m me/my-model" in (unreachable.value.hint or "")


def test_old_ids_without_organisation_in_the_cache(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "sshleifer-tiny")
    assert resolve("sshleifer-tiny").path == snapshot


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_incomplete_snapshot_counts_as_not_cached(
    cache: Path, tiny_folder: Path, missing: str
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    (snapshot / missing).resolve().unlink()  # the link stays and dangles
    with pytest.raises(HubUnreachable, match="the cached copy of org/name is incomplete"):
        resolve("org/name")


def test_snapshot_with_truncated_weights_counts_as_not_cached(
    cache: Path, tiny_folder: Path
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    weights = (snapshot / "model.safetensors").resolve()
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(HubUnreachable, match=r"incomplete: .*model\.safetensors has"):
        resolve("org/name")


def test_a_repository_without_references_is_its_only_snapshot(
    cache: Path, tiny_folder: Path
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name", ref=None)
    found = resolve("org/name")
    assert (found.path, found.revision, found.source) == (snapshot, COMMIT, "cache")
    assert found.notices == (
        "org/name lies here without its branches: using its only revision, 01234567",
    )
    assert [model.problem for model in local.cached_models()] == [None]
    put_in_cache(cache, tiny_folder, "org/names", ref=None)
    (cache / "models--org--names" / "snapshots" / ("e" * 40)).mkdir()
    with pytest.raises(HubUnreachable, match="org/names is not on this machine") as caught:
        resolve("org/names")
    assert "-m org/name" in str(caught.value.hint), "what is offered can be used"
    assert "name its commit" in str(local.cached_models()[1].problem)


def test_a_damaged_ref_is_no_ref(cache: Path, tiny_folder: Path) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    (snapshot.parent.parent / "refs" / "main").write_text("../../../etc")
    with pytest.raises(HubUnreachable, match="not on this machine"):
        resolve("org/name")


@pytest.mark.parametrize(
    "name", ["a" * 300, "./" + "a" * 300, "o/" + "a" * 300, "a" * 5000, "\udcff"]
)
def test_impossible_names(name: str) -> None:
    with pytest.raises((ModelNotFound, InvalidOption, HubUnreachable)):
        resolve(name)


def test_unreadable_places(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(ModelNotFound, match="Permission denied"):
        resolve("./mine")
    with pytest.raises(ModelDamaged, match="Permission denied"):
        check_folder(here)


@pytest.mark.parametrize("name", ["m/x.gguf", "./m/x.GGUF"])
def test_a_gguf_file_is_a_model(here: Path, name: str) -> None:
    (here / "m").mkdir()
    (here / name).touch()
    resolved = resolve(name)
    assert (resolved.name, resolved.path, resolved.source) == (name, Path(name), "gguf")
