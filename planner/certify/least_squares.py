"""Error of a least-squares solution from its residual: prediction error, suboptimality or backward error.

With r = b - Ax (ridge: of the augmented system), A(x* - x) = P r, P the orthogonal projector on range(A). For an
upper triangular R such that A R^-1 = U W with U orthonormal and the singular values of W at least 1/(1 + e),
||P r|| = ||U'r|| <= (1 + e) ||R^-T A'r||. R may come from

- the algorithm that ran: the Cholesky factor of A'A, whose e is its rounding times the square of the condition number,
  or a QR factor, whose e is rounding times the condition number itself. Either is held against A by independent test
  vectors: ||A R^-1 g|| = ||g|| for random g, in which every direction of A weighs the same, and e is what they may
  overlook with a stated probability. Where R was computed in less than float64, whose rounding is too coarse for a
  formula, more of them measure it (`_Given.measured`). Or from a probe that took all of A, held against A alike,
- a QR factorization of A (small problems),
- a QR factorization of an independent sketch SA: with l rows the largest singular value of SU is at most
  1 + sqrt(n/l) + sqrt(2 ln(1/delta)/l) with probability 1 - delta (Davidson and Szarek 2001 for Gaussian S;
  sparse sign sketches with eight nonzeros follow it, which is tested).

Numerically rank-deficient A: singular values below 4 sqrt(n) u sigma_1 (more for long columns) are rounding and count
as zero, and P projects on the remaining directions (a tighter threshold than the max(m, n) eps of gelsd, which may
drop directions that matter); the solution must then be the one of minimum norm. A term for rounding is added; when that
term decides, the residual and its product with A' are computed again in twice the precision.

Wide A: an R with R'R = A A' (+ ridge I) that passes the same test with A' shows that the rank is full, so that P r = r;
x must be of minimum norm. With ridge, ||(A'A + ridge I)^(-1/2) g||^2 = (||g||^2 - ||R^-T A g||^2) / ridge (Woodbury).

Prediction error: ||P r|| / ||b||. Suboptimality, ||b - A x|| / ||b - A x*|| - 1: ||r||^2 = ||r*||^2 + ||P r||^2, so
that it is (1 - t^2)^(-1/2) - 1 with t = ||P r|| / ||r||. Backward error, min ||E||_F / ||A||_F over all E for which x
solves the problem with A + E: the estimate of Karlson and Walden (BIT 37, 1997),
||(||x||^2 A'A + ||r||^2 I)^(-1/2) A'r||, is at most sqrt(2) times too small (Hallman 2020, zbMATH 1453.65079), and
with R in place of A at most another 1 + e. A ridge makes A and b the augmented ones in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...primitives import chi_squared
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.norms import column_norms as norms_of_columns
from ...primitives.sketches import make_sketch
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, KernelCall, Work
from ..certificate import Certificate, says_enough
from .products import (
    UNIT,
    as_columns,
    column_norms,
    is_double,
    matmul64,
    rmatmul64,
    rmatmul_in_blocks,
    rounding_of_sum,
    row_blocks,
    rows_at_once,
)

SKETCH_FACTOR = 4
_TEST_VECTORS = 3
_MEASURING = 7  # test vectors where they measure: with one residual, products with eight columns
_SHARE = 0.1  # of the failure probability, for what they measure; a sketch that replaces a refused R has the rest
_PROJECTIONS = 4
_FACTORING = 2.0  # backward error of a Householder factorization, in units of u sqrt(n): less than 1 was measured
_HIDDEN = 1e-3  # rounding, times the number of directions, up to which three test vectors see one that is off
_TOLERANCE = 1e-10  # of the squared lengths of test vectors
_EXACT_INVERSE = 128
_TRUSTED, _TRUSTED_SQUARED = 0.05, 0.25  # rounding up to which an R factor, or a Gram factor, stands for A
_DISTORTED, _DISTORTED_WIDE = 0.3, 0.01  # and the same where it is measured; wide A: four projections leave 1e-8
_FEW_COLUMNS = 16  # up to which columns are taken to be as good as parallel where their sums are rounded
_LARGE = 30.0  # ||A|| ||x|| over ||b|| from which rounding of A x is looked at more closely
_BLOCK = 2**19  # entries of a block of A that is converted to float64
_PREDICTION, SUBOPTIMALITY, BACKWARD = "prediction_error", "suboptimality", "backward_error"
_KARLSON_WALDEN = math.sqrt(2.0)
_QR_AT_ONCE = 2e7  # below this many multiply-adds a QR factorization of A takes less time than starting a sketch


def _negligible(task: Task) -> float:
    """Singular values below this times sigma_1 are rounding of the entries and of the factorization.

    Long columns add up more roundings: exactly dependent columns of 50000 rows left 75 u where 4 sqrt(n) u is 12.
    """
    long, short = max(task.m, task.n), max(1, min(task.m, task.n))
    return 4.0 * math.sqrt(short) * UNIT * max(1.0, 0.25 * math.sqrt(long / short))


def _counted(lib: Library, M: Any, V: Any, s: Any, task: Task) -> int:
    """How many of the singular values s (k,) of M (m, n) count, V (n, k) being the right singular vectors.

    In a factorization of long columns that are alike rounding may leave more than `_negligible`, and what is little
    larger than that may be less. M V tells: the columns of those that are rounding lie in the span of the others, up to
    the rounding of sums over n entries.
    """
    unclear = (s <= 1e3 * _negligible(task) * s[0]) & (s > 2.0 * UNIT * s[0])
    if not bool(lib.xp.any(unclear)):
        return int((s > _negligible(task) * s[0]).sum())
    own = lib.to_numpy(abs(lib.xp.linalg.diagonal(lib.qr_r(lib.matmul(M, V)))))
    return int(np.append(own <= 4.0 * math.sqrt(M.shape[1]) * UNIT * float(s[0]), True).argmax())


@dataclass(frozen=True, slots=True)
class _Embedding:
    """Where ||P r|| is read off, and how far it may be off.

    R (n, n) upper triangular where A has full column rank; else V (n, k) and s (k,), the right singular vectors and
    values that count, and for wide A the left singular vectors U (m, k) as well; or `wide` and R (m, m), R'R = A A'.
    """

    R: Any
    V: Any
    s: Any
    U: Any
    distortion: float
    confidence: float
    method: str
    amplification: float = 1.0  # ||D R^-1||_F
    wide: bool = False


def sketch_rows(task: Task) -> int:
    """Rows of the certificate's own sketch; 0 where a QR factorization of A itself is cheaper."""
    rows = max(SKETCH_FACTOR * task.n, task.n + 20)
    worth = task.m > 1.5 * rows and float(task.m) * task.n * task.n > _QR_AT_ONCE
    return rows if worth else 0


