"""What the coordinator computes while workers do: the shared expert, its local experts, the other half."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.model.minimax import CoordinatorModel, SharedExperts, load_model
from jangtq_coordinator.model.overlap import OverlapChooser, OverlapMode
from jangtq_coordinator.transport.connection import Connection, GiveUp, never
from jangtq_coordinator.transport.local_experts import LocalConnection
from jangtq_coordinator.transport.worker_info import LOCAL
from jangtq_kernels.backend import ExpertRows, LoadedLayer, PartialSums
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.wire.codec import CallShape
from jangtq_proto.wire.frames import read_call_head
from jangtq_proto.wire.row_type import RowType
from tests.support.fixed_cluster import dispatcher_of, membership_of
from tests.support.small_checkpoints import Sizes
from tests.support.sparse_bundles import write_sparse_bundle

SIZES = Sizes(expert_count=32, hidden_size=64, intermediate_size=64, layer_count=2)
WHOLE = 3
"""Sequences of a batch: its halves, of two and of one, are told apart by their rows."""

Log = list[tuple[str, int]]


@dataclass
class ToldLayer:
    """Experts that put down when they compute, and how many rows."""

    inner: LoadedLayer
    log: Log

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes

    def forward(self, asked: ExpertRows) -> PartialSums:
        self.log.append(("local experts", len(asked.rows)))
        return self.inner.forward(asked)


@dataclass
class WorkerConnection:
    """A worker that answers when it is asked for its answer, and puts down when it is called."""

    inner: LocalConnection
    log: Log
    rows: dict[int, int] = field(default_factory=dict)

    def send(self, call_id: int, frame: bytes) -> None:
        self.inner.send(call_id, frame)
        self.rows[call_id] = read_call_head(frame)[1]
        self.log.append(("call", self.rows[call_id]))

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        self.log.append(("answer", self.rows[call_id]))
        return self.inner.receive(call_id, give_up)

    def abandon(self) -> None:
        self.inner.abandon()

    def close(self) -> None:
        self.inner.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = tmp_path_factory.mktemp("sparse") / "bundle"
    return Bundle.open(write_sparse_bundle(path, SIZES, shared_intermediate_size=64))


@pytest.fixture(scope="module")
def layers(bundle: Bundle) -> tuple[LoadedLayer, ...]:
    return load_layers(bundle, ReferenceBackend(), tuple(range(SIZES.expert_count)))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What was done, in order, and for how many rows."""
    done: Log = []
    compute = SharedExperts.__call__

    def told(experts: SharedExperts, x: mx.array) -> mx.array:
        done.append(("shared expert", x.size // x.shape[-1]))
        return compute(experts, x)

    monkeypatch.setattr(SharedExperts, "__call__", told)
    return done


def model_over(
    bundle: Bundle, layers: Sequence[LoadedLayer], log: Log, overlap: OverlapMode
) -> CoordinatorModel:
    """Half of the experts are local, the others a worker's, and every row picks some of each."""
    told = tuple(ToldLayer(layer, log) for layer in layers)
    shape = CallShape(SIZES.layer_count, SIZES.hidden_size)
    connections: dict[str, Connection] = {
        LOCAL: LocalConnection(lambda: told, shape),
        "worker": WorkerConnection(LocalConnection(lambda: tuple(layers), shape), log),
    }
    membership = membership_of({LOCAL: "0-15", "worker": "16-31"}, SIZES.expert_count)
    dispatcher = dispatcher_of(membership, connections, layers=SIZES.layer_count)
    model = load_model(bundle, dispatcher, RowType.FLOAT32, OverlapChooser(overlap))
    half = model.args.num_experts_per_tok // 2
    picked = [1.0] * half + [0.0] * (16 - half)
    for layer in model.layers:
        layer.block_sparse_moe.e_score_correction_bias = mx.array(picked * 2)
    return model


def decode(model: CoordinatorModel, log: Log) -> None:
    """One pass of a batch, alone in the log."""
    batches = [BatchCache.empty(SIZES.layer_count, KvForm()) for _ in range(WHOLE)]
    for kv in batches:
        model.last_logits(mx.array([[1, 2]]), cache=kv.layers)
    for other in batches[1:]:
        batches[0].join(other)
    log.clear()
    mx.eval(model(mx.array([[3]] * WHOLE), cache=batches[0].layers))


def test_workers_are_called_before_anything_is_computed_here(
    bundle: Bundle, layers: Sequence[LoadedLayer], log: Log
) -> None:
    decode(model_over(bundle, layers, log, OverlapMode.OFF), log)
    one_layer = [("call", 3), ("shared expert", 3), ("local experts", 3), ("answer", 3)]
    assert log == one_layer * SIZES.layer_count


def test_with_halves_a_worker_has_the_others_call_too_while_local_experts_compute(
    bundle: Bundle, layers: Sequence[LoadedLayer], log: Log
) -> None:
    decode(model_over(bundle, layers, log, OverlapMode.ON), log)
    larger, smaller = (
        [(what, rows) for what in ("call", "shared expert", "local experts", "answer")] for rows in (2, 1)
    )
    last_layer = SIZES.layer_count - 1
    expected = larger[:2]
    for layer in range(SIZES.layer_count):
        expected += smaller[:2] + larger[2:] + (larger[:2] if layer < last_layer else []) + smaller[2:]
    assert log == expected
