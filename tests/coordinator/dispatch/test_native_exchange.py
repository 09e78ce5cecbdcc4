"""Exchanges that native code asks and collects: the same as those of the connections, to the bit."""

import time
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_coordinator.dispatch import grid as exponents
from jangtq_coordinator.dispatch.exchange import Exchange
from jangtq_coordinator.dispatch.grid import first_exponents
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import answer_frame
from jangtq_proto.wire.row_type import RowType
from tests.support.native_clusters import EXPERTS, Cluster, Peer, Rows, cluster_of, cluster_over, some_rows
from tests.support.socket_peers import SocketPeer, answer_rightly, in_pieces
from tests.support.stream_peers import StreamPeer

Kind = Callable[[int], SocketPeer | StreamPeer]


def begin(cluster: Cluster[Peer], asked: Rows) -> Exchange:
    x, ids, weights = asked
    return cluster.dispatcher.begin(0, x, expert_ids=ids, router_weights=weights)


@pytest.mark.parametrize("kind", [SocketPeer, StreamPeer])
@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=4),
    owner=st.lists(st.integers(0, 3), min_size=EXPERTS, max_size=EXPERTS).filter(
        lambda owner: set(owner) == set(range(max(owner) + 1))
    ),
    loudness=st.sampled_from([1.2, 0.1, 0.8, 8.0]),
    row_type=st.sampled_from(RowType),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_sums_and_calls_are_those_of_the_connections_to_the_bit(
    kind: Kind, sizes: list[tuple[int, int]], owner: list[int], loudness: float, row_type: RowType, seed: int
) -> None:
    found = []
    for is_native in (True, False):
        with cluster_over(
            [kind] * (max(owner) + 1), owner, row_type=row_type, is_native=is_native
        ) as cluster:
            for peer in cluster.peers:
                peer.answer(loudness)
            sums = [cluster.ask(*some_rows(rows, slots, seed=seed + rows)) for rows, slots in sizes]
            found.append((sums, [peer.calls for peer in cluster.peers]))
            assert len(cluster.settled) == (len(sizes) if is_native else 0)
    assert found[0] == found[1]


@given(
    rows=st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=5, max_size=5), min_size=1, max_size=4
    ),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 3.7, 1e30]),
)
def test_grids_are_the_same_with_and_without_native_code(rows: list[list[float]], scale: float) -> None:
    x = np.array(rows, dtype=np.float32)
    native = first_exponents(x, scale)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(exponents, "exchange_library", lambda: None)
        np.testing.assert_array_equal(first_exponents(x, scale), native)


@pytest.mark.parametrize("kind", [SocketPeer, StreamPeer])
def test_an_ordinary_exchange_is_settled_natively_and_recorded(kind: Kind) -> None:
    with cluster_over([kind] * 2) as cluster:
        before = {name: of.picks for name, of in cluster.dispatcher.traffic.all().items()}
        for _ in range(3):
            cluster.ask(*some_rows(slots=6))
        assert cluster.settled == [True] * 3
        newest = cluster.dispatcher.timeline.copy().exchanges[-1]
        assert (newest.queue, newest.compute, newest.rows) == (7, 1000, 1)
        assert newest.started <= newest.sent <= newest.waited <= newest.read <= newest.ended
        exchanges = cluster.dispatcher.timeline.copy().exchanges
        assert cluster.dispatcher.waited_ns == sum(one.read - one.waited for one in exchanges)
        after = cluster.dispatcher.traffic.all()
        assert sum(of.picks - before[name] for name, of in after.items()) == 18
        assert all(of.recent() is not None for of in after.values())


def test_polling_finds_the_same() -> None:
    with cluster_of() as sleeping, cluster_of(poll_us=2000) as polling:
        assert sleeping.ask(*some_rows(3)) == polling.ask(*some_rows(3))


def slow_peer(hidden: int) -> SocketPeer:
    """Pauses within its answers for longer than native code waits."""
    peer = SocketPeer(hidden)
    peer.script = in_pieces([30], lambda: time.sleep(0.08))
    return peer


def check_together(cluster: Cluster[Peer], asked: Sequence[Rows], order: Sequence[int]) -> None:
    """Exchanges that are all under way before the first of them ends, in this order."""
    alone = [cluster.ask(*each) for each in asked]
    for _ in range(3):
        under_way = [begin(cluster, each) for each in asked]
        for index in order:
            assert cluster.dispatcher.finish(under_way[index]).tobytes() == alone[index]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("first", [SocketPeer, slow_peer, StreamPeer])
