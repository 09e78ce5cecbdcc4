"""`jangtq-coord add` and `drain`: add and drain workers of a running cluster."""

import json
from typing import Final, Literal

from jangtq_coordinator.cli.admin_client import post
from jangtq_coordinator.cli.command_settings import WorkerSettings

_PATHS: Final = {"add": "/cluster/workers", "drain": "/cluster/workers/drain"}


def change_worker(settings: WorkerSettings, change: Literal["add", "drain"]) -> None:
    """Request the change and print the worker's new state. Raises JangtqError."""
    answer = json.loads(post(settings.url, _PATHS[change], {"worker": settings.worker}))
    print(f"worker {answer['worker']} with experts {answer['experts']} is {answer['state']}", flush=True)
