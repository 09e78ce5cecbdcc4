"""The engine's inner loop: commands in, one decode pass and one prefill chunk a round, events out.

Runs in the only thread that uses MLX; sleeps while there is nothing to do. Knows no HTTP.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from jangtq_coordinator.engine.active_requests import ActiveRequests
from jangtq_coordinator.engine.commands import Cancel, Command, CommandQueue, Commands, Stop, Submit
from jangtq_coordinator.engine.events import Finished
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.engine.output import RequestOutput
from jangtq_coordinator.engine.prefill import PrefillStep
from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.engine.retry_window import RetryWindow
from jangtq_coordinator.engine.scheduler import Scheduler
from jangtq_coordinator.engine.sequence import TokenStep
from jangtq_coordinator.engine.streams import GenerationStream
from jangtq_coordinator.metrics.timeline import PassKind
from jangtq_coordinator.text.answer_text import AnswerText
from jangtq_coordinator.text.detokenizer import detokenizer_factory
from jangtq_proto.errors import ContextOverflowError, EngineUnavailableError
from jangtq_proto.timings import TIMINGS

_log = logging.getLogger("jangtq.engine")
_Step = TypeVar("_Step", TokenStep, PrefillStep)


class _PassInterrupted(Exception):  # noqa: N818 - nothing is wrong
    """A request was cancelled while its pass waited for the cluster: the pass starts again without it."""


class StepLoop:
    """The requests of one loaded model."""

    def __init__(
        self,
        loaded: LoadedModel,
        scheduler: Scheduler,
        commands: Commands,
        *,
        retry_seconds: float,
    ) -> None:
        self._loaded = loaded
        self._context_length = min(loaded.context_length, scheduler.longest)
        self._retry_window = RetryWindow(retry_seconds)
        self._scheduler = scheduler
        self._inbox = CommandQueue(commands)
        self._new_detokenizer = detokenizer_factory(loaded.tokenizer, keep=loaded.capabilities.markup)
        self._timeline = loaded.timeline
        self._requests = ActiveRequests(loaded.timeline)
        self._deadline: float | None = None
        self.service_time = self._requests.service_time
        self.counters = scheduler.counters
        self.load = scheduler.measure()
        loaded.readiness.while_waiting(self._check_commands)

    @property
    def running(self) -> int:
        """The number of requests, waiting ones included."""
        return len(self._requests)

    @property
    def ahead(self) -> int:
        """How many requests a new one would have to wait for."""
        return self._scheduler.waiting + len(self._inbox)

    @property
    def free_places(self) -> int:
        """How many more sequences --batch-size allows."""
        return self._scheduler.free_places

    def check_memory(self, request: GenerationRequest) -> None:
        """Raise ContextOverflowError for a prompt that can never fit the memory for KV."""
        if len(request.prompt) >= self._context_length:
            raise ContextOverflowError.of(
                prompt_tokens=len(request.prompt),
                context_length=self._context_length,
                hint=f"; the memory for KV has room for {self._context_length} tokens (--kv-memory)",
            )

    def close(self) -> None:
        """Close the prefix cache."""
        self._scheduler.close()

    def run(self) -> None:
        """Work until a Stop command is handled."""
        while self._take_commands():
            self._decode()
            self._flush()
            self._prefill()
            self._flush()
            self.load = self._scheduler.measure()
        self.fail_all(EngineUnavailableError("the coordinator stopped before the answer was complete"))

    def fail_all(self, error: Exception) -> None:
        """End every request with an error, those included whose commands are not handled yet."""
        for command in self._inbox.take():
            if isinstance(command, Submit):
                self._requests.refuse(command.stream, error)
        self._requests.fail_all(error)

    def _take_commands(self) -> bool:
        """Handle new commands; sleep while there is nothing to do. False when the loop should end."""
        wait_seconds: float | None = TIMINGS.pass_retry if self._retry_window.is_tried else 0
        if not self._requests and self._deadline is None:
            wait_seconds = None
        for command in self._inbox.take(wait_seconds=wait_seconds):
            self._handle(command)
        if self._deadline is None:
            return True
        return len(self._requests) > 0 and time.monotonic() < self._deadline

    def _check_commands(self) -> None:
        """Called while a pass waits for the cluster; raises if the pass should end."""
        commands = self._inbox.look()
        stops = [command.deadline for command in commands if isinstance(command, Stop)]
        deadline = min(stops, default=self._deadline)
        if deadline is not None and time.monotonic() >= deadline:
            raise EngineUnavailableError("the coordinator stopped before the cluster was complete again")
        left = [command.stream for command in commands if isinstance(command, Cancel)]
        if self._requests.of(left):
            raise _PassInterrupted

    def _handle(self, command: Command) -> None:
        match command:
            case Submit():
                self._begin(command.request, command.stream)
            case Cancel():
                self._forget(self._requests.of([command.stream]))
            case Stop():
                self._deadline = command.deadline

    def _begin(self, request: GenerationRequest, stream: GenerationStream) -> None:
        try:
            text = AnswerText(
                self._new_detokenizer(),
                stops=request.stops,
                markers=self._loaded.capabilities.markers,
                opening=request.opening,
                tool_calls=request.tool_calls,
            )
            uid = self._scheduler.add(
                request.prompt,
                max_tokens=request.token_budget(self._context_length),
                sampler=request.new_sampler(),
                speculation=request.speculation,
                stop_tokens=request.stop_tokens,
            )
        except Exception as error:
            self._requests.refuse(stream, error)
            return
        self._requests.begin(uid, stream, answer=RequestOutput(text, prompt_tokens=len(request.prompt)))

    def _decode(self) -> None:
        for step in self._try("decode", self._scheduler.decode, self._scheduler.drop_decoding):
            self._take_token(step)

    def _prefill(self) -> None:
        if self._scheduler.decoding and (
            self._retry_window.is_tried or self._loaded.readiness.is_overloaded()
        ):
            return
        others_wait, began = self._scheduler.decoding > 0, time.perf_counter_ns()
        steps = self._try("prefill", self._scheduler.prefill, self._scheduler.drop_prefill)
        if steps and others_wait:
            self.counters.held_up.record(time.perf_counter_ns() - began)
        for step in steps:
            self._take_prefill(step)

    def _try(
        self, kind: PassKind, run: Callable[[], list[_Step]], drop: Callable[[], list[int]]
    ) -> list[_Step]:
        """Run a pass. If it fails, it will be tried again, or its requests end with the error."""
        started = time.monotonic()
        try:
            with self._timeline.forward_pass(kind) as served:
                steps = run()
                served += dict.fromkeys(step.uid for step in steps)
        except _PassInterrupted:
            return []
        except Exception as error:
            self.counters.failed_passes += 1
            tried = self._retry_window.is_tried
            if not self._retry_window.allows(error, started=started, now=time.monotonic()):
                dropped = drop()
                self._requests.fail(dropped, error, where=f"a {kind} pass")
                self._forget(dropped)
            elif not tried:
                _log.warning("a %s pass failed and is tried again: %s", kind, error)
            return []
        if steps:
            self._retry_window.succeeded()
        return steps

    def _take_prefill(self, step: PrefillStep) -> None:
        self._requests.take_prefill(step)
        if step.first is not None:
            self._take_token(step.first)

    def _take_token(self, step: TokenStep) -> None:
        end = self._requests.take_token(step)
        if isinstance(end, Finished):
            self._scheduler.finish(step.uid)
        if end is not None:
            self._forget([step.uid])

    def _forget(self, uids: list[int]) -> None:
        if not uids:
            return
        self._requests.forget(uids)
        self._scheduler.forget(uids)

    def _flush(self) -> None:
        self._forget(self._requests.flush())
