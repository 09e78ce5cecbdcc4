"""The native libraries for Macs, as far as Linux can prove: they compile for macOS, and NEON is right."""

import subprocess
from pathlib import Path

from tests.support.cross_compilers import (
    ARM_GCC,
    ARM_LINUX,
    MACOS,
    QEMU,
    ZIG,
    arm_sources,
    build_hook,
    compile_library,
    exported_symbols,
    symbols_asked_for,
)
from tests.support.needs import require
from tests.support.paths import ROOT

HOOK = build_hook()


def test_the_library_compiles_for_macos_with_what_python_asks_for(tmp_path: Path) -> None:
    require(ZIG)
    library, target = HOOK.EXPERTS, tmp_path / "library.dylib"
    folders = [ROOT / folder for folder in (HOOK.NATIVE, *library.headers)]
    flags = [*HOOK.FLAGS, *(f"-I{folder}" for folder in folders), '-DJANGTQ_SOURCE_DIGEST="0"']
    compile_library(MACOS, flags, [*arm_sources(library), ROOT / HOOK.DIGEST], target, "-shared")
    asked = symbols_asked_for()
    assert {"jangtq_forward", "jangtq_open_pool"} <= asked
    assert asked <= exported_symbols(target)


def test_neon_kernels_compute_the_bits_of_the_portable_ones(tmp_path: Path) -> None:
    """float32 and int8, 2 to 4 bits, sizes with and without remainders, 1 to 17 rows."""
    require(ARM_GCC)
    require(QEMU)
    native = ROOT / "kernels/jangtq_kernels/native"
    driver, target = ROOT / "kernels/native_tests/neon_driver.cpp", tmp_path / "compare"
    flags = [*HOOK.FLAGS, f"-I{native}", "-march=armv8.4-a+dotprod", "-static"]
    compile_library(ARM_LINUX, flags, [driver, *arm_sources(HOOK.EXPERTS)], target)
    done = subprocess.run(["qemu-aarch64", "-cpu", "max", str(target)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "360 calls compared\n"), done.stdout + done.stderr
