"""Peers that only answer, run as `python -m benchmarks.echo raw|worker ...`, each a process of its own.

`raw` sends a fixed number of bytes back for a fixed number of bytes; `worker` is a real worker whose experts
give back the rows that they get.
"""

import argparse
import os
import socket
import time
from pathlib import Path

import numpy as np

from jangtq_kernels.backend import ExpertRows, PartialSums
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.addresses import Address
from jangtq_proto.ranges import parse_ranges
from jangtq_worker.server import WorkerServer, run_until_signal
from jangtq_worker.settings import WorkerSettings


class EchoLayer:
    """Gives the bits of the rows back, and so takes no time."""

    nbytes = 0

    def forward(self, asked: ExpertRows) -> PartialSums:
        return PartialSums(np.asarray(asked.rows, dtype=np.float32).view(np.int32), asked.exponents)


class EchoBackend:
    """Loads nothing."""

    name = "reference"

    def load(self, weights: ExpertWeights) -> EchoLayer:
        return EchoLayer()


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


def serve_raw(request_bytes: int, reply_bytes: int, *, poll_us: int) -> None:
    """One connection, until it ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request, reply = memoryview(bytearray(request_bytes)), bytes(reply_bytes)
    with connection:
        while read_exactly(connection, request, poll_us=poll_us):
            connection.sendall(reply)


def serve_worker(model: Path, experts: str, *, poll_us: int) -> None:
    """A worker that holds no weights."""
    settings = WorkerSettings(
        model, parse_ranges(experts), Address("127.0.0.1", 0), device="reference", poll_us=poll_us
    )
    run_until_signal(WorkerServer(settings, EchoBackend()), watch_stdin=True)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    raw = kinds.add_parser("raw")
    raw.add_argument("request_bytes", type=int)
    raw.add_argument("reply_bytes", type=int)
    worker = kinds.add_parser("worker")
    worker.add_argument("model", type=Path)
    worker.add_argument("experts")
    for kind in (raw, worker):
        kind.add_argument("--poll-us", type=int, default=0)
    given = parser.parse_args()
    if given.kind == "raw":
        serve_raw(given.request_bytes, given.reply_bytes, poll_us=given.poll_us)
    else:
        serve_worker(given.model, given.experts, poll_us=given.poll_us)


if __name__ == "__main__":
    main()
