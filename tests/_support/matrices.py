"""Matrices of which something is known: their singular values, their rank, their structure.

All float64 and all drawn from the ``rng`` handed in. Where an *exact* rank is claimed, the matrix has it in
exact arithmetic (factors with few bits, so that their product is not rounded, or columns repeated up to a
power of two): only then is the least-squares solution of the rounded matrix the one that is meant. Shifts of
scale are powers of two, which change no digit.

Sources: LAPACK's DLATMS and test matrices; Higham, Accuracy and Stability of Numerical Algorithms (2002),
ch. 28; RandLAPACK's adversarial leverage; Wilkinson (1961) for the growth matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix and what is known of it."""

    A: np.ndarray
    singular_values: np.ndarray | None = None  # up to the rounding of A's entries, about 1e-15 of the largest
    rank: int | None = None  # None: full, or not known
    rank_is_exact: bool = True  # False: the rank holds up to rounding
    structure: str = "general"

    def scaled(self, exponent: int) -> Matrix:
        """Times 2^exponent; 499 is about 1.6e150."""
        s = self.singular_values
        scaled_s = None if s is None else np.ldexp(s, exponent)
        return replace(self, A=np.ldexp(self.A, exponent), singular_values=scaled_s)


@dataclass(frozen=True, slots=True, eq=False)
class LinearSystemProblem:
    A: np.ndarray
    b: np.ndarray
    assume: str | None = None  # a true statement about A


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquaresProblem:
    A: np.ndarray
    b: np.ndarray
    ridge: float = 0.0
    rank: int | None = None
    rank_is_exact: bool = True
    relative_residual: float = 0.0  # distance of b from the range of A, relative to b


@dataclass(frozen=True, slots=True, eq=False)
class LowRankProblem:
    A: np.ndarray
    rank: int | None = None  # the rank asked for
    singular_values: np.ndarray | None = None


