"""What a Metal process does about memory before it loads weights. Knows no weights.

MLX wires nothing by default: macOS may then take idle weights out of the GPU's page tables, and a layer that
is asked for again is wired anew first.
"""

import logging
from dataclasses import dataclass
from typing import Final

import mlx.core as mx

GIB: Final = 2**30
WORKER_CACHE_BYTES: Final = GIB
"""Of buffers that MLX keeps for their next use; prefills differ in size, and each would be kept."""

_log = logging.getLogger("jangtq.metal")


@dataclass(frozen=True)
class MetalMemory:
    """Bytes: what the GPU may wire on this machine, and what MLX wires at most."""

    recommended: int
    wired: int

    def __str__(self) -> str:
        return (
            f"up to {self.wired / GIB:.1f} GiB of GPU memory are wired, of {self.recommended / GIB:.1f} GiB "
            "that macOS allows (sudo sysctl iogpu.wired_limit_mb=N allows more)"
        )


def wire_memory() -> MetalMemory:
    """Let MLX wire the memory of this process, up to the limit of macOS, and log the limit."""
    recommended = int(mx.device_info()["max_recommended_working_set_size"])
    mx.set_wired_limit(recommended)
    memory = MetalMemory(recommended, wired=recommended)
    _log.info("%s", memory)
    return memory


def limit_cache(nbytes: int = WORKER_CACHE_BYTES) -> None:
    """Let MLX keep no more than this of buffers that nothing uses."""
    mx.set_cache_limit(nbytes)


def touch_device() -> None:
    """A trivial kernel, which takes the GPU out of its rest."""
    mx.eval(mx.zeros(32) + 1)
