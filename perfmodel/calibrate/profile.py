"""Profiles: machines whose prices come from a fit, as TOML files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from perfmodel import __version__
from perfmodel.calibrate.fit import OVERHEADS, Fit, Fitted, devices_of, fit_closely
from perfmodel.calibrate.intervals import profile_intervals
from perfmodel.calibrate.observations import Observations, observe
from perfmodel.errors import InputError, Problem
from perfmodel.results.result import Result
from perfmodel.results.shootdown import load_shootdowns
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import (
    default_machine,
    load_device,
    load_problem,
    measured_folders,
    user_profiles,
)
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.io import to_table
from perfmodel.specs.machine import Evidence, FitArm, FitRecord, HostMatch, Machine
from perfmodel.specs.problem import FitProblem
from perfmodel.specs.quantity import How, Quantity
from perfmodel.studies.shootdown import measured_shootdown

_DIGITS = 6


def fit_scenarios(problem: FitProblem | None = None) -> list[str]:
    """Scenarios that a fit may see; of the usual problem without one."""
    problem = load_problem() if problem is None else problem
    return [arms.scenario for arms in problem.observations]


def fit_arms(problem: FitProblem | None = None) -> list[tuple[str, str]]:
    """Scenario and entry of every arm that goes into a fit; of the usual problem without one."""
    return (load_problem() if problem is None else problem).arms()


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def build_profile(
    files: Sequence[Path],
    *,
    name: str,
    problem: FitProblem | None = None,
    device: SwapDevice | None = None,
    shootdowns: Sequence[Path] = (),
) -> tuple[Machine, Fit]:
    """Fit a profile to files of measurements.

    Parameters
    ----------
    files : sequence of Path
        One file for each measuring run, all of the same host.
    name : str
        Name of the profile.
    problem : FitProblem, optional
        What is observed and free; the `usual_problem` without it.
    device : SwapDevice, optional
        Prior for the device; the published one that the problem names without it.
    shootdowns : sequence of Path
        Files of measured shootdowns of the same host; without them the shootdown stays the base
        machine's.

    Returns
    -------
    profile : Machine
    fit : Fit
    """
    runs = [load_measurements(path) for path in files]
    problem = usual_problem(runs) if problem is None else problem
    device = load_device(problem.device) if device is None else device
    host = common_host(runs, files)
    base = _with_shootdowns(base_machine(host), host, shootdowns)
    observations = observe(runs, problem, base, device)
    fitted = fit_closely(observations, problem, base, device)
    dates = [str(result.provenance.get("started", ""))[:10] for run in runs for result in run]
    profile = _apply(fitted, observations, problem, base, device, host, max(dates), files)
    assert profile.fit is not None
    record = attrs.evolve(
        profile.fit,
        shootdown_evidence=_evidence(shootdowns),
    )
    return attrs.evolve(profile, name=name, fit=record), fitted.fit


def usual_problem(runs: Sequence[Sequence[Result]]) -> FitProblem:
    """``calibration`` where anything was measured that it alone asks for, else the round trips."""
    few, many = load_problem(), load_problem("calibration")
    asked = {arms.scenario for arms in many.observations}
    asked -= {arms.scenario for arms in few.observations}
    measured = {result.scenario for run in runs for result in run}
    return many if asked & measured else few


def base_machine(host: dict[str, Any]) -> Machine:
    """The published machine that describes a measured host best: where a fit starts."""
    base, _ = default_machine(
        host["cpu_vendor"], host["cpu_family"], host["cpu_model"], fitted=False
    )
    return base


def fit_evidence(machine: Machine) -> list[Path]:
    """The files that a profile was fitted to, if they are all at hand and unchanged."""
    assert machine.fit is not None
    found = []
    for evidence in machine.fit.evidence:
        for folder in (*measured_folders(machine.name), user_profiles()):
            path = folder / evidence.file
            if path.is_file():
                if hashlib.sha256(path.read_bytes()).hexdigest() == evidence.sha256:
                    found.append(path)
                break
    return found if len(found) == len(machine.fit.evidence) else []


def _with_shootdowns(base: Machine, host: dict[str, Any], files: Sequence[Path]) -> Machine:
    """The machine with the shootdown that some runs on the same host tell."""
    if not files:
        return base
    runs = [load_shootdowns(path) for path in files]
    for run, path in zip(runs, files, strict=True):
        if run.host != host:
            message = "is another host than in the rest of the evidence; fit each host alone"
            raise InputError(Problem(message, file=str(path), key="measurement.host"))
    shootdown = measured_shootdown(runs, base.translation.shootdown)
    return attrs.evolve(base, translation=attrs.evolve(base.translation, shootdown=shootdown))


def _evidence(files: Sequence[Path]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files
    )


def common_host(runs: Sequence[Sequence[Result]], files: Sequence[Path]) -> dict[str, Any]:
    """Facts of the host that all runs were measured on; an `InputError` if they differ."""
    hosts: list[dict[str, Any]] = []
    for run, path in zip(runs, files, strict=True):
        for result in run:
            host = result.provenance.get("host")
            wanted = {"cpu_vendor": str, "cpu_family": int, "cpu_model": int, "kernel": str}
            if not isinstance(host, dict) or any(
                not isinstance(host.get(key), kind) for key, kind in wanted.items()
            ):
                message = f"must say {', '.join(wanted)} of the measured host"
                raise InputError(Problem(message, file=str(path), key="provenance.host"))
            if hosts and host != hosts[0]:
                message = "is another host than in the rest of the evidence; fit each host alone"
                raise InputError(Problem(message, file=str(path), key="provenance.host"))
            hosts.append(host)
    if not hosts:
        raise InputError(Problem("holds no measurement", file=str(files[0])))
    return hosts[0]


def _apply(
    fitted: Fitted,
    observations: Observations,
    problem: FitProblem,
    base: Machine,
    device: SwapDevice,
    host: dict[str, Any],
    date: str,
    files: Sequence[Path],
) -> Machine:
    outcome = fitted.fit
    source = f"fit to {len(files)} measuring runs of {date}, prior {base.name} and {device.name}"
    devices = devices_of(observations, device)
    owners: dict[str, Any] = {
        "kernel": base.kernel,
        "cpu": base.cpu,
        "translation": base.translation,
        # The arms of a fit have one content; see `catalog.load_device` for the others.
        **{f"devices.{used.name}": attrs.evolve(used, codec={}) for used in devices.values()},
    }
    changed: dict[str, dict[str, Any]] = {owner: {} for owner in (*owners, OVERHEADS)}
    for name, value, spread in zip(outcome.names, outcome.values, outcome.spreads, strict=True):
        owner, _, field = name.rpartition(".")
        changed[owner][field] = Quantity(
            _rounded(float(value)), _rounded(float(spread)), "ns", source, How.FITTED
        )
    for follower, leader in problem.follows.items():
        owner, _, field = follower.partition(".")
        leading_owner, _, leading = leader.partition(".")
        if "device" in (owner, leading_owner):
            owner, leading_owner = (
                f"devices.{device.name}" if each == "device" else each
                for each in (owner, leading_owner)
            )
        prior = getattr(owners[owner], field)
        moved = changed[leading_owner].get(leading)
        if moved is not None:
            factor = moved.value / getattr(owners[leading_owner], leading).value
            changed[owner][field] = attrs.evolve(
                prior,
                value=_rounded(prior.value * factor),
                spread=_rounded(prior.spread * factor),
                source=f"{prior.source}; times {factor:.2f}, as the fit changed {leading}",
            )
    overheads = changed.pop(OVERHEADS)
    fitted_owners = {name: attrs.evolve(owners[name], **new) for name, new in changed.items()}
    lower, upper = profile_intervals(fitted)
    where = host.get("virtualisation", "unknown")
    return attrs.evolve(
        base,
        description=(
            f"{base.name} fitted to measurements: {host['cpu_vendor']} family {host['cpu_family']} "
            f"model {host['cpu_model']}, {where}, Linux {host['kernel']}, {date}"
        ),
        cpu=fitted_owners["cpu"],
        translation=fitted_owners["translation"],
        kernel=fitted_owners["kernel"],
        matches=(
            HostMatch(
                vendor=host["cpu_vendor"],
                family=host["cpu_family"],
                models=(host["cpu_model"],),
            ),
        ),
        devices={used.name: fitted_owners[f"devices.{used.name}"] for used in devices.values()},
        fit=FitRecord(
            date=date,
            base=base.name,
            kernel_release=host["kernel"],
            chi_square=_rounded(outcome.chi_square),
            degrees_of_freedom=_rounded(outcome.degrees_of_freedom),
            parameters=outcome.names,
            correlation=tuple(
                tuple(_rounded(float(number)) for number in row) for row in outcome.correlation
            ),
            arms=tuple(
                FitArm(scenario, entry, where or device.name)
                for scenario, entry, where in dict.fromkeys(
                    (member.scenario, member.entry, member.device)
                    for member in observations.members
                )
            ),
            overheads=overheads,
            reference=problem.reference if observations.reference_ns else "",
            run_to_run_beside=_rounded(outcome.run_to_run_beside),
            reference_ns=_rounded(observations.reference_ns),
            evidence=_evidence(files),
            warnings=outcome.warnings,
            run_to_run=_drift(outcome, len(files)),
            problem=problem.name,
            code_version=__version__,
            lower_ns=tuple(_rounded(float(number)) for number in lower),
            upper_ns=tuple(_rounded(float(number)) for number in upper),
            model_error=Quantity(
                _rounded(outcome.model_error),
                0.0,
                "1",
                "errors at arms of the fit that were left out, averaged with "
                f"{problem.model_error.value:.0%}, which was assumed",
                How.FITTED,
            ),
        ),
    )


def _drift(outcome: Fit, runs: int) -> Quantity:
    value = _rounded(outcome.run_to_run)
    if not outcome.run_to_run_measured:
        source = (
            "one run alone cannot tell; separate runs on shared machines drift by about a tenth"
        )
        return Quantity(value, 0.0, "1", source, How.ASSUMED)
    source = f"what all steps of {runs} runs have in common, averaged with an assumed tenth"
    return Quantity(value, 0.0, "1", source, How.FITTED)


def write_profile(profile: Machine, path: Path) -> None:
    """Write a profile as TOML."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(to_table(profile)), encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None
