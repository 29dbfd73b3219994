"""How many iterations conjugate gradients will take: forecast from the fall of the residual, or the probed spectrum.

Where the residual of the first iterations falls, its rate foretells the total better than the spectrum that they show.
Where it stands still, the spectrum is left. Fifty steps see it to its lower end where some hundred iterations are
enough, and the forecast is within a third then. Where they do not, the smallest Ritz value has a residual beside which
it is small, and there are up to twenty times as many: by how much the forecast is to be raised, and how far it may be
off, follows from that residual. Measured of 26 matrices from collections and grids, orders 400 to 360 000.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..autospec import linear_systems as autospec
from ..evidence import Evidence
from ..interval import Interval
from ..polynomials import Recurrence, chebyshev, forecast, ritz_least_squares
from ..task import Task
from ._common import product_bytes

# To a residual of 1e-10, where nothing was probed: the mean, for it is what the time grows with.
_UNKNOWN = Interval(800.0, 10.0, 8000.0)
# Of the iterations that the fall of the residual in the last few suggests, after 18 and after 50: measured of 45
# matrices from collections and grids, targets 1e-4 to 1e-11; it seldom falls more slowly later on.
_AFTER_FEW, _AFTER_MANY = Interval(0.9, 0.2, 4.0), Interval(0.8, 0.25, 1.4)
_MOST = 20_000
DEGREE = 11  # of polynomials
_LONG = 4e8  # bytes that the iterations read, in some 30 ms
SHARE = 1.3 / (DEGREE + 1.0)  # of the iterations, that are left with a polynomial: 1.1 to 1.5 times the least possible
_MARGIN = 1.05  # beyond the largest Ritz value, where polynomials end
_CLEARLY = 0.85  # of the learned polynomial's forecast: another's, the least of several, is preferred from there

Ritz = tuple[tuple[float, float, float], ...]


def tolerance(task: Task, ritz: Ritz) -> float:
    """The relative residual at which the error in the metric is half of what is asked for.

    ||r|| <= eta (||A|| ||x|| + ||b||), and ||x|| / ||b|| is the root of sum w / lambda^2 for the b of those weights.
    """
    aim = 0.5 * task.target
    if task.metric != "relative_residual" and ritz:
        values, weights, _ = np.array(ritz).T
        aim *= 1.0 + float(values[-1] * np.sqrt((weights / values**2).sum()))
    return min(0.5, aim)


def plain(task: Task, evidence: Evidence) -> Interval:
    """Iterations with Jacobi's preconditioner, for one right-hand side."""
    ritz = evidence.ritz
    if evidence.cg_converged:
        return Interval.around(max(1.0, evidence.cg_steps), 1.2)
    if evidence.cg_likely is not None:
        known = _AFTER_MANY if ritz else _AFTER_FEW
        return (known * evidence.cg_likely).at_least(1.0 + evidence.cg_steps)
    if not ritz or ritz[0][0] <= 0.0:
        return (_UNKNOWN * (math.log(1.0 / tolerance(task, ())) / 23.0)).at_most(2.0 * task.n).at_least(1.0)
    return _corrected(_counted(ritz, tolerance(task, ritz), None), task, evidence)


def left(task: Task, evidence: Evidence) -> Interval:
    """The same for all right-hand sides, without the iterations that a probe has done on one of them."""
    count, done = plain(task, evidence), float(evidence.cg_steps)
    if evidence.cg_converged:
        return count * (task.nrhs - 1.0) if task.nrhs > 1 else Interval.exact(0.0)
    ends = (max(0.0, task.nrhs * end - done) for end in (count.median, count.low, count.high))
    return Interval(*ends)


def _corrected(count: float, task: Task, evidence: Evidence) -> Interval:
    """What is known of the number of iterations where so many are counted on the spectrum that was seen."""
    value, _, residual = evidence.ritz[0]
    unseen = residual / value
    factor, spread = min(5.0, 1.0 + 1.2 * unseen), min(4.0, 1.4 + 0.7 * unseen)
    return Interval.around(max(1.0, min(factor * count, 1.5 * task.n)), spread)


def worth_making(task: Task, evidence: Evidence) -> bool:
    """Whether making polynomials, some milliseconds, is little beside the iterations without one."""
    return bool(evidence.ritz) and plain(task, evidence).median * product_bytes(task, evidence) >= _LONG


def with_polynomial(task: Task, evidence: Evidence) -> Interval:
    """The same with the better of the polynomials of `polynomial`; about, where they are not `worth_making`."""
    share = SHARE
    if worth_making(task, evidence):
        aim = tolerance(task, evidence.ritz)
        share = _counted(evidence.ritz, aim, _best(evidence.ritz, aim)) / _counted(evidence.ritz, aim, None)
    known = plain(task, evidence) * share
    return Interval(known.median, known.low / 1.2, known.high * 1.2).at_least(1.0)


def polynomial(ritz: Ritz, aim: float) -> tuple[str, Recurrence]:
    """The polynomial of a spectrum that takes the fewest iterations to a relative residual of `aim`, by forecast.

    And what it is called.
    """
    name = _best(ritz, aim)
    return name, _polynomials(ritz)[name]


@lru_cache(maxsize=64)
def _spectrum(ritz: Ritz) -> np.ndarray:
    values, weights, _ = np.array(ritz).T
    return forecast.spectrum(values, weights)


@lru_cache(maxsize=16)
def _polynomials(ritz: Ritz) -> dict[str, Recurrence]:
    values, weights, residuals = np.array(ritz).T
    low, high = float(values[0]), float(values[-1]) * _MARGIN
    low = min(low, high / 1.5)
    made = {
        "Chebyshev's": chebyshev(low, high, DEGREE),
        "least squares": ritz_least_squares(values, DEGREE, low / values, (low, high), (0.0, high)),
    }
    learned = autospec.engine()(values, residuals, weights, DEGREE)
    if learned is not None and learned.recurrence.extremes(0.0, high)[0] > 0.0:
        made["learned"] = learned.recurrence
    return made


@lru_cache(maxsize=64)
def _best(ritz: Ritz, aim: float) -> str:
    counts = {name: _counted(ritz, aim, name) for name in _polynomials(ritz)}
    return min(counts, key=lambda name: counts[name] * (_CLEARLY if name == "learned" else 1.0))


@lru_cache(maxsize=256)
def _counted(ritz: Ritz, aim: float, which: str | None) -> float:
    eigenvalues = _spectrum(ritz)
    p = np.ones_like(eigenvalues) if which is None else _polynomials(ritz)[which](eigenvalues)
    return float(forecast.cg_iterations(eigenvalues, p[:, None], aim, _MOST)[0])
