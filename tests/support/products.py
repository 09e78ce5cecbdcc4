"""How much of a product of parameters a run takes: pairs of values in `make test`, all in `make test-all`."""

import itertools
import os
from collections.abc import Sequence
from typing import Final, TypeVar

IS_WHOLE: Final = os.environ.get("JANGTQ_TESTS") == "all"

Case = TypeVar("Case")


def part(usual: Case, *, whole: Case) -> Case:
    """One of the two, as the run is."""
    return whole if IS_WHOLE else usual


def product(*axes: Sequence[object]) -> list[tuple[object, ...]]:
    """Every combination in a whole run, else enough that any two values of two axes meet."""
    combinations = list(itertools.product(*axes))
    return combinations if IS_WHOLE else _pairwise(combinations)


def _pairwise(combinations: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Greedily, the combination with the most pairs that none before had; the same ones in each process."""
    pairs = {combination: set(_pairs_of(combination)) for combination in combinations}
    missing = set().union(*pairs.values())
    taken = []
    while missing:
        best = max(combinations, key=lambda combination: len(pairs[combination] & missing))
        taken.append(best)
        missing -= pairs[best]
    return [combination for combination in combinations if combination in taken]


def _pairs_of(combination: tuple[object, ...]) -> list[tuple[tuple[int, object], ...]]:
    return list(itertools.combinations(enumerate(combination), 2))
