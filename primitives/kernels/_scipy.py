"""SciPy's BLAS and LAPACK, called directly, in either memory order without a copy.

A C-ordered matrix is the transpose of a Fortran-ordered one, so each routine is asked for the transposed operation on
the view `A.T` instead of copying A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from ..algorithm import Breakdown
from ._library import Array, Library, refuse_not_finite, refuse_not_finite_above
from ._numpy import as_numpy

_EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


@cache
def _routine(module: str, name: str, char: str) -> Any:
    return getattr(blas if module == "blas" else lapack, {"d": "d", "f": "s"}[char] + name)


def _blas(name: str, a: Array) -> Any:
    return _routine("blas", name, a.dtype.char)  # dtype.name would cost microseconds


def _lapack(name: str, a: Array) -> Any:
    return _routine("lapack", name, a.dtype.char)


def _fortran(A: Array) -> tuple[Array, int]:
    """(F, t): F is Fortran-ordered and A = F if t == 0, A = F.T if t == 1. No copy for contiguous A."""
    if A.flags.f_contiguous:
        return A, 0
    if A.flags.c_contiguous:
        return A.T, 1
    return np.asfortranarray(A), 0


@dataclass(frozen=True, slots=True)
class LUFactor:
    """LU of A, or of A.T when `transposed` (A was C-ordered)."""

    lu: Array
    pivots: Array
    transposed: int


@dataclass(frozen=True, slots=True)
class CholeskyFactor:
    """One triangle of the Cholesky factor of a symmetric matrix; the other triangle is not meaningful."""

    triangle: Array
    lower: int


@dataclass(frozen=True, slots=True)
class LDLFactor:
    """Bunch-Kaufman L D L' of a symmetric matrix (lower triangle of the Fortran-ordered view)."""

    ldl: Array
    pivots: Array


