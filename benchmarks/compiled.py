"""C++ beside a benchmark, compiled when it is run."""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread")
_KERNELS = Path(__file__).parent.parent / "kernels/jangtq_kernels/native"


def has_compiler() -> bool:
    """Whether `compile_library` can do anything."""
    return _find_compiler() is not None


def compile_library(source: Path, *flags: str) -> ctypes.CDLL:
    """A source file with the kernels' headers at hand. Raises RuntimeError where there is no compiler."""
    compiler = _find_compiler()
    if compiler is None:
        raise RuntimeError(f"{source.name} needs a C++ compiler (c++, g++ or clang++)")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"{source.stem}.so"
        command = [compiler, *_FLAGS, *flags, f"-I{_KERNELS}", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(library))


def _find_compiler() -> str | None:
    return next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
