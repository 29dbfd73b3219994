"""How far f(A) b is from V f(T) e_1 ||b||, where A V = V T + beta v e_m' + F and V e_1 = b / ||b||, ||v|| = 1.

Whatever V is: it need not be orthonormal. For 0 < s < 1 and x > 0

    x^s = (sin(pi s) / pi) int t^(s-1) x / (x + t) dt,    log x = int 1 / (1 + t) - 1 / (x + t) dt

over t > 0, and (A + t) V (T + t)^-1 c = V c + (beta v e_m' + F) (T + t)^-1 c for every c and t, so that with
t / (x + t) <= 1 at all x >= 0, and with c = e_1,

    ||A^s b - V T^s e_1|| <= (sin(pi s) / pi) int t^(s-1) (beta |e_m'(T + t)^-1 c| + ||F (T + t)^-1 c||) dt

for b of norm one. Of the logarithm the integrand is divided by x + t in place of t^(s-1), x the least eigenvalue of A,
or what it is held to be at least. beta |e_m'(T + t)^-1 e_1| = prod beta / prod (theta + t) falls with t, and
(T + t)^-1 c shrinks, so that sums over a grid bound the integrals.

For y = V c ||b|| with c = T^-s e_1 the same bounds ||A^s y - b||, for V T^s c = b / ||b||. Then e_m'(T + t)^-1 T^-s e_1
is of one sign for all t: T^-s is an integral over (T + u)^-1 with a positive weight, and e_m'(T + t)^-1 (T + u)^-1 e_1
a divided difference of h(t) = e_m'(T + t)^-1 e_1, of which |h| falls. The integral is then beta |e_m' T^-1 e_1|: the
residual of conjugate gradients bounds that of every inverse root, but for F.

The exponential: e' = A e + r gives ||e|| <= int_0^1 exp((1 - t) L) ||r_t|| dt with r_t that of exp(t T), and L no less
than the largest eigenvalue of A (Saad 1992; Botchev, Grimm and Hochbruck 2013). e_m' exp(t T) e_1 is not negative, as
nothing beside the diagonal of T is, so that its integral is e_m' phi(T) e_1, phi(x) = (e^L - e^x) / (L - x).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..task import UNIT_ROUNDOFF

_GRID = 1.1  # quotient of neighbouring points t
_UNIT = UNIT_ROUNDOFF["float64"]
_LARGEST = 700.0  # whose exponential is far from overflow


def decomposed(a: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (m,) ascending and vectors (m, m) of T, from a and c as `last` has them."""
    from scipy.linalg import eigh_tridiagonal

    decompose: Any = eigh_tridiagonal  # its type does not say what it returns
    return decompose(a, c[:-1])


def ritz_values(a: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Eigenvalues (m,) of T, ascending."""
    from scipy.linalg import eigvalsh_tridiagonal

    values: Any = eigvalsh_tridiagonal
    return values(a, c[:-1])


def floor_of(theta: np.ndarray, c: np.ndarray) -> float:
    """What eigenvalues of A are held to be at least, where they are positive: u ||A||, closer they are not known."""
    return _UNIT * (float(np.abs(theta).max()) + float(c[-1]))


def last(theta: np.ndarray, c: np.ndarray, s: float | None) -> tuple[float, np.ndarray, np.ndarray]:
    """The integral over beta |e_m'(T + t)^-1 e_1|, and the grid with its weights for others.

    Parameters
    ----------
    theta : (m,) array
        Eigenvalues of T, ascending. Those below u ||A|| are taken to be that.
    c : (m,) array
        Off the diagonal of T, and beta after it.
    s : float or None
        The power; None for the logarithm.
    """
    floor = floor_of(theta, c)
    theta = np.maximum(theta, floor)
    norm = float(theta[-1]) + float(c[-1])
    if norm == 0.0:  # A maps b to zero, and nothing is left
        return 0.0, np.ones(1), np.zeros(1)
    count = math.ceil(math.log(1e9 * norm / float(theta[0])) / math.log(_GRID))
    at = np.concatenate([[0.0], float(theta[0]) * 1e-4 * _GRID ** np.arange(count + 1)])
    end = float(at[-1])  # from where on what falls is below its value there times end / t, and 1 % more
    if s is None:
        weights = np.append(np.diff(np.log(floor + at)), end / (floor + end))
    else:
        weights = np.append(np.diff(at**s) / s, end**s / (1.0 - s)) * (math.sin(math.pi * s) / math.pi)
    weights *= 1.01
    with np.errstate(divide="ignore"):
        logarithms = np.log(c).sum() - np.log(theta[:, None] + at).sum(axis=0)
    return float(np.exp(np.minimum(logarithms, 700.0)) @ weights), at, weights


def conjugate_gradients(theta: np.ndarray, c: np.ndarray) -> float:
    """beta |e_m' T^-1 e_1|."""
    with np.errstate(divide="ignore"):
        return float(np.exp(min(700.0, np.log(c).sum() - np.log(np.maximum(theta, floor_of(theta, c))).sum())))


def exponential(theta: np.ndarray, S: np.ndarray, c: np.ndarray, top: float) -> tuple[float, float, float]:
    """The integrals over exp((1 - t) top) times beta |e_m' exp(t T) e_1|, and times ||exp(t T) e_1||.

    Between them what rounding adds to the first.
    """
    top = max(top, float(theta[-1]))
    if top > _LARGEST:
        return math.inf, 0.0, math.inf
    z = np.maximum(top - theta, 1e-300)
    left = float(S[-1] @ (S[0] * (-np.expm1(-z) / z))) * math.exp(top)
    rounding = 8.0 * _UNIT * math.sqrt(len(theta)) * math.exp(top)
    t = np.arange(200) / 200.0
    falling = np.sqrt(np.exp(-2.0 * np.outer(t, z)) @ S[0] ** 2) * math.exp(top)
    return float(c[-1]) * abs(left), float(c[-1]) * rounding, float(falling.mean())


def over(basis: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """V X : (n, k) for X : (m, k), the columns of V being the rows of a list of arrays (., n)."""
    total, done = np.zeros((X.shape[1], basis[0].shape[1])), 0
    for rows in basis:
        total += X[done : done + len(rows)].T @ rows
        done += len(rows)
    return total.T


__all__ = ["conjugate_gradients", "decomposed", "exponential", "floor_of", "last", "over", "ritz_values"]
