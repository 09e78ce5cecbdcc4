"""How rows are written on the wire."""

from enum import StrEnum


class RowType(StrEnum):
    """The values of `--wire-dtype`."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
