"""Forward error of a linear system, ||x - x*|| / ||x*|| in 2-norms, with what was found of the condition number.

With the residual r = b - A x the error is e = A^-1 r. The algorithm that ran solves for r once more, by its own factors
where it has left them: d with A d = r - q, q computed, so that e = d + A^-1 q and

    ||e|| <= ||d|| + ||A^-1|| (||q|| + what rounding adds to r and q).

The second term is small as long as the condition number is below 1/u, so that a coarse bound on ||A^-1|| will do. It is
solved for a standard normal G (n, p) as well: A Z = G - Q with Q computed. ||A^-1 G||_F is at least ||A^-1|| times the
root of a chi-squared variable with p degrees of freedom (the part of G along the first singular vector alone), which
is above its delta-quantile q with probability 1 - delta, and at most ||Z||_F + ||A^-1|| ||Q||_F:

    ||A^-1|| <= ||Z||_F / (sqrt(q) - ||Q||_F)

(Dixon, SIAM J. Numer. Anal. 20, 1983, for one power of the inverse; here with its rounding). Nothing is assumed of how
the systems were solved. With ||A||_F the same bounds the condition number from above, and the longest column of Z from
below. Where what is left is too large, the same is done once more for that, from residuals in twice the precision:
condition numbers up to 1/u come within reach. Where no bound on ||A^-1|| comes out even so, A is singular to the
precision that it was solved in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...primitives import chi_squared
from ...primitives.algorithm import Algorithm, Breakdown
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.linear_system.refined_lu import COMPENSATED
from ...primitives.task import Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate, says_enough
from .linear_system import rounding_of_residual
from .products import UNIT, as_columns, column_norm_list, matmul64

METRIC = "forward_error"
_TEST_VECTORS = 4
_LOOSE = 1.5  # bound over estimate from which what is left is solved for as well


def certify(
    lib: Library,
    A: Any,
    b: Any,
    x: Any,
    task: Task,
    evidence: Evidence,
    target: float | None,
    *,
    again: Callable[[Any], Any],
    seed: int,
    confidence: float,
) -> Certificate:
    """Certificate of x : (n,) or (n, r), worst column; all operands arrays of `lib`, scaled by the planner.

    Parameters
    ----------
    evidence : Evidence
        With the norm of A.
    again : callable, (n, k) float64 array of `lib` -> (n, k) array
        Solves systems with A as the algorithm did. May raise Breakdown.
    """
    assert evidence.norm_fro is not None
    norm_A, n = evidence.norm_fro, task.n
    B, X = lib.astype(as_columns(b), "float64"), lib.astype(as_columns(x), "float64")
    columns = X.shape[1]
    norm_b, norm_x = column_norm_list(B), column_norm_list(X)

    def refused(why: str, condition: Interval | None = None) -> Certificate:
        return Certificate(METRIC, math.inf, math.inf, confidence, why, target, False, condition=condition)

    if not all(map(math.isfinite, norm_x)):
        return refused("x is not finite")
    r, off, how = _residual(lib, A, B, X, norm_A, norm_b, norm_x, task)
    norm_r = column_norm_list(r)
    if not all(map(math.isfinite, norm_r)):
        return refused("the residual is not finite")
    scale = [size if size > 0.0 else 1.0 for size in norm_r]
    G = lib.asarray(np.random.default_rng(np.random.Philox(key=seed)).standard_normal((n, _TEST_VECTORS)))
    wanted = lib.xp.concat([r / lib.asarray(np.array(scale)), G], axis=1)

    def bounds(norm_solved: list[float], left: list[float]) -> tuple[float, float, Interval]:
        """Bound and estimate of the error in x, and the condition number, from what was solved and what is left."""
        inverse, condition = _inverse_norm(
            norm_solved[columns:], left[columns:], sizes[columns:], evidence, n, confidence
        )
        bound = estimate = 0.0
        for j in range(columns):
            error = scale[j] * norm_solved[j]
            most = error + inverse * (scale[j] * left[j] + off[j])
            if norm_b[j] == 0.0:  # x* is zero
                bound, estimate = (math.inf, math.inf) if norm_x[j] > 0.0 else (bound, estimate)
            else:
                bound = max(bound, most / (norm_x[j] - most) if most < norm_x[j] else math.inf)
                estimate = max(estimate, error / norm_x[j] if norm_x[j] > 0.0 else math.inf)
        return bound, estimate, condition

    sizes, unit = column_norm_list(wanted), rounding_of_residual(n)
    try:
        solved = lib.astype(lib.asarray(again(wanted)), "float64")
        norm_solved = column_norm_list(solved)
        left = column_norm_list(wanted - matmul64(lib, A, solved))
        if not all(map(math.isfinite, (*norm_solved, *left))):
            return refused("the error could not be solved for: its residual is not finite")
        left = [q + unit * (norm_A * z + w) for q, z, w in zip(left, norm_solved, sizes, strict=True)]
        bound, estimate, condition = bounds(norm_solved, left)
        if bound > _LOOSE * estimate and task.device == "cpu":
            rest, rest_off, _ = _residual(lib, A, wanted, solved, norm_A, sizes, norm_solved, task)
            more = lib.astype(lib.asarray(again(rest)), "float64")
            norm_more, norm_rest = column_norm_list(more), column_norm_list(rest)
            left = column_norm_list(rest - matmul64(lib, A, more))
            left = [
                q + unit * (norm_A * z + w) + off
                for q, z, w, off in zip(left, norm_more, norm_rest, rest_off, strict=True)
            ]
            if all(map(math.isfinite, left)):
                bound, estimate, condition = bounds(column_norm_list(solved + more), left)
    except Breakdown as breakdown:
        return refused(f"the error could not be solved for: {breakdown}")
    if not math.isfinite(condition.high):
        return refused(f"A is singular to {task.dtype} (condition number at least {condition.low:.1g})", condition)
    method = f"the error solved for, {how}; condition number {condition.low:.1g} to {condition.high:.1g}"
    satisfied = says_enough(bound, target)
    return Certificate(METRIC, bound, estimate, confidence, method, target, satisfied, condition=condition)


def _residual(
    lib: Library, A: Any, B: Any, X: Any, norm_A: float, norm_b: list[float], norm_x: list[float], task: Task
) -> tuple[Any, list[float], str]:
    """B - A X, how far each column may be off, and how it was computed."""
    if task.device != "cpu":
        unit = rounding_of_residual(task.n)
        off = [unit * (norm_A * size_x + size_b) for size_x, size_b in zip(norm_x, norm_b, strict=True)]
        return B - matmul64(lib, A, X), off, "residual in float64"
    from ...primitives.kernels import _numba

    host = lib.to_numpy(A)
    r = lib.asarray(_numba.residual_compensated(host, lib.to_numpy(X), lib.to_numpy(B)))
    # the errors are summed in float64, one after the other (in lanes along rows), which for positive entries is a bias:
    # 225 u^2 |A||x| were measured at n = 3000 in columns, 2 u^2 in rows
    steps = task.n if not host.flags.c_contiguous else task.n / _numba.LANES
    unit = (4.0 + 0.25 * steps) * UNIT
    off = [
        UNIT * (size_r + unit * (norm_A * size_x + size_b))
        for size_r, size_x, size_b in zip(column_norm_list(r), norm_x, norm_b, strict=True)
    ]
    return r, off, "residual in twice float64's precision"


def _inverse_norm(
    solved: list[float], left: list[float], sizes: list[float], evidence: Evidence, n: int, confidence: float
) -> tuple[float, Interval]:
    """A bound on ||A^-1||, which holds with the confidence, and the condition number between bounds.

    Arguments are norms of the columns of Z, of what may be left of G - A Z, and of G.
    """
    assert evidence.norm_fro is not None
    room = math.sqrt(chi_squared.quantile(len(solved), 1.0 - confidence)) - math.hypot(*left)
    inverse = math.hypot(*solved) / room if room > 0.0 else math.inf
    norm_A = evidence.norm_fro / math.sqrt(n) if evidence.norm_2 is None else evidence.norm_2.low
    least = max(z / (g + q) for z, g, q in zip(solved, sizes, left, strict=True))
    low = max(1.0, norm_A * least)
    high = max(low, evidence.norm_fro * inverse)
    likely = math.sqrt(low * high) if math.isfinite(high) else 10.0 * low
    return inverse, Interval(likely, low, high)


def work(task: Task, evidence: Evidence, algorithm: Algorithm, options: Any) -> Work:
    """A residual in twice the precision, one more solve and the product that checks it."""
    n, r = task.n, max(1, task.nrhs)
    columns = r + _TEST_VECTORS
    k = Calls(options.backend, "float64")
    calls = [k("gemm", n, r, n, count=COMPENSATED), k("gemm", n, columns, n)]
    if leaves_factor(algorithm, options):
        calls.append(k("trsm", n, columns, count=2.0))
        peak = 0.0
    else:
        once_more = algorithm.work(replace(task, nrhs=columns), evidence, options)
        calls += once_more.calls
        peak = once_more.peak_bytes
    return Work(tuple(calls), peak + 8.0 * n * (3 * r + 4 * columns))


def leaves_factor(algorithm: Algorithm, options: Any) -> bool:
    """Whether the algorithm solves again without factoring again."""
    named = ("lu", "cholesky", "ldlt", "mixed_lu", "mixed_cholesky", "refined_lu", "triangular", "diagonal")
    return algorithm.name in named and options.backend != "numpy"
