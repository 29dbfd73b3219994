"""Normal equations with residual corrections.

Cholesky of A'A (+ ridge I), x = (A'A)^-1 A'b, then x += (A'A)^-1 A'(b - A x). Wide A: A A' y = b, x = A'y, which is the
solution of minimum norm. Scaling columns by powers of two changes neither the rounding of the Gram matrix nor
that of its Cholesky factor, so that the condition number after the columns are scaled to one length is what counts
(van der Sluis 1969; Higham 2002, ch. 10), without scaling anything.

The Cholesky factor shows that condition number at the price of a few triangular solves. It decides how many corrections
the target needs, and whether the method can work at all: so nothing need be known before, and where nothing is, the
attempt itself is the cheapest way to learn it. The trace of the Gram matrix is ||A||_F^2, which is finite only where A
is: no pass over A is needed to look at it first.

Cost: m n^2 + n^3 / 3 flops; 2 passes over A and one more per correction; about 3 n^2 numbers of memory.
Guarantee: none by itself. With K the condition number, the error starts at u K ||A|| ||x|| / ||b||, and each
correction contracts it by about u K^2, down to the level of a backward-stable method; Cholesky fails near K = u^(-1/2).
Reference: Bjorck, Numerical Methods for Least Squares Problems (1996), sections 2.2 and 2.9; Bjorck, Stability analysis
of the method of seminormal equations, Linear Algebra Appl. 88/89 (1987), 31-48.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..kernels._library import Library
from ..norms import column_norms, needs_no_scaling
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._rounding import (
    CORRECTED,
    condition_of,
    residual_of,
    singular_reason,
    solution_of,
    stable_error,
)
from ._shared import (
    CAST_BLOCK,
    block_rows,
    condition_calls,
    gradient,
    gradient_calls,
    gradient_entries,
    gram,
    plus_ridge,
    product,
    product_transpose,
    scaled_condition,
    size,
)

Array = Any

# Medians of what was measured: the error before corrections in units of u K ||A|| ||x|| / ||b||, and the contraction
# of each correction in units of u K^2; 95 % of cases stay below PESSIMISM times that.
START, CONTRACTION, PESSIMISM = 0.3, 0.3, 6.0
MOST_CORRECTIONS = 3
AIM = 0.3  # corrections stop where the error is forecast to be so far below the target
SQUARES = {"scipy": 2.1, "numpy": 5.2, "torch": 3.2}  # how many matrices of order n are held at the peak
DEPENDENT = 0.01  # of `limit`: a column that follows columns so well-conditioned, and fails, depends on them
LOST = 16.0  # a Cholesky pivot below this many roundings of the diagonal entry holds no digit


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; `dtype` is that of the Gram matrix, which for float32 problems may be float64.

    `corrections`: how many, or None for what the condition number of the factor demands.
    """

    backend: str = "scipy"
    dtype: str = "float64"
    corrections: int | None = None


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One setting per library and dtype of the Gram matrix."""
    for backend in backends_for(task, ("scipy", "numpy", "torch")):
        for dtype in dict.fromkeys((task.dtype, "float64")):
            yield Options(backend, dtype)


def limit(dtype: str) -> float:
    """Condition number above which its square does not fit in the dtype."""
    return 0.33 / UNIT_ROUNDOFF[dtype] ** 0.5


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Unless the square of the condition number is known not to fit in the dtype, or is not likely to."""
    most = limit(options.dtype)
    consequence = f"the Gram matrix, which squares it, is singular in {options.dtype}"
    reason = singular_reason(task, evidence, most, consequence)
    if reason is not None:
        return reason
    likely = condition_of(task, evidence).median
    if likely > most:
        return f"the condition number is about {likely:.1g}, above {most:.0e}: {consequence}"
    return None


def breakdown(task: Task, evidence: Evidence, options: Options) -> float:
    """How likely the condition number is too large."""
    return condition_of(task, evidence).probability_above(limit(options.dtype))


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "gram_factor", upper triangular R : (n, n) with R'R = A'A + ridge I, for m < n (m, m) and A A';
    "condition", the condition number of A with its columns (for m < n rows) scaled to one length; "norm_fro".

    Raises
    ------
    Breakdown
        If the Gram matrix is singular to working accuracy, with the condition number that shows it; if its trace is not
        finite, or so far from one that A has to be scaled.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    x, R, norm_fro, condition, corrections = (_wide if task.m < task.n else _tall)(lib, A, b, task, options)
    by_products = {"gram_factor": R, "condition": condition, "norm_fro": norm_fro}
    return Outcome(lib.astype(x, task.dtype), by_products, {"corrections": corrections})


