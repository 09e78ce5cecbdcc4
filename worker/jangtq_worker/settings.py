"""What the command line chooses for a worker, checked. Imports no array library."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jangtq_proto import shared_options as shared
from jangtq_proto.addresses import DEFAULT_WORKER_PORT, Address, parse_address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import GIGABYTES, Group, Option, Settings
from jangtq_proto.ranges import ExpertRange, parse_ranges


@dataclass(frozen=True)
class WorkerSettings(Settings):
    """Everything a worker needs to start.

    grace_seconds: how long calls in flight may take once it is to stop.
    """

    model: Path = field(metadata=shared.MODEL.metadata)
    ranges: tuple[ExpertRange, ...] = field(
        metadata=Option(
            "--experts",
            group=Group.MODEL,
            placeholder="RANGES",
            parse=parse_ranges,
            help="experts to hold, such as 0-127 or 0-63,128-191",
        ).metadata
    )
    listen: Address = Option(
        "--listen",
        group=Group.CLUSTER,
        placeholder="HOST:PORT",
        parse=partial(parse_address, default_port=DEFAULT_WORKER_PORT),
        help="where to listen; port 0 takes a free one",
    ).default(Address("127.0.0.1", DEFAULT_WORKER_PORT))
    device: str = shared.DEVICE.default("auto")
    threads: int | None = shared.THREADS.default(None)
    insecure: bool = Option(
        "--insecure",
        group=Group.CLUSTER,
        help="allow an address that other machines reach, without encryption and certificates",
    ).default(False)
    tls: Path | None = shared.TLS.default(None)
    express_port: int = Option(
        "--express-port",
        group=Group.CLUSTER,
        placeholder="PORT",
        least=0,
        most=65_535,
        help="TCP port of the express transport (--transport express of coordinators), on the host of "
        "--listen; 0 takes a free one once a coordinator asks",
    ).default(0)
    poll_us: int = shared.POLL_US.default(0)
    keep_warm: str = Option(
        "--keep-warm",
        group=Group.TUNING,
        choices=("auto", "on", "off"),
        help="run a trivial kernel twice a second while a coordinator is connected, until 5 minutes after "
        "its last call, since a GPU that rests answers up to a second late; auto does so on Metal",
    ).default("auto")
    spare_bytes: int = Option(
        "--spare-gb",
        group=Group.CLUSTER,
        least=0,
        unit=GIGABYTES,
        otherwise="none",
        help="memory for experts of lost workers, which a coordinator with --rebalance may ask to take over",
    ).default(0)
    max_streams: int = Option(
        "--max-streams",
        group=Group.TUNING,
        least=1,
        most=1024,
        help="streams of coordinators served at a time",
    ).default(16)
    max_calls: int = Option(
        "--max-calls",
        group=Group.TUNING,
        least=1,
        most=1024,
        help="calls computing and waiting at a time; further ones are sent to another worker",
    ).default(16)
    grace_seconds: float = 30.0
    stop_on_stdin_close: bool = shared.STOP_ON_STDIN_CLOSE.default(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.express_port and self.listen.is_unix:
            raise ConfigurationError(f"--express-port: --listen {self.listen} cannot be reached by TCP")
        if self.express_port and self.express_port == self.listen.port:
            raise ConfigurationError(
                f"--express-port {self.express_port} is the port of --listen: choose another"
            )
        if self.tls and self.insecure:
            raise ConfigurationError("--tls and --insecure: one of them, they say the opposite")
        if not self.listen.is_loopback and not self.tls and not self.insecure:
            raise ConfigurationError(
                f"--listen {self.listen} is reached from other machines: give --tls DIR with certificates "
                "of `jangtq-coord certs`, or allow calls neither encrypted nor authenticated, on a "
                "network that you trust, by --insecure"
            )
