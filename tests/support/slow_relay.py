"""Passes TCP on to a worker late, slowly, or just counting; stands for a network where none can be had."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from jangtq_proto.addresses import Address

CHUNK_BYTES = 16_384
ANYWHERE = Address("127.0.0.1", 0)


@dataclass(frozen=True)
class Slowness:
    """Added to each direction; no limit where `bytes_per_second` is None."""

    delay_seconds: float = 0.0
    bytes_per_second: float | None = None


class Relay:
    """Runs in a thread of its own. Counts the bytes that went to the worker and that came back."""

    def __init__(self, worker: Address, slowness: Slowness, listen: Address) -> None:
        self.sent = 0
        self.returned = 0
        self._socket = socket.create_server(
            (listen.host, listen.port), family=socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        )
        # Inherited by connections: a delay must not grow by what acknowledgements wait.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = replace(listen, port=self._socket.getsockname()[1])
        self._worker = worker
        self._slowness = slowness
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._carry, sock=self._socket)
        await self._stop.wait()
        server.close()
        # Each cancels what it waits for by itself.
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        there_reader, there_writer = await asyncio.open_connection(self._worker.host, self._worker.port)
        try:
            await asyncio.gather(
                _Pump(self._slowness, self._count_sent).run(reader, there_writer),
                _Pump(self._slowness, self._count_returned).run(there_reader, writer),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or we are, and the other is to notice
        finally:
            writer.close()
            there_writer.close()

    def _count_sent(self, size: int) -> None:
        self.sent += size

    def _count_returned(self, size: int) -> None:
        self.returned += size


@dataclass
class _Pump:
    """One direction of one connection; what is under way does not hold up what follows it."""

    slowness: Slowness
    count: Callable[[int], None]
    under_way: "asyncio.Queue[tuple[float, bytes]]" = field(default_factory=asyncio.Queue)

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.gather(self._take(reader), self._deliver(writer))

    async def _take(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK_BYTES):
            self.count(len(data))
            if self.slowness.bytes_per_second is not None:
                await asyncio.sleep(len(data) / self.slowness.bytes_per_second)
            self.under_way.put_nowait((loop.time() + self.slowness.delay_seconds, data))
        self.under_way.put_nowait((loop.time() + self.slowness.delay_seconds, b""))

    async def _deliver(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self.under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


@contextmanager
def relay_to(worker: Address, slowness: Slowness, *, listen: Address = ANYWHERE) -> Iterator[Relay]:
    """A running relay."""
    relay = Relay(worker, slowness, listen)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()
