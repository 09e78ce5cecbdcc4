"""What every transport owes the dispatcher: one suite over all of them, and over both codecs."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.dispatch.codec import Codec
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec
from jangtq_kernels.backend import NO_EXPERT, LoadedLayer
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.errors import (
    CallRejectedError,
    ClusterError,
    WorkerBusyError,
    WorkerFaultError,
    WorkerMismatchError,
    WorkerUnreachableError,
)
from jangtq_proto.wire.codec import LayerCall, row_dtype
from jangtq_proto.wire.limits import MAX_ROWS_PER_CALL, MAX_SLOTS
from jangtq_proto.wire.row_type import RowType
from tests.support.connection_answers import CallConnection
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.scripted_workers import (
    EXPERTS,
    EXPRESS_TLS,
    FAKE,
    HIDDEN,
    LOCAL,
    NETWORK,
    ScriptedWorker,
    Way,
    ask,
    connection_to,
    scripted_worker,
    some_call,
)
from tests.support.tls_folders import Folders, make_folders

every_way = pytest.mark.parametrize("way", (FAKE, LOCAL, *NETWORK, EXPRESS_TLS), ids=str)
every_worker = pytest.mark.parametrize("way", (FAKE, *NETWORK, EXPRESS_TLS), ids=str)
every_network = pytest.mark.parametrize("way", (*NETWORK, EXPRESS_TLS), ids=str)
every_codec = pytest.mark.parametrize("codec", (NativeCodec, NumpyCodec))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(folders: Folders, way: Way) -> Path | None:
    """The worker's certificates, where its connection is secured."""
    return folders.worker if way.secured else None


@pytest.fixture
def worker(small_bundle: Path, tls: Path | None) -> Iterator[ScriptedWorker]:
    with scripted_worker(small_bundle, tls=tls) as running:
        yield running


@pytest.fixture(scope="module")
def layer(small_bundle: Path) -> LoadedLayer:
    return ReferenceBackend().load(Bundle.open(small_bundle).read_experts(0, tuple(range(EXPERTS))))


def nobodys_call(rows: int) -> LayerCall:
    """One that costs nothing to compute."""
    call = some_call(rows)
    return replace(call, expert_ids=np.full_like(call.expert_ids, NO_EXPERT))


@every_network
def test_each_way_goes_where_it_says(
    worker: ScriptedWorker, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="jangtq.cluster"), connection_to(worker, way) as connection:
        ask(connection)
    words = " ".join(caplog.messages)
    assert ("express transport" in words, "Unix socket" in words) == (way.express, way.unix)


@every_way
@pytest.mark.parametrize("row_type", list(RowType))
def test_partial_sums_are_the_layers_to_the_bit(
    worker: ScriptedWorker, layer: LoadedLayer, way: Way, row_type: RowType
) -> None:
    call = some_call(rows=5)
    dtype = row_dtype(row_type)
    expected = layer.forward(replace(call, rows=call.rows.astype(dtype)))
    with connection_to(worker, way, row_type=row_type) as connection:
        answer = connection.receive(connection.send(call))
    np.testing.assert_array_equal(answer.partial_sums, expected.sums)
    np.testing.assert_array_equal(answer.finest, expected.finest)


@every_way
def test_calls_of_many_sizes_share_a_connection(worker: ScriptedWorker, layer: LoadedLayer, way: Way) -> None:
    with connection_to(worker, way) as connection:
        answers = []
        for seed in range(100):
            call = some_call(rows=1 + seed * 7 % 11, slots=1 + seed % 8, seed=seed)
            answers.append((call, ask(connection, call)))
    for call, answer in answers:  # compared afterwards: an answer may not change when the next one comes
        np.testing.assert_array_equal(answer, layer.forward(call).sums)


@every_way
def test_the_largest_call_passes(worker: ScriptedWorker, way: Way) -> None:
    with connection_to(worker, way) as connection:
        sums = ask(connection, nobodys_call(MAX_ROWS_PER_CALL))
        assert sums.shape == (MAX_ROWS_PER_CALL, HIDDEN)
        assert ask(connection).shape == (2, HIDDEN)


@every_way
def test_rows_that_do_not_lie_side_by_side_pass(worker: ScriptedWorker, layer: LoadedLayer, way: Way) -> None:
    call = some_call(rows=6)
    odd = LayerCall(
        0, call.rows[::2], call.expert_ids[::2], call.router_weights[::2], call.exponents[::2], prefill=False
    )
    expected = layer.forward(call).sums[::2]
    with connection_to(worker, way) as connection:
        np.testing.assert_array_equal(ask(connection, odd), expected)


