"""`jangtq-coord info`: what a running coordinator serves, and how to reach it."""

import json
from typing import Final

from pydantic import BaseModel
from rich.table import Table

from jangtq_coordinator.cli.admin_client import get
from jangtq_coordinator.cli.running_settings import InfoSettings
from jangtq_coordinator.cli.status import Status, fetch_status
from jangtq_coordinator.cli.terminal import console

_GIB: Final = 2**30


class Model(BaseModel):
    """A model of GET /v1/models."""

    id: str
    max_model_len: int | None = None


class Models(BaseModel):
    """GET /v1/models."""

    data: list[Model]


def show_info(settings: InfoSettings) -> None:
    """Print it. Raises CoordinatorAnswerError."""
    url = settings.url.rstrip("/")
    models = Models.model_validate_json(get(url, "/v1/models", {}))
    facts = facts_of(url, models, fetch_status(url))
    if settings.json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    console().print(table)


def facts_of(url: str, models: Models, status: Status) -> dict[str, str | int]:
    """What is worth knowing of a coordinator, by name."""
    model = models.data[0] if models.data else None
    workers = status.cluster.workers
    serving = [worker for worker in workers if worker.state == "serving"]
    facts: dict[str, str | int] = {"model": model.id if model else "none yet"}
    if model is not None and model.max_model_len is not None:
        facts["longest conversation, tokens"] = model.max_model_len
    return {
        **facts,
        "status": status.health.status,
        "workers": f"{len(serving)} of {len(workers)} serve",
        "experts in memory": f"{sum(worker.weight_bytes for worker in serving) / _GIB:.2f} GiB",
        "bundle fingerprint": status.cluster.fingerprint,
        "page": f"{url}/",
        "OpenAI API": f"{url}/v1",
        "Anthropic API": url,
        "metrics": f"{url}/metrics",
    }
