"""The native exchange under AddressSanitizer and UndefinedBehaviorSanitizer, on buffers of exact size."""

from tests.support.native_programs import (
    COORDINATOR,
    NATIVE_PROGRAMS,
    SANITIZERS,
    WIRE,
    compile_native,
    fuzz,
    fuzzing,
    included,
)


def test_whatever_workers_answer_the_exchange_stays_in_its_buffers() -> None:
    sources = NATIVE_PROGRAMS / "exchange_fuzz_target.cpp", COORDINATOR / "exchange.cpp"
    flags = ("-O1", *SANITIZERS, *fuzzing(), *included(COORDINATOR, WIRE))
    fuzz(compile_native("exchange_fuzz_target", sources, *flags), 5_000, most_bytes=512)
