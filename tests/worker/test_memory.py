"""A worker holds its experts and nothing else."""

from pathlib import Path

import grpc
import pytest

from jangtq_proto.addresses import Address
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from tests.support.cluster_processes import running_workers
from tests.support.small_checkpoints import Sizes
from tests.support.sparse_bundles import write_sparse_bundle

SIZES = Sizes(expert_count=256, hidden_size=1024, intermediate_size=512, layer_count=2)


def describe(address: Address) -> pb.DescribeReply:
    with grpc.insecure_channel(str(address)) as channel:
        return expert_pb2_grpc.ExpertServiceStub(channel).Describe(pb.DescribeRequest())


@pytest.mark.parametrize("device", ["reference", "auto"])
def test_resident_memory_grows_by_the_experts_held(tmp_path: Path, device: str) -> None:
    bundle = write_sparse_bundle(tmp_path / "bundle", SIZES)
    with running_workers(bundle, ["0", "1-255"], device=device) as (one, many):
        small, large = describe(one), describe(many)
    held = large.weight_bytes - small.weight_bytes
    assert held > 190e6
    assert large.resident_bytes - small.resident_bytes <= 1.1 * held
