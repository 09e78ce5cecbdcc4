"""Whether MLX's own float32 products are those of jangtq_kernels.blas, on Linux."""

import logging

import mlx.core as mx

from jangtq_kernels.blas import Blas, stand_before_mlx
from jangtq_kernels.errors import BackendMissingError

_log = logging.getLogger("jangtq.dense")


def fast_products() -> Blas | None:
    """Our products, where MLX really calls them; None and a line in the log where they are missing."""
    try:
        blas = stand_before_mlx()
    except BackendMissingError as error:
        _log.warning("dense layers will be slow: %s", error)
        return None
    if blas is None:
        return None
    before = blas.calls
    mx.eval(mx.ones((2, 3)) @ mx.ones((3, 2)))
    if blas.calls == before:
        _log.warning("dense layers will be slow: MLX does not call our products; was it loaded before them?")
        return None
    return blas
