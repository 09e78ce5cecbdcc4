"""Runs the CUDA backend without a GPU: its sources compiled as C++, threads as fibers, a stand-in driver."""

from .compiler import SimulatedCompiler, simulated_driver, simulated_toolkit

__all__ = ["SimulatedCompiler", "simulated_driver", "simulated_toolkit"]
