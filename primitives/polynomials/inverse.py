"""Polynomials p of a given degree for which x p(x) is near one on the spectrum of a positive definite matrix.

All of them are told where the spectrum is by a probe: an interval, or Ritz values. `residual` is 1 - x p(x), of degree
one more than p, with value one at zero.

- `neumann`: the truncated Neumann series of the matrix scaled by its largest eigenvalue, which is Richardson iteration.
- `chebyshev`: the least largest residual on an interval (Saad 2003, section 12.3.2).
- `ritz_least_squares`: the least sum of squares of the residual at Ritz values (Saad 1987 in the discrete form).
- `gmres_roots`: the residual polynomial of GMRES from a given start, whose zeros are harmonic Ritz values (Embree, Loe
  and Morgan, SIAM J. Sci. Comput. 43, 2021), in Leja order and with zeros added where it would be unstable.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .recurrence import Recurrence, from_chebyshev, interpolate

_UNSTABLE = 1e4  # of the largest product of the other factors at a zero, from which that zero is taken twice (pof)
_FLOOR = 1e-2  # of 1 / high, that p has to stay above where it is asked to be positive
_TALL = 1e-13  # singular values of a basis at Ritz values below this times the largest are rounding


def neumann(high: float, degree: int) -> Recurrence:
    """sum_{j <= degree} (1 - x / high)^j / high."""
    _check(degree, 0.0, high)
    # C_{k+1} = I + (1 - x / high) C_k, from C_1 = x / high by C_2 = 2 I - C_1
    steps = degree - 1
    rho, zeros = (0.0,) * degree, (0.0,)
    return Recurrence(
        rho,
        gamma=(2.0, *(1.0,) * steps, 0.0),
        eta=zeros * (degree + 1),
        alpha=(-1.0, *(1.0,) * steps, 1.0 / high),
        beta=(0.0, *(-1.0,) * steps, 0.0),
        radius=high,
    )


def chebyshev(low: float, high: float, degree: int) -> Recurrence:
    """The p of which the residual is T(x) / T(0), T the Chebyshev polynomial of [low, high], low > 0."""
    _check(degree, low, high)
    middle, half = 0.5 * (high + low), 0.5 * (high - low)
    at_zero = math.acosh(middle / half) * (degree + 1)

    def p(t: np.ndarray) -> np.ndarray:
        # T(t) / T(-middle / half), whose sign is that of an even or odd polynomial; cosh of large numbers overflows
        residual = np.cos((degree + 1) * np.arccos(np.clip(t, -1.0, 1.0))) * (-1.0) ** (degree + 1)
        residual = residual * (2.0 * math.exp(-at_zero) / (1.0 + math.exp(-2.0 * at_zero)))
        return (1.0 - residual) / (middle + half * t)

    return from_chebyshev(interpolate(p, degree), low, high)


def ritz_least_squares(
    values: ArrayLike,
    degree: int,
    weights: ArrayLike | None = None,
    interval: tuple[float, float] | None = None,
    positive: tuple[float, float] | None = None,
) -> Recurrence:
    """The p of the least sum of weighted squares of 1 - x p(x) at x = values, all positive.

    Where there are no more distinct values than coefficients the smallest ones that do are taken.

    Parameters
    ----------
    weights : array_like, optional
        Not negative; ones where they are not given.
    interval : (low, high), optional
        On which the Chebyshev basis stands; that of the values where it is not given.
    positive : (low, high), optional
        Where p has to stay above a hundredth of 1 / high, in between the values too. The least squares under these
        linear constraints are a non-negative least-squares problem (Lawson and Hanson 1974, chapter 23).
    """
    x = np.asarray(values, dtype=np.float64)
    low, high = (float(x.min()), float(x.max())) if interval is None else interval
    _check(degree, low, high)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    scale = np.ones_like(x) if weights is None else np.sqrt(np.asarray(weights, dtype=np.float64))
    basis = scale[:, None] * np.polynomial.chebyshev.chebvander((x - middle) / half, degree) * x[:, None]
    found = np.linalg.lstsq(basis, scale, rcond=_TALL)[0]
    if positive is not None:
        grid = _grid(*positive, degree)
        values_of = np.polynomial.chebyshev.chebvander((grid - middle) / half, degree)
        least = _FLOOR / positive[1]
        if not bool((values_of @ found >= least).all()):
            found = _above(basis, scale, values_of, np.full(len(grid), least), found)
    return from_chebyshev(found, low, high)


def _grid(low: float, high: float, degree: int) -> np.ndarray:
    """Points between which no polynomial of this degree does much: those of Chebyshev, and some close to low."""
    close = low + (high - low) * np.geomspace(1e-8, 1e-2, 4 * degree)
    return np.concatenate(
        [0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, math.pi, 16 * degree)), close]
    )


def _above(E: np.ndarray, f: np.ndarray, G: np.ndarray, h: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The x of the least ||E x - f|| with G x >= h; `start` where E is of low rank, or none is found."""
    from scipy.optimize import nnls

    if E.shape[0] < E.shape[1]:
        return start
    Q, R = np.linalg.qr(E)
    diagonal = np.abs(np.diag(R))
    if diagonal.min() <= _TALL * diagonal.max():
        return start
    inner = np.linalg.solve(R.T, G.T)  # (G R^-1)'
    gap = h - G @ np.linalg.solve(R, Q.T @ f)
    # the least y with inner' y >= gap: -r[:-1] / r[-1] with r the residual of a non-negative least-squares problem
    lengths = np.sqrt((inner * inner).sum(axis=0) + gap * gap)
    stacked = np.vstack([inner, gap[None, :]]) / lengths
    target = np.zeros(len(stacked))
    target[-1] = 1.0
    try:
        u, _ = nnls(stacked, target)
    except RuntimeError:  # no end within its number of iterations
        return start
    r = stacked @ u - target
    if not abs(r[-1]) > 1e-12:  # no x fulfils all constraints
        return start
    return np.linalg.solve(R, Q.T @ f - r[:-1] / r[-1])


