"""Conjugate gradients with algebraic multigrid, by smoothed aggregation (PyAMG).

The hierarchy of coarser matrices takes the time of some hundred products, an application of it that of some fifty, and
for discretized elliptic equations the iterations hardly grow with the order. Nobody knows beforehand how well it does
for other matrices: 7 to 150 iterations were measured for a residual of 1e-10, of 26 matrices.

References: Vanek, Mandel and Brezina, Computing 56 (1996); Bell, Olson and Schroder, J. Open Source Softw. 7 (2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from . import _cg, _iterations
from ._common import (
    ENTRY,
    Product,
    Settings,
    answer_bytes,
    computing,
    iterated,
    may_be_definite,
    needs_entries,
    product_bytes,
    reading,
    settings,
    vectors,
)
from .cg_jacobi import LEAST, VECTORS, breakdown

_ITERATIONS = Interval(16.0, 7.0, 110.0)  # to a residual of 1e-10
# Bytes whose reading takes as long as setting up for an entry of A and for a row, and as applying for a row; calls from
# Python to either.
_SETUP, _SETUP_ROW, _APPLY = 230.0, 20_000.0, 2500.0
_CALLS, _CALLS_APPLY = 1500.0, 40.0
_MOST = 100_000_000  # entries, beyond which its indices of 32 bits may not do
_FEWEST = 300  # order from which there is a coarser level


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Sparse symmetric matrices that may be positive definite, and are worth a hierarchy."""
    reason = needs_entries(task) or may_be_definite(task, evidence)
    if reason is None and not task.n >= _FEWEST:
        return f"an order of {task.n} is too small for a hierarchy of grids"
    if reason is None and task.nnz > _MOST:
        return f"{task.nnz} entries are too many for indices of 32 bits"
    return reason


def _count(task: Task, evidence: Evidence) -> Interval:
    aim = _iterations.tolerance(task, evidence.ritz)
    return (_ITERATIONS * (math.log(1.0 / aim) / 23.0)).at_least(2.0)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """The hierarchy; a product, a cycle and a few vectors in each iteration."""
    count = _count(task, evidence)
    total = task.nrhs * count.median
    calls = (
        computing(_SETUP * task.nnz + _SETUP_ROW * task.n),
        reading(8.0, _CALLS + _CALLS_APPLY * total),
        reading(product_bytes(task, evidence), total),
        computing(_APPLY * task.n, total),
        vectors(task.n, VECTORS * total),
    )
    peak = answer_bytes(task, 9.0) + 8.0 * ENTRY * task.nnz
    return Work(calls, peak, count.high / count.median, _cg.REDUCTIONS * total)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x and the iterations it took. Raises Breakdown where A is not positive definite."""
    import pyamg
    import scipy.sparse as sp

    levels = 0

    def preconditioner(product: Product) -> _cg.Apply:
        nonlocal levels
        matrix = sp.csr_matrix(product.A)
        if not (matrix.diagonal() > 0.0).all():
            raise Breakdown("a diagonal entry of A is not positive: A is not positive definite")
        kept = np.random.get_state()  # noqa: NPY002 - what PyAMG draws its estimates of spectral radii from
        np.random.seed(task.seed % 2**32)  # noqa: NPY002
        try:
            hierarchy = pyamg.smoothed_aggregation_solver(matrix)
        finally:
            np.random.set_state(kept)  # noqa: NPY002
        levels = len(hierarchy.levels)
        cycle: Any = hierarchy.aspreconditioner()
        return lambda r: cycle.matvec(r)

    most = max(LEAST, 10.0 * _count(task, evidence).high)
    outcome = _cg.solve(A, b, task, most, preconditioner)
    return Outcome(outcome.value, details={**outcome.details, "levels": levels})


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="cg_multigrid",
    title="conjugate gradients with algebraic multigrid",
    reference="Vanek, Mandel and Brezina 1996; PyAMG",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
    randomized=True,
)
