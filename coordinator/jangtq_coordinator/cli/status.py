"""`jangtq-coord status`: the workers of a running cluster, their memory, and what each layer takes."""

import time
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jangtq_coordinator.cli.admin_client import get, look
from jangtq_coordinator.cli.running_settings import StatusSettings
from jangtq_coordinator.cli.terminal import console

_GIB: Final = 2**30
_STYLES: Final = {"serving": "green", "lost": "red", "quarantined": "red"}


class Times(BaseModel):
    """Milliseconds of a worker's newest calls, of GET /cluster."""

    wait_p50_ms: float
    wait_p99_ms: float
    round_trip_ms: float


class WorkerView(BaseModel):
    """A worker of GET /cluster, as far as it is shown."""

    name: str
    state: str
    reason: str
    experts: str
    device: str
    weight_bytes: int
    resident_bytes: int
    times: Times | None


class LayerView(BaseModel):
    """A layer of GET /cluster: mean milliseconds of a forward pass since the start."""

    layer: int
    attention_ms: float
    dispatch_ms: float
    experts_ms: float


class ClusterView(BaseModel):
    """GET /cluster."""

    fingerprint: str
    workers: list[WorkerView]
    layers: list[LayerView]
    warning: str = ""


class Health(BaseModel):
    """GET /health."""

    status: str
    model: str | None
    requests: int
    cluster: dict[str, object]


class Status(BaseModel):
    """What the command prints with --json."""

    health: Health
    cluster: ClusterView


def show_status(settings: StatusSettings, sleep: Callable[[float], None] = time.sleep) -> None:
    """Print it, once or until Ctrl-C. Raises CoordinatorAnswerError."""
    status = fetch_status(settings.url)
    if settings.json:
        print(status.model_dump_json(indent=2))
        return
    out = console()
    if not settings.watch:
        out.print(describe(status))
        return
    with Live(describe(status), console=out, auto_refresh=False) as live:
        while True:
            sleep(settings.every_seconds)
            live.update(describe(fetch_status(settings.url)), refresh=True)


def fetch_status(url: str) -> Status:
    """Raises CoordinatorAnswerError."""
    return Status(
        health=Health.model_validate_json(look(url, "/health")),
        cluster=ClusterView.model_validate_json(get(url, "/cluster", {})),
    )


def describe(status: Status) -> RenderableType:
    """A headline, a table of workers, where a layer's time goes, and what is amiss."""
    health, cluster = status.health, status.cluster
    style = "green" if health.status == "ok" else "yellow"
    head = Text.assemble(
        (health.model or "no model yet", "bold"),
        " is ",
        (health.status, style),
        f", requests: {health.requests}",
    )
    parts: list[RenderableType] = [head, _worker_table(cluster.workers)]
    if cluster.layers:
        parts.append(Text(_layer_line(cluster.layers)))
    missing = health.cluster.get("uncovered_experts")
    if missing:
        parts.append(
            Text(
                f"no worker serves experts {missing}: start a jangtq-worker with them, then "
                "`jangtq-coord add HOST:PORT`",
                style="red",
            )
        )
    if cluster.warning:
        parts.append(Text(cluster.warning, style="yellow"))
    return Group(*parts)


def _worker_table(workers: list[WorkerView]) -> Table:
    table = Table("worker", "state", "experts", "device", box=None, pad_edge=False)
    for title in ("weights", "resident", "round trip", "p50", "p99"):
        table.add_column(title, justify="right")
    for worker in workers:
        times = worker.times
        waits = ("-", "-", "-")
        if times is not None:
            waits = (_ms(times.round_trip_ms), _ms(times.wait_p50_ms), _ms(times.wait_p99_ms))
        state = worker.state if worker.state == "serving" else f"{worker.state}: {worker.reason}"
        table.add_row(
            worker.name,
            Text(state, style=_STYLES.get(worker.state, "yellow")),
            worker.experts,
            worker.device,
            f"{worker.weight_bytes / _GIB:.2f} GiB",
            f"{worker.resident_bytes / _GIB:.2f} GiB",
            *waits,
        )
    return table


def _layer_line(layers: list[LayerView]) -> str:
    attention, dispatch, experts = (
        sum(getattr(layer, name) for layer in layers)
        for name in ("attention_ms", "dispatch_ms", "experts_ms")
    )
    return (
        f"a pass of {len(layers)} layers, mean: attention {_ms(attention)}, dispatch {_ms(dispatch)}, "
        f"experts {_ms(experts)}"
    )


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms"
