"""Pointer chases through memory of this machine, with 4 KiB and with 2 MiB pages.

Needs no root and changes no setting: it maps memory, advises the kernel on its page size, and looks
whether the kernel did so. Every page has one line in the chain, the same as in
`perfmodel.studies.latency.one_line_per_page`.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.constants import CACHE_LINES_PER_PAGE, PAGE_BYTES, PMD_BYTES
from perfmodel.errors import CapabilityError
from perfmodel.host import available_memory_bytes, facts
from perfmodel.kernels import chase as kernels
from perfmodel.kernels.touch import reference_loop
from perfmodel.measure import linux
from perfmodel.measure.mapped import AIR_BYTES as _AIR_BYTES
from perfmodel.measure.mapped import huge_bytes as _huge_bytes
from perfmodel.measure.mapped import mapped as _mapped
from perfmodel.results.chase import ChaseMeasurement, ChasePoint
from perfmodel.specs.translation import PageSize
from perfmodel.studies.latency import staggered_lines
from perfmodel.units import format_bytes

DEFAULT_PAGES = tuple(1 << power for power in range(4, 17))
DEFAULT_SECONDS = 20.0
MOST_PAGES = 1 << 20
_WORDS_PER_LINE = 8
_LEAST_LOADS = 1 << 14
_REFERENCE_TURNS = 20_000
_ROUNDS = 4
_MOST_REPETITIONS = 50  # in one round


@attrs.define
class _Timed:
    loads: int
    times: list[float] = attrs.field(factory=list)
    references: list[float] = attrs.field(factory=list)


def first_words(pages: int) -> npt.NDArray[np.uint64]:
    """Where the chain's word of each page stands."""
    numbers = np.arange(pages)
    lines = numbers * CACHE_LINES_PER_PAGE + staggered_lines(numbers)
    return (lines * _WORDS_PER_LINE).astype(np.uint64)


def _time_round(
    words: npt.NDArray[np.uint64], pages: int, timed: _Timed, seconds: float, seed: int
) -> None:
    """Link one random cycle and follow it for a while; whole rounds in each repetition."""
    cycle = np.random.default_rng(seed).permutation(pages).astype(np.uint64)
    places = first_words(pages)
    kernels.link(words, places, cycle)
    blocks = timed.loads // kernels.UNROLLED
    place = kernels.chase(words, places[0], blocks)
    end = time.perf_counter() + seconds
    for _ in range(_MOST_REPETITIONS):
        begin = time.perf_counter_ns()
        reference_loop(_REFERENCE_TURNS)
        middle = time.perf_counter_ns()
        place = kernels.chase(words, np.uint64(place), blocks)
        done = time.perf_counter_ns()
        timed.references.append(float(middle - begin))
        timed.times.append(float(done - middle))
        if time.perf_counter() > end:
            break


def _compile() -> None:
    words = np.zeros(CACHE_LINES_PER_PAGE * _WORDS_PER_LINE * 2 * 8, dtype=np.uint64)
    kernels.link(words, first_words(8), np.arange(8, dtype=np.uint64))
    kernels.chase(words, np.uint64(0), 1)
    reference_loop(1)


def time_loads(pages: int, page_size: PageSize, rounds: int, seed: int = 1) -> float:
    """Seconds for following one random cycle through so many pages, so many times.

    Raises
    ------
    CapabilityError
        If the kernel gives no pages of that size.
    """
    if page_size not in (PageSize.SIZE_4K, PageSize.SIZE_2M):
        raise CapabilityError(f"no memory is mapped by pages of {page_size} here")
    size = -(-pages * PAGE_BYTES // PMD_BYTES) * PMD_BYTES
    huge = page_size is PageSize.SIZE_2M
    advice = linux.MADV_HUGEPAGE if huge else linux.MADV_NOHUGEPAGE
    _compile()
    with _mapped(size, [(0, size, advice)]) as (address, words):
        if _huge_bytes(address, size) != (size if huge else 0):
            raise CapabilityError(f"the memory is not mapped by pages of {page_size}")
        timed = _Timed(rounds * pages)
        _time_round(words, pages, timed, 0.0, seed)
        del words
    return timed.times[0] / 1e9


def measure_chase(
    pages: tuple[int, ...] = DEFAULT_PAGES,
    *,
    seconds: float = DEFAULT_SECONDS,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ChaseMeasurement:
    """Measure chases over so many pages of 4 KiB, mapped by 4 KiB and then by 2 MiB pages.

    Working sets take turns in several rounds, each with another cycle, so that what disturbs the
    machine for a while does not hit one of them alone.

    Parameters
    ----------
    pages : tuple of int
        Multiples of 8.
    seconds : float
        About how long it may take in all.
    seed : int
    progress : callable
        Called with points done and in all.

    Raises
    ------
    CapabilityError
        If memory is too low, or the kernel gives no pages of either size.
    """
    if not pages or any(count % kernels.UNROLLED or not 0 < count <= MOST_PAGES for count in pages):
        raise ValueError(f"pages must be multiples of {kernels.UNROLLED}, at most {MOST_PAGES}")
    size = -(-max(pages) * PAGE_BYTES // PMD_BYTES) * PMD_BYTES
    if size + _AIR_BYTES > available_memory_bytes():
        raise CapabilityError(
            f"a chase over {max(pages)} pages takes {format_bytes(size + _AIR_BYTES)} of memory "
            f"and {format_bytes(available_memory_bytes())} are available; ask for fewer pages"
        )
    _compile()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    points: list[ChasePoint] = []
    skipped: list[str] = []
    each = seconds / (2 * _ROUNDS * len(pages))
    done = 0
    for page_size, advice in (
        (PageSize.SIZE_4K, linux.MADV_NOHUGEPAGE),
        (PageSize.SIZE_2M, linux.MADV_HUGEPAGE),
    ):
        try:
            with _mapped(size, [(0, size, advice)]) as (address, words):
                huge = _huge_bytes(address, size)
                if huge != (size if page_size is PageSize.SIZE_2M else 0):
                    skipped.append(
                        f"{page_size}: {format_bytes(huge)} of {format_bytes(size)} are THPs; "
                        "enable THP with madvise and free memory"
                    )
                    continue
                timed = {count: _Timed(max(1, _LEAST_LOADS // count) * count) for count in pages}
                for turn in range(_ROUNDS):
                    for count in pages:
                        _time_round(words, count, timed[count], each, seed + turn)
                        done += 1
                        progress(done, 2 * _ROUNDS * len(pages))
                del words
        except linux.LinuxCallError as error:
            skipped.append(f"{page_size}: {error}")
            continue
        points += [
            ChasePoint(
                pages=count,
                page_size=page_size,
                loads=found.loads,
                repetitions_ns=tuple(found.times),
                reference_ns=tuple(found.references),
            )
            for count, found in timed.items()
        ]
    if not points:
        raise CapabilityError(skipped)
    return ChaseMeasurement(
        host=facts(), started=started, points=tuple(points), skipped=tuple(skipped)
    )
