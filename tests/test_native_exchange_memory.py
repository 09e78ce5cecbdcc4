"""The native exchange under AddressSanitizer and UndefinedBehaviorSanitizer, on buffers of exact size."""

import platform
import subprocess
from pathlib import Path

from mutations import scaled

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "coordinator/jangtq_coordinator/native"
FLAGS = (
    *("-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    *(f"-I{NATIVE}", f"-I{ROOT / 'proto/jangtq_proto/native'}"),
)
# Apple's clang comes without libFuzzer.
HAS_LIBFUZZER = platform.system() == "Linux"


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def test_whatever_holders_answer_the_exchange_stays_in_its_buffers(tmp_path: Path) -> None:
    """JANGTQ_FUZZ=1000 and more makes a long run of it."""
    sources = str(ROOT / "tests/exchange_fuzz_target.cpp"), str(NATIVE / "exchange.cpp")
    kind = "-fsanitize=fuzzer" if HAS_LIBFUZZER else "-DJANGTQ_OWN_MAIN"
    program, runs = str(tmp_path / "fuzz"), scaled(5_000)
    run("clang++", *FLAGS, kind, *sources, "-o", program)
    run(program, *([f"-runs={runs}", "-seed=7", "-max_len=512"] if HAS_LIBFUZZER else [str(runs)]))
