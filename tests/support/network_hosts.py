"""Hosts on one machine: network namespaces joined to ours by veth, whose bytes are counted."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import Need

BURST_BYTES = 4096
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
    """`address` is reached from here by `own`; `under` starts a command there."""

    address: str
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
        yield [stack.enter_context(_host(number)) for number in range(count)]


@contextmanager
def _host(number: int) -> Iterator[Host]:
    # Names and networks of one process are no other's.
    unique = f"{os.getpid() % 100_000}{number}"
    name = f"jq{unique}"
    own, there = Device(f"jqa{unique}"), Device(f"jqb{unique}", ("ip", "netns", "exec", name))
    network = f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
    here, address = (f"{network}.{4 * number + place}" for place in (1, 2))
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", own.name, "type", "veth", "peer", "name", there.name, "netns", name)
        for device, of_device in ((own, here), (there, address)):
            device.run("ip", "address", "add", f"{of_device}/30", "dev", device.name)
            device.run("ip", "link", "set", device.name, "up")
        there.run("ip", "link", "set", "lo", "up")
        yield Host(address, own, there)
    finally:
        _run("ip", "netns", "del", name)  # takes the link with it


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
