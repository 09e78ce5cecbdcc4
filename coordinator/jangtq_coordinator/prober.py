"""Asks workers what they hold, each time over a new connection, so that an old one's state never shows."""

from dataclasses import dataclass

import grpc

from jangtq_coordinator.channels import WorkerChannel
from jangtq_coordinator.roster import Holder, holder_from
from jangtq_proto.addresses import Address
from jangtq_proto.credentials import Credentials
from jangtq_proto.errors import error_of
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc


@dataclass(frozen=True)
class Prober:
    """May be used by any number of threads."""

    hidden_size: int
    credentials: Credentials | None = None

    def ask(self, address: Address, *, timeout_seconds: float) -> Holder:
        """What a worker says of itself. Raises ClusterError that names the address."""
        channel = WorkerChannel(address, self.hidden_size, self.credentials)
        stub = expert_pb2_grpc.ExpertServiceStub(channel.current())
        try:
            reply = stub.Describe(pb.DescribeRequest(), timeout=timeout_seconds)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            raise error_of(error.code(), f"worker {address}: {error.details()}") from error
        finally:
            channel.close()
        return holder_from(str(address), reply)
