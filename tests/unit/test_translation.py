"""Address translation by hand and in closed form, and the same however numba runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import attrs
import numpy as np
import pytest

from perfmodel.kernels import translation as kernels
from perfmodel.kernels.translation_batches import run_batches
from perfmodel.models.stacks import associativity_hits, fully_associative_hits
from perfmodel.models.translation import (
    Mapping,
    TranslationSimulation,
    map_window,
    mapping_kind,
    translate,
)
from perfmodel.specs.quantity import How, Quantity
from tests.hardware import given, plain_hardware, specified
from tests.oracles.translation import Hardware, TlbGeometry

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PAGE = 4 * KIB
L1, L2, L3, DRAM = 2_000, 7_001, 30_011, 100_101  # picoseconds of `plain_hardware`
STLB = 3_500


def references(counts):
    return sum(counts.table_references.values()), sum(counts.host_references.values())


# Walks by hand


@pytest.mark.parametrize(
    ("page_size", "levels", "expected"),
    [("4k", 4, 4), ("4k", 5, 5), ("64k", 4, 4), ("2m", 4, 3), ("2m", 5, 4), ("1g", 4, 2)],
)
def test_a_cold_walk_reads_one_entry_of_each_level_down_to_the_leaf(page_size, levels, expected):
    hardware = specified(plain_hardware(levels=levels))
    counts = translate([0], hardware, map_window(GIB, page_size))
    assert references(counts) == (expected, 0)
    assert counts.walks[page_size] == 1


@pytest.mark.parametrize(
    ("guest", "host", "expected"),
    [("4k", "4k", 24), ("4k", "2m", 19), ("2m", "4k", 19), ("2m", "2m", 15)],
)
def test_a_nested_walk_translates_every_guest_reference_and_the_data(guest, host, expected):
    # g guest levels and h host levels: g x (h + 1) + h. To miss everywhere, the nested cache has
    # one entry and walk caches are absent; guest tables of different levels lie in different pages.
    # The window is so large that each of them lies in a 2 MiB host page of its own.
    hardware = plain_hardware(walk_caches={}, nested=(1, 1))
    window = 1 << 39
    counts = translate([0], specified(hardware), map_window(window, guest), host_page_size=host)
    guest_levels, host_levels = {"4k": 4, "2m": 3}[guest], {"4k": 4, "2m": 3}[host]
    by_hand = guest_levels * (host_levels + 1) + host_levels
    assert by_hand == expected
    spared = counts.nested_hits * host_levels
    assert sum(references(counts)) + spared == expected
    if host == "4k":
        assert counts.nested_hits == 0


def test_a_walk_cache_leaves_only_what_stands_below_it():
    simulation = TranslationSimulation(specified(plain_hardware()), map_window(4 * GIB))
    assert references(simulation.run([0])) == (4, 0)
    assert references(simulation.run([PAGE])) == (1, 0)  # the PMD entry is known
    assert references(simulation.run([2 * MIB])) == (2, 0)  # the PUD entry is
    assert references(simulation.run([GIB])) == (3, 0)
    assert simulation.run([GIB + PAGE]).walk_cache_hits == {2: 1, 3: 0, 4: 0}


def test_eight_page_table_entries_share_a_line():
    hardware = specified(plain_hardware())
    counts = translate(np.arange(64) * PAGE, hardware)
    # Cold: four lines; then the PTEs of 63 pages, of which every eighth begins a new line.
    assert counts.table_references == {"L1": 56, "L2": 0, "L3": 0, "dram": 4 + 7}


def test_a_pointer_chase_costs_the_sum_of_its_parts():
    simulation = TranslationSimulation(specified(plain_hardware()), map_window(64 * MIB))
    assert simulation.run([0]).elapsed_ps == STLB + 4 * DRAM + DRAM
    assert simulation.run([0]).elapsed_ps == L1
    assert simulation.run([64]).elapsed_ps == DRAM
    # The next PTE is in the line that the first walk read, the data is not.
    assert simulation.run([PAGE]).elapsed_ps == STLB + L1 + DRAM
    # Four more pages of the same L1 set push page 0 out of it, and it stays in the STLB.
    simulation.run(np.arange(1, 5) * 16 * PAGE)
    counts = simulation.run([0])
    assert counts.tlb_hits == {"L1": 0, "STLB": 1}
    assert counts.elapsed_ps == counts.stlb_ps + counts.data_ps == STLB + L1
    assert simulation.elapsed_ps == sum(
        [5 * DRAM, L1, DRAM, L1 + DRAM, (DRAM + DRAM) * 4, L1, 7 * STLB]
    )


@pytest.mark.parametrize(("walkers", "waits"), [(1, 3), (2, 1), (3, 0)])
def test_overlapping_accesses_wait_for_a_walker(walkers, waits):
    # 1 GiB pages without walk caches: each walk reads the root's line and its PUD's.
    hardware = specified(plain_hardware(l1=(1, 1), stlb=(1, 1), walk_caches={}, walkers=walkers))
    mapping = map_window(3 * GIB, "1g")
    simulation = TranslationSimulation(hardware, mapping, overlap=3)
    simulation.run(np.array([0, 1, 2]) * GIB)
    begin = simulation.elapsed_ps
    # All lines are known now, so each of the three walks takes 2 x L1; all three start when the
    # access before them in their turn is complete. Give them a common start first.
    assert begin == max(simulation.mmu.clock[-3:])
    simulation.mmu.clock[-3:] = begin
    counts = simulation.run(np.array([0, 1, 2]) * GIB)
    walk = 2 * L1
    assert counts.walk_ps == 3 * walk
    assert counts.wait_ps == waits * walk
    assert counts.elapsed_ps == STLB + walk * (-(-3 // walkers)) + counts.data_ps // 3


def test_overlap_hides_latency():
    trace = np.random.default_rng(3).integers(0, 64 * MIB, 4000)
    hardware = specified(plain_hardware(walkers=64))
    one, four = (translate(trace, hardware, overlap=overlap) for overlap in (1, 4))
    assert attrs.evolve(one, elapsed_ps=0) == attrs.evolve(four, elapsed_ps=0)
    assert one.elapsed_ps == one.stlb_ps + one.walk_ps + one.data_ps
    assert one.elapsed_ps / 4 <= four.elapsed_ps < one.elapsed_ps / 3.5


# Arrays by hand


def halves() -> Hardware:
    return attrs_replace(
        plain_hardware(),
        tlbs=(
            TlbGeometry("L1", 1, ("4k", "2m", "1g"), 1, 1),
            TlbGeometry("left", 2, ("4k", "2m"), 128, 8),
            TlbGeometry("right", 2, ("4k", "1g"), 128, 8),
        ),
    )


def attrs_replace(hardware: Hardware, **changes: object) -> Hardware:
    return Hardware(**{**vars(hardware), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page_size", "pages", "fits"),
    [("4k", 2048, True), ("4k", 2049, False), ("2m", 1024, True), ("2m", 1025, False)],
)
def test_two_halves_hold_all_4k_pages_and_one_half_the_2m_pages(page_size, pages, fits):
    step = {"4k": PAGE, "2m": 2 * MIB}[page_size]
    mapping = map_window(pages * step, page_size)
    simulation = TranslationSimulation(specified(halves()), mapping)
    trace = np.arange(pages) * step
    simulation.run(trace)
    walks = simulation.run(trace).walks[page_size]
    assert walks == 0 if fits else walks > 0


@pytest.mark.parametrize(
    ("sets", "ways", "entries"), [(512, 6, 3072), (1, 72, 72), (3, 5, 15), (256, 5, 1280)]
)
def test_any_number_of_sets_and_ways_holds_exactly_its_entries(sets, ways, entries):
    hardware = specified(plain_hardware(l1=(1, 1), stlb=(sets, ways)))
    simulation = TranslationSimulation(hardware, map_window((entries + 1) * PAGE))
    trace = np.arange(entries) * PAGE
    simulation.run(trace)
    assert simulation.run(trace).walks["4k"] == 0
    assert simulation.run([entries * PAGE, 0]).walks["4k"] == 2


def test_coalescing_makes_one_entry_of_contiguous_pages_only():
    hardware = plain_hardware()
    tlbs = tuple(attrs_replace_tlb(tlb, coalesced=4) for tlb in hardware.tlbs)
    hardware = attrs_replace(hardware, tlbs=tlbs)
    trace = np.arange(16) * PAGE
    for contiguous, walks in ((True, 4), (False, 16)):
        mapping = map_window(2 * MIB, contiguous=contiguous)
        assert translate(trace, specified(hardware), mapping).walks["4k"] == walks


def attrs_replace_tlb(tlb: TlbGeometry, **changes: object) -> TlbGeometry:
    return TlbGeometry(**{**vars(tlb), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "walks"), [(("4k", "2m", "1g"), 32), (("4k", "64k", "2m", "1g"), 2)]
)
def test_64k_pages_are_looked_up_as_4k_where_no_array_holds_them(held, walks):
    hardware = specified(plain_hardware(sizes=held))
    counts = translate(np.arange(32) * PAGE, hardware, map_window(2 * MIB, "64k"))
    assert counts.walks["64k"] == walks


def test_stores_and_loads_may_have_arrays_of_their_own():
    hardware = attrs_replace(
        plain_hardware(),
        tlbs=(
            TlbGeometry("loads", 1, ("4k", "2m", "1g"), 16, 4, "loads"),
            TlbGeometry("stores", 1, ("4k", "2m", "1g"), 1, 16, "stores"),
            TlbGeometry("STLB", 2, ("4k", "2m"), 128, 8),
        ),
    )
    simulation = TranslationSimulation(specified(hardware), map_window(MIB))
    found = [simulation.access(0, store=store) for store in (False, True, True, False)]
    assert found == ["walk", "STLB", "stores", "loads"]


def test_tree_plru_is_not_lru():
    # Ways 0 to 3, then way 0 again: LRU drops 1; the tree leads to the half of 2 and 3.
    hardware = plain_hardware(l1=(1, 4))
    tree = attrs_replace_tlb(hardware.tlbs[0], replacement="tree-plru")
    found = {}
    for name, first in (("lru", hardware.tlbs[0]), ("tree", tree)):
        mmu = specified(attrs_replace(hardware, tlbs=(first, hardware.tlbs[1])))
        simulation = TranslationSimulation(mmu, map_window(MIB))
        simulation.run(np.array([0, 1, 2, 3, 0, 4]) * PAGE)
        held = {entry[0] for entry in simulation.tlb_contents()["L1"][0] if entry}
        found[name] = {0, 1, 2, 3} - held
    assert found == {"lru": {1}, "tree": {2}}


# Invalidation by hand


def test_invalidation_drops_what_it_names_and_the_walk_caches_of_the_space():
    mapping = map_window(8 * MIB, spaces=2)
    simulation = TranslationSimulation(specified(plain_hardware()), mapping)
    trace, spaces = np.array([0, PAGE, 4 * MIB] * 2), np.repeat([0, 1], 3)
    simulation.run(trace, spaces=spaces)
    assert sum(simulation.run(trace, spaces=spaces).walks.values()) == 0
    simulation.invalidate_page(0, 0)
    counts = simulation.run(trace, spaces=spaces)
    # One walk, from the root, because the whole space's walk caches went.
    assert counts.walks["4k"] == 1
    assert references(counts) == (4, 0)
    simulation.invalidate_range(0, 4 * MIB + 1, 1)
    assert simulation.run(trace, spaces=spaces).walks["4k"] == 3
    simulation.invalidate_space(1)
    assert simulation.run(trace[:3], spaces=0).walks["4k"] == 0
    assert simulation.run(trace[:3], spaces=1).walks["4k"] == 3
    simulation.invalidate_all()
    assert simulation.run(trace, spaces=spaces).walks["4k"] == 6


def test_a_huge_entry_goes_with_any_of_its_pages():
    simulation = TranslationSimulation(specified(plain_hardware()), map_window(4 * MIB, "2m"))
    simulation.run([0, 2 * MIB])
    simulation.invalidate_page(2 * MIB - 1)
    assert [simulation.access(address) for address in (0, 2 * MIB)] == ["walk", "L1"]


# Closed forms of LRU


@pytest.mark.parametrize("entries", [1, 8, 64, 100])
def test_a_cycle_larger_than_the_array_never_hits(entries):
    hardware = specified(plain_hardware(l1=(1, entries), stlb=(1, 1)))
    trace = np.tile(np.arange(entries + 1), 5) * PAGE
    assert sum(translate(trace, hardware).tlb_hits.values()) == 0
    trace = np.tile(np.arange(entries), 5) * PAGE
    assert translate(trace, hardware).tlb_hits["L1"] == 4 * entries


@pytest.mark.parametrize(("entries", "pages"), [(64, 100), (64, 1024), (7, 20)])
def test_uniform_accesses_hit_in_proportion_to_the_array(entries, pages):
    # Once full, the array holds `entries` pages whatever came before, so hits are independent
    # Bernoulli trials and their number is binomial: five standard deviations.
    draws = 50_000
    hardware = specified(plain_hardware(l1=(1, entries), stlb=(1, 1)))
    simulation = TranslationSimulation(hardware, map_window(pages * PAGE))
    generator = np.random.default_rng(entries)
    simulation.run(np.arange(pages) * PAGE)
    hits = simulation.run(generator.integers(0, pages, draws) * PAGE).tlb_hits["L1"]
    rate = entries / pages
    assert abs(hits - draws * rate) < 5 * np.sqrt(draws * rate * (1 - rate))


def test_more_ways_never_walk_more_often():
    trace = np.random.default_rng(5).zipf(1.3, 20_000) % 3000 * PAGE
    walks = [
        translate(trace, specified(plain_hardware(l1=(1, 1), stlb=(8, ways)))).walks["4k"]
        for ways in (1, 2, 3, 8, 9, 17, 40)
    ]
    assert walks == sorted(walks, reverse=True)
    assert walks[0] > walks[-1]


# The border


def test_what_is_not_mapped_is_refused():
    simulation = TranslationSimulation(specified(plain_hardware()), map_window(MIB))
    with pytest.raises(ValueError, match="mapped"):
        simulation.run([2 * MIB])
    with pytest.raises(ValueError, match="spaces"):
        simulation.run([0], spaces=1)
    with pytest.raises(ValueError, match="as long as"):
        simulation.run([0, 1, 2], stores=[True, False])
    with pytest.raises(ValueError, match="float64"):
        simulation.run([0.5])
    with pytest.raises(ValueError, match="size_bytes"):
        simulation.invalidate_range(0, 0)


def test_mappings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="1g pages"):
        Mapping(np.full(512, mapping_kind("1g")), 1)
    with pytest.raises(ValueError, match="2\\^57"):
        Mapping(np.zeros(1), 1 << 36)
    with pytest.raises(ValueError, match="kinds"):
        Mapping(np.full(1, 9))
    with pytest.raises(ValueError, match="2\\^48"):
        translate([1 << 50], specified(plain_hardware()))
    with pytest.raises(ValueError, match="overlap"):
        translate([0], specified(plain_hardware()), overlap=0)
    with pytest.raises(ValueError, match="host_page_size"):
        translate([0], specified(plain_hardware()), host_page_size="1g")
    assert translate([1 << 50], specified(plain_hardware(levels=5))).walks["4k"] == 1


def test_hardware_that_cannot_be_is_refused():
    tlbs = plain_hardware().tlbs
    twice = attrs_replace(plain_hardware(), tlbs=(tlbs[0], attrs_replace_tlb(tlbs[1], name="L1")))
    with pytest.raises(ValueError, match="same name"):
        specified(twice)
    uneven = (
        tlbs[0],
        attrs_replace_tlb(tlbs[1], coalesced=4),
        attrs_replace_tlb(tlbs[1], name="other"),
    )
    with pytest.raises(ValueError, match="coalesce alike"):
        specified(attrs_replace(plain_hardware(), tlbs=uneven))
    walk = specified(plain_hardware()).walk
    with pytest.raises(ValueError, match="different levels"):
        attrs.evolve(walk, caches=walk.caches[:1] * 2)
    with pytest.raises(ValueError, match="nested_ways"):
        attrs.evolve(walk, nested_ways=Quantity(3, 0, "1", "a test", How.ASSUMED))
    assert given(3) == Quantity(3, 0, "1", "a test", How.ASSUMED)


# However numba runs the kernels


def example() -> list[object]:
    """Something of everything, small enough for plain Python."""
    generator = np.random.default_rng(2)
    kinds = generator.integers(0, 5, (2, 4)).astype(np.uint8)
    hardware = plain_hardware(l1=(1, 9), stlb=(3, 4), caches=((3, 17), (4, 8), (8, 3)))
    tree = attrs_replace_tlb(hardware.tlbs[0], replacement="tree-plru", ways=16)
    hardware = attrs_replace(hardware, tlbs=(tree, hardware.tlbs[1]))
    results: list[object] = []
    for host, overlap in ((None, 1), (None, 2), ("4k", 1), ("2m", 2)):
        simulation = TranslationSimulation(
            specified(hardware), Mapping(kinds), overlap=overlap, host_page_size=host
        )
        for _ in range(2):
            addresses = generator.integers(0, 8 * MIB, 300)
            counts = simulation.run(addresses, addresses % 3 == 0, addresses % 2)
            results.append(repr(counts))
            simulation.invalidate_range(0, MIB, 1)
        simulation.invalidate_all()
        results.append(repr(simulation.run([0, 64])))
    pages = generator.integers(0, 600, 3000)
    results.append(fully_associative_hits(pages).tolist())
    results.append(associativity_hits(pages, 5).tolist())
    return results


@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_without_the_jit_and_with_bounds_checks_the_results_are_the_same(switch, tmp_path):
    program = (
        "import json; from tests.unit.test_translation import example; print(json.dumps(example()))"
    )
    environment = {**os.environ, switch: "1", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == example()


def test_every_kernel_has_one_specialisation():
    read_only = np.arange(0, 64 * PAGE, 64, dtype=np.int32)
    read_only.flags.writeable = False
    hardware = specified(plain_hardware())
    translate(read_only, hardware)
    translate(read_only[::3].tolist(), hardware, stores=np.ones(1366, dtype=bool), overlap=5)
    simulation = TranslationSimulation(hardware, map_window(MIB), host_page_size="2m")
    simulation.access(5, store=True)
    simulation.invalidate_page(5)
    simulation.invalidate_all()
    for kernel in (kernels.run, run_batches, kernels.invalidate, kernels.invalidate_all):
        assert len(kernel.signatures) == 1
