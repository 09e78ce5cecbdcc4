"""The KV cache of one layer for sequences that share passes, each row as long as it is. Knows no batch.

Rows begin at column 0, so that one of them grows or is cut without moving the others; mlx-lm's own batch
cache aligns their ends instead, and moves everything when one row is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

COLUMN_STEP = 256
"""Room for tokens is added in steps of so many."""

Parts = tuple[mx.array, ...]
"""Keys or values as they are stored, each part [rows, heads, tokens, *]: one float array, or packed numbers,
scales and biases."""


@dataclass(frozen=True)
class LayerKv:
    """Keys and values of one layer, apart from any batch."""

    keys: Parts
    values: Parts

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (*self.keys, *self.values))


@dataclass(frozen=True)
class KvForm:
    """How keys and values are stored: as they come (bits None), or in groups of 8 or 4 bits."""

    bits: int | None = None
    group_size: int = 64

    def encode(self, values: mx.array) -> Parts:
        """values: [rows, heads, tokens, head size]."""
        if self.bits is None:
            return (values,)
        return tuple(mx.quantize(values, group_size=self.group_size, bits=self.bits))


@dataclass(frozen=True)
class StoredRows:
    """Where `rows` of a cache lie: evaluated parts with all rows and columns, and these rows' lengths."""

    keys: Parts
    values: Parts
    form: KvForm
    rows: range
    lengths: list[int]


