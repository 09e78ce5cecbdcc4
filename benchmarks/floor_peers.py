"""Peers that know nothing of calls, run as `python -m benchmarks.floor_peers raw|grpc ...`.

Both send a fixed number of bytes back for a fixed number of bytes: over a plain socket, after computing
experts where a model is given, or in a stream of gRPC's.
"""

import argparse
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from jangtq_bundle.bundle import Bundle
from jangtq_kernels.backends import open_backend
from jangtq_proto.ranges import expert_ids, parse_ranges
from jangtq_proto.wire.codec import LayerCall

SERVICE, METHOD = "jangtq_proto.v1.ExpertService", "Forward"
COMPUTED = struct.Struct("<Q")
"""How an answer begins: the nanoseconds that its peer computed."""


def read_exactly(sock: socket.socket, view: memoryview, *, poll_us: int = 0) -> bool:
    """Fill `view`, looking again and again for `poll_us` before sleeping; False at the end."""
    filled = 0
    end = time.perf_counter_ns() + poll_us * 1000
    while filled < len(view):
        polls = bool(poll_us) and time.perf_counter_ns() < end
        try:
            count = sock.recv_into(view[filled:], 0, socket.MSG_DONTWAIT if polls else 0)
        except BlockingIOError:
            os.sched_yield()
            continue
        if count == 0:
            return False
        filled += count
    return True


def serve_raw(request_bytes: int, reply_bytes: int, compute: Callable[[int], int], *, poll_us: int) -> None:
    """One connection, until it ends. `compute` is given the first byte of each call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request, reply = memoryview(bytearray(request_bytes)), bytearray(reply_bytes)
    with connection:
        while read_exactly(connection, request, poll_us=poll_us):
            COMPUTED.pack_into(reply, 0, compute(request[0]))
            connection.sendall(reply)


class Experts:
    """Experts of one layer, and one row to compute with as many of them as are asked for."""

    def __init__(self, model: Path, ranges: str) -> None:
        held = expert_ids(parse_ranges(ranges))
        weights = Bundle.open(model).read_experts(0, held)
        self._held = np.array(held, dtype=np.int32)
        self._row = np.random.default_rng(0).standard_normal((1, weights.hidden_size)).astype(np.float32)
        self._layer = open_backend("auto", threads=1).load(weights)

    def compute(self, count: int) -> int:
        """Nanoseconds that it took."""
        ids = np.ascontiguousarray(self._held[None, :: len(self._held) // count])
        weights = np.full(ids.shape, 1 / count, dtype=np.float32)
        call = LayerCall(0, self._row, ids, weights, exponents=np.zeros(1, dtype=np.int8), prefill=False)
        started = time.perf_counter_ns()
        self._layer.forward(call)
        return time.perf_counter_ns() - started


class _Operation(Protocol):
    def message(self) -> bytes | None: ...


class _Event(Protocol):
    batch_operations: tuple[_Operation, ...]


class EchoStreams:
    """gRPC's streams without anything around them: the thread that reads the sockets answers."""

    def __init__(self, reply_bytes: int) -> None:
        self._reply = bytes(reply_bytes)

    def serve(self, request_iterator: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        call = context._rpc_event.call  # type: ignore[attr-defined]
        ended = threading.Event()
        receive = cygrpc.ReceiveMessageOperation(0)

        def answer(event: _Event) -> tuple[None, tuple[()]]:
            if event.batch_operations[-1].message() is None:
                ended.set()
            else:
                call.start_server_batch((cygrpc.SendMessageOperation(self._reply, 0), receive), answer)
            return None, ()

        context.send_initial_metadata(())
        call.start_server_batch((receive,), answer)
        ended.wait()
        return iter(())


def serve_streams(reply_bytes: int) -> None:
    """Until standard input closes."""
    server = grpc.server(ThreadPoolExecutor(2))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
        EchoStreams(reply_bytes).serve
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    raw = kinds.add_parser("raw")
    raw.add_argument("request_bytes", type=int)
    raw.add_argument("reply_bytes", type=int)
    raw.add_argument("--poll-us", type=int, default=0)
    raw.add_argument("--model", type=Path)
    raw.add_argument("--experts")
    kinds.add_parser("grpc").add_argument("reply_bytes", type=int)
    given = parser.parse_args()
    if given.kind == "grpc":
        serve_streams(given.reply_bytes)
        return
    compute = Experts(given.model, given.experts).compute if given.model else lambda count: 0
    serve_raw(given.request_bytes, given.reply_bytes, compute, poll_us=given.poll_us)


if __name__ == "__main__":
    main()
