"""Every shipped file loads and says where its numbers come from; names, paths and parameters."""

import tomllib

import attrs
import pytest
import tomli_w

from perfmodel.calibrate.profile import fit_scenarios
from perfmodel.calibrate.validate import find_scenarios, is_round_trip
from perfmodel.errors import InputError
from perfmodel.kernels import translation_layout as layout
from perfmodel.models.translation_packing import pack_tlbs
from perfmodel.specs import catalog
from perfmodel.specs.catalog import (
    default_machine,
    load_device,
    load_kernel_costs,
    load_machine,
    load_policy,
    load_scenario,
    names,
)
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import FitRecord, HostMatch, Machine
from perfmodel.specs.policy import MEASURED_ENTRIES, SIMULATED_ENTRIES, mthp_order
from perfmodel.specs.quantity import How, Quantity
from perfmodel.specs.scenario import PageContent, Scenario, Settings, SwapSpace, Zswap
from perfmodel.specs.step import Racing, Step, StepAction
from tests.property.helpers import to_table

LOADERS = {"machine": load_machine, "device": load_device, "scenario": load_scenario}
KINDS = {"machine": Machine, "device": SwapDevice, "scenario": Scenario}


def quantities(spec, path=""):
    """Every quantity inside a spec, with its path."""
    if isinstance(spec, Quantity):
        yield path, spec
    elif isinstance(spec, dict):
        for key, value in spec.items():
            yield from quantities(value, f"{path}.{key}")
    elif isinstance(spec, tuple):
        for index, value in enumerate(spec):
            yield from quantities(value, f"{path}[{index}]")
    elif attrs.has(type(spec)):
        for field in attrs.fields(type(spec)):
            yield from quantities(getattr(spec, field.name), f"{path}.{field.name}")


def test_something_is_shipped():
    assert {"amd-zen3", "intel-sapphire-rapids"} <= set(names("machine"))
    assert {"zram-lz4"} <= set(names("device"))
    assert {"linux-6.18", "linux-pmd-swap"} <= set(names("policy"))
    assert {"thp-roundtrip", "thp-sparse-touch", "thp-two-trips", "thp-zero-roundtrip"} <= set(
        names("scenario")
    )


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in LOADERS for name in names(kind)]
)
def test_shipped_file_loads_by_name_and_by_path(kind, name):
    spec = LOADERS[kind](name)
    assert type(spec) is KINDS[kind]
    assert spec.name == name
    assert LOADERS[kind](names(kind)[name]) == spec
    assert LOADERS[kind](str(names(kind)[name])) == spec


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in ("machine", "device") for name in names(kind)]
)
def test_every_shipped_number_has_a_source_and_says_how_it_is_known(kind, name):
    found = dict(quantities(LOADERS[kind](name)))
    assert len(found) >= 5
    for path, quantity in found.items():
        assert len(quantity.source.strip()) >= 5, path
        assert quantity.how in How, path
        # What nobody has published cannot be known exactly.
        assert quantity.how is not How.ASSUMED or quantity.spread > 0, path


@pytest.mark.parametrize("name", names("machine"))
def test_shipped_tlbs_can_be_built(name):
    arrays, paths, entries = pack_tlbs(load_machine(name).translation)
    arrays = arrays.reshape(layout.N_ARRAYS, layout.COLUMNS)
    assert (arrays[:, layout.WAYS] > 0).sum() == len(load_machine(name).translation.tlbs)
    # Loads and stores of small and of 2 MiB pages find an array on both levels.
    assert (paths.reshape(2, 2, layout.N_KINDS, -1)[:, :, [0, 4], layout.HELD] > 0).all()
    assert (entries == -1).all()


@pytest.mark.parametrize("entry", MEASURED_ENTRIES)
def test_every_entry_has_a_policy(entry):
    policy = load_policy(entry)
    assert policy.swap_entry == ("pmd" if entry == "pmd" else "pte")
    assert policy.swapin_order == mthp_order(entry)
    assert policy.order9_failure == 0


