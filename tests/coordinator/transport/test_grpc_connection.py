"""A connection to a worker that behaves, fails, lies, falls silent, dies and comes back."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.grpc_stream import LONE_CALLS
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import (
    CallRejectedError,
    WorkerFaultError,
    WorkerMismatchError,
    WorkerUnreachableError,
)
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import Bytes, LayerCall, WireCall
from jangtq_proto.wire.frames import ANSWER_HEAD_BYTES, NO_CALL, answer_frame, failure_frame, read_call
from tests.support.connection_answers import CallConnection

HIDDEN = 8
Behaviour = Callable[[WireCall], bytes]


def echo(call: WireCall) -> bytes:
    """The bits of the rows for sums."""
    return reply(call.call_id, call.rows, call.exponents)


def reply(call_id: int, partial_sums: Bytes, finest: Bytes, *, sent_id: int | None = None) -> bytes:
    sums, exponents = np.frombuffer(partial_sums, np.uint8), np.frombuffer(finest, np.int8)
    frame = answer_frame(call_id, sums.view(np.int8), exponents, queue_ns=0, compute_ns=5)
    return frame if sent_id is None else frame[:8] + sent_id.to_bytes(8, "little") + frame[16:]


def without_checksum(call: WireCall) -> bytes:
    frame = echo(call)
    return frame[: ANSWER_HEAD_BYTES - 4] + bytes(4) + frame[ANSWER_HEAD_BYTES:]


class ScriptedWorker(expert_pb2_grpc.ExpertServiceServicer):
    """Answers as its behaviour says, which a test may change at any time."""

    def __init__(self, behaviour: Behaviour, fingerprint: str) -> None:
        self.behaviour = behaviour
        self.fingerprint = fingerprint

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        return pb.DescribeReply(fingerprint=self.fingerprint, protocol_version=1)

    def OpenExpress(
        self, request: pb.OpenExpressRequest, context: grpc.ServicerContext
    ) -> pb.OpenExpressReply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no express transport here")

    def TakeOver(self, request: pb.TakeOverRequest, context: grpc.ServicerContext) -> pb.TakeOverReply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing is taken over here")

    def GiveBack(self, request: pb.GiveBackRequest, context: grpc.ServicerContext) -> pb.GiveBackReply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing is given back here")

    def Forward(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        for message in request_iterator:
            yield pb.Frame(data=self.behaviour(read_call(message.data)))


@contextmanager
def scripted_worker(
    behaviour: Behaviour = echo, *, port: int = 0, fingerprint: str = "f"
) -> Iterator[tuple[ScriptedWorker, int]]:
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    worker = ScriptedWorker(behaviour, fingerprint)
    expert_pb2_grpc.add_ExpertServiceServicer_to_server(worker, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield worker, bound
    finally:
        server.stop(grace=None).wait()


@contextmanager
def connection_to(port: int, *, call_timeout_seconds: float = 30) -> Iterator[CallConnection]:
    settings = ConnectionSettings(HIDDEN, 10, call_timeout_seconds)
    connection = GrpcConnection(parse_address(f"127.0.0.1:{port}"), settings)
    try:
        yield CallConnection(connection, name=f"worker 127.0.0.1:{port}")
    finally:
        connection.close()


def meet(connection: CallConnection) -> None:
    control = connection.connection
    assert isinstance(control, GrpcConnection)
    control.expect(control.describe())


def some_call(rows: int = 2, seed: int = 0) -> LayerCall:
    return LayerCall(
        layer=0,
        rows=np.random.default_rng(seed).standard_normal((rows, HIDDEN)).astype(np.float32),
        expert_ids=np.zeros((rows, 1), dtype=np.int32),
        router_weights=np.ones((rows, 1), dtype=np.float32),
        exponents=np.zeros(rows, dtype=np.int8),
        prefill=False,
    )


def ask(connection: CallConnection, call: LayerCall | None = None) -> NDArray[np.int32]:
    return connection.receive(connection.send(call or some_call())).partial_sums


def test_many_calls_share_a_stream() -> None:
    with scripted_worker() as (_, port), connection_to(port) as connection:
        for seed in range(200):
            call = some_call(rows=1 + seed % 5, seed=seed)
            np.testing.assert_array_equal(ask(connection, call), call.rows.view(np.int32))


def ask_alone_for_long(connection: CallConnection) -> None:
    """From then on the connection counts on one call at a time."""
    for seed in range(LONE_CALLS + 3):
        call = some_call(seed=seed)
        np.testing.assert_array_equal(ask(connection, call), call.rows.view(np.int32))


def test_calls_come_together_again_after_many_that_were_alone() -> None:
    with scripted_worker() as (_, port), connection_to(port) as connection:
        for _ in range(2):
            ask_alone_for_long(connection)
            calls = [some_call(rows=1 + seed, seed=seed) for seed in range(4)]
            ids = [connection.send(call) for call in calls]
            for call_id, call in reversed(list(zip(ids, calls, strict=True))):
                found = connection.receive(call_id).partial_sums
                np.testing.assert_array_equal(found, call.rows.view(np.int32))


def test_a_worker_that_falls_silent_or_dies_after_many_calls_is_given_up() -> None:
    go_on = threading.Event()

    def fall_silent(call: WireCall) -> bytes:
        go_on.wait(30)
        return echo(call)

    with ExitStack() as stack:
        with scripted_worker() as (worker, port):
            connection = stack.enter_context(connection_to(port, call_timeout_seconds=2))
            ask_alone_for_long(connection)
            worker.behaviour = fall_silent
            with pytest.raises(WorkerUnreachableError, match="no answer within 2 s"):
                ask(connection)
            go_on.set()
            worker.behaviour = echo
            ask_alone_for_long(connection)
        with pytest.raises(WorkerUnreachableError):
            ask(connection)


def test_a_large_call_passes() -> None:
    with scripted_worker() as (_, port), connection_to(port) as connection:
        call = some_call(rows=4096)
        np.testing.assert_array_equal(ask(connection, call), call.rows.view(np.int32))


def test_a_failure_is_the_callers_error_and_the_connection_goes_on() -> None:
    def refuse(call: WireCall) -> bytes:
        return failure_frame(call.call_id, 3, "bad rows")

    with scripted_worker(refuse) as (worker, port), connection_to(port) as connection:
        with pytest.raises(CallRejectedError, match=f"worker 127.0.0.1:{port}: bad rows"):
            ask(connection)
        worker.behaviour = echo
        assert ask(connection).shape == (2, HIDDEN)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (
            lambda m: reply(m.call_id + 1, m.rows, m.exponents),
            "answered call 2, the next to be answered is 1",
        ),
        (lambda m: reply(m.call_id, m.rows[:-1], m.exponents), "partial_sums has 63 bytes"),
        (lambda m: reply(m.call_id, m.rows, m.exponents[:-1]), "partial_sums has 63 bytes"),
        (lambda m: reply(m.call_id + 1, m.rows, m.exponents, sent_id=m.call_id), "checksum is wrong"),
        (without_checksum, "checksum is wrong"),
        (lambda m: echo(m)[:ANSWER_HEAD_BYTES], f"of {ANSWER_HEAD_BYTES} bytes says it has"),
        (lambda m: b"", "at least 36 bytes, not 0"),
        (lambda m: failure_frame(NO_CALL, 13, "lost"), "lost"),
    ],
    ids=["other call", "short", "short finest", "another's answer", "no checksum", "cut", "empty", "no call"],
)
def test_a_lie_is_noticed_and_forgiven(lie: Behaviour, words: str) -> None:
    with scripted_worker(lie) as (worker, port), connection_to(port) as connection:
        with pytest.raises(WorkerFaultError, match=words):
            ask(connection)
        worker.behaviour = echo
        assert ask(connection).shape == (2, HIDDEN)


def test_a_silent_worker_is_given_up_and_its_late_answer_dropped() -> None:
    go_on = threading.Event()

    def hang(call: WireCall) -> bytes:
        go_on.wait(30)
        return echo(call)

    with scripted_worker(hang) as (worker, port), connection_to(port, call_timeout_seconds=0.3) as connection:
        with pytest.raises(WorkerUnreachableError, match=r"no answer within 0\.3 s"):
            ask(connection)
        worker.behaviour = echo
        go_on.set()
        call = some_call(seed=9)
        np.testing.assert_array_equal(ask(connection, call), call.rows.view(np.int32))


def test_a_worker_that_dies_is_an_error_and_one_that_comes_back_is_used() -> None:
    with ExitStack() as stack:
        with scripted_worker() as (_, port):
            connection = stack.enter_context(connection_to(port))
            meet(connection)
            ask(connection)
        with pytest.raises(WorkerUnreachableError):
            ask(connection)
        with scripted_worker(port=port):
            assert ask(connection).shape == (2, HIDDEN)


def test_a_worker_that_comes_back_with_another_bundle_is_refused() -> None:
    with ExitStack() as stack:
        with scripted_worker(fingerprint="one") as (_, port):
            connection = stack.enter_context(connection_to(port))
            meet(connection)
        with scripted_worker(port=port, fingerprint="two"):
            with pytest.raises(WorkerMismatchError, match="came back with bundle two, it had one"):
                ask(connection)


def test_nobody_there_is_said_with_the_address() -> None:
    with scripted_worker() as (_, port):
        pass
    with connection_to(port) as connection, pytest.raises(WorkerUnreachableError, match=f"127.0.0.1:{port}"):
        ask(connection)
