"""What became of the dense weights when the model was loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseReport:
    """Who multiplies float32 matrices, and the bytes of the weights in each form."""

    products: str = "MLX"
    float32_bytes: int = 0
    packed_bytes: int = 0
