"""Least squares by Householder QR without pivoting (LAPACK gels).

Tall A: R x = Q'b. Wide A: the solution of minimum norm, from the QR factorization of A'. With ridge, `stacked` appends
rows to a tall A, columns to a wide one.

Cost: 2 m n^2 - 2 n^3 / 3 flops for m >= n, and a copy of A.
Guarantee: backward stable for full rank, column by column: scaling the columns of A by powers of two changes nothing,
so that the condition number after scaling counts.
Where the probe has factored A itself (it does when A has few rows per column), x = R^-1 (Q'b) is all that is left.
Reference: Golub, Numer. Math. 7 (1965), 206-216; Higham, Accuracy and Stability of Numerical Algorithms (2002),
theorem 20.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._memory import gels
from ._rounding import HOUSEHOLDER, singular_reason, stable_error
from ._shared import size, stacked, stacked_shape
from ._sketched import SketchedFactor, factored_by_probe, regularized_entries

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs."""

    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """One setting per library."""
    for backend in backends_for(task, ("scipy", "numpy", "torch")):
        yield Options(backend, task.dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Only where the rank is full to working accuracy."""
    limit = 0.02 / UNIT_ROUNDOFF[options.dtype]
    return singular_reason(task, evidence, limit, f"without pivoting R is singular in {options.dtype}")


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r)."""
    lib = library(options.backend)
    factor = reuse.get("sketch")
    if isinstance(factor, SketchedFactor) and factor.kind == "identity" and task.m >= task.n:
        return Outcome(lib.solve_triangular(*factor.regularized(lib, task.ridge)))
    A, b = stacked(lib, lib.asarray(A), lib.asarray(b), task.ridge)
    return Outcome(lib.lstsq_qr(A, b)[: task.n])


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One gels on the matrix with its ridge rows."""
    k = Calls(options.backend, options.dtype)
    if factored_by_probe(task, evidence):
        n, r = task.n, task.nrhs
        refactor = (k("geqrf", 2 * n, n + r),) if task.ridge > 0.0 else ()
        entries = regularized_entries(options.backend, n, r) if task.ridge > 0.0 else 0.0
        return Work((*refactor, k("trsm", n, r)), size(options.dtype, entries, 2 * n * r + 64))
    (m, n), r = stacked_shape(task), task.nrhs
    copies = gels(options.backend, options.dtype, m, n, r)
    if task.ridge > 0.0:
        return Work((k("copy", task.m, task.n), k("gels", m, n, r)), size(options.dtype, copies, m * (n + r)))
    return Work((k("gels", m, n, r),), size(options.dtype, copies))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u (c1 ||A|| ||x*|| / ||b|| + c2 cond ||r|| / ||b||): `HOUSEHOLDER` in _rounding."""
    return stable_error(task, evidence, options.dtype, HOUSEHOLDER)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="householder_qr",
    title="Householder QR",
    reference="Golub (1965); LAPACK gels",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
)