def orthonormal(m, k, rng, coherent=False):
    """(m, k) orthonormal columns, Haar distributed; coherent: k // 2 + 1 rows carry most of the leverage."""
    G = rng.standard_normal((m, k))
    if coherent:
        G[rng.choice(m, min(m, k // 2 + 1), replace=False)] *= 1e4
    Q, R = np.linalg.qr(G)
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def with_spectrum(m, n, singular_values, rng, coherent=False) -> Matrix:
    """A = U diag(s) V^T with Haar U and V; zeros among the singular values make a rank up to rounding."""
    s = np.asarray(singular_values, dtype=float)
    U, V = orthonormal(m, min(m, n), rng, coherent), orthonormal(n, min(m, n), rng)
    rank = int(np.count_nonzero(s))
    return Matrix((U * s) @ V.T, np.sort(s)[::-1], rank, rank_is_exact=rank == min(m, n))


# Exactly rank-deficient.


def exact_rank(m, n, r, rng, cond=10.0) -> Matrix:
    """Rank exactly r <= 128: a product of factors with 22 bits an entry, which float64 holds unrounded."""
    left = with_spectrum(m, r, cond ** -np.linspace(0.0, 1.0, r), rng).A if m >= r else None
    if left is None or r > 128:
        raise ValueError(f"need r <= min(m, 128), got m={m}, r={r}")
    right = rng.standard_normal((r, n))
    factors = [np.rint(np.ldexp(F / np.abs(F).max(), 22)) for F in (left, right)]
    return Matrix(np.ldexp(factors[0] @ factors[1], -44), rank=r)


def repeated_columns(base: Matrix, n, rng, zeros=0) -> Matrix:
    """n columns: those of base, then random ones of them again times a power of two, then zeros; shuffled."""
    m, r = base.A.shape
    again = rng.integers(0, r, max(n - r - zeros, 0))
    A = np.hstack([base.A, np.ldexp(base.A[:, again], rng.integers(-3, 4, again.size)), np.zeros((m, zeros))])
    return Matrix(A[:, rng.permutation(A.shape[1])], rank=r)


def dummy_variables(m, groups, rng) -> Matrix:
    """One column of ones beside two one-hot codings: statistics' own rank deficiency, by 2, in integers."""
    codes = [rng.permutation(np.arange(m) % g) for g in groups]
    one_hot = [np.equal.outer(code, np.arange(g)).astype(float) for code, g in zip(codes, groups, strict=True)]
    A = np.hstack([np.ones((m, 1)), *one_hot])
    # Integers of this size: numpy's rank decision has a gap of ten digits to find.
    return Matrix(A, rank=int(np.linalg.matrix_rank(A)))


def noisy_low_rank(m, n, r, noise, rng) -> Matrix:
    """Rank r with unit singular values plus Gaussian noise of spectral norm about ``noise``."""
    signal = orthonormal(m, r, rng) @ orthonormal(n, r, rng).T
    return Matrix(signal + noise / (np.sqrt(m) + np.sqrt(n)) * rng.standard_normal((m, n)))


# Uneven rows and columns.


def graded(A, rows=0.0, columns=0.0):
    """Rows scaled from 1 to 10^rows, columns from 1 to 10^columns, geometrically."""
    m, n = A.shape
    return A * np.logspace(0.0, rows, m)[:, None] * np.logspace(0.0, columns, n)


def heavy_row(A, factor, rng):
    """One random row times ``factor``: it alone has leverage 1 and hides the others from uniform samples."""
    heavy = A.copy()
    heavy[rng.integers(A.shape[0])] *= factor
    return heavy


def identity_block(m, n, small, rng):
    """An identity above small noise: n rows of leverage near 1, the rest near 0."""
    A = small * rng.standard_normal((m, n)) / np.sqrt(m)
    A[:n] += np.eye(n)
    return A[rng.permutation(m)]


def one_huge_entry(m, n, rng):
    """A single large entry in Gaussian noise, which column samples nearly always miss."""
    A = rng.standard_normal((m, n)) / np.sqrt(m * n)
    A[rng.integers(m), rng.integers(n)] += 1e3
    return A


# Square, with structure.


def spd(n, singular_values, rng) -> Matrix:
    Q = orthonormal(n, n, rng)
    A = (Q * singular_values) @ Q.T
    return Matrix((A + A.T) / 2, np.sort(singular_values)[::-1], structure="spd")


def symmetric_indefinite(n, singular_values, rng) -> Matrix:
    """Eigenvalues +-s with random signs, at least one negative."""
    signs = rng.choice([-1.0, 1.0], n)
    signs[rng.integers(n)] = -1.0
    return replace(spd(n, signs * singular_values, rng), singular_values=np.sort(singular_values)[::-1],
                   structure="symmetric")  # fmt: skip


def triangular(n, singular_values, rng, lower=False) -> Matrix:
    R = np.triu(np.linalg.qr(with_spectrum(n, n, singular_values, rng).A)[1])
    return Matrix(R.T.copy() if lower else R, np.sort(singular_values)[::-1], structure="triangular")


def banded(n, below, above, dominance, rng) -> Matrix:
    """Gaussian band, plus ``dominance`` on the diagonal."""
    A = np.triu(np.tril(rng.standard_normal((n, n)), above), -below) + dominance * np.eye(n)
    return Matrix(A, structure="banded")


def diagonal(n, singular_values, rng) -> Matrix:
    d = rng.permutation(singular_values) * rng.choice([-1.0, 1.0], n)
    return Matrix(np.diag(d), np.sort(singular_values)[::-1], structure="diagonal")


def wilkinson_growth(n) -> Matrix:
    """The matrix on which Gaussian elimination with partial pivoting grows by 2^(n-1)."""
    A = np.eye(n) - np.tril(np.ones((n, n)), -1)
    A[:, -1] = 1.0
    return Matrix(A)


def hilbert(n) -> Matrix:
    return Matrix(linalg.hilbert(n), structure="spd")


def kahan(n, theta=1.2) -> Matrix:
    """Triangular, and more ill-conditioned than its diagonal shows."""
    rows = np.sin(theta) ** np.arange(n)
    return Matrix(rows[:, None] * (np.eye(n) - np.cos(theta) * np.triu(np.ones((n, n)), 1)),
                  structure="triangular")  # fmt: skip


def vandermonde(m, n) -> Matrix:
    """Monomials on m equispaced points of [-1, 1]."""
    return Matrix(np.vander(np.linspace(-1.0, 1.0, m), n, increasing=True))


# Right-hand sides.


def least_squares(matrix: Matrix, relative_residual, rng, ridge=0.0, rough=False, columns=None):
    """Attach a right-hand side of unit norm at the given relative distance from the range of A.

    rough: the fitted part is random in the range (x is then as large as the condition number allows);
    otherwise it is A times a random vector. ``columns`` asks for several right-hand sides.
    """
    A = matrix.A
    m, n = A.shape
    rank = min(m, n) if matrix.rank is None else matrix.rank
    # Columns of one size, and no over- or underflow: the range is the same, the basis safe.
    exponents = np.frexp(np.abs(A).max(axis=0))[1]
    Q = linalg.qr(np.ldexp(A, -exponents), mode="economic", pivoting=True)[0][:, :rank]
    shape = () if columns is None else (columns,)
    if rough:
        fitted = Q @ rng.standard_normal((rank, *shape))
    else:
        exponent = np.frexp(np.abs(A).max())[1]
        fitted = np.ldexp(A, -exponent) @ rng.standard_normal((n, *shape))
    free = rng.standard_normal((m, *shape))
    for _ in range(2):
        free = free - Q @ (Q.T @ free)
    rho = relative_residual if rank < m else 0.0
    b = np.sqrt(1 - rho**2) * fitted / np.linalg.norm(fitted, axis=0)
    if rho:
        b = b + rho * free / np.linalg.norm(free, axis=0)
    return LeastSquaresProblem(A, b, ridge, matrix.rank, matrix.rank_is_exact, rho)
