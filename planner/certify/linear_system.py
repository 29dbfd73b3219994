"""Normwise backward error of a linear system, from one product with A.

eta(x) = ||b - Ax|| / (||A|| ||x|| + ||b||) in 2-norms (Rigal and Gaches 1967; Higham 2002, theorem 7.1). ||A||_2 enters
by a lower bound, so the quotient is an upper bound: what a probe has seen, or ||A||_F / sqrt(n), or the same of a few
rows, or where that is not enough one step of the power method. A term for the rounding of the residual itself is added,
which relative to ||A||_2 ||x|| + ||b|| needs no norm; when that term decides, the residual is computed again in twice
the precision.

Many right-hand sides: G'R = G'B - (G'A) X for a standard normal G (n, p) takes a product with A, not one for each of
them, and ||G'r||^2 / ||r||^2 is chi-squared with p degrees of freedom for each column r of R, so that all ||r|| are
below ||G'r|| / sqrt(q) with probability 1 - delta, q the quantile of delta over their number. Where that is not enough,
the residual itself is formed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...primitives import chi_squared
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.norms import NORM_ROUNDING, needs_no_scaling, spectral_norm_from_below
from ...primitives.task import Task
from ...primitives.work import Calls, Work
from ..certificate import Certificate, says_enough
from .products import UNIT, as_columns, column_norm_list, matmul64, rmatmul64

_MANY, _TEST_VECTORS = 64, 16  # right-hand sides from which test vectors are tried first, and how many
_SHARP = 8.0  # targets below this many sqrt(n) u need a sharper bound on ||A|| than ||A||_F / sqrt(n)


def rounding_of_residual(n: int) -> float:
    """Relative size of the rounding error in a computed residual, in units of ||A|| ||x|| + ||b||.

    Each component is a sum of n products whose rounding errors behave like a random walk over blocks of partial sums
    (Higham and Mary 2019, probabilistic error analysis): sqrt(n) u with a small constant. See `_rounding_alike` for
    where they do not.
    """
    return (1.0 + 0.25 * n**0.5) * UNIT


def _rounding_alike(n: int, even: float, size_x: float, size_b: float) -> float:
    """What sums of one number, again and again, add to the rounding of a residual: their roundings are of one sign.

    Up to 0.2 n u ||A x|| were measured of A = ones, a walk down the columns (OpenBLAS 0.05, MKL 0.2). Such sums are as
    large as they can be: ||A x|| = ||A||_F ||x||. Of rows that have no direction in common with x, whose sums are
    1 / sqrt(n) of that, this is half of what a random walk gives. `even` is ||A||_F / sqrt(n), about.
    """
    most = math.sqrt(n) * even * size_x
    return 0.25 * n * UNIT * size_b * min(1.0, size_b / most) if most > 0.0 else 0.0


def needs_norm(A: Any, x: Any, task: Task, metric: str) -> bool:
    """Whether ||A||_F has to be known, or A to be read, beyond the product with x.

    The residual is not finite if an entry of A is not, unless that meets a zero in x: some libraries skip those. Rows
    of unit size speak for a residual that neither over- nor underflows; where others do, it shows in the residual.
    """
    if metric != "backward_error":
        return True
    size = spectral_norm_from_below(A)
    return not needs_no_scaling(size * size, task.dtype) or bool((x == 0.0).any())


def norm_lower_bound(lib: Library, A: Any, b: Any) -> float:
    """A lower bound on ||A||_2 from two products: one step of the power method from A'b."""
    bound = 0.0
    w = rmatmul64(lib, A, as_columns(b)[:, :1])
    size = float((w * w).sum()) ** 0.5
    if 0.0 < size < float("inf"):
        v = matmul64(lib, A, w / size)
        bound = float((v * v).sum()) ** 0.5
    return bound


def _tested_norms(lib: Library, A: Any, B: Any, X: Any, seed: int, delta: float) -> tuple[list[float], float]:
    """Bounds on the norms of the columns of B - A X : (n, r), rounding apart; all hold with probability 1 - delta.

    And by what factor they are above what is most likely, which the rounding of three products counts with as well.
    """
    n, count = X.shape
    G = lib.asarray(np.random.default_rng(np.random.Philox(key=seed)).standard_normal((n, _TEST_VECTORS)))
    Y = lib.rmatmul(G, B) - lib.rmatmul(rmatmul64(lib, A, G), X)
    q = chi_squared.quantile(_TEST_VECTORS, delta / count)
    return [size / math.sqrt(q) for size in column_norm_list(Y)], math.sqrt(_TEST_VECTORS / q)


