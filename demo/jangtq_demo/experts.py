"""The MoE block in PyTorch: sigmoid router with a correction bias, and experts computed side by side."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from jangtq_demo.settings import ModelSize

WeightFilter = Callable[[Tensor], Tensor]
"""What stands between a stored expert matrix and its use: nothing, or a quantizer."""


class ExpertMatrix(nn.Module):
    """One projection of all experts, [experts, out, in]."""

    def __init__(self, experts: int, out_features: int, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, out_features, in_features) * in_features**-0.5)
        self.filter: WeightFilter | None = None

    def forward(self) -> Tensor:
        weight: Tensor = self.weight
        return weight if self.filter is None else self.filter(weight)


class SwitchMlp(nn.Module):
    """All experts of a layer: down(silu(gate(x)) * up(x))."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        experts, hidden, intermediate = size.num_local_experts, size.hidden_size, size.intermediate_size
        self.gate_proj = ExpertMatrix(experts, intermediate, hidden)
        self.up_proj = ExpertMatrix(experts, intermediate, hidden)
        self.down_proj = ExpertMatrix(experts, hidden, intermediate)

    def forward(self, rows: Tensor, ends: Tensor) -> Tensor:
        """rows: [rows, hidden], sorted by expert; ends: int32 [experts], where each expert's rows end."""
        gate = multiply_groups(rows, self.gate_proj(), ends)
        up = multiply_groups(rows, self.up_proj(), ends)
        return multiply_groups(functional.silu(gate) * up, self.down_proj(), ends)


def multiply_groups(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Each expert's rows by its own matrix [out, in]."""
    if rows.is_cuda and rows.dtype == torch.float32:
        return multiply_padded(rows, weight, ends)
    product: Tensor = functional.grouped_mm(rows, weight.to(rows.dtype).transpose(1, 2), offs=ends)
    return product


def multiply_padded(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """The same as one batched product of equally long groups: `grouped_mm` is slow in float32 on a GPU."""
    counts = ends.diff(prepend=ends.new_zeros(1))
    groups = torch.repeat_interleave(torch.arange(len(ends), device=rows.device), counts)
    places = torch.arange(len(rows), device=rows.device) - (ends - counts)[groups]
    padded = rows.new_zeros(len(ends), int(counts.max()), rows.shape[1])
    padded[groups, places] = rows
    return torch.bmm(padded, weight.transpose(1, 2))[groups, places]


class MoeBlock(nn.Module):
    """Router and experts. `load` counts the rows of each expert since `take_load`."""

    load: Tensor
    e_score_correction_bias: Tensor

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.gate = nn.Linear(size.hidden_size, size.num_local_experts, bias=False)
        self.switch_mlp = SwitchMlp(size)
        self.register_buffer("e_score_correction_bias", torch.zeros(size.num_local_experts))
        self.register_buffer("load", torch.zeros(size.num_local_experts, dtype=torch.int64), persistent=False)
        self._per_token = size.num_experts_per_tok

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """x: [batch, length, hidden]; active: indices of the positions that are no padding."""
        flat = x.reshape(-1, x.shape[-1])
        rows = flat[active]
        picked, weights = self._route(rows)
        computed = self._compute(rows, picked, weights)
        return torch.zeros_like(flat).index_copy(0, active, computed).view_as(x)

    def balance(self, rate: float) -> None:
        """Move the bias of overloaded experts down and of idle ones up, without an auxiliary loss.

        Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing", and DeepSeek-V3, section 2.1.2.
        """
        load = self.take_load()
        moved = self.e_score_correction_bias + rate * torch.sign(load.float().mean() - load)
        self.e_score_correction_bias.copy_(moved - moved.mean())

    def take_load(self) -> Tensor:
        load = self.load.clone()
        self.load.zero_()
        return load

    def _route(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and router weights, [rows, experts a token]; float32 throughout, as in the reference."""
        with torch.autocast(rows.device.type, enabled=False):
            scores = torch.sigmoid(functional.linear(rows.float(), self.gate.weight.float()))
        biased = scores.detach() + self.e_score_correction_bias
        picked = biased.topk(self._per_token, dim=-1, sorted=False).indices
        weights = scores.gather(-1, picked)
        return picked, weights / (weights.sum(-1, keepdim=True) + 1e-20)

    def _compute(self, rows: Tensor, picked: Tensor, weights: Tensor) -> Tensor:
        """Sort the rows by expert, compute each group, and add what belongs to a row."""
        order = picked.flatten().argsort(stable=True)
        counts = picked.flatten().bincount(minlength=self.load.shape[0])
        self.load += counts
        inputs = _autocast(rows[order // self._per_token])
        outputs = self.switch_mlp(inputs, counts.cumsum(0).to(torch.int32))
        answers = torch.empty_like(outputs).index_copy(0, order, outputs).view(*picked.shape, -1)
        return (answers * weights.unsqueeze(-1).to(answers.dtype)).sum(1).to(rows.dtype)


def _autocast(x: Tensor) -> Tensor:
    """What autocast would do for a product; it does not know grouped ones."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
