"""The floors of connections: raw sockets, with and without experts behind them, and bare gRPC streams.

All send exactly the bytes of an express call and of its answer.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.exchange_ways import HALVES, MOE_BLOCK, RAW, SLOTS, Exchange, Way, some_call
from benchmarks.floor_peers import COMPUTED, read_exactly
from benchmarks.placement import Placement
from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.transport.grpc_channel import open_channel
from jangtq_coordinator.transport.grpc_stream import ExpertStream
from jangtq_proto.addresses import parse_address
from jangtq_proto.wire.frames import answer_frame, call_frame
from jangtq_proto.wire.row_type import RowType

_TIMEOUT_SECONDS = 60


class FloorPeers(NamedTuple):
    """Where peers are started, and what ends what was opened to them."""

    children: Children
    stack: ExitStack
    placement: Placement

    def start(self, kind: str, arguments: Sequence[Sequence[str]]) -> list[Child]:
        """One for each list of arguments."""
        peers = [self.children.start(f"{kind} {a}", "benchmarks.floor_peers", [kind, *a]) for a in arguments]
        for number, peer in enumerate(peers):
            self.placement.place(peer, number)
        return peers

    def start_raw(self, options: Sequence[Sequence[str]]) -> list[socket.socket]:
        """Connected to peers that know frames by their length only."""
        sizes = [str(len(frame)) for frame in _frames()]
        peers = self.start("raw", [[*sizes, *given] for given in options])
        return [self.stack.enter_context(_connect(peer.listening())) for peer in peers]


def raw_way(peers: FloorPeers, *, poll_us: int = 0) -> Way:
    """Plain blocking TCP, or polling."""
    sockets = peers.start_raw([["--poll-us", str(poll_us)]] * len(HALVES))
    return _raw(f"{RAW}, polling" if poll_us else RAW, sockets, lambda count: 0, poll_us=poll_us)


def raw_block_way(peers: FloorPeers, bundle: Path) -> Way:
    """Plain blocking TCP to peers that compute their share of a block's experts between call and answer."""
    options = [["--model", str(bundle), "--experts", half] for half in HALVES]
    return _raw(RAW + MOE_BLOCK, peers.start_raw(options), lambda count: SLOTS // count)


def bare_stream_way(peers: FloorPeers) -> Way:
    """gRPC's own streams as connections use them, with bytes that nobody looks at."""
    request, reply = _frames()
    streams = []
    for peer in peers.start("grpc", [[str(len(reply))]] * len(HALVES)):
        channel = peers.stack.enter_context(open_channel(peer.listening(), len(reply)))
        streams.append(ExpertStream(channel, timeout_seconds=_TIMEOUT_SECONDS))
        peers.stack.callback(streams[-1].close)

    def exchange_with(count: int) -> Exchange:
        def exchange() -> None:
            for stream in streams[:count]:
                stream.send(request)
            for stream in streams[:count]:
                stream.receive()

        return Exchange(exchange)

    return Way("bare gRPC stream, raw bytes", _for_each_count(exchange_with))


def _raw(
    name: str, sockets: Sequence[socket.socket], picked: Callable[[int], int], *, poll_us: int = 0
) -> Way:
    """`picked`: how many experts each of so many peers computes, as the first byte of a call says."""
    request, reply = _frames()
    views = [memoryview(bytearray(len(reply))) for _ in sockets]

    def exchange_with(count: int) -> Exchange:
        call = bytes([picked(count)]) + request[1:]

        computed: list[int] = []

        def exchange() -> None:
            for sock in sockets[:count]:
                sock.sendall(call)
            for sock, view in zip(sockets[:count], views, strict=False):
                read_exactly(sock, view, poll_us=poll_us)

        def look() -> None:
            computed.append(max(int(COMPUTED.unpack_from(view)[0]) for view in views[:count]))

        def take_computed() -> Sequence[int]:
            taken = computed.copy()
            computed.clear()
            return taken

        return Exchange(exchange, look, take_computed)

    return Way(name, _for_each_count(exchange_with))


def _for_each_count(exchange_with: Callable[[int], Exchange]) -> tuple[Exchange, ...]:
    return tuple(exchange_with(count) for count in range(1, len(HALVES) + 1))


def _connect(listening: str) -> socket.socket:
    address = parse_address(listening)
    sock = socket.create_connection((address.host, address.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _frames() -> tuple[bytes, bytes]:
    call = some_call(0)
    sums = np.zeros(call.rows.shape, dtype=np.int32)
    answer = answer_frame(1, sums, call.exponents, queue_ns=0, compute_ns=0)
    return call_frame(1, call, RowType.FLOAT32), answer
