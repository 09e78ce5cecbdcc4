"""The engine's inner loop: commands in, one decode pass and one prefill chunk a round, events out.

Runs in the one thread that touches MLX; sleeps while there is nothing to do. Knows no HTTP.
"""

import logging
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.answer_text import AnswerText
from jangtq_coordinator.answers import Answer
from jangtq_coordinator.batching import EagerBatchGenerator, PrefillStep, TokenStep
from jangtq_coordinator.detokenize import detokenizer_factory
from jangtq_coordinator.events import Failed, Finished, GenerationEvent, PrefillProgress
from jangtq_coordinator.loaded import LoadedModel
from jangtq_coordinator.requests import GenerationRequest
from jangtq_coordinator.streams import GenerationStream, Outbox
from jangtq_proto.errors import ClusterError, EngineUnavailableError

_log = logging.getLogger("jangtq.engine")


@dataclass(frozen=True)
class Submit:
    """Begin with a request."""

    request: GenerationRequest
    stream: GenerationStream


@dataclass(frozen=True)
class Cancel:
    """Forget a request; nobody reads its stream any more."""

    stream: GenerationStream


@dataclass(frozen=True)
class Stop:
    """Take no more requests, and fail those that still run at `deadline` (of time.monotonic)."""

    deadline: float


Command = Submit | Cancel | Stop
Commands = queue.SimpleQueue[Command]


@dataclass(frozen=True)
class _Running:
    stream: GenerationStream
    answer: Answer


class StepLoop:
    """The requests of one loaded model."""

    def __init__(self, loaded: LoadedModel, generator: EagerBatchGenerator, commands: Commands) -> None:
        self._loaded = loaded
        self._generator = generator
        self._commands = commands
        self._new_detokenizer = detokenizer_factory(loaded.tokenizer, keep=loaded.capabilities.markup)
        self._timeline = loaded.timeline
        self._running: dict[int, _Running] = {}
        self._outbox = Outbox()
        self._deadline: float | None = None

    @property
    def running(self) -> int:
        """How many requests there are, waiting ones included."""
        return len(self._running)

    def run(self) -> None:
        """Work until a Stop has been obeyed."""
        while self._take_commands():
            self._decode()
            self._flush()
            self._prefill()
            self._flush()
        self.fail_all(EngineUnavailableError("the coordinator stopped before the answer was complete"))

    def fail_all(self, error: Exception) -> None:
        """Tell everybody that no answer comes, those included who wait in the commands."""
        while not self._commands.empty():
            command = self._commands.get_nowait()
            if isinstance(command, Submit):
                self._outbox.put(command.stream, Failed(error))
        for running in self._running.values():
            self._outbox.put(running.stream, Failed(error))
        self._running.clear()
        self._outbox.flush()

    def _take_commands(self) -> bool:
        """Obey what was asked meanwhile, or sleep until something is. False when it is time to leave."""
        if not self._running and self._deadline is None:
            self._obey(self._commands.get())
        while not self._commands.empty():
            self._obey(self._commands.get_nowait())
        if self._deadline is None:
            return True
        return bool(self._running) and time.monotonic() < self._deadline

    def _obey(self, command: Command) -> None:
        match command:
            case Submit():
                self._begin(command.request, command.stream)
            case Cancel():
                self._forget([uid for uid, one in self._running.items() if one.stream is command.stream])
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
            uid = self._generator.add(
                request.prompt,
                max_tokens=request.token_budget(self._loaded.context_length),
                picker=request.new_picker(),
            )
        except Exception as error:
            self._outbox.put(stream, Failed(error))
            return
        self._timeline.begin_request(uid, stream.request_id)
        self._running[uid] = _Running(stream, Answer(text, prompt_tokens=len(request.prompt)))

    def _decode(self) -> None:
        try:
            with self._timeline.forward_pass("decode") as served:
                steps = self._generator.decode()
                served += [step.uid for step in steps]
        except Exception as error:
            _report("a decode pass", error)
            self._fail(self._generator.drop_decoding(), error)
            return
        for step in steps:
            self._take_token(step)

    def _prefill(self) -> None:
        try:
            with self._timeline.forward_pass("prefill") as served:
                step = self._generator.prefill()
                served += [] if step is None else [step.uid]
        except Exception as error:
            _report("a prefill pass", error)
            self._fail(self._generator.drop_prefill(), error)
            return
        if step is not None:
            self._take_prefill(step)

    def _take_prefill(self, step: PrefillStep) -> None:
        self._outbox.put(self._running[step.uid].stream, PrefillProgress(step.done, step.total))
        if step.first is not None:
            self._take_token(step.first)

    def _take_token(self, step: TokenStep) -> None:
        running = self._running[step.uid]
        try:
            if step.failure is not None:
                raise step.failure
            events = running.answer.add(step.token, step.finish_reason, step.logprobs)
        except Exception as error:
            _report("one request", error)
            events = [Failed(error)]
        for event in events:
            self._outbox.put(running.stream, event)
        if _ends(events):
            self._forget([step.uid])

    def _fail(self, uids: Sequence[int], error: Exception) -> None:
        for uid in uids:
            self._outbox.put(self._running[uid].stream, Failed(error))
        self._forget(uids)

    def _forget(self, uids: Sequence[int]) -> None:
        for uid in uids:
            del self._running[uid]
            self._timeline.end_request(uid)
        self._generator.forget(uids)

    def _flush(self) -> None:
        for stream in self._outbox.flush():
            self._commands.put(Cancel(stream))


def _ends(events: Sequence[GenerationEvent]) -> bool:
    return any(isinstance(event, Finished | Failed) for event in events)


def _report(where: str, error: Exception) -> None:
    """The cluster's errors explain themselves; of all others the place is wanted too."""
    _log.error("%s failed: %s", where, error, exc_info=None if isinstance(error, ClusterError) else error)
