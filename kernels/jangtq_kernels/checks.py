"""What every backend refuses before it computes."""

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, ExpertRows
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.grid import COARSEST, FINEST, SLOTS
from jangtq_kernels.weights import ExpertWeights, PackedMatrix

ROW_DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
ALLOWED_BITS = (2, 3, 4)

_FINEST_BYTE = np.int8(FINEST).view(np.uint8)
_FOREIGN = -2
_SHIFT = 2


def check_weights(weights: ExpertWeights) -> None:
    """Raises KernelInputError when matrices, norms, codebooks and signs do not fit each other."""
    count = len(weights.expert_ids)
    hidden, intermediate = weights.hidden_size, weights.intermediate_size
    if count == 0 or len(set(weights.expert_ids)) != count:
        raise KernelInputError(f"expert_ids {weights.expert_ids}: expected at least one, each once")
    _check_matrix("gate", weights.gate, (count, intermediate, hidden))
    _check_matrix("up", weights.up, (count, intermediate, hidden))
    _check_matrix("down", weights.down, (count, hidden, intermediate))


def check_rows(asked: ExpertRows, *, hidden_size: int) -> None:
    """Raises KernelInputError naming the member that has a wrong shape, dtype or value."""
    rows, expert_ids = asked.rows, asked.expert_ids
    if rows.dtype not in ROW_DTYPES:
        raise KernelInputError(f"rows are {rows.dtype}, allowed are {', '.join(map(str, ROW_DTYPES))}")
    if rows.ndim != 2 or rows.shape[1] != hidden_size:
        raise KernelInputError(f"rows are {list(rows.shape)}, expected [rows, {hidden_size}]")
    if expert_ids.ndim != 2 or expert_ids.shape[0] != rows.shape[0] or expert_ids.shape[1] > SLOTS:
        raise KernelInputError(
            f"expert_ids are {list(expert_ids.shape)}, expected [{rows.shape[0]}, up to {SLOTS}]"
        )
    _check_array("expert_ids", expert_ids, expert_ids.shape, np.dtype(np.int32))
    _check_array("router_weights", asked.router_weights, expert_ids.shape, np.dtype(np.float32))
    _check_array("exponents", asked.exponents, rows.shape[:1], np.dtype(np.int8))
    if not np.isfinite(rows).all():
        raise KernelInputError("rows hold values that are not finite")
    if not np.isfinite(asked.router_weights).all():
        raise KernelInputError("router_weights hold values that are not finite")
    # As unsigned numbers from FINEST on, those below it are the largest.
    if (asked.exponents.view(np.uint8) - _FINEST_BYTE).max(initial=0) > COARSEST - FINEST:
        raise KernelInputError(f"exponents {asked.exponents.tolist()}: allowed are {FINEST} to {COARSEST}")


def position_table(expert_ids: Sequence[int]) -> NDArray[np.int32]:
    """For `local_positions`: the position of id e at e + 2, NO_EXPERT before and _FOREIGN around them."""
    table = np.full(max(expert_ids) + 4, _FOREIGN, dtype=np.int32)
    table[NO_EXPERT + _SHIFT] = NO_EXPERT
    table[np.asarray(expert_ids) + _SHIFT] = np.arange(len(expert_ids), dtype=np.int32)
    return table


def local_positions(expert_ids: NDArray[np.int32], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Model-wide ids as positions in the shard, NO_EXPERT kept. Raises KernelInputError for a foreign id."""
    positions: NDArray[np.int32] = table.take(expert_ids + np.int32(_SHIFT), mode="clip")
    foreign = positions == _FOREIGN
    if foreign.any():
        held = int((table >= 0).sum())
        raise KernelInputError(f"expert {int(expert_ids[foreign][0])} is none of the {held} held here")
    return positions


def _check_matrix(name: str, matrix: PackedMatrix, shape: tuple[int, int, int]) -> None:
    if matrix.bits not in ALLOWED_BITS:
        raise KernelInputError(f"{name}: {matrix.bits} bits, allowed are {ALLOWED_BITS}")
    experts, out_features, in_features = shape
    words = -(-in_features // (32 // matrix.bits))
    _check_array(f"{name} codes", matrix.codes, (experts, out_features, words), np.dtype(np.uint32))
    _check_array(f"{name} norms", matrix.norms, (experts, out_features), np.dtype(np.float16))
    _check_array(f"{name} codebook", matrix.codebook, (1 << matrix.bits,), np.dtype(np.float32))
    _check_array(f"{name} signs", matrix.signs, (in_features,), np.dtype(np.float32))


def _check_array(
    name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise KernelInputError(
            f"{name} are {array.dtype} {list(array.shape)}, expected {dtype} {list(shape)}"
        )
