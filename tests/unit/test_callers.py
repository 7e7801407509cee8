"""The caller table: complete, reached as it says, and as the kernel's authors have described it."""

from pathlib import Path

import pytest

from perfmodel.constants import Fallback
from perfmodel.report.callers import markdown
from perfmodel.specs.callers import CALLERS, SWAPPED, RangeClass
from perfmodel.specs.step import StepAction
from perfmodel.studies.callers import Behaviour, behaviours

ROOT = Path(__file__).parents[2]
WHOLE, SPLIT, NOTHING = "whole", "split", "not touched"
PAGES = "entry by entry"

# What is known of the kernel, for EMPTY, HUGE, SPLIT and 512 PTE swap entries.
KNOWN = {
    "page fault, read": (WHOLE, WHOLE, SPLIT, PAGES),
    "MADV_PAGEOUT": (NOTHING, NOTHING, NOTHING, PAGES),
    "MADV_COLD": (NOTHING, NOTHING, NOTHING, PAGES),
    "MADV_WILLNEED": (WHOLE, WHOLE, SPLIT, PAGES),
    "swapoff": (WHOLE, WHOLE, SPLIT, PAGES),
    "fork": (WHOLE, WHOLE, WHOLE, PAGES),
    "munmap, whole": (WHOLE, WHOLE, WHOLE, PAGES),
    "munmap, part": (SPLIT, SPLIT, SPLIT, PAGES),
    "MADV_DONTNEED, whole": (WHOLE, WHOLE, WHOLE, PAGES),
    "MADV_DONTNEED, part": (SPLIT, SPLIT, SPLIT, PAGES),
    "MADV_FREE, whole": (WHOLE, WHOLE, WHOLE, PAGES),
    "MADV_FREE, part": (SPLIT, SPLIT, SPLIT, PAGES),
    "exit": (WHOLE, WHOLE, WHOLE, PAGES),
    "mprotect, whole": (NOTHING, NOTHING, NOTHING, PAGES),
    "mprotect, part": (SPLIT, SPLIT, SPLIT, PAGES),
    "mremap, aligned": (WHOLE, WHOLE, WHOLE, WHOLE),
    "mremap, unaligned": (SPLIT, SPLIT, SPLIT, PAGES),
    "UFFDIO_MOVE, aligned": (WHOLE, WHOLE, SPLIT, PAGES),
    "UFFDIO_MOVE, unaligned": (SPLIT, SPLIT, SPLIT, PAGES),
    "userfaultfd write-protect, whole": (WHOLE, WHOLE, WHOLE, PAGES),
    "userfaultfd write-protect, part": (SPLIT, SPLIT, SPLIT, PAGES),
    "clear_refs, soft-dirty": (WHOLE, WHOLE, WHOLE, PAGES),
    "mincore": (WHOLE, WHOLE, "slot by slot", PAGES),
    "pagemap": (WHOLE, WHOLE, WHOLE, PAGES),
    "smaps": (WHOLE, WHOLE, WHOLE, PAGES),
    "khugepaged": (NOTHING, NOTHING, NOTHING, PAGES),
    "deferred split": (NOTHING, NOTHING, NOTHING, NOTHING),
    "memory failure": (NOTHING, NOTHING, NOTHING, NOTHING),
}
ASKING = {
    "page fault",
    "MADV_WILLNEED",
    "swapoff",
    "UFFDIO_MOVE, aligned",
    "mincore",
}


def found(caller: str, kind: RangeClass) -> Behaviour:
    return next(row for row in behaviours() if (row.caller, row.kind) == (caller, kind))


@pytest.mark.parametrize(("caller", "index"), [(name, i) for name in KNOWN for i in range(4)])
def test_callers_do_what_is_known_of_the_kernel(caller: str, index: int) -> None:
    assert found(caller, SWAPPED[index]).handling == KNOWN[caller][index]


def test_every_action_has_a_caller_and_every_fallback_a_row() -> None:
    shown = {caller.does.action for caller in CALLERS}
    # An access is a touch in another order, and a wait does nothing itself.
    assert shown == set(StepAction) - {StepAction.FILL, StepAction.ACCESS, StepAction.WAIT}
    reasons = {reason.upper() for row in behaviours() for reason in row.fallbacks}
    assert reasons == {reason.name for reason in Fallback}
    names = [caller.name for caller in CALLERS]
    assert len(set(names)) == len(names)


def test_only_those_who_need_the_pages_ask_the_rule() -> None:
    for row in behaviours():
        if row.kind == RangeClass.PTE:
            assert not row.asks_the_rule, row.caller
        elif row.kind in ("EMPTY", "HUGE", "SPLIT") and not row.fallbacks:
            asks = any(row.caller.startswith(name) for name in ASKING)
            assert row.asks_the_rule == asks, row.caller


def test_classes_are_reached() -> None:
    resident = {kind: found("mincore", kind).observed for kind in SWAPPED}
    pages = {kind: seen.get("mincore_resident_pages", 0) for kind, seen in resident.items()}
    assert pages == {"EMPTY": 0, "HUGE": 512, "SPLIT": 512, "pte": 0}
    words = {kind: found("mincore", kind).events.get("classify_slot") for kind in SWAPPED}
    assert words == {"EMPTY": 512, "HUGE": 1, "SPLIT": 1, "pte": None}


def test_the_document_is_what_the_model_says() -> None:
    assert (ROOT / "docs" / "callers.md").read_text() == markdown()
