"""LU factorization with partial pivoting: P A = L U, then two triangular solves.

Cost: 2/3 n^3 flops and 2 n^2 a right-hand side. Backward stable unless the entries of U grow: the backward error is
about rho_n u with rho_n = max |u_ij| / max |a_ij|, which is small for nearly every matrix that occurs and 2^(n-1) for
one of Wilkinson's, so it is not the last resort.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), ch. 9, thm. 9.5 and sec. 9.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import Task
from ..work import Calls, Work
from ._common import (
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
    """SciPy's getrf, numpy.linalg.solve and torch; the other precision where the target makes it useful."""
    return settings(task)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Any square matrix."""
    return square(task)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One factorization of a copy of A."""
    n, k = task.n, Calls(options.backend, options.dtype)
    cast = (k("cast", n, n),) if options.dtype != task.dtype else ()
    in_numpy = options.backend == "numpy"
    # torch factors a copy of the cast copy; numpy.linalg.solve casts float32 to float64, then factors a copy of that
    copies = 2.0 if (options.backend == "torch" and cast) or (in_numpy and options.dtype == "float32") else 1.0
    factored = "float64" if in_numpy else options.dtype
    return Work(
        (*cast, k("getrf", n), k("getrs", n, task.nrhs)),
        matrix_bytes(task, copies, factored) + vector_bytes(task, 2 + bool(cast), factored) + 8.0 * n,
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff. numpy.linalg.solve works in float64 whatever the dtype."""
    return growing(task, evidence, "float64" if options.backend == "numpy" else options.dtype)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = U^-1 L^-1 P b. Raises Breakdown when a pivot is exactly zero."""
    lib = library(options.backend)
    factor = stored_factor(reuse, "lu", options)
    if factor is None:
        A, own = matrix(A, options)
        factor = lib.lu_factor(A, overwrite=own)
    x = checked(lib, lib.lu_solve(factor, right_hand_side(b, options)), task)
    # numpy keeps no factors (its "factor" is A itself)
    kept = {} if options.backend == "numpy" else {"factor": Factor("lu", options, factor)}
    return Outcome(x, kept)


ALGORITHM = Algorithm(
    kind="linear_system",
    name="lu",
    title="LU with partial pivoting",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 9",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    unchecked=True,
)
