"""Specs built and changed in Python, and profiles: the same checks as for files."""

import tomllib

import attrs
import pytest

from perfmodel.constants import Action, Content
from perfmodel.constants import Zswap as EngineZswap
from perfmodel.errors import InputError
from perfmodel.specs import io
from perfmodel.specs.catalog import (
    load_device,
    load_machine,
    load_policy,
    load_scenario,
    names,
)
from perfmodel.specs.device import DeviceKind
from perfmodel.specs.machine import FitRecord, HostMatch, Machine
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent, Region, Scenario, Settings, SwapSpace, Zswap
from perfmodel.specs.step import Racing, Step, StepAction
from perfmodel.specs.translation import Accesses, Replacement
from tests.property.helpers import to_table

SHIPPED = {
    "machine": names("machine")["amd-zen3"],
    "device": names("device")["zram-lz4"],
    "scenario": names("scenario")["thp-roundtrip"],
}

# Specs in Python

MACHINE = load_machine("amd-zen3")
DEVICE = load_device("zram-lz4")
SCENARIO = load_scenario("thp-roundtrip")
QUANTITY = MACHINE.kernel.fault_ns
FIT = FitRecord(
    date="2026-11-22",
    base="amd-zen3",
    kernel_release="6.18.0",
    run_to_run=Quantity(0.1, 0.0, "1", "test", How.FITTED),
    chi_square=1.0,
    degrees_of_freedom=1.0,
    parameters=("kernel.fault_ns", "kernel.map_pte_ns"),
    correlation=((1.0, 0.5), (0.5, 1.0)),
    arms=(),
    evidence=(),
    warnings=(),
)
OF_ONE = Quantity(1.0, 0.0, "1", "test", How.ASSUMED)
TRANSLATION = MACHINE.translation
STLB = TRANSLATION.tlbs[1]


