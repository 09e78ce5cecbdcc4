"""Stop strings: however the text arrives, it ends before the first of them."""

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.text.stop_strings import StopStrings, overlap


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]


stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def stop(parts: Sequence[str], strings: Sequence[str]) -> tuple[str, bool]:
    scanner = StopStrings(strings)
    text = "".join(scanner.feed(part) for part in parts)
    return text + scanner.finish(), scanner.stopped


@given(st.text(alphabet="abc", max_size=20), st.lists(st.integers(0, 20)), stops)
def test_stop_strings_whatever_the_cut(text: str, places: list[int], strings: list[str]) -> None:
    kept, stopped = stop(cut(text, places), strings)
    ends = [(match.end(), match.start()) for s in strings if (match := re.search(s, text))]
    assert stopped == bool(ends)
    assert kept == (text[: min(ends)[1]] if ends else text)
    assert stop(list(text), strings) == (kept, stopped)


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab", min_size=1, max_size=5))
def test_overlap_is_the_longest_beginning_at_the_end(text: str, pattern: str) -> None:
    lengths = [n for n in range(len(pattern)) if text.endswith(pattern[:n])]
    assert overlap(text, [pattern]) == max(lengths)
