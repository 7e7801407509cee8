"""Published models that predict a program's runtime from its translation metrics.

A program runs under several page layouts: all of its memory in 4 KiB pages (4k), all of it in 2 MiB
pages (2m), and mixtures. Each run yields the runtime R and the metrics H (STLB hits), M (STLB
misses) and C (page-walk cycles). A model is fitted to such samples and then predicts the runtime R'
from metrics H', M' and C' of another layout or of a translation design that exists in a simulator
only. These are the baselines that our own predictions have to beat.

======== ===========================================================
basu     R' = (C_4k / M_4k) M' + (R_4k - C_4k)
pham     R' = C' + 7 H' + (R_4k - C_4k - 7 H_4k)
alam     R' = C' + (R_2m - C_2m)
gandhi   R' = (C_4k / M_4k) M' + (R_2m - C_2m)
yaniv    line over C through 4k and 2m
linear   least-squares line over C; ours, not published
mosmodel cubic polynomial of H, M and C, its terms chosen by Lasso
======== ===========================================================

H. Agbarya, I. Yaniv, J. Gandhi, D. Tsafrir, "Predicting Execution Times With Partial Simulations in
Virtual Memory Research: Why and How", MICRO 2020, compares the earlier, linear models with its own,
Mosmodel. Its abstract states largest errors of 25 % to 192 % for them and below 3 % for Mosmodel.

The linear models are those of the scripts that fit, apply and compare them in the public repository
technion-csl/mosmodel. Another script there takes R - C of 2m for Basu's ideal runtime and calls
Alam's formula Pham's: whose a formula is, is known from a secondary source only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem
from perfmodel.models.runtime_polynomial import FEWEST_SAMPLES, Floats, Polynomial, fit_cubic

BASE_LAYOUT = "4k"
HUGE_LAYOUT = "2m"
OWN_MODEL = "perfmodel"
DEFAULT_FOLDS = 10
_PHAM_HIT_CYCLES = 7.0
_LARGEST = 1e18


def _numbers(values: object, key: str, *, positive: bool = False) -> Floats:
    """A read-only copy of a row of numbers, or an `InputError` that says what is wrong with it."""
    try:
        given = np.asarray(values)
    except ValueError:
        given = np.empty((0, 0))
    # Text and truth values would turn into numbers without a word.
    if given.ndim != 1 or given.dtype.kind not in "iuf" or not given.size:
        raise InputError(Problem("must be a row of numbers, one for each layout", key=key))
    numbers = given.astype(np.float64)
    right = (numbers > 0 if positive else numbers >= 0) & (numbers <= _LARGEST)
    if not right.all():
        first = int(np.argmin(right))
        least = "greater than 0" if positive else "at least 0"
        message = f"must be {least} and at most {_LARGEST:g}; number {first + 1} is"
        raise InputError(Problem(f"{message} {numbers[first]:g}", key=key))
    numbers.flags.writeable = False
    return numbers


def _column(*, positive: bool = False) -> Any:
    """Field that holds one number for each layout."""

    def convert(values: object, field: attrs.Attribute[Any]) -> Floats:
        return _numbers(values, field.name, positive=positive)

    return attrs.field(converter=attrs.Converter(convert, takes_field=True))


def _layout_names(names: Iterable[str]) -> tuple[str, ...]:
    # A text is a row of letters, too.
    given = () if isinstance(names, str) else tuple(names)
    if not given or not all(isinstance(name, str) and name.strip() for name in given):
        raise InputError(Problem("must be a row of names, one for each layout", key="layout"))
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        message = f"names {', '.join(twice)} more than once; give the mean of repeated runs"
        raise InputError(Problem(message, key="layout"))
    return given


@attrs.frozen(kw_only=True, eq=False)
class TranslationMetrics:
    """What address translation did under each layout.

    Parameters
    ----------
    layout : tuple of str
        Name of each page layout, no two the same. Models look for ``4k`` and ``2m``.
    stlb_hits, stlb_misses : float array, shape (layouts,)
        Accesses that missed the first-level TLB and were found, or not found, in the STLB.
    walk_cycles : float array, shape (layouts,), cycles
        Cycles in which a page walk was under way.

    Raises
    ------
    InputError
        Numbers are negative, not finite or not numbers, rows differ in length, names repeat.
    """

    layout: tuple[str, ...] = attrs.field(converter=_layout_names)
    stlb_hits: Floats = _column()
    stlb_misses: Floats = _column()
    walk_cycles: Floats = _column()

    def __attrs_post_init__(self) -> None:
        wanted = f"must have {len(self.layout)} numbers, one for each layout; has"
        problems = [
            Problem(f"{wanted} {len(row)}", key=name)
            for name, row in self._columns().items()
            if len(row) != len(self.layout)
        ]
        if problems:
            raise InputError(problems)

    def __len__(self) -> int:
        return len(self.layout)

    def _columns(self) -> dict[str, Floats]:
        names = [field.name for field in attrs.fields(type(self)) if field.name != "layout"]
        return {name: getattr(self, name) for name in names}

    def take(self, rows: npt.NDArray[np.intp]) -> Self:
        """The samples of these rows, in this order."""
        columns: dict[str, Any] = {name: row[rows] for name, row in self._columns().items()}
        return attrs.evolve(self, layout=tuple(self.layout[row] for row in rows), **columns)


@attrs.frozen(kw_only=True, eq=False)
class RuntimeSamples(TranslationMetrics):
    """Runs of one program under several page layouts, one sample for each layout.

    Parameters
    ----------
    runtime_cycles : float array, shape (layouts,), cycles
        How long each run took; greater than 0.
    layout, stlb_hits, stlb_misses, walk_cycles
        As in `TranslationMetrics`.
    """

    runtime_cycles: Floats = _column(positive=True)


class RuntimePredictor(Protocol):
    """A fitted model."""

    def predict(self, metrics: TranslationMetrics) -> Floats:
        """Predicted runtimes: float array, shape (layouts,), cycles."""


@attrs.frozen
class LinearPredictor:
    """Runtime as a weighted sum of the metrics.

    Parameters
    ----------
    ideal_cycles : float
        Runtime without any work of address translation.
    per_walk_cycle, per_miss, per_hit : float
        Cycles of runtime for each walk cycle, STLB miss and STLB hit.
    """

    ideal_cycles: float
    per_walk_cycle: float = 0.0
    per_miss: float = 0.0
    per_hit: float = 0.0

    def predict(self, metrics: TranslationMetrics) -> Floats:
        """Predicted runtimes: float array, shape (layouts,), cycles."""
        return (
            self.ideal_cycles
            + self.per_walk_cycle * metrics.walk_cycles
            + self.per_miss * metrics.stlb_misses
            + self.per_hit * metrics.stlb_hits
        )


@attrs.frozen
class PolynomialPredictor:
    """Runtime as a polynomial of walk cycles, STLB misses and STLB hits."""

    polynomial: Polynomial

    def predict(self, metrics: TranslationMetrics) -> Floats:
        """Predicted runtimes: float array, shape (layouts,), cycles."""
        return self.polynomial.at(_features(metrics))


@attrs.frozen
class RuntimeModel:
    """A published way to get runtimes from translation metrics.

    Parameters
    ----------
    name : str
        Key in `RUNTIME_MODELS`.
    source : str
        Who has published it.
    fit : callable
        Makes a predictor from samples that have been checked for the next two.
    anchors : tuple of str
        The layouts that it is fitted to. Empty for a model that is fitted to all samples.
    fewest_samples : int
        It cannot be fitted to fewer.
    exact_at_anchors : bool
        Whether its error at the anchors is zero by construction.
    """

    name: str
    source: str
    _fit: Callable[[RuntimeSamples], RuntimePredictor]
    anchors: tuple[str, ...] = ()
    fewest_samples: int = 1
    exact_at_anchors: bool = True

    def fit(self, samples: RuntimeSamples) -> RuntimePredictor:
        """The model, fitted.

        Raises
        ------
        InputError
            An anchor is missing, there are too few samples, or they do not determine the model.
        """
        missing = [name for name in self.anchors if name not in samples.layout]
        if missing:
            message = f"has no {' and no '.join(missing)}, to which the model {self.name} is fitted"
            raise InputError(Problem(message, key="layout"))
        if len(samples) < self.fewest_samples:
            message = f"must be at least {self.fewest_samples} to fit {self.name}"
            raise InputError(Problem(f"{message}; there are {len(samples)}", key="samples"))
        return self._fit(samples)


def _features(metrics: TranslationMetrics) -> Floats:
    # Where two say the same, the first one stays in the model: walk cycles are what costs time.
    return np.column_stack([metrics.walk_cycles, metrics.stlb_misses, metrics.stlb_hits])


def _point(samples: RuntimeSamples, layout: str) -> tuple[float, float, float, float]:
    """H, M, C and R of one layout."""
    row = samples.layout.index(layout)
    hits, misses = float(samples.stlb_hits[row]), float(samples.stlb_misses[row])
    return hits, misses, float(samples.walk_cycles[row]), float(samples.runtime_cycles[row])


def _by_walk_cycles(samples: RuntimeSamples) -> npt.NDArray[np.intp]:
    """Rows in an order that depends on what the samples are, and not on how they were listed."""
    return np.lexsort((np.array(samples.layout), samples.walk_cycles))


def _beside_walks(samples: RuntimeSamples, layout: str) -> float:
    *_, walk, runtime = _point(samples, layout)
    return runtime - walk


def _walk_cycles_per_miss(samples: RuntimeSamples) -> float:
    _, misses, walk, _ = _point(samples, BASE_LAYOUT)
    if misses == 0:
        message = f"is 0 for {BASE_LAYOUT}; the model takes the walk cycles of one miss from there"
        raise InputError(Problem(message, key="stlb_misses"))
    return walk / misses


def _fit_basu(samples: RuntimeSamples) -> LinearPredictor:
    ideal = _beside_walks(samples, BASE_LAYOUT)
    return LinearPredictor(ideal, per_miss=_walk_cycles_per_miss(samples))


def _fit_pham(samples: RuntimeSamples) -> LinearPredictor:
    hits, *_ = _point(samples, BASE_LAYOUT)
    ideal = _beside_walks(samples, BASE_LAYOUT) - _PHAM_HIT_CYCLES * hits
    return LinearPredictor(ideal, per_walk_cycle=1.0, per_hit=_PHAM_HIT_CYCLES)


def _fit_alam(samples: RuntimeSamples) -> LinearPredictor:
    return LinearPredictor(_beside_walks(samples, HUGE_LAYOUT), per_walk_cycle=1.0)


def _fit_gandhi(samples: RuntimeSamples) -> LinearPredictor:
    ideal = _beside_walks(samples, HUGE_LAYOUT)
    return LinearPredictor(ideal, per_miss=_walk_cycles_per_miss(samples))


def _fit_yaniv(samples: RuntimeSamples) -> LinearPredictor:
    *_, base_walk, base_runtime = _point(samples, BASE_LAYOUT)
    *_, huge_walk, huge_runtime = _point(samples, HUGE_LAYOUT)
    if base_walk == huge_walk:
        message = f"is the same for {BASE_LAYOUT} and {HUGE_LAYOUT}; no line goes through both"
        raise InputError(Problem(message, key="walk_cycles"))
    slope = (base_runtime - huge_runtime) / (base_walk - huge_walk)
    return LinearPredictor(huge_runtime - slope * huge_walk, per_walk_cycle=slope)


def _fit_linear(samples: RuntimeSamples) -> LinearPredictor:
    walks, runtimes = samples.walk_cycles, samples.runtime_cycles
    if np.ptp(walks) == 0:
        raise InputError(Problem("is the same for all samples; no line fits", key="walk_cycles"))
    # Walk cycles reach 1e18 or differ by next to nothing; their squares stay in range when scaled.
    away = (walks - walks.mean()) / np.ptp(walks)
    slope = float(away @ (runtimes - runtimes.mean()) / (away @ away) / np.ptp(walks))
    ideal = float(runtimes.mean() - slope * walks.mean())
    return LinearPredictor(ideal, per_walk_cycle=slope)


def _fit_mosmodel(samples: RuntimeSamples) -> PolynomialPredictor:
    samples = samples.take(_by_walk_cycles(samples))
    return PolynomialPredictor(fit_cubic(_features(samples), samples.runtime_cycles))


_BOTH = (BASE_LAYOUT, HUGE_LAYOUT)

RUNTIME_MODELS: dict[str, RuntimeModel] = {
    model.name: model
    for model in (
        RuntimeModel("basu", "Basu et al., ISCA 2013", _fit_basu, anchors=(BASE_LAYOUT,)),
        RuntimeModel("pham", "Pham et al., 2015", _fit_pham, anchors=(BASE_LAYOUT,)),
        RuntimeModel("alam", "Alam et al.", _fit_alam, anchors=(HUGE_LAYOUT,)),
        RuntimeModel("gandhi", "Gandhi et al.", _fit_gandhi, anchors=_BOTH, exact_at_anchors=False),
        RuntimeModel("yaniv", "Yaniv and Tsafrir, 2016", _fit_yaniv, anchors=_BOTH),
        RuntimeModel("linear", "perfmodel; not published", _fit_linear, fewest_samples=2),
        RuntimeModel(
            "mosmodel", "Agbarya et al., MICRO 2020", _fit_mosmodel, fewest_samples=FEWEST_SAMPLES
        ),
    )
}


@attrs.frozen
class RuntimeErrors:
    """How far a model is off, worst case first; every number is the size of a relative error.

    Parameters
    ----------
    name : str
        The model.
    worst, median : float
        Largest and median error in sample: the model was fitted to all samples.
    cross_validated_worst, cross_validated_median : float
        The same, each sample but the anchors predicted by a fit that has not seen it.
    """

    name: str
    worst: float
    median: float
    cross_validated_worst: float
    cross_validated_median: float


def relative_errors(predicted: Floats, samples: RuntimeSamples) -> Floats:
    """(predicted - true) / true for each layout: negative where the prediction is too short."""
    return (predicted - samples.runtime_cycles) / samples.runtime_cycles


def _summary(name: str, in_sample: Floats, held_out: Floats) -> RuntimeErrors:
    sizes = np.abs(in_sample), np.abs(held_out)
    return RuntimeErrors(
        name, *(float(value) for size in sizes for value in (size.max(), np.median(size)))
    )


@attrs.frozen(eq=False)
class LayoutErrors:
    """Relative errors of a model by layout.

    Parameters
    ----------
    in_sample, held_out : float array, shape (layouts,)
        Fitted to all samples; each sample but the anchors predicted by a fit that has not seen it.
    judged : int array
        The layouts whose error says something about the model.
    """

    in_sample: Floats
    held_out: Floats
    judged: npt.NDArray[np.intp]


def layout_errors(
    model: RuntimeModel, samples: RuntimeSamples, *, folds: int = DEFAULT_FOLDS
) -> LayoutErrors:
    """What `errors` sums up, layout by layout."""
    if type(folds) is not int or folds < 2:
        raise InputError(Problem("must be a whole number of at least 2", key="folds"))
    in_sample = relative_errors(model.fit(samples).predict(samples), samples)
    rows = _by_walk_cycles(samples)
    free = rows[[samples.layout[row] not in model.anchors for row in rows]]
    judged = free if model.exact_at_anchors else rows
    if not judged.size:
        message = f"has nothing beside {' and '.join(model.anchors)}, to which {model.name} is"
        raise InputError(Problem(f"{message} fitted; nothing is left to judge", key="layout"))
    fewest = len(samples) - len(free[::folds])
    folds = min(folds, len(free))
    if fewest < model.fewest_samples:
        message = f"are too few to cross-validate {model.name}: {folds} folds leave {fewest} to fit"
        message = f"{message}, and it needs at least {model.fewest_samples}"
        raise InputError(Problem(message, key="samples"))
    held_out = in_sample.copy()
    everything = np.arange(len(samples))
    for fold in range(folds):
        unseen = free[fold::folds]
        predictor = model.fit(samples.take(np.setdiff1d(everything, unseen)))
        asked = samples.take(unseen)
        held_out[unseen] = relative_errors(predictor.predict(asked), asked)
    return LayoutErrors(in_sample, held_out, judged)


def errors(
    model: str | RuntimeModel, samples: RuntimeSamples, *, folds: int = DEFAULT_FOLDS
) -> RuntimeErrors:
    """Relative errors of a model, in sample and by cross-validation.

    A model's anchors are in every fit. Where it is exact at them they are not judged: an error that
    is zero by construction says nothing, and cannot be the worst one. A model that is fitted to its
    anchors alone has the same errors in and out of sample.

    Parameters
    ----------
    model : str or RuntimeModel
        A model, or its name in `RUNTIME_MODELS`.
    samples : RuntimeSamples
    folds : int
        The samples beside the anchors, in order of walk cycles, are dealt to so many folds; each
        fold is predicted by a fit to all other samples. With as many folds as such samples or more,
        it is leave-one-out.

    Returns
    -------
    RuntimeErrors

    Raises
    ------
    InputError
        There is no model of that name, nothing is left to judge or too little to fit, or as for
        `RuntimeModel.fit`.
    """
    if isinstance(model, str):
        model = _model(model)
    found = layout_errors(model, samples, folds=folds)
    return _summary(model.name, found.in_sample[found.judged], found.held_out[found.judged])


def _model(name: str) -> RuntimeModel:
    if name not in RUNTIME_MODELS:
        message = f"{name[:80]!r} is no runtime model; known: {', '.join(RUNTIME_MODELS)}"
        raise InputError(Problem(message, key="model"))
    return RUNTIME_MODELS[name]


def compare_runtime_models(
    samples: RuntimeSamples,
    predicted: npt.ArrayLike | None = None,
    *,
    models: Iterable[str] = tuple(RUNTIME_MODELS),
    folds: int = DEFAULT_FOLDS,
) -> tuple[RuntimeErrors, ...]:
    """Relative errors of the published models, and of our own predictions, on the same samples.

    Parameters
    ----------
    samples : RuntimeSamples
    predicted : float array, shape (layouts,), cycles, optional
        Our own predictions for the same layouts in the same order. They must not rest on the
        runtimes of these samples: their errors count as those in and out of sample.
    models : iterable of str
        Names in `RUNTIME_MODELS`.
    folds : int
        As in `errors`.

    Returns
    -------
    tuple of RuntimeErrors
        One row for each model in the order of `models`, then ``perfmodel`` if `predicted` is given.

    Raises
    ------
    InputError
        `predicted` is not one positive number for each layout, or as for `errors`.
    """
    own = []
    if predicted is not None:
        numbers = _numbers(predicted, "predicted", positive=True)
        if len(numbers) != len(samples):
            message = f"must have {len(samples)} numbers, one for each layout; has {len(numbers)}"
            raise InputError(Problem(message, key="predicted"))
        sizes = relative_errors(numbers, samples)
        own = [_summary(OWN_MODEL, sizes, sizes)]
    return (*(errors(name, samples, folds=folds) for name in models), *own)
