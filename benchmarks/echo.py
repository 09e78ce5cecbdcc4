"""A real worker whose experts give back the rows that they get: `python -m benchmarks.echo MODEL EXPERTS`."""

import argparse
import ctypes
from pathlib import Path

import numpy as np

from benchmarks.compiled import compile_library, has_compiler
from jangtq_kernels.backend import ExpertRows, NativeLayer, PartialSums
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.addresses import Address
from jangtq_proto.ranges import parse_ranges
from jangtq_worker.server import WorkerServer, run_until_signal
from jangtq_worker.settings import WorkerSettings

_SOURCE = Path(__file__).with_suffix(".cpp")


class EchoLayer:
    """Gives the bits of the rows back, and so takes no time."""

    nbytes = 0

    def forward(self, asked: ExpertRows) -> PartialSums:
        return PartialSums(np.asarray(asked.rows, dtype=np.float32).view(np.int32), asked.exponents)


class NativeEchoLayer(EchoLayer):
    """May be asked without the interpreter, as layers of the cpu backend may."""

    def __init__(self, forward: int, hidden_size: int) -> None:
        self._hidden_size = ctypes.c_int64(hidden_size)
        self.native = NativeLayer(forward, 0, ctypes.addressof(self._hidden_size), hidden_size)


class EchoBackend:
    """Loads nothing. Its layers are native where there is a compiler."""

    name = "reference"

    def __init__(self) -> None:
        self._library = compile_library(_SOURCE) if has_compiler() else None

    def load(self, weights: ExpertWeights) -> EchoLayer:
        if self._library is None:
            return EchoLayer()
        forward = ctypes.cast(self._library.echo_forward, ctypes.c_void_p).value
        assert forward is not None, "a function has an address"
        return NativeEchoLayer(forward, weights.hidden_size)


def serve_worker(model: Path, experts: str, *, poll_us: int) -> None:
    """A worker that holds no weights."""
    settings = WorkerSettings(
        model, parse_ranges(experts), Address("127.0.0.1", 0), device="reference", poll_us=poll_us
    )
    run_until_signal(WorkerServer(settings, EchoBackend()), watch_stdin=True)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("experts")
    parser.add_argument("--poll-us", type=int, default=0)
    given = parser.parse_args()
    serve_worker(given.model, given.experts, poll_us=given.poll_us)


if __name__ == "__main__":
    main()
