"""Every kind of step moves the kernel's counters as it should, exactly, on every kind of device."""

import attrs
import pytest

from perfmodel.errors import CapabilityError
from perfmodel.measure.run import measure_arms
from perfmodel.measure.system import program
from perfmodel.specs.catalog import load_device
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace

from .scenarios import PAGES, RANGES, scenario

# What other programs move too: their memory may be swapped to our device.
OTHERS_TOO = {"pswpin", "pswpout", "swpin_zero", "swpout_zero", "swap_ra", "swap_ra_hit"}
FIRST = {"pgfault": RANGES, "thp_fault_alloc": RANGES}
OUT = {"pswpout": PAGES, "thp_swpout": RANGES, "thp_split_pmd": RANGES}
# A THP that PTEs map by now.
OUT_WITHOUT_PMD = {"pswpout": PAGES, "thp_swpout": RANGES}
SPLIT_OUT = {
    "pswpout": PAGES,
    "thp_split_pmd": RANGES,
    "thp_swpout_fallback": RANGES,
    "thp_split_page": RANGES,
}
IN_BY_PAGE = {"pgfault": PAGES, "pgmajfault": PAGES, "pswpin": PAGES}
IN_FROM_MEMORY = {"pgfault": PAGES}
# Readahead by address: the window opens at 5 pages, and closes at every 2 MiB.
READ_AHEAD = {"pgfault": PAGES, "pgmajfault": 258, "pswpin": PAGES, "swap_ra": 1790}
NOTHING: dict[str, int] = {}
ALL_SWAPPED = {"pagemap_present_pages": 0, "pagemap_swapped_pages": PAGES}
ALL_PRESENT = {"pagemap_present_pages": PAGES, "pagemap_swapped_pages": 0}


def smaps(rss: int, swapped: int, by_pmd: int) -> dict[str, int]:
    return {
        "smaps_rss_pages": rss,
        "smaps_swap_pages": swapped,
        "smaps_pmd_mapped_pages": by_pmd,
    }


