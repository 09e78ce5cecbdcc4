"""`jangtq-coord trace`: fetches a trace from a running coordinator and keeps it in a file."""

import json
import sys

from jangtq_coordinator.cli.admin_client import get
from jangtq_coordinator.cli.command_settings import TraceSettings
from jangtq_coordinator.metrics.trace_coverage import TraceNotes
from jangtq_coordinator.metrics.trace_events import Trace
from jangtq_proto.errors import ConfigurationError


def save_trace(settings: TraceSettings) -> None:
    """Write the file and print how much is in it. Raises JangtqError."""
    trace = get(settings.url, "/trace", settings.parameters, seconds=settings.seconds or 0)
    try:
        settings.output.write_bytes(trace)
    except OSError as error:
        raise ConfigurationError(f"cannot write {settings.output}: {error.strerror}") from error
    read: Trace = json.loads(trace)
    count = len(read["traceEvents"])
    print(f"{settings.output}: {count} events; open it at https://ui.perfetto.dev", flush=True)
    for warning in warnings_of(read["otherData"]):
        print(f"jangtq-coord: warning: {warning}", file=sys.stderr)


def warnings_of(notes: TraceNotes) -> list[str]:
    """A line for each part that is missing because it is too old."""
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
