"""simulate(): counts derived by hand from what the kernel does."""

import attrs
import pytest

from perfmodel.constants import PMD_BYTES
from perfmodel.specs.catalog import (
    load_scenario,
)
from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.step import Step, StepAction

from .arms import MIB_64, ONE_RANGE, PAGES, RANGES, counted, run

# Entries whose kernel leaves one PMD swap entry for a whole THP.
WHOLE = ("pmd", "pmd-lazy")
MIB_2 = "hugepages-2048kB/stats"


def statistic(entry, name):
    """A statistic of the folios that an mTHP entry swaps in, or of whole THPs."""
    return (
        f"hugepages-{entry.removeprefix('mthp-')}B/stats/{name}"
        if "mthp" in entry
        else (f"{MIB_2}/{name}")
    )


# thp-roundtrip


@pytest.mark.parametrize("entry", SIMULATED_ENTRIES)
def test_roundtrip_fills_with_one_fault_per_range(entry):
    assert counted(run("thp-roundtrip", entry), "fill") == {
        "pgfault": RANGES,
        "thp_fault_alloc": RANGES,
        f"{MIB_2}/anon_fault_alloc": RANGES,
    }


@pytest.mark.parametrize("entry", SIMULATED_ENTRIES)
def test_roundtrip_pages_out_whole_thps(entry):
    # The same I/O under every entry: what differs is the PMD split or the PMD swap entry.
    left_behind = {"thp_swpout_pmd": RANGES} if entry in WHOLE else {"thp_split_pmd": RANGES}
    assert counted(run("thp-roundtrip", entry), "pageout") == {
        "pswpout": PAGES,
        "thp_swpout": RANGES,
        f"{MIB_2}/swpout": RANGES,
        **left_behind,
    }


@pytest.mark.parametrize(
    ("entry", "faults"),
    [
        ("pte", 16384),
        ("pte-batched", 16384),
        ("mthp-16k", 4096),
        ("mthp-32k", 2048),
        ("mthp-64k", 1024),
        ("mthp-128k", 512),
        ("mthp-256k", 256),
        ("mthp-512k", 128),
        ("mthp-1024k", 64),
        ("pmd", 32),
        ("pmd-lazy", 32),
    ],
)
def test_roundtrip_comes_back_in_folios_of_the_entry(entry, faults):
    expected = {"pgfault": faults, "pgmajfault": faults, "pswpin": PAGES}
    if faults < PAGES:
        expected[statistic(entry, "swpin")] = faults
    result = run("thp-roundtrip", entry)
    assert counted(result, "touch") == expected
    assert counted(result, "touch-again") == {}


@pytest.mark.parametrize("entry", SIMULATED_ENTRIES)
def test_roundtrip_ends_mapped_by_pmds_under_pmd_alone(entry):
    whole = entry in WHOLE
    assert run("thp-roundtrip", entry).mapping == {
        "pmd_mapped_bytes": MIB_64 if whole else 0,
        "pte_mapped_bytes": 0 if whole else MIB_64,
        "pmd_swap_entries": 0,
        "pte_swap_entries": 0,
        # A mapped THP keeps one PTE table in reserve, unless the kernel allocates it lazily.
        "page_table_bytes": 0 if entry == "pmd-lazy" else RANGES * 4096,
    }


@pytest.mark.parametrize("entry", ["pmd", "pmd-lazy", "pte", "pte-batched", "mthp-64k"])
def test_swapped_out_page_tables_are_kept_but_by_lazy_deposit(entry):
    out = attrs.evolve(ONE_RANGE, steps=ONE_RANGE.steps[:2])
    assert run(out, entry).mapping == {
        "pmd_mapped_bytes": 0,
        "pte_mapped_bytes": 0,
        "pmd_swap_entries": int(entry in WHOLE),
        "pte_swap_entries": 0 if entry in WHOLE else 512,
        "page_table_bytes": 0 if entry == "pmd-lazy" else 4096,
    }


@pytest.mark.parametrize(
    ("entry", "step", "holds"),
    [
        # 512 slots are taken in one hold, and counted in another.
        ("pmd", "pageout", {"pmd": (32, 32, 1), "cluster": (64, 32768, 512)}),
        # The mapping is split, then every PTE counts its own slot, all under one table's lock.
        (
            "pte",
            "pageout",
            {
                "pte_table": (32, 16384, 512),
                "pmd": (32, 16384, 512),
                "cluster": (32 + 16384, 32768, 512),
            },
        ),
        (
            "pte-batched",
            "pageout",
            {
                "pte_table": (32, 16384, 512),
                "pmd": (32, 16384, 512),
                "cluster": (64, 32768, 512),
            },
        ),
        # The folio goes into the swap cache, and its slots' counts are given back.
        ("pmd", "touch", {"pmd": (32, 32, 1), "cluster": (64, 32768, 512)}),
        ("pte", "touch", {"pte_table": (16384, 16384, 1), "cluster": (32768, 32768, 1)}),
        ("mthp-64k", "touch", {"pte_table": (1024, 16384, 16), "cluster": (2048, 32768, 16)}),
    ],
)
def test_roundtrip_holds_locks(entry, step, holds):
    found = run("thp-roundtrip", entry).step(step).lock_holds
    assert {
        lock: (hold["count"], hold["total"], hold["longest"]) for lock, hold in found.items()
    } == holds


