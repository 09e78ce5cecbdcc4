"""`jangtq-coord status` and `info` of a running coordinator, and of clusters in trouble."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from jangtq_coordinator.cli.command_settings import DEFAULT_URL
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.info import show_info
from jangtq_coordinator.cli.running_settings import InfoSettings, StatusSettings
from jangtq_coordinator.cli.status import (
    ClusterView,
    Health,
    LayerView,
    Status,
    Times,
    WorkerView,
    describe,
    show_status,
)
from tests.support.cluster_processes import start_alone


@pytest.fixture(scope="module")
def url(demo_bundle: Path) -> Iterator[str]:
    with Children() as children:
        coordinator = start_alone(children, demo_bundle)
        coordinator.ready()
        yield coordinator.listening()


def test_a_running_cluster_is_described(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_status(StatusSettings(url=url))
    said = capsys.readouterr().out
    assert "is ok, requests: 0" in said and "coordinator" in said and "serving" in said


def test_programs_get_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_status(StatusSettings(url=url, json=True))
    assert json.loads(capsys.readouterr().out)["cluster"]["workers"][0]["state"] == "serving"
    show_info(InfoSettings(url=url, json=True))
    facts = json.loads(capsys.readouterr().out)
    assert facts["workers"] == "1 of 1 serve" and facts["OpenAI API"] == f"{url}/v1"


def test_watching_asks_again_and_again(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_status(StatusSettings(url=url, watch=True, every_seconds=0.25), pause)
    assert pauses == [0.25] * 3


def text_of(status: Status) -> str:
    text = StringIO()
    Console(width=200, file=text).print(describe(status))
    return text.getvalue()


def test_what_is_amiss_is_said_with_what_to_do() -> None:
    lost = WorkerView(
        name="10.0.0.2:7700",
        state="lost",
        reason="no answer",
        experts="128-255",
        device="metal",
        weight_bytes=2**30,
        resident_bytes=0,
        times=Times(wait_p50_ms=1.5, wait_p99_ms=2.5, round_trip_ms=0.25),
    )
    status = Status(
        health=Health(status="degraded", model="m", requests=2, cluster={"uncovered_experts": "128-255"}),
        cluster=ClusterView(
            fingerprint="f",
            workers=[lost],
            layers=[LayerView(layer=0, attention_ms=1, dispatch_ms=2, experts_ms=3)] * 2,
            warning="two kinds of device",
        ),
    )
    said = text_of(status)
    assert "lost: no answer" in said and "0.25 ms" in said and "1.00 GiB" in said
    assert "no worker serves experts 128-255" in said and "jangtq-coord add HOST:PORT" in said
    assert "a pass of 2 layers, mean: attention 2.00 ms, dispatch 4.00 ms, experts 6.00 ms" in said
    assert "two kinds of device" in said


def test_the_commands_ask_the_port_that_serve_takes() -> None:
    assert {StatusSettings().url, InfoSettings().url} == {DEFAULT_URL}
