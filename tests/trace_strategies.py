"""Hypothesis strategies for traces: words, files of ours, and what may happen to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.traces.accesses import Accesses, Words
from perfmodel.traces.importing import save_accesses

MOST_PAGE = 1 << 51


class ListedAccesses(Accesses):
    """Accesses that a test names."""

    def __init__(self, words: list[int], pages: int) -> None:
        self._words = np.array(words, dtype=np.int64)
        self.pages, self.accesses = pages, len(words)

    def fill_words(self, first: int, words: Words) -> None:
        words[:] = self._words[first : first + words.size]


words = st.lists(st.integers(0, 4000) | st.integers(0, 2 * MOST_PAGE - 1), min_size=1, max_size=60)


def saved(listed: list[int], path: Path) -> Path:
    """A file of ours with these accesses."""
    pages = (max(listed) // 2 // PAGES_PER_PMD + 1) * PAGES_PER_PMD
    save_accesses(ListedAccesses(listed, pages), path, head={"description": "a test's"})
    return path


def compacted(listed: list[int]) -> list[int]:
    """Words over the region: 2 MiB ranges that come up, in the order of their addresses."""
    span = 2 * PAGES_PER_PMD
    ranges = sorted({word // span for word in listed})
    return [ranges.index(word // span) * span + word % span for word in listed]
