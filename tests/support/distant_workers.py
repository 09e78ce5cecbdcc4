"""A worker as if it were far away: its gRPC port and its express port, each behind a relay of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address
from tests.support.slow_relay import Relay, Slowness, relay_to


def other_loopback(number: int) -> str:
    """An address of this machine at which no worker listens, so that its ports can be told again there.

    On Linux each number has its own, because workers in different network namespaces may have equal ports.
    """
    return f"127.0.0.{2 + number}" if sys.platform == "linux" else "::1"


@dataclass(frozen=True)
class DistantWorker:
    """Reached at the address of the relay to its gRPC port."""

    grpc: Relay
    express: Relay

    @property
    def address(self) -> Address:
        return self.grpc.address

    def carried(self) -> tuple[int, int]:
        """Bytes that went to the worker and came back so far."""
        return self.grpc.sent + self.express.sent, self.grpc.returned + self.express.returned


@contextmanager
def distant_worker(
    worker: Address, slowness: Slowness, settings: ConnectionSettings, *, host: str
) -> Iterator[DistantWorker]:
    """At its own ports of another host; `settings` serve to ask for the port of its express transport."""
    elsewhere = replace(worker, host=host)
    with relay_to(worker, slowness, listen=elsewhere) as grpc:
        control = GrpcConnection(elsewhere, settings)
        port = control.open_express().port
        control.close()
        express = relay_to(replace(worker, port=port), slowness, listen=replace(elsewhere, port=port))
        with express as connection:
            yield DistantWorker(grpc, connection)
