"""Codes in uint32 words: 32 // bits codes a word, the first in the lowest bits. Every row starts a word."""

import numpy as np
from numpy.typing import NDArray


def codes_per_word(bits: int) -> int:
    """16, 10 or 8 codes of 2, 3 or 4 bits."""
    return 32 // bits


def pack(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint32]:
    """[..., in] codes to [..., ceil(in / codes a word)] words; the last word is filled up with zeros."""
    per_word = codes_per_word(bits)
    missing = -codes.shape[-1] % per_word
    padded = np.pad(codes.astype(np.uint32), [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    lanes = padded.reshape(*codes.shape[:-1], -1, per_word)
    words: NDArray[np.uint32] = np.bitwise_or.reduce(lanes << _shifts(bits), axis=-1)
    return words


def unpack(words: NDArray[np.uint32], bits: int, in_features: int) -> NDArray[np.uint8]:
    """[..., words] to [..., in_features] codes."""
    lanes = (words[..., None] >> _shifts(bits)) & np.uint32((1 << bits) - 1)
    return lanes.reshape(*words.shape[:-1], -1)[..., :in_features].astype(np.uint8)


def _shifts(bits: int) -> NDArray[np.uint32]:
    return np.arange(codes_per_word(bits), dtype=np.uint32) * np.uint32(bits)
