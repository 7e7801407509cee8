"""The oracle alone, against counts that were derived by hand from docs/mechanism.md."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracles.mechanism import Counts, Mechanism
from tests.oracles.translation import TlbGeometry

HUGE = "hugepages-2048kB/stats/"
TLBS = tuple(
    TlbGeometry(name, level, ("4k", "2m"), 64, 8) for level, name in ((1, "L1"), (2, "STLB"))
)
ASYNCHRONOUS = {"synchronous": False}
PMD = {"level": "pmd"}
WRITE = {"action": "touch", "write": True}


def run(*steps: str | dict[str, Any], **rules: Any) -> tuple[Mechanism, list[Counts]]:
    """Fill, then the steps; what each of those counted."""
    mechanism = Mechanism(**({"regions": 1, "content": "random", "tlbs": TLBS} | rules))
    counts = []
    for step in ("fill", *steps):
        counts.append(mechanism.step({"action": step} if isinstance(step, str) else step))
        mechanism.check()
    return mechanism, counts[1:]


def part(action: str, first_page: int, page_count: int, **more: Any) -> dict[str, Any]:
    return {"action": action, "first_page": first_page, "page_count": page_count, **more}


def holds(counts: Counts, lock: str) -> tuple[int, int, int]:
    return counts.holds.get(lock, (0, 0, 0))


def state(mechanism: Mechanism, process: int = 0, number: int = 0) -> str:
    return mechanism.snapshot()["processes"][process]["ranges"][number]["state"]


# Round trips


def test_a_thp_goes_out_and_comes_back_page_by_page():
    mechanism, (out, back) = run("pageout", "touch")
    assert out.counters == {
        "thp_split_pmd": 1,
        "pswpout": 512,
        "thp_swpout": 1,
        HUGE + "swpout": 1,
    }
    assert out.events == {
        "SYSTEM_CALL": 1,
        "VISIT_PMD": 1,
        "SWAPOUT_FOLIO": 1,
        "SWAPOUT_PAGE": 512,
        "SPLIT_PMD_MAPPING": 1,
        "UNMAP_PTE": 512,
        "WRITE_REQUEST": 1,
        "COMPRESS_PAGE": 512,
        "TLB_FLUSH": 1,
    }
    # 512 slots allocated in one hold, then one hold for each PTE.
    assert out.holds == {
        "cluster": (513, 1024, 512),
        "pmd": (1, 512, 512),
        "pte_table": (1, 512, 512),
    }
    assert back.counters == {"pgfault": 512, "pgmajfault": 512, "pswpin": 512}
    assert back.events == {
        **dict.fromkeys(["FAULT", "SWAPIN_FOLIO", "SWAPIN_PAGE", "READ_REQUEST"], 512),
        **dict.fromkeys(["DECOMPRESS_PAGE", "MAP_PTE", "FREE_SLOT", "ACCESS_CACHED"], 512),
        "WALK_PTE": 1024,  # before the fault, and at the access
        "PAGE_TABLE_LINE": 64,
    }
    assert mechanism.mapping() == {
        "pmd_mapped_bytes": 0,
        "pte_mapped_bytes": 2 << 20,
        "pmd_swap_entries": 0,
        "pte_swap_entries": 0,
        "page_table_bytes": 4096,
    }
    assert mechanism.snapshot()["slots"] == {}


def test_an_mthp_swap_in_faults_once_for_16_pages():
    _, (_, back) = run("pageout", "touch", swapin_order=4)
    large = "hugepages-64kB/stats/swpin"
    assert back.counters == {"pgfault": 32, "pgmajfault": 32, "pswpin": 512, large: 32}
    assert back.events["SWAPIN_LARGE_FOLIO"] == back.events["READ_REQUEST"] == 32
    assert holds(back, "pte_table") == (32, 512, 16)


def test_a_pmd_swap_entry_comes_back_in_one_fault():
    mechanism, (out, back) = run("pageout", "touch", **PMD)
    assert out.counters["thp_swpout_pmd"] == 1
    assert "thp_split_pmd" not in out.counters
    assert holds(out, "cluster") == (2, 1024, 512)  # allocation, and counting up
    assert back.counters == {"pgfault": 1, "pgmajfault": 1, "pswpin": 512, HUGE + "swpin": 1}
    assert back.events == {
        **dict.fromkeys(["FAULT", "SWAPIN_FOLIO", "SWAPIN_LARGE_FOLIO"], 1),
        **dict.fromkeys(["READ_REQUEST", "MAP_PMD"], 1),
        **dict.fromkeys(["SWAPIN_PAGE", "DECOMPRESS_PAGE", "FREE_SLOT", "ACCESS_CACHED"], 512),
        "CLASSIFY_SLOT": 512,
        "WALK_PMD": 2,
    }
    assert holds(back, "cluster") == (2, 1024, 512)  # into the cache, and counting down
    assert state(mechanism) == "PMD_MAPPED"


def test_a_lazy_deposit_comes_with_the_split():
    lazy, (out,) = run("pageout", lazy_deposit=True)
    assert out.events["PAGE_TABLE_ALLOCATION"] == 1
    assert lazy.mapping()["page_table_bytes"] == 4096
    lazy, (out,) = run("pageout", lazy_deposit=True, **PMD)
    assert "PAGE_TABLE_ALLOCATION" not in out.events
    assert lazy.mapping()["page_table_bytes"] == 0


def test_zeros_are_never_read():
    _, (out, back) = run("pageout", "touch", content="zero", **PMD)
    assert out.counters["swpout_zero"] == out.events["ZERO_SCAN_PAGE"] == 512
    assert back.counters["swpin_zero"] == back.events["CLEAR_PAGE"] == 512
    assert not {"WRITE_REQUEST", "COMPRESS_PAGE"} & out.events.keys()
    assert not {"READ_REQUEST", "FREE_SLOT"} & back.events.keys()


def test_a_batched_unmap_holds_each_lock_once():
    _, (out,) = run("pageout", batched_unmap=True)
    assert out.events["UNMAP_BATCH"] == 1
    assert out.events["UNMAP_BATCHED_PTE"] == 512
    assert "UNMAP_PTE" not in out.events
    assert holds(out, "cluster") == (2, 1024, 512)


# The swap cache of an asynchronous device


@pytest.mark.parametrize("level", ["pte", "pmd"])
def test_a_folio_in_the_cache_is_a_minor_fault(level):
    _, (_, back, out) = run("pageout", "touch", "pageout", level=level, **ASYNCHRONOUS)
    assert back.counters == {"pgfault": 1}
    assert back.events["PUT_SLOT"] == back.events["ACCESS_MEMORY"] == 512
    assert back.events.get("CLASSIFY_SLOT", 0) == (level == "pmd")
    # Nobody wrote to it, so that it still is what its slots hold.
    assert out.events["FREE_CACHED_FOLIO"] == 1
    assert not {"WRITE_REQUEST", "SWAPOUT_FOLIO"} & out.events.keys()


def test_what_was_written_to_goes_out_again():
    _, (*_, out) = run("pageout", "touch", WRITE, "pageout", **PMD, **ASYNCHRONOUS)
    assert out.events["WRITE_REQUEST"] == 1
    assert "SWAPOUT_FOLIO" not in out.events  # it still has its slots


def test_sequential_touches_read_eight_pages_at_a_time():
    _, (_, _, back) = run("pageout", "reclaim", "touch", regions=2, **ASYNCHRONOUS)
    # The very first window is centred on page 0 (-3 .. 4) and clipped: 5, then 63 x 8, then 3 up to
    # the end of the range. Those had 2 hits, so that the second range begins with 4; then come
    # 63 x 8, and 4 up to its end.
    majors = 65 + 65
    assert back.counters == {
        "pgfault": 1024,
        "pgmajfault": majors,
        "pswpin": 1024,
        "swap_ra": 1024 - majors,
        "swap_ra_hit": 1024 - majors,
    }
    assert back.events["READ_REQUEST"] == majors
    assert back.events["ACCESS_CACHED"] == majors
    assert back.events["PUT_SLOT"] == back.events["ACCESS_MEMORY"] == 1024 - majors


def test_windows_shrink_when_nobody_uses_them():
    sparse = {"action": "touch", "pages_per_2mib": 32}
    _, (_, _, back) = run("pageout", "reclaim", sparse, **ASYNCHRONOUS)
    # 0 .. 4, then windows of 4 and 2, then none.
    assert back.counters["pgmajfault"] == 32
    assert back.counters["swap_ra"] == 4 + 3 + 1
    assert back.counters["pswpin"] == 40
    assert "swap_ra_hit" not in back.counters


def test_page_cluster_0_reads_page_by_page():
    _, (_, _, back) = run("pageout", "reclaim", "touch", page_cluster=0, **ASYNCHRONOUS)
    assert back.counters["pgmajfault"] == 512
    assert "swap_ra" not in back.counters


def test_willneed_makes_the_touch_minor():
    _, (_, _, need, back) = run("pageout", "reclaim", "willneed", "touch", **PMD, **ASYNCHRONOUS)
    assert need.counters == {"pswpin": 512, HUGE + "swpin": 1}
    assert need.events["READ_REQUEST"] == 1
    assert back.counters == {"pgfault": 1}
    _, (_, _, need, back) = run("pageout", "reclaim", "willneed", "touch", **ASYNCHRONOUS)
    assert need.counters == {"pswpin": 512}
    assert need.events["READ_REQUEST"] == 1  # 512 consecutive slots
    assert need.events["SWAPIN_FOLIO"] == 512
    assert back.counters == {"pgfault": 512}
    assert back.events["PUT_SLOT"] == 512


# Whole-PMD attempts that fail


def test_no_order_9_page():
    rules = {"order9_fails": lambda step, number: step == 2}
    mechanism, (_, back) = run("pageout", "touch", **PMD, **rules)
    assert back.fallbacks == {"no_order9_page": 1}
    assert back.counters["pgfault"] == back.counters["pgmajfault"] == 512
    assert back.counters[HUGE + "swpin_fallback"] == back.counters["thp_split_pmd"] == 1
    assert back.events["WALK_PMD"] == 1
    assert state(mechanism) == "PTE_TABLE"


def test_a_charge_that_is_refused_is_for_one_range():
    rules = {"charge_fails": lambda step, number: number == 1}
    _, (_, back) = run("pageout", "touch", regions=2, **PMD, **rules)
    assert back.fallbacks == {"charge_refused": 1}
    assert back.counters["pgmajfault"] == 1 + 512


def test_zswap_reads_no_2_mib():
    _, (out, back) = run("pageout", "touch", zswap="on", **PMD)
    assert out.counters[HUGE + "zswpout"] == 1
    assert back.fallbacks == {"zswap": 1}
    assert back.counters["zswpin"] == 512
    assert back.events["SWAPIN_PAGE"] == 512 + 512  # in vain, then page by page
    assert "FREE_SLOT" not in back.events


def test_slots_of_which_some_hold_zeros():
    refused = {"action": "pageout", "refuse_write": True}
    _, (out, split, write, back) = run(
        refused, "split-folios", "reclaim", "touch", content="one-non-zero", zswap="on", **PMD
    )
    assert out.counters == {"thp_swpout_pmd": 1}
    assert split.counters["thp_split_page"] == 1
    assert write.counters == {"swpout_zero": 511, "zswpout": 1}
    assert back.fallbacks == {"mixed_zero_state": 1}
    assert back.counters["swpin_zero"] == 511


def test_another_thread_discards_the_second_half():
    racing = {"action": "touch", "racing": "unmap", "pages_per_2mib": 2}
    _, (_, back) = run("pageout", racing, **PMD)
    assert back.fallbacks == {"slot_freed": 1, "unaligned_or_partial": 1}
    # Page 0: the fault that lost, then one that reads; page 256: the zero page.
    assert back.counters["pgfault"] == 3
    assert back.counters["pgmajfault"] == 1
    assert back.events["FREE_SLOT"] == 256 + 1


def test_no_cluster_is_free():
    # Two clusters of which 256 slots each are free.
    rules = {"clusters": 2, "neighbour_slots": 256}
    mechanism, (out, nothing) = run("pageout", "pageout", regions=2, **PMD, **rules)
    assert out.fallbacks == {"no_free_cluster": 2}
    assert out.counters[HUGE + "swpout_fallback"] == out.counters["thp_swpout_fallback"] == 2
    assert out.counters["pswpout"] == out.events["WRITE_REQUEST"] == 512
    # 2 THPs and 1024 pages tried; the second 512 found no slot, and go on to find none.
    assert out.events["SWAPOUT_PAGE"] == 2 * 512 + 1024
    assert nothing.events["SWAPOUT_PAGE"] == 512
    assert mechanism.mapping()["pte_swap_entries"] == 512


def test_a_swap_file_has_no_large_slots():
    _, (out,) = run("pageout", block_device=False, synchronous=False)
    assert out.fallbacks == {"not_block_device": 1}
    assert out.events["SPLIT_FOLIO_PAGE"] == 512
    assert out.counters["pswpout"] == 512


# Sharing


def test_a_forked_childs_write_copies_one_page():
    child = part("touch", 7, 1, process=1, write=True)
    mechanism, (fork, write, out) = run("fork", child, "pageout")
    assert fork.events == {
        "VISIT_PMD": 1,
        "SET_PTE": 2,
        "CHANGE_FOLIO": 1,
        "PAGE_TABLE_ALLOCATION": 1,
        "TLB_FLUSH": 1,
    }
    assert write.fallbacks == {"write_shared": 1}
    assert write.events["COPY_PAGE"] == write.events["MAP_PTE"] == 1
    assert write.counters == {"pgfault": 1, "thp_split_pmd": 1}
    # The parent's PMD entry still maps page 7, so that nothing is deferred; and it is shared.
    assert out.events == {"SYSTEM_CALL": 1, "VISIT_PMD": 1}
    assert state(mechanism) == "PMD_MAPPED"


@pytest.mark.parametrize(("level", "calls"), [("pte", 512), ("pmd", 1)])
def test_a_fork_counts_slots_up_by_one_call_for_each_entry(level, calls):
    _, (_, fork) = run("pageout", "fork", level=level)
    assert fork.events["DUPLICATE_CALL"] == calls
    assert fork.events["DUPLICATE_SLOT"] == 512
    assert holds(fork, "cluster") == (calls, 512, 512 // calls)


def test_calls_look_folios_up_and_change_them_by_the_run_of_entries():
    looks = ("pagemap", "smaps", {"action": "protect", "writable": False}, "fork", "unmap")
    for order, folios in ((0, 512), (4, 32)):
        _, (*_, pagemap, smaps, protect, fork, unmap) = run(
            "pageout", "touch", *looks, swapin_order=order
        )
        assert pagemap.events["LOOKUP_FOLIO"] == smaps.events["LOOKUP_FOLIO"] == folios
        assert protect.events["CHANGE_FOLIO"] == fork.events["CHANGE_FOLIO"] == folios
        assert (pagemap.events["REPORT_PAGE"], smaps.events["ACCOUNT_PAGE"]) == (512, 512)
        # The child still maps them.
        assert (unmap.events["ZAP_FOLIO"], unmap.events["FREE_PAGE"]) == (folios, 0)


def test_a_cache_hit_is_counted_by_the_fault_that_finds_a_folio():
    _, (*_, back) = run("pageout", "willneed", "touch")
    assert back.events["SWAP_CACHE_HIT"] == back.events["FAULT"] == 512
    assert back.events["SWAPIN_FOLIO"] == 0


@pytest.mark.parametrize(("pages", "lines"), [(512, 64), (64, 64), (8, 8), (1, 1)])
def test_a_line_of_entries_comes_once_to_a_touch(pages, lines):
    sparse = {"action": "touch", "pages_per_2mib": pages}
    _, (*_, touch, again) = run("pageout", sparse, sparse)
    assert touch.events["PAGE_TABLE_LINE"] == lines
    # What the TLBs still hold is not walked.
    assert again.events["PAGE_TABLE_LINE"] == (lines if again.events["WALK_PTE"] == pages else 0)


def test_shared_pages_are_written_once_and_read_once():
    _, (_, out, mine, childs) = run("fork", "reclaim", "touch", {"action": "touch", "process": 1})
    assert out.counters["pswpout"] == 512
    assert out.events["UNMAP_PTE"] == 1024
    # Counts of 2: through the cache, even on a synchronous device.
    assert mine.counters["pswpin"] == 512
    assert mine.counters["swap_ra"] == 512 - 65
    assert childs.counters == {"pgfault": 512}
    assert childs.events["PUT_SLOT"] == 512


def test_a_move_of_shared_memory_is_refused():
    _, (_, move, _, again) = run("fork", "move", {"action": "exit", "process": 1}, "move", **PMD)
    assert move.observed == again.observed == {"refused_calls": 1}
    _, (_, move) = run("pageout", "move", **PMD)
    assert move.events["MOVE_PMD"] == 1
    assert move.fallbacks == {}


# Parts


def test_munmap_of_half_a_pmd_swap_entry():
    mechanism, (_, unmap) = run("pageout", part("unmap", 256, 256), **PMD)
    assert unmap.fallbacks == {"unaligned_or_partial": 1}
    assert unmap.events == {
        **dict.fromkeys(["SYSTEM_CALL", "VISIT_PMD", "SPLIT_PMD_SWAP_ENTRY"], 1),
        **dict.fromkeys(["VISIT_PTE", "SET_PTE", "PUT_SLOT", "FREE_SLOT"], 256),
    }
    assert mechanism.mapping()["pte_swap_entries"] == 256
    # The cluster is partly free now, and still one of order 9.
    assert len(mechanism.snapshot()["slots"]) == 256


def test_a_partly_unmapped_thp_is_split_before_it_goes_out():
    _, (unmap, out) = run(part("unmap", 0, 100), "reclaim")
    assert unmap.counters["thp_deferred_split_page"] == unmap.counters[HUGE + "split_deferred"] == 1
    assert unmap.events["ZAP_PTE"] == 100
    assert unmap.events["TLB_FLUSH"] == 1
    assert out.counters["thp_split_page"] == 1
    assert out.counters["pswpout"] == 412
    assert "thp_swpout" not in out.counters


def test_the_whole_of_a_split_mapping_is_unmapped_without_deferring():
    # A VMA's end would end the run of PTEs that goes in one go.
    again = part("protect", 0, 1, writable=True)
    _, (_, _, discard) = run(part("protect", 0, 1), again, "discard")
    assert discard.events["ZAP_PTE"] == 512
    assert "thp_deferred_split_page" not in discard.counters


def test_free_is_a_discard_that_waits():
    mechanism, (_, out) = run("free", "reclaim")
    assert out.events == {"SPLIT_PMD_MAPPING": 1, "UNMAP_PTE": 512}
    assert mechanism.mapping()["pte_mapped_bytes"] == 0
    assert mechanism.snapshot()["folios"] == []
    # A write in time: the first reclaim only learns of it.
    _, (_, _, first, second) = run("free", WRITE, "reclaim", "reclaim")
    assert first.events == {"SPLIT_PMD_MAPPING": 1}
    assert second.counters["pswpout"] == 512


def test_remap_off_alignment_splits():
    mechanism, (_, remap) = run("pageout", {"action": "remap", "shift_pages": 1}, **PMD)
    assert remap.fallbacks == {"unaligned_or_partial": 1}
    assert remap.events["SET_PTE"] == 1024
    assert remap.events["PAGE_TABLE_ALLOCATION"] == 2
    assert "TLB_FLUSH" not in remap.events  # nothing was present
    assert mechanism.mapping()["page_table_bytes"] == 8192


# Collapse


def test_collapse_copies_512_pages():
    mechanism, (*_, collapse) = run("pageout", "touch", "collapse")
    assert collapse.counters == {"thp_collapse_alloc": 1}
    assert collapse.events["COPY_PAGE"] == collapse.events["ZAP_PTE"] == 512
    assert collapse.events["MAP_PMD"] == collapse.events["TLB_FLUSH"] == 1
    assert state(mechanism) == "PMD_MAPPED"
    assert mechanism.mapping()["page_table_bytes"] == 4096


def test_khugepaged_reads_at_most_64_pages_back():
    most = part("touch", 0, 448)
    _, (_, _, collapse) = run("pageout", most, "khugepaged")
    assert collapse.counters == {"thp_collapse_alloc": 1, "pswpin": 64}
    _, (_, _, nothing) = run("pageout", part("touch", 0, 447), "khugepaged")
    assert nothing.counters == {"thp_scan_exceed_swap_pte": 1}


# The device


def test_small_folios_take_slots_in_a_row():
    mechanism, (_, _, out) = run("pageout", "touch", "pageout", swapin_order=4)
    assert out.counters == {"pswpout": 512, "hugepages-64kB/stats/swpout": 32}
    # Cluster 1 is free again, behind all others; the 32 folios fill the one that was next.
    clusters = mechanism.snapshot()["clusters"]
    assert clusters["full"] == [2]
    assert clusters["free"][:2] == [3, 4]
    assert clusters["free"][-1] == 1
    assert sorted(mechanism.snapshot()["slots"]) == list(range(1024, 1536))


def test_swapoff_brings_all_back():
    mechanism, (_, off, touch) = run("pageout", "swapoff", "touch", **PMD)
    assert off.counters == {"pswpin": 512, HUGE + "swpin": 1}
    assert off.events["FREE_SLOT"] == 512
    assert touch.counters == {}
    assert mechanism.snapshot()["clusters"]["free"] == list(range(1, 41))


@pytest.mark.parametrize("level", ["pte", "pmd"])
def test_what_programs_see_does_not_depend_on_the_level(level):
    _, (_, mincore, pagemap, smaps) = run(
        "pageout", "mincore", "pagemap", "smaps", level=level, **ASYNCHRONOUS
    )
    assert mincore.observed == {"mincore_resident_pages": 512}
    assert pagemap.observed == {"pagemap_swapped_pages": 512}
    assert smaps.observed == {"smaps_swap_pages": 512}
    assert smaps.events["LOOKUP_SLOT"] == (1 if level == "pmd" else 512)
