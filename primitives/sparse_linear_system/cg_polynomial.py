"""Conjugate gradients with a polynomial of the matrix as preconditioner, on top of Jacobi's.

A polynomial of degree 11 cuts the iterations by up to twelve, at twelve products in each: on one processor the products
of all of them together are hardly fewer, and what is saved are the inner products, where those cost. The polynomial is
that of Chebyshev, of least squares on Ritz values or of the trained engine (`autospec.linear_systems`), whichever takes
the fewest iterations by forecast; it needs the probe.

Reference: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), sec. 12.3.
"""

from __future__ import annotations

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
    Product,
    Settings,
    answer_bytes,
    iterated,
    may_be_definite,
    product_bytes,
    reading,
    settings,
    vectors,
)
from .cg_jacobi import LEAST, MOST, VECTORS

TERM = 8.0  # copies of a vector for each term of the recurrence


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric matrices whose spectrum was probed and is positive."""
    reason = may_be_definite(task, evidence)
    if reason is None and evidence.cg_converged:
        return f"conjugate gradients need no more than {evidence.cg_steps} iterations without a polynomial"
    if reason is None and not (evidence.ritz and evidence.ritz[0][0] > 0.0):
        return "the spectrum, which a polynomial is made for, was not probed"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A product with A for each degree, and one for the iteration."""
    count, terms = _iterations.with_polynomial(task, evidence), _iterations.DEGREE
    total = task.nrhs * count.median
    calls = (
        reading(product_bytes(task, evidence), (terms + 1) * total + 10.0),
        vectors(task.n, (VECTORS + terms * TERM) * total),
    )
    return Work(calls, answer_bytes(task, 11.0), count.high / count.median, _cg.REDUCTIONS * total)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def breakdown(task: Task, evidence: Evidence, options: Settings) -> float:
    """Of an A with eigenvalues beyond what was probed, where the polynomial is not positive."""
    return 0.05


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x, the iterations and the degree. Raises Breakdown where A or the polynomial of it is not positive definite."""
    name, polynomial = _iterations.polynomial(evidence.ritz, _iterations.tolerance(task, evidence.ritz))

    def preconditioner(product: Product) -> _cg.Apply:
        scale: Any = 1.0
        if task.access == "sparse":
            diagonal = product.A.diagonal()
            if not (diagonal > 0.0).all():
                raise Breakdown("a diagonal entry of A is not positive: A is not positive definite")
            scale = 1.0 / np.sqrt(diagonal)

        def scaled(v: np.ndarray) -> np.ndarray:
            return scale * product(scale * v)

        return lambda r: scale * polynomial.apply(scaled, scale * r)

    most = max(LEAST, MOST * _iterations.with_polynomial(task, evidence).high)
    outcome = _cg.solve(A, b, task, most, preconditioner)
    return Outcome(outcome.value, details={**outcome.details, "degree": polynomial.degree, "polynomial": name})


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="cg_polynomial",
    title="conjugate gradients with a polynomial on Jacobi's preconditioner",
    reference="Saad 2003, Iterative Methods for Sparse Linear Systems, sec. 12.3",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
