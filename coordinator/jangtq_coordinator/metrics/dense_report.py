"""What became of the dense weights when the model was loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseReport:
    """Who multiplies dense matrices, and the bytes that they take."""

    products: str = "MLX"
    nbytes: int = 0
