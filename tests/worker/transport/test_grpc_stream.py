"""The worker's side of a stream: which thread answers, and that nothing a caller sends ends the server."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import answer_frame, call_frame, read_answer, read_call
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.admission import InFlight
from jangtq_worker.transport.grpc_stream import QUICK_NS, SHORT_BYTES, CallStream

SERVICE = "jangtq_proto.v1.ExpertService"


class Service:
    """Says that a row takes `row_ns`, and notes which threads answered."""

    def __init__(self) -> None:
        self.row_ns = 1
        self.is_alone = True
        self.threads: list[str] = []
        self.in_flight = InFlight("calls")

    def forward(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        try:
            CallStream(self.answer, self.in_flight, lambda: self.is_alone).run(context)
        except CallRejectedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return iter(())

    def answer(self, frame: bytes) -> bytes:
        self.threads.append(threading.current_thread().name)
        call = read_call(frame)
        if call.layer == 9:
            raise RuntimeError("no such layer")
        nothing = np.zeros(call.row_count, dtype=np.int8)
        compute_ns = self.row_ns * call.row_count
        sums = np.zeros((call.row_count, 1), dtype=np.int32)
        return answer_frame(call.call_id, sums, nothing, queue_ns=0, compute_ns=compute_ns)


def call_of(rows: int, *, call_id: int = 0, layer: int = 0) -> bytes:
    call = LayerCall(
        layer,
        np.zeros((rows, 1), dtype=np.float32),
        np.zeros((rows, 1), dtype=np.int32),
        np.ones((rows, 1), dtype=np.float32),
        np.zeros(rows, dtype=np.int8),
        prefill=False,
    )
    return pb.Frame(data=call_frame(call_id, call, RowType.FLOAT32)).SerializeToString()


@contextmanager
def serving() -> Iterator[tuple[Service, grpc.Channel]]:
    server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="stream"))
    service = Service()
    handler = grpc.stream_stream_rpc_method_handler(
        service.forward, pb.Frame.FromString, pb.Frame.SerializeToString
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
    calls = [call_of(count, call_id=i) for i, count in enumerate(rows)]
    as_they_are: Callable[[bytes], bytes] = bytes
    stream = channel.stream_stream(f"/{SERVICE}/Forward", as_they_are, pb.Frame.FromString)
    return [read_answer(reply.data).call_id for reply in stream(iter(calls))]


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
        assert ask(channel, [100, SHORT_BYTES // 4, 1, SHORT_BYTES // 4]) == [0, 1, 2, 3]
        assert service.in_flight.wait_until_none(10)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (pb.Frame(data=b"short").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        (call_of(1, layer=9), grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_bad_message_costs_its_stream_alone(data: bytes, status: grpc.StatusCode) -> None:
    with serving() as (service, channel):
        as_they_are: Callable[[bytes], bytes] = bytes
        stream = channel.stream_stream(f"/{SERVICE}/Forward", as_they_are, pb.Frame.FromString)
        quick = call_of(1)
        with pytest.raises(grpc.RpcError) as caught:
            list(stream(iter([quick, data])))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is status
        assert ask(channel, [1]) == [0]
        assert service.in_flight.wait_until_none(10)
