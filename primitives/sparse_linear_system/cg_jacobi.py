"""Conjugate gradients with Jacobi's preconditioner, the diagonal of A; without one for operators.

Each iteration takes a product with A and a few operations on vectors, and memory for five of them. Iterations are
forecast from Ritz values of the matrix scaled to a unit diagonal: the method itself on a spectrum like theirs.

Reference: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), sec. 9.2 and 10.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..algorithm import Algorithm, Outcome
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

VECTORS = 16.0  # copies of a vector that the operations of an iteration take the time of
MOST = 4.0  # times the upper end of the forecast, after which it is given up, but not before so many
LEAST = 500.0
_MORE = 6.0  # products' worth of time: the norm of A, and the true residual


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric matrices that may be positive definite."""
    return may_be_definite(task, evidence)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A product with A and a few vectors, in each iteration that a probe has not done."""
    count = _iterations.left(task, evidence)
    total = count.median
    calls = (reading(product_bytes(task, evidence), total + _MORE), vectors(task.n, VECTORS * total))
    return Work(calls, answer_bytes(task, 7.0), (count.high + _MORE) / (total + _MORE), _cg.REDUCTIONS * total)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def breakdown(task: Task, evidence: Evidence, options: Settings) -> float:
    """Of an A that is not positive definite after all."""
    if evidence.cg_converged and task.nrhs == 1:
        return 0.0
    return 0.02 if evidence.ritz or task.structure == "spd" else 0.2


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x and the iterations it took, those of a probe among them. Raises Breakdown where A is not positive definite."""
    most = max(LEAST, MOST * _iterations.plain(task, evidence).high)
    return _cg.solve(A, b, task, most, lambda product: jacobi(product, task), reuse.get(_cg.STARTED))


def jacobi(product: Product, task: Task) -> _cg.Apply:
    """r -> D^-1 r with the diagonal D of A; of an operator, which shows none, r."""
    if task.access != "sparse":
        return lambda r: r
    inverse = 1.0 / product.A.diagonal()
    return lambda r: inverse * r


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="cg_jacobi",
    title="conjugate gradients with Jacobi's preconditioner",
    reference="Saad 2003, Iterative Methods for Sparse Linear Systems, sec. 9.2",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
