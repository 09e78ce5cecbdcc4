"""A machine that sleeps in the middle of an answer, or whose address goes and comes back, goes on."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.model.minimax import load_model
from jangtq_proto.addresses import parse_address
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType
from tests.support.cluster_processes import start_worker
from tests.support.forks import processes
from tests.support.mlx_generation import generate_step
from tests.support.needs import require
from tests.support.network_hosts import NAMESPACES, Host, network_hosts

PROMPT = np.random.default_rng(5).integers(0, 32, 20).tolist()
TOKENS, BEFORE = 6, 2
SLEEP_SECONDS = 1.0


def tokens_of(settings: ClusterSettings, disturb: Callable[[], None]) -> list[int]:
    """The likeliest continuation; `disturb` is called once in the middle of it."""
    bundle = Bundle.open(settings.model)
    cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    try:
        model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32, cluster.overlap)
        found = []
        for token, _ in generate_step(mx.array(PROMPT), model, max_tokens=TOKENS):
            found.append(int(token))
            if len(found) == BEFORE:
                disturb()
        return found
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def expected(small_bundle: Path) -> list[int]:
    """What one process with all experts says."""
    return tokens_of(ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31")), lambda: None)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    require(NAMESPACES)
    with network_hosts(1) as (made,):
        yield made


def wake_later(wake: Callable[[], object]) -> None:
    threading.Timer(SLEEP_SECONDS, wake).start()


@pytest.mark.parametrize("transport", Transport)
def test_a_worker_that_sleeps_answers_when_it_wakes(
    transport: Transport, small_bundle: Path, expected: list[int]
) -> None:
    with processes() as children:
        child = start_worker(children, small_bundle, "0-31", options=["--keep-warm", "on"])
        child.ready()
        pid = child.process.pid

        def sleep() -> None:
            os.kill(pid, signal.SIGSTOP)
            wake_later(lambda: os.kill(pid, signal.SIGCONT))

        settings = ClusterSettings(
            small_bundle, (parse_address(child.listening()),), transport=transport, unix_sockets=False
        )
        assert tokens_of(settings, sleep) == expected


@pytest.mark.parametrize("transport", Transport)
def test_a_host_whose_address_goes_and_comes_back_is_found_again(
    transport: Transport, small_bundle: Path, expected: list[int], host: Host
) -> None:
    with processes() as children:
        options = ["--insecure"]
        listen = f"{host.address}:0"
        child = start_worker(children, small_bundle, "0-31", listen=listen, options=options, under=host.under)
        child.ready()
        address = (f"{host.address}/30", "dev", host.there.name)

        def move() -> None:
            host.there.run("ip", "address", "del", *address)
            wake_later(lambda: host.there.run("ip", "address", "add", *address))

        settings = ClusterSettings(
            small_bundle, (parse_address(child.listening()),), transport=transport, unix_sockets=False
        )
        assert tokens_of(settings, move) == expected