STORIES: dict[str, tuple[str, str, list[dict[str, int]]]] = {
    "read-observe": (
        "zram-lz4",
        "pageout; mincore; pagemap; smaps; touch; pagemap; smaps",
        [
            OUT,
            {"mincore_resident_pages": 0},
            ALL_SWAPPED,
            smaps(0, PAGES, 0),
            IN_BY_PAGE,
            ALL_PRESENT,
            smaps(PAGES, 0, 0),
        ],
    ),
    "advice": (
        "zram-lz4",
        "cold; pageout; touch n8; pageout; willneed; touch; free; pageout; touch write",
        [
            NOTHING,
            OUT,
            {"pgfault": 32, "pgmajfault": 32, "pswpin": 32},
            {"pswpout": 32},
            {"pswpin": PAGES},
            IN_FROM_MEMORY,
            NOTHING,
            NOTHING,
            IN_FROM_MEMORY,
        ],
    ),
    "parts": (
        "zram-lz4",
        "pageout; discard [0:256]; pagemap; unmap [500:12]; touch [0:500]",
        [
            OUT,
            NOTHING,
            {"pagemap_present_pages": 0, "pagemap_swapped_pages": PAGES // 2},
            NOTHING,
            {"pgfault": 4 * 500, "pgmajfault": 4 * 244, "pswpin": 4 * 244},
        ],
    ),
    "protect": (
        "zram-lz4",
        "protect [0:10]; protect writable; touch write; pageout; protect; touch",
        [{"thp_split_pmd": RANGES}, NOTHING, NOTHING, OUT_WITHOUT_PMD, NOTHING, IN_BY_PAGE],
    ),
    "remap": (
        "zram-lz4",
        "remap; smaps; pageout; remap +5; pagemap; touch; protect [3:5]; remap; pagemap",
        [
            NOTHING,
            smaps(PAGES, 0, PAGES),
            OUT,
            NOTHING,
            ALL_SWAPPED,
            IN_BY_PAGE,
            NOTHING,
            NOTHING,
            ALL_PRESENT,
        ],
    ),
    "move": (
        "zram-lz4",
        "move; smaps; pageout; move +3; pagemap; touch; fork; move; touch",
        [
            NOTHING,
            smaps(PAGES, 0, PAGES),
            OUT,
            NOTHING,
            ALL_SWAPPED,
            IN_BY_PAGE,
            NOTHING,
            {"refused_calls": RANGES},
            NOTHING,
        ],
    ),
    "write-protect": (
        "zram-lz4",
        "write-protect [0:256]; touch write [256:256]; pageout; write-protect; touch; pagemap",
        [
            {"thp_split_pmd": RANGES},
            NOTHING,
            # PTEs of two kinds map it: the folio is split.
            {"pswpout": PAGES, "thp_split_page": RANGES, "thp_deferred_split_page": RANGES},
            NOTHING,
            IN_BY_PAGE,
            ALL_PRESENT,
        ],
    ),
    "collapse": (
        "zram-lz4",
        "pageout; collapse; smaps; pageout; touch; khugepaged; smaps",
        [
            OUT,
            {"pswpin": PAGES, "thp_collapse_alloc": RANGES},
            smaps(PAGES, 0, PAGES),
            OUT,
            IN_BY_PAGE,
            {"thp_collapse_alloc": RANGES},
            smaps(PAGES, 0, PAGES),
        ],
    ),
    "processes": (
        "zram-lz4",
        "fork; touch write @1; fork @1; touch @2; touch write @2; exit @1; touch write; exit @2",
        [
            NOTHING,
            {"pgfault": PAGES, "thp_split_pmd": RANGES},
            NOTHING,
            NOTHING,
            IN_FROM_MEMORY,
            NOTHING,
            {"pgfault": RANGES},
            NOTHING,
        ],
    ),
    "shared-swap": (
        "zram-lz4",
        # Once two processes have it, zram is read ahead from too.
        "pageout; fork; touch @1; touch; smaps @1",
        [OUT, NOTHING, READ_AHEAD, IN_FROM_MEMORY, smaps(PAGES, 0, 0)],
    ),
    "swapoff": (
        "zram-lz4",
        "pageout; swapoff; smaps; pageout; touch",
        [OUT, {"pswpin": PAGES}, smaps(PAGES, 0, 0), {"pswpout": PAGES}, IN_BY_PAGE],
    ),
    "reclaim": (
        "zram-lz4",
        "reclaim; pagemap; touch write n8; reclaim; pagemap",
        [
            OUT,
            ALL_SWAPPED,
            {"pgfault": 32, "pgmajfault": 32, "pswpin": 32},
            {"pswpout": 32},
            ALL_SWAPPED,
        ],
    ),
    "still-cached": (
        "ram-disk",
        "pageout; mincore; touch n1; smaps; reclaim; pageout; reclaim; mincore; touch",
        [
            OUT,
            {"mincore_resident_pages": PAGES},
            {"pgfault": RANGES},
            smaps(PAGES, 0, 0),
            NOTHING,
            NOTHING,
            NOTHING,
            {"mincore_resident_pages": 0},
            READ_AHEAD,
        ],
    ),
    "disk": (
        "disk",
        "pageout; reclaim; mincore; willneed; mincore; touch",
        [
            OUT,
            NOTHING,
            {"mincore_resident_pages": 0},
            {"pswpin": PAGES},
            {"mincore_resident_pages": PAGES},
            IN_FROM_MEMORY,
        ],
    ),
    "swap-file": (
        "swap-file",
        "pageout; mincore; reclaim; mincore; touch",
        [
            SPLIT_OUT,
            {"mincore_resident_pages": PAGES},
            NOTHING,
            {"mincore_resident_pages": 0},
            READ_AHEAD,
        ],
    ),
    "reclaim-shared": (
        "ram-disk",
        "pageout; fork; touch @1; touch; reclaim; mincore; touch write @1; touch write; reclaim",
        [
            OUT,
            NOTHING,
            {"pgfault": RANGES},
            {"pgfault": RANGES},
            NOTHING,
            {"mincore_resident_pages": 0},
            READ_AHEAD,
            IN_FROM_MEMORY,
            {"pswpout": 2 * PAGES},
        ],
    ),
}


def check(measured: Scenario, device: str, expected: list[dict[str, int]]) -> None:
    (result,) = measure_arms([(measured, "pte")], load_device(device), repetitions=3)
    assert len(result.steps) == len(expected)
    for step, wanted in zip(result.steps, expected, strict=True):
        seen = {**dict.fromkeys(wanted, 0), **step.counters, **step.observed}
        moved = {name for name, value in seen.items() if value} - OTHERS_TOO
        # The statistics of each size say the same once more.
        moved = {name for name in moved if "/" not in name}
        assert {name: seen[name] for name in wanted} == wanted, step.name
        assert moved <= set(wanted), step.name
        unstable = set(step.unstable_counters) - OTHERS_TOO
        assert not unstable, step.name


@pytest.mark.parametrize("story", STORIES)
def test_counters_of_each_kind_of_step(story: str) -> None:
    device, steps, expected = STORIES[story]
    if device in ("ram-disk", "disk") and program("losetup") is None:
        pytest.skip("no losetup")
    check(scenario(steps), device, [FIRST, *expected])


@pytest.mark.parametrize(
    ("page_cluster", "vma_readahead", "majors"),
    [(0, True, PAGES), (3, True, 258), (5, True, 68), (3, False, 256), (5, False, 64)],
)
def test_readahead_is_as_the_scenario_sets_it(
    page_cluster: int, vma_readahead: bool, majors: int
) -> None:
    settings = Settings(page_cluster=page_cluster, vma_readahead=vma_readahead)
    ahead = PAGES - majors
    expected = {"pgfault": PAGES, "pgmajfault": majors, "swap_ra": ahead, "swap_ra_hit": ahead}
    story = scenario("pageout; reclaim; touch", settings=settings)
    check(story, "ram-disk", [FIRST, OUT, NOTHING, expected])


@pytest.mark.parametrize("device", ["zram-lz4", "ram-disk", "disk"])
def test_a_thp_needs_a_whole_free_cluster(device: str) -> None:
    swap = SwapSpace(clusters=20, free_clusters=3, neighbour_slots=256)
    expected = {
        "pswpout": PAGES,
        "thp_swpout": 3,
        "thp_swpout_fallback": 1,
        "thp_split_page": 1,
        "thp_split_pmd": RANGES,
    }
    check(scenario("pageout", swap=swap), device, [FIRST, expected])


def test_a_full_device_takes_nothing() -> None:
    swap = SwapSpace(clusters=20, neighbour_slots=512)
    expected = {
        "pswpout": 0,
        "thp_swpout_fallback": RANGES,
        "thp_split_page": RANGES,
        "thp_split_pmd": RANGES,
    }
    story = scenario("pageout; pagemap", swap=swap)
    check(story, "zram-lz4", [FIRST, expected, ALL_PRESENT])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("zero", {"swpout_zero": PAGES, "thp_split_pmd": RANGES}),
        ("one-non-zero", OUT),
        ("compressible", OUT),
        ("random", OUT),
    ],
)
def test_content_decides_what_is_written(content: str, expected: dict[str, int]) -> None:
    check(scenario("pageout", content=content), "zram-lz4", [FIRST, expected])


@pytest.mark.parametrize(
    "steps", ["write-protect [0:10]; collapse", "fork; write-protect [0:10] @1; collapse @1"]
)
def test_a_refused_step_is_named(steps: str) -> None:
    # A THP cannot be collapsed where writes to single pages are watched.
    with pytest.raises(CapabilityError, match=r"refused step '. collapse.*': .*madvise\(25\)"):
        measure_arms([(scenario(steps), "pte")], load_device("zram-lz4"), repetitions=3)


def test_scenarios_of_different_sizes_share_a_session() -> None:
    small = scenario("pageout; touch")
    large = attrs.evolve(small, name="large", swap=SwapSpace(clusters=90))
    arms = [(small, "pte"), (large, "pte")]
    for result in measure_arms(arms, load_device("zram-lz4"), repetitions=3):
        assert result.steps[2].counters["pgmajfault"] == PAGES
