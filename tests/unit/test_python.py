"""What `import perfmodel` offers: specs from tables and texts, prices, what is installed."""

import pytest

import perfmodel as pm
from perfmodel.constants import Event
from perfmodel.models.prices import draw_prices, price_name
from perfmodel.results.store import load_measurements
from perfmodel.specs import io
from perfmodel.specs.catalog import load_problem

PROFILE = "intel-emerald-rapids-guest"
TEXT = """
name = "mine"
description = "Some pages of each THP."
region = { size = "4 MiB", content = "half-random" }
parameters = { pages = 64 }
steps = [
    { name = "fill", action = "fill" },
    { name = "pageout", action = "pageout" },
    { name = "touch", action = "touch", pages_per_2mib = "$pages" },
]
"""
TABLE = io.parse_toml(TEXT, "text")
STUDY = """
name = "tiny"
title = "Two costs of a fault"
description = "For tests."
machine = "amd-zen3"
device = "zram-lz4"
entries = ["pte", "pmd"]
draws = 20

[[axes]]
field = "machine.kernel.fault_ns"
values = [300, 3000]

[[outputs]]
name = "touch"
steps = ["touch"]
"""


@pytest.mark.parametrize("given", [TEXT, TABLE], ids=["text", "table"])
def test_a_scenario_comes_from_a_table_or_its_text(given):
    scenario = pm.scenario(given, pages=8)
    assert scenario.steps[2].pages_per_2mib == 8
    assert pm.scenario(given).steps[2].pages_per_2mib == 64
    assert TABLE["parameters"] == {"pages": 64}
    faults = pm.simulate(given, "amd-zen3", draws=20).step("touch").counters["pgmajfault"]
    assert faults == 2 * 64


@pytest.mark.parametrize("kind", ["machine", "device", "scenario"])
def test_installed_specs_come_back_from_their_own_tables(kind):
    name = {"machine": PROFILE, "device": "zram-zstd", "scenario": "thp-roundtrip"}[kind]
    load = getattr(pm, kind)
    text = pm.installed(kind)[name].read_text(encoding="utf-8")
    assert load(text) == load(io.parse_toml(text, name)) == load(name)


def test_a_study_comes_from_text_with_a_scenario_from_a_table():
    study = pm.study(io.parse_toml(STUDY, "text") | {"scenario": io.to_table(pm.scenario(TABLE))})
    assert study == pm.study(io.to_table(study))
    assert pm.sweep(study).dataset["touch"].sizes["fault_ns"] == 2
    assert pm.study('scenario = "thp-roundtrip"\n' + STUDY).scenario == pm.scenario("thp-roundtrip")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "this scenario: name: is missing"),
        ({"nmae": "x"}, "this scenario: nmae: is not known here; the nearest is 'name'"),
        ("name = 3\nregion = 4\n", "this scenario: name: must be a text, not 3"),
        ("a\nb", "this scenario: is not valid TOML"),
        ({**TABLE, "steps": [{"pagecount": 3}]}, "steps[0].pagecount: is not known here; the near"),
        ({**TABLE, 3: 4}, "this scenario: 3: is not known here"),
        ({**TABLE, "region": None}, "region: must be a table, not None"),
        (None, "scenario: 'None' is neither installed nor a path"),
    ],
)
def test_mistakes_in_a_table_are_told_as_those_in_a_file(given, message):
    with pytest.raises(pm.InputError) as caught:
        pm.scenario(given)
    assert message in str(caught.value)


def test_prices_are_those_that_a_simulation_pays():
    machine = pm.machine(PROFILE)
    device = pm.device("zram-lz4", machine)
    prices = pm.prices(PROFILE)
    best = draw_prices(machine, device, 0, 1)[0]
    for event in Event:
        quantity = prices[price_name(event, device)]
        assert quantity.unit == "ns"
        assert quantity.source
        assert round(quantity.value * 1000) == best[event]
    assert prices["kernel.fault_ns"] == machine.kernel.fault_ns
    random = pm.prices(PROFILE, content="random")["devices.zram-lz4.decompress_page_ns"]
    assert random.value != prices["devices.zram-lz4.decompress_page_ns"].value


def test_the_prior_of_a_profile_is_what_its_base_says():
    profile = pm.machine(PROFILE)
    before = pm.prior(PROFILE)
    assert before == pm.prior(profile.fit.base, profile.fit.problem)
    assert "devices.ram-disk.read_request_ns" in before
    assert set(profile.fit.parameters) <= set(before)
    limits = load_problem(profile.fit.problem).limits
    base = pm.machine(profile.fit.base)
    own = limits["kernel.fault_ns"].prior if "kernel.fault_ns" in limits else None
    assert before["kernel.fault_ns"] == (own or base.kernel.fault_ns)


def test_what_is_installed_is_listed():
    assert "thp-roundtrip" in pm.installed("scenario")
    assert "touch-density" in pm.installed("study")
    files = pm.evidence(PROFILE)
    assert list(files) == sorted(files)
    assert load_measurements(files["2026-11-22-validation-1"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pm.installed("machines"), "kind: 'machines' is no kind; the nearest is 'machine'"),
        (lambda: pm.evidence("intel-emerald-rapids"), f"the nearest is '{PROFILE}'"),
        (lambda: pm.evidence(""), "there are some of"),
        (lambda: pm.prices("amd-zen33"), "the nearest is 'amd-zen3'"),
        (lambda: pm.prices("amd-zen3", content="zeros"), "the nearest is 'zero'"),
        (lambda: pm.prior("amd-zen3", "swap-trips"), "the nearest is 'swap-round-trips'"),
    ],
)
def test_wrong_names_are_refused_with_the_nearest(call, message):
    with pytest.raises(pm.InputError) as caught:
        call()
    assert message in str(caught.value)
