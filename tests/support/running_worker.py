"""A worker of its own process, and what must still be so after whatever was done to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil

from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.frames import ANSWER_HEAD_BYTES
from tests.support.cluster_processes import start_worker
from tests.support.forks import processes
from tests.support.good_calls import FRAMES

SECONDS = 30
MOST_GROWTH_BYTES = 64 << 20


class RunningWorker:
    """Where it listens, and its process."""

    def __init__(self, address: Address, process: psutil.Process) -> None:
        self.address = address
        self.process = process
        with grpc.insecure_channel(str(address)) as channel:
            (self._answer,) = expert_pb2_grpc.ExpertServiceStub(channel).Forward(iter([self.good_call()]))
        self._resident = process.memory_info().rss

    @staticmethod
    def good_call() -> pb.Frame:
        return pb.Frame(data=FRAMES[0])

    def check(self) -> None:
        """It lives, answers as before, and has not grown."""
        with grpc.insecure_channel(str(self.address)) as channel:
            stub = expert_pb2_grpc.ExpertServiceStub(channel)
            (answer,) = stub.Forward(iter([self.good_call()]), timeout=SECONDS)
        assert answer.data[ANSWER_HEAD_BYTES:] == self._answer.data[ANSWER_HEAD_BYTES:]
        assert self.process.memory_info().rss - self._resident < MOST_GROWTH_BYTES
        deadline = time.monotonic() + SECONDS
        while self.process.num_threads() > 60 or self.process.num_fds() > 60:
            assert time.monotonic() < deadline, "connections were left behind"
            time.sleep(0.05)


@contextmanager
def running_worker(bundle: Path) -> Iterator[RunningWorker]:
    with processes() as children:
        child = start_worker(children, bundle, "0-31", options=["--device", "cpu"])
        child.ready()
        yield RunningWorker(parse_address(child.listening()), psutil.Process(child.process.pid))