def _with_ridge(lib: Library, A: Any, ridge: float) -> Any:
    """[A; sqrt(ridge) I] in float64."""
    A = lib.astype(A, "float64")
    if ridge == 0.0:
        return A
    return lib.xp.concat([A, math.sqrt(ridge) * _eye(lib, A, A.shape[1])], axis=0)


def _eye(lib: Library, like: Any, n: int) -> Any:
    return lib.xp.eye(n, dtype=like.dtype, device=getattr(like, "device", None))


def _from_matrix(lib: Library, M: Any, task: Task, distortion: float, confidence: float, method: str) -> _Embedding:
    """Embedding from an M with no fewer rows than columns, whose R factor, or its SVD, stands for A's."""
    R = lib.qr_r(M)
    diagonal = abs(lib.xp.linalg.diagonal(R))
    norms = column_norms(R)
    scaled = diagonal / lib.xp.where(norms > 0, norms, lib.xp.ones_like(norms))
    # a small pivot relative to its column says "perhaps rank-deficient": only then is the SVD worth its price
    if float(lib.xp.min(scaled)) > 1e3 * _negligible(task):
        rounded = _rounded(lib, R, task, distortion, confidence, method)
        if math.isfinite(rounded.distortion):
            return rounded
    _, s, Vh = lib.svd(R)
    keep = _counted(lib, M, Vh.T, s, task)
    if keep == M.shape[1]:
        return _rounded(lib, R, task, distortion, confidence, method)
    s = s[:keep]
    if keep:  # the singular values of A V / s are within ||E|| / s[-1] of one, ||E|| <= u sqrt(n) s[0]
        eta = _FACTORING * UNIT * math.sqrt(task.n) * float(s[0] / s[-1])
        distortion = (1.0 + distortion) / (1.0 - min(eta, 0.9)) - 1.0
    return _Embedding(None, Vh[:keep].T, s, None, distortion, confidence, f"{method}, rank {keep}")


def _rounded(lib: Library, R: Any, task: Task, distortion: float, confidence: float, method: str) -> _Embedding:
    """The embedding by R, with the rounding of its factorization: ||E R^-1||, ||E|| of the order of u sqrt(n) ||R||."""
    amplification = _inverse_norm(lib, R)
    eta = _FACTORING * UNIT * math.sqrt(task.n) * amplification
    distortion = (1.0 + distortion) / (1.0 - eta) - 1.0 if eta < 0.9 else math.inf
    return _Embedding(R, None, None, None, distortion, confidence, method, amplification)


