"""Findings of the doctor: each trouble is named with what mends it."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from jangtq_coordinator.diagnosis.findings import (
    AskedWorker,
    Level,
    look_at_certificates,
    look_at_workers,
    look_here,
    utc_now,
)
from jangtq_coordinator.diagnosis.machine import look_at_machine
from jangtq_proto.wire.codec import PROTOCOL_VERSION
from tests.support.fixed_cluster import worker
from tests.support.tls_folders import make_folders


def asked(name: str, ranges: str, **changes: object) -> AskedWorker:
    info = replace(worker(name, ranges), protocol_version=PROTOCOL_VERSION)
    return AskedWorker(name, replace(info, **changes))  # type: ignore[arg-type]


def errors_of(*workers: AskedWorker) -> list[str]:
    found = [one for one in look_at_workers(workers) if one.level is not Level.GOOD]
    assert all(one.mend for one in found), "each says what to do"
    return [f"{one.where}: {one.what} -> {one.mend}" for one in found]


def test_workers_that_fit_are_good() -> None:
    assert errors_of(asked("a", "0-3"), asked("b", "4-7")) == []


def test_each_trouble_of_workers_is_named() -> None:
    (silent,) = errors_of(AskedWorker("a:7700", error="no answer within 5 s"))
    assert (
        silent.startswith("a:7700: no answer within 5 s -> start `jangtq-worker` there")
        and "nc -vz a 7700" in silent
    )
    (older,) = errors_of(asked("a", "0-3", protocol_version=1))
    assert f"speaks protocol 1, this coordinator {PROTOCOL_VERSION} -> install the same version" in older
    (other,) = errors_of(asked("a", "0-3"), asked("b", "4-7"), asked("c", "8", fingerprint="another"))
    assert "c holds another bundle than the others" in other
    (missing,) = errors_of(asked("a", "0-3"), asked("b", "6-7"))
    assert missing == "coverage: no worker holds experts 4-5 -> start `jangtq-worker --experts 4-5`"


def test_certificates_are_counted_in_days(tmp_path: Path) -> None:
    folder = make_folders(tmp_path).coordinator
    assert {one.level for one in look_at_certificates(folder, utc_now())} == {Level.GOOD}
    later = look_at_certificates(folder, utc_now() + timedelta(days=100_000))
    assert all(one.level is Level.ERROR and "not valid any more" in one.what for one in later) and later
    assert "--renew" in later[0].mend
    (none,) = look_at_certificates(tmp_path / "nothing", utc_now())
    assert none.level is Level.ERROR and "has none" in none.what


def test_this_machine_has_its_native_code() -> None:
    found = {one.where: one for one in look_here(look_at_machine())}
    assert found["native code"].level is Level.GOOD and "open files" in found


@pytest.mark.parametrize("limit", [0, 60])
def test_macos_is_told_what_its_gpu_may_use(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    machine = replace(
        look_at_machine(),
        memory_bytes=64 * 2**30,
        recommended_bytes=48 * 2**30,
        wired_limit_bytes=limit * 2**30,
    )
    found = {one.where: one for one in look_here(machine)}["wired memory"]
    assert (found.level is Level.GOOD) == (limit == 60)
    assert found.mend == ("" if limit else "sudo sysctl iogpu.wired_limit_mb=57344 (until the next start)")
