"""Drafts by n-grams: what came after the same tokens before."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.engine.ngram_drafter import NGRAM, NgramDrafter


def draft_by_search(tokens: Sequence[int], most: int) -> tuple[int, ...]:
    """What followed the last place where the last three tokens stood before."""
    tail = list(tokens[-NGRAM:])
    for end in range(len(tokens) - 1, NGRAM - 1, -1):
        if len(tail) == NGRAM and list(tokens[end - NGRAM : end]) == tail:
            whole = list(tokens)
            for place in range(most):
                whole.append(whole[end + place])
            return tuple(whole[len(tokens) :])
    return ()


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 9), st.integers(0, 60))
def test_drafts_are_what_came_after_the_same_tokens(tokens: list[int], most: int, split: int) -> None:
    drafter = NgramDrafter(tokens[:split])
    drafter.draft(3)
    drafter.extend(tokens[split:])
    assert drafter.draft(most) == (draft_by_search(tokens, most) if most else ())
