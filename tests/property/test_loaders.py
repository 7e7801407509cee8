"""Whatever a file holds, a loader yields a spec or an InputError of printable lines."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.specs import catalog, io
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.gate import Gates
from perfmodel.specs.machine import KernelCosts, Machine
from perfmodel.specs.policy import Policy
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.published_devices import PublishedDevices
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.service import BlockLayer
from tests import calibration_strategies, device_strategies, file_strategies, strategies
from tests.property.helpers import to_table

LOADERS = {
    "machine": catalog.load_machine,
    "device": catalog.load_device,
    "nvme": catalog.load_device,
    "block_layer": catalog.load_block_layer,
    "published_devices": catalog.load_published_devices,
    "scenario": catalog.load_scenario,
    "kernel_costs": catalog.load_kernel_costs,
    "problem": catalog.load_problem,
    "gates": catalog.load_gates,
}
KINDS: dict[str, type] = {
    "machine": Machine,
    "device": SwapDevice,
    "nvme": SwapDevice,
    "block_layer": BlockLayer,
    "published_devices": PublishedDevices,
    "scenario": Scenario,
    "policy": Policy,
    "kernel_costs": KernelCosts,
    "problem": FitProblem,
    "gates": Gates,
}
# Where a kind of file lies that is not called like its folder.
FOLDERS = {"nvme": "device", "published_devices": "published"}
VALID = {
    "machine": catalog.names("machine")["amd-zen3"],
    "device": catalog.names("device")["zram-lz4"],
    "nvme": catalog.names("device")["optane-p4800x"],
    "block_layer": catalog.names("block_layer")["linux-6.18-nvme"],
    "published_devices": catalog.names("published")["devices"],
    "scenario": catalog.names("scenario")["thp-sparse-touch"],
    "kernel_costs": catalog.names("kernel_costs")["linux-6.18-x86"],
    "problem": catalog.names("problem")["swap-round-trips"],
    "gates": catalog.names("gates")["intel-emerald-rapids-guest"],
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("loaders") / "file.toml"


def assert_spec_or_input_error(kind: str, path: Path) -> None:
    try:
        spec = LOADERS[kind](path)
    except InputError as error:
        assert_clear(error, str(path))
    else:
        assert isinstance(spec, KINDS[kind])


def assert_clear(error: InputError, file: str = "") -> None:
    assert error.problems
    assert len(str(error).split("\n")) == len(error.problems)
    for problem in error.problems:
        assert str(problem).isprintable()
        assert problem.message.strip()
        assert not file or problem.file == file


@settings(max_examples=25)
@given(
    spec=strategies.machines
    | strategies.devices
    | device_strategies.block_layers
    | strategies.policies
    | strategies.scenarios()
    | calibration_strategies.problems()
    | calibration_strategies.gates
)
def test_a_written_spec_reads_back_the_same(spec):
    text = tomli_w.dumps(to_table(spec))
    assert io.structure(type(spec), tomllib.loads(text), "written.toml") == spec


@pytest.mark.parametrize("kind", LOADERS)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode()))
@example(content=b"")
@example(content=b"\xff\xfe")
@example(content=b'name = "x"\n[[steps]]\nname = 3')
@example(content=b"a" + b".a" * 5000 + b" = 1")
@example(content=b"parameters = 3")
@example(content=b"[parameters]\n'' = 1\nB = 1.5\nc = true")
@example(content=b"name = 0x" + b"f" * 5000)
@example(content=b"name = " + b"1" * 5000)
def test_any_bytes(kind, content, file):
    file.write_bytes(content)
    assert_spec_or_input_error(kind, file)


@given(content=st.binary(max_size=60) | file_strategies.toml_values.map(repr).map(str.encode))
@example(content=b"[" * 100_000)
@example(content=b"1" * 5000)
@example(content=b"")
def test_any_json(content, file):
    file.write_bytes(content)
    try:
        io.read_json(file)
    except InputError as error:
        assert_clear(error, str(file))


@settings(max_examples=100)
@given(
    costs=file_strategies.toml_values | st.sampled_from(sorted(catalog.names("kernel_costs"))),
    kernel=file_strategies.toml_values | file_strategies.toml_tables,
)
@example(costs="\0", kernel={})
@example(costs="a" * 5000, kernel=[])
@example(costs="../kernel_costs/linux-6.18-x86.toml", kernel={})
def test_any_costs_of_a_machine(costs, kernel, file):
    table = tomllib.loads(VALID["machine"].read_text())
    file.write_text(tomli_w.dumps(table | {"kernel_costs": costs, "kernel": kernel}), "utf-8")
    assert_spec_or_input_error("machine", file)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@given(table=file_strategies.toml_tables)
def test_any_table(kind, table):
    try:
        spec = io.structure(KINDS[kind], table, "table.toml")
    except InputError as error:
        assert_clear(error, "table.toml")
    else:
        assert isinstance(spec, KINDS[kind])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a parsed file."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [] if not path else [path]
    for key, item in inner:
        found += places(item, (*path, key))
    return found


def mutate(draw: st.DrawFn, table: dict[str, Any]) -> None:
    path = draw(st.sampled_from(places(table)))
    holder: Any = table
    for key in path[:-1]:
        holder = holder[key]
    what = draw(st.sampled_from(["replace", "delete", "add", "duplicate"]))
    if what == "replace":
        holder[path[-1]] = draw(file_strategies.toml_values)
    elif what == "delete":
        del holder[path[-1]]
    elif isinstance(holder, list):
        holder.append(draw(file_strategies.toml_values) if what == "add" else holder[path[-1]])
    else:
        extra = holder[path[-1]] if what == "duplicate" else draw(file_strategies.toml_values)
        holder[draw(file_strategies.toml_keys)] = extra


@st.composite
def mutated_files(draw: st.DrawFn, kind: str) -> str:
    """A valid file in which one to three values were replaced, removed or added."""
    table = copy.deepcopy(tomllib.loads(VALID[kind].read_text()))
    for _ in range(draw(st.integers(1, 3))):
        if places(table):
            mutate(draw, table)
    return tomli_w.dumps(table)


@pytest.mark.parametrize("kind", LOADERS)
@settings(max_examples=100)
@given(data=st.data())
def test_mutated_tables(kind, data, file):
    file.write_text(data.draw(mutated_files(kind)), encoding="utf-8")
    assert_spec_or_input_error(kind, file)


@pytest.mark.parametrize("kind", LOADERS)
@given(start=st.integers(0, 10_000), length=st.integers(0, 40), insert=st.binary(max_size=6))
def test_mutated_bytes(kind, start, length, insert, file):
    content = VALID[kind].read_bytes()
    start %= len(content)
    file.write_bytes(content[:start] + insert + content[start + length :])
    assert_spec_or_input_error(kind, file)


@given(
    name=st.text(max_size=20) | st.sampled_from(["", ".", "..", "/", "a/b.toml", "\0.toml", "~"]),
    kind=st.sampled_from(sorted(LOADERS)),
)
def test_any_name(kind, name):
    if name in catalog.names(FOLDERS.get(kind, kind)):
        return
    with pytest.raises(InputError) as caught:
        LOADERS[kind](name)
    assert_clear(caught.value)


@given(
    value=file_strategies.toml_values,
    name=st.sampled_from(["pages_touched", "other"]) | st.from_regex(r"[a-z]{1,5}", fullmatch=True),
)
def test_any_parameter(name, value):
    if name == "name":
        return
    try:
        scenario = catalog.load_scenario("thp-sparse-touch", **{name: value})
    except InputError as error:
        assert_clear(error)
    else:
        assert name == "pages_touched"
        assert scenario.steps[-1].pages_per_2mib == value
        assert type(value) is int
