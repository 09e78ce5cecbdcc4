"""Turns Metal source into a shared library with clang. Knows nothing of buffers and threads."""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .signature import Call, write_kernel

HERE = Path(__file__).parent
CLANG_NAMES = ("clang++-21", "clang++-20", "clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++")
OLDEST_CLANG = 14
"""The oldest that compiles the shim."""
CLANG_COMMAND = "sudo apt-get install clang libclang-rt-dev"

FLAGS = (
    *("-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"),
    # Metal's floating literals without a suffix are single precision.
    *("-Xclang", "-cl-single-precision-constant"),
    *("-Wno-unknown-attributes", "-Wno-unused-value", "-ferror-limit=3"),
    # Conversions of half in hardware: clang 14 would call functions that libgcc lacks.
    *(("-mf16c",) if platform.machine() == "x86_64" else ()),
)

THREADGROUP_VARIABLE = re.compile(r"\bthreadgroup(?=\s+[\w:<>, ]+?\s+\w+\s*(?:\[[^\];]*\]\s*)*;)")


class CompilationError(Exception):
    """clang is missing or refuses the source; the message carries its own words."""


def compile_kernel(call: Call) -> ctypes.CDLL:
    """Library with `run` and `threadgroup_memory_bytes`, compiled once for each text, flags and compiler."""
    return _load(_written(call))


def _written(call: Call) -> str:
    entry = 'extern "C" void run_thread(void* const* buffers, const simulator::ThreadPosition& position)'
    return f"{function_text(call)}{entry} {{\n  {instance(call)};\n}}\n"


def function_text(call: Call) -> str:
    """The kernel as C++, a template where it has template arguments; lines keep their numbers."""
    kernel = call.kernel
    signature, rest = write_kernel(call).rsplit(kernel.source, 1)
    # Lines in clang's words and in reports of the runtime are those of the Metal source.
    body = THREADGROUP_VARIABLE.sub("threadgroup_variable", kernel.source)
    metal = f'{signature}\n#line 1 "{kernel.name}"\n{body}{rest}'
    return f'#include "shim.hpp"\nnamespace {{\n{metal}}}\n'


def instance(call: Call, *, name: str | None = None) -> str:
    """The expression that calls it, with `buffers` and `position`; `name` is the function's, if another."""
    arguments = ", ".join(_argument(index, p.type) for index, p in enumerate(call.parameters))
    arguments += "".join(f", position.{attribute}" for attribute in call.kernel.attributes)
    template = f"<{call.template_arguments}>" if call.template else ""
    return f"{name or call.function_name}{template}({arguments})"


def _argument(index: int, kind: str) -> str:
    if kind.endswith("&"):
        return f"*({kind[:-1]}*)buffers[{index}]"
    return f"({kind})buffers[{index}]"


@cache
def _load(text: str) -> ctypes.CDLL:
    runtime = _built((HERE / "runtime.cpp").read_text(), suffix=".o", options=("-c",))
    library = _built(text, suffix=".so", options=("-shared", str(runtime), "-lm"))
    return ctypes.CDLL(str(library))


def _built(text: str, *, suffix: str, options: tuple[str, ...]) -> Path:
    command = [find_clang(), *FLAGS, f"-I{HERE}", f"-I{HERE / 'include'}"]
    key = "\0".join([text, *(path.read_text() for path in sorted(HERE.glob("*.hpp"))), *command, *options])
    target = _cache_folder() / (hashlib.sha256(key.encode()).hexdigest()[:32] + suffix)
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, made = Path(folder) / "kernel.cpp", Path(folder) / "made"
        source.write_text(text)
        done = subprocess.run(
            [*command, str(source), *options, "-o", str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CompilationError(f"clang refuses the kernel:\n{done.stderr}")
        os.replace(made, target)
    return target


@cache
def _cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"jangtq-metal-simulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise CompilationError(f"{folder} belongs to another user, whose libraries will not be loaded")
    return folder


@cache
def find_clang() -> str:
    """Path of the newest clang. Raises CompilationError, with what to install, where there is none."""
    for name in CLANG_NAMES:
        path = shutil.which(name)
        if path and _major_version(path) >= OLDEST_CLANG:
            return path
    raise CompilationError(
        f"the Metal simulator needs clang {OLDEST_CLANG} or newer, among {', '.join(CLANG_NAMES)}; "
        f"install it, on Debian and Ubuntu with: {CLANG_COMMAND}"
    )


def has_clang() -> bool:
    try:
        return bool(find_clang())
    except CompilationError:
        return False


def _major_version(path: str) -> int:
    printed = subprocess.run([path, "-dumpversion"], capture_output=True, text=True, check=True).stdout
    return int(printed.split(".")[0])