WRONG_CHANGES = [
    (QUANTITY, {"value": -1.0}),
    (QUANTITY, {"value": float("nan")}),
    (QUANTITY, {"value": float("inf")}),
    (QUANTITY, {"value": True}),
    (QUANTITY, {"value": "1"}),
    (QUANTITY, {"spread": -1.0}),
    (QUANTITY, {"spread": float("nan")}),
    (QUANTITY, {"unit": ""}),
    (QUANTITY, {"source": ""}),
    (QUANTITY, {"source": None}),
    (QUANTITY, {"how": "guessed"}),
    (MACHINE.kernel, {"fault_ns": 500.0}),
    (MACHINE.kernel, {"fault_ns": OF_ONE}),
    (MACHINE, {"translation": None}),
    (MACHINE, {"translation": MACHINE.cpu}),
    (TRANSLATION, {"tlbs": ()}),
    (TRANSLATION, {"tlbs": TRANSLATION.tlbs[0]}),
    (TRANSLATION, {"tlbs": TRANSLATION.tlbs[:1]}),
    (TRANSLATION, {"tlbs": TRANSLATION.tlbs[1:]}),
    (TRANSLATION, {"tlbs": (*TRANSLATION.tlbs, TRANSLATION.tlbs[0])}),
    (TRANSLATION, {"tlbs": (attrs.evolve(STLB, level=1), *TRANSLATION.tlbs[1:])}),
    (TRANSLATION, {"tlbs": (attrs.evolve(TRANSLATION.tlbs[0], accesses=Accesses.LOADS), STLB)}),
    (TRANSLATION, {"caches": ()}),
    (TRANSLATION, {"caches": (TRANSLATION.caches[0], TRANSLATION.caches[0])}),
    (TRANSLATION, {"caches": TRANSLATION.caches * 2}),
    (TRANSLATION, {"dram_ns": OF_ONE}),
    (TRANSLATION, {"walk": None}),
    (TRANSLATION, {"shootdown": None}),
    (STLB, {"name": ""}),
    (STLB, {"level": 0}),
    (STLB, {"level": 3}),
    (STLB, {"page_sizes": ()}),
    (STLB, {"page_sizes": ("4k",)}),
    (STLB, {"accesses": "all"}),
    (STLB, {"replacement": "lru"}),
    (STLB, {"coalesced_pages": 3}),
    (STLB, {"coalesced_pages": 32}),
    (STLB, {"ways": QUANTITY}),
    (STLB, {"ways": attrs.evolve(OF_ONE, value=0.0)}),
    (STLB, {"ways": attrs.evolve(OF_ONE, value=1.5)}),
    (STLB, {"ways": attrs.evolve(OF_ONE, value=7.0)}),
    (STLB, {"ways": attrs.evolve(OF_ONE, value=4096.0)}),
    (
        attrs.evolve(STLB, entries=attrs.evolve(OF_ONE, value=9.0), ways=OF_ONE),
        {"ways": attrs.evolve(OF_ONE, value=3.0), "replacement": Replacement.TREE_PLRU},
    ),
    # Beyond the engine's 64-bit words, or its memory.
    (STLB, {"entries": attrs.evolve(OF_ONE, value=2.0**70)}),
    (STLB, {"entries": attrs.evolve(OF_ONE, value=2.0**40)}),
    (TRANSLATION.walk, {"levels": 3}),
    (TRANSLATION.walk, {"levels": 6}),
    (TRANSLATION.walk, {"caches": 3}),
    (TRANSLATION.walk, {"caches": TRANSLATION.walk.caches[:1] * 2}),
    (TRANSLATION.walk, {"nested_ways": attrs.evolve(OF_ONE, value=5.0)}),
    (TRANSLATION.walk.caches[0], {"level": 1}),
    (TRANSLATION.walk.caches[0], {"ways": attrs.evolve(OF_ONE, value=5.0)}),
    (TRANSLATION.caches[0], {"size_bytes": OF_ONE}),
    (TRANSLATION.caches[0], {"ways": attrs.evolve(OF_ONE, value=7.0)}),
    (TRANSLATION.shootdown, {"broadcast": 1}),
    (TRANSLATION.shootdown, {"full_flush_ceiling": attrs.evolve(OF_ONE, value=0.0)}),
    (MACHINE.kernel, {"fault_ns": attrs.evolve(QUANTITY, value=1e17)}),
    (MACHINE.kernel, {"fault_ns": attrs.evolve(QUANTITY, spread=1e300)}),
    (MACHINE, {"name": " "}),
    (MACHINE, {"cpu": MACHINE.kernel}),
    (MACHINE, {"kernel": None}),
    (MACHINE, {"matches": 3}),
    (MACHINE, {"devices": 3}),
    (MACHINE, {"devices": {"zram-lz4": 3}}),
    (MACHINE, {"fit": 3}),
    (DEVICE, {"kind": "nvme"}),
    (DEVICE, {"read_request_ns": None}),
    (DEVICE, {"description": None}),
    (load_policy("pmd"), {"swap_entry": "pud"}),
    (load_policy("pmd"), {"swapin_order": 9}),
    (load_policy("pmd"), {"swapin_order": -1}),
    (load_policy("pmd"), {"swapin_order": 2.0}),
    (load_policy("pmd"), {"order9_failure": 1.01}),
    (load_policy("pmd"), {"order9_failure": float("nan")}),
    (load_policy("pmd"), {"order9_failure": True}),
    (load_policy("pmd"), {"order9_failure": None}),
    (load_policy("pmd"), {"lazy_page_table_deposit": 1}),
    (SCENARIO.region, {"size_bytes": (2 << 20) + 1}),
    (SCENARIO.region, {"size_bytes": 0}),
    (SCENARIO.region, {"size_bytes": float(2 << 20)}),
    (SCENARIO.region, {"size_bytes": (1 << 47) + (2 << 20)}),
    (SCENARIO.region, {"content": "ones"}),
    (SCENARIO.steps[2], {"name": ""}),
    (SCENARIO.steps[2], {"action": "touch-hard"}),
    (SCENARIO.steps[2], {"pages_per_2mib": 0}),
    (SCENARIO.steps[2], {"pages_per_2mib": True}),
    (SCENARIO.steps[1], {"pages_per_2mib": 8}),
    (SCENARIO.steps[1], {"process": 8}),
    (SCENARIO.steps[1], {"process": True}),
    (SCENARIO.steps[1], {"process": -1}),
    (SCENARIO.steps[1], {"first_page": 512}),
    (SCENARIO.steps[1], {"first_page": 1}),
    (SCENARIO.steps[1], {"first_page": 500, "page_count": 13}),
    (SCENARIO.steps[1], {"page_count": 0}),
    (SCENARIO.steps[1], {"write": True}),
    (SCENARIO.steps[1], {"writable": True}),
    (SCENARIO.steps[1], {"shift_pages": 1}),
    (SCENARIO.steps[1], {"refuse_write": 1}),
    (SCENARIO.steps[1], {"racing": Racing.UNMAP}),
    (SCENARIO.steps[2], {"write": 1}),
    (SCENARIO.steps[2], {"refuse_write": True}),
    (SCENARIO.steps[2], {"racing": "unmap"}),
    (Step("s", StepAction.PROTECT), {"writable": "yes"}),
    (Step("s", StepAction.REMAP), {"shift_pages": 512}),
    (Step("s", StepAction.REMAP), {"page_count": 1}),
    (Step("s", StepAction.SMAPS), {"page_count": 1}),
    (Step("s", StepAction.RECLAIM), {"process": 1}),
    (Step("s", StepAction.SPLIT_FOLIOS), {"process": 1}),
    (SwapSpace(), {"clusters": -1}),
    (SwapSpace(), {"clusters": 2.0}),
    (SwapSpace(), {"neighbour_slots": 1}),
    (SwapSpace(), {"free_clusters": 1}),
    (SwapSpace(4), {"free_clusters": 1}),
    (SwapSpace(4), {"neighbour_slots": 513}),
    (SwapSpace(4, 0, 1), {"free_clusters": 5}),
    (Settings(), {"page_cluster": 6}),
    (Settings(), {"page_cluster": False}),
    (Settings(), {"vma_readahead": None}),
    (Settings(), {"zswap": "on"}),
    (Settings(), {"order9_failure": -0.1}),
    (Settings(), {"order9_failure": True}),
    (Settings(), {"charge_failure": float("nan")}),
    (Settings(), {"charge_failure": 1.01}),
    (SCENARIO, {"swap": None}),
    (SCENARIO, {"settings": SwapSpace()}),
    (SCENARIO, {"steps": ()}),
    (SCENARIO, {"steps": SCENARIO.steps[1:]}),
    (SCENARIO, {"steps": SCENARIO.steps[:1] * 2}),
    (SCENARIO, {"steps": (*SCENARIO.steps, SCENARIO.steps[1])}),
    (SCENARIO, {"steps": 3}),
    (SCENARIO, {"steps": ("fill",)}),
    (SCENARIO, {"region": None}),
    (SCENARIO, {"held_out": "yes"}),
    (MACHINE.matches[0], {"family": 1.0}),
    (MACHINE.matches[0], {"models": ()}),
    (MACHINE.matches[0], {"models": ("1",)}),
    (MACHINE.matches[0], {"models": (True,)}),
    (FIT, {"correlation": ((1.0,),)}),
    (FIT, {"correlation": ((1.0, 0.5), (0.5,))}),
    (FIT, {"correlation": 3}),
    (FIT, {"parameters": ("kernel.fault_ns",)}),
    (FIT, {"run_to_run": QUANTITY}),
]


