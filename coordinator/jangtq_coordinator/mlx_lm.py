"""The only import of mlx-lm, which would lower the limit of open files for good, and load PyTorch.

transformers, which it imports, loads PyTorch wherever that is installed: two seconds, for nothing used here.
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def _without_torch() -> Iterator[None]:
    """Make PyTorch look not installed, unless the process has loaded it already."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


@contextmanager
def side_effects_undone() -> Iterator[None]:
    """Import modules of mlx-lm in this block: PyTorch stays out, and the limit of open files stays."""
    with _without_torch(), mock.patch.object(resource, "setrlimit", lambda *_: None):
        yield


with side_effects_undone():
    from mlx_lm.models import minimax
    from mlx_lm.models.activations import swiglu
    from mlx_lm.models.base import create_attention_mask, scaled_dot_product_attention
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from mlx_lm.utils import load_model, load_tokenizer, maybe_set_recommended_wired_limit

__all__ = [
    "TokenizerWrapper",
    "create_attention_mask",
    "load_model",
    "load_tokenizer",
    "maybe_set_recommended_wired_limit",
    "minimax",
    "scaled_dot_product_attention",
    "side_effects_undone",
    "swiglu",
]
