"""The one door to mlx-lm: its import would lower the limit of open files for good."""

import resource
from unittest import mock

with mock.patch.object(resource, "setrlimit", lambda *_: None):
    from mlx_lm.generate import BatchGenerator, generate_step, stream_generate
    from mlx_lm.models import minimax
    from mlx_lm.models.activations import swiglu
    from mlx_lm.models.base import create_attention_mask
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from mlx_lm.utils import load_model, load_tokenizer, maybe_set_recommended_wired_limit

__all__ = [
    "BatchGenerator",
    "TokenizerWrapper",
    "create_attention_mask",
    "generate_step",
    "load_model",
    "load_tokenizer",
    "maybe_set_recommended_wired_limit",
    "minimax",
    "stream_generate",
    "swiglu",
]