_Solved = tuple[Array, Array, float, float, int]
"""x, R, ||A||_F, the condition number and how many corrections there were."""


def _tall(lib: Library, A: Array, b: Array, task: Task, options: Options) -> _Solved:
    R, norm_fro = _cholesky(lib, gram(lib, A, options.dtype), task, options.dtype)
    x = lib.cholesky_solve(R, gradient(lib, A, b, None, options.dtype))
    condition, corrections = _corrections(lib, R, x, b, task, options)
    for _ in range(corrections):
        g = gradient(lib, A, b, x, options.dtype)
        x = x + lib.cholesky_solve(R, g - task.ridge * x if task.ridge else g)
    return x, R, norm_fro, condition, corrections


def _wide(lib: Library, A: Array, b: Array, task: Task, options: Options) -> _Solved:
    A, b = lib.astype(A, options.dtype), lib.astype(b, options.dtype)
    R, norm_fro = _cholesky(lib, lib.gram(A.T), task, options.dtype)
    y = lib.cholesky_solve(R, b)
    x = lib.rmatmul(A, y)
    condition, corrections = _corrections(lib, R, y, b, task, options)
    for _ in range(corrections):
        r = b - lib.matmul(A, x)
        dy = lib.cholesky_solve(R, r - task.ridge * y if task.ridge else r)
        # A'(y + dy) would round at the size of y again, which exceeds that of x by the condition number
        x, y = x + lib.rmatmul(A, dy), y + dy
    return x, R, norm_fro, condition, corrections


def _above(dtype: str) -> Interval:
    """What a failed Cholesky factorization shows of the condition number."""
    return Interval.above(limit(dtype), 0.01 / UNIT_ROUNDOFF[dtype])


def _shown_by_failure(lib: Library, G: Array, pivot: int | None, dtype: str) -> Interval:
    """What is known of the condition number once pivot number `pivot`, from 1, is not positive, or all rounding.

    Where the columns before it are well-conditioned, that one depends on them: the rank is not full. Where they are
    about as ill-conditioned as the dtype can show, singular values just fall on.
    """
    if pivot is None or pivot < 2:
        return _above(dtype)
    try:
        R = lib.cholesky(G[: pivot - 1, : pivot - 1])
    except Breakdown:
        return _above(dtype)
    if scaled_condition(lib, R, (R * R).sum(0) ** 0.5) > DEPENDENT * limit(dtype):
        return _above(dtype)
    u = UNIT_ROUNDOFF[dtype]
    return Interval(10.0 / u, limit(dtype), 1e4 / u)


def _cholesky(lib: Library, G: Array, task: Task, dtype: str) -> tuple[Array, float]:
    """R with R'R = G + ridge I, and ||A||_F.

    Refuses pivots that are all rounding: R_jj^2 / G_jj is the squared sine of column j to the others.
    """
    total = float(lib.xp.linalg.trace(G))
    if not needs_no_scaling(total, task.dtype):
        raise Breakdown("entries of A are not finite, or their squares too large or too small")
    G = plus_ridge(lib, G, task.ridge)
    try:
        R = lib.cholesky(G)
    except Breakdown as failure:
        raise Breakdown(str(failure), condition=_shown_by_failure(lib, G, failure.pivot, dtype)) from failure
    d, g = lib.xp.linalg.diagonal(R), lib.xp.linalg.diagonal(G)
    shares = d * d / g
    least = float(shares.min())
    if not least > LOST * UNIT_ROUNDOFF[dtype]:
        raise Breakdown(
            f"the Gram matrix is singular to working accuracy: a Cholesky pivot is {least:.1g} of its diagonal entry",
            condition=_shown_by_failure(lib, G, int(lib.xp.argmin(shares)) + 1, dtype),
        )
    return R, math.sqrt(total)


def _corrections(lib: Library, R: Array, x: Array, b: Array, task: Task, options: Options) -> tuple[float, int]:
    """Condition number, and how many corrections the target needs; x : (n, ...), or y : (m, ...) for wide A.

    Raises Breakdown.
    """
    scale = (R * R).sum(0) ** 0.5
    condition = scaled_condition(lib, R, scale)
    if options.corrections is not None:
        return condition, options.corrections
    if not condition < limit(options.dtype):
        raise Breakdown(
            f"the condition number is about {condition:.1g}, and its square does not fit in {options.dtype}",
            condition=_above(options.dtype),  # rounding of the Gram matrix hides how far above
        )
    moved = (scale if x.ndim == 1 else scale[:, None]) * x  # for wide A ||D y||: y is what is computed first
    moved = (moved * moved).sum(0) ** 0.5
    if b.ndim == 1:
        size = float(moved) / (math.sqrt(lib.sum_of_squares(b)) or 1.0)
    else:
        norms_b = column_norms(b)
        size = float((moved / lib.xp.where(norms_b > 0.0, norms_b, 1.0)).max())
    if task.m < task.n:  # ||D y|| stands for ||A'y|| = ||x|| in units of ||b||: in the metric it counts times ||A||
        size *= float(scale.max())
    return condition, corrections_for(condition, size, PESSIMISM, task.target, options.dtype)


