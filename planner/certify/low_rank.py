"""Error of a low-rank approximation, and how far it can be above the best.

The residual ||A - U S Vh||_F is formed by blocks of rows where the rank is small, and otherwise estimated with Gaussian
test vectors: for X with s independent standard normal columns, ||E X||_F^2 >= c ||E||_F^2 except with probability
P(chi^2_s <= c) (the worst case is a residual of rank one), c the delta-quantile of chi^2_s.

With a rank asked for, the best rank-k error is bounded from below: by Mirsky's inequality from a full SVD, else by
`primitives.low_rank.optimality` from the range that the algorithm found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import chdtri

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.low_rank import optimality
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate
from .products import UNIT, matmul64, rmatmul64, row_blocks

TEST_VECTORS = 20


def exact_residual(task: Task, rank: int) -> bool:
    """Whether forming the residual is cheaper than test vectors and a margin for them."""
    return rank <= max(4 * TEST_VECTORS, min(task.m, task.n) // 8)


def _means(lib: Library, A: Any, task: Task) -> Any:
    """Column means (1, n) in float64, or None."""
    if not task.center:
        return None
    ones = lib.asarray(np.ones((task.m, 1)))
    return rmatmul64(lib, A, ones).T / task.m


def _residual_by_blocks(lib: Library, A: Any, U: Any, sVh: Any, mean: Any) -> float:
    total = 0.0
    for rows in row_blocks(A):
        E = lib.astype(A[rows], "float64") - lib.matmul(U[rows], sVh)
        if mean is not None:
            E = E - mean
        total += float((E * E).sum())
    return math.sqrt(total)


def _residual_by_vectors(lib: Library, A: Any, U: Any, sVh: Any, mean: Any, seed: int) -> tuple[float, int]:
    """||E X||_F / sqrt(s) for s Gaussian columns."""
    count = TEST_VECTORS
    X = lib.asarray(np.random.default_rng(np.random.Philox(key=seed)).standard_normal((A.shape[1], count)))
    EX = matmul64(lib, A, X) - lib.matmul(U, lib.matmul(sVh, X))
    if mean is not None:
        EX = EX - lib.matmul(mean, X)
    return math.sqrt(float((EX * EX).sum()) / count), count


def _departure(lib: Library, Q: Any) -> float:
    """||Q'Q - I||_F."""
    G = lib.rmatmul(Q, Q) - lib.asarray(np.eye(Q.shape[1]))
    return math.sqrt(float((G * G).sum()))


def certify(
    lib: Library,
    A: Any,
    outcome: Outcome,
    task: Task,
    evidence: Evidence,
    target: float | None,
    *,
    reuse: Mapping[str, Any],
    seed: int,
    confidence: float,
) -> Certificate:
    """Certificate of the factors (U, s, Vh) in `outcome.value`, arrays of `lib`, A scaled by the planner."""
    U, s, Vh = (lib.astype(part, "float64") for part in outcome.value)
    mean = _means(lib, A, task)
    norm_fro = evidence.norm_fro or 0.0
    if mean is not None:
        norm_fro = math.sqrt(max(0.0, norm_fro**2 - task.m * float((mean * mean).sum())))
    sVh = s[:, None] * Vh
    delta = 1.0 - confidence
    if exact_residual(task, int(s.shape[0])):
        estimate = _residual_by_blocks(lib, A, U, sVh, mean)
        bound, method, sure = estimate * (1.0 + 1e-6), "residual formed by blocks", 1.0
    else:
        estimate, count = _residual_by_vectors(lib, A, U, sVh, mean, seed)
        quantile = float(chdtri(count, 1.0 - 0.5 * delta))
        bound = estimate * math.sqrt(count / quantile)
        method, sure = f"{count} Gaussian test vectors, chi-square bound", confidence
    rounding = 4.0 * UNIT * norm_fro
    bound += rounding
    if norm_fro == 0.0:
        good = estimate == 0.0
        return _certificate(0.0 if good else math.inf, 0.0, 1.0, "A is zero", target)
    departure = max(_departure(lib, U), _departure(lib, Vh.T)) if s.shape[0] else 0.0
    if not departure < 1e2 * UNIT_ROUNDOFF[task.dtype] * max(task.m, task.n):
        return _certificate(math.inf, departure, sure, "the factors are not orthonormal", target)
    if task.rank is None:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, method, target)
    lower, how = _best_error_from_below(lib, A, outcome, task, norm_fro, mean, seed, delta)
    # Below this the error is rounding of the factors in the dtype of the result, whatever the rank.
    noise = 8.0 * UNIT_ROUNDOFF[task.dtype] * math.sqrt(min(task.m, task.n)) * norm_fro
    if bound <= noise:
        return _certificate(bound / norm_fro, estimate / norm_fro, sure, f"{method}: exact up to rounding", target)
    if lower <= 0.0:
        return _certificate(math.inf, estimate / norm_fro, sure, f"{method}; {how}", target)
    excess = max(0.0, bound / lower - 1.0)
    return _certificate(
        excess, min(excess, max(0.0, estimate / lower - 1.0)), min(sure, confidence), f"{method}; {how}", target
    )


def _certificate(bound: float, estimate: float, confidence: float, method: str, target: float | None) -> Certificate:
    satisfied = math.isfinite(bound) and (target is None or bound <= target)
    return Certificate("relative_frobenius", bound, estimate, confidence, method, target, satisfied)


def _best_error_from_below(
    lib: Library, A: Any, outcome: Outcome, task: Task, norm_fro: float, mean: Any, seed: int, delta: float
) -> tuple[float, str]:
    raise LookupError
