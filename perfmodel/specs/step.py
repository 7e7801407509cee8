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
    def touches(self) -> bool:
        """Whether it accesses pages, one after the other."""
        return self in _ACCESSING

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


def _share(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not float or not 0 < value <= 1:
        raise ValueError(f"{attribute.name} must be a share above 0 and at most 1")


class Racing(StrEnum):
    """What another thread does while a step is half-way.

    ``unmap``: once the fault has read the PMD swap entry, another thread discards the second half
    of that 2 MiB.
    """

    NONE = "none"
    UNMAP = "unmap"


class Workload(StrEnum):
    """Which page each access of a step goes to.

    ``cyclic``: one after the other, from the first to the last and over again. ``strided``: every
    n-th, then every n-th from the second one on, and so on. ``uniform``: any, with equal
    probability. ``zipf``: the page of rank r with a probability proportional to 1 / r to the power
    of the exponent. ``pointer-chase``: a cycle through all pages in random order. ``phases``: any
    page of a window, which stands somewhere else in every phase. ``gups``: updates of any page, as
    HPC Challenge RandomAccess. ``key-value``: operations of a store of 1 KiB records, as YCSB's.
    ``graph-search``: breadth-first searches as Graph500's. ``churn``: objects are allocated,
    written, used and freed. ``trace``: what was recorded in a file.
    """

    CYCLIC = "cyclic"
    UNIFORM = "uniform"
    ZIPF = "zipf"
    STRIDED = "strided"
    POINTER_CHASE = "pointer-chase"
    PHASES = "phases"
    GUPS = "gups"
    KEY_VALUE = "key-value"
    GRAPH_SEARCH = "graph-search"
    CHURN = "churn"
    TRACE = "trace"

    @property
    def says_what_it_writes(self) -> bool:
        """Whether its accesses read or write by themselves, not as the step says."""
        return self in _SAY_WHAT_THEY_WRITE

    @property
    def both_reads_and_writes(self) -> bool:
        """Whether it has both kinds of accesses."""
        return self in _SAY_WHAT_THEY_WRITE and self is not Workload.GUPS


_SAY_WHAT_THEY_WRITE = frozenset(
    {
        Workload.GUPS,
        Workload.KEY_VALUE,
        Workload.GRAPH_SEARCH,
        Workload.CHURN,
        Workload.TRACE,
    }
)


_RANKED = frozenset({Workload.ZIPF, Workload.KEY_VALUE})
_USUAL_WINDOW = 0.1
_USUAL_PHASE = 1 << 16


class KeyValueMix(StrEnum):
    """Operations of a key-value workload, as YCSB's core workloads mix them.

    ``a``: half reads, half updates. ``b``: 5 % updates. ``c``: reads only. ``d``: reads of what is
    new, 5 % inserts. ``e``: scans, 5 % inserts. ``f``: half reads, half read-modify-writes.
    """

    A = "a"
    B = "b"
    C = "c"
    D = "d"
    E = "e"
    F = "f"


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
        Of a Zipf or key-value workload.
    scattered : bool
        Whether the ranks of a Zipf workload are dealt out over the region at random, so that pages
        which are often used have no such neighbours; else rank r is page r.
    seed : int
        Accesses with the same seed are the same, whatever the scenario, the machine and the world.
    milliseconds : int
        How long a wait step lasts.
    stride : int
        Of a strided workload, in pages.
    window : float
        Share of the region that a phase goes to.
    phase_accesses : int
        How many accesses a phase has.
    mix : KeyValueMix
    trace : str
        Name or path of a trace. `rounds` is how often all of it is done, `accesses` how much of it.
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
    stride: int = whole_number(1, 1 << 31, default=1)
    window: float = attrs.field(default=_USUAL_WINDOW, validator=_share)
    phase_accesses: int = whole_number(1, 1 << 40, default=_USUAL_PHASE)
    mix: KeyValueMix = attrs.field(
        default=KeyValueMix.A, validator=attrs.validators.instance_of(KeyValueMix)
    )
    trace: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        action = self.action
        if self.first_page + self.page_count > PAGES_PER_PMD:
            raise ValueError("first_page + page_count must not be more than 512")
        accesses = action is StepAction.ACCESS
        workload = self.workload
        if (workload is Workload.TRACE) != bool(self.trace):
            raise ValueError('trace and workload = "trace" belong together')
        if workload.both_reads_and_writes and self.threads > 1:
            raise ValueError(f"a {workload.value} workload is that of one thread")
        if workload.says_what_it_writes and self.write:
            raise ValueError(f"a {workload.value} workload says itself what it writes")
        belongs = {
            "pages_per_2mib": action is StepAction.TOUCH or self.pages_per_2mib == PAGES_PER_PMD,
            "page_count": action.takes_part or self.page_count == PAGES_PER_PMD,
            "write": action in _ACCESSING or not self.write,
            "writable": action is StepAction.PROTECT or not self.writable,
            "shift_pages": action in (StepAction.REMAP, StepAction.MOVE) or not self.shift_pages,
            "refuse_write": action is StepAction.PAGEOUT or not self.refuse_write,
            "racing": action is StepAction.TOUCH or self.racing is Racing.NONE,
            "threads": action in _ACCESSING or self.threads == 1,
            "workload": accesses or workload is Workload.CYCLIC,
            "accesses": accesses or not self.accesses,
            "rounds": accesses or self.rounds == 1,
            "exponent": workload in _RANKED or self.exponent == 1.0,
            "scattered": workload is Workload.ZIPF or self.scattered,
            "seed": accesses or not self.seed,
            "stride": workload is Workload.STRIDED or self.stride == 1,
            "window": workload is Workload.PHASES or self.window == _USUAL_WINDOW,
            "phase_accesses": workload is Workload.PHASES or self.phase_accesses == _USUAL_PHASE,
            "mix": workload is Workload.KEY_VALUE or self.mix is KeyValueMix.A,
            "process": not action.of_the_system or self.process == 0,
            "milliseconds": action is StepAction.WAIT or self.milliseconds == _USUAL_WAIT,
        }
        for key, fits in belongs.items():
            if not fits:
                raise ValueError(f"{key} does not belong to a {action.value} step")

    def number_of_accesses(self, pages: int) -> int:
        """Accesses that an access step makes to a region of so many pages.

        Of a trace only its file knows; `traces.accesses.accesses_of` asks it.
        """
        return self.accesses or self.rounds * pages

    @property
    def may_write(self) -> bool:
        """Whether a touch or access writes, be it only now and then."""
        return self.write or self.workload.says_what_it_writes

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
