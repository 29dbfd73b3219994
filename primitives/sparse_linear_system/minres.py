"""MINRES for symmetric matrices that need not be definite (SciPy), with the size of the diagonal as preconditioner.

Minimal residuals over Krylov spaces by a recurrence of three terms: a product and a few vectors in each iteration.
Reference: Paige and Saunders, SIAM J. Numer. Anal. 12 (1975).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from ._common import (
    SYMMETRIC,
    Product,
    Settings,
    answer_bytes,
    by_columns,
    iterated,
    product_bytes,
    reading,
    settings,
    vectors,
)

_ITERATIONS = Interval(400.0, 20.0, 8000.0)  # to 1e-10, of a matrix of which nothing is known
_VECTORS = 30.0  # copies of a vector that the operations of an iteration take the time of
_RESTARTS = 5


class _Stop(Exception):  # raised out of SciPy's callback
    pass


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Symmetric matrices."""
    if task.structure not in SYMMETRIC:
        declared = "; declare it with assume='symmetric' if it is" if task.access == "operator" else ""
        return f"A is not known to be symmetric{declared}"
    return None


def _count(task: Task) -> Interval:
    aim = min(0.5, 0.5 * task.target)
    return (_ITERATIONS * (math.log(1.0 / aim) / 23.0)).at_most(5.0 * task.n).at_least(1.0)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A product with A and a few vectors, in each iteration."""
    count = _count(task)
    total = task.nrhs * count.median
    calls = reading(product_bytes(task, evidence), total + 10.0), vectors(task.n, _VECTORS * total)
    return Work(calls, answer_bytes(task, 14.0), count.high / count.median)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def breakdown(task: Task, evidence: Evidence, options: Settings) -> float:
    """Of more iterations than it is given."""
    return 0.25


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x and the iterations it took. Raises Breakdown where the residual does not get there."""
    most = 4.0 * _count(task).high
    return by_columns(A, b, task, most, lambda product: _preconditioner(product, task), _solve_one)


def _preconditioner(product: Product, task: Task) -> Any:
    if task.access != "sparse":
        return None
    from scipy.sparse.linalg import LinearOperator

    diagonal = np.abs(product.A.diagonal())
    largest = float(diagonal.max(initial=0.0)) or 1.0
    inverse = 1.0 / np.where(diagonal > 1e-8 * largest, diagonal, largest)
    return LinearOperator(product.A.shape, matvec=lambda r: inverse * r.ravel(), dtype=np.float64)  # type: ignore[call-arg]


def _solve_one(
    product: Product, apply: Any, b: np.ndarray, target: float, size: float, most: int
) -> tuple[np.ndarray, int]:
    """x : (n,) with ||b - A x|| <= target (size ||x|| + ||b||), or what there is when it is to stop."""
    from scipy.sparse.linalg import LinearOperator, minres

    n = len(b)
    operator = LinearOperator((n, n), matvec=lambda v: product(v.ravel()), dtype=np.float64)  # type: ignore[call-arg]
    x, norm_b, done, aim = np.zeros(n), float(np.linalg.norm(b)), 0, 0.5 * target
    last = x

    def watch(current: np.ndarray) -> None:
        nonlocal done, last
        done += 1
        if stop_asked():
            last = current.copy()
            raise _Stop

    for _ in range(_RESTARTS):
        r = b - product(x)
        norm_r = float(np.linalg.norm(r))
        if norm_r <= target * (size * float(np.linalg.norm(x)) + norm_b):
            return x, done
        if not math.isfinite(norm_r) or done >= most:
            break
        try:
            # its test is relative to an estimate of ||A|| ||x||, in the norm of the preconditioner
            step, _ = minres(operator, r, rtol=aim * norm_b / norm_r, maxiter=most - done, M=apply, callback=watch)
        except _Stop:
            return x + last, done
        except ValueError as error:  # its own check of definiteness or symmetry
            raise Breakdown(f"MINRES: {error}") from error
        x = x + step
        aim *= 0.1
    raise Breakdown(f"MINRES did not converge in {done} iterations")


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="minres",
    title="minimal residuals (MINRES)",
    reference="Paige and Saunders 1975",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
