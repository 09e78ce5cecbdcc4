"""Compilers for Apple silicon and for ARM Linux, and the native libraries' sources for them."""

import importlib.util
import re
import shutil
import struct
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

from tests.support.needs import Need
from tests.support.paths import ROOT

ZIG = Need("zig", "python -m pip install ziglang", lambda: importlib.util.find_spec("ziglang") is not None)
ARM_GCC = Need(
    "aarch64-linux-gnu-g++",
    "apt-get install g++-aarch64-linux-gnu libc6-dev-arm64-cross",
    lambda: shutil.which("aarch64-linux-gnu-g++") is not None,
)
QEMU = Need("qemu-aarch64", "apt-get install qemu-user", lambda: shutil.which("qemu-aarch64") is not None)
MACOS = (sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-macos.13.0")
ARM_LINUX = ("aarch64-linux-gnu-g++",)


def build_hook() -> types.ModuleType:
    """hatch_build.py, whose base class only a build environment has."""
    stand_ins: dict[str, dict[str, object]] = {
        "hatchling.builders.hooks.plugin.interface": {"BuildHookInterface": object},
        "packaging.tags": {"sys_tags": None},
    }
    before = {name: sys.modules.get(name) for name in stand_ins}
    for name, members in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)
    try:
        spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["hatch_build"] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    finally:
        for name, module_before in before.items():
            del sys.modules[name]
            if module_before is not None:
                sys.modules[name] = module_before


def arm_sources(library: object) -> list[Path]:
    """The sources of a Library of hatch_build.py for ARM machines, but for the digest."""
    path, baseline, kernels = (getattr(library, name) for name in ("path", "baseline", "kernels"))
    names = [*baseline, *kernels.get("arm64", {})]
    return [(ROOT / path).parent / "native" / f"{name}.cpp" for name in names]


def compile_library(
    compiler: Sequence[str], flags: Sequence[str], sources: Sequence[Path], target: Path, *more: str
) -> None:
    """A shared library or program; warnings are errors."""
    command = [*compiler, *flags, "-Wall", "-Wextra", "-Werror", *map(str, sources), "-o", str(target), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def exported_symbols(library: Path) -> set[str]:
    """Names that a Mach-O library defines for others, from its symbol table, without the underscore."""
    data = library.read_bytes()
    magic, _, _, _, commands, _, _, _ = struct.unpack_from("<8I", data)
    assert magic == 0xFEEDFACF, "a 64-bit Mach-O file"
    offset, found = 32, set()
    for _ in range(commands):
        kind, size = struct.unpack_from("<2I", data, offset)
        if kind == 2:  # LC_SYMTAB
            symbols, count, strings, _ = struct.unpack_from("<4I", data, offset + 8)
            for index in range(count):
                name, flags, section = struct.unpack_from("<IBB", data, symbols + 16 * index)
                is_private, is_external = flags & 0x10, flags & 0x01
                if is_external and not is_private and section:
                    end = data.index(b"\0", strings + name)
                    found.add(data[strings + name : end].decode().removeprefix("_"))
        offset += size
    return found


def symbols_asked_for() -> set[str]:
    """What Python asks the library of Macs for; the other two, of products and of CUDA, Linux alone has."""
    found: set[str] = set()
    for package in ("kernels", "coordinator", "worker"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            if '"_blas.' not in text and '"_gpu.' not in text:
                found |= set(re.findall(r"library\.(jangtq_\w+)", text))
    return {name for name in found if not name.startswith(("jangtq_blas_", "jangtq_gpu_"))}
