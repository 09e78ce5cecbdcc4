"""Hosts on one machine: network namespaces joined to ours by veth, with limited bandwidth. Needs root."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """`address` is reached from here; `under` starts a command there. `link` is the device on our side."""

    address: str
    under: tuple[str, ...]
    link: str
    device: str

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Nothing arrives on either side for as long as the block lasts, and no connection is told."""
        _run(*self.under, "ip", "link", "set", self.device, "down")
        try:
            yield
        finally:
            _run(*self.under, "ip", "link", "set", self.device, "up")

    @contextmanager
    def narrowed(self, *, rate: str, usual: str) -> Iterator[None]:
        """The link is slower in both directions for as long as the block lasts."""
        self._limit(rate)
        try:
            yield
        finally:
            self._limit(usual)

    def _limit(self, rate: str) -> None:
        for prefix, device in (((), self.link), (self.under, self.device)):
            _run(*prefix, "tc", "qdisc", "change", "dev", device, "root", *_limited(rate))


def can_make_hosts() -> bool:
    """Only Linux has namespaces, and only root makes them; everywhere else a relay has to do."""
    return sys.platform == "linux" and os.geteuid() == 0


@contextmanager
def network_hosts(count: int, *, rate: str) -> Iterator[list[Host]]:
    """Hosts with addresses of their own; `rate`, as tc takes it, holds for each link and direction."""
    with ExitStack() as stack:
        yield [stack.enter_context(_host(number, rate)) for number in range(count)]


@contextmanager
def _host(number: int, rate: str) -> Iterator[Host]:
    # Names and networks of one process are no other's.
    unique = f"{os.getpid() % 100_000}{number}"
    name, here, there = f"jq{unique}", f"jqa{unique}", f"jqb{unique}"
    network = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
    own, address = (f"{network}.{4 * number + place}" for place in (1, 2))
    inside = ("ip", "netns", "exec", name)
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _set_up((), here, own, rate)
        _set_up(inside, there, address, rate)
        _run(*inside, "ip", "link", "set", "lo", "up")
        yield Host(address, inside, here, there)
    finally:
        _run("ip", "netns", "del", name)  # takes the link with it


def _set_up(prefix: Sequence[str], device: str, address: str, rate: str) -> None:
    _run(*prefix, "ip", "address", "add", f"{address}/30", "dev", device)
    _run(*prefix, "ip", "link", "set", device, "up")
    _run(*prefix, "tc", "qdisc", "add", "dev", device, "root", *_limited(rate))


def _limited(rate: str) -> tuple[str, ...]:
    return "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
