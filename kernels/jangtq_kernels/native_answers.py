"""Answers calls without the interpreter: a call's frame becomes that of its answer. Knows no queue."""

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from jangtq_kernels.backend import LoadedLayer, NativelyAsked
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.native_layout import check_layout

_FIRST_ROWS = 16


class NativeLayer(ctypes.Structure):
    """JangtqNativeLayer."""

    _fields_ = [("forward", ctypes.c_void_p), ("pool", ctypes.c_void_p), ("layer", ctypes.c_void_p)]


class NativeAnswers:
    """Of layers with equal rows, some of which native code may ask. Used by one thread at a time."""

    def __init__(self, layers: Sequence[LoadedLayer], hidden_size: int) -> None:
        functions = native_library().functions
        check_layout(functions, NativeLayer)
        address, number = ctypes.c_void_p, ctypes.c_int64
        held = (address, number, number)
        self._answer = functions.jangtq_answer
        self._answer.restype = number
        self._answer.argtypes = [*held, ctypes.c_char_p, number, address, number]
        self._answer_inbox = functions.jangtq_answer_inbox
        self._answer_inbox.restype = number
        self._answer_inbox.argtypes = [*held, address, address, number, address]
        self._sent = ctypes.c_int64()
        self._sent_at = ctypes.addressof(self._sent)
        self._kept = tuple(layers)
        self._layers = (NativeLayer * len(layers))(*(_struct(layer, hidden_size) for layer in layers))
        self._held = ctypes.addressof(self._layers), len(layers), hidden_size
        self._grow(36 + _FIRST_ROWS * (hidden_size * 4 + 1))

    def answer_inbox(self, inbox: int) -> tuple[memoryview, int] | None:
        """Answer the call with which an inbox begins, and send what its socket takes at once.

        inbox: the address of a JangtqInboxState. The answer and the number of bytes sent, good until the next
        call; None as of `answer`, and then the call is still in the inbox.
        """
        size = self._sized(
            lambda: self._answer_inbox(*self._held, inbox, self._memory_at, len(self._memory), self._sent_at)
        )
        return (self._memory[:size], self._sent.value) if size > 0 else None

    def answer(self, frame: bytes) -> bytes | None:
        """The answer to a call that did not wait; None where Python has to answer or to say what is wrong."""
        size = self._sized(
            lambda: self._answer(*self._held, frame, len(frame), self._memory_at, len(self._memory))
        )
        return self._memory[:size].tobytes() if size > 0 else None

    def _sized(self, call: Callable[[], int]) -> int:
        """What a call returns, in memory that is large enough for the answer."""
        size = call()
        if size < 0:
            self._grow(-size)
            size = call()
        return size

    def _grow(self, nbytes: int) -> None:
        self._buffer = np.empty(nbytes, dtype=np.uint8)
        self._memory, self._memory_at = self._buffer.data, self._buffer.ctypes.data


def open_native_answers(layers: Sequence[LoadedLayer]) -> NativeAnswers | None:
    """None where native code can ask none of the layers."""
    sizes = (layer.native.hidden_size for layer in layers if isinstance(layer, NativelyAsked))
    hidden_size = next(sizes, None)
    return None if hidden_size is None else NativeAnswers(layers, hidden_size)


def _struct(layer: LoadedLayer, hidden_size: int) -> NativeLayer:
    if not isinstance(layer, NativelyAsked) or layer.native.hidden_size != hidden_size:
        return NativeLayer()
    return NativeLayer(layer.native.forward, layer.native.pool, layer.native.layer)
