"""Workers that are asked to stop under load: nobody misses them, and nothing is asked twice."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address, parse_address
from tests.support.cluster_processes import start_coordinator, start_worker
from tests.support.connection_answers import CallConnection
from tests.support.forks import processes
from tests.support.scripted_workers import HIDDEN, some_call
from tests.support.streamed_load import Load, Question

QUESTIONS = [Question(f"{word}?", 40 + 10 * i) for i, word in enumerate("abcd")]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with processes() as started:
        yield started


def start(children: Children, bundle: Path, listen: str = "127.0.0.1:0") -> tuple[Child, Address]:
    worker = start_worker(children, bundle, "0-31", listen=listen)
    worker.ready()
    return worker, parse_address(worker.listening())


def events(url: str) -> dict[str, float]:
    """What the cluster counted, by kind."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    told = (line.split() for line in lines if line.startswith("jangtq_cluster_events_total{"))
    return {name.split('"')[1]: float(value) for name, value in told}


def all_serve(url: str) -> bool:
    return {held["state"] for held in httpx.get(f"{url}/cluster").json()["workers"]} == {"serving"}


@pytest.mark.parametrize("transport", ["grpc", "express"])
async def test_nobody_misses_a_worker_that_is_asked_to_stop(
    children: Children, small_bundle: Path, transport: str
) -> None:
    workers = [start(children, small_bundle) for _ in range(2)]
    leaving, address = workers[0]
    options = ["--transport", transport]
    coordinator = start_coordinator(children, small_bundle, [a for _, a in workers], options)
    coordinator.ready()
    url = coordinator.listening()
    before, during = Load(url), Load(url)
    await before.ask_each_once(QUESTIONS)
    asking = asyncio.create_task(during.ask_until_over(QUESTIONS, 8))
    while not during.arrivals:
        await asyncio.sleep(0)
    for _ in range(3):
        since = events(url)
        leaving.process.terminate()
        assert await asyncio.to_thread(leaving.process.wait, 60) == 0
        leaving, _ = await asyncio.to_thread(start, children, small_bundle, str(address))
        while not all_serve(url):
            await asyncio.sleep(0.05)
        counted = {kind: count - since[kind] for kind, count in events(url).items()}
        if not counted["losses"]:  # else the other one was too late, on a machine as busy as that
            break
    during.end()
    await asking
    assert before.failures == during.failures == []
    assert all(set(given) == set(before.answers[asked]) for asked, given in during.answers.items())
    assert {kind: counted[kind] for kind in ("departures", "returns")} == {"departures": 1, "returns": 1}
    assert not any(counted[kind] for kind in ("losses", "failovers", "retries", "faults", "pauses")), counted
    coordinator.stop(30)


def test_a_worker_that_leaves_answers_until_nobody_asks_and_a_second_signal_ends_it(
    children: Children, small_bundle: Path
) -> None:
    worker, address = start(children, small_bundle)
    connection = CallConnection(GrpcConnection(address, ConnectionSettings(HIDDEN, 10, 30)))
    connection.receive(connection.send(some_call()))
    worker.process.terminate()
    while not ControlClient(HIDDEN).ask(address, timeout_seconds=10).leaving:
        time.sleep(0.01)
    for _ in range(3):
        connection.receive(connection.send(some_call()))
    worker.process.send_signal(signal.SIGINT)
    assert worker.process.wait(60) == -signal.SIGINT
    connection.close()


def test_a_worker_whose_streams_are_silent_stops_by_itself(children: Children, small_bundle: Path) -> None:
    worker, address = start(children, small_bundle)
    connection = CallConnection(GrpcConnection(address, ConnectionSettings(HIDDEN, 10, 30)))
    connection.receive(connection.send(some_call()))
    worker.process.terminate()
    assert worker.process.wait(60) == 0
    connection.close()
