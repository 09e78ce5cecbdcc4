"""A worker as a process: what it says of itself, what it answers, what it refuses, how it ends."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_kernels.reference import ReferenceBackend
from jangtq_proto.addresses import Address
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import PROTOCOL_VERSION, LayerCall, row_dtype
from jangtq_proto.wire.frames import OK, AnswerFrame, call_frame, decode_answer, read_answer
from jangtq_proto.wire.row_type import RowType
from tests.support.cluster_processes import running_workers, start_worker
from tests.support.reference_bundles import Variant


@pytest.fixture(scope="module")
def bundle(reference_bundle: Callable[[Variant], Path]) -> Bundle:
    return Bundle.open(reference_bundle(Variant.JANGTQ2))


@pytest.fixture(scope="module")
def worker(bundle: Bundle) -> Iterator[Address]:
    with running_workers(bundle.path, ["0-63,200-201"]) as (address,):
        yield address


@pytest.fixture(scope="module")
def stub(worker: Address) -> Iterator[expert_pb2_grpc.ExpertServiceStub]:
    with grpc.insecure_channel(str(worker)) as channel:
        yield expert_pb2_grpc.ExpertServiceStub(channel)


def some_call(bundle: Bundle, *, rows: int = 3, layer: int = 1) -> LayerCall:
    random = np.random.default_rng(rows)
    return LayerCall(
        layer=layer,
        rows=random.standard_normal((rows, bundle.config.hidden_size)).astype(np.float32),
        expert_ids=random.choice([0, 7, 63, 201, -1], (rows, 4)).astype(np.int32),
        router_weights=random.random((rows, 4), dtype=np.float32),
        exponents=np.full(rows, -24, dtype=np.int8),
        prefill=False,
    )


def answer(
    stub: expert_pb2_grpc.ExpertServiceStub, *calls: LayerCall, row_type: RowType = RowType.FLOAT32
) -> list[AnswerFrame]:
    frames = (pb.Frame(data=call_frame(11, call, row_type)) for call in calls)
    return [read_answer(found.data) for found in stub.Forward(frames)]


def test_a_worker_describes_what_it_holds(stub: expert_pb2_grpc.ExpertServiceStub, bundle: Bundle) -> None:
    described = stub.Describe(pb.DescribeRequest())
    assert described.fingerprint == bundle.fingerprint
    assert described.protocol_version == PROTOCOL_VERSION
    assert (described.layer_count, described.expert_count) == (2, 256)
    assert [(r.first, r.last) for r in described.expert_ranges] == [(0, 63), (200, 201)]
    stored = 66 * bundle.expert_nbytes * bundle.config.layer_count
    assert stored <= described.weight_bytes <= 1.1 * stored
    assert described.resident_bytes > described.weight_bytes
    assert described.device in ("cpu", "metal", "reference")


@pytest.mark.parametrize("row_type", list(RowType))
def test_one_partial_sum_a_row_comes_back(
    stub: expert_pb2_grpc.ExpertServiceStub, bundle: Bundle, row_type: RowType
) -> None:
    layer = ReferenceBackend().load(bundle.read_experts(1, tuple(range(64)) + (200, 201)))
    call = some_call(bundle)
    rows = call.rows.astype(row_dtype(row_type))
    call = replace(call, rows=rows, exponents=layer.forward(call).finest + np.int8(1))
    (reply,) = answer(stub, call, row_type=row_type)
    sums, finest = decode_answer(reply, (3, bundle.config.hidden_size))
    expected = layer.forward(call).sums
    assert np.linalg.norm(sums - expected) <= 1e-5 * np.linalg.norm(expected)
    difference = finest + np.int8(1) - call.exponents
    assert (np.abs(difference) <= 1).all()
    assert reply.call_id == 11
    assert reply.compute_ns > 0


def test_a_stream_answers_in_order_and_survives_a_bad_call(
    stub: expert_pb2_grpc.ExpertServiceStub, bundle: Bundle
) -> None:
    good = some_call(bundle)
    foreign = replace(good, expert_ids=np.full((3, 4), 64, dtype=np.int32))
    replies = answer(stub, good, foreign, replace(good, layer=2), good)
    assert [reply.status for reply in replies] == [0, 3, 3, 0]
    assert b"64" in bytes(replies[1].payload)
    assert bytes(replies[2].payload) == b"layer 2: this model has layers 0-1"
    assert replies[0].payload == replies[3].payload


def test_rows_that_are_not_finite_are_refused(
    stub: expert_pb2_grpc.ExpertServiceStub, bundle: Bundle
) -> None:
    call = some_call(bundle)
    call.rows[0, 0] = np.nan
    (reply,) = answer(stub, call)
    assert reply.status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert b"finite" in bytes(reply.payload)


def test_health_and_reflection_are_served(worker: Address) -> None:
    with grpc.insecure_channel(str(worker)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "jangtq_proto.v1.ExpertService"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert "jangtq_proto.v1.ExpertService" in services


def test_sigterm_finishes_what_is_in_flight(bundle: Bundle) -> None:
    with Children() as children:
        worker = start_worker(children, bundle.path, "0-255", device="reference")
        worker.ready()
        with grpc.insecure_channel(worker.listening()) as channel:
            call = call_frame(11, some_call(bundle, rows=4000), RowType.FLOAT32)
            replies = expert_pb2_grpc.ExpertServiceStub(channel).Forward(iter([pb.Frame(data=call)]))
            wait_until_computing(worker.process.pid)
            worker.process.send_signal(signal.SIGTERM)
            assert read_answer(next(replies).data).status == OK
        assert worker.process.wait(30) == 0
        worker.reader.join()
        assert worker.lines[-1] == "stopped"


def wait_until_computing(pid: int, *, cpu_seconds: float = 0.1) -> None:
    """Returns once the process has used some processor time."""
    process = psutil.Process(pid)
    start = process.cpu_times().user
    while process.cpu_times().user - start < cpu_seconds:
        time.sleep(0.01)


def test_a_worker_ends_when_its_parent_is_gone(bundle: Bundle) -> None:
    with Children() as children:
        worker = start_worker(children, bundle.path, "0")
        worker.ready()
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(30) == 0


def run_worker(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jangtq_worker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experts", "0-300"], "experts 256-300 are outside the model, which has experts 0-255"),
        (["--experts", "5-1"], "expert range"),
        (["--experts", "0", "--listen", "0.0.0.0:0"], "--insecure"),
        (["--experts", "0", "--threads", "0"], "--threads 0: allowed are 1 to 1024"),
        (["--experts", "0", "--model", "/nowhere"], "/nowhere"),
    ],
)
def test_a_worker_that_cannot_start_says_why(bundle: Bundle, arguments: list[str], message: str) -> None:
    result = run_worker("--model", str(bundle.path), *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_said(bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run_worker("--model", str(bundle.path), "--experts", "0", "--listen", address)
        port = address.rpartition(":")[2]
        other = run_worker(
            "--model", str(bundle.path), "--experts", "0", "--listen", "127.0.0.1:0", "--express-port", port
        )
    assert result.returncode == other.returncode == 2
    assert f"cannot listen on {address}: the address is in use" in result.stderr
    assert f"--express-port: cannot listen on {address}: Address already in use" in other.stderr
