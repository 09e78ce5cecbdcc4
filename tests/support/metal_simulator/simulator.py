"""A stand-in for `mx.fast.metal_kernel` that runs on the processor. Knows no kernel in particular."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from tests.support.needs import Need, require

from .compiler import CLANG_COMMAND, OLDEST_CLANG, CompilationError, compile_kernel, has_clang
from .launch import Buffer, Extent, LaunchError, launch, threadgroup_bytes
from .signature import Call, Kernel, TemplateArgument

MAX_THREADS = 1024
MAX_THREADGROUP_BYTES = 32768
POISON = 0xDEAD
CLANG = Need(f"clang {OLDEST_CLANG} or newer for the Metal simulator", CLANG_COMMAND, has_clang)

NUMPY_TYPES = {
    mx.bool_: np.dtype(np.bool_),
    mx.int8: np.dtype(np.int8),
    mx.int16: np.dtype(np.int16),
    mx.int32: np.dtype(np.int32),
    mx.int64: np.dtype(np.int64),
    mx.uint8: np.dtype(np.uint8),
    mx.uint16: np.dtype(np.uint16),
    mx.uint32: np.dtype(np.uint32),
    mx.uint64: np.dtype(np.uint64),
    mx.float16: np.dtype(np.float16),
    mx.float32: np.dtype(np.float32),
}


class SimulatedMetalError(Exception):
    """A kernel that Metal would refuse, hang on or run into undefined behaviour; the message says where."""


@dataclass(frozen=True)
class MetalSimulator:
    """`MetalSimulator().metal_kernel` takes the place of `mx.fast.metal_kernel`.

    backwards: run the threads of a threadgroup last to first; a kernel that lacks a barrier
    answers differently in the two orders. dispatches: names of the kernels run so far.
    """

    backwards: bool = False
    dispatches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(CLANG)

    def metal_kernel(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        ensure_row_contiguous: bool = True,
        atomic_outputs: bool = False,
        compile_options: Mapping[str, str] | None = None,
    ) -> "SimulatedKernel":
        if not output_names:
            raise ValueError("[metal_kernel] Must specify at least one output.")
        if not ensure_row_contiguous:
            raise SimulatedMetalError(f"{name}: ensure_row_contiguous=False is not simulated")
        kernel = Kernel(name, tuple(input_names), tuple(output_names), source, header, atomic_outputs)
        return SimulatedKernel(self, kernel)


@dataclass(frozen=True)
class SimulatedKernel:
    """What `metal_kernel` returns; unlike MLX it runs at the call, not at `mx.eval`."""

    simulator: MetalSimulator
    kernel: Kernel

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array | bool | int | float],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: Extent,
        threadgroup: Extent,
        template: Sequence[tuple[str, TemplateArgument]] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream: mx.Stream | mx.Device | None = None,
    ) -> list[mx.array]:
        _require_count("inputs", inputs, self.kernel.input_names)
        _require_count("output_shapes", output_shapes, self.kernel.output_names)
        _require_count("output_dtypes", output_dtypes, self.kernel.output_names)
        arrays = [_to_numpy(given) for given in inputs]
        described = tuple((_dtype_of(array), array.shape) for array in arrays)
        call = Call(self.kernel, described, tuple(output_dtypes), tuple(template or ()))
        outputs = [
            _poisoned(shape, dtype, init_value)
            for shape, dtype in zip(output_shapes, output_dtypes, strict=True)
        ]
        try:
            _run(call, _buffers(call, arrays + outputs), (grid, threadgroup), self.simulator.backwards)
        except (CompilationError, LaunchError) as error:
            raise SimulatedMetalError(f"{self.kernel.name}: {error}") from error
        self.simulator.dispatches.append(self.kernel.name)
        return [mx.array(output) for output in outputs]


def _run(call: Call, buffers: list[Buffer], extents: tuple[Extent, Extent], backwards: bool) -> None:
    grid, threadgroup = extents
    _require_extents(grid, threadgroup)
    library = compile_kernel(call)
    used = threadgroup_bytes(library)
    if used > MAX_THREADGROUP_BYTES:
        raise LaunchError(f"{used} bytes of threadgroup memory, at most {MAX_THREADGROUP_BYTES} exist")
    # As MLX does: Metal's dispatchThreads counts threads, and the threadgroup is clipped to the grid.
    clipped = (min(grid[0], threadgroup[0]), min(grid[1], threadgroup[1]), min(grid[2], threadgroup[2]))
    launch(library, buffers, grid=grid, threadgroup=clipped, backwards=backwards)


def _require_extents(grid: Extent, threadgroup: Extent) -> None:
    if min(grid) < 1 or min(threadgroup) < 1:
        raise LaunchError(f"empty grid {grid} or threadgroup {threadgroup}")
    threads = threadgroup[0] * threadgroup[1] * threadgroup[2]
    if threads > MAX_THREADS:
        raise LaunchError(f"threadgroup {threadgroup} has {threads} threads, at most {MAX_THREADS} exist")


def _buffers(call: Call, arrays: list[NDArray[np.generic]]) -> list[Buffer]:
    named = dict(zip(call.kernel.input_names + call.kernel.output_names, arrays, strict=True))
    bound = []
    for parameter in call.parameters:
        origin = parameter.origin
        if origin in ("input", "output"):
            bound.append(Buffer(parameter.name, named[parameter.name], origin == "output"))
        else:
            described = _description(named[parameter.name.removesuffix("_" + origin)], origin)
            bound.append(Buffer(parameter.name, described, False))
    return bound


def _description(array: NDArray[np.generic], what: str) -> NDArray[np.generic]:
    if what == "shape":
        return np.array(array.shape, dtype=np.int32)
    if what == "strides":
        return np.array([stride // array.itemsize for stride in array.strides], dtype=np.int64)
    return np.array([array.ndim], dtype=np.int32)


def _to_numpy(given: mx.array | bool | int | float) -> NDArray[np.generic]:
    array = given if isinstance(given, mx.array) else mx.array(given)
    return np.array(array, dtype=NUMPY_TYPES[array.dtype], order="C")


def _dtype_of(array: NDArray[np.generic]) -> mx.Dtype:
    return next(dtype for dtype, numpy_type in NUMPY_TYPES.items() if numpy_type == array.dtype)


def _poisoned(shape: Sequence[int], dtype: mx.Dtype, init_value: float | None) -> NDArray[np.generic]:
    kind = NUMPY_TYPES[dtype]
    if init_value is not None:
        return np.full(shape, init_value, dtype=kind)
    if kind.kind == "f":
        return np.full(shape, np.nan, dtype=kind)
    return np.full(shape, POISON, dtype=np.uint64).astype(kind)


def _require_count(what: str, given: Sequence[object], names: Sequence[str]) -> None:
    if len(given) != len(names):
        raise ValueError(
            f"[metal_kernel] Expected `{what}` to have size {len(names)} but got size {len(given)}."
        )
