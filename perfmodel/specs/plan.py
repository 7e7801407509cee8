"""Plans: what a run measures, of which scenarios, with which entries and devices."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.specs.policy import MEASURED_ENTRIES
from perfmodel.specs.quantity import text, tuple_of, whole_number


class Program(StrEnum):
    """A probe that is no scenario."""

    CHASE = "chase"  # dependent loads: TLBs, walks, caches, DRAM
    SHOOTDOWN = "shootdown"  # flushes with a second thread
    CODEC = "codec"  # a zram device, request by request, by content
    REQUESTS = "requests"  # block devices by queue depth and size


@attrs.frozen
class PlanArms:
    """Arms of one scenario.

    Parameters
    ----------
    scenario : str
        Name of an installed one.
    entries : tuple of str
    device : str
    """

    scenario: str = attrs.field(validator=text)
    entries: tuple[str, ...] = attrs.field(validator=tuple_of(str))
    device: str = attrs.field(default="zram-lz4", validator=text)

    @entries.validator
    def _are_measured(self, _: object, value: tuple[str, ...]) -> None:
        known = ", ".join(MEASURED_ENTRIES)
        if not value or any(entry not in MEASURED_ENTRIES for entry in value):
            raise ValueError(f"entries must be some of {known}")
        if len(set(value)) != len(value):
            raise ValueError("entries names one twice")


@attrs.frozen
class PlanProgram:
    """A program and how long it may take.

    Parameters
    ----------
    program : Program
    seconds, quick_seconds : int
        About so long; 0 leaves it out.
    """

    program: Program = attrs.field(validator=attrs.validators.instance_of(Program))
    seconds: int = whole_number(0, 600)
    quick_seconds: int = whole_number(0, 600)


def _arms(_: object, attribute: attrs.Attribute[Any], value: tuple[PlanArms, ...]) -> None:
    tuple_of(PlanArms)(_, attribute, value)
    seen = [(arms.scenario, arms.device, entry) for arms in value for entry in arms.entries]
    for scenario, device, entry in seen:
        if seen.count((scenario, device, entry)) > 1:
            raise ValueError(f"{scenario} with {entry} on {device} stands there twice")


@attrs.frozen(kw_only=True)
class Plan:
    """What a run measures.

    Parameters
    ----------
    name, description : str
    repetitions, quick_repetitions : int
        Counted repetitions of each arm.
    minutes, quick_minutes : int
        A run that takes longer than that ends with fewer repetitions.
    turns : int
        So many turns round the arms of one device, then comes the next device.
    arms : tuple of PlanArms
    programs : tuple of PlanProgram
    """

    name: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    repetitions: int = whole_number(3, 1000)
    quick_repetitions: int = whole_number(3, 1000)
    minutes: int = whole_number(1, 600)
    quick_minutes: int = whole_number(1, 600)
    turns: int = whole_number(1, 1000)
    arms: tuple[PlanArms, ...] = attrs.field(validator=_arms)
    programs: tuple[PlanProgram, ...] = attrs.field(factory=tuple, validator=tuple_of(PlanProgram))
