"""The true error of an answer, in its kind's metric, known better than any certificate knows it.

Operands and answer are taken as the exact numbers they are, scaled by powers of two. Residuals are computed in
double-double arithmetic (`kernels._numba`, after Ogita, Rump and Oishi 2005); nothing that a certificate computed is
used, no bound enters where the quantity itself can be had, and no random numbers decide. What is returned says by how
much it may be off.

- Linear systems: the backward error of Rigal and Gaches (1967), ||A||_2 from singular values (large A: Lanczos).
- Sparse linear systems and eigenpairs: each entry of a residual is a sum of exact products and of their exact rounding
  errors (Dekker 1971), rounded once (Shewchuk 1997, as math.fsum has it).
- Eigenpairs: the largest ||A v - w v|| / (||v|| ||A||), ||A||_2 likewise. Infinite where the vectors are not
  orthonormal, and where a pair was missed: an eigenvalue of A, counted with multiplicities, that is further from the w
  in its place than the claim, or than twice what residuals allow. Up to order 3000 all eigenvalues are computed for
  that; beyond it, of a sparse matrix, those at the wanted end and some more, by ARPACK from another start: a miss that
  they show is one, and one that they do not show is unlikely.
- Least squares: with r = b - Ax (ridge: of the augmented system), A (x* - x) = P r, P the orthogonal projector on
  range(A): no x* is needed. P r is found by refining [I A; A' 0] [s; z] = [r; 0] with a Householder QR factor (Bjorck
  1967, BIT 7; Higham 2002, section 20.5), residuals in double-double. A z misses P r by at most ||f|| + ||R^-T g||, f
  and g being the residuals of the two block rows, whatever happened on the way.
- Low rank: ||A - U S Vh||_F, beside the singular values of A where a rank is given. Where float64 cannot tell the two
  apart, both residuals are formed in double-double, that of the best approximation from the singular vectors: their
  rounding enters squared, and what turning them could still gain is bounded by their coupling with the rest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ...primitives.kernels import library
from ...primitives.task import UNIT_ROUNDOFF
from ..problems import Eigenpairs, LeastSquares, LinearSystem, LowRank, Problem

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional

UNIT = UNIT_ROUNDOFF["float64"]
DEAREST = 1e11  # m n min(m, n), the order of the flops, of the largest problem that is looked at
DEAREST_SVD = 1e10  # the same where all singular vectors are needed
DEAREST_PRODUCTS = 3e9  # most multiplications in double-double
EXACT_NORM = 1000  # order up to which ||A||_2 comes from all singular values
LANCZOS_STEPS = 60
NORM_IS_OFF = 0.01  # by which Lanczos may miss ||A||_2
REFINEMENTS = 30
SINGULAR = 0.1  # largest sqrt(n) u condition with which the refinement is trusted
DEAREST_SPARSE = 2e8  # products of entries in twice the precision
ALL_EIGENVALUES = 3000  # order up to which all are computed
BESIDE = 8  # eigenvalues more than were asked for that are computed beyond it
ORTHONORMAL = 1e-6  # ||V'V - I|| up to which vectors count as orthonormal, unless less was claimed
GAP = 1e4  # singular values that count, where others are rounding, are above so many units of it


class Measured(NamedTuple):
    """An error, and the most by which it may be off."""

    error: float
    uncertainty: float

    @property
    def low(self) -> float:
        """The least it can be."""
        return self.error - self.uncertainty

    @property
    def high(self) -> float:
        """The most it can be."""
        return self.error + self.uncertainty


def true_error(problem: Problem, value: Any, claim: float, *, rank: int | None = None) -> Measured | None:
    """The error of an answer in the metric of its problem.

    Parameters
    ----------
    problem : Problem
        A LinearSystem, LeastSquares, LowRank or Eigenpairs of dense arrays; a LinearSystem or Eigenpairs of a sparse
        matrix.
    value : array, (U, s, Vh) or (w, V)
        As in `Solution.value`.
    claim : float
        The error it is said not to exceed.
    rank : int, optional
        LeastSquares: the exact rank of A, where it is below min(m, n). Without it, singular values that stand apart
        by a gap and are as small as rounding count as zero.

    Returns
    -------
    Measured or None
        None where it cannot be had to a tenth of the claim (or of itself, if that is more), where it would take too
        long, or for a metric that is not certified either.
    """
    if not problem.dense:
        return _within(_sparse_error(problem, value, claim), claim) if problem.access == "sparse" else None
    m, n = problem.shape
    steps = min(m, n) if min(m, n) <= EXACT_NORM or not isinstance(problem, LinearSystem) else LANCZOS_STEPS
    if float(m) * n * steps > DEAREST or 0 in (m, n):
        return None
    A = _host(problem.A)
    tolerance = 0.1 * claim
    found: Measured | None = None
    with np.errstate(all="ignore"):
        if isinstance(problem, LinearSystem) and problem.metric in ("backward_error", "relative_residual"):
            found = _backward_error(A, _columns(value), _columns(problem.b), problem.metric == "relative_residual")
        elif isinstance(problem, LeastSquares) and problem.metric == "prediction_error":
            found = _prediction_error(A, _columns(value), _columns(problem.b), problem.ridge, rank)
        elif isinstance(problem, LowRank):
            factors = tuple(_host(part) for part in value)
            found = _approximation_error(A, factors, problem, tolerance)
        elif isinstance(problem, Eigenpairs):
            w, V = map(_host, value)
            found = _pairs_error(np.asarray(A, dtype=np.float64), w, V, problem.which, claim)
    return _within(found, claim)


def _within(found: Measured | None, claim: float) -> Measured | None:
    """Nothing where an error is not known well enough to judge a claim."""
    if found is None or math.isnan(found.error) or not found.uncertainty <= max(0.1 * claim, 0.1 * found.error):
        return None
    return found


def _sparse_error(problem: Problem, value: Any, claim: float) -> Measured | None:
    """Of a sparse linear system or eigenproblem."""
    A = sp.csr_array(problem.A).astype(np.float64)
    columns = problem.k if isinstance(problem, Eigenpairs) else getattr(problem, "right_hand_sides", 1)
    if float(A.nnz + A.shape[0]) * columns > DEAREST_SPARSE or 0 in A.shape:
        return None
    with np.errstate(all="ignore"):
        if isinstance(problem, LinearSystem) and problem.metric in ("backward_error", "relative_residual"):
            relative = problem.metric == "relative_residual"
            return _backward_error(A, _columns(value), _columns(problem.b), relative)
        if isinstance(problem, Eigenpairs):
            w, V = map(_host, value)
            return _pairs_error(A, w, V, problem.which, claim)
    return None


def _host(x: Any) -> np.ndarray:
    """An array of any CPU library as a numpy array, as a matrix of floats."""
    x = x if isinstance(x, np.ndarray) else library("torch").to_numpy(x)
    return x if x.dtype.char in "df" else x.astype(np.float64)


def _columns(x: Any) -> np.ndarray:
    """(n,) or (n, k) -> (n, k) in float64."""
    x = np.asarray(_host(x), dtype=np.float64)
    return x[:, None] if x.ndim == 1 else x


def _exponent(x: Any) -> int:
    """The power of two that brings the largest entry into [0.5, 1)."""
    x = x.data if sp.issparse(x) else x
    largest = float(np.max(np.abs(x), initial=0.0))
    return math.frexp(largest)[1] if 0.0 < largest < math.inf else 0


def _scaled(x: Any, exponent: int) -> Any:
    if sp.issparse(x):
        return sp.csr_array((np.ldexp(x.data, -exponent), x.indices, x.indptr), shape=x.shape)
    return np.ldexp(np.asarray(x, dtype=np.float64), -exponent)


def _norms(X: np.ndarray) -> np.ndarray:
    """2-norms of columns."""
    return np.linalg.norm(X, axis=0)


def _residual(A: np.ndarray, X: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """B - A X in double-double."""
    from ...primitives.kernels import _numba

    return _numba.residual_double_double(A, X, B)


def _worst(errors: np.ndarray, uncertainty: np.ndarray) -> Measured:
    j = int(np.argmax(errors))
    return Measured(float(errors[j]), float(np.max(uncertainty)))


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotients; 0 / 0 is 0."""
    return np.where(above == 0.0, 0.0, above / below)


