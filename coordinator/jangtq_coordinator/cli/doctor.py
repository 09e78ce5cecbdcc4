"""`jangtq-coord doctor`: what this machine is and how fast its parts are, to read or to send."""

from rich.console import Console

from jangtq_coordinator.cli.command_settings import DoctorSettings
from jangtq_coordinator.diagnosis.machine import look_at_machine
from jangtq_coordinator.diagnosis.measurements import Shape, measure, median_us
from jangtq_coordinator.diagnosis.report import ExchangeTime, Report
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError, ConfigurationError
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials

_CALLS = 20


def diagnose(settings: DoctorSettings, shape: Shape | None = None) -> None:
    """Measure and print. Raises ConfigurationError where nothing is asked for."""
    if not settings.measure:
        raise ConfigurationError("doctor: say what to do; --measure times kernels, crossings and workers")
    shape = shape or Shape()
    backend = open_backend(settings.device, threads=settings.threads)
    connection_settings = ConnectionSettings(
        hidden_size=shape.hidden,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        call_timeout_seconds=settings.connect_timeout_seconds,
        credentials=Credentials(settings.tls, Role.COORDINATOR) if settings.tls else None,
    )
    report = Report(
        look_at_machine(),
        measure(backend, shape),
        tuple(_ask(address, connection_settings) for address in settings.workers),
    )
    if settings.json:
        print(report.as_json())
    else:
        report.show(Console())


def _ask(address: Address, settings: ConnectionSettings) -> ExchangeTime:
    connection = GrpcConnection(address, settings)
    try:
        return ExchangeTime(str(address), median_us(lambda _: connection.describe(), _CALLS))
    except ClusterError as error:
        return ExchangeTime(str(address), error=str(error))
    finally:
        connection.close()
