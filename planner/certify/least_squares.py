"""Prediction error of a least-squares solution: ||A(x - x*)|| / ||b|| from its residual.

With r = b - Ax (ridge: of the augmented system), A(x* - x) = P r, P the orthogonal projector on range(A). For an
upper triangular R such that A R^-1 = U W with U orthonormal and the singular values of W at least 1/(1 + e),
||P r|| = ||U'r|| <= (1 + e) ||R^-T A'r||. R may come from

- the Gram matrix A'A itself (e is its rounding; checked against A by an independent test vector),
- a QR factorization of A (small problems),
- a QR factorization of an independent sketch SA: with l rows the largest singular value of SU is at most
  1 + sqrt(n/l) + sqrt(2 ln(1/delta)/l) with probability 1 - delta (Davidson and Szarek 2001 for Gaussian S;
  sparse sign sketches with eight nonzeros follow it, which is tested).

Numerically rank-deficient A: singular values below 4 sqrt(n) u sigma_1 are rounding and count as zero, and P projects
on the remaining directions (a tighter threshold than the max(m, n) eps of gelsd, which may drop directions that
matter); the solution must then be the one of minimum norm. A term for rounding is added; when that term decides, the
residual and its product with A' are computed again in twice the precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.sketches import make_sketch
from ...primitives.task import Task
from ...primitives.work import Calls, KernelCall, Work
from ..certificate import Certificate
from .products import UNIT, as_columns, column_norms, matmul64, rmatmul64

SKETCH_FACTOR = 4
_TEST_VECTORS = 3
_QR_AT_ONCE = 2e7  # below this many multiply-adds a QR factorization of A takes less time than starting a sketch


def _negligible(n: int) -> float:
    """Singular values below this times sigma_1 are rounding of the entries and of the factorization."""
    return 4.0 * math.sqrt(n) * UNIT


@dataclass(frozen=True, slots=True)
class _Embedding:
    """Where ||P r|| is read off, and how far it may be off.

    R (n, n) upper triangular where A has full column rank; else V (n, k) and s (k,), the right singular vectors and
    values that count, and for wide A the left singular vectors U (m, k) as well.
    """

    R: Any
    V: Any
    s: Any
    U: Any
    distortion: float
    confidence: float
    method: str
    amplification: float | None = None  # ||D R^-1||_F where it is already known


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
    """Embedding from a tall matrix M whose R factor (or SVD, where that is singular) stands for A's."""
    if M.shape[0] >= M.shape[1]:
        R = lib.qr_r(M)
        diagonal = abs(lib.xp.linalg.diagonal(R))
        norms = column_norms(R)
        scaled = diagonal / lib.xp.where(norms > 0, norms, lib.xp.ones_like(norms))
        # a small pivot relative to its column says "perhaps rank-deficient": only then is the SVD worth its price
        if float(lib.xp.min(scaled)) > 1e3 * _negligible(task.n):
            return _Embedding(R, None, None, None, distortion, confidence, method)
    else:
        R = M
    _, s, Vh = lib.svd(R)
    keep = int((s > _negligible(task.n) * s[0]).sum()) if s.shape[0] else 0
    if keep == M.shape[1]:
        return _Embedding(R, None, None, None, distortion, confidence, method)
    return _Embedding(None, Vh[:keep].T, s[:keep], None, distortion, confidence, f"{method}, rank {keep}")


def _embedding(
    lib: Library,
    A: Any,
    task: Task,
    reuse: Mapping[str, Any],
    seed: int,
    confidence: float,
    pair: tuple[Any, Any, Any] | None,
) -> _Embedding:
    gram_factor = reuse.get("gram_factor")
    if gram_factor is not None and pair is not None:
        R = lib.asarray(gram_factor)
        amplification = _inverse_norm(lib, R)
        distortion = _gram_distortion(lib, amplification, pair, task)
        if distortion is not None:
            method = "Gram factor checked by an independent test vector"
            return _Embedding(R, None, None, None, distortion, 1.0, method, amplification)
    if task.m < task.n and task.ridge == 0.0:
        # wide: the directions of range(A) themselves
        U, s, Vh = lib.svd(lib.astype(A, "float64"))
        keep = int((s > _negligible(min(task.m, task.n)) * s[0]).sum())
        return _Embedding(None, Vh[:keep].T, s[:keep], U[:, :keep], 0.0, 1.0, "singular vectors of A")
    ready = reuse.get("sketch")
    if ready is not None and ready.kind == "identity" and task.dtype != "float64":
        ready = None  # an R rounded to float32 may have lost the weakest directions
    if ready is not None and ready.kind == "identity":
        R = _with_ridge(lib, lib.asarray(ready.R), task.ridge)
        return _from_matrix(lib, R, task, 1e-3, 1.0, "QR of A")
    rows = sketch_rows(task)
    if not rows:
        return _from_matrix(lib, _with_ridge(lib, A, task.ridge), task, 1e-3, 1.0, "QR of A")
    delta = 1.0 - confidence
    if ready is not None and not reuse.get("sketch_used", False):
        SA, rows = lib.asarray(ready.R), ready.rows
    else:
        SA = lib.asarray(make_sketch("sparse_sign", rows, task.m, seed).apply(A))
    distortion = math.sqrt(task.n / rows) + math.sqrt(2.0 * math.log(1.0 / delta) / rows)
    return _from_matrix(lib, _with_ridge(lib, SA, task.ridge), task, distortion, confidence, "independent sketch")


