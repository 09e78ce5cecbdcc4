"""Compares the structures that Python mirrors with what a compiled library says of its own."""

import ctypes
from typing import Any

from jangtq_kernels.errors import StaleLibraryError


class _Entry(ctypes.Structure):
    """Entry of layout.cpp; of a structure as a whole without a field."""

    _fields_ = [
        ("structure", ctypes.c_char_p),
        ("field", ctypes.c_char_p),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_int64),
    ]


Layout = dict[str | None, tuple[int, int]]
"""Offset and size of each field, and under None of the whole."""


def check_layout(library: ctypes.CDLL, *mirrors: type[ctypes.Structure]) -> None:
    """A class `Call` mirrors the structure `JangtqCall`, and has all its fields.

    Raises StaleLibraryError that names the first structure that is another one in the library.
    """
    known = _layouts(library)
    for mirror in mirrors:
        found, wanted = known.get(f"Jangtq{mirror.__name__}"), _mirrored(mirror)
        if found != wanted:
            raise StaleLibraryError(
                f"{library._name}: Jangtq{mirror.__name__} is {found} there and {wanted} in Python: "
                "install jangtq-cluster again (in a checkout: pip install -e .)"
            )


def _layouts(library: ctypes.CDLL) -> dict[str, Layout]:
    library.jangtq_layout.restype = ctypes.c_void_p
    library.jangtq_layout_entries.restype = ctypes.c_int64
    entries: Any = (_Entry * library.jangtq_layout_entries()).from_address(library.jangtq_layout())
    layouts: dict[str, Layout] = {}
    for entry in entries:
        field = entry.field.decode() if entry.field else None
        layouts.setdefault(entry.structure.decode(), {})[field] = (entry.offset, entry.size)
    return layouts


def _mirrored(mirror: type[ctypes.Structure]) -> Layout:
    layout: Layout = {None: (0, ctypes.sizeof(mirror))}
    for name, *_ in mirror._fields_:
        field = getattr(mirror, name)
        layout[name] = (field.offset, field.size)
    return layout
