"""What the algorithms for eigenpairs share: products, which end is sought, forecasts, and what an answer looks like.

Work is priced by memory traffic, as for sparse linear systems (`sparse_linear_system._common`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..algorithm import Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..polynomials import Recurrence
from ..products import Products
from ..products import host as host
from ..sparse_linear_system import _common as sparse
from ..sparse_linear_system._common import SYMMETRIC, reading, vectors
from ..sparse_linear_system._common import Settings as Settings
from ..sparse_linear_system._common import settings as settings
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from .forecast import outer_iterations
from .krylov_schur import Pairs, order_of

EXTRA = 5  # vectors beyond those that are wanted, of a basis or a block
FOUND = "eigenvectors"  # by-product: vectors (n, k) of a run that may have missed some, for another to go on from
MISSES = 0.9  # probability that an iteration with one vector at a time misses a pair again, where one has
MOST_PRODUCTS = 30_000.0  # times a vector, after which an iteration is given up
_SPREAD, _UNSEEN = 4.0, 12.0  # either way, of a count of outer iterations, and where nothing was probed
_GAP = 5e-3  # beyond the wanted end, over the spread of the spectrum, where nothing was probed
_WITHIN, _INSIDE = 20, 60  # eigenvalues near an end, beyond the wanted ones, and values for the rest of a spectrum
_ALIKE = 1e-6  # relative difference of eigenvalues that are taken for one
_ZERO = 1e-12  # of the largest Ritz value in magnitude: what counts as no sign
_PAIR = 16.0  # operations on vectors for each that is wanted, at the end


class Symmetric(Products):
    """V -> A V, which raises Breakdown where it is to stop."""

    def __init__(self, A: Any, task: Task) -> None:
        super().__init__(A, task)
        self._task = task

    def __call__(self, V: np.ndarray) -> np.ndarray:
        if self.count and stop_asked():
            raise Breakdown("it was stopped before its eigenpairs had converged")
        return super().__call__(V)

    def norm(self) -> float:
        """A lower bound on ||A||_2, within a few per cent in most cases. What it takes is not counted."""
        before = self.count
        v = random_block(self._task, 0)[:, 0]
        bound = 0.0
        for _ in range(10):
            size = float(np.linalg.norm(v))
            if not 0.0 < size < math.inf:
                break
            v = self(v / size)
            found = float(np.linalg.norm(v))
            bound = max(bound, found if math.isfinite(found) else 0.0)
        self.count = before
        return bound * (1.0 - 1e-12)


def random_block(task: Task, columns: int) -> np.ndarray:
    """(n, columns + 1) Gaussian, of the task's seed."""
    return np.random.default_rng(np.random.Philox(key=task.seed)).standard_normal((task.n, columns + 1))


