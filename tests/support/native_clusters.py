"""Peers behind express connections or gRPC streams; the dispatcher over them, with or without native code."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
import pytest
from jangtq_coordinator.dispatch.exchange_library import ExchangeLibrary, exchange_library
from jangtq_coordinator.dispatch.native_call import NativeCall
from jangtq_coordinator.dispatch.native_exchange import NativeExchanges
from numpy.typing import NDArray

from jangtq_coordinator.dispatch import native_exchange
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_proto.wire.codec import row_dtype
from jangtq_proto.wire.row_type import RowType
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.socket_peers import SocketConnection, SocketPeer
from tests.support.stream_peers import StreamConnection, StreamPeer

HIDDEN = 4
EXPERTS = 16
Rows = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]


def some_rows(rows: int = 1, slots: int = 4, *, seed: int = 0, hidden: int = HIDDEN) -> Rows:
    random = np.random.default_rng(seed)
    ids = np.stack([random.permutation(EXPERTS)[:slots] for _ in range(rows)]).astype(np.int32)
    x = random.standard_normal((rows, hidden)).astype(np.float32)
    return x, ids, random.random((rows, slots), dtype=np.float32)


Peer = TypeVar("Peer", bound=SocketPeer | StreamPeer)


class Cluster(Generic[Peer]):
    """Peers behind connections, the dispatcher over them, and how each native exchange ended."""

    def __init__(
        self,
        peers: Sequence[Peer],
        owner: Sequence[int],
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_native: bool = True,
        hidden: int = HIDDEN,
        row_type: RowType = RowType.FLOAT32,
        call_seconds: float = 30,
        poll_us: int = 0,
    ) -> None:
        self.peers = peers
        self.settled: list[bool] = []
        self._dtype = row_dtype(row_type)
        library: ExchangeLibrary | None = exchange_library() if is_native else None
        assert library is not None or not is_native, "the library is not compiled"
        monkeypatch.setattr(native_exchange, "exchange_library", lambda: library)
        connections = [
            SocketConnection(peer, hidden, row_type=row_type, call_seconds=call_seconds, poll_us=poll_us)
            if isinstance(peer, SocketPeer)
            else StreamConnection(peer, hidden, row_type=row_type, call_seconds=call_seconds)
            for peer in peers
        ]
        self.dispatcher: Dispatcher = fixed_dispatcher(owner, connections)
        self._watch(monkeypatch)
        # Connections are opened by the first exchange, which therefore is none of the ordinary.
        self.ask(*some_rows(slots=EXPERTS, hidden=hidden))
        self.settled.clear()
        for peer in peers:
            peer.calls.clear()

    def _watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        collect = NativeExchanges.collect

        def watched(
            exchanges: NativeExchanges, call: NativeCall, gives_up: Callable[[int], bool]
        ) -> NDArray[np.float32] | None:
            found = collect(exchanges, call, gives_up)
            self.settled.append(found is not None)
            return found

        monkeypatch.setattr(NativeExchanges, "collect", watched)

    def ask(self, x: NDArray[np.float32], ids: NDArray[np.int32], weights: NDArray[np.float32]) -> bytes:
        """Of rows as they are sent."""
        return self.dispatcher.forward(
            0, x.astype(self._dtype), expert_ids=ids, router_weights=weights
        ).tobytes()


@contextmanager
def cluster_of(
    peers: int = 2, owner: Sequence[int] | None = None, **options: float | RowType
) -> Iterator[Cluster[SocketPeer]]:
    """Express transports; experts in turn, where a test does not care who has them."""
    with cluster_over([SocketPeer] * peers, owner, **options) as cluster:
        yield cluster


@contextmanager
def stream_cluster(
    peers: int = 2, owner: Sequence[int] | None = None, **options: float | RowType
) -> Iterator[Cluster[StreamPeer]]:
    """The same over gRPC streams."""
    with cluster_over([StreamPeer] * peers, owner, **options) as cluster:
        yield cluster


@contextmanager
def cluster_over(
    kinds: Sequence[Callable[[int], Peer]], owner: Sequence[int] | None = None, **options: float | RowType
) -> Iterator[Cluster[Peer]]:
    """One peer of each of these kinds."""
    found = [kind(int(options.get("hidden", HIDDEN))) for kind in kinds]
    owners = owner or [expert % len(found) for expert in range(EXPERTS)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        cluster = Cluster(found, owners, monkeypatch, **options)  # type: ignore[arg-type]
        try:
            yield cluster
        finally:
            cluster.dispatcher.close()
            for peer in found:
                peer.join()
