"""A running cluster whose worker is killed, as clients see it: real processes, one sole worker each."""

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_proto.addresses import Address, parse_address
from tests.support.cluster_processes import run_coordinator, start_coordinator, start_worker
from tests.support.forks import processes

ENDLESS = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "ignore_eos": True}


@dataclass
class Running:
    """A coordinator over two workers, the second of which a test may end and start again."""

    children: Children
    bundle: Path
    url: str
    second: Child
    address: Address

    def restart(self) -> None:
        self.second = start_worker(self.children, self.bundle, "128-255", listen=str(self.address))
        self.second.ready()

    def kill(self) -> None:
        self.second.process.kill()
        self.second.process.wait()


@pytest.fixture(scope="module")
def running(demo_bundle: Path) -> Iterator[Running]:
    with processes() as children:
        workers = [start_worker(children, demo_bundle, experts) for experts in ("0-127", "128-255")]
        addresses = [parse_address(worker.listening()) for worker in workers]
        coordinator = start_coordinator(children, demo_bundle, addresses)
        coordinator.ready()
        yield Running(children, demo_bundle, coordinator.listening(), workers[1], addresses[1])


class Stream(threading.Thread):
    """A streamed answer, read beside the test."""

    def __init__(self, url: str, max_tokens: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._body = ENDLESS | {"max_tokens": max_tokens, "stream": True}
        self.text = ""
        self.errors: list[object] = []
        self.pieces = 0
        self.start()

    def run(self) -> None:
        with httpx.stream("POST", f"{self._url}/v1/chat/completions", json=self._body, timeout=120) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, chunk: dict[str, object]) -> None:
        if "error" in chunk:
            self.errors.append(chunk["error"])
        for choice in chunk.get("choices", ()):  # type: ignore[attr-defined]
            delta = choice["delta"]
            self.text += (delta.get("content") or "") + (delta.get("reasoning_content") or "")
            self.pieces += 1


def test_answers_and_new_requests_wait_for_a_lost_worker_and_go_on_when_it_is_back(running: Running) -> None:
    undisturbed = Stream(running.url, max_tokens=300)
    undisturbed.join(100)
    stream = Stream(running.url, max_tokens=300)
    while stream.pieces < 5:
        assert stream.is_alive()
    running.kill()
    health = httpx.get(f"{running.url}/health")
    while health.status_code == 200:
        health = httpx.get(f"{running.url}/health")
    assert health.json()["status"] == "degraded"
    assert health.json()["cluster"]["uncovered_experts"] == "128-255"
    assert str(running.address) in health.json()["cluster"]["away"]
    late = Stream(running.url, max_tokens=300)
    assert stream.is_alive()
    running.restart()
    stream.join(100)
    late.join(100)
    assert (stream.errors, stream.text) == (late.errors, late.text) == ([], undisturbed.text)
    assert httpx.get(f"{running.url}/health").status_code == 200


def test_a_worker_is_drained_upgraded_and_added_while_an_answer_runs(running: Running) -> None:
    undisturbed = Stream(running.url, max_tokens=400)
    undisturbed.join(100)
    third = start_worker(running.children, running.bundle, "100-255")
    third.ready()
    stream = Stream(running.url, max_tokens=400)
    while stream.pieces < 5:
        assert stream.is_alive()
    refused = command("drain", running.address, running.url)
    assert refused.returncode == 2
    assert f"worker {running.address} alone serves experts 128-255" in refused.stderr
    for name, worker, words in (
        ("add", third.listening(), "with experts 100-255 is serving"),
        ("drain", running.address, "with experts 128-255 is draining"),
    ):
        done = command(name, worker, running.url)
        assert (done.returncode, words in done.stdout) == (0, True), done.stderr
    running.second.process.terminate()
    assert running.second.process.wait(60) == 0
    running.restart()
    assert command("add", running.address, running.url).returncode == 0
    third.process.terminate()
    stream.join(100)
    assert (stream.errors, stream.text) == ([], undisturbed.text)
    states = {h["name"]: h["state"] for h in httpx.get(f"{running.url}/cluster").json()["workers"]}
    assert states[str(running.address)] == "serving"


def command(name: str, worker: object, url: str) -> subprocess.CompletedProcess[str]:
    return run_coordinator(name, str(worker), "--url", url)
