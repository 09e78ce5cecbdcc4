"""mlx-lm's MiniMax model without its expert tensors: each MoE block asks a dispatcher instead."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.schema import is_unused
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.metrics.dense_report import DenseReport
from jangtq_coordinator.mlx_lm import load_model as load_mlx_model
from jangtq_coordinator.mlx_lm import minimax, swiglu
from jangtq_coordinator.model.compiled_layer import compile_layers
from jangtq_coordinator.model.dense_config import DenseSettings
from jangtq_coordinator.model.dense_weights import prepare_dense
from jangtq_coordinator.model.expert_choice import choose_experts
from jangtq_coordinator.model.microbatch import can_halve, run_halves, run_whole
from jangtq_coordinator.model.overlap import OverlapChooser, OverlapMode, PassShape
from jangtq_coordinator.model.routed_experts import MLX_DTYPE, RoutedExperts, StartedRows
from jangtq_proto.wire.row_type import RowType

_EXPERT_MARKS = (".switch_mlp.", ".experts.")
_ROUTER_MARKS = ("block_sparse_moe.gate.", "e_score_correction_bias")


def default_row_type() -> RowType:
    """float32 where MLX computes on the CPU (its float16 is 40 times slower there), else bfloat16.

    Not float16: hidden units of MiniMax-M2.7's last layer are beyond its 65,504 (experts 61 and 74, card of
    NeuroSenko/MiniMax-M2.7-exl3), and the model was trained in bfloat16.
    """
    return RowType.BFLOAT16 if mx.cuda.is_available() or mx.metal.is_available() else RowType.FLOAT32


class SharedExperts(nn.Module):
    """The expert that every token passes, where a config has one (`shared_intermediate_size` > 0)."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        result: mx.array = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
        return result


@dataclass(frozen=True)
class StartedBlock:
    """Rows of one layer that are with the workers, and what the shared expert made of them."""

    routed: StartedRows
    shared: mx.array | None


class MoeBlock(nn.Module):
    """Router here, routed experts elsewhere: top experts of sigmoid(gate(x)) + correction bias."""

    def __init__(self, args: minimax.ModelArgs, layer: int, experts: RoutedExperts) -> None:
        super().__init__()
        self.gate = nn.Linear(args.hidden_size, args.num_local_experts, bias=False)
        self.e_score_correction_bias = mx.zeros((args.num_local_experts,))
        if args.shared_intermediate_size > 0:
            self.shared_experts = SharedExperts(args.hidden_size, args.shared_intermediate_size)
        self._layer = layer
        self._experts = experts
        self._experts_per_token = args.num_experts_per_tok

    def __call__(self, x: mx.array) -> mx.array:
        return self.finish(self.begin(x))

    def begin(self, x: mx.array) -> StartedBlock:
        """Send the rows away; the shared expert computes while the workers do. Raises ClusterError."""
        picked, weights = self._route(x)
        return self._started(self._experts.begin(self._layer, x, picked=picked, router_weights=weights), x)

    def begin_packed(self, x: mx.array, packed: mx.array) -> StartedBlock:
        """The same of rows whose experts are chosen: packed, as of `packed_rows.pack`."""
        return self._started(
            self._experts.begin_packed(self._layer, x, packed, slots=self._experts_per_token), x
        )

    def _started(self, routed: StartedRows, x: mx.array) -> StartedBlock:
        if "shared_experts" not in self:
            return StartedBlock(routed, None)
        shared = self.shared_experts(x)
        mx.eval(shared)
        return StartedBlock(routed, shared)

    def finish(self, started: StartedBlock) -> mx.array:
        """Wait for the sums. Raises ClusterError."""
        routed = self._experts.finish(started.routed)
        return routed if started.shared is None else routed + started.shared

    def _route(self, x: mx.array) -> tuple[mx.array, mx.array]:
        logits = self.gate(x.astype(mx.float32))
        return choose_experts(logits, self.e_score_correction_bias, count=self._experts_per_token)


