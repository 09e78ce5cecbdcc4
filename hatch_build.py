"""Compiles the native kernel into jangtq_kernels when a wheel or an editable install is built.

A machine without a compiler still gets a working installation: the `cpu` backend is then missing.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

PACKAGE = Path("kernels/jangtq_kernels")
SOURCES = PACKAGE / "native"
# The name that jangtq_kernels.cpu_library looks for.
LIBRARY = PACKAGE / ("_native.dylib" if sys.platform == "darwin" else "_native.so")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    # No fused multiply-adds but those written as such: every instruction set then rounds alike, to the bit.
    "-ffp-contract=off",
    "-pthread",
)

# Baseline code first: of an inline function that several files hold, linkers keep the first copy,
# which must run on every machine of this kind.
BASELINE = ("experts", "thread_pool", "kernel_portable", "kernel_portable_int8")
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512")
FLAGS_OF_KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "kernel_avx2": AVX2,
        "kernel_avx2_int8": AVX2,
        "kernel_avx512": AVX512,
        "kernel_avx512_int8": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
    },
    "arm64": {"kernel_neon": (), "kernel_neon_int8": ()},
}
SAME_MACHINE = {"amd64": "x86_64", "aarch64": "arm64"}


class CompilationError(Exception):
    """The compiler's own words."""


class NativeBuildHook(BuildHookInterface):
    """The build hook that hatchling finds here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say on the console why not; never fails the installation."""
        root = Path(self.root)
        try:
            compile_library(root, find_compiler())
        except CompilationError as error:
            # One of earlier sources would not fit the Python that is installed now.
            (root / LIBRARY).unlink(missing_ok=True)
            self.app.display_warning(f"{error}: {CONSEQUENCE}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{next(sys_tags()).platform}"


CONSEQUENCE = "installing without the cpu backend, only the slow reference will compute on the CPU"


def find_compiler() -> str:
    """$CXX, or the first of COMPILERS that is installed. Raises CompilationError where there is none."""
    candidates = (os.environ.get("CXX"), *COMPILERS)
    found = next((name for name in candidates if name and shutil.which(name)), None)
    if found is None:
        raise CompilationError(f"no C++ compiler ($CXX, {', '.join(COMPILERS)})")
    return found


def compile_library(root: Path, compiler: str) -> None:
    """Writes LIBRARY whole or not at all. Raises CompilationError."""
    machine = platform.machine().lower()
    kernels = FLAGS_OF_KERNELS.get(SAME_MACHINE.get(machine, machine), {})
    units = {**{name: () for name in BASELINE}, **kernels}
    library = root / LIBRARY
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        for name, flags in units.items():
            source = str(root / SOURCES / f"{name}.cpp")
            run([compiler, *FLAGS, *flags, "-c", source, "-o", f"{scratch}/{name}.o"])
        objects = [f"{scratch}/{name}.o" for name in units]
        run([compiler, "-shared", "-pthread", *objects, "-o", f"{scratch}/library"])
        os.replace(f"{scratch}/library", library)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise CompilationError(f"{done.stderr}{' '.join(command)} failed")
