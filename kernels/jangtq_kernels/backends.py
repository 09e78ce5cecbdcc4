"""Which backends this machine has. Knows no bundle and no wire."""

import logging
import sys

from jangtq_kernels.backend import ACTIVATIONS, Backend
from jangtq_kernels.command_buffers import suit_layers
from jangtq_kernels.errors import BackendMissingError, KernelInputError, StaleLibraryError
from jangtq_kernels.reference import ReferenceBackend

DEVICES = ("auto", "metal", "cuda", "cpu", "reference")

_log = logging.getLogger(__name__)


def open_backend(device: str, *, threads: int | None = None, activations: str = "float32") -> Backend:
    """The backend of that name; `auto` takes the first of metal, cuda, cpu and reference that there is.

    threads: how many compute on the CPU, None for every core, on Apple silicon every performance core.
    activations: `float32`, or `int8`, which is less exact and which the CPU alone has.
    Raises KernelInputError for an unknown name, BackendMissingError where a named one cannot run.
    """
    _check_choice(device, activations)
    if activations != "float32":
        return _open_cpu(threads, activations)
    if device == "auto":
        return _open_best(threads)
    if device == "metal":
        return _open_metal()
    if device == "cuda":
        return _open_cuda()
    if device == "cpu":
        return _open_cpu(threads)
    return ReferenceBackend()


def _check_choice(device: str, activations: str) -> None:
    if device not in DEVICES:
        raise KernelInputError(f"device {device!r} is unknown, allowed are {', '.join(DEVICES)}")
    if activations not in ACTIVATIONS:
        raise KernelInputError(f"activations {activations!r}: allowed are {', '.join(ACTIVATIONS)}")
    if activations != "float32" and device not in ("auto", "cpu"):
        raise KernelInputError(f"activations {activations!r}: device {device} computes in float32 only")


def _open_best(threads: int | None) -> Backend:
    # Only macOS has Metal; elsewhere MLX stays out of the process.
    gpu = _open_metal if sys.platform == "darwin" else _open_cuda
    try:
        return gpu()
    except StaleLibraryError:
        raise  # it is not missing, and installing again mends it
    except BackendMissingError as error:
        _log.info("no GPU: %s", error)
    try:
        return _open_cpu(threads)
    except StaleLibraryError:
        raise  # it is not missing, and installing again mends it
    except BackendMissingError as error:
        _log.warning("computing with the slow reference backend: %s", error)
        return ReferenceBackend()


def _open_metal() -> Backend:
    if sys.platform != "darwin":
        raise BackendMissingError(f"device metal: Metal exists on macOS only, this is {sys.platform}")
    suit_layers()
    from jangtq_kernels.metal.backend import MetalBackend
    from jangtq_kernels.metal.memory import wire_memory

    backend = MetalBackend()
    wire_memory()
    return backend


def _open_cuda() -> Backend:
    if sys.platform != "linux":
        raise BackendMissingError(f"device cuda: it is for NVIDIA GPUs on Linux, this is {sys.platform}")
    from jangtq_kernels.cuda.backend import CudaBackend

    return CudaBackend()


def _open_cpu(threads: int | None, activations: str = "float32") -> Backend:
    from jangtq_kernels.cpu import CpuBackend

    return CpuBackend(threads, activations=activations)
