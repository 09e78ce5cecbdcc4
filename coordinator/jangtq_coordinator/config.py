"""What the command line chooses for `serve` and `generate`, checked. Imports no array library."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.logs import LogFormat
from jangtq_coordinator.model.dense_config import DenseSettings
from jangtq_coordinator.model.overlap import OverlapMode
from jangtq_proto import shared_options as shared
from jangtq_proto.addresses import DEFAULT_WORKER_PORT, Address, parse_addresses
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import DAY_SECONDS, GIGABYTES, SECONDS, Group, Option, Settings
from jangtq_proto.ranges import ExpertRange, parse_ranges
from jangtq_proto.wire.row_type import RowType

MOST_TRACE_SECONDS: Final = 60
API_KEYS: Final = Option(
    "--api-keys", group=Group.API, placeholder="FILE", help="hashes of the keys that let clients in"
)


class Transport(StrEnum):
    """What expert calls travel over; the values of `--transport`."""

    GRPC = "grpc"
    EXPRESS = "express"
    AUTO = "auto"


@dataclass(frozen=True)
class ClusterSettings(Settings):
    """Which workers there are, which experts stay here, and how they are called."""

    model: Path = field(metadata=shared.MODEL.metadata)
    workers: tuple[Address, ...] = Option(
        "--workers",
        group=Group.CLUSTER,
        placeholder="HOST:PORT,...",
        parse=partial(parse_addresses, default_port=DEFAULT_WORKER_PORT),
        help=f"the workers; a missing port means {DEFAULT_WORKER_PORT}",
    ).default(())
    local_ranges: tuple[ExpertRange, ...] = Option(
        "--experts",
        group=Group.MODEL,
        placeholder="RANGES",
        parse=parse_ranges,
        otherwise="none",
        help="experts to hold here, such as 0-95",
    ).default(())
    device: str = shared.DEVICE.default("auto")
    threads: int | None = shared.THREADS.default(None)
    wire_dtype: RowType | None = Option(
        "--wire-dtype",
        group=Group.MODEL,
        otherwise="bfloat16 on Metal and CUDA, else float32",
        help="how rows travel and what the coordinator computes in",
    ).default(None)
    transport: Transport = Option(
        "--transport",
        group=Group.CLUSTER,
        help="how expert calls travel; express takes less time, by a socket on another port of the worker, "
        "which gRPC lets in to, inside TLS where gRPC is; auto is express to the workers that it reaches",
    ).default(Transport.GRPC)
    poll_us: int = shared.POLL_US.default(0)
    unix_sockets: bool = Option(
        "--no-unix-sockets", group=Group.CLUSTER, help="with express, use TCP even to workers on this machine"
    ).default(True)
    overlap: OverlapMode = Option(
        "--overlap",
        group=Group.TUNING,
        help="run passes as two halves, one in attention while the other is with the workers; auto does so "
        "where trials prove it faster; trials that prove slower cost the time of three passes of each size "
        "at most, and beyond that a hundredth of the time of all passes",
    ).default(OverlapMode.AUTO)
    dense: DenseSettings = DenseSettings()
    tls: Path | None = shared.TLS.default(None)
    call_timeout_seconds: float = Option(
        "--call-timeout",
        group=Group.CLUSTER,
        above=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        help="how long a layer may take a worker whose experts no other worker holds",
    ).default(60.0)
    connect_timeout_seconds: float = Option(
        "--connect-timeout",
        group=Group.CLUSTER,
        above=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        help="how long to look for a worker at start",
    ).default(30.0)
    worker_timeout_seconds: float = Option(
        "--worker-timeout",
        group=Group.CLUSTER,
        above=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        help="how long requests wait for experts that no worker holds any more",
    ).default(60.0)
    audit: float = Option(
        "--audit",
        group=Group.CLUSTER,
        placeholder="PART",
        least=0,
        most=1,
        otherwise="never",
        help="ask a second worker in this part of all exchanges, such as 0.001, and compare to the bit",
    ).default(0.0)
    rebalance_seconds: float | None = Option(
        "--rebalance",
        group=Group.CLUSTER,
        least=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        otherwise="never",
        help="when experts have had no worker for so long, have workers with --spare-gb take them over, and "
        "give them back when their owner is back for so long",
    ).default(None)
    spare_bytes: int = Option(
        "--spare-gb",
        group=Group.CLUSTER,
        least=0,
        unit=GIGABYTES,
        otherwise="none",
        help="memory here, beside --kv-memory, for lost experts that no worker has room for",
    ).default(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.workers and not self.local_ranges:
            raise ConfigurationError("no experts: give --workers HOST:PORT,... or --experts RANGES")
        if self.spare_bytes and self.rebalance_seconds is None:
            raise ConfigurationError(
                "--spare-gb is for lost experts that are taken over: give --rebalance, too"
            )


@dataclass(frozen=True)
class ConnectionLimits(Settings):
    """How much of the server one client, or all of them, may hold.

    idle_seconds: how long a connection is kept between two requests.
    """

    most: int = Option(
        "--max-connections",
        group=Group.API,
        least=1,
        most=65_536,
        help="connections that may be open at once",
    ).default(512)
    request_seconds: float = Option(
        "--request-timeout",
        group=Group.API,
        above=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        help="how long a request may take to arrive, from its connection or its first byte to its last",
    ).default(60.0)
    stalled_seconds: float = Option(
        "--stalled-timeout",
        group=Group.API,
        above=0,
        most=DAY_SECONDS,
        unit=SECONDS,
        help="how long a client may read nothing of its answer",
    ).default(60.0)
    idle_seconds: int = 60
    header_bytes: int = 32 * 2**10


@dataclass(frozen=True)
class ServeSettings(Settings):
    """Where the API listens, and who may call it."""

    host: str = Option("--host", group=Group.API, placeholder="HOST", help="where the API listens").default(
        "127.0.0.1"
    )
    port: int = Option(
        "--port",
        group=Group.API,
        placeholder="PORT",
        least=0,
        most=65_535,
        help="its port; 0 takes a free one",
    ).default(8080)
    insecure: bool = Option(
        "--insecure", group=Group.API, help="allow an address that other machines reach, without a key"
    ).default(False)
    aliases: tuple[str, ...] = Option(
        "--alias",
        group=Group.API,
        placeholder="NAME",
        otherwise="none",
        help="another name by which clients may ask for the model; may be repeated",
    ).default(())
    engine: EngineSettings = EngineSettings()
    api_keys: Path | None = API_KEYS.default(None)
    allowed_origins: tuple[str, ...] = Option(
        "--allow-origin",
        group=Group.API,
        placeholder="ORIGIN",
        otherwise="none",
        help="a site whose pages may call, such as https://chat.example; may be repeated",
    ).default(())
    tls_certificate: Path | None = Option(
        "--tls-cert", group=Group.API, help="serve HTTPS with this certificate chain"
    ).default(None)
    tls_key: Path | None = Option("--tls-key", group=Group.API, help="the certificate's private key").default(
        None
    )
    limits: ConnectionLimits = ConnectionLimits()
    max_body_bytes: int = Option(
        "--max-body-bytes", group=Group.API, least=1, help="the largest request body"
    ).default(16 * 2**20)
    log_format: LogFormat = Option("--log-format", help="what log lines look like").default(LogFormat.TEXT)
    stop_on_stdin_close: bool = shared.STOP_ON_STDIN_CLOSE.default(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not Address(self.host, self.port).is_loopback and not (self.insecure or self.api_keys):
            raise ConfigurationError(
                f"--host {self.host} can be reached from other machines: give --api-keys FILE, "
                "or add --insecure to admit any caller on a network that you trust"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key belong together: give both or none")
