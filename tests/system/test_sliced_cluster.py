"""A coordinator and two workers with slices answer the demo's questions as whole bundles do."""

from pathlib import Path

from jangtq_bundle.holdings import Holdings
from jangtq_bundle.models import demo_model
from jangtq_bundle.slices.slicing import slice_bundle
from tests.support.cluster_processes import run_coordinator, running_workers

QUESTIONS = ("What is 4821 + 3579?", "What is a magnet?")


def answers(bundle: Path, *holders: str) -> list[str]:
    """What `generate` prints for each question."""
    line = ["generate", "--model", str(bundle), *holders, "--max-tokens", "60", "--temperature", "0"]
    done = [run_coordinator(*line, "--prompt", question) for question in QUESTIONS]
    assert [each.returncode for each in done] == [0] * len(done), done[0].stderr
    return [each.stdout for each in done]


def test_slices_answer_as_the_whole_bundle_does(tmp_path: Path) -> None:
    halves = {"0-127": range(128), "128-255": range(128, 256)}
    slices = [tmp_path / ranges for ranges in halves]
    for path, experts in zip(slices, halves.values(), strict=True):
        slice_bundle(demo_model(), path, Holdings(tuple(experts), has_dense=False))
    slice_bundle(demo_model(), tmp_path / "dense", Holdings((), has_dense=True))
    whole = answers(demo_model(), "--experts", "0-255")
    with (
        running_workers(slices[0], ["0-127"]) as first,
        running_workers(slices[1], ["128-255"]) as second,
    ):
        workers = ",".join(map(str, (*first, *second)))
        assert answers(tmp_path / "dense", "--workers", workers) == whole
        refused = run_coordinator(
            "generate", "--model", str(slices[0]), "--workers", workers, "--prompt", "Hi"
        )
    assert refused.returncode == 2
    assert "holds experts 0-127; a coordinator needs the rest" in refused.stderr
