"""Turns CUDA source into shared libraries with the C++ compiler of the native kernels."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jangtq_kernels.cuda.backend import Toolkit
from jangtq_kernels.cuda.compiler import SOURCE_FOLDER

HERE = Path(__file__).parent
FLAGS = (
    *(
        "-std=c++20",
        "-O1",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
    ),
    *("-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas", "-w"),
    *(("-mf16c",) if platform.machine() == "x86_64" else ()),
)
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(')


class SimulatedCompiler:
    """As RuntimeCompiler; the code is the path of a library with a function for each kernel."""

    def compile(self, name: str, *, definitions: Mapping[str, int], capability: tuple[int, int]) -> bytes:
        text = (SOURCE_FOLDER / name).read_text()
        entries = "".join(
            f'extern "C" __attribute__((visibility("default"))) const char* simulated_{kernel}('
            f"const simulator::Launch* shape, void** arguments) {{\n"
            f"  return simulator::run_kernel({kernel}, *shape, arguments);\n}}\n"
            for kernel in _KERNEL.findall(text)
        )
        sources = {path.name: path.read_text() for path in SOURCE_FOLDER.glob("*.cuh")}
        sources |= {path.name: path.read_text() for path in (HERE / "device.cuh", HERE / "fibers.hpp")}
        options = tuple(f"-D{key}={value}" for key, value in definitions.items())
        return bytes(_built(f'#line 1 "{name}"\n{text}{entries}', sources, options)) + b"\0"


@cache
def simulated_driver() -> Path:
    return _built((HERE / "driver.cpp").read_text(), {}, ())


def simulated_toolkit() -> Toolkit:
    return Toolkit(compiler=SimulatedCompiler(), driver=str(simulated_driver()))


def _built(text: str, headers: Mapping[str, str], options: tuple[str, ...]) -> Path:
    command = [_find_compiler(), *FLAGS, *options]
    key = "\0".join([text, *(f"{name}\0{headers[name]}" for name in sorted(headers)), *command])
    target = _cache_folder() / (hashlib.sha256(key.encode()).hexdigest()[:32] + ".so")
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for name, content in headers.items():
            (Path(folder) / name).write_text(content)
        source, made = Path(folder) / "kernel.cpp", Path(folder) / "made"
        source.write_text(text)
        done = subprocess.run(
            [*command, str(source), "-ldl", "-o", str(made)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"the compiler refuses the kernel:\n{done.stderr}"
        os.replace(made, target)
    return target


@cache
def _cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"jangtq-cuda-simulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} belongs to another user"
    return folder


def _find_compiler() -> str:
    candidates = (os.environ.get("CXX"), "c++", "g++", "clang++")
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    assert found is not None, "the CUDA simulator needs a C++ compiler"
    return found
