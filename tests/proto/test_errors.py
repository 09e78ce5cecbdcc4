"""The error tree and the gRPC status it maps to."""

import grpc
import pytest

from jangtq_proto import errors
from jangtq_proto.errors import ClusterError, JangtqError
from jangtq_proto.grpc_status import error_of, error_of_number, status_number, status_of

CLUSTER_ERRORS = ClusterError.__subclasses__()


@pytest.mark.parametrize("kind", CLUSTER_ERRORS)
def test_every_cluster_error_survives_the_wire(kind: type[ClusterError]) -> None:
    error = kind("what happened")
    assert type(error_of(status_of(error), str(error))) is kind
    assert type(error_of_number(status_number(error), str(error))) is kind


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
def test_every_status_becomes_an_error(status: grpc.StatusCode) -> None:
    assert isinstance(error_of(status, "x"), ClusterError)


def test_an_unknown_number_is_the_workers_fault() -> None:
    assert isinstance(error_of_number(4711, "x"), errors.WorkerFaultError)


def test_the_picture_shows_every_error() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, JangtqError)]
    assert len(kinds) > 8
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")
