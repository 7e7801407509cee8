"""Load-to-use latency of a random pointer chase over a working set, predicted for a machine.

The translation simulator of docs/translation.md runs the chase's own addresses. Two of its
simplifications show where a working set is about as large as a cache: its data caches are LRU, so
that a cycle a little larger than a cache never hits in it, which caches that are made to resist
just that do not do; and its memory is contiguous, so that all sets fill alike. `Order.DRAWN` and
`WorkingSet.scatter` take the one and the other away; docs/latency.md says what that explains.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import CACHE_LINES_PER_PAGE, PAGE_BYTES
from perfmodel.models.translation import TranslationCounts, TranslationSimulation, map_window
from perfmodel.specs.quantity import Quantity
from perfmodel.specs.translation import PageSize, Translation

LINE_BYTES = PAGE_BYTES // CACHE_LINES_PER_PAGE
DEFAULT_ACCESSES = 1 << 17
_BATCHES = 16
# So much of the caches is filled before counting, in their own size.
_FILL = 1.25
_MOST_PLACES = 1 << 28
DEFAULT_SIZES = tuple(1 << power for power in range(14, 30))
_SPREAD_CUT = 3.0


class Order(StrEnum):
    """In which order the places of a working set are visited."""

    CYCLE = "cycle"  # one random cycle through all places, over and over: a real chase
    DRAWN = "drawn"  # every place drawn anew
    PAGE_LOCAL = "page-local"  # a cycle of pages; all places of a page at random before the next
    PAGE_LOCAL_DRAWN = "page-local-drawn"  # the same with every page drawn anew


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1")


@attrs.frozen
class WorkingSet:
    """Lines that a chase visits.

    Parameters
    ----------
    places : int
        How many lines.
    stride_lines : int
        From one to the next.
    staggered : bool
        For a stride of one page: the line within the page moves with the page, in such a way that
        any 64 pages in a row use each line number once, and any 2048 pages every set of a cache
        of 2048 sets once.
    scatter : int
        1: the pages lie behind one another. Larger: at random in so many times as much memory, as
        pages do that an operating system hands out one by one. The simulator's physical memory
        is as its virtual one, so that page tables are then sparser, too.
    """

    places: int = attrs.field(validator=_positive)
    stride_lines: int = attrs.field(default=1, validator=_positive)
    staggered: bool = False
    scatter: int = attrs.field(default=1, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.places > _MOST_PLACES:
            raise ValueError(f"at most {_MOST_PLACES} places")

    @property
    def size_bytes(self) -> int:
        """All places in whole strides."""
        return self.places * self.stride_lines * LINE_BYTES

    @property
    def window_bytes(self) -> int:
        """Memory that holds them, with what lies between scattered pages."""
        return -(-self.size_bytes // PAGE_BYTES) * PAGE_BYTES * self.scatter

    def lines(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Line numbers of places."""
        lines = places * self.stride_lines
        if self.staggered:
            lines = lines + staggered_lines(places)
        if self.scatter == 1:
            return lines
        pages = _scattered_pages(-(-self.size_bytes // PAGE_BYTES), self.scatter)
        page, line = np.divmod(lines, CACHE_LINES_PER_PAGE)
        return pages[page] * CACHE_LINES_PER_PAGE + line


@lru_cache(maxsize=1)
def _scattered_pages(pages: int, scatter: int) -> npt.NDArray[np.int64]:
    """Where each page lies, among `scatter` times as many; the same for the same numbers."""
    return np.random.default_rng(pages).choice(pages * scatter, pages, replace=False)


def staggered_lines(pages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The line within each page that a chase with one line a page uses."""
    return (pages + pages // CACHE_LINES_PER_PAGE) % CACHE_LINES_PER_PAGE


def every_stride(size_bytes: int, stride_bytes: int = LINE_BYTES) -> WorkingSet:
    """A buffer of which every stride holds one place."""
    if stride_bytes % LINE_BYTES or stride_bytes < LINE_BYTES:
        raise ValueError(f"stride must be a multiple of {LINE_BYTES} bytes")
    if size_bytes < stride_bytes:
        raise ValueError("size must be at least one stride")
    return WorkingSet(size_bytes // stride_bytes, stride_bytes // LINE_BYTES)


def one_line_per_page(pages: int) -> WorkingSet:
    """Pages of 4 KiB with one line used of each, what `perfmodel.measure.chase` measures."""
    return WorkingSet(pages, CACHE_LINES_PER_PAGE, staggered=True)


@attrs.frozen
class Latency:
    """Predicted latency of one working set.

    Parameters
    ----------
    size_bytes : int
    ns : float
        Mean of an access.
    standard_error_ns : float
        What the bounded length of the trace leaves open, from the means of 16 parts of it.
    translation_ns : float
        The part that the STLB and walks have in `ns`.
    walks_per_access : float
    """

    size_bytes: int
    ns: float
    standard_error_ns: float
    translation_ns: float
    walks_per_access: float


def _visits(
    places: int, warm_up: int, accesses: int, drawn: bool, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places visited for warming up and counted: of a random cycle, in whole rounds if it is short.

    Drawn places follow a cycle too: under LRU it is as good a past as any.
    """
    if places <= warm_up + accesses:
        first = generator.permutation(places)
        counted = np.tile(first, max(1, accesses // places))
    else:
        part = generator.choice(places, warm_up + accesses, replace=False)
        first, counted = part[:warm_up], part[warm_up:]
    return first, generator.integers(places, size=accesses) if drawn else counted


def _trace(
    working_set: WorkingSet, order: Order, warm_up: int, accesses: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lines for warming up, and lines that are counted."""
    generator = np.random.default_rng(seed)
    drawn = order in (Order.DRAWN, Order.PAGE_LOCAL_DRAWN)
    places = working_set.places
    if order in (Order.CYCLE, Order.DRAWN):
        first, counted = _visits(places, warm_up, accesses, drawn, generator)
        return working_set.lines(first), working_set.lines(counted)
    per_page = min(max(1, CACHE_LINES_PER_PAGE // working_set.stride_lines), places)

    def spread_out(pages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        within = np.tile(np.arange(per_page), (pages.size, 1))
        return working_set.lines(
            (pages[:, None] * per_page + generator.permuted(within, axis=1)).reshape(-1)
        )

    first, counted = _visits(
        places // per_page, -(-warm_up // per_page), -(-accesses // per_page), drawn, generator
    )
    return spread_out(first), spread_out(counted)


def predict_chase(
    translation: Translation,
    working_set: WorkingSet,
    *,
    page_size: PageSize | str = PageSize.SIZE_4K,
    order: Order = Order.CYCLE,
    host_page_size: PageSize | str | None = None,
    accesses: int = DEFAULT_ACCESSES,
    seed: int = 1,
) -> Latency:
    """Mean latency of a chase in its steady state.

    Parameters
    ----------
    translation : Translation
    working_set : WorkingSet
    page_size : PageSize
        The working set's; its pages are not contiguous.
    order : Order
    host_page_size : PageSize, optional
        As a guest on a host with such pages.
    accesses : int
        About how many are counted. Before them the caches are filled with 1.25 times their size,
        or with the whole working set where that is less.
    seed : int

    Returns
    -------
    Latency
    """
    capacity = sum(int(cache.size_bytes.value) for cache in translation.caches) // LINE_BYTES
    warm_up = max(int(_FILL * capacity), accesses)
    first, counted = _trace(working_set, Order(order), warm_up, accesses, seed)
    simulation = TranslationSimulation(
        translation, map_window(working_set.window_bytes, page_size), host_page_size=host_page_size
    )
    simulation.run(first, line_numbers=True)
    parts = [
        simulation.run(part, line_numbers=True)
        for part in np.array_split(counted, min(_BATCHES, counted.size))
    ]
    return _summed(working_set.size_bytes, parts)


def _summed(size_bytes: int, parts: list[TranslationCounts]) -> Latency:
    means = np.array([part.elapsed_ps / part.accesses for part in parts]) / 1000
    accesses = sum(part.accesses for part in parts)
    error = float(means.std(ddof=1) / np.sqrt(means.size)) if means.size > 1 else 0.0
    translating = sum(part.stlb_ps + part.walk_ps for part in parts)
    return Latency(
        size_bytes=size_bytes,
        ns=sum(part.elapsed_ps for part in parts) / accesses / 1000,
        standard_error_ns=error,
        translation_ns=translating / accesses / 1000,
        walks_per_access=sum(sum(part.walks.values()) for part in parts) / accesses,
    )


def predict_sizes(
    translation: Translation,
    sizes: tuple[int, ...] = DEFAULT_SIZES,
    *,
    accesses: int = DEFAULT_ACCESSES,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[PageSize, list[Latency]]:
    """Chases through every line of buffers of some sizes, with 4 KiB and with 2 MiB pages."""
    found: dict[PageSize, list[Latency]] = {PageSize.SIZE_4K: [], PageSize.SIZE_2M: []}
    for page_size, row in found.items():
        for size in sizes:
            row.append(
                predict_chase(
                    translation,
                    every_stride(size),
                    page_size=page_size,
                    accesses=accesses,
                    seed=seed,
                )
            )
            progress(sum(map(len, found.values())), len(found) * len(sizes))
    return found


def draw_translation(translation: Translation, generator: np.random.Generator) -> Translation:
    """Hardware drawn from the spreads of its numbers.

    Numbers are normal, cut off at three spreads and at zero. Arrays are drawn in whole sets, with
    the ways that the file says, so that what is drawn can be built.
    """

    def drawn(quantity: Quantity, least: float = 0.0) -> Quantity:
        turn = float(np.clip(generator.standard_normal(), -_SPREAD_CUT, _SPREAD_CUT))
        return attrs.evolve(quantity, value=max(quantity.value + turn * quantity.spread, least))

    def in_sets(entries: Quantity, set_size: int) -> Quantity:
        # A tenth of the best value is the least: an array may be small, but it is there.
        sets = max(1, round(drawn(entries, least=0.1 * entries.value).value / set_size))
        return attrs.evolve(entries, value=float(sets * set_size))

    walk = translation.walk
    return attrs.evolve(
        translation,
        stlb_hit_ns=drawn(translation.stlb_hit_ns),
        dram_ns=drawn(translation.dram_ns),
        tlbs=tuple(
            attrs.evolve(tlb, entries=in_sets(tlb.entries, int(tlb.ways.value)))
            for tlb in translation.tlbs
        ),
        walk=attrs.evolve(
            walk,
            nested_entries=in_sets(walk.nested_entries, int(walk.nested_ways.value)),
            caches=tuple(
                attrs.evolve(cache, entries=in_sets(cache.entries, int(cache.ways.value)))
                for cache in walk.caches
            ),
        ),
        caches=tuple(
            attrs.evolve(
                cache,
                size_bytes=in_sets(cache.size_bytes, LINE_BYTES * int(cache.ways.value)),
                latency_ns=drawn(cache.latency_ns),
            )
            for cache in translation.caches
        ),
    )
