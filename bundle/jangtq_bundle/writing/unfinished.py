"""A bundle while it is written: finished shards get their names, so that an interrupted run continues."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangtq_bundle.directory import INDEX_FILE
from jangtq_bundle.hashes import HASHES_FILE, TensorHashes
from jangtq_bundle.writing.shard_file import digests_path, read_digests
from jangtq_bundle.writing.shard_plan import PlannedShard, index_json, shard_name
from jangtq_proto.errors import ConfigurationError

OnProgress = Callable[[int, int], None]
"""Hears how many bytes of the bundle are written, and how many it will have."""

_PLAN_FILE: Final = "plan.sha256"
_SPARE_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class UnfinishedBundle:
    """What is written so far, beside `target`; `digest` stands for all that decides the bytes."""

    target: Path
    shards: tuple[PlannedShard, ...]
    digest: str

    @property
    def folder(self) -> Path:
        """Where the files lie until the bundle is whole."""
        return self.target.absolute().with_name(f".{self.target.name}.unfinished")

    def shard_path(self, number: int) -> Path:
        """The file of shard `number`, from 0; it is there once it is whole."""
        return self.folder / shard_name(number, len(self.shards))

    def open(self) -> None:
        """Make the folder, or go on with it. Raises ConfigurationError where there is no room or no right."""
        plan = self.folder / _PLAN_FILE
        if self.folder.exists() and (not plan.exists() or plan.read_text() != self.digest):
            raise ConfigurationError(
                f"{self.folder}: holds the beginning of another bundle: remove it, or write elsewhere"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            plan.write_text(self.digest)
            self._check_room(shutil.disk_usage(self.folder).free)
        except OSError as error:
            raise ConfigurationError(f"{self.folder}: cannot be written: {error.strerror}") from error

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Write the index, the hashes and these files, and move everything to `target`."""
        for name, content in {INDEX_FILE: index_json(self.shards), **files}.items():
            (self.folder / name).write_bytes(content)
        paths = [self.shard_path(number) for number in range(len(self.shards))]
        self._write_hashes(paths)
        for path in paths:
            digests_path(path).unlink(missing_ok=True)
        (self.folder / _PLAN_FILE).unlink()
        self.folder.replace(self.target)

    def _check_room(self, free: int) -> None:
        sizes = {number: shard.nbytes for number, shard in enumerate(self.shards)}
        missing = sum(size for number, size in sizes.items() if not self.shard_path(number).exists())
        if missing and missing + _SPARE_BYTES > free:
            raise ConfigurationError(
                f"{self.folder}: {missing / 1e9:.2f} GB are to be written, {free / 1e9:.2f} GB are free"
            )

    def _write_hashes(self, paths: Sequence[Path]) -> None:
        if (self.folder / HASHES_FILE).exists():  # of an earlier run, which may have removed the digests
            return
        digests = {name: parts for path in paths for name, parts in read_digests(path).items()}
        draft = self.folder / f".{HASHES_FILE}"
        draft.write_bytes(TensorHashes(dict(sorted(digests.items()))).to_json())
        draft.replace(self.folder / HASHES_FILE)


def check_target(target: Path) -> None:
    """Raises ConfigurationError for a directory that something lies in."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target}: already there, expected a new or an empty directory")
