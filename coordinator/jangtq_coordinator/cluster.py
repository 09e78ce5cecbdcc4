"""Brings the cluster together: finds and checks the workers, loads local experts, makes the dispatcher."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.dispatch import Dispatcher
from jangtq_coordinator.expert_load import ExpertLoad
from jangtq_coordinator.express_door import ExpressSettings
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings
from jangtq_coordinator.lane import Lane
from jangtq_coordinator.local_experts import LocalLane
from jangtq_coordinator.overlap import OverlapChooser, OverlapMode
from jangtq_coordinator.roster import LOCAL, Holder, assign_experts, check_holders
from jangtq_coordinator.settings import ClusterSettings, Transport
from jangtq_coordinator.timing import LayerTimes
from jangtq_kernels.backends import open_backend
from jangtq_proto.certificates import Role
from jangtq_proto.codec import PROTOCOL_VERSION, RowType
from jangtq_proto.credentials import Credentials
from jangtq_proto.errors import ClusterError, WorkerBusyError, WorkerUnreachableError
from jangtq_proto.ranges import expert_ids, format_ranges

_LOADING_PAUSE_SECONDS = 0.2
_log = logging.getLogger("jangtq.cluster")


@dataclass(frozen=True)
class Cluster:
    """Holders in the order in which partial sums are added, and the dispatcher over them."""

    holders: tuple[Holder, ...]
    dispatcher: Dispatcher
    load: ExpertLoad
    overlap: OverlapChooser

    def close(self) -> None:
        """Leave the workers."""
        self.dispatcher.close()


def connect(bundle: Bundle, settings: ClusterSettings, *, row_type: RowType) -> Cluster:
    """Find everybody and check that they fit. Raises one ClusterError that names all that is wrong."""
    lane_settings = LaneSettings(
        hidden_size=bundle.config.hidden_size,
        row_type=row_type,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        call_timeout_seconds=settings.call_timeout_seconds,
        unix_sockets=settings.unix_sockets,
        credentials=Credentials(settings.tls, Role.COORDINATOR) if settings.tls else None,
    )
    lanes = [GrpcLane(address, lane_settings) for address in settings.workers]
    try:
        holders = describe_all(lanes)
        check_holders(holders, fingerprint=bundle.fingerprint, protocol_version=PROTOCOL_VERSION)
        for lane, holder in zip(lanes, holders, strict=True):
            lane.expect(holder)
        return _assemble(bundle, settings, holders, _call_lanes(lanes, lane_settings, settings))
    except BaseException:
        for lane in lanes:
            lane.close()
        raise


def _call_lanes(lanes: list[GrpcLane], lane_settings: LaneSettings, settings: ClusterSettings) -> list[Lane]:
    """What expert calls travel over."""
    if settings.transport is Transport.GRPC:
        return list(lanes)
    express = ExpressSettings(poll_us=settings.poll_us, credentials=lane_settings.credentials)
    return [ExpressLane(lane, lane_settings, express) for lane in lanes]


def describe_all(lanes: list[GrpcLane]) -> list[Holder]:
    """Ask all workers at once; waits for those that still load. Raises one error for all that fail."""
    if not lanes:
        return []
    with ThreadPoolExecutor(len(lanes)) as pool:
        results = list(pool.map(_describe, lanes))
    failures = [result for result in results if isinstance(result, ClusterError)]
    if failures:
        raise WorkerUnreachableError("; ".join(str(failure) for failure in failures))
    return [result for result in results if isinstance(result, Holder)]


def _describe(lane: GrpcLane) -> Holder | ClusterError:
    told = False
    while True:
        try:
            return lane.describe()
        except WorkerBusyError as error:
            if not told:
                _log.info("waiting: %s", error)
            told = True
            time.sleep(_LOADING_PAUSE_SECONDS)
        except ClusterError as error:
            return error


def _assemble(
    bundle: Bundle, settings: ClusterSettings, workers: list[Holder], worker_lanes: list[Lane]
) -> Cluster:
    holders = list(workers)
    lanes = list(worker_lanes)
    if settings.local_ranges:
        local_holder = _describe_self(bundle, settings)
        owner = assign_experts([local_holder, *workers], bundle.config.expert_count)
        holders.insert(0, local_holder)
        lanes.insert(0, _load_local(bundle, settings))
    else:
        owner = assign_experts(workers, bundle.config.expert_count)
    times = LayerTimes(bundle.config.layer_count)
    load = ExpertLoad(bundle.config.layer_count, bundle.config.expert_count)
    # Without workers nobody computes while attention does.
    overlap = OverlapChooser(settings.overlap if workers else OverlapMode.OFF)
    return Cluster(tuple(holders), Dispatcher(owner, lanes, times, load), load, overlap)


def _describe_self(bundle: Bundle, settings: ClusterSettings) -> Holder:
    experts = expert_ids(settings.local_ranges)
    bundle.check_experts(experts)
    return Holder(
        name=LOCAL,
        ranges=settings.local_ranges,
        fingerprint=bundle.fingerprint,
        protocol_version=PROTOCOL_VERSION,
        device=settings.device,
        weight_bytes=bundle.expert_nbytes * len(experts) * bundle.config.layer_count,
        resident_bytes=psutil.Process().memory_info().rss,
    )


def _load_local(bundle: Bundle, settings: ClusterSettings) -> LocalLane:
    _log.info("loading local experts %s", format_ranges(settings.local_ranges))
    backend = open_backend(settings.device, threads=settings.threads)
    return LocalLane(load_layers(bundle, backend, expert_ids(settings.local_ranges)))
