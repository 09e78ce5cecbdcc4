"""The KV cache of all layers for sequences that share passes. Knows no tokens."""

from collections.abc import Sequence

import mlx.core as mx

from jangtq_coordinator.kv.layer_cache import KvForm, LayerCache, LayerKv

KvPiece = list[LayerKv]
"""What every layer holds of some tokens of one sequence."""


class BatchCache:
    """One cache a layer. Changes go layer by layer, so that no more than one layer exists twice."""

    def __init__(self, layers: list[LayerCache]) -> None:
        self.layers = layers

    @classmethod
    def empty(cls, layer_count: int, form: KvForm) -> "BatchCache":
        """Room for one sequence."""
        return cls([LayerCache(form) for _ in range(layer_count)])

    @classmethod
    def of(cls, form: KvForm, pieces: Sequence[KvPiece], *, length: int) -> "BatchCache":
        """One sequence of the first `length` tokens of these pieces. Empties the lists that it is given."""
        layers = []
        for _ in range(len(pieces[0])):
            layers.append(LayerCache.of(form, [piece.pop(0) for piece in pieces]))
        result = cls(layers)
        result.cut([length])
        return result

    @property
    def lengths(self) -> list[int]:
        """How many tokens of each row are in the cache."""
        return list(self.layers[0].lengths)

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def token_bytes(self) -> int:
        """What one token of one row takes."""
        return sum(layer.nbytes // (len(layer.lengths) * layer.columns) for layer in self.layers)

    def cut(self, lengths: Sequence[int]) -> None:
        """Forget what rows hold beyond these lengths, in layers that a broken pass never reached too."""
        for layer in self.layers:
            layer.cut(lengths)

    def evaluate(self) -> None:
        """Compute what is pending in all layers."""
        for layer in self.layers:
            layer.evaluate()

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only, one at least."""
        for layer in self.layers:
            layer.keep(rows)

    def join(self, other: "BatchCache") -> None:
        """Add the rows of another, which is not to be used afterwards."""
        for layer in self.layers:
            layer.join(other.layers.pop(0))

    def pieces(self, row: int, spans: Sequence[tuple[int, int]], *, last: bool = False) -> list[KvPiece]:
        """Copies of parts [start, stop) of a row, evaluated: any thread may read them.

        With `last` each layer is let go once it is copied, and nothing is left here.
        """
        copies: list[KvPiece] = [[] for _ in spans]
        for place, layer in enumerate(self.layers):
            for copy, (start, stop) in zip(copies, spans, strict=True):
                copy.append(layer.piece(row, start=start, stop=stop))
            mx.eval([(copy[-1].keys, copy[-1].values) for copy in copies])
            if last:
                self.layers[place] = LayerCache(layer.form)
        return copies
