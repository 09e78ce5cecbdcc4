"""Runs Metal kernels on the processor: the same source, compiled as C++ and run thread by thread."""

from .simulator import MetalSimulator, SimulatedMetalError

__all__ = ["MetalSimulator", "SimulatedMetalError"]