@every_way
@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (KernelInputError("expert 7 is none"), CallRejectedError, "layer 0: expert 7 is none"),
        (MemoryError("no room"), WorkerFaultError, "MemoryError: no room"),
        (WorkerBusyError("come later"), WorkerBusyError, "come later"),
        (WorkerUnreachableError("leaving"), WorkerUnreachableError, "leaving"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_is_the_callers_error_and_the_connection_goes_on(
    worker: ScriptedWorker, way: Way, failure: Exception, error: type[ClusterError], words: str
) -> None:
    def fail() -> None:
        raise failure

    with connection_to(worker, way) as connection:
        worker.script.act = fail
        with pytest.raises(error, match=f"worker {worker.address}: {words}"):
            ask(connection)
        worker.script.act = lambda: None
        assert ask(connection).shape == (2, HIDDEN)


BAD_CALLS = {
    "no such layer": (replace(some_call(), layer=1), "layer 1: this model has layers 0-0"),
    "too many rows": (nobodys_call(MAX_ROWS_PER_CALL + 1), f"row_count {MAX_ROWS_PER_CALL + 1}"),
    "too many slots": (some_call(slots=MAX_SLOTS + 1), f"slot_count {MAX_SLOTS + 1}"),
    "narrow rows": (some_call(hidden_size=HIDDEN - 1), "rows has 504 bytes"),
    "not finite": (replace(some_call(), rows=np.full((2, HIDDEN), np.nan, np.float32)), "not finite"),
    "foreign expert": (replace(some_call(), expert_ids=np.full((2, 4), EXPERTS, np.int32)), "expert"),
}


@every_way
@pytest.mark.parametrize("bad", BAD_CALLS)
def test_a_bad_call_is_refused_and_the_connection_goes_on(worker: ScriptedWorker, way: Way, bad: str) -> None:
    call, words = BAD_CALLS[bad]
    with connection_to(worker, way) as connection:
        with pytest.raises(CallRejectedError, match=words):
            ask(connection, call)
        assert ask(connection).shape == (2, HIDDEN)


@every_way
def test_an_abandoned_call_is_never_taken_for_a_later_one(
    worker: ScriptedWorker, layer: LoadedLayer, way: Way
) -> None:
    with connection_to(worker, way) as connection:
        connection.send(some_call(seed=1))
        connection.abandon()
        call = some_call(seed=2)
        expected = layer.forward(call).sums
        np.testing.assert_array_equal(ask(connection, call), expected)


@every_way
def test_several_calls_under_way_are_answered_each_its_own(
    worker: ScriptedWorker, layer: LoadedLayer, way: Way
) -> None:
    calls = [some_call(rows=1 + seed, seed=seed) for seed in range(5)]
    with connection_to(worker, way) as connection:
        ids = [connection.send(call) for call in calls]
        assert len(set(ids)) == len(ids)
        for position in (1, 0, 4, 2, 3):
            call = calls[position]
            expected = layer.forward(call).sums
            np.testing.assert_array_equal(connection.receive(ids[position]).partial_sums, expected)


@every_way
def test_calls_that_no_buffer_holds_may_be_under_way_together(worker: ScriptedWorker, way: Way) -> None:
    with connection_to(worker, way) as connection:
        ids = [connection.send(nobodys_call(MAX_ROWS_PER_CALL)) for _ in range(12)]
        for call_id in ids:
            assert connection.receive(call_id).partial_sums.shape == (MAX_ROWS_PER_CALL, HIDDEN)


@every_way
def test_every_active_call_is_given_up_and_the_connection_goes_on(worker: ScriptedWorker, way: Way) -> None:
    with connection_to(worker, way) as connection:
        ids = [connection.send(some_call(seed=seed)) for seed in range(3)]
        connection.receive(ids[0])
        connection.abandon()
        for call_id in ids[1:]:
            with pytest.raises(WorkerUnreachableError, match="lost"):
                connection.receive(call_id)
        assert ask(connection).shape == (2, HIDDEN)


@every_way
def test_one_failure_among_several_calls_costs_only_its_own(worker: ScriptedWorker, way: Way) -> None:
    bad = replace(some_call(), layer=1)
    with connection_to(worker, way) as connection:
        ids = [connection.send(call) for call in (some_call(), bad, some_call())]
        with pytest.raises(CallRejectedError, match="layer 1"):
            connection.receive(ids[1])
        assert connection.receive(ids[0]).partial_sums.shape == connection.receive(ids[2]).partial_sums.shape


@every_worker
def test_a_worker_that_ends_is_an_error_and_one_that_comes_back_is_used(
    worker: ScriptedWorker, way: Way
) -> None:
    with connection_to(worker, way) as connection:
        ask(connection)
        worker.stop()
        with pytest.raises(WorkerUnreachableError, match=f"worker {worker.address}"):
            ask(connection)
        worker.start()
        assert ask(connection).shape == (2, HIDDEN)


@every_network
def test_a_worker_that_comes_back_with_other_experts_is_refused(worker: ScriptedWorker, way: Way) -> None:
    with connection_to(worker, way) as connection:
        ask(connection)
        worker.stop()
        with pytest.raises(WorkerUnreachableError):
            ask(connection)
        worker.start(experts="0-7")
        with pytest.raises(WorkerMismatchError, match="came back with experts 0-7, it had 0-31"):
            ask(connection)


@every_network
def test_a_silent_worker_is_given_up_and_its_late_answer_dropped(
    worker: ScriptedWorker, layer: LoadedLayer, way: Way
) -> None:
    go_on = threading.Event()
    with connection_to(worker, way, call_timeout_seconds=0.3) as connection:
        ask(connection)
        worker.script.act = lambda: go_on.wait(30)
        with pytest.raises(WorkerUnreachableError, match=r"no answer within 0\.3 s"):
            ask(connection)
        worker.script.act = lambda: None
        go_on.set()
        call = some_call(seed=9)
        expected = layer.forward(call).sums
        np.testing.assert_array_equal(ask(connection, call), expected)


@every_network
def test_a_worker_that_stops_finishes_the_call_in_flight(worker: ScriptedWorker, way: Way) -> None:
    go_on = threading.Event()
    with connection_to(worker, way) as connection:
        ask(connection)
        worker.script.asked.clear()
        worker.script.act = lambda: go_on.wait(30)
        call_id = connection.send(some_call())
        assert worker.script.asked.wait(30)
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        stopping.join(0.3)
        assert stopping.is_alive()
        go_on.set()
        assert connection.receive(call_id).partial_sums.shape == (2, HIDDEN)
        stopping.join()
        with pytest.raises(WorkerUnreachableError):
            ask(connection)


@every_network
def test_a_worker_with_all_streams_taken_says_so(small_bundle: Path, way: Way, tls: Path | None) -> None:
    with scripted_worker(small_bundle, max_streams=1, tls=tls) as worker:
        with connection_to(worker, way) as first, connection_to(worker, way) as second:
            ask(first)
            with pytest.raises(WorkerBusyError, match="already serves 1 streams"):
                ask(second)
            assert ask(first).shape == (2, HIDDEN)


@every_worker
def test_a_worker_with_too_much_to_do_pushes_back_at_once(
    small_bundle: Path, way: Way, tls: Path | None
) -> None:
    go_on = threading.Event()
    with scripted_worker(small_bundle, max_calls=1, tls=tls) as worker:
        with connection_to(worker, way) as first, connection_to(worker, way) as second:
            ask(second)
            worker.script.asked.clear()
            worker.script.act = lambda: go_on.wait(30)
            working = threading.Thread(target=ask, args=(first,))
            working.start()
            assert worker.script.asked.wait(30)
            with pytest.raises(WorkerBusyError, match="already serves 1 calls at once"):
                ask(second)
            go_on.set()
            working.join()
            assert ask(second).shape == (2, HIDDEN)


CODED = [(1, 4), (3, 8), (40, 2)]
"""Rows and slots: natively sent and received, or by the codec alone."""


def exchanged(connection: CallConnection, call: LayerCall, codec: Codec) -> NDArray[np.float32]:
    """A layer's sums by a dispatcher, twice, because the first exchange may open the connection."""
    dispatcher = fixed_dispatcher([0] * EXPERTS, [connection], codec=codec)
    ids = np.maximum(call.expert_ids, 0)
    first, again = (
        dispatcher.forward(0, call.rows, expert_ids=ids, router_weights=call.router_weights) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    return first


@every_way
@every_codec
@pytest.mark.parametrize("row_type", [RowType.FLOAT32, RowType.BFLOAT16])
def test_each_codec_gets_the_same_bits_over_each_way(
    worker: ScriptedWorker, way: Way, codec: type[NativeCodec | NumpyCodec], row_type: RowType
) -> None:
    with (
        connection_to(worker, way, row_type=row_type) as connection,
        connection_to(worker, FAKE, row_type=row_type) as reference,
    ):
        for rows, slots in CODED:
            call = some_call(rows, slots=slots, seed=rows)
            call = replace(call, rows=call.rows.astype(row_dtype(row_type)))
            expected = exchanged(reference, call, NumpyCodec(row_type))
            np.testing.assert_array_equal(exchanged(connection, call, codec(row_type)), expected)


@every_way
@every_codec
def test_with_each_codec_a_failed_call_fails_alone(
    worker: ScriptedWorker, way: Way, codec: type[NativeCodec | NumpyCodec]
) -> None:
    def fail() -> None:
        raise KernelInputError("expert 7 is none")

    call, coded = some_call(), codec(RowType.FLOAT32)
    with connection_to(worker, way) as connection:
        expected = exchanged(connection, call, coded)
        worker.script.act = fail
        with pytest.raises(CallRejectedError, match="layer 0: expert 7 is none"):
            exchanged(connection, call, coded)
        worker.script.act = lambda: None
        np.testing.assert_array_equal(exchanged(connection, call, coded), expected)
