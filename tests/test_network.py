"""The tokens of a cluster do not depend on its network, and no more rows travel than have to."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from cluster_processes import running_workers, start_worker
from network_hosts import can_make_hosts, network_hosts
from slow_relay import Relay, Slowness, relay_to
from small_bundles import SMALL

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.children import Children
from jangtq_coordinator.cluster import connect
from jangtq_coordinator.mlx_lm_import import generate_step
from jangtq_coordinator.model import load_model
from jangtq_coordinator.overlap import OverlapMode
from jangtq_coordinator.settings import ClusterSettings, Transport
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.codec import RowType
from jangtq_proto.ranges import parse_ranges

HALVES = ("0-15", "16-31")
TOKENS = 8
PROMPT = np.random.default_rng(5).integers(0, 32, 300).tolist()
RATE = "10mbit"


def tokens_of(bundle: Bundle, settings: ClusterSettings) -> list[int]:
    """The likeliest continuation."""
    cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    try:
        model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32, cluster.overlap)
        return [int(token) for token, _ in generate_step(mx.array(PROMPT), model, max_tokens=TOKENS)]
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def expected(small_bundle: Path) -> list[int]:
    """What one process with all experts says."""
    local = ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31"))
    return tokens_of(Bundle.open(small_bundle), local)


@pytest.fixture(scope="module")
def workers(small_bundle: Path) -> Iterator[tuple[Address, ...]]:
    with running_workers(small_bundle, HALVES) as addresses:
        yield addresses


@contextmanager
def relays(workers: tuple[Address, ...], slowness: Slowness) -> Iterator[list[Relay]]:
    with ExitStack() as stack:
        yield [stack.enter_context(relay_to(worker, slowness)) for worker in workers]


@pytest.mark.parametrize("overlap", [OverlapMode.ON, OverlapMode.OFF])
@pytest.mark.parametrize("delay_ms", [1, 20])
def test_delay_changes_no_token(
    small_bundle: Path,
    expected: list[int],
    workers: tuple[Address, ...],
    delay_ms: int,
    overlap: OverlapMode,
) -> None:
    with relays(workers, Slowness(delay_ms / 1000)) as between:
        addresses = tuple(relay.address for relay in between)
        settings = ClusterSettings(small_bundle, addresses, unix_sockets=False, overlap=overlap)
        assert tokens_of(Bundle.open(small_bundle), settings) == expected
        assert all(relay.returned for relay in between)


@contextmanager
def slow_network(bundle: Path, workers: tuple[Address, ...]) -> Iterator[tuple[Address, ...]]:
    """Workers behind 10 Mbit/s: on hosts of their own, or else behind relays."""
    if not can_make_hosts():
        with relays(workers, Slowness(bytes_per_second=10e6 / 8)) as between:
            yield tuple(relay.address for relay in between)
        return
    with network_hosts(len(HALVES), rate=RATE) as hosts, Children() as children:
        started = [
            start_worker(
                children,
                bundle,
                half,
                listen=f"{host.address}:0",
                options=["--insecure"],
                under=host.under,
            )
            for host, half in zip(hosts, HALVES, strict=True)
        ]
        for worker in started:
            worker.ready()
        yield tuple(parse_address(worker.listening()) for worker in started)


def test_10_mbit_a_second_change_no_token(
    small_bundle: Path, expected: list[int], workers: tuple[Address, ...]
) -> None:
    with slow_network(small_bundle, workers) as addresses:
        for transport in Transport:
            settings = ClusterSettings(small_bundle, addresses, transport=transport, unix_sockets=False)
            assert tokens_of(Bundle.open(small_bundle), settings) == expected


def test_a_row_travels_once_to_each_holder_of_a_picked_expert_and_one_sum_back(
    small_bundle: Path, workers: tuple[Address, ...]
) -> None:
    rows, slots = 2048, 2
    random = np.random.default_rng(1)
    ids = np.argsort(random.random((rows, SMALL.expert_count)), axis=1)[:, :slots].astype(np.int32)
    x = random.standard_normal((rows, SMALL.hidden_size)).astype(np.float32)
    weights = np.full((rows, slots), 1 / slots, dtype=np.float32)
    bundle = Bundle.open(small_bundle)
    with relays(workers, Slowness()) as between:
        addresses = tuple(relay.address for relay in between)
        settings = ClusterSettings(small_bundle, addresses, unix_sockets=False)
        cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
        try:
            cluster.dispatcher.forward(0, x[:1], expert_ids=ids[:1], router_weights=weights[:1])
            before = [(relay.sent, relay.returned) for relay in between]
            cluster.dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
            after = [(relay.sent, relay.returned) for relay in between]
        finally:
            cluster.close()
    row_bytes, own_bytes = SMALL.hidden_size * 4, slots * 8
    for half, (there, back), (sent, returned) in zip((0, 1), before, after, strict=True):
        asked = int(((ids // 16) == half).any(axis=1).sum())
        assert asked < 0.8 * rows
        # Two in a hundred for frames of every layer below, four bytes a row for the scale of its sum.
        assert asked * row_bytes < sent - there < 1.02 * asked * (row_bytes + own_bytes)
        assert asked * row_bytes < returned - back < 1.02 * asked * (row_bytes + 4)
