"""Native code that reads and writes messages, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from pathlib import Path

from tests.support.native_programs import (
    FUZZING,
    KERNELS,
    NATIVE_PROGRAMS,
    SANITIZERS,
    WIRE,
    WORKER,
    compile_native,
    fuzz,
    included,
)


def test_whatever_bytes_come_as_a_message_nothing_else_is_touched(tmp_path: Path) -> None:
    sources = NATIVE_PROGRAMS / "message_fuzz_target.cpp", *sorted(WORKER.glob("*.cpp"))
    flags = ("-O1", "-w", *SANITIZERS, *FUZZING, *included(WORKER, WIRE, KERNELS))
    fuzz(compile_native(tmp_path / "fuzz", sources, *flags), 20_000, most_bytes=600)