class ScipyLibrary(Library):
    """Kernels of scipy.linalg.blas and scipy.linalg.lapack."""

    name = "scipy"
    xp = xp
    failure = np.linalg.LinAlgError

    def asarray(self, a: Array, dtype: str | None = None) -> np.ndarray:
        return as_numpy(a, dtype)

    def to_numpy(self, a: Array) -> np.ndarray:
        return a

    def astype(self, a: Array, dtype: str) -> np.ndarray:
        return a.astype(dtype, order="K", copy=False)

    def _product(self, A: Array, B: Array, transpose: int) -> Array:
        F, t = _fortran(A)
        if 0 in A.shape or B.size == 0:
            return (A.T if transpose else A) @ B
        if B.ndim == 1:
            return _blas("gemv", A)(1.0, F, B, trans=t ^ transpose)
        E, s = _fortran(B)
        return _blas("gemm", A)(1.0, F, E, trans_a=t ^ transpose, trans_b=s)

    def matmul(self, A: Array, B: Array) -> Array:
        return self._product(A, B, 0)

    def rmatmul(self, A: Array, B: Array) -> Array:
        return self._product(A, B, 1)

    def _dot(self, x: Array, y: Array) -> float:
        return _blas("dot", x)(x, y) if 0 < x.size < 2**31 else x @ y  # its index is of 32 bits

    def gram(self, A: Array) -> Array:
        F, t = _fortran(A)
        return _blas("syrk", A)(1.0, F, trans=1 - t, lower=0)

    def cholesky(self, G: Array) -> Array:
        F, t = _fortran(G)
        R, info = _lapack("potrf", G)(F, lower=t, clean=1)
        if info != 0:
            message = f"Cholesky failed at pivot {info}: the matrix is not positive definite to working accuracy"
            raise Breakdown(message, pivot=int(info))
        return R.T if t else R

    def cholesky_factor(self, A: Array, *, overwrite: bool = False) -> CholeskyFactor:
        """Cholesky factorization to be passed to `cholesky_factor_solve`: one copy of A, or none with `overwrite`."""
        F, t = _fortran(A)
        triangle, info = _lapack("potrf", A)(F, lower=t, clean=0, overwrite_a=int(overwrite))
        if info != 0:
            raise Breakdown(f"Cholesky failed at pivot {info}: the matrix is not positive definite to working accuracy")
        return CholeskyFactor(triangle, t)

    def cholesky_factor_solve(self, factor: CholeskyFactor, B: Array) -> Array:
        """A^-1 B from `cholesky_factor(A)`."""
        x, _ = _lapack("potrs", factor.triangle)(factor.triangle, B, lower=factor.lower)
        return x

    def solve_triangular(self, R: Array, B: Array, *, transpose: bool = False, lower: bool = False) -> Array:
        F, t = _fortran(R)
        trans = int(transpose) ^ t
        if B.ndim == 1:
            return _blas("trsv", R)(F, B, lower=int(lower) ^ t, trans=trans)
        E, s = _fortran(B)
        if s:  # X' = B' op(R)^-T: solve from the right on the view, so that B is not transposed in memory
            return _blas("trsm", R)(1.0, F, E, side=1, lower=int(lower) ^ t, trans_a=1 - trans).T
        return _blas("trsm", R)(1.0, F, E, lower=int(lower) ^ t, trans_a=trans)

    def lu_factor(self, A: Array, *, overwrite: bool = False) -> LUFactor:
        F, t = _fortran(A)
        lu, pivots, info = _lapack("getrf", A)(F, overwrite_a=int(overwrite))
        if info > 0:
            raise Breakdown(f"the matrix is exactly singular (pivot {info} is zero)")
        return LUFactor(lu, pivots, t)

    def lu_solve(self, factor: LUFactor, B: Array, *, transpose: bool = False) -> Array:
        x, _ = _lapack("getrs", factor.lu)(factor.lu, factor.pivots, B, trans=int(transpose) ^ factor.transposed)
        return x

    def lu_reciprocal_condition(self, factor: LUFactor, norm_1: float) -> float:
        """LAPACK's estimate of 1 / (||A||_1 ||A^-1||_1), given the 1-norm of the matrix that was factored."""
        return float(_lapack("gecon", factor.lu)(factor.lu, norm_1, norm="I" if factor.transposed else "1")[0])

    def ldl_factor(self, A: Array) -> LDLFactor:
        """Bunch-Kaufman factorization of a symmetric matrix. Raises Breakdown when exactly singular."""
        F, _ = _fortran(A)
        lwork = int(_lapack("sytrf_lwork", A)(A.shape[0], lower=1)[0])
        ldl, pivots, info = _lapack("sytrf", A)(F, lwork=lwork, lower=1)
        if info > 0:
            raise Breakdown(f"the matrix is exactly singular (block {info} of D is zero)")
        return LDLFactor(ldl, pivots)

    def ldl_solve(self, factor: LDLFactor, B: Array) -> Array:
        """A^-1 B from `ldl_factor(A)`."""
        x, _ = _lapack("sytrs", factor.ldl)(factor.ldl, factor.pivots, B, lower=1)
        return x

    def solve_banded(self, A: Array, B: Array, lower: int, upper: int) -> Array:
        """A^-1 B for dense A : (n, n) with `lower` and `upper` nonzero diagonals, by banded LU with partial pivoting.

        Reads only the band, and works in the dtype of B. Raises Breakdown when exactly singular.
        """
        n = A.shape[0]
        band = np.zeros((2 * lower + upper + 1, n), dtype=B.dtype, order="F")  # row lower + upper + i - j holds a_ij
        for d in range(-lower, upper + 1):
            band[lower + upper - d, max(d, 0) : n + min(d, 0)] = A.diagonal(d)
        _, _, x, info = _lapack("gbsv", B)(lower, upper, band, B, overwrite_ab=1)
        if info > 0:
            raise Breakdown(f"the matrix is exactly singular (pivot {info} is zero)")
        return x

    def qr(self, A: Array) -> tuple[Array, Array]:
        k = min(A.shape)
        factors, tau, R = self._geqrf(A)
        if k == 0:
            return factors, R
        orgqr = _lapack("orgqr", A)
        size = int(orgqr(factors[:, :k], tau, lwork=-1)[1][0])
        return orgqr(factors[:, :k], tau, lwork=size, overwrite_a=1)[0], R

    def qr_r(self, A: Array) -> Array:
        return self._geqrf(A)[2]

    def _geqrf(self, A: Array) -> tuple[Array, Array, Array]:
        """Reflectors (m, n) and their factors (k,), and R (k, n): a third faster than through scipy.linalg.qr."""
        if 0 in A.shape:  # LAPACK's wrappers refuse those
            Q, R = np.linalg.qr(A)
            return Q, np.zeros(0, A.dtype), R
        size = int(_lapack("geqrf_lwork", A)(*A.shape)[0])
        factors, tau, _, _ = _lapack("geqrf", A)(np.array(A, order="F"), lwork=size, overwrite_a=1)
        return factors, tau, np.triu(factors[: min(A.shape)])

    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        refuse_not_finite(A)
        try:
            return scipy.linalg.svd(A, full_matrices=False, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise Breakdown("the SVD did not converge") from error

    def svdvals(self, A: Array) -> Array:
        refuse_not_finite(A)
        try:
            return scipy.linalg.svdvals(A, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise Breakdown("the SVD did not converge") from error

    def eigh(self, S: Array) -> tuple[Array, Array]:
        refuse_not_finite_above(S)
        try:
            return scipy.linalg.eigh(S, lower=False, driver="evd", check_finite=False)
        except np.linalg.LinAlgError as error:
            raise Breakdown("the eigenvalue iteration did not converge") from error

    def eigvalsh(self, S: Array) -> Array:
        refuse_not_finite_above(S)
        try:
            return scipy.linalg.eigvalsh(S, lower=False, driver="evd", check_finite=False)
        except np.linalg.LinAlgError as error:
            raise Breakdown("the eigenvalue iteration did not converge") from error

    def _lstsq(self, A: Array, b: Array, driver: str) -> Array:
        refuse_not_finite(A, b)
        try:
            rcond = max(A.shape) * _EPS[A.dtype.name]
            solution: Any = scipy.linalg.lstsq(A, b, cond=rcond, lapack_driver=driver, check_finite=False)
            return solution[0]
        except np.linalg.LinAlgError as error:
            raise Breakdown("the SVD did not converge") from error

    def lstsq_svd(self, A: Array, b: Array) -> Array:
        return self._lstsq(A, b, "gelsd")

    def lstsq_pivoted_qr(self, A: Array, b: Array) -> Array:
        return self._lstsq(A, b, "gelsy")

    def lstsq_qr(self, A: Array, b: Array) -> Array:
        m, n = A.shape
        F, t = _fortran(A)
        gels, gels_lwork = _lapack("gels", A), _lapack("gels_lwork", A)
        rhs = b[:, None] if b.ndim == 1 else b
        if m < n:  # gels wants room for the longer of b and x
            rhs = np.vstack([rhs, np.zeros((n - m, rhs.shape[1]), dtype=rhs.dtype)])
        trans = "T" if t else "N"
        work, _ = gels_lwork(*F.shape, rhs.shape[1], trans=trans)
        _, x, info = gels(F, rhs, trans=trans, lwork=int(work))
        if info > 0:
            raise Breakdown(f"R has an exact zero at diagonal {info}: the matrix is rank-deficient")
        return x[:n, 0] if b.ndim == 1 else x[:n]
