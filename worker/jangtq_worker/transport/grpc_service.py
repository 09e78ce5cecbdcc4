"""The worker's gRPC service: describes the shard, answers expert calls, one thread a stream."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import grpc
import psutil

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.extension import Extension
from jangtq_proto.errors import CallRejectedError, ClusterError, ConfigurationError
from jangtq_proto.grpc_status import status_of
from jangtq_proto.ranges import ExpertRange
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import PROTOCOL_VERSION
from jangtq_proto.wire.range_messages import read_ranges, write_ranges
from jangtq_worker.device.admission import Admission
from jangtq_worker.transport.express_listener import ExpressListener
from jangtq_worker.transport.grpc_stream import CallStream


@dataclass(frozen=True)
class Identity:
    """Facts that do not change while a worker runs."""

    bundle: Bundle
    device: str


class ExpertService(expert_pb2_grpc.ExpertServiceServicer):
    """The RPCs of a worker. Calls come over its streams, or over express, for which it issues tickets."""

    def __init__(self, identity: Identity, admission: Admission, extension: Extension) -> None:
        self._identity = identity
        self._admission = admission
        self._extension = extension
        self._ranges: tuple[ExpertRange, ...] = ()
        self._instance = secrets.token_hex(8)
        self._machine_id = ""
        self._express: ExpressListener | None = None
        self._leaving = False

    def announce(self, machine_id: str) -> None:
        """Let coordinators of the same machine and user know that they are from now on."""
        self._machine_id = machine_id

    def hold(self, ranges: tuple[ExpertRange, ...]) -> None:
        """Describe these experts as held from now on."""
        self._ranges = ranges

    def offer(self, express: ExpressListener) -> None:
        """Offer express connections from now on."""
        self._express = express

    def leave(self) -> None:
        """Describe the worker as leaving from now on."""
        self._leaving = True

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        try:
            shard = self._admission.shard()
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        config = self._identity.bundle.config
        return pb.DescribeReply(
            protocol_version=PROTOCOL_VERSION,
            fingerprint=self._identity.bundle.fingerprint,
            layer_count=config.layer_count,
            expert_count=config.expert_count,
            hidden_size=config.hidden_size,
            expert_ranges=write_ranges(self._ranges),
            device=self._identity.device,
            weight_bytes=shard.weight_bytes,
            resident_bytes=psutil.Process().memory_info().rss,
            version=version("jangtq-cluster"),
            machine_id=self._machine_id,
            instance=self._instance,
            spare_bytes=self._extension.spare_bytes,
            leaving=self._leaving,
            taken_over=write_ranges(self._extension.taken_over),
        )

    def TakeOver(self, request: pb.TakeOverRequest, context: grpc.ServicerContext) -> pb.TakeOverReply:
        try:
            self._admission.shard()
            self._extension.take_over(_ranges_of(request))
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        return pb.TakeOverReply()

    def GiveBack(self, request: pb.GiveBackRequest, context: grpc.ServicerContext) -> pb.GiveBackReply:
        try:
            self._extension.give_back(_ranges_of(request))
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        return pb.GiveBackReply()

    def OpenExpress(
        self, request: pb.OpenExpressRequest, context: grpc.ServicerContext
    ) -> pb.OpenExpressReply:
        if self._express is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this worker has no express transport")
        try:
            return self._express.admit()
        except ClusterError as error:
            context.abort(status_of(error), str(error))

    def Forward(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        admission = self._admission
        try:
            with admission.streams, admission.activity.stream() as stream:
                CallStream(
                    partial(admission.answer, stream=stream),
                    admission.in_flight,
                    partial(admission.is_quiet_for, stream),
                ).run(context)
        except ClusterError as error:
            context.abort(status_of(error), str(error))
        return iter(())


def _ranges_of(request: pb.TakeOverRequest | pb.GiveBackRequest) -> tuple[ExpertRange, ...]:
    try:
        return read_ranges(request.expert_ranges)
    except ConfigurationError as error:
        raise CallRejectedError(str(error)) from error
