"""Fit problems: what is observed, which prices are free, and what is known before."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.policy import MEASURED_ENTRIES
from perfmodel.specs.quantity import (
    Quantity,
    number_between,
    quantity,
    text,
    tuple_of,
    whole_number,
)
from perfmodel.specs.step import StepAction

OTHER_ACTIONS = "other"
_PRICE_NAME = re.compile(r"(kernel|cpu|translation|device)\.[a-z][a-z0-9_]*_ns")


class Loss(StrEnum):
    """What a residual costs: its square, or with ``huber`` beyond some spreads its size."""

    LINEAR = "linear"
    HUBER = "huber"


def _price_name(name: object) -> bool:
    return isinstance(name, str) and _PRICE_NAME.fullmatch(name) is not None


def _prices(_: object, attribute: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    if not isinstance(value, tuple) or not value:
        raise ValueError("must name at least one price")
    for name in value:
        if not _price_name(name):
            raise ValueError(f"{str(name)[:80]!r} is no name such as kernel.fault_ns")
        if value.count(name) > 1:
            raise ValueError(f"names {name} twice")


@attrs.frozen
class ObservedArms:
    """A scenario whose measured steps are observations, with the entries that the fit may see.

    Parameters
    ----------
    scenario : str
        Installed name.
    entries : tuple of str
    steps : tuple of str
        Names of the steps; all of them if empty.
    device : str
        Installed swap device that they were measured on; the problem's own if empty.
    """

    scenario: str = attrs.field(validator=text)
    entries: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    steps: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))
    device: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    @entries.validator
    def _are_entries(self, _: object, value: tuple[str, ...]) -> None:
        if not value:
            raise ValueError("must name at least one entry")
        for entry in value:
            if entry not in MEASURED_ENTRIES:
                known = ", ".join(MEASURED_ENTRIES)
                raise ValueError(f"{entry[:40]!r} is no entry that can be measured: {known}")


@attrs.frozen
class Limits:
    """Bounds of a free price, and what is known of it where that is not what the machine says."""

    lower_ns: float = attrs.field(default=0.0, validator=number_between(0.0, 1e14))
    upper_ns: float = attrs.field(default=1e14, validator=number_between(0.0, 1e14))
    prior: Quantity | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(Quantity)),
    )

    def __attrs_post_init__(self) -> None:
        if self.upper_ns <= self.lower_ns:
            raise ValueError("upper_ns must be more than lower_ns")
        if self.prior is None:
            return
        if self.prior.unit != "ns":
            raise ValueError(f"prior must be in ns, not in {self.prior.unit}")
        if self.prior.spread <= 0:
            raise ValueError("prior must have a spread")
        if not self.lower_ns <= self.prior.value <= self.upper_ns:
            raise ValueError("prior must lie within the bounds")


_NO_LIMITS = Limits()


@attrs.frozen
class FitProblem:
    """What a fit is given.

    Parameters
    ----------
    name, description : str
    device : str
        Installed swap device that the observations were measured on; the prior of its prices.
    observations : tuple of ObservedArms
    free : tuple of str
        Prices that the fit may change, such as ``kernel.fault_ns`` or ``device.free_slot_ns``. The
        prior of each is what the base machine and the device say, with their spread.
    limits : dict of str to Limits
        For free prices that are bounded by more than zero, or have a prior of their own.
    follows : dict of str to str
        Prices that no observation tells, each with the free one whose factor it takes over.
    overheads : dict of str to Quantity
        What measuring itself adds to a step, once and whatever the region's size, by the action of
        the step; ``other`` is that of all actions that are not named. Fitted beside the prices,
        which then are those of the kernel alone. Nothing is added where this is empty.
    reference : str
        The reference loop that every repetition is divided by; none if empty. Runs that lack it
        are taken as they are.
    location_quantile : float
        The quantile over repetitions that stands for a step's time.
    loss : Loss
    loss_scale : float
        Size of a residual, in its own spreads, from which ``huber`` no longer squares it.
    model_error, model_error_weight : Quantity, int
        How far a sum of constant prices is from a step's time, as a share of it, before any data,
        and how many arms that is worth.
    drift, drift_weight : Quantity, int
        How far separate runs drift apart, all steps together, before any data, and how many runs
        that is worth.
    """

    name: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    device: str = attrs.field(validator=text)
    observations: tuple[ObservedArms, ...] = attrs.field(validator=tuple_of(ObservedArms))
    free: tuple[str, ...] = attrs.field(validator=_prices)
    location_quantile: float = attrs.field(validator=number_between(0.01, 0.75))
    loss: Loss = attrs.field(validator=attrs.validators.instance_of(Loss))
    loss_scale: float = attrs.field(validator=number_between(0.1, 100.0))
    model_error: Quantity = quantity("1", "what constant prices miss of a step", maximum=1)
    model_error_weight: int = whole_number(1, 1000)
    drift: Quantity = quantity("1", "relative spread between separate runs", maximum=1)
    drift_weight: int = whole_number(1, 1000)
    limits: dict[str, Limits] = attrs.field(factory=dict)
    follows: dict[str, str] = attrs.field(factory=dict)
    overheads: dict[str, Quantity] = attrs.field(factory=dict)
    reference: str = attrs.field(default="", validator=attrs.validators.instance_of(str))

    @observations.validator
    def _are_said_once(self, _: object, value: tuple[ObservedArms, ...]) -> None:
        if not value:
            raise ValueError("must have at least one scenario")
        names = [(arms.scenario, arms.device) for arms in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names scenario {name[0]} twice")

    @limits.validator
    def _limit_prices(self, _: object, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        for name, limits in value.items():
            if not _price_name(name) or not isinstance(limits, Limits):
                raise ValueError(f"{str(name)[:80]!r} is no name such as kernel.fault_ns")

    @follows.validator
    def _follow_prices(self, _: object, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        for name in (*value, *value.values()):
            if not _price_name(name):
                raise ValueError(f"{str(name)[:80]!r} is no name such as kernel.fault_ns")

    @overheads.validator
    def _are_overheads(self, _: object, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        known = {action.value for action in StepAction} | {OTHER_ACTIONS}
        for name, overhead in value.items():
            if name not in known:
                raise ValueError(f"{str(name)[:40]!r} is no action of a step, nor {OTHER_ACTIONS}")
            if not isinstance(overhead, Quantity) or overhead.unit != "ns":
                raise ValueError(f"{name} must be a quantity in ns")
            if overhead.spread <= 0:
                raise ValueError(f"{name} must have a spread")

    def __attrs_post_init__(self) -> None:
        for name in self.limits:
            if name not in self.free:
                raise ValueError(f"limits: {name} is not free")
        for follower, leader in self.follows.items():
            if follower in self.free:
                raise ValueError(f"follows: {follower} is free itself")
            if leader not in self.free:
                raise ValueError(f"follows: {leader} is not free")
        for name in ("model_error", "drift"):
            if not math.isfinite(getattr(self, name).value) or getattr(self, name).value <= 0:
                raise ValueError(f"{name}: value must be more than 0")

    def limits_of(self, price: str) -> Limits:
        """Bounds and own prior of a free price."""
        return self.limits.get(price, _NO_LIMITS)

    def devices(self) -> tuple[str, ...]:
        """Installed devices of the observations, the problem's own first."""
        others = [arms.device for arms in self.observations if arms.device]
        return tuple(dict.fromkeys([self.device, *others]))

    def overhead_of(self, action: str) -> str:
        """Name of what measuring adds to a step of this action; empty if nothing is known."""
        found = action if action in self.overheads else OTHER_ACTIONS
        return found if found in self.overheads else ""

    def arms(self) -> list[tuple[str, str]]:
        """Scenario and entry of every arm that the fit may see."""
        return [(arms.scenario, entry) for arms in self.observations for entry in arms.entries]
