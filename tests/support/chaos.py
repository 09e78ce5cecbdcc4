"""What may happen to workers of a running cluster, and how their tests make it happen, seed by seed."""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.errors import WorkerBusyError
from jangtq_proto.ranges import parse_ranges
from tests.support.cluster_processes import start_worker
from tests.support.connection_answers import CallConnection
from tests.support.harmful_relay import Harm, HarmfulRelay
from tests.support.leaping_clock import Clock, seconds_ahead
from tests.support.network_hosts import Host
from tests.support.scripted_workers import HIDDEN, some_call

NARROW = ("--max-calls", "1")
HARM_SECONDS = 1.5
DAY_SECONDS = 86_400
SLOW_LINK = "1mbit"


@dataclass
class Worker:
    """One that may be ended and started again at its address, on a host of its own or behind a relay."""

    children: Children
    bundle: Path
    experts: str
    clock: Clock | None = None
    host: Host | None = None

    def __post_init__(self) -> None:
        self.child = self._start(f"{self.host.address if self.host else '127.0.0.1'}:0")
        self.address = parse_address(self.child.listening())
        self._relay = None if self.host else HarmfulRelay(self.address)

    @property
    def reached_at(self) -> Address:
        """By the coordinator."""
        return self._relay.address if self._relay else self.address

    @property
    def relay(self) -> HarmfulRelay:
        assert self._relay is not None
        return self._relay

    def restart(self) -> None:
        self.child = self._start(str(self.address))
        self.child.ready()

    def signal(self, number: signal.Signals) -> None:
        self.child.process.send_signal(number)

    def close(self) -> None:
        if self._relay:
            self._relay.close()

    def _start(self, listen: str) -> Child:
        under = (*(self.host.under if self.host else ()), *(self.clock.under if self.clock else ()))
        options = (*NARROW, *(("--insecure",) if self.host else ()))
        return start_worker(
            self.children, self.bundle, self.experts, listen=listen, options=options, under=under
        )


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
    clock: Clock | None = None

    def wait_until_whole(self) -> None:
        """Until every worker serves again; one that was put in quarantine is let in as its owner would."""
        end = time.monotonic() + 60
        while True:
            away = [h for h in httpx.get(f"{self.url}/cluster").json()["workers"] if h["state"] != "serving"]
            if not away:
                return
            assert time.monotonic() < end, away
            for worker in away:
                if worker["state"] == "quarantined":
                    httpx.post(f"{self.url}/cluster/workers", json={"worker": worker["name"]})
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
        time.sleep(HARM_SECONDS)
        worker.signal(signal.SIGCONT)

    def leap(self, worker: Worker) -> None:
        """Somebody sets the clocks a day forward and two days back while everybody works."""
        clocks = [clock for clock in (self.clock, worker.clock) if clock]
        for ahead in (DAY_SECONDS, -DAY_SECONDS, 0):
            for clock in clocks:
                clock.set(ahead)
            end = time.monotonic() + 60
            while abs(seconds_ahead(f"{self.url}/health") - ahead) > DAY_SECONDS / 2:
                assert time.monotonic() < end, "the coordinator has no leaping clock"
                time.sleep(0.1)

    def unplug(self, worker: Worker) -> None:
        assert worker.host
        with worker.host.unplugged():
            time.sleep(HARM_SECONDS)

    def narrow(self, worker: Worker) -> None:
        assert worker.host
        with worker.host.limited(rate=SLOW_LINK):
            time.sleep(HARM_SECONDS)

    def harm(self, harm: Harm) -> Event:
        def act(worker: Worker) -> None:
            with worker.relay.doing(harm):
                time.sleep(HARM_SECONDS)

        act.__name__ = harm.value
        return act

    def crowd(self, worker: Worker) -> None:
        """Somebody else asks the worker for so much that it pushes back."""
        connection = CallConnection(GrpcConnection(worker.address, ConnectionSettings(HIDDEN, 10, 30)))
        end = time.monotonic() + 1.0
        call = some_call(rows=1024)
        held = np.full_like(call.expert_ids, parse_ranges(worker.experts)[0].first)
        call = replace(call, expert_ids=held)
        while time.monotonic() < end:
            with contextlib.suppress(WorkerBusyError):
                connection.receive(connection.send(call))
        connection.close()

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
