"""MINRES for symmetric matrices that need not be definite, with the size of the diagonal as preconditioner.

Minimal residuals over Krylov spaces by a recurrence of three terms: a product and a few vectors in each iteration. What
the recurrence knows is the residual in the norm of the preconditioner; where that is small enough, as far as it was
right before, the true one is computed, and the iteration goes on if need be. SciPy's minres tests the residual against
its own estimate of ||A|| ||x||, which is another metric.

References: Paige and Saunders, SIAM J. Numer. Anal. 12 (1975); Elman, Silvester and Wathen, Finite Elements and Fast
Iterative Solvers, 2nd ed. (2014), algorithm 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
    dot,
    iterated,
    product_bytes,
    reading,
    settings,
    size_of,
    vectors,
)

_ITERATIONS = Interval(400.0, 20.0, 8000.0)  # to 1e-10, of a matrix of which nothing is known
_VECTORS = 24.0  # copies of a vector that the operations of an iteration take the time of
_REDUCTIONS = 3.0  # of an iteration: two inner products, and the norm of x
_RESTARTS = 5
_STANDSTILL = 0.9  # of the true residual where it was computed last
_EXHAUSTED = 1e-15


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
    return Work(calls, answer_bytes(task, 14.0), count.high / count.median, _REDUCTIONS * total)


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


def _preconditioner(product: Product, task: Task) -> Callable[[np.ndarray], np.ndarray]:
    if task.access != "sparse":
        return lambda r: r
    diagonal = np.abs(product.A.diagonal())
    largest = float(diagonal.max(initial=0.0)) or 1.0
    inverse = 1.0 / np.where(diagonal > 1e-8 * largest, diagonal, largest)
    return lambda r: inverse * r


def _solve_one(
    product: Product, apply: Any, b: np.ndarray, target: float, size: float, most: int
) -> tuple[np.ndarray, int]:
    """x : (n,) with ||b - A x|| <= target (size ||x|| + ||b||), or what there is when it is to stop."""
    x, norm_b, done = np.zeros_like(b), size_of(b), 0

    def limit() -> float:
        return target * (size * size_of(x) + norm_b)

    for _ in range(_RESTARTS):
        r = b - product(x) if done else b.copy()
        if size_of(r) <= limit():
            return x, done
        ratio, checked = 0.0, math.inf
        for error, unit in _iterates(product, apply, r, x):
            done += 1
            if stop_asked():
                return x, done
            if max(ratio, unit) * error <= limit():
                true = size_of(b - product(x))
                if true <= limit():
                    return x, done
                if true > _STANDSTILL * checked:  # rounding: begin again, from here
                    break
                ratio, checked = true / error, true
            if done >= most or not math.isfinite(error):
                raise Breakdown(f"MINRES did not converge in {done} iterations")
    raise Breakdown(f"MINRES did not converge in {done} iterations: rounding stands in its way")


def _iterates(product: Product, apply: Any, r: np.ndarray, x: np.ndarray) -> Iterator[tuple[float, float]]:
    """Iterate on A d = r, adding to x; each yields the norm of the residual in that of the preconditioner, and what to
    multiply it with for the Euclidean one. It ends where the space does.

    The Lanczos vectors are v, those before and after it; w the directions.
    """
    v_before, v = np.zeros_like(r), r
    w_before, w = np.zeros_like(r), np.zeros_like(r)
    z = apply(v)
    square = dot(z, v)
    if not (square > 0.0 and math.isfinite(square)):
        raise Breakdown("the residual is not finite")
    gamma_before, gamma = 1.0, math.sqrt(square)
    residual, unit = gamma, size_of(r) / gamma
    c_before, c, s_before, s = 1.0, 1.0, 0.0, 0.0
    largest = 0.0
    while True:
        z = z / gamma
        q = product(z)
        delta = dot(q, z)
        q -= (delta / gamma) * v
        q -= (gamma / gamma_before) * v_before
        v_before, v = v, q
        next_z = apply(v)
        gamma_before, gamma = gamma, math.sqrt(max(0.0, dot(next_z, v)))
        diagonal = c * delta - c_before * s * gamma_before
        rotated = math.hypot(diagonal, gamma)
        largest = max(largest, abs(delta), gamma)
        if not rotated > 0.0:
            raise Breakdown("A is singular on the space of its powers times b")
        above, far = s * delta + c_before * c * gamma_before, s_before * gamma_before
        c_before, c, s_before, s = c, diagonal / rotated, s, gamma / rotated
        w_before, w = w, (z - far * w_before - above * w) / rotated
        x += (c * residual) * w
        residual = -s * residual
        z = next_z
        yield abs(residual), unit
        if gamma <= _EXHAUSTED * largest:
            return


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
