"""The dense kernels that algorithms call, written against the array API where the standard has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import array_api_compat

from ..algorithm import Breakdown
from ..norms import is_contiguous, is_finite

Array = Any


def refuse_not_finite(*arrays: Array) -> None:
    """Raise Breakdown unless all entries are finite: on others iterations of LAPACK may not end, or end in any error.

    Operands are checked before; what comes here has been computed from them.
    """
    for array in arrays:
        if not is_finite(array):
            raise Breakdown("what was computed on the way is not finite")


def refuse_not_finite_above(S: Array) -> None:
    """The same for the upper triangle of S, the only one that counts."""
    if not is_finite(S):
        refuse_not_finite(array_api_compat.array_namespace(S).triu(S))


class Library(ABC):
    """Dense kernels of one array library.

    Matrices are (m, n) in either memory order; right-hand sides are (n,) or (n, r). No method changes its
    arguments. Where LAPACK reports failure a method raises `Breakdown`, and so do those that iterate (SVD, eigenvalues,
    least squares) where an entry is not finite. Results are arrays of this library.
    """

    name: str
    xp: Any  # the array-API namespace
    failure: type[Exception]  # what it raises where LAPACK reports failure

    # -- conversion -----------------------------------------------------------------------------------------------

    @abstractmethod
    def asarray(self, a: Array, dtype: str | None = None) -> Array:
        """`a` as an array of this library, without a copy where memory can be shared."""

    @abstractmethod
    def to_numpy(self, a: Array) -> Array:
        """`a` as a numpy array, without a copy where memory can be shared."""

    def astype(self, a: Array, dtype: str) -> Array:
        """`a` in another dtype, keeping its memory order; `a` itself when it has that dtype."""
        return self.xp.astype(a, getattr(self.xp, dtype), copy=False)

    # -- products -------------------------------------------------------------------------------------------------

    def matmul(self, A: Array, B: Array) -> Array:
        """A B."""
        return A @ B

    def rmatmul(self, A: Array, B: Array) -> Array:
        """A' B."""
        return A.T @ B

    def sum_of_squares(self, x: Array) -> float:
        """||x||_F^2, added up in the dtype of x, which is contiguous in either order."""
        entries = x.reshape(-1) if is_contiguous(x) else x.T.reshape(-1)
        return float(self._dot(entries, entries))

    def _dot(self, x: Array, y: Array) -> Any:
        return x @ y

    def gram(self, A: Array) -> Array:
        """A' A : (n, n), of which only the upper triangle is promised."""
        return A.T @ A

    # -- triangular and Cholesky ----------------------------------------------------------------------------------

    def cholesky(self, G: Array) -> Array:
        """Upper triangular R with R' R = G, reading the upper triangle of G only.

        Raises
        ------
        Breakdown
            If G is not positive definite to working accuracy.
        """
        upper = self.xp.triu(G)
        symmetric = upper + self.xp.triu(G, k=1).T
        try:
            return self.xp.linalg.cholesky(symmetric).T
        except self.failure as error:
            raise Breakdown(f"Cholesky failed: {error}") from error

    @abstractmethod
    def solve_triangular(self, R: Array, B: Array, *, transpose: bool = False, lower: bool = False) -> Array:
        """R^-1 B, or R'^-1 B with `transpose`; R upper triangular unless `lower`."""

    def right_solve_triangular(self, A: Array, R: Array) -> Array:
        """A R^-1 : (m, n), R upper triangular."""
        return self.solve_triangular(R, A.T, transpose=True).T

    def cholesky_solve(self, R: Array, B: Array) -> Array:
        """(R' R)^-1 B."""
        return self.solve_triangular(R, self.solve_triangular(R, B, transpose=True))

    # -- LU -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def lu_factor(self, A: Array, *, overwrite: bool = False) -> Any:
        """LU factorization with partial pivoting, to be passed to `lu_solve`. Raises Breakdown when singular."""

    @abstractmethod
    def lu_solve(self, factor: Any, B: Array, *, transpose: bool = False) -> Array:
        """A^-1 B from `lu_factor(A)`, or A'^-1 B."""

    # -- orthogonal factorizations --------------------------------------------------------------------------------

    def qr(self, A: Array) -> tuple[Array, Array]:
        """Economic Householder QR: Q (m, k), R (k, n), k = min(m, n)."""
        return self.xp.linalg.qr(A, mode="reduced")

    def qr_r(self, A: Array) -> Array:
        """R (k, n) of the QR factorization alone."""
        return self.qr(A)[1]

    def svd(self, A: Array) -> tuple[Array, Array, Array]:
        """Economic SVD by divide and conquer: U (m, k), s (k,) descending, Vh (k, n)."""
        refuse_not_finite(A)
        try:
            return self.xp.linalg.svd(A, full_matrices=False)
        except self.failure as error:
            raise Breakdown(f"the SVD did not converge: {error}") from error

    def svdvals(self, A: Array) -> Array:
        """Singular values (k,), descending."""
        refuse_not_finite(A)
        try:
            return self.xp.linalg.svdvals(A)
        except self.failure as error:
            raise Breakdown(f"the SVD did not converge: {error}") from error

    def eigh(self, S: Array) -> tuple[Array, Array]:
        """Eigenvalues (n,) ascending and eigenvectors (n, n) of a symmetric matrix, reading the upper triangle."""
        refuse_not_finite_above(S)
        try:
            return self.xp.linalg.eigh(self.xp.triu(S) + self.xp.triu(S, k=1).T)
        except self.failure as error:
            raise Breakdown(f"the eigenvalue iteration did not converge: {error}") from error

    def eigvalsh(self, S: Array) -> Array:
        """Eigenvalues (n,) ascending of a symmetric matrix, reading the upper triangle."""
        return self.eigh(S)[0]

    # -- least squares ---------------------------------------------------------------------------------------------

    @abstractmethod
    def lstsq_svd(self, A: Array, b: Array) -> Array:
        """Minimum-norm least squares by the SVD (gelsd), singular values below max(m, n) eps sigma_1 set to zero."""

    @abstractmethod
    def lstsq_pivoted_qr(self, A: Array, b: Array) -> Array:
        """Minimum-norm least squares by QR with column pivoting (gelsy), same threshold."""

    @abstractmethod
    def lstsq_qr(self, A: Array, b: Array) -> Array:
        """Least squares of a full-rank A by Householder QR or LQ (gels); minimum norm when m < n."""