@pytest.mark.parametrize(
    ("entry", "order"),
    [("pte", 0), ("pmd", 0), ("mthp-16k", 2), ("mthp-64k", 4), ("mthp-1024k", 8)],
)
def test_mthp_orders(entry, order):
    assert mthp_order(entry) == order


def test_allowed_entries_are_the_callers():
    with pytest.raises(InputError, match="its prediction is pmd"):
        load_policy("shmem-pmd", allowed=SIMULATED_ENTRIES)
    with pytest.raises(InputError, match=r"choose from pte$"):
        load_policy("pmd", allowed=("pte",))


# What is chosen from the installed scenarios

ROUND_TRIPS = ["thp-roundtrip", "thp-sparse-touch", "thp-two-trips", "thp-zero-roundtrip"]
SHOWN = {name for name in names("scenario") if name.startswith(("split-by-", "fallback-"))}


def test_ways_into_split_and_fallbacks_are_shipped():
    assert len(SHOWN) == 17
    for name in SHOWN:
        scenario = load_scenario(name)
        # Small, and nothing that a fit may see.
        assert scenario.region.count in (1, 2, 3, 4)
        assert scenario.held_out
        assert scenario.description.endswith(".")


def test_a_fit_and_a_validation_take_round_trips_alone():
    assert {"thp-roundtrip", "thp-zero-roundtrip"} <= set(fit_scenarios())
    assert not SHOWN & set(fit_scenarios())
    validated = {scenario.name for scenario in find_scenarios(None)}
    assert set(ROUND_TRIPS) <= validated
    assert not SHOWN & validated


@pytest.mark.parametrize(
    "change",
    [
        {"settings": Settings(page_cluster=0)},
        {"settings": Settings(order9_failure=0.5)},
        {"swap": SwapSpace(100)},
        {"steps": (Step("fill", StepAction.FILL), Step("reclaim", StepAction.RECLAIM))},
        {"steps": (Step("fill", StepAction.FILL), Step("touch", StepAction.TOUCH, write=True))},
        {
            "steps": (
                Step("fill", StepAction.FILL),
                Step("touch", StepAction.TOUCH, racing=Racing.UNMAP),
            )
        },
    ],
)
def test_what_is_no_round_trip(change):
    scenario = load_scenario("thp-roundtrip")
    assert is_round_trip(scenario)
    assert not is_round_trip(attrs.evolve(scenario, **change))


def test_a_folder_is_validated_as_it_is():
    folder = names("scenario")["fallback-zswap"].parent
    assert [scenario.name for scenario in find_scenarios(folder)] == sorted(names("scenario"))


def test_a_scenario_file_can_say_all_of_it():
    scenario = load_scenario("fallback-no-free-cluster")
    assert scenario.swap == SwapSpace(clusters=8, free_clusters=1, neighbour_slots=1)
    assert scenario.clusters == 8
    scenario = load_scenario("fallback-mixed-zero-state")
    assert scenario.region.content is PageContent.ONE_NON_ZERO
    assert scenario.settings == Settings(zswap=Zswap.ON)
    assert [step.refuse_write for step in scenario.steps] == [False, True, False, False, False]
    scenario = load_scenario("split-by-readahead")
    assert scenario.processes == 2
    assert scenario.steps[5] == Step(
        "touch-child", StepAction.TOUCH, process=1, first_page=64, page_count=1
    )
    assert load_scenario("fallback-unaligned-remap").steps[3].shift_pages == 64
    assert load_scenario("fallback-slot-freed").steps[3].racing is Racing.UNMAP
    assert load_scenario("fallback-charge-refused").settings.charge_failure == 1


# Names and paths


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("name", ["no-such-thing", "", "AMD-ZEN3", "linux-6.18"])
def test_an_unknown_name_lists_what_is_installed(kind, name):
    with pytest.raises(InputError) as caught:
        LOADERS[kind](name)
    assert [problem.key for problem in caught.value.problems] == [kind]
    assert repr(name) in str(caught.value)
    assert "installed: " + ", ".join(names(kind)) in str(caught.value)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("name", ["missing.toml", "./missing", "/nowhere/at/all.toml"])