# --- linear systems


def _backward_error(A: Any, X: np.ndarray, B: np.ndarray, relative: bool) -> Measured:
    """||b - Ax|| / (||A|| ||x|| + ||b||), or over ||b|| alone; the worst column."""
    if not np.isfinite(X).all():
        return Measured(math.inf, 0.0)
    a = _exponent(A)
    e = max(_exponent(B), _exponent(X) + a)
    A, X, B = _scaled(A, a), _scaled(X, e - a), _scaled(B, e)
    above = _norms(_sparse_residual(A, X, B, np.zeros_like(B)) if sp.issparse(A) else _residual(A, X, B)[0])
    if relative:
        errors = _over(above, _norms(B))
        return _worst(errors, 1e-13 * errors)
    norm, off = _norm_2(A)
    errors = _over(above, norm * _norms(X) + _norms(B))
    return _worst(errors, (1e-13 + off) * errors)


def _norm_2(A: Any) -> tuple[float, float]:
    """||A||_2 and how far it may be off, relative."""
    if A.shape[0] <= EXACT_NORM:
        return float(linalg.svdvals(A.toarray() if sp.issparse(A) else A)[0]), 0.0
    # Lanczos on A'A from a random vector: more than NORM_IS_OFF off with a probability below 1.648 sqrt(n)
    # exp(-(2 steps - 1) sqrt(2 NORM_IS_OFF)) (Kuczynski and Wozniakowski 1992, SIAM J. Matrix Anal. Appl. 13), which is
    # 1e-5, and never too large but for rounding.
    v = np.random.default_rng(0).standard_normal(A.shape[1])
    v /= np.linalg.norm(v)
    before, beta = np.zeros_like(v), 0.0
    diagonal, beside = [], []
    for _ in range(LANCZOS_STEPS):
        w = A.T @ (A @ v) - beta * before
        alpha = float(v @ w)
        w -= alpha * v
        diagonal.append(alpha)
        beta = float(np.linalg.norm(w))
        if beta <= 1e-12 * diagonal[0]:
            break
        before, v = v, w / beta
        beside.append(beta)
    T = linalg.eigvalsh_tridiagonal(np.array(diagonal), np.array(beside[: len(diagonal) - 1]))
    return math.sqrt(float(T[-1])), NORM_IS_OFF


