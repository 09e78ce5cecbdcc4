"""Errors to gRPC status and back."""

import grpc
import pytest

from jangtq_proto import grpc_status
from jangtq_proto.errors import ClusterError, WorkerFaultError
from jangtq_proto.grpc_status import error_of, error_of_number, status_number, status_of


@pytest.mark.parametrize("kind", grpc_status._ERROR_TO_STATUS)
def test_an_error_comes_back_as_what_it_was(kind: type[ClusterError]) -> None:
    for found in (
        error_of(status_of(kind("why")), "why"),
        error_of_number(status_number(kind("why")), "why"),
    ):
        assert type(found) is kind and str(found) == "why"


def test_any_other_status_is_a_fault_of_the_worker() -> None:
    known = set(grpc_status._STATUS_TO_ERROR)
    for status in set(grpc.StatusCode) - known:
        assert type(error_of(status, "why")) is WorkerFaultError
    assert type(error_of_number(999, "why")) is WorkerFaultError
