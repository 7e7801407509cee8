"""Errors of runtime models: who is judged where, honest cross-validation, and the table."""

import attrs
import numpy as np
import pytest

from perfmodel.errors import InputError
from perfmodel.models.runtime import (
    RUNTIME_MODELS,
    RuntimeModel,
    compare_runtime_models,
    errors,
    relative_errors,
)
from tests.unit.test_runtime_models import (
    BY_HAND,
    SAMPLES,
    cubic,
    cubic_in_walk_cycles,
    figures,
    layouts,
    samples_of,
)


def test_a_relative_error_is_negative_where_the_prediction_is_too_short():
    samples = samples_of([0, 50, 100], [100, 200, 400])
    found = relative_errors(np.array([90.0, 200.0, 500.0]), samples)
    np.testing.assert_allclose(found, [-0.1, 0.0, 0.25])


def test_gandhi_is_judged_at_its_anchors_even_if_there_is_nothing_else():
    # Predicts 100 and 200, and 4k took 300.
    found = errors("gandhi", BY_HAND.take(np.array([0, 2])))
    assert figures(found) == pytest.approx((1 / 3, 1 / 6) * 2)


def test_lines_miss_a_cubic_by_what_algebra_says():
    x, samples = cubic_in_walk_cycles()
    truth = 1 + 1.5 * x**3
    # Intercept and slope. A miss always costs the same, and 7 H is a tenth of C.
    expected = {
        "basu": (1.5, 1.0, ["4k"]),
        "pham": (1.4, 1.1, ["4k"]),
        "alam": (1.0, 1.0, ["2m"]),
        "gandhi": (1.0, 1.0, []),
        "yaniv": (1.0, 1.5, ["2m", "4k"]),
    }
    for name, (intercept, slope, exact) in expected.items():
        judged = ~np.isin(samples.layout, exact)
        sizes = np.abs((intercept + slope * x) / truth - 1)[judged]
        assert figures(errors(name, samples)) == pytest.approx(
            (sizes.max(), np.median(sizes)) * 2
        ), name
        assert sizes.max() > 0.25
    # A line over all samples fits better, and is bad all the same.
    assert 0.1 < errors("linear", samples).worst < errors("yaniv", samples).worst


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mosmodel_keeps_its_published_bounds_on_a_noisy_cubic_and_no_line_does(seed):
    found = {row.name: row for row in compare_runtime_models(cubic(noise=0.01, seed=seed))}
    mosmodel = found["mosmodel"]
    assert mosmodel.worst < 0.03
    assert mosmodel.worst < mosmodel.cross_validated_worst < 0.06
    assert mosmodel.median < 0.01
    for name in ("basu", "pham", "alam", "gandhi", "yaniv"):
        assert found[name].worst > 0.25, name
    assert found["linear"].worst > 0.1


@pytest.mark.parametrize("name", RUNTIME_MODELS)
def test_errors_do_not_depend_on_the_order_of_the_samples(name):
    samples = cubic(noise=0.01, count=20)
    shuffled = samples.take(np.random.default_rng(3).permutation(20))
    assert shuffled.layout != samples.layout
    expected = figures(errors(name, samples))
    assert figures(errors(name, shuffled)) == pytest.approx(expected, rel=1e-9)


# Cross-validation


@attrs.frozen
class Memory:
    """Knows the runtimes that it has seen, and takes any other for nothing."""

    seen: dict
    fits: list

    def predict(self, metrics):
        self.fits.append((set(self.seen), set(metrics.layout)))
        return np.array([self.seen.get(name, 0.0) for name in metrics.layout])


def remembering(fits, anchors=(), **settings):
    def fit(samples):
        runtimes = samples.runtime_cycles.tolist()
        return Memory(dict(zip(samples.layout, runtimes, strict=True)), fits)

    return RuntimeModel("memory", "test", fit, anchors, **settings)


@pytest.mark.parametrize("anchors", [(), ("4k",), ("2m", "4k")])
@pytest.mark.parametrize(("folds", "largest"), [(2, 6), (5, 3), (10, 2), (12, 1), (99, 1)])
def test_no_sample_is_both_fitted_and_judged(anchors, folds, largest):
    samples = samples_of(np.arange(12) * 1e8, np.arange(1, 13) * 1e9)
    fits = []
    found = errors(remembering(fits, anchors), samples, folds=folds)
    # All that was judged was unknown, which is an error of exactly -1.
    assert figures(found) == (0.0, 0.0, 1.0, 1.0)
    (everything, asked), *held_out = fits
    assert everything == asked == set(samples.layout)
    judged = []
    for fitted, unseen in held_out:
        assert fitted == everything - unseen
        assert set(anchors) <= fitted
        assert 1 <= len(unseen) <= largest
        judged += unseen
    assert sorted(judged) == sorted(everything - set(anchors))


