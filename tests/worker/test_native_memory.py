"""Native answers under sanitizers: whatever bytes come, and many threads at once."""

import pytest

from tests.support.native_programs import (
    KERNELS,
    NATIVE_PROGRAMS,
    SANITIZERS,
    WIRE,
    WORKER,
    compile_native,
    fuzz,
    fuzzing,
    included,
    run,
)

SOURCES = [WORKER / f"{name}.cpp" for name in ("admission", "answer", "conversation")]
# Warnings of the checksum's header are not ours to mend.
FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", f"-isystem{WIRE}", *included(WORKER, KERNELS))


def test_whatever_bytes_come_answers_stay_in_their_buffers() -> None:
    sources = NATIVE_PROGRAMS / "answers_fuzz_target.cpp", *SOURCES
    program = compile_native("answers_fuzz_target", sources, *FLAGS, *SANITIZERS, *fuzzing())
    fuzz(program, 5_000, most_bytes=512, flags=("-len_control=0",))


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_streams_at_once_and_layers_that_are_swapped_meanwhile(sanitizer: str) -> None:
    sources = NATIVE_PROGRAMS / "answers_race_driver.cpp", *SOURCES
    program = compile_native("answers_race_driver", sources, *FLAGS, f"-fsanitize={sanitizer}")
    assert int(run([str(program)])) > 0
