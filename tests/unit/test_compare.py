import json
import math

import attrs
import numpy as np
import pytest

from perfmodel.constants import PMD_BYTES
from perfmodel.errors import InputError
from perfmodel.models.simulated import simulate, simulate_draws
from perfmodel.plot.figures import breakdown_figure
from perfmodel.report.table import rows, step_groups
from perfmodel.results.result import Result, StepResult
from perfmodel.specs.catalog import load_device, load_machine, load_policy, load_scenario
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent, Region, Scenario
from perfmodel.specs.step import Step, StepAction
from perfmodel.studies.compare import DEFAULT_ENTRIES, Comparison, Fallback, compare

MACHINE = load_machine("amd-zen3")
DEVICE = load_device("zram-lz4")
FILL, OUT = Step("fill", StepAction.FILL), Step("out", StepAction.PAGEOUT)


def scenario(*steps, ranges=2):
    region = Region(ranges * PMD_BYTES, PageContent.HALF_RANDOM)
    return Scenario("made", "made for this test", region, (FILL, *steps))


ROUND_TRIP = scenario(
    Step("warm-up", StepAction.TOUCH),
    OUT,
    Step("touch", StepAction.TOUCH),
    Step("touch-again", StepAction.TOUCH, 100),
)


def run(of=ROUND_TRIP, **options):
    options = {"device": DEVICE, "draws": 40} | options
    return compare(of, MACHINE, **options)


def test_fallback_is_pte_minus_pmd_over_the_touches_after_the_page_out():
    comparison = run(entries=["pte", "pmd"])
    pte, pmd = comparison.arms["pte"], comparison.arms["pmd"]
    # The touch before the page-out brings nothing back; the page-out itself is not part of it.
    assert comparison.fallback.steps == ("touch", "touch-again")
    time_pte = pte.step("touch").elapsed_ns + pte.step("touch-again").elapsed_ns
    time_pmd = pmd.step("touch").elapsed_ns + pmd.step("touch-again").elapsed_ns
    assert comparison.fallback.per_2mib_ns == pytest.approx((time_pte - time_pmd) / 2, abs=1e-2)
    assert comparison.fallback.ratio == pytest.approx(time_pte / time_pmd, abs=1e-4)


def test_fallback_interval_is_that_of_the_paired_differences():
    fallback = run(seed=5).fallback
    times = {}
    for entry in ("pte", "pmd"):
        elapsed, _ = simulate_draws(
            ROUND_TRIP, MACHINE, DEVICE, load_policy(entry), entry=entry, seed=5, draws=40
        )
        times[entry] = elapsed[1:, 3] + elapsed[1:, 4]
    differences = (times["pte"] - times["pmd"]) / 2 / 1000
    assert fallback.interval_ns == pytest.approx(np.quantile(differences, [0.05, 0.95]), abs=1e-2)
    ratios = times["pte"] / times["pmd"]
    assert fallback.ratio_interval == pytest.approx(np.quantile(ratios, [0.05, 0.95]), abs=1e-4)


def only(spec, name, value, spread):
    """Every time of a spec zero and certain, but for one."""
    zero = Quantity(0.0, 0.0, "ns", "test", How.ASSUMED)
    fields = [f.name for f in attrs.fields(type(spec)) if f.metadata.get("unit") == "ns"]
    changes = dict.fromkeys(fields, zero)
    if name in changes:
        changes[name] = Quantity(value, spread, "ns", "test", How.ASSUMED)
    return attrs.evolve(spec, **changes)


def machine_with(name, value, spread):
    return attrs.evolve(
        MACHINE,
        cpu=only(MACHINE.cpu, name, value, spread),
        translation=only(MACHINE.translation, name, value, spread),
        kernel=only(MACHINE.kernel, name, value, spread),
    )


def test_arms_share_their_draws_so_what_they_have_in_common_cancels():
    # Both arms make the same number of accesses to memory, and nothing else costs anything here.
    machine = machine_with("memory_access_ns", 100.0, 30.0)
    comparison = compare(ROUND_TRIP, machine, device=only(DEVICE, "", 0, 0), draws=40)
    low, high = comparison.arms["pte"].step("touch-again").interval_ns
    assert high - low > 100 * 30
    assert comparison.fallback.per_2mib_ns == 0
    assert comparison.fallback.interval_ns == (0, 0)
    assert comparison.fallback.ratio_interval == (1, 1)


