"""Hosts on one machine: network namespaces joined to ours by veth, whose bytes are counted."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.support.needs import Need

BURST_BYTES = 4096
_NUMBERS = itertools.count()
"""No two hosts of a process have one: the kernel takes its time to remove a host that is gone."""
_MOST_HOSTS = 32
"""Of two networks of four addresses each."""
# CAP_NET_ADMIN and CAP_SYS_ADMIN of linux/capability.h.
_NEEDED = 1 << 12 | 1 << 21


@dataclass(frozen=True)
class Device:
    """One end of a link; `under` starts a command on its side."""

    name: str
    under: tuple[str, ...] = ()

    def run(self, *command: str) -> str:
        """What a command on its side prints."""
        return _run(*self.under, *command)

    def take_address(self, address: str) -> None:
        """One of two that are a network of their own."""
        self.run("ip", "address", "add", f"{address}/30", "dev", self.name)

    @contextmanager
    def limited(self, *, rate: str) -> Iterator[None]:
        """What leaves by it is held to a rate, as tc takes it, for as long as the block lasts."""
        queue = ("dev", self.name, "root")
        limit = ("tbf", "rate", rate, "burst", str(BURST_BYTES), "latency", "400ms")
        self.run("tc", "qdisc", "add", *queue, *limit)
        try:
            yield
        finally:
            self.run("tc", "qdisc", "del", *queue)

    def overlimits(self) -> int:
        """How often a packet had to wait for the rate since the device is limited."""
        (queue,) = json.loads(self.run("tc", "-s", "-j", "qdisc", "show", "dev", self.name))
        assert queue["kind"] == "tbf"
        return int(queue["overlimits"])


@dataclass(frozen=True)
class Host:
    """`address` is reached from here by `own`; `under` starts a command there.

    `move` gives it `other_address`, and takes `address` away.
    """

    address: str
    other_address: str
    own: Device
    there: Device

    @property
    def under(self) -> tuple[str, ...]:
        return self.there.under

    def carried(self) -> tuple[int, int]:
        """Bytes of all frames that went there and came back so far, as the link itself counts."""
        counts = Path("/sys/class/net", self.own.name, "statistics")
        sent, returned = (int((counts / f"{way}_bytes").read_text()) for way in ("tx", "rx"))
        return sent, returned

    def move(self) -> None:
        """What goes to its old address from now on, open connections too, arrives nowhere."""
        self.own.take_address(_neighbour(self.other_address))
        self.there.run("ip", "address", "flush", "dev", self.there.name, "scope", "global")
        self.there.take_address(self.other_address)

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Nothing arrives on either side for as long as the block lasts, and no connection is told."""
        self.there.run("ip", "link", "set", self.there.name, "down")
        try:
            yield
        finally:
            self.there.run("ip", "link", "set", self.there.name, "up")

    @contextmanager
    def limited(self, *, rate: str) -> Iterator[None]:
        """The link is slow in both directions for as long as the block lasts."""
        with self.own.limited(rate=rate), self.there.limited(rate=rate):
            yield


def can_make_hosts() -> bool:
    """Only Linux has namespaces, and only who may change networks and mounts makes them.

    Root in a container often may not; everywhere else a relay has to do.
    """
    status = Path("/proc/self/status")
    if sys.platform != "linux" or not status.exists() or not (shutil.which("ip") and shutil.which("tc")):
        return False
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    return found is not None and int(found[1], 16) & _NEEDED == _NEEDED


NAMESPACES = Need("network namespaces", "sudo apt-get install iproute2, then sudo make test", can_make_hosts)


@contextmanager
def network_hosts(count: int) -> Iterator[list[Host]]:
    """Hosts with addresses of their own."""
    with ExitStack() as stack:
        yield [stack.enter_context(_host(next(_NUMBERS) % _MOST_HOSTS)) for _ in range(count)]


@contextmanager
def _host(number: int) -> Iterator[Host]:
    # Names and networks of one process are no other's.
    unique = f"{os.getpid() % 100_000}-{number}"
    name = f"jq{unique}"
    own, there = Device(f"jqa{unique}"), Device(f"jqb{unique}", ("ip", "netns", "exec", name))
    network = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
    address, other_address = (f"{network}.{place + 4 * number + 2}" for place in (0, 128))
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", own.name, "type", "veth", "peer", "name", there.name, "netns", name)
        for device, of_device in ((own, _neighbour(address)), (there, address)):
            device.take_address(of_device)
            device.run("ip", "link", "set", device.name, "up")
        there.run("ip", "link", "set", "lo", "up")
        yield Host(address, other_address, own, there)
    finally:
        _run("ip", "netns", "del", name)  # takes the link with it


def _neighbour(address: str) -> str:
    """The other one of the two."""
    return str(ip_address(address) - 1)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