def _sparse_residual(A: Any, X: np.ndarray, B: np.ndarray, low: np.ndarray) -> np.ndarray:
    """B + low - A X, for a CSR A, each entry of it rounded once."""
    found, ends = np.empty_like(B), (2 * A.indptr).tolist()
    a_high, a_low = _split(A.data)
    for j in range(X.shape[1]):
        x = X[A.indices, j]
        x_high, x_low = _split(x)
        product = A.data * x
        error = ((a_high * x_high - product) + a_high * x_low + a_low * x_high) + a_low * x_low
        terms = np.stack([-product, -error], axis=1).ravel().tolist()
        for i, (b, rest) in enumerate(zip(B[:, j].tolist(), low[:, j].tolist(), strict=True)):
            found[i, j] = math.fsum([b, rest, *terms[ends[i] : ends[i + 1]]])
    return found


# --- eigenpairs


def _pairs_error(A: Any, w: np.ndarray, V: np.ndarray, which: str, claim: float) -> Measured | None:
    """The largest ||A v - w v|| / (||v|| ||A||); infinite for pairs that are not those that were asked for."""
    w, V = np.asarray(w, dtype=np.float64), np.asarray(V, dtype=np.float64)
    if not (np.isfinite(w).all() and np.isfinite(V).all()):
        return Measured(math.inf, 0.0)
    exponent = _exponent(A)
    A, w = _scaled(A, exponent), np.ldexp(w, -exponent)
    order = _wanted_first(w, which)
    w, V = w[order], V[:, order]
    product = V * w
    (v_high, v_low), (w_high, w_low) = _split(V), _split(w)
    low = ((v_high * w_high - product) + v_high * w_low + v_low * w_high) + v_low * w_low
    if sp.issparse(A):
        R = -_sparse_residual(A, V, product, low)
    else:
        high, rest = _residual(A, V, product)
        R = high + (rest + low)
    norm, off = _norm_2(A)
    if norm == 0.0:
        return Measured(math.inf if w.any() else 0.0, 0.0)
    lengths = _norms(V)
    errors = _over(_norms(R), norm * lengths)
    most = float(np.linalg.norm(V.T @ V - np.eye(len(w))))
    if most > max(ORTHONORMAL, 2.0 * claim):
        return Measured(math.inf, 0.0)
    allowed = max(claim * norm, 2.0 * float(np.linalg.norm(R))) + 1e-13 * len(w) * norm
    known = _known_eigenvalues(A, w, which)
    if known is None:
        return None
    if _miss(known, w, which, allowed):
        return Measured(math.inf, 0.0)
    return Measured(float(errors.max()), (1e-13 + off) * float(errors.max()))


