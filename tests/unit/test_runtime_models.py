"""Published runtime models: each on data of its own formula, on others, and what is refused."""

import subprocess
import sys

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmodel.errors import InputError
from perfmodel.models.runtime import (
    RUNTIME_MODELS,
    LinearPredictor,
    RuntimeErrors,
    RuntimeSamples,
    TranslationMetrics,
    errors,
)


def layouts(count):
    """2m first, 4k last, mixtures between them: as walk cycles usually grow."""
    return ("2m", *(f"mixed-{number}" for number in range(count - 2)), "4k")


def figures(found):
    return attrs.astuple(found)[1:]


def samples_of(walk_cycles, runtime_cycles, **columns):
    walk_cycles = np.asarray(walk_cycles, dtype=float)
    return RuntimeSamples(
        **{
            "layout": layouts(len(walk_cycles)),
            "stlb_hits": walk_cycles / 70,
            "stlb_misses": walk_cycles / 40,
            "walk_cycles": walk_cycles,
            "runtime_cycles": runtime_cycles,
        }
        | columns
    )


WALK_CYCLES = np.array([1e7, 2e8, 3e8, 5e8, 8e8, 9e8])
SAMPLES = samples_of(WALK_CYCLES, 2e9 + WALK_CYCLES)


# Runtimes that a formula made


@st.composite
def translations(draw):
    """H, M and C. In order of C: a line through two close points tells little far away."""
    walk = np.array(sorted(draw(st.sets(st.integers(0, 10**12), min_size=2, max_size=12))))
    price, hits = (
        np.array(draw(st.lists(values, min_size=len(walk), max_size=len(walk))))
        for values in (st.floats(10, 100), st.integers(0, 10**11))
    )
    return hits, walk / price, walk


OWN_FORMULA = {
    "basu": lambda hits, misses, walk, slope: walk[-1] / misses[-1] * misses,
    "pham": lambda hits, misses, walk, slope: walk + 7 * hits,
    "alam": lambda hits, misses, walk, slope: walk,
    "gandhi": lambda hits, misses, walk, slope: walk[-1] / misses[-1] * misses,
    "yaniv": lambda hits, misses, walk, slope: slope * walk,
    "linear": lambda hits, misses, walk, slope: slope * walk,
}


@pytest.mark.parametrize("name", OWN_FORMULA)
@given(metrics=translations(), base=st.floats(1e6, 1e12), slope=st.floats(0.0, 4.0))
def test_a_model_is_exact_where_its_own_formula_holds(name, metrics, base, slope):
    hits, misses, walk = metrics
    if name == "gandhi":
        # It takes the walk cycles as they are from 2m, and a miss costs the same there.
        misses[0] = walk[0] * misses[-1] / walk[-1]
    runtime = base + OWN_FORMULA[name](hits, misses, walk, slope)
    samples = samples_of(walk, runtime, stlb_hits=hits, stlb_misses=misses)
    predicted = RUNTIME_MODELS[name].fit(samples).predict(samples)
    np.testing.assert_allclose(predicted, runtime, rtol=0, atol=1e-9 * runtime.max())


@given(
    metrics=translations(),
    base=st.floats(1e6, 1e12),
    slope=st.floats(0.0, 4.0),
    price=st.floats(0.0, 20.0),
)
def test_where_walk_cycles_and_hits_have_prices_a_model_is_off_by_what_algebra_says(
    metrics, base, slope, price
):
    hits, misses, walk = metrics
    runtime = base + slope * walk + price * hits
    samples = samples_of(walk, runtime, stlb_hits=hits, stlb_misses=misses)
    per_miss = walk[-1] / misses[-1]
    since_base = slope * (walk - walk[-1]) + price * (hits - hits[-1])
    since_huge = slope * (walk - walk[0]) + price * (hits - hits[0])
    share = (walk - walk[0]) / (walk[-1] - walk[0])
    expected = {
        "basu": per_miss * (misses - misses[-1]) - since_base,
        "pham": walk - walk[-1] + 7 * (hits - hits[-1]) - since_base,
        "alam": walk - walk[0] - since_huge,
        "gandhi": per_miss * misses - walk[0] - since_huge,
        "yaniv": price * (share * (hits[-1] - hits[0]) - (hits - hits[0])),
    }
    largest = max(runtime.max(), (per_miss * misses).max())
    for name, off in expected.items():
        found = RUNTIME_MODELS[name].fit(samples).predict(samples) - runtime
        np.testing.assert_allclose(found, off, rtol=0, atol=1e-9 * largest, err_msg=name)


