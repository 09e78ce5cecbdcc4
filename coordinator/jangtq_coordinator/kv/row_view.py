"""Some neighbouring rows of one layer's KV cache, which may advance before the others. Owns nothing."""

import mlx.core as mx

from jangtq_coordinator.kv.layer_cache import LayerCache, Parts, StoredRows, mask_for


class RowView:
    """What mlx-lm's attention asks of a cache, for rows `rows` of `whole`, in which everything is stored."""

    def __init__(self, whole: LayerCache, rows: range) -> None:
        self._whole = whole
        self._rows = rows
        if whole.form.bits is not None:
            self.bits, self.group_size = whole.form.bits, whole.form.group_size

    @property
    def offset(self) -> int | mx.array:
        """Where each row's next token stands."""
        return self._lengths[0] if len(self._rows) == 1 else mx.array(self._lengths)

    def make_mask(self, tokens: int, **_: object) -> mx.array | str | None:
        """Which columns each of `tokens` new tokens sees, asked before they are added."""
        return mask_for(self._lengths, tokens)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array | Parts, mx.array | Parts]:
        """Add [rows, heads, tokens, head size] to these rows; returns their columns in use."""
        return self._whole.update_rows(self._rows, keys, values)

    def stored(self, pending: mx.array) -> StoredRows:
        """These rows as they lie in memory; `pending` is evaluated with them."""
        return self._whole.stored_rows(self._rows, pending)

    @property
    def _lengths(self) -> list[int]:
        return self._whole.lengths[self._rows.start : self._rows.stop]
