"""Whether two calibrations of one machine say the same."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from scipy.stats import norm

from perfmodel.calibrate.fit import OVERHEADS
from perfmodel.errors import InputError, Problem
from perfmodel.specs.catalog import load_device, load_machine, load_problem, names
from perfmodel.specs.device import SwapDevice
from perfmodel.specs.machine import Machine
from perfmodel.specs.quantity import Quantity

CONFIDENCE = 0.9
_TOLD = 0.5  # of the prior's spread is gone: the data, and not the prior, make both agree


@attrs.frozen
class SharedPrice:
    """A price that both fits have.

    Parameters
    ----------
    name : str
    first_ns, second_ns : float
    first_spread_ns, second_spread_ns : float
        With the drift that one run, or the mean of a few, may have.
    told : bool
        Whether both have learnt it from data, so that agreeing means something.
    """

    name: str
    first_ns: float
    second_ns: float
    first_spread_ns: float
    second_spread_ns: float
    told: bool

    @property
    def distance(self) -> float:
        """Difference in spreads of the difference."""
        spread = float(np.hypot(self.first_spread_ns, self.second_spread_ns))
        difference = abs(self.first_ns - self.second_ns)
        return difference / spread if spread > 0 else (0.0 if difference == 0 else np.inf)

    @property
    def agrees(self) -> bool:
        """Whether the difference lies inside its 90 % interval."""
        return self.distance <= float(norm.ppf((1 + CONFIDENCE) / 2))


@attrs.frozen
class Agreement:
    """Two profiles beside each other."""

    first: str
    second: str
    prices: tuple[SharedPrice, ...]

    def share(self, *, told: bool = False) -> float | None:
        """Share of the prices that agree; of those that data have told, if asked for."""
        counted = [price.agrees for price in self.prices if price.told or not told]
        return float(np.mean(counted)) if counted else None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "first": self.first,
            "second": self.second,
            "agree": self.share(),
            "agree_where_data_told": self.share(told=True),
            "prices": [
                attrs.asdict(price) | {"distance": round(price.distance, 3), "agrees": price.agrees}
                for price in self.prices
            ],
        }


def _numbers(machine: Machine) -> dict[str, Quantity]:
    owners = {"kernel": machine.kernel, "cpu": machine.cpu, "translation": machine.translation}
    found = {}
    assert machine.fit is not None
    for name in machine.fit.parameters:
        owner, _, rest = name.partition(".")
        if owner == "devices":
            device, _, field = rest.rpartition(".")
            found[name] = getattr(machine.devices[device], field)
        elif owner == OVERHEADS:
            found[name] = machine.fit.overheads[rest]
        else:
            found[name] = getattr(owners[owner], rest)
    return found


def _spread_before(name: str, machine: Machine) -> float | None:
    """Spread of a price in the machine that the fit started from; None where it is not known."""
    assert machine.fit is not None
    if machine.fit.base not in names("machine"):
        return None
    base = load_machine(machine.fit.base)
    owner, _, rest = name.partition(".")
    if owner == OVERHEADS:
        known = machine.fit.problem in names("problem")
        before = load_problem(machine.fit.problem).overheads.get(rest) if known else None
        return None if before is None else before.spread
    if owner == "devices":
        device, _, field = rest.rpartition(".")
        if device not in names("device"):
            return None
        held: SwapDevice | object = load_device(device)
    else:
        held, field = getattr(base, owner), rest
    quantity: Quantity = getattr(held, field)
    return quantity.spread


def _speed(first: Machine, second: Machine) -> float:
    """How much slower the machine was at the first fit, by the loop that ran beside both."""
    ours, theirs = first.fit, second.fit
    assert ours is not None
    assert theirs is not None
    if not ours.reference or ours.reference != theirs.reference:
        return 1.0
    return ours.reference_ns / theirs.reference_ns


def agree(first: Machine, second: Machine) -> Agreement:
    """Set the prices of two fitted profiles beside each other.

    Two prices agree if their difference lies inside its 90 % interval. Both rest on the same prior,
    which makes what data say little about agree by itself: `told` marks the others. Where both were
    fitted beside the same reference loop, the second one's prices are taken at the speed of the
    first.

    Raises
    ------
    InputError
        If one of them has no fit, or they share no price.
    """
    for machine in (first, second):
        if machine.fit is None:
            message = "is no fitted profile; perfmodel calibrate makes one"
            raise InputError(Problem(message, file=machine.name, key="fit"))
    ours, theirs = _numbers(first), _numbers(second)
    speed = _speed(first, second)
    prices = []
    for name in ours:
        if name not in theirs:
            continue
        before = _spread_before(name, first)
        after = max(ours[name].spread, theirs[name].spread * speed)
        prices.append(
            SharedPrice(
                name=name,
                first_ns=ours[name].value,
                second_ns=theirs[name].value * speed,
                first_spread_ns=ours[name].spread,
                second_spread_ns=theirs[name].spread * speed,
                told=before is None or after < _TOLD * before,
            )
        )
    if not prices:
        message = f"shares no fitted price with {second.name}"
        raise InputError(Problem(message, file=first.name, key="fit.parameters"))
    return Agreement(first.name, second.name, tuple(prices))
