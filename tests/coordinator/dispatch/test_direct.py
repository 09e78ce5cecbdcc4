"""Exchanges in two native calls: the sums of the general way, and the same recovery from faults."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.collector import Timeouts
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec
from jangtq_proto.errors import ClusterError
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.row_type import RowType
from tests.support.connection_answers import framed
from tests.support.fixed_cluster import membership_of
from tests.support.scaling_connections import HIDDEN, FakeConnection, some_rows
from tests.support.socket_peers import (
    Script,
    SocketConnection,
    SocketPeer,
    answer_bytes,
    answer_rightly,
    in_pieces,
)

EXPERTS = 12
HALVES = {"0": "0-5", "1": "6-11"}
BOTH = {"0": "0-11", "1": "0-11"}


@contextmanager
def socket_dispatcher(
    peers: list[SocketPeer], held: dict[str, str] = HALVES, *, natively: bool = True, call_seconds: float = 30
) -> Iterator[Dispatcher]:
    connections = [SocketConnection(peer, HIDDEN, call_seconds=call_seconds) for peer in peers]
    dispatcher = Dispatcher(
        membership_of(held, EXPERTS),
        lambda member: connections[int(member.name)],
        (NativeCodec if natively else NumpyCodec)(RowType.FLOAT32),
        scales=np.ones(2),
        timeouts=Timeouts(call_seconds, worker_seconds=0.1),
    )
    try:
        yield dispatcher
    finally:
        dispatcher.close()
        for peer in peers:
            peer.join()


def sums_of(dispatcher: Dispatcher, rows: int = 1) -> NDArray[np.float32]:
    x, ids, weights = some_rows(rows, 3 if rows < 32 else 1, experts=EXPERTS)
    return dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)


def expected_sums(rows: int) -> NDArray[np.float32]:
    """By the general way, in NumPy."""
    with socket_dispatcher([SocketPeer(HIDDEN), SocketPeer(HIDDEN)], natively=False) as dispatcher:
        return sums_of(dispatcher, rows)


@pytest.fixture
def no_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object) -> None:
        raise AssertionError("the exchange did not go directly")

    monkeypatch.setattr(NativeCodec, "encode", encode)


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_the_general_way_has_the_same_bits(rows: int, request: pytest.FixtureRequest) -> None:
    expected = expected_sums(rows)
    request.getfixturevalue("no_general_way")
    with socket_dispatcher([SocketPeer(HIDDEN), SocketPeer(HIDDEN)]) as dispatcher:
        for _ in range(3):  # the first opens connections
            np.testing.assert_array_equal(sums_of(dispatcher, rows), expected)
        assert dispatcher.times.splits()[0].layer == 0


def test_other_connections_take_part(no_general_way: None) -> None:
    peer, fake = SocketPeer(HIDDEN), FakeConnection()
    connection = SocketConnection(peer, HIDDEN)
    dispatcher = Dispatcher(
        membership_of(HALVES, EXPERTS),
        lambda member: [framed(fake), connection][int(member.name)],
        NativeCodec(RowType.FLOAT32),
        scales=np.ones(1),
    )
    found = [sums_of(dispatcher, 5) for _ in range(3)]
    dispatcher.close()
    np.testing.assert_array_equal(found[0], found[2])
    assert {name: of.calls for name, of in dispatcher.traffic.all().items()} == {"0": 3, "1": 3}


def test_an_answer_in_pieces_is_waited_for(no_general_way: None) -> None:
    peers = [SocketPeer(HIDDEN), SocketPeer(HIDDEN)]
    peers[1].script = in_pieces([1, 6, 40], lambda: None)
    with socket_dispatcher(peers) as dispatcher:
        first = sums_of(dispatcher)
        np.testing.assert_array_equal(sums_of(dispatcher), first)


def test_an_exchange_becomes_an_ordinary_one_when_another_begins() -> None:
    with socket_dispatcher([SocketPeer(HIDDEN), SocketPeer(HIDDEN)]) as dispatcher:
        expected = [sums_of(dispatcher, rows) for rows in (2, 3)]
        given = [some_rows(rows, 3, experts=EXPERTS) for rows in (2, 3)]
        opened = [dispatcher.begin(0, x, expert_ids=ids, router_weights=shares) for x, ids, shares in given]
        for exchange, sums in reversed(list(zip(opened, expected, strict=True))):
            np.testing.assert_array_equal(dispatcher.finish(exchange), sums)


def damaged(at: int) -> Script:
    def script(call_id: int, call: LayerCall) -> Iterable[bytes]:
        data = bytearray(answer_bytes(call_id, call))
        data[4 + at % (len(data) - 4)] ^= 1
        return [bytes(data)]

    return script


def cut(at: int) -> Script:
    """Ends the connection inside an answer, after this many bytes."""

    def script(call_id: int, call: LayerCall) -> Iterable[bytes]:
        yield answer_bytes(call_id, call)[:at]
        raise OSError("cut")

    return script


def gone(call_id: int, call: LayerCall) -> None:
    return None


def once(script: Script) -> Script:
    """This script for the first call, right answers afterwards."""
    scripts = iter([script])
    return lambda call_id, call: next(scripts, answer_rightly)(call_id, call)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([damaged, cut]), st.integers(0, 70))
def test_another_worker_takes_over(make: Callable[[int], Script], at: int) -> None:
    peers = [SocketPeer(HIDDEN), SocketPeer(HIDDEN)]
    with socket_dispatcher(peers, BOTH) as dispatcher:
        expected = sums_of(dispatcher, 2)
        peers[at % 2].script = once(make(at))
        np.testing.assert_array_equal(sums_of(dispatcher, 2), expected)
        np.testing.assert_array_equal(sums_of(dispatcher, 2), expected)


def test_a_lost_connection_costs_no_exchange() -> None:
    peers = [SocketPeer(HIDDEN), SocketPeer(HIDDEN)]
    with socket_dispatcher(peers, BOTH) as dispatcher:
        expected = sums_of(dispatcher)
        peers[0].script = gone
        np.testing.assert_array_equal(sums_of(dispatcher), expected)


def test_silence_is_an_error() -> None:
    peers = [SocketPeer(HIDDEN), SocketPeer(HIDDEN)]
    with socket_dispatcher(peers, call_seconds=0.1) as dispatcher:
        sums_of(dispatcher)
        peers[1].script = lambda call_id, call: []
        with pytest.raises(ClusterError, match="no worker for more than"):
            sums_of(dispatcher)
        with pytest.raises(ClusterError, match="no worker for more than"):
            sums_of(dispatcher)


def test_rows_off_their_grid_are_asked_again() -> None:
    peers = [SocketPeer(HIDDEN), SocketPeer(HIDDEN)]
    for peer in peers:
        peer.answer(30.0)
    with socket_dispatcher(peers) as dispatcher:
        loud = sums_of(dispatcher)
        assert dispatcher.counters.second_asks == 1 and np.isfinite(loud).all()
