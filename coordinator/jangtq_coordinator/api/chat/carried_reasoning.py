"""Reasoning that a client keeps without reading it: as Anthropic's signature or OpenAI's encrypted content.

It is packed, not secret: who asked for it may read it.
"""

import binascii
import hashlib
import zlib
from base64 import b64decode, b64encode
from typing import Final

_PACKED: Final = "reasoning:"
_MOST_BYTES: Final = 2**20


def pack(reasoning: str) -> str:
    """Text from which `unpack` reads the reasoning again."""
    return _PACKED + b64encode(zlib.compress(reasoning.encode())).decode()


def unpack(packed: str) -> str:
    """The reasoning; empty for what is of another server."""
    if not packed.startswith(_PACKED):
        return ""
    try:
        data = b64decode(packed.removeprefix(_PACKED), validate=True)
        return zlib.decompressobj().decompress(data, _MOST_BYTES).decode(errors="replace")
    except (binascii.Error, zlib.error):
        return ""


def digest(reasoning: str) -> str:
    """A signature that carries nothing: clients give thinking back only with one."""
    return hashlib.sha256(reasoning.encode()).hexdigest()
