from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from stand_ins import COMMIT, StandInHub, put_in_cache

from hfgen.errors import (
    HfgenError,
    HubRefused,
    HubUnreachable,
    ModelNotFound,
    ModelUnsupported,
    OutputError,
    TokenizerMissing,
)
from hfgen.models.cache_dir import own_cache_folder
from hfgen.models.hub import client as hub_module
from hfgen.models.hub import probe, transfer
from hfgen.models.hub.client import translate
from hfgen.models.naming.resolve import resolve

NEEDED = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def offer(hub: StandInHub, tiny_folder: Path) -> dict[str, bytes]:
    """The files of org/name on the stand-in Hub."""
    files = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"):
        files[name] = b"not this one"
    files |= {"README.md": b"# x", "64.tflite": b"x", "vocab.json.bak": b"{}", "code.py": b"1/0"}
    hub.repos["org/name"] = files
    return files


def test_downloads_what_is_needed_and_no_more(
    hub: StandInHub, offer: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    found = resolve("org/name", progress=lines.append)
    assert (found.source, found.repo_id, found.revision) == ("hub", "org/name", COMMIT)
    assert hub.downloaded == NEEDED == {file.name for file in found.path.iterdir()}
    for name in NEEDED:
        assert (found.path / name).read_bytes() == offer[name]
    assert lines and all("\n" not in line for line in lines)
    assert lines[0].startswith("downloading org/name (")
    assert capfd.readouterr() == ("", "")


def test_large_files_are_reported_by_tenths(
    hub: StandInHub, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "_LARGE_BYTES", 100_000)
    monkeypatch.setattr(transfer, "_CHUNK_BYTES", 8000)
    lines: list[str] = []
    resolve("org/name", progress=lines.append)
    shares = [
        line.split(": ")[1].split(" ")[0]
        for line in lines
        if line.startswith("downloading org/name: ")
    ]
    assert shares[:9] == [str(share) for share in range(10, 100, 10)]


def test_the_second_time_it_is_cached_and_nothing_is_asked(hub: StandInHub, offer: Any) -> None:
    first = resolve("org/name")
    hub.requests.clear()
    second = resolve("org/name")
    assert (second.source, second.path) == ("cache", first.path)
    assert hub.requests == []


def test_a_download_loads(hub: StandInHub, offer: Any) -> None:
    from hfgen.models.checkpoint.load import load
    from hfgen.models.checkpoint.load_options import LoadOptions

    assert load(resolve("org/name"), LoadOptions(device="cpu")).window == 128


def test_default_model_is_downloaded(hub: StandInHub, offer: dict[str, bytes]) -> None:
    hub.repos["openai-community/gpt2"] = offer
    found = resolve(None)
    assert (found.name, found.source, found.repo_id) == ("gpt2", "hub", "openai-community/gpt2")
    assert found.notices == ()


def test_default_model_falls_back_when_the_hub_refuses(hub: StandInHub) -> None:
    hub.faults["/api/"] = (503, {})
    found = resolve(None)
    assert found.source == "bundled"
    assert "HTTP 503" in found.notices[0] and "\n" not in found.notices[0]


def test_shards(hub: StandInHub, offer: dict[str, bytes]) -> None:
    weights = offer.pop("model.safetensors")
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for number, name in enumerate(names):
        offer[name] = weights[:-1] + bytes([number])
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    offer["model.safetensors.index.json"] = json.dumps(index).encode()
    offer["model-00003-of-00003.safetensors"] = b"of another set"
    resolve("org/name")
    assert {name for name in hub.downloaded if name.startswith("model")} == {
        *names, "model.safetensors.index.json",
    }  # fmt: skip


def test_pickled_weights_only_where_there_are_no_others(
    hub: StandInHub, offer: dict[str, bytes]
) -> None:
    del offer["model.safetensors"]
    resolve("org/name")
    assert "pytorch_model.bin" in hub.downloaded


def test_code_comes_along_only_where_the_configuration_names_it(
    hub: StandInHub, offer: dict[str, bytes]
) -> None:
    config = json.loads(offer["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "code.M"}}
    offer["config.json"] = json.dumps(config).encode()
    resolve("org/name")
    assert hub.downloaded == NEEDED | {"code.py"}


def test_incomplete_copy_is_completed_and_said(
    hub: StandInHub, offer: Any, cache: Path, tiny_folder: Path
) -> None:
    snapshot = put_in_cache(cache, tiny_folder, "org/name")
    (snapshot / "model.safetensors").unlink()
    found = resolve("org/name")
    assert found.source == "hub" and hub.downloaded == {"model.safetensors"}
    assert "the cached copy of org/name is incomplete" in found.notices[0]


def test_a_broken_transfer_is_taken_up_again(hub: StandInHub, offer: dict[str, bytes]) -> None:
    hub.cut["model.safetensors"] = 50_000
    found = resolve("org/name")
    assert (found.path / "model.safetensors").read_bytes() == offer["model.safetensors"]


@pytest.mark.parametrize(
    ("remove", "add", "kind", "match"),
    [
        ("config.json", None, ModelUnsupported, "has no config.json"),
        ("config.json", "adapter_config.json", ModelUnsupported, "is an adapter"),
        ("config.json", "model-q4.gguf", ModelUnsupported, "GGUF"),
        ("tokenizer.json", None, TokenizerMissing, "no tokenizer"),
    ],
)
def test_unusable_repositories_are_refused_before_any_download(
    hub: StandInHub, offer: dict[str, bytes], remove: str, add: str | None,
    kind: type[HfgenError], match: str,
) -> None:  # fmt: skip
    del offer[remove]
    if add:
        offer[add] = b""
    with pytest.raises(kind, match=match):
        resolve("org/name")
    assert hub.downloaded == set()


@pytest.mark.parametrize(
    ("status", "headers", "kind", "match"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, ModelNotFound, "no model org/name on the Hub"),
        (404, {"X-Error-Code": "RepoNotFound"}, ModelNotFound, "no model org/name on the Hub"),
        (403, {"X-Error-Code": "GatedRepo"}, HubRefused, "gated"),
        (401, {"X-Error-Code": "GatedRepo"}, HubRefused, "gated"),
        (
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            HubRefused,
            "token",
        ),
        (403, {}, HubRefused, "HTTP 403"),
        (429, {"Retry-After": "600"}, HubRefused, "slow down"),
        (500, {}, HubRefused, "HTTP 500"),
        (503, {}, HubRefused, "HTTP 503"),
    ],
)
@pytest.mark.parametrize("where", ["/api/", "/org/name/resolve/"])
def test_refusals(
    hub: StandInHub, offer: Any, status: int, headers: dict[str, str],
    kind: type[HfgenError], match: str, where: str, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub.faults[where] = (status, headers)
    with pytest.raises(HfgenError, match=match) as caught:
        resolve("org/name")
    assert type(caught.value) is kind
    assert caught.value.hint and caught.value.__cause__ is not None
    assert "\n" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_unknown_revision(hub: StandInHub, offer: Any) -> None:
    with pytest.raises(ModelNotFound, match="has no revision 'v9'"):
        resolve("org/name@v9")


def test_unknown_repository_suggests_the_nearest(
    hub: StandInHub, cache: Path, tiny_folder: Path
) -> None:
    put_in_cache(cache, tiny_folder, "org/my-model")
    with pytest.raises(ModelNotFound) as caught:
        resolve("org/my-modle")
    assert "did you mean org/my-model?" in (caught.value.hint or "")


def test_no_room(hub: StandInHub, offer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(1000, 990, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"only 10 B are left"):
        resolve("org/name")
    assert "model.safetensors" not in hub.downloaded


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "cannot write"),
        (errno.EACCES, "cannot write"),
    ],
)
def test_disk_errors(number: int, match: str) -> None:
    error = translate(OSError(number, os.strerror(number)), "org/name")
    assert type(error) is OutputError
    assert match in error.message and "HF_HOME" in (error.hint or "")


def test_refused_connection_is_known_at_once_and_remembered(
    hub: StandInHub, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(HubUnreachable, match="cannot be reached"):
        resolve("org/name")
    assert probe.stamp_file(constants.ENDPOINT).is_file()
    assert not probe.stamp_file(hub.url).exists()


def test_hanging_server_is_known_in_three_seconds_and_remembered(
    hub: StandInHub, offer: Any
) -> None:
    hub.hangs = True
    started = time.monotonic()
    with pytest.raises(HubUnreachable):
        resolve("org/name")
    assert time.monotonic() - started < 3
    asked = len(hub.requests)
    started = time.monotonic()
    with pytest.raises(HubUnreachable):
        resolve("org/name")
    assert time.monotonic() - started < 0.5
    assert len(hub.requests) == asked == 1


def test_hanging_name_server_is_known_in_three_seconds(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    def hang(*args: Any, **kwargs: Any) -> Any:
        time.sleep(6)
        raise OSError("no answer")

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    found = resolve(None)
    assert time.monotonic() - started < 3
    assert found.source == "bundled"
    assert "the Hugging Face Hub cannot be reached" in found.notices[0]


def test_memory_fades_and_does_not_outlive_a_change_of_network(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = probe.stamp_file(hub.url)
    stamp.parent.mkdir(parents=True)
    stamp.write_text(probe._own_address())
    assert not probe.is_reachable(hub.url)
    assert hub.requests == []
    old = time.time() - probe.REMEMBERED_S - 1
    os.utime(stamp, (old, old))
    assert probe.is_reachable(hub.url)
    os.utime(stamp)
    monkeypatch.setattr(probe, "_own_address", lambda: "198.51.100.7")
    assert probe.is_reachable(hub.url)


def test_unwritable_cache_folder_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HFGEN_CACHE_DIR", str(file / "below"))
    monkeypatch.setattr(probe, "_answers", lambda endpoint: False)
    assert not probe.is_reachable("http://hub.invalid")


def test_the_cache_folder_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HFGEN_CACHE_DIR", "~/x")
    assert probe.stamp_file("http://hub.invalid").parent == own_cache_folder() == tmp_path / "x"
    monkeypatch.setenv("HFGEN_CACHE_DIR", "~nobody-of-that-name/x")
    assert own_cache_folder() == Path("~nobody-of-that-name/x")


def test_any_answer_at_all_is_an_answer(hub: StandInHub) -> None:
    hub.faults["/"] = (500, {})
    assert probe.is_reachable(hub.url)
    assert not probe.stamp_file(hub.url).exists()


def test_offline_asks_nothing(hub: StandInHub, offer: Any) -> None:
    with pytest.raises(HubUnreachable, match="offline mode is on"):
        resolve("org/name", offline=True)
    assert hub.requests == []
