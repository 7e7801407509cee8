"""Which numbers an answer hangs on, and what to measure next.

First order, from the draws behind the intervals. Of each number the share of the answer's variance
that would be gone if the number were known exactly, whatever goes along with it in a fit: the
squared correlation between number and answer. Numbers that a fit cannot tell apart both get the
share of what they have in common, so that the shares need not add up to one.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.abi import event_quantities, events_of
from perfmodel.constants import PICOSECONDS_PER_NANOSECOND, Event
from perfmodel.models.prices import draw, price_name
from perfmodel.models.simulated import count_events, simulate_draws
from perfmodel.specs.catalog import load_policy, load_scenario, names
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.policy import MTHP_ENTRIES
from perfmodel.specs.quantity import How
from perfmodel.specs.scenario import Scenario, Settings, SwapSpace
from perfmodel.specs.step import Racing, StepAction
from perfmodel.studies.compare import PMD_ARM, PTE_ARM, return_steps

DEFAULT_DRAWS = 20_000
# What one calibration leaves open of a step's time.
_MEASURING_ERROR = 0.03
_LEAST_SHARE = 0.005
DRIFT = "what separate runs have in common"
MODEL = "what constant prices miss"
_Floats = npt.NDArray[np.float64]
_PLAIN_ACTIONS = frozenset({StepAction.FILL, StepAction.PAGEOUT, StepAction.TOUCH})


@attrs.frozen
class NumberShare:
    """One uncertain number.

    Parameters
    ----------
    name : str
    value, spread : float
        In nanoseconds, or relative where nothing has a price.
    how : str
        How the number is known.
    share : float
        Of the answer's variance, gone if this number were known.
    own : float
        Of the answer's variance, left if all other numbers of a fit were known.
    """

    name: str
    value: float
    spread: float
    how: str
    share: float
    own: float


@attrs.frozen
class Candidate:
    """A step that could be measured, and the share of the answer's variance that it would take."""

    scenario: str
    entry: str
    step: str
    gain: float


@attrs.frozen
class Influence:
    """What the fallback of one scenario on one machine hangs on.

    Parameters
    ----------
    machine, scenario, device : str
    per_2mib_ns, spread_ns : float
        The answer and its standard deviation.
    numbers : tuple of NumberShare
        In order of their shares.
    candidates : tuple of Candidate
        What to measure next, the best first.
    """

    machine: str
    scenario: str
    device: str
    per_2mib_ns: float
    spread_ns: float
    numbers: tuple[NumberShare, ...]
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return attrs.asdict(self)


def influence(
    scenario: Scenario,
    machine: Machine,
    device: SwapDevice,
    *,
    seed: int = 1,
    draws: int = DEFAULT_DRAWS,
) -> Influence:
    """Shares of every number in what falling back to PTEs costs in a scenario.

    Parameters
    ----------
    scenario, machine, device : spec
    seed, draws : int
    """
    indices = return_steps(scenario)
    arms = {
        entry: simulate_draws(
            scenario,
            machine,
            device,
            load_policy(entry),
            entry=entry,
            seed=seed,
            draws=draws,
            with_model_error=True,
        )[0][:, indices].sum(axis=1)
        for entry in (PTE_ARM, PMD_ARM)
    }
    difference = (arms[PTE_ARM] - arms[PMD_ARM]) / PICOSECONDS_PER_NANOSECOND
    answer = difference / scenario.region.count
    drawn = draw(machine, device, draws, seed, scenario.region.content)
    quantities = event_quantities(machine, device, scenario.region.content)
    prices = drawn.events[1:]
    moving = [event for event in Event if prices[:, event].std() > 0]
    covariance = np.cov(prices[:, moving], rowvar=False)
    precision = np.linalg.pinv(covariance, hermitian=True)
    centred = answer[1:] - answer[1:].mean()
    variance = float(centred @ centred) / draws
    slope = np.linalg.lstsq(
        prices[:, moving] - prices[:, moving].mean(axis=0), centred, rcond=None
    )[0]
    found = []
    for place, event in enumerate(moving):
        quantity = quantities[event]
        alone = float(slope[place] ** 2 / precision[place, place] / variance) if variance else 0.0
        found.append(
            NumberShare(
                name=price_name(event, device),
                value=quantity.value,
                spread=quantity.spread,
                how=quantity.how.value,
                share=_squared_correlation(prices[:, event], centred),
                own=alone,
            )
        )
    found += _common(machine, drawn.common[1:], centred, prices[:, moving] @ slope, variance)
    found.sort(key=lambda number: -number.share)
    return Influence(
        machine=machine.name,
        scenario=scenario.name,
        device=device.name,
        per_2mib_ns=round(float(answer[0]), 3),
        spread_ns=round(float(np.sqrt(variance)), 3),
        numbers=tuple(number for number in found if number.share > _LEAST_SHARE),
        candidates=_candidates(machine, device, moving, covariance, covariance @ slope, variance),
    )


