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


@pytest.mark.parametrize(("name", "runs"), [("exchange", 20_000), ("answer", 50_000)])
def test_no_bytes_lead_astray(name: str, runs: int) -> None:
    source = KERNELS / name / f"{name}.cpp"
    target = NATIVE_PROGRAMS / f"{name}_fuzz_target.cpp"
    flags = ("-O1", "-w", *SANITIZERS, *fuzzing(), *included(KERNELS, NATIVE_PROGRAMS))
    fuzz(compile_native(f"{name}_fuzz", [Path(target), source], *flags), runs, most_bytes=600)
