"""An orthonormal basis of (nearly) the range of A, and what is built from it.

`Products` is A, or A minus its column means, seen through products only. `Range` holds Q and the compressed matrix
B = Q'A in factored form, B' = Z R with Z orthonormal: Q is what a range finder found, Z R what a power step starts
from, and the SVD of the small R gives the singular triplets. The probe makes one; the algorithms continue from it.

Orthonormalization is CholeskyQR2 (Yamamoto et al., ETNA 44 (2015)), as accurate as Householder while the columns'
condition number stays below about 1e7 in float64, and five to fifty times faster; where it breaks down, Householder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import norms
from ..algorithm import Breakdown
from ..kernels import library
from ..kernels._library import Library
from ..sketches import gaussian_test_matrix

Array = Any

_CERTIFY = 0x9E3779B97F4A7C15  # turns a seed into that of vectors independent of the range finder's


@dataclass(frozen=True, slots=True)
class Products:
    """A, A - 1 means', or the transpose of either, by its products.

    Attributes
    ----------
    A : (m, n) array of `lib`'s library
    lib : Library
    means : (n,) array or None
        Column means that are taken off.
    transposed : bool
        Whether it is the transpose that is meant.
    """

    A: Array
    lib: Library
    means: Array | None = None
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.A.shape
        return (n, m) if self.transposed else (m, n)

    @property
    def dtype(self) -> str:
        """ "float64" or "float32"."""
        return str(self.A.dtype).rpartition(".")[2]

    @property
    def T(self) -> Products:
        """The transpose, of the same memory."""
        return replace(self, transposed=not self.transposed)

    def matmul(self, X: Array) -> Array:
        """(A - 1 means') X, or its transposed counterpart, for X : (n, r)."""
        return self._rmatmul(X) if self.transposed else self._matmul(X)

    def rmatmul(self, Y: Array) -> Array:
        """(A - 1 means')' Y, or its transposed counterpart, for Y : (m, r)."""
        return self._matmul(Y) if self.transposed else self._rmatmul(Y)

    def _matmul(self, X: Array) -> Array:
        Y = self.lib.matmul(self.A, X)
        if self.means is not None:
            Y -= self.lib.rmatmul(X, self.means)[None, :]
        return Y

    def _rmatmul(self, Y: Array) -> Array:
        X = self.lib.rmatmul(self.A, Y)
        if self.means is not None:
            X -= self.means[:, None] * self.lib.xp.sum(Y, axis=0)[None, :]
        return X

    def astype(self, dtype: str) -> Products:
        """The same matrix in another dtype."""
        means = None if self.means is None else self.lib.astype(self.means, dtype)
        return replace(self, A=self.lib.astype(self.A, dtype), means=means)

    def norm_fro(self, norm_A: float | None = None) -> float:
        """Frobenius norm, given that of A itself if known.

        Uses ||A - 1 means'||^2 = ||A||^2 - m ||means||^2 unless the means make up nearly all of it.
        """
        norm_A = norms.norm(self.A) if norm_A is None else norm_A
        if self.means is None:
            return norm_A
        m = self.A.shape[0]
        removed = m * norms.norm(self.means) ** 2
        if removed <= 0.99 * norm_A**2:
            return math.sqrt(norm_A**2 - removed)
        rows = max(1, (1 << 18) // max(1, self.A.shape[1]))
        return math.sqrt(sum(norms.norm(self.A[i : i + rows] - self.means) ** 2 for i in range(0, m, rows)))


def products(A: Array, backend: str, center: bool = False, transposed: bool = False) -> Products:
    """`Products` of an array of any library that `backend` can share memory with."""
    lib = library(backend)
    A = lib.asarray(A)
    means = lib.xp.mean(A, axis=0) if center else None
    return Products(A, lib, means, transposed)


@dataclass(frozen=True, slots=True)
class Range:
    """Q, Z orthonormal and R with Q'A = (Z R)'.

    Attributes
    ----------
    Q : (m, l) array
    Z : (n, l) array
    R : (l, l) array
    power_steps : int
        q, for a range of (A A')^q A Omega; -1 when it was found in another way.
    seed : int
        Of the Gaussian test matrix.
    transposed : bool
        Whether A stands for the transpose of the problem's matrix (done when that is wide).
    backend : str
        Library of the arrays.
    residual_energy : float
        Estimate of ||A - QQ'A||_F^2; nan until `with_residual` has measured it.
    norm_fro : float
        ||A||_F, of the centred matrix where one was asked for.
    """

    Q: Array
    Z: Array
    R: Array
    power_steps: int
    seed: int
    transposed: bool
    backend: str
    residual_energy: float
    norm_fro: float

    @property
    def columns(self) -> int:
        """l."""
        return self.R.shape[0]

    @property
    def B(self) -> Array:
        """Q'A : (l, n)."""
        return library(self.backend).matmul(self.R.T, self.Z.T)


def orthonormalize(lib: Library, Y: Array) -> tuple[Array, Array]:
    """Q (m, l) orthonormal and R (l, l) with Y = Q R; l <= m."""
    try:
        R = lib.cholesky(lib.gram(Y))
        Q = lib.right_solve_triangular(Y, R)
        G = lib.gram(Q)
        deviation = lib.xp.linalg.vector_norm(lib.xp.triu(G) - lib.xp.eye(G.shape[0], dtype=G.dtype, device=_device(G)))
        if not float(deviation) < 0.25:  # one more pass would not restore orthogonality to rounding
            raise Breakdown("the columns are too dependent for Cholesky QR")
        S = lib.cholesky(G)
        return lib.right_solve_triangular(Q, S), lib.matmul(S, R)
    except Breakdown:
        return lib.qr(Y)


def orthonormalize_against(lib: Library, Y: Array, K: Array) -> tuple[Array, Array, Array]:
    """Q (m, b) orthonormal and orthogonal to K (m, j), C (j, b) and R (b, b) with Y = K C + Q R; j + b <= m."""
    C = lib.rmatmul(K, Y)
    Y = Y - lib.matmul(K, C)
    D = lib.rmatmul(K, Y)
    Y = Y - lib.matmul(K, D)
    C += D
    del D
    Q, R = orthonormalize(lib, Y)
    tolerance = 1e-13 if "64" in str(Q.dtype) else 5e-5
    for attempt in range(4):
        # Where Y lay in span(K) but for rounding, Q may point back into it.
        E = lib.rmatmul(K, Q)
        if float(lib.xp.max(lib.xp.abs(E))) <= tolerance:
            return Q, C, R
        if attempt == 0:
            Q = Q - lib.matmul(K, E)
            Q, S = lib.qr(Q - lib.matmul(K, lib.rmatmul(K, Q)))
            C, R = C + lib.matmul(E, R), lib.matmul(S, R)
        else:  # nothing of Y is left: any directions complete the basis, with no weight
            G = lib.xp.asarray(lib.asarray(_directions(Q.shape, attempt, str(Q.dtype))), device=_device(Q))
            G = G - lib.matmul(K, lib.rmatmul(K, G))
            Q, _ = lib.qr(G - lib.matmul(K, lib.rmatmul(K, G)))  # K is orthonormal to `tolerance` only
            R = 0.0 * R
    raise Breakdown("no directions orthogonal to the basis are left")


def _directions(shape: tuple[int, int], attempt: int, dtype: str) -> np.ndarray:
    """Some (m, b) matrix with nothing special about it."""
    return gaussian_test_matrix(*shape, attempt, np.float32 if "32" in dtype else np.float64)


def gaussian_columns(products: Products, columns: int, seed: int, first: int = 0) -> Array:
    """(n, columns) standard normal, columns `first`, `first` + 1, ... of the seed's stream."""
    return gaussian_test_matrix(
        products.shape[1], columns, seed, np.dtype(products.dtype), products.lib.xp, _device(products.A), first
    )


def find(products: Products, columns: int, seed: int, norm_fro: float) -> Range:
    """Range of A Omega: one product with A and one with its transpose."""
    lib = products.lib
    Q, R_Y = orthonormalize(lib, products.matmul(gaussian_columns(products, columns, seed)))
    Z, R = orthonormalize(lib, products.rmatmul(Q))
    found = Range(Q, Z, R, 0, seed, products.transposed, lib.name, 0.0, norm_fro)
    residual = _difference(found, products.dtype)
    return replace(found, residual_energy=_leave_one_out(lib, R_Y) if residual is None else residual)


def power_step(products: Products, found: Range, last: Products | None = None) -> Range:
    """One application of A A' to the range, orthonormalized on both sides; its residual energy is not measured.

    `last` is the same matrix in the dtype of the result, when `products` is a cheaper copy in low precision.
    """
    lib = products.lib
    Q, _ = orthonormalize(lib, products.matmul(lib.astype(found.Z, products.dtype)))
    if last is not None:
        products = last
        Q, _ = orthonormalize(lib, lib.astype(Q, last.dtype))
    Z, R = orthonormalize(lib, products.rmatmul(Q))
    return replace(found, Q=Q, Z=Z, R=R, power_steps=found.power_steps + 1, residual_energy=math.nan)


def extend(products: Products, found: Range, columns: int) -> Range:
    """`columns` more, of the part of A that the range misses, with the same number of power steps (randQB_EI).

    Yu, Gu, Li, SIAM J. Matrix Anal. Appl. 39 (2018), with test-matrix columns that follow those used before.
    """
    lib = products.lib
    Omega = gaussian_columns(products, columns, found.seed, found.columns)
    Q, _, _ = orthonormalize_against(lib, products.matmul(Omega), found.Q)
    for _ in range(max(found.power_steps, 0)):
        W, _, _ = orthonormalize_against(lib, products.rmatmul(Q), found.Z)
        Q, _, _ = orthonormalize_against(lib, products.matmul(W), found.Q)
    Z, C, R = orthonormalize_against(lib, products.rmatmul(Q), found.Z)
    return replace(append(lib, found, Q, Z, C, R), residual_energy=math.nan)


def append(lib: Library, found: Range, Q: Array, Z: Array, C: Array, R: Array) -> Range:
    """The range [found.Q, Q], given A'Q = found.Z C + Z R."""
    xp = lib.xp
    zero = xp.zeros((R.shape[0], found.columns), dtype=R.dtype, device=_device(R))
    lower = xp.concat([zero, R], axis=1)
    upper = xp.concat([found.R, C], axis=1)
    return replace(
        found,
        Q=xp.concat([found.Q, Q], axis=1),
        Z=xp.concat([found.Z, Z], axis=1),
        R=xp.concat([upper, lower], axis=0),
    )


def with_residual(products: Products, found: Range, test_vectors: int = 8) -> Range:
    """`found` with its residual energy measured: by subtraction where that keeps digits, else by Gaussian vectors."""
    if not math.isnan(found.residual_energy):
        return found
    residual = _difference(found, products.dtype)
    if residual is None:
        G = gaussian_columns(products, test_vectors, found.seed ^ _CERTIFY)
        lib = products.lib
        Q = lib.astype(found.Q, products.dtype)
        Y = products.matmul(G)
        Y = Y - lib.matmul(Q, lib.rmatmul(Q, Y))
        residual = norms.norm(Y) ** 2 / test_vectors
    return replace(found, residual_energy=residual)


def _difference(found: Range, dtype: str) -> float | None:
    """||A||_F^2 - ||Q'A||_F^2, or None when rounding has eaten it."""
    total = found.norm_fro**2
    residual = total - norms.norm(found.R) ** 2
    return residual if residual > total * (1e-10 if dtype == "float64" else 1e-4) else None


def _leave_one_out(lib: Library, R: Array) -> float:
    """Leave-one-out estimate of ||A - QQ'A||_F^2 from A Omega = Q R: mean of 1 / ||row i of R^-1||^2.

    Epperly and Tropp, "Efficient error and variance estimation for randomized matrix computations", SIAM J. Sci.
    Comput. 46 (2024), section 2.2.
    """
    R = lib.astype(R, "float64")
    if float(lib.xp.min(lib.xp.abs(lib.xp.linalg.diagonal(R)))) <= 1e-200:
        return 0.0
    # in the library that is awake: SciPy's solver wakes its threads for a matrix of order 25, and they spin for 0.1 s
    inverse = lib.solve_triangular(R, lib.xp.eye(R.shape[0], dtype=R.dtype, device=_device(R)))
    return float(lib.xp.mean(1.0 / lib.xp.sum(inverse * inverse, axis=1)))


def triplets(lib: Library, found: Range, small: tuple[Array, Array, Array], rank: int) -> tuple[Array, Array, Array]:
    """(U, s, Vh) of the problem's matrix, the `rank` largest of the range's; `small` is the SVD of found.R.T."""
    U, s, Vh = small
    left = lib.matmul(found.Q, U[:, :rank])
    right = lib.matmul(found.Z, Vh[:rank].T)
    return (right, s[:rank], left.T) if found.transposed else (left, s[:rank], right.T)


def _device(a: Array) -> Any:
    return getattr(a, "device", None)
