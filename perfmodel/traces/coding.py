"""Rows of whole numbers as few bytes: differences, in as many byte planes as they take.

Differences of neighbours are small, or come again and again; what the planes then still say twice
is left to the compressor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WORD_BYTES = 8
_SIGN = 63


def encode(values: npt.NDArray[np.int64]) -> bytes:
    """The values as one byte that says how many planes follow, and the planes."""
    with np.errstate(over="ignore"):
        differences = np.diff(values, prepend=np.int64(0))
    folded = ((differences << 1) ^ (differences >> _SIGN)).view(np.uint64)
    largest = int(folded.max()) if folded.size else 0
    planes = -(-largest.bit_length() // 8)
    rows = folded.astype("<u8").view(np.uint8).reshape(-1, _WORD_BYTES)
    return bytes([planes]) + np.ascontiguousarray(rows[:, :planes].T).tobytes()


def encoded_bytes(content: bytes, offset: int, count: int) -> int:
    """How long the coded form of `count` values at an offset is; -1 if there is none."""
    if offset >= len(content) or content[offset] > _WORD_BYTES:
        return -1
    length = 1 + content[offset] * count
    return length if offset + length <= len(content) else -1


def decode(content: bytes, offset: int, count: int) -> npt.NDArray[np.int64]:
    """The `count` values whose coded form begins at an offset and is whole."""
    planes = content[offset]
    rows = np.zeros((count, _WORD_BYTES), dtype=np.uint8)
    coded = np.frombuffer(content, dtype=np.uint8, count=planes * count, offset=offset + 1)
    rows[:, :planes] = coded.reshape(planes, count).T
    folded = rows.view("<u8").reshape(count).astype(np.uint64, copy=False)
    differences = (folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)
    return np.cumsum(differences, dtype=np.int64)
