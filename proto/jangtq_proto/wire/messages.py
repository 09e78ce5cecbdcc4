"""Expert calls as protobuf messages, to the byte as protobuf writes them, but without message objects.

Who has computed or waited finds nothing in the caches: what a call costs then is how much it touches.
"""

from typing import Final, NamedTuple

from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import LayerCall, row_dtype, wire_row_type
from jangtq_proto.wire.row_type import RowType

_MOST_LAYOUTS: Final = 4096


class _Layout(NamedTuple):
    """What stands before the rows, expert ids, router weights and exponents of a call, and after them."""

    before_rows: bytes
    before_ids: bytes
    before_weights: bytes
    before_exponents: bytes
    end: bytes


class CallWriter:
    """Rows are converted to `row_type`."""

    def __init__(self, row_type: RowType) -> None:
        self._row_type = row_type
        self._dtype = row_dtype(row_type)
        self._layouts: dict[tuple[object, ...], _Layout] = {}

    def write(self, call_id: int, call: LayerCall) -> bytes:
        """The ExpertCall that codec.encode_call makes, serialized; for call ids from 1 on."""
        rows, expert_ids = call.rows, call.expert_ids
        key = call.layer, rows.shape, expert_ids.shape, call.prefill
        before_rows, before_ids, before_weights, before_exponents, end = self._layouts.get(
            key
        ) or self._keep_layout(key, call)
        if rows.dtype != self._dtype:
            rows = rows.astype(self._dtype)
        pieces = (
            b"\x08",
            varint(call_id),
            before_rows,
            rows.tobytes(),
            before_ids,
            expert_ids.tobytes(),
            before_weights,
            call.router_weights.tobytes(),
            before_exponents,
            call.exponents.tobytes(),
            end,
        )
        return b"".join(pieces)

    def _keep_layout(self, key: tuple[object, ...], call: LayerCall) -> _Layout:
        if len(self._layouts) == _MOST_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts[key] = self._lay_out(call)
        return layout

    def _lay_out(self, call: LayerCall) -> _Layout:
        row_count, slot_count = call.expert_ids.shape
        numbers = pb.ExpertCall(
            layer=call.layer,
            row_count=row_count,
            slot_count=slot_count,
            row_type=wire_row_type(self._row_type),
        )
        slot_bytes = row_count * slot_count * 4
        return _Layout(
            numbers.SerializeToString() + _field(b"\x32", call.rows.size * self._dtype.itemsize),
            _field(b"\x3a", slot_bytes),
            _field(b"\x42", slot_bytes),
            _field(b"\x4a", row_count),
            b"\x50\x01" if call.prefill else b"",
        )


def varint(number: int) -> bytes:
    """As protobuf writes numbers from 0 on."""
    septets = []
    while number > 0x7F:
        septets.append(number & 0x7F | 0x80)
        number >>= 7
    septets.append(number)
    return bytes(septets)


def _field(tag: bytes, nbytes: int) -> bytes:
    """What stands before so many bytes; protobuf leaves out fields that hold none."""
    return tag + varint(nbytes) if nbytes else b""
