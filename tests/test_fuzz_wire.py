"""Almost right frames and messages into a worker: no crash, no hang, no growth, no word to a stranger."""

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from cluster_processes import start_worker
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from mutations import Mutator, converse, scaled
from scripted_workers import EXPERTS, HIDDEN
from tls_folders import make_folders

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.children import Children
from jangtq_coordinator.prober import Prober
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.codec import CallShape, LayerCall, RowType, encode_call, message_limit
from jangtq_proto.errors import CallRejectedError, ClusterError
from jangtq_proto.frames import LENGTH, call_frame, greeting, read_answer, read_call, read_greeting
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_worker.desk import Desk
from jangtq_worker.shard import Shard

SECONDS = 30
MOST_GROWTH_BYTES = 64 << 20


def seeds() -> list[LayerCall]:
    """Good calls of several shapes; short ones, so that most mutations meet a field."""
    random = np.random.default_rng(5)
    return [
        LayerCall(
            layer=0,
            rows=random.standard_normal((rows, HIDDEN)).astype(np.float32),
            expert_ids=random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32),
            router_weights=random.random((rows, slots), dtype=np.float32),
            exponents=np.full(rows, -20, dtype=np.int8),
            prefill=rows > 1,
        )
        for rows, slots in ((1, 1), (1, 8), (3, 2))
    ]


FRAMES = [b"".join(bytes(part) for part in call_frame(7, call, kind)) for call in seeds() for kind in RowType]
MESSAGES = [encode_call(7, call, kind).SerializeToString() for call in seeds() for kind in RowType]


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture(scope="module")
def desk(small_bundle: Path) -> Desk:
    bundle = Bundle.open(small_bundle)
    desk = Desk(CallShape(1, HIDDEN), max_streams=2)
    desk.serve(Shard(load_layers(bundle, open_backend("auto", threads=1), tuple(range(EXPERTS)))))
    return desk


def answer_frame_bytes(desk: Desk, data: bytes) -> None:
    desk.compute(read_call(memoryview(data)))


def answer_message_bytes(desk: Desk, data: bytes) -> None:
    desk.compute(pb.ExpertCall.FromString(data))


@pytest.mark.parametrize(
    ("answer_bytes", "good"),
    [(answer_frame_bytes, FRAMES), (answer_message_bytes, MESSAGES)],
    ids=["frames", "messages"],
)
def test_the_desk_takes_or_refuses_whatever_comes(
    desk: Desk, answer_bytes: Callable[[Desk, bytes], None], good: list[bytes]
) -> None:
    mutator = Mutator(1)
    for data in good:
        answer_bytes(desk, data)
    before, taken, refused = resident(), 0, 0
    for index in range(scaled(50_000)):
        try:
            answer_bytes(desk, mutator.mutate(good[index % len(good)]))
            taken += 1
        except (ClusterError, DecodeError):
            refused += 1
    assert taken > 1000 and refused > 1000
    assert resident() - before < MOST_GROWTH_BYTES


def test_what_is_read_by_a_coordinator_is_refused_or_taken(desk: Desk) -> None:
    mutator = Mutator(2)
    welcome = greeting(bytes(32))
    answer = struct.pack("<IIQQQ", 28, 0, 7, 1, 2) + bytes(64)
    for _ in range(scaled(5_000)):
        for read, data in ((read_answer, answer), (read_greeting, welcome)):
            try:
                read(memoryview(mutator.mutate(data)))
            except CallRejectedError:
                pass


class RunningWorker:
    """A worker of its own process, and what must still be so after whatever was done to it."""

    def __init__(self, address: Address, process: psutil.Process) -> None:
        self.address = address
        self.process = process
        with grpc.insecure_channel(str(address)) as channel:
            (self._answer,) = expert_pb2_grpc.ExpertServiceStub(channel).Forward(iter([self.good_call()]))
        self._resident = process.memory_info().rss

    @staticmethod
    def good_call() -> pb.ExpertCall:
        return pb.ExpertCall.FromString(MESSAGES[0])

    def check(self) -> None:
        """It lives, answers as before, and has not grown."""
        with grpc.insecure_channel(str(self.address)) as channel:
            stub = expert_pb2_grpc.ExpertServiceStub(channel)
            (answer,) = stub.Forward(iter([self.good_call()]), timeout=SECONDS)
        assert answer.partial_sums == self._answer.partial_sums
        assert self.process.memory_info().rss - self._resident < MOST_GROWTH_BYTES
        deadline = time.monotonic() + SECONDS
        while self.process.num_threads() > 60 or self.process.num_fds() > 60:
            assert time.monotonic() < deadline, "connections were left behind"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def worker(small_bundle: Path) -> Iterator[RunningWorker]:
    with Children() as children:
        child = start_worker(children, small_bundle, "0-31", options=["--device", "cpu"])
        child.ready()
        yield RunningWorker(parse_address(child.listening()), psutil.Process(child.process.pid))


