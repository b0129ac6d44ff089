"""Stand-ins for the Hub: its cache on disk, and its HTTP API on a local port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_in_cache(
    cache: Path, source: Path, repo_id: str, *, ref: str | None = "main", commit: str = COMMIT
) -> Path:
    """Lay a folder into the cache as the Hub's library would; return the snapshot."""
    repo = cache / ("models--" + repo_id.replace("/", "--"))
    snapshot = repo / "snapshots" / commit
    (repo / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in source.iterdir():
        blob = repo / "blobs" / hashlib.sha256(file.name.encode()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", blob.name))
    if ref:
        (repo / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (repo / "refs" / ref).write_text(commit)
    return snapshot


class StandInHub:
    """A local HTTP server with as much of the Hub's API as downloads need, and its faults.

    As on the Hub, small files have the hash of a Git blob; large ones (LFS) have their SHA-256,
    and come by a redirection from a storage server of another name.
    """

    LFS_BYTES = 10_000

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[tuple[str, str | None]] = []
        """The path of each request, and what it carried as authorization."""
        self.faults: dict[str, tuple[int, dict[str, str]]] = {}
        """Path prefix -> status and headers to answer with."""
        self.passing: dict[str, int] = {}
        """Path prefix -> how often its fault occurs; without an entry it stays."""
        self.cut: dict[str, int] = {}
        """File name -> bytes after which the connection is dropped, once."""
        self.truncated: dict[str, int] = {}
        """File name -> bytes that are served as if they were all."""
        self.corrupted: set[str] = set()
        """Names of files that are served with one byte changed."""
        self.stalls: dict[str, int] = {}
        """File name -> bytes after which nothing more comes, though the connection stays."""
        self.ignores_ranges = False
        self.hangs: bool | str = False
        """True: no request is answered; a path prefix: none below it."""
        self.commit = COMMIT
        self.licence = "mit"
        self.pause_s = 0.0
        """Pause after each 64 KiB of a file."""
        self._released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.storage_url = f"http://localhost:{self.server.server_port}/storage"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self._released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def downloaded(self) -> set[str]:
        """Names of the files whose contents were asked for."""
        return {
            p.rsplit("/", 1)[1]
            for method, p in self.requests
            if method == "GET" and "/resolve/" in p
        }

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.requests.append((handler.command, path))
        self.tokens.append((path, handler.headers.get("Authorization")))
        if self.hangs is True or (self.hangs and path.startswith(str(self.hangs))):
            self._released.wait(20)
            return None
        for prefix, (status, headers) in self.faults.items():
            if path.startswith(prefix) and self.passing.get(prefix, 1):
                if prefix in self.passing:
                    self.passing[prefix] -= 1
                return self._send(handler, status, b"", headers)
        if path == "/":
            return self._send(handler, 200, b"hello")
        if path.startswith("/api/models/"):
            return self._api(handler, path.removeprefix("/api/models/").split("/"))
        is_storage = path.startswith("/storage/")
        parts = path.removeprefix("/storage").strip("/").split("/")
        files = self.repos.get("/".join(parts[:2]), {})
        if len(parts) == 5 and parts[2] == "resolve" and parts[4] in files:
            name, data = parts[4], files[parts[4]]
            if len(data) >= self.LFS_BYTES and not is_storage:
                return self._send(handler, 302, b"", {"Location": f"{self.storage_url}{path}"})
            return self._file(handler, name, data)
        return self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})

    def _api(self, handler: BaseHTTPRequestHandler, parts: list[str]) -> None:
        files = self.repos.get("/".join(parts[:2]))
        if files is None:
            return self._send(handler, 401, b"", {"X-Error-Code": "RepoNotFound"})
        if parts[2:3] == ["revision"] and parts[3] not in ("main", self.commit):
            return self._send(handler, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = [self._sibling(name, data) for name, data in files.items()]
        siblings.append({"rfilename": "onnx/model.onnx", "size": 7, "blobId": "0" * 40})
        body = {
            "id": "/".join(parts[:2]),
            "sha": self.commit,
            "siblings": siblings,
            "cardData": {"license": self.licence},
            "config": {"model_type": "gpt2"},
            "safetensors": {"parameters": {"F32": 1234}, "total": 1234},
        }
        return self._send(handler, 200, json.dumps(body).encode())

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
        if len(data) >= self.LFS_BYTES:
            sha256 = hashlib.sha256(data).hexdigest()
            entry["blobId"] = git_hash(sha256.encode())
            entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 134}
        return entry

    def _file(self, handler: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        if name in self.corrupted:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if name in self.truncated:
            data = data[: self.truncated[name]]
        headers = {"Accept-Ranges": "bytes"}
        start = 0
        asked = handler.headers.get("Range")
        if asked and not self.ignores_ranges:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                return self._send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        status = 206 if start else 200
        stops = [
            table[name] for table in (self.cut, self.stalls) if name in table
        ] if handler.command == "GET" else []  # fmt: skip
        if not stops and not self.pause_s:
            return self._send(handler, status, data[start:], headers)
        headers["Content-Length"] = str(len(data) - start)
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.end_headers()
        rest = data[start:][: stops[0] if stops else None]
        for place in range(0, len(rest), 65536):
            handler.wfile.write(rest[place : place + 65536])
            self._released.wait(self.pause_s)  # time.sleep is cut short for the library
        handler.wfile.flush()
        if name in self.stalls:
            self._released.wait(20)
        if stops:
            self.cut.pop(name, None)
            handler.connection.close()
        return None

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        handler.send_response(status)
        for key, value in (headers or {}).items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def environment(folder: Path, **env: str) -> dict[str, str]:
    """The environment of a process that is to know nothing but the test."""
    dropped = ("HF_", "HFGEN_", "TRANSFORMERS_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    offline = {} if "HF_ENDPOINT" in env else {"HF_HUB_OFFLINE": "1"}
    return kept | offline | {
        "HF_HOME": str(folder / "hf-home"),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HFGEN_CACHE_DIR": str(folder / "hfgen-cache"),
        "HFGEN_CONFIG_DIR": str(folder / "hfgen-config"),
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
    } | env  # fmt: skip
