"""What the installed scenarios count under `pmd`: each step's counters and reasons of fallbacks.

All of them have two ranges of 2 MiB, 1024 pages. The numbers follow from docs/mechanism.md by hand.
"""

from __future__ import annotations

from perfmodel.specs.device import DeviceKind
from tests.conformance.worlds import MIB_2

ZRAM, RAM, FILE = DeviceKind.ZRAM, DeviceKind.RAM_DISK, DeviceKind.SWAP_FILE
BOTH = (ZRAM, RAM)

# Counters of single steps that recur.

FILL = {"pgfault": 2, "thp_fault_alloc": 2, f"{MIB_2}/anon_fault_alloc": 2}
OUT = {"pswpout": 1024, "thp_swpout": 2, f"{MIB_2}/swpout": 2, "thp_swpout_pmd": 2}
OUT_TO_ZSWAP = {"zswpout": 1024, f"{MIB_2}/zswpout": 2, "thp_swpout_pmd": 2}
READ_2_MIB = {"pswpin": 1024, f"{MIB_2}/swpin": 2}
# A folio in the swap cache is split: its PMD swap entry does not notice.
SPLIT_FOLIOS = {"thp_split_page": 2, f"{MIB_2}/split": 2}
SPLIT_ENTRIES = {"thp_split_pmd": 2}
# The fault that found the PMD swap entry goes on with one PTE: 512 faults for each range.
EVERY_PAGE_ALONE = {"pgfault": 1024, "pgmajfault": 1024, "thp_split_pmd": 2}
NO_2_MIB = EVERY_PAGE_ALONE | {f"{MIB_2}/swpin_fallback": 2}

# An asynchronous device reads ahead by address, at most 8 pages (vm.page-cluster 3). Reading on in
# order, each of 8 pages but the first has the flag and counts a hit, so the next window has 8 too.
# Range 0 begins with memory (address 0, hits 4): 8 pages around page 0, of which 0 .. 4 are there.
# Then 507 = 63 x 8 + 3: faults that read 1 + 63 + 1 = 65. Range 1 comes with 2 hits: 4 pages, then
# 508 = 63 x 8 + 4: 1 + 63 + 1 = 65. The other 1024 - 130 = 894 pages are read ahead, and hit.
IN_ORDER = {"pgmajfault": 130, "swap_ra": 894, "swap_ra_hit": 894}
# The first half of each range: 5, then 251 = 31 x 8 + 3: 1 + 31 + 1 = 33. Range 1 does not join on
# to page 255: 2 hits make 4 pages around 512, of which 512 .. 514 are there; then 4 from 515 on
# (2 hits), then 249 = 31 x 8 + 1: 1 + 1 + 31 + 1 = 34. 512 - 67 = 445 pages are read ahead.
HALVES_IN_ORDER = {"pgmajfault": 67, "swap_ra": 445, "swap_ra_hit": 445}
# Pages 4 .. 511 of each range: 508 = 63 x 8 + 4: 64 faults, twice; 1016 - 128 = 888.
WITHOUT_FOUR_IN_ORDER = {"pgmajfault": 128, "swap_ra": 888, "swap_ra_hit": 888}

# (scenario, device): for each step the counters, then the reasons of its fallbacks.
Steps = dict[str, tuple[dict[str, int], dict[str, int]]]
EXPECTED: dict[tuple[str, DeviceKind], Steps] = {}


def expect(name: str, *kinds: DeviceKind, **steps: tuple[dict[str, int], dict[str, int]]) -> None:
    for kind in kinds:
        EXPECTED[name, kind] = {step.replace("_", "-"): said for step, said in steps.items()}


def did(counters: dict[str, int], **reasons: int) -> tuple[dict[str, int], dict[str, int]]:
    """Counters that a step moves, and the reasons of its fallbacks."""
    return counters, reasons


# Ways into SPLIT

for way, cut, reads in (
    ("deferred-split", "split_folios", {}),
    # Page 100 alone is read again. It stands in the middle of pages that are cached, so that
    # readahead finds nothing more to read there.
    ("memory-failure", "break_a_page", {"pgmajfault": 2, "pswpin": 2}),
):
    for kind in BOTH:
        expect(
            f"split-by-{way}",
            kind,
            fill=did(FILL),
            pageout=did(OUT),
            # On an asynchronous device the folios are in the cache still.
            willneed=did(READ_2_MIB if kind is ZRAM else {}),
            **{cut: did(SPLIT_FOLIOS)},
            touch=did({"pgfault": 1024} | SPLIT_ENTRIES | reads, split_cache=2),
        )

