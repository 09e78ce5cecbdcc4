"""The tree of kept prompts against a plain list of them."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_coordinator.kv.prefix_tree import BLOCK_TOKENS, PrefixTree, Span

Tree = PrefixTree[tuple[int, ...]]


def keep(tree: Tree, tokens: Sequence[int]) -> list[Span]:
    _, spans = tree.missing(tokens)
    for span in spans:
        tree.insert(tokens, span, tuple(tokens[span.start : span.stop]))
    return spans


def common(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def long_sequences() -> st.SearchStrategy[list[int]]:
    """Sequences of few different parts, so that beginnings are shared, in and between blocks."""
    parts = st.sampled_from([[1] * 100, [2] * 256, [3] * 300, [1, 2], [4]])
    return st.lists(parts, min_size=1, max_size=5).map(lambda chosen: [t for part in chosen for t in part])


@settings(max_examples=60, deadline=None)
@given(st.lists(long_sequences(), min_size=1, max_size=6), long_sequences())
def test_the_longest_kept_beginning_is_found(kept: list[list[int]], wanted: list[int]) -> None:
    tree: Tree = PrefixTree()
    for tokens in kept:
        keep(tree, tokens)
        assert keep(tree, tokens) == []
    path = tree.find(wanted)
    assert path.length == max(common(tokens, wanted) for tokens in kept)
    held = [token for block in path.blocks for token in block.payload]
    assert held[: path.length] == wanted[: path.length]
    assert all(block.tokens == block.payload for block in tree)


def test_equal_beginnings_are_kept_once() -> None:
    tree: Tree = PrefixTree()
    system = [5] * (2 * BLOCK_TOKENS)
    assert keep(tree, [*system, 1, 2, 3]) == [Span(0, 256), Span(256, 512), Span(512, 515)]
    assert keep(tree, [*system, 1, 9]) == [Span(512, 514)]
    assert len(tree) == 4


def test_a_short_last_block_grows_by_replacement() -> None:
    tree: Tree = PrefixTree()
    keep(tree, [7] * 10)
    assert keep(tree, [7] * 8) == []
    ((_, replaced),) = [tree.insert([7] * 20, span, ()) for span in tree.missing([7] * 20)[1]]
    assert [block.tokens for block in replaced] == [(7,) * 10] and len(tree) == 1
    assert keep(tree, [7] * 300) == [Span(0, 256), Span(256, 300)] and len(tree) == 2


def test_removing_a_block_removes_what_follows_it() -> None:
    tree: Tree = PrefixTree()
    keep(tree, [1] * 600)
    keep(tree, [1] * 256 + [2] * 10)
    second = tree.find([1] * 600).blocks[1]
    assert [len(block.tokens) for block in tree.remove(second)] == [88, 256]
    assert tree.find([1] * 600).length == 256


def test_reading_is_use_and_no_block_is_older_than_those_below_it() -> None:
    tree: Tree = PrefixTree()
    keep(tree, [1] * 300)
    keep(tree, [2] * 300)
    tree.find([1] * 300)
    assert [block.tokens[0] for block in tree] == [2, 2, 1, 1]
    ages = {block: age for age, block in enumerate(tree)}
    assert all(ages[block.parent] > age for block, age in ages.items() if block.parent)
