"""Hypothesis strategies for studies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perfmodel.constants import COUNTER_NAMES, Lock, Wait
from perfmodel.specs.policy import SIMULATED_ENTRIES
from perfmodel.specs.scenario import Scenario
from perfmodel.specs.study import (
    FIGURES,
    Axis,
    BreakEven,
    Design,
    DesignKind,
    Ladder,
    Mixture,
    Model,
    Output,
    OutputKind,
    Pair,
    Per,
    Range,
    Study,
)
from tests.base_strategies import names, texts

words = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
numbers = st.floats(0.5, 1e6)
ladders = st.builds(
    Ladder,
    first=st.floats(0.5, 100),
    last=st.floats(200, 1e6),
    count=st.integers(2, 20),
    whole=st.booleans(),
)
ranges = st.builds(
    Range, low=st.floats(0.5, 100), high=st.floats(200, 1e6), logarithmic=st.booleans()
) | st.builds(Range, spreads=st.floats(0.1, 3))
_fields = st.sampled_from(["machine.kernel.fault_ns", "device.free_slot_ns", "device"])
_values = st.lists(numbers, min_size=1, max_size=4, unique=True).map(tuple)
_named = {"field": _fields, "name": words, "label": st.just("") | texts, "relative": st.booleans()}
axes = (
    st.builds(Axis, values=_values, **_named)
    | st.builds(Axis, linear=ladders, **_named)
    | st.builds(Axis, logarithmic=ladders, **_named)
    | st.builds(Axis, range=ranges, **_named)
)
designs = (
    st.builds(Design, kind=st.sampled_from([DesignKind.GRID, DesignKind.ONE_AT_A_TIME]))
    | st.builds(Design, kind=st.just(DesignKind.LATIN_HYPERCUBE), count=st.integers(2, 99))
    | st.builds(
        Design,
        kind=st.sampled_from([DesignKind.SOBOL, DesignKind.SOBOL_INDICES]),
        count=st.sampled_from([2, 64, 1024]),
        seed=st.integers(0, 99),
    )
)
_kinds = (
    st.tuples(st.sampled_from([OutputKind.TIME, OutputKind.FALLBACKS]), st.just(""))
    | st.tuples(st.just(OutputKind.COUNTER), st.sampled_from(COUNTER_NAMES))
    | st.tuples(st.just(OutputKind.HELD), st.sampled_from([lock.name.lower() for lock in Lock]))
    | st.tuples(st.just(OutputKind.WAITED), st.sampled_from([wait.name.lower() for wait in Wait]))
)


@st.composite
def outputs(draw: st.DrawFn, steps: tuple[str, ...] = ("touch",)) -> Output:
    """Something of some steps."""
    kind, of = draw(_kinds)
    return Output(
        name=draw(words),
        kind=kind,
        of=of,
        steps=tuple(draw(st.lists(st.sampled_from(steps), max_size=2, unique=True))),
        per=draw(st.sampled_from(Per)),
        label=draw(st.just("") | texts),
    )


_entries = st.sampled_from(SIMULATED_ENTRIES)
pairs = st.builds(Pair, above=_entries, below=_entries)


@st.composite
def studies(draw: st.DrawFn, scenarios: st.SearchStrategy[Scenario]) -> Study:
    """A grid with some outputs of a scenario, or what happens instead."""
    scenario = draw(scenarios)
    steps = tuple(step.name for step in scenario.steps)
    entries = draw(st.lists(_entries, min_size=1, max_size=3, unique=True))
    pair = Pair(above=entries[0], below=entries[-1])
    kept = st.lists(outputs(steps), min_size=1, max_size=3, unique_by=lambda each: each.name)
    some = st.lists(st.builds(Axis, values=_values, **_named), max_size=2)
    return Study(
        **{key: draw(texts) for key in ("title", "description")},
        **{key: draw(names) for key in ("name", "machine", "device")},
        scenario=scenario,
        entries=tuple(entries),
        pairs=draw(st.sampled_from([(), (pair,)])),
        axes=tuple(draw(some)),
        outputs=tuple(draw(kept)),
        mixture=draw(st.none() | st.just(Mixture(scenario=scenario, share=0.5))),
        model=draw(st.sampled_from(Model)),
        draws=draw(st.just(0) | st.integers(20, 999)),
        seed=draw(st.integers(0, 99)),
        keep_draws=draw(st.booleans()),
        figure=draw(st.sampled_from(FIGURES)),
    )


def for_class(scenarios: st.SearchStrategy[Scenario]) -> dict[type, st.SearchStrategy[Any]]:
    """A strategy for every spec class of studies."""
    return {
        Ladder: ladders,
        Range: ranges,
        Axis: axes,
        Design: designs,
        Output: outputs(),
        Pair: pairs,
        Mixture: st.builds(Mixture, scenario=scenarios, share=st.floats(0, 1)),
        BreakEven: st.builds(BreakEven, axis=words, output=words),
        Study: studies(scenarios),
    }
