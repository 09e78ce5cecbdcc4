"""A connection over gRPC: one stream to one worker, opened when first needed and again after it broke."""

import grpc
from google.protobuf.message import DecodeError

from jangtq_coordinator.transport.connection import ConnectionSettings, GiveUp, never
from jangtq_coordinator.transport.grpc_channel import WorkerChannel
from jangtq_coordinator.transport.grpc_stream import ExpertStream, StreamBrokenError
from jangtq_coordinator.transport.pending_calls import PendingCalls
from jangtq_coordinator.transport.worker_info import WorkerInfo, check_unchanged, worker_from
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError, WorkerFaultError
from jangtq_proto.grpc_status import error_of, plain_reason
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc

_RECONNECT_SECONDS = 2.0
_SILENCE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class GrpcConnection:
    """After `expect`, streams are opened only to a worker that still holds the same experts."""

    def __init__(self, address: Address, settings: ConnectionSettings) -> None:
        self._address = address
        self._name = f"worker {address}"
        self._settings = settings
        self._is_secured = settings.credentials is not None
        self._expected: WorkerInfo | None = None
        self._channel = WorkerChannel(address, settings.hidden_size, settings.credentials)
        self._stream: ExpertStream | None = None
        self._pending = PendingCalls(self._name)

    def describe(self, *, timeout_seconds: float | None = None) -> WorkerInfo:
        """Ask the worker what it holds. Raises WorkerUnreachableError naming the address."""
        timeout = timeout_seconds or self._settings.connect_timeout_seconds
        self._channel.check()
        try:
            reply = self._ask_who(timeout)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            self._channel.check(failed=True)
            raise self.explain(error.code(), str(error.details()), waited_seconds=timeout) from error
        return worker_from(str(self._address), reply)

    @property
    def address(self) -> Address:
        return self._address

    def expect(self, worker: WorkerInfo) -> None:
        """Refuse the worker from now on if it holds another bundle or other experts."""
        self._expected = worker

    def check_unchanged(self) -> None:
        """Describe the worker again. Raises WorkerMismatchError if it is not what was expected."""
        if self._expected is not None:
            check_unchanged(self._expected, self.describe(timeout_seconds=_RECONNECT_SECONDS))

    def open_express(self) -> pb.OpenExpressReply:
        """Request an express connection. Raises ClusterError."""
        try:
            return self._stub().OpenExpress(pb.OpenExpressRequest(), timeout=_RECONNECT_SECONDS)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            raise self.explain(error.code(), str(error.details())) from error

    @property
    def open_calls(self) -> int:
        """Calls without an answer yet."""
        return len(self._pending)

    @property
    def is_outdated(self) -> bool:
        """Whether the certificate files changed since the connection was made."""
        return self._is_secured and self._channel.is_outdated()

    def send(self, call_id: int, frame: bytes) -> None:
        if self._is_secured and not self._pending and self.is_outdated:
            self.abandon()
        stream = self._stream or self._open_stream()
        self._pending.begin(call_id)
        try:
            stream.send(pb.Frame(data=frame).SerializeToString())
        except StreamBrokenError as error:
            raise self._break_off(error) from error

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        try:
            return self._pending.take(call_id, self._read, give_up)
        except ClusterError:
            if call_id in self._pending:  # nothing that follows can be trusted
                self.abandon()
            raise

    def abandon(self) -> None:
        self._pending.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._channel.close_old()

    def close(self) -> None:
        self.abandon()
        self._channel.close()

    def _stub(self) -> expert_pb2_grpc.ExpertServiceStub:
        return expert_pb2_grpc.ExpertServiceStub(self._channel.current())

    def _ask_who(self, timeout_seconds: float) -> pb.DescribeReply:
        """Describe the worker; an idle connection may turn out dead only now, then a new one is tried."""
        try:
            return self._stub().Describe(pb.DescribeRequest(), timeout=timeout_seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return self._stub().Describe(pb.DescribeRequest(), timeout=timeout_seconds, wait_for_ready=True)

    def _read(self, give_up: GiveUp) -> bytes:
        assert self._stream is not None, "an open call has a stream"
        try:
            return pb.Frame.FromString(self._stream.receive(give_up)).data
        except StreamBrokenError as error:
            raise self._break_off(error) from error
        except DecodeError as error:
            raise WorkerFaultError(f"{self._name} sent no Frame: {error}") from error

    def _break_off(self, error: StreamBrokenError) -> ClusterError:
        """Close a broken stream with all its calls; returns the error."""
        self.abandon()
        return self.explain(error.status, error.details, waited_seconds=error.waited_seconds)

    def _open_stream(self) -> ExpertStream:
        if self._stream is None:
            self.check_unchanged()
            timeout = self._settings.call_timeout_seconds
            self._stream = ExpertStream(self._channel.current(), timeout_seconds=timeout)
            self._channel.close_old()
        return self._stream

    def explain(
        self, status: grpc.StatusCode, details: str, *, waited_seconds: float | None = None
    ) -> ClusterError:
        """The error of a connection to this worker that broke."""
        if waited_seconds is not None and status in _SILENCE:
            details = f"no answer within {waited_seconds:.3g} s; is jangtq-worker running there?"
        return error_of(status, f"{self._name}: {plain_reason(details)}")
