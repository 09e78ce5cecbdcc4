"""Gather-TQ kernels for NVIDIA GPUs on tensor cores. Knows neither files nor network, and nothing of MLX."""
