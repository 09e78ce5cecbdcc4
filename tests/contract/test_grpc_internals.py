"""The names below gRPC's public API that both sides' streams use: a grpcio without them fails here first."""

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]

OPERATIONS = (
    "SendInitialMetadataOperation",
    "ReceiveInitialMetadataOperation",
    "SendMessageOperation",
    "ReceiveMessageOperation",
    "ReceiveStatusOnClientOperation",
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_there(name: str) -> None:
    assert callable(getattr(cygrpc, name))


def test_constants_and_calls_are_there() -> None:
    assert isinstance(cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS, int)
    assert cygrpc.StatusCode.cancelled != cygrpc.StatusCode.deadline_exceeded
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert callable(channel._channel.segregated_call)  # type: ignore[attr-defined]
    assert callable(cygrpc.Server.request_call)
