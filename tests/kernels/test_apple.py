"""What macOS is asked and told, against a C library that takes notes; elsewhere nothing happens."""

import ctypes
import sys

import pytest

from jangtq_kernels.apple import ask_for_fast_cores, performance_cores

QOS_CLASS_USER_INTERACTIVE = 0x21


class CLibrary:
    """Of macOS, as far as threads go."""

    def __init__(self, result: int) -> None:
        self.result = result
        self.told: list[tuple[int, int]] = []

    def pthread_set_qos_class_self_np(self, kind: ctypes.c_uint, priority: int) -> int:
        self.told.append((kind.value, priority))
        return self.result


@pytest.mark.parametrize(("result", "is_told"), [(0, True), (1, False)])
def test_a_thread_that_a_user_waits_for_asks_macos_for_fast_cores(
    monkeypatch: pytest.MonkeyPatch, result: int, is_told: bool
) -> None:
    library = CLibrary(result)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert ask_for_fast_cores() == is_told
    assert library.told == [(QOS_CLASS_USER_INTERACTIVE, 0)]


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is told, which the test above does not need")
def test_elsewhere_nobody_is_asked() -> None:
    assert not ask_for_fast_cores()
    assert performance_cores() == 0
