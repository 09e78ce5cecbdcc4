"""The active requests: turns the steps of each sequence into events for its stream. Knows no model."""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jangtq_coordinator.engine.events import Failed, Finished, GenerationEvent, PrefillProgress
from jangtq_coordinator.engine.output import RequestOutput
from jangtq_coordinator.engine.prefill import PrefillStep
from jangtq_coordinator.engine.sequence import TokenStep
from jangtq_coordinator.engine.stats import ServiceTime
from jangtq_coordinator.engine.streams import GenerationStream, Outbox
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_proto.errors import ClusterError

_log = logging.getLogger("jangtq.engine")


@dataclass
class _Request:
    stream: GenerationStream
    answer: RequestOutput
    admitted: float | None = None
    """When the first part of its prompt was computed, by time.monotonic."""


class ActiveRequests:
    """Active requests by the uid of their sequence. Engine thread only; len() is safe in any thread."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._requests: dict[int, _Request] = {}
        self._outbox = Outbox()
        self.service_time = ServiceTime()

    def __len__(self) -> int:
        return len(self._requests)

    def begin(self, uid: int, stream: GenerationStream, *, answer: RequestOutput) -> None:
        """Add a request that the scheduler took."""
        self._timeline.begin_request(uid, stream.request_id)
        self._requests[uid] = _Request(stream, answer)

    def refuse(self, stream: GenerationStream, error: Exception) -> None:
        """End the stream of a request that the scheduler did not take."""
        self._outbox.put(stream, Failed(error))

    def of(self, streams: Collection[GenerationStream]) -> list[int]:
        """The uids of the requests that these streams belong to."""
        return [uid for uid, request in self._requests.items() if request.stream in streams]

    def take_prefill(self, step: PrefillStep) -> None:
        """Send the progress of a chunk. The token that the last chunk brings goes to `take_token`."""
        request = self._requests[step.uid]
        request.admitted = request.admitted or time.monotonic()
        if not request.answer.has_begun:
            request.answer.cached_tokens = step.cached
            self._outbox.put(request.stream, PrefillProgress(step.done, step.total, step.cached))

    def take_token(self, step: TokenStep) -> Finished | Failed | None:
        """Send a token's events; returns the last event of the answer once it has ended."""
        request = self._requests.get(step.uid)
        if request is None:
            # A stop string ended the answer before the last token of a pass that brought several.
            return None
        events = self._events(request, step)
        for event in events:
            self._outbox.put(request.stream, event)
        end = events[-1]
        if not isinstance(end, Finished | Failed):
            return None
        if request.admitted is not None:
            self.service_time.record(time.monotonic() - request.admitted)
        return end

    def fail(self, uids: Sequence[int], error: Exception, *, where: str) -> None:
        """End these requests with an error."""
        report(f"{where} of {', '.join(map(self._name, uids))}", error)
        for uid in uids:
            self._outbox.put(self._requests[uid].stream, Failed(error))

    def fail_all(self, error: Exception) -> None:
        """End every request with an error, and forget them all."""
        for request in self._requests.values():
            self._outbox.put(request.stream, Failed(error))
        self._requests.clear()
        self._outbox.flush()

    def forget(self, uids: Sequence[int]) -> None:
        """Remove requests that ended."""
        for uid in uids:
            del self._requests[uid]
            self._timeline.end_request(uid)

    def flush(self) -> list[int]:
        """Send the collected events; returns the requests whose event loop is closed."""
        return self.of(self._outbox.flush())

    def _events(self, request: _Request, step: TokenStep) -> list[GenerationEvent]:
        try:
            if step.failure is not None:
                raise step.failure
            return request.answer.add(step.token, step.finish_reason, step.logprobs)
        except Exception as error:
            report(self._name(step.uid), error)
            return [Failed(error)]

    def _name(self, uid: int) -> str:
        """The request's id in logs."""
        return f"request {self._requests[uid].stream.request_id or uid}"


def report(where: str, error: Exception) -> None:
    """Log why a request failed. Errors of the cluster explain themselves; others get a traceback."""
    _log.error("%s failed: %s", where, error, exc_info=None if isinstance(error, ClusterError) else error)
