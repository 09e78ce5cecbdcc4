"""A worker's express port: issues tickets, and opens its sockets with the first one."""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.sockets.local_sockets import SocketFolder, socket_name
from jangtq_proto.sockets.socket_options import tune
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_worker.device.admission import Admission
from jangtq_worker.security.peers import PeerRefusedError, Peers
from jangtq_worker.transport.acceptor import Acceptor
from jangtq_worker.transport.express_session import GREETING_SECONDS, ExpressSession
from jangtq_worker.transport.tickets import Tickets

_MOST_CONNECTIONS = 64
_log = logging.getLogger("jangtq.worker.express")


@dataclass(frozen=True)
class ExpressSettings:
    """`listen` is gRPC's address, with its port; express takes `port` of the same host, 0 any free one.

    With credentials its TCP port is inside TLS, as gRPC's is; its Unix socket stays plain.
    """

    listen: Address
    folder: SocketFolder = field(default_factory=SocketFolder)
    port: int = 0
    poll_us: int = 0
    credentials: Credentials | None = None
    peers: Peers | None = None


class ExpressListener:
    """`admit` and `close` may be called from any thread."""

    def __init__(self, admission: Admission, settings: ExpressSettings) -> None:
        self._admission = admission
        self._settings = settings
        self._tickets = Tickets()
        self._lock = threading.Lock()
        self._door: Acceptor | None = None
        self._port = 0
        self._local: pb.LocalSocket | None = None
        self._open_sockets: set[FrameSocket] = set()
        self._closed = False

    def admit(self) -> pb.OpenExpressReply:
        """A new ticket, and where to use it. Raises ClusterError."""
        self._admission.shard()
        with self._lock:
            if self._closed:
                raise WorkerUnreachableError("this worker is stopping")
            self._open()
        return pb.OpenExpressReply(ticket=self._tickets.issue(), port=self._port, local_socket=self._local)

    def open(self) -> None:
        """Open the sockets now. Raises ConfigurationError if the chosen port is not free."""
        with self._lock:
            self._open()

    def close(self) -> None:
        """Stop accepting and end every connection."""
        with self._lock:
            self._closed = True
            for frames in self._open_sockets:
                frames.interrupt()
        if self._door is not None:
            self._door.close()
        if self._local is not None:
            Path(self._local.path).unlink(missing_ok=True)

    def _open(self) -> None:
        if self._door is None:
            self._door = Acceptor(self._listen(), self._host, most=_MOST_CONNECTIONS)

    def _listen(self) -> list[socket.socket]:
        """Raises WorkerFaultError if no socket can be opened."""
        listeners = [] if self._settings.listen.is_unix else self._listen_on_tcp()
        try:
            listeners.append(self._listen_locally())
        except OSError as error:
            _log.info("the express transport has no Unix socket: %s", error)
        if not listeners:
            raise WorkerFaultError("the express transport can listen nowhere")
        return listeners

    def _listen_on_tcp(self) -> list[socket.socket]:
        """None if no port is free; raises ConfigurationError if a certain one was chosen."""
        host, port = self._settings.listen.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            if port:
                where = Address(host, port)
                raise ConfigurationError(
                    f"--express-port: cannot listen on {where}: {error.strerror}"
                ) from error
            _log.warning("the express transport has no TCP socket: %s", error)
            return []
        self._port = listener.getsockname()[1]
        _log.info("the express transport listens on TCP port %d", self._port)
        return [listener]

    def _listen_locally(self) -> socket.socket:
        folder = self._settings.folder
        path = folder.claim(socket_name(self._settings.listen, "express"))
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            listener.listen()
        except OSError:
            listener.close()
            raise
        self._local = pb.LocalSocket(machine_id=folder.machine_id(), path=str(path))
        return listener

    def _host(self, connection: socket.socket) -> None:
        """One connection from its first byte to its last."""
        try:
            secured = self._secure(connection)
            frames = FrameSocket(secured, poll_us=self._settings.poll_us)
            with contextlib.closing(frames), self._known(frames), self._good(secured, frames):
                ExpressSession(frames, self._admission).run(self._tickets)
        except PeerRefusedError as error:
            _log.warning("refused an express connection: %s", error)
        except OSError as error:
            _log.info("an express connection broke: %s", error)

    def _secure(self, connection: socket.socket) -> socket.socket:
        connection.settimeout(GREETING_SECONDS)
        tune(connection)
        credentials = self._settings.credentials
        if credentials is not None and connection.family != socket.AF_UNIX:
            return credentials.current().context.wrap_socket(connection, server_side=True)
        return connection

    def _good(
        self, connection: socket.socket, frames: FrameSocket
    ) -> contextlib.AbstractContextManager[None]:
        """The peer, whose connection is interrupted once its certificate is not valid any more."""
        peers = self._settings.peers
        shown = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
        if peers is None or shown is None:
            return contextlib.nullcontext()
        return peers.known(x509.load_der_x509_certificate(shown), frames.interrupt)

    @contextlib.contextmanager
    def _known(self, frames: FrameSocket) -> Iterator[None]:
        """A registered connection, which `close` interrupts."""
        with self._lock:
            self._open_sockets.add(frames)
            if self._closed:
                frames.interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._open_sockets.discard(frames)
