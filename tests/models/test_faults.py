"""Every fault of the Hub: its own error in its time, an intact cache, and success the next time."""

from __future__ import annotations

import builtins
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import COMMIT, StandInHub, put_in_cache

from hfgen.errors import (
    HfgenError,
    HubRefused,
    HubUnreachable,
    ModelDamaged,
    ModelNotFound,
    OutputError,
)
from hfgen.models.checkpoint.layout import check_folder
from hfgen.models.hub import client as hub_module
from hfgen.models.hub import local, probe, retry, transfer
from hfgen.models.hub.cache import find_snapshot
from hfgen.models.naming.resolve import resolve

WEIGHTS = "model.safetensors"


@pytest.fixture
def offer(hub: StandInHub, tiny_folder: Path) -> dict[str, bytes]:
    """The files of org/name on the stand-in Hub."""
    hub.repos["org/name"] = {file.name: file.read_bytes() for file in tiny_folder.iterdir()}
    return hub.repos["org/name"]


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(hub_module, "LOOK_UP_TIMEOUT_S", 0.3)


@pytest.fixture
def check(hub: StandInHub, offer: dict[str, bytes], cache: Path) -> Iterator[Any]:
    """After the test: the cache holds nothing bad as good, and the next run succeeds."""
    yield
    assert_no_bad_file_is_good(cache, offer)
    hub.faults.clear()
    hub.cut.clear()
    hub.truncated.clear()
    hub.corrupted.clear()
    hub.stalls.clear()
    hub.hangs = False
    probe.stamp_file(hub.url).unlink(missing_ok=True)
    found = resolve("org/name")
    for name, data in offer.items():
        assert (found.path / name).read_bytes() == data, name
    check_folder(found.path)
    leftovers = [path.name for path in cache.rglob("*.incomplete")]
    assert leftovers == []


def assert_no_bad_file_is_good(cache: Path, offer: dict[str, bytes]) -> None:
    """What has a blob's name has its hash; what a snapshot shows is what the Hub has."""
    for blob in cache.glob("models--*/blobs/*"):
        if not blob.name.endswith(".incomplete"):
            assert transfer.is_intact(blob, blob.name), blob
    for file in cache.glob("models--org--name/snapshots/*/*"):
        assert file.read_bytes() == offer[file.name], file
    snapshot = find_snapshot("org/name")
    assert snapshot is None or snapshot.problem is None


