"""Least squares by Householder QR without pivoting.

Tall A: R x = Q'b, both from the R factor of [A, b]: reflectors are applied to b as it is factored, Q is not formed
(LAPACK gels does the same in two steps, and factors a C-ordered A as the transpose, which is slower). Wide A: the
solution of minimum norm Q R'^-1 b, from the QR factorization of A'. With ridge, sqrt(ridge) I is appended to R, or to
the columns of a wide A (and gels called).

Cost: 2 m n^2 - 2 n^3 / 3 flops for m >= n, and two copies of A.
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

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..kernels._library import Library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._memory import gels, geqrf
from ._rounding import HOUSEHOLDER, singular_reason, stable_error
from ._shared import size, stacked, stacked_shape
from ._sketched import factored_by_probe, obtain, regularized_entries

Array = Any

_DEPENDENT = 2.0  # sines below this many sqrt(n) u are rounding


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
    return singular_reason(task, evidence, limit(options.dtype), f"without pivoting R is singular in {options.dtype}")


def limit(dtype: str) -> float:
    """Condition number above which R is singular to working accuracy."""
    return 0.02 / UNIT_ROUNDOFF[dtype]


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r).

    By-products: "r_factor", upper triangular R : (n, n) with R'R = A'A + ridge I; for m < n without ridge (m, m), A A'.

    Raises
    ------
    Breakdown
        If a column depends on those before it to working accuracy.
    """
    lib = library(options.backend)
    A, b = lib.asarray(A), lib.asarray(b)
    if task.m < task.n:
        if task.ridge > 0.0:
            return Outcome(lib.lstsq_qr(*stacked(lib, A, b, task.ridge))[: task.n])
        Q, R = lib.qr(A.T)
        _check(lib, R, options)
        return Outcome(lib.matmul(Q, lib.solve_triangular(R, b, transpose=True)), {"r_factor": R})
    factor = obtain(lib, A, b, task, "identity", task.m, reuse)
    R, z = factor.regularized(lib, task.ridge)
    _check(lib, R, options, {"sketch": factor})
    return Outcome(lib.solve_triangular(R, z), {"r_factor": R})


def _check(lib: Library, R: Array, options: Options, by_products: dict[str, Any] | None = None) -> None:
    """|R_jj| / ||R e_j|| is the sine of the angle between column j and those before it."""
    u = UNIT_ROUNDOFF[options.dtype]
    least = _DEPENDENT * R.shape[0] ** 0.5 * u * lib.xp.sqrt(lib.xp.sum(R * R, axis=0))
    if not bool(lib.xp.all(abs(lib.xp.linalg.diagonal(R)) > least)):
        known = Interval.above(limit(options.dtype), 1.0 / u)
        reason = "a column depends on those before it: the matrix is rank-deficient"
        raise Breakdown(reason, condition=known, by_products=by_products)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One QR factorization of [A, b], unless the probe made it; for wide A one of A' with Q, or gels with ridge."""
    k = Calls(options.backend, options.dtype)
    if task.m >= task.n:
        m, n, r = task.m, task.n, task.nrhs
        refactor = (k("geqrf", 2 * n, n + r),) if task.ridge > 0.0 else ()
        entries = regularized_entries(options.backend, n, r) if task.ridge > 0.0 else 0.0
        if factored_by_probe(task, evidence):
            return Work((*refactor, k("trsm", n, r)), size(options.dtype, entries, 2 * n * r + 64))
        doubled = 2.0 if options.backend == "numpy" and options.dtype == "float32" else 1.0  # it factors in float64
        entries = max(doubled * entries, m * (n + r) + doubled * geqrf(options.backend, m, n + r))
        calls = (k("copy", m, n + r), k("geqrf", m, n + r), *refactor, k("trsm", n, r))
        return Work(calls, size(options.dtype, entries, 2 * n * n + 2 * n * r + 64))
    if task.ridge == 0.0:
        m, n, r = task.m, task.n, task.nrhs
        calls = (k("qr", n, m), k("trsm", m, r), k("gemm", n, r, m))
        held = 2.2 * m * n + geqrf(options.backend, n, m)
        if options.backend == "numpy" and options.dtype == "float32":  # it factors in float64
            held = 5.0 * m * n + 1.2 * m * m
        return Work(calls, size(options.dtype, held, 3 * n * r + m * m))
    (m, n), r = stacked_shape(task), task.nrhs
    copies = gels(options.backend, options.dtype, m, n, r)
    return Work((k("copy", task.m, task.n), k("gels", m, n, r)), size(options.dtype, copies, m * (n + r)))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u (c1 ||A|| ||x*|| / ||b|| + c2 cond ||r|| / ||b||): `HOUSEHOLDER` in _rounding."""
    return stable_error(task, evidence, options.dtype, HOUSEHOLDER)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="householder_qr",
    title="Householder QR",
    reference="Golub (1965)",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
)