# C = 0, 50, 100 and M = 0, 1, 4: a miss costs 50 cycles in the middle and 25 at 4k. R = 100 + 2 C.
BY_HAND = samples_of([0, 50, 100], [100, 200, 300], stlb_hits=[10, 0, 20], stlb_misses=[0, 1, 4])


@pytest.mark.parametrize(
    ("name", "predicted", "worst", "median"),
    [
        # 25 M' + 200, exact at 4k.
        ("basu", [200, 225, 300], 1.0, (1 + 1 / 8) / 2),
        # C' + 7 H' + 60, exact at 4k.
        ("pham", [130, 110, 300], 0.45, (0.3 + 0.45) / 2),
        # C' + 100, exact at 2m.
        ("alam", [100, 150, 200], 1 / 3, (1 / 4 + 1 / 3) / 2),
        # 25 M' + 100; it need not be exact anywhere, and all three are judged.
        ("gandhi", [100, 125, 200], 3 / 8, 1 / 3),
        # 2 C' + 100, exact at both; only the middle is judged.
        ("yaniv", [100, 200, 300], 0.0, 0.0),
    ],
)
def test_predictions_and_errors_as_worked_out_by_hand(name, predicted, worst, median):
    found = RUNTIME_MODELS[name].fit(BY_HAND).predict(BY_HAND)
    np.testing.assert_allclose(found, predicted)
    # Fitted to its anchors alone: the same out of sample.
    assert figures(errors(name, BY_HAND)) == pytest.approx((worst, median) * 2)


def test_coefficients_as_worked_out_by_hand():
    fitted = {name: RUNTIME_MODELS[name].fit(BY_HAND) for name in ("gandhi", "pham", "yaniv")}
    assert fitted == {
        "gandhi": LinearPredictor(100.0, per_miss=25.0),
        "pham": LinearPredictor(60.0, per_walk_cycle=1.0, per_hit=7.0),
        "yaniv": LinearPredictor(100.0, per_walk_cycle=2.0),
    }


@given(
    walk=st.lists(st.integers(0, 10**6), min_size=3, max_size=12, unique=True),
    data=st.data(),
)
def test_linear_is_the_line_that_numpy_fits(walk, data):
    times = st.integers(1, 10**6)
    runtime = data.draw(st.lists(times, min_size=len(walk), max_size=len(walk)))
    samples = samples_of(walk, runtime)
    expected = np.polynomial.Polynomial.fit(walk, runtime, 1)(samples.walk_cycles)
    predicted = RUNTIME_MODELS["linear"].fit(samples).predict(samples)
    np.testing.assert_allclose(predicted, expected, rtol=1e-9, atol=1e-6)


# Mosmodel, and runtimes that no line can follow


def cubic_in_walk_cycles():
    """R = 1 + 1.5 x^3 at x = C / 1e9, both in 1e9 cycles; 2m does not walk at all."""
    x = np.linspace(0, 1, 41)
    return x, samples_of(1e9 * x, 1e9 * (1 + 1.5 * x**3))


def cubic(noise=0.0, seed=1, count=40):
    """All three metrics matter, by themselves and together; and the same draws for any noise."""
    generator = np.random.default_rng(seed)
    x = np.linspace(0, 1, count)
    misses = x * generator.uniform(0.8, 1.2, count)
    hits = generator.uniform(0, 1, count)
    runtime = 1 + 0.1 * hits + 0.2 * misses * hits + 1.5 * x**3
    runtime *= 1 + noise * generator.uniform(-1, 1, count)
    return samples_of(1e9 * x, 1e9 * runtime, stlb_hits=1e8 * hits, stlb_misses=1e7 * misses)


def test_mosmodel_finds_a_cubic_of_walk_cycles():
    _, samples = cubic_in_walk_cycles()
    found = errors("mosmodel", samples)
    assert found.worst < 1e-3
    assert found.cross_validated_worst < 1e-3


def test_mosmodel_predicts_metrics_that_it_was_not_fitted_to():
    predictor = RUNTIME_MODELS["mosmodel"].fit(cubic())
    unseen = cubic(seed=2, count=25)
    metrics = TranslationMetrics(
        layout=unseen.layout,
        stlb_hits=unseen.stlb_hits,
        stlb_misses=unseen.stlb_misses,
        walk_cycles=unseen.walk_cycles,
    )
    np.testing.assert_allclose(predictor.predict(metrics), unseen.runtime_cycles, rtol=0.01)


