"""MiniMax-M2 attention in PyTorch: grouped queries, norms over whole projections, partial rotation."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from jangtq_demo.settings import ModelSize


class RmsNorm(nn.Module):
    """x / rms(x) * weight, computed in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self._epsilon)
        return (scaled * self.weight.float()).to(x.dtype)


class KeyValueCache:
    """Keys and values of the positions seen so far, [batch, key-value heads, positions, head size]."""

    def __init__(self) -> None:
        self._room: Tensor | None = None
        self._length = 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions; returns all keys and values."""
        end = self._length + keys.shape[2]
        room = self._grow(keys, end)
        room[0, :, :, self._length : end] = keys
        room[1, :, :, self._length : end] = values
        self._length = end
        return room[0, :, :, :end], room[1, :, :, :end]

    def _grow(self, like: Tensor, length: int) -> Tensor:
        """Room for at least `length` positions; it doubles, so that appending stays cheap."""
        if self._room is None or self._room.shape[3] < length:
            batch, heads, _, size = like.shape
            wider = like.new_empty(2, batch, heads, 2 * length, size)
            if self._room is not None:
                wider[:, :, :, : self._length] = self._room[:, :, :, : self._length]
            self._room = wider
        return self._room


class Attention(nn.Module):
    """Self-attention under a given mask."""

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        queries = size.num_attention_heads * size.head_dim
        keys = size.num_key_value_heads * size.head_dim
        self.q_proj = nn.Linear(size.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(size.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(size.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, size.hidden_size, bias=False)
        self.q_norm = RmsNorm(queries, size.rms_norm_eps)
        self.k_norm = RmsNorm(keys, size.rms_norm_eps)
        self._size = size

    def forward(
        self, x: Tensor, turns: Tensor, *, mask: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """x: [batch, length, hidden]; turns: as `rotary_turns` gives; mask: bool [batch, 1, length, keys]."""
        batch, length, _ = x.shape
        size = self._size

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(batch, length, heads, size.head_dim).transpose(1, 2)

        queries = rotate_positions(split(self.q_norm(self.q_proj(x)), size.num_attention_heads), turns)
        keys = rotate_positions(split(self.k_norm(self.k_proj(x)), size.num_key_value_heads), turns)
        values = split(self.v_proj(x), size.num_key_value_heads)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        repeats = size.num_attention_heads // size.num_key_value_heads
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys.repeat_interleave(repeats, dim=1),
            values.repeat_interleave(repeats, dim=1),
            attn_mask=mask,
        )
        projected: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return projected


def rotary_turns(positions: Tensor, size: ModelSize) -> Tensor:
    """Angles as float32 [batch, 1, length, rotary / 2] for positions [batch, length]."""
    half = size.rotary_dim // 2
    exponents = torch.arange(half, device=positions.device, dtype=torch.float32) / half
    return positions[:, None, :, None].float() * size.rope_theta**-exponents


def rotate_positions(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the first rotary dimensions: i with i + half, not neighbours; the other dimensions stay."""
    half = turns.shape[-1]
    cosine, sine = turns.cos(), turns.sin()
    first, second = x[..., :half].float(), x[..., half : 2 * half].float()
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return torch.cat([turned.to(x.dtype), x[..., 2 * half :]], dim=-1)