def test_what_differs_does_not_cancel():
    # One fault against 512 for each range.
    machine = machine_with("fault_ns", 100.0, 10.0)
    fallback = compare(ROUND_TRIP, machine, device=only(DEVICE, "", 0, 0), draws=40).fallback
    assert fallback.per_2mib_ns == 511 * 100.0
    assert fallback.ratio == 512
    assert fallback.interval_ns[0] < 511 * 100 < fallback.interval_ns[1]


def test_arms_are_those_of_simulate():
    comparison = run(entries=["mthp-64k", "pmd"], seed=9, order9_failure=0.5)
    for entry, arm in comparison.arms.items():
        alone = simulate(
            ROUND_TRIP, MACHINE, device=DEVICE, entry=entry, seed=9, draws=40, order9_failure=0.5
        )
        assert arm.steps == alone.steps
        assert arm.mapping == alone.mapping


def test_only_the_asked_arms_are_reported_each_once_and_in_order():
    comparison = run(entries=["mthp-64k", "mthp-16k", "mthp-64k"])
    assert list(comparison.arms) == ["mthp-64k", "mthp-16k"]
    # The fallback needs no arm that was asked for.
    assert comparison.fallback == run(entries=["pmd", "pte"]).fallback


def test_default_entries():
    assert tuple(run().arms) == DEFAULT_ENTRIES


def test_when_every_allocation_fails_pmd_pays_more_than_pte():
    fallback = run(order9_failure=1.0).fallback
    prices = MACHINE.kernel
    # The same 512 faults, plus the look at all slot words, the failed attempt, the split, and the
    # last walk to a PMD entry instead of a PTE.
    extra = (
        512 * prices.classify_slot_ns.value
        + prices.order9_allocation_failure_ns.value
        + prices.split_pmd_swap_entry_ns.value
        + MACHINE.cpu.walk_pmd_ns.value
        - MACHINE.cpu.walk_pte_ns.value
    )
    assert fallback.per_2mib_ns == pytest.approx(-extra, abs=1e-2)
    assert fallback.ratio < 1
    assert "saves" in fallback.sentence()


def test_sparse_touch_of_one_page_can_make_pmd_a_loss():
    sparse = run(load_scenario("thp-sparse-touch", pages_touched=1)).fallback
    dense = run(load_scenario("thp-roundtrip")).fallback
    assert sparse.per_2mib_ns < 0 < dense.per_2mib_ns


@pytest.mark.parametrize(
    ("per_2mib_ns", "interval", "sentence"),
    [
        (
            1_234_567.0,
            (1_000_000.0, 2_000_000.0),
            "Falling back to PTEs costs 1235 us per 2 MiB (1000 to 2000), 2.53 times the cost of "
            "one PMD swap-in.",
        ),
        (
            -5000.0,
            (-9000.0, 1000.0),
            "Falling back to PTEs saves 5 us per 2 MiB (-1 to 9), 2.53 times the cost of one PMD "
            "swap-in.",
        ),
    ],
)
def test_sentence(per_2mib_ns, interval, sentence):
    assert Fallback(per_2mib_ns, interval, 2.53, (2.0, 3.0), ("touch",)).sentence() == sentence


def test_json_has_the_keys_of_the_contract():
    comparison = run(entries=["pte", "pmd"])
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert set(document) == {"scenario", "arms", "fallback"}
    assert set(document["arms"]) == {"pte", "pmd"}
    assert {"per_2mib_ns", "interval_ns", "ratio"} <= set(document["fallback"])
    assert document["arms"]["pmd"] == json.loads(json.dumps(comparison.arms["pmd"].to_json()))


# Measurements beside the simulated arms


def measured(entry, touch_ns, drift=(0.0, 0.0, 0.0)):
    """A measured arm; `drift` is what each repetition of the touch took longer."""
    touch = StepResult(
        "touch",
        touch_ns,
        (touch_ns, touch_ns),
        {},
        repetitions_ns=tuple(touch_ns + more for more in drift),
    )
    again = StepResult(
        "touch-again", 1000.0, (1000.0, 1000.0), {}, repetitions_ns=(1000.0,) * len(drift)
    )
    return Result("made", "host", "zram-lz4", entry, 2, (touch, again), {}, {})


def with_measurements(**arms):
    comparison = run(entries=["pte", "pmd"])
    results = {entry.replace("_", "-"): result for entry, result in arms.items()}
    return Comparison(ROUND_TRIP, comparison.arms, comparison.fallback, results)