def _embedding(
    lib: Library,
    A: Any,
    task: Task,
    reuse: Mapping[str, Any],
    seed: int,
    confidence: float,
    given: _Given | None,
) -> _Embedding:
    if given is not None:
        checked = given.checked(lib, task)
        if checked is not None:
            return checked
    if task.m < task.n and task.ridge == 0.0:
        # wide: the directions of range(A) themselves
        A = lib.astype(A, "float64")
        U, s, Vh = lib.svd(A)
        keep = _counted(lib, A.T, U, s, task)
        return _Embedding(None, Vh[:keep].T, s[:keep], U[:, :keep], 0.0, 1.0, "singular vectors of A")
    rows = sketch_rows(task)
    if not rows:
        return _from_matrix(lib, _with_ridge(lib, A, task.ridge), task, 1e-3, 1.0, "QR of A")
    delta = 1.0 - confidence - (0.0 if given is None else given.failure)
    ready = reuse.get("sketch")
    if ready is not None and ready.kind != "identity" and not reuse.get("sketch_used", False):
        SA, rows = lib.asarray(ready.R), ready.rows
    else:
        SA = lib.asarray(make_sketch("sparse_sign", rows, task.m, seed).apply(A))
    distortion = math.sqrt(task.n / rows) + math.sqrt(2.0 * math.log(1.0 / delta) / rows)
    return _from_matrix(lib, _with_ridge(lib, SA, task.ridge), task, distortion, confidence, "independent sketch")


@dataclass(slots=True)
class _Given:
    """A factor that the algorithm left behind, and the test vectors that it is held against A with.

    R with R'R = A'A + ridge I (A A' + ridge I for wide A), or V (n, k) and s (k,) of an A of numerical rank k. W holds
    the test vectors: columns R^-1 g (or V (g / s), then as many v - V V'v); `product` their product with A, or A' for
    wide A; with A'A, or A A', where the distortion is measured: where `eta`, the rounding of R by a formula, could
    stand for a whole direction, or there is no formula. `failure` is the probability that what they show is too small.
    """

    R: Any
    V: Any
    s: Any
    squared: bool
    G: Any
    W: Any
    failure: float
    measuring: bool = False
    product: Any = None
    eta: float = 0.0
    amplification: float = 1.0  # ||D R^-1||_F

    @classmethod
    def of(cls, lib: Library, reuse: Mapping[str, Any], task: Task, seed: int, confidence: float) -> _Given | None:
        """What there is, with fresh test vectors."""
        R = reuse.get("gram_factor")
        squared = R is not None
        R = reuse.get("r_factor") if R is None else R
        ready = reuse.get("sketch")
        if R is None and ready is not None and ready.kind == "identity" and task.dtype == "float64":
            R = lib.asarray(ready.R)  # of a probe that took all of A
            R = lib.qr_r(_with_ridge(lib, R, task.ridge)) if task.ridge else R
        if R is None:
            return None
        measuring, failure = not is_double(R), _SHARE * (1.0 - confidence)
        R = lib.astype(lib.asarray(R), "float64")
        stream = np.random.default_rng(np.random.Philox(key=seed))
        xp, n = lib.xp, R.shape[0]
        unit = 8.0 * UNIT * math.sqrt(n)
        if "r_svd" in reuse and not measuring:
            s, Vh = (lib.asarray(part) for part in reuse["r_svd"])
            keep = int((s > _negligible(task) * s[0]).sum())
            if keep < n:
                V, s = Vh[:keep].T, s[:keep]
                if not keep:
                    return None
                amplification = math.sqrt(keep) * float(s[0] / s[-1])
                eta = unit * amplification
                if not keep * eta < _HIDDEN:
                    return None
                G = lib.asarray(stream.standard_normal((keep, _TEST_VECTORS)))
                v = lib.asarray(stream.standard_normal((n, _TEST_VECTORS)))
                W = xp.concat([lib.matmul(V, G / s[:, None]), v - lib.matmul(V, lib.rmatmul(V, v))], axis=1)
                return cls(R, V, s, False, G, W, failure, eta=eta, amplification=amplification)
        if not float(abs(xp.linalg.diagonal(R)).min()) > 0.0:
            return None
        eta = amplification = 0.0
        if not measuring:
            amplification = _inverse_norm(lib, R)
            eta = unit * (amplification**2 if squared else amplification)
            if not eta < (_TRUSTED_SQUARED if squared else _TRUSTED):
                return None
            # One of n directions is about 1 / n of the squared length of a test vector: rounding could stand for it.
            measuring = n * eta >= _HIDDEN
        if measuring and task.m < task.n and task.ridge > 0.0:
            return None  # the bound is a difference, in which a distortion counts times ||A||^2 / ridge
        G = lib.asarray(stream.standard_normal((n, _MEASURING if measuring else _TEST_VECTORS)))
        W = lib.solve_triangular(R, G)
        if measuring and not bool(xp.all(xp.isfinite(W))):
            return None
        return cls(R, None, None, squared, G, W, failure, measuring, eta=eta, amplification=amplification)

    def measured(self, lib: Library, task: Task) -> tuple[float, float]:
        """Upper bounds on ||E||_F, E = R^-T (A'A + ridge I) R^-1 - I, and ||D R^-1||_F: both hold but for `failure`.

        ||E G||_F^2 for the standard normal G (n, r) is a sum of chi-squared variables with r degrees of freedom,
        weighted by the squared eigenvalues of E; of all weights with the same sum a single one is the most likely to
        fall far below its mean (Roosta-Khorasani and Szekely, Metrika 78, 2015). With q the p-quantile of one such
        variable ||E||_F^2 <= ||E G||_F^2 / q, except with probability p; ||D R^-1 G||_F bounds ||D R^-1||_F alike. It
        does not matter how R was computed, only how the products here are rounded.
        """
        n, r = self.G.shape
        quantile = chi_squared.quantile(r, 0.5 * self.failure)
        image = self.product + task.ridge * self.W if task.ridge else self.product
        departure = lib.solve_triangular(self.R, image, transpose=True) - self.G
        spread = column_norms(self.R)[:, None] * self.W
        distortion, amplification = (math.sqrt(float((M * M).sum()) / quantile) for M in (departure, spread))
        return distortion + 8.0 * UNIT * math.sqrt(n) * amplification, amplification

    def checked(self, lib: Library, task: Task) -> _Embedding | None:
        """The embedding, with how far R'R may be from A'A, relative; None if rounding or the tests speak against it."""
        n, wide = self.R.shape[0], task.m < task.n
        what = "Gram factor" if self.squared else "R factor"
        if self.measuring:
            eps, amplification = self.measured(lib, task)
            if not eps < (_DISTORTED_WIDE if wide else _DISTORTED):
                return None
            method = f"{what} checked by independent test vectors to {eps:.1e}"
            # the singular values of A R^-1 are at least sqrt(1 - eps)
            distortion = 0.0 if wide else 1.0 / math.sqrt(1.0 - eps) - 1.0
            return _Embedding(self.R, None, None, None, distortion, 1.0 - self.failure, method, amplification, wide)
        columns = self.G.shape[1]
        found = (self.product * self.product).sum(0)
        lengths = (self.G * self.G).sum(0)
        gap = abs(found[:columns] + task.ridge * (self.W[:, :columns] ** 2).sum(0) - lengths)
        if not float((gap / lengths).max()) <= _TOLERANCE + self.eta:
            return None
        # What all of them overlook: |g'E g| <= t for each of the c vectors, where ||E||_2 > 2 t / q, has a probability
        # of at most that of chi-squared with one degree of freedom below q to the power of c.
        q = chi_squared.quantile(1, self.failure ** (1.0 / columns))
        rounding = 16.0 * UNIT * math.sqrt(n) * self.amplification * lengths
        eta = 2.0 / q * float((gap + rounding).max())
        if self.V is not None:
            small = 4.0 * math.sqrt(n) * UNIT * float(self.s[0])
            if not bool(lib.xp.all(found[columns:] <= small**2 * (self.W[:, columns:] ** 2).sum(0) + small**2)):
                return None
            method = f"singular values of the algorithm's R checked by independent test vectors, rank {self.V.shape[1]}"
            return _Embedding(None, self.V, self.s, None, eta, 1.0 - self.failure, method)
        method = f"{what} checked by independent test vectors"
        return _Embedding(self.R, None, None, None, eta, 1.0 - self.failure, method, self.amplification, wide)


