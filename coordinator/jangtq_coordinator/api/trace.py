"""GET /trace: what the engine did of late, for Perfetto. Knows no worker."""

import asyncio
import time
from typing import Annotated, Final

from fastapi import APIRouter, Query

from jangtq_coordinator.timeline import Record, Timeline, of_request, since
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
            began = time.perf_counter_ns()
            await asyncio.sleep(seconds)
            return trace_of(since(timeline.copy(), began))
        return trace_of(_one_request(timeline.copy(), request))

    return router


def _one_request(record: Record, request_id: str | None) -> Record:
    """The newest, since an id may be used again. Raises UnknownRequestError."""
    for request in reversed(record.requests):
        if request_id is None or request.id == request_id:
            return of_request(record, request)
    wanted = "there was no request yet" if request_id is None else f"request {request_id!r}: there is no such"
    raise UnknownRequestError(f"{wanted}; the {len(record.requests)} newest are known")
