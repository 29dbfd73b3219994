"""Ritz values from the coefficients of a Lanczos run, or of conjugate gradients, which are one in other words.

Each Ritz value has an eigenvalue within its residual norm beta_{k+1} |last component|; the squares of the first
components are the weights of Gauss quadrature for the spectral measure of the start.

References: Golub and Van Loan, Matrix Computations, 4th ed. (2013), chapter 10 and section 11.3; Saad, Iterative
Methods for Sparse Linear Systems, 2nd ed. (2003), section 6.7.3; Cullum and Willoughby, Lanczos Algorithms (1985).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def of_tridiagonal(diagonal: Sequence[float], beside: Sequence[float], *, copies: bool) -> RitzValues:
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


def of_conjugate_gradients(alphas: Sequence[float], betas: Sequence[float]) -> RitzValues:
    """Of the preconditioned matrix, from the step lengths of one iteration or more and as many betas.

    The Lanczos matrix has 1 / alpha_j + beta_{j-1} / alpha_{j-1} on its diagonal and sqrt(beta_j) / alpha_j beside it.
    """
    diagonal = [1.0 / alphas[0]]
    diagonal += [1.0 / alphas[j] + betas[j - 1] / alphas[j - 1] for j in range(1, len(alphas))]
    beside = [math.sqrt(beta) / alpha for alpha, beta in zip(alphas, betas, strict=True)]
    return of_tridiagonal(diagonal, beside, copies=True)


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
