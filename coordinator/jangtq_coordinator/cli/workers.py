"""`jangtq-coord add` and `drain`: change who belongs to a running cluster."""

import json
from typing import Final, Literal

from jangtq_coordinator.cli.admin_client import post

_PATHS: Final = {"add": "/cluster/workers", "drain": "/cluster/workers/drain"}


def change_worker(url: str, change: Literal["add", "drain"], worker: str) -> None:
    """Ask for the change and say what came of it. Raises JangtqError."""
    told = json.loads(post(url, _PATHS[change], {"worker": worker}))
    print(f"worker {told['worker']} with experts {told['experts']} is {told['state']}", flush=True)
