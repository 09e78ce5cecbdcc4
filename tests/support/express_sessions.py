"""Express sessions without a worker around them: an admission, a thread and a pair of sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import LENGTH, AnswerFrame, call_frame, greeting, read_answer
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.admission import Admission
from jangtq_worker.transport.express_session import ExpressSession
from jangtq_worker.transport.tickets import Tickets

HIDDEN = 16
SECONDS = 30


class Caller:
    """Who holds the other end; `error` is what ended the conversation."""

    def __init__(self, admission: Admission, *, poll_us: int = 0) -> None:
        self.sock, self._theirs = socket.socketpair()
        self.sock.settimeout(SECONDS)
        self.error: OSError | None = None
        self._admission = admission
        self._frames = FrameSocket(self._theirs, poll_us=poll_us)
        self._reader = FrameSocket(self.sock)
        self._reader.set_timeout(SECONDS)
        tickets = Tickets()
        self._thread = threading.Thread(target=self._run, args=(tickets,), daemon=True)
        self._thread.start()
        self.sock.sendall(greeting(tickets.issue()))
        assert self.hear() is not None

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, data: bytes) -> AnswerFrame:
        self.say(data)
        answer = self.hear()
        assert answer is not None
        return answer

    def hear(self) -> AnswerFrame | None:
        """The next answer, good until the next one; None at the end."""
        frame = self._reader.receive(1 << 30)
        return None if frame is None else read_answer(frame)

    def hear_all(self) -> list[tuple[int, int, bytes, int]]:
        """All that is still to be heard, but for times."""
        heard = []
        while (answer := self.hear()) is not None:
            heard.append((answer.call_id, answer.status, bytes(answer.payload), answer.checksum))
        return heard

    def hang_up(self) -> None:
        """Say nothing more."""
        self.sock.shutdown(socket.SHUT_WR)

    def interrupt(self) -> None:
        self._frames.interrupt()

    def wait(self) -> None:
        """Until the conversation ended."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.sock.close()
        self.wait()

    def _run(self, tickets: Tickets) -> None:
        with closing(self._frames):
            try:
                ExpressSession(self._frames, self._admission).run(tickets)
            except OSError as error:
                self.error = error


@contextmanager
def conversing(admission: Admission, *, poll_us: int = 0) -> Iterator[Caller]:
    with closing(Caller(admission, poll_us=poll_us)) as caller:
        yield caller


def frame_of(call: LayerCall, *, call_id: int = 9, row_type: RowType = RowType.FLOAT32) -> bytes:
    """A call as it travels."""
    return call_frame(call_id, call, row_type)


def with_length(frame: bytes) -> bytes:
    """A frame that says how long it is, whatever it said before."""
    return LENGTH.pack(len(frame) - LENGTH.size) + frame[LENGTH.size :]


def plain_call(*, rows: int = 1, layer: int = 0) -> LayerCall:
    """For scripted layers, which look at no expert."""
    random = np.random.default_rng(rows)
    return LayerCall(
        layer,
        random.standard_normal((rows, HIDDEN)).astype(np.float32),
        np.zeros((rows, 1), np.int32),
        np.ones((rows, 1), np.float32),
        np.full(rows, -20, np.int8),
        prefill=False,
    )


def payload_of(call: LayerCall) -> bytes:
    """What scripted layers answer."""
    return call.rows.tobytes() + call.exponents.tobytes()


FRAME = frame_of(plain_call())
SUMS = payload_of(plain_call())
