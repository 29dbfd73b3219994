"""The demo's own measures of error, for every answer alike: ours and those of the calls made today.

They share nothing with the certificates: where the demo made the data, the truth is known; where it did not, it is
computed by a dense factorization outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Error = Callable[[Any], float]


def prediction_error(A: np.ndarray, b: np.ndarray, Q: np.ndarray, ridge: float = 0.0) -> Error:
    """||A (x - x*)|| / ||b|| = ||Q'(b - A x)|| / ||b||, Q : (m [+ n], rank) an orthonormal basis of range(A).

    With a ridge, of the augmented system [A; sqrt(ridge) I], to which Q then belongs.
    """

    def error(x: np.ndarray) -> float:
        residual = b - A @ x
        if ridge:
            residual = np.concatenate([residual, -np.sqrt(ridge) * x])
        return float(np.linalg.norm(Q.T @ residual) / np.linalg.norm(b))

    return error


def backward_error(A: np.ndarray, b: np.ndarray) -> Error:
    """||b - A x|| / (||A|| ||x|| + ||b||), worst column; ||A|| from forty steps of the power method."""
    v = np.random.default_rng(7).standard_normal(A.shape[1])
    norm_A = 0.0
    for _ in range(40):
        v /= np.linalg.norm(v)
        w = A @ v
        norm_A = float(np.linalg.norm(w))
        v = A.T @ w

    def error(x: np.ndarray) -> float:
        size = np.linalg.norm(b - A @ x, axis=0)
        return float(np.max(size / (norm_A * np.linalg.norm(x, axis=0) + np.linalg.norm(b, axis=0))))

    return error


def relative_frobenius(A: np.ndarray, best: float | None = None) -> Error:
    """||A - U s Vh||_F / ||A||_F; with `best` (the best error at the rank), the excess over it."""
    norm_A = np.linalg.norm(A)

    def error(value: Any) -> float:
        U, s, Vh = value
        achieved = float(np.linalg.norm(A - (U * s) @ Vh) / norm_A)
        return achieved if best is None else max(0.0, achieved / best - 1.0)

    return error


def best_error(s: np.ndarray, rank: int) -> float:
    """The smallest relative Frobenius error of any approximation of this rank; s : singular values."""
    return float(np.linalg.norm(s[rank:]) / np.linalg.norm(s))


def truncated(value: Any, accuracy: float) -> Any:
    """The first factors of an SVD, as many as the accuracy needs: what one writes by hand after numpy.linalg.svd."""
    U, s, Vh = value
    tails = np.sqrt(np.cumsum(s[::-1] ** 2)[::-1] / np.sum(s**2))
    rank = int(np.argmax(tails <= accuracy)) if (tails <= accuracy).any() else len(s)
    return U[:, :rank], s[:rank], Vh[:rank]
