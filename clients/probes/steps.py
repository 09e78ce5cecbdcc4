"""What probes in Python share: where the server is, and steps that print their names as they pass."""

import os
from collections.abc import Callable

BASE = os.environ["CLIENTS_URL"]
V1 = f"{BASE}/v1"
MODEL = os.environ["CLIENTS_MODEL"]
SAY_JSON = 'SAY: {"city": "Paris", "warm": true}'


def step(name: str, run: Callable[[], object]) -> None:
    """Run one step; the last name printed without `ok` is where a client failed."""
    print(f"step {name}", flush=True)
    run()
    print(f"ok {name}", flush=True)


def expect(holds: object, told: object) -> None:
    """Raise what was seen instead."""
    if not holds:
        raise AssertionError(repr(told)[:500])
