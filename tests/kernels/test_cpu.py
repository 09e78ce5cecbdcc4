"""What the native backend promises beyond the contract: equal bits, refusals, memory, and no library."""

import dataclasses
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_kernels import backends, cpu_library
from jangtq_kernels.backend import ACTIVATIONS, NO_EXPERT
from jangtq_kernels.backends import open_backend
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.cpu import MOST_EXPERTS, CpuBackend
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.rotation import generate_signs
from tests.support.kernel_backends import (
    CPU_NAMES,
    INT8_NAMES,
    ISAS,
    backend,
    dense_forward,
    relative_error,
    sums_of,
)
from tests.support.metal_cases import random_layer, random_rows


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 16, 70])
@pytest.mark.parametrize("bits", [(2, 2), (3, 4)])
def test_sums_are_equal_to_the_bit_for_any_number_of_threads(
    isa: str, activations: str, rows: int, bits: tuple[int, int]
) -> None:
    weights = random_layer(320, 200, bits=bits)
    request = random_rows(rows, 320)
    first, *others = (
        sums_of(CpuBackend(n, isa=isa, activations=activations).load(weights), *request) for n in (1, 2, 3, 7)
    )
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("name", CPU_NAMES + INT8_NAMES)
def test_a_row_gives_the_same_bits_alone_and_among_others(name: str) -> None:
    layer = backend(name).load(random_layer(320, 200))
    rows, ids, router_weights = random_rows(70, 320)
    together = sums_of(layer, rows, ids, router_weights)
    for row in range(0, 70, 9):
        one = slice(row, row + 1)
        np.testing.assert_array_equal(sums_of(layer, rows[one], ids[one], router_weights[one]), together[one])


@given(
    size=st.tuples(st.integers(2, 300), st.integers(2, 300)),
    bits=st.tuples(st.sampled_from((2, 3, 4)), st.sampled_from((2, 3, 4))),
    rows=st.integers(0, 40),
    slots=st.integers(0, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_shape_agrees_with_dense_matrices(
    size: tuple[int, int], bits: tuple[int, int], rows: int, slots: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    weights = random_layer(*size, experts=3, bits=bits)
    request = (
        random.standard_normal((rows, size[0]), dtype=np.float32),
        random.choice([*weights.expert_ids, NO_EXPERT], (rows, slots)).astype(np.int32),
        random.standard_normal((rows, slots), dtype=np.float32),
    )
    expected = dense_forward(weights, request)
    for name in CPU_NAMES:
        assert relative_error(sums_of(backend(name).load(weights), *request), expected) <= 1e-5


@pytest.mark.parametrize("hidden", [128, 3072])
def test_a_layer_keeps_little_more_than_its_codes(hidden: int) -> None:
    weights = random_layer(hidden, 512)
    assert weights.nbytes <= CpuBackend(1).load(weights).nbytes <= 1.1 * weights.nbytes


def test_several_callers_share_one_backend() -> None:
    weights = random_layer(192, 128)
    layers = [backend(CPU_NAMES[0]).load(weights) for _ in range(2)]
    request = random_rows(9, 192)
    expected = sums_of(layers[0], *request)
    with ThreadPoolExecutor(4) as pool:
        for sums in pool.map(lambda n: sums_of(layers[n % 2], *request), range(60)):
            np.testing.assert_array_equal(sums, expected)


def test_a_refused_request_leaves_the_layer_usable() -> None:
    layer = backend(CPU_NAMES[0]).load(random_layer(128, 128))
    rows, ids, router_weights = random_rows(2, 128)
    expected = sums_of(layer, rows, ids, router_weights)
    with pytest.raises(KernelInputError, match="expert 7 is none"):
        sums_of(layer, rows, np.full_like(ids, 7), router_weights)
    np.testing.assert_array_equal(sums_of(layer, rows, ids, router_weights), expected)


def test_gate_and_up_must_share_what_a_row_is_prepared_with() -> None:
    weights, other = random_layer(128, 128), random_layer(128, 128, bits=(3, 2))
    unlike = {
        "share bits": other.up,
        "share bits and codebook": dataclasses.replace(weights.up, codebook=compute_codebook(64, 2)),
        "share their signs": dataclasses.replace(weights.up, signs=generate_signs(128, 43)),
    }
    for message, up in unlike.items():
        with pytest.raises(KernelInputError, match=message):
            CpuBackend(1).load(dataclasses.replace(weights, up=up))


@pytest.mark.parametrize("expert", [-3, MOST_EXPERTS])
def test_expert_ids_outside_their_range_are_refused(expert: int) -> None:
    weights = dataclasses.replace(random_layer(128, 128), expert_ids=(0, 1, 2, expert))
    with pytest.raises(KernelInputError, match=f"allowed are 0 to {MOST_EXPERTS - 1}"):
        CpuBackend(1).load(weights)


def test_norms_that_are_not_finite_are_refused() -> None:
    weights = random_layer(128, 128)
    weights.up.norms[1, 5] = np.inf
    with pytest.raises(KernelInputError, match="up norms hold values that are not finite"):
        CpuBackend(1).load(weights)


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_a_senseless_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(KernelInputError, match=f"threads {threads}: allowed are 1 to 1024"):
        open_backend("cpu", threads=threads)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
def test_threads_that_cannot_be_had_are_an_error_and_not_the_end() -> None:
    script = (
        "import resource\nfrom jangtq_kernels.cpu import CpuBackend\n"
        "from jangtq_kernels.errors import BackendMissingError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "try:\n    CpuBackend(1024)\nexcept BackendMissingError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "the cpu backend cannot start 1024 threads\n"


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(BackendMissingError, match="instruction set 'sse9': this machine runs"):
        CpuBackend(1, isa="sse9")


def test_devices_are_opened_by_name() -> None:
    assert open_backend("cpu", threads=1).name == "cpu"
    assert open_backend("reference").name == "reference"
    with pytest.raises(KernelInputError, match="device 'gpu' is unknown, allowed are auto, metal"):
        open_backend("gpu")


def test_auto_takes_the_native_kernel_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("jangtq_kernels.cuda.backend.DRIVER", "libnone.so.1")
    assert open_backend("auto", threads=1).name == "cpu"
    with pytest.raises(BackendMissingError, match="device cuda: no NVIDIA driver"):
        open_backend("cuda")
    with pytest.raises(BackendMissingError, match="Metal exists on macOS only, this is linux"):
        open_backend("metal")


def test_metal_comes_first_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_open_metal", lambda: backend("metal"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_backend("auto").name == "metal"
    assert open_backend("metal").name == "metal"


def test_cuda_comes_first_where_it_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_open_cuda", lambda: backend("cuda"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert open_backend("auto").name == open_backend("cuda").name == "cuda"
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BackendMissingError, match="NVIDIA GPUs on Linux, this is darwin"):
        open_backend("cuda")


def test_without_a_compiled_kernel_auto_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cpu_library, "LIBRARY", tmp_path / "_jangtq.so")
    native_library.cache_clear()
    try:
        with pytest.raises(BackendMissingError, match="was not compiled.*install a C"):
            open_backend("cpu")
        with caplog.at_level(logging.WARNING):
            assert open_backend("auto").name == "reference"
        assert "slow reference backend" in caplog.text
    finally:
        native_library.cache_clear()
