"""zswap's pool in the engine: against the oracle, and against a hand's derivation."""

import attrs
import pytest
from hypothesis import example, given, settings

from perfmodel.constants import PAGE_BYTES, PMD_BYTES
from perfmodel.errors import InputError, OutOfMemoryError
from perfmodel.models.memory import SimulatedMemory
from perfmodel.models.simulated import simulate
from perfmodel.specs.catalog import load_device, load_policy
from perfmodel.specs.scenario import (
    PageContent,
    Region,
    Scenario,
    Settings,
    Zswap,
    ZswapLimits,
)
from perfmodel.specs.step import Step, StepAction
from tests import strategies
from tests.oracles.mechanism import OutOfMemoryError as OracleOutOfMemoryError
from tests.property.helpers import Story, fields_of, oracle_of
from tests.property.stories import BEHIND_ZSWAP, stories_with_a_zswap_pool
from tests.property.test_swap_devices import states_differ


def pages(number):
    """A pool of so many pages."""
    return ZswapLimits(size_bytes=5 * number * PAGE_BYTES)


def scenario(limits, *steps, content=PageContent.HALF_RANDOM, regions=3):
    return Scenario(
        "pool",
        "more than zswap takes",
        Region(regions * PMD_BYTES, content),
        (Step("fill", StepAction.FILL), *steps),
        settings=Settings(zswap=Zswap.ON, zswap_pool=limits),
    )


OUT, IN = Step("out", StepAction.PAGEOUT), Step("in", StepAction.TOUCH)
AGAIN = (attrs.evolve(OUT, name="out-2"), attrs.evolve(IN, name="in-2"))


def story(told, entry="pmd"):
    return Story(told, load_policy(entry), BEHIND_ZSWAP, strategies.published_machine, 1)


@settings(max_examples=120)
@given(stories_with_a_zswap_pool())
@example(story(scenario(pages(300), OUT, IN, *AGAIN)))
@example(story(scenario(pages(300), OUT, IN, *AGAIN), "pte"))
@example(story(scenario(pages(273), OUT, IN, *AGAIN, content=PageContent.ONE_NON_ZERO)))
def test_states_and_counts_equal_the_oracle(told):
    try:
        differences = states_differ(told)
    except (OutOfMemoryError, OracleOutOfMemoryError):
        _both_run_out(told)
        return
    if differences:
        pytest.fail(differences, pytrace=False)


def _both_run_out(told):
    oracle, steps = oracle_of(told), told.scenario.steps
    with pytest.raises(OracleOutOfMemoryError):
        all(oracle.step(fields_of(step, told.scenario.region.pages)) for step in steps)
    engine = SimulatedMemory(told.scenario, told.policy, told.device, told.machine, seed=told.seed)
    with pytest.raises(OutOfMemoryError):
        all(engine.step(step) for step in steps)


# Derived by hand from the rules of docs/zram.md and docs/mechanism.md; no kernel was asked.


def counters(told, entry="pmd", step="out"):
    result = simulate(told, "amd-zen3", device=BEHIND_ZSWAP, entry=entry, draws=20)
    found = result.step(step).counters
    names = ("zswpout", "zswpin", "zswpwb", "pswpout", "pswpin", "thp_swpout")
    return {name: found[name] for name in names if found[name]}


def test_derived_a_pool_that_takes_everything_is_none_at_all():
    large = scenario(pages(100_000), OUT, IN)
    none = attrs.evolve(large, settings=Settings(zswap=Zswap.ON))
    for entry in ("pte", "pmd"):
        for step in ("out", "in"):
            assert counters(large, entry, step) == counters(none, entry, step)


def test_derived_the_limit_is_looked_at_before_a_folio_and_not_in_it():
    # Raw pages of 4096 bytes take one page each. 512 of them go into a pool of 100; the next THP
    # finds it full and goes to the device in one piece. The shrinker then looks 16 times, which
    # takes the marks of 16 fresh entries away and writes none back. So it goes for the third.
    raw = scenario(pages(100), OUT, content=PageContent.RANDOM)
    assert counters(raw) == {"zswpout": 512, "pswpout": 1024, "thp_swpout": 2}


def test_derived_the_shrinker_writes_back_once_all_marks_are_gone():
    # 40 THPs: the first one leaves 512 entries. Every rejection lets the shrinker take 16 marks, so
    # that after those of THPs 2 to 33 none is left. At THP 34 it writes back until 90 pages are
    # left: 422. THP 35 is stored: 602 pages. At THP 36 the 90 old ones are written back before the
    # shrinker meets marks again; THPs 37 to 40 cost 16 marks each.
    raw = scenario(pages(100), OUT, content=PageContent.RANDOM, regions=40)
    assert counters(raw) == {
        "zswpout": 2 * 512,
        "zswpwb": 422 + 90,
        "thp_swpout": 38,
        "pswpout": 38 * 512 + 422 + 90,
    }


def test_derived_without_writeback_what_is_rejected_stays_in_memory():
    limits = attrs.evolve(pages(100), writeback=False)
    half = scenario(limits, OUT)
    # 512 half-random pages go in; the others are unmapped and stay dirty in the swap cache.
    assert counters(half) == {"zswpout": 512}
    # Pages that do not compress are rejected one and all, after one has been tried of each THP.
    raw = scenario(limits, OUT, content=PageContent.RANDOM)
    assert counters(raw) == {}
    result = simulate(raw, "amd-zen3", device=BEHIND_ZSWAP, entry="pmd", draws=20)
    assert result.step("out").events["zswap_store_page"] == 3


def test_a_device_without_zswap_says_so():
    told = scenario(pages(100), OUT)
    with pytest.raises(InputError, match="zswap-lz4"):
        simulate(told, "amd-zen3", device=load_device("ram-disk"), draws=20)


def test_a_pool_needs_zswap():
    with pytest.raises(ValueError, match="zswap_pool needs"):
        Settings(zswap_pool=pages(9))
