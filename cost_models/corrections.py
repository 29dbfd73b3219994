"""What earlier runs say of the forecasts of an algorithm: a small linear model of log(measured / forecast).

One model for each algorithm, library and dtype, since their biases have little in common: ridge regression on four
features of the problem and its forecast, run and certificate together,

    minimise  sum_i w_i (y_i - b - sum_j s_j z_ij)^2 + alpha sum_j s_j^2,   y = log(measured / forecast),

z being the features with mean 0 and variance 1, alpha the one among `_PENALTIES` whose leave-one-out errors are
smallest (an infinite one leaves a constant), and outliers weighing less (Huber's weights). This is scikit-learn's
`Ridge` with `sample_weight`, and the tests compare with it; it is solved here because a model with five coefficients is
fitted sooner than scikit-learn is imported, and models are fitted anew at the start of a process. The spread is the
90 % point of the leave-one-out errors, as in the jackknife intervals of Barber et al. 2021 (doi:10.1214/20-AOS1965).

What comes out is a handful of numbers (`Correction`) that a person can read. A model has nothing to say, and the
analytic forecast stands, where it would rest on fewer than `FEWEST` runs, and for problems unlike those it has seen:
outside the range of a feature its weight falls, over `_FADING`, to nothing, so that no forecast jumps there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..profiles import Correction, Run, Term

FEWEST = 3
"""Runs (in weights) that a model needs at least."""
MOST = 4.0
"""The largest factor by which a forecast is moved."""

_FADING = {"log_m": math.log(4.0), "log_n": math.log(4.0), "log_seconds": math.log(16.0), "certificate_share": 0.25}
_PENALTIES = (math.inf, 30.0, 10.0, 3.0)
_CONSTANT = 0.05  # a feature that varies less says nothing
_PRIOR = 3.0  # runs that the uncorrected forecast is worth against the runs on record
_Z90 = 1.6448536269514722
_HUBER, _SHARPEST = 2.0, 0.03  # standard deviations from which a run is an outlier; the smallest they are taken for
_HALF_LIFE = 50.0  # runs of an algorithm after which one counts half
_FIRST_LEVEL, _GROWTH = 20, 1.2


class Bias(NamedTuple):
    """What a correction says of one forecast.

    Attributes
    ----------
    log_factor : float
        log(measured / forecast) to be expected.
    log_sigma : float
        Its standard deviation.
    trust : float
        Weight of this against the analytic forecast, from 0 to 1.
    """

    log_factor: float
    log_sigma: float
    trust: float

    @property
    def factor(self) -> float:
        """What the forecast is multiplied by."""
        return math.exp(self.trust * self.log_factor)


def key_of(algorithm: str, backend: str, dtype: str) -> str:
    """A candidate's label without its options: what a correction goes by."""
    return f"{algorithm}[{backend} {dtype}]"


def correction_of(corrections: Mapping[str, Correction], algorithm: str, backend: str, dtype: str) -> Correction | None:
    """The correction of a candidate, else the one of its algorithm (nothing that is fitted here), else None."""
    return corrections.get(key_of(algorithm, backend, dtype)) or corrections.get(algorithm)


def features(m: int, n: int, run: float, certify: float) -> dict[str, float] | None:
    """Features of a candidate.

    Parameters
    ----------
    m, n : int
        Shape of the operand.
    run, certify : float
        Forecast of either stage [s].

    Returns
    -------
    dict or None
        None where nothing is forecast to take any time.
    """
    total = run + certify
    if not (total > 0.0 and math.isfinite(total)):
        return None
    return {
        "log_m": math.log(max(m, 1)),
        "log_n": math.log(max(n, 1)),
        "log_seconds": math.log(total),
        "certificate_share": certify / total,
    }


def bias(correction: Correction | None, known: Mapping[str, float] | None) -> Bias | None:
    """What a correction says at these features; None where it is unsure, and the analytic forecast stands."""
    if correction is None or correction.count == 0:
        return None
    value, familiar = correction.log_bias, 1.0
    for term in correction.terms:
        x = None if known is None else known.get(term.feature)
        if x is None:
            return None
        if not term.low <= x <= term.high:
            inside = term.low if x < term.low else term.high
            familiar = min(familiar, 1.0 - abs(x - inside) / _FADING[term.feature])
            if familiar <= 0.0:
                return None
            x = inside
        value += term.slope * (x - term.centre)
    trust = familiar * correction.count / (correction.count + _PRIOR)
    most = math.log(MOST)
    return Bias(max(-most, min(most, value)), correction.log_sigma, trust)


def level(count: int) -> int:
    """How many of `count` records are used: 20 more, or a fifth more where that is more, than the last time.

    So corrections change with every so many runs, and not with each.
    """
    used, following = 0, _FIRST_LEVEL
    while following <= count:
        used, following = following, max(following + _FIRST_LEVEL, math.ceil(_GROWTH * following))
    return used


