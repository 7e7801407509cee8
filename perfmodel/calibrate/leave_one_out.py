"""Leaves every scenario out in turn: fitted to all others, how well is it predicted?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from perfmodel.abi import event_quantities
from perfmodel.calibrate.fit import OVERHEADS, fit_closely
from perfmodel.calibrate.observations import Observations, average, observe, repetitions_of
from perfmodel.results.result import Result
from perfmodel.results.store import measured_scenario
from perfmodel.specs.catalog import load_scenario, names
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.problem import FitProblem, ObservedArms


@attrs.frozen
class LeftOut:
    """One step of a scenario that was left out.

    Parameters
    ----------
    scenario, entry, step : str
    predicted_ns, measured_ns : float
        Per 2 MiB, over all runs.
    seen_entry : bool
        Whether other scenarios were fitted with this entry.
    """

    scenario: str
    entry: str
    step: str
    predicted_ns: float
    measured_ns: float
    seen_entry: bool

    @property
    def relative_error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted_ns / self.measured_ns - 1


def leave_one_out(
    runs: Sequence[Sequence[Result]], problem: FitProblem, machine: Machine, device: SwapDevice
) -> list[LeftOut]:
    """Predictions of every measured scenario, each from a fit to all others.

    The fits see the problem's entries only, but those of every scenario that was measured.

    Parameters
    ----------
    runs : sequence of sequence of Result
    problem : FitProblem
    machine, device : Machine, SwapDevice
        The prior.
    """
    entries = tuple(
        dict.fromkeys(
            entry
            for arms in problem.observations
            if arms.device in ("", problem.device)
            for entry in arms.entries
        )
    )
    known = names("scenario")
    measured = list(
        dict.fromkeys(
            result.scenario
            for run in runs
            for result in run
            if result.device == problem.device
            and result.scenario in known
            and load_scenario(result.scenario).does_the_same_as(measured_scenario(result))
        )
    )
    if len(measured) < 2:
        return []
    everything = attrs.evolve(
        problem,
        observations=(
            *(ObservedArms(scenario, entries) for scenario in measured),
            # What was measured on other devices stays beside it.
            *(arms for arms in problem.observations if arms.device not in ("", problem.device)),
        ),
    )
    observations = observe(runs, everything, machine, device)
    left: list[LeftOut] = []
    for scenario in measured:
        rest = observations.without(scenario)
        if rest.members:
            prices = _prices(rest, everything, machine, device)
            left += _predict(scenario, prices, runs, everything, observations, machine, device)
    return left


_Prices = tuple[Machine, SwapDevice, dict[str, float]]


def _prices(
    observations: Observations, problem: FitProblem, machine: Machine, device: SwapDevice
) -> _Prices:
    """Machine and device at the fitted prices, and what measuring adds."""
    overheads = {}
    fitted = fit_closely(observations, problem, machine, device).fit
    owners: dict[str, Any] = {
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "translation": machine.translation,
        "device": device,
    }
    for name, value in zip(fitted.names, fitted.values, strict=True):
        owner, _, field = name.rpartition(".")
        if owner == OVERHEADS:
            overheads[field] = float(value)
        owner = "device" if owner == f"devices.{device.name}" else owner
        if owner not in owners:
            continue
        price = attrs.evolve(getattr(owners[owner], field), value=float(value))
        owners[owner] = attrs.evolve(owners[owner], **{field: price})
    changed = attrs.evolve(
        machine,
        kernel=owners["kernel"],
        cpu=owners["cpu"],
        translation=owners["translation"],
    )
    fitted_device: SwapDevice = owners["device"]
    return changed, fitted_device, overheads


def _predict(
    name: str,
    prices: _Prices,
    runs: Sequence[Sequence[Result]],
    problem: FitProblem,
    observations: Observations,
    machine: Machine,
    device: SwapDevice,
) -> list[LeftOut]:
    entries = list(
        dict.fromkeys(
            result.entry
            for run in runs
            for result in run
            if (result.scenario, result.device) == (name, problem.device)
        )
    )
    wanted = attrs.evolve(problem, observations=(ObservedArms(name, tuple(entries)),))
    seen = observe(runs, wanted, machine, device)
    # The drift of the runs is what all scenarios together say, as in the fit.
    times = repetitions_of(runs, problem, seen.members)
    seen = average(seen, times, problem, len(runs), drifts=np.array(observations.drifts))
    value, overheads = _values(*prices[:2]), prices[2]
    fitted_entries = {member.entry for member in observations.members if not member.device}
    return [
        LeftOut(
            scenario=name,
            entry=member.entry,
            step=member.step,
            predicted_ns=float(
                member.events @ value + overheads.get(member.overhead, 0.0) * member.overhead_share
            ),
            measured_ns=member.value,
            seen_entry=member.entry in fitted_entries,
        )
        for member in seen.members
    ]


def _values(machine: Machine, device: SwapDevice) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([quantity.value for quantity in event_quantities(machine, device)])
