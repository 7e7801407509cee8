"""A run says in words why it is not to be trusted blindly."""

import attrs

from perfmodel.results.result import Result, StepResult
from perfmodel.results.stability import complaints


def run(times, *, steal=0, reference=(10.0,), sessions=(), unstable=()) -> Result:
    pairs = [(reference[turn % len(reference)],) * 2 for turn in range(len(times))]
    return Result(
        scenario="trip",
        machine="this machine",
        device="zram-lz4",
        entry="pte",
        regions=1,
        steps=(
            StepResult(
                name="touch",
                elapsed_ns=1.0,
                interval_ns=(1.0, 1.0),
                counters={},
                repetitions_ns=tuple(times),
                unstable_counters=tuple(unstable),
            ),
        ),
        mapping={},
        provenance={
            "steal_ticks": [steal] * len(times),
            "session_repetitions": list(sessions),
        },
        reference_ns={"kernel": tuple(pairs)},
    )


STEADY = [100.0 + turn % 3 for turn in range(20)]


def test_a_steady_run_has_no_complaint() -> None:
    assert complaints([run(STEADY)]) == []
    assert complaints([]) == []


def test_each_reason_is_named() -> None:
    said = {
        "hypervisor": run(STEADY, steal=1),
        "same kernel work took 50% longer": run(STEADY, reference=(10.0, 15.0)),
        "50% slower in one part": run(
            STEADY, reference=(10.0,) * 10 + (15.0,) * 10, sessions=(10, 10)
        ),
        "has 4 repetitions": run(STEADY[:4]),
        "pswpin in trip pte touch": run(STEADY, unstable=("pswpin",)),
        "trip pte touch 100%": run([100.0, 200.0] * 10),
    }
    for text, result in said.items():
        assert any(text in line for line in complaints([result])), text


def test_many_are_counted_not_listed() -> None:
    wide = [attrs.evolve(run([100.0, 200.0] * 10), scenario=f"s{n}") for n in range(9)]
    (line,) = complaints(wide)
    assert "and 6 more" in line
