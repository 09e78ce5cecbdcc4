"""The limit of open files is raised as far as it may be, and never lowered."""

import resource

import pytest

from jangtq_proto.open_files import raise_open_files

INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((256, INFINITY), 8192, id="macOS"),
        pytest.param((1024, 4096), 4096, id="a hard limit"),
        pytest.param((1024, 2**20), 8192, id="Linux"),
        pytest.param((2**20, 2**20), 2**20, id="high already"),
        pytest.param((INFINITY, INFINITY), INFINITY, id="no limit"),
    ],
)
def test_the_soft_limit_is_raised(
    before: tuple[int, int], after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = before

    def set_limits(_: int, given: tuple[int, int]) -> None:
        nonlocal limits
        limits = given

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limits)
    assert raise_open_files() == after
    assert limits == (after, before[1])


def test_a_system_that_refuses_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() == 256
    assert "open files stay limited to 256: not allowed" in caplog.text
