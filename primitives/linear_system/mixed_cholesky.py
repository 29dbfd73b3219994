"""Cholesky in float32, refined to float64 accuracy.

Cost: 1/3 n^3 flops in float32, plus a product with A and two triangular solves a correction. Needs A positive definite
with room for float32 rounding, so a condition number below about 1e7; a pivot that is not positive is a Breakdown.

Reference: Langou et al. 2006, doi:10.1145/1188455.1188573 (LAPACK's dsposv).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..task import Task
from ..work import Calls, Work
from ._common import Factor, Settings, matrix_bytes, square, stored_factor
from ._refine import (
    forecast_corrections,
    operand,
    refine,
    refinement_bytes,
    refinement_calls,
    refinement_error,
    too_ill_conditioned,
)
from .cholesky import cholesky_factor, cholesky_solve, indefinite, not_positive_definite


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """SciPy and torch."""
    for backend in backends_for(task, ("scipy", "torch")):
        yield Settings(backend, "float32")


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric float64 matrices neither known to be indefinite nor to be ill-conditioned."""
    return square(task) or not_positive_definite(task) or too_ill_conditioned(task, evidence)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A cast, a float32 factorization in place, and the corrections."""
    n, k = task.n, Calls(options.backend, "float32")
    solves = 1.0 + forecast_corrections(task, evidence)
    copies = 2.0 if options.backend == "torch" else 1.0  # torch factors a copy of the cast copy
    return Work(
        (
            k("cast", n, n),
            k("potrf", n),
            k("trsm", n, task.nrhs, count=2 * solves),
            *refinement_calls(task, evidence, options.backend),
        ),
        matrix_bytes(task, copies, "float32") + refinement_bytes(task),
    )


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """As refined."""
    return refinement_error(task, evidence)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x refined to half the target. Raises Breakdown when a pivot is not positive or the corrections do not shrink."""
    lib = library(options.backend)
    A, b = operand(lib, A), lib.astype(lib.asarray(b), "float64")
    factor = stored_factor(reuse, "mixed_cholesky", options)
    if factor is None:
        factor = cholesky_factor(lib, lib.astype(A, "float32"), overwrite=True)
    refined = refine(lib, A, b, lambda r: cholesky_solve(lib, factor, r), task, evidence)
    return Outcome(
        refined.x,
        {"factor": Factor("mixed_cholesky", options, factor)},
        {
            "corrections": refined.corrections,
            "contraction": refined.contraction,
            "backward_error": refined.backward_error,
        },
    )


ALGORITHM = Algorithm(
    kind="linear_system",
    name="mixed_cholesky",
    title="float32 Cholesky, refined to float64",
    reference="Langou et al. 2006, doi:10.1145/1188455.1188573",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=indefinite,
    unchecked=True,
)
