"""simulate(): prices, draws, intervals and provenance, and what is refused."""

import attrs
import numpy as np
import pytest

import perfmodel as pm
from perfmodel import abi
from perfmodel.constants import N_PRICES, Event
from perfmodel.errors import CapabilityError, InputError, PerfmodelError
from perfmodel.models.prices import draw_prices, price_name
from perfmodel.models.simulated import simulate, simulate_draws
from perfmodel.specs.catalog import (
    load_policy,
    names,
)
from perfmodel.specs.machine import FitRecord
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent, Region
from perfmodel.specs.step import Step, StepAction

from .arms import DEVICE, MACHINE, ONE_RANGE, run

# Prices


def priced(spec, **values):
    """A machine, kernel, cpu or device whose every time is zero but the ones given, all exact."""
    changes = {}
    for field in attrs.fields(type(spec)):
        if field.metadata.get("unit") == "ns":
            value = values.get(field.name, 0.0)
            changes[field.name] = Quantity(value, 0.0, "ns", "test", How.ASSUMED)
        elif field.name in ("kernel", "cpu", "translation"):
            changes[field.name] = priced(getattr(spec, field.name), **values)
    return attrs.evolve(spec, **changes)


# One range, filled, paged out and touched page by page. Zen 3: 64 L1 and 2048 STLB entries.
FILL_AND_PAGE_OUT = {
    "thp_allocation_ns": 1,
    "page_table_allocation_ns": 1,
    "clear_page_ns": 512,
    "write_page_ns": 512,
    "system_call_ns": 1,
    "visit_pmd_ns": 1,
    "swapout_folio_ns": 1,
    "swapout_page_ns": 512,
    "write_request_ns": 1,
    "compress_page_ns": 512,
    "tlb_flush_ns": 1,
}
PAGES_BACK = {
    "swapin_page_ns": 512,
    "decompress_page_ns": 512,
    "free_slot_ns": 512,
    "cached_access_ns": 512,
}
ROUND_TRIP_EVENTS = {
    "pte": FILL_AND_PAGE_OUT
    | PAGES_BACK
    | {
        "fault_ns": 1 + 512,
        "map_pmd_ns": 1,
        "split_pmd_mapping_ns": 1,
        "unmap_pte_ns": 512,
        "swapin_folio_ns": 512,
        "map_pte_ns": 512,
        "read_request_ns": 512,
        # Every page is walked twice: to the swap entry, and once it is mapped.
        "walk_pte_ns": 1024,
        # The first one in each cache line of 8 entries, on its way to the fault, waits for it.
        "page_table_line_ns": 512 // 8,
    },
    "mthp-1024k": FILL_AND_PAGE_OUT
    | PAGES_BACK
    | {
        "fault_ns": 1 + 2,
        "map_pmd_ns": 1,
        "split_pmd_mapping_ns": 1,
        "unmap_pte_ns": 512,
        "swapin_folio_ns": 2,
        "swapin_large_folio_ns": 2,
        "map_pte_ns": 512,
        "read_request_ns": 2,
        # Each fault walks in vain; then an entry of the TLB holds 4 contiguous pages.
        "walk_pte_ns": 2 + 512 // 4,
        # The first walk of either fault waits for its line; what a fault has written is at hand.
        "page_table_line_ns": 2,
    },
    "pmd": FILL_AND_PAGE_OUT
    | PAGES_BACK
    | {
        "fault_ns": 1 + 1,
        "map_pmd_ns": 1 + 1,
        "set_pmd_swap_entry_ns": 1,
        # The rule is asked once, and finds no slot cached.
        "classify_slot_ns": 512,
        "swapin_folio_ns": 1,
        "swapin_large_folio_ns": 1,
        "read_request_ns": 1,
        # To the PMD swap entry, and once to the PMD leaf that all 512 pages share.
        "walk_pmd_ns": 2,
    },
}
ROUND_TRIP_EVENTS["pte-batched"] = ROUND_TRIP_EVENTS["pte"] | {
    "unmap_pte_ns": 0,
    "unmap_batch_ns": 1,
    "unmap_batched_pte_ns": 512,
}
# The leaf keeps no PTE table in reserve, and nothing here needs one.
ROUND_TRIP_EVENTS["pmd-lazy"] = ROUND_TRIP_EVENTS["pmd"] | {"page_table_allocation_ns": 0}
PRICE_NAMES = sorted(price.partition(".")[2] for price, _ in abi.PRICES.values())