def outside(Q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """v, (n,) or (n, r), without its part in the span of the orthonormal columns of Q."""
    return v - Q @ (Q.T @ v)


def end_of(task: Task, evidence: Evidence) -> str:
    """The end of the spectrum to look at: "LA" | "SA" | "LM", or "SM" where its inside is asked for.

    Magnitudes are those of an end where all eigenvalues have one sign, as far as it is declared or was seen.
    """
    ritz = evidence.ritz
    rounding = _ZERO * max(abs(ritz[0][0]), abs(ritz[-1][0])) if ritz else 0.0
    positive = task.structure == "spd" or bool(ritz and ritz[0][0] >= -rounding)
    negative = not positive and bool(ritz and ritz[-1][0] <= rounding)
    if task.which == "SM":
        return "SA" if positive else "LA" if negative else "SM"
    if task.which == "LM":
        return "LA" if positive else "SA" if negative else "LM"
    return task.which


def iterates(task: Task, evidence: Evidence, most: int) -> str | None:
    """The reason why no iteration with products comes to the end that is sought, with so many vectors at most."""
    if task.structure not in SYMMETRIC:
        return "A is not known to be symmetric"
    if wanted(task) + 1 > task.n or most > task.n:
        return f"a space of dimension {most} is not below the order of A"
    if end_of(task, evidence) == "SM":
        return "eigenvalues inside of the spectrum need a factorization; declare assume='spd' if A is positive definite"
    return None


def wanted(task: Task) -> int:
    """k."""
    assert task.rank is not None
    return task.rank


def product_bytes(task: Task, evidence: Evidence) -> float:
    """What one product with A reads and writes [B]."""
    if task.access == "dense":
        return 8.0 * task.n * task.n + 16.0 * task.n
    return sparse.product_bytes(task, evidence)


def copy_bytes(task: Task) -> float:
    """A in float64, where it is not [B]."""
    if task.dtype == "float64":
        return 0.0
    return {"dense": 8.0 * task.n * task.n, "sparse": 12.0 * task.nnz}.get(task.access, 0.0)


def iterated(
    task: Task, evidence: Evidence, products: float, basis: int, steps: float, high: float, held: float
) -> Work:
    """Work of so many products, `steps` of which are orthogonalized against a basis, with `held` vectors in memory."""
    k = wanted(task)
    calls = [
        reading(product_bytes(task, evidence), products + k),
        vectors(task.n, 4.0 * products + _PAIR * k),
    ]
    if steps:
        # two passes over a basis that is three quarters full in the mean; the second time it is in a cache
        calls.append(reading(8.0 * task.n * 0.75 * basis, 2.0 * steps))
    # what comes from LAPACK for the projected matrix, and Python
    calls.append(reading(2e4 * 8.0, max(1.0, products / max(1, basis))))
    # in the end the vectors, their products and what they are rotated to
    return Work(tuple(calls), 8.0 * task.n * max(held, 3.0 * k + 4.0) + copy_bytes(task), high)


def supposed(task: Task, gap: float = _GAP) -> tuple[tuple[float, float, float], ...]:
    """Ritz values, weights and residuals as `Evidence.ritz` has them, of a spectrum of one sign.

    Alike at both ends: eigenvalues apart by a sixth of the gap, relative to the spread; the others are spread evenly.
    """
    near = min(wanted(task) + _WITHIN, max(1, task.n // 4))
    apart = np.minimum(gap / 6.0 * np.arange(near), 0.4)
    values = np.concatenate([apart, np.linspace(apart[-1] + 0.01, 0.99 - apart[-1], _INSIDE), 1.0 - apart[::-1]])
    weights = np.full(len(values), 1.0 / task.n)
    weights[near:-near] = max(1.0 - 2.0 * near / task.n, 1.0 / task.n) / _INSIDE
    weights /= weights.sum()
    return tuple((float(value), float(weight), 0.0) for value, weight in zip(1.0 + values, weights, strict=True))


def seen(task: Task, evidence: Evidence, count: int) -> tuple[float, float, float]:
    """(k-th, count-th, last) eigenvalue from the end that is sought, where their values descend; from Ritz values.

    Each Ritz value stands for as many eigenvalues as its weight in the spectral measure of a random start says, and for
    one at least; the first of them is as far beyond the outermost Ritz value as its residual allows. Of eigenvalues
    that are all one number, whose vectors need not be told apart, the second is the next number. Where nothing was
    probed they are those of a spectrum that is neither easy nor hard.
    """
    values, weights, residuals = np.array(evidence.ritz or supposed(task)).T
    end = end_of(task, evidence)
    if end == "SA":
        values, weights, residuals = -values[::-1], weights[::-1], residuals[::-1]
    elif end == "LM":
        order = np.argsort(np.abs(values))
        values, weights, residuals = np.abs(values[order]), weights[order], residuals[order]
    ranks = np.cumsum(np.maximum(1.0, task.n * weights[::-1]))[::-1] - 0.5  # of each, from the end on
    at = np.append(values, values[-1] + residuals[-1])
    ranks = np.append(ranks, min(0.5, 0.5 * ranks[-1]))
    at_k, beyond = (float(np.interp(0.5 - r, -ranks, at)) for r in (wanted(task), min(count, task.n)))
    low = float(values[0])
    apart = at_k - _ALIKE * max(abs(at_k), at_k - low)
    if beyond > apart:
        beyond = float(at[at <= apart].max(initial=min(low, apart)))
    return at_k, beyond, low


def outer(
    task: Task, evidence: Evidence, steps: int, polynomial: Recurrence | None = None, factor: float = 1.0
) -> Interval:
    """Outer iterations of Krylov-Schur of so many steps each, with A or a polynomial of it, from Ritz values.

    `factor` is how many times as many as the formula says were measured.
    """
    end = end_of(task, evidence)
    at_k, beyond, low = seen(task, evidence, wanted(task) + EXTRA + 1)
    if polynomial is not None:
        sign = -1.0 if end == "SA" else 1.0
        p = np.abs(polynomial(sign * np.array([at_k, beyond, low])))
        at_k, beyond, low = float(p[0]), float(max(p[1], p[2])), 0.0
        beyond = min(beyond, at_k * (1.0 - 1e-8))
    count = outer_iterations(at_k, np.array([low, beyond]), np.zeros(0), task.n, max(1, steps), max(task.target, 1e-15))
    return Interval.around(min(max(1.0, factor * count), 1e5), _SPREAD if evidence.ritz else _UNSEEN)


def converged(task: Task) -> Interval:
    """Error of what stops by its residuals: below half the target, and rounding."""
    return Interval(0.3, 0.01, 0.7) * task.target + Interval(2.0, 0.2, 8.0) * task.unit_roundoff


def answer(product: Symmetric, V: np.ndarray, task: Task, details: dict[str, Any]) -> Outcome:
    """(w, V) by a Rayleigh-Ritz step in the span of V : (n, k), near orthonormal; in the operands' dtype.

    Raises Breakdown where V is not finite, or not of full rank.
    """
    import scipy.linalg

    if not np.isfinite(V).all():
        raise Breakdown("its vectors are not finite")
    AV = product(V)
    H = V.T @ AV
    try:
        w, S = scipy.linalg.eigh(0.5 * (H + H.T), V.T @ V)
    except np.linalg.LinAlgError as error:
        raise Breakdown("its vectors are linearly dependent") from error
    del AV
    return in_order(w, V @ S, task, {**details, "products": product.count})


def in_order(w: np.ndarray, V: np.ndarray, task: Task, details: dict[str, Any]) -> Outcome:
    """The k pairs of the end that is wanted, in the dtype of the operands."""
    order = order_of(w, task.which)[: wanted(task)]
    if not np.array_equal(order, np.arange(V.shape[1])):
        V = V[:, order]
    return Outcome((w[order].astype(task.dtype), np.ascontiguousarray(V, dtype=task.dtype)), details=details)


def found(product: Symmetric, pairs: Pairs, task: Task) -> Outcome:
    """The outcome of what iterates. Raises Breakdown where it has not converged."""
    if not pairs.converged:
        raise Breakdown(f"it did not converge in {pairs.iterations} iterations")
    details = {"iterations": pairs.iterations, "products": product.count}
    return in_order(pairs.values, pairs.vectors, task, details)
