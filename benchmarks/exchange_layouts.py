"""Whole MoE blocks over clusters as users lay them out, with both codecs: replicas, a local shard, TLS."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.exchange_ways import (
    EXPERTS,
    HALVES,
    HIDDEN,
    IN_NUMPY,
    MOE_BLOCK,
    ConnectionChoice,
    Exchange,
    Way,
    codec,
    exchange_of,
    open_connection,
)
from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.cli.demo.processes import Child
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.transport.connection import Connection
from jangtq_coordinator.transport.local_experts import LocalConnection
from jangtq_kernels.backends import open_backend
from jangtq_proto.ranges import expert_ids, parse_ranges
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import CallShape

GRPC, EXPRESS = (
    ConnectionChoice(f"{name} over TCP", express=name == "express", unix=False)
    for name in ("gRPC", "express")
)
Connect = Callable[[ConnectionChoice], Sequence[Connection]]
ALL = f"0-{EXPERTS - 1}"


def replicated_ways(stack: ExitStack, workers: Sequence[Child]) -> list[Way]:
    """Both workers hold every expert."""
    return _ways(stack, "replicas", [ALL, ALL], lambda choice: [open_connection(w, choice) for w in workers])


def local_ways(stack: ExitStack, worker: Child, bundle: Path) -> list[Way]:
    """The coordinator holds the first half, with one thread, and a worker the second."""
    local = load_layers(
        Bundle.open(bundle), open_backend("cpu", threads=1), expert_ids(parse_ranges(HALVES[0]))
    )
    shape = CallShape(1, HIDDEN)
    return _ways(
        stack,
        "a local shard",
        HALVES,
        lambda choice: [LocalConnection(lambda: local, shape), open_connection(worker, choice)],
    )


def tls_ways(stack: ExitStack, workers: Sequence[Child], credentials: Credentials) -> list[Way]:
    """Each worker holds a half, and all that is said is encrypted."""
    return _ways(
        stack, "TLS", HALVES, lambda choice: [open_connection(w, choice, credentials) for w in workers]
    )


def _ways(stack: ExitStack, layout: str, held: Sequence[str], connect: Connect) -> list[Way]:
    return [
        _way(stack, layout, held, connect, choice, natively=natively)
        for choice in (GRPC, EXPRESS)
        for natively in (True, False)
    ]


def _way(
    stack: ExitStack,
    layout: str,
    held: Sequence[str],
    connect: Connect,
    choice: ConnectionChoice,
    *,
    natively: bool,
) -> Way:
    from tests.support.fixed_cluster import membership_of

    connections = connect(choice)
    dispatcher = Dispatcher(
        membership_of({str(position): ranges for position, ranges in enumerate(held)}, EXPERTS),
        lambda member: connections[int(member.name)],
        codec(natively=natively),
        scales=np.zeros(1),
    )
    block: Exchange = exchange_of(stack, dispatcher, peers=len(connections))
    return Way(f"{choice.name}, {layout}{MOE_BLOCK}{'' if natively else IN_NUMPY}", (block,), first_peers=2)
