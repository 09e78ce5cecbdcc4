"""Rows, expert ids and router weights of a call, and the checks of what arrives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.limits import MAX_ROWS_PER_CALL, MAX_SLOTS
from jangtq_proto.wire.row_type import RowType

PROTOCOL_VERSION: Final = 5
NO_COMPRESSION: Final = 1
"""gRPC's set of compression algorithms: none, since compressed data may expand without limit."""
_MESSAGE_OVERHEAD: Final = 4096
"""For headers, and for what protobuf puts around a frame."""

Rows = NDArray[np.generic]
Bytes = bytes | memoryview


_WIRE: Final[Mapping[RowType, pb.RowType]] = {
    RowType.FLOAT32: pb.ROW_TYPE_FLOAT32,
    RowType.FLOAT16: pb.ROW_TYPE_FLOAT16,
    RowType.BFLOAT16: pb.ROW_TYPE_BFLOAT16,
}
_DTYPE: Final[Mapping[int, np.dtype[np.generic]]] = {
    int(pb.ROW_TYPE_FLOAT32): np.dtype("<f4"),
    int(pb.ROW_TYPE_FLOAT16): np.dtype("<f2"),
    int(pb.ROW_TYPE_BFLOAT16): np.dtype(ml_dtypes.bfloat16),
}

_EXPERT_ID: Final = np.dtype(np.int32).newbyteorder("<")
_ROUTER_WEIGHT: Final = np.dtype(np.float32).newbyteorder("<")
_EXPONENT: Final = np.dtype(np.int8)
_SUM: Final = np.dtype(np.int32).newbyteorder("<")
_Item = TypeVar("_Item", bound=np.generic)


@dataclass(frozen=True)
class CallShape:
    """The sizes of a worker's model, against which every call is checked."""

    layer_count: int
    hidden_size: int


class WireCall(NamedTuple):
    """An expert call as it arrived, unchecked; its arrays are bytes. row_type: as in expert.proto."""

    call_id: int
    layer: int
    row_count: int
    slot_count: int
    row_type: int
    rows: Bytes
    expert_ids: Bytes
    router_weights: Bytes
    exponents: Bytes
    prefill: bool


@dataclass(frozen=True)
class LayerCall:
    """One layer's rows for one worker; members as in jangtq_kernels.backend.ExpertRows."""

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


def message_limit(hidden_size: int) -> int:
    """Bytes of the largest message a model with this hidden size needs."""
    return MAX_ROWS_PER_CALL * (hidden_size * 4 + MAX_SLOTS * 8 + 1) + _MESSAGE_OVERHEAD


def wire_row_type(row_type: RowType) -> pb.RowType:
    """The number that stands for a row type on the wire."""
    return _WIRE[row_type]


def row_dtype(row_type: RowType) -> np.dtype[np.generic]:
    """The NumPy dtype of rows on the wire."""
    return _DTYPE[int(_WIRE[row_type])]


def decode_call(call: WireCall, shape: CallShape) -> LayerCall:
    """Check a call field by field; the arrays are read-only views of its bytes.

    Raises CallRejectedError naming the field.
    """
    layer, row_count = call.layer, call.row_count
    if layer >= shape.layer_count:
        raise CallRejectedError(f"layer {layer}: this model has layers 0-{shape.layer_count - 1}")
    _check_count("row_count", row_count, MAX_ROWS_PER_CALL)
    _check_count("slot_count", call.slot_count, MAX_SLOTS)
    slots = (row_count, call.slot_count)
    return LayerCall(
        layer,
        _decode("rows", call.rows, _dtype_of(call.row_type), (row_count, shape.hidden_size)),
        _decode("expert_ids", call.expert_ids, _EXPERT_ID, slots),
        _decode("router_weights", call.router_weights, _ROUTER_WEIGHT, slots),
        _decode("exponents", call.exponents, _EXPONENT, (row_count,)),
        prefill=call.prefill,
    )


def answer_checksum(call_id: int, partial_sums: Bytes, finest: Bytes) -> int:
    """The low half of XXH3 of an answer; seeded by the call's id, so that no answer passes for another's."""
    return xxh3_64_intdigest(finest, xxh3_64_intdigest(partial_sums, call_id)) & 0xFFFFFFFF


def decode_partial_sums(data: Bytes, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Partial sums of an answer, int32 [rows, hidden]. Raises CallRejectedError for a wrong length."""
    return _decode("partial_sums", data, _SUM, shape)


def decode_finest(data: Bytes, row_count: int) -> NDArray[np.int8]:
    """Finest exponents of an answer, int8 [rows]. Raises CallRejectedError for a wrong length."""
    return _decode("finest", data, _EXPONENT, (row_count,))


def _dtype_of(row_type: int) -> np.dtype[np.generic]:
    dtype = _DTYPE.get(row_type)
    if dtype is None:
        raise CallRejectedError(f"row_type {row_type}: allowed are {sorted(_DTYPE)}")
    return dtype


def _check_count(name: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise CallRejectedError(f"{name} {count}: allowed are 1 to {most}")


def _decode(name: str, data: Bytes, dtype: np.dtype[_Item], shape: tuple[int, ...]) -> NDArray[_Item]:
    expected = math.prod(shape, start=dtype.itemsize)
    if len(data) != expected:
        raise CallRejectedError(f"{name} has {len(data)} bytes: {list(shape)} of {dtype} takes {expected}")
    return np.ndarray(shape, dtype, data)
