"""Gather-TQ kernels for Apple silicon, one a file. Knows neither files nor network."""
