"""The worker's gRPC service: describes the shard and answers expert calls, one thread a stream."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import grpc
import psutil
from jangtq_bundle.bundle import Bundle

from jangtq_proto.codec import PROTOCOL_VERSION, CallShape, decode_call, encode_partial_sums
from jangtq_proto.errors import (
    ClusterError,
    WorkerBusyError,
    WorkerFaultError,
    WorkerUnreachableError,
    status_number,
    status_of,
)
from jangtq_proto.ranges import ExpertRange
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_worker.shard import Shard


@dataclass(frozen=True)
class Identity:
    """What never changes while a worker runs."""

    bundle: Bundle
    ranges: tuple[ExpertRange, ...]
    device: str


class ExpertService(expert_pb2_grpc.ExpertServiceServicer):
    """Refuses calls until `serve` hands it a shard, and again after `drain`."""

    def __init__(self, identity: Identity, *, max_streams: int) -> None:
        self._identity = identity
        config = identity.bundle.config
        self._shape = CallShape(config.layer_count, config.hidden_size)
        self._max_streams = max_streams
        self._shard: Shard | None = None
        self._draining = False
        self._stream_count = 0
        self._calls_in_flight = 0
        self._state = threading.Condition()

    def serve(self, shard: Shard) -> None:
        """Begin to answer."""
        self._shard = shard

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new calls and wait for those in flight; False when some were still running at the end."""
        with self._state:
            self._draining = True
            return self._state.wait_for(lambda: self._calls_in_flight == 0, timeout_seconds)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        try:
            shard = self._ready_shard()
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        config = self._identity.bundle.config
        return pb.DescribeReply(
            protocol_version=PROTOCOL_VERSION,
            fingerprint=self._identity.bundle.fingerprint,
            layer_count=config.layer_count,
            expert_count=config.expert_count,
            hidden_size=config.hidden_size,
            expert_ranges=[pb.ExpertRange(first=r.first, last=r.last) for r in self._identity.ranges],
            device=self._identity.device,
            weight_bytes=shard.weight_bytes,
            resident_bytes=psutil.Process().memory_info().rss,
            version=version("jangtq-cluster"),
        )

    def Forward(
        self, request_iterator: Iterator[pb.ExpertCall], context: grpc.ServicerContext
    ) -> Iterator[pb.ExpertReply]:
        try:
            self._open_stream()
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        try:
            for message in request_iterator:
                yield from self._answer(message)
        finally:
            self._close_stream()

    def _answer(self, message: pb.ExpertCall) -> Iterator[pb.ExpertReply]:
        """One reply; the call counts as in flight until gRPC has taken it."""
        with self._state:
            self._calls_in_flight += 1
        try:
            yield self._compute(message)
        finally:
            with self._state:
                self._calls_in_flight -= 1
                self._state.notify_all()

    def _compute(self, message: pb.ExpertCall) -> pb.ExpertReply:
        try:
            sums = self._ready_shard().forward(decode_call(message, self._shape))
        except ClusterError as error:
            return _failed(message, error)
        except Exception as error:  # a kernel that fails must cost this call, not the stream
            return _failed(message, WorkerFaultError(f"{type(error).__name__}: {error}"))
        return pb.ExpertReply(
            call_id=message.call_id,
            partial_sums=encode_partial_sums(sums.rows, message.row_type),
            queue_ns=sums.queue_ns,
            compute_ns=sums.compute_ns,
        )

    def _ready_shard(self) -> Shard:
        if self._draining:
            raise WorkerUnreachableError("this worker is stopping")
        if self._shard is None:
            raise WorkerBusyError("this worker is still loading its experts")
        return self._shard

    def _open_stream(self) -> None:
        with self._state:
            if self._stream_count >= self._max_streams:
                raise WorkerBusyError(f"this worker already serves {self._max_streams} streams")
            self._stream_count += 1

    def _close_stream(self) -> None:
        with self._state:
            self._stream_count -= 1


def _failed(message: pb.ExpertCall, error: ClusterError) -> pb.ExpertReply:
    failure = pb.Failure(status=status_number(error), message=str(error))
    return pb.ExpertReply(call_id=message.call_id, failure=failure)