def _squared_correlation(first: _Floats, second: _Floats) -> float:
    centred = first - first.mean()
    size = float((centred @ centred) * (second @ second))
    return float((centred @ second) ** 2 / size) if size > 0 else 0.0


def _common(
    machine: Machine, common: _Floats, centred: _Floats, explained: _Floats, variance: float
) -> list[NumberShare]:
    """The drift of a run, and what prices and drift together do not explain."""
    if machine.fit is None or variance == 0:
        return []
    drift, model_error = machine.fit.run_to_run, machine.fit.model_error
    of_drift = _squared_correlation(common, centred)
    rest = centred - explained
    rest = rest - common * float(np.cov(common, rest)[0, 1] / max(common.var(), 1e-30))
    left = float(rest.var() / variance)
    return [
        NumberShare(DRIFT, drift.value, 0.0, drift.how.value, of_drift, of_drift),
        NumberShare(MODEL, model_error.value, 0.0, model_error.how.value, left, left),
    ]


def _is_plain(scenario: Scenario) -> bool:
    usual = scenario.settings == Settings() and scenario.swap == SwapSpace()
    return usual and all(
        step.action in _PLAIN_ACTIONS and not step.refuse_write and step.racing is Racing.NONE
        for step in scenario.steps
    )


def _candidates(
    machine: Machine,
    device: SwapDevice,
    moving: list[Event],
    covariance: _Floats,
    pull: _Floats,
    variance: float,
    most: int = 5,
) -> tuple[Candidate, ...]:
    """Steps of installed round trips that would take most of the variance, if measured once more.

    Of a step with events x, measured with error s, the variance falls by (x' pull)^2 over
    (x' covariance x + s^2), where pull is the covariance of the answer with every price.
    """
    if variance == 0:
        return ()
    found = []
    for name in names("scenario"):
        scenario = load_scenario(name)
        if not _is_plain(scenario):
            continue
        price = np.array(
            [q.value for q in event_quantities(machine, device, scenario.region.content)]
        )
        reference = np.array([q.value for q in event_quantities(machine, device)])
        factor = np.divide(price, reference, out=np.ones_like(price), where=reference > 0)
        for entry in (PTE_ARM, *MTHP_ENTRIES):
            counts = count_events(scenario, machine, load_policy(entry), device.kind, range(1, 2))
            events = events_of(counts.counts)[0] * factor / scenario.region.count
            for index, step in enumerate(scenario.steps):
                row = events[index, moving]
                error = _MEASURING_ERROR * float(events[index] @ reference)
                size = float(row @ covariance @ row) + error**2
                if size > 0:
                    gain = float(row @ pull) ** 2 / size / variance
                    found.append(Candidate(name, entry, step.name, round(gain, 4)))
    found.sort(key=lambda candidate: -candidate.gain)
    best: list[Candidate] = []
    for candidate in found:
        # The same step of another scenario, or after another entry, tells the same.
        if candidate.gain > _LEAST_SHARE and all(
            abs(candidate.gain - other.gain) > 1e-4 for other in best
        ):
            best.append(candidate)
    return tuple(best[:most])


def advice(number: NumberShare) -> str:
    """What would make a number known better, in words."""
    if number.name == DRIFT:
        return "more runs on other days; compare arms of one run"
    if number.name == MODEL:
        return "no measurement: an event that is missing in the model"
    if number.how == How.ASSUMED.value:
        return "nobody has measured it"
    if number.own < 0.25 * number.share:
        return "known together with others only: needs a step that has it alone"
    return "more repetitions"
