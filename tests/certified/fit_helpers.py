"""Invented machines, measured with the noise of the committed evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perfmodel.abi import events_of
from perfmodel.calibrate.observations import Observations, average, observe
from perfmodel.constants import PICOSECONDS_PER_NANOSECOND, Event
from perfmodel.models.prices import draw_prices
from perfmodel.models.simulated import count_events
from perfmodel.results.provenance import provenance
from perfmodel.results.result import Result, StepResult
from perfmodel.results.store import load_measurements
from perfmodel.specs.catalog import (
    load_device,
    load_machine,
    load_policy,
    load_problem,
    load_scenario,
)
from perfmodel.specs.io import to_table
from perfmodel.specs.scenario import Scenario

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "calibration" / "measured"
BASE = load_machine("amd-zen3")
PROBLEM = load_problem()
DEVICE = load_device(PROBLEM.device)
REPETITIONS = 40


def count(scenario: Scenario, entry: str) -> np.ndarray:
    counts = count_events(scenario, BASE, load_policy(entry), DEVICE.kind, range(1, 2)).counts
    return events_of(counts)


def true_prices(seed: int) -> np.ndarray:
    """Prices that the prior calls possible."""
    drawn = draw_prices(BASE, DEVICE, 20, seed)[1, : len(Event)] / PICOSECONDS_PER_NANOSECOND
    return np.maximum(drawn, 1.0)


def generator_of(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def invented_run(
    prices_ns: np.ndarray, generator: np.random.Generator, noise: float
) -> list[Result]:
    """Measurements of a machine with these prices, noise adding time only, as neighbours do."""
    results = []
    for name, entry in PROBLEM.arms():
        scenario = load_scenario(name)
        events = count(scenario, entry)
        steps = []
        for index, step in enumerate(scenario.steps):
            exact = float(events[0, index] @ prices_ns)
            times = exact * (1 + generator.exponential(noise, REPETITIONS) if noise else 1.0)
            times = tuple(np.broadcast_to(times, REPETITIONS).tolist())
            steps.append(StepResult(step.name, times[0], (0.0, 0.0), {}, {}, times))
        results.append(
            Result(
                scenario=name,
                machine="invented",
                device=DEVICE.name,
                entry=entry,
                regions=scenario.region.count,
                steps=tuple(steps),
                mapping={},
                provenance=provenance(
                    "measured", {"scenario": scenario}, scenario=to_table(scenario)
                ),
            )
        )
    return results


def template() -> Observations:
    """The observations of the usual problem, with the events of each; the times do not matter."""
    return observe([invented_run(true_prices(0), generator_of(0), 0.0)], PROBLEM, BASE, DEVICE)


def real_noise() -> list[np.ndarray]:
    """Repetitions of each committed step over their own location: a heavy tail to the right."""
    files = sorted(MEASURED.rglob("*-fit-*.json"))
    assert files
    found = []
    for file in files:
        for result in load_measurements(file):
            for step in result.steps:
                times = np.array(step.repetitions_ns)
                found.append(times / np.quantile(times, PROBLEM.location_quantile))
    return found


def noisy(
    observations: Observations,
    prices_ns: np.ndarray,
    generator: np.random.Generator,
    noise: list[np.ndarray],
    *,
    runs: int,
    drift: float,
    model_error: float,
) -> tuple[Observations, list[float]]:
    """What several runs on a machine with these prices would yield.

    Each run has a drift of its own, common to all its steps; each step is off the sum of its prices
    by an error that all runs share; each repetition has the noise of a committed step.

    Returns
    -------
    observations : Observations
    truth : list of float
        Times of the sums of prices, ns per 2 MiB.
    """
    truth = [float(member.events @ prices_ns) for member in observations.members]
    drifts = 1 + drift * generator.standard_normal(runs)
    times = []
    for exact in truth:
        missed = 1 + model_error * generator.standard_normal()
        source = noise[generator.integers(len(noise))]
        times.append(
            {
                run: exact * missed * drifts[run] * generator.choice(source, REPETITIONS)
                for run in range(runs)
            }
        )
    return average(observations, times, PROBLEM, runs), truth
