"""The shipped CPUs against what is published about them, copied here by hand a second time."""

import json
import re

import pytest

from perfmodel.cli.show import show
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import default_machine, load_machine, names
from perfmodel.specs.quantity import How
from perfmodel.specs.translation import Replacement
from tests.property.helpers import to_table
from tests.unit.arms import ONE_RANGE
from tests.unit.test_catalog import quantities

# Level, page sizes, accesses, entries, ways: what CPUID and Arm's documents say.
COVE_STLB = [(2, "4k 2m", "all", 1024, 8), (2, "4k 1g", "all", 1024, 8)]
COVE_2M = [(1, "2m", "loads", 32, 4), (1, "1g", "loads", 8, 8), (1, "4k 2m 1g", "stores", 16, 16)]
ARM_SIZES = "4k 16k 64k 2m 1g"
TLBS = {
    "amd-zen2": [(1, "4k 2m 1g", "all", 64, 64), (2, "4k 2m", "all", 2048, 8)],
    "amd-zen3": [
        (1, "4k 2m 1g", "all", 64, 64),
        (2, "4k 2m", "all", 2048, 8),
        (2, "1g", "all", 64, 64),
    ],
    "amd-zen4": [
        (1, "4k 2m 1g", "all", 72, 72),
        (2, "4k 2m", "all", 3072, 8),
        (2, "1g", "all", 64, 64),
    ],
    "amd-zen5": [
        (1, "4k 2m 1g", "all", 96, 96),
        (2, "4k 2m", "all", 4096, 8),
        (2, "1g", "all", 1024, 4),
    ],
    "intel-skylake-sp": [
        (1, "4k", "all", 64, 4),
        (1, "2m", "all", 32, 4),
        (1, "1g", "all", 4, 4),
        (2, "4k 2m", "all", 1536, 12),
        (2, "1g", "all", 16, 4),
    ],
    "intel-ice-lake-sp": [(1, "4k", "loads", 64, 4), *COVE_2M, *COVE_STLB],
    "intel-sapphire-rapids": [(1, "4k", "loads", 64, 4), *COVE_2M, *COVE_STLB],
    "intel-granite-rapids": [(1, "4k", "loads", 96, 6), *COVE_2M, *COVE_STLB],
    "arm-neoverse-n1": [(1, ARM_SIZES, "all", 48, 48), (2, ARM_SIZES, "all", 1280, 5)],
    "arm-neoverse-v1": [(1, ARM_SIZES, "all", 48, 48), (2, ARM_SIZES, "all", 2048, 8)],
    "arm-neoverse-v2": [(1, ARM_SIZES, "all", 48, 48), (2, ARM_SIZES, "all", 2048, 8)],
    "nvidia-grace": [(1, ARM_SIZES, "all", 48, 48), (2, ARM_SIZES, "all", 2048, 8)],
}
PUBLISHED = sorted(name for name in names("machine") if load_machine(name).fit is None)

