"""The coordinator: everything of the model but the routed experts, and the API in front of it."""

from contextlib import suppress

from jangtq_kernels.blas import stand_before_mlx
from jangtq_kernels.command_buffers import suit_layers
from jangtq_kernels.errors import BackendMissingError

suit_layers()
# Here, because any module of this package may import MLX first. Loading a model reports a failure.
with suppress(BackendMissingError):
    stand_before_mlx()
