"""A directory for one process at a time, whose holder is named."""

import os
from pathlib import Path

import pytest

from jangtq_coordinator.kv.directory_lock import DirectoryLock


def test_the_holder_is_named_until_it_releases_the_directory(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"the process {os.getpid()} uses it"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_a_directory_that_is_missing_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DirectoryLock(tmp_path / "missing")
