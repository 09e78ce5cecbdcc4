"""Chooses among an expert's workers, so that the slowest one ends soonest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """One picked expert: its cost, and the positions of the workers that hold it, at least one."""

    expert: int
    cost: float
    workers: tuple[int, ...]


def balance(
    jobs: Sequence[Job], seconds_per_cost: Sequence[float], *, fixed_costs: Sequence[float] | None = None
) -> dict[int, int]:
    """The worker of each job's expert; `fixed_costs` is the work that each worker has in any case.

    Jobs without a choice come first, then the longest ones go to the worker that would end soonest. Then the
    busiest worker gives away jobs as long as that lets the slowest end sooner.
    """
    fixed = fixed_costs or [0.0] * len(seconds_per_cost)
    loads = [cost * seconds for cost, seconds in zip(fixed, seconds_per_cost, strict=True)]
    chosen: dict[int, int] = {}
    for job in sorted(jobs, key=lambda job: (len(job.workers) > 1, -job.cost, len(job.workers), job.expert)):
        best = min(job.workers, key=lambda h: loads[h] + job.cost * seconds_per_cost[h])
        chosen[job.expert] = best
        loads[best] += job.cost * seconds_per_cost[best]
    for _ in jobs:
        if not _improve(jobs, chosen, loads, seconds_per_cost):
            break
    return chosen


def _improve(
    jobs: Sequence[Job], chosen: dict[int, int], loads: list[float], seconds_per_cost: Sequence[float]
) -> bool:
    """Move one job away from the busiest worker; False if that gains nothing."""
    busiest = max(range(len(loads)), key=loads.__getitem__)
    for job in jobs:
        others = [worker for worker in job.workers if worker != busiest]
        if chosen[job.expert] != busiest or not others:
            continue
        after, other = min((loads[h] + job.cost * seconds_per_cost[h], h) for h in others)
        if after < loads[busiest]:
            chosen[job.expert] = other
            loads[busiest] -= job.cost * seconds_per_cost[busiest]
            loads[other] = after
            return True
    return False
