"""Opens an express connection: connects, starts TLS if configured, sends the ticket. Knows no calls."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangtq_proto.grpc_status import error_of_number
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.sockets.socket_options import tune
from jangtq_proto.timings import TIMINGS
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.frames import OK, greeting, read_answer

_GREETING_SECONDS: Final = 2.0
_MOST_WELCOME_BYTES: Final = 4096


@dataclass(frozen=True)
class ExpressSettings:
    """`credentials` are set if gRPC's channel is encrypted, too; Unix sockets stay plain.

    is_optional: whether calls that go over gRPC instead are no reason for a warning.
    """

    poll_us: int = 0
    credentials: Credentials | None = None
    unix_sockets: bool = True
    is_optional: bool = False
    retry_seconds: float = TIMINGS.express_retry


@dataclass(frozen=True)
class ExpressEndpoint:
    """A worker's host, with the Unix socket to use if there is one, else the TCP port."""

    host: str
    port: int
    path: Path | None = None

    def __str__(self) -> str:
        return f"Unix socket {self.path}" if self.path else f"TCP port {self.port}"


def enter(endpoint: ExpressEndpoint, ticket: bytes, settings: ExpressSettings) -> FrameSocket:
    """A connection ready for calls. Raises OSError, or the ClusterError that the worker answers."""
    sock = _connect(endpoint)
    try:
        tune(sock)
        if settings.credentials is not None and endpoint.path is None:
            sock = settings.credentials.current().context.wrap_socket(sock, server_hostname=endpoint.host)
        frames = FrameSocket(sock, poll_us=settings.poll_us)
        frames.set_timeout(_GREETING_SECONDS)
        frames.send(greeting(ticket))
        _read_welcome(frames)
    except BaseException:
        sock.close()
        raise
    return frames


def _connect(endpoint: ExpressEndpoint) -> socket.socket:
    if endpoint.path is None:
        return socket.create_connection((endpoint.host, endpoint.port), timeout=_GREETING_SECONDS)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_GREETING_SECONDS)
        sock.connect(str(endpoint.path))
    except OSError:
        sock.close()
        raise
    return sock


def _read_welcome(frames: FrameSocket) -> None:
    frame = frames.receive(_MOST_WELCOME_BYTES)
    if frame is None:
        raise ConnectionRefusedError("the worker took no notice of the ticket")
    welcome = read_answer(frame)
    if welcome.status != OK:
        raise error_of_number(welcome.status, bytes(welcome.payload).decode(errors="replace"))
