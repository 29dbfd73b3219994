"""A diagonal matrix: one division an entry.

Cost: n divisions a right-hand side; the rest of A is not read. Componentwise exact to a unit of roundoff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from ._common import Settings, checked, square, vector_bytes


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """The operands' own library."""
    for backend in backends_for(task, ("numpy", "torch"))[:1]:
        yield Settings(backend, task.dtype)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Diagonal matrices."""
    reason = square(task)
    if reason is None and task.structure != "diagonal":
        return "the matrix is not known to be diagonal"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One pass over b, with numpy's buffer for broadcasting."""
    k = Calls(options.backend, options.dtype)
    return Work((k("copy", task.n, task.nrhs),), vector_bytes(task, 1, options.dtype) + 2.0 * task.n + 65536.0)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """One rounding an entry."""
    return Interval(0.1, 1e-3, 1.0) * UNIT_ROUNDOFF[options.dtype]


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = b / diag(A). Raises Breakdown when a diagonal entry is exactly zero."""
    lib = library(options.backend)
    d, b = lib.xp.linalg.diagonal(lib.asarray(A)), lib.asarray(b)
    zeros = lib.to_numpy(d == 0).nonzero()[0]
    if zeros.size:
        raise Breakdown(f"the matrix is exactly singular (diagonal entry {int(zeros[0])} is zero)")
    return Outcome(checked(lib, b / (d if b.ndim == 1 else d[:, None]), task))


ALGORITHM = Algorithm(
    kind="linear_system",
    name="diagonal",
    title="diagonal scaling",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, sec. 2.2",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    unchecked=True,
)
