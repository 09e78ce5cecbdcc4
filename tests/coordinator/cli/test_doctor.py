"""`doctor --measure` runs the real measurements, small, and reports them as tables and as JSON."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from jangtq_coordinator.cli.command_settings import DoctorSettings
from jangtq_coordinator.cli.doctor import DoctorError, diagnose
from jangtq_coordinator.diagnosis.machine import look_at_machine
from jangtq_coordinator.diagnosis.measurements import Measured, Measurements, Shape, measure, random_experts
from jangtq_coordinator.diagnosis.performance_model import LAYERS, OUTSIDE_US
from jangtq_coordinator.diagnosis.report import ExchangeTime, Report
from jangtq_proto.addresses import parse_addresses
from tests.support.metal_cases import metal_backend
from tests.support.running_worker import running_worker

SMALL = Shape(hidden=128, intermediate=64, heads=2, kv_heads=1, head_size=64, router=8, experts=8, top=2)


def report(*exchanges: ExchangeTime) -> Report:
    kernels = (
        Measured("experts, 1 row", 100.0, 28_400_000, 0.5),
        Measured("attention's products, 1 row", 200.0, 44_000_000, 0.4),
        Measured("router, 1 row", 50.0, 3_000_000, 0.1),
        Measured("kernel combine, 1 row", 5.0, 0, 0.0),
    )
    return Report(look_at_machine(), Measurements(20.0, 500.0, "cpu", kernels), exchanges)


def test_everything_is_measured_and_each_worker_asked(
    small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_worker(small_bundle) as worker:
        workers = parse_addresses(f"{worker.address},127.0.0.1:9", default_port=7700)
        settings = DoctorSettings(
            measure=True, json=True, workers=workers, device="cpu", connect_timeout_seconds=0.5
        )
        diagnose(settings, SMALL)
    told = json.loads(capsys.readouterr().out)
    reached, missing = told["exchanges"]
    assert reached["us"] > 0 and not reached["error"]
    assert "127.0.0.1:9" in missing["error"]
    assert told["measurements"]["crossing_us"] > 0
    assert len(told["measurements"]["kernels"]) == 4
    assert told["machine"]["chip"] and told["machine"]["mlx"]
    assert told["expectation"]["tokens_per_second"] > 0
    assert "not a measurement" in told["expectation"]["note"]


def test_a_backend_that_shows_its_kernels_has_each_of_them_measured() -> None:
    small = replace(SMALL, prefill_rows=4)
    found = measure(metal_backend(), small, repeats=1, queued=4, bandwidth_mb=1)
    kernels = {one.name: one for one in found.kernels if one.name.startswith("kernel ")}
    names = ["rotate_rows", "gate_up", "rotate_pairs", "down", "combine"]
    assert list(kernels) == [f"kernel {name}, {rows}" for rows in ("1 row", "4 rows") for name in names]
    assert all(one.us > 0 for one in kernels.values())
    layer = metal_backend().load(random_experts(small))
    for rows, share in (("1 row", SMALL.top / SMALL.experts), ("4 rows", 1.0)):
        read = {name: kernels[f"kernel {name}, {rows}"].nbytes for name in names}
        assert [name for name, nbytes in read.items() if nbytes] == ["gate_up", "down"]
        assert sum(read.values()) == layer.nbytes * share


def test_the_expectation_adds_the_parts_and_counts_each_crossing_once() -> None:
    times = report(ExchangeTime("a", 30.0), ExchangeTime("b", 70.0)).expectation
    assert times.times.layer == (200 + 50 - 40) + (100 - 20) + 40 + 70
    assert times.token_us == LAYERS * 400 + OUTSIDE_US


def test_the_tables_name_what_was_found() -> None:
    text = StringIO()
    report(ExchangeTime("10.0.0.2:7700", error="nobody answers")).show(Console(file=text, width=120))
    for words in (
        "crossing: mx.eval and readback",
        "experts, 1 row",
        "284.0",
        "50%",
        "nobody answers",
        "not measured",
    ):
        assert words in text.getvalue()


def test_without_measure_it_says_what_is_amiss(capsys: pytest.CaptureFixture[str]) -> None:
    workers = parse_addresses("127.0.0.1:9", default_port=7700)
    with pytest.raises(DoctorError, match="errors found: 1"):
        diagnose(DoctorSettings(workers=workers, connect_timeout_seconds=0.2))
    assert "127.0.0.1:9" in capsys.readouterr().out
