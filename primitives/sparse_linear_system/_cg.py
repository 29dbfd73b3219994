"""Preconditioned conjugate gradients, stopped by the metric of the problem.

Hestenes and Stiefel (1952); Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), algorithm 9.1. The
recursive residual drifts from the true one, so that is computed where the former is small enough, and the iteration
starts again from there if need be (van der Vorst and Ye, SIAM J. Sci. Comput. 22, 2000, in its simplest form).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..algorithm import Breakdown, Outcome
from ..stopping import stop_asked
from ..task import Task
from ._common import Product, by_columns, dot, size_of

Apply = Callable[[np.ndarray], np.ndarray]

_RESTARTS = 4


def solve(A: Any, b: Any, task: Task, most: float, preconditioner: Callable[[Product], Apply]) -> Outcome:
    """x with its iterations (the sum over right-hand sides), `most` for each of them."""
    return by_columns(A, b, task, most, preconditioner, _solve_one)


def _solve_one(
    product: Product, apply: Apply, b: np.ndarray, target: float, size: float, most: int
) -> tuple[np.ndarray, int]:
    """x : (n,) with ||b - A x|| <= target (size ||x|| + ||b||), or what there is when it is to stop.

    Raises Breakdown where A or the preconditioner is not positive definite, or the residual does not get there.
    """
    x = np.zeros_like(b)
    norm_b = size_of(b)
    done = 0
    for _ in range(_RESTARTS):
        r = b - product(x) if done else b.copy()
        if size_of(r) <= target * (size * size_of(x) + norm_b):
            return x, done
        z = apply(r)
        p, rz = z.copy(), dot(r, z)
        while done < most:
            done += 1
            q = product(p)
            curvature = dot(p, q)
            if not (rz > 0.0 and math.isfinite(rz)):
                raise Breakdown("the preconditioner is not positive definite")
            if not (curvature > 0.0 and math.isfinite(curvature)):
                raise Breakdown(f"A is not positive definite: it has a direction of curvature {curvature:.1e}")
            alpha = rz / curvature
            x += alpha * p
            r -= alpha * q
            if size_of(r) <= target * (size * size_of(x) + norm_b):
                break
            if stop_asked():
                return x, done
            z = apply(r)
            rz, before = dot(r, z), rz
            p *= rz / before
            p += z
        else:
            raise Breakdown(f"conjugate gradients did not converge in {done} iterations")
    return x, done  # the residual comes no closer to the recursive one: the certificate tells