def _wanted_first(w: np.ndarray, which: str) -> np.ndarray:
    return np.argsort({"LA": -w, "SA": w, "LM": -np.abs(w), "SM": np.abs(w)}[which], kind="stable")


def _miss(known: np.ndarray, w: np.ndarray, which: str, allowed: float) -> bool:
    """Whether eigenvalues of A, as many as there are in w, are not those of w up to `allowed`.

    By magnitude: those of equal magnitude and unlike sign have no order, so that magnitudes are compared.
    """
    found = known[_wanted_first(known, which)][: len(w)]
    if which in ("LM", "SM"):
        found, w = np.abs(found), np.abs(w)
    return len(found) < len(w) or bool((np.abs(found - w) > allowed).any())


def _known_eigenvalues(A: Any, w: np.ndarray, which: str) -> np.ndarray | None:
    """All of them, or those about the wanted end; None where neither can be had."""
    n = A.shape[0]
    if n <= ALL_EIGENVALUES:
        return linalg.eigvalsh(A.toarray() if sp.issparse(A) else A)
    if not sp.issparse(A):
        return None
    from scipy.sparse.linalg import ArpackError, eigsh

    solver: Any = eigsh
    many = min(n - 1, len(w) + BESIDE)
    apart = 1e-6 * float(abs(A).sum(axis=0).max())
    shifts = {"SA": float(w.min()) - apart, "SM": 1e-9 * apart}
    how = {"which": which} if which not in shifts else {"sigma": shifts[which], "which": "LM"}
    start = np.random.default_rng(1).standard_normal(n)
    try:
        return solver(A, many, v0=start, return_eigenvectors=False, **how)
    except (ArpackError, RuntimeError):  # the shifted matrix is singular, or nothing converges
        return None


# --- least squares


def _prediction_error(A: np.ndarray, X: np.ndarray, B: np.ndarray, ridge: float, rank: int | None) -> Measured | None:
    """||A (x - x*)|| / ||b||, of the augmented system with a ridge; the worst column."""
    if not np.isfinite(X).all():
        return Measured(math.inf, 0.0)
    a = _exponent(A)
    e = max(_exponent(B), _exponent(X) + a)
    A, X, B = _scaled(A, a), _scaled(X, e - a), _scaled(B, e)
    norm_b = _norms(B)
    rounding = 0.0
    if ridge > 0.0:
        # sqrt(ridge) is rounded: another ridge, by 2 u, whose solution predicts otherwise by at most u ||b||
        n = A.shape[1]
        A = np.vstack([A, math.ldexp(math.sqrt(ridge), -a) * np.eye(n)])
        B = np.vstack([B, np.zeros((n, B.shape[1]))])
        rank, rounding = None, 2.0 * UNIT
    high, low = _residual(A, X, B)
    found = _projection(A, high, low, rank)
    if found is None:
        return None
    fitted, off = found
    errors = _over(_norms(fitted), norm_b)
    return _worst(errors, _over(off, norm_b) + rounding + 1e-13 * errors)


