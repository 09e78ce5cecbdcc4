"""The `jang` package's own Metal kernels under the simulator: code that is known to be right on Metal."""

import sys
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
from jang_tools.turboquant import fused_gate_up_kernel, gather_tq_kernel, hadamard_kernel
from numpy.typing import NDArray

from tests.support.metal_simulator import MetalSimulator

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Macs run the kernels on Metal itself")

EXPERTS = 3
PEER_MODULES = (hadamard_kernel, gather_tq_kernel, fused_gate_up_kernel)


@pytest.fixture(autouse=True)
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetalSimulator]:
    """The peer asks `mx.fast` itself and keeps what it gets in module globals, so both are patched."""
    machine = MetalSimulator()
    monkeypatch.setattr(mx.fast, "metal_kernel", machine.metal_kernel)
    for module in PEER_MODULES:
        for name, value in vars(module).items():
            if name.startswith("_kernel"):
                monkeypatch.setattr(module, name, {} if isinstance(value, dict) else None)
    yield machine


def arrays(*given: NDArray[np.generic]) -> list[mx.array]:
    return [mx.array(array) for array in given]


def hadamard(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    size = rows.shape[-1]
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rotated: NDArray[np.float64] = rows @ matrix / np.sqrt(size)
    return rotated


@pytest.mark.parametrize("blocks", [[64], [1024], [2048], [128, 64], [1024, 512], [2048, 1024]])
def test_the_peers_rotation(blocks: list[int], simulator: MetalSimulator) -> None:
    rng = np.random.default_rng(1)
    size = sum(blocks)
    rows = rng.standard_normal((2, size)).astype(np.float32)
    signs = rng.choice([-1.0, 1.0], size).astype(np.float32)
    got = np.array(hadamard_kernel.hadamard_rotate_metal(mx.array(rows), mx.array(signs)))
    parts = np.split((rows * signs).astype(np.float64), np.cumsum(blocks)[:-1], axis=-1)
    assert np.allclose(got, np.concatenate([hadamard(part) for part in parts], axis=-1), atol=1e-5)
    assert len(simulator.dispatches) == 1


def random_matrix(rng: np.random.Generator, out: int, size: int, bits: int) -> tuple[NDArray[np.uint32], ...]:
    codes = rng.integers(0, 2**bits, (EXPERTS, out, size), dtype=np.uint32)
    per_word = 32 // bits
    padded = np.zeros((EXPERTS, out, -(-size // per_word) * per_word), dtype=np.uint32)
    padded[..., :size] = codes
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    words = (padded.reshape(EXPERTS, out, -1, per_word) << shifts).sum(-1).astype(np.uint32)
    return codes, words


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_peers_gather(bits: int) -> None:
    rng = np.random.default_rng(bits)
    rows = rng.standard_normal((2, 128)).astype(np.float32)
    codes, words = random_matrix(rng, 48, 128, bits)
    norms = rng.uniform(1, 2, (EXPERTS, 48)).astype(np.float16)
    codebook = np.sort(rng.standard_normal(2**bits)).astype(np.float32)
    picked = np.array([[2, 0], [1, 1]], dtype=np.uint32)
    signs = np.ones(128, dtype=np.float32)
    got = gather_tq_kernel.gather_tq_matmul(*arrays(rows, words, norms, codebook, signs, picked), bits=bits)
    weights = codebook[codes] * norms[..., None].astype(np.float64)
    expected = np.einsum("rski,ri->rsk", weights[picked], hadamard(rows.astype(np.float64)))
    assert np.allclose(np.array(got).reshape(expected.shape), expected, atol=1e-4)


def test_the_peers_gate_up_swiglu() -> None:
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((1, 192)).astype(np.float32)
    (gate_codes, gate), (up_codes, up) = (random_matrix(rng, 40, 192, 2) for _ in range(2))
    norms = rng.uniform(0.1, 0.2, (2, EXPERTS, 40)).astype(np.float16)
    codebook = np.array([-1.5, -0.4, 0.4, 1.5], dtype=np.float32)
    signs = rng.choice([-1.0, 1.0], 192).astype(np.float32)
    picked = np.array([[2, 0]], dtype=np.uint32)
    got = fused_gate_up_kernel.fused_gate_up_swiglu_matmul(
        *arrays(rows, gate, norms[0], up, norms[1], codebook, signs, picked), bits=2
    )
    signed = (rows * signs).astype(np.float64)
    rotated = np.concatenate([hadamard(signed[:, :128]), hadamard(signed[:, 128:])], axis=-1)[0]
    g = codebook[gate_codes[picked[0]]] @ rotated * norms[0][picked[0]]
    u = codebook[up_codes[picked[0]]] @ rotated * norms[1][picked[0]]
    assert np.allclose(np.array(got).reshape(g.shape), g / (1 + np.exp(-g)) * u, atol=1e-5)
