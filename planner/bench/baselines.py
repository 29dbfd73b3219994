"""The safe default of each kind: the call one makes today, as its documentation says to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems import LeastSquares, LinearSystem, LowRank, Problem


def baseline(problem: Problem) -> tuple[str, Callable[[], Any]]:
    """Its name and the call, in the library and working dtype of the operands; not certified, not asked how accurate.

    Parameters
    ----------
    problem : Problem
        A LinearSystem, LeastSquares or LowRank of dense numpy arrays or torch tensors.

    Returns
    -------
    name : str
    call : callable () -> Any
    """
    A, b, _ = problem.working()
    library, linalg = _library(problem.access)
    if isinstance(problem, LinearSystem):
        return f"{library}.linalg.solve", lambda: linalg.solve(A, b)
    if isinstance(problem, LeastSquares):
        ridge = problem.ridge
        if ridge != 0.0:
            return "sklearn Ridge", lambda: _ridge(np.asarray(A), np.asarray(b), ridge)
        if library == "torch":  # takes matrices only
            return "torch.linalg.lstsq", lambda: linalg.lstsq(A, b if b.ndim == 2 else b[:, None])
        return "numpy.linalg.lstsq", lambda: linalg.lstsq(A, b)
    assert isinstance(problem, LowRank)
    center = problem.center
    return f"{library}.linalg.svd", lambda: linalg.svd(A - A.mean(0) if center else A, full_matrices=False)


def _library(access: str) -> tuple[str, Any]:
    """Name of a library and its linear algebra."""
    if access == "torch":
        import torch

        return "torch", torch.linalg
    return "numpy", np.linalg


def _ridge(A: np.ndarray, b: np.ndarray, ridge: float) -> np.ndarray:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=ridge, fit_intercept=False).fit(A, b).coef_
