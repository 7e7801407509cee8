"""Hypothesis strategies for plans of what a run measures."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perfmodel.specs.plan import Plan, PlanArms, PlanProgram, Program
from perfmodel.specs.policy import MEASURED_ENTRIES
from tests.base_strategies import names, texts

arms = st.builds(
    PlanArms,
    scenario=names,
    entries=st.lists(st.sampled_from(MEASURED_ENTRIES), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    device=names,
)
programs = st.builds(
    PlanProgram,
    program=st.sampled_from(Program),
    seconds=st.integers(0, 600),
    quick_seconds=st.integers(0, 600),
)
plans = st.builds(
    Plan,
    name=names,
    description=texts,
    repetitions=st.integers(3, 1000),
    quick_repetitions=st.integers(3, 1000),
    minutes=st.integers(1, 600),
    quick_minutes=st.integers(1, 600),
    turns=st.integers(1, 1000),
    arms=st.lists(arms, max_size=3, unique_by=lambda one: (one.scenario, one.device)).map(tuple),
    programs=st.lists(programs, max_size=3).map(tuple),
)
FOR_CLASS: dict[type, Any] = {PlanArms: arms, PlanProgram: programs, Plan: plans}