def test_a_missing_path_says_so(kind, name):
    with pytest.raises(InputError, match="cannot be read: No such file or directory") as caught:
        LOADERS[kind](name)
    assert caught.value.problems[0].file.endswith(name.removeprefix("./"))


def test_the_first_folder_wins(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "thing.toml").write_text("")
    (second / "other.toml").write_text("")
    (second / "notes.txt").write_text("")
    monkeypatch.setattr(
        "perfmodel.specs.catalog._FOLDERS", {"machine": (first, second, tmp_path / "missing")}
    )
    assert names("machine") == {"thing": first / "thing.toml", "other": second / "other.toml"}


def test_nothing_installed_is_said_too(monkeypatch):
    monkeypatch.setattr("perfmodel.specs.catalog._FOLDERS", {"device": ()})
    with pytest.raises(InputError, match="installed: none"):
        load_device("zram-lz4")


def test_a_machine_brings_its_own_devices():
    published = load_device("zram-lz4")
    own = attrs.evolve(published, description="fitted")
    machine = attrs.evolve(load_machine("amd-zen3"), devices={"zram-lz4": own})
    assert load_device("zram-lz4", machine) is own
    assert load_device("zram-lz4", load_machine("amd-zen3")) == published


# Costs of the kernel from a table that machines share


def write_machine(folder, name="amd-zen3", **changes):
    table = tomllib.loads(names("machine")[name].read_text()) | changes
    path = folder / "machine.toml"
    path.write_text(tomli_w.dumps({k: v for k, v in table.items() if v is not None}), "utf-8")
    return path


@pytest.mark.parametrize("name", names("kernel_costs"))
def test_shipped_kernel_costs_are_complete(name):
    costs = load_kernel_costs(name)
    assert load_kernel_costs(names("kernel_costs")[name]) == costs
    for path, quantity in quantities(costs):
        assert quantity.source.strip(), path
        # What is measured belongs to the machine that it was measured on.
        assert quantity.how is How.ASSUMED, path
        assert quantity.spread > 0, path


def test_costs_on_arm64_are_those_on_x86_less_sure():
    x86, arm64 = (dict(quantities(load_kernel_costs(f"linux-6.18-{a}"))) for a in ("x86", "arm64"))
    for path, quantity in x86.items():
        assert arm64[path].value == quantity.value, path
        assert quantity.spread < arm64[path].spread <= quantity.value, path
        assert arm64[path].source.startswith("nothing published for arm64; as "), path


def test_a_machine_takes_the_costs_that_it_does_not_say_itself(tmp_path):
    shared = load_kernel_costs("linux-6.18-x86")
    assert load_machine(write_machine(tmp_path, kernel=None)).kernel == shared
    own = {"value": 0.5, "unit": "us", "spread": 1, "source": "test", "how": "measured"}
    kernel = load_machine(write_machine(tmp_path, kernel={"fault_ns": own})).kernel
    assert kernel.fault_ns == Quantity(500.0, 1000.0, "ns", "test", How.MEASURED)
    assert attrs.evolve(kernel, fault_ns=shared.fault_ns) == shared