def _inverse_norm(lib: Library, R: Any) -> float:
    """||D R^-1||_F, D the column norms of R: how much rounding in A'r is amplified.

    Exact for small n; else twice the estimate from 16 random vectors, whose mean square is below a quarter of the
    square with probability 1.1e-3 at most (that of chi-square with 16 degrees of freedom, where one direction decides).
    """
    norms, n = column_norms(R), R.shape[0]
    if not float(abs(lib.xp.linalg.diagonal(R)).min()) > 0.0:
        return math.inf
    if n <= _EXACT_INVERSE:
        inverse = norms[:, None] * lib.solve_triangular(R, _eye(lib, R, n))
        return float((inverse * inverse).sum()) ** 0.5
    G = lib.asarray(np.random.default_rng(np.random.Philox(key=n)).standard_normal((n, 16)))
    sampled = norms[:, None] * lib.solve_triangular(R, G)
    return 2.0 * (float((sampled * sampled).sum()) / 16.0) ** 0.5


def _projected_norms(lib: Library, A: Any, embedding: _Embedding, r: Any, g: Any, task: Task) -> Any:
    """||P r|| per right-hand side, up to the distortion."""
    if embedding.wide:
        if task.ridge == 0.0:
            return column_norms(r)
        inside = lib.solve_triangular(embedding.R, matmul64(lib, A, g), transpose=True)
        size = (g * g).sum(0)
        rest = size - (inside * inside).sum(0)  # the difference is lost below rounding of what is subtracted
        rounding = 8.0 * math.sqrt(task.m) * UNIT + embedding.distortion
        return ((lib.xp.where(rest > 0, rest, 0.0 * rest) + rounding * size) / task.ridge) ** 0.5
    if embedding.R is not None:
        return column_norms(lib.solve_triangular(embedding.R, g, transpose=True))
    if embedding.U is not None:
        return column_norms(lib.rmatmul(embedding.U, r))
    return column_norms(lib.rmatmul(embedding.V, g) / embedding.s[:, None])


