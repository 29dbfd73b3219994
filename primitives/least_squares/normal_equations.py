"""Normal equations with residual corrections.

Cholesky of A'A (+ ridge I), x = (A'A)^-1 A'b, then x += (A'A)^-1 A'(b - A x). Wide A: A A' y = b, x = A'y, which is the
solution of minimum norm. Scaling columns by powers of two changes neither the rounding of the Gram matrix nor
that of its Cholesky factor, so that the condition number after the columns are scaled to one length is what counts
(van der Sluis 1969; Higham 2002, ch. 10), without scaling anything.

Cost: m n^2 + n^3 / 3 flops; 2 passes over A and one more per correction; about 3 n^2 numbers of memory.
Guarantee: none by itself. With K the condition number, the error starts at u K ||A|| ||x|| / ||b||, and each
correction contracts it by about u K^2, down to the level of a backward-stable method; Cholesky fails near K = u^(-1/2).
Reference: Bjorck, Numerical Methods for Least Squares Problems (1996), sections 2.2 and 2.9; Bjorck, Stability analysis
of the method of seminormal equations, Linear Algebra Appl. 88/89 (1987), 31-48.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..kernels._library import Library
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
    gradient,
    gradient_calls,
    gradient_entries,
    gram,
    plus_ridge,
    product,
    product_transpose,
    size,
)

Array = Any

# Medians of what was measured: the error before corrections in units of u K ||A|| ||x|| / ||b||, and the contraction
# of each correction in units of u K^2.
START, CONTRACTION = 0.3, 0.3
SQUARES = {"scipy": 2.1, "numpy": 5.2, "torch": 3.2}  # how many matrices of order n are held at the peak
LOST = 16.0  # a Cholesky pivot below this many roundings of the diagonal entry holds no digit


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; `dtype` is that of the Gram matrix, which for float32 problems may be float64."""

    backend: str = "scipy"
    dtype: str = "float64"
    corrections: int = 1


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One correction; none where that is forecast to do, two where one is not and a second one helps."""
    for backend in backends_for(task, ("scipy", "numpy", "torch")):
        for dtype in dict.fromkeys((task.dtype, "float64")):
            none, once, twice = (Options(backend, dtype, corrections) for corrections in range(3))
            yield once
            expected = error(task, evidence, once)
            if error(task, evidence, none).high <= task.target:
                yield none
            elif expected.high > task.target and error(task, evidence, twice).high < 0.5 * expected.high:
                yield twice


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """While the condition number is known and its square fits in the dtype."""
    limit = 0.33 / UNIT_ROUNDOFF[options.dtype] ** 0.5
    if not min(evidence.condition.high, evidence.scaled_condition.high) < math.inf:
        return f"the condition number is not known, and above {limit:.0e} its square does not fit in {options.dtype}"
    return singular_reason(task, evidence, limit, f"the Gram matrix, which squares it, is singular in {options.dtype}")


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "gram_factor", upper triangular R : (n, n) with R'R = A'A + ridge I, for m >= n.

    Raises
    ------
    Breakdown
        If the Gram matrix is singular to working accuracy.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    x, R = (_wide if task.m < task.n else _tall)(lib, A, b, task, options)
    by_products = {"gram_factor": R} if task.m >= task.n else {}
    return Outcome(lib.astype(x, task.dtype), by_products, {"corrections": options.corrections})


def _tall(lib: Library, A: Array, b: Array, task: Task, options: Options) -> tuple[Array, Array]:
    R = _cholesky(lib, plus_ridge(lib, gram(lib, A, options.dtype), task.ridge), options.dtype)
    x = lib.cholesky_solve(R, gradient(lib, A, b, None, options.dtype))
    for _ in range(options.corrections):
        g = gradient(lib, A, b, x, options.dtype)
        x = x + lib.cholesky_solve(R, g - task.ridge * x if task.ridge else g)
    return x, R


def _wide(lib: Library, A: Array, b: Array, task: Task, options: Options) -> tuple[Array, Array]:
    A, b = lib.astype(A, options.dtype), lib.astype(b, options.dtype)
    R = _cholesky(lib, plus_ridge(lib, lib.gram(A.T), task.ridge), options.dtype)
    y = lib.cholesky_solve(R, b)
    x = lib.rmatmul(A, y)
    for _ in range(options.corrections):
        r = b - lib.matmul(A, x)
        dy = lib.cholesky_solve(R, r - task.ridge * y if task.ridge else r)
        # A'(y + dy) would round at the size of y again, which exceeds that of x by the condition number
        x, y = x + lib.rmatmul(A, dy), y + dy
    return x, R


def _cholesky(lib: Library, G: Array, dtype: str) -> Array:
    """Cholesky, refusing pivots that are all rounding: R_jj^2 / G_jj is the squared sine of column j to the others."""
    R = lib.cholesky(G)
    d, g = lib.xp.linalg.diagonal(R), lib.xp.linalg.diagonal(G)
    least = float(lib.xp.min(d * d / g))
    if not least > LOST * UNIT_ROUNDOFF[dtype]:
        raise Breakdown(
            f"the Gram matrix is singular to working accuracy: a Cholesky pivot is {least:.1g} of its diagonal entry"
        )
    return R


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One Gram matrix, one Cholesky factor, A'b, and per correction two products with A and a solve."""
    m, n, r, c = task.m, task.n, task.nrhs, options.corrections
    k = Calls(options.backend, options.dtype)
    cast = options.dtype != task.dtype
    q = min(m, n)
    factor = (k("syrk", max(m, n), q), k("potrf", q), k("trsm", q, r, count=2.0 * (c + 1)))
    square = SQUARES.get(options.backend, 4.0)
    if options.backend == "numpy" and options.dtype == "float32":  # it factors in float64
        square *= 2.0
    if task.ridge > 0.0:
        square = max(square, 4.2 if q * q < 2**15 or options.backend == "torch" else 2.2)
    if m >= n:
        products = (product_transpose(k, task), *gradient_calls(k, task, c))
        held = 1.0 if options.backend != "numpy" else 2.0  # R and what a solve copies
        entries = max(square * n * n, held * n * n + gradient_entries(task) * bool(c)) + 4.0 * n * r + 64.0
        if cast:
            products += (k("cast", m, n, count=2.0 + c),)
            entries += min(m, block_rows(n, CAST_BLOCK)) * (n + r)
    else:
        products = (product_transpose(k, task, c + 1.0), *((product(k, task, c),) if c else ()))
        entries = max(square * m * m, m * m + 3.0 * n * r) + 4.0 * m * r + 64.0
        if cast:
            products += (k("cast", m, n),)
            entries += m * (n + r)
    return Work((*factor, *products), size(options.dtype, entries))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u K s (c u K^2)^corrections and the error of a stable method; K the scaled condition, s = ||A|| ||x|| / ||b||.

    From (G + F) x = A'b with ||F|| about u ||A||^2: A dx = A G^-1 F x is u K ||A|| ||x||, and the same F contracts
    each correction by ||A G^-1 F G^-1 A'|| = u K^2 (Bjorck 1987).
    """
    u = UNIT_ROUNDOFF[options.dtype]
    K, x, rho = condition_of(task, evidence), solution_of(evidence), residual_of(task, evidence)

    def excess(end: str, factor: float) -> float:
        cond, size, residual = getattr(K, end), getattr(x, end), getattr(rho, end)
        if task.m < task.n and task.ridge > 0.0:  # y = r / ridge is what F meets
            size = max(size, cond * residual)
        return START * factor * u * cond * size * min(1.0, CONTRACTION * factor * u * cond**2) ** options.corrections

    start = Interval(excess("median", 1.0), excess("low", 0.05), excess("high", 6.0))
    return start + stable_error(task, evidence, options.dtype, CORRECTED)


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
)
