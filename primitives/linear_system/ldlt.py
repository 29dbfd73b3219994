"""Bunch-Kaufman factorization P A P' = L D L' of a symmetric indefinite matrix, D of 1x1 and 2x2 blocks.

Cost: 1/3 n^3 flops, half of LU, though LAPACK's runs at a lower rate. Normwise backward stable (the entries of L may
be large, the growth of D is bounded as for LU). One triangle is read.

Reference: Bunch and Kaufman, Some stable methods for calculating inertia and solving symmetric linear systems, Math.
Comp. 31 (1977); Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), sec. 11.1.
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
from ._common import (
    SYMMETRIC,
    Factor,
    Settings,
    checked,
    growing,
    matrix,
    matrix_bytes,
    right_hand_side,
    settings,
    square,
    stored_factor,
    vector_bytes,
)


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """SciPy's sytrf."""
    return settings(task, ("scipy",))


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric matrices."""
    reason = square(task)
    if reason is None and task.structure not in SYMMETRIC:
        return "the matrix is not known to be symmetric"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One factorization of a copy of A."""
    n, k = task.n, Calls(options.backend, options.dtype)
    cast = (k("cast", n, n),) if options.dtype != task.dtype else ()
    return Work(
        (*cast, k("sytrf", n), k("sytrs", n, task.nrhs)),
        matrix_bytes(task, 1 + bool(cast), options.dtype)
        + 64.0 * n * ITEMSIZE[options.dtype]
        + vector_bytes(task, 3, options.dtype),
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff."""
    return growing(task, evidence, options.dtype)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = P' L'^-1 D^-1 L^-1 P b. Raises Breakdown when D is exactly singular."""
    lib: Any = library(options.backend)
    factor = stored_factor(reuse, "ldlt", options)
    if factor is None:
        factor = lib.ldl_factor(matrix(A, options)[0])
    x = checked(lib, lib.ldl_solve(factor, right_hand_side(b, options)), task)
    return Outcome(x, {"factor": Factor("ldlt", options, factor)})


ALGORITHM = Algorithm(
    kind="linear_system",
    name="ldlt",
    title="symmetric indefinite (Bunch-Kaufman)",
    reference="Bunch and Kaufman 1977, Math. Comp. 31; Higham 2002, sec. 11.1",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    unchecked=True,
)
