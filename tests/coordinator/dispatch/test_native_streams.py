"""Exchanges over gRPC streams that native code writes and reads: mixed ways, odd orders and bad answers."""

import re
import threading
from collections.abc import Callable, Iterable, Sequence

import pytest

from jangtq_proto.errors import ClusterError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import LayerCall
from tests.support.native_clusters import Cluster, cluster_over, some_rows, stream_cluster
from tests.support.socket_peers import SocketPeer, answer_bytes
from tests.support.stream_peers import Script, StreamPeer, answer_rightly, answer_to


def test_sockets_and_streams_are_asked_together() -> None:
    kinds: list[Callable[[int], SocketPeer | StreamPeer]] = [SocketPeer, StreamPeer, StreamPeer, SocketPeer]
    with cluster_over(kinds) as mixed, stream_cluster(4, is_native=False) as plain:
        for seed in range(4):
            asked = some_rows(1 + seed, seed=seed)
            assert mixed.ask(*asked) == plain.ask(*asked)
        assert mixed.settled == [True] * 4


def test_answers_in_another_order_than_the_calls_find_theirs() -> None:
    asked = some_rows(3, seed=1), some_rows(2, seed=2)
    with stream_cluster(1) as cluster:
        alone = [cluster.ask(*each) for each in asked]
        held: list[bytes] = []

        def later(call_id: int, call: LayerCall) -> Iterable[bytes]:
            held.extend(answer_rightly(call_id, call))
            return [held.pop(), held.pop()] if len(held) == 2 else []

        cluster.peers[0].script = later
        under_way = [
            cluster.dispatcher.begin(0, x, expert_ids=ids, router_weights=weights)
            for x, ids, weights in asked
        ]
        assert [cluster.dispatcher.finish(one).tobytes() for one in under_way] == alone


def damaged(call_id: int, call: LayerCall) -> Sequence[bytes]:
    reply = answer_to(call_id, call)
    reply.checksum ^= 1
    return [reply.SerializeToString()]


def resized(change: int) -> Script:
    def script(call_id: int, call: LayerCall) -> Sequence[bytes]:
        reply = answer_to(call_id, call)
        sums = reply.partial_sums
        reply.partial_sums = sums[:change] if change < 0 else sums + bytes(change)
        return [reply.SerializeToString()]

    return script


def failing(status: int, words: str) -> Script:
    return lambda call_id, call: [
        pb.ExpertReply(call_id=call_id, failure=pb.Failure(status=status, message=words)).SerializeToString()
    ]


BAD: dict[str, Script] = {
    "another id": lambda call_id, call: answer_rightly(call_id + 5, call),
    "damaged": damaged,
    "too short": resized(-4),
    "too long": resized(4),
    "rejected": failing(3, "bad rows"),
    "a fault": failing(13, "broken"),
    "the end": lambda call_id, call: None,
    "no message": lambda call_id, call: [b"\xff\xff\xff"],
    "an empty message": lambda call_id, call: [b""],
}


def words_of(cluster: Cluster[StreamPeer]) -> tuple[type[ClusterError], str]:
    """How an exchange fails that nobody answers; without ports."""
    cluster.dispatcher._collector._failover._worker_timeout_seconds = 0.01
    with pytest.raises(ClusterError) as caught:
        cluster.ask(*some_rows())
    return caught.type, re.sub(r"127.0.0.1:\d+", "somewhere", str(caught.value))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_is_the_same_error_as_without_native_code(bad: str) -> None:
    words = []
    for is_native in (True, False):
        with stream_cluster(1, is_native=is_native) as cluster:
            cluster.peers[0].script = BAD[bad]
            found = words_of(cluster)
            assert cluster.settled == ([False] if is_native else [])
            words.append((*found, len(cluster.peers[0].calls)))
    assert words[0] == words[1]


@pytest.mark.parametrize("bad", ["another id", "damaged", "too short", "a fault", "no message"])
def test_one_workers_fault_leaves_the_others_answer_as_it_is(bad: str) -> None:
    with stream_cluster() as cluster:
        expected = cluster.ask(*some_rows(3))
        for faulty, sound in ((0, 1), (1, 0)):
            for each in cluster.peers:
                each.calls.clear()
            left = [BAD[bad]]

            def fail_once(call_id: int, call: LayerCall, left: list[Script] = left) -> Iterable[bytes] | None:
                return (left.pop() if left else answer_rightly)(call_id, call)

            cluster.peers[faulty].script = fail_once
            assert cluster.ask(*some_rows(3)) == expected
            assert (len(cluster.peers[faulty].calls), len(cluster.peers[sound].calls)) == (2, 1)
        assert cluster.ask(*some_rows(3)) == cluster.ask(*some_rows(3)) == expected
        assert cluster.settled[-1], "and the next exchange is ordinary again"


def test_a_silent_worker_is_the_same_error_as_without_native_code() -> None:
    words = []
    for is_native in (True, False):
        with stream_cluster(1, call_seconds=0.5, is_native=is_native) as cluster:
            heard = threading.Event()

            def fall_silent(call_id: int, call: LayerCall, heard: threading.Event = heard) -> Iterable[bytes]:
                heard.wait(30)
                return []

            cluster.peers[0].script = fall_silent
            words.append(words_of(cluster))
            heard.set()
            assert cluster.settled == ([False] if is_native else [])
    assert words[0] == words[1]
    assert "no answer within 0.5 s" in words[0][1]


def test_a_member_that_is_lost_meanwhile_is_waited_for_no_longer() -> None:
    for is_native in (True, False):
        with stream_cluster(1, is_native=is_native) as cluster:
            lost = threading.Event()

            def lose(call_id: int, call: LayerCall, lost: threading.Event = lost) -> Iterable[bytes]:
                membership = cluster.dispatcher._membership
                membership.lose(membership.placement.members[0], "a test says so")
                lost.wait(30)
                return []

            cluster.peers[0].script = lose
            words_of(cluster)
            lost.set()


def test_a_stream_that_ended_before_the_call_is_the_same_as_without_native_code() -> None:
    found = []
    for is_native in (True, False):
        with stream_cluster(is_native=is_native) as cluster:
            cluster.ask(*some_rows(3))
            cluster.peers[0].join()
            found.append(words_of(cluster)[0])
    assert found[0] == found[1]


def test_answers_of_express_peers_are_no_messages() -> None:
    with stream_cluster(1) as cluster:
        cluster.peers[0].script = lambda call_id, call: [answer_bytes(call_id, call)]
        words_of(cluster)
        assert cluster.settled == [False]
