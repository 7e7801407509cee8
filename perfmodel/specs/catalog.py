"""Finds machines, devices, policies and scenarios by name in what is installed, or by path.

A machine file may take its kernel's costs from an installed table, and say only what differs:
``kernel_costs = "linux-6.18-x86"`` and single quantities under ``[kernel]``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import attrs

from perfmodel.errors import InputError, Problem, nearest
from perfmodel.specs import io
from perfmodel.specs.device import SwapDevice, like, together
from perfmodel.specs.experiment import Experiment
from perfmodel.specs.gate import Gates
from perfmodel.specs.machine import KernelCosts, Machine
from perfmodel.specs.plan import Plan
from perfmodel.specs.policy import ALL_ENTRIES, Policy, check_entry, mthp_order, policy_name
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.published import PublishedLatencies
from perfmodel.specs.published_devices import PublishedDevices
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.service import BlockLayer
from perfmodel.specs.step import Step
from perfmodel.specs.study import Study

_PACKAGE = Path(__file__).parent.parent
_CHECKOUT = _PACKAGE.parent
Spec = TypeVar("Spec")


def user_profiles() -> Path:
    """Where `perfmodel calibrate` leaves a profile of this machine; looked into first."""
    root = os.environ.get("XDG_DATA_HOME")
    home = Path(os.environ.get("HOME", "/nonexistent"))
    return (Path(root) if root else home / ".local" / "share") / "perfmodel" / "profiles"


# Each kind of spec lives in the package or, in a checkout, beside it where the wheel takes it from.
_FOLDERS: dict[str, tuple[Path, ...]] = {
    "machine": (
        user_profiles(),
        _PACKAGE / "profiles",
        _CHECKOUT / "calibration" / "profiles",
        _PACKAGE / "machines",
    ),
    "kernel_costs": (_PACKAGE / "kernel_costs",),
    "device": (_PACKAGE / "devices",),
    "block_layer": (_PACKAGE / "block_layers",),
    "policy": (_PACKAGE / "policies",),
    "scenario": (_PACKAGE / "scenarios", _CHECKOUT / "workloads" / "scenarios"),
    "study": (_PACKAGE / "study_files", _CHECKOUT / "workloads" / "studies"),
    # Scenarios that are there to be measured.
    "probe": (_PACKAGE / "probes", _CHECKOUT / "workloads" / "probes"),
    "plan": (_PACKAGE / "plans", _CHECKOUT / "calibration" / "plans"),
    "experiment": (_PACKAGE / "experiments", _CHECKOUT / "calibration" / "experiments"),
    "published": (_PACKAGE / "published", _CHECKOUT / "calibration" / "published"),
    "trace": (_PACKAGE / "recorded", _CHECKOUT / "workloads" / "traces"),
    "problem": (_PACKAGE / "problems", _CHECKOUT / "calibration" / "problems"),
    "gates": (_PACKAGE / "gates", _CHECKOUT / "calibration" / "gates"),
}
TRACE_SUFFIX = ".trace"


_MEASURED = (_PACKAGE / "measured", _CHECKOUT / "calibration" / "measured")


def names(kind: str) -> dict[str, Path]:
    """Every installed spec of one kind: a machine, device, policy, scenario, trace ..."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS[kind]:
        for path in sorted(folder.glob(f"*{_suffix(kind)}")):
            found.setdefault(path.stem, path)
    return found


def measured_files(kind: str) -> list[Path]:
    """Installed evidence of one kind, such as ``runtime``, of one host, in order of its names."""
    for folder in _MEASURED:
        for host in sorted(folder.glob("*")):
            if found := sorted(host.glob(f"*-{kind}-*.json")):
                return found
    return []


def _suffix(kind: str) -> str:
    return TRACE_SUFFIX if kind == "trace" else ".toml"


def find_trace(name: str | Path) -> Path:
    """Where the trace of a name or path is."""
    return _locate("trace", str(name))


def measured_folders(machine: str) -> list[Path]:
    """Where evidence of a machine is kept."""
    return [folder / machine for folder in _MEASURED]


