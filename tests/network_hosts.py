"""Hosts on one machine: network namespaces joined to ours by veth, with limited bandwidth. Needs root."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """`address` is reached from here; `under` starts a command there."""

    address: str
    under: tuple[str, ...]


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
        yield Host(address, inside)
    finally:
        _run("ip", "netns", "del", name)  # takes the link with it


def _set_up(prefix: Sequence[str], device: str, address: str, rate: str) -> None:
    _run(*prefix, "ip", "address", "add", f"{address}/30", "dev", device)
    _run(*prefix, "ip", "link", "set", device, "up")
    limit = ("tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
    _run(*prefix, "tc", "qdisc", "add", "dev", device, "root", *limit)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
