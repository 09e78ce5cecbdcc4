"""The tokens of a cluster do not depend on its network, and no more rows travel than have to."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import Cluster, connect
from jangtq_coordinator.cli.certs import make_certificates
from jangtq_coordinator.cli.command_settings import CertsSettings, parse_names
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.model.minimax import load_model
from jangtq_coordinator.model.overlap import OverlapMode
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.row_type import RowType
from tests.support.cluster_processes import start_worker
from tests.support.distant_workers import DistantWorker, distant_worker, other_loopback
from tests.support.forks import processes
from tests.support.mlx_generation import generate_step
from tests.support.network_hosts import BURST_BYTES, Host, can_make_hosts, network_hosts
from tests.support.slow_relay import CHUNK_BYTES, Slowness
from tests.support.small_bundles import SMALL

HALVES = ("0-15", "16-31")
TOKENS = 8
PROMPT = np.random.default_rng(5).integers(0, 32, 300).tolist()
MBIT = 10
ROW_BYTES = SMALL.hidden_size * 4
ROWS, SLOTS = 2048, 2
PICKED: NDArray[np.int32] = np.argsort(np.random.default_rng(1).random((ROWS, SMALL.expert_count)), axis=1)[
    :, :SLOTS
].astype(np.int32)


class Link(Protocol):
    """A way to a worker that counts its bytes."""

    @property
    def address(self) -> Address: ...

    def carried(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class HostLink:
    """The one of a worker on a host of its own."""

    address: Address
    host: Host

    def carried(self) -> tuple[int, int]:
        return self.host.carried()


@dataclass(frozen=True)
class Site:
    """Workers, on hosts of their own where there can be some, and what a coordinator needs to reach them."""

    bundle: Path
    workers: tuple[Address, ...]
    hosts: tuple[Host, ...]
    tls: Path | None = None

    def settings(self, links: Sequence[Link], transport: Transport) -> ClusterSettings:
        addresses = tuple(link.address for link in links)
        return ClusterSettings(self.bundle, addresses, transport=transport, unix_sockets=False, tls=self.tls)

    @contextmanager
    def distant(self, slowness: Slowness) -> Iterator[list[DistantWorker]]:
        """The same workers behind relays."""
        credentials = Credentials(self.tls, Role.COORDINATOR) if self.tls else None
        connection = ConnectionSettings(SMALL.hidden_size, 30, 60, credentials)
        with ExitStack() as stack:
            yield [
                stack.enter_context(distant_worker(worker, slowness, connection, host=other_loopback(number)))
                for number, worker in enumerate(self.workers)
            ]

    @contextmanager
    def links(self) -> Iterator[Sequence[Link]]:
        """The workers behind links without a limit."""
        if self.hosts:
            yield [HostLink(*pair) for pair in zip(self.workers, self.hosts, strict=True)]
            return
        with self.distant(Slowness()) as workers:
            yield workers

    @contextmanager
    def slow_links(self) -> Iterator[Sequence[Link]]:
        """Behind links that carry MBIT a second in each direction, which every one of them has to enforce."""
        if not self.hosts:
            with self.distant(Slowness(bytes_per_second=MBIT * 1e6 / 8)) as workers:
                yield workers
            return
        with ExitStack() as stack, self.links() as links:
            for host in self.hosts:
                stack.enter_context(host.limited(rate=f"{MBIT}mbit"))
            yield links
            assert all(device.overlimits() > 0 for host in self.hosts for device in (host.own, host.there))


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, ...]]:
    """None where they cannot be had: there workers listen at this machine's address, behind relays."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(network_hosts(len(HALVES)))) if can_make_hosts() else ()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def site(
    request: pytest.FixtureRequest,
    small_bundle: Path,
    hosts: tuple[Host, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    listen = [host.address for host in hosts] or ["127.0.0.1"] * len(HALVES)
    under = [host.under for host in hosts] or [()] * len(HALVES)
    folders = tmp_path_factory.mktemp("tls")
    if request.param:
        elsewhere = "+".join(dict.fromkeys(other_loopback(number) for number in range(len(HALVES))))
        names = ",".join(f"{address}+{elsewhere}" for address in dict.fromkeys(listen))
        make_certificates(CertsSettings(folders, parse_names(names)))
    with processes() as children:
        started = [
            start_worker(
                children,
                small_bundle,
                half,
                listen=f"{address}:0",
                options=["--tls", str(folders / f"worker-{address}")] if request.param else ["--insecure"],
                under=prefix,
            )
            for address, half, prefix in zip(listen, HALVES, under, strict=True)
        ]
        for worker in started:
            worker.ready()
        workers = tuple(parse_address(worker.listening()) for worker in started)
        yield Site(small_bundle, workers, hosts, folders / "coordinator" if request.param else None)


@contextmanager
def connected(settings: ClusterSettings) -> Iterator[Cluster]:
    cluster = connect(Bundle.open(settings.model), settings, row_type=RowType.FLOAT32)
    try:
        yield cluster
    finally:
        cluster.close()


def tokens_of(settings: ClusterSettings) -> list[int]:
    """The likeliest continuation."""
    with connected(settings) as cluster:
        bundle = Bundle.open(settings.model)
        model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32, cluster.overlap)
        return [int(token) for token, _ in generate_step(mx.array(PROMPT), model, max_tokens=TOKENS)]


