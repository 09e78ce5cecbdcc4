"""GET /trace: the engine's recent past, for Perfetto. Knows no worker.

Traces have up to a quarter of a million events; a thread builds them, so that other answers need not wait.
"""

import time
from asyncio import sleep, to_thread
from typing import Annotated

from fastapi import APIRouter, Query

from jangtq_coordinator.api.http.json_reply import JsonReply
from jangtq_coordinator.config import MOST_TRACE_SECONDS
from jangtq_coordinator.metrics.timeline import Record, RequestSpan, Timeline, of_requests, since
from jangtq_coordinator.metrics.trace_coverage import notes_of_requests, notes_of_window
from jangtq_coordinator.metrics.trace_events import trace_of
from jangtq_proto.errors import UnknownRequestError


def trace_router(timeline: Timeline) -> APIRouter:
    """The trace route."""
    router = APIRouter()

    @router.get("/trace", response_model=None)
    async def get_trace(
        request: str | None = None,
        seconds: Annotated[float | None, Query(gt=0, le=MOST_TRACE_SECONDS)] = None,
    ) -> JsonReply:
        """One request by its id, the next so many seconds, or else the request that began last."""
        if seconds is not None:
            began, passes_before = time.perf_counter_ns(), timeline.passes_made
            await sleep(seconds)
            return await to_thread(_window, timeline, seconds, began=began, passes_before=passes_before)
        return await to_thread(_request, timeline, request)

    return router


def _window(timeline: Timeline, seconds: float, *, began: int, passes_before: int) -> JsonReply:
    record = since(timeline.copy(), began)
    made = record.passes_made - passes_before
    return JsonReply(trace_of(record, notes_of_window(record, seconds=seconds, passes=made)))


def _request(timeline: Timeline, request_id: str | None) -> JsonReply:
    record = timeline.copy()
    found = of_requests(record, _streams(record, request_id))
    return JsonReply(trace_of(found, notes_of_requests(found)))


def _streams(record: Record, request_id: str | None) -> tuple[RequestSpan, ...]:
    """All streams of the newest request with this id, which may have been used before.

    Raises UnknownRequestError.
    """
    for newest in reversed(record.requests):
        if request_id is None or newest.id == request_id:
            return tuple(r for r in record.requests if r is newest or _run_together(r, newest))
    wanted = "there was no request yet" if request_id is None else f"request {request_id!r}: there is no such"
    raise UnknownRequestError(f"{wanted}; the {len(record.requests)} newest are known")


def _run_together(one: RequestSpan, newest: RequestSpan) -> bool:
    return bool(one.id) and one.id == newest.id and (one.ended is None or one.ended > newest.began)