@pytest.mark.parametrize("entry", ROUND_TRIP_EVENTS)
@pytest.mark.parametrize("price", PRICE_NAMES)
def test_a_step_costs_its_events_at_their_prices(entry, price):
    result = simulate(
        ONE_RANGE,
        priced(MACHINE, **{price: 7.0}),
        device=priced(DEVICE, **{price: 7.0}),
        entry=entry,
        draws=20,
    )
    expected = 7.0 * ROUND_TRIP_EVENTS[entry].get(price, 0)
    assert sum(step.elapsed_ns for step in result.steps) == expected
    for step in result.steps:
        # One price lands in one part, and a price that is known exactly leaves no interval.
        assert sorted(step.breakdown_ns.values())[:-1] == [0] * (len(abi.BREAKDOWN_PARTS) - 1)
        assert sum(step.breakdown_ns.values()) == step.elapsed_ns
        assert step.interval_ns == (step.elapsed_ns, step.elapsed_ns)
        assert tuple(step.breakdown_ns) == abi.BREAKDOWN_PARTS


def test_falling_back_costs_a_failed_allocation_and_a_split():
    prices = {"order9_allocation_failure_ns": 5.0, "split_pmd_swap_entry_ns": 11.0}
    result = simulate(
        ONE_RANGE,
        priced(MACHINE, **prices),
        device=priced(DEVICE),
        entry="pmd",
        order9_failure=1.0,
        draws=20,
    )
    touch = result.step("touch")
    assert touch.elapsed_ns == 16.0
    assert touch.breakdown_ns["allocation"] == 5.0
    assert touch.breakdown_ns["page_table"] == 11.0


def test_touching_again_misses_the_l1_but_not_the_stlb():
    scenario = attrs.evolve(
        ONE_RANGE, steps=(*ONE_RANGE.steps, Step("touch-again", StepAction.TOUCH))
    )
    prices = {"stlb_hit_ns": 3.0, "memory_access_ns": 100.0, "walk_pte_ns": 1e6}
    free = priced(DEVICE)
    pte = simulate(scenario, priced(MACHINE, **prices), device=free, entry="pte", draws=20)
    again = pte.step("touch-again")
    # 512 pages go through 64 L1 entries in a circle, so LRU always misses; the STLB holds them all.
    assert again.breakdown_ns["tlb_misses"] == 512 * 3.0
    assert again.breakdown_ns["data_access"] == 512 * 100.0
    pmd = simulate(scenario, priced(MACHINE, **prices), device=free, entry="pmd", draws=20)
    assert pmd.step("touch-again").breakdown_ns["tlb_misses"] == 0


def test_draws_start_with_the_best_values_and_never_fall_below_zero():
    uncertain = attrs.evolve(
        MACHINE,
        kernel=attrs.evolve(
            MACHINE.kernel, fault_ns=Quantity(1.0, 100.0, "ns", "test", How.ASSUMED)
        ),
    )
    prices = draw_prices(uncertain, DEVICE, draws=500, seed=4)
    best = [round(q.value * 1000) for q in abi.event_quantities(uncertain, DEVICE)]
    assert prices.shape == (501, N_PRICES)
    assert prices[0, : len(Event)].tolist() == best
    assert prices.min() == 0
    # Half of a wide normal distribution around almost zero is cut off.
    assert 0.4 < np.mean(prices[1:, Event.FAULT] == 0) < 0.6


def fit(parameters, correlation, run_to_run=0.0):
    return FitRecord(
        date="2026-11-22",
        base="amd-zen3",
        kernel_release="6.18.0",
        run_to_run=Quantity(run_to_run, 0.0, "1", "test", How.FITTED),
        chi_square=1.0,
        degrees_of_freedom=1.0,
        parameters=parameters,
        correlation=correlation,
        arms=(),
        evidence=(),
        warnings=(),
    )


