"""What goes wrong in exchanges of native code: the same words and the same rescue as over the connections."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pytest

from jangtq_proto.errors import ClusterError
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import failure_frame
from tests.support.native_clusters import HIDDEN, Cluster, cluster_of, some_rows
from tests.support.socket_peers import (
    Script,
    SocketConnection,
    SocketPeer,
    answer_bytes,
    answer_rightly,
    in_pieces,
)


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


def words_of(
    cluster: Cluster[SocketPeer], fail: Callable[[], object] | None = None
) -> tuple[type[ClusterError], str]:
    """How an exchange fails that nobody answers."""
    cluster.dispatcher._collector._failover._worker_timeout_seconds = 0.01
    with pytest.raises(ClusterError) as caught:
        (fail or (lambda: cluster.ask(*some_rows())))()
    return caught.type, str(caught.value)


@pytest.mark.parametrize("bad", ["another id", "damaged", "too short", "a fault", "of no call"])
def test_one_workers_fault_leaves_the_others_answer_as_it_is(bad: str) -> None:
    with cluster_of() as cluster:
        expected = cluster.ask(*some_rows(3))
        for peer in cluster.peers:
            peer.calls.clear()
        for faulty, sound in ((0, 1), (1, 0)):
            peer = cluster.peers[faulty]
            left = [BAD[bad]]

            def fail_once(call_id: int, call: LayerCall, left: list[Script] = left) -> Iterable[bytes] | None:
                return (left.pop() if left else answer_rightly)(call_id, call)

            peer.script = fail_once
            assert cluster.ask(*some_rows(3)) == expected
            assert (len(peer.calls), len(cluster.peers[sound].calls)) == (2, 1)
            for each in cluster.peers:
                each.calls.clear()
        assert cluster.ask(*some_rows(3)) == expected
        assert cluster.settled[-1], "and the next exchange is ordinary again"


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
def test_what_was_read_of_an_answer_that_takes_long_goes_back_to_its_connection(cut: int) -> None:
    with cluster_of() as cluster:
        expected = cluster.ask(*some_rows())
        for peer in cluster.peers:
            peer.script = in_pieces([cut], lambda: time.sleep(0.15))
        assert cluster.ask(*some_rows()) == expected
        assert cluster.settled == [True, False]


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


def test_a_connection_that_ended_before_the_call_is_the_same_error_as_without_native_code() -> None:
    words = []
    for is_native in (True, False):
        with cluster_of(1, is_native=is_native) as cluster:
            connection = cluster.dispatcher._collector._connections.known(
                cluster.dispatcher._membership.placement.members[0]
            )
            assert isinstance(connection, SocketConnection) and connection.plain_frames is not None
            connection.plain_frames._socket.shutdown(socket.SHUT_WR)
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
