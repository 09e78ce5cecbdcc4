"""Connects to the cluster: finds and checks the workers, loads local experts, makes the dispatcher."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.cluster.health_monitor import HealthMonitor
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.cluster.rebalance import Rebalancer
from jangtq_coordinator.cluster.takeover import Takeover
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.dispatch.codecs import open_codec
from jangtq_coordinator.dispatch.collector import Timeouts
from jangtq_coordinator.dispatch.connection_pool import OpenConnection
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.model.overlap import OverlapChooser, OverlapMode
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.transport.connection import Connection, ConnectionSettings
from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.express_handshake import ExpressSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.local_experts import LocalExperts
from jangtq_coordinator.transport.worker_info import LOCAL, WorkerInfo, check_workers
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.errors import ClusterError, WorkerBusyError, WorkerUnreachableError
from jangtq_proto.ranges import format_ranges
from jangtq_proto.timings import TIMINGS
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import PROTOCOL_VERSION
from jangtq_proto.wire.row_type import RowType

_log = logging.getLogger("jangtq.cluster")


@dataclass(frozen=True)
class Cluster:
    """The members, their health checks, and the dispatcher that calls them."""

    membership: Membership
    health_monitor: HealthMonitor
    dispatcher: Dispatcher
    overlap: OverlapChooser
    readiness: Readiness
    takeover: Takeover
    rebalancer: Rebalancer | None = None

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that serve."""
        return tuple(member.info for member in self.membership.placement.members)

    def close(self) -> None:
        """Close all connections and stop all threads."""
        if self.rebalancer is not None:
            self.rebalancer.stop()
        self.health_monitor.stop()
        self.dispatcher.close()
        self.takeover.stop()


def connect(bundle: Bundle, settings: ClusterSettings, *, row_type: RowType) -> Cluster:
    """Find all workers and check that they fit. Raises one ClusterError that names every problem."""
    connection_settings = ConnectionSettings(
        hidden_size=bundle.config.hidden_size,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        call_timeout_seconds=settings.call_timeout_seconds,
        credentials=Credentials(settings.tls, Role.COORDINATOR) if settings.tls else None,
    )
    workers = _find(settings.workers, connection_settings)
    _check(workers, bundle)
    local = _local_experts(bundle, settings)
    if local and settings.local_ranges:
        workers.insert(0, local.describe())
    membership = Membership(workers, bundle.config.expert_count)
    membership.placement.check_covered()
    if local:
        _load_local(local, settings, membership)
    prober = ControlClient(bundle.config.hidden_size, connection_settings.credentials)
    takeover = Takeover(prober, local)
    opener = _connection_opener(connection_settings, settings, local)
    return _assemble(bundle, settings, membership, opener, takeover, row_type=row_type)


def _find(workers: tuple[Address, ...], connection_settings: ConnectionSettings) -> list[WorkerInfo]:
    connections = [GrpcConnection(address, connection_settings) for address in workers]
    try:
        return describe_all(connections)
    finally:
        for connection in connections:
            connection.close()


def _check(workers: Sequence[WorkerInfo], bundle: Bundle) -> None:
    check_workers(workers, fingerprint=bundle.fingerprint, protocol_version=PROTOCOL_VERSION)


def _connection_opener(
    connection_settings: ConnectionSettings, settings: ClusterSettings, local: LocalExperts | None
) -> OpenConnection:
    """A function that opens the connection for expert calls to a member."""

    def open_connection(member: Member) -> Connection:
        if member.name == LOCAL:
            assert local is not None
            return local.connection()
        control = GrpcConnection(parse_address(member.name), connection_settings)
        control.expect(member.info)
        if settings.transport is Transport.GRPC:
            return control
        return ExpressConnection(
            control,
            connection_settings,
            ExpressSettings(
                settings.poll_us,
                connection_settings.credentials,
                settings.unix_sockets,
                is_optional=settings.transport is Transport.AUTO,
            ),
        )

    return open_connection


def describe_all(connections: list[GrpcConnection]) -> list[WorkerInfo]:
    """Describe all workers at once; waits for those that still load. Raises one error for all failures."""
    if not connections:
        return []
    with ThreadPoolExecutor(len(connections)) as pool:
        results = list(pool.map(_describe, connections))
    failures = [result for result in results if isinstance(result, ClusterError)]
    if failures:
        raise WorkerUnreachableError("; ".join(str(failure) for failure in failures))
    return [result for result in results if isinstance(result, WorkerInfo)]


def _describe(connection: GrpcConnection) -> WorkerInfo | ClusterError:
    logged = False
    while True:
        try:
            return connection.describe()
        except WorkerBusyError as error:
            if not logged:
                _log.info("waiting: %s", error)
            logged = True
            time.sleep(TIMINGS.loading_check)
        except ClusterError as error:
            return error


def _assemble(
    bundle: Bundle,
    settings: ClusterSettings,
    membership: Membership,
    open_connection: OpenConnection,
    takeover: Takeover,
    *,
    row_type: RowType,
) -> Cluster:
    health_monitor = HealthMonitor(
        membership,
        ask=lambda address, seconds: takeover.prober.ask(address, timeout_seconds=seconds),
        check=lambda worker: _check([worker], bundle),
    )
    readiness = Readiness()
    readiness.before_requests(membership.check_covered, wait_seconds=settings.worker_timeout_seconds)
    readiness.when_overloaded(membership.is_overloaded)
    # Without workers nothing computes while attention does.
    overlap = OverlapChooser(settings.overlap if settings.workers else OverlapMode.OFF)
    dispatcher = Dispatcher(
        membership,
        open_connection,
        open_codec(row_type),
        scales=bundle.layer_scales,
        timeouts=Timeouts(settings.call_timeout_seconds, settings.worker_timeout_seconds),
        readiness=readiness,
        audit=settings.audit,
    )
    for address in settings.workers:
        health_monitor.watch(address)
    rebalancer = _start_rebalancer(bundle, settings, membership, takeover)
    return Cluster(membership, health_monitor, dispatcher, overlap, readiness, takeover, rebalancer)


def _start_rebalancer(
    bundle: Bundle, settings: ClusterSettings, membership: Membership, takeover: Takeover
) -> Rebalancer | None:
    if settings.rebalance_seconds is None:
        return None
    rebalancer = Rebalancer(
        membership,
        takeover,
        after_seconds=settings.rebalance_seconds,
        expert_bytes=bundle.expert_nbytes * bundle.config.layer_count,
    )
    rebalancer.start()
    return rebalancer


def _local_experts(bundle: Bundle, settings: ClusterSettings) -> LocalExperts | None:
    if not settings.local_ranges and not settings.spare_bytes:
        return None
    return LocalExperts(
        bundle, settings.local_ranges, device=settings.device, spare_bytes=settings.spare_bytes
    )


def _load_local(local: LocalExperts, settings: ClusterSettings, membership: Membership) -> None:
    if settings.local_ranges:
        _log.info("loading local experts %s", format_ranges(settings.local_ranges))
    backend = open_backend(settings.device, threads=settings.threads)
    local.load(backend, lambda worker: membership.admit(worker, asked_for=True))