# KiB of L1, L2 and of the L3 that a core can use; walk levels; STLB hit in cycles and their GHz.
REST = {
    "amd-zen2": ((32, 512, 16 << 10), 4, (6.5, 3.4)),
    "amd-zen3": ((32, 512, 32 << 10), 4, (8, 3.5)),
    "amd-zen4": ((32, 1024, 32 << 10), 5, (7, 3.7)),
    "amd-zen5": ((48, 1024, 32 << 10), 5, (7, 4.0)),
    "intel-skylake-sp": ((32, 1024, 28 * 1408), 4, (9, 3.3)),
    "intel-ice-lake-sp": ((48, 1280, 36 * 1536), 5, (7, 3.2)),
    "intel-sapphire-rapids": ((48, 2048, 56 * 1920), 5, (7, 3.5)),
    "intel-granite-rapids": ((48, 2048, 144 << 10), 5, (7, 3.9)),
    "arm-neoverse-n1": ((64, 1024, 32 << 10), 4, (4, 2.5)),
    "arm-neoverse-v1": ((64, 1024, 32 << 10), 4, (5, 2.6)),
    "arm-neoverse-v2": ((64, 2048, 36 << 10), 4, (5, 2.8)),
    "nvidia-grace": ((64, 1024, 114 << 10), 4, (5, 3.3)),
}
PROCESSORS = [
    ("AuthenticAMD", 23, 49, "amd-zen2"),
    ("AuthenticAMD", 25, 1, "amd-zen3"),
    ("AuthenticAMD", 25, 17, "amd-zen4"),
    ("AuthenticAMD", 25, 160, "amd-zen4"),
    ("AuthenticAMD", 26, 2, "amd-zen5"),
    ("AuthenticAMD", 26, 17, "amd-zen5"),
    ("GenuineIntel", 6, 85, "intel-skylake-sp"),
    ("GenuineIntel", 6, 106, "intel-ice-lake-sp"),
    ("GenuineIntel", 6, 108, "intel-ice-lake-sp"),
    ("GenuineIntel", 6, 143, "intel-sapphire-rapids"),
    ("GenuineIntel", 6, 207, "intel-sapphire-rapids"),
    ("GenuineIntel", 6, 173, "intel-granite-rapids"),
    ("GenuineIntel", 6, 174, "intel-granite-rapids"),
    ("0x41", 8, 0xD0C, "arm-neoverse-n1"),
    ("0x41", 8, 0xD40, "arm-neoverse-v1"),
    ("0x41", 8, 0xD4F, "arm-neoverse-v2"),
]


def test_every_published_machine_is_checked_here():
    assert set(TLBS) == set(REST) == set(PUBLISHED)


@pytest.mark.parametrize("name", TLBS)
def test_tlbs(name):
    found = [
        (
            tlb.level,
            " ".join(tlb.page_sizes),
            str(tlb.accesses),
            tlb.entries.value,
            tlb.ways.value,
        )
        for tlb in load_machine(name).translation.tlbs
    ]
    assert found == TLBS[name]


@pytest.mark.parametrize("name", REST)
def test_caches_walks_and_the_stlb(name):
    sizes, levels, (cycles, gigahertz) = REST[name]
    translation = load_machine(name).translation
    assert [cache.size_bytes.value / 1024 for cache in translation.caches] == list(sizes)
    assert translation.walk.levels == levels
    assert [cache.level for cache in translation.walk.caches] == list(range(2, levels + 1))
    assert translation.stlb_hit_ns.value == pytest.approx(cycles / gigahertz, abs=0.06)


@pytest.mark.parametrize("name", PUBLISHED)
def test_latencies_grow_from_level_to_level(name):
    machine = load_machine(name)
    translation = machine.translation
    latencies = [cache.latency_ns.value for cache in translation.caches]
    latencies.append(translation.dram_ns.value)
    assert latencies == sorted(set(latencies))
    assert 0 < machine.cpu.walk_pmd_ns.value < machine.cpu.walk_pte_ns.value
    assert 0 < translation.stlb_hit_ns.value < machine.cpu.walk_pte_ns.value
    # 512 pages one by one take no less than 2 MiB at once, as far as anybody knows.
    in_pieces, at_once = 512 * machine.kernel.clear_page_ns.value, machine.cpu.clear_2m_ns
    assert at_once.value - at_once.spread < 1.05 * in_pieces


