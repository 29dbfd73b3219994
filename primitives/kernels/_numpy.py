"""NumPy: its own BLAS pool. No triangular solves there, so those go through its general solver."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from numpy.linalg import LinAlgError

from ..algorithm import Breakdown
from ._library import Array, Library, refuse_not_finite, refuse_not_finite_above

_EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


def as_numpy(a: Array, dtype: str | None = None) -> np.ndarray:
    """`a` (numpy, torch CPU, cupy) as a numpy array, sharing memory where possible."""
    if not isinstance(a, np.ndarray):
        if hasattr(a, "detach"):
            a = a.detach().cpu().numpy()
        elif hasattr(a, "get"):
            a = a.get()
        else:
            a = np.asarray(a)
    return a if dtype is None or a.dtype == dtype else a.astype(dtype, order="K")


class NumpyLibrary(Library):
    """Kernels of numpy and numpy.linalg."""

    name = "numpy"
    xp = xp
    failure = LinAlgError

    def asarray(self, a: Array, dtype: str | None = None) -> np.ndarray:
        return as_numpy(a, dtype)

    def to_numpy(self, a: Array) -> np.ndarray:
        return a

    def astype(self, a: Array, dtype: str) -> np.ndarray:
        return a.astype(dtype, order="K", copy=False)

    def solve_triangular(self, R: Array, B: Array, *, transpose: bool = False, lower: bool = False) -> Array:
        try:
            return np.linalg.solve(R.T if transpose else R, B)
        except LinAlgError as error:
            raise Breakdown("the triangular factor is singular") from error

    def lu_factor(self, A: Array, *, overwrite: bool = False) -> Any:
        # numpy does not hand out its factors: what is kept is the matrix, and each solve factors it again.
        return A.copy() if overwrite else A

    def lu_solve(self, factor: Any, B: Array, *, transpose: bool = False) -> Array:
        try:
            return np.linalg.solve(factor.T if transpose else factor, B)
        except LinAlgError as error:
            raise Breakdown("the matrix is exactly singular") from error

    def qr(self, A: Array) -> tuple[Array, Array]:
        return np.linalg.qr(A, mode="reduced")

    def qr_r(self, A: Array) -> Array:
        return np.linalg.qr(A, mode="r")

    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        refuse_not_finite(A)
        try:
            return np.linalg.svd(A, full_matrices=False)
        except LinAlgError as error:
            raise Breakdown("the SVD did not converge") from error

    def eigvalsh(self, S: Array) -> Array:
        refuse_not_finite_above(S)
        try:
            return np.linalg.eigvalsh(S, UPLO="U")
        except LinAlgError as error:
            raise Breakdown("the eigenvalue iteration did not converge") from error

    def lstsq_svd(self, A: Array, b: Array) -> Array:
        refuse_not_finite(A, b)
        try:
            return np.linalg.lstsq(A, b, rcond=max(A.shape) * _EPS[A.dtype.name])[0]
        except LinAlgError as error:
            raise Breakdown("the SVD did not converge") from error

    def lstsq_pivoted_qr(self, A: Array, b: Array) -> Array:
        return self.lstsq_svd(A, b)

    def lstsq_qr(self, A: Array, b: Array) -> Array:
        if A.shape[0] >= A.shape[1]:
            Q, R = np.linalg.qr(A)
            return self.solve_triangular(R, Q.T @ b)
        Q, R = np.linalg.qr(A.T)
        return Q @ self.solve_triangular(R, b, transpose=True)
