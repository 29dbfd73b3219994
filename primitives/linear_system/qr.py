"""Householder QR: A = Q R, x = R^-1 Q'b. The last resort.

Cost: 4/3 n^3 flops, twice LU, and nothing can grow: normwise backward stable for every matrix, deterministic. An
exact zero on the diagonal of R is a Breakdown: a singular system has no solution or many, and which of them is meant
is for least squares to say.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), thm. 19.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import ITEMSIZE, Task
from ..work import Calls, Work
from ._common import Settings, checked, matrix, matrix_bytes, right_hand_side, rounding, settings, square, vector_bytes


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """LAPACK's gels through SciPy or torch."""
    return settings(task, ("scipy", "torch"), low_precision=False)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Any square matrix."""
    return square(task)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One factorization of a copy of A."""
    n, k = task.n, Calls(options.backend, options.dtype)
    cast = (k("cast", n, n),) if options.dtype != task.dtype else ()
    return Work(
        (*cast, k("gels", n, n, task.nrhs)),
        matrix_bytes(task, 1 + bool(cast), options.dtype)
        + 70.0 * n * ITEMSIZE[options.dtype]
        + vector_bytes(task, 3, options.dtype),
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff."""
    median = 0.6 + 0.05 * math.sqrt(task.n)  # measured, n = 20 .. 1000
    return rounding(task, options.dtype, median, 8 * median)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = R^-1 Q'b. Raises Breakdown when R has an exact zero on its diagonal."""
    lib = library(options.backend)
    b = right_hand_side(b, options)
    x = lib.lstsq_qr(matrix(A, options)[0], b)
    if not bool((x != 0).any()) and bool((b != 0).any()):  # which gels does not call an error
        raise Breakdown("the matrix is zero")
    return Outcome(checked(lib, x, task))


ALGORITHM = Algorithm(
    kind="linear_system",
    name="qr",
    title="Householder QR",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 19",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
    unchecked=True,
)