def fit(calibration: Iterable[Run], records: Iterable[Run] = ()) -> dict[str, Correction]:
    """A correction for every algorithm, library and dtype of which there are enough runs.

    Parameters
    ----------
    calibration : iterable of Run
        Each counts one.
    records : iterable of Run
        Oldest first. The latest of an algorithm counts one, and one that so many others followed less. Of several
        with the same label and shape none counts alone: a loop over one problem does not outweigh all others.
    """
    calibrated, recorded = _by_key(calibration), _by_key(records)
    found = {}
    for key in sorted({*calibrated, *recorded}):
        first, later = calibrated.get(key, []), recorded.get(key, [])
        correction = _model(first + later, [1.0] * len(first) + _weights(later))
        if correction is not None:
            found[key] = correction
    return found


def _by_key(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs that say something of what a forecast was off by."""
    result = defaultdict(list)
    for run in runs:
        if not run.first and run.run + run.certify > 0.0 and run.forecast_run + run.forecast_certify > 0.0:
            result[key_of(run.algorithm, run.backend, run.dtype)].append(run)
    return result


def _weights(records: Sequence[Run]) -> list[float]:
    """Of records of one algorithm, oldest first: see `fit`."""
    recent = [0.5 ** (age / _HALF_LIFE) for age in range(len(records) - 1, -1, -1)]
    problems = [(run.label, run.m, run.n, run.nrhs, run.rank) for run in records]
    alike = defaultdict(float)
    for problem, weight in zip(problems, recent, strict=True):
        alike[problem] += weight
    return [weight / math.sqrt(max(1.0, alike[problem])) for problem, weight in zip(problems, recent, strict=True)]


def _model(runs: Sequence[Run], weights: Sequence[float]) -> Correction | None:
    """The ridge regression of the module's docstring."""
    total = math.fsum(weights)
    if total < FEWEST:
        return None
    known = [features(run.m, run.n, run.forecast_run, run.forecast_certify) or {} for run in runs]
    names = list(known[0])
    X = np.array([[row[name] for name in names] for row in known])
    y = np.array([math.log((run.run + run.certify) / (run.forecast_run + run.forecast_certify)) for run in runs])
    w = np.array(weights)
    centre = w @ X / total
    scale = np.sqrt(w @ (X - centre) ** 2 / total)
    Z = np.where(scale > _CONSTANT, (X - centre) / np.maximum(scale, _CONSTANT), 0.0)
    fits = [_ridge(Z, y, w, alpha) for alpha in _PENALTIES]
    coefficients, left_out = min(fits, key=lambda fitted: float(w @ np.abs(fitted[1])))
    slopes = np.where(scale > _CONSTANT, coefficients[1:] / np.maximum(scale, _CONSTANT), 0.0)
    return Correction(
        log_bias=_short(coefficients[0]),
        log_sigma=_short(max(_SHARPEST, _ninety(np.abs(left_out), w) / _Z90)),
        count=round(total),
        terms=tuple(
            Term(feature=name, slope=_short(slope), centre=_short(c), low=_short(low), high=_short(high))
            for name, slope, c, low, high in zip(names, slopes, centre, X.min(axis=0), X.max(axis=0), strict=True)
        ),
    )


def _ridge(Z: np.ndarray, y: np.ndarray, w: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (intercept first) and leave-one-out errors of a weighted ridge regression with Huber's weights.

    Parameters
    ----------
    Z : (k, p) array
    y, w : (k,) array
    alpha : float
    """
    if math.isinf(alpha):
        Z, alpha = np.zeros_like(Z), 1.0
    D = np.column_stack((np.ones(len(y)), Z))
    penalty = np.diag([0.0, *[alpha] * Z.shape[1]])
    residual = y - _middle(y, w)
    coefficients = np.zeros(D.shape[1])
    leverage = np.zeros(len(y))
    for _ in range(3):
        sigma = max(_SHARPEST, 1.4826 * _middle(np.abs(residual), w))
        robust = w * np.minimum(1.0, _HUBER * sigma / np.maximum(np.abs(residual), 1e-12))
        inverse = np.linalg.inv(D.T @ (robust[:, None] * D) + penalty)
        coefficients = inverse @ (D.T @ (robust * y))
        residual = y - D @ coefficients
        leverage = robust * np.einsum("ij,jk,ik->i", D, inverse, D)
    return coefficients, residual / np.maximum(1.0 - leverage, 1e-3)


def _middle(x: np.ndarray, w: np.ndarray) -> float:
    """Weighted median."""
    return _quantile(x, w, 0.5 * float(w.sum()))


def _ninety(x: np.ndarray, w: np.ndarray) -> float:
    """What nine in ten of this many and one more do not exceed."""
    total = float(w.sum())
    return _quantile(x, w, min(total, 0.9 * (total + float(w.mean()))))


def _quantile(x: np.ndarray, w: np.ndarray, weight: float) -> float:
    """The smallest x that, with all below, weighs so much."""
    order = np.argsort(x)
    reached = int(np.searchsorted(np.cumsum(w[order]), weight * (1.0 - 1e-12)))
    return float(x[order][min(reached, len(x) - 1)])


def _short(x: float) -> float:
    """Four significant digits: a profile is read by people too."""
    return float(f"{float(x):.4g}")
