"""The spectrum as conjugate gradients see it: the first iterations of a method that can go on from them.

Conjugate gradients are Lanczos's method in other words: their coefficients make the same tridiagonal matrix, whose
eigenvalues are the Ritz values (Golub and Van Loan, Matrix Computations, 4th ed., section 11.3; Saad, Iterative Methods
for Sparse Linear Systems, 2nd ed., section 6.7.3). So the probe is not lost where the method is what solves the system,
and where few iterations do, it is the solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..primitives.algorithm import Breakdown
from ..primitives.sparse_linear_system import _cg
from ..primitives.sparse_linear_system._common import Product, columns, dot, norm_from_below, size_of
from ..primitives.sparse_linear_system.cg_jacobi import jacobi
from ..primitives.task import Task
from . import ritz


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

    ritz: ritz.RitzValues | None
    state: _cg.State | None
    curvature: float = 0.0
    size: float = 0.0


def run(A: Any, b: Any, task: Task, steps: int) -> Seen:
    """Up to so many iterations on the first right-hand side that is not zero, fewer where they meet `task.target`.

    Parameters
    ----------
    A : (n, n) csr_array with a positive diagonal, or LinearOperator; symmetric
    b : (n,) or (n, r) array

    Raises
    ------
    Breakdown
        If a product with A is not finite, or has another shape than b.
    """
    product = Product(A, task)
    apply = jacobi(product, task)
    norm_A = 0.0 if task.metric == "relative_residual" else norm_from_below(product, task)
    j, column = next(((j, c) for j, c in enumerate(columns(b)) if size_of(c) > 0.0), (0, np.zeros(task.n)))
    state = _cg.begin(apply, column, norm_A)
    state.column = j
    try:
        _cg.advance(state, product, apply, 0.5 * task.target, steps)
    except Breakdown as breakdown:
        if breakdown.structure is None:
            raise
        weight = task.n if task.access == "sparse" else dot(state.p, state.p)
        if task.access == "sparse":
            weight = dot(state.p, product.A.diagonal() * state.p)
        largest = max((1.0 / alpha for alpha in state.alphas), default=1.0)
        return Seen(None, None, dot(state.p, product(state.p)) / weight, largest)
    if not state.alphas:
        return Seen(None, state)
    betas = state.betas
    if len(betas) < len(state.alphas):  # the last one is not needed to go on
        betas = [*betas, max(0.0, dot(state.r, apply(state.r))) / state.rz]
    return Seen(_ritz(state.alphas, betas), state)


def _ritz(alphas: list[float], betas: list[float]) -> ritz.RitzValues:
    """Of the Lanczos matrix with 1 / alpha_j + beta_{j-1} / alpha_{j-1} and sqrt(beta_j) / alpha_j."""
    diagonal = [1.0 / alphas[0]]
    diagonal += [1.0 / alphas[j] + betas[j - 1] / alphas[j - 1] for j in range(1, len(alphas))]
    beside = [math.sqrt(beta) / alpha for alpha, beta in zip(alphas, betas, strict=True)]
    return ritz.of_tridiagonal(diagonal, beside, copies=True)
