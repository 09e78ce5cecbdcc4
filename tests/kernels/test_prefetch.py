"""How codes are prefetched: chosen by the processor's vendor, and without a trace in the answers."""

import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jangtq_kernels.backend import ACTIVATIONS
from jangtq_kernels.cpu import CpuBackend
from tests.support.kernel_backends import ISAS, sums_of
from tests.support.metal_cases import random_layer, random_rows
from tests.support.native_programs import KERNELS, NATIVE_PROGRAMS, compile_native, included, run

CHOICES = {
    "GenuineIntel": "into caches",
    "AuthenticAMD": "past caches",
    "HygonGenuine": "past caches",
    "GenuineIntel ": "past caches",
    "": "past caches",
}


def vendor_of_this_processor() -> str:
    """As the operating system tells it."""
    if platform.machine() != "x86_64":
        return ""
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.vendor"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("vendor_id"))


def test_single_rows_are_prefetched_as_the_vendor_of_the_processor_likes() -> None:
    program = compile_native("prefetch_driver", [NATIVE_PROGRAMS / "prefetch_driver.cpp"], *included(KERNELS))
    said = run([str(program), *CHOICES])
    assert said.split("\n")[:-1] == [vendor_of_this_processor(), *CHOICES.values()]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("bits", [(2, 2), (3, 4), (4, 3)])
def test_sums_are_equal_to_the_bit_however_codes_are_prefetched(
    isa: str, activations: str, rows: int, bits: tuple[int, int]
) -> None:
    weights = random_layer(320, 200, bits=bits)
    request = random_rows(rows, 320)
    into, past, own = (
        sums_of(CpuBackend(2, isa=isa, activations=activations, vendor=vendor).load(weights), *request)
        for vendor in ("GenuineIntel", "AuthenticAMD", None)
    )
    np.testing.assert_array_equal(past, into)
    np.testing.assert_array_equal(own, into)
