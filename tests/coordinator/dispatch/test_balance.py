"""Who is asked where several hold an expert: against every possible choice on small cases."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.dispatch.balance import Job, balance
from jangtq_coordinator.dispatch.codec import NOBODY
from jangtq_coordinator.dispatch.router import Router
from jangtq_kernels.backend import NO_EXPERT
from tests.support.fixed_cluster import membership_of

HOLDERS = 3
worker_sets = st.sets(st.integers(0, HOLDERS - 1), min_size=1).map(lambda found: tuple(sorted(found)))
some_speeds = st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=HOLDERS, max_size=HOLDERS)
some_jobs = st.lists(st.tuples(st.integers(1, 5), worker_sets), min_size=1, max_size=6).map(
    lambda found: [Job(expert, float(cost), workers) for expert, (cost, workers) in enumerate(found)]
)


def slowest(jobs: Sequence[Job], chosen: Mapping[int, int], speeds: Sequence[float]) -> float:
    loads = [0.0] * len(speeds)
    for job in jobs:
        loads[chosen[job.expert]] += job.cost * speeds[chosen[job.expert]]
    return max(loads)


def best(jobs: Sequence[Job], speeds: Sequence[float]) -> float:
    choices = product(*(job.workers for job in jobs))
    return min(slowest(jobs, dict(enumerate(choice)), speeds) for choice in choices)


@given(some_jobs, some_speeds)
def test_the_slowest_worker_is_near_the_best_possible(jobs: list[Job], speeds: list[float]) -> None:
    chosen = balance(jobs, speeds)
    assert all(chosen[job.expert] in job.workers for job in jobs)
    assert slowest(jobs, chosen, speeds) <= 2 * best(jobs, speeds) + 1e-9
    first = {job.expert: job.workers[0] for job in jobs}
    assert len(chosen) == len(jobs) and slowest(jobs, first, speeds) >= best(jobs, speeds)


@given(st.lists(st.sampled_from([(0,), (1,), (0, 1)]), min_size=1, max_size=10))
def test_equal_jobs_of_two_equal_workers_are_split_as_well_as_can_be(workers: list[tuple[int, ...]]) -> None:
    jobs = [Job(expert, 1.0, held) for expert, held in enumerate(workers)]
    assert slowest(jobs, balance(jobs, [1.0, 1.0]), [1.0, 1.0]) == best(jobs, [1.0, 1.0])


def test_what_a_worker_has_to_do_anyway_counts() -> None:
    jobs = [Job(expert, 1.0, (0, 1)) for expert in range(4)]
    chosen = list(balance(jobs, [1.0, 1.0], fixed_costs=[4.0, 2.0]).values())
    assert chosen.count(1) == 3


def test_a_slow_worker_gets_less() -> None:
    jobs = [Job(expert, 1.0, (0, 1)) for expert in range(8)]
    chosen = list(balance(jobs, [1.0, 3.0]).values())
    assert (chosen.count(0), chosen.count(1)) == (6, 2)


@pytest.mark.parametrize("rows", [1, 5])
def test_each_picked_expert_has_an_owner_that_serves_it(rows: int) -> None:
    placement = membership_of({"a": "0-9", "b": "6-13", "c": "12-14"}, 16).placement
    random = np.random.default_rng(rows)
    ids = np.stack([random.permutation(16)[:8] for _ in range(rows)]).astype(np.int32)
    ids[0, 0] = NO_EXPERT
    owners = Router(placement).owners(ids)
    for expert in set(ids[ids >= 0].tolist()):
        assert owners[expert] == NOBODY or owners[expert] in placement.workers_of[expert]
        assert (owners[expert] == NOBODY) == (expert == 15)


def test_a_worker_to_be_avoided_is_asked_only_where_no_other_can_be() -> None:
    placement = membership_of({"a": "0-3", "b": "2-5"}, 6).placement
    owners = Router(placement, avoid=frozenset([0])).owners(np.arange(6, dtype=np.int32)[None])
    assert owners.tolist() == [0, 0, 1, 1, 1, 1]
