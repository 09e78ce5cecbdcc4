"""The options of the commands beside `serve`. Imports nothing that a `--help` need not load."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from jangtq_coordinator.config import API_KEYS, MOST_TRACE_SECONDS
from jangtq_coordinator.pki.lifetimes import AUTHORITY_DAYS, CERTIFICATE_DAYS
from jangtq_proto import shared_options as shared
from jangtq_proto.addresses import DEFAULT_WORKER_PORT, Address, parse_addresses
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import SECONDS, Group, Option, Settings

KEY_VARIABLE: Final = "JANGTQ_API_KEY"
URL: Final = Option(
    "--url",
    placeholder="URL",
    help="where the coordinator is; one that runs with --api-keys wants a key, in the environment variable "
    f"{KEY_VARIABLE}",
)
DEFAULT_URL: Final = "http://127.0.0.1:8080"
TEMPERATURE: Final = Option(
    "--temperature",
    placeholder="T",
    otherwise="the model's own",
    help="0 always takes the likeliest token",
)


@dataclass(frozen=True)
class Question(Settings):
    """What `generate` asks. None leaves a choice to the model's own defaults."""

    prompt: str | None = Option(
        "--prompt", otherwise="what comes from the standard input", help="what to ask"
    ).default(None)
    system: str | None = Option("--system", help="a system message before it").default(None)
    max_tokens: int = Option("--max-tokens", least=1, help="the longest answer").default(1024)
    temperature: float | None = TEMPERATURE.default(None)
    seed: int | None = Option("--seed", otherwise="a new one", help="same seed, same answer").default(None)


@dataclass(frozen=True)
class KeySettings(Settings):
    """The key that `key` makes."""

    api_keys: Path = field(metadata=API_KEYS.metadata)
    name: str = field(metadata=Option("--name", help="whose key it is, as logs will say").metadata)


@dataclass(frozen=True)
class DoctorSettings(Settings):
    """What `doctor` measures, and whom it asks."""

    measure: bool = Option(
        "--measure", help="time kernels, crossings and exchanges, and say what to expect of them"
    ).default(False)
    json: bool = Option("--json", help="print one JSON object instead of tables, to send").default(False)
    workers: tuple[Address, ...] = Option(
        "--workers",
        group=Group.CLUSTER,
        placeholder="HOST:PORT,...",
        parse=partial(parse_addresses, default_port=DEFAULT_WORKER_PORT),
        help="workers to time the exchange with",
    ).default(())
    device: str = shared.DEVICE.default("auto")
    threads: int | None = shared.THREADS.default(None)
    tls: Path | None = shared.TLS.default(None)
    connect_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class HashSettings(Settings):
    """The bundle that `hash` reads."""

    model: Path = field(metadata=shared.MODEL.metadata)


@dataclass(frozen=True)
class WorkerSettings(Settings):
    """The worker that `add` or `drain` names, and the coordinator to ask."""

    worker: str = field(metadata=Option("worker", placeholder="HOST:PORT", help="where it listens").metadata)
    url: str = URL.default(DEFAULT_URL)


@dataclass(frozen=True)
class TraceSettings(Settings):
    """What `trace` fetches: one request, the next seconds, or the request that began last."""

    url: str = URL.default(DEFAULT_URL)
    output: Path = Option("--output", short="-o", help="where to write it").default(Path("trace.json"))
    request_id: str | None = Option(
        "--request", placeholder="ID", help="one request, by the x-request-id of its answer"
    ).default(None)
    last: bool = Option("--last", help="the request that began last (the default)").default(False)
    seconds: float | None = Option(
        "--seconds",
        above=0,
        most=MOST_TRACE_SECONDS,
        unit=SECONDS,
        help="whatever happens in the next seconds",
    ).default(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.request_id is not None) + (self.seconds is not None) + self.last > 1:
            raise ConfigurationError("--request, --seconds and --last exclude each other: give one of them")

    @property
    def parameters(self) -> dict[str, str | float]:
        """The query of GET /trace."""
        given = {"request": self.request_id, "seconds": self.seconds}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class DemoSettings(Settings):
    """What `demo` asks, and of which bundle."""

    prompt: str | None = Option("--prompt", help="ask this, not the demo's three questions").default(None)
    model: Path | None = Option("--model", placeholder="DIR", help="another bundle than the demo's").default(
        None
    )
    max_tokens: int = Option("--max-tokens", least=1, help="the longest turn").default(300)
    threads: int = Option("--threads", least=1, most=1024, help="threads a worker").default(1)
    serve: bool = Option("--serve", help="ask nothing; keep the cluster up, with its page and APIs").default(
        False
    )
    port: int | None = Option(
        "--port", least=0, most=65535, otherwise="8080 with --serve, else any free one", help="of the API"
    ).default(None)


def parse_names(text: str) -> tuple[tuple[str, ...], ...]:
    """Read HOST+ALIAS,... into the names of each worker."""
    return tuple(tuple(name.strip() for name in part.split("+")) for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class CertsSettings(Settings):
    """What `certs` makes. Certificates that are there already stay, unless they are to be renewed."""

    folder: Path = field(
        metadata=Option("folder", placeholder="DIR", help="where to keep authority and certificates").metadata
    )
    workers: tuple[tuple[str, ...], ...] = Option(
        "--workers",
        placeholder="HOST,...",
        parse=parse_names,
        help="workers, by the names or addresses that the coordinator calls; join several of one by +",
    ).default(())
    coordinator: str | None = Option(
        "--coordinator", placeholder="NAME", otherwise="coordinator", help="name of a coordinator"
    ).default(None)
    days: int = Option("--days", least=1, most=AUTHORITY_DAYS, help="how long they are good").default(
        CERTIFICATE_DAYS
    )
    renew: bool = Option("--renew", help="make all certificates in DIR anew").default(False)
    new_authority: bool = Option(
        "--new-ca", help="change the authority: first step, both are trusted"
    ).default(False)
    drop_old: bool = Option(
        "--drop-old-ca", help="last step, after --renew: what the old one signed is void"
    ).default(False)
