"""What a worker was told on its command line, checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import check_poll_us
from jangtq_proto.ranges import ExpertRange

Device = Literal["auto", "metal", "cpu", "reference"]


@dataclass(frozen=True)
class WorkerSettings:
    """Everything a worker needs to start."""

    model: Path
    ranges: tuple[ExpertRange, ...]
    listen: Address
    device: Device = "auto"
    threads: int | None = None
    insecure: bool = False
    tls: Path | None = None
    express_port: int = 0
    poll_us: int = 0
    spare_bytes: int = 0
    max_streams: int = 16
    max_calls: int = 16
    grace_seconds: float = 30.0
    stop_on_stdin_close: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigurationError(f"--threads {self.threads}: allowed are 1 to 1024")
        check_poll_us(self.poll_us)
        self._check_express_port()
        if self.spare_bytes < 0:
            raise ConfigurationError("--spare-gb: allowed are 0 and above")
        for name, most in (("--max-streams", self.max_streams), ("--max-calls", self.max_calls)):
            if not 1 <= most <= 1024:
                raise ConfigurationError(f"{name} {most}: allowed are 1 to 1024")
        if self.tls and self.insecure:
            raise ConfigurationError("--tls and --insecure: one of them, they say the opposite")
        if not self.listen.is_loopback and not self.tls and not self.insecure:
            raise ConfigurationError(
                f"--listen {self.listen} is reached from other machines: give --tls DIR with certificates "
                "of `jangtq-coord certs`, or allow calls neither encrypted nor authenticated, on a "
                "network that you trust, by --insecure"
            )

    def _check_express_port(self) -> None:
        if not 0 <= self.express_port <= 65535:
            raise ConfigurationError(f"--express-port {self.express_port}: allowed are 0 to 65535")
        if self.express_port and self.listen.is_unix:
            raise ConfigurationError(f"--express-port: --listen {self.listen} lets nobody in by TCP")
        if self.express_port and self.express_port == self.listen.port:
            raise ConfigurationError(
                f"--express-port {self.express_port} is the port of --listen: choose another"
            )
