"""A TCP relay in front of a worker that does to the connection what a test says."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from enum import Enum

from jangtq_proto.addresses import Address

_CHUNK_BYTES = 1 << 16
_SLOW_SECONDS = 0.01
_DAMAGED_PART = 0.2


class Harm(Enum):
    """What happens to bytes on their way."""

    NONE = "none"
    CUT = "cut"
    SLOW = "slow"
    DAMAGE = "damage"


class HarmfulRelay:
    """Harmless but for `doing`. A cut connection stays open and carries nothing, as a pulled cable does.

    Damage is a flipped bit in some of what the worker says.
    """

    def __init__(self, target: Address, *, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._harm = Harm.NONE
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.damaged = 0
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._listener.getsockname()[1])

    @contextlib.contextmanager
    def doing(self, harm: Harm) -> Iterator[None]:
        """For as long as the block lasts."""
        self._set(harm)
        try:
            yield
        finally:
            self._set(Harm.NONE)

    def close(self) -> None:
        self._set(Harm.NONE)
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _set(self, harm: Harm) -> None:
        with self._changed:
            self._harm = harm
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                worker = socket.create_connection((self._target.host, self._target.port))
            except OSError:
                client.close()
                continue
            self._sockets += [client, worker]
            for source, sink, answers in ((client, worker, False), (worker, client, True)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(_CHUNK_BYTES):
                sink.sendall(self._harmed(bytearray(data), answers=answers))
        except OSError:
            pass
        finally:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _harmed(self, data: bytearray, *, answers: bool) -> bytearray:
        with self._changed:
            if self._harm is Harm.SLOW:
                self._changed.wait(_SLOW_SECONDS)
            self._changed.wait_for(lambda: self._harm is not Harm.CUT)
            if self._harm is Harm.DAMAGE and answers and self._random.random() < _DAMAGED_PART:
                data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
                self.damaged += 1
        return data
