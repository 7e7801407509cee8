"""Engine and oracle do the same steps, and are compared after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perfmodel.errors import InputError
from perfmodel.models.memory import SimulatedMemory
from tests.oracles.mechanism import Mechanism, OutOfMemoryError
from tests.property.differences import describe
from tests.property.helpers import Counts, Story, counts_of, fields_of, report


def in_lockstep(story: Story, oracle: Mechanism, engine: SimulatedMemory) -> Iterator[Counts]:
    """What each step counts; fails at the first one that ends differently.

    It is over where the kernel would kill the process, in both.
    """
    pages = story.scenario.region.pages
    for done, step in enumerate(story.scenario.steps, 1):
        try:
            expected = counts_of(oracle.step(fields_of(step, pages)))
        except OutOfMemoryError:
            with pytest.raises(InputError, match="would kill the process"):
                engine.step(step)
            return
        try:
            found = counts_of(engine.step(step))
        except InputError as error:
            pytest.fail(report(story, done, [str(error)]), pytrace=False)
        oracle.check()
        lines = (
            describe(expected, found)
            + describe(oracle.snapshot(), engine.snapshot())
            + describe(oracle.mapping(), engine.mapping())
        )
        if lines:
            pytest.fail(report(story, done, lines), pytrace=False)
        yield expected