FORKED = {
    "fill": did(FILL),
    "pageout": did(OUT),
    "evict": did({}),
    "fork": did({}),
    "split_child": did(SPLIT_ENTRIES, unaligned_or_partial=2),
}
expect(
    "split-by-forked-sharer",
    *BOTH,
    **FORKED,
    # Four pages of each range, without readahead; the others are read by the parent one by one.
    touch_child=did({"pgfault": 8, "pgmajfault": 8, "pswpin": 8}),
    touch_parent=did(
        {"pgfault": 1024, "pgmajfault": 1016, "pswpin": 1016} | SPLIT_ENTRIES, split_cache=2
    ),
)
expect(
    "split-by-readahead",
    *BOTH,
    **FORKED,
    # Page 64 of range 0: memory (0, hits 4) makes 8 pages, 61 .. 68. Page 64 of range 1, which is
    # not next to it: 2 pages would do, but half of the last window are 4: 575 .. 578 (63 .. 66).
    touch_child=did({"pgfault": 2, "pgmajfault": 2, "pswpin": 12, "swap_ra": 10}),
    # The slots have two sharers, so even a synchronous device reads ahead. Range 0: 0 .. 4, seven
    # windows from 5 to 60, 61 .. 68 are the child's, then 443 = 55 x 8 + 3: 1 + 7 + 55 + 1 = 64
    # faults that read. Range 1 (2 hits): 0 .. 3, eight windows from 4 to 67 of which the child has
    # read 63 .. 66, then 444 = 55 x 8 + 4: 1 + 8 + 55 + 1 = 65. In all 1024 - 12 = 1012 pages, of
    # which 1012 - 129 = 883 ahead; they are hit, and the 10 that the child's readahead brought.
    touch_parent=did(
        {
            "pgfault": 1024,
            "pgmajfault": 129,
            "pswpin": 1012,
            "swap_ra": 883,
            "swap_ra_hit": 893,
        }
        | SPLIT_ENTRIES,
        split_cache=2,
    ),
)
expect(
    "split-by-willneed",
    *BOTH,
    **FORKED,
    # Sixteen pages of each range, for which nobody faults.
    willneed_child=did({"pswpin": 32}),
    touch_parent=did(
        {"pgfault": 1024, "pgmajfault": 992, "pswpin": 992} | SPLIT_ENTRIES, split_cache=2
    ),
)
for kind in BOTH:
    expect(
        "split-by-zswap-writeback",
        kind,
        fill=did(FILL),
        pageout=did(OUT_TO_ZSWAP),
        write_back=did({"pswpout": 8, "zswpwb": 8}),
        # The four pages of each range that were written back are in the cache; 508 are in zswap.
        touch=did(
            {"pgfault": 1024, "zswpin": 1016}
            | ({"pgmajfault": 1016} if kind is ZRAM else WITHOUT_FOUR_IN_ORDER)
            | SPLIT_ENTRIES,
            split_cache=2,
        ),
    )

# Reasons

