"""The CUDA backend: experts on an NVIDIA GPU, a call computed by native code without the GIL."""

import ctypes
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jangtq_kernels.backend import ExpertRows, NativeLayer, PartialSums
from jangtq_kernels.checks import check_rows, check_weights
from jangtq_kernels.cpu import error_of, expert_positions
from jangtq_kernels.cpu_library import Call, Status
from jangtq_kernels.cuda.compiler import RuntimeCompiler
from jangtq_kernels.cuda.levels import Levels, choose_levels
from jangtq_kernels.cuda.library import GPU_FAILED, Gpu, GpuLibrary, GpuMemory, Layer, Matrix, gpu_library
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.weights import ExpertWeights, PackedMatrix

DRIVER = "libcuda.so.1"
MAX_SIZE = 8192
"""A row of float32 fills 32 KiB of shared memory, of the 48 that every GPU has."""

_FEATURES, _CHAIN_INPUTS = 16, 128
_CHAIN_WORDS = {2: 128, 3: 192, 4: 256}
"""Of source/layout.cuh."""

_log = logging.getLogger(__name__)


class Compiler(Protocol):
    """RuntimeCompiler, or what stands in for it where there is no GPU."""

    def compile(self, name: str, *, definitions: Mapping[str, int], capability: tuple[int, int]) -> bytes: ...


@dataclass(frozen=True)
class Toolkit:
    """compiler: None for NVIDIA's. driver: its library, None for NVIDIA's. device: which GPU, from 0."""

    compiler: Compiler | None = None
    driver: str | None = None
    device: int = 0


class CudaBackend:
    """Experts on one NVIDIA GPU of compute capability 8.0 or newer.

    Raises BackendMissingError where driver, GPU or compiler are missing.
    """

    def __init__(self, toolkit: Toolkit | None = None) -> None:
        chosen = toolkit or Toolkit()
        self._library = gpu_library()
        self._gpu = self._library.open(chosen.driver or DRIVER, chosen.device)
        self._compiler = chosen.compiler or RuntimeCompiler()
        info = self._gpu.describe()
        self._capability = (info.major, info.minor)
        self._gpu.load_row_kernels(self._compile("rows.cu", {}))
        self._loaded: set[tuple[int, int]] = set()
        _log.info("computing on %s, compute capability %d.%d", info.name.decode(), *self._capability)

    @property
    def name(self) -> str:
        return "cuda"

    def load(self, weights: ExpertWeights) -> "CudaLayer":
        """Copies the codes to the GPU and lays them out there, projection by projection."""
        check_weights(weights)
        _check_kernel_limits(weights)
        levels = {
            "gate": choose_levels("gate", weights.gate.codebook, weights.gate.bits),
            "down": choose_levels("down", weights.down.codebook, weights.down.bits),
        }
        self._load_kernels(weights.gate.bits, levels["gate"].terms)
        self._load_kernels(weights.down.bits, levels["down"].terms)
        return CudaLayer(self._library, self._gpu, weights, levels)

    def repeat(self, layers: Sequence["CudaLayer"], times: int) -> None:
        """Queue the kernels of the call answered last so many times and wait once: for measurements.

        They compute on these layers in turn, which must have one shape.
        """
        self._gpu.repeat([layer.structure for layer in layers], times)

    def _load_kernels(self, bits: int, terms: int) -> None:
        if (bits, terms) in self._loaded:
            return
        definitions = {"BITS": bits, "TERMS": terms}
        self._gpu.load_kernels(
            bits,
            terms,
            gate_up=self._compile("gate_up.cu", definitions),
            down=self._compile("down.cu", definitions),
        )
        self._loaded.add((bits, terms))

    def _compile(self, name: str, definitions: Mapping[str, int]) -> bytes:
        return self._compiler.compile(name, definitions=definitions, capability=self._capability)


class CudaLayer:
    """One layer's experts on the GPU. Calls of all layers of a backend take turns, from any thread."""

    def __init__(
        self, library: GpuLibrary, gpu: Gpu, weights: ExpertWeights, levels: Mapping[str, Levels]
    ) -> None:
        self._library = library
        self._gpu = gpu
        self._hidden_size = weights.hidden_size
        self._kept: list[GpuMemory] = []
        self._positions = expert_positions(weights.expert_ids)
        self.structure = Layer(
            gate=self._take(weights.gate, levels["gate"]),
            up=self._take(weights.up, levels["gate"]),
            down=self._take(weights.down, levels["down"]),
            hidden_signs=self._keep(gpu.put(weights.gate.signs)),
            intermediate_signs=self._keep(gpu.put(weights.down.signs)),
            experts=len(weights.expert_ids),
            positions=self._positions.ctypes.data,
            position_count=len(self._positions),
        )

    @property
    def nbytes(self) -> int:
        return sum(memory.nbytes for memory in self._kept)

    @property
    def native(self) -> NativeLayer:
        """As NativelyAsked.native."""
        return NativeLayer(
            self._library.forward_address,
            self._gpu.handle,
            ctypes.addressof(self.structure),
            self._hidden_size,
        )

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward; `prefill` changes nothing, all kernels add in one order."""
        check_rows(asked, hidden_size=self._hidden_size)
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
        status, offender = self._gpu.forward(self.structure, call)
        if status == GPU_FAILED:
            raise RuntimeError(f"the GPU failed: {self._gpu.error()}")
        if status:
            raise error_of(Status(status), int(expert_ids.flat[offender]) if expert_ids.size else 0)
        return found

    def _take(self, matrix: PackedMatrix, levels: Levels) -> Matrix:
        experts = len(matrix.codes)
        tiles = -(-matrix.out_features // _FEATURES)
        chains = -(-matrix.in_features // _CHAIN_INPUTS)
        norms = np.zeros((experts, tiles * _FEATURES), dtype=np.float32)
        norms[:, : matrix.out_features] = matrix.norms.astype(np.float32) * levels.scale
        laid_out = Matrix(
            codes=self._keep(self._gpu.take(experts * tiles * chains * _CHAIN_WORDS[matrix.bits] * 4)),
            norms=self._keep(self._gpu.put(norms)),
            levels=(ctypes.c_uint32 * 8)(*levels.words().reshape(-1).tolist()),
            out=matrix.out_features,
            in_features=matrix.in_features,
            bits=matrix.bits,
            terms=levels.terms,
        )
        self._gpu.lay_out(matrix.codes, laid_out)
        return laid_out

    def _keep(self, memory: GpuMemory) -> int:
        self._kept.append(memory)
        return memory.address


def _check_kernel_limits(weights: ExpertWeights) -> None:
    """What these kernels ask beyond `check_weights`: one rotated row must serve gate and up."""
    gate, up = weights.gate, weights.up
    shared = gate.bits == up.bits and np.array_equal(gate.codebook, up.codebook)
    if not shared or not np.array_equal(gate.signs, up.signs):
        raise KernelInputError(
            f"gate ({gate.bits} bits) and up ({up.bits} bits) must share bits, codebook and signs on CUDA"
        )
    for name, size in (
        ("hidden size", weights.hidden_size),
        ("intermediate size", weights.intermediate_size),
    ):
        if size > MAX_SIZE:
            raise KernelInputError(f"{name} {size} is above {MAX_SIZE}, the largest that the kernels take")
