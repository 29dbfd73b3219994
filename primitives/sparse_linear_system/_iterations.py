"""How many iterations conjugate gradients will take: forecast from the probed spectrum.

Fifty Lanczos steps see a spectrum to its lower end where some hundred iterations are enough, and the forecast is within
a third then. Where they do not, the smallest Ritz value has a residual beside which it is small, and there are up to
twenty times as many: by how much the forecast is to be raised, and how far it may be off, follows from that residual.
Measured of 26 matrices from collections and grids, orders 400 to 360 000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..evidence import Evidence
from ..interval import Interval
from ..polynomials import Recurrence, chebyshev, forecast, ritz_least_squares
from ..task import Task

# To a residual of 1e-10, where nothing was probed: the mean, for it is what the time grows with.
_UNKNOWN = Interval(800.0, 10.0, 8000.0)
_MOST = 20_000
DEGREE = 11  # of polynomials
_MARGIN = 1.05  # beyond the largest Ritz value, where polynomials end


def tolerance(task: Task, ritz: tuple[tuple[float, float], ...]) -> float:
    """The relative residual at which the error in the metric is half of what is asked for.

    ||r|| <= eta (||A|| ||x|| + ||b||), and ||x|| / ||b|| is the root of sum w / lambda^2 for the b of those weights.
    """
    aim = 0.5 * task.target
    if task.metric != "relative_residual" and ritz:
        values, weights = np.array(ritz).T
        aim *= 1.0 + float(values[-1] * np.sqrt((weights / values**2).sum()))
    return min(0.5, aim)


def plain(task: Task, evidence: Evidence) -> Interval:
    """Iterations with Jacobi's preconditioner, for one right-hand side."""
    ritz = evidence.ritz
    if not ritz or ritz[0][0] <= 0.0:
        return (_UNKNOWN * (math.log(1.0 / tolerance(task, ())) / 23.0)).at_most(2.0 * task.n).at_least(1.0)
    return _corrected(_counted(ritz, tolerance(task, ritz), None), task, evidence)


def _corrected(count: float, task: Task, evidence: Evidence) -> Interval:
    """What is known of the number of iterations where so many are counted on the spectrum that was seen."""
    unseen = evidence.ritz_residual
    factor, spread = min(5.0, 1.0 + 1.2 * unseen), min(4.0, 1.4 + 0.7 * unseen)
    return Interval.around(max(1.0, min(factor * count, 1.5 * task.n)), spread)


def with_polynomial(task: Task, evidence: Evidence) -> Interval:
    """The same with the better of the polynomials of `polynomial`."""
    assert evidence.ritz
    aim = tolerance(task, evidence.ritz)
    return _corrected(_counted(evidence.ritz, aim, _best(evidence.ritz, aim)), task, evidence)


def polynomial(task: Task, evidence: Evidence) -> Recurrence:
    """The polynomial of the spectrum that takes the fewest iterations by forecast."""
    return _polynomials(evidence.ritz)[_best(evidence.ritz, tolerance(task, evidence.ritz))]


@lru_cache(maxsize=64)
def _spectrum(ritz: tuple[tuple[float, float], ...]) -> np.ndarray:
    values, weights = np.array(ritz).T
    return forecast.spectrum(values, weights)


@lru_cache(maxsize=16)
def _polynomials(ritz: tuple[tuple[float, float], ...]) -> tuple[Recurrence, ...]:
    values = np.array(ritz)[:, 0]
    low, high = float(values[0]), float(values[-1]) * _MARGIN
    low = min(low, high / 1.5)
    made: list[Callable[[], Recurrence]] = [
        lambda: chebyshev(low, high, DEGREE),
        lambda: ritz_least_squares(values, DEGREE, low / values, (low, high), (0.0, high)),
    ]
    return tuple(make() for make in made)


@lru_cache(maxsize=64)
def _best(ritz: tuple[tuple[float, float], ...], aim: float) -> int:
    counts = [_counted(ritz, aim, i) for i in range(len(_polynomials(ritz)))]
    return int(np.argmin(counts))


@lru_cache(maxsize=256)
def _counted(ritz: tuple[tuple[float, float], ...], aim: float, which: int | None) -> float:
    eigenvalues = _spectrum(ritz)
    p = np.ones_like(eigenvalues) if which is None else _polynomials(ritz)[which](eigenvalues)
    return float(forecast.cg_iterations(eigenvalues, p[:, None], aim, _MOST)[0])
