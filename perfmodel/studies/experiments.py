"""Published swap experiments beside the same experiments, scaled down, in the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.models.simulated import simulate_draws
from perfmodel.specs.catalog import load_device, load_experiment, load_machine, load_policy, names
from perfmodel.specs.experiment import Arm, Experiment, Measure, PublishedRatio

_DRAWS = 32
_LOW, _HIGH = 0.05, 0.95


@attrs.frozen(kw_only=True)
class ComparedRatio:
    """One published ratio and the model's, with its 90 % interval."""

    published: PublishedRatio
    simulated: float
    interval: tuple[float, float]

    @property
    def relative_error(self) -> float:
        """Of the model, against what was published."""
        return self.simulated / self.published.value - 1

    @property
    def label(self) -> str:
        """Which ratio it is."""
        return f"{self.published.above} / {self.published.below}"

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel experiment --json`` prints it."""
        return attrs.asdict(self.published) | {
            "simulated": self.simulated,
            "interval": list(self.interval),
            "relative_error": self.relative_error,
        }


@attrs.frozen
class ComparedExperiment:
    """All ratios of one experiment."""

    experiment: Experiment
    ratios: tuple[ComparedRatio, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``perfmodel experiment --json`` prints it."""
        told = self.experiment
        return {
            "name": told.name,
            "title": told.title,
            "source": told.source,
            "hardware": told.hardware,
            "machine": told.machine,
            "device": told.device,
            "scaled": told.scaled,
            "assumed": list(told.assumed),
            "missed": told.missed,
            "left_out": list(told.left_out),
            "ratios": [ratio.to_json() for ratio in self.ratios],
        }


@attrs.frozen(eq=False)
class _Run:
    """Times of one arm, shape (draws + 1,), and its shootdowns, in units of what one takes."""

    seconds: npt.NDArray[np.float64]
    shootdowns: float


def _run(experiment: Experiment, arm: Arm, seed: int) -> _Run:
    machine = load_machine(experiment.machine)
    scenario = arm.scenario(experiment.scenario)
    elapsed, result = simulate_draws(
        scenario,
        machine,
        load_device(arm.device or experiment.device, machine),
        load_policy(arm.entry),
        entry=arm.entry,
        seed=seed,
        draws=_DRAWS,
    )
    chosen = [index for index, step in enumerate(scenario.steps) if step.name in experiment.steps]
    shootdowns = sum(result.steps[index].breakdown_ns["shootdown"] for index in chosen)
    return _Run(elapsed[:, chosen].sum(axis=1).astype(float), shootdowns)


def _compared(published: PublishedRatio, above: _Run, below: _Run) -> ComparedRatio:
    if published.measure is Measure.SHOOTDOWNS:
        # All of them interrupt equally many CPUs, so times are as their numbers.
        ratio = above.shootdowns / below.shootdowns
        return ComparedRatio(published=published, simulated=ratio, interval=(ratio, ratio))
    ratios = below.seconds / above.seconds
    low, high = np.quantile(ratios[1:], [_LOW, _HIGH])
    return ComparedRatio(
        published=published, simulated=float(ratios[0]), interval=(float(low), float(high))
    )


def compare_experiment(experiment: Experiment | str, *, seed: int = 1) -> ComparedExperiment:
    """Simulate all arms with the same draws.

    Parameters
    ----------
    experiment : Experiment, or name or path of one
    seed : int
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    runs = {arm.name: _run(experiment, arm, seed) for arm in experiment.arms}
    return ComparedExperiment(
        experiment,
        tuple(
            _compared(ratio, runs[ratio.above], runs[ratio.below]) for ratio in experiment.ratios
        ),
    )


def compare_experiments(
    chosen: Sequence[str] = (),
    *,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[ComparedExperiment]:
    """Several experiments, or all that are installed."""
    wanted = list(dict.fromkeys(chosen)) or list(names("experiment"))
    experiments = [load_experiment(name) for name in wanted]
    found = []
    for experiment in experiments:
        found.append(compare_experiment(experiment, seed=seed))
        progress(len(found), len(experiments))
    return found
