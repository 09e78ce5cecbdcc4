"""The native libraries for Macs, as far as Linux can prove: they compile for macOS, and NEON is right."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("driver", "calls"), [("neon_driver", 360), ("neon_dense_driver", 174)])
def test_neon_kernels_compute_the_bits_of_the_portable_ones(
    neon_drivers: Callable[[str], Path], driver: str, calls: int
) -> None:
    """Experts: float32 and int8, 2 to 4 bits. Dense: 8, 6 and 4 bits, and attention."""
    target = neon_drivers(driver)
    done = subprocess.run(["qemu-aarch64", "-cpu", "max", str(target)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{calls} calls compared\n"), done.stdout + done.stderr


@pytest.fixture(scope="module")
def neon_drivers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Links a driver with the library's sources, which are compiled once."""
    require(ARM_GCC)
    require(QEMU)
    folder = tmp_path_factory.mktemp("neon")
    flags = [*HOOK.FLAGS, f"-I{ROOT / HOOK.NATIVE}", "-march=armv8.4-a+dotprod"]
    library = folder / "library.o"
    compile_library(ARM_LINUX, flags, arm_sources(HOOK.EXPERTS), library, "-r", "-nostdlib")

    def link(driver: str) -> Path:
        source, target = ROOT / f"kernels/native_tests/{driver}.cpp", folder / driver
        compile_library(ARM_LINUX, [*flags, "-static"], [source], target, str(library))
        return target

    return link
