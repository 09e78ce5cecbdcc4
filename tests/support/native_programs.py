"""Programs of native sources that tests compile and run, most of them under sanitizers.

clang compiles them where it is there with its runtime libraries, else the C++ compiler of the project.
Each is compiled once for its sources, headers, flags and compiler, and kept for later runs.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.support.metal_simulator.compiler import CLANG_COMMAND
from tests.support.mutations import scaled
from tests.support.needs import Need, require
from tests.support.paths import NATIVE_PROGRAMS as NATIVE_PROGRAMS
from tests.support.paths import ROOT

KERNELS = ROOT / "kernels/jangtq_kernels/native"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_LIBFUZZER = "-fsanitize=fuzzer"
_FUZZ_TARGET = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'


def run(command: list[str]) -> str:
    """What it prints; fails with its complaints."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout


@cache
def has_libfuzzer() -> bool:
    """Apple's clang comes without it, and GNU's compiler knows none: fuzz targets then draw their bytes."""
    return _can_compile("clang++", _FUZZ_TARGET, *SANITIZERS, _LIBFUZZER)


@cache
def has_sanitizers() -> bool:
    return _can_compile(_compiler(), "int main() {}", *SANITIZERS)


_NEED = Need("a C++ compiler with sanitizers", CLANG_COMMAND, has_sanitizers)


def fuzzing() -> tuple[str, ...]:
    """Flags of a fuzz target."""
    return (_LIBFUZZER,) if has_libfuzzer() else ("-DJANGTQ_OWN_MAIN",)


@cache
def _compiler() -> str:
    """clang, which has libFuzzer, if it can do what is asked of it; Debian's comes without its sanitizers."""
    if _can_compile("clang++", "int main() {}", *SANITIZERS):
        return "clang++"
    candidates = (os.environ.get("CXX"), "c++", "g++", "clang++")
    found = next((name for name in candidates if name and shutil.which(name)), None)
    assert found, "a C++ compiler is needed"
    return found


def _can_compile(compiler: str, text: str, *flags: str) -> bool:
    if not shutil.which(compiler):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-x", "c++", "-", *flags, "-o", f"{folder}/program"]
        return subprocess.run(command, input=text, text=True, capture_output=True).returncode == 0


def compile_native(name: str, sources: Iterable[Path], *flags: str) -> Path:
    """A program, or with `-c` an object."""
    if any(flag.startswith("-fsanitize") for flag in flags):
        require(_NEED)
    paths = list(sources)
    command = [_compiler(), "-std=c++17", "-g", "-pthread", *flags, *map(str, paths)]
    target = _cache_folder() / f"{name}-{_digest(command, paths)}{'.o' if '-c' in flags else ''}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            run([*command, "-o", f"{folder}/made"])
            os.replace(f"{folder}/made", target)
    return target


def _digest(command: list[str], sources: Iterable[Path]) -> str:
    """Of all that decides what the compiler makes."""
    found = hashlib.sha256("\0".join([_compiler_version(), *command]).encode())
    for path in (*sources, *_headers()):
        found.update(path.read_bytes())
    return found.hexdigest()[:32]


@cache
def _compiler_version() -> str:
    return run([_compiler(), "--version"])


def _headers() -> Iterator[Path]:
    for folder in (KERNELS, NATIVE_PROGRAMS):
        yield from sorted(folder.rglob("*.h"))


@cache
def _cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"jangtq-native-programs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to another user"
    return folder


def included(*folders: Path) -> list[str]:
    return [f"-I{folder}" for folder in folders]


def fuzz(program: Path, runs: int, *, most_bytes: int, flags: tuple[str, ...] = ()) -> None:
    """Run a fuzz target so many times; JANGTQ_FUZZ=1000 and more makes a long run of it."""
    runs = scaled(runs)
    limits = [f"-runs={runs}", "-seed=7", f"-max_len={most_bytes}", *flags]
    run([str(program), *(limits if has_libfuzzer() else [str(runs)])])
