"""The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on buffers of exact size."""

import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutations import scaled

from jangtq_kernels.cpu_library import native_library

NATIVE = Path(__file__).parent.parent / "kernels/jangtq_kernels/native"
DRIVER = Path(__file__).parent / "cpu_memory_driver.cpp"
PRODUCTS_DRIVER = Path(__file__).parent / "product_memory_driver.cpp"
TARGET = Path(__file__).parent / "cpu_fuzz_target.cpp"
# Apple's clang comes without libFuzzer.
HAS_LIBFUZZER = platform.system() == "Linux"
COVERAGE = ("-fsanitize=fuzzer-no-link",) if HAS_LIBFUZZER else ()
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Unoptimized: the optimizer takes a minute over the instrumented templates.
FLAGS = (
    "-std=c++17",
    "-ffp-contract=off",
    "-O0",
    "-g",
    "-w",
    "-Wno-psabi",
    "-pthread",
    f"-I{NATIVE}",
    *SANITIZERS,
)
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma")
KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "kernel_avx512": AVX512,
        "kernel_avx512_int8": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
        "kernel_avx2": ("-mavx2", "-mfma"),
        "kernel_avx2_int8": ("-mavx2", "-mfma"),
    },
    "arm64": {"kernel_neon": (), "kernel_neon_int8": ()},
    "aarch64": {"kernel_neon": (), "kernel_neon_int8": ()},
}
PRODUCTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"product_avx512": AVX512, "product_avx2": ("-mavx2", "-mfma")},
    "aarch64": {"product_neon": ()},
}


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


def compile_all(folder: Path, units: dict[str, tuple[str, ...]], *flags: str) -> list[Path]:
    """The objects of native sources with their flags."""
    commands = [
        ["clang++", *FLAGS, *flags, *own, "-c", str(NATIVE / f"{name}.cpp"), "-o", str(folder / f"{name}.o")]
        for name, own in units.items()
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, commands))
    return [folder / f"{name}.o" for name in units]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sources of experts, compiled once for both programs."""
    names = ("experts", "thread_pool", "kernel_portable", "kernel_portable_int8")
    units = dict.fromkeys(names, ()) | KERNELS.get(platform.machine(), {})
    return compile_all(tmp_path_factory.mktemp("sanitized"), units, *COVERAGE)


def link(program: Path, kernels: list[Path], *flags: str) -> Path:
    target = kernels[0].parent / program.stem
    run(["clang++", *FLAGS, *flags, str(program), *map(str, kernels), "-o", str(target)])
    return target


def test_no_forward_leaves_its_buffers(kernels: list[Path]) -> None:
    # Float32 and int8, 2 ways to prefetch, 5 sizes, 3 widths of codes and 4 batches on every instruction set.
    assert int(run([str(link(DRIVER, kernels))])) == 2 * 2 * 60 * len(native_library().isas)


def test_whatever_bytes_come_the_kernel_stays_in_its_buffers(kernels: list[Path]) -> None:
    """JANGTQ_FUZZ=1000 and more makes a long run of it."""
    runs = scaled(2_000)
    if HAS_LIBFUZZER:
        run([str(link(TARGET, kernels, "-fsanitize=fuzzer")), f"-runs={runs}", "-seed=7", "-max_len=4096"])
    else:
        run([str(link(TARGET, kernels, "-DJANGTQ_OWN_MAIN")), str(runs)])


@pytest.mark.skipif(platform.system() != "Linux", reason="products are compiled for Linux")
def test_no_product_leaves_its_buffers(tmp_path: Path) -> None:
    names = ("blas", "thread_pool", "product_portable")
    units = dict.fromkeys(names, ()) | PRODUCTS.get(platform.machine(), {})
    run([str(link(PRODUCTS_DRIVER, compile_all(tmp_path, units)))])
