"""The native CPU backend: packed codes in the kernel's layout, forwards in C++ without the GIL."""

import ctypes
import math
import os

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.apple import performance_cores
from jangtq_kernels.backend import ACTIVATIONS, NO_EXPERT, ExpertRows, NativeLayer, PartialSums
from jangtq_kernels.checks import check_rows, check_weights
from jangtq_kernels.cpu_library import Call, Layer, Matrix, NativeLibrary, Status, ThreadPool, native_library
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.grid import ANSWER_BITS, COARSEST
from jangtq_kernels.weights import ExpertWeights, PackedMatrix

MOST_THREADS = 1024
MOST_EXPERTS = 65_536
"""Above every expert id: the kernel finds positions in an array as long as the largest id."""
CACHE_LINE = 64
LANES = 16
"""Output rows are padded to a multiple of this: the widest vector holds 16 floats."""


def usual_threads() -> int:
    """One for each core; on Apple silicon for each performance core, since a layer waits for the slowest."""
    return performance_cores() or os.cpu_count() or 1


class CpuBackend:
    """`threads` compute a call together; None takes `usual_threads`. `isa` names an instruction set.

    activations: `float32`, or `int8` to round rotated rows and codebooks to int8, faster and about 1% off.
    vendor: whose processor to prefetch for, as CPUID names it, for tests and measurements; answers are equal.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        isa: str | None = None,
        activations: str = "float32",
        vendor: str | None = None,
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise KernelInputError(f"threads {threads}: allowed are 1 to {MOST_THREADS}")
        if activations not in ACTIVATIONS:
            raise KernelInputError(f"activations {activations!r}: allowed are {', '.join(ACTIVATIONS)}")
        self._library = native_library()
        chosen = isa or self._library.isas[0]
        if chosen not in self._library.isas:
            raise BackendMissingError(f"instruction set {isa!r}: this machine runs {self._library.isas}")
        self._pool = self._library.open_pool(
            threads or usual_threads(), chosen, int8=activations == "int8", vendor=vendor
        )

    @property
    def name(self) -> str:
        return "cpu"

    def load(self, weights: ExpertWeights) -> "CpuLayer":
        check_weights(weights)
        _check_kernel_limits(weights)
        return CpuLayer(self._library, self._pool, weights)


def _check_kernel_limits(weights: ExpertWeights) -> None:
    """What this kernel asks beyond `check_weights`: one table of a row must serve gate and up."""
    gate, up = weights.gate, weights.up
    if gate.bits != up.bits or not np.array_equal(gate.codebook, up.codebook):
        raise KernelInputError(
            f"gate ({gate.bits} bits) and up ({up.bits} bits) must share bits and codebook"
        )
    if not np.array_equal(gate.signs, up.signs):
        raise KernelInputError("gate and up must share their signs")
    if not all(0 <= expert < MOST_EXPERTS for expert in weights.expert_ids):
        raise KernelInputError(f"expert_ids {weights.expert_ids}: allowed are 0 to {MOST_EXPERTS - 1}")
    for name, matrix in (("gate", gate), ("up", up), ("down", weights.down)):
        if not np.isfinite(matrix.norms).all():
            raise KernelInputError(f"{name} norms hold values that are not finite")


class CpuLayer:
    """One layer's experts. Calls of all layers of a backend take turns, since they share its threads."""

    def __init__(self, library: NativeLibrary, pool: ThreadPool, weights: ExpertWeights) -> None:
        self._library = library
        self._pool = pool
        self._hidden_size = weights.hidden_size
        self._kept: list[NDArray[np.generic]] = []
        gate, up = self._take(weights.gate), self._take(weights.up)
        up.codebook, up.signs = gate.codebook, gate.signs  # equal, and the kernel wants them to be the same
        self._layer = Layer(
            gate=gate,
            up=up,
            down=self._take(weights.down),
            experts=len(weights.expert_ids),
            positions=self._keep(expert_positions(weights.expert_ids)),
            position_count=max(weights.expert_ids) + 1,
        )

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._kept)

    @property
    def native(self) -> NativeLayer:
        """As NativelyAsked.native."""
        return NativeLayer(
            self._library.forward_address,
            self._pool.handle,
            ctypes.addressof(self._layer),
            self._hidden_size,
        )

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward."""
        check_rows(asked, hidden_size=self._hidden_size)
        # Contiguous, aligned and float32, whatever came; a copy only where it is not so already.
        rows = np.require(asked.rows, np.float32, ["C", "A"])
        expert_ids = np.require(asked.expert_ids, None, ["C", "A"])
        router_weights = np.require(asked.router_weights, None, ["C", "A"])
        exponents = np.ascontiguousarray(asked.exponents)
        found = PartialSums(np.empty(rows.shape, np.int32), np.empty(exponents.shape, np.int8))
        call = Call(
            rows=rows.ctypes.data,
            expert_ids=expert_ids.ctypes.data,
            router_weights=router_weights.ctypes.data,
            exponents=exponents.ctypes.data,
            row_count=rows.shape[0],
            slot_count=expert_ids.shape[1],
            sums=found.sums.ctypes.data,
            finest=found.finest.ctypes.data,
        )
        status, offender = self._library.forward(self._pool, self._layer, call)
        if status is not Status.OK:
            raise error_of(status, int(expert_ids.flat[offender]) if expert_ids.size else NO_EXPERT)
        return found

    def _take(self, matrix: PackedMatrix) -> Matrix:
        """Lay the codes out anew, expert by expert; the bundle's arrays are not kept."""
        experts, out, words = matrix.codes.shape
        laid_out = _empty_lines((experts, -(-out // LANES) * LANES, words))
        for expert in range(experts):
            self._library.lay_out(np.ascontiguousarray(matrix.codes[expert]), laid_out[expert])
        return Matrix(
            codes=self._keep(laid_out),
            norms=self._keep(np.ascontiguousarray(matrix.norms)),
            codebook=self._keep(np.ascontiguousarray(matrix.codebook)),
            signs=self._keep(np.ascontiguousarray(matrix.signs)),
            out=out,
            bits=matrix.bits,
            **{"in": matrix.in_features},
        )

    def _keep(self, array: NDArray[np.generic]) -> int:
        """The address of an array that lives as long as the layer."""
        self._kept.append(array)
        return array.ctypes.data


def _empty_lines(shape: tuple[int, int, int]) -> NDArray[np.uint32]:
    """uint32 that starts a cache line, so that no vector reads two; NumPy aligns to 16 bytes only."""
    nbytes = math.prod(shape) * 4
    memory = np.empty(nbytes + CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + nbytes].view(np.uint32).reshape(shape)


def expert_positions(expert_ids: tuple[int, ...]) -> NDArray[np.int32]:
    """int32 [largest id + 1]: the position of each model-wide id, NO_EXPERT where it is not held."""
    positions = np.full(max(expert_ids) + 1, NO_EXPERT, dtype=np.int32)
    positions[list(expert_ids)] = np.arange(len(expert_ids), dtype=np.int32)
    return positions


def error_of(status: Status, expert: int) -> Exception:
    """What a forward raises for a status; expert: the one that is not held, where that is the reason."""
    if status is Status.FOREIGN_EXPERT:
        return KernelInputError(f"expert {expert} is none of those held here")
    if status is Status.ROWS_NOT_FINITE:
        return KernelInputError("rows hold values that are not finite")
    if status is Status.WEIGHTS_NOT_FINITE:
        return KernelInputError("router_weights hold values that are not finite")
    if status is Status.ANSWERS_OUT_OF_RANGE:
        return OverflowError(f"an answer is not finite, or not below 2^{COARSEST + ANSWER_BITS}")
    if status is Status.MATRICES_UNFIT:
        return KernelInputError("gate, up and down do not fit each other")
    return MemoryError("the backend ran out of memory")
