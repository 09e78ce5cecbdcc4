"""The engine: one thread that owns MLX and a loaded model, and its interface for other threads.

Knows no HTTP.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum

from jangtq_coordinator.engine.commands import Cancel, Commands, Stop, Submit
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.engine.scheduler import Scheduler
from jangtq_coordinator.engine.stats import EngineCounters, EngineStats
from jangtq_coordinator.engine.step_loop import StepLoop
from jangtq_coordinator.engine.streams import GenerationStream
from jangtq_coordinator.kv.prefix_cache import open_prompt_cache
from jangtq_coordinator.kv.storage import plan_kv
from jangtq_kernels.apple import ask_for_fast_cores
from jangtq_proto.errors import CoverageError, EngineUnavailableError, QueueFullError
from jangtq_proto.timings import TIMINGS

_log = logging.getLogger("jangtq.engine")


class EngineState(StrEnum):
    """Requests are taken while READY only."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Engine:
    """Generates for many requests at once. Methods are safe in any thread unless they say otherwise."""

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
        """The model. Other threads may use its plain facts and its tokenizer only.

        Raises EngineUnavailableError before it is loaded and after loading failed.
        """
        if self._state is EngineState.STARTING or self._ready.exception() is not None:
            raise EngineUnavailableError(f"the engine is {self._state} and has no model")
        return self._ready.result()

    @property
    def running(self) -> int:
        """The number of requests, waiting ones included."""
        return 0 if self._steps is None else self._steps.running

    @property
    def load(self) -> EngineStats:
        """The current load, and the memory it takes."""
        return EngineStats() if self._steps is None else self._steps.load

    @property
    def counters(self) -> EngineCounters:
        """Totals since the start."""
        return EngineCounters() if self._steps is None else self._steps.counters

    def start(self) -> None:
        """Load the model in the engine's thread; returns when it can generate. Raises what `load` raised."""
        self._thread.start()
        self._ready.result()

    async def wait_until_complete(self) -> None:
        """Wait for a worker of every expert. Raises CoverageError where there is none for too long."""
        readiness = self.loaded.readiness
        deadline = time.monotonic() + readiness.wait_seconds
        is_reported = False
        while self._state is EngineState.READY:
            try:
                return readiness.check_complete()
            except CoverageError as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_reported:
                    _log.warning("a request waits %g s at most: %s", readiness.wait_seconds, error)
                is_reported = True
            await asyncio.sleep(TIMINGS.coverage_check)

    def submit(self, request: GenerationRequest) -> GenerationStream:
        """Start a request. Call it in a running event loop; only that loop may use the stream.

        Raises ContextOverflowError when the prompt leaves no room for an answer, QueueFullError when too many
        requests wait, CoverageError while some expert has no worker, and EngineUnavailableError when no
        requests are taken.
        """
        request.token_budget(self.loaded.context_length)
        self.loaded.readiness.check_complete()
        stream = GenerationStream(self._cancel)
        with self._state_lock:
            if self._state is not EngineState.READY or self._steps is None:
                raise EngineUnavailableError(f"the engine is {self._state} and takes no requests")
            self._check_queue(self._steps)
            self._steps.check_memory(request)
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

    def _check_queue(self, steps: StepLoop) -> None:
        if steps.ahead < self._settings.queue_size + steps.free_places:
            return
        steps.counters.refused += 1
        raise QueueFullError(
            f"{steps.ahead} requests wait already, and --queue-size is {self._settings.queue_size}",
            retry_after_seconds=steps.service_time.retry_after_seconds(self._settings.batch_size),
        )

    def _cancel(self, stream: GenerationStream) -> None:
        self._commands.put(Cancel(stream))

    def _run(self) -> None:
        ask_for_fast_cores()
        try:
            steps = self._load_steps()
            if steps is not None:
                self._serve(steps)
        finally:
            self._done.set()

    def _load_steps(self) -> StepLoop | None:
        try:
            loaded = self._load()
            self._steps = _new_step_loop(loaded, self._settings, self._commands)
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
        steps.close()


def _run_and_park(work: list[Callable[[], None]]) -> None:
    """Do the work, drop it, and never end.

    When a thread ends, MLX frees its compiled functions after Python has joined the thread. If the
    interpreter is shutting down by then, that aborts the process.
    """
    work.pop()()
    threading.Event().wait()


def _new_step_loop(loaded: LoadedModel, settings: EngineSettings, commands: Commands) -> StepLoop:
    """Raises ConfigurationError where the memory for KV is too small."""
    storage = plan_kv(
        loaded.kv_shape,
        budget_bytes=settings.kv.budget_bytes,
        bits=settings.kv.bits,
        neighbour_bytes=loaded.neighbour_bytes,
    )
    generator = Scheduler(
        loaded.model,
        stop_tokens=loaded.stop_tokens,
        settings=settings,
        storage=storage,
        kept=open_prompt_cache(storage, settings.kv, fingerprint=loaded.fingerprint),
    )
    return StepLoop(loaded, generator, commands, retry_seconds=settings.retry_seconds)
