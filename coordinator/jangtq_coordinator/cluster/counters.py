"""What happened to the cluster since the start, as plain numbers."""

from dataclasses import dataclass


@dataclass
class ClusterCounters:
    """Totals. The engine's thread or the health monitors write a field; any thread reads it.

    failovers: parts of a layer that another worker answered. retries: parts that the same worker was asked
    for again. second_asks: rows computed again because their grid did not suit their answers. departures:
    workers that said that they would stop. paused_seconds: time in which a pass waited for experts that no
    worker served.
    """

    failovers: int = 0
    retries: int = 0
    faults: int = 0
    pushbacks: int = 0
    departures: int = 0
    losses: int = 0
    returns: int = 0
    quarantines: int = 0
    audits: int = 0
    disagreements: int = 0
    second_asks: int = 0
    pauses: int = 0
    paused_seconds: float = 0.0
