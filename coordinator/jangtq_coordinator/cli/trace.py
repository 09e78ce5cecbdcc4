"""`jangtq-coord trace`: fetches a trace from a running coordinator and keeps it in a file."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from jangtq_coordinator.cli.admin_client import get
from jangtq_coordinator.metrics.trace_coverage import TraceNotes
from jangtq_coordinator.metrics.trace_events import MOST_SECONDS, Trace
from jangtq_proto.errors import ConfigurationError


@dataclass(frozen=True)
class TraceQuestion:
    """Of `request_id`, or of the next `seconds`, or of the request that began last."""

    url: str
    output: Path
    request_id: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.request_id is not None and self.seconds is not None:
            raise ConfigurationError("--request and --seconds exclude each other")
        if self.seconds is not None and not 0 < self.seconds <= MOST_SECONDS:
            raise ConfigurationError(
                f"--seconds {self.seconds:g}: allowed are more than 0 and up to {MOST_SECONDS:g}"
            )

    @property
    def parameters(self) -> dict[str, str | float]:
        """The query of GET /trace."""
        given = {"request": self.request_id, "seconds": self.seconds}
        return {name: value for name, value in given.items() if value is not None}


def save_trace(question: TraceQuestion) -> None:
    """Write the file and say how much is in it. Raises JangtqError."""
    trace = get(question.url, "/trace", question.parameters, seconds=question.seconds or 0)
    try:
        question.output.write_bytes(trace)
    except OSError as error:
        raise ConfigurationError(f"cannot write {question.output}: {error.strerror}") from error
    read: Trace = json.loads(trace)
    count = len(read["traceEvents"])
    print(f"{question.output}: {count} events; open it at https://ui.perfetto.dev", flush=True)
    for warning in warnings_of(read["otherData"]):
        print(f"jangtq-coord: warning: {warning}", file=sys.stderr)


def warnings_of(notes: TraceNotes) -> list[str]:
    """What is missing in a trace because it was too long ago, one line each."""
    kept = notes["kept"]
    warnings = [
        f"{one['what']}: of {one['passes']} passes, {one['with_layers']} have all their layers and "
        f"{one['passes'] - one['with_layers']} have not, {one['passes'] - one['known']} of which are missing "
        f"as a whole: a coordinator keeps the newest {kept['layers']} layers and {kept['passes']} passes"
        for one in notes["coverage"]
        if one["with_layers"] < one["passes"]
    ]
    if notes["forgotten_requests"]:
        warnings.append(
            f"{notes['forgotten_requests']} requests are not shown: a coordinator knows the newest "
            f"{kept['requests']}"
        )
    return warnings
