"""A bit that flips in a bundle is noticed when it is loaded, by file, tensor and expert."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.fingerprint import differing_parts, is_same_bundle
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import Layout
from jangtq_bundle.writing.writer import add_hashes, write_bundle
from jangtq_proto.errors import BundleError
from tests.support.cluster_processes import run_coordinator
from tests.support.reference_bundles import Variant
from tests.support.small_bundles import SHARD, dense_model, edit_json

STACK = "model.layers.0.block_sparse_moe.switch_mlp"
SINGLE = "model.layers.0.block_sparse_moe.experts"
EVERYBODY = tuple(range(32))


def flip_bit(bundle: Path, tensor: str, *, at: float = 0.0) -> None:
    """One bit of a tensor, `at` a fraction of its length."""
    record = Bundle.open(bundle).inventory.tensors[tensor]
    with record.path.open("r+b") as file:
        file.seek(record.offset + int(at * record.nbytes))
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("projection", ["gate_proj", "up_proj", "down_proj"])
@pytest.mark.parametrize("part", ["tq_packed", "tq_norms"])
def test_a_flipped_bit_of_an_expert_is_named(bundle_copy: Path, projection: str, part: str) -> None:
    tensor = f"{STACK}.{projection}.{part}"
    flip_bit(bundle_copy, tensor, at=17 / 32)
    opened = Bundle.open(bundle_copy)
    with pytest.raises(BundleError) as caught:
        opened.read_experts(0, EVERYBODY)
    assert f"{SHARD}: tensor '{tensor}': expert 17: its bytes changed" in str(caught.value)
    others = tuple(expert for expert in EVERYBODY if expert != 17)
    assert opened.read_experts(0, others).expert_ids == others


def test_a_flipped_bit_is_named_where_each_expert_has_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, dense_model(), WriteOptions("small", layout=Layout.ONE_BY_ONE))
    flip_bit(path, f"{SINGLE}.17.w2.tq_packed", at=0.999)
    opened = Bundle.open(path)
    with pytest.raises(BundleError, match=rf"tensor '{SINGLE}.17.w2.tq_packed': its bytes changed"):
        opened.read_experts(0, (3, 17))
    opened.read_experts(0, (3, 18))


@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.norm.weight", "model.embed_tokens.scales"])
def test_a_flipped_bit_of_the_coordinators_part_is_named(bundle_copy: Path, tensor: str) -> None:
    Bundle.open(bundle_copy).check_dense()
    flip_bit(bundle_copy, tensor, at=0.5)
    with pytest.raises(BundleError, match=f"{SHARD}: tensor '{tensor}': its bytes changed"):
        Bundle.open(bundle_copy).check_dense()


def test_hashes_stand_for_every_byte_in_the_fingerprint(bundle_copy: Path, small_bundle: Path) -> None:
    with_hashes = Bundle.open(small_bundle).fingerprint
    (bundle_copy / HASHES_FILE).unlink()
    assert is_same_bundle(Bundle.open(bundle_copy).fingerprint, with_hashes)
    assert add_hashes(bundle_copy).fingerprint == with_hashes
    (bundle_copy / HASHES_FILE).unlink()
    flip_bit(bundle_copy, f"{STACK}.up_proj.tq_packed", at=0.5)
    damaged = add_hashes(bundle_copy).fingerprint
    assert not is_same_bundle(damaged, with_hashes)
    found, expected = differing_parts(damaged, with_hashes)
    assert found != expected and len(found) == len(expected) == 12


def tensors_in(file: dict[str, object]) -> dict[str, object]:
    tensors = file["tensors"]
    assert isinstance(tensors, dict)
    return tensors


BROKEN: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
    "algorithm": (lambda file: file.update(algorithm="crc32"), "algorithm is 'crc32', expected 'sha256'"),
    "no tensors": (lambda file: file.pop("tensors"), "tensors is missing"),
    "one too few": (
        lambda file: tensors_in(file).pop("lm_head.weight"),
        "tensor 'lm_head.weight' stands only here or only in the weight files",
    ),
    "one too many": (lambda file: tensors_in(file).update(x="0" * 64), "tensor 'x' stands only here or"),
    "short": (lambda file: tensors_in(file).update({"lm_head.weight": "0"}), "digests of 64 hex digits"),
    "number": (lambda file: tensors_in(file).update({"lm_head.weight": 1}), "digests of 64 hex digits"),
    "one for all": (
        lambda file: tensors_in(file).update({f"{STACK}.up_proj.tq_norms": ["0" * 64]}),
        "expected 32 digests",
    ),
    "text for all": (
        lambda file: tensors_in(file).update({f"{STACK}.up_proj.tq_norms": "0" * 32}),
        "expected 32 digests",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused(bundle_copy: Path, case: str) -> None:
    change, words = BROKEN[case]
    edit_json(bundle_copy / HASHES_FILE, change)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle_copy)
    assert str(caught.value).startswith(HASHES_FILE) and words in str(caught.value)


def test_a_file_that_is_no_json_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / HASHES_FILE).write_bytes(b"[" * 100_000)
    with pytest.raises(BundleError, match=f"{HASHES_FILE}: the JSON is nested too deeply"):
        Bundle.open(bundle_copy)


def test_the_command_writes_hashes_of_a_foreign_bundle_and_compares_them(
    reference_bundle: Callable[[Variant], Path], tmp_path: Path
) -> None:
    foreign = reference_bundle(Variant.JANGTQ2)
    path = tmp_path / "bundle"
    path.mkdir()
    for file in foreign.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    assert not Bundle.open(path).has_hashes
    written = run_coordinator("hash", "--model", str(path))
    assert (written.returncode, written.stderr) == (0, "")
    assert f"wrote {path / HASHES_FILE}" in written.stdout
    fingerprint = Bundle.open(path).fingerprint
    assert f"fingerprint {fingerprint}" in written.stdout
    assert json.loads((path / HASHES_FILE).read_bytes())["algorithm"] == "sha256"
    compared = run_coordinator("hash", "--model", str(path))
    assert compared.returncode == 0 and "tensors are as" in compared.stdout
    tensor = "model.layers.1.block_sparse_moe.switch_mlp.down_proj.tq_norms"
    flip_bit(path, tensor, at=0.7)
    refused = run_coordinator("hash", "--model", str(path))
    assert refused.returncode == 2
    assert f"tensor '{tensor}': expert 179: its bytes changed" in refused.stderr


def test_a_worker_does_not_start_with_a_flipped_bit(bundle_copy: Path) -> None:
    flip_bit(bundle_copy, f"{STACK}.gate_proj.tq_packed", at=9 / 32)
    arguments = [
        "--model",
        str(bundle_copy),
        "--experts",
        "8-15",
        "--listen",
        "127.0.0.1:0",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "jangtq_worker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"{SHARD}: tensor '{STACK}.gate_proj.tq_packed': expert 9: its bytes changed" in done.stderr
    assert "Traceback" not in done.stderr