def harmonic_ritz_values(T: np.ndarray, last: float) -> np.ndarray:
    """Zeros of the residual polynomial of GMRES (MINRES) after k Lanczos steps.

    Parameters
    ----------
    T : (k, k) array
        The tridiagonal matrix.
    last : float
        The next off-diagonal entry, beta_{k+1}.
    """
    k = T.shape[0]
    unit = np.zeros(k)
    unit[-1] = last * last
    shifted = T.copy()
    shifted[:, -1] += np.linalg.solve(T, unit)  # T + beta^2 T^-1 e e'
    return np.sort(np.linalg.eigvals(shifted).real)


def leja_order(values: ArrayLike) -> np.ndarray:
    """The values in an order in which products of differences stay of one size (Reichel 1990): largest first."""
    left: list[float] = np.asarray(values, dtype=np.float64).tolist()
    ordered = [left.pop(int(np.argmax(np.abs(left))))]
    logs = [0.0] * len(left)
    while left:
        for i, value in enumerate(left):
            gap = abs(value - ordered[-1])
            logs[i] += math.log(gap) if gap > 0.0 else -math.inf
        best = int(np.argmax(logs))
        ordered.append(left.pop(best))
        logs.pop(best)
    return np.array(ordered)


def gmres_roots(zeros: ArrayLike) -> Recurrence:
    """The p whose residual has these zeros (degree + 1 of them), all positive, multiplied out in Leja order.

    A zero at which the product of the other factors is large makes rounding errors large; it is taken twice (Embree,
    Loe and Morgan, section 4), so that the degree may come out higher.
    """
    values = np.asarray(zeros, dtype=np.float64)
    if values.size < 2 or not bool(np.all(np.isfinite(values) & (values > 0.0))):
        raise ValueError("the zeros of a residual polynomial are two or more positive numbers")
    added = []
    for j, value in enumerate(values):
        others = np.delete(values, j)
        size = float(np.sum(np.log10(np.maximum(np.abs(1.0 - value / others), 1e-300))))
        added += [value] * max(0, math.ceil((size - math.log10(_UNSTABLE)) / 14.0))
    return residual_product(leja_order([*values, *added]))


def residual_product(theta: np.ndarray) -> Recurrence:
    """p(x) = sum_i 1/theta_i prod_{j < i} (1 - x / theta_j), whose residual has the zeros theta, in this order.

    The sum is the accumulator, the products are C.
    """
    high = float(theta.max())
    count = len(theta)
    scaled = theta / high
    # C_1 = y = x / high; C_2 = B_1 - C_1 / s_1 takes no product, B_1 being I; C_{k+1} = C_k - y C_k / s_k
    alpha = [-1.0 / scaled[0], *(1.0,) * (count - 2), 1.0 / theta[-1] if count > 1 else 0.0]
    beta = [0.0, *(-1.0 / scaled[1:-1]), 0.0]
    gamma, eta = [*(0.0,) * (count - 1), 1.0], [1.0, *(0.0,) * (count - 1)]
    rho = [0.0, *(1.0 / theta[1:-1])]
    return Recurrence(
        tuple(rho), tuple(gamma), tuple(eta), tuple(alpha), tuple(beta), radius=high, constant=1.0 / theta[0]
    )


def _check(degree: Any, low: float, high: float) -> None:
    if not isinstance(degree, int) or degree < 1:
        raise ValueError(f"degree = {degree!r} must be an integer of at least one")
    if not (0.0 <= low < high < math.inf):
        raise ValueError(f"the interval [{low!r}, {high!r}] must be positive: the matrix positive definite")
