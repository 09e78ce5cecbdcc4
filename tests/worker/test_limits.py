"""Too much for a worker: what never ends, comes without number or grows once unpacked holds nobody up."""

import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import message_limit
from jangtq_proto.wire.frames import LENGTH, greeting
from tests.support.running_worker import MOST_GROWTH_BYTES, SECONDS, RunningWorker, running_worker
from tests.support.scripted_workers import HIDDEN

MOST_RPCS = 32
"""16 streams, 8 threads for other questions, and as many that wait for one."""

BOMB_BYTES = 2 * MOST_GROWTH_BYTES


@pytest.fixture(scope="module")
def worker(small_bundle: Path) -> Iterator[RunningWorker]:
    with running_worker(small_bundle) as running:
        yield running


def test_a_length_that_never_comes_holds_nobody_up(worker: RunningWorker) -> None:
    """A frame is announced and not sent; others are served meanwhile."""
    with grpc.insecure_channel(str(worker.address)) as channel:
        stub = expert_pb2_grpc.ExpertServiceStub(channel)
        reply = stub.OpenExpress(pb.OpenExpressRequest(), timeout=SECONDS)
        silent = socket.create_connection(("127.0.0.1", reply.port), timeout=SECONDS)
        with closing(silent):
            silent.sendall(greeting(reply.ticket) + LENGTH.pack(1 << 20))
            worker.check()
    worker.check()


def test_questions_without_number_are_refused_at_once(worker: RunningWorker) -> None:
    """What finds no thread may wait for one in small numbers only."""
    hang_up = threading.Event()
    with grpc.insecure_channel(str(worker.address)) as channel, ThreadPoolExecutor(100) as pool:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo

        def hold_a_thread(number: int) -> grpc.StatusCode | None:
            stream = ask(_silence(hang_up), timeout=2 * SECONDS)
            code = stream.code()
            assert code is None or isinstance(code, grpc.StatusCode)
            return code

        asked = [pool.submit(hold_a_thread, number) for number in range(100)]
        refused = list(itertools.islice(as_completed(asked, timeout=SECONDS), 100 - MOST_RPCS))
        hang_up.set()
    assert {future.result() for future in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    worker.check()


def _silence(until: threading.Event) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    until.wait()
    yield from ()


def test_a_compressed_message_is_refused_before_it_grows(worker: RunningWorker) -> None:
    with grpc.insecure_channel(
        str(worker.address), options=[("grpc.max_send_message_length", BOMB_BYTES)]
    ) as channel:
        forward = channel.stream_stream(
            "/jangtq_proto.v1.ExpertService/Forward", request_serializer=bytes, response_deserializer=bytes
        )
        with pytest.raises(grpc.RpcError) as caught:
            list(forward(iter([bytes(BOMB_BYTES)]), timeout=SECONDS, compression=grpc.Compression.Gzip))
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    worker.check()


def test_a_compressed_answer_is_refused_too() -> None:
    def describe(request: bytes, context: grpc.ServicerContext) -> bytes:
        return bytes(8 * message_limit(HIDDEN))

    handler = grpc.method_handlers_generic_handler(
        "jangtq_proto.v1.ExpertService", {"Describe": grpc.unary_unary_rpc_method_handler(describe)}
    )
    server = grpc.server(
        ThreadPoolExecutor(1),
        compression=grpc.Compression.Gzip,
        options=[("grpc.max_send_message_length", -1)],
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(ClusterError, match="ompress"):
        ControlClient(HIDDEN).ask(Address("127.0.0.1", port), timeout_seconds=SECONDS)
    server.stop(grace=None).wait()
