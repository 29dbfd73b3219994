"""Subspace iteration with a Chebyshev filter of degree 21 (`filtered_subspace`): blocks alone, no basis.

All products are with a block of k + 10 vectors, which one pass over A serves, and it is orthogonalized once in 21 of
them. More products than a Krylov method takes; it pays where an operator takes blocks at the price of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..sparse_linear_system._common import vectors
from ..task import Task
from ..work import Work
from . import _filter, filtered_krylov_schur
from ._common import (
    MOST_PRODUCTS,
    Settings,
    Symmetric,
    converged,
    end_of,
    found,
    iterated,
    random_block,
    seen,
    settings,
    wanted,
)
from .filtered_subspace import filtered_subspace

_BEYOND = 10  # columns of the block that are not wanted
_IN_A_BLOCK = 0.3  # of the time of a product with one vector that each of a block takes, where A is dense


def _block(task: Task) -> int:
    return wanted(task) + _BEYOND


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """As for Krylov-Schur with a filter."""
    return filtered_krylov_schur.applies(task, evidence, filtered_krylov_schur.Options())


def counts(task: Task, evidence: Evidence) -> Interval:
    """Iterations: the k-th vector gains what the filter has there over its largest value beyond the block."""
    polynomial = _filter.foreseen(task, evidence)
    if polynomial is None:
        return Interval(15.0, 4.0, 80.0)
    sign = -1.0 if end_of(task, evidence) == "SA" else 1.0
    p = np.abs(polynomial(sign * np.array(seen(task, evidence, _block(task) + 1))))
    gain = max(math.log(float(p[0] / max(p[1], p[2], 1e-300))), 1e-3)
    return Interval.around(max(1.0, math.log(1e2 / max(task.target, 1e-16)) / gain), 4.0)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """The short run, and filtered blocks."""
    known, r = counts(task, evidence), _block(task)
    products = min((_filter.DEGREE + 1) * known.median * r, 4.0 * MOST_PRODUCTS)
    each = _IN_A_BLOCK if task.access == "dense" else 1.0
    base = iterated(task, evidence, each * products + _filter.RUNS * r, r, 0.0, known.high / known.median, 8.0 * r)
    return base + Work((vectors(task.n, 4.0 * r * r * known.median),))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return converged(task)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where there is no filter, or it does not converge."""
    product, r = Symmetric(A, task), _block(task)
    choice = _filter.short_run(product, task, evidence, r, "chebyshev")
    most = max(5, int(MOST_PRODUCTS / (_filter.DEGREE * r)))
    pairs = filtered_subspace(
        product, choice.polynomial, random_block(task, r)[:, 1:], wanted(task), which=end_of(task, evidence),
        tolerance=0.5 * task.target, most=most,
    )  # fmt: skip
    return found(product, pairs, task)


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="filtered_subspace",
    title="subspace iteration with a Chebyshev filter",
    reference="Zhou, Saad, Tiago and Chelikowsky 2006",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=lambda task, evidence, options: 0.1,
)
