"""Compiles the native kernels into jangtq_kernels when a wheel or an editable install is built.

A machine without a compiler still gets a working installation: the `cpu` backend is then missing, and on
Linux coordinators compute dense layers with MLX's own slow products.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

sys.path.insert(0, str(Path(__file__).parent / "kernels"))

from jangtq_kernels.source_digest import digest_of  # noqa: E402

KERNELS = Path("kernels/jangtq_kernels")
NATIVE = KERNELS / "native"
# Part of every library.
DIGEST = NATIVE / "source_digest.cpp"
SUFFIX = "dylib" if sys.platform == "darwin" else "so"
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

AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512")


@dataclass(frozen=True)
class Library:
    """A shared library: the sources for every machine, and those for its instruction sets with their flags.

    Baseline code is linked first: of an inline function that several files hold, linkers keep the first copy,
    which must run on every machine of this kind.
    """

    path: Path
    baseline: tuple[str, ...]
    kernels: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    headers: tuple[Path, ...] = ()


# The name that jangtq_kernels.cpu_library looks for.
EXPERTS = Library(
    KERNELS / f"_jangtq.{SUFFIX}",
    (
        "experts",
        "quantize",
        "dense",
        "attention",
        "pool",
        "dense_portable",
        "thread_pool",
        "kernel_portable",
        "kernel_portable_int8",
        "sockets/inbox",
        "exchange/exchange",
        "exchange/direct",
        "answer/answer",
        "answer/answer_inbox",
        "layout",
    ),
    {
        "x86_64": {
            "kernel_avx2": AVX2,
            "kernel_avx2_int8": AVX2,
            "kernel_avx512": AVX512,
            "kernel_avx512_int8": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
            "dense_avx2": AVX2,
            "dense_avx512": (*AVX512, "-mavx512vbmi", "-mavx512vnni"),
        },
        "arm64": {"kernel_neon": (), "kernel_neon_int8": (), "dense_neon": ()},
    },
)
# The name that jangtq_kernels.blas looks for. On macOS, MLX has Metal and Accelerate.
PRODUCTS = Library(
    KERNELS / "_blas.so",
    ("blas", "thread_pool", "product_portable"),
    {
        "x86_64": {"product_avx2": AVX2, "product_avx512": AVX512},
        "arm64": {"product_neon": ()},
    },
)
# The name that jangtq_kernels.cuda.library looks for. It needs no CUDA to be built.
GPU = Library(
    KERNELS / "cuda/_gpu.so",
    ("driver", "pairs", "copies", "kernels", "gpu"),
    headers=(NATIVE,),
)
LIBRARIES = (EXPERTS, PRODUCTS, GPU) if sys.platform == "linux" else (EXPERTS,)
SAME_MACHINE = {"amd64": "x86_64", "aarch64": "arm64"}


class CompilationError(Exception):
    """The compiler's own words."""


class NativeBuildHook(BuildHookInterface):
    """The build hook that hatchling finds here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, or say on the console why not; never fails the installation."""
        root = Path(self.root)
        try:
            compiler = find_compiler()
            for library in LIBRARIES:
                compile_library(root, compiler, library)
        except CompilationError as error:
            # Those of earlier sources would not fit the Python that is installed now.
            for library in LIBRARIES:
                (root / library.path).unlink(missing_ok=True)
            self.app.display_warning(f"{error}: {CONSEQUENCE}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{next(sys_tags()).platform}"


CONSEQUENCE = "installing without the cpu backend, only slow references will compute on the CPU"


def find_compiler() -> str:
    """$CXX, or the first of COMPILERS that is installed. Raises CompilationError where there is none."""
    candidates = (os.environ.get("CXX"), *COMPILERS)
    found = next((name for name in candidates if name and shutil.which(name)), None)
    if found is None:
        raise CompilationError(f"no C++ compiler ($CXX, {', '.join(COMPILERS)})")
    return found


def compile_library(root: Path, compiler: str, library: Library) -> None:
    """Writes the library whole or not at all. Raises CompilationError."""
    machine = platform.machine().lower()
    kernels = library.kernels.get(SAME_MACHINE.get(machine, machine), {})
    units = {**{name: () for name in library.baseline}, **kernels}
    target = root / library.path
    native, headers = target.parent / "native", [root / folder for folder in library.headers]
    sources = {native / f"{name}.cpp": flags for name, flags in units.items()}
    sources[root / DIGEST] = (f'-DJANGTQ_SOURCE_DIGEST="{digest_of((native, *headers))}"',)
    included = [f"-I{folder}" for folder in (native, *headers)]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        commands = [
            [compiler, *FLAGS, *flags, *included, "-c", str(source), "-o", f"{scratch}/{source.stem}.o"]
            for source, flags in sources.items()
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))
        objects = [f"{scratch}/{source.stem}.o" for source in sources]
        run([compiler, "-shared", "-pthread", *objects, "-o", f"{scratch}/library"])
        os.replace(f"{scratch}/library", target)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise CompilationError(f"{done.stderr}{' '.join(command)} failed")
