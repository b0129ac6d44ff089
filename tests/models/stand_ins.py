"""Stand-ins for the Hub: its cache on disk, and its HTTP API on a local port."""

from __future__ import annotations

import hashlib
import json
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
    """A local HTTP server with as much of the Hub's API as a download needs."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: dict[str, tuple[int, dict[str, str]]] = {}
        """Path prefix -> status and headers to answer with."""
        self.cut: dict[str, int] = {}
        """File name -> bytes after which the connection is dropped, once."""
        self.hangs = False
        self._released = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
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
        if self.hangs:
            self._released.wait(20)
            return None
        for prefix, (status, headers) in self.faults.items():
            if path.startswith(prefix):
                return self._send(handler, status, b"", headers)
        if path == "/":
            return self._send(handler, 200, b"hello")
        if path.startswith("/api/models/"):
            return self._api(handler, path.removeprefix("/api/models/").split("/"))
        parts = path.strip("/").split("/")
        files = self.repos.get("/".join(parts[:2]), {})
        if len(parts) == 5 and parts[2] == "resolve" and parts[4] in files:
            return self._file(handler, parts[4], files[parts[4]])
        return self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})

    def _api(self, handler: BaseHTTPRequestHandler, parts: list[str]) -> None:
        files = self.repos.get("/".join(parts[:2]))
        if files is None:
            return self._send(handler, 401, b"", {"X-Error-Code": "RepoNotFound"})
        if parts[2:3] in (["revision"], ["tree"]) and parts[3] not in ("main", COMMIT):
            return self._send(handler, 404, b"", {"X-Error-Code": "RevisionNotFound"})
        if parts[2:3] == ["tree"]:
            body: Any = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in files.items()
            ]
            body.append({"type": "directory", "path": "onnx", "size": 0, "oid": "0" * 40})
        else:
            body = {"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": []}
        return self._send(handler, 200, json.dumps(body).encode())

    def _file(self, handler: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = 0
        if asked := handler.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        if handler.command == "GET" and name in self.cut:
            headers["Content-Length"] = str(len(data))
            handler.send_response(200)
            for key, value in headers.items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(data[: self.cut.pop(name)])
            handler.wfile.flush()
            handler.connection.close()
            return None
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(handler, status, data[start:], headers)

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


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