def corrections_for(condition: float, size: float, factor: float, target: float, dtype: str) -> int:
    """Corrections until the error is forecast below AIM target, or rounding decides; `size` = ||A|| ||x|| / ||b||."""
    u = UNIT_ROUNDOFF[dtype]
    excess, contraction = START * factor * u * condition * size, CONTRACTION * factor * u * condition**2
    for count in range(MOST_CORRECTIONS):
        if excess <= max(AIM * target, u * size):
            return count
        excess *= min(1.0, contraction)
    return MOST_CORRECTIONS


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One Gram matrix, its Cholesky factor and condition, A'b, and per correction two products with A and a solve."""
    m, n, r, c = task.m, task.n, task.nrhs, _expected_corrections(task, evidence, options)
    k = Calls(options.backend, options.dtype)
    cast = options.dtype != task.dtype
    q = min(m, n)
    factor = (k("syrk", max(m, n), q), k("potrf", q), k("trsm", q, r, count=2.0 * (c + 1)), *condition_calls(k, q))
    square = SQUARES.get(options.backend, 4.0)
    if options.backend == "numpy" and options.dtype == "float32":  # it factors in float64
        square *= 2.0
    if task.ridge > 0.0:
        large = 3.2 if options.dtype == "float32" else 2.2  # numpy reuses large temporaries of float64
        square = max(square, 4.2 if q * q < 2**15 or options.backend == "torch" else large)
    if m >= n:
        products = (product_transpose(k, task), *gradient_calls(k, task, c))
        held = 1.0 if options.backend != "numpy" else 2.0  # R and what a solve copies
        entries = max(square * n * n, held * n * n + gradient_entries(task) * bool(c)) + 4.0 * n * r + 64.0
        if cast:
            products += (k("cast", m, n, count=2.0 + c),)
            entries += min(m, block_rows(n, CAST_BLOCK)) * (n + r)
    else:
        products = (product_transpose(k, task, c + 1.0), *((product(k, task, c),) if c else ()))
        entries = max(square * m * m + n * r, m * m + 3.0 * n * r) + 4.0 * m * r + 64.0
        if cast:
            products += (k("cast", m, n),)
            entries += m * (n + r)
    return Work((*factor, *products), size(options.dtype, entries))


def _expected_corrections(task: Task, evidence: Evidence, options: Options) -> int:
    if options.corrections is not None:
        return options.corrections
    condition = min(condition_of(task, evidence).median, limit(options.dtype))
    return corrections_for(condition, solution_of(evidence).median, PESSIMISM, task.target, options.dtype)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u K s (c u K^2)^corrections and the error of a stable method; K the scaled condition, s = ||A|| ||x|| / ||b||.

    From (G + F) x = A'b with ||F|| about u ||A||^2: A dx = A G^-1 F x is u K ||A|| ||x||, and the same F contracts
    each correction by ||A G^-1 F G^-1 A'|| = u K^2 (Bjorck 1987).
    """
    u, most = UNIT_ROUNDOFF[options.dtype], limit(options.dtype)
    K, x, rho = condition_of(task, evidence).at_most(most), solution_of(evidence), residual_of(task, evidence)

    def excess(end: str, factor: float) -> float:
        cond, size, residual = getattr(K, end), getattr(x, end), getattr(rho, end)
        if task.m < task.n and task.ridge > 0.0:  # y = r / ridge is what F meets
            size = max(size, cond * residual)
        count = options.corrections
        if count is None:
            count = corrections_for(cond, size, PESSIMISM, task.target, options.dtype)
        return START * factor * u * cond * size * min(1.0, CONTRACTION * factor * u * cond**2) ** count

    start = Interval(excess("median", 1.0), excess("low", 0.05), excess("high", PESSIMISM))
    start = Interval(start.median, min(start.low, start.median), max(start.high, start.median))
    # where it does not break down the condition number is below the limit
    known = replace(
        evidence, condition=evidence.condition.at_most(most), scaled_condition=evidence.scaled_condition.at_most(most)
    )
    return start + stable_error(task, known, options.dtype, CORRECTED)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="normal_equations",
    title="normal equations",
    reference="Bjorck (1996), sections 2.2 and 2.9",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
    unchecked=True,
)
