"""Hypothesis strategies for published experiments."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from perfmodel.specs.experiment import Arm, Experiment, Measure, PublishedRatio
from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.scenario import Backing, Scenario, SwapSpace
from tests.base_strategies import names, texts

_DEFAULT_SWAP = SwapSpace()

arms = st.builds(
    Arm,
    name=names,
    entry=st.sampled_from(SIMULATED_ENTRIES),
    device=st.just("") | names,
    threads=st.integers(0, 64),
    backing=st.none() | st.sampled_from(Backing),
    swap=st.none() | st.just(_DEFAULT_SWAP),
)
ratios = st.builds(
    PublishedRatio,
    measure=st.sampled_from(Measure),
    above=names,
    below=names,
    value=st.floats(0.001, 1000),
    note=texts,
)


@st.composite
def experiments(draw: st.DrawFn, scenarios: st.SearchStrategy[Scenario]) -> Experiment:
    """Two arms or more, and ratios between them."""
    some = draw(st.lists(arms, min_size=2, max_size=3, unique_by=lambda arm: arm.name))
    known = st.sampled_from([arm.name for arm in some])
    between = st.builds(attrs.evolve, ratios, above=known, below=known)
    scenario = draw(scenarios)
    return Experiment(
        **{name: draw(texts) for name in ("title", "source", "hardware", "scaled", "missed")},
        **{name: draw(names) for name in ("name", "machine", "device")},
        assumed=tuple(draw(st.lists(texts, max_size=2))),
        steps=(draw(st.sampled_from(scenario.steps)).name,),
        scenario=scenario,
        arms=tuple(some),
        ratios=tuple(draw(st.lists(between, min_size=1, max_size=2))),
        left_out=tuple(draw(st.lists(texts, max_size=2))),
    )


def for_class(scenarios: st.SearchStrategy[Scenario]) -> dict[type, st.SearchStrategy[Any]]:
    """A strategy for each class; experiments are about one of these scenarios."""
    return {Arm: arms, PublishedRatio: ratios, Experiment: experiments(scenarios)}
