"""Locally optimal block conjugate gradients (SciPy's `lobpcg`), with Jacobi's preconditioner for the small end.

Knyazev, SIAM J. Sci. Comput. 23 (2001). A block of k vectors and some more, their residuals and the directions before:
3 r vectors and their products are all that is kept. It converges as conjugate gradients do for the small end of a
positive definite matrix, and it knows no restarts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..sparse_linear_system._common import vectors
from ..task import Task
from ..work import Work
from ._common import (
    Settings,
    Symmetric,
    answer,
    converged,
    end_of,
    iterated,
    iterates,
    outer,
    random_block,
    settings,
    wanted,
)

_MORE = 4  # columns of the block beyond k
_MOST = 800  # iterations
_PER_COLUMN = 60.0  # operations on a vector for each column of the block in an iteration, for each ten columns


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """An end of the spectrum, with a block that is small beside the order."""
    reason = iterates(task, evidence, wanted(task) + 1)
    if reason is not None:
        return reason
    if end_of(task, evidence) == "LM":
        return "finds one end of the spectrum, and the largest magnitudes may be at both"
    if 5 * _block(task) >= task.n:
        return f"a block of {_block(task)} is not small beside the order {task.n}"
    return None


def _block(task: Task) -> int:
    return wanted(task) + _MORE


def counts(task: Task, evidence: Evidence) -> Interval:
    """Iterations: about the steps of a Lanczos iteration without restarts."""
    steps = 4 * wanted(task) + 20
    return (outer(task, evidence, steps) * (0.3 * steps)).at_least(10.0).at_most(5.0 * _MOST)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """Products with a block, and Rayleigh-Ritz in a space of three."""
    known, r = counts(task, evidence), _block(task)
    base = iterated(task, evidence, known.median * r + 10.0, r, 0.0, known.high / known.median, 12.0 * r)
    return base + Work((vectors(task.n, known.median * r * _PER_COLUMN * max(1.0, r / 10.0)),))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return converged(task)


def breakdown(task: Task, evidence: Evidence, options: Settings) -> float:
    """More likely where many iterations are needed, or residuals near rounding are asked for."""
    slow = counts(task, evidence).probability_above(_MOST)
    return min(0.9, 0.05 + slow + (0.6 if task.target < 1e-12 else 0.0))


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where it does not converge."""
    from scipy.sparse.linalg import LinearOperator, lobpcg

    product, end, make = Symmetric(A, task), end_of(task, evidence), LinearOperator
    size = product.norm()
    operator: Any = make
    apply = operator((task.n, task.n), matvec=product, matmat=product, dtype=np.float64)
    preconditioner = None
    if task.access == "sparse" and end == "SA":
        diagonal = product.A.diagonal()
        if bool((diagonal > 0.0).all()):
            inverse = (1.0 / diagonal)[:, None]
            preconditioner = operator(
                (task.n, task.n), matvec=lambda v: inverse[:, 0] * np.ravel(v), matmat=lambda V: inverse * V,
                dtype=np.float64,
            )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is seen below
        try:
            _, V = lobpcg(
                apply, random_block(task, _block(task) - 1), M=preconditioner, largest=end == "LA",
                tol=0.25 * task.target * size, maxiter=_MOST,
            )[:2]  # fmt: skip
        except (ValueError, np.linalg.LinAlgError) as error:
            raise Breakdown(f"LOBPCG: {error}") from error
    outcome = answer(product, V, task, {"block": _block(task)})
    w, X = (np.asarray(part, dtype=np.float64) for part in outcome.value)
    worst = float(np.linalg.norm(product(X) - X * w, axis=0).max())
    if not worst <= (task.target + 8.0 * task.unit_roundoff) * max(size, float(np.abs(w).max())):
        raise Breakdown(f"LOBPCG stopped at residuals of {worst / size if size else worst:.1e} ||A||")
    return outcome


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="lobpcg",
    title="locally optimal block conjugate gradients",
    reference="Knyazev 2001",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=breakdown,
)
