"""Cholesky factorization A = R'R of a symmetric positive definite matrix, then two triangular solves.

Cost: 1/3 n^3 flops, half of LU, and no pivoting. Backward stable for every positive definite matrix. Whether A is
positive definite is found out by trying: a pivot that is not positive is a Breakdown, early for most matrices that
are not. One triangle is read.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), ch. 10, thm. 10.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import Task
from ..work import Calls, Work
from ._common import (
    SYMMETRIC,
    Factor,
    Settings,
    checked,
    matrix,
    matrix_bytes,
    right_hand_side,
    rounding,
    settings,
    square,
    stored_factor,
    vector_bytes,
)

# How often a symmetric matrix with a positive diagonal is indefinite, and one on which a Krylov space has met no
# negative Rayleigh quotient.
_UNSEEN, _LOOKED_AT = 0.07, 0.03


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """SciPy's potrf and torch (numpy has no triangular solve to follow its Cholesky with)."""
    return settings(task, ("scipy", "torch"))


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric matrices not known to be indefinite."""
    return square(task) or not_positive_definite(task)


def not_positive_definite(task: Task) -> str | None:
    """The reason why Cholesky cannot work, where it is known beforehand."""
    if task.structure not in SYMMETRIC:
        return "the matrix is not known to be symmetric"
    if task.structure == "indefinite":
        return "the matrix is symmetric but not positive definite: a diagonal entry is not positive"
    return None


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """One factorization of a copy of A."""
    n, k = task.n, Calls(options.backend, options.dtype)
    cast = (k("cast", n, n),) if options.dtype != task.dtype else ()
    copies = 2.0 if options.backend == "torch" and cast else 1.0  # torch factors a copy of the cast copy
    return Work(
        (*cast, k("potrf", n), k("trsm", n, task.nrhs, count=2)),
        matrix_bytes(task, copies, options.dtype) + vector_bytes(task, 2 + bool(cast), options.dtype),
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff where A is positive definite."""
    median = 0.3 + 0.04 * math.sqrt(task.n)  # measured, n = 20 .. 1000; the 95 % point is 3 times that
    return rounding(task, options.dtype, median, 4 * median)


def indefinite(task: Task, evidence: Evidence, options: Any) -> float:
    """How likely A is not positive definite, which unless declared is not known."""
    if task.structure == "spd":
        return 0.0
    return _UNSEEN if evidence.small_fraction is None else _LOOKED_AT


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x = R^-1 R'^-1 b. Raises Breakdown when A is not positive definite to working accuracy."""
    lib = library(options.backend)
    factor = stored_factor(reuse, "cholesky", options)
    if factor is None:
        A, own = matrix(A, options)
        factor = cholesky_factor(lib, A, overwrite=own)
    x = checked(lib, cholesky_solve(lib, factor, right_hand_side(b, options)), task)
    return Outcome(x, {"factor": Factor("cholesky", options, factor)})


def cholesky_factor(lib: Any, A: Any, *, overwrite: bool = False) -> Any:
    """Factor of A for `cholesky_solve`, by potrf in place where the library can. Raises Breakdown."""
    if lib.name == "scipy":
        return lib.cholesky_factor(A, overwrite=overwrite)
    return lib.cholesky(A)


def cholesky_solve(lib: Any, factor: Any, b: Any) -> Any:
    """A^-1 b from `cholesky_factor`."""
    if lib.name == "scipy":
        return lib.cholesky_factor_solve(factor, b)
    return lib.cholesky_solve(factor, b)


ALGORITHM = Algorithm(
    kind="linear_system",
    name="cholesky",
    title="Cholesky",
    reference="Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 10",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=indefinite,
    unchecked=True,
)
