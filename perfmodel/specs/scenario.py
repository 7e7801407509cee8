"""Scenarios: what happens to memory, without a word about the machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.constants import (
    MOST_SWAP_DEVICES,
    PAGE_BYTES,
    PAGES_PER_PMD,
    PMD_BYTES,
    USER_ADDRESS_SPACE_BYTES,
)
from perfmodel.errors import InputError, Problem
from perfmodel.specs.memory import PhysicalMemory
from perfmodel.specs.quantity import text, tuple_of, whole_number
from perfmodel.specs.step import Racing, Step, StepAction


class PageContent(StrEnum):
    """What the pages hold.

    ``half-random``: one half random bytes, the other zeros. ``one-non-zero``: of the 512 pages of a
    2 MiB range only the last holds something, so that no folio of 2 MiB is all zero.
    ``compressible``: 64 random bytes, repeated. ``same-filled``: one word that is not zero,
    repeated, another one in every page.
    """

    HALF_RANDOM = "half-random"
    ZERO = "zero"
    RANDOM = "random"
    COMPRESSIBLE = "compressible"
    ONE_NON_ZERO = "one-non-zero"
    SAME_FILLED = "same-filled"


class Zswap(StrEnum):
    """Whether zswap stores pages, has ever stored some (``off``), or was never switched on."""

    NEVER = "never"
    ON = "on"
    OFF = "off"


class Backing(StrEnum):
    """What the kernel may use for the region's memory.

    ``thp``: folios of 2 MiB when it is filled, and the entry's mTHPs at a swap-in. ``mthp``: the
    entry's mTHPs for both. ``base``: pages of 4 KiB only (MADV_NOHUGEPAGE).
    """

    THP = "thp"
    MTHP = "mthp"
    BASE = "base"


@attrs.frozen
class Region:
    """Anonymous memory, mapped by THPs once it has been filled unless `backing` says otherwise."""

    size_bytes: int = attrs.field()
    content: PageContent = attrs.field(validator=attrs.validators.instance_of(PageContent))
    backing: Backing = attrs.field(
        default=Backing.THP, validator=attrs.validators.instance_of(Backing)
    )

    @size_bytes.validator
    def _is_whole_regions(self, _: object, value: object) -> None:
        if type(value) is not int or value < PMD_BYTES or value % PMD_BYTES:
            raise ValueError("must be a multiple of 2 MiB, and at least one")
        if value > USER_ADDRESS_SPACE_BYTES:
            raise ValueError("must fit into the 128 TiB that a process can address")

    @property
    def pages(self) -> int:
        """Number of 4 KiB pages."""
        return self.size_bytes // PAGE_BYTES

    @property
    def count(self) -> int:
        """Number of 2 MiB ranges."""
        return self.size_bytes // PMD_BYTES


@attrs.frozen
class DeviceSpace:
    """One of several swap devices as the scenario finds it; see `SwapSpace`."""

    clusters: int = whole_number(1, 1 << 40)
    free_clusters: int = whole_number(0, 1 << 20, default=0)
    neighbour_slots: int = whole_number(0, PAGES_PER_PMD, default=0)

    def __attrs_post_init__(self) -> None:
        _check_free(self)


def _check_free(space: DeviceSpace | SwapSpace) -> None:
    if space.free_clusters and not space.neighbour_slots:
        raise ValueError("free_clusters needs neighbour_slots, what is used elsewhere")
    if space.free_clusters > space.clusters:
        raise ValueError("free_clusters must not be more than clusters")


@attrs.frozen
class SwapSpace:
    """The swap device as the scenario finds it, or each of several.

    Parameters
    ----------
    clusters : int
        Whole clusters of 512 slots behind the first one, whose slot 0 is the header; 0 means as
        many as the region needs twice, and 32 more.
    free_clusters : int
        How many of them, the last ones, nobody uses. Needs `clusters`.
    neighbour_slots : int
        Slots that another program uses in each of the others, from the first one on; it then fills
        cluster 0 too. 0 means that the whole device is free.
    devices : tuple of DeviceSpace, optional
        The same of each of several devices, in the order in which they are switched on, instead of
        the three above. Without it each of several devices is like the one.
    """

    clusters: int = whole_number(0, 1 << 20, default=0)
    free_clusters: int = whole_number(0, 1 << 20, default=0)
    neighbour_slots: int = whole_number(0, PAGES_PER_PMD, default=0)
    devices: tuple[DeviceSpace, ...] | None = attrs.field(
        default=None, validator=attrs.validators.optional(tuple_of(DeviceSpace))
    )

    def __attrs_post_init__(self) -> None:
        if self.neighbour_slots and not self.clusters:
            raise ValueError("neighbour_slots needs clusters, the size of the device")
        _check_free(self)
        if self.devices is None:
            return
        if not 2 <= len(self.devices) <= MOST_SWAP_DEVICES:
            raise ValueError(f"devices must be a list of 2 to {MOST_SWAP_DEVICES}")
        if self.clusters:
            raise ValueError("devices say their own clusters: leave out clusters")


_LEAST_LIMIT = 4 * PMD_BYTES


def _memory_limit(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if type(value) is not int or value < _LEAST_LIMIT or value % PAGE_BYTES:
        raise ValueError("must be a multiple of 4 KiB, and at least 8 MiB")


def _probability(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{attribute.name} must be a probability from 0 to 1")


@attrs.frozen
class Khugepaged:
    """Below /sys/kernel/mm/transparent_hugepage/khugepaged; the defaults are the kernel's.

    Parameters
    ----------
    scan_sleep_millisecs : int
        Pause between two passes.
    pages_to_scan : int
        Pages that one pass looks at, 512 for each 2 MiB whatever it finds there.
    alloc_sleep_millisecs : int
        Pause after the first failed allocation in a pass; the second one ends it.
    max_ptes_swap, max_ptes_none, max_ptes_shared : int
        How many of the 512 entries may be swapped out, empty, or mapped by another process, too.
    """

    scan_sleep_millisecs: int = whole_number(1, 3_600_000, default=10_000)
    alloc_sleep_millisecs: int = whole_number(1, 3_600_000, default=60_000)
    pages_to_scan: int = whole_number(1, 1 << 30, default=8 * PAGES_PER_PMD)
    max_ptes_swap: int = whole_number(0, PAGES_PER_PMD - 1, default=PAGES_PER_PMD // 8)
    max_ptes_none: int = whole_number(0, PAGES_PER_PMD - 1, default=PAGES_PER_PMD - 1)
    max_ptes_shared: int = whole_number(0, PAGES_PER_PMD - 1, default=PAGES_PER_PMD // 2)


@attrs.frozen
class ZswapLimits:
    """How much memory zswap's pool may take, and what becomes of what it rejects.

    Parameters
    ----------
    size_bytes : int
        Memory of the machine that the percentage is of.
    max_pool_percent, accept_threshold_percent : int
        As in /sys/module/zswap/parameters; the defaults are the kernel's.
    writeback : bool
        memory.zswap.writeback of the cgroup: whether pages may go on to the device.
    """

    size_bytes: int = whole_number(PAGE_BYTES, 1 << 47)
    max_pool_percent: int = whole_number(0, 100, default=20)
    accept_threshold_percent: int = whole_number(0, 100, default=90)
    writeback: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))

    @property
    def most_pages(self) -> int:
        """Pages from which on nothing is stored."""
        return self.size_bytes // PAGE_BYTES * self.max_pool_percent // 100

    @property
    def accept_pages(self) -> int:
        """Pages at which a pool that was full stores again."""
        return self.most_pages * self.accept_threshold_percent // 100


@attrs.frozen
class Settings:
    """Kernel settings and pressure that the scenario asks for.

    Parameters
    ----------
    page_cluster : int
        vm.page-cluster: readahead of at most 2 to this power of pages.
    vma_readahead : bool
        Readahead by address (the default) instead of by swap slot.
    zswap : Zswap
    zswap_pool : ZswapLimits, optional
        What zswap's pool may take. Without it, it takes everything.
    order9_failure, charge_failure : float
        Probability that no order-9 page can be had at a swap-in, and that its charge to the memory
        cgroup is refused. Only the model can ask for that.
    memory_limit_bytes : int, optional
        Limit of the memory cgroup that the region's memory is charged to, page tables included.
    khugepaged : Khugepaged, optional
        Its pace, and when it collapses. Without it, it runs only where a step says so.
    """

    page_cluster: int = whole_number(0, 5, default=3)
    vma_readahead: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    zswap: Zswap = attrs.field(default=Zswap.NEVER, validator=attrs.validators.instance_of(Zswap))
    order9_failure: float = attrs.field(default=0.0, validator=_probability)
    charge_failure: float = attrs.field(default=0.0, validator=_probability)
    memory_limit_bytes: int | None = attrs.field(default=None, validator=_memory_limit)
    khugepaged: Khugepaged | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(Khugepaged)),
    )
    zswap_pool: ZswapLimits | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(ZswapLimits)),
    )

    def __attrs_post_init__(self) -> None:
        if self.zswap_pool is not None and self.zswap is not Zswap.ON:
            raise ValueError('zswap_pool needs zswap = "on"')


_MOST_STEPS = 1000
_MOST_FORKS = 7
_ALL_PAGES = (1 << PAGES_PER_PMD) - 1


def _steps(_: object, attribute: attrs.Attribute[Any], value: tuple[Step, ...]) -> None:
    tuple_of(Step)(_, attribute, value)
    if not value or value[0].action is not StepAction.FILL:
        raise ValueError("the first step must be a fill")
    if sum(step.action is StepAction.FILL for step in value) > 1:
        raise ValueError("there must be only one fill")
    if len(value) > _MOST_STEPS:
        raise ValueError(f"there must be at most {_MOST_STEPS} steps")
    names = [step.name for step in value]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two steps are named {name!r}")
    _check_story(value)


# Files below /proc are about a region with holes, too.
_OVER_HOLES = frozenset({StepAction.PAGEMAP, StepAction.SMAPS, StepAction.CLEAR_SOFT_DIRTY})


# What docs/pressure.md says about memory that is on LRU lists.
_UNDER_A_LIMIT = frozenset(
    {
        StepAction.FILL,
        StepAction.TOUCH,
        StepAction.ACCESS,
        StepAction.PAGEOUT,
        StepAction.RECLAIM,
        StepAction.WILLNEED,
        StepAction.COLLAPSE,
        StepAction.KHUGEPAGED,
        StepAction.WAIT,
        StepAction.MINCORE,
        StepAction.PAGEMAP,
        StepAction.SMAPS,
    }
)


class _Memory:
    """What a process may do with which of the 512 pages of each 2 MiB, as bit masks."""

    def __init__(self, mapped: int = _ALL_PAGES, writable: int = _ALL_PAGES) -> None:
        self.mapped = mapped
        self.writable = writable
        # Write-protected by userfaultfd; nobody here lifts that again.
        self.guarded = 0

    def child(self) -> _Memory:
        """What a forked child may do; userfaultfd does not go with it."""
        return _Memory(self.mapped, self.writable)

    def refusal(self, step: Step) -> str:
        """Why a step cannot be; an empty text if it can."""
        part = step.page_mask
        if part & ~self.mapped and step.action not in _OVER_HOLES:
            return "touches pages that an earlier step has unmapped"
        if step.action is StepAction.MOVE and part & ~self.writable:
            return "moves pages that are read-only"
        if step.action in (StepAction.TOUCH, StepAction.ACCESS) and step.may_write:
            if part & ~self.writable:
                return "writes to pages that are read-only"
            if part & self.guarded:
                return "writes to pages that are write-protected"
        return ""

    def change(self, step: Step) -> None:
        """Take note of what a step leaves behind."""
        part = step.page_mask
        if step.action is StepAction.UNMAP:
            self.mapped &= ~part
        elif step.action is StepAction.PROTECT:
            self.writable = self.writable | part if step.writable else self.writable & ~part
        elif step.action is StepAction.WRITE_PROTECT:
            self.guarded |= part


def _check_story(steps: tuple[Step, ...]) -> None:
    """Every step must find its process alive and its pages mapped, writable where it writes."""
    living = {0: _Memory()}
    forks = 0
    for step in steps:
        where = f"step {step.name!r}"
        if step.action.of_the_system:
            continue
        if step.process not in living:
            raise ValueError(f"{where}: process {step.process} has ended or was never forked")
        memory = living[step.process]
        if step.action is StepAction.FORK:
            forks += 1
            if forks > _MOST_FORKS:
                raise ValueError(f"{where}: there must be at most {_MOST_FORKS} forks")
            living[forks] = memory.child()
        elif step.action is StepAction.EXIT:
            if step.process == 0:
                raise ValueError(f"{where}: process 0 lives to the end")
            del living[step.process]
        else:
            refusal = memory.refusal(step)
            if refusal:
                raise ValueError(f"{where}: {refusal}")
            memory.change(step)


@attrs.frozen
class Scenario:
    """A region and the steps that are done to it, in order."""

    name: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    region: Region = attrs.field(validator=attrs.validators.instance_of(Region))
    steps: tuple[Step, ...] = attrs.field(validator=_steps)
    held_out: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    swap: SwapSpace = attrs.field(
        factory=SwapSpace, validator=attrs.validators.instance_of(SwapSpace)
    )
    settings: Settings = attrs.field(
        factory=Settings, validator=attrs.validators.instance_of(Settings)
    )

    memory: PhysicalMemory | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(PhysicalMemory)),
    )

    def __attrs_post_init__(self) -> None:
        if self.memory is not None:
            if self.settings.order9_failure:
                raise ValueError("order9_failure is drawn, and memory says it: not both")
            if self.memory.size_bytes < self.region.size_bytes:
                raise ValueError("memory must not be smaller than the region")
        for step in self.steps:
            if self.is_limited and step.action not in _UNDER_A_LIMIT:
                raise ValueError(
                    f"step {step.name!r}: {step.action.value} is not known under a memory_limit"
                )
            if self.is_limited and step.racing is not Racing.NONE:
                raise ValueError(f"step {step.name!r}: racing is not known under a memory_limit")
            if step.refuse_write and self.settings.zswap is not Zswap.ON:
                raise ValueError(f'step {step.name!r}: refuse_write needs zswap = "on"')

    def does_the_same_as(self, other: Scenario) -> bool:
        """Whether both do the same to the same memory, whatever is said about it."""
        mine = (self.region, self.steps, self.swap, self.settings, self.memory)
        return mine == (other.region, other.steps, other.swap, other.settings, other.memory)

    @property
    def is_limited(self) -> bool:
        """Whether the region's memory is under a limit."""
        return self.settings.memory_limit_bytes is not None

    @property
    def processes(self) -> int:
        """Processes that ever live."""
        return 1 + sum(step.action is StepAction.FORK for step in self.steps)

    @property
    def clusters(self) -> int:
        """Whole clusters of the swap device behind cluster 0; of several, of the largest."""
        if self.swap.devices is not None:
            return max(space.clusters for space in self.swap.devices)
        return self.swap.clusters or 2 * self.region.count + 32

    def spaces(self, devices: int) -> tuple[DeviceSpace, ...]:
        """So many swap devices as the scenario finds them.

        Raises
        ------
        InputError
            If the scenario is about another number of them.
        """
        if self.swap.devices is None:
            one = DeviceSpace(self.clusters, self.swap.free_clusters, self.swap.neighbour_slots)
            return (one,) * devices
        if len(self.swap.devices) != devices:
            message = (
                f"is about {len(self.swap.devices)} swap devices, and {devices} "
                f"{'is' if devices == 1 else 'are'} named; name as many, such as "
                "zram-lz4:100,zram-lz4:50"
            )
            raise InputError(Problem(message, file=self.name, key="swap.devices"))
        return self.swap.devices