def _locate(kind: str, name: str) -> Path:
    if name.endswith(_suffix(kind)) or "/" in name:
        return Path(name)
    installed = names(kind) | (names("probe") if kind == "scenario" else {})
    if name not in installed:
        known = ", ".join(installed) or "none"
        hint = nearest(name, installed)
        message = f"{name[:80]!r} is neither installed nor a path{hint}; installed: {known}"
        raise InputError(Problem(message, key=kind))
    return installed[name]


# What names a spec: an installed name, a path, a table as a file would say it, or TOML text.
Given = str | Path | Mapping[str, Any]


def _is_text(given: object) -> TypeGuard[str]:
    """Whether it is what a file says, and no name of one: that never has two lines."""
    return isinstance(given, str) and "\n" in given.strip()


def _read(kind: str, given: Given) -> tuple[dict[str, Any], str]:
    """A spec's table, and the name that its mistakes are told under."""
    if isinstance(given, Mapping):
        return dict(given), f"this {kind}"
    if _is_text(given):
        return io.parse_toml(given, f"this {kind}"), f"this {kind}"
    path = _locate(kind, str(given))
    return io.read_toml(path), str(path)


def installed(kind: str) -> dict[str, Path]:
    """What is installed of one kind, by name.

    Parameters
    ----------
    kind : str
        ``machine``, ``device``, ``scenario``, ``study``, ``trace``, ``probe``, ``plan``,
        ``problem``, ``policy``, ``experiment`` ...; `evidence` lists measurements.

    Raises
    ------
    InputError
        If there is no such kind.

    Examples
    --------
    >>> import perfmodel as pm
    >>> sorted(pm.installed("study"))
    """
    if kind not in _FOLDERS:
        message = f"{str(kind)[:40]!r} is no kind{nearest(kind, _FOLDERS)}; "
        raise InputError(Problem(message + f"there are {', '.join(_FOLDERS)}", key="kind"))
    return names(kind)


def evidence(machine: str) -> dict[str, Path]:
    """Installed files of measurements on a machine, by name, the oldest first.

    Parameters
    ----------
    machine : str
        Name of its profile. A checkout has all of them; what `pip install` brings has those that
        commands need.

    Raises
    ------
    InputError
        If there are none of that machine.

    Examples
    --------
    >>> import perfmodel as pm
    >>> files = pm.evidence("intel-emerald-rapids-guest")
    >>> files["2026-11-23-runtime-1"].stat().st_size
    """
    found: dict[str, Path] = {}
    for folder in measured_folders(str(machine)):
        for path in folder.glob("*.json"):
            found.setdefault(path.stem, path)
    if not found:
        hosts = sorted({host.name for folder in _MEASURED for host in folder.glob("*")})
        message = f"no measurements of {str(machine)[:80]!r} are installed{nearest(machine, hosts)}"
        known = ", ".join(hosts) or "none"
        raise InputError(Problem(f"{message}; there are some of: {known}", key="machine"))
    return dict(sorted(found.items()))


def load_kernel_costs(name: str | Path) -> KernelCosts:
    """A complete table of a kernel's costs by name or path."""
    path = _locate("kernel_costs", str(name))
    return io.structure(KernelCosts, io.read_toml(path), str(path))


def _with_kernel_costs(table: dict[str, Any], file: str) -> dict[str, Any]:
    """The machine's table with the installed costs that it names under its own.

    The table stays as it is where it names none, and where its own costs are no table: that is for
    the spec to refuse.
    """
    if "kernel_costs" not in table:
        return table
    name, own = table["kernel_costs"], table.get("kernel", {})
    installed = names("kernel_costs")
    if not isinstance(name, str) or name not in installed:
        known = ", ".join(installed) or "none"
        said = repr(name)[:80] if isinstance(name, str | int | float) else "this"
        hint = nearest(name, installed)
        message = f"{said} is no installed table of kernel costs{hint}; installed: {known}"
        raise InputError(Problem(message, file=file, key="kernel_costs"))
    rest = {key: value for key, value in table.items() if key != "kernel_costs"}
    if not isinstance(own, dict):
        return rest
    return rest | {"kernel": io.to_table(load_kernel_costs(name)) | own}


def load_machine(name: Given) -> Machine:
    """A machine or fitted profile.

    Parameters
    ----------
    name : str, Path or mapping
        Installed name, path of a TOML file, its text, or its table.
    """
    table, file = _read("machine", name)
    return io.structure(Machine, _with_kernel_costs(table, file), file)


