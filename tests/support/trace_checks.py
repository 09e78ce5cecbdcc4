"""What must hold of our traces in the Trace Event format's JSON form, as the strictest viewer asks."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import NoReturn

from jangtq_coordinator.metrics.trace_events import Trace, TraceEvent

_NAMES = {"process_name", "thread_name"}
_ROUNDING_US = 0.5
"""Spans are told in whole eighths of a microsecond."""
_STAGES = ("attention", "encode", "exchange", "reduce")

Track = tuple[int, int]


def read_trace(file: Path) -> Trace:
    """A file as strict JSON, which knows no NaN, checked."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    trace: Trace = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    check_trace(trace)
    return trace


def check_trace(trace: Trace) -> None:
    """Complete events that nest on each track, in order; each track and process named once; whole layers."""
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    for one in trace["otherData"]["coverage"]:
        assert 0 <= one["with_layers"] <= one["known"] <= one["passes"], one
    names: Counter[tuple[str, int, int]] = Counter()
    tracks: dict[Track, list[TraceEvent]] = defaultdict(list)
    for event in trace["traceEvents"]:
        assert type(event["pid"]) is int and type(event["tid"]) is int and event["name"], event
        if event["ph"] == "M":
            _check_name(event)
            names[event["name"], event["pid"], event["tid"]] += 1
        else:
            _check_span(event)
            tracks[event["pid"], event["tid"]].append(event)
    assert set(names.values()) <= {1}
    assert set(tracks) <= {(pid, tid) for kind, pid, tid in names if kind == "thread_name"}
    assert {pid for pid, _ in tracks} <= {pid for kind, pid, _ in names if kind == "process_name"}
    for events in tracks.values():
        _check_nesting(events)
    for layer, parts in layers_of(trace):
        _check_layer(layer, parts)


def _check_name(event: TraceEvent) -> None:
    assert set(event) == {"name", "ph", "pid", "tid", "args"} and event["name"] in _NAMES, event
    assert set(event["args"]) == {"name"} and isinstance(event["args"]["name"], str), event


def _check_span(event: TraceEvent) -> None:
    assert event["ph"] == "X" and set(event) - {"args"} == {"name", "ph", "pid", "tid", "ts", "dur"}, event
    assert all(type(event[key]) in (int, float) for key in ("ts", "dur")), event
    assert math.isfinite(event["ts"]) and event["ts"] >= 0, event
    assert math.isfinite(event["dur"]) and event["dur"] >= 0, event


def _check_nesting(events: list[TraceEvent]) -> None:
    """As they come: sorted by their beginning, what contains others before these, and no two that cross."""
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)
    open_until: list[float] = []
    for event in events:
        while open_until and open_until[-1] <= event["ts"]:
            open_until.pop()
        end = event["ts"] + event["dur"]
        assert not open_until or end <= open_until[-1], event
        open_until.append(end)


def layers_of(trace: Trace) -> list[tuple[TraceEvent, dict[str, TraceEvent]]]:
    """Every layer with its parts by name."""
    found: list[tuple[TraceEvent, dict[str, TraceEvent]]] = []
    newest: dict[Track, dict[str, TraceEvent]] = {}
    for event in trace["traceEvents"]:
        track = event["pid"], event["tid"]
        if event["ph"] == "X" and event["name"].startswith("layer "):
            newest[track] = {}
            found.append((event, newest[track]))
        elif event["ph"] == "X" and track in newest:
            assert event["name"] not in newest[track], event
            newest[track][event["name"]] = event
    return found


def _check_layer(layer: TraceEvent, parts: dict[str, TraceEvent]) -> None:
    """Its stages follow each other and are all of it; wire and worker explain no more than the exchange."""
    assert set(parts) == {*_STAGES, "queue", "compute", "decode"}, layer
    stamp = layer["ts"]
    for stage in _STAGES:
        assert parts[stage]["ts"] == stamp, parts[stage]
        stamp += parts[stage]["dur"]
    assert stamp == layer["ts"] + layer["dur"], layer
    exchange, told = parts["exchange"]["dur"], parts["exchange"]["args"]
    wire, waited = (told[name] for name in ("wire us", "waited us"))
    assert isinstance(wire, float) and isinstance(waited, float)
    assert 0 <= waited <= exchange + _ROUNDING_US
    explained = wire + sum(parts[name]["dur"] for name in ("queue", "compute", "decode"))
    assert 0 <= wire and explained <= exchange + _ROUNDING_US, layer


def durations(trace: Trace, pid: int, name: str) -> list[float]:
    """Microseconds of the events whose name starts so."""
    return [
        e["dur"]
        for e in trace["traceEvents"]
        if e["ph"] == "X" and e["pid"] == pid and e["name"].startswith(name)
    ]
