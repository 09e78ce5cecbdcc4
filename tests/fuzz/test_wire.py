"""Almost right frames and messages into a worker: no crash, no hang, no growth, no word to a stranger."""

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import CallShape
from jangtq_proto.wire.frames import LENGTH, OK, greeting, read_answer, read_greeting
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard
from tests.support.cluster_processes import start_worker
from tests.support.forks import processes
from tests.support.good_calls import FRAMES
from tests.support.mutations import Mutator, converse, scaled
from tests.support.running_worker import MOST_GROWTH_BYTES, SECONDS, RunningWorker, running_worker
from tests.support.scripted_workers import EXPERTS, HIDDEN
from tests.support.tls_folders import make_folders


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture(scope="module")
def admission(small_bundle: Path) -> Admission:
    bundle = Bundle.open(small_bundle)
    admission = Admission(CallShape(1, HIDDEN), max_streams=2)
    admission.serve(Shard(load_layers(bundle, open_backend("auto", threads=1), tuple(range(EXPERTS)))))
    return admission


def test_an_admission_answers_whatever_comes(admission: Admission) -> None:
    mutator = Mutator(1)
    for data in FRAMES:
        assert read_answer(admission.answer(data)).status == OK
    before, statuses = resident(), Counter[int]()
    for index in range(scaled(50_000)):
        answer = admission.answer(mutator.mutate(FRAMES[index % len(FRAMES)]))
        statuses[read_answer(answer).status] += 1
    refused, overflow = (
        code.value[0] for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    )
    assert statuses.keys() <= {OK, refused, overflow}
    assert statuses[OK] > 1000 and statuses[refused] > 1000
    assert resident() - before < MOST_GROWTH_BYTES


def test_what_is_read_by_a_coordinator_is_refused_or_taken(admission: Admission) -> None:
    mutator = Mutator(2)
    welcome = greeting(bytes(32))
    answer = struct.pack("<IIQQQ", 28, 0, 7, 1, 2) + bytes(64)
    for _ in range(scaled(5_000)):
        for read, data in ((read_answer, answer), (read_greeting, welcome)):
            try:
                read(memoryview(mutator.mutate(data)))
            except CallRejectedError:
                pass


@pytest.fixture(scope="module")
def worker(small_bundle: Path) -> Iterator[RunningWorker]:
    with running_worker(small_bundle) as running:
        yield running


def test_mutated_messages_over_a_real_stream(worker: RunningWorker) -> None:
    mutator = Mutator(3)
    messages_of_frames = [pb.Frame(data=frame).SerializeToString() for frame in FRAMES]
    with grpc.insecure_channel(str(worker.address)) as channel:
        forward = channel.stream_stream(
            "/jangtq_proto.v1.ExpertService/Forward",
            request_serializer=bytes,
            response_deserializer=pb.Frame.FromString,
        )
        for _ in range(scaled(300)):
            messages = [mutator.mutate(mutator.random.choice(messages_of_frames)) for _ in range(10)]
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


def test_a_stranger_at_the_express_connection_hears_nothing(worker: RunningWorker) -> None:
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
    with processes() as children:
        child = start_worker(children, small_bundle, "0-31", options=["--tls", str(folders.worker)])
        child.ready()
        port = parse_address(child.listening()).port
        for index in range(scaled(200)):
            words = mutator.mutate((hello, FRAMES[0], greeting(bytes(32)))[index % 3])
            heard = converse(port, words, seconds=SECONDS)
            # A TLS alert says that a handshake is refused, and nothing else.
            assert heard == b"" or heard[0] == 0x15, heard
        assert child.process.poll() is None