def test_mosmodel_uses_each_metric():
    samples = cubic()
    predictor = RUNTIME_MODELS["mosmodel"].fit(samples)
    predicted = predictor.predict(samples)
    for name in ("stlb_hits", "stlb_misses", "walk_cycles"):
        changed = attrs.evolve(samples, **{name: getattr(samples, name)[::-1]})
        assert not np.allclose(predictor.predict(changed), predicted, rtol=0.01), name


# Least-angle regression alone breaks down on most of these, with errors above 10 %.
SAME = {
    "multiples": lambda x, other: (3 * x, x / 40),
    "multiples and one more": lambda x, other: (other, x / 40),
    "nearly multiples": lambda x, other: (3 * x * (1 + 1e-6 * other), x / 40),
    "what is left": lambda x, other: (1 - x, 0.2 * x + 0.01 * other),
    "what is left, and multiples": lambda x, other: (1 - x, x / 40),
    "constant": lambda x, other: (np.ones_like(x), other),
    "constant and zero": lambda x, other: (np.ones_like(x), np.zeros_like(x)),
    "sum of the others": lambda x, other: (other, 30 * x + 7 * other),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("power", [1, 3])
def test_mosmodel_bears_metrics_that_say_the_same(kind, power):
    x = np.linspace(0, 1, 41)
    hits, misses = SAME[kind](x, np.random.default_rng(0).uniform(size=41))
    truth = 1e9 * (1 + 1.5 * x**power)
    samples = samples_of(1e9 * x, truth, stlb_hits=1e8 * hits, stlb_misses=1e7 * misses)
    found = errors("mosmodel", samples)
    assert found.worst < 1e-3
    assert found.cross_validated_worst < 1e-3


def test_mosmodel_bears_powers_that_are_equal_and_warns_of_nothing():
    # A metric of two levels equals its own square. Warnings are errors in these tests.
    number = np.arange(24)
    walk, misses, hits = number % 2, number // 2 % 2, number // 4 % 2
    samples = samples_of(
        1e8 * walk,
        1e9 * (1 + 0.2 * walk + 0.3 * misses + 0.1 * walk * hits),
        stlb_hits=1e7 * hits,
        stlb_misses=1e6 * misses,
    )
    assert errors("mosmodel", samples).worst < 1e-6


def test_mosmodel_predicts_a_runtime_that_does_not_change():
    walk = np.linspace(0, 1e9, 12)
    samples = samples_of(walk, np.full(12, 3e9))
    assert errors("mosmodel", samples) == RuntimeErrors("mosmodel", 0.0, 0.0, 0.0, 0.0)


# All models


@pytest.mark.parametrize("name", RUNTIME_MODELS)
def test_predictions_scale_with_the_unit_of_time(name):
    samples = cubic(noise=0.01)
    # Pham's 7 cycles for a hit do not scale; as many more hits make up for it.
    scaled = attrs.evolve(
        samples,
        runtime_cycles=1000 * samples.runtime_cycles,
        walk_cycles=1000 * samples.walk_cycles,
        stlb_hits=1000 * samples.stlb_hits,
    )
    predicted = RUNTIME_MODELS[name].fit(samples).predict(samples)
    again = RUNTIME_MODELS[name].fit(scaled).predict(scaled)
    np.testing.assert_allclose(again, 1000 * predicted, rtol=1e-6)
    # Counts have a scale of their own.
    hits = (1 if name == "pham" else 7) * samples.stlb_hits
    counted = attrs.evolve(samples, stlb_hits=hits, stlb_misses=samples.stlb_misses / 3)
    again = RUNTIME_MODELS[name].fit(counted).predict(counted)
    np.testing.assert_allclose(again, predicted, rtol=1e-6)


@pytest.mark.parametrize("name", RUNTIME_MODELS)
def test_each_model_names_its_source(name):
    assert RUNTIME_MODELS[name].name == name
    assert RUNTIME_MODELS[name].source


# What is refused


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"walk_cycles": [1e7, 2e8, -1, 5e8, 8e8, 9e8]},
            "walk_cycles: must be at least 0 and at most 1e+18; number 3 is -1",
        ),
        (
            {"stlb_hits": [1, 2, 3, 4, 5, np.nan]},
            "stlb_hits: must be at least 0 and at most 1e+18; number 6 is nan",
        ),
        (
            {"stlb_misses": [np.inf, 2, 3, 4, 5, 6]},
            "stlb_misses: must be at least 0 and at most 1e+18; number 1 is inf",
        ),
        (
            {"runtime_cycles": [1, 0, 1, 1, 1, 1]},
            "runtime_cycles: must be greater than 0 and at most 1e+18; number 2 is 0",
        ),
        (
            {"stlb_hits": [1, 2, 3], "runtime_cycles": [1, 2]},
            "stlb_hits: must have 6 numbers, one for each layout; has 3\n"
            "runtime_cycles: must have 6 numbers, one for each layout; has 2",
        ),
        *(
            ({"stlb_hits": row}, "stlb_hits: must be a row of numbers, one for each layout")
            for row in ([], 5, "123456", ["1"] * 6, [True] * 6, [[1.0]] * 6, [[1], [2, 3]], None)
        ),
        *(
            ({"layout": names}, "layout: must be a row of names, one for each layout")
            for names in ((), "4k", (1, 2, 3, 4, 5, 6), ("4k", "2m", " ", "a", "b", "c"))
        ),
        (
            {"layout": ("4k", "2m", "a", "4k", "b", "a")},
            "layout: names 4k, a more than once; give the mean of repeated runs",
        ),
    ],
)
def test_bad_samples_are_refused(changes, line):
    with pytest.raises(InputError) as caught:
        attrs.evolve(SAMPLES, **changes)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "rows", "line"),
    [
        ("basu", [0, 1], "layout: has no 4k, to which the model basu is fitted"),
        ("pham", [0, 1], "layout: has no 4k, to which the model pham is fitted"),
        ("alam", [1, 5], "layout: has no 2m, to which the model alam is fitted"),
        ("gandhi", [1, 5], "layout: has no 2m, to which the model gandhi is fitted"),
        ("yaniv", [0, 1], "layout: has no 4k, to which the model yaniv is fitted"),
        ("yaniv", [1, 2], "layout: has no 4k and no 2m, to which the model yaniv is fitted"),
        ("linear", [3], "samples: must be at least 2 to fit linear; there are 1"),
        ("mosmodel", range(6), "samples: must be at least 10 to fit mosmodel; there are 6"),
    ],
)
def test_samples_that_a_model_cannot_be_fitted_to_are_refused(name, rows, line):
    samples = SAMPLES.take(np.array(rows))
    for attempt in (RUNTIME_MODELS[name].fit, lambda samples: errors(name, samples)):
        with pytest.raises(InputError) as caught:
            attempt(samples)
        assert str(caught.value) == line


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "mosmodel",
            "samples: are the same in stlb_hits, stlb_misses and walk_cycles; "
            "nothing explains runtime",
        ),
        ("yaniv", "walk_cycles: is the same for 4k and 2m; no line goes through both"),
        ("linear", "walk_cycles: is the same for all samples; no line fits"),
    ],
)
def test_metrics_that_do_not_change_are_refused(name, line):
    samples = samples_of(np.full(12, 7e8), np.linspace(1e9, 2e9, 12))
    with pytest.raises(InputError) as caught:
        RUNTIME_MODELS[name].fit(samples)
    assert str(caught.value) == line


