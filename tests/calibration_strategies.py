"""Hypothesis strategies for fit problems and gates."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perfmodel.specs.gate import Gate, Gates
from perfmodel.specs.policy import MEASURED_ENTRIES
from perfmodel.specs.problem import FitProblem, Limits, Loss, ObservedArms
from tests.base_strategies import names, quantities, texts

PRICES = (
    "kernel.fault_ns",
    "kernel.map_pte_ns",
    "cpu.walk_pte_ns",
    "device.free_slot_ns",
    "translation.stlb_hit_ns",
)

observed_arms = st.builds(
    ObservedArms,
    scenario=names,
    entries=st.lists(st.sampled_from(MEASURED_ENTRIES), min_size=1, max_size=3).map(tuple),
    steps=st.lists(names, max_size=2).map(tuple),
)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Bounds, and a prior between them or none."""
    lower = draw(st.floats(0, 100))
    upper = lower + draw(st.floats(1, 1000))
    prior = st.builds(
        lambda quantity, spread: type(quantity)(
            quantity.value, spread, "ns", quantity.source, quantity.how
        ),
        quantities(minimum=lower, maximum=upper),
        st.floats(0.1, 100),
    )
    return Limits(lower_ns=lower, upper_ns=upper, prior=draw(st.none() | prior))


@st.composite
def problems(draw: st.DrawFn) -> FitProblem:
    """Some prices are free, some of these are limited, and the others may follow."""
    free = draw(st.lists(st.sampled_from(PRICES), min_size=1, max_size=4, unique=True))
    others = [name for name in PRICES if name not in free]
    return FitProblem(
        name=draw(names),
        description=draw(texts),
        device=draw(names),
        observations=tuple(
            draw(
                st.lists(
                    observed_arms, min_size=1, max_size=2, unique_by=lambda arms: arms.scenario
                )
            )
        ),
        free=tuple(free),
        location_quantile=draw(st.floats(0.01, 0.75)),
        loss=draw(st.sampled_from(Loss)),
        loss_scale=draw(st.floats(0.1, 100)),
        model_error=draw(quantities("1", minimum=0.001, maximum=1)),
        model_error_weight=draw(st.integers(1, 1000)),
        drift=draw(quantities("1", minimum=0.001, maximum=1)),
        drift_weight=draw(st.integers(1, 1000)),
        limits=draw(st.dictionaries(st.sampled_from(free), limits(), max_size=2)),
        follows=draw(st.dictionaries(st.sampled_from(others), st.sampled_from(free), max_size=1)),
        overheads=draw(
            st.dictionaries(
                st.sampled_from(["other", "fork", "smaps"]),
                quantities("ns", maximum=1e9).filter(lambda found: found.spread > 0),
                max_size=2,
            )
        ),
        reference=draw(st.sampled_from(["", "kernel"])),
    )


gates_of_steps = st.builds(
    Gate,
    scenario=names,
    device=names,
    entry=st.sampled_from(MEASURED_ENTRIES),
    step=names,
    measured_ns=st.floats(0.001, 1e9),
    lower=st.floats(-1, 0),
    upper=st.floats(0, 10),
)
gates = st.builds(
    Gates,
    machine=names,
    evidence=st.lists(texts, max_size=2).map(tuple),
    most_median_abs_error=st.floats(0, 1),
    most_pair_error=st.floats(0, 1),
    least_coverage=st.floats(0, 1),
    gates=st.lists(gates_of_steps, max_size=3, unique_by=lambda gate: gate.key).map(tuple),
)

FOR_CLASS: dict[type, st.SearchStrategy[Any]] = {
    ObservedArms: observed_arms,
    Limits: limits(),
    FitProblem: problems(),
    Gate: gates_of_steps,
    Gates: gates,
}
