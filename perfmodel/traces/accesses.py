"""What a program does to the pages of one region, in the form that all worlds and files share.

An access is one int64, its *word*: 2 x page + (1 for a write). Pages count from the region's first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 16
Words = npt.NDArray[np.int64]


class Accesses(ABC):
    """Accesses to the pages of one region, any number of them, made or read in blocks.

    Attributes
    ----------
    pages : int
        Pages of the region.
    accesses : int
        How many accesses there are.
    """

    pages: int
    accesses: int

    @abstractmethod
    def fill_words(self, first: int, words: Words) -> None:
        """Write the accesses from number `first` on into an array."""

    def fill(self, first: int, block: Words) -> None:
        """Write the pages of the accesses from number `first` on into an array."""
        self.fill_words(first, block)
        block >>= 1

    def block(self, first: int, count: int) -> Words:
        """Pages of `count` accesses from number `first` on."""
        found = np.empty(count, dtype=np.int64)
        self.fill(first, found)
        return found

    def words(self, first: int, count: int) -> Words:
        """`count` accesses from number `first` on."""
        found = np.empty(count, dtype=np.int64)
        self.fill_words(first, found)
        return found

    def blocks_of_words(self) -> Iterator[Words]:
        """All accesses, a block after the other; each is valid until the next one is asked for."""
        room = np.empty(min(BLOCK, self.accesses), dtype=np.int64)
        for first in range(0, self.accesses, BLOCK):
            block = room[: min(BLOCK, self.accesses - first)]
            self.fill_words(first, block)
            yield block

    def blocks(self) -> Iterator[Words]:
        """Pages of all accesses, a block after the other, as `blocks_of_words`."""
        for block in self.blocks_of_words():
            block >>= 1
            yield block

    def all_pages(self) -> Words:
        """Pages of all accesses in one array."""
        return self.block(0, self.accesses)

    def all_words(self) -> Words:
        """All accesses in one array."""
        return self.words(0, self.accesses)
