"""mlx-lm's own generation, which tests compare ours with."""

from jangtq_coordinator.mlx_lm import side_effects_undone

with side_effects_undone():
    from mlx_lm.generate import BatchGenerator, generate_step, stream_generate

__all__ = ["BatchGenerator", "generate_step", "stream_generate"]
