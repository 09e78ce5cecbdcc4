"""Fifty streams while workers are killed, frozen, stopped, cut off, slowed and damaged, one after the other.

Every expert always has a holder, so no request may fail and no token may differ. Times to recover are told.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from cluster_processes import start_coordinator, start_worker
from harmful_relay import Harm, HarmfulRelay
from scripted_workers import HIDDEN, some_call
from small_bundles import dense_model
from small_checkpoints import Sizes
from streamed_load import Load, Question

from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writer import write_bundle
from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.codec import RowType
from jangtq_proto.errors import WorkerBusyError
from jangtq_proto.ranges import parse_ranges

STREAMS = 50
NARROW = ("--max-calls", "1")
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


@dataclass
class Worker:
    """One that may be ended and started again at its address; others reach it over the relay."""

    children: Children
    bundle: Path
    experts: str
    child: Child
    address: Address
    relay: HarmfulRelay

    def restart(self) -> None:
        listen = str(self.address)
        self.child = start_worker(self.children, self.bundle, self.experts, listen=listen, options=NARROW)
        self.child.ready()

    def signal(self, number: signal.Signals) -> None:
        self.child.process.send_signal(number)


Event = Callable[[Worker], None]


@dataclass(frozen=True)
class Disturbance:
    """An event, and when it was over and the cluster whole again, of time.monotonic."""

    event: str
    began: float
    ended: float


@dataclass
class Chaos:
    """A coordinator over workers of which any one can be missed."""

    url: str
    workers: list[Worker]

    def wait_until_whole(self) -> None:
        """Until every worker serves again; one that was put in quarantine is let in as its owner would."""
        end = time.monotonic() + 60
        while True:
            away = [h for h in httpx.get(f"{self.url}/cluster").json()["holders"] if h["state"] != "serving"]
            if not away:
                return
            assert time.monotonic() < end, away
            for holder in away:
                if holder["state"] == "quarantined":
                    httpx.post(f"{self.url}/cluster/workers", json={"worker": holder["name"]})
            time.sleep(0.02)

    def kill(self, worker: Worker) -> None:
        worker.signal(signal.SIGKILL)
        worker.child.process.wait()
        worker.restart()

    def terminate(self, worker: Worker) -> None:
        worker.signal(signal.SIGTERM)
        assert worker.child.process.wait(60) == 0
        worker.restart()

    def freeze(self, worker: Worker) -> None:
        worker.signal(signal.SIGSTOP)
        time.sleep(1.5)
        worker.signal(signal.SIGCONT)

    def harm(self, harm: Harm) -> Event:
        def act(worker: Worker) -> None:
            with worker.relay.doing(harm):
                time.sleep(1.5)

        act.__name__ = harm.value
        return act

    def crowd(self, worker: Worker) -> None:
        """Somebody else asks the worker for so much that it pushes back."""
        lane = GrpcLane(worker.address, LaneSettings(HIDDEN, RowType.FLOAT32, 10, 30))
        end = time.monotonic() + 1.0
        call = some_call(rows=1024)
        held = np.full_like(call.expert_ids, parse_ranges(worker.experts)[0].first)
        call = replace(call, expert_ids=held)
        while time.monotonic() < end:
            with contextlib.suppress(WorkerBusyError):
                lane.receive(lane.send(call))
        lane.close()

    def run(self, events: Sequence[Event], *, seed: int) -> list[Disturbance]:
        """Every event once, in an order and of workers that the seed gives."""
        chance = random.Random(seed)
        told = []
        for event in chance.sample(events, len(events)):
            time.sleep(chance.uniform(0.05, 0.3))
            began = time.monotonic()
            event(chance.choice(self.workers))
            self.wait_until_whole()
            told.append(Disturbance(event.__name__, began, time.monotonic()))
        return told


@pytest.fixture(scope="module")
def workers(layered_bundle: Path) -> Iterator[list[Worker]]:
    with Children() as children:
        started = [start_worker(children, layered_bundle, e, options=NARROW) for e in RANGES]
        found = []
        for experts, child in zip(RANGES, started, strict=True):
            child.ready()
            address = parse_address(child.listening())
            found.append(Worker(children, layered_bundle, experts, child, address, HarmfulRelay(address)))
        yield found
        for worker in found:
            worker.relay.close()


@contextlib.contextmanager
def chaos_over(transport: str, workers: list[Worker]) -> Iterator[Chaos]:
    options = ["--transport", transport, "--no-unix-sockets", "--batch-size", str(STREAMS)]
    addresses = [worker.relay.address for worker in workers]
    with Children() as children:
        coordinator = start_coordinator(children, workers[0].bundle, addresses, options)
        coordinator.ready()
        yield Chaos(coordinator.listening(), workers)


@pytest.mark.parametrize("transport", ["grpc", "express"])
async def test_no_request_fails_and_no_token_differs_while_every_expert_has_a_holder(
    workers: list[Worker], transport: str
) -> None:
    """The relays are not in the way of the express lane's calls, but of what is said besides them."""
    with chaos_over(transport, workers) as chaos:
        undisturbed, load = Load(chaos.url), Load(chaos.url)
        await undisturbed.ask_each_once(QUESTIONS)
        asking = asyncio.create_task(load.ask_until_over(QUESTIONS, STREAMS))
        while not load.arrivals:
            await asyncio.sleep(0.01)
        events: list[Event] = [chaos.kill, chaos.terminate, chaos.freeze, chaos.crowd]
        if transport == "grpc":
            events += map(chaos.harm, (Harm.CUT, Harm.SLOW, Harm.DAMAGE))
        disturbances = await asyncio.to_thread(chaos.run, events, seed=6)
        load.end()
        await asking
        told = httpx.get(f"{chaos.url}/metrics").text
    for one in disturbances:
        gap = load.longest_gap(one.began, one.ended)
        print(f"{transport}, {one.event}: nothing for {gap:.2f} s, whole after {one.ended - one.began:.2f} s")
    assert undisturbed.failures == load.failures == []
    assert set(load.answers) == set(undisturbed.answers) == set(QUESTIONS)
    for question, answers in load.answers.items():
        assert set(answers) == set(undisturbed.answers[question])
    for kind in ("failovers", "losses", "returns", "pushbacks"):
        assert f'jangtq_cluster_events_total{{kind="{kind}"}} 0.0' not in told
    assert transport != "grpc" or sum(worker.relay.damaged for worker in workers) > 0
