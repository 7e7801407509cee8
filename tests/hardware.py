"""Translation hardware for the tests: from the oracle's geometry to specs, and small examples."""

from collections.abc import Sequence

from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.translation import (
    Accesses,
    Cache,
    PageSize,
    Replacement,
    Shootdown,
    Tlb,
    Translation,
    Walk,
    WalkCache,
)
from tests.oracles.translation import Hardware, TlbGeometry


def given(value: float, unit: str = "1") -> Quantity:
    return Quantity(value, 0, unit, "a test", How.ASSUMED)


def shootdown(**changes: Quantity | bool) -> Shootdown:
    values: dict[str, Quantity | bool] = {
        "local_page_ns": given(100, "ns"),
        "local_full_ns": given(200, "ns"),
        "full_flush_ceiling": given(33),
        "first_responder_ns": given(600, "ns"),
        "next_responder_ns": given(80, "ns"),
        "responder_ns": given(500, "ns"),
        "broadcast": False,
        "broadcast_ns": given(300, "ns"),
    }
    return Shootdown(**{**values, **changes})  # type: ignore[arg-type]


def specified(hardware: Hardware) -> Translation:
    """The oracle's hardware as a spec."""
    return Translation(
        stlb_hit_ns=given(hardware.stlb_hit / 1000, "ns"),
        tlbs=tuple(
            Tlb(
                name=tlb.name,
                level=tlb.level,
                page_sizes=tuple(PageSize(size) for size in tlb.sizes),
                entries=given(tlb.sets * tlb.ways),
                ways=given(tlb.ways),
                accesses=Accesses(tlb.accesses),
                replacement=Replacement(tlb.replacement),
                coalesced_pages=tlb.coalesced,
            )
            for tlb in hardware.tlbs
        ),
        walk=Walk(
            levels=hardware.levels,
            walkers=given(hardware.walkers),
            caches=tuple(
                WalkCache(level=level, entries=given(sets * ways), ways=given(ways))
                for level, (sets, ways) in hardware.walk_caches.items()
            ),
            nested_entries=given(hardware.nested[0] * hardware.nested[1]),
            nested_ways=given(hardware.nested[1]),
        ),
        caches=tuple(
            Cache(
                name=f"L{level + 1}",
                size_bytes=given(64 * sets * ways, "byte"),
                ways=given(ways),
                latency_ns=given(hardware.latencies[level] / 1000, "ns"),
            )
            for level, (sets, ways) in enumerate(hardware.caches)
        ),
        dram_ns=given(hardware.dram / 1000, "ns"),
        shootdown=shootdown(),
    )


def described(translation: Translation) -> tuple[TlbGeometry, ...]:
    """A spec's TLBs as the oracle takes them."""
    return tuple(
        TlbGeometry(
            tlb.name,
            tlb.level,
            tuple(map(str, tlb.page_sizes)),
            int(tlb.entries.value) // int(tlb.ways.value),
            int(tlb.ways.value),
            str(tlb.accesses),
            str(tlb.replacement),
            tlb.coalesced_pages,
        )
        for tlb in translation.tlbs
    )


SIZES = ("4k", "2m", "1g")


def plain_hardware(
    l1: tuple[int, int] = (16, 4),
    stlb: tuple[int, int] = (128, 8),
    *,
    sizes: Sequence[str] = SIZES,
    levels: int = 4,
    walk_caches: dict[int, tuple[int, int]] | None = None,
    caches: tuple[tuple[int, int], ...] = ((64, 8), (1024, 8), (2048, 16)),
    nested: tuple[int, int] = (1, 16),
    walkers: int = 1,
) -> Hardware:
    """One TLB array for each level; latencies that are easy to tell apart."""
    return Hardware(
        tlbs=(
            TlbGeometry("L1", 1, tuple(sizes), *l1),
            TlbGeometry("STLB", 2, tuple(sizes), *stlb),
        ),
        levels=levels,
        walkers=walkers,
        walk_caches={2: (1, 32), 3: (1, 4), 4: (1, 2)} if walk_caches is None else walk_caches,
        nested=nested,
        caches=caches,
        latencies=(2_000, 7_001, 30_011)[: len(caches)],
        dram=100_101,
        stlb_hit=3_500,
    )
