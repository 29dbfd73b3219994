"""LU of the matrix made dense: for sparse matrices that are small, or whose factors would fill them.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), ch. 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import Task
from ..work import Calls, Work
from ._common import Settings, answer_bytes, needs_entries, settings

_MOST = 30_000


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Sparse matrices that fit in memory when they are dense."""
    reason = needs_entries(task)
    if reason is None and task.n > _MOST:
        return f"it would take {8.0 * task.n**2 / 2**30:.3g} GiB to make A dense"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A copy of A, made dense, and its factorization."""
    n, k = task.n, Calls(options.backend, options.dtype)
    calls = k("copy", n, n), k("getrf", n), k("getrs", n, max(1, task.nrhs))
    return Work(calls, 8.0 * n * n + 4.0 * 2**20 + answer_bytes(task, 4.0))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff, which grow with the order."""
    grown = 0.3 + 0.03 * task.n
    rounded = Interval(0.1, 0.02, 0.3) * task.unit_roundoff if task.dtype == "float32" else Interval.exact(0.0)
    return Interval(min(grown, 3.0), 0.2, 1.0 + 0.1 * grown) * 2.0**-53 + rounded


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = U^-1 L^-1 P b. Raises Breakdown when a pivot is exactly zero."""
    lib = library(options.backend)
    factor = lib.lu_factor(np.asfortranarray(A.toarray(), dtype=np.float64), overwrite=True)
    x = lib.lu_solve(factor, np.asarray(b, dtype=np.float64))
    if not np.isfinite(x).all():
        raise Breakdown("the solution is not finite")
    return Outcome(x)


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="dense_lu",
    title="LU of A made dense",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 9",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
)
