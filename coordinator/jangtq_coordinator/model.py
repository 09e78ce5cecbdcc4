"""mlx-lm's MiniMax model without its expert tensors: each MoE block asks a dispatcher instead."""

import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.dispatch import Dispatcher
from jangtq_coordinator.mlx_lm_import import load_model as load_mlx_model
from jangtq_coordinator.mlx_lm_import import minimax, swiglu
from jangtq_proto.codec import Rows, RowType

_MLX_DTYPE = {
    RowType.FLOAT32: mx.float32,
    RowType.FLOAT16: mx.float16,
    RowType.BFLOAT16: mx.bfloat16,
}
_EXPERT_MARKS = (".switch_mlp.", ".experts.")


def default_row_type() -> RowType:
    """float32 where MLX computes on the CPU (its float16 is 40 times slower there), float16 on Metal."""
    return RowType.FLOAT16 if mx.metal.is_available() else RowType.FLOAT32


class RoutedExperts:
    """The bridge between MLX arrays of one layer and the dispatcher's bytes. One evaluation a layer."""

    def __init__(self, dispatcher: Dispatcher, row_type: RowType) -> None:
        self._dispatcher = dispatcher
        self._row_type = row_type
        self._exchange_ended_ns = time.perf_counter_ns()

    def start_pass(self) -> None:
        """Called where a forward pass begins, so that time between passes counts for no layer."""
        self._exchange_ended_ns = time.perf_counter_ns()

    def forward(
        self, layer: int, x: mx.array, *, picked: mx.array, router_weights: mx.array, shared: mx.array | None
    ) -> mx.array:
        """x: [..., hidden]; picked, router_weights: [..., experts a token]; returns x's shape and dtype."""
        rows = _wire_form(x.reshape(-1, x.shape[-1]), self._row_type)
        ids = picked.reshape(-1, picked.shape[-1]).astype(mx.int32)
        weights = router_weights.reshape(ids.shape).astype(mx.float32)
        mx.eval(rows, ids, weights)
        sums = self._dispatcher.forward(
            layer,
            _to_numpy(rows, self._row_type),
            expert_ids=np.array(ids),
            router_weights=np.array(weights),
            began_ns=self._exchange_ended_ns,
            meanwhile=None if shared is None else _evaluation_of(shared),
        )
        self._exchange_ended_ns = time.perf_counter_ns()
        return mx.array(sums).reshape(x.shape).astype(x.dtype)


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
        picked, weights = self._route(x)
        shared = self.shared_experts(x) if "shared_experts" in self else None
        routed = self._experts.forward(self._layer, x, picked=picked, router_weights=weights, shared=shared)
        return routed if shared is None else routed + shared

    def _route(self, x: mx.array) -> tuple[mx.array, mx.array]:
        scores = mx.sigmoid(self.gate(x.astype(mx.float32)))
        k = self._experts_per_token
        picked = mx.argpartition(-(scores + self.e_score_correction_bias), kth=k - 1, axis=-1)[..., :k]
        weights = mx.take_along_axis(scores, picked, axis=-1)
        return picked, weights / (mx.sum(weights, axis=-1, keepdims=True) + 1e-20)


class CoordinatorModel(minimax.Model):
    """Everything of the model but its routed experts; usable wherever mlx-lm wants a model."""

    def __init__(self, args: minimax.ModelArgs, experts: RoutedExperts) -> None:
        super().__init__(args)
        self._experts = experts
        for index, layer in enumerate(self.model.layers):
            layer.block_sparse_moe = MoeBlock(args, index, experts)

    def __call__(
        self, inputs: mx.array, mask: mx.array | None = None, cache: list[object] | None = None
    ) -> mx.array:
        self._experts.start_pass()
        result: mx.array = super().__call__(inputs, mask=mask, cache=cache)
        return result

    def last_logits(self, inputs: mx.array, *, cache: list[object] | None = None) -> mx.array:
        """Logits [rows, vocabulary] of the last position: the head skips all others."""
        self._experts.start_pass()
        hidden = self.model(inputs=inputs, cache=cache)[:, -1, :]
        head = self.model.embed_tokens.as_linear if self.args.tie_word_embeddings else self.lm_head
        result: mx.array = head(hidden)
        return result

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        """Drop the routed experts: they live in the workers, and mx.load reads nothing before it is used."""
        return {
            name: value for name, value in weights.items() if not any(mark in name for mark in _EXPERT_MARKS)
        }


def load_model(bundle: Bundle, dispatcher: Dispatcher, row_type: RowType) -> CoordinatorModel:
    """Read the coordinator's tensors and evaluate them in the calling thread, the only one to use MLX.

    Floating-point tensors become `row_type`; 8-bit weights stay packed.
    """
    experts = RoutedExperts(dispatcher, row_type)

    def model_classes(config: dict[str, object]) -> tuple[Callable[[minimax.ModelArgs], nn.Module], type]:
        return (lambda args: CoordinatorModel(args, experts)), minimax.ModelArgs

    model, _ = load_mlx_model(Path(bundle.path), lazy=True, strict=True, get_model_classes=model_classes)
    model.update(tree_map(_caster(_MLX_DTYPE[row_type]), model.parameters()))
    mx.eval(model.parameters())
    model.eval()
    assert isinstance(model, CoordinatorModel)
    return model


def _caster(dtype: mx.Dtype) -> Callable[[mx.array], mx.array]:
    return lambda value: value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value


def _evaluation_of(array: mx.array) -> Callable[[], None]:
    return lambda: mx.eval(array)


def _wire_form(rows: mx.array, row_type: RowType) -> mx.array:
    """Rows in the wire's dtype; bfloat16 as its bits, since NumPy does not know the buffer's format."""
    typed = rows.astype(_MLX_DTYPE[row_type])
    return typed.view(mx.uint16) if row_type is RowType.BFLOAT16 else typed


def _to_numpy(rows: mx.array, row_type: RowType) -> Rows:
    """A view of evaluated rows, valid as long as they live."""
    view: Rows = np.array(rows, copy=False)
    return view.view(ml_dtypes.bfloat16) if row_type is RowType.BFLOAT16 else view
