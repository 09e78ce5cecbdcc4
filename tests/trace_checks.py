"""What must hold of every trace in the Trace Event format's JSON form."""

from collections import defaultdict

from jangtq_coordinator.trace_events import Trace, TraceEvent

_SLACK_US = 1e-3


def check_trace(trace: Trace) -> None:
    """Complete events with finite times that nest on each track, and names for every track."""
    tracks: dict[tuple[int, int], list[TraceEvent]] = defaultdict(list)
    named = set()
    for event in trace["traceEvents"]:
        if event["ph"] == "M":
            named.add((event["pid"], event["tid"]))
            continue
        assert event["ph"] == "X"
        assert event["ts"] >= 0
        assert event["dur"] >= 0, event
        tracks[event["pid"], event["tid"]].append(event)
    assert set(tracks) <= named
    for events in tracks.values():
        _check_nesting(events)


def _check_nesting(events: list[TraceEvent]) -> None:
    open_until: list[float] = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        while open_until and open_until[-1] <= event["ts"] + _SLACK_US:
            open_until.pop()
        end = event["ts"] + event["dur"]
        assert not open_until or end <= open_until[-1] + _SLACK_US, event
        open_until.append(end)


def durations(trace: Trace, pid: int, name: str) -> list[float]:
    """Microseconds of the events whose name starts so."""
    return [
        e["dur"]
        for e in trace["traceEvents"]
        if e["ph"] == "X" and e["pid"] == pid and e["name"].startswith(name)
    ]
