"""Addresses as the command line writes them: HOST:PORT, [IPv6]:PORT or unix:/path."""

import ipaddress
import os.path
from dataclasses import dataclass
from typing import Final

from jangtq_proto.errors import ConfigurationError

DEFAULT_WORKER_PORT: Final = 7700
_UNIX: Final = "unix:"


@dataclass(frozen=True)
class Address:
    """Where a worker listens; `port` is 0 for a Unix socket, whose path is the host."""

    host: str
    port: int

    @property
    def is_unix(self) -> bool:
        return self.host.startswith(_UNIX)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.is_unix:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_ip_address(name: str) -> bool:
    """Whether it is an address in numbers, and no name that has to be looked up."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def parse_address(text: str, *, default_port: int | None = None) -> Address:
    """Read one address. Raises ConfigurationError that shows the allowed forms."""
    text = text.strip()
    if text.startswith(_UNIX) and len(text) > len(_UNIX):
        return Address(_UNIX + os.path.expanduser(text.removeprefix(_UNIX)), 0)
    host, separator, port = text.rpartition(":")
    if not separator and default_port is not None:
        host, port = text, str(default_port)
    if hint := _hint(text):
        raise ConfigurationError(f"address {text!r}: {hint}")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(
            f"address {text!r}: write HOST:PORT, such as 192.168.1.20:7700, or unix:/path"
        )
    return Address(host, int(port))


def _hint(text: str) -> str:
    """What is probably meant by what is no address."""
    if "://" in text:
        return f"leave out the scheme: {text.partition('://')[2].rstrip('/')}"
    if len(text.split()) > 1:
        return f"separate addresses by commas: {','.join(text.split())}"
    return f"did you mean 127.0.0.1:{text}?" if text.isdecimal() else ""


def parse_addresses(text: str, *, default_port: int | None = None) -> tuple[Address, ...]:
    """Read addresses separated by commas; each may stand once."""
    addresses = tuple(
        parse_address(part, default_port=default_port) for part in text.split(",") if part.strip()
    )
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            raise ConfigurationError(f"worker {address} is named twice in {text!r}")
    return addresses
