"""Scenarios: what happens to memory, without a word about the machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from perfmodel.constants import PAGES_PER_PMD, PMD_BYTES, USER_ADDRESS_SPACE_BYTES
from perfmodel.specs.quantity import text, tuple_of, whole_number


class StepAction(StrEnum):
    """What a step does to the whole region."""

    FILL = "fill"
    PAGEOUT = "pageout"
    TOUCH = "touch"


class PageContent(StrEnum):
    """What the pages hold: one half random and one half zero bytes, or only zeros."""

    HALF_RANDOM = "half-random"
    ZERO = "zero"


@attrs.frozen
class Region:
    """Anonymous memory, mapped by THPs once it has been filled."""

    size_bytes: int = attrs.field()
    content: PageContent = attrs.field(validator=attrs.validators.instance_of(PageContent))

    @size_bytes.validator
    def _is_whole_regions(self, _: object, value: object) -> None:
        if type(value) is not int or value < PMD_BYTES or value % PMD_BYTES:
            raise ValueError("must be a multiple of 2 MiB, and at least one")
        if value > USER_ADDRESS_SPACE_BYTES:
            raise ValueError("must fit into the 128 TiB that a process can address")

    @property
    def count(self) -> int:
        """Number of 2 MiB ranges."""
        return self.size_bytes // PMD_BYTES


@attrs.frozen
class Step:
    """One step. `pages_per_2mib` evenly spread pages of every 2 MiB are touched, in order."""

    name: str = attrs.field(validator=text)
    action: StepAction = attrs.field(validator=attrs.validators.instance_of(StepAction))
    pages_per_2mib: int = whole_number(1, PAGES_PER_PMD, default=PAGES_PER_PMD)

    def __attrs_post_init__(self) -> None:
        if self.action is not StepAction.TOUCH and self.pages_per_2mib != PAGES_PER_PMD:
            raise ValueError("pages_per_2mib belongs to a touch step")


_MOST_STEPS = 1000


def _steps(_: object, attribute: attrs.Attribute[Any], value: tuple[Step, ...]) -> None:
    tuple_of(Step)(_, attribute, value)
    if not value or value[0].action is not StepAction.FILL:
        raise ValueError("the first step must be a fill")
    if sum(step.action is StepAction.FILL for step in value) > 1:
        raise ValueError("there must be only one fill")
    if len(value) > _MOST_STEPS:
        raise ValueError(f"there must be at most {_MOST_STEPS} steps")
    names = [step.name for step in value]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two steps are named {name!r}")


@attrs.frozen
class Scenario:
    """A region and the steps that are done to it, in order."""

    name: str = attrs.field(validator=text)
    description: str = attrs.field(validator=text)
    region: Region = attrs.field(validator=attrs.validators.instance_of(Region))
    steps: tuple[Step, ...] = attrs.field(validator=_steps)
    held_out: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def does_the_same_as(self, other: Scenario) -> bool:
        """Whether both do the same to the same memory, whatever is said about it."""
        return (self.region, self.steps) == (other.region, other.steps)
