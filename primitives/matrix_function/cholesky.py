"""The inverse of a positive definite matrix, or its product with vectors, by Cholesky's factorization.

n^3 / 3 flops and 2 n^2 for each vector: some twenty times less than all eigenvalues take. Backward stable (Higham 2002,
theorem 10.3 and section 14.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._common import columns, sensitivity
from .eigendecomposition import Options


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Each library; float32 operands in float64 too."""
    for backend in backends_for(task, ("scipy", "torch")):
        for dtype in dict.fromkeys((task.dtype, "float64")):
            yield Options(backend, dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Inverses of dense matrices that may be positive definite."""
    if task.function != "inv":
        return "it gives the inverse, and no other function"
    if task.access != "dense":
        return "written for dense arrays; state a LinearSystem for products of the inverse of a sparse matrix"
    if evidence.ritz and evidence.ritz[0][0] <= 0.0:
        return "A is not positive definite"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One factorization, and two triangular solves."""
    n, r, k = task.n, columns(task), Calls(options.backend, options.dtype)
    size = 4.0 if options.dtype == "float32" else 8.0
    return Work((k("potrf", n), k("trsm", n, r, count=2.0)), size * (3.0 * n * n + 3.0 * n * r))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """The condition number times rounding."""
    rounding = Interval(0.3, 0.02, 2.0) * (UNIT_ROUNDOFF[options.dtype] * (2.0 + 0.3 * task.n**0.5))
    known = sensitivity(task, evidence)
    return Interval(
        rounding.median * known.median, rounding.low * known.low, rounding.high * known.high
    ) + Interval.around(task.unit_roundoff * known.median, 3.0)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """A^-1 : (n, n), or A^-1 b. Raises Breakdown where A is not positive definite to working accuracy."""
    lib = library(options.backend)
    R = lib.cholesky(lib.asarray(A, options.dtype))
    X = lib.cholesky_solve(R, lib.xp.eye(task.n, dtype=R.dtype) if b is None else lib.asarray(b, options.dtype))
    return Outcome(lib.astype(0.5 * (X + X.T) if b is None else X, task.dtype))


ALGORITHM = Algorithm(
    kind="matrix_function",
    name="cholesky",
    title="Cholesky",
    reference="LAPACK potrf; Higham 2002, sections 10.1 and 14.3",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=lambda task, evidence, options: 0.02 if evidence.ritz else 0.1,
)
