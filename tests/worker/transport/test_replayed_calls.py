"""The same call id sent again: workers keep nothing of a call, so that it is computed and answered anew."""

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from jangtq_coordinator.transport.connection import never
from jangtq_coordinator.transport.express_handshake import ExpressEndpoint, ExpressSettings, enter
from jangtq_coordinator.transport.pending_calls import PendingCalls
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import call_frame, failure_frame, frame_limit, read_answer
from jangtq_proto.wire.row_type import RowType
from tests.support.scripted_workers import HIDDEN, ScriptedWorker, scripted_worker, some_call


class Answer(NamedTuple):
    """Bytes as they came; the checksum is of the id, too."""

    call_id: int
    payload: bytes
    checksum: int


def answer_of(frame: bytes | memoryview) -> Answer:
    answer = read_answer(frame)
    return Answer(answer.call_id, bytes(answer.payload), answer.checksum)


class Wire(NamedTuple):
    """One open stream, without the coordinator's connection, which never repeats an id."""

    send: Callable[[int, LayerCall], None]
    receive: Callable[[], Answer]


@contextmanager
def grpc_wire(worker: ScriptedWorker) -> Iterator[Wire]:
    calls: queue.SimpleQueue[pb.Frame | None] = queue.SimpleQueue()
    with grpc.insecure_channel(str(worker.address)) as channel:
        replies = expert_pb2_grpc.ExpertServiceStub(channel).Forward(iter(calls.get, None))

        def receive() -> Answer:
            return answer_of(next(replies).data)

        def send(number: int, call: LayerCall) -> None:
            calls.put(pb.Frame(data=call_frame(number, call, RowType.FLOAT32)))

        yield Wire(send, receive)
        calls.put(None)


@contextmanager
def express_wire(worker: ScriptedWorker) -> Iterator[Wire]:
    with grpc.insecure_channel(str(worker.address)) as channel:
        way = expert_pb2_grpc.ExpertServiceStub(channel).OpenExpress(pb.OpenExpressRequest())
    frames = enter(ExpressEndpoint(worker.address.host, way.port), way.ticket, ExpressSettings())

    def receive() -> Answer:
        frame = frames.receive(frame_limit(HIDDEN))
        assert frame is not None
        return answer_of(frame)

    yield Wire(lambda number, call: frames.send(call_frame(number, call, RowType.FLOAT32)), receive)
    frames.close()


Open = Callable[[ScriptedWorker], AbstractContextManager[Wire]]


@pytest.fixture(params=[grpc_wire, express_wire], ids=["grpc", "express"])
def open_wire(request: pytest.FixtureRequest) -> Open:
    found: Open = request.param
    return found


@pytest.fixture(scope="module")
def worker(small_bundle: Path) -> Iterator[ScriptedWorker]:
    with scripted_worker(small_bundle) as running:
        yield running


def test_a_call_that_is_sent_again_is_answered_again_with_the_same_bits(
    worker: ScriptedWorker, open_wire: Open
) -> None:
    call, other = some_call(rows=2, seed=1), some_call(rows=2, seed=2)
    with open_wire(worker) as wire:
        wire.send(7, call)
        wire.send(7, call)
        first = wire.receive()
        assert wire.receive() == first, "sent twice before the first answer"
        wire.send(7, call)
        assert wire.receive() == first, "sent again after its answer"
        wire.send(7, other)
        assert wire.receive().payload != first.payload, "an id stands for no content"
    assert first.call_id == 7


def test_ids_of_one_stream_mean_nothing_to_another(worker: ScriptedWorker, open_wire: Open) -> None:
    mine, others = some_call(rows=2, seed=1), some_call(rows=2, seed=2)
    with open_wire(worker) as one, open_wire(worker) as two:
        one.send(7, mine)
        two.send(7, others)
        answers = [one.receive(), two.receive()]
        one.send(8, others)
        two.send(8, mine)
        swapped = [two.receive(), one.receive()]
    assert [answer.payload for answer in answers] == [answer.payload for answer in swapped]


def test_replays_leave_nothing_behind(worker: ScriptedWorker, open_wire: Open) -> None:
    call = some_call(rows=2)
    with open_wire(worker) as wire:
        answers = set()
        for _ in range(200):
            wire.send(2**64 - 1, call)
            answers.add(wire.receive())
        assert len(answers) == 1
    assert worker.server.admission.in_flight.wait_until_none(30)
    assert worker.server.admission.streams.wait_until_none(30)


def test_a_coordinator_takes_no_answer_twice() -> None:
    pending = PendingCalls("worker w")
    frames = [failure_frame(number, 3, "refused") for number in (1, 1)]
    wire = iter(frames)
    for number in (1, 2):
        pending.begin(number)
    assert pending.take(1, lambda _: next(wire), never) is frames[0]
    with pytest.raises(WorkerFaultError, match="answered call 1, the next to be answered is 2"):
        pending.take(2, lambda _: next(wire), never)
