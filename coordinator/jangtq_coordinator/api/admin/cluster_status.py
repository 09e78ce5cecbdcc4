"""GET /cluster: the workers, their experts, and where each layer's time goes."""

from collections.abc import Iterable
from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel

from jangtq_coordinator.api.admin.health import ClusterHealth
from jangtq_coordinator.assembly.connect import Cluster
from jangtq_coordinator.cluster.placement import Member, MemberState
from jangtq_coordinator.metrics.expert_load import WINDOW_SECONDS
from jangtq_coordinator.metrics.layer_times import LayerSplit
from jangtq_coordinator.metrics.worker_traffic import RecentTimes, WorkerTraffic
from jangtq_coordinator.model.overlap import OverlapState
from jangtq_proto.ranges import format_ranges


class WorkerTimes(BaseModel):
    """Milliseconds of a worker's newest calls: from call to answer, and without the worker's own time."""

    wait_p50_ms: float
    wait_p99_ms: float
    round_trip_ms: float

    @classmethod
    def of(cls, recent: RecentTimes) -> "WorkerTimes":
        return cls(
            wait_p50_ms=recent.wait_p50 * 1e3,
            wait_p99_ms=recent.wait_p99 * 1e3,
            round_trip_ms=recent.trip_p50 * 1e3,
        )


class WorkerStatus(BaseModel):
    """One process that holds experts; bytes as it reported them when it was admitted."""

    name: str
    state: MemberState
    reason: str
    experts: str
    device: str
    weight_bytes: int
    resident_bytes: int
    times: WorkerTimes | None

    @classmethod
    def of(cls, member: Member, traffic: WorkerTraffic) -> "WorkerStatus":
        worker, recent = member.info, traffic.recent()
        return cls(
            name=worker.name,
            state=member.state,
            reason=member.reason,
            experts=format_ranges(worker.ranges),
            device=worker.device,
            weight_bytes=worker.weight_bytes,
            resident_bytes=worker.resident_bytes,
            times=None if recent is None else WorkerTimes.of(recent),
        )


class LayerStatus(BaseModel):
    """Mean milliseconds of one layer in one forward pass since the start."""

    layer: int
    attention_ms: float
    dispatch_ms: float
    experts_ms: float

    @classmethod
    def of(cls, split: LayerSplit) -> "LayerStatus":
        return cls(
            layer=split.layer,
            attention_ms=split.attention_ms,
            dispatch_ms=split.dispatch_ms,
            experts_ms=split.experts_ms,
        )


class OverlapStatus(BaseModel):
    """Whether passes of a kind, of up to `most_rows` rows, run as two halves, and the times behind that."""

    kind: str
    most_rows: int
    overlapped: bool
    whole_ms: float | None
    overlapped_ms: float | None

    @classmethod
    def of(cls, state: OverlapState) -> "OverlapStatus":
        return cls(**asdict(state))


class HeatStatus(BaseModel):
    """How often each expert was picked in the last `window_seconds`: a row for each layer."""

    window_seconds: int
    layers: list[list[int]]


class ClusterStatus(BaseModel):
    """The body of GET /cluster."""

    fingerprint: str
    workers: list[WorkerStatus]
    layers: list[LayerStatus]
    overlap: list[OverlapStatus] = []
    warning: str = ""


def warn_of_devices(devices: Iterable[str]) -> str:
    """What to know of answers where experts are computed by several kinds of device; else empty."""
    kinds = sorted(set(devices))
    if len(kinds) < 2:
        return ""
    return (
        f"experts are computed by {' and '.join(kinds)}: the same request may differ in its last bits when "
        "its experts are served by another kind of device"
    )


def cluster_router(cluster: Cluster, fingerprint: str) -> APIRouter:
    """GET /cluster and /cluster/heat."""
    router = APIRouter()
    traffic = cluster.dispatcher.traffic

    @router.get("/cluster")
    async def get_cluster() -> ClusterStatus:
        """Which worker holds which experts, and where each layer's time goes."""
        return ClusterStatus(
            fingerprint=fingerprint,
            workers=[WorkerStatus.of(m, traffic.of(m.name)) for m in cluster.membership.members],
            layers=[LayerStatus.of(split) for split in cluster.dispatcher.times.splits()],
            overlap=[OverlapStatus.of(state) for state in cluster.overlap.states()],
            warning=warn_of_devices(worker.device for worker in cluster.workers),
        )

    @router.get("/cluster/heat")
    async def get_heat() -> HeatStatus:
        """How often each expert of each layer was picked lately."""
        return HeatStatus(window_seconds=WINDOW_SECONDS, layers=cluster.dispatcher.load.recent().tolist())

    return router


def health_of(cluster: Cluster) -> ClusterHealth:
    """The cluster's part of /health: who serves what, who is absent and why, and which experts no worker
    serves.
    """
    placement = cluster.membership.placement
    details: dict[str, object] = {
        "experts": {m.name: format_ranges(m.info.ranges) for m in placement.members}
    }
    away = [member for member in cluster.membership.members if member.state is not MemberState.SERVING]
    if away:
        details["away"] = {member.name: f"{member.state}: {member.reason}" for member in away}
    if placement.uncovered:
        details["uncovered_experts"] = format_ranges(placement.uncovered)
    return ClusterHealth(serving=not placement.uncovered, details=details)
