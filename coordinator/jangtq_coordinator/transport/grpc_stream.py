"""One open stream of expert calls to one worker, as bytes.

The calling thread also reads the socket, so that no thread has to be woken.
"""

import time
from collections import deque
from typing import Final, Protocol

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_coordinator.transport.stall_watch import StallWatch

_METHOD: Final = b"/jangtq_proto.v1.ExpertService/Forward"
_OPENED, _SENT, _RECEIVED, _EXCHANGED, _ENDED = "opened", "sent", "received", "exchanged", "ended"
_NO_FLAGS: Final = 0
LONE_CALLS: Final = 64
"""After so many calls in a row without another open one, none is expected."""


class StreamBrokenError(Exception):
    """The stream ended; `waited_seconds` is set if the worker was silent."""

    def __init__(self, status: grpc.StatusCode, details: str, waited_seconds: float | None) -> None:
        super().__init__(details)
        self.status = status
        self.details = details
        self.waited_seconds = waited_seconds


class _Operation(Protocol):
    def message(self) -> bytes | None: ...
    def code(self) -> int: ...
    def details(self) -> str: ...


class _Event(Protocol):
    tag: str
    batch_operations: tuple[_Operation, ...]


class _Call(Protocol):
    def operate(self, operations: tuple[object, ...], tag: str) -> bool: ...
    def next_event(self) -> _Event: ...
    def cancel(self, code: object, details: str) -> None: ...


class ExpertStream:
    """Drives gRPC's core from the calling thread, as grpc's own single-threaded streams do.

    Any number of calls may be open. Not thread-safe, except that a StallWatch may end it.
    """

    def __init__(self, channel: grpc.Channel, *, timeout_seconds: float) -> None:
        self._call = _open_call(channel)
        self._watch = StallWatch(timeout_seconds, self._cancel_silent)
        self._replies: deque[bytes] = deque()
        self._awaited = self._lone = 0
        self._sending = self._receiving = self._failed = self._ended = False

    def send(self, data: bytes) -> None:
        """Start a call. A broken stream raises StreamBrokenError here or in `receive`."""
        if self._sending:
            self._wait_until_sent()
        self._lone = 0 if self._awaited else self._lone + 1
        self._sending = True
        self._awaited += 1
        sending = cygrpc.SendMessageOperation(data, _NO_FLAGS)
        if self._lone > LONE_CALLS and not self._failed:
            # One turn of gRPC's instead of two; a call sent before the answer would have to wait for it.
            self._receiving = True
            self._call.operate((sending, cygrpc.ReceiveMessageOperation(_NO_FLAGS)), _EXCHANGED)
            return
        self._call.operate((sending,), _SENT)
        self._start_receiving()

    def receive(self, give_up: GiveUp = never) -> bytes:
        """Wait for the next answer of any open call. Raises StreamBrokenError."""
        if not self._replies:
            self._watch.wait = time.monotonic(), give_up
            try:
                while not self._replies:
                    self._take_event()
            finally:
                self._watch.wait = None
        return self._replies.popleft()

    def close(self) -> None:
        """End the stream and release it; open calls are abandoned."""
        self._watch.stop()
        if self._ended:
            return
        self._call.cancel(cygrpc.StatusCode.cancelled, "closed here")
        while not self._ended:
            try:
                self._next_event()
            except StreamBrokenError:
                return

    def _wait_until_sent(self) -> None:
        self._watch.wait = time.monotonic(), never
        try:
            while self._sending:
                self._take_event()
        finally:
            self._watch.wait = None

    def _take_event(self) -> None:
        event = self._next_event()
        tag = event.tag
        if tag is _EXCHANGED:
            self._sending = self._receiving = False
            self._take_reply(event.batch_operations[1].message())
        elif tag is _SENT:
            self._sending = False
        elif tag is _RECEIVED:
            self._receiving = False
            self._take_reply(event.batch_operations[0].message())

    def _take_reply(self, data: bytes | None) -> None:
        """Without data the stream is ending; its status comes next."""
        if data is None:
            self._failed = True
            return
        self._replies.append(data)
        self._awaited -= 1
        if self._awaited:
            self._start_receiving()

    def _start_receiving(self) -> None:
        if self._awaited and not self._receiving and not self._failed:
            self._receiving = True
            self._call.operate((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), _RECEIVED)

    def _next_event(self) -> _Event:
        event = self._call.next_event()
        if event.tag is _ENDED:
            self._ended = True
            raise self._broken(event.batch_operations[0])
        return event

    def _broken(self, status: _Operation) -> StreamBrokenError:
        return StreamBrokenError(_status_code(status.code()), status.details(), self._watch.waited_seconds)

    def _cancel_silent(self) -> None:
        self._call.cancel(cygrpc.StatusCode.deadline_exceeded, "the worker fell silent")


def _open_call(channel: grpc.Channel) -> _Call:
    start = (cygrpc.SendInitialMetadataOperation((), _NO_FLAGS),)
    opened = (cygrpc.ReceiveInitialMetadataOperation(_NO_FLAGS),)
    ended = (cygrpc.ReceiveStatusOnClientOperation(_NO_FLAGS),)
    call: _Call = channel._channel.segregated_call(  # type: ignore[attr-defined]
        cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS,
        _METHOD,
        None,
        None,
        (),
        None,
        ((start, _OPENED), (opened, _OPENED), (ended, _ENDED)),
        None,
    )
    return call


def _status_code(number: int) -> grpc.StatusCode:
    codes = {code.value[0]: code for code in grpc.StatusCode}
    return codes.get(number, grpc.StatusCode.UNKNOWN)