@pytest.mark.parametrize("name", PUBLISHED)
def test_shootdown_by_interrupt_or_broadcast(name):
    shootdown = load_machine(name).translation.shootdown
    assert shootdown.broadcast is not (name.startswith("intel") or name == "amd-zen2")
    assert (shootdown.broadcast_ns.value > 0) is shootdown.broadcast
    # Only Arm never interrupts another CPU.
    interrupts = shootdown.first_responder_ns.value > shootdown.next_responder_ns.value > 0
    assert interrupts is not name.startswith(("arm", "nvidia"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_nobody_publishes_is_no_fact(name):
    machine = load_machine(name)
    found = dict(quantities(machine))
    assert {quantity.how for quantity in found.values()} <= set(How) - {How.FITTED}
    assert all(tlb.replacement is Replacement.LRU for tlb in machine.translation.tlbs)
    for path, quantity in found.items():
        if ".walk.caches" in path or ".nested_" in path:
            assert quantity.how is How.ASSUMED, path
        if "no published number" in quantity.source or "no number" in quantity.source:
            assert quantity.how is How.ASSUMED, path
        # An assumption names what it rests on, and is not surer than a third, but for ways.
        if quantity.how is How.ASSUMED:
            assert len(quantity.source) >= 19, path
            assert path.endswith(".ways") or quantity.spread >= 0.12 * quantity.value, path


@pytest.mark.parametrize(("vendor", "family", "model", "name"), PROCESSORS)
def test_machine_of_a_processor(vendor, family, model, name):
    machine, matches = default_machine(vendor, family, model, fitted=False)
    assert (machine.name, matches) == (name, True)


def test_no_processor_has_two_machines():
    claimed = [
        (match.vendor, match.family, model)
        for name in PUBLISHED
        for match in load_machine(name).matches
        for model in match.models
    ]
    assert len(set(claimed)) == len(claimed)
    assert {row[:3] for row in PROCESSORS} <= set(claimed)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_machine_can_be_simulated(name):
    times = [
        simulate(ONE_RANGE, name, device="zram-lz4", entry=entry, draws=20).step("touch").elapsed_ns
        for entry in ("pte", "pmd")
    ]
    # 512 faults cost more than one, however the numbers of a CPU turn out.
    assert times[0] > 512 * load_machine(name).kernel.fault_ns.value
    assert times[0] > times[1] > 0


# What is shown


@pytest.mark.parametrize("name", names("machine"))
def test_show_says_every_number_and_sums_up(capsys, name):
    show(name)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    found = dict(quantities(load_machine(name)))
    known = {how: sum(quantity.how is how for quantity in found.values()) for how in How}
    summary = f"{len(found)} numbers: " + ", ".join(f"{known[how]} {how}" for how in How)
    shown = lines[: lines.index(summary)]
    for how in How:
        assert sum(bool(re.search(rf"\S  +{how}$", line)) for line in shown) == known[how]
    gaps = [line.strip() for line in lines[lines.index(summary) + 2 :]]
    assert gaps == [
        path.lstrip(".")
        for path, quantity in found.items()
        if path.startswith(".translation.") and quantity.how is How.ASSUMED
    ]
    assert lines[lines.index(summary) + 1].startswith(f"{len(gaps)} gaps")
    text = " ".join(" ".join(shown).split())
    for path, quantity in found.items():
        assert " ".join(quantity.source.split()) in text, path


def test_show_has_a_block_for_each_array(capsys):
    show("intel-sapphire-rapids")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(["tlbs[5]"])
    assert lines[start + 1] == ["name", "STLB", "4K", "and", "1G"]
    assert lines[start + 3] == ["page_sizes", "4k,", "1g"]
    assert lines[start + 4] == ["entries", "1024", "datasheet"]
    assert ["size_bytes", "105", "MiB", "+-", "60", "MiB", "datasheet"] in lines
    assert ["clear_2m_ns", "170000", "+-", "85000", "ns", "assumed"] in lines
    assert ["broadcast_ns", "0", "ns", "datasheet"] in lines
    assert ["entries", "64", "+-", "16", "datasheet"] in lines


@pytest.mark.parametrize("name", ["amd-zen2", "intel-emerald-rapids-guest", "zram-lz4"])
def test_show_as_json_has_all_of_it(capsys, name):
    show(name, json=True)
    document = json.loads(capsys.readouterr().out)
    summary = document.pop("summary")
    if name == "zram-lz4":
        assert summary["gaps"] == []
    else:
        machine = load_machine(name)
        assert document == json.loads(json.dumps(to_table(machine)))
        assert "translation.walk.caches[0].entries" in summary["gaps"]
        assert sum(summary["quantities"].values()) == len(dict(quantities(machine)))
        assert summary["quantities"]["fitted"] > 0 or machine.fit is None