def _whitened(lib: Library, gram_factor: Any, task: Task, seed: int) -> tuple[Any, Any] | None:
    """Gaussian G and R^-1 G: where R'R = A'A the columns of A R^-1 G are as long as those of G, in every direction."""
    if gram_factor is None or task.dtype != "float64":
        return None
    R = lib.asarray(gram_factor)
    if bool(lib.xp.any(lib.xp.linalg.diagonal(R) == 0)):
        return None
    stream = np.random.default_rng(np.random.Philox(key=seed))
    G = lib.asarray(stream.standard_normal((task.n, _TEST_VECTORS)))
    return G, lib.solve_triangular(R, G)


def _gram_distortion(lib: Library, amplification: float, pair: tuple[Any, Any, Any], task: Task) -> float | None:
    """How far R'R may be from A'A (+ ridge), relative; None if the test vectors or rounding speak against R."""
    # rounding of the Gram matrix: about u sqrt(n) after column scaling, seen through R^-1 from both sides
    eta = 8.0 * UNIT * math.sqrt(task.n) * amplification**2
    G, AW, W = pair
    lengths = (G * G).sum(0)
    gap = abs((AW * AW).sum(0) + task.ridge * (W * W).sum(0) - lengths)
    if not eta < 0.25 or not bool(lib.xp.all(gap <= (1e-6 + eta) * lengths)):
        return None
    return eta


def _inverse_norm(lib: Library, R: Any) -> float:
    """||D R^-1||_F, D the column norms of R: how much rounding in A'r is amplified."""
    norms = column_norms(R)
    if bool(lib.xp.any(lib.xp.linalg.diagonal(R) == 0)):
        return math.inf
    inverse = lib.solve_triangular(R, _eye(lib, R, R.shape[0]))
    inverse = norms[:, None] * inverse
    return float((inverse * inverse).sum()) ** 0.5


