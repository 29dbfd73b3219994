"""CuPy: the array-API code of the base class, with cupyx's triangular and LU solvers."""

from __future__ import annotations

from typing import Any

import array_api_compat.cupy as xp  # pyright: ignore[reportMissingImports]
import cupy as cp  # pyright: ignore[reportMissingImports]
import cupyx.scipy.linalg as cpl  # pyright: ignore[reportMissingImports]
import numpy as np

from ..algorithm import Breakdown
from ._library import Array, Library, refuse_not_finite


class CupyLibrary(Library):
    """Kernels of cupy and cupyx.scipy.linalg."""

    name = "cupy"
    xp = xp
    failure = np.linalg.LinAlgError

    def asarray(self, a: Array, dtype: str | None = None) -> Any:
        return cp.asarray(a, dtype=dtype)

    def to_numpy(self, a: Array) -> Any:
        return cp.asnumpy(a)

    def solve_triangular(self, R: Array, B: Array, *, transpose: bool = False, lower: bool = False) -> Any:
        return cpl.solve_triangular(R, B, trans=int(transpose), lower=lower)

    def lu_factor(self, A: Array, *, overwrite: bool = False) -> Any:
        lu, pivots = cpl.lu_factor(A, overwrite_a=overwrite)
        if not bool(cp.all(cp.diagonal(lu) != 0)):
            raise Breakdown("the matrix is exactly singular")
        return lu, pivots

    def lu_solve(self, factor: Any, B: Array, *, transpose: bool = False) -> Any:
        return cpl.lu_solve(factor, B, trans=int(transpose))

    def lstsq_svd(self, A: Array, b: Array) -> Any:
        refuse_not_finite(A, b)
        rcond = max(A.shape) * float(cp.finfo(A.dtype).eps)
        return cp.linalg.lstsq(A, b, rcond=rcond)[0]

    def lstsq_pivoted_qr(self, A: Array, b: Array) -> Any:
        return self.lstsq_svd(A, b)

    def lstsq_qr(self, A: Array, b: Array) -> Any:
        if A.shape[0] >= A.shape[1]:
            Q, R = cp.linalg.qr(A)
            return self.solve_triangular(R, Q.T @ b)
        Q, R = cp.linalg.qr(A.T)
        return Q @ self.solve_triangular(R, b, transpose=True)
