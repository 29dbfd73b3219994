"""Conjugate gradients with incomplete Cholesky, of zero fill or with a threshold.

The factorization reads A once or, with a threshold, computes a few times as many entries; each iteration adds two
triangular solves, one entry after the other, to the product with A. Iterations are those with Jacobi's preconditioner
times a factor, which hardly depends on the matrix: measured of 26 matrices, 0.09 to 0.39 for zero fill and 0.03 to 0.17
for a threshold of 1e-3. A factor that needs a shift to exist is worth less.

Reference: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), sec. 10.3 and 10.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from . import _cg, _iterations
from ._common import (
    ENTRY,
    Product,
    answer_bytes,
    computing,
    iterated,
    may_be_definite,
    needs_entries,
    product_bytes,
    reading,
    vectors,
)
from .cg_jacobi import LEAST, MOST, VECTORS, breakdown

DROP, EXTRA = 1e-3, 20
_FEWER = {0.0: Interval(0.28, 0.12, 0.45), DROP: Interval(0.075, 0.03, 0.16)}  # of the iterations
_MORE = 10.0  # entries of a row of L with a threshold, beyond those of A's lower triangle
# Bytes whose reading takes as long as the factorization for an entry of L; with a threshold, also for each entry of the
# same row. And as two triangular solves, for an entry of L and for a row.
_PER_ENTRY, _PER_PAIR = {0.0: 450.0, DROP: 200.0}, {0.0: 0.0, DROP: 40.0}
_SOLVES, _SOLVES_ROW = 22.0, 190.0


@dataclass(frozen=True, slots=True)
class Options:
    """`drop` is the threshold; 0.0 stands for zero fill."""

    drop: float = 0.0
    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Zero fill, and a threshold."""
    yield Options()
    yield Options(DROP)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Sparse symmetric matrices that may be positive definite."""
    return needs_entries(task) or may_be_definite(task, evidence)


def iterations(task: Task, evidence: Evidence, options: Options) -> Interval:
    """For one right-hand side."""
    plain, fewer = _iterations.plain(task, evidence), _FEWER[options.drop]
    return _product(plain, fewer).at_least(2.0)


def _product(a: Interval, b: Interval) -> Interval:
    """Of two quantities whose errors have nothing to do with each other."""
    median = a.median * b.median
    low = math.hypot(*(math.log(x.median / x.low) for x in (a, b)))
    high = math.hypot(*(math.log(x.high / x.median) for x in (a, b)))
    return Interval(median, median * math.exp(-low), median * math.exp(high))


def factor_work(task: Task, drop: float) -> tuple[float, float, float]:
    """Entries of L, and the bytes whose reading takes as long as making it, and as two solves with it."""
    kept = 0.5 * (task.nnz + task.n) + (_MORE * task.n if drop else 0.0)
    made = (_PER_ENTRY[drop] + _PER_PAIR[drop] * kept / task.n) * kept
    return kept, made, _SOLVES * kept + _SOLVES_ROW * task.n


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """The factorization; a product, two triangular solves and a few vectors in each iteration."""
    count = iterations(task, evidence, options)
    total = task.nrhs * count.median
    kept, made, solves = factor_work(task, options.drop)
    calls = (
        computing(made),
        reading(product_bytes(task, evidence), total + 10.0),
        computing(solves, total),
        vectors(task.n, VECTORS * total),
    )
    room = 2.0 * ENTRY * (0.5 * (task.nnz + task.n) + (EXTRA * task.n if options.drop else 0.0))
    peak = answer_bytes(task, 11.0) + 2.0 * ENTRY * kept + room
    return Work(calls, peak, count.high / count.median, _cg.REDUCTIONS * total)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """What it stops at."""
    return iterated(task)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x, the iterations, and the shift of the factors. Raises Breakdown where A is not positive definite."""
    from ..sparse import incomplete_cholesky

    shift = 0.0

    def preconditioner(product: Product) -> _cg.Apply:
        nonlocal shift
        L = incomplete_cholesky(product.A, options.drop or None, EXTRA)
        shift = L.shift
        return L.solve

    most = max(LEAST, MOST * iterations(task, evidence, options).high)
    outcome = _cg.solve(A, b, task, most, preconditioner)
    return Outcome(outcome.value, details={**outcome.details, "shift": shift})


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="cg_ichol",
    title="conjugate gradients with incomplete Cholesky",
    reference="Saad 2003, Iterative Methods for Sparse Linear Systems, sec. 10.3",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
