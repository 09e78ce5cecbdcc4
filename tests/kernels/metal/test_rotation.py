"""The Metal rotation kernel against the float64 transform."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_kernels.metal._common import Extent, MetalKernel
from jangtq_kernels.metal.rotation import Rotation, open_rotation
from jangtq_kernels.rotation import generate_signs, rotate
from tests.support.metal_cases import metal_kernel
from tests.support.metal_simulator import MetalSimulator, SimulatedMetalError

SIZES = [1, 7, 32, 33, 100, 128, 320, 1000, 1024, 1536, 2048, 2880, 3072, 5120, 6144, 8191, 8192]


@dataclass
class LimitedMetal:
    """A Metal whose pipelines allow `most` threads; MLX tells so by ValueError. `ran`: kernels that did."""

    most: int
    ran: list[str] = field(default_factory=list)

    def metal_kernel(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        *,
        compile_options: Mapping[str, str],
    ) -> MetalKernel:
        kernel = metal_kernel()(
            name, input_names, output_names, source, header, compile_options=compile_options
        )

        def run(
            *,
            inputs: Sequence[mx.array],
            output_shapes: Sequence[Sequence[int]],
            output_dtypes: Sequence[mx.Dtype],
            grid: Extent,
            threadgroup: Extent,
            template: Sequence[tuple[str, int]],
        ) -> list[mx.array]:
            if threadgroup[0] > self.most:
                raise ValueError(f"Thread group size ({threadgroup[0]}) is greater than {self.most}")
            self.ran.append(name)
            return kernel(
                inputs=inputs,
                output_shapes=output_shapes,
                output_dtypes=output_dtypes,
                grid=grid,
                threadgroup=threadgroup,
                template=template,
            )

        return run


def rotated(rows: NDArray[np.float32], *, stride: int, rotation: Rotation) -> NDArray[np.float32]:
    signs = mx.array(generate_signs(rows.shape[1], 42))
    return np.array(rotation(mx.array(rows), signs, count=len(rows), stride=stride))


@pytest.mark.parametrize("size", SIZES)
def test_rotation_of_any_size(size: int) -> None:
    rows = np.random.default_rng(size).standard_normal((3, size), dtype=np.float32)
    got = rotated(rows, stride=size + 5, rotation=Rotation(metal_kernel()))
    expected = rotate(rows.astype(np.float64), generate_signs(size, 42))
    assert np.abs(got[:, :size] - expected).max() < 1e-5
    assert not got[:, size:].any()


@pytest.mark.skipif(sys.platform == "darwin", reason="only the simulator can turn the threads around")
@pytest.mark.parametrize("size", [96, 3072, 8192])
def test_rotation_does_not_depend_on_the_order_of_threads(size: int) -> None:
    rows = np.random.default_rng(size).standard_normal((2, size), dtype=np.float32)
    forwards, backwards = (
        rotated(rows, stride=size, rotation=Rotation(MetalSimulator(backwards=order).metal_kernel))
        for order in (False, True)
    )
    assert np.array_equal(forwards, backwards)


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal would refuse it in other words")
def test_a_row_above_8192_does_not_fit_threadgroup_memory() -> None:
    rows = np.zeros((1, 8193), dtype=np.float32)
    with pytest.raises(SimulatedMetalError, match="36864 bytes of threadgroup memory"):
        rotated(rows, stride=8193, rotation=Rotation(MetalSimulator().metal_kernel))


@pytest.mark.parametrize("size", SIZES)
def test_both_rotations_give_the_same_bits(size: int) -> None:
    rows = np.random.default_rng(size).standard_normal((2, size), dtype=np.float32)
    fast, stepwise = (
        rotated(rows, stride=size + 3, rotation=Rotation(metal_kernel(), stepwise=stepwise))
        for stepwise in (False, True)
    )
    assert np.array_equal(fast, stepwise)


@pytest.mark.parametrize(("most", "expected"), [(1024, "rotate_rows"), (512, "rotate_rows_stepwise")])
def test_a_pipeline_with_fewer_threads_is_given_fewer(most: int, expected: str) -> None:
    metal = LimitedMetal(most)
    rotation = open_rotation(metal.metal_kernel, sizes=(96,))
    rows = np.random.default_rng(0).standard_normal((2, 96), dtype=np.float32)
    got = rotated(rows, stride=96, rotation=rotation)
    assert metal.ran[-1] == expected
    assert np.abs(got - rotate(rows.astype(np.float64), generate_signs(96, 42))).max() < 1e-5
