"""Who meets a swapped-out 2 MiB range in the kernel, each as the smallest scenario that shows it.

`CALLERS` is the one description of them: the command line and docs/callers.md are made from it by
running every scenario in the model, so what they say cannot differ from what the model does.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from perfmodel.constants import PMD_BYTES
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, SwapSpace, Zswap
from perfmodel.specs.step import Racing, Step, StepAction


class RangeClass(StrEnum):
    """How the caller finds the 2 MiB range.

    The first three are a PMD swap entry with what the swap cache holds behind it; ``pte`` is 512
    PTE swap entries with an empty cache, as Linux 6.18 leaves them. The others are a mapped THP
    under a kernel with PMD swap entries and under Linux 6.18.
    """

    EMPTY = "EMPTY"
    HUGE = "HUGE"
    SPLIT = "SPLIT"
    PTE = "pte"
    MAPPED = "mapped, pmd"
    MAPPED_PTE = "mapped, pte"

    @property
    def entry(self) -> str:
        """The arm that it is reached with."""
        return "pte" if self in (RangeClass.PTE, RangeClass.MAPPED_PTE) else "pmd"


SWAPPED = (RangeClass.EMPTY, RangeClass.HUGE, RangeClass.SPLIT, RangeClass.PTE)
MAPPED = (RangeClass.MAPPED, RangeClass.MAPPED_PTE)
_NOT_CACHED = (RangeClass.EMPTY, RangeClass.PTE)

_FILL = Step("fill", StepAction.FILL)
_PAGEOUT = Step("pageout", StepAction.PAGEOUT)
_RECLAIM = Step("reclaim", StepAction.RECLAIM)
# On an asynchronous device the folio stays in the swap cache until reclaim takes it from there.
_REACHED_BY: dict[RangeClass, tuple[Step, ...]] = {
    RangeClass.EMPTY: (_FILL, _PAGEOUT, _RECLAIM),
    RangeClass.HUGE: (_FILL, _PAGEOUT),
    RangeClass.SPLIT: (_FILL, _PAGEOUT, Step("split", StepAction.SPLIT_FOLIOS)),
    RangeClass.PTE: (_FILL, _PAGEOUT, _RECLAIM),
    RangeClass.MAPPED: (_FILL,),
    RangeClass.MAPPED_PTE: (_FILL,),
}
SHOWN_STEP = "shown"


@attrs.frozen
class Caller:
    """One caller, under one condition.

    Parameters
    ----------
    name : str
        As users of Linux call it.
    says : str
        What it wants, or what is special.
    does : Step
        The step that is shown.
    before : tuple of Step
        Steps between reaching the class and the step that is shown.
    reached_by : tuple of Step, optional
        Another way to the class, the fill included.
    classes : tuple of RangeClass
        The classes that it can meet.
    settings, swap, content, device
        What else the scenario needs.
    """

    name: str
    says: str
    does: Step
    before: tuple[Step, ...] = ()
    reached_by: tuple[Step, ...] | None = None
    classes: tuple[RangeClass, ...] = SWAPPED
    settings: Settings = attrs.field(factory=Settings)
    swap: SwapSpace = attrs.field(factory=SwapSpace)
    content: PageContent = PageContent.HALF_RANDOM
    device: str = "ram-disk"

    def scenario(self, kind: RangeClass) -> Scenario:
        """One 2 MiB range that is brought into a class and then met by this caller."""
        reached = _REACHED_BY[kind] if self.reached_by is None else self.reached_by
        return Scenario(
            name=f"{self.name}, {kind}",
            description=self.says,
            region=Region(PMD_BYTES, self.content),
            steps=(*reached, *self.before, self.does),
            swap=self.swap,
            settings=self.settings,
        )


def _whole(action: StepAction, process: int = 0) -> Step:
    return Step(SHOWN_STEP, action, process=process)


def _half(action: StepAction) -> Step:
    return Step(SHOWN_STEP, action, page_count=256)


def _shifted(action: StepAction, pages: int) -> Step:
    return Step(SHOWN_STEP, action, shift_pages=pages)


_READ = Step(SHOWN_STEP, StepAction.TOUCH, pages_per_2mib=1)
_WRITE = Step(SHOWN_STEP, StepAction.TOUCH, pages_per_2mib=1, write=True)
_RACE = Step(SHOWN_STEP, StepAction.TOUCH, pages_per_2mib=1, racing=Racing.UNMAP)
_FORK = Step("fork", StepAction.FORK)
_ZSWAP = Settings(zswap=Zswap.ON)
_REFUSED = Step("pageout", StepAction.PAGEOUT, refuse_write=True)

CALLERS: tuple[Caller, ...] = (
    Caller("page fault, read", "one page is read", _READ),
    Caller("page fault, write", "one page is written", _WRITE),
    Caller(
        "page fault, write to shared",
        "a child has the same entry, so the page has to be copied",
        _WRITE,
        before=(_FORK,),
    ),
    Caller(
        "page fault, no order-9 page",
        "memory is too fragmented for 2 MiB",
        _READ,
        settings=Settings(order9_failure=1.0),
        classes=(RangeClass.EMPTY,),
    ),
    Caller(
        "page fault, charge refused",
        "the memory cgroup has no room for 2 MiB",
        _READ,
        settings=Settings(charge_failure=1.0),
        classes=(RangeClass.EMPTY,),
    ),
    Caller(
        "page fault, in zswap",
        "zswap has no way to load 2 MiB at once",
        _READ,
        classes=_NOT_CACHED,
        settings=_ZSWAP,
    ),
    Caller(
        "page fault, some pages zero",
        "511 pages were found to be zero after the folio was split in the cache",
        _READ,
        reached_by=(_FILL, _REFUSED, Step("split", StepAction.SPLIT_FOLIOS), _RECLAIM),
        classes=_NOT_CACHED,
        settings=_ZSWAP,
        content=PageContent.ONE_NON_ZERO,
    ),
    Caller(
        "page fault, racing unmap",
        "another thread discards the second half while the fault is half-way",
        _RACE,
        classes=(RangeClass.EMPTY,),
    ),
    Caller(
        "swap-out",
        "MADV_PAGEOUT of a mapped THP: the only one that makes PMD swap entries",
        _whole(StepAction.PAGEOUT),
        classes=MAPPED,
    ),
    Caller(
        "swap-out, no free cluster",
        "one used slot in every cluster leaves no 512 in a row",
        _whole(StepAction.PAGEOUT),
        classes=MAPPED,
        swap=SwapSpace(clusters=8, neighbour_slots=1),
    ),
    Caller(
        "swap-out to a swap file",
        "a file has no slots for large folios",
        _whole(StepAction.PAGEOUT),
        classes=MAPPED,
        device="swap-file",
    ),
    Caller("MADV_PAGEOUT", "the range is out already", _whole(StepAction.PAGEOUT)),
    Caller("MADV_COLD", "the range is out already", _whole(StepAction.COLD)),
    Caller(
        "reclaim",
        "takes clean folios out of the swap cache",
        _whole(StepAction.RECLAIM),
    ),
    Caller(
        "MADV_WILLNEED",
        "reads into the swap cache; the entry stays",
        _whole(StepAction.WILLNEED),
    ),
    Caller("swapoff", "brings all back", _whole(StepAction.SWAPOFF)),
    Caller("fork", "the child gets the same entry", _whole(StepAction.FORK)),
    Caller("munmap, whole", "all 512 pages", _whole(StepAction.UNMAP)),
    Caller("munmap, part", "the first half", _half(StepAction.UNMAP)),
    Caller("MADV_DONTNEED, whole", "all 512 pages", _whole(StepAction.DISCARD)),
    Caller("MADV_DONTNEED, part", "the first half", _half(StepAction.DISCARD)),
    Caller("MADV_FREE, whole", "all 512 pages", _whole(StepAction.FREE)),
    Caller("MADV_FREE, part", "the first half", _half(StepAction.FREE)),
    Caller(
        "exit",
        "of a child; the parent has the same slots",
        _whole(StepAction.EXIT, process=1),
        before=(_FORK,),
    ),
    Caller(
        "mprotect, whole", "read-only; swap entries have no protection", _whole(StepAction.PROTECT)
    ),
    Caller("mprotect, part", "the first half read-only: the VMA splits", _half(StepAction.PROTECT)),
    Caller("mremap, aligned", "to another 2 MiB boundary", _shifted(StepAction.REMAP, 0)),
    Caller("mremap, unaligned", "8 pages behind a 2 MiB boundary", _shifted(StepAction.REMAP, 8)),
    Caller("UFFDIO_MOVE, aligned", "to another 2 MiB boundary", _shifted(StepAction.MOVE, 0)),
    Caller(
        "UFFDIO_MOVE, unaligned", "8 pages behind a 2 MiB boundary", _shifted(StepAction.MOVE, 8)
    ),
    Caller(
        "userfaultfd write-protect, whole",
        "one bit covers all 512 pages",
        _whole(StepAction.WRITE_PROTECT),
    ),
    Caller("userfaultfd write-protect, part", "the first half", _half(StepAction.WRITE_PROTECT)),
    Caller(
        "clear_refs, soft-dirty",
        "one bit covers all 512 pages",
        _whole(StepAction.CLEAR_SOFT_DIRTY),
    ),
    Caller("mincore", "which pages are in memory", _whole(StepAction.MINCORE)),
    Caller("pagemap", "512 records, one for each page", _whole(StepAction.PAGEMAP)),
    Caller("smaps", "how much is swapped", _whole(StepAction.SMAPS)),
    Caller("MADV_COLLAPSE", "make a THP of what a PTE table maps", _whole(StepAction.COLLAPSE)),
    Caller("khugepaged", "one pass over the memory", _whole(StepAction.KHUGEPAGED)),
    Caller(
        "deferred split",
        "splits the folio in the swap cache; its rmap walk finds no swap entries",
        _whole(StepAction.SPLIT_FOLIOS),
    ),
    Caller(
        "memory failure",
        "page 0 is broken; the rmap walk finds no swap entries",
        Step(SHOWN_STEP, StepAction.MEMORY_FAILURE),
    ),
    Caller(
        "zswap writeback",
        "moves single pages from zswap to the device, through the swap cache",
        _whole(StepAction.ZSWAP_WRITEBACK),
        classes=_NOT_CACHED,
        settings=_ZSWAP,
    ),
)
