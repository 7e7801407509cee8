"""Stories that both worlds tell: which device, which entry, and what happens to 8 MiB."""

from __future__ import annotations

import attrs

from perfmodel.specs.policy import MTHP_ENTRIES
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace, Zswap

from .scenarios import scenario

ZRAM = "zram-lz4"
RAM_DISK = "ram-disk"
DISK = "disk"
SWAP_FILE = "swap-file"


@attrs.frozen
class Case:
    """One story; `left_out` names counters that cannot be compared, with the reason."""

    name: str
    story: str
    device: str = ZRAM
    entry: str = "pte"
    content: str = "half-random"
    swap: SwapSpace = attrs.field(factory=SwapSpace)
    settings: Settings = attrs.field(factory=Settings)
    left_out: dict[str, str] = attrs.field(factory=dict)

    @property
    def scenario(self) -> Scenario:
        """The story as both worlds read it."""
        built = scenario(self.story, content=self.content, swap=self.swap, settings=self.settings)
        return attrs.evolve(built, name=self.name)


def _every_entry(name: str, story: str, **keys: str) -> list[Case]:
    return [
        Case(f"{name}, {entry}", story, entry=entry, **keys) for entry in ("pte", *MTHP_ENTRIES)
    ]


def _page_clusters(device: str) -> list[Case]:
    return [
        Case(
            f"readahead, page-cluster {cluster}, {device}",
            "pageout; reclaim; mincore; touch; touch write",
            device=device,
            settings=Settings(page_cluster=cluster),
        )
        for cluster in range(6)
    ]


_PASSES = "khugepaged counts once in every pass, and how many passes it makes is its own affair"
_NO_READAHEAD = Settings(page_cluster=0)
_FRAGMENTED = SwapSpace(clusters=20, free_clusters=2, neighbour_slots=1)

