"""Objects of a cache, put into memory one behind the other in the order of their first requests."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np

from perfmodel.constants import PAGE_BYTES
from perfmodel.traces.accesses import BLOCK, Words

_ALIGNMENT = 16


class Shelf:
    """Where every object stands, and the accesses that requests for them are."""

    def __init__(self) -> None:
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._end = 0
        self._waiting: list[int] = []

    def request(self, name: Hashable, size: int, *, write: bool = False) -> Iterator[Words]:
        """Go to all pages of an object, which is as large as its first request said.

        Yields accesses now and then; `rest` has what is left.
        """
        place = self._places.get(name)
        if place is None:
            place = (self._end // PAGE_BYTES, (self._end + size - 1) // PAGE_BYTES)
            self._end += -(-size // _ALIGNMENT) * _ALIGNMENT
            self._places[name] = place
            write = True
        first, last = place
        if last - first < BLOCK:
            self._waiting.extend(range(first * 2 + write, last * 2 + 2, 2))
        else:
            yield from self.rest()
            for page in range(first, last + 1, BLOCK):
                pages = np.arange(page, min(page + BLOCK, last + 1), dtype=np.int64)
                yield pages * 2 + write
        if len(self._waiting) >= BLOCK:
            yield from self.rest()

    def rest(self) -> Iterator[Words]:
        """What has not been yielded yet."""
        if self._waiting:
            yield np.array(self._waiting, dtype=np.int64)
            self._waiting = []
