"""Substitution with an upper or lower triangular matrix.

Cost: n^2 flops a right-hand side, no factorization and no copy of A. Componentwise backward stable, so an exact zero
on the diagonal is the only way to fail. Only the triangle named is read.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), thm. 8.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import Task
from ..work import Calls, Work
from ._common import Settings, checked, matrix, matrix_bytes, right_hand_side, rounding, settings, square, vector_bytes


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """SciPy's trsv and trsm, and torch."""
    return settings(task, ("scipy", "torch"), low_precision=False)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Triangular matrices."""
    reason = square(task)
    if reason is None and task.structure not in ("upper", "lower"):
        return "the matrix is not known to be triangular"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One triangular solve."""
    n, k = task.n, Calls(options.backend, options.dtype)
    cast = (k("cast", n, n),) if options.dtype != task.dtype else ()
    return Work(
        (*cast, k("trsm", n, task.nrhs)),
        matrix_bytes(task, len(cast), options.dtype) + vector_bytes(task, 2 + bool(cast), options.dtype),
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """Below a unit of roundoff."""
    return rounding(task, options.dtype, 0.3, 2.0)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x by substitution. Raises Breakdown when a diagonal entry is exactly zero."""
    lib = library(options.backend)
    A, b = matrix(A, options)[0], right_hand_side(b, options)
    zeros = lib.to_numpy(lib.xp.linalg.diagonal(A) == 0).nonzero()[0]
    if zeros.size:
        raise Breakdown(f"the matrix is exactly singular (diagonal entry {int(zeros[0])} is zero)")
    return Outcome(checked(lib, lib.solve_triangular(A, b, lower=task.structure == "lower"), task))


ALGORITHM = Algorithm(
    kind="linear_system",
    name="triangular",
    title="triangular substitution",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 8",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    unchecked=True,
)
