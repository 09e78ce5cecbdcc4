"""Native code that reads and writes messages, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from pathlib import Path

from native_programs import FUZZING, KERNELS, SANITIZERS, TESTS, WIRE, WORKER, compile_native, fuzz, included


def test_whatever_bytes_come_as_a_message_nothing_else_is_touched(tmp_path: Path) -> None:
    sources = TESTS / "message_fuzz_target.cpp", *sorted(WORKER.glob("*.cpp"))
    flags = ("-O1", "-w", *SANITIZERS, *FUZZING, *included(WORKER, WIRE, KERNELS))
    fuzz(compile_native(tmp_path / "fuzz", sources, *flags), 20_000, most_bytes=600)
