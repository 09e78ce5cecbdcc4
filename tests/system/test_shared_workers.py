"""Several coordinators at the same workers: each gets what it would get alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType
from tests.support.cluster_processes import run_coordinator, running_workers
from tests.support.scripted_workers import EXPERTS, HIDDEN

HALVES = ["0-15", "16-31"]
SIZES = (1, 1, 2, 1, 24, 1, 3, 1)
"""Rows of the calls that a coordinator makes, again and again."""


def sums_over(bundle: Path, settings: ClusterSettings, seed: int, calls: int) -> list[bytes]:
    """The sums of one coordinator's calls."""
    random = np.random.default_rng(seed)
    cluster = connect(Bundle.open(bundle), settings, row_type=RowType.FLOAT32)
    try:
        return [
            cluster.dispatcher.forward(
                0,
                random.standard_normal((rows, HIDDEN), dtype=np.float32),
                expert_ids=np.argsort(random.random((rows, EXPERTS)), axis=1)[:, :4].astype(np.int32),
                router_weights=random.random((rows, 4), dtype=np.float32),
            ).tobytes()
            for rows in (SIZES[call % len(SIZES)] for call in range(calls))
        ]
    finally:
        cluster.close()


def test_many_coordinators_get_the_sums_that_each_gets_alone(small_bundle: Path) -> None:
    alone = ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31"), threads=1)
    expected = [sums_over(small_bundle, alone, seed, calls=100) for seed in range(4)]
    with running_workers(small_bundle, HALVES) as workers, ThreadPoolExecutor(4) as pool:
        settings = [
            ClusterSettings(small_bundle, workers, transport=transport)
            for transport in (Transport.GRPC, Transport.EXPRESS)
        ]
        found = pool.map(lambda seed: sums_over(small_bundle, settings[seed % 2], seed, calls=100), range(4))
        assert list(found) == expected


def test_two_coordinators_at_once_get_the_tokens_that_one_gets_alone(small_bundle: Path) -> None:
    with running_workers(small_bundle, HALVES) as workers, ThreadPoolExecutor(2) as pool:
        line = ["generate", "--model", str(small_bundle), "--workers", ",".join(map(str, workers))]
        line += ["--max-tokens", "40", "--temperature", "0", "--prompt", "what else is there to say?"]
        both = [pool.submit(run_coordinator, *line) for _ in range(2)]
        answers = [future.result() for future in both] + [run_coordinator(*line)]
    assert [done.returncode for done in answers] == [0, 0, 0]
    assert answers[0].stdout == answers[1].stdout == answers[2].stdout != ""
