"""Preconditioned conjugate gradients, stopped by the metric of the problem.

Hestenes and Stiefel (1952); Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), algorithm 9.1. The
recursive residual drifts from the true one, so that is computed where the former is small enough, and the iteration
starts again from there if need be (van der Vorst and Ye, SIAM J. Sci. Comput. 22, 2000, in its simplest form).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from ..algorithm import Breakdown, Outcome
from ..ritz import RitzValues, of_conjugate_gradients
from ..stopping import stop_asked
from ..task import Task
from ._common import Product, by_columns, dot, size_of

Apply = Callable[[np.ndarray], np.ndarray]

STARTED = "conjugate_gradients"  # the by-product that a probe of the spectrum leaves, a State
REDUCTIONS = 3.0  # of an iteration: p'Ap, the residual norm with that of x, and r'z
_RESTARTS = 4


@dataclass(slots=True)
class State:
    """How far conjugate gradients have come with one right-hand side.

    Attributes
    ----------
    x, r, p : (n,) float64 arrays
        The iterate, the recursive residual and the next direction.
    rz : float
        r' M^-1 r.
    norm_b, norm_A : float
        ||b||, and `norm_in_metric`.
    done : int
        Iterations.
    converged : bool
        Whether the recursive residual is as small as was asked for.
    alphas, betas : list of float
        Of each iteration; beta is not computed where the residual was small enough. The Lanczos matrix of
        M^-1/2 A M^-1/2 is made of them.
    column : int
        Of b.
    """

    x: np.ndarray
    r: np.ndarray
    p: np.ndarray
    rz: float
    norm_b: float
    norm_A: float
    done: int = 0
    converged: bool = False
    alphas: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)
    column: int = 0

    def close(self, target: float) -> bool:
        """Whether ||r|| <= target (||A|| ||x|| + ||b||)."""
        return size_of(self.r) <= target * (self.norm_A * size_of(self.x) + self.norm_b)

    def spectrum(self, apply: Apply) -> RitzValues:
        """Of M^-1/2 A M^-1/2 as the iterations have seen it, of which there was one at least."""
        betas = self.betas
        if len(betas) < len(self.alphas):  # the last one is not needed to go on
            betas = [*betas, max(0.0, dot(self.r, apply(self.r))) / self.rz]
        return of_conjugate_gradients(self.alphas, betas)


def begin(apply: Apply, b: np.ndarray, norm_A: float) -> State:
    """From x = 0."""
    z = apply(b)
    return State(np.zeros_like(b), b.copy(), z.copy(), dot(b, z), size_of(b), norm_A)


def advance(state: State, product: Product, apply: Apply, target: float, most: int) -> None:
    """Iterate until the recursive residual is small enough, `most` iterations were done, or it is asked to stop.

    Raises Breakdown where A or the preconditioner is not positive definite; the state is that before the iteration.
    """
    state.converged = state.close(target)
    while not state.converged and state.done < most:
        q = product(state.p)
        curvature = dot(state.p, q)
        if not (state.rz > 0.0 and math.isfinite(state.rz)):
            raise Breakdown("the preconditioner is not positive definite")
        if not math.isfinite(curvature):
            raise Breakdown("a product with A is not finite")
        if not curvature > 0.0:
            raise Breakdown(
                f"A is not positive definite: it has a direction of curvature {curvature:.1e}", structure="indefinite"
            )
        alpha = state.rz / curvature
        state.x += alpha * state.p
        state.r -= alpha * q
        state.done += 1
        state.alphas.append(alpha)
        state.converged = state.close(target)
        if state.converged or stop_asked():
            return
        z = apply(state.r)
        rz, before = dot(state.r, z), state.rz
        state.p *= rz / before
        state.p += z
        state.rz = rz
        state.betas.append(rz / before)


def solve(
    A: Any, b: Any, task: Task, most: float, preconditioner: Callable[[Product], Apply], started: State | None = None
) -> Outcome:
    """x with its iterations (the sum over right-hand sides), `most` for each of them, going on from what was started.

    Raises Breakdown where A or the preconditioner is not positive definite, or the residual does not get there.
    """
    numbers = count()

    def one(
        product: Product, apply: Apply, column: np.ndarray, target: float, norm_A: float, most: int
    ) -> tuple[np.ndarray, int]:
        if started is None or next(numbers) != started.column:
            state = begin(apply, column, norm_A)
        else:  # others may go on from it too
            state = replace(started, x=started.x.copy(), r=started.r.copy(), p=started.p.copy())
        return finish(state, product, apply, column, target, most)

    return by_columns(A, b, task, most, preconditioner, one, None if started is None else started.norm_A)


def finish(
    state: State, product: Product, apply: Apply, b: np.ndarray, target: float, most: int
) -> tuple[np.ndarray, int]:
    """x : (n,) with ||b - A x|| <= target (||A|| ||x|| + ||b||), or what there is when it is to stop, and iterations.

    Raises Breakdown where A or the preconditioner is not positive definite, or the residual does not get there.
    """
    for attempt in range(_RESTARTS):
        if attempt or state.converged:  # the recursive residual was small enough: is the true one?
            state.r = b - product(state.x)
            if state.close(target):
                break
            state.p = apply(state.r).copy()
            state.rz = dot(state.r, state.p)
        advance(state, product, apply, target, most)
        if not state.converged:
            if stop_asked():
                break
            raise Breakdown(f"conjugate gradients did not converge in {state.done} iterations")
    return state.x, state.done  # the residual comes no closer to the recursive one: the certificate tells
