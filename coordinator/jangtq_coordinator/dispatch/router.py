"""Chooses the worker of each picked expert of a layer among those that serve it. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Placement
from jangtq_coordinator.dispatch.balance import Job, balance
from jangtq_coordinator.dispatch.codec import NOBODY
from jangtq_kernels.backend import NO_EXPERT

# Reading an expert's codes costs as much as computing about this many rows with it.
_ROWS_A_READ: Final = 8


def work(distinct: int, picks: int) -> float:
    """The cost of picks in the unit of `balance`: reading the experts and computing the rows."""
    return distinct + picks / _ROWS_A_READ


class Router:
    """Chooses the worker of each expert: of several workers, the one that ends soonest."""

    def __init__(
        self,
        placement: Placement,
        *,
        seconds_per_cost: Sequence[float] | None = None,
        avoid: frozenset[int] = frozenset(),
    ) -> None:
        """`avoid` names members that get only experts that no other holds."""
        self._workers_of = [_without(workers, avoid) for workers in placement.workers_of]
        self._seconds_per_cost = seconds_per_cost or [1.0] * len(placement.members)
        first = [workers[0] if workers else NOBODY for workers in self._workers_of]
        self._first = np.array(first, dtype=np.int32)
        self._has_choice = any(len(workers) > 1 for workers in self._workers_of)

    def owners(self, expert_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 [experts]: the position of the worker to ask for each expert that is picked, or NOBODY.

        expert_ids: int32 [rows, slots]. An expert's rows stay together.
        """
        if not self._has_choice:
            return self._first
        owners = self._first.copy()
        for expert, worker in self._balance(Counter(expert_ids.ravel().tolist())).items():
            owners[expert] = worker
        return owners

    def _balance(self, rows_of: Mapping[int, int]) -> dict[int, int]:
        jobs: list[Job] = []
        fixed = [0.0] * len(self._seconds_per_cost)
        for expert, rows in rows_of.items():
            workers = () if expert == NO_EXPERT else self._workers_of[expert]
            if len(workers) > 1:
                jobs.append(Job(expert, 1 + rows / _ROWS_A_READ, workers))
            elif workers:
                fixed[workers[0]] += 1 + rows / _ROWS_A_READ
        return balance(jobs, self._seconds_per_cost, fixed_costs=fixed)


def _without(workers: tuple[int, ...], avoid: frozenset[int]) -> tuple[int, ...]:
    return tuple(worker for worker in workers if worker not in avoid) or workers
