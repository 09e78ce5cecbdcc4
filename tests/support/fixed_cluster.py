"""Clusters without a network for tests: members with ranges as a test says, behind lanes that it brings."""

from collections.abc import Mapping, Sequence

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.collector import Timeouts
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.metrics.layer_times import LayerTimes
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.transport.connection import Connection
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.ranges import parse_ranges, ranges_of


def holder(name: str, ranges: str = "0", *, instance: str = "first") -> WorkerInfo:
    """One that fits a coordinator with bundle `f` and protocol 1."""
    return WorkerInfo(name, parse_ranges(ranges), "f", 1, "cpu", 0, 0, instance)


def membership_of(ranges: Mapping[str, str], experts: int) -> Membership:
    """Members by name, each with its experts."""
    return Membership([holder(name, held) for name, held in ranges.items()], experts)


def dispatcher_of(
    membership: Membership,
    lanes: Mapping[str, Connection],
    *,
    layers: int = 1,
    patience: Timeouts | None = None,
    pause: Readiness | None = None,
    audit: float = 0.0,
) -> Dispatcher:
    """A dispatcher that reaches each member over the lane of its name."""
    return Dispatcher(
        membership,
        lambda member: lanes[member.name],
        LayerTimes(layers),
        patience=patience,
        pause=pause,
        audit=audit,
    )


def fixed_dispatcher(owner: Sequence[int], lanes: Sequence[Connection], *, layers: int = 1) -> Dispatcher:
    """Expert `e` is held by `lanes[owner[e]]` alone."""
    held = {str(number): [e for e, o in enumerate(owner) if o == number] for number in range(len(lanes))}
    ranges = {name: ",".join(map(str, ranges_of(experts))) for name, experts in held.items() if experts}
    by_name = {str(number): lane for number, lane in enumerate(lanes)}
    return dispatcher_of(membership_of(ranges, len(owner)), by_name, layers=layers)
