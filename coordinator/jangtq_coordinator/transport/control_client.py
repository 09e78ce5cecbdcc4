"""Control calls to workers, each over a new connection, so that no stale connection answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from jangtq_coordinator.transport.grpc_channel import WorkerChannel
from jangtq_coordinator.transport.worker_info import WorkerInfo, worker_from
from jangtq_proto.addresses import Address
from jangtq_proto.grpc_status import error_of, plain_reason
from jangtq_proto.ranges import ExpertRange
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.range_messages import write_ranges

_CHANGE_SECONDS = 5.0


@dataclass(frozen=True)
class ControlClient:
    """Safe in any thread."""

    hidden_size: int
    credentials: Credentials | None = None

    def ask(self, address: Address, *, timeout_seconds: float) -> WorkerInfo:
        """A worker's description of itself. Raises ClusterError that names the address."""
        with self._stub(address) as stub:
            reply = stub.Describe(pb.DescribeRequest(), timeout=timeout_seconds)
        return worker_from(str(address), reply)

    def take_over(self, address: Address, ranges: Sequence[ExpertRange]) -> None:
        """Have a worker start to load more experts. Raises ClusterError that names the address."""
        with self._stub(address) as stub:
            stub.TakeOver(pb.TakeOverRequest(expert_ranges=write_ranges(ranges)), timeout=_CHANGE_SECONDS)

    def give_back(self, address: Address, ranges: Sequence[ExpertRange]) -> None:
        """Have a worker drop experts that it took over. Raises ClusterError that names the address."""
        with self._stub(address) as stub:
            stub.GiveBack(pb.GiveBackRequest(expert_ranges=write_ranges(ranges)), timeout=_CHANGE_SECONDS)

    @contextmanager
    def _stub(self, address: Address) -> Iterator[expert_pb2_grpc.ExpertServiceStub]:
        channel = WorkerChannel(address, self.hidden_size, self.credentials)
        try:
            yield expert_pb2_grpc.ExpertServiceStub(channel.current())
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                channel.check(failed=True)
            raise error_of(error.code(), f"worker {address}: {plain_reason(error.details())}") from error
        finally:
            channel.close()
