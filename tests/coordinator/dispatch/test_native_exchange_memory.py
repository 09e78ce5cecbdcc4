"""The native exchange under AddressSanitizer and UndefinedBehaviorSanitizer, on buffers of exact size."""

from pathlib import Path

from tests.support.native_programs import (
    COORDINATOR,
    FUZZING,
    NATIVE_PROGRAMS,
    SANITIZERS,
    WIRE,
    compile_native,
    fuzz,
    included,
)


def test_whatever_workers_answer_the_exchange_stays_in_its_buffers(tmp_path: Path) -> None:
    sources = NATIVE_PROGRAMS / "exchange_fuzz_target.cpp", COORDINATOR / "exchange.cpp"
    flags = ("-O1", *SANITIZERS, *FUZZING, *included(COORDINATOR, WIRE))
    fuzz(compile_native(tmp_path / "fuzz", sources, *flags), 5_000, most_bytes=512)
