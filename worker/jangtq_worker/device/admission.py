"""Takes expert calls for the shard of this worker, whatever connection they come over. Knows no transport."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from jangtq_kernels.backend import LoadedLayer
from jangtq_proto.errors import ClusterError, WorkerBusyError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.wire.codec import CallShape, LayerCall, WireCall, decode_call
from jangtq_worker.device.activity import Activity, StreamActivity
from jangtq_worker.device.chunks import is_long
from jangtq_worker.device.shard import Shard, ShardAnswer
from jangtq_worker.native_admission import Taken, open_native_admission

ALONE_NS: Final = 5_000_000
"""Coordinators that decode at once ask more often than this."""
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Elsewhere:
    """What is counted by others."""

    count: int = 0
    total: int = 0


class InFlight:
    """`with tally:` counts one more for as long as the block lasts. Raises WorkerBusyError when full.

    elsewhere: what is counted together with these, and neither refused nor announced.
    """

    def __init__(
        self, what: str, most: int | None = None, elsewhere: Callable[[], Elsewhere] = Elsewhere
    ) -> None:
        self._what = what
        self._most = most
        self._elsewhere = elsewhere
        self._count = 0
        self._total = 0
        self._state = threading.Lock()
        self._fewer = threading.Condition(self._state)
        self._is_awaited = False

    @property
    def count(self) -> int:
        return self._count + self._elsewhere().count

    @property
    def total(self) -> int:
        return self._total + self._elsewhere().total

    def wait_until_none(self, timeout_seconds: float) -> bool:
        """False when some were still counted at the end."""
        end = time.monotonic() + timeout_seconds
        with self._state:
            self._is_awaited = True
            while self.count and (left := end - time.monotonic()) > 0:
                self._fewer.wait(min(left, _LOOK_SECONDS))
            return self.count == 0

    def __enter__(self) -> None:
        with self._state:
            if self._most is not None and self.count >= self._most:
                raise WorkerBusyError(f"this worker already serves {self._most} {self._what}")
            self._count += 1
            self._total += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._state:
            self._count -= 1
            if self._is_awaited:
                self._fewer.notify_all()


class AskingStreams:
    """Who asks, of all streams: one that asks alone may be answered by the thread that reads for all."""

    def __init__(self) -> None:
        self._newest: object | None = None
        self._since_ns = 0

    def is_alone(self, asker: object) -> bool:
        """Note that this one asks now; whether nobody else did for ALONE_NS."""
        now = time.monotonic_ns()
        if asker is not self._newest:
            self._newest, self._since_ns = asker, now
        return now - self._since_ns >= ALONE_NS


class Admission:
    """Refuses calls until `serve` hands it a shard, and again after `drain`.

    A transport counts each stream in `streams`, has its StreamActivity join `activity`, and counts each
    call in `in_flight` until its answer left.
    native: where native code may answer calls, None where there is none.
    """

    def __init__(self, shape: CallShape, *, max_streams: int, max_calls: int | None = None) -> None:
        self.shape = shape
        self.streams = InFlight("streams", max_streams)
        self.native = open_native_admission(shape)
        self.in_flight = InFlight("calls", elsewhere=self._native_in_flight)
        self._computing = InFlight("calls at once", max_calls, elsewhere=self._native_computing)
        self.askers = AskingStreams()
        self.activity = Activity()
        self._shard: Shard | None = None
        self._draining = False

    def serve(self, shard: Shard) -> None:
        """Begin to answer."""
        self._shard = shard
        if self.native is not None:
            shard.share_device(self.native.wait_until_free)
            self.native.serve(shard.layers)

    def hold(self, layers: tuple[LoadedLayer, ...]) -> None:
        """From the next call on ask these layers instead. Raises ClusterError while there are none."""
        self.shard().hold(layers)
        if self.native is not None:
            self.native.serve(layers)

    def wait_until_left(self, *, quiet_seconds: float, timeout_seconds: float) -> None:
        """Return when every stream was closed, or when those that were not have been quiet for a while."""
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            before = self.in_flight.total
            if self.streams.wait_until_none(quiet_seconds) or self.in_flight.total == before:
                return

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new calls and wait for those in flight; False when some were still running at the end."""
        self._draining = True
        if self.native is not None:
            self.native.refuse()
        return self.in_flight.wait_until_none(timeout_seconds)

    def shard(self) -> Shard:
        """Raises ClusterError while there is none to be asked."""
        if self._draining:
            raise WorkerUnreachableError("this worker is stopping")
        if self._shard is None:
            raise WorkerBusyError("this worker is still loading its experts")
        return self._shard

    def is_quiet_for(self, asker: object) -> bool:
        """Whether a call of this stream, which comes now, makes no other stream wait."""
        return self.askers.is_alone(asker) and self.in_flight.count == 0

    def compute(self, message: WireCall, asker: StreamActivity | None = None) -> ShardAnswer:
        """Check a call and compute it. Raises ClusterError, whatever goes wrong."""
        return self.answer(decode_call(message, self.shape), asker)

    def answer(self, call: LayerCall, asker: StreamActivity | None = None) -> ShardAnswer:
        """Compute a call that was checked. Raises ClusterError, whatever goes wrong.

        Who finds too many others here is told to come later or to ask another worker, by WorkerBusyError.
        asker: the stream that it came over, where it came over one.
        """
        if asker is not None and not is_long(call):
            asker.note()
        try:
            with self.native or nullcontext(), self._computing:
                return self.shard().forward(call, lambda: self.activity.is_kept_by_others(asker))
        except ClusterError:
            raise
        except Exception as error:  # a kernel that fails must cost this call, not the stream
            raise WorkerFaultError(f"{type(error).__name__}: {error}") from error

    def _native_in_flight(self) -> Elsewhere:
        taken = self._taken()
        return Elsewhere(taken.in_flight, taken.total)

    def _native_computing(self) -> Elsewhere:
        return Elsewhere(self._taken().computing)

    def _taken(self) -> Taken:
        return Taken() if self.native is None else self.native.taken()
