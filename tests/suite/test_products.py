"""Parts of products of parameters: every two values meet, and the whole is the whole."""

import itertools

import pytest

from tests.support import products

AXES = ("abcd", (1, 2, 3), (True, False))


def test_any_two_values_meet() -> None:
    found = products._pairwise(list(itertools.product(*AXES)))
    for (one, ones), (other, others) in itertools.combinations(enumerate(AXES), 2):
        assert {(case[one], case[other]) for case in found} == set(itertools.product(ones, others))
    assert len(found) <= 14


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_whole_run_takes_all(is_whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "IS_WHOLE", is_whole)
    assert (len(products.product(*AXES)) == 24) == is_whole
    assert products.part("usual", whole="whole") == ("whole" if is_whole else "usual")
