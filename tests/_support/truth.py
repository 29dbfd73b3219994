"""What a solution achieves, measured in double-double arithmetic and independently of the library.

Every function returns a ``Measured``: a float that knows how far it can be off. Data and solution are taken
as the exact numbers they are in float64; they are scaled by powers of two first, so 1e+-150 is no trouble.
Solutions with NaN or infinity measure infinity. Several right-hand sides: the worst of them counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from .doubledouble import UNIT, DoubleDouble, concatenate, orthonormal_basis

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional

# Norms are rounded to float64 at the end.
RELATIVE = 1e-14


class Measured(float):
    """A float and the most it can differ from the exact value."""

    uncertainty: float

    def __new__(cls, value: Any, uncertainty: Any = 0.0):
        self = super().__new__(cls, value)
        self.uncertainty = float(uncertainty)
        return self

    @property
    def low(self) -> float:
        return float(self) - self.uncertainty

    @property
    def high(self) -> float:
        return float(self) + self.uncertainty


def exponent_of(a) -> int:
    """The power of two that brings the largest entry into [0.5, 1)."""
    largest = np.max(np.abs(a), initial=0.0)
    return int(np.frexp(largest)[1]) if largest > 0.0 else 0


def residual(A, x, b) -> tuple[DoubleDouble, int]:
    """b - A x, scaled: returns (r, e) with b - A x = r 2^e. x : (n, k), b : (m, k)."""
    # Columns of A of one size: products are exact relative to the largest in the row times the largest in the column.
    counts = A.any(axis=0)[:, None]
    x = np.where(counts, x, 0.0)
    a = np.where(counts, np.frexp(np.abs(A).max(axis=0, initial=0.0))[1][:, None], 0)
    # The larger of the two terms sets the scale.
    e = max(exponent_of(b), int(np.max(np.where(x != 0.0, np.frexp(x)[1] + a, -4000), initial=-4000)))
    return DoubleDouble.of(np.ldexp(b, -e)) - DoubleDouble.of(np.ldexp(A, -a.T)) @ np.ldexp(x, a - e), e


def backward_error(A, x, b) -> Measured:
    """Normwise backward error ||b - A x|| / (||A||_2 ||x|| + ||b||) (Rigal and Gaches, 1967)."""
    A, x, b = _as_columns(A, x, b)
    if not np.isfinite(x).all():
        return Measured(np.inf)
    r, e = residual(A, x, b)
    a = exponent_of(A)
    norm_A = np.linalg.norm(np.ldexp(A, -a), 2) if A.size else 0.0
    worst = 0.0
    for j in range(b.shape[1]):
        above = r[:, j].norm()
        below = norm_A * np.linalg.norm(np.ldexp(x[:, j], a - e)) + np.linalg.norm(np.ldexp(b[:, j], -e))
        worst = max(worst, above / below if above else 0.0)
    return Measured(worst, RELATIVE * worst + 100 * UNIT)


def prediction_error(A, x, b, ridge=0.0, rank=None) -> Measured:
    """||A (x - x*)|| / ||b|| with x* the exact least-squares solution; with ridge, on the augmented system.

    A (x* - x) is the projection of b - A x onto the range of A, and that is what is computed: no x* is
    needed, and nothing cancels.

    Parameters
    ----------
    A, x, b : (m, n), (n,) or (n, k), (m,) or (m, k) arrays
    ridge : float
        Weight of ||x||^2. The metric is then ||[A; sqrt(ridge) I] (x - x*)|| / ||b||.
    rank : int, optional
        The exact rank of A where it is below min(m, n).
    """
    A, x, b = _as_columns(A, x, b)
    if not np.isfinite(x).all():
        return Measured(np.inf)
    r, e = residual(A, x, b)
    a = exponent_of(A)
    matrix = DoubleDouble.of(np.ldexp(A, -a))
    if ridge > 0.0:
        # r and x now carry the scale 2^e and 2^(e-a): their product with sqrt(ridge) 2^-a is of scale 2^e.
        weight = DoubleDouble.sqrt(np.ldexp(ridge, -2 * a))
        r = concatenate([r, -(DoubleDouble.of(np.ldexp(x, a - e)) * weight)])
        matrix = concatenate([matrix, DoubleDouble.of(np.eye(A.shape[1])) * weight])
        rank = None
    worst = Measured(0.0)
    for j in range(b.shape[1]):
        projection = project(matrix, r[:, j], rank)
        norm_b = np.linalg.norm(np.ldexp(b[:, j], -e))
        above = projection.fitted.norm()
        if norm_b > 0.0:
            error = above / norm_b
            worst = max(worst, Measured(error, projection.uncertainty / norm_b + RELATIVE * error))
        elif above > 0.0:
            worst = Measured(np.inf)
    return worst


def minimum_norm_excess(A, x, rank=None) -> Measured:
    """The part of x outside the row space of A, relative to x. ``rank`` as in ``prediction_error``."""
    A, x = np.asarray(A, dtype=float), np.asarray(x, dtype=float)
    if not np.isfinite(x).all():
        return Measured(np.inf)
    rank = min(A.shape) if rank is None else rank
    if rank == A.shape[1]:
        return Measured(0.0)
    worst = Measured(0.0)
    transpose = DoubleDouble.of(np.ldexp(A.T, -exponent_of(A)))
    for column in x.reshape(len(x), -1).T:
        scaled = np.ldexp(column, -exponent_of(column))
        norm_x = np.linalg.norm(scaled)
        if norm_x:
            projection = project(transpose, DoubleDouble.of(scaled), rank)
            excess = projection.left.norm() / norm_x
            worst = max(worst, Measured(excess, projection.uncertainty / norm_x + RELATIVE * excess))
    return worst


@dataclass(frozen=True, slots=True)
class Projection:
    """v = fitted + left: fitted in the range, left orthogonal to it, each off by at most ``uncertainty``."""

    fitted: DoubleDouble
    left: DoubleDouble
    coefficients: DoubleDouble  # of the chosen columns, scaled: fitted = (chosen columns) @ coefficients
    uncertainty: float


def project(A, v, rank=None) -> Projection:
    """Project v : (m,) onto the range of A : (m, n), by refining the augmented system in double-double.

    [I A; A' 0] [s; z] = [v; 0] is solved with a float64 QR factorization, and its residuals f = v - s - A z
    and g = -A's are computed in double-double (Bjorck, BIT 7 (1967); Higham (2002), sec. 20.5). It converges
    while the condition number of A, its columns scaled to one size, is below about 1e15. The residuals bound
    the error of what was found, whatever happened on the way: A z misses the projection by P f + P s, that is
    by at most ||f|| + ||R^-T g||, plus what the rounding of f and g themselves can hide.

    Raises
    ------
    ArithmeticError
        If the refinement does not converge: the matrix is too close to another rank than the one stated.
    """
    A, v = DoubleDouble.of(A), DoubleDouble.of(v)
    m, n = A.shape
    rank = min(m, n) if rank is None else rank
    if rank == m or rank == 0:
        zero = DoubleDouble.of(np.zeros(m))
        fitted, left = (v, zero) if rank == m else (zero, v)
        return Projection(fitted, left, DoubleDouble.of(np.zeros(0)), 0.0)
    # Powers of two again: no column is small beside another, which helps the choice and the refinement alike.
    A = A.ldexp(-np.frexp(np.abs(A.hi).max(axis=0))[1])
    if rank < n:
        A = A[:, linalg.qr(A.hi, mode="r", pivoting=True)[1][:rank]]
    Q, R = linalg.qr(A.hi, mode="economic")
    if not np.abs(np.diag(R)).min() > 0.0:
        raise ArithmeticError(f"the rank is below the {rank} stated")

    spread = np.linalg.norm(A.hi) / np.linalg.norm(R, -2)  # about ||A||_F ||R^-1||
    # A pairwise sum of m double-doubles loses log2(m) units; R is off by its own rounding, hence the 2.
    rounding = 2.0 * (np.log2(m) + 4.0) * UNIT * spread
    s, z = v, DoubleDouble.of(np.zeros(rank))
    best, stalled = Projection(DoubleDouble.of(np.zeros(m)), v, z, np.inf), 0
    for _ in range(100):
        f, g = v - s - A @ z, -(A.T @ s)
        h = linalg.solve_triangular(R, g.hi, trans="T")
        hidden = rounding * (s.norm() + np.linalg.norm(A.hi, 2) * z.norm() / spread)
        uncertainty = f.norm() + 2.0 * np.linalg.norm(h) + hidden
        stalled = 0 if uncertainty < 0.5 * best.uncertainty else stalled + 1
        if uncertainty < best.uncertainty:
            best = Projection(A @ z, s, z, float(uncertainty))
        if stalled == 3 or uncertainty <= 2.0 * hidden:
            break
        c = Q.T @ f.hi - h
        z = z + linalg.solve_triangular(R, c)
        s = s + (f.hi - Q @ c)
    if best.uncertainty > 1e-10 * v.norm():
        raise ArithmeticError(f"no convergence: scaled condition {spread:.1e}, rank {rank} of {m} x {n}")
    return best


def low_rank_residual(A, U, s, Vh) -> DoubleDouble:
    """A - U diag(s) Vh, entry by entry in double-double. Scale beforehand."""
    return DoubleDouble.of(A) - (DoubleDouble.of(U) * s) @ Vh


def low_rank_error(A, U, s, Vh) -> Measured:
    """||A - U diag(s) Vh||_F / ||A||_F, in float64 where that is far above its own rounding."""
    A, U, s, Vh = (np.asarray(a, dtype=float) for a in (A, U, s, Vh))
    if not all(np.isfinite(a).all() for a in (U, s, Vh)):
        return Measured(np.inf)
    exponent = exponent_of(A)
    A, s = np.ldexp(A, -exponent), np.ldexp(s, -exponent)
    norm_A = np.linalg.norm(A)
    if norm_A == 0.0:
        return Measured(np.linalg.norm((U * s) @ Vh))
    rounding = 4e-16 * (len(s) + 4) * np.linalg.norm(np.linalg.norm(U, axis=0) * s * np.linalg.norm(Vh, axis=1))
    error = np.linalg.norm(A - (U * s) @ Vh)
    if error <= 1e6 * rounding:
        error, rounding = low_rank_residual(A, U, s, Vh).norm(), 1e-15 * rounding
    return Measured(error / norm_A, rounding / norm_A + RELATIVE * error / norm_A)


def low_rank_excess(A, U, s, Vh, rank) -> Measured:
    """||A - U diag(s) Vh||_F / ||A - A_rank||_F - 1: how far above the best error of that rank."""
    A, U, s, Vh = (np.asarray(a, dtype=float) for a in (A, U, s, Vh))
    if not all(np.isfinite(a).all() for a in (U, s, Vh)):
        return Measured(np.inf)
    exponent = exponent_of(A)
    A, s = np.ldexp(A, -exponent), np.ldexp(s, -exponent)
    best, gain = _best_squared(A, rank)
    # (error / best)^2 - 1, from double-doubles: the difference is exact where the two nearly agree.
    q = float((low_rank_residual(A, U, s, Vh).norm_squared() - best).hi / best.hi)
    root = np.sqrt(max(1.0 + q, 0.0))
    return Measured(q / (1.0 + root), RELATIVE * abs(q) + gain / float(best.hi) + 1e-25)


def best_rank_error(A, rank) -> Measured:
    """||A - A_rank||_F / ||A||_F, the least error that any matrix of that rank has."""
    A = np.asarray(A, dtype=float)
    A = np.ldexp(A, -exponent_of(A))
    norm_A = np.linalg.norm(A)
    best, gain = _best_squared(A, rank)
    value = float(np.sqrt(max(best.hi, 0.0)) / norm_A)
    return Measured(value, RELATIVE * value + gain / norm_A**2 / max(value, np.sqrt(gain) / norm_A, 1e-300))


def _best_squared(A, rank) -> tuple[DoubleDouble, float]:
    """||A - A_rank||_F^2 and the most by which it can be too large.

    A - Q Q'A with Q the float64 singular vectors, made orthonormal in double-double: an error delta in Q
    enters squared. What is left to gain by rotating Q follows from the coupling c of each vector that was
    kept (a row of B) with what was not (E): that of the 2 x 2 matrix [gap, c; c, 0], doubled, and summed.
    """
    if rank >= min(A.shape):
        return DoubleDouble.of(0.0), 0.0
    if A.shape[0] > A.shape[1]:
        A = A.T
    U, sigma, _ = linalg.svd(A, full_matrices=False)
    A = DoubleDouble.of(A)
    Q = orthonormal_basis(U[:, :rank])
    B = Q.T @ A
    E = A - Q @ B
    c = np.linalg.norm((E @ B.T).hi, axis=0)
    gap = (sigma[:rank] - sigma[rank]) * (sigma[:rank] + sigma[rank])
    gain = np.sum(4.0 * c**2 / (gap + np.sqrt(gap**2 + 4.0 * c**2) + 1e-300))
    return E.norm_squared(), float(gain) + 1e-28 * float(np.linalg.norm(A.hi) * np.linalg.norm(E.hi))


def _as_columns(A, x, b):
    A, x, b = (np.asarray(a, dtype=float) for a in (A, x, b))
    return A, x.reshape(A.shape[1], -1), b.reshape(A.shape[0], -1)


def least_squares_solution(A, b, ridge=0.0) -> DoubleDouble:
    """The exact least-squares solution, for full rank and m > n, or ridge > 0, and entries near 1."""
    A, b = DoubleDouble.of(A), DoubleDouble.of(b)
    n = A.shape[1]
    if ridge > 0.0:
        A = concatenate([A, DoubleDouble.of(np.eye(n)) * DoubleDouble.sqrt(ridge)])
        b = concatenate([b, DoubleDouble.of(np.zeros(n))])
    exponents = np.frexp(np.abs(A.hi).max(axis=0))[1]
    return project(A, b).coefficients.ldexp(-exponents)
