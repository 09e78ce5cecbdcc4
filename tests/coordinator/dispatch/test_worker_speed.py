"""Deadlines and shares of a worker, from what its calls took."""

from jangtq_coordinator.dispatch.worker_speed import WorkerSpeed


def test_a_deadline_is_a_multiple_of_what_such_calls_took_between_floor_and_ceiling() -> None:
    speed = WorkerSpeed(ceiling_seconds=60)
    assert speed.deadline_seconds(1) == 60
    speed.record(1, waited_seconds=0.001, compute_seconds=0.001, cost=1)
    assert speed.deadline_seconds(1) == 0.25
    speed.record(256, waited_seconds=1, compute_seconds=1, cost=256)
    assert speed.deadline_seconds(300) == 8
    assert speed.deadline_seconds(1024) == 32
    assert speed.deadline_seconds(2048) == 60


def test_computing_time_a_unit_of_work_is_averaged_over_calls() -> None:
    speed = WorkerSpeed(ceiling_seconds=60)
    for _ in range(200):
        speed.record(1, waited_seconds=1, compute_seconds=0.2, cost=10)
        speed.record(1, waited_seconds=1, compute_seconds=0.4, cost=10)
    assert speed.seconds_per_cost is not None and 0.029 < speed.seconds_per_cost < 0.031