def test_exchanges_under_way_together_do_not_mix(order: tuple[int, int], first: Kind) -> None:
    asked = some_rows(3, seed=1), some_rows(2, seed=2)
    second = StreamPeer if first is StreamPeer else SocketPeer
    with cluster_over([first, second]) as cluster:
        check_together(cluster, asked, order)


@pytest.mark.parametrize("kind", [SocketPeer, StreamPeer])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_native_exchanges_and_others_under_way_together_do_not_mix(kind: Kind, order: Sequence[int]) -> None:
    asked = some_rows(3, seed=1), some_rows(33, seed=2), some_rows(2, seed=3)
    with cluster_over([kind] * 2) as cluster:
        check_together(cluster, asked, order)


@pytest.mark.parametrize("kind", [SocketPeer, StreamPeer])
def test_exchanges_with_different_workers_end_in_any_order_before_others_begin(kind: Kind) -> None:
    x, _, weights = some_rows(slots=2)
    asked = (x, np.array([[0, 2]], np.int32), weights), (x, np.array([[1, 3]], np.int32), weights)
    many = some_rows(33, seed=2)
    with cluster_over([kind] * 2) as cluster:
        alone = [cluster.ask(*each) for each in (*asked, many)]
        of_one, of_other = begin(cluster, asked[0]), begin(cluster, asked[1])
        assert cluster.dispatcher.finish(of_other).tobytes() == alone[1]
        of_all = begin(cluster, many)
        assert cluster.dispatcher.finish(of_one).tobytes() == alone[0]
        assert cluster.dispatcher.finish(of_all).tobytes() == alone[2]


def test_no_two_calls_have_one_id_whoever_sends_them() -> None:
    seen: list[int] = []
    with cluster_of(1) as cluster:

        def note(call_id: int, call: LayerCall) -> Sequence[bytes]:
            seen.append(call_id)
            return answer_rightly(call_id, call)

        cluster.peers[0].script = note
        for rows in (1, 1, 33, 1, 33, 33, 1):
            cluster.ask(*some_rows(rows))
        assert cluster.settled == [True] * 4
    assert seen == sorted(set(seen))


def test_halves_are_both_settled_natively() -> None:
    asked = some_rows(3, seed=1), some_rows(2, seed=2)
    with cluster_of() as cluster:
        first = begin(cluster, asked[0])
        for turn in range(6):
            second = begin(cluster, asked[1 - turn % 2])
            cluster.dispatcher.finish(first)
            first = second
        cluster.dispatcher.finish(first)
        assert cluster.settled == [True] * 7


def test_a_frame_that_the_socket_takes_in_parts_is_sent_whole() -> None:
    hidden = 16_384
    asked = some_rows(32, hidden=hidden)
    with cluster_of(hidden=hidden) as native, cluster_of(hidden=hidden, is_native=False) as plain:
        for _ in range(3):
            assert native.ask(*asked) == plain.ask(*asked)
        assert native.settled == [], "these went on over the connections"
        assert native.ask(*some_rows(hidden=hidden)) == plain.ask(*some_rows(hidden=hidden))
        assert native.settled == [True]


def test_rows_that_are_too_many_or_of_another_type_than_sent_go_over_the_connections() -> None:
    with cluster_of() as cluster:
        cluster.ask(*some_rows(33))
        x, ids, weights = some_rows()
        cluster.dispatcher.forward(0, x.astype(np.float16), expert_ids=ids, router_weights=weights)
        assert cluster.settled == []
        cluster.ask(*some_rows(32))
        assert cluster.settled == [True]


@pytest.mark.parametrize("row_type", RowType)
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 3e-7])
def test_the_grids_of_odd_rows_are_those_of_the_connections(row_type: RowType, odd: float) -> None:
    rows, ids, weights = some_rows(hidden=100)
    rows[0, 1:40] = odd
    sent = []
    for is_native in (True, False):
        with cluster_of(1, hidden=100, row_type=row_type, is_native=is_native) as cluster:
            cluster.peers[0].script = answer_with_zeros
            cluster.ask(rows, ids, weights)
            sent.append(cluster.peers[0].calls)
    assert sent[0] == sent[1]


def answer_with_zeros(call_id: int, call: LayerCall) -> list[bytes]:
    """Whatever is asked, on the grids that are asked for."""
    sums = np.zeros(call.rows.shape, dtype=np.int32)
    parts = answer_frame(call_id, sums, call.exponents, queue_ns=0, compute_ns=0)
    return [b"".join(memoryview(part).cast("B") for part in parts)]
