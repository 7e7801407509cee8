"""Profiles: machines whose prices come from a fit, as TOML files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from perfmodel.abi import PRICES
from perfmodel.calibrate.fit import Fit, fit, observe
from perfmodel.errors import InputError, Problem
from perfmodel.results.result import Result
from perfmodel.results.shootdown import load_shootdowns
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import default_machine, load_device, load_scenario, names
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.io import to_table
from perfmodel.specs.machine import Evidence, FitArm, FitRecord, HostMatch, Machine
from perfmodel.specs.quantity import How, Quantity
from perfmodel.studies.shootdown import measured_shootdown

# The only entries that a fit may see; all others are predicted.
FIT_ENTRIES = ("pte", "mthp-16k", "mthp-1024k")
_DIGITS = 6
# No arm of a fit unmaps in batches, but what a PTE costs there follows what it costs alone.
_FOLLOWS = {"unmap_batch_ns": "unmap_pte_ns", "unmap_batched_pte_ns": "unmap_pte_ns"}


def fit_scenarios() -> list[str]:
    """Installed scenarios that a fit may see."""
    return [name for name in names("scenario") if not load_scenario(name).held_out]


def fit_arms() -> list[tuple[str, str]]:
    """Scenario and entry of every arm that goes into a fit."""
    return [(scenario, entry) for scenario in fit_scenarios() for entry in FIT_ENTRIES]


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def build_profile(
    files: list[Path],
    *,
    name: str,
    device: SwapDevice | None = None,
    shootdowns: Sequence[Path] = (),
) -> tuple[Machine, Fit]:
    """Fit a profile to files of measurements.

    Parameters
    ----------
    files : list of Path
        One file for each measuring run, all of the same host.
    name : str
        Name of the profile.
    device : SwapDevice, optional
        Prior for the device; the published ``zram-lz4`` without it.
    shootdowns : sequence of Path
        Files of measured shootdowns of the same host; without them the shootdown stays the base
        machine's.

    Returns
    -------
    profile : Machine
    fit : Fit
    """
    device = load_device("zram-lz4") if device is None else device
    runs = [load_measurements(path) for path in files]
    host = _common_host(runs, files)
    base, _ = default_machine(
        host["cpu_vendor"], host["cpu_family"], host["cpu_model"], fitted=False
    )
    base = _with_shootdowns(base, host, shootdowns)
    arms = fit_arms()
    outcome = fit(observe(runs, arms, base, device), base, device)
    profile = _apply(outcome, base, device, host, files, runs, arms, name)
    assert profile.fit is not None
    record = attrs.evolve(profile.fit, shootdown_evidence=_evidence(shootdowns))
    return attrs.evolve(profile, fit=record), outcome


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


def _common_host(runs: list[list[Result]], files: list[Path]) -> dict[str, Any]:
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
    outcome: Fit,
    base: Machine,
    device: SwapDevice,
    host: dict[str, Any],
    files: list[Path],
    runs: list[list[Result]],
    arms: list[tuple[str, str]],
    name: str,
) -> Machine:
    date = max(str(result.provenance.get("started", ""))[:10] for run in runs for result in run)
    source = f"fit to {len(files)} measuring runs of {date}, prior {base.name} and {device.name}"
    changed: dict[str, dict[str, Any]] = {
        "kernel": {},
        "cpu": {},
        "translation": {},
        "device": {},
    }
    for event, value, spread in zip(outcome.events, outcome.values, outcome.spreads, strict=True):
        owner, _, field = PRICES[event][0].partition(".")
        changed[owner][field] = Quantity(
            _rounded(float(value)), _rounded(float(spread)), "ns", source, How.FITTED
        )
    for follower, leader in _FOLLOWS.items():
        prior = getattr(base.kernel, follower)
        fitted = changed["kernel"].get(leader)
        if fitted is not None:
            factor = fitted.value / getattr(base.kernel, leader).value
            changed["kernel"][follower] = attrs.evolve(
                prior,
                value=_rounded(prior.value * factor),
                spread=_rounded(prior.spread * factor),
                source=f"{prior.source}; times {factor:.2f}, as the fit changed {leader}",
            )
    drift_source = (
        f"spread of the same steps over {len(files)} runs, averaged with an assumed tenth"
        if outcome.run_to_run_measured
        else "one run alone cannot tell; separate runs on shared machines drift by about a tenth"
    )
    record = FitRecord(
        date=date,
        base=base.name,
        kernel_release=host["kernel"],
        run_to_run=Quantity(
            _rounded(outcome.run_to_run),
            0.0,
            "1",
            drift_source,
            How.FITTED if outcome.run_to_run_measured else How.ASSUMED,
        ),
        chi_square=_rounded(outcome.chi_square),
        degrees_of_freedom=_rounded(outcome.degrees_of_freedom),
        parameters=outcome.names,
        correlation=tuple(
            tuple(_rounded(float(number)) for number in row) for row in outcome.correlation
        ),
        arms=tuple(FitArm(scenario, entry) for scenario, entry in arms),
        evidence=_evidence(files),
        warnings=outcome.warnings,
    )
    where = host.get("virtualisation", "unknown")
    return attrs.evolve(
        base,
        name=name,
        description=(
            f"{base.name} fitted to measurements: {host['cpu_vendor']} family {host['cpu_family']} "
            f"model {host['cpu_model']}, {where}, Linux {host['kernel']}, {date}"
        ),
        cpu=attrs.evolve(base.cpu, **changed["cpu"]),
        translation=attrs.evolve(base.translation, **changed["translation"]),
        kernel=attrs.evolve(base.kernel, **changed["kernel"]),
        matches=(
            HostMatch(
                vendor=host["cpu_vendor"],
                family=host["cpu_family"],
                models=(host["cpu_model"],),
            ),
        ),
        # The arms of a fit have one content; see `catalog.load_device` for the others.
        devices={device.name: attrs.evolve(device, codec={}, **changed["device"])},
        fit=record,
    )


def write_profile(profile: Machine, path: Path) -> None:
    """Write a profile as TOML."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(to_table(profile)), encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", file=str(path))) from None
