"""Arguments of earlier calls as they come back: whatever was given out is taken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.api.chat.replayed_arguments import RAW, read_arguments

values = st.dictionaries(st.text("ab", min_size=1), st.text('x\n"ü') | st.integers() | st.none(), max_size=3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("null", {}),
        (None, {}),
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ('{"text": "half a sen', {"text": "half a sen"}),
        ('{"a": 1, "b": [2, ', {"a": 1, "b": [2]}),
        ('{"a": 1, "b', {"a": 1}),
        ("{", {}),
        ("[1]", {RAW: "[1]"}),
        ("5", {RAW: "5"}),
        ('{"a": 1}{"b": 2}', {RAW: '{"a": 1}{"b": 2}'}),
        ("{'text': 'x'}", {RAW: "{'text': 'x'}"}),
        ('{"x": 1e999}', {RAW: '{"x": 1e999}'}),
        ([1], {RAW: [1]}),
        (5, {RAW: 5}),
    ],
)
def test_what_they_stand_for(given: object, expected: object) -> None:
    assert read_arguments(given) == expected


@given(values, st.integers(0, 60))
def test_any_cut_is_an_object(value: dict[str, object], place: int) -> None:
    text = json.dumps(value)
    read = read_arguments(text[:place])
    assert isinstance(read, dict)
    assert read_arguments(text) == value
