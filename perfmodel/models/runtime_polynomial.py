"""The polynomial behind Mosmodel (see `perfmodel.models.runtime`).

The published steps: scale each metric by its largest value, take all terms up to the third degree,
let a cross-validated Lasso along the least-angle path choose among them. Ours are the folds of that
cross-validation, and that terms which say nothing of their own are left out before it.
"""

from __future__ import annotations

import warnings
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from perfmodel.errors import InputError, Problem

# Of the cross-validation that chooses how many terms stay.
_FOLDS = 5
# Two for each fold.
FEWEST_SAMPLES = 2 * _FOLDS
# A term of which the terms before it leave so small a share unsaid says nothing of its own.
_NOTHING_NEW = 1e-6

Floats = npt.NDArray[np.float64]


@attrs.frozen
class Polynomial:
    """A polynomial of some metrics.

    Parameters
    ----------
    expand : sklearn.pipeline.Pipeline
        From metrics to the terms of the polynomial.
    terms : int array
        Columns of the terms that it uses.
    weights : float array, cycles
        One for each of them.
    constant : float, cycles
        The term without a metric.
    """

    expand: Any
    terms: npt.NDArray[np.intp]
    weights: Floats
    constant: float

    def at(self, metrics: Floats) -> Floats:
        """Its values: float array, shape (samples,), from metrics of shape (samples, metrics)."""
        values: Floats = self.expand.transform(metrics)[:, self.terms] @ self.weights
        return values + self.constant


def _independent_terms(terms: Floats) -> npt.NDArray[np.intp]:
    """Columns that are no linear combination of the constant and the columns before them.

    Others add nothing: metrics that are multiples of one another, the square of a metric of two
    levels. But least-angle regression has to choose between columns that say the same, and breaks
    down: errors from 10 % to 2000 %.
    """
    kept = []
    directions = np.full((len(terms), 1), 1 / np.sqrt(len(terms)))
    for index, column in enumerate(terms.T):
        rest = column - directions @ (directions.T @ column)
        left = np.linalg.norm(rest)
        if left > _NOTHING_NEW * np.linalg.norm(column):
            kept.append(index)
            directions = np.column_stack([directions, rest / left])
    return np.array(kept, dtype=np.intp)


def fit_cubic(metrics: Floats, runtimes: Floats) -> Polynomial:
    """A polynomial of the third degree that keeps few of its terms.

    Parameters
    ----------
    metrics : float array, shape (samples, metrics)
        At least `FEWEST_SAMPLES` rows in order of size. They are dealt to the folds like cards:
        every fold spans the whole range, and none asks for an extrapolation. Where two columns say
        the same, the first one stays.
    runtimes : float array, shape (samples,), cycles
        Greater than 0.

    Raises
    ------
    InputError
        All rows of metrics are the same.
    """
    # scikit-learn takes longer to import than the rest of the package; only this fit needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoLarsCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, PolynomialFeatures

    expand = make_pipeline(MaxAbsScaler(), PolynomialFeatures(3, include_bias=False))
    expanded = expand.fit_transform(metrics)
    terms = _independent_terms(expanded)
    if not terms.size:
        message = "are the same in stlb_hits, stlb_misses and walk_cycles; nothing explains runtime"
        raise InputError(Problem(message, key="samples"))
    # The search for the number of terms fails where there is nothing to explain.
    if np.ptp(runtimes) == 0:
        return Polynomial(expand, terms, np.zeros(len(terms)), float(runtimes[0]))
    fold_of = np.arange(len(runtimes)) % _FOLDS
    splits = [
        (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(_FOLDS)
    ]
    scale = float(runtimes.max())
    lasso = LassoLarsCV(cv=splits)
    with warnings.catch_warnings():
        # Terms nearly repeat one another. That a path drops such a term, or ends once nothing is
        # left to explain, is what it is chosen for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        lasso.fit(expanded[:, terms], runtimes / scale)
    return Polynomial(expand, terms, lasso.coef_ * scale, float(lasso.intercept_) * scale)
