"""The engine: one thread that owns MLX and a loaded model, and the way to it from others. Knows no HTTP."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from jangtq_coordinator.batching import EagerBatchGenerator
from jangtq_coordinator.loaded import LoadedModel
from jangtq_coordinator.requests import GenerationRequest
from jangtq_coordinator.step_loop import Cancel, Commands, StepLoop, Stop, Submit
from jangtq_coordinator.streams import GenerationStream
from jangtq_proto.errors import ConfigurationError, EngineUnavailableError

_log = logging.getLogger("jangtq.engine")


@dataclass(frozen=True)
class EngineSettings:
    """`batch_size` sequences decode together; `prefill_rows` prompt tokens are computed between two steps."""

    batch_size: int = 16
    prefill_rows: int = 512
    grace_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigurationError(f"batch size {self.batch_size}: allowed are 1 and above")
        if self.prefill_rows < 1:
            raise ConfigurationError(f"prefill rows {self.prefill_rows}: allowed are 1 and above")
        if self.grace_seconds < 0:
            raise ConfigurationError(f"grace {self.grace_seconds} s: allowed are 0 and above")


class EngineState(StrEnum):
    """Requests are taken while READY only."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Engine:
    """Generates for many requests at once. Its methods may be called from any thread unless they say not."""

    def __init__(self, load: Callable[[], LoadedModel], *, settings: EngineSettings) -> None:
        self._load = load
        self._settings = settings
        self._state = EngineState.STARTING
        self._state_lock = threading.Lock()
        self._commands: Commands = queue.SimpleQueue()
        self._ready: Future[LoadedModel] = Future()
        self._steps: StepLoop | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=_run_and_park, args=([self._run],), name="engine", daemon=True)

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def loaded(self) -> LoadedModel:
        """The model; only its plain facts and its tokenizer are for other threads.

        Raises EngineUnavailableError where there is none.
        """
        if self._state is EngineState.STARTING or self._ready.exception() is not None:
            raise EngineUnavailableError(f"the engine is {self._state} and has no model")
        return self._ready.result()

    @property
    def running(self) -> int:
        """How many requests there are, waiting ones included."""
        return 0 if self._steps is None else self._steps.running

    def start(self) -> None:
        """Load the model in the engine's thread; returns when it can generate. Raises what `load` raised."""
        self._thread.start()
        self._ready.result()

    def submit(self, request: GenerationRequest) -> GenerationStream:
        """Begin with a request; must be called in a running event loop, which alone may use the stream.

        Raises ContextOverflowError when the prompt leaves no room for an answer, and EngineUnavailableError
        when no requests are taken.
        """
        request.token_budget(self.loaded.context_length)
        stream = GenerationStream(self._cancel)
        with self._state_lock:
            if self._state is not EngineState.READY:
                raise EngineUnavailableError(f"the engine is {self._state} and takes no requests")
            self._commands.put(Submit(request, stream))
        return stream

    def stop(self, *, grace_seconds: float | None = None) -> None:
        """Take no more requests, let the others finish, fail the rest after the grace. Blocks until done."""
        grace = self._settings.grace_seconds if grace_seconds is None else grace_seconds
        with self._state_lock:
            if self._state is EngineState.READY:
                self._state = EngineState.STOPPING
        self._commands.put(Stop(time.monotonic() + grace))
        if self._thread.is_alive():
            self._done.wait()

    def _cancel(self, stream: GenerationStream) -> None:
        self._commands.put(Cancel(stream))

    def _run(self) -> None:
        try:
            steps = self._load_steps()
            if steps is not None:
                self._serve(steps)
        finally:
            self._done.set()

    def _load_steps(self) -> StepLoop | None:
        try:
            loaded = self._load()
            self._steps = StepLoop(loaded, self._new_generator(loaded), self._commands)
        except BaseException as error:
            self._state = EngineState.FAILED
            self._ready.set_exception(error)
            return None
        self._state = EngineState.READY
        self._ready.set_result(loaded)
        return self._steps

    def _serve(self, steps: StepLoop) -> None:
        error: Exception = EngineUnavailableError("the coordinator is stopping")
        state = EngineState.STOPPED
        try:
            steps.run()
        except Exception as broken:
            _log.exception("the engine broke")
            error, state = EngineUnavailableError(f"the engine broke: {broken}"), EngineState.FAILED
        with self._state_lock:
            self._state = state
        steps.fail_all(error)

    def _new_generator(self, loaded: LoadedModel) -> EagerBatchGenerator:
        return EagerBatchGenerator(
            loaded.model,
            stop_tokens=loaded.stop_tokens,
            batch_size=self._settings.batch_size,
            prefill_rows=self._settings.prefill_rows,
        )


def _run_and_park(work: list[Callable[[], None]]) -> None:
    """Do the work, let go of it, and never end.

    A thread that ends has MLX free its compiled functions after Python has joined it; when the interpreter
    is at its own end by then, that aborts the process.
    """
    work.pop()()
    threading.Event().wait()
