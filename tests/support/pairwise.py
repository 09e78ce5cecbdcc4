"""Few cases that hold every pair of values of two axes, where all combinations would be too many."""

import itertools
from collections.abc import Mapping, Sequence

Case = dict[str, str]


def all_pairs(axes: Mapping[str, Sequence[str]]) -> list[Case]:
    """Greedy: each case is begun by a pair that is still missing, and takes as many others as it can."""
    missing = {
        frozenset({(one, left), (other, right)})
        for one, other in itertools.combinations(axes, 2)
        for left in axes[one]
        for right in axes[other]
    }
    cases: list[Case] = []
    while missing:
        case: Case = dict(min(missing, key=sorted))
        for axis in axes:
            if axis not in case:
                case[axis] = max(axes[axis], key=lambda value: _gain(case, axis, value, missing))
        missing -= {frozenset(pair) for pair in itertools.combinations(case.items(), 2)}
        cases.append({axis: case[axis] for axis in axes})
    return cases


def _gain(case: Case, axis: str, value: str, missing: set[frozenset[tuple[str, str]]]) -> int:
    return sum(frozenset({(axis, value), pair}) in missing for pair in case.items())
