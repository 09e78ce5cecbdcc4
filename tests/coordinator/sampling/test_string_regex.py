"""Patterns and lengths of texts in forced calls: what is enforced, and what is left to the model."""

import pytest

from jangtq_coordinator.sampling.grammar import Grammars
from jangtq_coordinator.sampling.string_regex import text_limits
from jangtq_coordinator.sampling.tool_grammar import answer_grammar
from jangtq_coordinator.text.tool_arguments import Schema
from tests.coordinator.sampling.test_grammar import allowed, grammars, ids_of, new_constraint, say

__all__ = ["grammars"]

CODE: Schema = {"type": "string", "pattern": r"^\d{3}$"}


def takes(grammars: Grammars, limits: Schema, text: str) -> bool:
    """Whether a forced call may have this text as its argument."""
    schema = {"type": "object", "properties": {"x": {"type": "string", **limits}}, "required": ["x"]}
    constraint = new_constraint(grammars, answer_grammar(None, {"f": schema}, several=False))
    say(constraint, '\n<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">')
    for token in ids_of(f"{text}</parameter>\n"):
        if token not in allowed(constraint):
            return False
        constraint.take(token)
    return ids_of("<")[0] in allowed(constraint)


@pytest.mark.parametrize(
    ("limits", "fitting", "others"),
    [
        ({"pattern": r"^\d{3}$"}, ["123"], ["12", "1234", "a123"]),
        ({"pattern": r"\d{3}"}, ["123", "a123b", "1\n234"], ["", "12a3"]),
        ({"pattern": "^(yes|no)$"}, ["yes", "no"], ["yesno", "maybe"]),
        ({"pattern": "^a/b[/$|^]+"}, ["a/b/", "a/b$|x"], ["a/b", "b/a/b/"]),
        ({"pattern": "a|b"}, ["xax", "b"], ["c"]),
        ({"minLength": 3}, ["abc", "äöü", "a\nb", "</p>"], ["", "ab", "äö"]),
        ({"maxLength": 2}, ["", "ab", "äö"], ["abc"]),
        ({"minLength": 2, "maxLength": 2, "pattern": "^[a-f]"}, ["ab", "fz"], ["a", "abc", "za"]),
        # An end tag that comes too early is no part of a longer text.
        ({"minLength": 5}, ["abcde"], ["a</parameter>\n123"]),
    ],
)
def test_texts_keep_to_their_schema(
    grammars: Grammars, limits: Schema, fitting: list[str], others: list[str]
) -> None:
    assert [text for text in fitting if not takes(grammars, limits, text)] == []
    assert [text for text in others if takes(grammars, limits, text)] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "pattern": "a(?=b)"},
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "^a|b$"},
        {"type": "string", "pattern": "(^a)b"},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "a\\"},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "maxLength": 10**9},
        {"type": "string", "minLength": "3", "maxLength": -1, "pattern": 5},
        {"type": ["string", "null"], "pattern": "a"},
        {"type": "integer", "pattern": "a"},
        True,
    ],
)
def test_what_cannot_be_said_is_left_to_the_model(schema: object) -> None:
    assert text_limits(schema) == []


def test_what_can_be_said_holds_where_something_else_cannot() -> None:
    assert text_limits({**CODE, "minLength": 10**9}) == text_limits(CODE) != []