def test_anchors_where_a_model_is_not_exact_are_fitted_and_judged():
    samples = samples_of([0, 1, 2, 3, 4], np.full(5, 1e9))
    fits = []
    found = errors(remembering(fits, ("2m", "4k"), exact_at_anchors=False), samples)
    # It has seen two of five.
    assert figures(found) == (0.0, 0.0, 1.0, 1.0)
    assert [unseen & {"2m", "4k"} for _, unseen in fits[1:]] == [set()] * 3
    found = errors(
        remembering([], ("2m", "4k"), exact_at_anchors=False), samples.take(np.array([0, 2, 4]))
    )
    # And here two of three.
    assert figures(found) == (0.0, 0.0, 1.0, 0.0)


def test_each_fold_spans_the_range_of_walk_cycles():
    fits = []
    errors(remembering(fits), samples_of(np.arange(12) * 1e8, np.full(12, 1e9)), folds=3)
    names = layouts(12)
    assert [{names.index(name) for name in unseen} for _, unseen in fits[1:]] == [
        {0, 3, 6, 9},
        {1, 4, 7, 10},
        {2, 5, 8, 11},
    ]


def test_leave_one_out_of_a_line_as_worked_out_by_hand():
    # Without 0: through (1, 1) and (2, 4), which is -2 there. Without 1: 2.5. Without 2: 1.
    found = errors("linear", samples_of([0, 1, 2], [1, 1, 4]))
    assert found.cross_validated_worst == pytest.approx(3.0)
    assert found.cross_validated_median == pytest.approx(1.5)


# The table


def test_a_comparison_has_a_row_for_each_model_and_ours_last():
    samples = cubic()
    own = samples.runtime_cycles * np.where(np.array(samples.layout) == "4k", 0.9, 1.01)
    rows = compare_runtime_models(samples, own)
    assert [row.name for row in rows] == [
        *("basu", "pham", "alam", "gandhi", "yaniv", "linear", "mosmodel"),
        "perfmodel",
    ]
    assert rows[0] == errors("basu", samples)
    assert figures(rows[-1]) == pytest.approx((0.1, 0.01, 0.1, 0.01))
    assert [row.name for row in compare_runtime_models(samples)] == list(RUNTIME_MODELS)


def test_a_comparison_keeps_the_order_of_its_models():
    rows = compare_runtime_models(SAMPLES, models=["yaniv", "basu"])
    assert [row.name for row in rows] == ["yaniv", "basu"]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("poly3", SAMPLES),
            "model: 'poly3' is no runtime model; "
            "known: basu, pham, alam, gandhi, yaniv, linear, mosmodel",
        ),
        (
            ("yaniv", SAMPLES.take(np.array([0, 5]))),
            "layout: has nothing beside 4k and 2m, to which yaniv is fitted; "
            "nothing is left to judge",
        ),
        (
            ("linear", SAMPLES.take(np.array([0, 5]))),
            "samples: are too few to cross-validate linear: 2 folds leave 1 to fit, "
            "and it needs at least 2",
        ),
        (
            ("mosmodel", cubic(count=10)),
            "samples: are too few to cross-validate mosmodel: 10 folds leave 9 to fit, "
            "and it needs at least 10",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(arguments, line):
    with pytest.raises(InputError) as caught:
        errors(*arguments)
    assert str(caught.value) == line


def test_the_largest_fold_decides_whether_enough_is_left_to_fit():
    # Folds of 5, 4 and 4.
    with pytest.raises(InputError) as caught:
        errors("mosmodel", cubic(count=13), folds=3)
    assert str(caught.value) == (
        "samples: are too few to cross-validate mosmodel: 3 folds leave 8 to fit, "
        "and it needs at least 10"
    )
    assert errors("mosmodel", cubic(count=13), folds=5).worst < 0.03


@pytest.mark.parametrize("folds", [1, 0, -3, True, 2.0, "5", None])
def test_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(InputError) as caught:
        errors("basu", SAMPLES, folds=folds)
    assert str(caught.value) == "folds: must be a whole number of at least 2"


@pytest.mark.parametrize(
    ("predicted", "line"),
    [
        ([1.0, 2.0], "predicted: must have 6 numbers, one for each layout; has 2"),
        (
            [1, 2, 3, -4, 5, 6],
            "predicted: must be greater than 0 and at most 1e+18; number 4 is -4",
        ),
        ("fast", "predicted: must be a row of numbers, one for each layout"),
    ],
)
def test_bad_predictions_are_refused(predicted, line):
    with pytest.raises(InputError) as caught:
        compare_runtime_models(SAMPLES, predicted)
    assert str(caught.value) == line
