"""Clusters without a network: members with ranges as a test says, behind connections that it brings."""

from collections.abc import Mapping, Sequence

import numpy as np

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.codec import Codec
from jangtq_coordinator.dispatch.codecs import open_codec
from jangtq_coordinator.dispatch.collector import Timeouts
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.transport.connection import Connection
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.ranges import parse_ranges, ranges_of
from jangtq_proto.wire.row_type import RowType
from tests.support.connection_answers import Answering, framed


def worker(name: str, ranges: str = "0", *, instance: str = "first") -> WorkerInfo:
    """One that fits a coordinator with bundle `f` and protocol 1."""
    return WorkerInfo(name, parse_ranges(ranges), "f", 1, "cpu", 0, 0, instance)


def membership_of(ranges: Mapping[str, str], experts: int) -> Membership:
    """Members by name, each with its experts."""
    return Membership([worker(name, held) for name, held in ranges.items()], experts)


def dispatcher_of(
    membership: Membership,
    connections: Mapping[str, Connection | Answering],
    *,
    layers: int = 1,
    timeouts: Timeouts | None = None,
    readiness: Readiness | None = None,
    audit: float = 0.0,
    row_type: RowType = RowType.FLOAT32,
    codec: Codec | None = None,
) -> Dispatcher:
    """A dispatcher that reaches each member over the connection of its name."""
    return Dispatcher(
        membership,
        lambda member: framed(connections[member.name]),
        codec or open_codec(row_type),
        scales=np.ones(layers),
        timeouts=timeouts,
        readiness=readiness,
        audit=audit,
    )


def fixed_dispatcher(
    owner: Sequence[int],
    connections: Sequence[Connection | Answering],
    *,
    layers: int = 1,
    row_type: RowType = RowType.FLOAT32,
    codec: Codec | None = None,
) -> Dispatcher:
    """Expert `e` is held by `connections[owner[e]]` alone."""
    held = {
        str(number): [e for e, o in enumerate(owner) if o == number] for number in range(len(connections))
    }
    ranges = {name: ",".join(map(str, ranges_of(experts))) for name, experts in held.items() if experts}
    by_name = {str(number): connection for number, connection in enumerate(connections)}
    membership = membership_of(ranges, len(owner))
    return dispatcher_of(membership, by_name, layers=layers, row_type=row_type, codec=codec)
