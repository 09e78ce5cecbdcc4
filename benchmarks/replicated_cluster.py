"""The demo model on two workers that hold the middle experts both, for benchmarks that end one of them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.demo.processes import Child, Children

REPLICAS = ("0-255", "0-255")
HALVES = ("0-127", "128-255")
_PATIENCE_SECONDS: Final = 30


@dataclass
class ReplicatedCluster:
    """`workers` are those of the moment: `restart` puts a new process in the place of one that ended."""

    children: Children
    bundle: Path
    ranges: Sequence[str]
    options: Sequence[str] = ()
    worker_options: Sequence[str] = ()
    workers: list[Child] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    coordinator: Child | None = None

    @property
    def url(self) -> str:
        assert self.coordinator is not None
        return self.coordinator.listening()

    def kill(self, number: int) -> None:
        """As a power cut would."""
        self.workers[number].process.kill()
        self.workers[number].process.wait()

    def terminate(self, number: int) -> None:
        """As its owner would."""
        self.workers[number].stop(60)

    def drain(self, number: int) -> None:
        """Ask a worker nothing more."""
        self._tell("/cluster/workers/drain", number)

    def admit(self, number: int) -> None:
        """Let one in again that was drained."""
        self._tell("/cluster/workers", number)

    def restart(self, number: int) -> None:
        """At the same address; returns when it serves."""
        self.workers[number] = self._start(self.ranges[number], self.addresses[number])
        self.workers[number].ready()

    def start(self) -> None:
        self.workers = [self._start(held, "127.0.0.1:0") for held in self.ranges]
        self.addresses = [worker.listening() for worker in self.workers]
        for worker in self.workers:
            worker.ready()
        given = ["serve", "--model", str(self.bundle), "--workers", ",".join(self.addresses), "--port", "0"]
        self.coordinator = self.children.start(
            "coordinator", "jangtq_coordinator", [*given, "--stop-on-stdin-close", *self.options]
        )
        self.coordinator.ready()

    def _tell(self, path: str, number: int) -> None:
        """Again where the other worker is not back yet, so that this one cannot be spared."""
        url, body = f"{self.url}{path}", {"worker": self.addresses[number]}
        end = time.monotonic() + _PATIENCE_SECONDS
        while (reply := httpx.post(url, json=body, timeout=30)).status_code == HTTPStatus.CONFLICT:
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was refused for {_PATIENCE_SECONDS} seconds: {reply.text}")
            time.sleep(0.2)
        reply.raise_for_status()

    def _start(self, held: str, listen: str) -> Child:
        given = ["--model", str(self.bundle), "--experts", held, "--listen", listen]
        return self.children.start(
            f"worker {held}",
            "jangtq_worker",
            [*given, "--threads", "1", "--stop-on-stdin-close", *self.worker_options],
        )


@contextmanager
def replicated_cluster(
    ranges: Sequence[str], options: Sequence[str] = (), worker_options: Sequence[str] = ()
) -> Iterator[ReplicatedCluster]:
    """Running for as long as the block lasts; `options` are the coordinator's."""
    with Children() as children:
        cluster = ReplicatedCluster(children, demo_model(), ranges, options, worker_options)
        cluster.start()
        yield cluster
