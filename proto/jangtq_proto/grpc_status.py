"""The one place where gRPC status and the error tree meet."""

from typing import Final

import grpc

from jangtq_proto.errors import (
    CallRejectedError,
    ClusterError,
    CoverageError,
    WorkerBusyError,
    WorkerFaultError,
    WorkerMismatchError,
    WorkerUnreachableError,
)

_STATUS_TO_ERROR: Final[dict[grpc.StatusCode, type[ClusterError]]] = {
    grpc.StatusCode.UNAVAILABLE: WorkerUnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: WorkerUnreachableError,
    grpc.StatusCode.CANCELLED: WorkerUnreachableError,
    grpc.StatusCode.FAILED_PRECONDITION: WorkerMismatchError,
    grpc.StatusCode.UNIMPLEMENTED: WorkerMismatchError,
    grpc.StatusCode.NOT_FOUND: CoverageError,
    grpc.StatusCode.INVALID_ARGUMENT: CallRejectedError,
    grpc.StatusCode.OUT_OF_RANGE: CallRejectedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: WorkerBusyError,
}

_ERROR_TO_STATUS: Final[dict[type[ClusterError], grpc.StatusCode]] = {
    WorkerUnreachableError: grpc.StatusCode.UNAVAILABLE,
    WorkerMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    CoverageError: grpc.StatusCode.NOT_FOUND,
    CallRejectedError: grpc.StatusCode.INVALID_ARGUMENT,
    WorkerBusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    WorkerFaultError: grpc.StatusCode.INTERNAL,
}

_PLAIN_REASONS: Final = {
    "Connection refused": "nothing listens there; is jangtq-worker running?",
    "No route to host": "there is no route to it; on macOS allow this program to use the local network",
    "Network is unreachable": "its network cannot be reached",
    "Domain name not found": "its name is not known; write the address in numbers, or check the name",
    "DNS resolution failed": "its name is not known; write the address in numbers, or check the name",
    "Connection reset": "the connection was cut",
    "Socket closed": "the connection was cut",
}

_STATUS_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}


def plain_reason(details: str | None) -> str:
    """gRPC's own words for why a worker cannot be reached, as a person would say it."""
    return next((plain for said, plain in _PLAIN_REASONS.items() if said in (details or "")), details or "")


def error_of(status: grpc.StatusCode, message: str) -> ClusterError:
    """The error that a gRPC status stands for; any other status is a worker's fault."""
    return _STATUS_TO_ERROR.get(status, WorkerFaultError)(message)


def error_of_number(number: int, message: str) -> ClusterError:
    """The same for the number that an ExpertReply carries."""
    return error_of(_STATUS_BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN), message)


def status_of(error: ClusterError) -> grpc.StatusCode:
    """The gRPC status that reports an error to the other side."""
    return _ERROR_TO_STATUS.get(type(error), grpc.StatusCode.INTERNAL)


def status_number(error: ClusterError) -> int:
    """The same as the number that an ExpertReply carries."""
    return int(status_of(error).value[0])