class LayerCache:
    """What mlx-lm's attention asks of a cache: `offset`, `make_mask` and `update_and_fetch`."""

    def __init__(self, form: KvForm, rows: int = 1) -> None:
        self.form = form
        self.lengths = [0] * rows
        self._keys: Parts = ()
        self._values: Parts = ()
        if form.bits is not None:
            # Attention takes the presence of these for quantized storage.
            self.bits, self.group_size = form.bits, form.group_size

    @classmethod
    def of(cls, form: KvForm, pieces: Sequence[LayerKv]) -> "LayerCache":
        """One row with these pieces one after the other, evaluated, and room to grow."""
        result = cls(form)
        length = sum(piece.keys[0].shape[2] for piece in pieces)
        room = _rounded_up(length + 1) - length
        result._keys = _concatenated([piece.keys for piece in pieces], room)
        result._values = _concatenated([piece.values for piece in pieces], room)
        result.lengths = [length]
        result.evaluate()
        return result

    @property
    def offset(self) -> int | mx.array:
        """Where each row's next token stands."""
        return self.lengths[0] if len(self.lengths) == 1 else mx.array(self.lengths)

    @property
    def columns(self) -> int:
        """For how many tokens each row has room."""
        return int(self._keys[0].shape[2]) if self._keys else 0

    @property
    def nbytes(self) -> int:
        return LayerKv(self._keys, self._values).nbytes

    def make_mask(self, tokens: int, **_: object) -> mx.array | str | None:
        """Which columns each of `tokens` new tokens sees, asked before they are added."""
        return mask_for(self.lengths, tokens)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array | Parts, mx.array | Parts]:
        """Add [rows, heads, tokens, head size] to every row; returns all columns in use, as stored."""
        return self.update_rows(range(len(self.lengths)), keys, values)

    def update_rows(
        self, rows: range, keys: mx.array, values: mx.array
    ) -> tuple[mx.array | Parts, mx.array | Parts]:
        """The same for some rows that follow each other, of which it returns the columns in use."""
        new_keys, new_values = self.form.encode(keys), self.form.encode(values)
        lengths = self.lengths[rows.start : rows.stop]
        end = max(lengths) + keys.shape[2]
        if end > self.columns:
            room = _rounded_up(end) - self.columns
            self._keys = _grown(self._keys, new_keys, room)
            self._values = _grown(self._values, new_values, room)
        self._keys = tuple(
            _written(*parts, rows, lengths) for parts in zip(self._keys, new_keys, strict=True)
        )
        self._values = tuple(
            _written(*parts, rows, lengths) for parts in zip(self._values, new_values, strict=True)
        )
        self.lengths[rows.start : rows.stop] = [length + keys.shape[2] for length in lengths]
        return self._fetched(self._keys, rows, end), self._fetched(self._values, rows, end)

    def stored(self, pending: mx.array) -> StoredRows:
        """All rows as they lie in memory; `pending` is evaluated with them."""
        return self.stored_rows(range(len(self.lengths)), pending)

    def stored_rows(self, rows: range, pending: mx.array) -> StoredRows:
        """The same of some rows that follow each other."""
        mx.eval(pending, self._keys, self._values)
        lengths = self.lengths[rows.start : rows.stop]
        return StoredRows(self._keys, self._values, self.form, rows, lengths)

    def cut(self, lengths: Sequence[int]) -> None:
        """Forget what rows hold beyond these lengths."""
        self.lengths = list(map(min, self.lengths, lengths))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only, in this order."""
        self.lengths = [self.lengths[row] for row in rows]
        end = min(_rounded_up(max(self.lengths) + 1), self.columns)
        index = mx.array(list(rows))
        self._keys = tuple(part[..., :end, :][index] for part in self._keys)
        self._values = tuple(part[..., :end, :][index] for part in self._values)
        self.evaluate()

    def join(self, other: "LayerCache") -> None:
        """Add the rows of another cache of this form after these."""
        end = max(self.columns, other.columns)
        self._keys = tuple(map(_stacked, _widened(self._keys, end), _widened(other._keys, end)))
        self._values = tuple(map(_stacked, _widened(self._values, end), _widened(other._values, end)))
        self.lengths += other.lengths
        self.evaluate()

    def piece(self, row: int, *, start: int, stop: int) -> LayerKv:
        """A copy of a part of a row, not evaluated; it keeps nothing else alive once it is."""
        return LayerKv(
            tuple(mx.contiguous(part[row : row + 1, :, start:stop]) for part in self._keys),
            tuple(mx.contiguous(part[row : row + 1, :, start:stop]) for part in self._values),
        )

    def evaluate(self) -> None:
        """Compute pending operations, which frees the arrays that they use."""
        mx.eval(self._keys, self._values)

    def _fetched(self, parts: Parts, rows: range, end: int) -> mx.array | Parts:
        whole = len(rows) == len(self.lengths)
        used = tuple(part[..., :end, :] if whole else part[rows.start : rows.stop, :, :end] for part in parts)
        return used[0] if self.form.bits is None else used


def mask_for(lengths: Sequence[int], tokens: int) -> mx.array | str | None:
    """What each of `tokens` new tokens may see, of rows with these lengths."""
    if min(lengths) == max(lengths):
        return "causal" if tokens > 1 else None
    last = mx.array(list(lengths))[:, None] + mx.arange(tokens)
    return mx.arange(max(lengths) + tokens) <= last[:, None, :, None]


def _written(part: mx.array, new: mx.array, rows: range, lengths: Sequence[int]) -> mx.array:
    """The part with `new` behind each of the rows."""
    start, count = lengths[0], new.shape[2]
    if min(lengths) == max(lengths):
        part[rows.start : rows.stop, :, start : start + count] = new
        return part
    columns = mx.array(list(lengths))[:, None] + mx.arange(count)
    if len(rows) < part.shape[0]:
        part[mx.array(list(rows))[:, None], :, columns] = new.transpose(0, 2, 1, 3)
        return part
    return mx.put_along_axis(part, mx.broadcast_to(columns[:, None, :, None], new.shape), new, axis=2)


def _rounded_up(tokens: int) -> int:
    return -(-tokens // COLUMN_STEP) * COLUMN_STEP


def _grown(parts: Parts, like: Parts, room: int) -> Parts:
    """The same with room for more columns, or new ones where there are none."""
    if parts:
        return _widened(parts, parts[0].shape[2] + room)
    return tuple(mx.zeros((*new.shape[:2], room, new.shape[3]), new.dtype) for new in like)


def _widened(parts: Parts, columns: int) -> Parts:
    missing = columns - parts[0].shape[2]
    return tuple(mx.pad(part, [(0, 0), (0, 0), (0, missing), (0, 0)]) if missing else part for part in parts)


def _stacked(first: mx.array, second: mx.array) -> mx.array:
    return mx.concatenate([first, second])


def _concatenated(pieces: Sequence[Parts], room: int) -> Parts:
    joined = tuple(mx.concatenate(list(parts), axis=2) for parts in zip(*pieces, strict=True))
    return _widened(joined, joined[0].shape[2] + room)
