"""Banded LU with partial pivoting, of a dense matrix whose nonzeros lie within a few diagonals.

Cost: 2 n kl (kl + ku) flops for kl lower and ku upper diagonals, and only the band is read. Backward stable as LU is,
and in a narrow band little can grow.

Reference: Golub and Van Loan, Matrix Computations, 4th ed. (2013), sec. 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import ITEMSIZE, Task
from ..work import Calls, Work
from ._common import Settings, checked, right_hand_side, rounding, settings, square, vector_bytes


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """SciPy's gbsv."""
    return settings(task, ("scipy",), low_precision=False)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Matrices whose band is narrow enough that band storage, with room for fill, is smaller than A."""
    reason = square(task)
    if reason is None and (task.structure != "banded" or task.bandwidth is None):
        return "the matrix is not known to be banded"
    if reason is None and task.bandwidth is not None and 2 * task.bandwidth[0] + task.bandwidth[1] >= task.n:
        return f"the band ({task.bandwidth[0]} below, {task.bandwidth[1]} above the diagonal) fills the matrix"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One factorization in band storage."""
    kl, ku = task.bandwidth or (task.n, task.n)
    k = Calls(options.backend, options.dtype)
    band = (2 * kl + ku + 1) * task.n * ITEMSIZE[options.dtype]
    return Work(
        (k("gbsv", task.n, kl, ku, task.nrhs),),
        band + vector_bytes(task, 1 + 2 * (options.dtype != task.dtype), options.dtype) + 8.0 * task.n,
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """About a unit of roundoff."""
    return rounding(task, options.dtype, 0.5, 4.0)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x by banded elimination. Raises Breakdown when a pivot is exactly zero."""
    lib: Any = library(options.backend)
    assert task.bandwidth is not None
    x = lib.solve_banded(lib.asarray(A), right_hand_side(b, options), *task.bandwidth)
    return Outcome(checked(lib, x, task))


ALGORITHM = Algorithm(
    kind="linear_system",
    name="banded",
    title="banded LU",
    reference="Golub and Van Loan 2013, Matrix Computations, sec. 4.3",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    unchecked=True,
)
