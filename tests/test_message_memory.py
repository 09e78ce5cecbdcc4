"""Native code that reads and writes messages, under AddressSanitizer and UndefinedBehaviorSanitizer."""

import platform
import subprocess
from pathlib import Path

from mutations import scaled

ROOT = Path(__file__).parent.parent
WORKER = ROOT / "worker/jangtq_worker/native"
INCLUDED = (WORKER, ROOT / "proto/jangtq_proto/native", ROOT / "kernels/jangtq_kernels/native")
# Apple's clang comes without libFuzzer.
HAS_LIBFUZZER = platform.system() == "Linux"
FUZZER = ("-fsanitize=fuzzer",) if HAS_LIBFUZZER else ("-DJANGTQ_OWN_MAIN",)
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-w",
    "-pthread",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def test_whatever_bytes_come_as_a_message_nothing_else_is_touched(tmp_path: Path) -> None:
    """JANGTQ_FUZZ=1000 and more makes a long run of it."""
    target, runs = tmp_path / "message_fuzz_target", scaled(20_000)
    sources = [Path(__file__).parent / "message_fuzz_target.cpp", *sorted(WORKER.glob("*.cpp"))]
    headers = [f"-I{folder}" for folder in INCLUDED]
    run(["clang++", *FLAGS, *FUZZER, *headers, *map(str, sources), "-o", str(target)])
    limits = [f"-runs={runs}", "-seed=7", "-max_len=600"] if HAS_LIBFUZZER else [str(runs)]
    run([str(target), *limits])
