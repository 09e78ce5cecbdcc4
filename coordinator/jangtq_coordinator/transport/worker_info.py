"""Workers' descriptions of themselves, and whether they fit the bundle. Knows no network."""

from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_bundle.fingerprint import differing_parts, is_same_bundle
from jangtq_proto.errors import ConfigurationError, WorkerMismatchError
from jangtq_proto.ranges import ExpertRange, format_ranges
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.range_messages import read_ranges

LOCAL = "coordinator"


@dataclass(frozen=True)
class WorkerInfo:
    """One process that holds experts, as it described itself; `instance` differs after each start.

    is_here: whether it is another process of this user on this machine.
    """

    name: str
    ranges: tuple[ExpertRange, ...]
    fingerprint: str
    protocol_version: int
    device: str
    weight_bytes: int
    resident_bytes: int
    instance: str = ""
    spare_bytes: int = 0
    leaving: bool = False
    taken_over: tuple[ExpertRange, ...] = ()
    is_here: bool = False

    def is_same(self, other: "WorkerInfo") -> bool:
        """Whether it is the same process with the same experts."""
        return (self.instance, self.ranges, self.fingerprint) == (
            other.instance,
            other.ranges,
            other.fingerprint,
        )


def worker_from(name: str, reply: pb.DescribeReply) -> WorkerInfo:
    """A worker's description. Raises WorkerMismatchError if it is impossible."""
    try:
        ranges, taken_over = read_ranges(reply.expert_ranges), read_ranges(reply.taken_over)
    except ConfigurationError as error:
        raise WorkerMismatchError(f"worker {name}: {error}") from error
    return WorkerInfo(
        name=name,
        ranges=ranges,
        fingerprint=reply.fingerprint,
        protocol_version=reply.protocol_version,
        device=reply.device,
        weight_bytes=reply.weight_bytes,
        resident_bytes=reply.resident_bytes,
        instance=reply.instance,
        spare_bytes=reply.spare_bytes,
        leaving=reply.leaving,
        taken_over=taken_over,
        is_here=SocketFolder().is_of(reply.machine_id),
    )


def check_workers(workers: Sequence[WorkerInfo], *, fingerprint: str, protocol_version: int) -> None:
    """Raise one WorkerMismatchError that names everything that does not fit."""
    problems = [
        *(
            f"worker {h.name} speaks protocol {h.protocol_version}, this coordinator {protocol_version}: "
            "install the same jangtq-cluster version on both"
            for h in workers
            if h.protocol_version != protocol_version
        ),
        *(
            "worker {} holds another bundle: its fingerprint is {}, this coordinator's {}".format(
                h.name, *differing_parts(h.fingerprint, fingerprint)
            )
            for h in workers
            if not is_same_bundle(h.fingerprint, fingerprint)
        ),
        *(f"worker {h.name} is about to stop" for h in workers if h.leaving),
    ]
    if problems:
        raise WorkerMismatchError("; ".join(problems))


def check_unchanged(expected: WorkerInfo, found: WorkerInfo) -> None:
    """Raises WorkerMismatchError if a worker came back as another one."""
    for what, was, now in (
        ("bundle", expected.fingerprint[:12], found.fingerprint[:12]),
        ("protocol", str(expected.protocol_version), str(found.protocol_version)),
        ("experts", format_ranges(expected.ranges), format_ranges(found.ranges)),
    ):
        if was != now:
            raise WorkerMismatchError(f"worker {expected.name} came back with {what} {now}, it had {was}")
