"""Bytes on the wire of a long prompt, as the kernel counts them on the loopback interface."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import psutil

from benchmarks.exchange_ways import (
    EXPERTS,
    HIDDEN,
    SLOTS,
    ConnectionChoice,
    block_dispatcher,
    open_connection,
)
from jangtq_coordinator.cli.demo.processes import Child

ROWS = 2048
_CHUNK_ROWS = 512
_VALUE_BYTES = 4


def prefill_text(workers: Sequence[Child], choices: Sequence[ConnectionChoice]) -> str:
    """A Markdown table of what ROWS rows with randomly picked experts take over each connection by TCP."""
    lines = [
        f"| {ROWS} rows of prefill, {len(workers)} workers | bytes a row and layer, both ways "
        "| times one row out and one row back a worker |",
        "|---|---|---|",
    ]
    for choice in choices:
        taken = _bytes_a_row(workers, choice)
        least = len(workers) * 2 * HIDDEN * _VALUE_BYTES
        lines.append(f"| {choice.name} | {taken:.0f} | {taken / least:.3f} |")
    return "\n".join(lines)


def _bytes_a_row(workers: Sequence[Child], choice: ConnectionChoice) -> float:
    random = np.random.default_rng(0)
    ids = np.argsort(random.random((ROWS, EXPERTS)), axis=1)[:, :SLOTS].astype(np.int32)
    rows = random.standard_normal((ROWS, HIDDEN)).astype(np.float32)
    weights = random.random(ids.shape, dtype=np.float32)
    connections = [open_connection(worker, choice) for worker in workers]
    with closing(block_dispatcher(connections)) as dispatcher:

        def ask(first: int) -> None:
            part = slice(first, first + _CHUNK_ROWS)
            dispatcher.forward(0, rows[part], expert_ids=ids[part], router_weights=weights[part])

        ask(0)  # opens the connections
        before = _loopback_bytes()
        for first in range(0, ROWS, _CHUNK_ROWS):
            ask(first)
        return (_loopback_bytes() - before) / ROWS


def _loopback_bytes() -> int:
    """What it carried since the start, for whomever."""
    name = "lo" if "lo" in psutil.net_io_counters(pernic=True) else "lo0"
    return int(psutil.net_io_counters(pernic=True)[name].bytes_sent)