def test_a_machine_may_say_all_costs_itself(tmp_path):
    costs = to_table(load_kernel_costs("linux-6.18-arm64"))
    path = write_machine(tmp_path, kernel_costs=None, kernel=costs)
    assert load_machine(path).kernel == load_kernel_costs("linux-6.18-arm64")


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"kernel_costs": "linux"}, "kernel_costs", "'linux' is no installed table of kernel"),
        ({"kernel_costs": "linux"}, "kernel_costs", "linux-6.18-arm64, linux-6.18-x86"),
        ({"kernel_costs": ""}, "kernel_costs", "is no installed table"),
        ({"kernel_costs": "../x"}, "kernel_costs", "is no installed table"),
        ({"kernel_costs": 3}, "kernel_costs", "3 is no installed table"),
        ({"kernel_costs": ["linux-6.18-x86"]}, "kernel_costs", "this is no installed table"),
        ({"kernel": 3}, "kernel", "must be a table, not 3"),
        ({"kernel": {"page_fault_ns": 3}}, "kernel.page_fault_ns", "is not known here"),
        ({"kernel": {"fault_ns": 3}}, "kernel.fault_ns", "must be a table {value, unit"),
        ({"kernel": {"fault_ns": {}}}, "kernel.fault_ns", "value is missing"),
        ({"kernel_costs": None, "kernel": None}, "kernel", "is missing"),
    ],
)
def test_wrong_costs_of_a_machine(tmp_path, changes, key, message):
    path = write_machine(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        load_machine(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == (str(path), key)
    assert message in problem.message


def test_costs_that_neither_file_says_are_missing(tmp_path):
    costs = load_machine("amd-zen3").kernel
    path = write_machine(
        tmp_path, kernel_costs=None, kernel={"fault_ns": to_table(costs)["fault_ns"]}
    )
    with pytest.raises(InputError) as caught:
        load_machine(path)
    missing = {field.name for field in attrs.fields(type(costs))} - {"fault_ns"}
    assert {problem.key for problem in caught.value.problems} == {f"kernel.{m}" for m in missing}


def test_a_wrong_shared_table_names_itself(tmp_path, monkeypatch):
    table = to_table(load_kernel_costs("linux-6.18-x86"))
    del table["fault_ns"]
    table["map_pte_ns"]["how"] = "guessed"
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(table), "utf-8")
    monkeypatch.setitem(catalog._FOLDERS, "kernel_costs", (tmp_path,))
    path = write_machine(tmp_path, kernel_costs="mine", kernel=None)
    with pytest.raises(InputError) as caught:
        load_machine(path)
    assert {(problem.file, problem.key) for problem in caught.value.problems} == {
        (str(tmp_path / "mine.toml"), "fault_ns"),
        (str(tmp_path / "mine.toml"), "map_pte_ns"),
    }
    with pytest.raises(InputError, match="cannot be read"):
        load_kernel_costs("missing.toml")


# Parameters of scenarios


def test_parameters_have_defaults_and_can_be_set():
    assert [
        step.pages_per_2mib
        for step in load_scenario("thp-sparse-touch").steps
        if step.action is StepAction.TOUCH
    ] == [8, 8]
    steps = load_scenario("thp-sparse-touch", pages_touched=512).steps
    assert [step.pages_per_2mib for step in steps] == [512] * 4


def test_an_unknown_parameter_names_those_there_are():
    with pytest.raises(InputError) as caught:
        load_scenario("thp-sparse-touch", pages=3)
    (problem,) = caught.value.problems
    assert problem.key == "pages"
    assert problem.message == (
        "is no parameter of this scenario; the nearest is 'pages_touched'; it has: pages_touched"
    )
    with pytest.raises(InputError, match="it has: none"):
        load_scenario("thp-roundtrip", pages_touched=3)


@pytest.mark.parametrize("value", [0, 513, -1, 1 << 70])
def test_a_parameter_out_of_range(value):
    with pytest.raises(InputError) as caught:
        load_scenario("thp-sparse-touch", pages_touched=value)
    assert [problem.key for problem in caught.value.problems] == [
        "steps[2].pages_per_2mib",
        "steps[3].pages_per_2mib",
    ]
    assert all("from 1 to 512" in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("value", [1.0, True, "8", None])
def test_a_parameter_of_a_wrong_type(value):
    with pytest.raises(InputError, match="must be a whole number"):
        load_scenario("thp-sparse-touch", pages_touched=value)


def write_scenario(folder, parameters):
    path = folder / "made.toml"
    path.write_text(
        f'name = "made"\ndescription = "made"\n{parameters}\n'
        '[region]\nsize = "2 MiB"\ncontent = "zero"\n'
        '[[steps]]\nname = "fill"\naction = "fill"\n'
        '[[steps]]\nname = "touch"\naction = "touch"\npages_per_2mib = "$pages"\n'
    )
    return path


@pytest.mark.parametrize(
    ("parameters", "key", "message"),
    [
        ("parameters = 3", "parameters", "must be a table"),
        ("[parameters]\nPages = 3", "parameters.Pages", "must be a lower-case word"),
        ('[parameters]\npages = "3"', "parameters.pages", "must be a whole number"),
        ("[parameters]\npages = true", "parameters.pages", "must be a whole number"),
        ("[parameters]\npages = 3.0", "parameters.pages", "must be a whole number"),
        ("[parameters]\nother = 3", "steps[1].pages_per_2mib", "not '$pages'"),
    ],
)
def test_wrong_declarations(tmp_path, parameters, key, message):
    path = write_scenario(tmp_path, parameters)
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == (str(path), key)
    assert message in problem.message


def test_a_declared_parameter_reaches_its_step(tmp_path):
    path = write_scenario(tmp_path, "[parameters]\npages = 3")
    assert load_scenario(path).steps[1].pages_per_2mib == 3
    assert load_scenario(path, pages=4).steps[1].pages_per_2mib == 4


# The machine for a processor


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """One published machine, and a fitted profile of another processor in a folder before it."""
    machine = load_machine("amd-zen3")
    fit = FitRecord(
        date="2026-11-22",
        base="amd-zen3",
        kernel_release="6.18.0",
        run_to_run=Quantity(0.1, 0.0, "1", "test", How.FITTED),
        chi_square=1.0,
        degrees_of_freedom=1.0,
        parameters=("kernel.fault_ns",),
        correlation=((1.0,),),
        arms=(),
        evidence=(),
        warnings=(),
    )
    other = HostMatch("GenuineIntel", (143,), family=6)
    profile = attrs.evolve(machine, name="fitted", matches=(other,), fit=fit)
    folders = tmp_path / "profiles", tmp_path / "machines"
    for folder, spec in zip(folders, (profile, machine), strict=True):
        folder.mkdir()
        (folder / f"{spec.name}.toml").write_text(tomli_w.dumps(to_table(spec)), encoding="utf-8")
    monkeypatch.setattr("perfmodel.specs.catalog._FOLDERS", {"machine": folders})
    return machine, profile


def test_a_machine_for_this_processor_comes_before_a_profile_of_another(installed):
    machine, profile = installed
    assert default_machine("AuthenticAMD", 25, 1) == (machine, True)
    assert default_machine("GenuineIntel", 6, 143) == (profile, True)


def test_a_profile_of_this_processor_comes_before_its_published_machine(installed):
    machine, profile = installed
    own = attrs.evolve(profile, name="own", matches=machine.matches)
    folder = names("machine")["amd-zen3"].parent
    # Found after the published machine, so that order alone does not decide.
    (folder / "own.toml").write_text(tomli_w.dumps(to_table(own)), encoding="utf-8")
    assert default_machine("AuthenticAMD", 25, 1) == (own, True)
    assert default_machine("AuthenticAMD", 25, 1, fitted=False) == (machine, True)


def test_another_machine_of_the_same_vendor_comes_before_a_strangers(installed):
    machine, profile = installed
    intel = attrs.evolve(profile, name="intel", fit=None)
    folder = names("machine")["amd-zen3"].parent
    (folder / "intel.toml").write_text(tomli_w.dumps(to_table(intel)), encoding="utf-8")
    assert default_machine("GenuineIntel", 6, 255, fitted=False) == (intel, False)
    assert default_machine("AuthenticAMD", 99, 1, fitted=False) == (machine, False)
    assert default_machine("AuthenticAMD", 99, 1) == (profile, False)


@pytest.mark.parametrize(
    "processor", [("GenuineIntel", 25, 1), ("AuthenticAMD", 24, 1), ("AuthenticAMD", 25, 99)]
)
def test_default_machine_admits_that_it_is_another(installed, processor):
    machine, profile = installed
    assert default_machine(*processor) == (profile, False)
    assert default_machine(*processor, fitted=False) == (machine, False)
