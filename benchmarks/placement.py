"""Which core each process of a benchmark runs on, where the system lets that be chosen (Linux does).

Left to itself, Linux at times wakes a peer on the core of whoever asks it, which no other machine is.
"""

import os

import psutil

from jangtq_coordinator.cli.demo.processes import Child


class Placement:
    """We on the first of our cores, peers on those after it; where there are too few, on ours again."""

    def __init__(self) -> None:
        """Places us. Whatever is started from now on has to be placed."""
        self._cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if self._cores:
            os.sched_setaffinity(0, self._cores[:1])

    def place(self, child: Child, peer: int) -> None:
        """A process that was started this moment; peers count from 0."""
        if self._cores:
            core = self._cores[(1 + peer) % len(self._cores)]
            psutil.Process(child.process.pid).cpu_affinity([core])
