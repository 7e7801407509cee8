"""Several swap devices: the engine against the oracle, count by count and state by state."""

import attrs
import pytest
from hypothesis import example, given, settings

from perfmodel.constants import DEVICE_EVENTS, PMD_BYTES, Event
from perfmodel.models.memory import SimulatedMemory
from perfmodel.models.simulated import count_events
from perfmodel.models.swap_devices import shares_of
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.device import together
from perfmodel.specs.scenario import DeviceSpace, PageContent, Region, Scenario, SwapSpace
from perfmodel.specs.step import Step, StepAction
from tests import strategies
from tests.property.differences import describe
from tests.property.helpers import Story, counts_of, fields_of, oracle_of, report
from tests.property.stories import stories_on_several_devices

SPILL = Scenario(
    "spill",
    "three regions where the first device has room for one and a half",
    Region(3 * PMD_BYTES, PageContent.HALF_RANDOM),
    (
        Step("fill", StepAction.FILL),
        Step("out", StepAction.PAGEOUT),
        Step("in", StepAction.TOUCH, 100),
        Step("out-2", StepAction.PAGEOUT),
        Step("in-2", StepAction.TOUCH),
    ),
    swap=SwapSpace(devices=(DeviceSpace(1), DeviceSpace(9))),
)


def on(scenario, names, priorities, entry="pmd"):
    devices = together([load_device(name) for name in names], priorities)
    return Story(scenario, load_policy(entry), devices, strategies.published_machine, 1)


def states_differ(story):
    """Where engine and oracle part, as text; nothing if they never do."""
    oracle = oracle_of(story)
    engine = SimulatedMemory(
        story.scenario, story.policy, story.device, story.machine, seed=story.seed
    )
    pages = story.scenario.region.pages
    for done, step in enumerate(story.scenario.steps, 1):
        expected = counts_of(oracle.step(fields_of(step, pages)))
        found = counts_of(engine.step(step))
        if expected != found:
            return report(story, done, describe(expected, found))
        oracle.check()
        if oracle.snapshot() != engine.snapshot():
            return report(story, done, describe(oracle.snapshot(), engine.snapshot()))
    return ""


@settings(max_examples=150)
@given(stories_on_several_devices())
@example(on(SPILL, ["zram-lz4", "ram-disk"], [100, None]))
@example(on(SPILL, ["zram-lz4", "zram-lz4"], [5, 5], "pte"))
def test_states_and_counts_equal_the_oracle(story):
    from perfmodel.errors import OutOfMemoryError
    from tests.oracles.mechanism import OutOfMemoryError as OracleOutOfMemoryError

    try:
        differences = states_differ(story)
    except (OutOfMemoryError, OracleOutOfMemoryError):
        for world in (lambda: _run_oracle(story), lambda: _run_engine(story)):
            with pytest.raises((OutOfMemoryError, OracleOutOfMemoryError)):
                world()
        return
    if differences:
        pytest.fail(differences, pytrace=False)


def _run_oracle(story):
    oracle = oracle_of(story)
    shares = []
    for step in story.scenario.steps:
        counted = oracle.step(fields_of(step, story.scenario.region.pages))
        shares.append({key: number for key, number in counted.shares.items() if number})
    return shares


def _run_engine(story):
    runs = count_events(
        story.scenario, story.machine, story.policy, story.device,
        range(story.seed, story.seed + 1),
    )  # fmt: skip
    devices = len(story.device.all)
    found = []
    for step in runs.counts[0]:
        shares = shares_of(step, devices)
        totals = shares.sum(axis=0)
        for column, event in enumerate(DEVICE_EVENTS):
            assert totals[column] == step[event]
        found.append(
            {
                (device, Event(event).name): int(shares[device, column])
                for device in range(devices)
                for column, event in enumerate(DEVICE_EVENTS)
                if shares[device, column]
            }
        )
    return found


@settings(max_examples=60)
@given(stories_on_several_devices())
@example(on(SPILL, ["zram-lz4", "ram-disk"], [100, None]))
def test_every_device_does_what_the_oracle_says(story):
    from perfmodel.errors import OutOfMemoryError
    from tests.oracles.mechanism import OutOfMemoryError as OracleOutOfMemoryError

    try:
        expected = _run_oracle(story)
    except OracleOutOfMemoryError:
        with pytest.raises(OutOfMemoryError):
            _run_engine(story)
        return
    assert _run_engine(story) == expected


@pytest.mark.parametrize("entry", ["pte", "pmd"])
def test_two_devices_that_are_never_both_needed_are_like_one(entry):
    # The first has room for all, so that the second one is only asked for what it never gets.
    scenario = attrs.evolve(SPILL, swap=SwapSpace(devices=(DeviceSpace(40), DeviceSpace(9))))
    alone = attrs.evolve(SPILL, swap=SwapSpace(40))
    story = on(scenario, ["zram-lz4", "ram-disk"], [100, None], entry)
    both = count_events(scenario, story.machine, story.policy, story.device, range(1))
    one = count_events(alone, story.machine, story.policy, story.device.kind, range(1))
    end = both.counts.shape[-1] - 48
    assert (both.counts[..., :end] == one.counts[..., :end]).all()
    assert (both.mapping == one.mapping).all()
