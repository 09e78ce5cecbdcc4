"""CUDA source to machine code by NVIDIA's run-time compiler. Knows no kernel."""

import ctypes
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from jangtq_kernels.errors import BackendMissingError

SOURCE_FOLDER = Path(__file__).parent / "source"
_NAMES = ("libnvrtc.so.13", "libnvrtc.so.12")
_FOLDERS = ("nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib")
"""Where the packages nvidia-cuda-nvrtc of CUDA 13 and nvidia-cuda-nvrtc-cu12 put it, in site-packages."""

INSTALL = "install it with: pip install 'jangtq-cluster[cuda]'"


class RuntimeCompiler:
    """NVRTC. Raises BackendMissingError where it is not installed."""

    def __init__(self) -> None:
        self._library = _load()
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def compile(self, name: str, *, definitions: Mapping[str, int], capability: tuple[int, int]) -> bytes:
        """Machine code of source/`name` for a GPU of this compute capability. Raises BackendMissingError."""
        sources = _sources()
        program = ctypes.c_void_p()
        headers = [header for header in sources if header.endswith(".cuh")]
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            sources[name],
            name.encode(),
            len(headers),
            _strings([sources[header] for header in headers]),
            _strings([header.encode() for header in headers]),
        )
        options = [option.encode() for option in compile_options(definitions, capability)]
        failed = self._library.nvrtcCompileProgram(program, len(options), _strings(options))
        if failed:
            log = self._text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode()
            raise BackendMissingError(
                f"device cuda: NVRTC refuses {name} for capability {capability[0]}.{capability[1]}: {log}"
            )
        code = self._text(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        return code

    def _text(self, program: ctypes.c_void_p, size_of: str, get: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(size_of, program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        self._call(get, program, text)
        return text.raw[: size.value]

    def _call(self, function: str, *arguments: object) -> None:
        failed = getattr(self._library, function)(*arguments)
        if failed:
            raise BackendMissingError(
                f"device cuda: {function}: {self._library.nvrtcGetErrorString(failed).decode()}"
            )


def compile_options(definitions: Mapping[str, int], capability: tuple[int, int]) -> list[str]:
    """No multiply-adds but those written as such, so that kernels that must agree do."""
    return [
        *("--std=c++17", "--fmad=false", f"--gpu-architecture=sm_{capability[0]}{capability[1]}"),
        *(f"-D{name}={value}" for name, value in definitions.items()),
    ]


@cache
def _sources() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(SOURCE_FOLDER.glob("*.cu*"))}


def _strings(values: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(values))(*values)


def _load() -> ctypes.CDLL:
    for candidate in _candidates():
        try:
            if Path(candidate).is_absolute():
                _load_builtins(Path(candidate).parent)
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    raise BackendMissingError(f"device cuda: NVIDIA's run-time compiler {_NAMES[0]} is missing; {INSTALL}")


def _load_builtins(folder: Path) -> None:
    """NVRTC looks for its second half by name alone, and finds it where it is loaded."""
    for builtins in folder.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))


def _candidates() -> Iterator[str]:
    """The packages' own first: the system's may be of another version."""
    spec = importlib.util.find_spec("nvidia")
    for site in spec.submodule_search_locations or () if spec else ():
        for folder in _FOLDERS:
            paths = (Path(site).parent / folder / name for name in _NAMES)
            yield from (str(path) for path in paths if path.exists())
    yield from _NAMES
