"""Compares arms of one scenario, and says what falling back to PTEs costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

from perfmodel.constants import PICOSECONDS_PER_NANOSECOND
from perfmodel.errors import InputError, Problem
from perfmodel.models.simulated import DEFAULT_DRAWS, simulate_draws
from perfmodel.results.result import Result
from perfmodel.specs import io
from perfmodel.specs.catalog import load_devices, load_machine, load_policy, load_scenario
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import SHMEM_ENTRY, SIMULATED_ENTRIES, check_entry
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.step import StepAction

DEFAULT_ENTRIES = ("pte", "mthp-16k", "mthp-64k", "mthp-256k", "mthp-1024k", "pmd")
PTE_ARM, PMD_ARM = "pte", "pmd"


def ratio_text(ratio: float) -> str:
    """A ratio with three digits, and never in powers of ten."""
    return f"{ratio:.3g}" if 1e-4 <= ratio < 1000 else f"{ratio:,.0f}"


@attrs.frozen
class Fallback:
    """What it costs that 2 MiB come back as 512 PTEs and not by one PMD.

    Parameters
    ----------
    per_2mib_ns : float
        Time of all touches and accesses after the first page-out (under a memory limit: the fill),
        `pte` minus `pmd`.
    interval_ns : tuple of float
        90 % interval of that difference, both arms with the same draws.
    ratio : float
        `pte` over `pmd`.
    ratio_interval : tuple of float
        90 % interval of the ratio.
    steps : tuple of str
        Names of the steps that are in it.
    """

    per_2mib_ns: float
    interval_ns: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    steps: tuple[str, ...]

    def sentence(self) -> str:
        """The result in one sentence."""
        low, high = self.interval_ns
        verb = "costs" if self.per_2mib_ns >= 0 else "saves"
        if self.per_2mib_ns < 0:
            low, high = -high, -low
        return (
            f"Falling back to PTEs {verb} {abs(self.per_2mib_ns) / 1000:.0f} us per 2 MiB "
            f"({low / 1000:.0f} to {high / 1000:.0f}), {ratio_text(self.ratio)} times the cost of "
            f"one PMD swap-in."
        )

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "per_2mib_ns": self.per_2mib_ns,
            "interval_ns": list(self.interval_ns),
            "ratio": self.ratio,
            "ratio_interval": list(self.ratio_interval),
            "steps": list(self.steps),
        }


@attrs.frozen
class Comparison:
    """Arms of one scenario, simulated, and measured where there are measurements.

    `arms` and `measured` are keyed by entry. A measured ``shmem-pmd`` stands in for ``pmd``.
    """

    scenario: Scenario
    arms: dict[str, Result]
    fallback: Fallback
    measured: dict[str, Result] = attrs.field(factory=dict)

    def measured_for(self, entry: str) -> Result | None:
        """The measurement that belongs to a simulated arm, if there is one."""
        if entry == PMD_ARM and entry not in self.measured:
            return self.measured.get(SHMEM_ENTRY)
        return self.measured.get(entry)

    def measured_fallback(self) -> dict[str, Any] | None:
        """The same difference and ratio from measured arms; None without both of them."""
        pte, pmd = self.measured_for(PTE_ARM), self.measured_for(PMD_ARM)
        if pte is None or pmd is None:
            return None
        steps = self.fallback.steps
        times = [sum(arm.step(name).elapsed_ns for name in steps) for arm in (pte, pmd)]
        # The arms took turns, so repetitions with the same number saw the same drift.
        differences = [
            sum(pte.step(name).repetitions_ns[turn] for name in steps)
            - sum(pmd.step(name).repetitions_ns[turn] for name in steps)
            for turn in range(
                min(len(arm.step(name).repetitions_ns) for arm in (pte, pmd) for name in steps)
            )
        ]
        if not differences:
            return None
        low, high = np.quantile(differences, [0.25, 0.75]) / pte.regions
        return {
            "per_2mib_ns": round((times[0] - times[1]) / pte.regions, 3),
            "interval_ns": [round(float(low), 3), round(float(high), 3)],
            "ratio": round(times[0] / max(times[1], 1.0), 4),
            "pmd_arm": pmd.entry,
        }

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        document: dict[str, Any] = {
            "scenario": io.to_table(self.scenario),
            "arms": {entry: result.to_json() for entry, result in self.arms.items()},
            "fallback": self.fallback.to_json(),
        }
        if self.measured:
            document["measured"] = {
                entry: result.to_json() for entry, result in self.measured.items()
            }
            document["measured_fallback"] = self.measured_fallback()
        return document


def return_steps(scenario: Scenario) -> list[int]:
    """Touches and accesses after the first page-out: they bring memory back and use it.

    Under a memory limit the fill is that page-out.
    """
    actions = [step.action for step in scenario.steps]
    out = StepAction.FILL if scenario.is_limited else StepAction.PAGEOUT
    if out not in actions:
        return []
    first = actions.index(out)
    return [i for i, action in enumerate(actions) if i > first and action.touches]


def compare(
    scenario: Scenario | str | Path,
    machine: Machine | str | Path,
    *,
    device: SwapDevice | str | Path = "zram-lz4",
    entries: tuple[str, ...] | list[str] = DEFAULT_ENTRIES,
    seed: int = 1,
    draws: int = DEFAULT_DRAWS,
    order9_failure: float = 0.0,
) -> Comparison:
    """Simulate several arms of a scenario with the same draws and seeds.

    Parameters
    ----------
    scenario, machine, device : spec, or the name or path of one
    entries : sequence of str
        Arms to report. The fallback is always that of ``pte`` against ``pmd``.
    seed, draws, order9_failure
        See `perfmodel.simulate`.

    Returns
    -------
    Comparison
    """
    scenario = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    machine = machine if isinstance(machine, Machine) else load_machine(machine)
    device = device if isinstance(device, SwapDevice) else load_devices(device, machine)
    if not entries:
        raise InputError(Problem("name at least one entry", key="entries"))
    for entry in entries:
        check_entry(entry, SIMULATED_ENTRIES, key="entries")
    indices = return_steps(scenario)
    if not indices:
        message = "has no touch after a page-out, so nothing is brought back to compare"
        raise InputError(Problem(message, file=scenario.name, key="steps"))
    arms: dict[str, Result] = {}
    returned = {}
    for entry in dict.fromkeys([*entries, PTE_ARM, PMD_ARM]):
        policy = load_policy(entry, order9_failure=order9_failure, allowed=SIMULATED_ENTRIES)
        elapsed, result = simulate_draws(
            scenario,
            machine,
            device,
            policy,
            entry=entry,
            seed=seed,
            draws=draws,
            with_model_error=True,
        )
        arms[entry] = result
        returned[entry] = elapsed[:, indices].sum(axis=1) / PICOSECONDS_PER_NANOSECOND
    difference = (returned[PTE_ARM] - returned[PMD_ARM]) / scenario.region.count
    # A picosecond at least, so that free events give a large ratio and not an infinite one.
    floor = 1 / PICOSECONDS_PER_NANOSECOND
    ratio = np.maximum(returned[PTE_ARM], floor) / np.maximum(returned[PMD_ARM], floor)
    low, high = np.quantile(difference[1:], [0.05, 0.95])
    ratio_low, ratio_high = np.quantile(ratio[1:], [0.05, 0.95])
    fallback = Fallback(
        per_2mib_ns=round(float(difference[0]), 3),
        interval_ns=(round(float(low), 3), round(float(high), 3)),
        ratio=round(float(ratio[0]), 4),
        ratio_interval=(round(float(ratio_low), 4), round(float(ratio_high), 4)),
        steps=tuple(scenario.steps[index].name for index in indices),
    )
    return Comparison(scenario, {entry: arms[entry] for entry in dict.fromkeys(entries)}, fallback)
