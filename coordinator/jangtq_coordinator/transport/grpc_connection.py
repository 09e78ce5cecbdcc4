"""A connection over gRPC: one stream to one worker, opened when first needed and again after it broke."""

from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from jangtq_coordinator.transport.answer_decoding import decode_answer
from jangtq_coordinator.transport.connection import ConnectionSettings, GiveUp, LayerAnswer, never
from jangtq_coordinator.transport.grpc_channel import WorkerChannel, open_local_channel
from jangtq_coordinator.transport.grpc_stream import ExpertStream, StreamBrokenError
from jangtq_coordinator.transport.pending_calls import PendingCalls
from jangtq_coordinator.transport.plain_answers import read_plain_answer
from jangtq_coordinator.transport.worker_info import WorkerInfo, check_unchanged, worker_from
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError, WorkerFaultError
from jangtq_proto.grpc_status import error_of, error_of_number
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.messages import CallWriter
from jangtq_proto.wire.row_type import RowType

_RECONNECT_SECONDS = 2.0
_SILENCE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class GrpcConnection:
    """After `expect`, a stream is opened only to a worker that still holds what it held then.

    A stream to a worker of the same machine and user goes through its Unix socket.
    """

    def __init__(self, address: Address, settings: ConnectionSettings) -> None:
        self._address = address
        self._name = f"worker {address}"
        self._settings = settings
        self._expected: WorkerInfo | None = None
        self._channel = WorkerChannel(address, settings.hidden_size, settings.credentials)
        self._local_channel: grpc.Channel | None = None
        self._local_path: Path | None = None
        self._stream: ExpertStream | None = None
        self._unread: bytes | None = None
        self._writer = CallWriter(settings.row_type)
        self.newest_call_id = 0
        self._pending = PendingCalls(self._name, self._decode)

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
        self._local_path = self.local_path(reply.local_socket)
        return worker_from(str(self._address), reply)

    @property
    def row_type(self) -> RowType:
        """How rows are sent."""
        return self._settings.row_type

    @property
    def address(self) -> Address:
        return self._address

    def expect(self, worker: WorkerInfo) -> None:
        """From now on refuse the worker when it holds another bundle or other experts."""
        self._expected = worker

    def check_unchanged(self) -> None:
        """Ask again what the worker holds. Raises WorkerMismatchError when it is not what was expected."""
        if self._expected is not None:
            check_unchanged(self._expected, self.describe(timeout_seconds=_RECONNECT_SECONDS))

    def open_express(self) -> pb.OpenExpressReply:
        """Ask to be let in to the express transport. Raises ClusterError."""
        try:
            return self._stub().OpenExpress(pb.OpenExpressRequest(), timeout=_RECONNECT_SECONDS)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            raise self.explain(error.code(), str(error.details())) from error

    def local_path(self, told: pb.LocalSocket) -> Path | None:
        """The path of a Unix socket where it is of this machine and user, and may be used."""
        path = Path(told.path)
        if self._settings.unix_sockets and SocketFolder().holds(path, told.machine_id):
            return path
        return None

    def next_call_id(self) -> int:
        """One that no call to this worker had before."""
        self.newest_call_id += 1
        return self.newest_call_id

    @property
    def calls_under_way(self) -> int:
        """How many answers are missing."""
        return len(self._pending)

    @property
    def is_secured(self) -> bool:
        """Whether there are certificates, which may change."""
        return self._settings.credentials is not None

    @property
    def is_outdated(self) -> bool:
        """Whether other certificates are to be shown and trusted than when the connection was made."""
        return self._channel.is_outdated()

    def send(self, call: LayerCall) -> int:
        if not self._pending and self.is_outdated:
            self.abandon()
        call_id = self.next_call_id()
        message = self._writer.write(call_id, call)
        stream = self._stream or self._open_stream()
        self._pending.begin(call_id, (call.rows.shape[0], call.rows.shape[1]))
        try:
            stream.send(message)
        except StreamBrokenError as error:
            raise self.break_off(error) from error
        return call_id

    @property
    def plain_stream(self) -> ExpertStream | None:
        """The stream where `send_message` may use it: open, and not about to be replaced."""
        return None if not self._pending and self.is_outdated else self._stream

    def skip_to(self, call_id: int) -> None:
        """Somebody else sent calls with ids up to this one over `plain_stream`, and read their answers."""
        self.newest_call_id = max(self.newest_call_id, call_id)
        self._pending.skip_to(call_id)

    def carries(self, stream: ExpertStream) -> bool:
        """Whether calls still go over this stream."""
        return self._stream is stream

    def begin_call(self, call_id: int, shape: tuple[int, int]) -> None:
        """Somebody else sent a call over `plain_stream`, whose answer will have this shape."""
        self.newest_call_id = call_id
        self._pending.begin(call_id, shape)

    def reads_next(self, stream: ExpertStream, call_id: int) -> bool:
        """Whether the next message to be read of this stream is the answer to this call."""
        return self._stream is stream and self._unread is None and self._pending.awaits_next(call_id)

    def _receive_message(self, give_up: GiveUp) -> bytes:
        """The next message, of whatever call. Raises ClusterError, and then all calls are lost."""
        if self._unread is not None:
            data, self._unread = self._unread, None
            return data
        assert self._stream is not None, "a call under way has a stream"
        try:
            return self._stream.receive(give_up)
        except StreamBrokenError as error:
            raise self.break_off(error) from error

    def put_back(self, message: bytes) -> None:
        """What was received is to be looked at by `receive`."""
        self._unread = message

    def end_call(self, call_id: int) -> None:
        """Somebody else read its answer."""
        self._pending.end(call_id)

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        try:
            if (shape := self._pending.awaited(call_id)) is not None:
                data = self._receive_message(give_up)
                if (answer := read_plain_answer(data, call_id, shape)) is not None:
                    self._pending.end(call_id)
                    return answer
                self._unread = data
            return self._pending.wait(call_id, lambda: self._read(give_up))
        except ClusterError:
            if call_id in self._pending:  # nothing that follows can be trusted
                self.abandon()
            raise

    def abandon(self) -> None:
        self._pending.clear()
        self._unread = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._local_channel is not None:
            self._local_channel.close()
            self._local_channel = None
        self._channel.close_old()

    def close(self) -> None:
        self.abandon()
        self._channel.close()

    def _stub(self) -> expert_pb2_grpc.ExpertServiceStub:
        return expert_pb2_grpc.ExpertServiceStub(self._channel.current())

    def _ask_who(self, timeout_seconds: float) -> pb.DescribeReply:
        """A connection that lay idle may turn out to be dead only now; then a new one is tried."""
        try:
            return self._stub().Describe(pb.DescribeRequest(), timeout=timeout_seconds, wait_for_ready=True)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return self._stub().Describe(pb.DescribeRequest(), timeout=timeout_seconds, wait_for_ready=True)

    def _read(self, give_up: GiveUp) -> pb.ExpertReply:
        data = self._receive_message(give_up)
        try:
            return pb.ExpertReply.FromString(data)
        except DecodeError as error:
            raise WorkerFaultError(f"{self._name} sent no ExpertReply: {error}") from error

    def _decode(self, reply: pb.ExpertReply, shape: tuple[int, int]) -> LayerAnswer:
        if reply.WhichOneof("result") == "failure":
            raise error_of_number(reply.failure.status, f"{self._name}: {reply.failure.message}")
        return decode_answer(reply, reply.partial_sums, reply.finest, shape=shape, worker=self._name)

    def break_off(self, error: StreamBrokenError) -> ClusterError:
        """The stream broke, and all calls with it: how to tell."""
        self.abandon()
        return self.explain(error.status, error.details, waited_seconds=error.waited_seconds)

    def _open_stream(self) -> ExpertStream:
        if self._stream is None:
            self.check_unchanged()
            timeout = self._settings.call_timeout_seconds
            if self._local_path is not None:
                self._local_channel = open_local_channel(
                    self._local_path, self._address, self._settings.hidden_size
                )
            self._stream = ExpertStream(
                self._local_channel or self._channel.current(), timeout_seconds=timeout
            )
            self._channel.close_old()
        return self._stream

    def explain(
        self, status: grpc.StatusCode, details: str, *, waited_seconds: float | None = None
    ) -> ClusterError:
        """The error of a connection to this worker that broke."""
        if waited_seconds is not None and status in _SILENCE:
            details = f"no answer within {waited_seconds:.3g} s; is jangtq-worker running there?"
        return error_of(status, f"{self._name}: {details}")
