"""What the measured pages hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD

_SEED = 20261122
_PATTERN_BYTES = 64
_WORD_BYTES = 8


def make_content(kind: str) -> npt.NDArray[np.int64]:
    """2 MiB of page content, every page distinct but those of zeros.

    Words are never negative: the touch loop needs their top bit to be 0, see `touch_pages`.

    Parameters
    ----------
    kind : str
        ``half-random`` is random in the first half of every page and zero in the second;
        ``compressible`` repeats 64 random bytes (zram keeps pages that repeat one word without
        compressing them); ``same-filled`` is such pages; ``one-non-zero`` has something in its
        last page only.
    """
    content = np.zeros((PAGES_PER_PMD, PAGE_BYTES), dtype=np.uint8)
    generator = np.random.Generator(np.random.Philox(_SEED))

    def random(size: int) -> npt.NDArray[np.uint8]:
        found = generator.integers(0, 256, (PAGES_PER_PMD, size), dtype=np.uint8)
        found[:, 7::8] &= 0x7F
        return found

    if kind == "half-random":
        content[:, : PAGE_BYTES // 2] = random(PAGE_BYTES // 2)
    elif kind == "random":
        content[:] = random(PAGE_BYTES)
    elif kind == "compressible":
        content[:] = np.tile(random(_PATTERN_BYTES), PAGE_BYTES // _PATTERN_BYTES)
    elif kind == "same-filled":
        content[:] = np.tile(random(_WORD_BYTES), PAGE_BYTES // _WORD_BYTES)
    elif kind == "one-non-zero":
        content[-1, : PAGE_BYTES // 2] = random(PAGE_BYTES // 2)[-1]
    return content.reshape(-1).view(np.int64)
