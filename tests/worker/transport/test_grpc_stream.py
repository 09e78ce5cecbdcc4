"""The worker's side of a stream: which thread answers, and that nothing a caller sends ends the server."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from jangtq_worker.native_stream import NativeStream

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import LayerCall, encode_call
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.activity import StreamActivity
from jangtq_worker.device.admission import InFlight
from jangtq_worker.transport import grpc_stream as call_stream
from jangtq_worker.transport.grpc_stream import QUICK_NS, SHORT_BYTES, CallStream
from tests.support.native_layers import ScriptedNativeLayer, scripted_admission

SERVICE = "jangtq_proto.v1.ExpertService"
HIDDEN = 8


class Service:
    """Says that a row takes `row_ns`, and notes which threads answered."""

    def __init__(self) -> None:
        self.row_ns = 1
        self.is_alone = True
        self.threads: list[str] = []
        self.in_flight = InFlight("calls")
        self.native: NativeStream | None = None

    def forward(
        self, request_iterator: Iterator[pb.ExpertCall], context: grpc.ServicerContext
    ) -> Iterator[pb.ExpertReply]:
        try:
            stream = CallStream(self.answer, self.in_flight, lambda: self.is_alone, native=self.native)
            stream.run(context)
        except CallRejectedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return iter(())

    def answer(self, call: pb.ExpertCall) -> pb.ExpertReply:
        self.threads.append(threading.current_thread().name)
        if call.layer == 9:
            raise RuntimeError("no such layer")
        compute_ns = self.row_ns * call.row_count
        return pb.ExpertReply(call_id=call.call_id, compute_ns=compute_ns, partial_sums=bytes(call.row_count))


@contextmanager
def serving() -> Iterator[tuple[Service, grpc.Channel]]:
    server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="stream"))
    service = Service()
    handler = grpc.stream_stream_rpc_method_handler(
        service.forward, pb.ExpertCall.FromString, pb.ExpertReply.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Forward": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service, channel
    finally:
        server.stop(grace=None).wait()


def ask(channel: grpc.Channel, rows: list[int]) -> list[int]:
    """Sends one call for each number of rows, all at once; returns the ids of the answers."""
    calls = (pb.ExpertCall(call_id=i, row_count=count) for i, count in enumerate(rows))
    return [reply.call_id for reply in expert_pb2_grpc.ExpertServiceStub(channel).Forward(calls)]


def by_own_thread(service: Service) -> list[bool]:
    return [name.startswith("stream") for name in service.threads]


def test_quick_calls_are_answered_by_the_thread_that_reads() -> None:
    with serving() as (service, channel):
        assert ask(channel, [1, 1, 1]) == [0, 1, 2]
        assert by_own_thread(service) == [True, False, False]


def test_long_calls_and_calls_beside_other_streams_leave_that_thread_free() -> None:
    with serving() as (service, channel):
        service.row_ns = QUICK_NS // 4
        assert ask(channel, [1, 5, 1, 4]) == [0, 1, 2, 3]
        assert by_own_thread(service) == [True, True, False, False]
        service.threads.clear()
        service.is_alone = False
        assert ask(channel, [1, 1]) == [0, 1]
        assert by_own_thread(service) == [True, True]


def test_short_and_long_answers_arrive_and_are_no_longer_in_flight() -> None:
    with serving() as (service, channel):
        assert ask(channel, [SHORT_BYTES // 2, 8 * SHORT_BYTES, 1, 8 * SHORT_BYTES]) == [0, 1, 2, 3]
        assert service.in_flight.wait_until_none(10)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (pb.ExpertCall(layer=9).SerializeToString(), grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_bad_message_costs_its_stream_alone(data: bytes, status: grpc.StatusCode) -> None:
    with serving() as (service, channel):
        as_they_are: Callable[[bytes], bytes] = bytes
        stream = channel.stream_stream(f"/{SERVICE}/Forward", as_they_are, pb.ExpertReply.FromString)
        quick = pb.ExpertCall(row_count=1).SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([quick, data])))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is status
        assert ask(channel, [1]) == [0]
        assert service.in_flight.wait_until_none(10)


class NativeService:
    """One layer, asked natively, of which each row takes as long as a test says."""

    def __init__(self, service: Service) -> None:
        self.seconds = 0.0
        self.threads: list[str] = []
        self._layer = ScriptedNativeLayer(HIDDEN, self._compute)
        self._admission = scripted_admission(self._layer)
        assert self._admission.native is not None, "the library was compiled"
        service.native = NativeStream(self._admission.native, lambda: service.is_alone, StreamActivity())

    def _compute(self) -> None:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.seconds * len(self._layer.rows))


def native_call(call_id: int, rows: int, *, layer: int = 0) -> pb.ExpertCall:
    call = LayerCall(
        layer,
        np.full((rows, HIDDEN), call_id, dtype=np.float32),
        np.zeros((rows, 1), dtype=np.int32),
        np.ones((rows, 1), dtype=np.float32),
        np.zeros(rows, dtype=np.int8),
        prefill=False,
    )
    return encode_call(call_id, call, RowType.FLOAT32)


def ask_natively(channel: grpc.Channel, calls: list[pb.ExpertCall]) -> list[int]:
    """Returns the ids of the answers, whose sums must be the bits of the rows where there are any."""
    replies = list(expert_pb2_grpc.ExpertServiceStub(channel).Forward(iter(calls)))
    for call, reply in zip(calls, replies, strict=True):
        assert call.layer or reply.partial_sums == call.rows
    return [reply.call_id for reply in replies]


def test_native_answers_come_from_the_same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough that a busy machine makes no difference.
    monkeypatch.setattr(call_stream, "QUICK_NS", 350_000_000)
    with serving() as (service, channel):
        native = NativeService(service)
        assert ask_natively(channel, [native_call(n, 1) for n in (1, 2, 3)]) == [1, 2, 3]
        assert [name.startswith("stream") for name in native.threads] == [True, False, False]
        native.threads.clear()
        native.seconds = 0.1
        assert ask_natively(channel, [native_call(n, n) for n in (1, 5, 1)]) == [1, 5, 1]
        assert [name.startswith("stream") for name in native.threads] == [True, True, False]
        native.threads.clear()
        service.is_alone = False
        assert ask_natively(channel, [native_call(n, 1) for n in (1, 2)]) == [1, 2]
        assert [name.startswith("stream") for name in native.threads] == [True, True]
        assert not service.threads, "Python answered nothing"
        assert service.in_flight.wait_until_none(10)


def test_what_native_code_leaves_is_answered_by_python_in_turn() -> None:
    with serving() as (service, channel):
        native = NativeService(service)
        calls = [native_call(1, 1), native_call(2, 1, layer=1), native_call(3, 1), native_call(4, 1, layer=1)]
        assert ask_natively(channel, calls) == [1, 2, 3, 4]
        assert (len(native.threads), len(service.threads)) == (2, 2)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (native_call(7, 1).SerializeToString()[:-1], grpc.StatusCode.INVALID_ARGUMENT),
        (pb.ExpertCall(layer=9).SerializeToString(), grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_bad_message_costs_its_stream_alone_natively(
    data: bytes, status: grpc.StatusCode, quick: bool
) -> None:
    with serving() as (service, channel):
        NativeService(service)
        service.is_alone = quick
        as_they_are: Callable[[bytes], bytes] = bytes
        stream = channel.stream_stream(f"/{SERVICE}/Forward", as_they_are, pb.ExpertReply.FromString)
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([native_call(1, 1).SerializeToString(), data])))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is status
        assert ask_natively(channel, [native_call(1, 1)]) == [1]
        assert service.in_flight.wait_until_none(10)
