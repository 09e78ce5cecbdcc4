"""Native answers under sanitizers: whatever bytes come, and many threads at once."""

from pathlib import Path

import pytest
from mutations import scaled
from test_cpu_memory import HAS_LIBFUZZER, run

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "worker/jangtq_worker/native"
SOURCES = [str(NATIVE / f"{name}.cpp") for name in ("desk", "answer", "conversation")]
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    # Of the checksum's header, which is not ours.
    f"-isystem{ROOT / 'proto/jangtq_proto/native'}",
    f"-I{NATIVE}",
    f"-I{ROOT / 'kernels/jangtq_kernels/native'}",
    "-pthread",
)
FUZZING = ("-fsanitize=fuzzer",) if HAS_LIBFUZZER else ("-DJANGTQ_OWN_MAIN",)


def compile_program(folder: Path, name: str, *flags: str) -> str:
    program = str(folder / name)
    source = str(Path(__file__).parent / f"{name}.cpp")
    run(["clang++", *FLAGS, *flags, source, *SOURCES, "-o", program])
    return program


def test_whatever_bytes_come_answers_stay_in_their_buffers(tmp_path: Path) -> None:
    """JANGTQ_FUZZ=1000 and more makes a long run of it."""
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compile_program(tmp_path, "answers_fuzz_target", *sanitizers, *FUZZING)
    runs = scaled(5_000)
    run(
        [program, f"-runs={runs}", "-seed=7", "-max_len=512", "-len_control=0"]
        if HAS_LIBFUZZER
        else [program, str(runs)]
    )


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_streams_at_once_and_layers_that_are_swapped_meanwhile(tmp_path: Path, sanitizer: str) -> None:
    program = compile_program(tmp_path, "answers_race_driver", f"-fsanitize={sanitizer}")
    assert int(run([program])) > 0