@pytest.mark.parametrize(
    ("spec", "change"),
    WRONG_CHANGES,
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else type(value).__name__,
)
def test_evolve_validates_too(spec, change):
    assert attrs.evolve(spec) == spec
    # A message, and not the accident of what the validator tried on the value.
    with pytest.raises((ValueError, TypeError)) as caught:
        attrs.evolve(spec, **change)
    assert "subscriptable" not in str(caught.value)


def test_specs_are_built_in_python_too():
    scenario = Scenario(
        "made",
        "made",
        Region(4 << 20, PageContent.ZERO),
        (Step("fill", StepAction.FILL), Step("touch", StepAction.TOUCH, 8)),
    )
    assert scenario.region.count == 2
    # As many clusters as the region needs twice, and 32 more, unless told.
    assert scenario.clusters == 36
    assert attrs.evolve(scenario, swap=SwapSpace(3)).clusters == 3
    assert scenario.processes == 1
    assert HostMatch("AuthenticAMD", (1,), family=25).models == (1,)
    assert attrs.evolve(DEVICE, kind=DeviceKind.ZRAM) == DEVICE


@pytest.mark.parametrize(
    ("step", "pages"),
    [
        (Step("s", StepAction.TOUCH), list(range(512))),
        (Step("s", StepAction.TOUCH, 4), [0, 128, 256, 384]),
        (Step("s", StepAction.TOUCH, 3), [0, 170, 341]),
        # The part is what a touch spreads its pages over.
        (Step("s", StepAction.TOUCH, 4, first_page=100, page_count=8), [100, 102, 104, 106]),
        (Step("s", StepAction.TOUCH, first_page=510, page_count=2), [510, 511]),
        (Step("s", StepAction.TOUCH, 9, first_page=7, page_count=1), [7]),
    ],
)
def test_pages_of_a_touch(step, pages):
    assert step.pages() == pages
    mask = step.page_mask
    assert all(mask >> page & 1 for page in pages)
    assert mask.bit_count() == step.page_count
    assert step.is_whole == (step.page_count == 512)