def spread_of(machine, event, spread):
    owner, _, name = abi.PRICES[event][0].partition(".")
    spec = getattr(machine, owner)
    quantity = attrs.evolve(getattr(spec, name), value=1000.0, spread=spread)
    return attrs.evolve(machine, **{owner: attrs.evolve(spec, **{name: quantity})})


def test_prices_of_a_fit_are_drawn_together():
    machine = spread_of(spread_of(MACHINE, Event.FAULT, 50.0), Event.MAP_PTE, 20.0)
    # A parameter of another device stands between them and takes no part.
    names = (
        "kernel.fault_ns",
        "devices.other.free_slot_ns",
        "kernel.map_pte_ns",
    )
    joint = attrs.evolve(
        machine, fit=fit(names, ((1.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 1.0)))
    )
    prices = draw_prices(joint, DEVICE, draws=300, seed=9)[1:]
    faults = prices[:, Event.FAULT] - 1_000_000
    maps = prices[:, Event.MAP_PTE] - 1_000_000
    # Fully anticorrelated: every 50 ns up in one is 20 ns down in the other.
    assert np.abs(faults * 20 + maps * 50).max() < 50 * 50
    assert np.std(faults) == pytest.approx(50_000, rel=0.15)
    # Without the fit they go their own ways.
    alone = draw_prices(machine, DEVICE, draws=300, seed=9)[1:]
    assert abs(np.corrcoef(alone[:, Event.FAULT], alone[:, Event.MAP_PTE])[0, 1]) < 0.3


def test_run_to_run_spread_moves_all_prices_alike():
    machine = priced(MACHINE, fault_ns=1000.0, map_pte_ns=10.0)
    machine = attrs.evolve(machine, fit=fit(("kernel.fault_ns",), ((1.0,),), run_to_run=0.1))
    prices = draw_prices(machine, priced(DEVICE), draws=300, seed=2)[1:]
    factors = prices[:, Event.FAULT] / 1_000_000
    assert np.std(factors) == pytest.approx(0.1, rel=0.2)
    assert prices[:, Event.MAP_PTE] == pytest.approx(factors * 10_000, abs=1)


def test_fitted_prices_of_a_device_carry_its_name():
    assert price_name(Event.FREE_SLOT, DEVICE) == "devices.zram-lz4.free_slot_ns"
    assert price_name(Event.FAULT, DEVICE) == "kernel.fault_ns"


@pytest.mark.parametrize("parameters", [(), ("devices.other.free_slot_ns",)])
def test_a_fit_without_a_parameter_of_this_arm_changes_no_draw(parameters):
    correlation = tuple((1.0,) for _ in parameters)
    fitted = attrs.evolve(MACHINE, fit=fit(parameters, correlation))
    assert (draw_prices(fitted, DEVICE, 20, 1) == draw_prices(MACHINE, DEVICE, 20, 1)).all()


# Intervals, seeds and provenance


def test_interval_holds_nine_tenths_of_the_draws():
    elapsed, result = simulate_draws(
        ONE_RANGE, MACHINE, DEVICE, load_policy("pmd"), entry="pmd", seed=1, draws=1000
    )
    for index, step in enumerate(result.steps):
        low, high = step.interval_ns
        inside = (elapsed[1:, index] >= low * 1000) & (elapsed[1:, index] <= high * 1000)
        assert np.mean(inside) == pytest.approx(0.9, abs=0.005)
        assert low < step.elapsed_ns < high


def test_seed_moves_the_interval_and_not_the_best_value():
    first, second = run(ONE_RANGE, "pmd", seed=1), run(ONE_RANGE, "pmd", seed=2)
    assert first.step("touch").elapsed_ns == second.step("touch").elapsed_ns
    assert first.step("touch").interval_ns != second.step("touch").interval_ns


def test_uncertain_fallback_shows_in_the_interval():
    # All prices are exact: only whether the range falls back differs from draw to draw.
    result = simulate(
        ONE_RANGE,
        priced(MACHINE, split_pmd_swap_entry_ns=1000.0),
        device=priced(DEVICE),
        entry="pmd",
        order9_failure=0.5,
        draws=200,
    )
    assert result.step("touch").interval_ns == (0.0, 1000.0)