def certify(
    lib: Library,
    A: Any,
    b: Any,
    x: Any,
    task: Task,
    evidence: Evidence,
    target: float | None,
    *,
    reuse: Mapping[str, Any],
    seed: int,
    confidence: float,
) -> Certificate:
    """Certificate of x : (n,) or (n, r), worst column, in `task.metric`; all operands arrays of `lib`, scaled.

    `reuse` may hold "gram_factor" or "r_factor" and "r_svd" (of the algorithm that ran) and "sketch" (of a probe)
    unless "sketch_used".
    """
    xp, metric = lib.xp, task.metric or _PREDICTION
    B, X = lib.astype(as_columns(b), "float64"), lib.astype(as_columns(x), "float64")
    if not bool(xp.all(xp.isfinite(X))):
        return Certificate(metric, math.inf, math.inf, 1.0, "x is not finite", target, False)
    columns = X.shape[1]
    wide = task.m < task.n
    given = _Given.of(lib, reuse, task, seed, confidence)
    r, g, image = _residual_and_gradient(lib, A, B, X, given, wide)
    if given is not None:
        given.product = g[:, columns:] if wide or given.measuring else image
        if wide and given.measuring:
            given.product = matmul64(lib, A, given.product)
    g = g[:, :columns] - task.ridge * X
    norm_b = column_norms(B)
    embedding = _embedding(lib, A, task, reuse, seed, confidence, given)
    norm_x = column_norms(X)
    norm_r = (column_norms(r) ** 2 + task.ridge * norm_x**2) ** 0.5
    assert metric != BACKWARD or evidence.norm_fro is not None
    norm_A = math.hypot(evidence.norm_fro or 0.0, math.sqrt(task.ridge * task.n))

    def worst(sizes: Any) -> float:
        """The error, in the metric, of the worst column."""
        if metric == SUBOPTIMALITY:
            at_least = norm_r - UNIT * in_r
            largest = max(map(_suboptimality, sizes.tolist(), at_least.tolist()))
        elif metric == BACKWARD:
            largest = _KARLSON_WALDEN * float(sizes.max()) / norm_A if norm_A > 0.0 else math.inf
        elif float(norm_b.min()) > 0.0:
            largest = float((sizes / norm_b).max())
        elif bool(xp.any((norm_x > 0) & ~(norm_b > 0))):  # for b = 0 nothing but x = 0 will do
            return math.inf
        else:
            largest = float((sizes / xp.where(norm_b > 0, norm_b, xp.inf)).max())
        return math.inf if math.isnan(largest) else largest

    def measured(r: Any, g: Any, rounding: Any) -> tuple[float, float]:
        """Bound and estimate; `rounding` is what may be added to the sizes that they are read off."""
        if metric == BACKWARD:
            sizes = _karlson_walden(lib, embedding, g, norm_x, norm_r)
        else:
            sizes = _projected_norms(lib, A, embedding, r, g, task)
        if not math.isfinite(embedding.distortion):
            return math.inf, worst(sizes)
        return worst(sizes * (1.0 + embedding.distortion) + rounding), worst(sizes)

    # where rounding of r, of A'r and of ridge x is seen; ||R^-T ridge x|| <= sqrt(ridge) ||x||
    in_r = rounding_of_sum(task.n) * _partial_sums(lib, A, embedding, X, norm_b, task, target) + norm_b
    of_r, of_g, of_ridge = in_r, _amplification(lib, A, embedding, task) * norm_r, math.sqrt(task.ridge) * norm_x
    if metric == BACKWARD:
        of_r, of_g = in_r * _seen_through(lib, norm_x, norm_r, norm_A), rounding_of_sum(rows_at_once(A)) * norm_A
        of_ridge = math.sqrt(task.ridge) * xp.ones_like(norm_x)
    fixed = UNIT * (2.0 * of_ridge + _turned(embedding, task) * norm_r)  # whatever the residual is computed in
    rounding = UNIT * (of_r + of_g) + fixed
    bound, estimate = measured(r, g, rounding)
    method = embedding.method
    near = target is not None and bound > target and estimate < 4.0 * max(target, worst(rounding))
    if near and task.device == "cpu":
        from ...primitives.kernels import _numba

        host = lib.to_numpy
        high, low = _numba.residual_double_double(host(A), host(X), host(B))
        gradient = lib.asarray(_numba.rmatvec_compensated(host(A), high, low)) - task.ridge * X
        bound, estimate = measured(lib.asarray(high), gradient, UNIT * rounding + fixed)
        method += ", residual in twice float64's precision"
    if metric == SUBOPTIMALITY and not math.isfinite(bound):
        method = "the residual is hardly more than rounding: relative to it no error is small; ask for prediction_error"
    rank = None if embedding.V is None else embedding.V.shape[1]
    if rank == min(task.m, task.n):
        rank = None
    outside = _outside_row_space(lib, A, embedding, X, task, like_lapack=target is None)
    if outside is not None:
        why = f"not of minimum norm: {outside}"
        return Certificate(metric, math.inf, estimate, embedding.confidence, why, target, False, rank)
    satisfied = says_enough(bound, target)
    relative = float((norm_r / lib.xp.where(norm_b > 0, norm_b, lib.xp.inf)).max())
    return Certificate(
        metric, bound, estimate, embedding.confidence, method, target, satisfied, rank, residual=relative
    )


