"""Native code that reads and writes messages, under AddressSanitizer and UndefinedBehaviorSanitizer."""

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
)


def test_whatever_bytes_come_as_a_message_nothing_else_is_touched() -> None:
    sources = NATIVE_PROGRAMS / "message_fuzz_target.cpp", *sorted(WORKER.glob("*.cpp"))
    flags = ("-O1", "-w", *SANITIZERS, *fuzzing(), *included(WORKER, WIRE, KERNELS))
    fuzz(compile_native("message_fuzz_target", sources, *flags), 20_000, most_bytes=600)
