"""Downloads a whole repository, file by file, and checks each file against the hub's digest."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from jangtq_bundle.hub.repository import Repository, digest_of
from jangtq_bundle.writing.unfinished import OnProgress, check_target
from jangtq_proto.errors import BundleError, ConfigurationError

_CONNECTIONS: Final = 8
_SPARE_BYTES: Final = 64 * 2**20
_PIECE_BYTES: Final = 1 << 24


def get_whole(repository: Repository, target: Path, *, on_progress: OnProgress) -> Path:
    """Fetch every file beside `target` and move it there; whole files and parts of files are gone on with.

    Raises ConfigurationError for a target that is taken or a disk without room, BundleError where a file is
    not what the hub announces.
    """
    check_target(target)
    work = target.absolute().with_name(f".{target.name}.{repository.commit[:12]}")
    names = [name for name in repository.sizes if "/" not in name and not name.startswith(".")]
    total = sum(repository.sizes[name] for name in names)
    _open(work, total)
    done = 0
    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="get") as pool:
        for size in pool.map(lambda name: _fetch(repository, name, work / name), names):
            done += size
            on_progress(done, total)
    work.replace(target)
    return target


def _open(work: Path, total: int) -> None:
    try:
        work.mkdir(parents=True, exist_ok=True)
        missing = total - sum(path.stat().st_size for path in work.iterdir())
        free = shutil.disk_usage(work).free
    except OSError as error:
        raise ConfigurationError(f"{work}: cannot be written: {error.strerror}") from error
    if missing and missing + _SPARE_BYTES > free:
        raise ConfigurationError(f"{work}: {missing / 1e9:.2f} GB are missing, {free / 1e9:.2f} GB are free")


def _fetch(repository: Repository, name: str, path: Path) -> int:
    size = repository.sizes[name]
    if path.exists():
        return size
    draft = path.with_name(f"{name}.part")
    start = min(draft.stat().st_size, size) if draft.exists() else 0
    try:
        with draft.open("ab") as file:
            file.truncate(start)
            for chunk in repository.read(name, offset=start, length=size - start):
                file.write(chunk)
    except OSError as error:
        raise ConfigurationError(f"{draft}: cannot be written: {error.strerror}") from error
    expected = repository.digests.get(name, "")
    if expected and digest_of(_pieces(draft), size, like=expected) != expected:
        draft.unlink()
        raise BundleError(f"{name}: {repository.endpoint} sent other bytes than it announces; try again")
    draft.replace(path)
    return size


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
