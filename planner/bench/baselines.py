"""The safe default of each kind: the call one makes today, as its documentation says to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems import LeastSquares, LinearSystem, LowRank, Problem


def baseline(problem: Problem) -> tuple[str, Callable[[], Any]]:
    """Its name and the call; not certified, and not asked how accurate it is."""
    if isinstance(problem, LinearSystem):
        A, b = problem.A, problem.b
        return "numpy.linalg.solve", lambda: np.linalg.solve(A, b)
    if isinstance(problem, LeastSquares):
        A, b, ridge = problem.A, problem.b, problem.ridge
        if ridge == 0.0:
            return "numpy.linalg.lstsq", lambda: np.linalg.lstsq(A, b)
        return "sklearn Ridge", lambda: _ridge(A, b, ridge)
    assert isinstance(problem, LowRank)
    A, center = problem.A, problem.center
    return "numpy.linalg.svd", lambda: np.linalg.svd(A - A.mean(axis=0) if center else A, full_matrices=False)


def _ridge(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ridge, fit_intercept=False).fit(A, b).coef_
