"""What the name of a worker's host stands for. Knows no connections."""

import socket

from jangtq_proto.addresses import Address


def addresses_of(address: Address) -> frozenset[str]:
    """Its host in numbers; nothing for a Unix socket, and where nobody knows the name just now."""
    if address.is_unix:
        return frozenset()
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(where[0]) for *_, where in found)
