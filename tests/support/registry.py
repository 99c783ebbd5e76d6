"""A registry with one image, over plain HTTP on 127.0.0.1, where Docker asks for no TLS. With a login it asks for that."""

import base64
import gzip
import hashlib
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LOGIN = ("ann", "secret: of ann")


class Registry:
    """Serves ``<address>/model:1``, whose only file is an empty one. ``private``: to those who log in as LOGIN."""

    def __init__(self, *, private: bool = False) -> None:
        self._blobs: dict[str, tuple[str, bytes]] = {}
        self.pulls = 0
        """How often the image's layer has been fetched."""
        layer, unpacked = _layer()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["serve"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(unpacked)]},
        }
        self._layer = self._put("application/octet-stream", layer)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._put("application/octet-stream", json.dumps(config).encode()),
            "layers": [self._layer],
        }
        self.digest = self._put(MANIFEST, json.dumps(manifest).encode())["digest"]
        self._blobs["1"] = self._blobs[self.digest]
        self._password = base64.b64encode(":".join(LOGIN).encode()).decode() if private else None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Registry":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _put(self, media_type: str, content: bytes) -> dict[str, Any]:
        self._blobs[_digest(content)] = media_type, content
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("Authorization")
                if registry._password is not None and said != f"Basic {registry._password}":
                    return self._answer(401, "application/json", b"{}", {"WWW-Authenticate": 'Basic realm="models"'})
                name = self.path.rpartition("/")[2]
                if self.path == "/v2/":
                    return self._answer(200, "application/json", b"{}", {})
                if not self.path.startswith("/v2/model/") or name not in registry._blobs:
                    return self._answer(404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', {})
                registry.pulls += name == registry._layer["digest"]
                media_type, content = registry._blobs[name]
                return self._answer(200, media_type, content, {"Docker-Content-Digest": _digest(content)})

            do_HEAD = do_GET  # noqa: N815 - the name that the library looks for

            def _answer(self, status: int, media_type: str, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for header, value in {"Content-Type": media_type, "Content-Length": str(len(content)), **headers}.items():
                    self.send_header(header, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer() -> tuple[bytes, bytes]:
    """A layer as the registry gives it, and unpacked."""
    unpacked = BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model"))
    return gzip.compress(unpacked.getvalue(), mtime=0), unpacked.getvalue()