def _suboptimality(projected: float, norm_r: float) -> float:
    """||r|| / ||r*|| - 1 where ||P r|| is at most `projected`."""
    if projected == 0.0:
        return 0.0
    t = projected / norm_r if norm_r > 0.0 else math.inf
    return math.expm1(-0.5 * math.log1p(-t * t)) if t < 1.0 else math.inf


def _karlson_walden(lib: Library, embedding: _Embedding, g: Any, norm_x: Any, norm_r: Any) -> Any:
    """||(||x||^2 A'A + ||r||^2 I)^(-1/2) g|| per column, g = A'r, up to the distortion; the smaller of two bounds."""
    seen = _where_positive(lib, column_norms(g), norm_r)
    if embedding.wide or embedding.U is not None:  # (||x||^2 A'A + ||r||^2 I)^(-1/2) A' is at most 1 / ||x||
        through = _where_positive(lib, norm_r, norm_x)
        return lib.xp.where(norm_x > 0, lib.xp.where(through < seen, through, seen), seen)
    if embedding.R is not None:
        _, s, Vh = lib.svd(embedding.R)
        V = Vh.T
    else:
        V, s = embedding.V, embedding.s
    inside = lib.rmatmul(V, g)
    weights = (s[:, None] * norm_x[None, :]) ** 2 + norm_r[None, :] ** 2
    squares = _where_positive(lib, inside**2, weights).sum(0)
    outside = column_norms(g - lib.matmul(V, inside)) if V.shape[1] < V.shape[0] else 0.0 * norm_r
    return (squares + _where_positive(lib, outside, norm_r) ** 2) ** 0.5


def _where_positive(lib: Library, above: Any, below: Any) -> Any:
    """above / below, 0 where both are 0 and infinite where only `below` is."""
    one = lib.xp.ones_like(below)
    quotient = above / lib.xp.where(below > 0, below, one)
    return lib.xp.where(below > 0, quotient, lib.xp.where(above > 0, lib.xp.inf * one, 0.0 * one))


def _seen_through(lib: Library, norm_x: Any, norm_r: Any, norm_A: float) -> Any:
    """By what factor (||x||^2 A'A + ||r||^2 I)^(-1/2) A' multiplies at most: min(1 / ||x||, ||A|| / ||r||)."""
    one = lib.xp.ones_like(norm_x)
    by_x, by_r = _where_positive(lib, one, norm_x), _where_positive(lib, norm_A * one, norm_r)
    least = lib.xp.where(by_x < by_r, by_x, by_r)
    return lib.xp.where(least < lib.xp.inf, least, 0.0 * one)  # x = 0 and r = 0: b is 0 too


def _residual_and_gradient(
    lib: Library, A: Any, B: Any, X: Any, given: _Given | None, wide: bool
) -> tuple[Any, Any, Any]:
    """r = B - A X; A' times r and the columns that `given` needs; A W for tall A whose R is in float64.

    A in less than float64 is read and converted once, by blocks of rows that stay in cache between the two products.
    """
    xp, columns = lib.xp, X.shape[1]
    forward = X if given is None or wide else xp.concat([X, given.W], axis=1)

    def products(part: Any, rows: slice) -> tuple[Any, Any, Any]:
        AX = lib.matmul(part, forward)
        r, image = B[rows] - AX[:, :columns], AX[:, columns:]
        if given is None or not (wide or given.measuring):
            return r, rmatmul_in_blocks(lib, part, r), image
        beside = given.W[rows] if wide else image
        return r, rmatmul_in_blocks(lib, part, xp.concat([r, beside], axis=1)), image[:, :0]

    if is_double(A):
        return products(A, slice(None))
    residuals, images, total = [], [], 0.0
    for rows in row_blocks(A, 2 * 8):  # of _BLOCK entries
        r, g, image = products(lib.astype(A[rows], "float64"), rows)
        residuals.append(r)
        images.append(image)
        total = total + g
    return xp.concat(residuals, axis=0), total, xp.concat(images, axis=0)


