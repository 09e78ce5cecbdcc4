"""The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on buffers of exact size."""

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jangtq_kernels.cpu_library import native_library
from tests.support.native_programs import (
    KERNELS,
    NATIVE_PROGRAMS,
    SANITIZERS,
    compile_native,
    fuzz,
    fuzzing,
    has_libfuzzer,
    included,
    run,
)
from tests.support.products import part

# Unoptimized: the optimizer takes a minute over the instrumented templates.
FLAGS = ("-ffp-contract=off", "-O0", "-w", "-Wno-psabi", *included(KERNELS), *SANITIZERS)
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma")
EXPERTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "kernel_avx512": AVX512,
        "kernel_avx512_int8": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
        "kernel_avx2": ("-mavx2", "-mfma"),
        "kernel_avx2_int8": ("-mavx2", "-mfma"),
        "dense_avx512": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
        "dense_avx2": ("-mavx2", "-mfma"),
    },
    "arm64": {"kernel_neon": (), "kernel_neon_int8": (), "dense_neon": ()},
    "aarch64": {"kernel_neon": (), "kernel_neon_int8": (), "dense_neon": ()},
}
PRODUCTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"product_avx512": AVX512, "product_avx2": ("-mavx2", "-mfma")},
    "aarch64": {"product_neon": ()},
}


def compile_all(units: dict[str, tuple[str, ...]], *flags: str) -> list[Path]:
    """The objects of native sources with their flags."""

    def compile_one(name: str) -> Path:
        own = units[name]
        return compile_native(name, [KERNELS / f"{name}.cpp"], "-c", *FLAGS, *flags, *own)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, units))


@pytest.fixture(scope="module")
def kernels() -> list[Path]:
    """The sources of the library, compiled once for all programs."""
    names = ("experts", "dense", "attention", "pool", "thread_pool")
    portable = ("kernel_portable", "kernel_portable_int8", "dense_portable")
    units = dict.fromkeys((*names, *portable), ()) | EXPERTS.get(platform.machine(), {})
    return compile_all(units, *(("-fsanitize=fuzzer-no-link",) if has_libfuzzer() else ()))


def link(name: str, kernels: list[Path], *flags: str) -> Path:
    sources = NATIVE_PROGRAMS / f"{name}.cpp", *kernels
    return compile_native(name, sources, *FLAGS, *flags)


def test_no_forward_leaves_its_buffers(kernels: list[Path]) -> None:
    shapes = part(("2x131", "31x102", "330x33"), whole=("2x431", "31x402", "100x333", "128x305", "330x103"))
    # Float32 and int8, 2 ways to prefetch, 3 widths of codes and 4 batches on every instruction set.
    cases = 2 * 2 * 3 * 4 * len(shapes) * len(native_library().isas)
    assert int(run([str(link("cpu_memory_driver", kernels)), *shapes])) == cases


def test_no_dense_product_and_no_attention_leaves_its_buffers(kernels: list[Path]) -> None:
    # A product, a look-up and a refusal each; an attention and a refusal each.
    products = 3 * (3 * 3 * 3 + 2) + 2
    cases = (3 * products + 2 * 18) * len(native_library().isas)
    assert int(run([str(link("dense_memory_driver", kernels))])) == cases


def test_whatever_bytes_come_the_kernel_stays_in_its_buffers(kernels: list[Path]) -> None:
    fuzz(link("cpu_fuzz_target", kernels, *fuzzing()), 2_000, most_bytes=4096)


@pytest.mark.skipif(platform.system() != "Linux", reason="products are compiled for Linux")
def test_no_product_leaves_its_buffers() -> None:
    names = ("blas", "thread_pool", "product_portable")
    units = dict.fromkeys(names, ()) | PRODUCTS.get(platform.machine(), {})
    run([str(link("product_memory_driver", compile_all(units)))])