def load_published_latencies(name: str | Path = "latency_matrices") -> PublishedLatencies:
    """Published latencies by name or path."""
    path = _locate("published", str(name))
    return io.structure(PublishedLatencies, io.read_toml(path), str(path))


def load_published_devices(name: str | Path = "devices") -> PublishedDevices:
    """Published speeds of storage devices by name or path."""
    path = _locate("published", str(name))
    return io.structure(PublishedDevices, io.read_toml(path), str(path))


def load_experiment(name: str | Path) -> Experiment:
    """A published experiment by name or path."""
    path = _locate("experiment", str(name))
    return io.structure(Experiment, io.read_toml(path), str(path))


def load_problem(name: str | Path = "swap-round-trips") -> FitProblem:
    """A fit problem by name or path."""
    path = _locate("problem", str(name))
    return io.structure(FitProblem, io.read_toml(path), str(path))


def load_gates(name: str | Path) -> Gates:
    """The gates of a machine's profile by name or path."""
    path = _locate("gates", str(name))
    return io.structure(Gates, io.read_toml(path), str(path))


def load_device(name: Given, machine: Machine | None = None) -> SwapDevice:
    """A swap device by name, path, TOML text or table; what `machine` was fitted with comes first.

    A fit has seen one content of pages. What others cost relative to it comes from the installed
    device of that name. A zram that was not fitted takes over from one that was what they share,
    and scales its codec's prices, see `specs.device.like`.
    """
    if isinstance(name, Mapping) or _is_text(name):
        table, file = _read("device", name)
        return io.structure(SwapDevice, table, file)
    fitted = machine.devices if machine is not None else {}
    own = fitted.get(str(name))
    if own is not None and (own.codec or str(name) not in names("device")):
        return own
    path = _locate("device", str(name))
    published = io.structure(SwapDevice, io.read_toml(path), str(path))
    if own is not None:
        same = own.algorithm == published.algorithm
        return attrs.evolve(own, codec=published.codec) if same else own
    if published.codec and str(name) in names("device"):
        for other in fitted:
            known = load_device(other, machine)
            if known.codec:
                return like(published, known)
    return published


_PRIORITY = re.compile(r"(.+):([+-]?[0-9]{1,5})")


def load_devices(names: Given, machine: Machine | None = None) -> SwapDevice:
    """One swap device, or several at a time: ``zram-lz4:100,optane-p5800x:-2``.

    Each is a name or path as `load_device` takes it, and its priority behind a colon; without one
    it is what the kernel gives by itself. They are switched on in this order.
    """
    if isinstance(names, Mapping) or _is_text(names):
        return load_device(names, machine)
    devices, priorities = [], []
    for name in str(names).split(","):
        found = _PRIORITY.fullmatch(name)
        priorities.append(int(found[2]) if found else None)
        devices.append(load_device(found[1] if found else name, machine))
    if len(devices) == 1 and priorities[0] is not None:
        message = "a priority is for several devices: name another one behind a comma"
        raise InputError(Problem(message, key="device"))
    try:
        return together(devices, priorities)
    except ValueError as error:
        raise InputError(Problem(str(error), key="device")) from None


def load_block_layer(name: str | Path = "linux-6.18-nvme") -> BlockLayer:
    """What a kernel does to requests before a device gets them, by name or path."""
    path = _locate("block_layer", str(name))
    return io.structure(BlockLayer, io.read_toml(path), str(path))


def load_policy(
    entry: str, *, order9_failure: float = 0.0, allowed: tuple[str, ...] = ALL_ENTRIES
) -> Policy:
    """The policy behind an arm's short name, such as ``pte``, ``mthp-64k`` or ``pmd``."""
    check_entry(entry, allowed)
    path = _locate("policy", policy_name(entry))
    policy = io.structure(Policy, io.read_toml(path), str(path))
    try:
        return attrs.evolve(policy, swapin_order=mthp_order(entry), order9_failure=order9_failure)
    except ValueError as error:
        raise InputError(Problem(str(error), key="order9-failure")) from None


_PARAMETER_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