def fails(kind: type[HfgenError], match: str, within_s: float = 3.0) -> HfgenError:
    started = time.monotonic()
    with pytest.raises(HfgenError, match=match) as caught:
        resolve("org/name")
    assert time.monotonic() - started < within_s
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def refuse_connections(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


@pytest.mark.usefixtures("check")
class TestFaults:
    def test_refused_connection(
        self, hub: StandInHub, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        with monkeypatch.context() as patch:
            refuse_connections(hub, patch)
            fails(HubUnreachable, "org/name is not on this machine and the .* cannot be reached", 1)

    def test_hanging_connection(self, hub: StandInHub) -> None:
        hub.hangs = True
        fails(HubUnreachable, "cannot be reached")

    def test_hanging_name_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        released = threading.Event()

        def hang(*args: Any, **kwargs: Any) -> Any:
            released.wait(6)
            raise OSError("no answer")

        with monkeypatch.context() as patch:
            patch.setattr(constants, "ENDPOINT", "http://hub.invalid")
            patch.setattr(socket, "getaddrinfo", hang)
            fails(HubUnreachable, "cannot be reached")
            released.set()

    @pytest.mark.parametrize("below", ["/api/", "/org/name/resolve/"])
    def test_hangs_after_the_first_answer(self, hub: StandInHub, below: str) -> None:
        hub.hangs = below
        fails(HubUnreachable, "the Hub stopped answering during the download of org/name")

    def test_stalls_in_the_middle_of_a_file(self, hub: StandInHub) -> None:
        hub.stalls[WEIGHTS] = 0
        fails(HubUnreachable, "the Hub stopped answering")

    @pytest.mark.parametrize("where", ["/api/", "/org/name/resolve/", "/storage/"])
    @pytest.mark.parametrize(
        ("status", "headers", "kind", "match"),
        [
            (401, {}, HubRefused, "does not accept the token"),
            (
                401, {"X-Error-Message": "Invalid credentials in Authorization header"},
                HubRefused, "does not accept the token",
            ),
            (403, {"X-Error-Code": "GatedRepo"}, HubRefused, "org/name is gated"),
            (403, {}, HubRefused, "forbids access"),
            (404, {"X-Error-Code": "RepoNotFound"}, ModelNotFound, "there is no model org/name"),
            (404, {}, ModelNotFound, "org/name"),
            (429, {}, HubRefused, "slow down"),
            (500, {}, HubRefused, "trouble of its own .HTTP 500"),
            (503, {}, HubRefused, "trouble of its own .HTTP 503"),
        ],
    )  # fmt: skip
    def test_refusals(
        self, hub: StandInHub, where: str, status: int, headers: dict[str, str],
        kind: type[HfgenError], match: str,
    ) -> None:  # fmt: skip
        hub.faults[where] = (status, headers)
        fails(kind, match)

    def test_wrong_revision(self) -> None:
        with pytest.raises(ModelNotFound, match="has no revision 'v9'") as caught:
            resolve("org/name@v9")
        assert "-m org/name" in (caught.value.hint or "")

    def test_truncated_file(self, hub: StandInHub) -> None:
        hub.truncated[WEIGHTS] = 30_000
        error = fails(ModelDamaged, rf"{WEIGHTS} ends after 30,000 of [\d,]+ bytes")
        assert "resumes where it stopped" in (error.hint or "")

    def test_truncated_to_nothing(self, hub: StandInHub) -> None:
        hub.truncated[WEIGHTS] = 0
        fails(ModelDamaged, f"{WEIGHTS} ends after 0 of")

    @pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
    def test_corrupted_file_of_the_right_length(self, hub: StandInHub, name: str) -> None:
        hub.corrupted.add(name)
        fails(ModelDamaged, f"{name} came damaged from the Hub: right length, wrong contents")

    def test_full_disk_is_seen_beforehand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = hub_module.shutil._ntuple_diskusage(1000, 990, 10)  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(hub_module.shutil, "disk_usage", lambda path: usage)
            fails(OutputError, "org/name needs .* only .* are left")

    def test_disk_that_fills_up_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = transfer._Body.append

        def append(body: transfer._Body, chunk: bytes) -> None:
            real(body, chunk[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(transfer._Body, "append", append)
            error = fails(OutputError, "no space left in .* for org/name")
        assert "HF_HOME" in (error.hint or "")

    def test_read_only_cache(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Permissions do not bind the superuser, so the file system's answer is imitated.
        real = Path.mkdir

        def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
            if str(path).startswith(str(cache)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            real(path, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", mkdir)
            error = fails(OutputError, "cannot write to .*: Read-only file system")
        assert "HF_HOME" in (error.hint or "")


def test_a_dropped_transfer_is_taken_up_where_it_broke(
    hub: StandInHub, offer: dict[str, bytes]
) -> None:
    hub.cut[WEIGHTS] = 50_000
    asked: list[str | None] = []
    real = hub._file

    def note(handler: Any, name: str, data: bytes) -> None:
        if name == WEIGHTS:
            asked.append(handler.headers.get("Range"))
        real(handler, name, data)

    hub._file = note  # type: ignore[method-assign]
    found = resolve("org/name")
    assert (found.path / WEIGHTS).read_bytes() == offer[WEIGHTS]
    assert asked == [None, "bytes=50000-"]


def test_a_server_that_ignores_ranges_sends_all_again(
    hub: StandInHub, offer: dict[str, bytes]
) -> None:
    hub.cut[WEIGHTS] = 50_000
    hub.ignores_ranges = True
    assert (resolve("org/name").path / WEIGHTS).read_bytes() == offer[WEIGHTS]


def test_bytes_of_an_earlier_run_are_kept_and_bad_ones_replaced(
    hub: StandInHub, offer: dict[str, bytes], cache: Path
) -> None:
    from hashlib import sha256

    data = offer[WEIGHTS]
    blob = cache / "models--org--name" / "blobs" / sha256(data).hexdigest()
    blob.parent.mkdir(parents=True)
    for start in (data[:70_000], b"\0" * 70_000, data, data + b"more", b""):
        transfer.partial_file(blob).write_bytes(start)
        found = resolve("org/name")
        assert (found.path / WEIGHTS).read_bytes() == data
        assert not transfer.partial_file(blob).exists()
        local.plan_removal("org/name").execute()
        blob.parent.mkdir(parents=True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_pause_is_kept_and_announced(
    hub: StandInHub, offer: dict[str, bytes], status: int
) -> None:
    lines: list[str] = []
    hub.faults["/api/"] = (status, {"Retry-After": "7"})
    hub.passing["/api/"] = 1
    hub.faults["/storage/"] = (status, {"ratelimit": '"resolvers";r=0;t=5'})
    hub.passing["/storage/"] = 2
    resolve("org/name", progress=lines.append)
    assert f"HTTP {status}: trying again in 7 s" in lines
    assert lines.count(f"HTTP {status}: trying again in 5 s") == 2


@pytest.mark.parametrize("where", ["/api/", "/org/name/resolve/", "/storage/"])
def test_a_long_pause_is_an_error_at_once(
    hub: StandInHub, offer: dict[str, bytes], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    hub.faults[where] = (429, {"Retry-After": "600"})
    error = fails(HubRefused, "slow down .HTTP 429")
    assert "wait 10 minutes" in (error.hint or "")
    assert [pause for pause in pauses if pause > 0.5] == []


def test_a_pause_until_a_date() -> None:
    later = time.time() + 100
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(later))
    asked = retry.asked_wait({"Retry-After": date})
    assert asked is not None and 98 < asked <= 100
    for nonsense in ("", "soon", "-5"):
        assert retry.asked_wait({"Retry-After": nonsense}) is None


def test_passing_trouble_is_sat_out(hub: StandInHub, offer: dict[str, bytes]) -> None:
    for where in ("/api/", "/org/name/resolve/"):
        hub.faults[where] = (502, {})
        hub.passing[where] = 2
    assert resolve("org/name").source == "hub"


def test_the_token_goes_to_the_hub_and_no_further(
    hub: StandInHub, offer: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    secret = "hf_" + "secret" * 5
    monkeypatch.setenv("HF_TOKEN", secret)
    lines: list[str] = []
    hub.cut[WEIGHTS] = 10_000
    resolve("org/name", progress=lines.append)
    sent = dict(hub.tokens)
    assert sent["/api/models/org/name"] == f"Bearer {secret}"
    assert sent["/org/name/resolve/" + COMMIT + "/config.json"] == f"Bearer {secret}"
    storage = [token for path, token in hub.tokens if path.startswith("/storage/")]
    assert storage and set(storage) == {None}
    hub.repos["org/other"] = offer
    hub.faults["/api/"] = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    with pytest.raises(HubRefused) as caught:
        resolve("org/other")
    told = [*lines, str(caught.value), str(caught.value.hint), str(caught.value.__cause__)]
    assert not any(secret in text for text in told)
    assert capfd.readouterr() == ("", "")


def test_a_whole_copy_in_a_read_only_cache_is_used(
    hub: StandInHub, cache: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_cache(cache, tiny_folder, "org/name")
    real_open, real_mkdir = builtins.open, Path.mkdir

    def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        assert not (str(file).startswith(str(cache)) and set(mode) & set("wax+")), file
        return real_open(file, mode, *args, **kwargs)

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        assert not str(path).startswith(str(cache)), path
        real_mkdir(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", open_)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert resolve("org/name").source == "cache"
    assert hub.requests == []


def test_renewing_leaves_the_old_model_usable_until_the_new_one_is_whole(
    hub: StandInHub, offer: dict[str, bytes]
) -> None:
    old = resolve("org/name")
    hub.commit = "f" * 40
    hub.repos["org/name"] = offer | {WEIGHTS: offer[WEIGHTS][:-4] + b"\0\0\0\0"}
    hub.corrupted.add(WEIGHTS)
    with pytest.raises(ModelDamaged):
        local.pull("org/name")
    assert resolve("org/name").path == old.path
    hub.corrupted.clear()
    done = local.pull("org/name")
    assert (done.commit, done.was_here) == ("f" * 40, False)
    assert resolve("org/name").path == done.path != old.path


def test_two_programs_at_once(hub: StandInHub, offer: dict[str, bytes], cache: Path) -> None:
    hub.pause_s = 0.02
    found: list[Any] = []

    errors: list[HfgenError] = []

    def run() -> None:
        try:
            found.append(resolve("org/name"))
        except HfgenError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found) == 3
    assert_no_bad_file_is_good(cache, offer)
    contents = [path for method, path in hub.requests if path.startswith("/storage/")]
    assert len(contents) == len(set(contents))


def test_every_pause_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import httpx

    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    def call() -> None:
        raise httpx.ReadTimeout("slow")

    told: list[str] = []
    with pytest.raises(httpx.ReadTimeout):
        retry.patiently(call, told.append)
    assert pauses == [1.0, 2.0]
    assert told == [f"the connection broke: trying again in {s} s" for s in (1, 2)]


def test_a_mirror_that_tells_no_hashes_is_named(hub: StandInHub, offer: dict[str, bytes]) -> None:
    hub._sibling = lambda name, data: {"rfilename": name}  # type: ignore[method-assign]
    with pytest.raises(HubRefused, match="does not tell commits, sizes and hashes") as caught:
        resolve("org/name")
    assert "HF_ENDPOINT" in (caught.value.hint or "")


def test_a_commit_that_is_none_is_no_folder(hub: StandInHub, offer: dict[str, bytes]) -> None:
    hub.commit = "../../../elsewhere"
    with pytest.raises(HubRefused, match="does not tell commits"):
        resolve("org/name")


def test_the_cache_is_the_librarys_own(
    hub: StandInHub, offer: dict[str, bytes], cache: Path
) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    found = resolve("org/name")
    scan = scan_cache_dir(cache)
    assert scan.warnings == [] and len(scan.incomplete_files) == 0
    (repo,) = scan.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, set(revision.refs)) == (
        "org/name", COMMIT, {"main"},
    )  # fmt: skip
    assert {file.file_name for file in revision.files} == set(offer)
    there = try_to_load_from_cache("org/name", WEIGHTS, cache_dir=cache)
    assert there == str(found.path / WEIGHTS)
    assert snapshot_download("org/name", cache_dir=cache, local_files_only=True) == str(found.path)


def test_contents_are_named_by_their_hashes(
    hub: StandInHub, offer: dict[str, bytes], cache: Path
) -> None:
    from hashlib import sha256

    resolve("org/name")
    names = {blob.name for blob in (cache / "models--org--name" / "blobs").iterdir()}
    assert sha256(offer[WEIGHTS]).hexdigest() in names
    assert all(len(name) in (40, 64) for name in names)
