"""Programs of native sources that tests compile with clang and run, most of them under sanitizers."""

import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.mutations import scaled
from tests.support.paths import NATIVE_PROGRAMS as NATIVE_PROGRAMS
from tests.support.paths import ROOT

COORDINATOR = ROOT / "coordinator/jangtq_coordinator/dispatch/native"
WORKER = ROOT / "worker/jangtq_worker/native"
KERNELS = ROOT / "kernels/jangtq_kernels/native"
WIRE = ROOT / "proto/jangtq_proto/native"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Apple's clang comes without libFuzzer.
HAS_LIBFUZZER = platform.system() == "Linux"
FUZZING = ("-fsanitize=fuzzer",) if HAS_LIBFUZZER else ("-DJANGTQ_OWN_MAIN",)


def run(command: list[str]) -> str:
    """What it prints; fails with its complaints."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


def compile_native(target: Path, sources: Iterable[Path], *flags: str) -> Path:
    """A program, or with `-c` an object."""
    run(["clang++", "-std=c++17", "-g", "-pthread", *flags, *map(str, sources), "-o", str(target)])
    return target


def included(*folders: Path) -> list[str]:
    return [f"-I{folder}" for folder in folders]


def fuzz(program: Path, runs: int, *, most_bytes: int, flags: tuple[str, ...] = ()) -> None:
    """Run a fuzz target so many times; JANGTQ_FUZZ=1000 and more makes a long run of it."""
    runs = scaled(runs)
    limits = [f"-runs={runs}", "-seed=7", f"-max_len={most_bytes}", *flags] if HAS_LIBFUZZER else [str(runs)]
    run([str(program), *limits])
