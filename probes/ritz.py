"""Ritz values of a symmetric matrix from a few Lanczos steps, with what is known of how good they are.

Only products are needed. Where the basis is kept and orthogonalized again the values are those of exact arithmetic;
where it is not, copies of converged values are dropped by the test of Cullum and Willoughby (1985): a value of T that T
without its first row and column has too is spurious, and of close ones one is kept.

Each Ritz value has an eigenvalue within its residual norm beta_{k+1} |last component|; the squares of the first
components are the weights of Gauss quadrature for the spectral measure of the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..primitives.norms import norm
from ..profiles.errors import NonFiniteInput

_SAME = 1e-10  # of the largest: values as close as that are copies


@dataclass(frozen=True, slots=True)
class RitzValues:
    """What the steps show.

    Attributes
    ----------
    values : (k,) array
        Ascending.
    residuals : (k,) array
        Norms, of unit Ritz vectors.
    weights : (k,) array
        Of the spectral measure of the start, of sum one.
    steps : int
        Products that were taken.
    T : (steps, steps) array
        The tridiagonal matrix.
    last : float
        beta_{steps + 1}.
    """

    values: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray
    steps: int
    T: np.ndarray
    last: float

    @property
    def high(self) -> float:
        """Above the largest eigenvalue, unless the start was all but orthogonal to its vector."""
        return float(self.values[-1] + self.residuals[-1])

    @property
    def triples(self) -> tuple[tuple[float, float, float], ...]:
        """(value, weight over the sum of all, residual) of each, as `Evidence.ritz` holds them."""
        weights = self.weights / self.weights.sum()
        return tuple(zip(self.values.tolist(), weights.tolist(), self.residuals.tolist(), strict=True))


def run(product: Callable[[Any], Any], start: Any, steps: int, *, keep: bool = True) -> RitzValues:
    """Ritz values of a symmetric matrix after so many Lanczos steps; fewer where the space is exhausted.

    Parameters
    ----------
    product : callable
        V -> X V for V : (n,).
    start : (n,) array
        Of numpy, torch or cupy, floating point, not zero.
    steps : int
        At most n are taken.
    keep : bool
        Whether the basis (steps, n) is kept and orthogonalized again. Without it values that have converged come back
        as copies, which are dropped, and fewer different ones are seen.

    Raises
    ------
    NonFiniteInput
        If a product is not finite.
    """
    import array_api_compat

    xp = array_api_compat.array_namespace(start)
    n, steps = start.shape[0], min(steps, start.shape[0])
    basis = xp.zeros((steps if keep else 1, n), dtype=start.dtype, device=array_api_compat.device(start))
    alphas: list[float] = []
    betas: list[float] = []
    before, beta, q = None, 0.0, start / norm(start)
    for j in range(steps):
        if keep:
            basis[j] = q
        w = product(q)
        alpha = float(q @ w)
        w = w - alpha * q
        if before is not None:
            w = w - beta * before
        if keep:
            for _ in range(2):  # twice is enough (Parlett 1998)
                w = w - basis[: j + 1].T @ (basis[: j + 1] @ w)
        beta = norm(w)
        if not math.isfinite(alpha) or not math.isfinite(beta):
            raise NonFiniteInput(
                f"product {j + 1} with A is not finite: an entry of A is not, or the operator is at fault", argument="A"
            )
        alphas.append(alpha)
        betas.append(beta)
        size = max(map(abs, (*alphas, *betas)))
        if beta <= 4.0 * float(xp.finfo(start.dtype).eps) * size:
            betas[-1] = 0.0
            break
        before, q = q, w / beta
    return of_tridiagonal(alphas, betas, copies=not keep)


def of_tridiagonal(diagonal: list[float], beside: list[float], *, copies: bool) -> RitzValues:
    """Of the matrix with this diagonal and these k numbers beside it, of which the last is beta_{k + 1}.

    `copies` says whether converged values may have come back, which are dropped then.
    """
    from scipy.linalg import eigh_tridiagonal

    k = len(diagonal)
    T = np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1)
    values, S = eigh_tridiagonal(np.array(diagonal), np.array(beside[: k - 1]), lapack_driver="stev")
    residuals, weights = beside[k - 1] * np.abs(S[-1]), S[0] ** 2
    if copies:
        values, residuals, weights = _without_copies(values, residuals, weights, T)
    return RitzValues(values, residuals, weights, k, T, beside[k - 1])


def _without_copies(
    values: np.ndarray, residuals: np.ndarray, weights: np.ndarray, T: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of values as close as rounding one each, with the sum of their weights; none that T without its first row has."""
    same = _SAME * float(np.abs(values).max(initial=0.0))
    groups = np.split(np.arange(len(values)), np.flatnonzero(np.diff(values) > same) + 1)
    without = np.linalg.eigvalsh(T[1:, 1:]) if len(T) > 1 else np.zeros(0)
    chosen, total = [], []
    for group in groups:
        best = group[np.argmin(residuals[group])]
        spurious = len(group) == 1 and bool((np.abs(without - values[best]) <= same).any())
        if not spurious:
            chosen.append(best)
            total.append(float(weights[group].sum()))
    return values[chosen], residuals[chosen], np.array(total)