def _outside_row_space(
    lib: Library, A: Any, embedding: _Embedding, X: Any, task: Task, *, like_lapack: bool = False
) -> str | None:
    """Where the solution is not unique: a sentence if X is not the one of minimum norm, which lies in the row space.

    `like_lapack`: to what LAPACK's own tests allow (xQRT14: 30 max(m, n) u), where that is less.
    """
    if embedding.V is None and (not embedding.wide or task.ridge > 0.0):
        return None
    size = column_norms(X)
    if embedding.wide:
        rest, spread = X, embedding.amplification
    else:
        rest = X - lib.matmul(embedding.V, lib.rmatmul(embedding.V, X))
        spread = float(embedding.s[0] / embedding.s[-1]) if embedding.s.shape[0] else 1.0
    # What is outside adds its square to that of the norm: up to the root of u it is lost in the rounding of the norm.
    unit = UNIT_ROUNDOFF[task.dtype]
    least = min(math.sqrt(unit), max(1e-8, 30.0 * max(task.m, task.n) * unit)) if like_lapack else math.sqrt(unit)
    allowed = max(least, 100.0 * UNIT * math.sqrt(X.shape[0]) * spread)

    def worst() -> float:
        sizes = lib.xp.where(size > 0, size, lib.xp.ones_like(size))
        return float(lib.xp.max(lib.xp.where(size > 0, column_norms(rest) / sizes, column_norms(rest))))

    if embedding.wide:  # rest - A'(R'R)^-1 A rest: what lies in the row space shrinks by the distortion each time
        for _ in range(_PROJECTIONS):
            rest = rest - rmatmul64(lib, A, lib.cholesky_solve(embedding.R, matmul64(lib, A, rest)))
            if worst() <= allowed:
                return None
    share = worst()
    return None if share <= allowed else f"{share:.1e} of x is outside the row space of A"


def _partial_sums(
    lib: Library, A: Any, embedding: _Embedding, X: Any, norm_b: Any, task: Task, target: float | None
) -> Any:
    """What the norms of all partial sums of the columns of A X stay below: ||A D^-1||_2 ||D x||, D = I or the norms of
    A's columns. These are read off the R of a tall A, and else formed only where x is large beside b."""
    n = X.shape[0]

    def sharp_enough(found: Any) -> bool:
        return target is not None and bool(lib.xp.all(found < 1e-3 * target / UNIT / n * norm_b))

    if embedding.R is not None and not embedding.wide:
        norms = column_norms(embedding.R)
        moved = column_norms(norms[:, None] * X)
        found = math.sqrt(n) * moved  # ||A D^-1||_F
        if n <= _FEW_COLUMNS or sharp_enough(found):
            return found
        scaled = embedding.R / lib.xp.where(norms > 0, norms, lib.xp.ones_like(norms))[None, :]
        return _norm_2(lib, scaled) * moved
    # each of the few rows of a wide A is one walk, which may be three times as far off as it is on average
    few = 1.0 + 2.0 / math.sqrt(task.m)
    if embedding.R is not None:
        found = few * math.sqrt(lib.sum_of_squares(embedding.R)) * column_norms(X)
        if sharp_enough(found):
            return found
        found = few * _norm_2(lib, embedding.R) * column_norms(X)
    else:
        found = 2.0 * few * (float(embedding.s[0]) if embedding.s.shape[0] else 0.0) * column_norms(X)
    if bool(lib.xp.any(found > _LARGE * norm_b)):
        by_columns = few * math.sqrt(n) * column_norms(norms_of_columns(A)[:, None] * X)
        found = lib.xp.where(by_columns < found, by_columns, found)
    return found


def _norm_2(lib: Library, M: Any) -> float:
    """An upper bound on ||M||_2 of M (n, n), about twice as large, but for matrices made to fool it.

    Twice the norm of M on what M'M makes of two vectors, one of them of ones: sums are worst where all columns are
    nearly the same. Never above ||M||_F.
    """
    n = M.shape[0]
    V = np.ones((n, 2))
    V[:, 1] = np.cos(np.arange(n) ** 2)  # as good as random, and quickly made
    Y = lib.rmatmul(M, lib.matmul(M, lib.asarray(V)))
    above, below = column_norms(lib.matmul(M, Y)).tolist(), column_norms(Y).tolist()
    found = max(2.0 * a / b if b > 0.0 else 0.0 for a, b in zip(above, below, strict=True))
    return min(found, math.sqrt(lib.sum_of_squares(M)))


def _amplification(lib: Library, A: Any, embedding: _Embedding, task: Task) -> float:
    """By how much the rounding u ||r|| of A'r is multiplied by R^-T, or the singular values that count, in ||P r||."""
    in_gradient, s = (1.0 + 1.0 / task.n) * rounding_of_sum(rows_at_once(A)), embedding.s
    if embedding.R is not None and embedding.wide:
        size = float((embedding.R * embedding.R).sum()) ** 0.5
        return in_gradient * size / math.sqrt(task.ridge) if task.ridge > 0.0 else 1.0
    if embedding.R is not None:
        return in_gradient * embedding.amplification
    if embedding.U is not None or s.shape[0] == 0:
        return rounding_of_sum(task.m)
    return in_gradient * float((s * s).sum()) ** 0.5 / float(s[-1])


def _turned(embedding: _Embedding, task: Task) -> float:
    """By what angle, in units of u, the left singular vectors that count may be turned against those that do not: by
    the rounding of a factorization over the smallest singular value of the former (Wedin 1972)."""
    s = embedding.s
    if embedding.U is None or s.shape[0] in (0, task.m):
        return 0.0
    return _FACTORING * math.sqrt(task.m) * float(s[0] / s[-1])


