"""As much of the Hugging Face Hub as its file system asks for, on this machine: one data set of small files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "datasets/someone/prefs"


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        if path.startswith(f"{REPOSITORY}/resolve/main/"):
            return self._file(path.removeprefix(f"{REPOSITORY}/resolve/main/"))
        if not path.startswith(f"api/{REPOSITORY}"):
            return self._refuse("RepoNotFound")
        asked = path.removeprefix(f"api/{REPOSITORY}")
        if asked in ("", "/revision/main"):
            return self._tell({"id": REPOSITORY.partition("/")[2], "sha": "0" * 40})
        below = asked.removeprefix("/tree/main").strip("/")
        entries = self._entries(below)
        if below and not entries:
            return self._refuse("EntryNotFound")
        if "recursive=true" not in self.path.lower():
            entries = [one for one in entries if "/" not in one["path"][len(below) :].strip("/")]
        return self._tell(entries)

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers["Content-Length"])).decode()
        path = urlsplit(self.path).path
        if path.endswith("/preupload/main"):
            told = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(given)["files"]
            ]
            return self._tell({"files": told})
        if path.endswith("/paths-info/main"):
            paths = json.loads(given)["paths"] if given.startswith("{") else parse_qs(given)["paths"]
            return self._tell([one for one in self._entries("") if one["path"] in paths])
        for line in map(json.loads, given.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        return self._tell(
            {
                "commitUrl": f"https://huggingface.co/{REPOSITORY}/commit/{'1' * 40}",
                "commitOid": "1" * 40,
                "pullRequestUrl": None,
            }
        )

    def _entries(self, below: str) -> list[dict[str, Any]]:
        start = f"{below}/" if below else ""
        names = [name for name in sorted(self.files) if name.startswith(start)]
        folders = {name.rpartition("/")[0] for name in names if "/" in name} - {below}
        return [
            *({"type": "directory", "oid": "0", "size": 0, "path": name} for name in sorted(folders)),
            *(
                {"type": "file", "oid": hashlib.sha1(self.files[name]).hexdigest(), "size": len(self.files[name])}
                | {"path": name}
                for name in names
            ),
        ]

    def _file(self, name: str) -> None:
        if name not in self.files:
            return self._refuse("EntryNotFound")
        content, status, headers = self.files[name], 200, {"ETag": f'"{hashlib.sha1(self.files[name]).hexdigest()}"'}
        if asked := self.headers.get("Range"):
            start, end = asked.removeprefix("bytes=").split("-")
            headers["Content-Range"] = f"bytes {start}-{end or len(content) - 1}/{len(content)}"
            content, status = content[int(start) : int(end) + 1 if end else None], 206
        return self._send(status, content, {**headers, "X-Repo-Commit": "0" * 40})

    def _tell(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, code: str) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": "not found"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub_server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and the files of `REPOSITORY` by name."""
    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
