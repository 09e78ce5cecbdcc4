"""Our converter against the reference's on one FP8 checkpoint: seconds, bytes a second, and most memory.

Run as `python -m benchmarks.convert [--write] [--experts N]`; MiniMax-M2.7's width, one layer, N experts.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import benchmark_options, publish
from tests.support.small_checkpoints import Sizes, write_fp8_checkpoint

HIDDEN, INTERMEDIATE = 3072, 1536


@dataclass(frozen=True)
class Taken:
    """Of a whole process: seconds, and the most bytes that it held at a time."""

    seconds: float
    resident_bytes: int


def main() -> None:
    parser = benchmark_options(__doc__)
    parser.add_argument("--experts", type=int, default=32, help="a multiple of 32 (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sizes = Sizes(
            given.experts, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, layer_count=1, head_size=64
        )
        write_fp8_checkpoint(work / "source", sizes, seed=1)
        size = sum(path.stat().st_size for path in (work / "source").glob("*.safetensors"))
        body = _table(work, size)
    publish("Conversion", "python -m benchmarks.convert", body, write=given.write)


def _table(work: Path, size: int) -> str:
    source, reference = str(work / "source"), "jang_tools.convert_minimax_jangtq"
    runs = {
        "the reference converter": [reference, source, str(work / "theirs"), "JANGTQ2", "--no-prestack"],
        "jangtq-bundle convert": _ours(source, str(work / "ours")),
        "jangtq-bundle convert, one thread": _ours(source, str(work / "one"), "--threads", "1"),
    }
    taken = {name: measure([sys.executable, "-m", *arguments]) for name, arguments in runs.items()}
    slowest = taken["the reference converter"].seconds
    lines = [
        f"{size / 1e6:.0f} MB of FP8 experts, 3072 x 1536, to JANGTQ2, one by one; whole processes.",
        "",
        "| | seconds | MB/s read | most memory | times the reference |",
        "|---|---|---|---|---|",
    ]
    for name, one in taken.items():
        lines.append(
            f"| {name} | {one.seconds:.1f} | {size / 1e6 / one.seconds:.0f} | "
            f"{one.resident_bytes / 1e9:.2f} GB | {slowest / one.seconds:.1f} |"
        )
    return "\n".join(lines)


def _ours(source: str, target: str, *options: str) -> list[str]:
    return ["jangtq_bundle.cli", "convert", source, target, "--layout", "per_expert", *options]


def measure(command: list[str]) -> Taken:
    """Run a command and wait for it. Raises CalledProcessError with what it said."""
    before = time.perf_counter()
    program = (
        f"import resource, subprocess, sys; subprocess.run({command!r}, check=True, capture_output=True); "
    )
    program += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    unit = 1 if sys.platform == "darwin" else 1024
    return Taken(time.perf_counter() - before, int(said) * unit)


if __name__ == "__main__":
    main()
