"""One connection whose ordinary calls are answered without the interpreter. Knows no tickets."""

import ctypes
import os

from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_worker.device.activity import StreamActivity
from jangtq_worker.native_admission import NativeAdmission
from jangtq_worker.native_library import Inbox


class NativeSession:
    """For one thread."""

    def __init__(self, admission: NativeAdmission, frames: FrameSocket, asker: StreamActivity) -> None:
        self._admission = admission
        self._asker = asker
        self._frames = frames
        self._library = admission.library
        self._handle: int = self._library.open_conversation(admission.handle, asker.address)
        if not self._handle:
            raise MemoryError("no memory for a conversation")

    def answer_calls(self) -> None:
        """Returns when the next frame, or the end, is for Python to read. Raises OSError for a break."""
        lent = self._frames.lend()
        memory = ctypes.c_char.from_buffer(lent.view)
        inbox = Inbox(lent.descriptor, lent.poll_ns, ctypes.addressof(memory), len(lent.view), lent.filled)
        error = self._library.answer_calls(self._handle, ctypes.addressof(inbox))
        self._frames.take_back(inbox.filled)
        if error:
            raise OSError(error, os.strerror(error))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.close_conversation(self._handle)
