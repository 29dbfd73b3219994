"""Conjugate gradients with incomplete Cholesky of zero fill, and a polynomial of what that makes of A on top of it.

The first iterations are those of incomplete Cholesky alone, L L' near A, and see the spectrum of L^-1 A L^-T. From
there on the preconditioner is p((L L')^-1 A) (L L')^-1, symmetric, with the polynomial p that is made for that spectrum
(`cg_polynomial`). Each iteration takes twelve products and twelve pairs of triangular solves: what is saved are inner
products.

References: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), sec. 10.3 and 12.3; Liu, Balabanov, Yang
and Mahoney, arXiv:2602.09530, section 5.2, where this is how the worst conditioned matrices are solved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..polynomials import Recurrence
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from . import _cg, _iterations, cg_ichol
from ._common import (
    ENTRY,
    Product,
    Settings,
    answer_bytes,
    by_columns,
    computing,
    iterated,
    may_be_definite,
    needs_entries,
    product_bytes,
    reading,
    settings,
    vectors,
)
from .cg_jacobi import LEAST, MOST, VECTORS, breakdown
from .cg_polynomial import TERM

STEPS = 50  # without a polynomial, to see the spectrum
_INNER = cg_ichol.Options()


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Sparse symmetric matrices that may be positive definite."""
    return needs_entries(task) or may_be_definite(task, evidence)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """The factorization; products and pairs of triangular solves, thirteen and twelve in each iteration."""
    count = cg_ichol.iterations(task, evidence, _INNER) * (_iterations.SHARE * task.nrhs)
    begun = float(STEPS)
    terms = _iterations.DEGREE
    kept, made, solves = cg_ichol.factor_work(task, _INNER.drop)
    products = begun + (terms + 1.0) * count.median
    iterations = begun + count.median
    calls = (
        computing(made),
        reading(product_bytes(task, evidence), products + 10.0),
        computing(solves, products),
        vectors(task.n, VECTORS * iterations + terms * TERM * count.median),
    )
    peak = answer_bytes(task, 14.0) + 4.0 * ENTRY * kept
    return Work(calls, peak, (begun + count.high) / iterations, _cg.REDUCTIONS * iterations)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x, the iterations of either kind, and the polynomial. Raises Breakdown where A or it is not positive definite."""
    from ..sparse import incomplete_cholesky

    made: list[tuple[str, Recurrence]] = []
    begun = 0

    def one(
        product: Product, apply: _cg.Apply, column: np.ndarray, target: float, norm_A: float, most: int
    ) -> tuple[np.ndarray, int]:
        nonlocal begun
        state = _cg.begin(apply, column, norm_A)
        if not made:
            _cg.advance(state, product, apply, target, STEPS)
            begun = state.done
            if state.converged or stop_asked() or not state.alphas:
                return _cg.finish(state, product, apply, column, target, most)
            made.append(_iterations.polynomial(state.spectrum(apply).triples, min(0.5, target)))
        polynomial = made[0][1]

        def better(r: np.ndarray) -> np.ndarray:
            return polynomial.apply(lambda v: apply(product(v)), apply(r))

        state.p = better(state.r)
        state.rz = _cg.dot(state.r, state.p)
        return _cg.finish(state, product, better, column, target, most)

    most = max(LEAST, MOST * cg_ichol.iterations(task, evidence, _INNER).high)
    outcome = by_columns(A, b, task, most, lambda product: incomplete_cholesky(product.A).solve, one)
    details: dict[str, float | int | str] = {**outcome.details, "without": begun}
    if made:
        details |= {"degree": made[0][1].degree, "polynomial": made[0][0]}
    return Outcome(outcome.value, details=details)


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="cg_ichol_polynomial",
    title="conjugate gradients with a polynomial on incomplete Cholesky",
    reference="Saad 2003, Iterative Methods for Sparse Linear Systems, sec. 10.3 and 12.3; arXiv:2602.09530, sec. 5.2",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
