"""Reading bytes of tensors; on macOS past the file cache where a process keeps what it reads."""

import fcntl
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.tensors import open_for_reading, read_bytes, read_into
from jangtq_bundle.vocabulary import Projection
from jangtq_proto.errors import BundleError

F_NOCACHE = 48
"""Of <sys/fcntl.h> of macOS."""


@pytest.fixture
def bypassed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that macOS, were it here, would read past its cache."""
    names: list[str] = []

    def note(file: FileIO, command: int, argument: int) -> int:
        assert (command, argument) == (F_NOCACHE, 1)
        names.append(Path(str(file.name)).name)
        return 0

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_NOCACHE", F_NOCACHE, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", note)
    return names


def test_experts_are_read_past_the_cache_of_macos_and_headers_are_not(
    small_bundle: Path, bypassed: list[str]
) -> None:
    bundle = Bundle.open(small_bundle)
    assert bypassed == []
    bundle.reader.read_matrix(0, Projection.GATE, (0, 1))
    assert set(bypassed) == {path.name for path in small_bundle.glob("model-*.safetensors")}


def test_a_file_system_that_has_no_such_way_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bypassed: list[str]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    found = np.empty(4, dtype=np.uint8)
    with open_for_reading(path, cached=False) as file:
        read_into(file, found, offset=3)
    assert found.tobytes() == b"3456"


def test_a_file_that_is_gone_or_ends_too_soon_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing: cannot be read"):
        open_for_reading(tmp_path / "missing")
    path = tmp_path / "short"
    path.write_bytes(b"01")
    with pytest.raises(BundleError, match="short: ends at byte 2, expected 5"):
        read_bytes(path, offset=1, length=4)