def certify(
    lib: Library,
    A: Any,
    b: Any,
    x: Any,
    task: Task,
    evidence: Evidence,
    metric: str,
    target: float | None,
    enough: float,
    *,
    seed: int = 0,
    confidence: float = 1.0,
) -> Certificate:
    """Certificate of x : (n,) or (n, r), all operands arrays of `lib`, scaled by the planner.

    `enough` is the bound from which a sharper one is not worth two more products with A. `seed` is that of test vectors
    for many right-hand sides, which a confidence of 1 does not allow.
    """
    B, X = lib.astype(as_columns(b), "float64"), lib.astype(as_columns(x), "float64")
    norm_b, norm_x = column_norm_list(B), column_norm_list(X)
    norm_A, seen = 0.0, evidence.norm_2
    spread = None if evidence.norm_fro is None else evidence.norm_fro / math.sqrt(task.n)
    even = spectral_norm_from_below(A) if spread is None else spread
    if metric == "backward_error":
        norm_A = even if seen is None or not math.isfinite(seen.low) else seen.low
        norm_A *= 1.0 - NORM_ROUNDING[task.dtype]

    def worst(sizes: list[float], unit: float, alike: bool = True) -> tuple[float, float]:
        """Largest (bound, estimate) over columns of residuals of these norms; a NaN counts as infinite.

        `unit` is the rounding of these residuals, to which sums of products that are `alike` may add.
        """
        bound = estimate = 0.0
        for size, size_b, size_x in zip(sizes, norm_b, norm_x, strict=True):
            scale = norm_A * size_x + size_b
            if not math.isfinite(size) or not math.isfinite(size_x) or (scale == 0.0 and size > 0.0):
                return math.inf, math.inf
            if scale > 0.0:
                estimate = max(estimate, size / scale)
                rounding = unit if spread is None else unit * (spread * size_x + size_b) / scale
                if alike:
                    rounding += _rounding_alike(task.n, even, size_x, size_b) / scale
                bound = max(bound, size / scale + rounding)
        return bound, estimate

    unit = rounding_of_residual(task.n)
    if target is not None and confidence < 1.0 and X.shape[1] >= _MANY:
        sizes, factor = _tested_norms(lib, A, B, X, seed, 1.0 - confidence)
        bound, above = worst(sizes, 3.0 * factor * unit, alike=False)
        if bound <= target:
            method = f"{_TEST_VECTORS} test vectors for {len(sizes)} right-hand sides"
            return Certificate(metric, bound, above / factor, confidence, method, target, True)
    residual = column_norm_list(B - matmul64(lib, A, X))
    bound, estimate = worst(residual, unit)
    if bound > enough and metric == "backward_error" and evidence.norm_2 is None:
        norm_A = max(norm_A, norm_lower_bound(lib, A, B))
        bound, estimate = worst(residual, unit)
    method = "one product with A in float64"
    if target is not None and bound > target and estimate < 4 * target and task.device == "cpu":
        from ...primitives.kernels import _numba

        exact = _numba.residual_compensated(lib.to_numpy(A), lib.to_numpy(X), lib.to_numpy(B))
        bound, estimate = worst(column_norm_list(lib.asarray(exact)), UNIT, alike=False)
        method = "one product with A in twice float64's precision"
    satisfied = says_enough(bound, target)
    return Certificate(metric, bound, estimate, 1.0, method, target, satisfied)


def work(task: Task, evidence: Evidence, backend: str) -> Work:
    """One product, with test vectors for many right-hand sides; two where ||A||_F / sqrt(n) is too far below ||A||."""
    k = Calls(backend, "float64")
    columns = max(1, task.nrhs)
    if columns >= _MANY:
        calls = [k("gemm", task.n, _TEST_VECTORS, task.n), k("gemm", _TEST_VECTORS, columns, task.n, count=2)]
    else:
        calls = [k("gemv", task.n, task.n) if columns == 1 else k("gemm", task.n, columns, task.n)]
    if evidence.norm_2 is None and task.target < _SHARP * math.sqrt(task.n) * UNIT:
        calls += [k("gemv_t", task.n, task.n), k("gemv", task.n, task.n)]
    return Work(tuple(calls), 8.0 * task.n * (3 * columns + 2))
