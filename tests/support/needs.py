"""What some tests need of the machine beyond Python packages and a C++ compiler.

A test whose need is missing is left out; the run ends with a paragraph that says so. With CI=true it fails.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

_LEFT_OUT = "left out, no "


@dataclass(frozen=True)
class Need:
    """`command` brings what is missing."""

    name: str
    command: str
    is_met: Callable[[], bool]


def require(need: Need) -> None:
    """Returns where the need is met; else the test ends here, failed with CI=true, left out otherwise."""
    if need.is_met():
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {need.name}: {need.command}", pytrace=False)
    pytest.skip(f"{_LEFT_OUT}{need.name} ({need.command})")


def closing_paragraph(reasons: Iterable[str]) -> str:
    """What a run left out and what brings it, from the reasons of its skipped tests; empty if nothing."""
    counts: dict[str, int] = {}
    for reason in reasons:
        _, found, missing = reason.partition(_LEFT_OUT)
        if found:
            counts[missing] = counts.get(missing, 0) + 1
    if not counts:
        return ""
    told = "; ".join(f"{count} tests for want of {missing}" for missing, count in sorted(counts.items()))
    return f"Left out on this machine: {told}."