def leaves_factor(task: Task, evidence: Evidence, algorithm: str, backend: str, dtype: str) -> bool:
    """Whether the algorithm, run in `dtype`, is going to leave a factor that passes the test."""
    wide, squared = task.m < task.n, algorithm == "normal_equations"
    if wide:
        leaves = squared or (algorithm == "householder_qr" and task.ridge == 0.0)
    else:
        leaves = squared or algorithm in ("householder_qr", "randomized_cholesky_qr")
        leaves = leaves or (algorithm == "svd" and backend != "numpy")
    if not leaves:
        return False
    condition = min(evidence.condition.median, evidence.scaled_condition.median)
    if dtype != "float64":
        if wide and task.ridge > 0.0:
            return False
        for known in (evidence.condition, evidence.scaled_condition):
            # between ends far apart, as where only the ridge speaks: for a refusal most columns have to be dependent
            condition = min(condition, math.sqrt(known.low * known.high))
        foreseen = _measured_distortion(min(task.m, task.n), condition, squared, UNIT_ROUNDOFF[dtype])
        return foreseen < (_DISTORTED_WIDE if wide else _DISTORTED)
    return wide or algorithm in ("normal_equations", "svd") or 8.0 * UNIT * task.n * condition < _TRUSTED


def _measured_distortion(n: int, condition: float, squared: bool, u: float) -> float:
    """What `_Given.measured` is going to find, about, of R (n, n) computed with unit roundoff u.

    ||E||_F was 0.2 to 1.1 u ||D R^-1||_F^2 for Gram factors and 2.4 to 3.5 u ||D R^-1||_F for QR factors (geometric and
    arithmetic spectra and one small value, conditions 3 to 1000), and the bound on it is 3.9 times as much at a
    confidence of 0.99.
    """
    amplification = condition * math.sqrt(1.0 + n / 80.0)
    return 3.9 * u * (0.6 * amplification**2 if squared else 3.0 * amplification)


def margin(task: Task, leaves_factor: bool) -> float:
    """Bound over error to expect: the distortion, and the mean of 1 / sigma over the singular values of SU."""
    rows = sketch_rows(task)
    if leaves_factor or not rows:
        return 1.05
    q = math.sqrt(task.n / rows)
    return (1.0 + q + 3.0 / math.sqrt(rows)) / math.sqrt(1.0 - q * q)


def work(
    task: Task, evidence: Evidence, backend: str, leaves_factor: bool, has_sketch: bool, dtype: str = "float64"
) -> Work:
    """Two passes over A, and an embedding unless the algorithm leaves one, in `dtype`, or a probe has."""
    k = Calls(backend, "float64")
    m, n, r = task.m, task.n, max(1, task.nrhs)
    q, wide = min(m, n), m < n
    measured = leaves_factor and dtype != "float64"
    tests = (_MEASURING if measured else _TEST_VECTORS) if leaves_factor else 0
    forward, back = (r, r + tests) if wide else (r + tests, r + tests if measured else r)
    calls: list[KernelCall] = [
        k("gemm", m, forward, n) if forward > 1 else k("gemv", m, n),
        k("gemm", n, back, m) if back > 1 else k("gemv_t", m, n),
    ]
    converted = 8.0 * min(m * n, 2 * _BLOCK if wide else _BLOCK) if task.dtype != "float64" else 0.0
    if leaves_factor:
        calls += [k("trsm", q, tests, count=2.0) if measured else k("trsm", q, min(q, _EXACT_INVERSE)), k("trsm", q, r)]
        if measured and wide:
            calls.append(k("gemm", m, tests, n))
        held = (3 if wide else 2) * tests if measured else tests
        peak = 8.0 * (m * (3 * r + held) + n * (2 * r + held) + 4 * q * q) + converted
        if wide:
            calls += [k("gemv", m, n, count=1.0 * r), k("gemv_t", m, n, count=1.0 * r)]
        return Work(tuple(calls), peak)
    calls += [k("trsm", n, min(n, _EXACT_INVERSE)), k("trsm", n, r)]
    peak = 8.0 * (m * (3 * r + _TEST_VECTORS) + 4 * n * n + n * r) + converted
    rows = sketch_rows(task)
    if wide and task.ridge == 0.0:
        calls.append(k("gesdd", m, n))
        peak += 8.0 * 3 * m * n
    elif not rows:
        calls.append(k("geqrf", m + (n if task.ridge else 0), n))
        peak += 8.0 * 2 * m * n
    else:
        if not has_sketch:
            calls.append(KernelCall("sparse_sign", (m, n, rows, 8), task.dtype, "numba"))
        calls.append(k("geqrf", rows, n))
        peak += 8.0 * 3 * rows * n
    if not wide and (singular := evidence.condition.probability_above(1e-3 / _negligible(task))) > 0.01:
        calls.append(k("gesdd", n, n, count=singular))
    return Work(tuple(calls), peak)
