"""All eigenvalues by tridiagonal reduction (LAPACK), and the vectors of those that are wanted.

SciPy's `eigh` with an index range (syevr: Dhillon and Parlett, Linear Algebra Appl. 387, 2004) from order 200 on where
few are wanted, divide and conquer (syevd: Gu and Eisenstat, SIAM J. Matrix Anal. Appl. 16, 1995) otherwise and in
torch. Backward stable: ||A v - w v|| is a small multiple of u ||A||. 4/3 n^3 flops for the reduction, and O(n^2 k) to
O(n^3) for the vectors. Sparse matrices of small order are made dense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..sparse_linear_system._common import SYMMETRIC
from ..task import Task
from ..work import Calls, Work
from ._common import Settings, in_order, wanted

_DENSE = 6000  # order up to which a sparse matrix is made dense
_PART, _FROM = 0.4, 200  # of all vectors, up to which, and order from which a range of indices pays
_OF_ALL = 0.35  # of the time of syevd that a range of few takes


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """One setting for each library."""
    for backend in backends_for(task, ("scipy", "torch")) if task.access == "dense" else ("scipy",):
        yield Settings(backend, task.dtype)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Any matrix whose entries are there, and fit in memory as an array."""
    if task.access == "operator":
        return "needs the entries of A, which an operator does not show"
    if task.structure not in SYMMETRIC:
        return "A is not symmetric"
    if task.access == "sparse" and task.n > _DENSE:
        return f"as a dense array of order {task.n} it would take {8e-9 * task.n**2:.2g} GB"
    return None


def _by_range(task: Task, options: Settings) -> bool:
    return (
        options.backend == "scipy" and task.which != "LM" and task.which != "SM" and task.n >= _FROM
        and wanted(task) <= _PART * task.n
    )  # fmt: skip


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One syevd, or the share of it that a range takes; its copies and workspace."""
    k = Calls(options.backend, options.dtype)
    some = _by_range(task, options)
    share = _OF_ALL + (1.0 - _OF_ALL) * wanted(task) / task.n if some else 1.0
    arrays = 2.0 if some else 4.0
    size = task.itemsize * (arrays * task.n**2 + (40.0 + 2.0 * wanted(task)) * task.n)
    return Work((k("syevd", task.n, count=share),), size + (task.itemsize * task.n**2 if task.access != "dense" else 0))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A small multiple of the unit roundoff."""
    return Interval(1.0, 0.2, 3.0) * (task.unit_roundoff * (2.0 + 0.5 * task.n**0.5))


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first."""
    import scipy.linalg

    lib, n, k = library(options.backend), task.n, wanted(task)
    matrix = lib.asarray(A.toarray() if task.access == "sparse" else A, options.dtype)
    if _by_range(task, options):
        first = n - k if task.which == "LA" else 0
        w, V = scipy.linalg.eigh(matrix, subset_by_index=(first, first + k - 1), driver="evr", check_finite=False)
    else:
        w, V = lib.eigh(matrix)
        w, V = lib.to_numpy(w), lib.to_numpy(V)
    return in_order(np.asarray(w), np.asarray(V), task, {})


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="lapack",
    title="tridiagonal reduction",
    reference="LAPACK syevr, syevd; Gu and Eisenstat 1995; Dhillon and Parlett 2004",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
)