def test_shmem_stands_in_for_pmd_until_pmd_was_measured():
    shmem, pmd = measured("shmem-pmd", 9000.0), measured("pmd", 7000.0)
    assert with_measurements(shmem_pmd=shmem).measured_for("pmd") is shmem
    assert with_measurements(shmem_pmd=shmem, pmd=pmd).measured_for("pmd") is pmd
    assert with_measurements(shmem_pmd=shmem).measured_for("pte") is None


def test_measured_fallback():
    comparison = with_measurements(
        pte=measured("pte", 99_000.0, drift=(0.0, 5e6, 300.0)),
        shmem_pmd=measured("shmem-pmd", 9000.0, drift=(0.0, 5e6, 300.0)),
    )
    # (100 us - 10 us) over two ranges. Both arms took their turns in the same drift, so it cancels.
    expected = {
        "per_2mib_ns": 45_000.0,
        "interval_ns": [45_000.0, 45_000.0],
        "ratio": 10.0,
        "pmd_arm": "shmem-pmd",
    }
    assert comparison.measured_fallback() == expected
    document = comparison.to_json()
    assert document["measured_fallback"] == expected
    assert set(document["measured"]) == {"pte", "shmem-pmd"}


def test_measured_interval_holds_the_middle_half_of_the_repetitions():
    drift = tuple(1000.0 * turn for turn in range(101))
    comparison = with_measurements(
        pte=measured("pte", 99_000.0, drift=drift),
        pmd=measured("pmd", 9000.0, drift=(0.0,) * 101),
    )
    # From 25 us to 75 us more than 90 us, over two ranges.
    assert comparison.measured_fallback()["interval_ns"] == [57_500.0, 82_500.0]


def test_one_measured_arm_makes_no_measured_fallback():
    assert with_measurements(pte=measured("pte", 99_000.0)).measured_fallback() is None


# What is refused


@pytest.mark.parametrize("entries", [["pte", "swap"], ["shmem-pmd"], ["mthp-8k"], "pmd"])
def test_unknown_entries_name_the_choices(entries):
    with pytest.raises(InputError, match="is not an entry") as caught:
        run(entries=entries)
    assert caught.value.problems[0].key == "entries"
    for choice in ("pte", "mthp-16k", "mthp-1024k", "pmd"):
        assert choice in str(caught.value)


def test_no_entries():
    with pytest.raises(InputError, match=r"^entries: name at least one entry$"):
        run(entries=[])


@pytest.mark.parametrize(
    "steps",
    [(), (OUT,), (Step("touch", StepAction.TOUCH), OUT)],
    ids=["fill", "page-out", "touch before the page-out"],
)
def test_a_scenario_that_brings_nothing_back(steps):
    with pytest.raises(InputError, match="made: steps: has no touch after a page-out"):
        run(scenario(*steps))


def test_under_a_limit_the_fill_pages_out_and_accesses_bring_back():
    small = attrs.evolve(load_scenario("trace-sqlite"), name="small")
    steps = [attrs.evolve(step, rounds=1) for step in small.steps]
    found = run(attrs.evolve(small, steps=tuple(steps)), entries=["pte", "pmd"])
    assert found.fallback.steps == ("first", "again")
    assert step_groups(found.scenario) == ((), ("first",), ("again",), ())
    text = "\n".join(str(row) for row in rows(found))
    assert "pmd" in text
    assert [axes.get_title() for axes in breakdown_figure(found).axes] == ["Bring back and use"]


@pytest.mark.parametrize("kind", ["scenario", "machine", "device"])
def test_unknown_names_list_what_is_installed(kind):
    names = {"scenario": "thp-roundtrip", "machine": "amd-zen3", "device": "zram-lz4"}
    names[kind] = "no-such-thing"
    with pytest.raises(InputError, match=f"^{kind}: 'no-such-thing' is neither installed"):
        compare(names["scenario"], names["machine"], device=names["device"])


@pytest.mark.parametrize(("option", "value"), [("seed", -1), ("draws", 1), ("order9_failure", 2.0)])
def test_wrong_numbers(option, value):
    with pytest.raises(InputError) as caught:
        run(**{option: value})
    assert caught.value.problems[0].key == option.replace("_", "-")


def test_a_free_machine_gives_no_ratio_and_no_warning():
    # JSON knows no NaN, so nothing over nothing must not become one.
    comparison = compare(
        ROUND_TRIP, machine_with("", 0, 0), device=only(DEVICE, "", 0, 0), draws=40
    )
    assert comparison.fallback.per_2mib_ns == 0
    ratio = comparison.fallback.ratio
    assert ratio is None or math.isfinite(ratio)
    json.dumps(comparison.to_json(), allow_nan=False)
