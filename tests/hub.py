"""A stand-in for the Hugging Face Hub on this machine: enough of its API for one data set."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Keeps the files of one repository in memory; small files come in the commit itself."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.asked.append(f"POST {path}")
        if path == "/api/repos/create":
            self.answer({"url": "http://127.0.0.1/datasets/me/atlas", "id": "me/atlas"})
        elif "/preupload/" in path:
            named = [one["path"] for one in json.loads(data)["files"]]
            self.answer(
                {
                    "files": [
                        {
                            "path": one,
                            "uploadMode": "regular",
                            "shouldIgnore": False,
                            "oid": self.oid(one),
                        }
                        for one in named
                    ]
                }
            )
        elif "/commit/" in path:
            for line in data.decode().splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    self.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
                if one["key"] == "deletedFile":
                    del self.files[one["value"]["path"]]
            self.answer(
                {
                    "commitUrl": f"http://127.0.0.1/datasets/me/atlas/commit/{COMMIT}",
                    "commitOid": COMMIT,
                }
            )
        elif "/paths-info/" in path:
            self.answer([])
        else:
            self.answer({"error": path}, 404)

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        if "/resolve/" in path:
            name = path.split(f"/resolve/{COMMIT}/")[-1]
            self.answer(self.files.get(name), etag=self.oid(name))
        elif "/tree/" in path:
            self.answer(
                [
                    {"type": "file", "path": n, "size": len(d), "oid": self.oid(n)}
                    for n, d in self.files.items()
                ]
            )
        elif path.startswith("/api/datasets/me/atlas"):
            self.answer(
                {
                    "id": "me/atlas",
                    "sha": COMMIT,
                    "siblings": [{"rfilename": n} for n in self.files],
                }
            )
        elif path == "/api/whoami-v2":
            self.answer({"name": "me", "type": "user", "orgs": []})
        else:
            self.answer(None)

    do_HEAD = do_GET

    def oid(self, name: str) -> str | None:
        data = self.files.get(name)
        return None if data is None else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def answer(self, value: object, status: int = 200, etag: str | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(404 if value is None else status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def hub() -> Iterator[tuple[str, type[Hub]]]:
    """Run a Hub with an empty data set me/atlas; yield its address and what it keeps."""
    kept = type("Kept", (Hub,), {"files": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kept) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", kept
        server.shutdown()
