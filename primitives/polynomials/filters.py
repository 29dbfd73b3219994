"""Polynomials that are large at the wanted end of a symmetric spectrum, and small on the rest of it.

All are one at a point of the wanted end, so that values neither over- nor underflow there, and are run as recurrences.

- `power`: (x - origin)^d, the baseline of AutoSpec (arXiv:2602.09530, section 5.2) of the shifted matrix.
- `chebyshev_filter`: the least largest value on an interval (Zhou and Saad, SIAM J. Matrix Anal. Appl. 29, 2007,
  algorithm 4.1, whose scaling this is).
- `minimax_filter`: the least largest value on points, with gaps between them that the interval does not have: a linear
  program.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .recurrence import Recurrence, from_chebyshev


def power(origin: float, at: float, degree: int) -> Recurrence:
    """((x - origin) / (at - origin))^degree.

    Parameters
    ----------
    origin : float
        The end of the spectrum that is not wanted.
    at : float
        Of the wanted end, where the value is one.
    degree : int
        One or more.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    """
    _check(degree, origin, at)
    steps = degree - 1
    last = math.copysign(1.0, at - origin) ** degree
    if not steps:
        return Recurrence((), (0.0,), (0.0,), (last,), (0.0,), origin, abs(at - origin))
    zeros = (0.0,) * steps
    beta = (1.0,) * (steps - 1) + (last,)
    return Recurrence(zeros[1:], zeros, zeros, zeros, beta, origin, abs(at - origin))


def chebyshev_filter(low: float, high: float, degree: int, at: float) -> Recurrence:
    """T(x) / T(at), T the Chebyshev polynomial of [low, high].

    Parameters
    ----------
    low, high : float
        Of the part of the spectrum that is not wanted.
    degree : int
        One or more.
    at : float
        Of the wanted end, outside of the interval, below or above it.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    """
    _check(degree, low, high)
    center, radius = 0.5 * (low + high), 0.5 * (high - low)
    if not low < high or not abs(at - center) > radius or not math.isfinite(at):
        raise ValueError(f"{at!r} is not outside of the interval [{low!r}, {high!r}]")
    first = radius / (at - center)
    if degree == 1:
        return Recurrence((), (0.0,), (0.0,), (first,), (0.0,), center, radius)
    # with s_k = T_{k-1}(at) / T_k(at): C_{k+1} = 2 s_{k+1} t C_k - s_{k+1} s_k C_{k-1}; the first C is t, not s_1 t
    s, eta, beta = first, list[float](), list[float]()
    for k in range(1, degree):
        following = 1.0 / (2.0 / first - s)
        eta.append(-following * s * (first if k == 2 else 1.0))
        beta.append(2.0 * following * (first if k == 1 else 1.0))
        s = following
    zeros = (0.0,) * (degree - 1)
    return Recurrence(zeros[1:], zeros, tuple(eta), zeros, tuple(beta), center, radius)


def minimax_filter(points: ArrayLike, degree: int, at: float, between: float = 1e4) -> Recurrence:
    """The polynomial that is one at `at` of the least largest absolute value at the points.

    Where a few eigenvalues are far from the others the interval has wide gaps: values may be large there, and are
    smaller elsewhere than those of Chebyshev's polynomial of the interval.

    Parameters
    ----------
    points : (m,) array_like
        Of the part of the spectrum that is not wanted, dense where it may have eigenvalues that are not known; two
        different ones or more, all on one side of `at`.
    degree : int
        One or more.
    at : float
        Of the wanted end.
    between : float
        How many times larger than at the points a value may be in between, one or more. Its product with the unit
        roundoff is what rounding leaves of the polynomial: with gaps as free as they like there would be nothing.

    Raises
    ------
    ValueError
        If an argument makes no sense, or the linear program finds nothing.
    """
    from scipy.optimize import linprog

    x = np.unique(np.asarray(points, dtype=np.float64))
    if len(x) < 2 or not np.isfinite(x).all() or not between >= 1.0 or not (at < x[0] or at > x[-1]):
        raise ValueError(f"{len(x)} points on one side of {at!r}, and {between!r} in between, make no polynomial")
    low, high = float(x[0]), float(x[-1])
    _check(degree, low, high)
    # the largest value at `at` among the polynomials between -1 and 1 at the points; divided by Chebyshev's there, so
    # that the objective is near one
    scale = 1.0 / chebyshev_filter(low, high, degree, at)(np.array([high if at < low else low]))[0]
    where = np.concatenate(
        [x, 0.5 * (low + high) + 0.5 * (high - low) * np.cos(np.linspace(0.0, math.pi, 20 * degree))]
    )
    basis = np.polynomial.chebyshev.chebvander((2.0 * where - (low + high)) / (high - low), degree)
    end = np.polynomial.chebyshev.chebvander(np.array([(2.0 * at - (low + high)) / (high - low)]), degree)[0] / scale
    bounds = np.concatenate([np.ones(len(x)), np.full(20 * degree, between)])
    found = linprog(
        -end,
        A_ub=np.vstack([basis, -basis]),
        b_ub=np.concatenate([bounds, bounds]),
        bounds=(None, None),
        method="highs",
    )
    if found.status != 0 or not -found.fun > 0.0:
        raise ValueError(f"no polynomial of degree {degree} on [{low:.3g}, {high:.3g}] was found: {found.message}")
    return from_chebyshev(found.x / (-found.fun * scale), low, high)


def _check(degree: int, first: float, second: float) -> None:
    if degree < 1:
        raise ValueError(f"degree = {degree} must be at least one")
    if not (math.isfinite(first) and math.isfinite(second) and first != second):
        raise ValueError(f"{first!r} and {second!r} are not two different numbers")
