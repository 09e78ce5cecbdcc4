"""Slices of bundles: the same weights and fingerprint as the whole, and nothing else on the disk."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.fingerprint import is_same_bundle
from jangtq_bundle.holdings import SLICE_FILE, Holdings, parse_slice
from jangtq_bundle.slices.slicing import slice_bundle
from jangtq_bundle.writing.writer import add_hashes
from jangtq_proto.errors import BundleError, ConfigurationError
from tests.support.paths import ROOT
from tests.support.reference_bundles import Variant

DENSE = Holdings((), has_dense=True)


def experts(*ids: int) -> Holdings:
    return Holdings(ids, has_dense=False)


def assert_same_experts(ours: Bundle, whole: Bundle, ids: tuple[int, ...]) -> None:
    for layer in range(whole.config.layer_count):
        found, expected = ours.read_experts(layer, ids), whole.read_experts(layer, ids)
        for name in ("gate", "up", "down"):
            ours_matrix, theirs = getattr(found, name), getattr(expected, name)
            np.testing.assert_array_equal(ours_matrix.codes, theirs.codes)
            np.testing.assert_array_equal(ours_matrix.norms, theirs.norms)


@pytest.mark.parametrize("variant", [Variant.JANGTQ4, Variant.JANGTQ2_ONE_BY_ONE])
def test_a_slice_holds_its_experts_and_no_byte_of_others(
    variant: Variant, reference_bundle: Callable[[Variant], Path], tmp_path: Path
) -> None:
    whole = Bundle.open(reference_bundle(variant))
    ids = (0, 1, 2, 9, 30, 31)
    part = slice_bundle(whole.path, tmp_path / "slice", experts(*ids), shard_bytes=1 << 18)
    assert part.fingerprint == whole.fingerprint and part.has_hashes
    assert (part.holdings, part.layout) == (experts(*ids), whole.layout)
    assert_same_experts(part, whole, ids)
    assert_same_experts(part, whole, (31, 2, 9))
    size = sum(shard.size - shard.data_offset for shard in part.inventory.shards)
    expected = len(ids) * whole.expert_nbytes * whole.config.layer_count
    assert expected <= size <= expected + 3 * len(ids) * whole.config.layer_count
    assert not (tmp_path / "slice/tokenizer.json").exists()


def test_a_coordinators_slice_has_all_but_experts(small_bundle: Path, tmp_path: Path) -> None:
    whole = Bundle.open(small_bundle)
    part = slice_bundle(small_bundle, tmp_path / "slice", DENSE)
    part.require_dense()
    part.check_dense()
    assert part.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(part.layer_scales, whole.layer_scales)
    assert [record.name for record in part.dense_tensors()] == [r.name for r in whole.dense_tensors()]
    assert part.reader.config == whole.reader.config
    assert (tmp_path / "slice/tokenizer.json").exists()
    with pytest.raises(
        BundleError, match="experts 0 are not here: this slice holds everything but the experts"
    ):
        part.read_experts(0, (0,))


def test_slices_of_slices_and_what_they_lack(small_bundle: Path, tmp_path: Path) -> None:
    part = slice_bundle(small_bundle, tmp_path / "part", experts(1, 2, 3))
    inner = slice_bundle(tmp_path / "part", tmp_path / "inner", experts(3))
    assert inner.fingerprint == part.fingerprint
    assert_same_experts(inner, Bundle.open(small_bundle), (3,))
    with pytest.raises(BundleError, match="experts 4 are not here: this slice holds experts 1-3"):
        slice_bundle(tmp_path / "part", tmp_path / "other", experts(3, 4))
    with pytest.raises(BundleError, match="holds experts 1-3, and not what a coordinator needs"):
        slice_bundle(tmp_path / "part", tmp_path / "other", DENSE)
    with pytest.raises(BundleError, match="a coordinator needs the rest: take the whole bundle"):
        part.require_dense()


def test_hashes_may_be_added_on_one_machine(bundle_copy: Path) -> None:
    (bundle_copy / "jangtq_hashes.json").unlink()
    without = Bundle.open(bundle_copy)
    assert not without.has_hashes
    assert is_same_bundle(add_hashes(bundle_copy).fingerprint, without.fingerprint)


def test_a_source_whose_bytes_changed_is_named(bundle_copy: Path, tmp_path: Path) -> None:
    record = Bundle.open(bundle_copy).inventory.tensors[
        "model.layers.0.block_sparse_moe.switch_mlp.up_proj.tq_packed"
    ]
    with record.path.open("r+b") as file:
        file.seek(record.end - 1)
        last = file.read(1)
        file.seek(record.end - 1)
        file.write(bytes([last[0] ^ 1]))
    held = Bundle.open(bundle_copy).config.expert_count - 1
    with pytest.raises(BundleError, match=r"up_proj\.tq_packed': other bytes came than jangtq_hashes"):
        slice_bundle(bundle_copy, tmp_path / "slice", experts(held))
    slice_bundle(bundle_copy, tmp_path / "another", experts(0))


_PROGRAM = """
import os, signal, sys
from pathlib import Path
from jangtq_bundle.slices.slicing import slice_bundle
from tests.bundle.slices.test_slicing import experts
after = int(sys.argv[3])
def on_progress(done, total):
    if done * 100 >= total * after:
        os.kill(os.getpid(), signal.SIGKILL)
source, target = map(Path, sys.argv[1:3])
slice_bundle(source, target, experts(0, 2, 3), on_progress=on_progress, shard_bytes=4096)
"""


def test_a_slice_that_was_killed_goes_on_to_the_same_bytes(small_bundle: Path, tmp_path: Path) -> None:
    slice_bundle(small_bundle, tmp_path / "whole", experts(0, 2, 3), shard_bytes=4096)
    for percent in (30, 80):
        paths = [str(small_bundle), str(tmp_path / "cut"), str(percent)]
        command = [sys.executable, "-c", _PROGRAM, *paths]
        killed = subprocess.run(command, capture_output=True, cwd=ROOT)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = {
        p.name: p.stat().st_mtime_ns for p in (tmp_path / ".cut.unfinished").glob("model*.safetensors")
    }
    assert finished
    slice_bundle(small_bundle, tmp_path / "cut", experts(0, 2, 3), shard_bytes=4096)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()
    for name, written in finished.items():
        assert (tmp_path / "cut" / name).stat().st_mtime_ns == written


def test_a_full_disk_ends_a_slice_with_one_message(small_bundle: Path, tmp_path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(ConfigurationError, match="cannot be written: No space left on device"):
            slice_bundle(small_bundle, tmp_path / "slice", experts(0))
    assert not (tmp_path / "slice").exists()
    assert not list((tmp_path / ".slice.unfinished").glob("*.part"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"experts": "3-1"}, "experts"),
        ({"layer_scales": [1.0]}, "layer_scales"),
        ({"layer_scales": ["one"]}, "layer_scales"),
        ({"fingerprint": None}, "fingerprint"),
    ],
)
def test_a_broken_slice_file_is_named_by_member(
    small_bundle: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    slice_bundle(small_bundle, tmp_path / "slice", experts(0, 1))
    members = json.loads((tmp_path / "slice" / SLICE_FILE).read_text())
    with pytest.raises(BundleError, match=f"{SLICE_FILE}.*{message}"):
        parse_slice(members | change)