CASES = [
    *_every_entry("sparse touch", "pageout; touch n8; touch n64; touch"),
    *_every_entry("out and in twice", "pageout; touch; pageout; touch n3; pageout; touch"),
    *_every_entry("zero pages", "pageout; touch n16; touch", content="zero"),
    *_every_entry(
        "one page of 512 is not zero", "pageout; touch; pageout; touch", content="one-non-zero"
    ),
    *_every_entry("partial page-out", "pageout [0:96]; touch n7; pageout [32:200]; touch"),
    *_every_entry("written again", "pageout; touch n16 write; pageout; touch write; pageout"),
    *_every_entry("fragmented device", "pageout; touch; pageout; touch", swap=_FRAGMENTED),
    *_every_entry(
        "discard and write", "pageout; discard; touch n4; touch n8 write; pageout; touch"
    ),
    *_every_entry(
        "partial discard and write",
        "pageout; discard [64:128]; touch n16; touch [64:128] n9 write; pageout; touch",
    ),
    *_every_entry("collapse", "pageout; touch; collapse; pageout; touch n4; collapse; touch"),
    *_page_clusters(RAM_DISK),
    Case("looks", "pageout; mincore; pagemap; smaps; touch n8; mincore; pagemap; smaps"),
    Case("HUGE cache hit", "pageout; mincore; touch n1; smaps; touch; touch write", RAM_DISK),
    Case(
        "HUGE cache hit, written",
        "pageout; touch n1 write; touch write; pageout; mincore",
        RAM_DISK,
    ),
    Case("HUGE, out again unwritten", "pageout; touch; pageout; mincore; touch", RAM_DISK),
    Case(
        "HUGE, forked",
        "pageout; fork; touch n4 @1; touch n4; touch write n2; mincore; touch @1",
        RAM_DISK,
    ),
    Case("cache dropped", "pageout; mincore; reclaim; mincore; touch n8; mincore; touch", RAM_DISK),
    Case("disk: cache hit", "pageout; mincore; touch", DISK),
    Case("disk: out and in", "pageout; reclaim; touch", DISK),
    Case("willneed, touch", "pageout; willneed; mincore; touch; pageout; mincore; touch"),
    Case("willneed of a part", "pageout; willneed [100:50]; mincore; touch n64; touch"),
    Case("willneed, written", "pageout; willneed; touch write; pageout; touch"),
    Case("willneed after reclaim", "pageout; reclaim; willneed; mincore; touch", RAM_DISK),
    Case("fork, both touch", "pageout; fork; touch @1; touch", settings=_NO_READAHEAD),
    Case(
        "fork, child writes",
        "pageout; fork; touch write n64 @1; touch write n64; touch; touch @1",
        settings=_NO_READAHEAD,
    ),
    Case("fork, readahead by a sharer", "pageout; fork; touch @1; mincore; touch"),
    Case("fork, readahead, sparse", "pageout; fork; touch n32 @1; mincore; touch n64"),
    Case("fork of present memory", "fork; touch write n8 @1; touch write n4; pageout; touch"),
    Case("fork, child exits", "pageout; fork; touch n16 @1; exit @1; touch; touch write"),
    Case("fork, child discards", "pageout; fork; discard @1; touch; pageout"),
    Case(
        "fork, mTHP",
        "pageout; fork; touch n16 @1; exit @1; touch",
        entry="mthp-64k",
        settings=_NO_READAHEAD,
    ),
    Case("fork, present, page-out", "fork; pageout; pageout @1; exit @1; pageout; touch"),
    Case("fork, present, reclaim", "fork; reclaim; smaps; smaps @1; touch n8; touch n8 @1"),
    Case("munmap of a part", "pageout; unmap [0:100]; smaps; touch [100:412]; smaps"),
    Case(
        "munmap of present parts",
        "unmap [0:100]; smaps; pageout [100:412]; touch [100:412] n50; touch [100:412]",
    ),
    Case("munmap of all", "pageout; unmap; smaps"),
    Case("discard of a present part", "discard [8:8]; pageout; smaps; touch"),
    Case("discard of present memory", "discard; touch n3 write; touch; pageout"),
    Case("mprotect of all", "pageout; protect; pagemap; protect writable; pagemap; touch write"),
    Case(
        "mprotect of a part",
        "pageout; protect [0:256]; pagemap; protect writable [0:256]; touch write",
    ),
    Case("mprotect of present memory", "protect; protect writable; touch write; pageout; touch"),
    Case(
        "mprotect of a present part",
        "protect [0:256]; touch; pageout; touch; protect writable [0:256]; touch write",
    ),
    Case("mprotect of a part, mTHP", "pageout; protect [0:100]; touch", entry="mthp-256k"),
    Case("mprotect of a part, readahead", "pageout; reclaim; protect [0:100]; touch", RAM_DISK),
    Case("mremap", "pageout; remap; pagemap; touch"),
    Case("mremap of present memory", "remap; touch; pageout; touch"),
    Case("mremap, not aligned", "pageout; remap +3; pagemap; touch; pageout; touch"),
    Case("mremap, not aligned, mTHP", "pageout; remap +3; touch", entry="mthp-64k"),
    Case("mremap, aligned for mTHP", "pageout; remap +16; touch", entry="mthp-64k"),
    Case("mremap of present memory, not aligned", "remap +5; touch; pageout; touch"),
    Case("UFFDIO_MOVE", "pageout; move; pagemap; touch; touch write"),
    Case("UFFDIO_MOVE of present memory", "move; touch; pageout; touch"),
    Case("UFFDIO_MOVE, not aligned", "pageout; move +7; pagemap; touch; touch write"),
    Case("UFFDIO_MOVE of present memory, not aligned", "move +7; touch write; pageout; touch"),
    Case(
        "userfaultfd write-protection",
        "pageout; write-protect; touch; pageout; touch",
        entry="mthp-64k",
    ),
    Case("userfaultfd write-protection of a part", "write-protect [0:128]; touch; pageout; touch"),
    Case("MADV_FREE of swapped memory", "pageout; free; smaps; touch; touch write n4"),
    Case("MADV_FREE of a part", "pageout; free [0:200]; smaps; touch"),
    Case("MADV_FREE of present memory", "free; pageout; smaps; touch write n4"),
    Case("MADV_FREE, written again", "free; touch write n16; pageout; smaps; pageout; smaps"),
    Case("MADV_COLD", "cold; pageout; cold; touch; cold [0:40]; pageout"),
    Case("MADV_COLD of a present part", "cold [0:40]; smaps; pageout; touch"),
    Case("swapoff", "pageout; swapoff; smaps; touch; touch write; pageout", settings=_NO_READAHEAD),
    Case("swapoff, readahead", "pageout; swapoff; smaps; touch; pageout; touch"),
    Case(
        "swapoff, half touched",
        "pageout; touch n256; swapoff; smaps; touch",
        settings=_NO_READAHEAD,
    ),
    Case("swapoff of cached memory", "pageout; swapoff; smaps; touch; touch write", RAM_DISK),
    Case("collapse of swapped memory", "pageout; collapse; smaps; touch; pageout"),
    Case("collapse of a cached folio", "pageout; touch n1; collapse; pageout; mincore", RAM_DISK),
    Case(
        "collapse with holes", "pageout; discard [0:64]; touch n8; collapse; smaps; pageout; touch"
    ),
    Case(
        "collapse after fork",
        "pageout; fork; touch; collapse; smaps; touch @1",
        settings=_NO_READAHEAD,
    ),
    Case("swap file", "pageout; reclaim; touch; pageout", SWAP_FILE, settings=_NO_READAHEAD),
    Case(
        "mTHP finds no slots",
        "discard [0:256]; touch [0:256] write; pageout; touch",
        swap=SwapSpace(clusters=60, free_clusters=0, neighbour_slots=256),
        entry="mthp-64k",
    ),
    Case(
        "mTHP split at a page-out of a part",
        "pageout; touch; pageout [8:100]; touch",
        entry="mthp-64k",
    ),
    Case(
        "nearly full device",
        "pageout; touch; pageout",
        swap=SwapSpace(clusters=6, free_clusters=3, neighbour_slots=500),
    ),
    Case(
        "no cluster free",
        "pageout; touch n16; pageout; touch",
        swap=SwapSpace(clusters=40, free_clusters=0, neighbour_slots=256),
        entry="mthp-64k",
    ),
    Case("khugepaged", "pageout; touch; khugepaged; smaps; pageout"),
    Case("khugepaged, few swapped", "pageout; touch [0:460]; khugepaged; smaps"),
    Case(
        "khugepaged, many swapped",
        "pageout; touch [0:400]; khugepaged; smaps",
        left_out={"thp_scan_exceed_swap_pte": _PASSES},
    ),
    Case("khugepaged, few present", "pageout; discard [0:400]; touch; khugepaged; smaps"),
    Case(
        "swap file, cached", "pageout; mincore; touch n1; touch", SWAP_FILE, settings=_NO_READAHEAD
    ),
    Case("disk, mTHP enabled", "pageout; reclaim; touch", DISK, entry="mthp-64k"),
    Case("disk, willneed", "pageout; reclaim; willneed; mincore; touch", DISK),
    Case(
        "three processes",
        "pageout; fork; fork @1; touch n8 @2; touch write n16 @1; exit @1; touch; exit @2;"
        "touch write",
        settings=_NO_READAHEAD,
    ),
    Case(
        "child outlives the swap entry",
        "pageout; fork; unmap; touch @1; pageout @1; touch @1",
        settings=_NO_READAHEAD,
    ),
]

# Switching zswap on ends large swap-in until the machine restarts, so nobody does it unasked.
ZSWAP_CASES = [
    Case("zswap", "pageout; touch n16; touch; pageout", settings=Settings(zswap=Zswap.ON)),
    Case("zswap, mTHP", "pageout; touch", entry="mthp-64k", settings=Settings(zswap=Zswap.ON)),
    Case("zswap was on", "pageout; touch", entry="mthp-64k", settings=Settings(zswap=Zswap.OFF)),
]
