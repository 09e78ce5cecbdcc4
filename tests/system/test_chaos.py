"""Fifty streams while workers are killed, frozen, stopped, cut off, slowed and damaged, one after the other.

Every expert always has a worker, so no request may fail and no token may differ. Times to recover are told.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from tests.support.chaos import Chaos, Event, Worker
from tests.support.cluster_processes import start_coordinator
from tests.support.forks import processes
from tests.support.harmful_relay import Harm
from tests.support.leaping_clock import Clock, build_library, can_leap
from tests.support.needs import require
from tests.support.network_hosts import NAMESPACES, network_hosts
from tests.support.products import part
from tests.support.small_bundles import dense_model
from tests.support.small_checkpoints import Sizes
from tests.support.streamed_load import Load, Question

STREAMS = 50
RANGES = ("0-19", "12-31", "0-11,20-31")
QUESTIONS = [Question(f"{word}?", 24 + 7 * i, seed=i if i % 2 else None) for i, word in enumerate("abcdefgh")]


@pytest.fixture(scope="module")
def layered_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of 32 experts, so that a pass has several exchanges."""
    path: Path = tmp_path_factory.mktemp("layered") / "bundle"
    sizes = Sizes(
        32, hidden_size=64, intermediate_size=32, layer_count=3, head_count=2, key_value_head_count=1
    )
    write_bundle(path, dense_model(sizes), WriteOptions("layered"))
    return path


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> list[Clock | None]:
    """One for each worker, and the coordinator's."""
    if not can_leap():
        return [None] * (len(RANGES) + 1)
    library = build_library(tmp_path_factory.mktemp("clocks"))
    return [Clock(library, str(number)) for number in range(len(RANGES) + 1)]


@pytest.fixture(scope="module")
def workers(layered_bundle: Path, clocks: list[Clock | None]) -> Iterator[list[Worker]]:
    """Any one of them can be missed."""
    with processes() as children:
        found = [Worker(children, layered_bundle, e, clock) for e, clock in zip(RANGES, clocks, strict=False)]
        for worker in found:
            worker.child.ready()
        yield found
        for worker in found:
            worker.close()


@pytest.fixture(scope="module")
def far_workers(layered_bundle: Path) -> Iterator[list[Worker]]:
    """The same, each on a host of its own."""
    require(NAMESPACES)
    with network_hosts(len(RANGES)) as hosts, processes() as children:
        found = [
            Worker(children, layered_bundle, held, host=host)
            for held, host in zip(RANGES, hosts, strict=True)
        ]
        for worker in found:
            worker.child.ready()
        yield found


@contextlib.contextmanager
def chaos_over(transport: str, workers: list[Worker], clock: Clock | None = None) -> Iterator[Chaos]:
    options = ["--transport", transport, "--no-unix-sockets", "--batch-size", str(STREAMS)]
    addresses = [worker.reached_at for worker in workers]
    under = clock.under if clock else ()
    with processes() as children:
        coordinator = start_coordinator(children, workers[0].bundle, addresses, options, under=under)
        coordinator.ready()
        yield Chaos(coordinator.listening(), workers, clock)


async def disturb(chaos: Chaos, events: Sequence[Event], *, seed: int) -> str:
    """Whatever happens, all streams must go on as if nothing did; returns the metrics."""
    undisturbed, load = Load(chaos.url), Load(chaos.url)
    await undisturbed.ask_each_once(QUESTIONS)
    asking = asyncio.create_task(load.ask_until_over(QUESTIONS, STREAMS))
    while not load.arrivals:
        await asyncio.sleep(0.01)
    disturbances = await asyncio.to_thread(chaos.run, events, seed=seed)
    load.end()
    await asking
    for one in disturbances:
        gap = load.longest_gap(one.began, one.ended)
        print(f"{one.event}: nothing for {gap:.2f} s, whole after {one.ended - one.began:.2f} s")
    assert undisturbed.failures == load.failures == []
    assert set(load.answers) == set(undisturbed.answers) == set(QUESTIONS)
    for question, answers in load.answers.items():
        assert set(answers) == set(undisturbed.answers[question])
    return httpx.get(f"{chaos.url}/metrics").text


@pytest.mark.parametrize("transport", part(["grpc"], whole=["grpc", "express"]))
async def test_no_request_fails_and_no_token_differs_while_every_expert_has_a_worker(
    workers: list[Worker], clocks: list[Clock | None], transport: str
) -> None:
    """The relays are not in the way of the express transport's calls, but of what is said besides them."""
    with chaos_over(transport, workers, clocks[-1]) as chaos:
        events: list[Event] = [chaos.kill, chaos.terminate, chaos.freeze, chaos.crowd]
        if can_leap():
            events.append(chaos.leap)
        if transport == "grpc":
            events += map(chaos.harm, (Harm.CUT, Harm.SLOW, Harm.DAMAGE))
        told = await disturb(chaos, events, seed=6)
    for kind in ("failovers", "losses", "returns", "pushbacks"):
        assert f'jangtq_cluster_events_total{{kind="{kind}"}} 0.0' not in told
    assert transport != "grpc" or sum(worker.relay.damaged for worker in workers) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces; above, relays stand in")
@pytest.mark.parametrize("transport", part(["express"], whole=["grpc", "express"]))
async def test_nor_when_cables_are_pulled_and_links_are_slow(
    far_workers: list[Worker], transport: str
) -> None:
    with chaos_over(transport, far_workers) as chaos:
        told = await disturb(chaos, [chaos.unplug, chaos.narrow, chaos.kill], seed=7)
    assert 'jangtq_cluster_events_total{kind="losses"} 0.0' not in told
