"""What a coordinator was told on its command line, checked."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.model.dense_weights import DenseSettings
from jangtq_coordinator.model.overlap import OverlapMode
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import check_poll_us
from jangtq_proto.ranges import ExpertRange
from jangtq_proto.wire.row_type import RowType


class Transport(StrEnum):
    """What expert calls travel over; the values are those of `--transport`."""

    GRPC = "grpc"
    EXPRESS = "express"


@dataclass(frozen=True)
class ClusterSettings:
    """Which workers there are, which experts stay here, and how they are called."""

    model: Path
    workers: tuple[Address, ...] = ()
    local_ranges: tuple[ExpertRange, ...] = ()
    device: str = "auto"
    threads: int | None = None
    wire_dtype: RowType | None = None
    transport: Transport = Transport.GRPC
    poll_us: int = 0
    unix_sockets: bool = True
    overlap: OverlapMode = OverlapMode.AUTO
    dense: DenseSettings = DenseSettings()
    tls: Path | None = None
    call_timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 30.0
    worker_timeout_seconds: float = 60.0
    audit: float = 0.0
    rebalance_seconds: float | None = None
    spare_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.workers and not self.local_ranges:
            raise ConfigurationError("nobody holds experts: give --workers HOST:PORT,... or --experts RANGES")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigurationError(f"--threads {self.threads}: allowed are 1 to 1024")
        check_poll_us(self.poll_us)
        if self.rebalance_seconds is not None and not 0 <= self.rebalance_seconds <= 86400:
            raise ConfigurationError(f"--rebalance {self.rebalance_seconds}: allowed are 0 seconds to a day")
        if self.spare_bytes < 0:
            raise ConfigurationError("--spare-gb: allowed are 0 and above")
        if self.spare_bytes and self.rebalance_seconds is None:
            raise ConfigurationError(
                "--spare-gb is for lost experts that are taken over: give --rebalance, too"
            )
        if not 0 <= self.audit <= 1:
            raise ConfigurationError(f"--audit {self.audit}: allowed are 0 (never) to 1 (every exchange)")
        for name, seconds in (
            ("--call-timeout", self.call_timeout_seconds),
            ("--connect-timeout", self.connect_timeout_seconds),
            ("--worker-timeout", self.worker_timeout_seconds),
        ):
            if not 0 < seconds <= 86400:
                raise ConfigurationError(f"{name} {seconds}: allowed are seconds above 0 and up to a day")


@dataclass(frozen=True)
class ConnectionLimits:
    """How much of the server one client, or all of them, may hold.

    request_seconds: from a request's first byte, or its connection, to its last byte.
    stalled_seconds: how long a client may leave what is sent to it unread.
    idle_seconds: how long a connection is kept between two requests.
    """

    most: int = 512
    request_seconds: float = 60.0
    stalled_seconds: float = 60.0
    idle_seconds: int = 60
    header_bytes: int = 32 * 2**10

    def __post_init__(self) -> None:
        if not 1 <= self.most <= 65536:
            raise ConfigurationError(f"--max-connections {self.most}: allowed are 1 to 65536")
        for option, seconds in (
            ("--request-timeout", self.request_seconds),
            ("--stalled-timeout", self.stalled_seconds),
        ):
            if not 0 < seconds <= 86400:
                raise ConfigurationError(f"{option} {seconds}: allowed are seconds above 0 and up to a day")


@dataclass(frozen=True)
class ServeSettings:
    """Where the API listens, and for whom."""

    host: str = "127.0.0.1"
    port: int = 8080
    insecure: bool = False
    engine: EngineSettings = EngineSettings()
    api_keys: Path | None = None
    allowed_origins: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    limits: ConnectionLimits = ConnectionLimits()
    max_body_bytes: int = 16 * 2**20

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"--port {self.port}: allowed are 0 to 65535")
        if not Address(self.host, self.port).is_loopback and not (self.insecure or self.api_keys):
            raise ConfigurationError(
                f"--host {self.host} can be reached from other machines: give --api-keys FILE, "
                "or add --insecure to let everybody in on a network that you trust"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key belong together: give both or none")
        if self.max_body_bytes < 1:
            raise ConfigurationError(f"--max-body-bytes {self.max_body_bytes}: allowed are 1 and above")
