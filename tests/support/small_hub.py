"""A hub on this machine that serves one directory as a model repository, and misbehaves as a test says."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "some-org/some-model"


@dataclass
class SmallHub:
    """`requests` are the paths asked for with their ranges; `sent` counts bytes of files.

    misbehave: what happens to request `number` for a file: "cut", "refuse", "no ranges", "redirect", "spoil",
    "grown", "busy" or nothing.
    """

    folder: Path
    misbehave: Callable[[str, int], str] = lambda file, number: ""
    token: str = ""
    endpoint: str = ""
    sent: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bytes_of(self, suffix: str) -> int:
        """How many bytes of such files were asked for in ranges."""
        ranges = [asked for path, asked in self.requests if path.endswith(suffix) and asked]
        ends = [asked.removeprefix("bytes=").split("-") for asked in ranges]
        return sum(int(last) - int(first) + 1 for first, last in ends)


@contextmanager
def small_hub(folder: Path) -> Iterator[SmallHub]:
    """Serve until the block ends."""
    hub = SmallHub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: SmallHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
                self._answer(401, b"{}")
            elif path.startswith(f"/api/models/{MODEL}"):
                self._answer(200, json.dumps(_description(hub.folder)).encode())
            elif path.startswith((f"/{MODEL}/resolve/{COMMIT}/", "/elsewhere/")):
                self._send_file(path)
            else:
                self._answer(404, b"{}")

        def _send_file(self, path: str) -> None:
            name = path.rpartition("/")[2]
            with hub.lock:
                hub.requests.append((path, self.headers.get("range", "")))
                number = len(hub.requests)
            how = hub.misbehave(name, number)
            file = hub.folder / name
            if how == "redirect" and not path.startswith("/elsewhere/"):
                self.send_response(302)
                self.send_header("location", f"/elsewhere/{name}")
                self.send_header("content-length", "0")
                self.end_headers()
            elif how == "busy":
                self._answer(503, b"")
            elif how == "refuse":
                self._answer(403, b"{}")
            elif not file.exists():
                self._answer(404, b"{}")
            else:
                self._send_range(file.read_bytes(), how)

        def _send_range(self, data: bytes, how: str) -> None:
            asked = self.headers.get("range")
            if asked is None or how == "no ranges":
                self._answer(200, data)
                return
            first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            part = bytearray(data[first : last + 1])
            if how == "spoil" and part:
                part[-1] ^= 1
            size = len(data) + (how == "grown")
            self.send_response(206)
            self.send_header("content-range", f"bytes {first}-{last}/{size}")
            self.send_header("content-length", str(len(part)))
            self.end_headers()
            if how == "cut":
                part = part[: len(part) // 2]
                self.close_connection = True
            self.wfile.write(part)
            hub.sent += len(part)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _description(folder: Path) -> dict[str, object]:
    """What the hub's API says of a model with files_metadata."""
    return {"id": MODEL, "sha": COMMIT, "siblings": [_sibling(path) for path in sorted(folder.iterdir())]}


def _sibling(path: Path) -> dict[str, object]:
    data = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    sibling: dict[str, object] = {"rfilename": path.name, "size": len(data), "blobId": blob}
    if path.suffix == ".safetensors":
        sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return sibling
