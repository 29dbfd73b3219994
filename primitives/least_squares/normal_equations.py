"""Normal equations with residual corrections.

Cholesky of A'A (+ ridge I), x = (A'A)^-1 A'b, then x += (A'A)^-1 A'(b - A x). Wide A: A A' y = b, x = A'y, which is the
solution of minimum norm. Scaling the columns by powers of two changes neither the rounding of the Gram matrix nor that of its
Cholesky factor, so the condition number after the columns are scaled to one length is what counts (van der Sluis 1969;
Higham 2002, sec. 10.1), without scaling anything.

Cost: m n^2 + n^3 / 3 flops and 2 + 2 corrections passes over A; n^2 + m extra numbers.
Guarantee: none by itself. With K the condition number: error u K ||A|| ||x|| / ||b|| before the first correction, each of which
contracts it by about u K^2 down to the level of a backward-stable method; Cholesky fails near K = u^(-1/2).
Reference: Bjorck, Numerical Methods for Least Squares Problems (1996), sections 2.2.4, 2.9.3 and 6.6.5.
"""

from __future__ import annotations

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
from ._shared import block_rows, plus_ridge, product, product_transpose, row_blocks, size

Array = Any

# Medians of what was measured: the error before corrections in units of u K ||A|| ||x|| / ||b||, the contraction of each in u K^2.
START, CONTRACTION = 0.3, 0.3
LOST = 16.0  # a Cholesky pivot below this many roundings of the diagonal entry holds no digit


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; `dtype` is that of the Gram matrix, which for float32 problems may be float64."""

    backend: str = "scipy"
    dtype: str = "float64"
    corrections: int = 1


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One correction; none where that is forecast to do, two where one is not."""
    for backend in backends_for(task, ("scipy", "numpy", "torch")):
        for dtype in dict.fromkeys((task.dtype, "float64")):
            once = Options(backend, dtype)
            yield once
            none = Options(backend, dtype, corrections=0)
            if error(task, evidence, none).high <= task.target:
                yield none
            elif error(task, evidence, once).high > task.target:
                yield Options(backend, dtype, corrections=2)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """While the square of the condition number fits in the dtype."""
    limit = 0.33 / UNIT_ROUNDOFF[options.dtype] ** 0.5
    return singular_reason(task, evidence, limit, f"the Gram matrix, which squares it, is singular in {options.dtype}")


def solve(
    A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]
) -> Outcome:
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
    blocks = _Blocks(lib, A, options.dtype)
    G = blocks.gram()
    R = _cholesky(lib, plus_ridge(lib, G, task.ridge), options.dtype)
    x = lib.cholesky_solve(R, blocks.rmatmul(b))
    for _ in range(options.corrections):
        g = blocks.rmatmul(blocks.residual(b, x))
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
    """Cholesky, refusing pivots that are all rounding: R_jj^2 / G_jj is the squared sine of column j with those before."""
    R = lib.cholesky(G)
    d, g = lib.xp.linalg.diagonal(R), lib.xp.linalg.diagonal(G)
    least = float(lib.xp.min(d * d / g)) if G.shape[0] else 1.0
    if not least > LOST * UNIT_ROUNDOFF[dtype]:
        raise Breakdown(
            f"the Gram matrix is singular to working accuracy: a Cholesky pivot is {least:.1g} of its diagonal entry"
        )
    return R


class _Blocks:
    """Products with A, tall; where A is float32 and the Gram matrix float64, by blocks of rows, so that no copy of A is held."""

    def __init__(self, lib: Library, A: Array, dtype: str) -> None:
        self.lib, self.A, self.dtype = lib, A, dtype
        self.cast = A.dtype != getattr(lib.xp, dtype)
        self.slices = list(row_blocks(*A.shape)) if self.cast else [slice(None)]

    def block(self, rows: slice) -> Array:
        return self.lib.astype(self.A[rows], self.dtype) if self.cast else self.A

    def right(self, b: Array, rows: slice) -> Array:
        return self.lib.astype(b[rows], self.dtype) if self.cast else b

    def gram(self) -> Array:
        total = None
        for rows in self.slices:
            part = self.lib.gram(self.block(rows))
            total = part if total is None else total + part
        return total

    def rmatmul(self, y: Array) -> Array:
        total = None
        for rows in self.slices:
            part = self.lib.rmatmul(self.block(rows), self.right(y, rows))
            total = part if total is None else total + part
        return total

    def residual(self, b: Array, x: Array) -> Array:
        parts = [self.right(b, rows) - self.lib.matmul(self.block(rows), x) for rows in self.slices]
        return parts[0] if len(parts) == 1 else self.lib.xp.concat(parts, axis=0)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One Gram matrix, one Cholesky factor, and per correction two products with A and a solve."""
    m, n, r, c = task.m, task.n, task.nrhs, options.corrections
    k = Calls(options.backend, options.dtype)
    p, q = max(m, n), min(m, n)
    solves = k("trsm", q, r, count=2.0 * (c + 1))
    if m >= n:
        products = (product_transpose(k, task, c + 1.0), product(k, task, c)) if c else (product_transpose(k, task),)
        entries = 3 * n * n + 2 * m * r * bool(c) + 4 * n * r
    else:
        products = (product_transpose(k, task, c + 1.0), product(k, task, c)) if c else (product_transpose(k, task),)
        entries = 3 * m * m + 2 * n * r + 4 * m * r
    calls = (k("syrk", p, q), k("potrf", q), solves, *products)
    if options.dtype != task.dtype:
        calls += (k("cast", p, q, count=1.0 + 2.0 * c),)
        entries += 2 * min(m, block_rows(n)) * n + 3 * m * r if m >= n else m * n
    return Work(calls, size(options.dtype, entries))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u K s (c u K^2)^corrections + the error of a backward-stable method; s = ||A|| ||x|| / ||b||, K the scaled condition.

    From (G + F) x = A'b with ||F|| about u ||A||^2: A dx = A G^-1 F x is u K ||A|| ||x||, and the same F contracts each
    correction by ||A G^-1 F G^-1 A'|| = u K^2 (Bjorck 1996, sections 2.2.4 and 2.9.3).
    """
    u = UNIT_ROUNDOFF[options.dtype]
    K, x, rho = condition_of(task, evidence), solution_of(evidence), residual_of(task, evidence)

    def excess(end: str, factor: float) -> float:
        cond, size, residual = getattr(K, end), getattr(x, end), getattr(rho, end)
        if task.m < task.n and task.ridge > 0.0:  # y = r / ridge
            size = max(size, cond * residual)
        return START * factor * u * cond * size * min(1.0, CONTRACTION * factor * u * cond**2) ** options.corrections

    start = Interval(excess("median", 1.0), excess("low", 0.05), excess("high", 6.0))
    return start + stable_error(task, evidence, options.dtype, CORRECTED)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="normal_equations",
    title="normal equations",
    reference="Bjorck (1996), sections 2.2.4, 2.9.3 and 6.6.5",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
)
