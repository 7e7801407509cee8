"""What a trace is like: how much it uses, how often it comes back, and how densely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import PAGE_BYTES, PAGES_PER_PMD
from perfmodel.kernels.stacks import POSITIONS_PER_WORD, measure_reuse
from perfmodel.traces.accesses import Accesses

_COLUMNS, _ROWS = 240, 160
_LEAST_POSITIONS = 1024
_MOST_PAGES = 1 << 28
_SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)
Counts = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class TraceStatistics:
    """What a trace is like.

    Parameters
    ----------
    accesses, writes : int
    pages, written_pages : int
        How many different ones are accessed, and written.
    distances : int64 array, shape (pages,)
        Accesses by the number of different other pages since the last one to the same page: an LRU
        memory of m pages has a hit where that is below m.
    touched : int64 array, shape (2 MiB ranges,)
        How many of its 512 pages each range has accessed, in the order of addresses.
    map : int64 array, shape (rows, columns)
        Accesses by where (the first row is that of the lowest addresses) and when.
    """

    accesses: int
    writes: int
    pages: int
    written_pages: int
    distances: Counts
    touched: Counts
    map: Counts

    @property
    def ranges(self) -> int:
        """2 MiB ranges that hold at least one accessed page."""
        return int(np.count_nonzero(self.touched))

    def misses(self) -> Counts:
        """Misses of LRU memories of 0, 1, 2 ... pages, first accesses included."""
        return self.accesses - np.concatenate(([0], np.cumsum(self.distances)))

    def to_json(self) -> dict[str, Any]:
        """What `perfmodel trace stat --json` prints."""
        misses = self.misses()
        exponents = range(max(1, self.pages).bit_length() + 1)
        used = self.touched[self.touched > 0]
        return {
            "accesses": self.accesses,
            "writes": self.writes,
            "footprint": {
                "pages": self.pages,
                "bytes": self.pages * PAGE_BYTES,
                "written_pages": self.written_pages,
                "ranges_2mib": self.ranges,
                "region_bytes": self.touched.size * PAGES_PER_PMD * PAGE_BYTES,
            },
            "reuse_distance": {
                "first_accesses": self.pages,
                "quantiles_pages": self.quantiles(),
                "log2_histogram": [int(count) for count in _by_power(self.distances)],
            },
            "lru_misses": [
                {"pages": size, "misses": int(misses[min(size, misses.size - 1)])}
                for size in (1 << exponent for exponent in exponents)
            ],
            "lru_misses_by_share": [
                {"share": share, "misses": int(misses[round(share * self.pages)])}
                for share in _SHARES
            ],
            "touched_pages_per_2mib": {
                "mean": float(used.mean()) if used.size else 0.0,
                "histogram_of_64": np.histogram(used, bins=range(1, 577, 64))[0].tolist(),
                "all_512": int(np.count_nonzero(used == PAGES_PER_PMD)),
            },
        }

    def quantiles(self) -> dict[str, int]:
        """Reuse distances, in pages, that a share of the repeated accesses stays at or below."""
        cumulative = np.cumsum(self.distances)
        if not cumulative.size or not cumulative[-1]:
            return {}
        return {
            f"{share:g}": int(np.searchsorted(cumulative, share * cumulative[-1]))
            for share in (0.5, 0.9, 0.99)
        }


def _by_power(distances: Counts) -> list[int]:
    """Counts of the distances 0, 1, 2 to 3, 4 to 7 ..."""
    edges = [0, *(1 << power for power in range(distances.size.bit_length()))]
    return [
        int(distances[first:end].sum())
        for first, end in zip(edges, [*edges[1:], distances.size], strict=True)
    ]


def trace_statistics(
    trace: Accesses, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> TraceStatistics:
    """Go through a trace once.

    Takes O(log m) for each access over m different pages, and memory in proportion to the region.
    """
    pages = trace.pages
    if pages > _MOST_PAGES:
        raise ValueError(f"a region of more than {_MOST_PAGES} pages")
    words = -(-max(2 * pages, _LEAST_POSITIONS) // POSITIONS_PER_WORD)
    last = np.full(pages, -1, dtype=np.int64)
    owners = np.zeros(words * POSITIONS_PER_WORD, dtype=np.int64)
    live, sums = np.zeros(words, dtype=np.uint64), np.zeros(words + 1, dtype=np.int64)
    reached = np.zeros(2, dtype=np.int64)
    counts = np.zeros(pages + 1, dtype=np.int64)
    written = np.zeros(pages, dtype=np.bool_)
    ranges = -(-pages // PAGES_PER_PMD)
    rows = min(_ROWS, pages)
    grid = np.zeros((rows, _COLUMNS), dtype=np.int64)
    writes = done = 0
    for block in trace.blocks_of_words():
        is_write = block & 1 == 1
        writes += int(np.count_nonzero(is_write))
        block >>= 1
        written[block[is_write]] = True
        distances = np.empty(block.size, dtype=np.int64)
        measure_reuse(block, np.int64(0), last, owners, live, sums, reached, distances)
        # The last place counts first accesses, whose distance is -1.
        counts += np.bincount(distances % (pages + 1), minlength=pages + 1)
        when = (done + np.arange(block.size)) * _COLUMNS // trace.accesses
        np.add.at(grid, (block * rows // pages, when), 1)
        done += block.size
        progress(done, trace.accesses)
    seen = last >= 0
    touched = np.zeros(ranges * PAGES_PER_PMD, dtype=np.int64)
    touched[:pages] = seen
    return TraceStatistics(
        accesses=done,
        writes=writes,
        pages=int(counts[pages]),
        written_pages=int(written.sum()),
        distances=counts[: int(counts[pages])],
        touched=touched.reshape(ranges, PAGES_PER_PMD).sum(axis=1),
        map=grid,
    )
