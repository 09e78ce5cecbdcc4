"""A connection over a plain socket that carries only calls and answers; gRPC opens it and replaces it."""

import logging
import time
from pathlib import Path
from typing import Final

import grpc

from jangtq_coordinator.transport.connection import ConnectionSettings, GiveUp, never
from jangtq_coordinator.transport.express_handshake import ExpressEndpoint, ExpressSettings, enter
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.pending_calls import PendingCalls
from jangtq_proto.errors import ClusterError
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.frames import frame_limit

_MOST_PAUSES: Final = 64
"""Times `retry_seconds`: where a firewall is in the way, each attempt keeps a call waiting."""
_log = logging.getLogger("jangtq.cluster")


class ExpressConnection:
    """Calls go over gRPC while express is not available; it is tried again after pauses that double.

    A call that is open when the connection breaks fails as it would over gRPC.
    """

    def __init__(
        self, control: GrpcConnection, settings: ConnectionSettings, express: ExpressSettings
    ) -> None:
        self._control = control
        self._settings = settings
        self._express = express
        self._limit = frame_limit(settings.hidden_size)
        self._frames: FrameSocket | None = None
        self._is_secured = settings.credentials is not None
        self._retry_at = 0.0
        self._pauses = 1
        self._worker = f"worker {control.address}"
        self._pending = PendingCalls(self._worker)

    def send(self, call_id: int, frame: bytes) -> None:
        if self._is_secured and self._frames is not None and not self._pending and self._control.is_outdated:
            self.abandon()
        frames = self._frames or self._open()
        if frames is None:
            self._control.send(call_id, frame)
            return
        try:
            frames.send(frame, reading_up_to=self._limit * len(self._pending))
        except OSError as error:
            raise self._broken(error, waited_seconds=self._settings.call_timeout_seconds) from error
        self._pending.begin(call_id)

    def inbox(self) -> Inbox | None:
        if self._frames is None or self._is_secured or self._pending:
            return None
        return self._frames.plain_inbox()

    def resume(self, call_id: int, frame: bytes, sent_bytes: int) -> None:
        assert self._frames is not None, "native code sent over it"
        try:
            self._frames.send(frame[sent_bytes:])
        except OSError as error:
            raise self._broken(error, waited_seconds=self._settings.call_timeout_seconds) from error
        self._pending.begin(call_id)

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        if call_id not in self._pending:
            return self._control.receive(call_id, give_up)
        try:
            return self._pending.take(call_id, self._read, give_up)
        except ClusterError:
            if call_id in self._pending:  # nothing that follows can be trusted
                self.abandon()
            raise

    def abandon(self) -> None:
        self._pending.clear()
        self._control.abandon()
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def close(self) -> None:
        self.abandon()
        self._control.close()

    def _read(self, give_up: GiveUp) -> bytes:
        assert self._frames is not None, "an open call has a connection"
        asked = time.monotonic()
        try:
            frame = self._frames.receive(self._limit, give_up)
            if frame is None:
                raise ConnectionResetError("the worker closed the connection")
            # A copy, because the next answer is read into the same buffer.
            return bytes(frame)
        except OSError as error:
            raise self._broken(error, waited_seconds=time.monotonic() - asked) from error

    def _open(self) -> FrameSocket | None:
        """None while gRPC is used. Raises ClusterError if the worker is gone or another one."""
        if time.monotonic() < self._retry_at or self._control.open_calls:
            return None
        self._control.check_unchanged()
        try:
            self._frames = self._enter()
        except (OSError, ClusterError) as error:
            level = logging.INFO if self._express.is_optional else logging.WARNING
            _log.log(level, "%s: no express transport, using gRPC: %s", self._worker, error)
            self._pause()
            self._pauses = min(2 * self._pauses, _MOST_PAUSES)
            return None
        self._pauses = 1
        self._frames.set_timeout(self._settings.call_timeout_seconds)
        self._control.abandon()
        return self._frames

    def _enter(self) -> FrameSocket:
        reply = self._control.open_express()
        host = self._control.address.host
        path = self._local_path(reply.local_socket)
        if path is not None:
            try:
                return self._enter_by(ExpressEndpoint(host, reply.port, path), reply.ticket)
            except OSError as error:
                _log.info("%s: no way in at %s, using TCP: %s", self._worker, path, error)
        return self._enter_by(ExpressEndpoint(host, reply.port), reply.ticket)

    def _local_path(self, announced: pb.LocalSocket) -> Path | None:
        """The path of a Unix socket of this machine and user, if it may be used."""
        path = Path(announced.path)
        usable = self._express.unix_sockets and SocketFolder().holds(path, announced.machine_id)
        return path if usable else None

    def _enter_by(self, endpoint: ExpressEndpoint, ticket: bytes) -> FrameSocket:
        frames = enter(endpoint, ticket, self._express)
        _log.info("%s: express transport over %s", self._worker, endpoint)
        return frames

    def _broken(self, error: OSError, *, waited_seconds: float) -> ClusterError:
        self.abandon()
        self._pause()
        if isinstance(error, TimeoutError):
            waited = min(waited_seconds, self._settings.call_timeout_seconds)
            return self._control.explain(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), waited_seconds=waited)
        return self._control.explain(grpc.StatusCode.UNAVAILABLE, str(error))

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + self._pauses * self._express.retry_seconds
