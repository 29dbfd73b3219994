"""AutoSpec for linear systems: the zeros of a residual polynomial, from Ritz values, by a trained network.

The paper (Liu, Balabanov, Yang and Mahoney, arXiv:2602.09530) predicts every coefficient of the recurrence from a
linear map of ten numbers. A condition number of 1e5 is invisible there, and what comes out need not be positive. Here

- the network sees logarithms: quantiles of the spectral measure, the ends of the spectrum, how far each Ritz value is
  from convergence;
- it moves the zeros of the least-squares polynomial at the Ritz values, in the angle in which Chebyshev's zeros are
  equidistant, each gap between two by a factor: what it does not know it leaves as it is, and no output is far off;
- it is trained by what counts, the residual of conjugate gradients themselves after as many steps as that least-squares
  polynomial needs, on true spectra of which it sees fifty Lanczos steps.

The recurrence is the product of the zeros' factors in Leja order (`polynomials.inverse`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from ..polynomials.inverse import leja_order, residual_product
from ..polynomials.recurrence import Recurrence
from .features import TOP, features
from .network import DATA, Perceptron, perceptron, read

DEGREE = 11  # that it is trained for
_EXPONENT = 0.25  # of 1/x in the weights of the least-squares polynomial that it starts from
# Least squares goes astray where there are no Ritz values. Where its polynomial is not positive by a margin there, no
# gap between two zeros is left wider than this times the mean.
_WIDEST, MARGIN = 1.5, 0.02
GRID = 0.5 - 0.5 * np.cos((np.arange(192) + 0.5) * (math.pi / 192))
_SPURIOUS = 1e-15  # weight of Ritz values that are none
_SOLVED = 1e-8  # residual of the start, below which it solves the system by itself: nothing is moved
_SHARES = (1.0, 0.5, 0.25)  # of the moves that are tried until the polynomial is positive with the margin
MOST = 3.0  # by which power of e the network may change a gap


@dataclass(frozen=True)
class Start:
    """What the network is given.

    Attributes
    ----------
    features : (inputs,) array
    gaps : (degree + 2,) array
        Between the angles of the zeros it starts from, and the ends 0 and pi; they add up to pi.
    end : float
        The number at angle pi.
    residual : float
        What the start makes of the residual in one step, by the weights of the Ritz values.
    """

    features: np.ndarray
    gaps: np.ndarray
    end: float
    residual: float


def start(values: np.ndarray, residuals: np.ndarray, weights: np.ndarray, degree: int = DEGREE) -> Start | None:
    """From the Ritz values (k,), ascending and positive, their residual norms and quadrature weights.

    None where k <= degree + 1, so that least squares would not be determined, or where the least-squares polynomial has
    zeros that are not apart from each other inside the spectrum.
    """
    real = weights > _SPURIOUS  # rounding adds others once the space is all but exhausted
    values, residuals, weights = values[real], residuals[real], weights[real]
    if len(values) <= degree + 1:
        return None
    low, high = float(values[0]), float(values[-1] + residuals[-1])
    theta = _least_squares_zeros(values, degree, low, high)
    if theta is None:
        return None
    angles = np.arccos(1.0 - 2.0 * theta / (TOP * high))
    gaps = np.diff(np.concatenate([[0.0], angles, [math.pi]]))
    if not gaps.min() > 0.0:
        return None
    if not _positive(theta, TOP * high):
        gaps[1:-1] = np.minimum(gaps[1:-1], _WIDEST * math.pi / len(gaps))
        gaps *= math.pi / gaps.sum()
    reference = gaps if degree == DEGREE else _resampled(gaps, DEGREE + 2) * (len(gaps) / (DEGREE + 2.0))
    seen = features(values / high, residuals / high, weights, reference)
    made = Start(seen, gaps, TOP * high, 0.0)
    left = 1.0 - values * recurrence(made, np.zeros(DEGREE + 2))(values)
    return replace(made, residual=float(np.sqrt((weights * left**2).sum() / weights.sum())))


def zeros(given: Start, change: np.ndarray) -> np.ndarray:
    """(degree + 1,), ascending: the gaps times exp(change), scaled to fit; change (DEGREE + 2,), or resampled."""
    gaps = given.gaps
    if len(gaps) != len(change):
        change = _resampled(change, len(gaps))
    moved = gaps * np.exp(np.clip(change, -MOST, MOST))
    angles = np.cumsum(moved)[:-1] * (math.pi / moved.sum())
    return 0.5 * given.end * (1.0 - np.cos(angles))


def recurrence(given: Start, change: np.ndarray) -> Recurrence:
    """The polynomial of whose residual these are the zeros."""
    return residual_product(leja_order(zeros(given, change)))


@dataclass(frozen=True)
class Said:
    """What the engine says of a probe.

    Attributes
    ----------
    recurrence : Recurrence
        p, near the inverse up to a factor.
    off : (3,) array
        log(iterations taken / iterations forecast from the same Ritz values by `polynomials.forecast`): median, and the
        ends of an interval that held nine of ten in training.
    loss : float
        That share of iterations it will lose to the least-squares polynomial at most, nine times out of ten; negative
        where it will gain.
    """

    recurrence: Recurrence
    off: np.ndarray
    loss: float


@dataclass(frozen=True)
class Engine:
    """Trained networks.

    Attributes
    ----------
    moves : Perceptron
        Features to the logarithms of the factors of the gaps.
    doubts : Perceptron
        Features to the four numbers of `Said.off` and `Said.loss`.
    """

    moves: Perceptron
    doubts: Perceptron

    def __call__(
        self, values: np.ndarray, residuals: np.ndarray, weights: np.ndarray, degree: int = DEGREE
    ) -> Said | None:
        """Of a probe; None as in `start`.

        The degree that it was trained for is 11; for others the changes of the gaps are interpolated.
        """
        given = start(values, residuals, weights, degree)
        if given is None:
            return None
        doubts = self.doubts(given.features)
        off = np.array([doubts[0], min(doubts[:2]), max(doubts[0], doubts[2])])
        moves = self.moves(given.features) if given.residual > _SOLVED else np.zeros(DEGREE + 2)
        share = next((s for s in _SHARES if _positive(zeros(given, s * moves), given.end)), 0.0)
        return Said(recurrence(given, share * moves), off, float(doubts[3]))


@functools.cache
def engine() -> Engine:
    """The one that is shipped. Raises ValueError where its file is damaged."""
    arrays = read(DATA / "linear_systems.npz")
    return Engine(perceptron(arrays, "moves"), perceptron(arrays, "doubts"))


def _least_squares_zeros(values: np.ndarray, degree: int, low: float, high: float) -> np.ndarray | None:
    """Zeros (degree + 1,) of 1 - x p(x) with the least sum of squares at the Ritz values, times (low / x)^(1/4)."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    scale = (low / values) ** (0.5 * _EXPONENT)
    t = (values - middle) / half
    basis = scale[:, None] * np.polynomial.chebyshev.chebvander(t, degree) * values[:, None]
    try:
        p = np.linalg.lstsq(basis, scale, rcond=1e-13)[0]
        # x = middle + half t, and t T_k = (T_{k-1} + T_{k+1}) / 2
        residual = -middle * np.append(p, 0.0)
        residual[1:] -= 0.5 * half * p
        residual[:-2] -= 0.5 * half * p[1:]
        residual[1] -= 0.5 * half * p[0]
        residual[0] += 1.0
        zeros = np.polynomial.chebyshev.chebroots(residual)
    except np.linalg.LinAlgError:
        return None
    if len(zeros) != degree + 1 or np.abs(np.imag(zeros)).max() > 0.0:
        return None
    x = np.sort(middle + half * np.real(zeros))
    return x if x[0] > 0.0 and x[-1] < TOP * high else None


def _positive(theta: np.ndarray, end: float) -> bool:
    """Whether x p(x) = 1 - prod (1 - x / theta) stays above the margin, near zero above that share of its tangent."""
    x = end * GRID
    residual = np.prod(1.0 - x[:, None] / theta, axis=1)
    return bool((residual <= 1.0 - MARGIN * np.minimum(1.0, x / theta[0])).all())


def _resampled(values: np.ndarray, count: int) -> np.ndarray:
    """At as many points, equidistant between the same ends."""
    return np.interp((np.arange(count) + 0.5) / count, (np.arange(len(values)) + 0.5) / len(values), values)


__all__ = ["DEGREE", "GRID", "MARGIN", "MOST", "Engine", "Said", "Start", "engine", "recurrence", "start", "zeros"]
