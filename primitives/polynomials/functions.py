"""Polynomials near a function of a positive definite matrix: x^(-1/r), x^(1/r), log x, on an interval.

- `taylor`: the truncated power series about the largest eigenvalue, which is the Neumann series for x^(-1).
- `interpolated`: at Chebyshev points (Trefethen, Approximation Theory and Approximation Practice, 2013, chapter 8).
- `minimax`: the least largest error, by the exchange algorithm of Remez (the same book, chapter 10).

The error is relative, |p(x) / f(x) - 1|, for powers: P(X) f(X)^-1 - I of a matrix; absolute for the logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .recurrence import Recurrence, from_chebyshev, interpolate

_EXCHANGES = 40
_LEVEL = 1.001  # largest error over the levelled one, from which a polynomial is the best for all purposes
_ROUNDING = 1e-14


@dataclass(frozen=True, slots=True)
class Function:
    """f on the positive numbers.

    Attributes
    ----------
    power : float or None
        Of x^power; None for the logarithm.
    """

    power: float | None

    def __call__(self, x: Any) -> Any:
        return np.log(x) if self.power is None else np.asarray(x, dtype=np.float64) ** self.power

    def error(self, p: Callable[[Any], Any], x: Any) -> np.ndarray:
        """Of p at x, relative for powers and absolute for the logarithm, with its sign."""
        difference = p(x) - self(x)
        return difference if self.power is None else difference / self(x)


def function(name: str | tuple[str, int]) -> Function:
    """Of "inv_sqrt", "sqrt", "inv", "log", ("inv_root", r).

    Raises
    ------
    ValueError
        If it is none of them, or r is no positive integer.
    """
    powers = {"inv": -1.0, "inv_sqrt": -0.5, "sqrt": 0.5, "log": None}
    if isinstance(name, str) and name in powers:
        return Function(powers[name])
    if isinstance(name, tuple) and len(name) == 2 and name[0] == "inv_root":
        r = name[1]
        if isinstance(r, (int, np.integer)) and not isinstance(r, bool) and r >= 1:
            return Function(-1.0 / float(r))
    raise ValueError(f'{name!r} is not one of {", ".join(map(repr, powers))}, ("inv_root", r) with r = 1, 2, 3, ...')


def taylor(f: Function, high: float, degree: int) -> Recurrence:
    """The sum up to this degree of the power series of f about `high`, where all of (0, 2 high) converges."""
    _check(degree, 0.5 * high, high)
    if f.power is None:
        series = [math.log(high), *(-1.0 / k for k in range(1, degree + 1))]
        scale = 1.0
    else:
        series, scale = [1.0], high**f.power
        for k in range(1, degree + 1):  # of (1 - y)^power
            series.append(series[-1] * (k - 1.0 - f.power) / k)
    # with y = 1 - x / high: powers by C_{k+1} = y C_k from C_1 = -(x - high) / high
    steps = degree - 1
    if degree == 1:
        return Recurrence((), (scale * series[0],), (0.0,), (-scale * series[1],), (0.0,), center=high, radius=high)
    return Recurrence(
        rho=tuple((-1.0) ** k * scale * series[k] for k in range(1, degree)),
        gamma=(*(0.0,) * steps, 1.0),
        eta=(0.0,) * degree,
        alpha=(*(0.0,) * steps, (-1.0) ** degree * scale * series[degree]),
        beta=(*(1.0,) * steps, 0.0),
        center=high,
        radius=high,
        constant=scale * series[0],
    )


def interpolated(f: Function, low: float, high: float, degree: int) -> Recurrence:
    """The interpolant at the Chebyshev points of [low, high]."""
    _check(degree, low, high)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return from_chebyshev(interpolate(lambda t: f(middle + half * t), degree), low, high)


def minimax(f: Function, low: float, high: float, degree: int) -> Recurrence:
    """The polynomial with the least largest error on [low, high], to a thousandth of that error or to rounding."""
    _check(degree, low, high)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    # points crowd towards low as the error's extremes do, which follow Chebyshev's on a grid of angles
    t = -np.cos(np.linspace(0.0, math.pi, 40 * (degree + 2) + 1))
    x = middle + half * t
    x[0], x[-1] = low, high
    values = f(x)
    weights = np.ones_like(x) if f.power is None else 1.0 / values
    basis = np.polynomial.chebyshev.chebvander(t, degree)
    at = np.round(np.linspace(0, len(t) - 1, degree + 2)).astype(int)
    signs = (-1.0) ** np.arange(degree + 2)
    best, least = np.zeros(degree + 1), math.inf
    for _ in range(_EXCHANGES):
        system = np.hstack([weights[at, None] * basis[at], signs[:, None]])
        solved = np.linalg.solve(system, weights[at] * values[at])
        error = weights * (basis @ solved[:-1] - values)
        size = float(np.abs(error).max())
        if size < least:
            best, least = solved[:-1], size
        if size <= _LEVEL * abs(float(solved[-1])) or size <= _ROUNDING * float(np.abs(weights * values).max()):
            break
        exchanged = _alternating(error, degree + 2)
        if exchanged is None:  # rounding
            break
        at = exchanged
    return from_chebyshev(best, low, high)


def _alternating(error: np.ndarray, count: int) -> np.ndarray | None:
    """Indices of `count` extremes with alternating signs, the largest among them; None where there are too few."""
    changes = np.flatnonzero(np.diff(np.sign(error)) != 0.0) + 1
    parts = np.split(np.arange(len(error)), changes)
    peaks = np.array([part[np.argmax(np.abs(error[part]))] for part in parts])
    while len(peaks) > count:  # an end that matters less
        peaks = peaks[1:] if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else peaks[:-1]
    return peaks if len(peaks) == count else None


def _check(degree: Any, low: float, high: float) -> None:
    if not isinstance(degree, (int, np.integer)) or isinstance(degree, bool) or degree < 1:
        raise ValueError(f"degree = {degree!r} must be an integer of at least one")
    if not 0.0 < low < high < math.inf:
        raise ValueError(f"the interval [{low!r}, {high!r}] must be positive: the matrix positive definite")


__all__ = ["Function", "function", "interpolated", "minimax", "taylor"]