class CoordinatorModel(minimax.Model):
    """Everything of the model but its routed experts; usable wherever mlx-lm wants a model."""

    def __init__(self, args: minimax.ModelArgs, experts: RoutedExperts, overlap: OverlapChooser) -> None:
        super().__init__(args)
        self.dense = DenseReport()
        self._experts = experts
        self._overlap = overlap
        for index, layer in enumerate(self.model.layers):
            layer.block_sparse_moe = MoeBlock(args, index, experts)

    def __call__(self, inputs: mx.array, cache: Sequence[object] | None = None) -> mx.array:
        return self._head(self._hidden_states(inputs, cache))

    def last_logits(self, inputs: mx.array, *, cache: Sequence[object] | None = None) -> mx.array:
        """Logits [rows, vocabulary] of the last position: the head skips all others."""
        return self._head(self._hidden_states(inputs, cache)[:, -1, :])

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        """Drop the routed experts: they live in the workers, and mx.load reads nothing before it is used."""
        return {
            name: value
            for name, value in weights.items()
            if not is_unused(name) and not any(mark in name for mark in _EXPERT_MARKS)
        }

    def _hidden_states(self, inputs: mx.array, cache: Sequence[object] | None) -> mx.array:
        """Of every position, normed; the one place where layers run."""
        hidden = self.model.embed_tokens(inputs)
        if cache is None or not can_halve(hidden, cache):
            self._experts.start_pass()
            hidden = run_whole(self.model.layers, hidden, cache)
        else:
            hidden = self._run_either_way(hidden, cache)
        result: mx.array = self.model.norm(hidden)
        return result

    def _run_either_way(self, hidden: mx.array, cache: Sequence[object]) -> mx.array:
        shape = PassShape(*hidden.shape[:2])
        overlapped = self._overlap.choose(shape)
        started, waited = self._experts.start_pass(), self._experts.waited_ns
        try:
            hidden = (run_halves if overlapped else run_whole)(self.model.layers, hidden, cache)
        except BaseException:
            self._experts.abandon()
            raise
        seconds = (time.perf_counter_ns() - started) / 1e9
        waiting = (self._experts.waited_ns - waited) / 1e9
        self._overlap.record(shape, overlapped=overlapped, seconds=seconds, waiting=waiting)
        return hidden

    def _head(self, hidden: mx.array) -> mx.array:
        head = self.model.embed_tokens.as_linear if self.args.tie_word_embeddings else self.lm_head
        result: mx.array = head(hidden)
        return result


def load_model(
    bundle: Bundle,
    dispatcher: Dispatcher,
    row_type: RowType,
    overlap: OverlapChooser | None = None,
    *,
    dense: DenseSettings | None = None,
) -> CoordinatorModel:
    """Read the coordinator's tensors and evaluate them in the calling thread, the only one to use MLX.

    Floating-point tensors become `row_type`, but for weights that the native library multiplies as they
    are; `dense` says who multiplies (None: its defaults).
    Without `overlap`, passes run whole.
    """
    chooser = overlap or OverlapChooser(OverlapMode.OFF)
    experts = RoutedExperts(dispatcher, row_type)

    def model_classes(config: dict[str, object]) -> tuple[Callable[[minimax.ModelArgs], nn.Module], type]:
        return (lambda args: CoordinatorModel(args, experts, chooser)), minimax.ModelArgs

    model, _ = load_mlx_model(
        Path(bundle.path),
        lazy=True,
        strict=True,
        model_config=_found_in(bundle),
        get_model_classes=model_classes,
    )
    assert isinstance(model, CoordinatorModel)
    model.dense = prepare_dense(model, dense or DenseSettings(), MLX_DTYPE[row_type])
    model.update(tree_map_with_path(_caster(MLX_DTYPE[row_type]), model.parameters()))
    if mx.default_device().type == mx.gpu:
        compile_layers(model.model.layers, model.args)
    mx.eval(model.parameters())
    model.eval()
    return model


def _found_in(bundle: Bundle) -> dict[str, object]:
    """What mlx-lm must not believe config.json about. It takes each matrix's format from its shapes."""
    affine, shared = bundle.config.affine, bundle.config.shared_intermediate_size
    quantization = {"group_size": affine.group_size, "bits": affine.bits, "mode": "affine"}
    return {"quantization": quantization, "shared_intermediate_size": shared}


def _caster(dtype: mx.Dtype) -> Callable[[str, mx.array], mx.array]:
    """Of floating-point tensors to `dtype`, but of routers' to float32, which they are computed in."""

    def cast(name: str, value: mx.array) -> mx.array:
        if not mx.issubdtype(value.dtype, mx.floating):
            return value
        return value.astype(mx.float32 if any(mark in name for mark in _ROUTER_MARKS) else dtype)

    return cast
