"""The native codec and native answers under AddressSanitizer and UndefinedBehaviorSanitizer, on any bytes."""

from pathlib import Path

import pytest

from tests.support.native_programs import (
    KERNELS,
    NATIVE_PROGRAMS,
    SANITIZERS,
    compile_native,
    fuzz,
    fuzzing,
    included,
)

SOURCES = {
    "exchange": ("exchange/exchange", "exchange/direct", "sockets/inbox"),
    "answer": ("answer/answer",),
}


@pytest.mark.parametrize(("name", "runs"), [("exchange", 20_000), ("answer", 50_000)])
def test_no_bytes_lead_astray(name: str, runs: int) -> None:
    sources = [KERNELS / f"{source}.cpp" for source in SOURCES[name]]
    target = NATIVE_PROGRAMS / f"{name}_fuzz_target.cpp"
    flags = ("-O1", "-w", *SANITIZERS, *fuzzing(), *included(KERNELS, NATIVE_PROGRAMS))
    fuzz(compile_native(f"{name}_fuzz", [Path(target), *sources], *flags), runs, most_bytes=600)