for kind in BOTH:
    expect(
        "fallback-split-cache",
        kind,
        fill=did(FILL),
        pageout=did(OUT),
        willneed=did(READ_2_MIB if kind is ZRAM else {}),
        split_folios=did(SPLIT_FOLIOS),
        # mincore asks the same question, and answers slot by slot.
        mincore=did({}),
        # Every page is there already.
        willneed_2=did(SPLIT_ENTRIES, split_cache=2),
        touch=did({"pgfault": 1024}),
    )
    ahead = {} if kind is ZRAM else IN_ORDER
    for reason, more in (
        ("no-order-9-page", {}),
        ("charge-refused", {f"{MIB_2}/swpin_fallback_charge": 2}),
    ):
        expect(
            f"fallback-{reason}",
            kind,
            fill=did(FILL),
            pageout=did(OUT),
            evict=did({}),
            touch=did(
                NO_2_MIB | {"pswpin": 1024} | more | ahead,
                **{reason.replace("-", "_").replace("order_9", "order9"): 2},
            ),
        )
    ahead_in_halves = {} if kind is ZRAM else HALVES_IN_ORDER
    expect(
        "fallback-slot-freed",
        kind,
        fill=did(FILL),
        pageout=did(OUT),
        evict=did({}),
        # The discard of a half splits the entry; the fault that lost the race is one more in each
        # range. 256 pages of each come back, 256 read as zeros.
        touch=did(
            {"pgfault": 1026, "pgmajfault": 512, "pswpin": 512} | SPLIT_ENTRIES | ahead_in_halves,
            slot_freed=2,
            unaligned_or_partial=2,
        ),
    )
    expect(
        "fallback-mixed-zero-state",
        kind,
        fill=did(FILL),
        # zswap refuses: no page is written, but the entries are set.
        pageout=did({"thp_swpout_pmd": 2}),
        split_folios=did(SPLIT_FOLIOS),
        # Page by page, 511 of each range are zero; one goes to zswap, which takes pages now.
        write=did({"swpout_zero": 1022, "zswpout": 2}),
        touch=did(NO_2_MIB | {"swpin_zero": 1022, "zswpin": 2} | ahead, mixed_zero_state=2),
    )
    expect(
        "fallback-zswap",
        kind,
        fill=did(FILL),
        pageout=did(OUT_TO_ZSWAP),
        touch=did(NO_2_MIB | {"zswpin": 1024} | ahead, zswap=2),
    )
    expect(
        "fallback-no-free-cluster",
        kind,
        fill=did(FILL),
        # The first THP has the free cluster; the second is split, in the page table and itself.
        pageout=did(
            {
                "pswpout": 1024,
                "thp_swpout": 1,
                f"{MIB_2}/swpout": 1,
                "thp_swpout_pmd": 1,
                "thp_swpout_fallback": 1,
                f"{MIB_2}/swpout_fallback": 1,
                "thp_split_page": 1,
                f"{MIB_2}/split": 1,
                "thp_split_pmd": 1,
            },
            no_free_cluster=1,
        ),
        # One fault for the first and 512 for the second; an asynchronous device still has all of
        # it in the cache.
        touch=did(
            {"pgfault": 513, "pgmajfault": 513, "pswpin": 1024, f"{MIB_2}/swpin": 1}
            if kind is ZRAM
            else {"pgfault": 513}
        ),
    )
    expect(
        "fallback-partial-range",
        kind,
        fill=did(FILL),
        pageout=did(OUT),
        evict=did({}),
        discard=did(SPLIT_ENTRIES, unaligned_or_partial=2),
        touch=did({"pgfault": 1024, "pgmajfault": 512, "pswpin": 512} | ahead_in_halves),
    )
    expect(
        "fallback-unaligned-remap",
        kind,
        fill=did(FILL),
        pageout=did(OUT),
        evict=did({}),
        remap=did(SPLIT_ENTRIES, unaligned_or_partial=2),
        # Behind the boundary stand 448, 512 and 64 pages. Readahead: 64 .. 68 (8 around page 64),
        # 443 = 55 x 8 + 3; 4, 508 = 63 x 8 + 4; 64 = 8 x 8: 57 + 65 + 8 = 130 faults that read.
        touch=did({"pgfault": 1024, "pgmajfault": 1024, "pswpin": 1024} | ahead),
    )
expect(
    "fallback-not-a-block-device",
    FILE,
    fill=did(FILL),
    pageout=did(
        {
            "pswpout": 1024,
            "thp_swpout_fallback": 2,
            f"{MIB_2}/swpout_fallback": 2,
            "thp_split_page": 2,
            f"{MIB_2}/split": 2,
            "thp_split_pmd": 2,
        },
        not_block_device=2,
    ),
    # A swap file is written to asynchronously, so that all pages are in the cache.
    mincore=did({}),
    touch=did({"pgfault": 1024}),
)
# On any other device it is a round trip like any other.
expect(
    "fallback-not-a-block-device",
    ZRAM,
    fill=did(FILL),
    pageout=did(OUT),
    mincore=did({}),
    touch=did({"pgfault": 2, "pgmajfault": 2} | READ_2_MIB),
)
expect(
    "fallback-write-shared",
    *BOTH,
    fill=did(FILL),
    pageout=did(OUT),
    evict=did({}),
    fork=did({}),
    # The first write of each range brings 2 MiB; the child's slots keep the folio in the cache, so
    # it cannot be the parent's alone: the mapping is split, and the first page that is copied
    # leaves the folio partially mapped. The writes to the three other pages find PTEs.
    write_parent=did(
        {
            "pgfault": 8,
            "pgmajfault": 2,
            "thp_split_pmd": 2,
            "thp_deferred_split_page": 2,
            f"{MIB_2}/split_deferred": 2,
        }
        | READ_2_MIB,
        write_shared=2,
    ),
    # The folio is whole, and cached: no I/O.
    touch_child=did({"pgfault": 2}),
)
