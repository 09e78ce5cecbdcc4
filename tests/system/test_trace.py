"""Traces of real requests over real workers: whole, for holders of keys only, and what the metrics say."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jangtq_coordinator.api.http.api_keys import add_key
from jangtq_coordinator.cli.command_settings import KEY_VARIABLE
from jangtq_coordinator.metrics.layer_times import STAGES
from jangtq_coordinator.metrics.trace_events import ENGINE, REQUESTS, Trace
from jangtq_proto.addresses import Address
from tests.support.cluster_processes import run_coordinator, running_workers, start_coordinator
from tests.support.forks import processes
from tests.support.trace_checks import durations, layers_of, read_trace

HISTOGRAM = "jangtq_layer_stage_seconds"
RANGES = ("0-99", "100-179", "180-255")
PROMPT = "Explain why the sky is blue, and why it is red in the evening."


@dataclass(frozen=True)
class Server:
    """One that asks for a key."""

    url: str
    key: str
    halves: bool

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def stage_sums(self) -> dict[str, tuple[int, float]]:
        """How many layers each stage's histogram has counted, and their microseconds."""
        text = httpx.get(f"{self.url}/metrics", headers=self.headers).text
        by_name = {
            (sample.name, sample.labels["stage"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if family.name == HISTOGRAM
        }
        return {
            stage: (int(by_name[f"{HISTOGRAM}_count", stage]), by_name[f"{HISTOGRAM}_sum", stage] * 1e6)
            for stage in STAGES
        }


@pytest.fixture(scope="module")
def workers(demo_bundle: Path) -> Iterator[tuple[Address, ...]]:
    with running_workers(demo_bundle, RANGES) as addresses:
        yield addresses


@pytest.fixture(scope="module", params=[("grpc", "on"), ("express", "off")], ids="-overlap-".join)
def server(
    request: pytest.FixtureRequest,
    demo_bundle: Path,
    workers: tuple[Address, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    key = add_key(keys, "me")
    transport, overlap = request.param
    options = ["--transport", transport, "--overlap", overlap, "--api-keys", str(keys)]
    with processes() as children:
        coordinator = start_coordinator(children, demo_bundle, workers, options)
        coordinator.ready()
        yield Server(coordinator.listening(), key, halves=overlap == "on")
        fallbacks = [line for line in coordinator.lines if "using gRPC" in line]
        connections = [line for line in coordinator.lines if "express transport over" in line]
    assert (len(connections), fallbacks) == (len(RANGES) if transport == "express" else 0, [])


def ask(server: Server, *, choices: int = 1) -> str:
    """The id of a request that was answered."""
    body = {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 6,
        "temperature": 0,
        "n": choices,
    }
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=server.headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-request-id"])


def save(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Trace:
    """What `jangtq-coord trace` writes for a user whose key is in the environment."""
    monkeypatch.setenv(KEY_VARIABLE, server.key)
    done = run_coordinator("trace", "--url", server.url, "-o", str(file), *options)
    assert done.returncode == 0, done.stderr
    return read_trace(file)


def test_a_trace_and_the_metrics_tell_the_same_of_every_stage(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server.stage_sums()
    request = ask(server)
    after = server.stage_sums()
    trace = save(server, tmp_path / "trace.json", monkeypatch, "--request", request)
    layers = layers_of(trace)
    counted = {stage: after[stage][0] - before[stage][0] for stage in STAGES}
    microseconds = {stage: after[stage][1] - before[stage][1] for stage in STAGES}
    assert counted == dict.fromkeys(STAGES, len(layers))
    assert all(
        microseconds[stage] > 0 for stage in ("attention", "encode", "wire", "compute", "decode", "reduce")
    )
    rounding = 0.25 * len(layers)
    for stage in ("attention", "encode", "reduce"):
        assert sum(parts[stage]["dur"] for _, parts in layers) == pytest.approx(
            microseconds[stage], abs=rounding
        )
    waited = sum(float(str(parts["exchange"]["args"]["waited us"])) for _, parts in layers)
    explained = sum(microseconds[stage] for stage in ("wire", "queue", "compute", "decode"))
    assert waited == pytest.approx(explained, abs=1)
    # Halves of a pass stand on two tracks, and layers of one follow each other.
    passes = durations(trace, ENGINE, "prefill pass") + durations(trace, ENGINE, "decode pass")
    assert sum(microseconds.values()) <= sum(passes) <= sum(durations(trace, REQUESTS, "request"))
    workers = httpx.get(f"{server.url}/cluster", headers=server.headers).json()["workers"]
    slowest = {parts["exchange"]["args"]["slowest worker"] for _, parts in layers}
    assert slowest <= {worker["name"] for worker in workers}
    tracks = {event["tid"] for event, _ in layers}
    assert tracks == ({1, 2} if server.halves else {1})


def test_a_trace_has_every_choice_of_a_request(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(server)
    request = ask(server, choices=3)
    trace = save(server, tmp_path / "trace.json", monkeypatch, "--request", request)
    spans = [event for event in trace["traceEvents"] if event["name"] == "request"]
    assert [event["args"]["id"] for event in spans] == [request] * 3
    coverage = trace["otherData"]["coverage"]
    assert [one["what"] for one in coverage] == [f"request {request} ({i} of 3)" for i in (1, 2, 3)]
    assert all(one["passes"] == one["with_layers"] >= 6 for one in coverage)


def test_a_trace_is_for_holders_of_a_key(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, message in (
        (None, f"no API key: put one in the environment variable {KEY_VARIABLE}"),
        ("wrong", f"the API key in the environment variable {KEY_VARIABLE} is not known there"),
    ):
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        if key:
            monkeypatch.setenv(KEY_VARIABLE, key)
        done = run_coordinator("trace", "--url", server.url, "-o", str(tmp_path / "trace.json"))
        assert done.returncode == 2
        assert f"answered 401: {message}" in done.stderr
        assert server.key not in done.stderr + done.stdout
        assert not list(tmp_path.iterdir())
