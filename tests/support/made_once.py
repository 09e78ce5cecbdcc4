"""Folders that every process of a test run needs, made by the first that asks for them."""

import fcntl
from collections.abc import Callable
from pathlib import Path


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """`path`, after `make` filled a folder that takes its place, unless a process did so before."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            work = path.with_name(f"{path.name}-work")
            make(work)
            work.rename(path)
    return path
