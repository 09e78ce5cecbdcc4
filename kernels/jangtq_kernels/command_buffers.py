"""How long MLX's command buffers may become. Knows no MLX, which reads this once, when it is imported."""

import os
from collections.abc import MutableMapping
from typing import Final

VARIABLE: Final = "MLX_MAX_MB_PER_BUFFER"
MEGABYTES: Final = "4096"
"""MLX ends a command buffer once its kernels' arrays are larger, and counts whole arrays of experts, of which
a call reads few. With MLX's own limit, 50, each layer would become two or three command buffers in series."""


def lift_limit(environment: MutableMapping[str, str] = os.environ) -> None:
    """One command buffer a layer, unless the user chose otherwise."""
    environment.setdefault(VARIABLE, MEGABYTES)
