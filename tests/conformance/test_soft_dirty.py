"""Soft-dirty bits: what the installed scenario counts, and what sets, carries and loses a bit.

The scenario has two ranges of 2 MiB, 1024 pages. The numbers follow from docs/mechanism.md by hand.
"""

from __future__ import annotations

import attrs
import pytest

from perfmodel.constants import PMD_BYTES
from perfmodel.specs.catalog import load_policy, load_scenario
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction
from tests.conformance.expected import BOTH, FILL, OUT, READ_2_MIB, ZRAM
from tests.conformance.worlds import (
    IMPLEMENTATIONS,
    MIB_2,
    PMD,
    PTE,
    Run,
    flags,
    run,
    soft_dirty,
)

SCENARIO = load_scenario("soft-dirty")
FAULTS_2 = {"pgfault": 2}
OUT_AS_PTES = {"pswpout": 1024, "thp_swpout": 2, f"{MIB_2}/swpout": 2, "thp_split_pmd": 2}

# One entry of each range is read-only, so each range has one more fault for its first write.
AS_PMD = {
    "fill": FILL,
    "pageout": OUT,
    "evict": {},
    "clear": {},
    "read": FAULTS_2 | {"pgmajfault": 2} | READ_2_MIB,
    "write": FAULTS_2,
    "write-again": {},
    "clear-present": {},
    "write-present": FAULTS_2,
    "pageout-again": OUT,
    "evict-again": {},
    # The eight written pages have made all 512 soft-dirty: they come back writable.
    "read-all": FAULTS_2 | {"pgmajfault": 2} | READ_2_MIB,
    "write-all": {},
}
AS_PTES = {
    "fill": FILL,
    "pageout": OUT_AS_PTES,
    "evict": {},
    "clear": {},
    "read": {"pgfault": 8, "pgmajfault": 8, "pswpin": 8},
    # Of eight pages of each range four are there, read-only. The others are read; that their entry
    # must not be writable yet costs no fault more.
    "write": {"pgfault": 16, "pgmajfault": 8, "pswpin": 8},
    "write-again": {},
    "clear-present": {},
    "write-present": {"pgfault": 16},
    "pageout-again": {"pswpout": 16},
    "evict-again": {},
    "read-all": {"pgfault": 1024, "pgmajfault": 1024, "pswpin": 1024},
    # All but the 16 that were written before.
    "write-all": {"pgfault": 1008},
}
# Soft-dirty pages of each range, where they change.
DIRTY_AS_PMD = {"fill": 512, "clear": 0, "read": 0, "write": 512, "clear-present": 0} | {
    "write-present": 512,
    "pageout-again": 512,
    "read-all": 512,
}
DIRTY_AS_PTES = {"fill": 512, "clear": 0, "read": 0, "write": 8, "clear-present": 0} | {
    "write-present": 8,
    "pageout-again": 8,
    "read-all": 8,
    "write-all": 512,
}


def faults(done: Run) -> dict[str, dict[str, int]]:
    return {step: did.counters for step, did in done.did.items()}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", BOTH)
def test_the_scenario_with_pmd_swap_entries(kind, implementation):
    done = run(SCENARIO, kind, PMD, implementation)
    assert faults(done) == AS_PMD
    for step, pages in DIRTY_AS_PMD.items():
        assert sum(soft_dirty(done.after[step])) == 2 * pages, step


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_scenario_with_pte_swap_entries(implementation):
    done = run(SCENARIO, ZRAM, PTE, implementation)
    assert faults(done) == AS_PTES
    for step, pages in DIRTY_AS_PTES.items():
        assert sum(soft_dirty(done.after[step])) == 2 * pages, step


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_clearing_costs_two_entries_or_a_thousand(implementation):
    flush = {"SYSTEM_CALL": 1, "VISIT_PMD": 2, "TLB_FLUSH": 1}
    done = run(SCENARIO, ZRAM, PMD, implementation)
    for step in ("clear", "clear-present"):
        assert done.did[step].events == flush | {"SET_PTE": 2}
        assert done.did[step].holds == {"pmd": (2, 2, 1)}
    done = run(SCENARIO, ZRAM, PTE, implementation)
    for step in ("clear", "clear-present"):
        assert done.did[step].events == flush | {"SET_PTE": 1024, "VISIT_PTE": 1024}
        assert done.did[step].holds == {"pte_table": (2, 1024, 512)}


