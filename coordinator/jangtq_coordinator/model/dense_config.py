"""How dense layers keep their weights, as the command line chooses it."""

from dataclasses import dataclass
from enum import StrEnum

from jangtq_proto.options import Group, Option, Settings


class DenseForm(StrEnum):
    """The values of `--dense`."""

    AUTO = "auto"
    FLOAT32 = "float32"
    PACKED = "packed"


@dataclass(frozen=True)
class DenseSettings(Settings):
    """The form of dense weights, and the threads that share a large product; one computes a small product."""

    form: DenseForm = Option(
        "--dense",
        group=Group.MODEL,
        help="form of the weights of attention and head; float32 takes four times the memory of packed and "
        "is many times faster on a CPU; auto unpacks as much as half of the free memory holds, nothing on "
        "Metal",
    ).default(DenseForm.AUTO)
    threads: int | None = Option(
        "--dense-threads",
        group=Group.TUNING,
        least=1,
        most=1024,
        otherwise="half of the cores",
        help="threads that share a large dense product on Linux",
    ).default(None)
