"""Krylov-Schur with a Chebyshev filter of degree 21 (`krylov_schur`), with a small basis.

An outer iteration takes 21 times as many products as without the filter, and there are fewer of them: what is saved is
orthogonalization, restarts and, since a basis of k + 10 vectors does, memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from . import _filter
from ._common import (
    EXTRA,
    MOST_PRODUCTS,
    Settings,
    Symmetric,
    converged,
    end_of,
    found,
    iterated,
    iterates,
    outer,
    random_block,
    settings,
    wanted,
)
from .krylov_schur import krylov_schur

_BEYOND = 10  # vectors of the basis that are not wanted
# Times as many iterations as the formula says, which is for a basis that is large beside k: of a fixed part, and of one
# for each vector that is wanted. Measured as for ARPACK.
_SMALL_BASIS, _EACH = 2.2, 0.45


def _dimension(task: Task) -> int:
    return wanted(task) + _BEYOND


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """One end of a symmetric spectrum."""
    reason = iterates(task, evidence, _dimension(task) + 1)
    if reason is None and end_of(task, evidence) == "LM":
        return "filters are of one end of the spectrum, and the largest magnitudes may be at both"
    return reason


def counts(task: Task, evidence: Evidence) -> Interval:
    """Outer iterations."""
    polynomial, steps = _filter.foreseen(task, evidence), _dimension(task) - wanted(task) - EXTRA
    if polynomial is None:
        return Interval(30.0, 6.0, 90.0)
    return outer(task, evidence, steps, polynomial) * (_SMALL_BASIS + _EACH * wanted(task))


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """The short run, and products of the filter in each step."""
    known, size = counts(task, evidence), _dimension(task)
    steps = known.median * (size - wanted(task) - EXTRA) + wanted(task) + EXTRA
    products = min(_filter.DEGREE * steps + _filter.RUNS * size, MOST_PRODUCTS)
    return iterated(task, evidence, products, size, steps, known.high / known.median, size + wanted(task) + 6.0)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return converged(task)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where there is no filter, or it does not converge."""
    product, size, k = Symmetric(A, task), _dimension(task), wanted(task)
    polynomial = _filter.short_run(product, task, evidence, size)
    most = max(5, int(MOST_PRODUCTS / (_filter.DEGREE * max(1, size - k - EXTRA))))
    pairs = krylov_schur(
        product, random_block(task, 1)[:, 1], k, size, which=end_of(task, evidence), polynomial=polynomial,
        extra=EXTRA, tolerance=0.02 * task.target, most=most,
    )  # fmt: skip
    return found(product, pairs, task)


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="krylov_schur",
    title="Krylov-Schur with a Chebyshev filter",
    reference="Zhou and Saad 2007; Stewart 2001",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=lambda task, evidence, options: 0.1,
)