SYSTEM = {
    *("reclaim", "swapoff", "khugepaged", "wait"),
    *("split-folios", "memory-failure", "zswap-writeback"),
}
WITHOUT_PART = {
    *("access", "fill", "collapse", "remap", "move", "pagemap", "smaps", "fork", "exit"),
    *("clear-soft-dirty", "reclaim", "swapoff", "khugepaged", "wait"),
}


@pytest.mark.parametrize("action", StepAction)
def test_what_an_action_may_say(action):
    assert action.of_the_system == (action.value in SYSTEM)
    assert action.takes_part == (action.value not in WITHOUT_PART)
    part = {"first_page": 3, "page_count": 5}
    if action.takes_part:
        assert Step("s", action, **part).page_mask == 0b11111000
    else:
        with pytest.raises(ValueError, match="page_count does not belong"):
            Step("s", action, **part)
    if action.of_the_system:
        with pytest.raises(ValueError, match="process does not belong"):
            Step("s", action, process=1)
    else:
        assert Step("s", action, process=1).process == 1


def test_steps_are_known_to_the_engine():
    assert {action.name for action in StepAction} == {action.name for action in Action}
    assert {content.name for content in PageContent} == {content.name for content in Content}
    assert {zswap.name for zswap in Zswap} == {zswap.name for zswap in EngineZswap}


@pytest.mark.parametrize(
    "change",
    [
        {"region": Region(2 << 20, PageContent.ZERO)},
        {"steps": SCENARIO.steps[:2]},
        {"swap": SwapSpace(100)},
        {"settings": Settings(page_cluster=0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_two_scenarios_the_same(change):
    said = {"name": "other", "description": "other", "held_out": True}
    assert attrs.evolve(SCENARIO, **said).does_the_same_as(SCENARIO)
    assert not attrs.evolve(SCENARIO, **change).does_the_same_as(SCENARIO)


# Profiles: machines with a fit


def profile_table():
    table = to_table(MACHINE)
    device = tomllib.loads(SHIPPED["device"].read_text())
    quantity = {"value": 0.05, "unit": "1", "spread": 0, "how": "fitted", "source": "fit"}
    table["devices"] = {"zram-lz4": device}
    table["fit"] = {
        "date": "2026-11-22",
        "base": "amd-zen3",
        "kernel_release": "6.18.0",
        "run_to_run": quantity,
        "chi_square": 3,
        "degrees_of_freedom": 2.5,
        "parameters": ["kernel.fault_ns", "kernel.map_pte_ns"],
        "correlation": [[1, 0.5], [0.5, 1.0]],
        "arms": [{"scenario": "thp-roundtrip", "entry": "pte"}],
        "evidence": [{"file": "a.json", "sha256": "0" * 64}],
        "warnings": [],
    }
    return table


def test_a_profile_loads():
    machine = io.structure(Machine, profile_table(), "profile.toml")
    assert machine.devices == {"zram-lz4": DEVICE}
    assert machine.fit is not None
    assert machine.fit.correlation == ((1.0, 0.5), (0.5, 1.0))
    assert machine.fit.chi_square == 3.0


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("chi_square", "3", "fit.chi_square"),
        ("chi_square", True, "fit.chi_square"),
        ("correlation", [[1.0]], "fit"),
        ("correlation", [[1, "a"], [1, 1]], "fit.correlation[0][1]"),
        ("correlation", 3, "fit.correlation"),
        ("parameters", [3], "fit.parameters[0]"),
        ("arms", [{}], "fit.arms[0].scenario"),
        ("evidence", ["a"], "fit.evidence[0]"),
        ("run_to_run", 0.1, "fit.run_to_run"),
        ("extra", 0.1, "fit.extra"),
    ],
)
def test_wrong_fits(key, value, path):
    table = profile_table()
    table["fit"][key] = value
    with pytest.raises(InputError) as caught:
        io.structure(Machine, table, "profile.toml")
    assert caught.value.problems[0].key == path
    assert {problem.file for problem in caught.value.problems} == {"profile.toml"}


def test_wrong_devices_of_a_profile():
    table = profile_table()
    table["devices"]["zram-lz4"]["read_request_ns"]["value"] = -1
    del table["devices"]["zram-lz4"]["kind"]
    with pytest.raises(InputError) as caught:
        io.structure(Machine, table, "profile.toml")
    assert {problem.key.rpartition(".")[2] for problem in caught.value.problems} == {
        "read_request_ns",
        "kind",
    }
    assert all("zram-lz4" in problem.key for problem in caught.value.problems)
