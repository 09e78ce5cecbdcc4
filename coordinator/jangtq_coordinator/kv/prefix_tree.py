"""Token sequences as a tree of blocks, so that equal beginnings are kept once. Pure; knows no KV.

Blocks have BLOCK_TOKENS tokens each; the last one of a sequence may be shorter, and grows by replacement.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

BLOCK_TOKENS: Final = 256

P = TypeVar("P")


@dataclass(eq=False)
class PrefixBlock(Generic[P]):
    """Tokens after those of its parent, and what is kept of them."""

    tokens: tuple[int, ...]
    parent: "PrefixBlock[P] | None"
    payload: P
    children: dict[tuple[int, ...], "PrefixBlock[P]"] = field(default_factory=dict)


@dataclass(frozen=True)
class Path(Generic[P]):
    """Blocks from the root on that agree with a sequence; `length` tokens do, the last block's in part."""

    blocks: tuple[PrefixBlock[P], ...]
    length: int


@dataclass(frozen=True)
class Span:
    """Tokens [start, stop) of a sequence that the tree has no block for."""

    start: int
    stop: int


class PrefixTree(Generic[P]):
    """Orders its blocks by last use; a block is never older than those below it."""

    def __init__(self) -> None:
        self._tops: dict[tuple[int, ...], PrefixBlock[P]] = {}
        self._by_age: OrderedDict[PrefixBlock[P], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_age)

    def __iter__(self) -> Iterator[PrefixBlock[P]]:
        """All blocks, the least recently used first."""
        return iter(list(self._by_age))

    def find(self, tokens: Sequence[int]) -> Path[P]:
        """The longest kept beginning of these tokens. Counts as use."""
        blocks = self._walk(tokens)
        length = len(blocks) * BLOCK_TOKENS
        rest = tuple(tokens[length : length + BLOCK_TOKENS])
        below = self._below(blocks).values()
        best = max(below, key=lambda block: _common(block.tokens, rest), default=None)
        if best is not None and (common := _common(best.tokens, rest)):
            blocks.append(best)
            length += common
        self._use(blocks)
        return Path(tuple(blocks), length)

    def missing(self, tokens: Sequence[int]) -> tuple[list[PrefixBlock[P]], list[Span]]:
        """The blocks that are here, and what `insert` must bring, in order, to keep all. Counts as use."""
        blocks = self._walk(tokens)
        self._use(blocks)
        start = len(blocks) * BLOCK_TOKENS
        rest = tuple(tokens[start:])
        if any(child[: len(rest)] == rest for child in self._below(blocks)):
            return blocks, []
        starts = range(start, len(tokens), BLOCK_TOKENS)
        return blocks, [Span(at, min(at + BLOCK_TOKENS, len(tokens))) for at in starts]

    def insert(
        self, tokens: Sequence[int], span: Span, payload: P
    ) -> tuple[PrefixBlock[P], list[PrefixBlock[P]]]:
        """Add a block for a span of a sequence whose blocks before it are here.

        Returns it, and the shorter blocks that it replaced.
        """
        blocks = self._walk(tokens[: span.start])
        own = tuple(tokens[span.start : span.stop])
        siblings = self._below(blocks)
        replaced = [block for key, block in siblings.items() if own[: len(key)] == key]
        for block in replaced:
            self.remove(block)
        block = PrefixBlock(own, blocks[-1] if blocks else None, payload)
        siblings[own] = block
        self._use([*blocks, block])
        return block, replaced

    def remove(self, block: PrefixBlock[P]) -> list[PrefixBlock[P]]:
        """Take out a block and all below it; returns them, the lowest first."""
        removed = [one for child in list(block.children.values()) for one in self.remove(child)]
        siblings = self._tops if block.parent is None else block.parent.children
        del siblings[block.tokens]
        del self._by_age[block]
        return [*removed, block]

    def _walk(self, tokens: Sequence[int]) -> list[PrefixBlock[P]]:
        """The full blocks that agree with the tokens."""
        blocks: list[PrefixBlock[P]] = []
        for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            block = self._below(blocks).get(tuple(tokens[start : start + BLOCK_TOKENS]))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _below(self, blocks: Sequence[PrefixBlock[P]]) -> dict[tuple[int, ...], PrefixBlock[P]]:
        return blocks[-1].children if blocks else self._tops

    def _use(self, blocks: Sequence[PrefixBlock[P]]) -> None:
        for block in reversed(blocks):
            self._by_age[block] = None
            self._by_age.move_to_end(block)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    for count, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return count
    return min(len(first), len(second))