def test_headline_is_the_mean_over_what_chance_may_bring():
    policy = load_policy("pmd", order9_failure=0.5)
    headlines = set()
    for seed in range(4):
        elapsed, result = simulate_draws(
            ONE_RANGE, MACHINE, DEVICE, policy, entry="pmd", seed=seed, draws=20
        )
        touch = elapsed[0, 2]
        whole, split = (
            run(ONE_RANGE, "pmd", order9_failure=p).step("touch").elapsed_ns * 1000
            for p in (0.0, 1.0)
        )
        assert whole < touch < split
        # One run is either the one or the other.
        assert result.step("touch").elapsed_ns * 1000 in (whole, split)
        headlines.add(int(touch))
    # Other seeds are other runs, not the same ones shifted by one.
    assert len(headlines) > 1


def test_provenance_says_what_went_in():
    result = run(ONE_RANGE, "pmd", seed=3, order9_failure=0.25)
    facts = result.provenance
    assert facts["world"] == "simulated"
    assert facts["perfmodel"] == pm.__version__
    assert (facts["seed"], facts["draws"], facts["order9_failure"]) == (3, 20, 0.25)
    assert set(facts["sha256"]) == {"scenario", "machine", "device", "policy"}
    other = run(attrs.evolve(ONE_RANGE, description="other"), "pmd").provenance["sha256"]
    assert other["scenario"] != facts["sha256"]["scenario"]
    assert other["machine"] == facts["sha256"]["machine"]


def test_result_has_the_keys_of_the_contract():
    document = run(ONE_RANGE, "pmd").to_json()
    assert {"scenario", "machine", "device", "entry", "provenance", "steps", "mapping"} <= set(
        document
    )
    assert [step["name"] for step in document["steps"]] == ["fill", "pageout", "touch"]
    for step in document["steps"]:
        assert {"name", "elapsed_ns", "interval_ns", "counters", "breakdown_ns"} <= set(step)
    assert (document["machine"], document["device"], document["entry"]) == (
        "amd-zen3",
        "zram-lz4",
        "pmd",
    )


def test_dataset_holds_the_same_numbers_with_units():
    result = run(ONE_RANGE, "pte")
    data = result.to_dataset()
    touch = result.step("touch")
    assert data.elapsed_ns.sel(step="touch") == touch.elapsed_ns
    assert data.elapsed_ns.attrs["units"] == "ns"
    assert tuple(data.interval_ns.sel(step="touch").values) == touch.interval_ns
    assert data.counters.sel(step="touch", counter="pgmajfault") == 512
    assert data.breakdown_ns.sel(step="touch").sum() == pytest.approx(touch.elapsed_ns)


def test_names_and_specs_are_the_same_to_simulate():
    named = pm.simulate("thp-roundtrip", "amd-zen3", device="zram-lz4", entry="pte", draws=20)
    given = run("thp-roundtrip", "pte")
    assert named.steps == given.steps


def test_a_fitted_device_replaces_the_published_one():
    own = attrs.evolve(priced(DEVICE, read_request_ns=9.0), description="fitted")
    machine = attrs.evolve(priced(MACHINE), devices={"zram-lz4": own})
    result = simulate(ONE_RANGE, machine, device="zram-lz4", entry="pte", draws=20)
    assert result.step("touch").elapsed_ns == 512 * 9.0


# What is refused


@pytest.mark.parametrize("seed", [-1, 1 << 56, 1.0, "1", True, None])
def test_wrong_seeds(seed):
    with pytest.raises(InputError, match=r"^seed: must be a whole number from 0 to"):
        run(ONE_RANGE, "pmd", seed=seed)


@pytest.mark.parametrize("draws", [0, 19, 100_001, 20.0, True])
def test_wrong_draws(draws):
    with pytest.raises(InputError, match=r"^draws: must be a whole number from 20 to 100000"):
        simulate(ONE_RANGE, MACHINE, device=DEVICE, entry="pmd", draws=draws)


@pytest.mark.parametrize("seed", [0, (1 << 56) - 1])
def test_smallest_and_largest_seed(seed):
    counters = run(ONE_RANGE, "pmd", seed=seed, order9_failure=0.5).step("touch").counters
    assert counters["pgmajfault"] in (1, 512)