def _projection(
    A: np.ndarray, high: np.ndarray, low: np.ndarray, rank: int | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The projections of the columns of high + low on range(A), and how far each may be off; None if unknown."""
    m, n = A.shape
    most = min(m, n)
    if rank == 0:
        return np.zeros_like(high), np.zeros(high.shape[1])
    if rank is not None and rank < most:
        A = A[:, linalg.qr(A, mode="r", pivoting=True)[1][:rank]]
        if not 8.0 * math.sqrt(n) * UNIT * _condition(linalg.qr(A, mode="r")[0]) < 1.0:
            return None  # the smallest of its singular values count as zero, or nearly so: there are two right answers
    elif m < n:
        s = linalg.svdvals(A)
        if not math.sqrt(m) * UNIT * s[0] < SINGULAR * s[-1]:
            return _projection_by_gap(A, high)
        rank = m
    if rank == m or m == A.shape[1]:
        # range(A) is everything, unless a square A is singular
        if m != n or rank == m or _condition(linalg.qr(A, mode="r")[0]) * math.sqrt(n) * UNIT < SINGULAR:
            return high, np.zeros(high.shape[1])
        return _projection_by_gap(A, high)
    largest = np.abs(A).max(axis=0)
    # powers of two: no column is small beside another, which helps the refinement
    scaled = np.ldexp(A, -np.where(largest > 0.0, np.frexp(largest)[1], 0))
    Q, R = linalg.qr(scaled, mode="economic")
    condition = _condition(R)
    if not condition * math.sqrt(R.shape[0]) * UNIT < SINGULAR:
        return _projection_by_gap(A, high)
    return _refined(scaled, Q, R, high, low)


def _condition(R: np.ndarray) -> float:
    s = linalg.svdvals(R[: R.shape[1]])
    return float(s[0] / s[-1]) if s[-1] > 0.0 else math.inf


def _projection_by_gap(A: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Where singular values are as small as rounding, and a gap tells them from the others."""
    U, s, _ = linalg.svd(A, full_matrices=False)
    k = int(np.count_nonzero(s > 2.0 * math.sqrt(len(s)) * UNIT * s[0]))
    if k == 0 or k == len(s) or s[k - 1] < GAP * UNIT * s[0]:
        return None
    # rounding turns U by about its size over the gap (Wedin 1972)
    return U[:, :k] @ (U[:, :k].T @ r), 10.0 * math.sqrt(k) * UNIT * s[0] / s[k - 1] * _norms(r)


def _refined(
    A: np.ndarray, Q: np.ndarray, R: np.ndarray, high: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from ...primitives.kernels import _numba

    s, z = high.copy(), np.zeros((A.shape[1], high.shape[1]))
    best_z, best_off = z, np.full(high.shape[1], np.inf)
    idle = 0
    for _ in range(REFINEMENTS):
        f_high, f_low = _residual(A, z, high)
        f = (f_high - s) + (f_low + low)
        h = linalg.solve_triangular(R, -_numba.rmatvec_compensated(A, s), trans="T")
        off = _norms(f) + 2.0 * _norms(h)  # R's own rounding is within the 2
        idle = 0 if (off < 0.5 * best_off).any() else idle + 1
        better = off < best_off
        best_z, best_off = np.where(better, z, best_z), np.where(better, off, best_off)
        if idle == 3:
            break
        c = Q.T @ f - h
        z = z + linalg.solve_triangular(R, c)
        s = s + (f - Q @ c)
    return -_residual(A, best_z, np.zeros_like(high))[0], best_off


# --- low rank


def _approximation_error(
    A: np.ndarray, factors: tuple[np.ndarray, ...], problem: LowRank, tolerance: float
) -> Measured | None:
    """||A - U S Vh||_F / ||A||_F; with a rank, over ||A - A_k||_F, less 1."""
    unit = UNIT_ROUNDOFF["float32" if A.dtype.char == "f" else "float64"]
    U, s, Vh = (np.asarray(part, dtype=np.float64) for part in factors)
    if not all(np.isfinite(part).all() for part in (U, s, Vh)):
        return Measured(math.inf, 0.0)
    exponent = _exponent(A)
    A, s = _scaled(A, exponent), _scaled(s, exponent)
    moved = 0.0
    if problem.center:
        moved = UNIT * float(np.linalg.norm(A))  # rounding of the means and of what is left
        A = A - A.mean(axis=0)
    norm_A = float(np.linalg.norm(A))
    if norm_A == 0.0:
        return Measured(0.0 if not s.any() else math.inf, 0.0)
    rounding = moved + (8.0 + 2.0 * math.sqrt(len(s))) * UNIT * norm_A
    error = float(np.linalg.norm(A - (U * s) @ Vh))
    products = float(A.shape[0]) * A.shape[1] * max(1, len(s))
    small = 8.0 * unit * math.sqrt(min(A.shape)) * norm_A
    if problem.rank is None or error <= small:
        # with a rank as well: both errors are rounding, and their quotient says nothing
        if rounding > tolerance * norm_A and products <= DEAREST_PRODUCTS:
            high, _ = _factored_residual(A, U, s, Vh)
            error, rounding = float(np.linalg.norm(high)), moved + 1e-14 * error
        return Measured(error / norm_A, rounding / norm_A)
    k = problem.rank
    sigma = linalg.svdvals(A)
    best = float(np.linalg.norm(sigma[k:]))
    rounding += 4.0 * UNIT * math.sqrt(sum(A.shape)) * norm_A
    if best > 0.0 and 2.0 * rounding <= tolerance * best:
        return Measured(error / best - 1.0, 2.0 * rounding / best)
    if products > DEAREST_PRODUCTS or products / max(1, len(s)) * min(A.shape) > DEAREST_SVD:
        return None
    return _excess(A, U, s, Vh, k, moved)


def _factored_residual(A: np.ndarray, U: np.ndarray, s: np.ndarray, Vh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A - U (s Vh) in double-double; the products s Vh are split in two as well (Dekker 1971)."""
    S = s[:, None]
    product = S * Vh
    (s_high, s_low), (v_high, v_low) = _split(S), _split(Vh)
    error = ((s_high * v_high - product) + s_high * v_low + s_low * v_high) + s_low * v_low
    high, low = _residual(U, product, A)
    low = low - U @ error
    total = high + low
    z = total - high  # two-sum (Knuth): what rounding took from the total
    return total, (high - (total - z)) + (low - z)


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a = high + low, each of at most 26 bits."""
    c = 134217729.0 * a  # 2^27 + 1
    high = c - (c - a)
    return high, a - high


def _excess(A: np.ndarray, U: np.ndarray, s: np.ndarray, Vh: np.ndarray, k: int, moved: float) -> Measured | None:
    """||A - U S Vh||_F / ||A - A_k||_F - 1 from residuals in double-double."""
    left, sigma, _ = linalg.svd(A, full_matrices=False)
    W = left[:, :k]
    T = W.T @ A
    best_high, best_low = _residual(W, T, A)
    best = float(np.linalg.norm(best_high))
    if best == 0.0:
        return None
    high, low = _factored_residual(A, U, s, Vh)
    change = (high - best_high) + (low - best_low)
    q = float(np.sum(change * (high + best_high))) / best**2  # (error / best)^2 - 1, without cancellation
    coupling = _norms(best_high @ T.T)
    following = float(sigma[k]) if k < len(sigma) else 0.0
    gap = (sigma[:k] - following) * (sigma[:k] + following)
    gain = float(np.sum(4.0 * coupling**2 / (gap + np.sqrt(gap**2 + 4.0 * coupling**2) + 1e-300)))
    norm_A = float(np.linalg.norm(sigma))
    # neither W nor T is exact: both enter squared
    uncertainty = (
        (gain + (10.0 * UNIT * norm_A) ** 2) / best**2
        + 10.0 * UNIT * (abs(q) + float(np.linalg.norm(change)) / best)
        + moved / best
    )
    return Measured(q / (1.0 + math.sqrt(max(0.0, 1.0 + q))), uncertainty)
