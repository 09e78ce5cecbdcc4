"""`jangtq-coord doctor`: what stands in the way here and of workers, and how fast this machine is."""

import dataclasses
import json

from rich.console import Console
from rich.text import Text

from jangtq_coordinator.cli.command_settings import DoctorSettings
from jangtq_coordinator.cli.terminal import console
from jangtq_coordinator.diagnosis.findings import (
    AskedWorker,
    Finding,
    Level,
    look_at_certificates,
    look_at_workers,
    look_here,
    utc_now,
)
from jangtq_coordinator.diagnosis.machine import look_at_machine
from jangtq_coordinator.diagnosis.measurements import Shape, measure, median_us
from jangtq_coordinator.diagnosis.report import ExchangeTime, Report
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError, JangtqError
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials

_CALLS = 20
_STYLES = {Level.GOOD: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def diagnose(settings: DoctorSettings, shape: Shape | None = None) -> None:
    """Look, with --measure also at speeds, and print."""
    if not settings.measure:
        show_findings(settings)
        return
    shape = shape or Shape()
    backend = open_backend(settings.device, threads=settings.threads)
    connection_settings = _connection_settings(settings, shape.hidden)
    report = Report(
        look_at_machine(),
        measure(backend, shape),
        tuple(_ask(address, connection_settings) for address in settings.workers),
    )
    if settings.json:
        print(report.as_json())
    else:
        report.show(Console())


def show_findings(settings: DoctorSettings) -> None:
    """Print what was found and what to do. Raises DoctorError where something does not work."""
    findings = look_here(look_at_machine())
    if settings.tls is not None:
        findings += look_at_certificates(settings.tls, utc_now())
    connection_settings = _connection_settings(settings, Shape().hidden)
    findings += look_at_workers([_describe(address, connection_settings) for address in settings.workers])
    if settings.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        out = console()
        for finding in findings:
            out.print(_line(finding))
    errors = sum(finding.level is Level.ERROR for finding in findings)
    if errors:
        raise DoctorError(f"doctor: errors found: {errors}")


class DoctorError(JangtqError):
    """Something that was looked at does not work."""


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.level:8}", _STYLES[finding.level]), f"{finding.where}: {finding.what}")
    return line.append(f"\n        -> {finding.mend}") if finding.mend else line


def _connection_settings(settings: DoctorSettings, hidden_size: int) -> ConnectionSettings:
    return ConnectionSettings(
        hidden_size=hidden_size,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        call_timeout_seconds=settings.connect_timeout_seconds,
        credentials=Credentials(settings.tls, Role.COORDINATOR) if settings.tls else None,
    )


def _describe(address: Address, settings: ConnectionSettings) -> AskedWorker:
    connection = GrpcConnection(address, settings)
    try:
        return AskedWorker(str(address), connection.describe())
    except ClusterError as error:
        return AskedWorker(str(address), error=str(error))
    finally:
        connection.close()


def _ask(address: Address, settings: ConnectionSettings) -> ExchangeTime:
    connection = GrpcConnection(address, settings)
    try:
        return ExchangeTime(str(address), median_us(lambda _: connection.describe(), _CALLS))
    except ClusterError as error:
        return ExchangeTime(str(address), error=str(error))
    finally:
        connection.close()
