"""The files of one bundle directory, and which of them may be opened. Knows no tensor."""

import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangtq_proto.errors import BundleError

INDEX_FILE: Final = "model.safetensors.index.json"
CONFIG_FILE: Final = "config.json"
JANG_CONFIG_FILE: Final = "jang_config.json"
SIDECAR_FILE: Final = "jangtq_runtime.safetensors"
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
VOCABULARY_FILES: Final = TOKENIZER_FILES[:3]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER: Final = 1024
"""By the specification of Git LFS."""


@dataclass(frozen=True)
class Directory:
    """A resolved directory. Links may stay inside it or lead to the blobs of a Hugging Face cache."""

    root: Path

    @classmethod
    def open(cls, path: Path) -> "Directory":
        """Raises BundleError where it is no directory, or may not be entered."""
        with _readable(path):
            if not path.is_dir():
                found = "a file" if path.exists() else "nothing"
                raise BundleError(f"{path}: found {found}, expected a JANGTQ directory")
            next(path.iterdir(), None)
            return cls(path.resolve())

    def find(self, name: str) -> Path | None:
        """The file of this name, or None. Raises BundleError for a name or a link that leads elsewhere."""
        if _PLAIN_NAME.fullmatch(name) is None:
            raise BundleError(f"file name {name!r}: expected a plain name inside the bundle directory")
        path = self.root / name
        with _readable(path):
            if not path.is_symlink() and not path.exists():
                return None
            return self._check(name, path)

    def require(self, name: str, *, reason: str) -> Path:
        """The same, but the file must be there; `reason` says who needs it."""
        path = self.find(name)
        if path is None:
            raise BundleError(f"{self.root}: {name} is missing ({reason})")
        return path

    def check_tokenizer(self) -> None:
        """Raise BundleError where no vocabulary is there, or a file of the tokenizer is not downloaded."""
        found = [name for name in TOKENIZER_FILES if self.find(name) is not None]
        if not set(found) & set(VOCABULARY_FILES):
            raise BundleError(f"{self.root}: tokenizer.json is missing (it is needed to read and write text)")

    def model_files(self) -> tuple[str, ...]:
        """Names of all `model*.safetensors`, which loaders read whether or not an index names them."""
        return tuple(sorted(path.name for path in self.root.glob("model*.safetensors")))

    def _check(self, name: str, path: Path) -> Path:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise BundleError(
                f"{self.root}: the link {name} leads nowhere: its content is not downloaded ({error})"
            ) from None
        if not any(target.is_relative_to(root) for root in self._roots()):
            raise BundleError(f"{self.root}: the link {name} leads out of the bundle, to {target}")
        if not stat.S_ISREG(target.stat().st_mode):
            raise BundleError(f"{self.root}: {name} is not a regular file")
        if _is_pointer(target):
            raise BundleError(
                f"{self.root}: {name} is not downloaded: it is a Git LFS pointer to its content; "
                "run `git lfs pull` there, or download the model anew"
            )
        return target

    def _roots(self) -> tuple[Path, ...]:
        # A Hugging Face cache keeps models--X/snapshots/REVISION with links into models--X/blobs.
        if self.root.parent.name == "snapshots":
            return (self.root, self.root.parent.parent / "blobs")
        return (self.root,)


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size >= _LONGEST_POINTER:
        return False
    return path.read_bytes().startswith(_POINTER)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refusals of the system as BundleError."""
    try:
        yield
    except PermissionError as error:
        hint = (
            "; allow Full Disk Access for the terminal in System Settings" if sys.platform == "darwin" else ""
        )
        raise BundleError(f"{path}: cannot be read ({error.strerror}){hint}") from error
