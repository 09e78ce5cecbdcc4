"""A report of machine, measurements and expectation, as tables for people and as JSON. Measures nothing."""

import dataclasses
import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from jangtq_coordinator.diagnosis.machine import Machine
from jangtq_coordinator.diagnosis.measurements import ATTENTION, EXPERTS_DECODE, ROUTER, Measurements
from jangtq_coordinator.diagnosis.performance_model import Expectation, LayerCosts

_GIB = 2**30
NOTE = "expected by the model of docs/performance-model.md from the times above; not a measurement"


@dataclass(frozen=True)
class ExchangeTime:
    """One worker: the median round trip of a small call, or why there is none."""

    worker: str
    us: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that `doctor --measure` found."""

    machine: Machine
    measurements: Measurements
    exchanges: tuple[ExchangeTime, ...]

    @property
    def expectation(self) -> Expectation:
        """With this machine's kernels on both sides; times of kernels include one crossing each."""
        measured = self.measurements
        return Expectation(
            LayerCosts(
                attention=max(
                    measured.us_of(ATTENTION) + measured.us_of(ROUTER) - 2 * measured.crossing_us, 0.0
                ),
                experts=max(measured.us_of(EXPERTS_DECODE) - measured.crossing_us, 0.0),
                crossings=2 * measured.crossing_us,
                exchange=max((one.us for one in self.exchanges), default=0.0),
                host=0.0,
            )
        )

    def as_json(self) -> str:
        """One object; field names carry the units."""
        expected = self.expectation
        return json.dumps(
            {
                **dataclasses.asdict(self),
                "expectation": {
                    "layer_us": dataclasses.asdict(expected.times),
                    "tokens_per_second": expected.tokens_per_second,
                    "note": NOTE,
                },
            },
            indent=2,
        )

    def show(self, console: Console) -> None:
        """Print the tables."""
        for table in (self._machine_table(), self._times_table(), self._expectation_table()):
            console.print(table)
        console.print(NOTE)

    def _machine_table(self) -> Table:
        machine, table = self.machine, Table("this machine", "", title="machine")
        for name, value in (
            ("chip", machine.chip),
            ("system", machine.system),
            ("cores", f"{machine.cores}, of them fast: {machine.performance_cores or 'all'}"),
            ("memory", f"{machine.memory_bytes / _GIB:.1f} GiB"),
            ("iogpu.wired_limit_mb", _gib_or(machine.wired_limit_bytes, "macOS' own")),
            ("the GPU may wire", _gib_or(machine.recommended_bytes, "no Metal")),
            ("MLX computes on", machine.device),
            ("experts are computed by", self.measurements.backend),
            ("mlx", machine.mlx),
            ("jangtq-cluster", machine.jangtq_cluster),
        ):
            table.add_row(name, value)
        return table

    def _times_table(self) -> Table:
        table = Table(
            "measured",
            "us",
            "GB/s",
            "of bandwidth",
            title="times at MiniMax-M2.7's shape",
            caption="a kernel by itself is queued many times for one wait",
        )
        table.add_row("crossing: mx.eval and readback", f"{self.measurements.crossing_us:.1f}", "", "")
        for one in self.measurements.kernels:
            rate = one.nbytes / (one.us * 1e3)
            of_bytes = (f"{rate:.1f}", f"{one.bandwidth_share:.0%}") if one.nbytes else ("", "")
            table.add_row(one.name, f"{one.us:.1f}", *of_bytes)
        table.add_row("reading memory", "", f"{self.measurements.bandwidth:.1f}", "100%")
        for exchange in self.exchanges:
            shown = exchange.error or f"{exchange.us:.1f}"
            table.add_row(f"exchange with {exchange.worker}", shown, "", "")
        return table

    def _expectation_table(self) -> Table:
        expected = self.expectation
        table = Table("a layer, one row", "us", title="expected, not measured")
        for name, value in dataclasses.asdict(expected.times).items():
            table.add_row(name, f"{value:.1f}")
        table.add_row("tokens per second", f"{expected.tokens_per_second:.1f}")
        return table


def _gib_or(nbytes: int, otherwise: str) -> str:
    return f"{nbytes / _GIB:.1f} GiB" if nbytes else otherwise
