"""Passes as two halves give what whole passes give, and leave the same in the cache."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.metrics.layer_times import ExchangeTimes
from jangtq_coordinator.model.minimax import CoordinatorModel, load_model
from jangtq_coordinator.model.overlap import OverlapChooser, OverlapMode
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType
from tests.support.small_bundles import SMALL, dense_model

LAYERS = 3
FORMS = [KvForm(), KvForm(bits=8, group_size=32)]
TOLERANCE = 1e-4
"""Where MLX multiplies by Accelerate or Metal, whose sums may depend on how many rows there are."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = tmp_path_factory.mktemp("layered") / "bundle"
    write_bundle(path, dense_model(replace(SMALL, layer_count=LAYERS)), WriteOptions("layered"))
    return Bundle.open(path)


@dataclass(frozen=True)
class Running:
    """A model over experts in this process, and the exchanges that it made."""

    model: CoordinatorModel
    chooser: OverlapChooser
    exchanges: Callable[[], tuple[ExchangeTimes, ...]]


@contextmanager
def running(bundle: Bundle, mode: OverlapMode) -> Iterator[Running]:
    settings = ClusterSettings(bundle.path, local_ranges=parse_ranges("0-31"), device="reference")
    cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    try:
        chooser = OverlapChooser(mode)
        model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32, chooser)
        yield Running(model, chooser, lambda: cluster.dispatcher.timeline.copy().exchanges)
    finally:
        cluster.close()


def check_equal(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """To the bit, since a row's products do not depend on other rows."""
    assert found.tobytes() == expected.tobytes()


def prompt(length: int, vocabulary: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(length).integers(0, vocabulary, length)]


def batch_of(model: CoordinatorModel, form: KvForm, lengths: list[int]) -> BatchCache:
    """Sequences of these lengths in one cache."""
    batches = []
    for length in lengths:
        batches.append(BatchCache.empty(LAYERS, form))
        model.last_logits(mx.array([prompt(length, 32)]), cache=batches[-1].layers)
    for other in batches[1:]:
        batches[0].join(other)
    return batches[0]


def decode(model: CoordinatorModel, kv: BatchCache, *, steps: int, drafts: int = 0) -> NDArray[np.float32]:
    """Logits of each step, the likeliest token of each row going on."""
    tokens = mx.array([[row + 1] * (1 + drafts) for row in range(len(kv.lengths))])
    found = []
    for _ in range(steps):
        logits = model(tokens, cache=kv.layers)
        found.append(np.array(logits))
        tokens = mx.argmax(logits, axis=-1)
    return np.stack(found)


@pytest.mark.parametrize("form", FORMS, ids=["float", "8 bits"])
@pytest.mark.parametrize("lengths", [[3, 3], [5, 17, 2], [4, 4, 4, 9]], ids=str)
def test_halved_batches_give_the_tokens_of_whole_ones(
    bundle: Bundle, form: KvForm, lengths: list[int]
) -> None:
    with running(bundle, OverlapMode.OFF) as whole, running(bundle, OverlapMode.ON) as halved:
        expected_kv, found_kv = (batch_of(one.model, form, lengths) for one in (whole, halved))
        expected = decode(whole.model, expected_kv, steps=4)
        found = decode(halved.model, found_kv, steps=4)
        assert found_kv.lengths == expected_kv.lengths
        check_equal(found, expected)


def test_rows_with_drafts_can_be_halved_too(bundle: Bundle) -> None:
    with running(bundle, OverlapMode.OFF) as whole, running(bundle, OverlapMode.ON) as halved:
        expected, found = (
            decode(one.model, batch_of(one.model, KvForm(), [3, 9]), steps=3, drafts=2)
            for one in (whole, halved)
        )
        check_equal(found, expected)


@pytest.mark.parametrize("form", FORMS, ids=["float", "8 bits"])
def test_halved_prefills_leave_the_cache_of_whole_ones(bundle: Bundle, form: KvForm) -> None:
    with running(bundle, OverlapMode.OFF) as whole, running(bundle, OverlapMode.ON) as halved:
        results = []
        for one in (whole, halved):
            kv = BatchCache.empty(LAYERS, form)
            for chunk in (prompt(21, 32), prompt(40, 32)):
                logits = one.model.last_logits(mx.array([chunk]), cache=kv.layers)
            results.append((np.array(logits), kv.pieces(0, [(0, 61)])[0]))
        (expected, expected_kv), (found, found_kv) = results
        check_equal(found, expected)
        if form.bits is None:
            for there, here in zip(expected_kv, found_kv, strict=True):
                np.testing.assert_allclose(here.keys[0], there.keys[0], rtol=TOLERANCE, atol=TOLERANCE)


def test_trials_change_nothing_but_time(bundle: Bundle) -> None:
    with running(bundle, OverlapMode.OFF) as whole, running(bundle, OverlapMode.AUTO) as either:
        expected, found = (
            decode(one.model, batch_of(one.model, KvForm(), [4, 7, 5]), steps=12) for one in (whole, either)
        )
        assert either.chooser.trials > 0
        check_equal(found, expected)


def test_the_second_half_leaves_before_the_first_comes_back(bundle: Bundle) -> None:
    with running(bundle, OverlapMode.ON) as halved:
        halved.model.last_logits(mx.array([prompt(20, 32)]), cache=BatchCache.empty(LAYERS, KvForm()).layers)
        exchanges = sorted(halved.exchanges(), key=lambda one: one.sent)
        assert [one.layer for one in exchanges] == [0, 0, 1, 1, 2, 2]
        assert all(
            first.waited > second.sent for first, second in zip(exchanges, exchanges[1:], strict=False)
        )


def test_a_pass_that_fails_leaves_nothing_under_way(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(bundle, OverlapMode.ON) as halved:
        kv = batch_of(halved.model, KvForm(), [3, 5])
        before = kv.lengths

        def fail(*_: object) -> None:
            raise WorkerFaultError("broken")

        with monkeypatch.context() as patched:
            patched.setattr(halved.model.layers[1].block_sparse_moe, "begin", fail)
            with pytest.raises(WorkerFaultError, match="broken"):
                decode(halved.model, kv, steps=1)
        kv.cut(before)
        again = decode(halved.model, kv, steps=2)
        np.testing.assert_array_equal(
            again.argmax(-1),
            decode(halved.model, batch_of(halved.model, KvForm(), [3, 5]), steps=2).argmax(-1),
        )
