"""Least squares by QR with column pivoting (LAPACK gelsy).

Pivoting finds the rank (threshold max(m, n) eps); below full rank a second factorization from the right gives the
solution of minimum norm. With ridge, `stacked` appends rows to a tall A, columns to a wide one.

Cost: as QR, 2 m n^2 - 2 n^3 / 3 flops for m >= n, half of them in matrix-vector products; a copy of A.
Guarantee: backward stable for every rank but on contrived matrices (Kahan's).
Reference: Businger and Golub, Numer. Math. 7 (1965), 269-276; Quintana-Orti, Sun and Bischof, SIAM J. Sci. Comput. 19
(1998), 1486-1494.
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
from ..task import Task
from ..work import Calls, Work
from ._memory import gelsy
from ._rounding import PIVOTED, stable_error, truncation_error
from ._shared import size, stacked, stacked_shape

Array = Any


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs."""

    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """SciPy's only: torch calls gelsy with pivots left over in memory, which gives wrong ranks and other bits each time
    (pytorch issues 71222 and 187411)."""
    for backend in backends_for(task, ("scipy",)):
        yield Options(backend, task.dtype)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Wherever LAPACK's gelsy is."""
    if task.device != "cpu" or task.library == "cupy":
        return "column-pivoted QR for least squares is on the CPU only"
    return None


def solve(A: Array, b: Array, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """Minimum-norm solution of min ||b - A x||^2 + ridge ||x||^2; A : (m, n), b : (m,) or (m, r)."""
    lib = library(options.backend)
    A, b = stacked(lib, lib.asarray(A), lib.asarray(b), task.ridge)
    return Outcome(lib.lstsq_pivoted_qr(A, b)[: task.n])


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """One gelsy on the matrix with its ridge rows."""
    (m, n), r = stacked_shape(task), task.nrhs
    k = Calls(options.backend, options.dtype)
    copies = gelsy(options.backend, options.dtype, m, n, r)
    if task.ridge > 0.0:
        return Work((k("copy", task.m, task.n), k("gelsy", m, n, r)), size(options.dtype, copies, m * (n + r)))
    return Work((k("gelsy", m, n, r),), size(options.dtype, copies))


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """u (c1 ||A|| ||x*|| / ||b|| + c2 cond ||r|| / ||b||), and what the threshold cuts off.

    gelsy estimates the condition number as it goes, and sometimes several times too high.
    """
    return stable_error(task, evidence, options.dtype, PIVOTED) + truncation_error(task, evidence, slack=5.0)


ALGORITHM = Algorithm(
    kind="least_squares",
    name="pivoted_qr",
    title="QR with column pivoting",
    reference="Businger and Golub (1965); LAPACK gelsy",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
)