@pytest.fixture(scope="module")
def expected(small_bundle: Path) -> list[int]:
    """What one process with all experts says."""
    return tokens_of(ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31")))


@pytest.fixture(params=Transport)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    """Each, and none that falls back to another."""
    if request.param is not Transport.GRPC:

        def refuse(connection: GrpcConnection, call: object) -> int:
            raise AssertionError(f"a call to {connection.address} goes over gRPC")

        monkeypatch.setattr(GrpcConnection, "send", refuse)
    found: Transport = request.param
    return found


@pytest.mark.parametrize("overlap", [OverlapMode.ON, OverlapMode.OFF])
@pytest.mark.parametrize("delay_ms", [1, 20])
def test_delay_changes_no_token(
    site: Site, expected: list[int], transport: Transport, delay_ms: int, overlap: OverlapMode
) -> None:
    with site.distant(Slowness(delay_ms / 1000)) as workers:
        before = [worker.express.sent for worker in workers]
        settings = site.settings(workers, transport)
        assert tokens_of(replace(settings, overlap=overlap)) == expected
        for worker, sent in zip(workers, before, strict=True):
            connection = worker.grpc if transport is Transport.GRPC else worker.express
            assert min(connection.sent, connection.returned) > TOKENS * ROW_BYTES
            assert (worker.express.sent > sent) == (transport is not Transport.GRPC)


@dataclass(frozen=True)
class Carried:
    """Bytes of one exchange over one link, and the seconds that the whole exchange took."""

    sent: int
    returned: int
    seconds: float


def exchange_rows(settings: ClusterSettings, links: Sequence[Link]) -> list[Carried]:
    """What ROWS rows with their PICKED experts cost, once the way is open."""
    x = np.random.default_rng(2).standard_normal((ROWS, SMALL.hidden_size)).astype(np.float32)
    weights = np.full(PICKED.shape, 1 / SLOTS, dtype=np.float32)
    with connected(settings) as cluster:
        cluster.dispatcher.forward(0, x[:1], expert_ids=PICKED[:1], router_weights=weights[:1])
        before = [link.carried() for link in links]
        began = time.perf_counter()
        cluster.dispatcher.forward(0, x, expert_ids=PICKED, router_weights=weights)
        seconds = time.perf_counter() - began
        after = [link.carried() for link in links]
    return [
        Carried(now[0] - then[0], now[1] - then[1], seconds) for then, now in zip(before, after, strict=True)
    ]


def test_10_mbit_a_second_change_no_token(site: Site, expected: list[int], transport: Transport) -> None:
    with site.slow_links() as links:
        settings = site.settings(links, transport)
        assert tokens_of(settings) == expected
        for link in exchange_rows(settings, links):
            at_once = BURST_BYTES if site.hosts else 2 * CHUNK_BYTES
            assert max(link.sent, link.returned) <= MBIT * 1e6 / 8 * link.seconds + at_once


def test_a_row_travels_once_to_each_worker_of_a_picked_expert_and_one_sum_back(
    site: Site, transport: Transport
) -> None:
    with site.links() as links:
        carried = exchange_rows(site.settings(links, transport), links)
    for half, link in enumerate(carried):
        asked = int(((PICKED // 16) == half).any(axis=1).sum())
        assert asked < 0.8 * ROWS
        # Six in a hundred for frames of every layer below, four bytes a row for the scale of its sum.
        assert asked * ROW_BYTES < link.sent < 1.06 * asked * (ROW_BYTES + SLOTS * 8)
        assert asked * ROW_BYTES < link.returned < 1.06 * asked * (ROW_BYTES + 4)
