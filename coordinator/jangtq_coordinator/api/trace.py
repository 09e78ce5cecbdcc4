"""GET /trace: what the engine did of late, for Perfetto. Knows no worker."""

import time
from asyncio import sleep
from typing import Annotated, Final

from fastapi import APIRouter, Query

from jangtq_coordinator.timeline import Record, RequestSpan, Timeline, of_requests, since
from jangtq_coordinator.trace_coverage import notes_of_requests, notes_of_window
from jangtq_coordinator.trace_events import Trace, trace_of
from jangtq_proto.errors import UnknownRequestError

MOST_SECONDS: Final = 60.0


def trace_router(timeline: Timeline) -> APIRouter:
    """The trace route."""
    router = APIRouter()

    @router.get("/trace", response_model=None)
    async def get_trace(
        request: str | None = None, seconds: Annotated[float | None, Query(gt=0, le=MOST_SECONDS)] = None
    ) -> Trace:
        """One request by its id, the next so many seconds, or else the request that began last."""
        if seconds is not None:
            return await _next(timeline, seconds)
        record = timeline.copy()
        found = of_requests(record, _streams(record, request))
        return trace_of(found, notes_of_requests(found))

    return router


async def _next(timeline: Timeline, seconds: float) -> Trace:
    began, passes_before = time.perf_counter_ns(), timeline.passes_made
    await sleep(seconds)
    record = since(timeline.copy(), began)
    made = record.passes_made - passes_before
    return trace_of(record, notes_of_window(record, seconds=seconds, passes=made))


def _streams(record: Record, request_id: str | None) -> tuple[RequestSpan, ...]:
    """All of the newest request, which run together: its id may have been used before.

    Raises UnknownRequestError.
    """
    for newest in reversed(record.requests):
        if request_id is None or newest.id == request_id:
            return tuple(r for r in record.requests if r is newest or _run_together(r, newest))
    wanted = "there was no request yet" if request_id is None else f"request {request_id!r}: there is no such"
    raise UnknownRequestError(f"{wanted}; the {len(record.requests)} newest are known")


def _run_together(one: RequestSpan, newest: RequestSpan) -> bool:
    return bool(one.id) and one.id == newest.id and (one.ended is None or one.ended > newest.began)
