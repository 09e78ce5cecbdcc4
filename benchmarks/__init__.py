"""Benchmarks: each prints ratios against a peer or a physical limit measured in the same run."""

# Before MLX, which some benchmarks import first: it brings the fast products.
import jangtq_coordinator as _  # noqa: F401