def test_mutated_messages_over_a_real_stream(worker: RunningWorker) -> None:
    mutator = Mutator(3)
    with grpc.insecure_channel(str(worker.address)) as channel:
        forward = channel.stream_stream(
            "/jangtq_proto.v1.ExpertService/Forward",
            request_serializer=bytes,
            response_deserializer=pb.ExpertReply.FromString,
        )
        for _ in range(scaled(300)):
            messages = [mutator.mutate(mutator.random.choice(MESSAGES)) for _ in range(10)]
            try:
                list(forward(iter(messages), timeout=SECONDS))
            except grpc.RpcError as error:
                assert isinstance(error, grpc.Call)
                assert error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    worker.check()


def test_mutated_frames_over_a_real_express_connection(worker: RunningWorker) -> None:
    mutator = Mutator(4)
    with grpc.insecure_channel(str(worker.address)) as channel:
        stub = expert_pb2_grpc.ExpertServiceStub(channel)
        for _ in range(scaled(300)):
            reply = stub.OpenExpress(pb.OpenExpressRequest(), timeout=SECONDS)
            frames = [mutator.mutate(mutator.random.choice(FRAMES)) for _ in range(10)]
            heard = converse(reply.port, greeting(reply.ticket) + b"".join(frames), seconds=SECONDS)
            assert len(heard) >= LENGTH.size, "no welcome"
    worker.check()


def test_a_stranger_at_the_express_lane_hears_nothing(worker: RunningWorker) -> None:
    mutator = Mutator(5)
    with grpc.insecure_channel(str(worker.address)) as channel:
        stub = expert_pb2_grpc.ExpertServiceStub(channel)
        port = stub.OpenExpress(pb.OpenExpressRequest(), timeout=SECONDS).port
        tickets = [stub.OpenExpress(pb.OpenExpressRequest()).ticket for _ in range(20)]
    for index in range(scaled(300)):
        wrong = bytes(byte ^ 0xFF for byte in tickets[index % len(tickets)])
        assert converse(port, mutator.mutate(greeting(wrong)) + FRAMES[0], seconds=SECONDS) == b""
    worker.check()


def test_bytes_that_are_no_http2(worker: RunningWorker) -> None:
    mutator = Mutator(6)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    headers = b"\x00\x00\x05\x01\x04\x00\x00\x00\x01\x82\x86\x84\x41\x8a"
    for _ in range(scaled(300)):
        converse(
            worker.address.port,
            mutator.mutate(preface + headers * mutator.random.randrange(1, 5)),
            seconds=SECONDS,
        )
    worker.check()


def test_strangers_at_tls_ports_hear_nothing(small_bundle: Path, tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "tls")
    mutator = Mutator(7)
    hello = bytes.fromhex("160301002f010000 2b0303") + bytes(32) + bytes.fromhex("000002130101000000")
    with Children() as children:
        child = start_worker(children, small_bundle, "0-31", options=["--tls", str(folders.worker)])
        child.ready()
        port = parse_address(child.listening()).port
        for index in range(scaled(200)):
            words = mutator.mutate((hello, FRAMES[0], greeting(bytes(32)))[index % 3])
            heard = converse(port, words, seconds=SECONDS)
            # A TLS alert says that a handshake is refused, and nothing else.
            assert heard == b"" or heard[0] == 0x15, heard
        assert child.process.poll() is None


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


MOST_RPCS = 32
"""16 streams, 8 threads for other questions, and as many that wait for one."""

BOMB_BYTES = 2 * MOST_GROWTH_BYTES


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
        Prober(HIDDEN).ask(Address("127.0.0.1", port), timeout_seconds=SECONDS)
    server.stop(grace=None).wait()