def test_roundtrip_with_no_order_9_page_falls_back_everywhere():
    result = run("thp-roundtrip", "pmd", order9_failure=1.0)
    assert counted(result, "touch") == {
        # The fault that found the PMD swap entry goes on with one PTE, so it is not an extra one.
        "pgfault": PAGES,
        "pgmajfault": PAGES,
        "pswpin": PAGES,
        "thp_split_pmd": RANGES,
        f"{MIB_2}/swpin_fallback": RANGES,
    }
    assert result.step("touch").fallbacks == {"no_order9_page": RANGES}
    assert result.mapping["pte_mapped_bytes"] == MIB_64
    assert result.mapping["pmd_mapped_bytes"] == 0


@pytest.mark.parametrize("entry", ["pte", "mthp-64k"])
def test_order9_failure_is_nothing_to_pte_entries(entry):
    assert [
        counted(run("thp-roundtrip", entry, order9_failure=1.0), step)
        for step in ("fill", "pageout", "touch", "touch-again")
    ] == [
        counted(run("thp-roundtrip", entry), step)
        for step in ("fill", "pageout", "touch", "touch-again")
    ]


# The other scenarios


@pytest.mark.parametrize(
    ("entry", "pages", "extra"),
    [
        ("pte", 32, {}),
        ("mthp-64k", 512, {"hugepages-64kB/stats/swpin": 32}),
        ("pmd", PAGES, {"hugepages-2048kB/stats/swpin": 32}),
    ],
)
def test_sparse_touch_of_one_page_reads_one_folio_per_range(entry, pages, extra):
    result = run(load_scenario("thp-sparse-touch", pages_touched=1), entry)
    assert counted(result, "touch") == {
        "pgfault": RANGES,
        "pgmajfault": RANGES,
        "pswpin": pages,
        **extra,
    }
    assert counted(result, "touch-again") == {}
    assert result.mapping["pte_swap_entries"] == (PAGES - pages if entry != "pmd" else 0)


def test_sparse_touch_touches_eight_pages_unless_told():
    assert counted(run("thp-sparse-touch", "pte"), "touch")["pgmajfault"] == 8 * RANGES
    # Every 64th page: eight different 64 KiB folios, four different 512 KiB folios.
    assert counted(run("thp-sparse-touch", "mthp-64k"), "touch")["pgmajfault"] == 8 * RANGES
    assert counted(run("thp-sparse-touch", "mthp-512k"), "touch")["pgmajfault"] == 4 * RANGES


@pytest.mark.parametrize(
    ("entry", "faults"), [("pte", 16384), ("mthp-64k", 1024), ("pmd", 32), ("pmd-lazy", 32)]
)
def test_zeros_move_no_data(entry, faults):
    result = run("thp-zero-roundtrip", entry)
    left_behind = {"thp_swpout_pmd": RANGES} if entry in WHOLE else {"thp_split_pmd": RANGES}
    assert counted(result, "pageout") == {"swpout_zero": PAGES, **left_behind}
    # No I/O, so pswpin stays and the mTHP statistics see no swap-in either.
    assert counted(result, "touch") == {
        "pgfault": faults,
        "pgmajfault": faults,
        "swpin_zero": PAGES,
    }
    for step in result.steps:
        assert step.breakdown_ns["compression"] == 0
        assert step.breakdown_ns["decompression"] == 0
        assert step.breakdown_ns["device_wait"] == 0


@pytest.mark.parametrize(
    ("entry", "folios"),
    [
        ("pte", 16384),
        ("pte-batched", 16384),
        ("mthp-64k", 1024),
        ("mthp-1024k", 64),
        ("pmd", 32),
        ("pmd-lazy", 32),
    ],
)
def test_second_trip_swaps_out_what_the_first_left(entry, folios):
    result = run("thp-two-trips", entry)
    expected = {"pswpout": PAGES}
    if entry in WHOLE:
        expected |= {"thp_swpout": RANGES, "thp_swpout_pmd": RANGES}
    if folios < PAGES:
        expected[statistic(entry, "swpout")] = folios
    # No PMD mapping is left to split, and no THP to count.
    assert counted(result, "pageout-2") == expected
    assert counted(result, "touch-2") == counted(result, "touch")


def test_second_trip_after_a_fallback_is_that_of_pte():
    fallen, pte = run("thp-two-trips", "pmd", order9_failure=1.0), run("thp-two-trips", "pte")
    for step in ("pageout-2", "touch-2"):
        assert fallen.step(step) == pte.step(step)
    assert fallen.mapping == pte.mapping


def test_touching_all_pages_before_a_page_out_faults_nowhere():
    scenario = attrs.evolve(ONE_RANGE, steps=(ONE_RANGE.steps[0], Step("touch", StepAction.TOUCH)))
    result = run(scenario, "pte")
    assert counted(result, "touch") == {}
    assert result.mapping["pmd_mapped_bytes"] == PMD_BYTES
