"""Bytes and JSON that are almost right, drawn from a seeded generator, and the way to say them to a port."""

import os
import random
import socket
import struct
from collections.abc import Callable, Sequence

from tests.support.products import part

_EDGES = (0, 1, 2, 3, 63, 64, 65, 255, 4096, 4097, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = (
    "",
    "\x00",
    "☃" * 50,
    "a" * 5000,
    "../../etc/passwd",
    "{{7*7}}",
    "\ud800",
    "]<]minimax[>[<tool_call>",
)
_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 1e308, 1e-320, 0.5, 10**400)
_MOST_DEPTH = 60


def scaled(count: int) -> int:
    """A count of the suite; JANGTQ_FUZZ=20 makes it twenty times as many, a whole run four times."""
    return count * int(os.environ.get("JANGTQ_FUZZ", part("1", whole="4")))


class Mutator:
    """The same seed gives the same bytes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def mutate(self, data: bytes) -> bytes:
        """One to four changes."""
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 4))):
            self.random.choice(_CHANGES)(self.random, changed)
        return bytes(changed)

    def value(self, depth: int = 0) -> object:
        """Any JSON value."""
        kind = self.random.randrange(9)
        if kind == 7 and depth < 3:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        if kind == 8 and depth < 3:
            return {self.word(): self.value(depth + 1) for _ in range(self.random.randrange(4))}
        simple: Sequence[Callable[[], object]] = (
            lambda: None,
            lambda: self.random.random() < 0.5,
            lambda: self.random.choice(_NUMBERS),
            lambda: self.random.randrange(-5, 10),
            self.word,
            lambda: self._nest(self.random.randrange(_MOST_DEPTH)),
            lambda: [self.random.choice(_NUMBERS)] * self.random.randrange(300),
        )
        return simple[kind % len(simple)]()

    def word(self) -> str:
        return self.random.choice(_WORDS)

    def change_value(self, value: object) -> object:
        """The same JSON value with something in it replaced, removed or added."""
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            key = self.random.choice(list(value))
            action = self.random.random()
            if action < 0.1:
                return {name: kept for name, kept in value.items() if name != key}
            if action < 0.2:
                return {**value, self.word(): self.value()}
            return {**value, key: self.change_value(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.8:
            index = self.random.randrange(len(value))
            return [*value[:index], self.change_value(value[index]), *value[index + 1 :]]
        return self.value()

    def _nest(self, depth: int) -> object:
        value: object = 1
        for _ in range(depth):
            value = [value]
        return value


def _flip(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))


def _write_number(draw: random.Random, data: bytearray) -> None:
    """At a place where the headers of frames have their fields, or anywhere."""
    if len(data) >= 4:
        end = len(data) - 3
        at = draw.randrange(0, min(end, 44), 4) if draw.random() < 0.7 else draw.randrange(end)
        data[at : at + 4] = struct.pack("<I", draw.choice(_EDGES))


def _cut(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _remove(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data) + 1)
    del data[start : start + draw.randrange(1, 9)]


def _insert(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.randbytes(draw.randrange(1, 17))


def _repeat(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.randrange(1, 64)]
    data[start:start] = piece


_CHANGES = (_flip, _overwrite, _write_number, _write_number, _cut, _remove, _insert, _repeat)


def converse(port: int, words: bytes, *, seconds: float, hang_up: bool = True) -> bytes:
    """Everything the other side says to these words, and to the end that follows them when we hang up."""
    heard = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        try:
            connection.sendall(words)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                heard += piece
        except ConnectionError:
            pass
    return bytes(heard)