def _project(lib: Library, embedding: _Embedding, r: Any, g: Any) -> Any:
    """Columns whose norms are ||P r|| up to the distortion."""
    if embedding.R is not None:
        return lib.solve_triangular(embedding.R, g, transpose=True)
    if embedding.U is not None:
        return lib.rmatmul(embedding.U, r)
    return lib.rmatmul(embedding.V, g) / embedding.s[:, None]


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
    """Certificate of x : (n,) or (n, r), all operands arrays of `lib`, scaled by the planner.

    `reuse` may hold "gram_factor" (of the algorithm that ran) and "sketch" (of a probe) unless "sketch_used".
    """
    xp = lib.xp
    B, X = lib.astype(as_columns(b), "float64"), lib.astype(as_columns(x), "float64")
    if not bool(xp.all(xp.isfinite(X))):
        return Certificate("prediction_error", math.inf, math.inf, 1.0, "x is not finite", target, False)
    columns = X.shape[1]
    tests = _whitened(lib, reuse.get("gram_factor"), task, seed)
    AW = matmul64(lib, A, X if tests is None else xp.concat([X, tests[1]], axis=1))
    r = B - AW[:, :columns]
    pair = None if tests is None else (tests[0], AW[:, columns:], tests[1])
    g = rmatmul64(lib, A, r) - task.ridge * X
    norm_b = column_norms(B)
    embedding = _embedding(lib, A, task, reuse, seed, confidence, pair)
    safe = xp.where(norm_b > 0, norm_b, xp.ones_like(norm_b))

    def worst(values: Any) -> float:
        values = xp.where(norm_b > 0, values / safe, xp.where(column_norms(X) > 0, xp.inf, 0.0) + 0.0 * norm_b)
        return float(xp.max(values)) if bool(xp.all(xp.isfinite(values))) else math.inf

    def measured(r: Any, g: Any) -> tuple[float, float]:
        size = column_norms(_project(lib, embedding, r, g))
        return worst(size * (1.0 + embedding.distortion)), worst(size)

    amplification = _amplification(lib, embedding)
    norm_r = column_norms(r)
    if embedding.R is not None:
        spread = column_norms(embedding.R)
    else:
        spread = xp.ones_like(X[:, 0]) * (evidence.norm_fro or 1.0) / math.sqrt(task.n)
    moved = column_norms(spread[:, None] * X)
    bound, estimate = measured(r, g)
    slack = 2.0 * UNIT * worst(moved + norm_b + norm_r * amplification)
    method = embedding.method
    if target is not None and bound + slack > target and estimate < 4.0 * max(target, slack) and task.device == "cpu":
        from ...primitives.kernels import _numba

        host = lib.to_numpy
        high, low = _numba.residual_double_double(host(A), host(X), host(B))
        gradient = lib.asarray(_numba.rmatvec_compensated(host(A), high, low)) - task.ridge * X
        bound, estimate = measured(lib.asarray(high), gradient)
        slack = 2.0 * UNIT * worst(norm_b * UNIT + norm_r * amplification * UNIT)
        method += ", residual in twice float64's precision"
    bound += slack
    rank = None if embedding.V is None else embedding.V.shape[1]
    if rank == min(task.m, task.n):
        rank = None
    outside = _outside_row_space(lib, embedding, X)
    if outside is not None:
        why = f"not of minimum norm: {outside}"
        return Certificate("prediction_error", math.inf, estimate, embedding.confidence, why, target, False, rank)
    satisfied = math.isfinite(bound) and (target is None or bound <= target)
    return Certificate("prediction_error", bound, estimate, embedding.confidence, method, target, satisfied, rank)


def _outside_row_space(lib: Library, embedding: _Embedding, X: Any) -> str | None:
    """Where the solution is not unique: a sentence if X is not the one of minimum norm, which lies in the row space."""
    if embedding.V is None:
        return None
    rest = column_norms(X - lib.matmul(embedding.V, lib.rmatmul(embedding.V, X)))
    size = column_norms(X)
    spread = float(embedding.s[0] / embedding.s[-1]) if embedding.s.shape[0] else 1.0
    allowed = max(1e-8, 100.0 * UNIT * math.sqrt(X.shape[0]) * spread)
    share = lib.xp.where(size > 0, rest / lib.xp.where(size > 0, size, lib.xp.ones_like(size)), rest)
    worst = float(lib.xp.max(share))
    return None if worst <= allowed else f"{worst:.1e} of x is outside the row space of A"


def _amplification(lib: Library, embedding: _Embedding) -> float:
    if embedding.amplification is not None:
        return embedding.amplification
    if embedding.R is not None:
        return _inverse_norm(lib, embedding.R)
    if embedding.U is not None:
        return 1.0
    return float(embedding.s[0] / embedding.s[-1]) if embedding.s.shape[0] else 0.0


def margin(task: Task, has_gram_factor: bool) -> float:
    """Bound over error to expect: the distortion, and the mean of 1 / sigma over the singular values of SU."""
    rows = sketch_rows(task)
    if has_gram_factor or not rows:
        return 1.05
    q = math.sqrt(task.n / rows)
    return (1.0 + q + 3.0 / math.sqrt(rows)) / math.sqrt(1.0 - q * q)


def work(task: Task, evidence: Evidence, backend: str, has_gram_factor: bool, has_sketch: bool) -> Work:
    """Two passes over A, and an embedding unless one is at hand."""
    k = Calls(backend, "float64")
    m, n, r = task.m, task.n, max(1, task.nrhs)
    calls: list[KernelCall] = [
        k("gemm", m, r + (_TEST_VECTORS if has_gram_factor else 0), n),
        k("gemm", n, r, m) if r > 1 else k("gemv_t", m, n),
    ]
    calls += [k("trsm", n, n), k("trsm", n, r)]
    peak = 8.0 * (m * (3 * r + _TEST_VECTORS) + 4 * n * n + n * r)
    rows = sketch_rows(task)
    if has_gram_factor:
        return Work(tuple(calls), peak)
    if m < n and task.ridge == 0.0:
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
    return Work(tuple(calls), peak)
