"""What a machine lacks is told once, with the command that brings it, and is a failure with CI=true."""

import pytest

from tests.support.needs import Need, closing_paragraph, require

MISSING = Need("compass", "make compass", lambda: False)


def reason_of_a_skip() -> str:
    with pytest.raises(pytest.skip.Exception) as skipped:
        require(MISSING)
    return str(skipped.value)


def test_what_is_there_is_used() -> None:
    require(Need("python", "", lambda: True))


def test_what_was_left_out_stands_in_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    reasons = [f"Skipped: {reason_of_a_skip()}", "only Linux has namespaces"]
    told = closing_paragraph([*reasons, reasons[0]])
    assert told == "Left out on this machine: 2 tests for want of compass (make compass)."
    assert closing_paragraph(reasons[1:]) == ""


def test_it_is_a_failure_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no compass: make compass"):
        require(MISSING)