def _parameters(table: Mapping[str, Any], file: str) -> dict[str, int]:
    declared = table.get("parameters", {})
    if not isinstance(declared, dict):
        raise InputError(Problem("must be a table", file=file, key="parameters"))
    problems = []
    for name, default in declared.items():
        if not _PARAMETER_NAME.fullmatch(name):
            problems.append(
                Problem("must be a lower-case word", file=file, key=f"parameters.{name}")
            )
        elif type(default) is not int:
            message = "must be a whole number, the parameter's default"
            problems.append(Problem(message, file=file, key=f"parameters.{name}"))
    if problems:
        raise InputError(problems)
    return dict(declared)


def _substitute(value: Any, parameters: Mapping[str, int], depth: int = 0) -> Any:
    if depth > 20:
        return value
    if isinstance(value, dict):
        return {key: _substitute(inner, parameters, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, parameters, depth + 1) for inner in value]
    if isinstance(value, str) and value.startswith("$"):
        return parameters.get(value[1:], value)
    return value


def load_plan(name: str | Path) -> Plan:
    """A plan of what a run measures, by name or path."""
    path = _locate("plan", str(name))
    return io.structure(Plan, io.read_toml(path), str(path))


def load_scenario(name: Given, **parameters: int) -> Scenario:
    """A scenario.

    Parameters
    ----------
    name : str, Path or mapping
        Installed name, path of a TOML file, its text, or its table.
    **parameters : int
        Values for what the file declares under ``[parameters]`` and uses as ``"$name"``.

    Examples
    --------
    >>> import perfmodel as pm
    >>> region = {"size": "4 MiB", "content": "half-random"}
    >>> steps = [{"name": each, "action": each} for each in ("fill", "pageout", "touch")]
    >>> pm.scenario({"name": "mine", "description": "-", "region": region, "steps": steps})
    """
    table, file = _read("scenario", name)
    values = _parameters(table, file)
    for key, value in parameters.items():
        if key not in values:
            known = ", ".join(values) or "none"
            hint = nearest(key, values)
            message = f"is no parameter of this scenario{hint}; it has: {known}"
            raise InputError(Problem(message, file=file, key=key))
        values[key] = value
    table.pop("parameters", None)
    scenario = io.structure(Scenario, _substitute(table, values), file)
    # Without a file a trace stands where its path leads from here.
    beside = Path(file) if Path(file).suffix == _suffix("scenario") else Path()
    return attrs.evolve(scenario, steps=tuple(_beside(beside, step) for step in scenario.steps))


def _beside(scenario: Path, step: Step) -> Step:
    """A trace that a scenario names by its path stands where that leads from the scenario."""
    if not step.trace or step.trace in names("trace"):
        return step
    return attrs.evolve(step, trace=str(scenario.parent / step.trace))


def load_study(name: Given) -> Study:
    """A study by name, path, TOML text or table; a scenario that it names becomes part of it."""
    table, file = _read("study", name)
    table = _with_scenario(table, file)
    mixture = table.get("mixture")
    if isinstance(mixture, dict):
        table["mixture"] = _with_scenario(mixture, file, "mixture.")
    return io.structure(Study, table, file)


def _with_scenario(table: dict[str, Any], file: str, prefix: str = "") -> dict[str, Any]:
    named = table.get("scenario")
    if not isinstance(named, str):
        return table
    try:
        scenario = load_scenario(named)
    except InputError as error:
        key = f"{prefix}scenario"
        raise InputError(
            [p if p.file else Problem(p.message, file=file, key=key) for p in error.problems]
        ) from None
    return table | {"scenario": io.to_table(scenario)}


def default_machine(
    vendor: str, family: int, model: int, *, fitted: bool = True
) -> tuple[Machine, bool]:
    """The machine that describes a processor best, and whether it is really that processor's.

    One for this processor comes before any other, then a fitted profile before a published machine,
    then one of the same vendor.

    Parameters
    ----------
    vendor, family, model
        As /proc/cpuinfo names the processor.
    fitted : bool
        Whether fitted profiles count.
    """
    candidates = [load_machine(path) for path in names("machine").values()]
    candidates = [machine for machine in candidates if fitted or machine.fit is None]

    def rank(machine: Machine) -> tuple[bool, bool, bool]:
        matches = any(
            match.vendor == vendor and match.family == family and model in match.models
            for match in machine.matches
        )
        vendors = {match.vendor for match in machine.matches}
        return not matches, machine.fit is None, vendor not in vendors

    best = min(candidates, key=rank)
    return best, not rank(best)[0]
