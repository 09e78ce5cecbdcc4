"""Who computes dense layers on a CPU, as the command line chooses it."""

from dataclasses import dataclass
from enum import StrEnum

from jangtq_proto.options import Group, Option, Settings


class DenseProducts(StrEnum):
    """The values of `--dense`."""

    AUTO = "auto"
    MLX = "mlx"


@dataclass(frozen=True)
class DenseSettings(Settings):
    """Who multiplies dense matrices and attends to the KV cache, and the threads that share it."""

    products: DenseProducts = Option(
        "--dense",
        group=Group.TUNING,
        help="who computes attention and head; auto takes the native library on CPUs; mlx is for finding "
        "faults, and many times slower there",
    ).default(DenseProducts.AUTO)
    threads: int | None = Option(
        "--dense-threads",
        group=Group.TUNING,
        least=1,
        most=1024,
        otherwise="every core",
        help="threads that compute dense layers on a CPU",
    ).default(None)
