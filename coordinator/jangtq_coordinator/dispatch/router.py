"""Splits the picked experts of a layer among those that serve them. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Placement
from jangtq_coordinator.dispatch.balance import Job, balance
from jangtq_kernels.backend import NO_EXPERT

NOBODY: Final = -1
_NOT_ASKED: Final = -2
# Reading an expert's codes costs as much as computing about this many rows with it.
_ROWS_A_READ: Final = 8


def work(distinct: int, picks: int) -> float:
    """What picks of so many experts cost, in the unit of `balance`: reading these, and computing rows."""
    return distinct + picks / _ROWS_A_READ


class WorkerRows(NamedTuple):
    """What one worker is asked for: some rows, and of each row the experts that are its own.

    worker: a position in the placement's members, or NOBODY.
    row_index: int64 [rows], positions in the layer's rows; None stands for all of them.
    expert_ids: int32 [rows, slots], NO_EXPERT where the expert is somebody else's.
    router_weights: float32 [rows, slots].
    picks: how many slots hold an expert.
    """

    worker: int
    row_index: NDArray[np.int64] | None
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    picks: int

    def within(self, outer: NDArray[np.int64] | None) -> "WorkerRows":
        """The same with positions in the rows that `outer` was cut from."""
        if outer is None:
            return self
        index = outer if self.row_index is None else outer[self.row_index]
        return self._replace(row_index=index)

    def work(self) -> float:
        """What it costs, as `work` tells."""
        ids, distinct = self.expert_ids, self.picks
        if ids.shape[0] > 1:
            distinct = np.unique(ids[ids >= 0]).size
        return work(distinct, self.picks)


class Router:
    """Splits layers as a placement says. Experts with several workers go where the work is done soonest."""

    def __init__(
        self,
        placement: Placement,
        *,
        seconds_per_cost: Sequence[float] | None = None,
        avoid: frozenset[int] = frozenset(),
    ) -> None:
        """`avoid` names members that are asked only where nobody else holds an expert."""
        self._workers_of = [_without(workers, avoid) for workers in placement.workers_of]
        self._seconds_per_cost = seconds_per_cost or [1.0] * len(placement.members)
        first = [workers[0] if workers else NOBODY for workers in self._workers_of]
        self._owner_list = [*first, _NOT_ASKED]  # NO_EXPERT, -1, finds the last
        self._owner = np.array(self._owner_list, dtype=np.int32)
        self._has_choice = any(len(workers) > 1 for workers in self._workers_of)
        self.owners = None if self._has_choice else self._owner[:-1]
        """int32 [experts], the worker of each or NOBODY; None where that depends on what is picked."""

    def split(
        self, expert_ids: NDArray[np.int32], router_weights: NDArray[np.float32]
    ) -> tuple[WorkerRows, ...]:
        """One WorkerRows for each worker of a picked expert, in worker order; inputs [rows, slots]."""
        if expert_ids.shape[0] == 1:
            return self._split_one(expert_ids, router_weights)
        owners = self._owners(expert_ids)[expert_ids]
        workers = [int(worker) for worker in np.unique(owners).tolist() if worker != _NOT_ASKED]
        return tuple(_rows_of(worker, owners, expert_ids, router_weights) for worker in workers)

    def _split_one(
        self, expert_ids: NDArray[np.int32], router_weights: NDArray[np.float32]
    ) -> tuple[WorkerRows, ...]:
        """A single row, the common case of decoding: plain lists beat NumPy by far."""
        picked: list[int] = expert_ids[0].tolist()
        chosen = self._balance(dict.fromkeys(picked, 1)) if self._has_choice else {}
        slots: dict[int, list[int]] = {}
        for slot, expert in enumerate(picked):
            worker = chosen.get(expert, self._owner_list[expert])
            if worker != _NOT_ASKED:
                slots.setdefault(worker, []).append(slot)
        return tuple(
            WorkerRows(worker, None, expert_ids.take(own, 1), router_weights.take(own, 1), len(own))
            for worker, own in sorted(slots.items())
        )

    def _owners(self, expert_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The worker of each expert for these rows; an expert's rows stay together."""
        if not self._has_choice:
            return self._owner
        counts = np.bincount(expert_ids[expert_ids >= 0], minlength=len(self._workers_of))
        picked = np.flatnonzero(counts).tolist()
        owner = self._owner.copy()
        for expert, worker in self._balance({e: int(counts[e]) for e in picked}).items():
            owner[expert] = worker
        return owner

    def _balance(self, rows_of: dict[int, int]) -> dict[int, int]:
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


def _rows_of(
    worker: int,
    owners: NDArray[np.int32],
    expert_ids: NDArray[np.int32],
    router_weights: NDArray[np.float32],
) -> WorkerRows:
    mine = owners == worker
    has_mine = mine.any(axis=1)
    own_ids = np.where(mine, expert_ids, np.int32(NO_EXPERT))
    picks = int(np.count_nonzero(mine))
    if has_mine.all():
        return WorkerRows(worker, None, own_ids, router_weights, picks)
    index = np.flatnonzero(has_mine)
    return WorkerRows(worker, index, own_ids[index], router_weights[index], picks)