@pytest.mark.parametrize("name", ["basu", "gandhi"])
def test_a_4k_layout_without_misses_is_refused_where_it_sets_their_price(name):
    samples = attrs.evolve(SAMPLES, stlb_misses=[1, 2, 3, 4, 5, 0])
    for attempt in (RUNTIME_MODELS[name].fit, lambda samples: errors(name, samples)):
        with pytest.raises(InputError) as caught:
            attempt(samples)
        assert str(caught.value) == (
            "stlb_misses: is 0 for 4k; the model takes the walk cycles of one miss from there"
        )
    # The others do not ask for it, and misses may be 0 elsewhere.
    for other in ("pham", "alam", "yaniv", "linear"):
        RUNTIME_MODELS[other].fit(samples)
    RUNTIME_MODELS[name].fit(attrs.evolve(SAMPLES, stlb_misses=[0, 0, 0, 0, 0, 1]))


def test_samples_do_not_change_with_the_array_they_were_made_from():
    walk = np.arange(1.0, 4.0)
    samples = samples_of(walk, walk)
    walk[0] = 99
    assert samples.walk_cycles[0] == samples.runtime_cycles[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        samples.runtime_cycles[0] = 5
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        samples.layout = ("a", "b", "c")


def test_only_mosmodel_imports_scikit_learn():
    program = (
        "import sys\n"
        "from perfmodel.models.runtime import RUNTIME_MODELS, RuntimeSamples\n"
        "row = [1.0, 2.0, 3.0]\n"
        "samples = RuntimeSamples(layout=('2m', 'a', '4k'), stlb_hits=row, stlb_misses=row,\n"
        "                         walk_cycles=row, runtime_cycles=row)\n"
        "for model in [*RUNTIME_MODELS.values()][:-1]:\n"
        "    model.fit(samples).predict(samples)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'sklearn', 'scipy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
