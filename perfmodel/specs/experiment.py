"""Published swap experiments: what was run, what was published, and how it is simulated."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.quantity import text, tuple_of, whole_number
from perfmodel.specs.scenario import Backing, Scenario, SwapSpace
from perfmodel.specs.step import StepAction


class Measure(StrEnum):
    """What a published ratio is of."""

    THROUGHPUT = "throughput"  # bytes per second of the whole program
    SHOOTDOWNS = "shootdowns"  # interrupts that make other CPUs flush their TLBs


def _entry(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in SIMULATED_ENTRIES:
        raise ValueError(f"{attribute.name} must be one of {', '.join(SIMULATED_ENTRIES)}")


def _ratio(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not float or not 0 < value < 1e6:
        raise ValueError(f"{attribute.name} must be a positive number")


@attrs.frozen(kw_only=True)
class Arm:
    """One kernel or setting.

    Parameters
    ----------
    name, entry : str
    device : str
        Instead of the experiment's.
    backing : Backing, optional
        Instead of the scenario's.
    threads : int
        CPUs of every access step instead of the scenario's; 0: as the scenario.
    swap : SwapSpace, optional
        Instead of the scenario's. One without room for whole folios stands for a kernel that
        splits them before it writes them.
    """

    name: str = attrs.field(validator=text)
    entry: str = attrs.field(validator=_entry)
    device: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    threads: int = whole_number(0, 64, default=0)
    backing: Backing | None = None
    swap: SwapSpace | None = None

    def scenario(self, common: Scenario) -> Scenario:
        """What is simulated."""
        region, swap = common.region, common.swap
        if self.backing is not None:
            region = attrs.evolve(region, backing=self.backing)
        if self.swap is not None:
            swap = self.swap
        steps = tuple(
            attrs.evolve(step, threads=self.threads)
            if self.threads and step.action is StepAction.ACCESS
            else step
            for step in common.steps
        )
        return attrs.evolve(common, region=region, swap=swap, steps=steps)


@attrs.frozen(kw_only=True)
class PublishedRatio:
    """One number: `measure` of the arm `above` over that of the arm `below`."""

    measure: Measure = attrs.field(validator=attrs.validators.instance_of(Measure))
    above: str = attrs.field(validator=text)
    below: str = attrs.field(validator=text)
    value: float = attrs.field(validator=_ratio)
    note: str = attrs.field(validator=text)


@attrs.frozen(kw_only=True)
class Experiment:
    """One published experiment.

    Parameters
    ----------
    name, title, source : str
    hardware : str
        What it was run on, in the words of its author.
    machine, device : str
        What stands for it here.
    scaled : str
        How its sizes became those of the scenario.
    assumed : tuple of str
        What was not published, or is not modelled.
    missed : str
        Why the model is wrong where it is.
    steps : tuple of str
        Those whose time counts.
    scenario : Scenario
    arms, ratios
    left_out : tuple of str
        What was published and cannot be simulated, and why.
    """

    name: str = attrs.field(validator=text)
    title: str = attrs.field(validator=text)
    source: str = attrs.field(validator=text)
    hardware: str = attrs.field(validator=text)
    machine: str = attrs.field(validator=text)
    device: str = attrs.field(validator=text)
    scaled: str = attrs.field(validator=text)
    assumed: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    missed: str = attrs.field(validator=text)
    steps: tuple[str, ...] = attrs.field(validator=[tuple_of(str), attrs.validators.min_len(1)])
    scenario: Scenario = attrs.field(validator=attrs.validators.instance_of(Scenario))
    arms: tuple[Arm, ...] = attrs.field(validator=[tuple_of(Arm), attrs.validators.min_len(2)])
    ratios: tuple[PublishedRatio, ...] = attrs.field(
        validator=[tuple_of(PublishedRatio), attrs.validators.min_len(1)]
    )
    left_out: tuple[str, ...] = attrs.field(default=(), validator=tuple_of(str))

    def __attrs_post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have the same name")
        for ratio in self.ratios:
            for name in (ratio.above, ratio.below):
                if name not in names:
                    raise ValueError(f"ratios: {name!r} is no arm")
        known = {step.name for step in self.scenario.steps}
        for step in self.steps:
            if step not in known:
                raise ValueError(f"steps: {step!r} is no step of the scenario")
