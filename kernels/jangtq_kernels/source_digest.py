"""Whether a compiled library is of the native sources installed. The build takes its digest from here."""

import ctypes
import hashlib
from collections.abc import Iterable
from pathlib import Path

from jangtq_kernels.errors import StaleLibraryError


def digest_of(folders: Iterable[Path]) -> str | None:
    """Of the C++ in these folders and below, in this order; None where a folder has none."""
    digest = hashlib.sha256()
    for folder in folders:
        sources = sorted(path for path in folder.rglob("*") if path.suffix in (".cpp", ".h", ".inl"))
        if not sources:
            return None
        for source in sources:
            name = source.relative_to(folder).as_posix()
            digest.update(f"{name}\n{source.stat().st_size}\n".encode() + source.read_bytes())
    return digest.hexdigest()


def load_library(path: Path, *headers: Path) -> ctypes.CDLL:
    """A library that was compiled from the folder `native` beside it, with headers of these folders.

    Raises StaleLibraryError where these sources are installed, too, and are others by now.
    """
    library = ctypes.CDLL(str(path))
    found = digest_of((path.parent / "native", *headers))
    if found is not None and found != _compiled_digest(library):
        raise StaleLibraryError(
            f"{path} was compiled from other sources than those installed: install jangtq-cluster again "
            "(in a checkout: pip install -e .)"
        )
    return library


def _compiled_digest(library: ctypes.CDLL) -> str | None:
    """None of libraries from before there were digests."""
    function = getattr(library, "jangtq_source_digest", None)
    if function is None:
        return None
    function.restype = ctypes.c_char_p
    return str(function().decode())
