"""Randomized Cholesky QR: a sketch makes the columns nearly orthonormal, then the Gram matrix is harmless.

R1 from the QR factorization of a sketch S A; G = Y'Y with Y = A R1^-1, whose condition number is at most ((1 + q) /
(1 - q))^2, q = sqrt(n / l); Cholesky G = R2'R2, so that R = R2 R1 is the R factor of A. The solution is R1^-1 R2^-1
R2^-T Y'b, improved by one correction with R. Y is formed, used and dropped by blocks of rows. Ridge enters G as ridge
R1^-T R1^-1, exactly.

Cost: 2 m n^2 flops (a triangular solve and a Gram matrix), a sketch and its QR, and two more passes over A.
Guarantee: error of the size of a backward-stable method for condition numbers up to about 0.1 / (n u), for Y is
computed with a small backward error in A whatever the condition of R1.
Reference: Fan, Guo and Lin, A novel randomized XR-based preconditioned CholeskyQR algorithm (2021), arXiv:2111.11148;
Balabanov, Randomized Cholesky QR factorizations (2022), arXiv:2210.09953.
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
from ._rounding import CORRECTED, singular_reason, stable_error
from ._shared import block_rows, gradient, gradient_calls, gradient_entries, product_transpose, row_blocks, size
from ._sketched import made_by_probe, obtain, probe_rows, regularized_entries, sketch_bytes, sketch_calls

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs; rows of the sparse sign sketch."""

    backend: str = "scipy"
    dtype: str = "float64"
    rows: int = 0


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """The probe's sketch, which is then at hand: 2 n rows do, for G is formed with A itself."""
    for backend in backends_for(task, ("scipy", "torch")):
        yield Options(backend, task.dtype, probe_rows(task.m, task.n) or 2 * task.n)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Tall enough for a sketch, full rank."""
    if options.rows * 2 > task.m:
        return f"{task.m} rows are too few for a sketch of {options.rows}: its QR costs as much as that of A"
    return singular_reason(task, evidence, limit(task, options.dtype), f"the sketch is singular in {options.dtype}")


def limit(task: Task, dtype: str) -> float:
    """Condition number above which the sketch is singular to working accuracy."""
    return 0.1 / (task.n * UNIT_ROUNDOFF[dtype])


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "r_factor", upper triangular R : (n, n) with R'R = A'A + ridge I; "sketch".

    Raises
    ------
    Breakdown
        If the sketch or the Gram matrix of A R1^-1 is singular to working accuracy.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    m, n = A.shape
    sketch = obtain(lib, A, b, task, "sparse_sign", options.rows, reuse)
    R1, _ = sketch.regularized(lib, task.ridge)
    d = abs(lib.xp.linalg.diagonal(R1))
    norms = lib.xp.sqrt(lib.xp.sum(R1 * R1, axis=0))
    if not bool(lib.xp.all(d > n * UNIT_ROUNDOFF[options.dtype] * norms)):
        known = Interval.above(limit(task, options.dtype), 1.0 / UNIT_ROUNDOFF[options.dtype])
        raise Breakdown("the sketch of A is singular to working accuracy", condition=known)

    G = c = None
    for rows in row_blocks(m, n, task.tuning.panel_entries):
        part, right = _block(lib, A[rows], b[rows], R1)
        G, c = (part, right) if G is None else (G + part, c + right)
    if task.ridge > 0.0:
        root = lib.xp.eye(n, dtype=A.dtype, device=getattr(A, "device", None)) * math.sqrt(task.ridge)
        G = G + lib.gram(lib.right_solve_triangular(root, R1))
    R2 = lib.cholesky(G)
    R = lib.xp.triu(lib.matmul(R2, R1))
    x = lib.solve_triangular(R1, lib.cholesky_solve(R2, c))
    g = gradient(lib, A, b, x, options.dtype)
    if task.ridge > 0.0:
        g = g - task.ridge * x
    x = x + lib.solve_triangular(R1, lib.cholesky_solve(R2, lib.solve_triangular(R1, g, transpose=True)))
    return Outcome(x, {"r_factor": R, "sketch": sketch}, {"sketch rows": sketch.rows})


def _block(lib: Library, A: Array, b: Array, R1: Array) -> tuple[Array, Array]:
    """Y'Y and Y'b, Y = A R1^-1."""
    Y = lib.right_solve_triangular(A, R1)
    return lib.gram(Y), lib.rmatmul(Y, b)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A sketch unless the probe made it, one right triangular solve and one Gram matrix by blocks, one correction."""
    m, n, r = task.m, task.n, task.nrhs
    k = Calls(options.backend, options.dtype)
    block = min(m, block_rows(n, task.tuning.panel_entries))
    count = m / block
    at_hand = made_by_probe(task, evidence, "sparse_sign", options.rows)
    calls = () if at_hand else sketch_calls(task, "sparse_sign", options.rows, k)
    if task.ridge > 0.0:
        calls += (k("geqrf", 2 * n, n + r), k("trsm_right", n, n), k("syrk", n, n))
    calls += (
        k("trsm_right", block, n, count=count),
        k("syrk", block, n, count=count),
        k("potrf", n),
        k("gemm", n, n, n),
        k("trsm", n, r, count=7),
        product_transpose(k, task, count, rows=block),
        *gradient_calls(k, task, 1.0),
    )
    copies = 1.0 if task.order == "C" and options.backend == "scipy" else 2.0
    entries = max(copies * block * n, gradient_entries(task)) + 5.0 * n * n + 5.0 * n * r
    if task.ridge > 0.0:
        entries = max(entries, regularized_entries(options.backend, n, r))
    peak = size(options.dtype, entries)
    return Work(calls, max(peak, 0.0 if at_hand else sketch_bytes(task, "sparse_sign", options.rows, options.dtype)))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u (c1 ||A|| ||x*|| / ||b|| + c2 cond ||r|| / ||b||): `CORRECTED` in _rounding."""
    return stable_error(task, evidence, options.dtype, CORRECTED)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="randomized_cholesky_qr",
    title="randomized Cholesky QR",
    reference="Fan, Guo and Lin (2021), arXiv:2111.11148; Balabanov (2022), arXiv:2210.09953",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
)
