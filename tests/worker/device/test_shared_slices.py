"""Long calls of one coordinator and short ones of others, over every transport and way to answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest

from jangtq_kernels.backend import ExpertRows, LoadedLayer, PartialSums
from jangtq_proto.errors import WorkerUnreachableError
from jangtq_proto.grpc_status import error_of_number
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import call_frame, read_answer
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device import activity as activity
from jangtq_worker.device import chunks as slicing
from jangtq_worker.device.chunks import SLICE_ROWS
from tests.support.connection_answers import CallConnection
from tests.support.native_layers import ScriptedNativeLayer
from tests.support.scripted_workers import (
    HIDDEN,
    NETWORK,
    ScriptedWorker,
    Way,
    ask,
    connection_to,
    scripted_worker,
    some_call,
)
from tests.worker.device.test_device_queue import until

SLICES = 3
LONG = some_call(SLICES * SLICE_ROWS)
SHORT = some_call(1, seed=1)


class OnlyPython:
    """A layer that native code cannot ask."""

    nbytes = 0

    def __init__(self, layer: LoadedLayer) -> None:
        self._layer = layer

    def forward(self, asked: ExpertRows) -> PartialSums:
        return self._layer.forward(asked)


class Experts:
    """Give back the bits of the rows when they are let, and note how many rows went together."""

    def __init__(self, *, natively: bool) -> None:
        self.may_go = Semaphore(0)
        self.has_begun = False
        self.served: list[int] = []
        self.scripted = ScriptedNativeLayer(HIDDEN, self._act)
        self.layer: LoadedLayer = self.scripted if natively else OnlyPython(self.scripted)

    def _act(self) -> None:
        self.has_begun = True
        assert self.may_go.acquire(timeout=60)
        self.served.append(len(self.scripted.rows))


class Scene:
    """A worker and the connections of two coordinators; the second has asked for something short already."""

    def __init__(
        self, worker: ScriptedWorker, experts: Experts, connections: tuple[CallConnection, CallConnection]
    ) -> None:
        self.admission = worker.server.admission
        self.experts = experts
        self.long, self.short = connections
        self.let(1)
        check(ask(self.short, SHORT), SHORT)
        self.forget()

    def let(self, forwards: int) -> None:
        self.experts.may_go.release(forwards)

    def forget(self) -> None:
        self.experts.served.clear()
        self.experts.has_begun = False

    def begin(self) -> int:
        """A long call, which has the device when this returns."""
        call_id = self.long.send(LONG)
        until(lambda: self.experts.has_begun)
        return call_id

    def queue_up(self) -> int:
        """A short call, which waits when this returns."""
        call_id = self.short.send(SHORT)
        until(lambda: self.admission.shard().waiting == 1)
        return call_id


def check(sums: np.ndarray, call: LayerCall) -> None:
    np.testing.assert_array_equal(sums, call.rows.view(np.int32))


@contextmanager
def sharing(bundle: Path, way: Way, *, natively: bool) -> Iterator[Scene]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # However long this machine takes, the other one asked lately, and rows take long.
        patch.setattr(activity, "LATELY_NS", 1 << 50)
        patch.setattr(slicing, "SLICE_NS", 0)
        worker = stack.enter_context(scripted_worker(bundle))
        experts = Experts(natively=natively)
        worker.server.admission.hold((experts.layer,))
        connections = [stack.enter_context(connection_to(worker, way)) for _ in range(2)]
        stack.callback(experts.may_go.release, 1000)
        scene = Scene(worker, experts, (connections[0], connections[1]))
        assert experts.scripted.native_calls == natively
        yield scene


@pytest.fixture(params=[True, False], ids=["native", "python"])
def natively(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=NETWORK, ids=str)
def scene(request: pytest.FixtureRequest, small_bundle: Path, natively: bool) -> Iterator[Scene]:
    with sharing(small_bundle, request.param, natively=natively) as shared:
        yield shared


def test_short_calls_and_slices_of_a_long_one_take_turns(scene: Scene) -> None:
    """Every short call is answered after one slice, and the long one gets on however many there are."""
    long = scene.begin()
    for count in range(1, SLICES + 1):
        short = scene.queue_up()
        scene.let(2)
        check(scene.short.receive(short).partial_sums, SHORT)
        assert scene.experts.served == [SLICE_ROWS, 1] * count
    check(scene.long.receive(long).partial_sums, LONG)


def test_who_is_alone_is_answered_at_once(scene: Scene) -> None:
    scene.let(1)
    check(ask(scene.short, LONG), LONG)
    assert scene.experts.served == [len(LONG.rows)]


def test_what_is_left_when_the_others_leave_is_computed_at_once(scene: Scene) -> None:
    long = scene.begin()
    scene.short.abandon()
    until(lambda: not scene.admission.activity.is_kept_by_others(None))
    scene.let(2)
    check(scene.long.receive(long).partial_sums, LONG)
    assert scene.experts.served == [SLICE_ROWS, len(LONG.rows) - SLICE_ROWS]


def test_a_drain_waits_for_all_slices_and_lets_nobody_in_between(scene: Scene) -> None:
    long, short = scene.begin(), scene.queue_up()
    assert not scene.admission.drain(0.01)
    refused = read_answer(scene.admission.answer(call_frame(9, SHORT, RowType.FLOAT32)))
    assert isinstance(error_of_number(refused.status, ""), WorkerUnreachableError)
    assert "stopping" in refused.message
    scene.let(SLICES + 1)
    check(scene.short.receive(short).partial_sums, SHORT)
    check(scene.long.receive(long).partial_sums, LONG)
    assert scene.admission.drain(60)
    assert scene.experts.served == [SLICE_ROWS, 1] + [SLICE_ROWS] * (SLICES - 1)


def test_who_leaves_in_the_middle_of_a_call_holds_nobody_up(scene: Scene) -> None:
    scene.begin()
    scene.long.abandon()
    short = scene.queue_up()
    scene.let(2)
    check(scene.short.receive(short).partial_sums, SHORT)
    scene.let(100)
    until(lambda: scene.admission.in_flight.count == 0)
    check(ask(scene.long, LONG), LONG)
    check(ask(scene.short, SHORT), SHORT)


def test_layers_may_be_swapped_between_slices(scene: Scene, natively: bool) -> None:
    after = Experts(natively=natively)
    after.may_go.release(10)
    long = scene.begin()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(scene.admission.hold, (after.layer,)).result(60)
    scene.let(SLICES)
    check(scene.long.receive(long).partial_sums, LONG)
    check(ask(scene.short, SHORT), SHORT)
    assert (scene.experts.served, after.served) == ([SLICE_ROWS] * SLICES, [1])
