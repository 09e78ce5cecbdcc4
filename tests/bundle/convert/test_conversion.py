"""Checkpoints that we convert equal those of the reference converter, and survive interruptions."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.choices import RoundingName
from jangtq_bundle.convert.conversion import ConversionOptions, convert
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import Layout
from jangtq_proto.errors import BundleError, ConfigurationError
from tests.support.paths import ROOT
from tests.support.reference_bundles import PROFILES, SIZES, Variant, run_reference_converter
from tests.support.small_checkpoints import Sizes, write_checkpoint, write_fp8_checkpoint

SMALL = Sizes(4, hidden_size=256, intermediate_size=128, layer_count=1)
UNPADDED = Sizes(32, hidden_size=256, intermediate_size=128, layer_count=1)


def options_for(
    profile: str, layout: Layout = Layout.PRESTACKED, *, shard_bytes: int = 1 << 20
) -> ConversionOptions:
    return ConversionOptions(WriteOptions("source", profile, layout, shard_bytes=shard_bytes))


def tensors_of(bundle: Path) -> dict[str, np.ndarray]:
    return {
        name: value
        for file in sorted(bundle.glob("model*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_equal_tensors(ours: Path, theirs: Path) -> None:
    found, expected = tensors_of(ours), tensors_of(theirs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def files_of(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(bundle.iterdir())}


@pytest.mark.parametrize(
    "variant",
    [Variant.JANGTQ2_ONE_BY_ONE, Variant.JANGTQ_K, Variant.PADDED, Variant.JANGTQ3, Variant.JANGTQ4],
)
def test_every_tensor_equals_that_of_the_reference_converter(
    variant: Variant, reference_bundle: Callable[[Variant], Path], tmp_path: Path
) -> None:
    theirs = reference_bundle(variant)
    write_checkpoint(tmp_path / "source", SIZES[variant], seed=7)
    layout = Layout.ONE_BY_ONE if variant is Variant.JANGTQ2_ONE_BY_ONE else Layout.PRESTACKED
    bundle = convert(tmp_path / "source", tmp_path / "ours", options_for(PROFILES[variant], layout))
    assert bundle.has_hashes and bundle.layout is layout
    bundle.check_dense()
    bundle.read_experts(0, (0, bundle.config.expert_count - 1))
    assert_equal_tensors(tmp_path / "ours", theirs)


def test_fp8_with_scales_of_blocks_equals_the_reference_converter(tmp_path: Path) -> None:
    write_fp8_checkpoint(tmp_path / "source", UNPADDED, seed=3)
    run_reference_converter(tmp_path / "source", tmp_path / "theirs", "JANGTQ_K", "--no-prestack")
    convert(tmp_path / "source", tmp_path / "ours", options_for("JANGTQ_K", Layout.ONE_BY_ONE))
    assert_equal_tensors(tmp_path / "ours", tmp_path / "theirs")


_PROGRAM = """
import os, signal, sys
from pathlib import Path
from jangtq_bundle.convert.conversion import convert
from tests.bundle.convert.test_conversion import options_for
after = int(sys.argv[3])
def on_progress(done, total):
    if done * 100 >= total * after:
        os.kill(os.getpid(), signal.SIGKILL)
options = options_for("JANGTQ2", shard_bytes=60_000)
convert(Path(sys.argv[1]), Path(sys.argv[2]), options, on_progress=on_progress)
"""


def test_a_conversion_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", SMALL, seed=1)
    options = options_for("JANGTQ2", shard_bytes=60_000)
    convert(tmp_path / "source", tmp_path / "whole", options)
    for percent in (20, 70):
        command = [
            sys.executable,
            "-c",
            _PROGRAM,
            str(tmp_path / "source"),
            str(tmp_path / "cut"),
            str(percent),
        ]
        killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "cut").exists()
    work = tmp_path / ".cut.unfinished"
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("model*.safetensors")}
    assert len(finished) > 3
    convert(tmp_path / "source", tmp_path / "cut", options)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    for name, written in finished.items():
        assert (tmp_path / "cut" / name).stat().st_mtime_ns == written
    assert not work.exists()


def test_the_beginning_of_another_conversion_is_not_gone_on_with(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", SMALL, seed=1)
    (tmp_path / ".bundle.unfinished").mkdir()
    (tmp_path / ".bundle.unfinished/plan.sha256").write_text("another")
    with pytest.raises(ConfigurationError, match="another bundle: remove it"):
        convert(tmp_path / "source", tmp_path / "bundle", options_for("JANGTQ2"))


def test_a_target_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/mine").touch()
    with pytest.raises(ConfigurationError, match="expected a new or an empty directory"):
        convert(tmp_path / "source", tmp_path / "bundle", options_for("JANGTQ2"))


def test_a_source_without_an_expert_is_named_and_leaves_no_bundle(tmp_path: Path) -> None:
    write_checkpoint(
        tmp_path / "source", SMALL, seed=1, without="model.layers.0.block_sparse_moe.experts.2.w3.weight"
    )
    with pytest.raises(BundleError, match=r"experts\.2\.w3\.weight' is missing"):
        convert(tmp_path / "source", tmp_path / "bundle", options_for("JANGTQ2"))
    assert not (tmp_path / "bundle").exists()


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    write_checkpoint(
        tmp_path / "source", SMALL, seed=1, spoiled="model.layers.0.block_sparse_moe.experts.1.w1.weight"
    )
    with pytest.raises(BundleError, match=r"experts\.1\.w1\.weight': a weight is not finite"):
        convert(tmp_path / "source", tmp_path / "bundle", options_for("JANGTQ2"))


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", SMALL, seed=1)
    usage = shutil.disk_usage(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(ConfigurationError, match=r"GB are to be written, 0\.00 GB are free"):
            convert(tmp_path / "source", tmp_path / "bundle", options_for("JANGTQ2"))


def test_unit_gain_changes_norms_only(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "source", SMALL, seed=1)
    nearest = options_for("JANGTQ2")
    convert(tmp_path / "source", tmp_path / "nearest", nearest)
    refitted = ConversionOptions(nearest.write, RoundingName.UNIT_GAIN, threads=1)
    convert(tmp_path / "source", tmp_path / "refitted", refitted)
    before, after = tensors_of(tmp_path / "nearest"), tensors_of(tmp_path / "refitted")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all(name.endswith("tq_norms") for name in changed)
    ratio = after[min(changed)][:4] / before[min(changed)][:4].astype(np.float64)
    # Lloyd-Max with 2 bits keeps 0.88 of a Gaussian row's gain.
    assert 1.1 < ratio.mean() < 1.18
    assert Bundle.open(tmp_path / "refitted").fingerprint != Bundle.open(tmp_path / "nearest").fingerprint
