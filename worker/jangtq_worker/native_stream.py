"""Calls of one gRPC stream that native code answers, from the bytes of a message to those of its reply."""

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import numpy as np

from jangtq_worker.device.activity import StreamActivity
from jangtq_worker.native_admission import NativeAdmission

ANY_ROWS: Final = 1 << 31


class NoReply(IntEnum):
    """Why there is none; the values are those of messages.h."""

    LEFT_TO_PYTHON = 0
    TOO_LONG = -1


class NativeStream:
    """Used by one thread at a time.

    asks_alone: whether no other stream asks. row_ns: what each row of the last call took to compute.
    """

    def __init__(
        self, admission: NativeAdmission, asks_alone: Callable[[], bool], asker: StreamActivity
    ) -> None:
        self.asks_alone = asks_alone
        self.row_ns = ctypes.c_double()
        self._admission = admission
        self._asker = asker
        self._library = library = admission.library
        reply = np.empty(library.most_reply_bytes(admission.handle), dtype=np.uint8)
        self._reply = reply.data
        self._row_ns_at = ctypes.addressof(self.row_ns)
        self._answer = library.answer_message
        self._handle: int = library.open_stream(admission.handle, reply.ctypes.data, asker.address)
        if not self._handle:
            raise MemoryError("no memory for a stream")

    def answer(self, message: bytes, most_rows: int) -> bytes | NoReply:
        """The ExpertReply to an ordinary ExpertCall of so many rows at most, both as they are on the wire."""
        size: int = self._answer(self._handle, message, len(message), most_rows, self._row_ns_at)
        return self._reply[:size].tobytes() if size > 0 else NoReply(size)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.close_stream(self._handle)


def open_native_stream(
    admission: NativeAdmission | None, asks_alone: Callable[[], bool], asker: StreamActivity
) -> NativeStream | None:
    """None where only Python answers."""
    return None if admission is None else NativeStream(admission, asks_alone, asker)
