"""The PyTorch quantizers equal the project's kernels and MLX; gradients pass straight through."""

import mlx.core as mx
import numpy as np
import pytest
import torch

from jangtq_demo.model import DemoModel
from jangtq_demo.quantizers import RotatedCodebook, affine_round_trip, put_in_loop, take_out_of_loop
from jangtq_demo.settings import TINY
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.quantization import dequantize, quantize
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import PackedMatrix

# More threads only wait for each other beside other tests' processes.
torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("in_features", [64, 96, 256])
def test_round_trip_equals_the_kernels(bits: int, in_features: int) -> None:
    weights = np.random.default_rng(bits).standard_normal((3, 40, in_features), dtype=np.float32)
    codes, norms = quantize(weights, bits=bits, seed=42)
    matrix = PackedMatrix(
        codes=codes,
        norms=norms,
        bits=bits,
        codebook=compute_codebook(in_features, bits),
        signs=generate_signs(in_features, 42),
    )
    ours = RotatedCodebook.make(in_features, bits=bits, device=CPU).round_trip(torch.from_numpy(weights))
    different = np.abs(ours.numpy() - dequantize(matrix)).max(axis=-1) > 1e-4
    # A coordinate within float32 rounding of a midpoint may take the other centroid.
    assert different.mean() < 0.02


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_affine_round_trip_equals_mlx(bits: int) -> None:
    weights = np.random.default_rng(bits).standard_normal((50, 128), dtype=np.float32)
    with mx.stream(mx.cpu):
        parts = mx.quantize(mx.array(weights.astype(np.float16)), group_size=64, bits=bits)
        expected = np.array(mx.dequantize(*parts, group_size=64, bits=bits).astype(mx.float32))
    ours = affine_round_trip(torch.from_numpy(weights), bits=bits).numpy()
    different = np.abs(ours - expected) > 5e-3
    assert different.mean() < 0.002


def test_gradients_pass_straight_through() -> None:
    quantizer = RotatedCodebook.make(64, bits=2, device=CPU)
    weight = torch.randn(4, 64, requires_grad=True)
    factor = torch.randn(4, 64)
    (gradient,) = torch.autograd.grad((quantizer.straight_through(weight) * factor).sum(), weight)
    torch.testing.assert_close(gradient, factor)
    torch.testing.assert_close(
        quantizer.straight_through(weight).detach(), quantizer.round_trip(weight).detach()
    )


def test_the_loop_holds_the_quantizer_only_while_it_is_in() -> None:
    model = DemoModel(TINY)
    matrix = model.moe_blocks[0].switch_mlp.down_proj
    put_in_loop(model, "JANGTQ_K")
    quantizer = RotatedCodebook.make(TINY.intermediate_size, bits=4, device=CPU)
    torch.testing.assert_close(matrix().detach(), quantizer.round_trip(matrix.weight).detach())
    take_out_of_loop(model)
    assert torch.equal(matrix(), matrix.weight)
