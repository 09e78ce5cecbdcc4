"""Express transports over pairs of sockets, whose peers answer every call in a thread as a test says."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.express_handshake import ExpressSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.wire.codec import CallShape, LayerCall, decode_call
from jangtq_proto.wire.frames import answer_frame, frame_limit, read_call
from tests.support.connection_answers import multiply

Script = Callable[[int, LayerCall], Iterable[bytes] | None]
"""What to send for a call, piece by piece; None ends the connection."""


def answer_bytes(call_id: int, call: LayerCall, loudness: float = 1.2) -> bytes:
    """The frame of a right answer."""
    found = multiply(call, loudness)
    return answer_frame(call_id, found.partial_sums, found.finest, queue_ns=7, compute_ns=found.compute_ns)


def answer_rightly(call_id: int, call: LayerCall) -> Sequence[bytes]:
    """A script."""
    return [answer_bytes(call_id, call)]


def in_pieces(cuts: Sequence[int], pause: Callable[[], object]) -> Script:
    """Right answers, cut at these bytes."""

    def script(call_id: int, call: LayerCall) -> Iterator[bytes]:
        data = answer_bytes(call_id, call)
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            if start:
                pause()
            yield data[start:end]

    return script


class SocketPeer:
    """`script` may be changed at any time; `calls` are those that came, with zeros for the ids."""

    def __init__(self, hidden: int) -> None:
        self.script: Script = answer_rightly
        self.calls: list[bytes] = []
        self._hidden = hidden
        self._threads: list[threading.Thread] = []

    def connect(self) -> socket.socket:
        """A new connection to it."""
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return ours

    def answer(self, loudness: float) -> None:
        """Rightly from now on, with answers as large as that makes them."""
        self.script = lambda call_id, call: [answer_bytes(call_id, call, loudness)]

    def join(self) -> None:
        """Wait until every connection has ended on this side, too."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a peer goes on after its connection was closed"

    def _serve(self, sock: socket.socket) -> None:
        frames = FrameSocket(sock)
        limit = frame_limit(self._hidden)
        try:
            while (frame := frames.receive(limit)) is not None:
                message = read_call(frame)
                data = bytes(frame)
                self.calls.append(data[:8] + bytes(8) + data[16:])
                call = decode_call(message, CallShape(8, self._hidden))
                # Frames are read into the same memory.
                pieces = self.script(message.call_id, replace(call, rows=call.rows.copy()))
                if pieces is None:
                    return
                for piece in pieces:
                    sock.sendall(piece)
        except OSError:
            return  # the connection was closed while its peer was answering
        finally:
            frames.close()


class SocketConnection(ExpressConnection):
    """A connection to such a peer."""

    def __init__(
        self,
        peer: SocketPeer,
        hidden: int,
        *,
        call_seconds: float = 30,
        poll_us: int = 0,
    ) -> None:
        settings = ConnectionSettings(hidden, 0.1, call_seconds)
        express = ExpressSettings(poll_us=poll_us, retry_seconds=0)
        super().__init__(GrpcConnection(Address("127.0.0.1", 1), settings), settings, express)
        self._peer = peer

    def _enter(self) -> FrameSocket:
        return FrameSocket(self._peer.connect(), poll_us=self._express.poll_us)
