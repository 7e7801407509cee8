"""Fields of specs by their path: found, set, multiplied, or refused with the nearest name."""

import attrs
import pytest

from perfmodel.specs import fields
from perfmodel.specs.catalog import load_device, load_machine, load_scenario


@pytest.fixture(scope="module")
def machine():
    return load_machine("amd-zen3")


def put(spec, path, value):
    return fields.replace(spec, path, fields.setting(fields.find(spec, path), value, "test"))


def test_every_path_is_found_and_can_be_put_back(machine):
    for spec in (machine, load_scenario("thp-roundtrip"), load_device("samsung-pm9a3")):
        for path in fields.paths(spec):
            place = fields.find(spec, path)
            held = place.value
            assert fields.replace(spec, path, lambda _, held=held: held) == spec


def test_a_quantity_that_is_set_is_exact(machine):
    new = put(machine, "kernel.fault_ns", 123)
    assert (new.kernel.fault_ns.value, new.kernel.fault_ns.spread) == (123.0, 0.0)
    assert put(machine, "kernel.fault_ns", "1.5 us").kernel.fault_ns.value == 1500.0
    assert machine.kernel.fault_ns.value != 123.0


def test_members_are_found_by_name(machine):
    name = machine.translation.tlbs[1].name
    new = put(machine, f"translation.tlbs.{name}.entries", 64)
    assert new.translation.tlbs[1].entries.value == 64
    scenario = put(load_scenario("thp-sparse-touch"), "steps.touch.pages_per_2mib", 3.0)
    assert [step.pages_per_2mib for step in scenario.steps][2] == 3


@pytest.mark.parametrize(("value", "count"), [("8 MiB", 4), (4 << 20, 2)])
def test_sizes_are_texts_or_bytes(value, count):
    assert put(load_scenario("thp-roundtrip"), "region.size", value).region.count == count


def test_relative_times_keep_their_relative_spread():
    device = load_device("samsung-pm9a3")
    place = fields.find(device, "service.read")
    new = fields.replace(device, "service.read", fields.scaling(place, 0.5, "test"))
    for old, now in zip(
        attrs.astuple(device.service.read, recurse=False),
        attrs.astuple(new.service.read, recurse=False),
        strict=True,
    ):
        assert (now.value, now.spread) == (old.value * 0.5, old.spread * 0.5)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("kernel.falt_ns", "kernel.fault_ns"),
        ("fault_ns", "kernel.fault_ns"),
        ("cpu.walk_pud_ns", "cpu.walk_pmd_ns"),
        ("", "name"),
    ],
)
def test_a_wrong_path_names_the_nearest(machine, path, nearest):
    with pytest.raises(ValueError) as caught:
        fields.find(machine, path)
    assert "is no field" in str(caught.value)
    if path:
        assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kernel.fault_ns", "fast", "must be a number in ns"),
        ("kernel.fault_ns", "3 MiB", "must be a number in ns"),
        ("kernel.fault_ns", -1, "must not be negative"),
        ("kernel", 1, "is a whole table"),
        ("translation.walk.levels", 2.5, "must be a whole number"),
        ("translation.walk.levels", True, "must be a whole number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(machine, path, value, message):
    with pytest.raises(ValueError, match=message):
        put(machine, path, value)
