"""Exchanges that native code asks and collects: the same as those of the lanes, whatever comes back."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from fixed_cluster import fixed_dispatcher
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from socket_peers import Script, SocketLane, SocketPeer, answer_bytes, answer_rightly

from jangtq_coordinator import exponents, native_exchange
from jangtq_coordinator.dispatch import Dispatcher
from jangtq_coordinator.exchange_library import ExchangeLibrary, exchange_library
from jangtq_coordinator.exponents import first_exponents
from jangtq_coordinator.native_call import NativeCall
from jangtq_coordinator.native_exchange import NativeExchanges
from jangtq_proto.codec import LayerCall
from jangtq_proto.errors import ClusterError
from jangtq_proto.frames import failure_frame

HIDDEN = 4
EXPERTS = 16
Rows = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]


def some_rows(rows: int = 1, slots: int = 4, *, seed: int = 0, hidden: int = HIDDEN) -> Rows:
    random = np.random.default_rng(seed)
    ids = np.stack([random.permutation(EXPERTS)[:slots] for _ in range(rows)]).astype(np.int32)
    x = random.standard_normal((rows, hidden)).astype(np.float32)
    return x, ids, random.random((rows, slots), dtype=np.float32)


class Cluster:
    """Peers behind lanes, the dispatcher over them, and how each exchange that native code asked ended."""

    def __init__(
        self,
        peers: Sequence[SocketPeer],
        owner: Sequence[int],
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_native: bool = True,
        hidden: int = HIDDEN,
        call_seconds: float = 30,
        poll_us: int = 0,
    ) -> None:
        self.peers = peers
        self.settled: list[bool] = []
        library: ExchangeLibrary | None = exchange_library() if is_native else None
        monkeypatch.setattr(native_exchange, "exchange_library", lambda: library)
        lanes = [SocketLane(peer, hidden, call_seconds=call_seconds, poll_us=poll_us) for peer in peers]
        self.dispatcher: Dispatcher = fixed_dispatcher(owner, lanes)
        self._watch(monkeypatch)
        # Lanes are opened by the first exchange, which therefore is none of the ordinary.
        self.ask(*some_rows(slots=EXPERTS, hidden=hidden))
        self.settled.clear()
        for peer in peers:
            peer.calls.clear()

    def _watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        collect = NativeExchanges.collect

        def watched(exchanges: NativeExchanges, call: NativeCall) -> NDArray[np.float32] | None:
            found = collect(exchanges, call)
            self.settled.append(found is not None)
            return found

        monkeypatch.setattr(NativeExchanges, "collect", watched)

    def ask(self, x: NDArray[np.float32], ids: NDArray[np.int32], weights: NDArray[np.float32]) -> bytes:
        return self.dispatcher.forward(0, x, expert_ids=ids, router_weights=weights).tobytes()


@contextmanager
def cluster_of(peers: int = 2, owner: Sequence[int] | None = None, **options: float) -> Iterator[Cluster]:
    """Experts in turn, where a test does not care who has them."""
    found = [SocketPeer(int(options.get("hidden", HIDDEN))) for _ in range(peers)]
    owners = owner or [expert % peers for expert in range(EXPERTS)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        cluster = Cluster(found, owners, monkeypatch, **options)  # type: ignore[arg-type]
        yield cluster
        cluster.dispatcher.close()


@pytest.fixture(scope="module", autouse=True)
def library() -> ExchangeLibrary:
    """Without a compiler there is nothing to be tested here, and this says so."""
    found = exchange_library()
    assert found is not None, "the library is not compiled"
    return found


@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=1, max_size=4),
    owner=st.lists(st.integers(0, 3), min_size=EXPERTS, max_size=EXPERTS).filter(
        lambda owner: set(owner) == set(range(max(owner) + 1))
    ),
    loudness=st.sampled_from([1.2, 0.1, 0.8, 8.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_sums_and_frames_are_those_of_the_lanes_to_the_bit(
    sizes: list[tuple[int, int]], owner: list[int], loudness: float, seed: int
) -> None:
    found = []
    for is_native in (True, False):
        with cluster_of(max(owner) + 1, owner, is_native=is_native) as cluster:
            for peer in cluster.peers:
                peer.script = lambda call_id, call: [answer_bytes(call_id, call, loudness)]
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


def test_an_ordinary_exchange_is_settled_natively_and_recorded() -> None:
    with cluster_of() as cluster:
        before = {name: of.picks for name, of in cluster.dispatcher.traffic.all().items()}
        cluster.ask(*some_rows(slots=6))
        assert cluster.settled == [True]
        newest = cluster.dispatcher.timeline.copy().exchanges[-1]
        assert (newest.queue, newest.compute, newest.rows) == (7, 1000, 1)
        assert newest.started <= newest.sent <= newest.waited <= newest.read <= newest.ended
        after = cluster.dispatcher.traffic.all()
        assert sum(of.picks - before[name] for name, of in after.items()) == 6
        assert all(of.recent() is not None for of in after.values())


def test_polling_finds_the_same() -> None:
    with cluster_of() as sleeping, cluster_of(poll_us=2000) as polling:
        assert sleeping.ask(*some_rows(3)) == polling.ask(*some_rows(3))


def wrong_id(call_id: int, call: LayerCall) -> Sequence[bytes]:
    return [answer_bytes(call_id + 5, call)]


def damaged(call_id: int, call: LayerCall) -> Sequence[bytes]:
    data = bytearray(answer_bytes(call_id, call))
    data[-1] ^= 1
    return [bytes(data)]


def resized(change: int) -> Script:
    def script(call_id: int, call: LayerCall) -> Sequence[bytes]:
        data = answer_bytes(call_id, call)
        data = data[:change] if change < 0 else data + bytes(change)
        return [struct.pack("<I", len(data) - 4) + data[4:]]

    return script


def failing(status: int, words: str, *, call_id: int | None = None) -> Script:
    def script(own_id: int, call: LayerCall) -> Sequence[bytes]:
        (frame,) = failure_frame(own_id if call_id is None else call_id, status, words)
        return [bytes(frame)]

    return script


BAD: dict[str, Script] = {
    "another id": wrong_id,
    "damaged": damaged,
    "too short": resized(-3),
    "too long": resized(40),
    "rejected": failing(3, "bad rows"),
    "a fault": failing(13, "broken"),
    "a long fault": failing(13, "broken" * 100),
    "of no call": failing(13, "no call", call_id=0),
    "no answer at all": lambda call_id, call: None,
    "not even a header": lambda call_id, call: [struct.pack("<I", 3) + b"abc"],
    "larger than allowed": lambda call_id, call: [struct.pack("<I", 1 << 31) + bytes(60)],
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_is_the_same_error_as_without_native_code(bad: str) -> None:
    words = []
    for is_native in (True, False):
        with cluster_of(1, is_native=is_native) as cluster:
            cluster.peers[0].script = BAD[bad]
            expected = words_of(cluster)
            cluster.peers[0].script = answer_rightly
            words.append((*expected, len(cluster.peers[0].calls)))
            assert cluster.settled == ([False] if is_native else [])
    assert words[0] == words[1]


def words_of(cluster: Cluster, fail: Callable[[], object] | None = None) -> tuple[type[ClusterError], str]:
    """How an exchange fails that nobody answers."""
    cluster.dispatcher._collector._failover._worker_timeout_seconds = 0.01
    with pytest.raises(ClusterError) as caught:
        (fail or (lambda: cluster.ask(*some_rows())))()
    return caught.type, str(caught.value)


@pytest.mark.parametrize("bad", ["another id", "damaged", "too short", "a fault", "of no call"])
def test_one_holders_fault_leaves_the_others_answer_as_it_is(bad: str) -> None:
    with cluster_of() as cluster:
        expected = cluster.ask(*some_rows(3))
        for peer in cluster.peers:
            peer.calls.clear()
        for faulty, sound in ((0, 1), (1, 0)):
            peer = cluster.peers[faulty]
            left = [BAD[bad]]

            def fail_once(call_id: int, call: LayerCall, left: list[Script] = left) -> Sequence[bytes] | None:
                return (left.pop() if left else answer_rightly)(call_id, call)

            peer.script = fail_once
            assert cluster.ask(*some_rows(3)) == expected
            assert (len(peer.calls), len(cluster.peers[sound].calls)) == (2, 1)
            for each in cluster.peers:
                each.calls.clear()
        assert cluster.ask(*some_rows(3)) == expected
        assert cluster.settled[-1], "and the next exchange is ordinary again"


def in_pieces(cuts: Sequence[int], pause: Callable[[], object]) -> Script:
    def script(call_id: int, call: LayerCall) -> Iterator[bytes]:
        data = answer_bytes(call_id, call)
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            if start:
                pause()
            yield data[start:end]

    return script  # type: ignore[return-value]


def test_an_answer_may_be_cut_anywhere() -> None:
    with cluster_of() as cluster:
        expected = cluster.ask(*some_rows())
        length = 36 + HIDDEN * 4 + 1
        for cut in range(1, length):
            cluster.peers[cut % 2].script = in_pieces([cut], lambda: time.sleep(0.001))
            assert cluster.ask(*some_rows()) == expected
        cluster.peers[0].script = in_pieces(range(1, length), lambda: time.sleep(0.0002))
        assert cluster.ask(*some_rows()) == expected
        assert len(cluster.settled) == length + 1


@pytest.mark.parametrize("cut", [1, 4, 20, 36, 40])
def test_what_was_read_of_an_answer_that_takes_long_goes_back_to_its_lane(cut: int) -> None:
    with cluster_of() as cluster:
        expected = cluster.ask(*some_rows())
        for peer in cluster.peers:
            peer.script = in_pieces([cut], lambda: time.sleep(0.15))
        assert cluster.ask(*some_rows()) == expected
        assert cluster.settled == [True, False]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("slow", [False, True])
def test_exchanges_under_way_together_do_not_mix(order: tuple[int, int], slow: bool) -> None:
    asked = some_rows(3, seed=1), some_rows(2, seed=2)
    with cluster_of() as cluster:
        alone = [cluster.ask(*each) for each in asked]
        if slow:
            cluster.peers[0].script = in_pieces([30], lambda: time.sleep(0.08))
        for _ in range(3):
            under_way = [
                cluster.dispatcher.begin(0, x, expert_ids=ids, router_weights=weights)
                for x, ids, weights in asked
            ]
            for index in order:
                assert cluster.dispatcher.finish(under_way[index]).tobytes() == alone[index]


def test_halves_are_both_settled_natively() -> None:
    asked = some_rows(3, seed=1), some_rows(2, seed=2)
    with cluster_of() as cluster:
        begin = cluster.dispatcher.begin
        first = begin(0, asked[0][0], expert_ids=asked[0][1], router_weights=asked[0][2])
        for turn in range(6):
            x, ids, weights = asked[1 - turn % 2]
            second = begin(0, x, expert_ids=ids, router_weights=weights)
            cluster.dispatcher.finish(first)
            first = second
        cluster.dispatcher.finish(first)
        assert cluster.settled == [True] * 7


def test_an_exchange_that_was_given_up_has_no_answer_and_the_next_one_has() -> None:
    words = []
    for is_native in (True, False):
        with cluster_of(is_native=is_native) as cluster:
            expected = cluster.ask(*some_rows())
            x, ids, weights = some_rows(seed=3)
            exchange = cluster.dispatcher.begin(0, x, expert_ids=ids, router_weights=weights)
            cluster.dispatcher.abandon()
            assert cluster.ask(*some_rows()) == cluster.ask(*some_rows()) == expected
            assert cluster.settled == ([True, True] if is_native else [])
            words.append(words_of(cluster, partial(cluster.dispatcher.finish, exchange)))
    assert words[0] == words[1]


def test_a_frame_that_the_socket_takes_in_parts_is_sent_whole() -> None:
    hidden = 16_384
    asked = some_rows(32, hidden=hidden)
    with cluster_of(hidden=hidden) as native, cluster_of(hidden=hidden, is_native=False) as plain:
        for _ in range(3):
            assert native.ask(*asked) == plain.ask(*asked)
        assert len(native.settled) == 3


def test_a_connection_that_ended_before_the_call_is_the_same_error_as_without_native_code() -> None:
    words = []
    for is_native in (True, False):
        with cluster_of(1, is_native=is_native) as cluster:
            lane = cluster.dispatcher._collector._lanes.known(cluster.dispatcher._membership.plan.members[0])
            assert isinstance(lane, SocketLane) and lane.plain_frames is not None
            lane.plain_frames._socket.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            words.append(words_of(cluster))
    assert words[0] == words[1]
    assert "0 is lost: worker 127.0.0.1:1" in words[0][1]


def test_a_silent_peer_is_given_up_as_without_native_code() -> None:
    words = []
    for is_native in (True, False):
        go_on = threading.Event()

        def hang(call_id: int, call: LayerCall, go_on: threading.Event = go_on) -> Sequence[bytes]:
            go_on.wait(30)
            return []

        with cluster_of(1, is_native=is_native, call_seconds=0.3) as cluster:
            cluster.peers[0].script = hang
            words.append(words_of(cluster))
            go_on.set()
    assert words[0] == words[1]


def test_rows_that_are_too_many_or_no_float32_go_over_the_lanes() -> None:
    with cluster_of() as cluster:
        cluster.ask(*some_rows(33))
        x, ids, weights = some_rows()
        cluster.dispatcher.forward(0, x.astype(np.float16), expert_ids=ids, router_weights=weights)
        assert cluster.settled == []
        cluster.ask(*some_rows(32))
        assert cluster.settled == [True]
