"""A real cluster in which others load what a lost worker held, and give it back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import CallRejectedError, WorkerBusyError
from jangtq_proto.ranges import parse_ranges
from tests.support.cluster_processes import start_coordinator, start_worker
from tests.support.forks import processes
from tests.support.scripted_workers import HIDDEN
from tests.support.streamed_load import Load, Question

ROOM = ["--spare-gb", "0.001"]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with processes() as started:
        yield started


OWN = [("0-15", "serving")]


AFTER_LOSS = {
    "worker": [("0-31", "serving"), ("16-31", "lost")],
    "coordinator": [*OWN, ("16-31", "lost"), ("16-31", "serving")],
}


AFTER_RETURN = {
    "worker": [*OWN, ("16-31", "serving")],
    "coordinator": [*OWN, ("16-31", "serving"), ("", "serving")],
}


@pytest.mark.parametrize("helper", ["worker", "coordinator"])
async def test_somebody_takes_over_until_the_owner_is_back_and_running_answers_go_on(
    small_bundle: Path, children: Children, helper: str
) -> None:
    spare = {name: ROOM if name == helper else [] for name in ("worker", "coordinator")}
    worker = start_worker(children, small_bundle, "0-15", options=spare["worker"])
    other = start_worker(children, small_bundle, "16-31")
    addresses = [parse_address(one.listening()) for one in (worker, other)]
    options = ["--rebalance", "0.2", *spare["coordinator"]]
    coordinator = start_coordinator(children, small_bundle, addresses, options)
    coordinator.ready()
    prober = ControlClient(HIDDEN)
    alone = prober.ask(addresses[0], timeout_seconds=10)
    question = Question("Hello", 400)
    before, during = Load(coordinator.listening()), Load(coordinator.listening())
    await before.ask_each_once([question])
    asking = asyncio.create_task(during.ask_each_once([question]))
    while not during.arrivals:
        await asyncio.sleep(0)
    other.process.kill()
    await asking
    assert before.failures == during.failures == []
    assert during.answers == before.answers
    assert workers_of(coordinator) == AFTER_LOSS[helper]
    start_worker(children, small_bundle, "16-31", listen=str(addresses[1])).ready()
    meanwhile = Load(coordinator.listening())
    asking = asyncio.create_task(meanwhile.ask_until_over([question], 1))
    while workers_of(coordinator) != AFTER_RETURN[helper]:
        await asyncio.sleep(0.05)
    while (now := prober.ask(addresses[0], timeout_seconds=10)).weight_bytes != alone.weight_bytes:
        await asyncio.sleep(0.1)
    meanwhile.end()
    await asking
    assert meanwhile.failures == [] and set(meanwhile.answers[question]) == set(before.answers[question])
    assert (now.ranges, now.taken_over) == (alone.ranges, ())
    coordinator.stop(30)


def workers_of(coordinator: Child) -> list[tuple[str, str]]:
    workers = httpx.get(f"{coordinator.listening()}/cluster").json()["workers"]
    return [(held["experts"], held["state"]) for held in workers]


def test_a_worker_takes_over_no_more_than_it_has_room_for(small_bundle: Path, children: Children) -> None:
    narrow = start_worker(children, small_bundle, "0-3")
    narrow.ready()
    address, prober = parse_address(narrow.listening()), ControlClient(HIDDEN)
    with pytest.raises(CallRejectedError, match="the model has 0-31"):
        prober.take_over(address, parse_ranges("30-32"))
    with pytest.raises(WorkerBusyError, match="0 are left for more"):
        prober.take_over(address, parse_ranges("4-7"))
