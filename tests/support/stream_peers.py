"""gRPC peers that answer every call as a test says, with whatever bytes, and connections to them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc

from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import CallShape, LayerCall, answer_checksum, decode_call
from jangtq_proto.wire.row_type import RowType
from tests.support.socket_peers import multiply

Script = Callable[[int, LayerCall], Iterable[bytes] | None]
"""The messages to send for a call; None ends the stream."""


def answer_to(call_id: int, call: LayerCall, loudness: float = 1.2) -> pb.ExpertReply:
    """A right one."""
    found = multiply(call, loudness)
    sums, finest = found.partial_sums.tobytes(), found.finest.tobytes()
    return pb.ExpertReply(
        call_id=call_id,
        partial_sums=sums,
        finest=finest,
        checksum=answer_checksum(call_id, sums, finest),
        queue_ns=7,
        compute_ns=found.compute_ns,
    )


def answer_rightly(call_id: int, call: LayerCall) -> Sequence[bytes]:
    """A script."""
    return [answer_to(call_id, call).SerializeToString()]


class StreamPeer:
    """`script` may be changed at any time; `calls` are the messages that came, without their ids."""

    def __init__(self, hidden: int) -> None:
        self.script: Script = answer_rightly
        self.calls: list[bytes] = []
        self._hidden = hidden
        self._server = grpc.server(ThreadPoolExecutor(4))
        as_it_is: Callable[[bytes], bytes] = bytes
        handler = grpc.stream_stream_rpc_method_handler(self._forward, as_it_is, as_it_is)
        service = grpc.method_handlers_generic_handler("jangtq_proto.v1.ExpertService", {"Forward": handler})
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def answer(self, loudness: float) -> None:
        """Rightly from now on, with answers as large as that makes them."""
        self.script = lambda call_id, call: [answer_to(call_id, call, loudness).SerializeToString()]

    def join(self) -> None:
        """End every stream."""
        self._server.stop(grace=None).wait()

    def _forward(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for data in messages:
            message = pb.ExpertCall.FromString(data)
            call = decode_call(message, CallShape(8, self._hidden))
            call_id, message.call_id = message.call_id, 0
            # As they came but for the id, which stands first.
            self.calls.append(data[len(data) - len(message.SerializeToString()) :])
            replies = self.script(call_id, call)
            if replies is None:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield from replies


class StreamConnection(GrpcConnection):
    """A connection to such a peer."""

    def __init__(
        self,
        peer: StreamPeer,
        hidden: int,
        *,
        row_type: RowType = RowType.FLOAT32,
        call_seconds: float = 30,
    ) -> None:
        settings = ConnectionSettings(hidden, row_type, 10, call_seconds)
        super().__init__(Address("127.0.0.1", peer.port), settings)