def story(text: str, policy="pmd", implementation="engine", **changes) -> Run:
    """Fill 2 MiB, then steps such as ``touch n8 write``, ``discard [0:256]`` or ``move +3``."""
    steps = [Step("0 fill", StepAction.FILL)]
    for number, words in enumerate(text.split(";"), 1):
        action, *rest = words.split()
        keys: dict[str, int | bool] = {}
        for word in rest:
            if word in ("write", "writable"):
                keys[word] = True
            elif word[0] == "[":
                keys["first_page"], keys["page_count"] = map(int, word[1:-1].split(":"))
            else:
                names = {"@": "process", "n": "pages_per_2mib", "+": "shift_pages"}
                keys[names[word[0]]] = int(word[1:])
        steps.append(Step(f"{number} {action}", StepAction(action), **keys))
    scenario = Scenario(
        "told", "soft-dirty bits", Region(PMD_BYTES, PageContent.RANDOM), tuple(steps)
    )
    policy = attrs.evolve(load_policy(policy), **changes)
    return run(scenario, DeviceKind.ZRAM, policy, implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("steps", "policy", "pages"),
    [
        # Carried.
        ("clear-soft-dirty; pageout; touch", "pmd", 0),
        ("pageout; discard [511:1]; clear-soft-dirty; touch [0:511]", "pmd", 0),
        ("clear-soft-dirty; pageout; swapoff", "pmd", 0),
        ("clear-soft-dirty; fork; reclaim", "pmd", 0),
        ("clear-soft-dirty; free; protect; write-protect", "pmd", 0),
        # Splitting the folio keeps it, too, though the mapping is dirty.
        ("clear-soft-dirty; pageout [0:8]", "pmd", 0),
        ("clear-soft-dirty; pageout [0:8]", "pte", 0),
        # Splitting only the mapping of a dirty THP says that all is written.
        ("clear-soft-dirty; pageout", "pte", 512),
        ("clear-soft-dirty; protect [0:1]", "pmd", 512),
        # That of a clean one does not.
        ("pageout; clear-soft-dirty; touch; protect [0:1]", "pmd", 0),
        # Set.
        ("clear-soft-dirty; touch n1 write", "pmd", 512),
        ("pageout; clear-soft-dirty; touch n1 write", "pmd", 512),
        ("pageout; clear-soft-dirty; touch n1 write", "pte", 1),
        ("discard; touch [0:1]; clear-soft-dirty; touch n1 write", "pmd", 512),
        ("pageout; clear-soft-dirty; touch; collapse", "pte", 512),
        ("clear-soft-dirty; fork; touch n1 write", "pmd", 512),
        ("pageout; clear-soft-dirty; fork; touch n1 write", "pte", 1),
        # Moved: a PMD entry whole, entries one by one; not a table that moves as a whole.
        ("clear-soft-dirty; remap", "pmd", 512),
        ("pageout; clear-soft-dirty; remap", "pmd", 512),
        ("pageout; clear-soft-dirty; remap", "pte", 0),
        ("pageout; clear-soft-dirty; remap +3", "pte", 512),
        ("pageout; clear-soft-dirty; move", "pmd", 512),
        ("pageout; clear-soft-dirty; move", "pte", 512),
        ("clear-soft-dirty; move +3", "pmd", 512),
    ],
)
def test_what_sets_and_what_carries_the_bit(steps, policy, pages, implementation):
    done = story(steps, policy, implementation)
    assert sum(soft_dirty(done.last)) == pages


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_large_folio_is_read_for_entries_that_are_alike(implementation):
    # Page 3 was written since: its group of 16 comes back one by one, the others whole.
    steps = "pageout; touch; clear-soft-dirty; touch write [3:1]; pageout; touch"
    done = story(steps, "pte", implementation, swapin_order=4)
    assert done.did["6 touch"].counters["pgfault"] == 31 + 16
    assert sum(writable for writable, *_ in flags(done.last)) == 1
    # A first write makes all 16 pages of the new folio soft-dirty.
    steps = "unmap [511:1]; discard [0:511]; clear-soft-dirty; touch [20:1] write"
    done = story(steps, "pte", implementation, swapin_order=4)
    assert soft_dirty(done.last) == [16]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_mprotect_does_not_give_back_what_is_watched(implementation):
    done = story(
        "clear-soft-dirty; protect; protect writable; touch n1 write", "pmd", implementation
    )
    assert flags(done.after["3 protect"]) == [(False, True, True, False)]
    assert done.did["4 touch"].counters == {"pgfault": 1}
    done = story("protect; protect writable; touch n1 write", "pmd", implementation)
    assert done.did["3 touch"].counters == {}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_child_is_watched_as_its_parent_is(implementation):
    done = story("clear-soft-dirty; fork; pageout", "pmd", implementation)
    assert done.last["processes"][0]["tracked"]
    assert done.last["processes"][1]["tracked"]
    done = story("fork; clear-soft-dirty @1", "pmd", implementation)
    assert not done.last["processes"][0]["tracked"]
    assert (soft_dirty(done.last, 0), soft_dirty(done.last, 1)) == ([512], [0])
