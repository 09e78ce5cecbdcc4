"""Compiled libraries beside other native sources than they were compiled from."""

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from jangtq_kernels import cpu_library
from jangtq_kernels.backends import open_backend
from jangtq_kernels.errors import StaleLibraryError
from jangtq_kernels.native_layout import check_layout
from jangtq_kernels.source_digest import digest_of, load_library
from tests.support.native_programs import compile_native

LOADED: dict[ModuleType, Callable[[], object]] = {
    cpu_library: cpu_library.native_library.__wrapped__,
}


def install(module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its library and of the sources beside it, which may be changed; returns where these are."""
    original = Path(module.LIBRARY)
    shutil.copy(original, folder)
    monkeypatch.setattr(module, "LIBRARY", folder / original.name)
    return Path(shutil.copytree(original.parent / "native", folder / "native"))


@pytest.mark.parametrize("module", LOADED, ids=lambda module: module.__name__)
def test_a_library_of_other_sources_is_refused(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = install(module, tmp_path, monkeypatch)
    assert LOADED[module]() is not None
    header = next(native.glob("*.h"))
    header.write_text(header.read_text() + "\n")
    with pytest.raises(StaleLibraryError) as caught:
        LOADED[module]()
    assert str(caught.value).startswith(
        f"{module.LIBRARY} was compiled from other sources than those installed"
    )
    assert "install jangtq-cluster again" in str(caught.value)


@pytest.mark.parametrize("module", LOADED, ids=lambda module: module.__name__)
def test_an_installation_without_sources_works(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(install(module, tmp_path, monkeypatch))
    assert LOADED[module]() is not None


def test_a_library_from_before_there_were_digests_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "native/empty.cpp"
    source.parent.mkdir()
    source.touch()
    library = Path(shutil.copy(compile_native("old", [source], "-shared", "-fPIC"), tmp_path / "old.so"))
    with pytest.raises(StaleLibraryError, match=r"old\.so was compiled from other sources"):
        load_library(library)


def test_auto_does_not_hide_a_library_of_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    (install(cpu_library, tmp_path, monkeypatch) / "experts.h").unlink()
    cpu_library.native_library.cache_clear()
    try:
        with pytest.raises(StaleLibraryError):
            open_backend("auto", threads=1)
    finally:
        cpu_library.native_library.cache_clear()


def test_names_and_content_of_sources_count(tmp_path: Path) -> None:
    assert digest_of([tmp_path]) is None
    (tmp_path / "below").mkdir()
    header = tmp_path / "below/a.h"
    header.write_text("int x;")
    known = digest_of([tmp_path])
    assert known is not None and digest_of([tmp_path, tmp_path]) != known
    (tmp_path / "notes.txt").write_text("no source")
    assert digest_of([tmp_path]) == known
    header.write_text("int y;")
    assert digest_of([tmp_path]) != known
    header.write_text("int x;")
    header.rename(tmp_path / "a.h")
    assert digest_of([tmp_path]) != known


def test_a_structure_that_differs_is_refused() -> None:
    class Call(ctypes.Structure):
        _fields_ = [*cpu_library.Call._fields_[1:], cpu_library.Call._fields_[0]]

    functions = cpu_library.native_library().functions
    check_layout(functions, cpu_library.Call)
    with pytest.raises(StaleLibraryError, match="JangtqCall is "):
        check_layout(functions, Call)
