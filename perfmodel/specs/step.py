"""One step of a scenario: what is done, by which process, to which part of the memory."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.constants import PAGES_PER_PMD
from perfmodel.specs.quantity import text, whole_number


class StepAction(StrEnum):
    """What a step does."""

    FILL = "fill"
    TOUCH = "touch"
    PAGEOUT = "pageout"  # MADV_PAGEOUT
    COLD = "cold"  # MADV_COLD
    WILLNEED = "willneed"  # MADV_WILLNEED
    DISCARD = "discard"  # MADV_DONTNEED
    FREE = "free"  # MADV_FREE
    COLLAPSE = "collapse"  # MADV_COLLAPSE
    UNMAP = "unmap"  # munmap
    PROTECT = "protect"  # mprotect
    REMAP = "remap"  # mremap to another place
    MOVE = "move"  # UFFDIO_MOVE to another place
    WRITE_PROTECT = "write-protect"  # UFFDIO_WRITEPROTECT
    CLEAR_SOFT_DIRTY = "clear-soft-dirty"  # 4 written to /proc/PID/clear_refs
    MINCORE = "mincore"
    PAGEMAP = "pagemap"
    SMAPS = "smaps"
    FORK = "fork"
    EXIT = "exit"
    # By nobody's call, to the memory of all processes.
    RECLAIM = "reclaim"  # reclaim of the whole memory cgroup
    SWAPOFF = "swapoff"
    KHUGEPAGED = "khugepaged"  # one pass over the memory
    SPLIT_FOLIOS = "split-folios"  # deferred split
    MEMORY_FAILURE = "memory-failure"
    ZSWAP_WRITEBACK = "zswap-writeback"
    ACCESS = "access"  # of single pages, in an order that a workload gives
    WAIT = "wait"  # all programs sleep

    @property
    def of_the_system(self) -> bool:
        """Whether no process does it."""
        return self in _OF_THE_SYSTEM

    @property
    def takes_part(self) -> bool:
        """Whether it may act on a part of every 2 MiB."""
        return self in _TAKES_PART


_OF_THE_SYSTEM = frozenset(
    {
        StepAction.RECLAIM,
        StepAction.SWAPOFF,
        StepAction.KHUGEPAGED,
        StepAction.SPLIT_FOLIOS,
        StepAction.MEMORY_FAILURE,
        StepAction.ZSWAP_WRITEBACK,
        StepAction.WAIT,
    }
)
_TAKES_PART = frozenset(
    {
        StepAction.TOUCH,
        StepAction.PAGEOUT,
        StepAction.COLD,
        StepAction.WILLNEED,
        StepAction.DISCARD,
        StepAction.FREE,
        StepAction.UNMAP,
        StepAction.PROTECT,
        StepAction.WRITE_PROTECT,
        StepAction.MINCORE,
        StepAction.SPLIT_FOLIOS,
        StepAction.MEMORY_FAILURE,
        StepAction.ZSWAP_WRITEBACK,
    }
)


_USUAL_WAIT, _LONGEST_WAIT = 1000, 3_600_000  # milliseconds
_ACCESSING = frozenset({StepAction.TOUCH, StepAction.ACCESS})


def _exponent(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not float or not 0 < value <= 10:
        raise ValueError(f"{attribute.name} must be a number above 0 and at most 10")


class Racing(StrEnum):
    """What another thread does while a step is half-way.

    ``unmap``: once the fault has read the PMD swap entry, another thread discards the second half
    of that 2 MiB.
    """

    NONE = "none"
    UNMAP = "unmap"


class Workload(StrEnum):
    """Which page each access of a step goes to.

    ``cyclic``: one after the other, from the first to the last and over again. ``uniform``: any,
    with equal probability. ``zipf``: the page of rank r with a probability proportional to 1 / r to
    the power of the exponent.
    """

    CYCLIC = "cyclic"
    UNIFORM = "uniform"
    ZIPF = "zipf"


@attrs.frozen
class Step:
    """One step.

    Parameters
    ----------
    name : str
    action : StepAction
    pages_per_2mib : int
        A touch accesses so many pages of every 2 MiB, evenly spread over the part, in order.
    process : int
        Who does it: 0 is the program itself, n the n-th that was forked.
    first_page, page_count : int
        The part of every 2 MiB that the step acts on. The whole is one call over the region, a part
        one call for every 2 MiB.
    write : bool
        Whether a touch or access writes (one word of each page) instead of reading.
    writable : bool
        Whether a protect step makes the memory writable or read-only.
    shift_pages : int
        How far from 2 MiB alignment a remap or move puts the memory.
    refuse_write : bool
        The memory cgroup forbids zswap to write back and the pool is full: a paged-out folio stays
        dirty in the swap cache. Only the model can ask for that.
    racing : Racing
    threads : int
        How many CPUs do a touch or accesses at the same time, each in its own share of the 2 MiB
        ranges. The n-th CPU's accesses have the seed + n.
    workload : Workload
        Which pages an access step goes to.
    accesses : int
        How many accesses it makes; 0 means `rounds` times as many as the region has pages.
    rounds : int
    exponent : float
        Of a Zipf workload.
    scattered : bool
        Whether the ranks of a Zipf workload are dealt out over the region at random, so that pages
        which are often used have no such neighbours; else rank r is page r.
    seed : int
        Accesses with the same seed are the same, whatever the scenario, the machine and the world.
    milliseconds : int
        How long a wait step lasts.
    """

    name: str = attrs.field(validator=text)
    action: StepAction = attrs.field(validator=attrs.validators.instance_of(StepAction))
    pages_per_2mib: int = whole_number(1, PAGES_PER_PMD, default=PAGES_PER_PMD)
    process: int = whole_number(0, 7, default=0)
    first_page: int = whole_number(0, PAGES_PER_PMD - 1, default=0)
    page_count: int = whole_number(1, PAGES_PER_PMD, default=PAGES_PER_PMD)
    write: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    writable: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    shift_pages: int = whole_number(0, PAGES_PER_PMD - 1, default=0)
    refuse_write: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    racing: Racing = attrs.field(
        default=Racing.NONE, validator=attrs.validators.instance_of(Racing)
    )
    threads: int = whole_number(1, 64, default=1)
    workload: Workload = attrs.field(
        default=Workload.CYCLIC, validator=attrs.validators.instance_of(Workload)
    )
    accesses: int = whole_number(0, 1 << 40, default=0)
    rounds: int = whole_number(1, 1 << 20, default=1)
    exponent: float = attrs.field(default=1.0, validator=_exponent)
    scattered: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    seed: int = whole_number(0, (1 << 56) - 1, default=0)
    milliseconds: int = whole_number(1, _LONGEST_WAIT, default=_USUAL_WAIT)

    def __attrs_post_init__(self) -> None:
        action = self.action
        if self.first_page + self.page_count > PAGES_PER_PMD:
            raise ValueError("first_page + page_count must not be more than 512")
        accesses = action is StepAction.ACCESS
        belongs = {
            "pages_per_2mib": action is StepAction.TOUCH or self.pages_per_2mib == PAGES_PER_PMD,
            "page_count": action.takes_part or self.page_count == PAGES_PER_PMD,
            "write": action in _ACCESSING or not self.write,
            "writable": action is StepAction.PROTECT or not self.writable,
            "shift_pages": action in (StepAction.REMAP, StepAction.MOVE) or not self.shift_pages,
            "refuse_write": action is StepAction.PAGEOUT or not self.refuse_write,
            "racing": action is StepAction.TOUCH or self.racing is Racing.NONE,
            "threads": action in _ACCESSING or self.threads == 1,
            "workload": accesses or self.workload is Workload.CYCLIC,
            "accesses": accesses or not self.accesses,
            "rounds": accesses or self.rounds == 1,
            "exponent": self.workload is Workload.ZIPF or self.exponent == 1.0,
            "scattered": self.workload is Workload.ZIPF or self.scattered,
            "seed": accesses or not self.seed,
            "process": not action.of_the_system or self.process == 0,
            "milliseconds": action is StepAction.WAIT or self.milliseconds == _USUAL_WAIT,
        }
        for key, fits in belongs.items():
            if not fits:
                raise ValueError(f"{key} does not belong to a {action.value} step")

    def number_of_accesses(self, pages: int) -> int:
        """Accesses that an access step makes to a region of so many pages."""
        return self.accesses or self.rounds * pages

    @property
    def is_whole(self) -> bool:
        """Whether it acts on all pages."""
        return self.page_count == PAGES_PER_PMD

    @property
    def page_mask(self) -> int:
        """The part as a bit mask over the 512 pages of a 2 MiB range."""
        return ((1 << self.page_count) - 1) << self.first_page

    def pages(self) -> list[int]:
        """Pages of every 2 MiB that a touch accesses, in order."""
        count = min(self.pages_per_2mib, self.page_count)
        return [self.first_page + turn * self.page_count // count for turn in range(count)]
