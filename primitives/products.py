"""Products with A in float64, whatever A is: a dense array, a sparse matrix or an operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from .algorithm import Breakdown
from .sparse_linear_system import _common as sparse
from .task import Task


def host(A: Any) -> np.ndarray:
    """A dense array of any library on the CPU as one of NumPy's, float64."""
    array = A.detach() if hasattr(A, "detach") else A
    return np.asarray(array, dtype=np.float64)


class Products:
    """V -> A V in float64 for V : (n,) or (n, r), whatever A is. Raises Breakdown where it has another shape.

    Attributes
    ----------
    A : array, csr_array or LinearOperator
        Dense: NumPy's. Entries in float64.
    count : int
        Products so far, with one vector each.
    """

    def __init__(self, A: Any, task: Task) -> None:
        self.count = 0
        self._operator = task.access == "operator"
        self.A: Any = host(A) if task.access == "dense" else sparse.Product(A, task).A

    def __call__(self, V: np.ndarray) -> np.ndarray:
        self.count += 1 if V.ndim == 1 else V.shape[1]
        if not self._operator:
            return self.A @ V
        if V.ndim == 2:  # one vector at a time: whatever an operator does with several, it was not asked for
            return np.stack([self._one(np.ascontiguousarray(v)) for v in V.T], axis=1) if V.shape[1] else V.copy()
        return self._one(V)

    def _one(self, v: np.ndarray) -> np.ndarray:
        y = np.asarray(self.A.matvec(v))
        if y.shape != v.shape:
            raise Breakdown(f"a product with A has shape {y.shape}, not {v.shape}")
        return y.astype(np.float64)  # a copy: an operator may write its next product there
