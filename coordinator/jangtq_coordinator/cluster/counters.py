"""What happened to the cluster since the start, as plain numbers for whoever exports them."""

from dataclasses import dataclass


@dataclass
class ClusterCounters:
    """Written by the threads of engine and health_monitor, each field by one of them; read by any.

    failovers: parts of a layer that another worker answered. retries: parts asked again of the same one.
    second_asks: rows asked for once more because their grid did not suit their answers.
    departures: workers that said that they would stop.
    paused_seconds: time in which a pass waited for experts that nobody held.
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
