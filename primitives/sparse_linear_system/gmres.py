"""GMRES, restarted after 50 steps (SciPy); of a sparse matrix with an incomplete LU factorization (SuperLU).

Needs products alone, of any square matrix. Nobody knows beforehand how many there will be, and restarts may come to a
standstill. References: Saad and Schultz, SIAM J. Sci. Stat. Comput. 7 (1986); Li and Shao, ACM Trans. Math. Softw. 37
(2011), for the factorization.
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
    ENTRY,
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

_RESTART = 50
_DROP, _FILL = 1e-4, 10.0
_PRECONDITIONED, _PLAIN = Interval(40.0, 4.0, 1000.0), Interval(300.0, 20.0, 10_000.0)  # iterations to 1e-10
_PER_FILL, _PER_SOLVE = 1500.0, 60.0  # bytes whose reading takes as long, for an entry of the incomplete factors
_VECTORS = 60.0  # copies of a vector that the orthogonalization of a step takes the time of, in the mean
_STANDSTILL = 0.9  # of the residual that a cycle leaves, twice in turn, it is given up


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Any square matrix."""
    return None


def _count(task: Task) -> Interval:
    known = _PRECONDITIONED if task.access == "sparse" else _PLAIN
    return (known * (math.log(1.0 / min(0.5, 0.5 * task.target)) / 23.0)).at_most(3.0 * task.n).at_least(1.0)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """The factorization; a product, two triangular solves and an orthogonalization in each step."""
    count = _count(task)
    total, kept = task.nrhs * count.median, 0.5 * _FILL * task.nnz
    calls = [reading(product_bytes(task, evidence), total + 10.0), vectors(task.n, _VECTORS * total)]
    peak = answer_bytes(task, _RESTART + 8.0)
    if task.access == "sparse":
        calls += [reading(_PER_FILL * kept), reading(_PER_SOLVE * kept, total)]
        peak += 1.3 * ENTRY * (_FILL + 4.0) * task.nnz
    one_by_one = 1.0 + 0.5 * min(_RESTART, count.median)  # with each of the basis, half full in the mean
    return Work(tuple(calls), peak, count.high / count.median, one_by_one * total)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return iterated(task)


def breakdown(task: Task, evidence: Evidence, options: Settings) -> float:
    """Of a standstill."""
    return 0.3


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x and the steps it took. Raises Breakdown where the residual does not get there."""

    def preconditioner(product: Product) -> Any:
        return _incomplete_lu(product) if task.access == "sparse" else None

    return by_columns(A, b, task, 4.0 * _count(task).high, preconditioner, _solve_one)


def _incomplete_lu(product: Product) -> Any:
    import scipy.sparse as sp
    from scipy.sparse.linalg import LinearOperator, spilu

    try:
        factors = spilu(sp.csc_array(product.A), drop_tol=_DROP, fill_factor=_FILL)
    except RuntimeError as error:
        raise Breakdown(f"the incomplete factorization failed: {error}") from error
    return LinearOperator(product.A.shape, matvec=factors.solve, dtype=np.float64)  # type: ignore[call-arg]


def _solve_one(
    product: Product, apply: Any, b: np.ndarray, target: float, size: float, most: int
) -> tuple[np.ndarray, int]:
    """x : (n,) with ||b - A x|| <= target (size ||x|| + ||b||), or what there is when it is to stop."""
    from scipy.sparse.linalg import LinearOperator, gmres

    n = len(b)
    operator = LinearOperator((n, n), matvec=lambda v: product(v.ravel()), dtype=np.float64)  # type: ignore[call-arg]
    x, norm_b, done, slow, before = np.zeros(n), float(np.linalg.norm(b)), 0, 0, math.inf

    def count(residual: float) -> None:
        nonlocal done
        done += 1

    while True:
        norm_r = float(np.linalg.norm(b - product(x)))
        limit = target * (size * float(np.linalg.norm(x)) + norm_b)
        if norm_r <= limit or (done and stop_asked()):
            return x, done
        slow = slow + 1 if norm_r > _STANDSTILL * before else 0
        if slow >= 2 or done >= most or not math.isfinite(norm_r):
            raise Breakdown(f"GMRES stands still after {done} steps, at a residual of {norm_r / norm_b:.1e}")
        before = norm_r
        x, _ = gmres(
            operator, b, x, rtol=0.0, atol=0.5 * limit, restart=min(n, _RESTART), maxiter=1, M=apply,
            callback=count, callback_type="pr_norm",
        )  # fmt: skip


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="gmres",
    title="GMRES",
    reference="Saad and Schultz 1986",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breakdown,
)