@pytest.mark.parametrize("order9_failure", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_probability(order9_failure):
    with pytest.raises(InputError, match="must be a probability from 0 to 1") as caught:
        run(ONE_RANGE, "pmd", order9_failure=order9_failure)
    assert caught.value.problems[0].key == "order9-failure"


@pytest.mark.parametrize(
    "order9_failure",
    [None, "0.5", True, 10**400, [0.5]],
    ids=["none", "text", "bool", "huge", "list"],
)
def test_what_is_no_number_is_no_probability(order9_failure):
    with pytest.raises(InputError, match="must be a probability from 0 to 1"):
        run(ONE_RANGE, "pmd", order9_failure=order9_failure)


@pytest.mark.parametrize("entry", ["shmem-pmd", "mthp-8k", "mthp-2048k", "PMD", ""])
def test_wrong_entries_name_the_choices(entry):
    with pytest.raises(InputError, match=r"choose from pte, .*, pmd, pmd-lazy$") as caught:
        run(ONE_RANGE, entry)
    assert caught.value.problems[0].key == "entry"


def test_shmem_entry_is_told_its_prediction():
    with pytest.raises(InputError, match="exists only on a live kernel; its prediction is pmd"):
        run(ONE_RANGE, "shmem-pmd")


def with_memory(monkeypatch, available):
    monkeypatch.setattr("perfmodel.models.simulated.available_memory_bytes", lambda: available)


def test_a_scenario_too_large_for_memory_is_refused_before_anything_is_allocated(monkeypatch):
    def allocate(*arguments):
        raise AssertionError("the engine was started")

    monkeypatch.setattr("perfmodel.models.simulated.fresh_memory", allocate)
    with_memory(monkeypatch, 1 << 30)
    huge = attrs.evolve(ONE_RANGE, region=Region(1 << 47, PageContent.HALF_RANDOM))
    with pytest.raises(CapabilityError) as caught:
        run(huge, "pmd")
    assert caught.value.exit_status == 3
    # 2**26 ranges of 64 bytes, and as much again for what is split.
    for part in ("128 TiB", "8 GiB", "1 GiB", "region.size"):
        assert part in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("entry", "faults", "tables"), [("pmd", 1, 0), ("pte", 512, 1), ("mthp-64k", 32, 1)]
)
def test_a_scenario_that_just_fits_is_run(monkeypatch, entry, faults, tables):
    # Half of what is available may be used: once for the ranges, with a page table for each that
    # goes out as PTEs, and once more for what is split.
    needed = 4 * (abi.compact_bytes(ONE_RANGE, 1) + tables * 4096)
    with_memory(monkeypatch, needed)
    assert run(ONE_RANGE, entry).step("touch").counters["pgmajfault"] == faults
    with_memory(monkeypatch, needed - 8)
    with pytest.raises(CapabilityError, match="too large for this machine"):
        run(ONE_RANGE, entry)


@pytest.mark.parametrize("fault_ns", [1e13, 1e14])
def test_a_price_beyond_the_clock_is_refused_and_not_wrapped(fault_ns):
    # 512 faults of 1e14 ns are more picoseconds than 64 bits hold; 1e13 ns are more than half.
    with pytest.raises(PerfmodelError):
        run_on(priced(MACHINE, fault_ns=fault_ns))


def test_the_longest_price_that_the_clock_takes_is_counted_exactly():
    touch = run_on(priced(MACHINE, fault_ns=1e12)).step("touch")
    assert touch.elapsed_ns == pytest.approx(512e12, rel=1e-6)
    assert sum(touch.breakdown_ns.values()) == pytest.approx(touch.elapsed_ns, rel=1e-12)


def test_a_fit_whose_runs_drift_beyond_the_clock_is_refused():
    with pytest.raises(ValueError, match="must be at most 1"):
        fit(("kernel.fault_ns",), ((1.0,),), run_to_run=1e13)


def run_on(machine):
    return simulate(ONE_RANGE, machine, device=DEVICE, entry="pte", draws=20)


def test_a_machine_may_be_a_path(tmp_path):
    path = tmp_path / "copy.toml"
    path.write_bytes(names("machine")["amd-zen3"].read_bytes())
    assert run_on(str(path)).machine == "amd-zen3"
    # `perfmodel.machine` takes a Path, so `simulate` should too.
    assert run_on(path).machine == "amd-zen3"
