"""The spectrum as conjugate gradients see it: the first iterations of a method that can go on from them.

Conjugate gradients are Lanczos's method in other words: their coefficients make the same tridiagonal matrix, whose
eigenvalues are the Ritz values (`primitives.ritz`). So the probe is not lost where the method is what solves the
system, and where few iterations do, it is the solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..primitives.algorithm import Breakdown
from ..primitives.ritz import RitzValues
from ..primitives.sparse_linear_system import _cg
from ..primitives.sparse_linear_system._common import Product, columns, dot, norm_in_metric, size_of
from ..primitives.sparse_linear_system.cg_jacobi import jacobi
from ..primitives.task import Task

_LAST = 8  # iterations, from which the rate is taken


@dataclass(frozen=True, slots=True)
class Seen:
    """What the iterations show.

    Attributes
    ----------
    ritz : RitzValues or None
        Of D^-1/2 A D^-1/2 (of an operator: of A), from the right-hand side; None where it was zero, or A is not
        positive definite.
    state : State or None
        To go on from.
    curvature : float
        Where A is not positive definite: the Rayleigh quotient that shows it.
    size : float
        Beside it: the largest Ritz value, about.
    """

    ritz: RitzValues | None
    state: _cg.State | None
    curvature: float = 0.0
    size: float = 0.0


def run(A: Any, b: Any, task: Task, steps: int, *, started: _cg.State | None = None) -> Seen:
    """Up to so many iterations on the first right-hand side that is not zero, fewer where they meet `task.target`.

    Parameters
    ----------
    A : (n, n) csr_array with a positive diagonal, or LinearOperator; symmetric
    b : (n,) or (n, r) array
    started : State, optional
        To go on from; changed.

    Raises
    ------
    Breakdown
        If a product with A is not finite, or has another shape than b.
    """
    product = Product(A, task)
    apply = jacobi(product, task)
    state = started
    if state is None:
        j, column = next(((j, c) for j, c in enumerate(columns(b)) if size_of(c) > 0.0), (0, np.zeros(task.n)))
        state = _cg.begin(apply, column, norm_in_metric(product, task))
        state.column = j
    try:
        _cg.advance(state, product, apply, 0.5 * task.target, steps)
    except Breakdown as breakdown:
        if breakdown.structure is None:
            raise
        weight = dot(state.p, (product.A.diagonal() if task.access == "sparse" else 1.0) * state.p)
        largest = max((1.0 / alpha for alpha in state.alphas), default=1.0)
        return Seen(None, None, dot(state.p, product(state.p)) / weight, largest)
    return Seen(state.spectrum(apply) if state.alphas else None, state)


def likely_total(state: _cg.State, target: float) -> float:
    """Iterations that it takes if the residual goes on falling as it has in the last few: it may fall faster yet."""
    rate = -0.5 * sum(map(math.log, state.betas[-_LAST:])) / len(state.betas[-_LAST:])  # of its logarithm, in M^-1
    wanted = target * (state.norm_A * size_of(state.x) + state.norm_b)
    return state.done + math.log(size_of(state.r) / wanted) / rate if rate > 0.0 else math.inf
