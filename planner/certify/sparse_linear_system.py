"""Normwise backward error of a linear system whose A is sparse, or of which there are only products.

eta(x) = ||b - Ax|| / (||A|| ||x|| + ||b||) in 2-norms, as for dense systems (Rigal and Gaches 1967). ||A||_2 enters by
a lower bound, its longest row or column, or what a few products show: any ||A v|| / ||v|| is one. So the quotient is an
upper bound, and nothing in it is random.

Rounding of the residual: component i is a sum of k_i + 1 products, k_i the entries of row i, which adds at most
gamma_{k_i + 2} (|A| |x| + |b|)_i (Higham 2002, section 3.1); for long rows 8 sqrt(k_i) u takes the place of k_i u,
which fails with a probability below 1e-12 (Higham and Mary 2019, theorem 2.4). |A| |x| is one more product. Nobody
knows how an operator computes its products: what random walks over n terms give is taken, as for dense matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...primitives.evidence import Evidence
from ...primitives.sparse_linear_system._common import Product, norm_from_below, product_bytes, reading
from ...primitives.task import UNIT_ROUNDOFF, Task
from ...primitives.work import Work
from ..certificate import Certificate, says_enough
from .linear_system import rounding_of_residual
from .products import UNIT, as_columns

_WALK = 8.0
_STEPS = 8  # of the power method


def certify(A: Any, b: Any, x: Any, task: Task, metric: str, target: float | None) -> Certificate:
    """Certificate of x : (n,) or (n, r), numpy arrays, scaled by the planner."""
    product = Product(A, task)
    B, X = as_columns(np.asarray(b, dtype=np.float64)), as_columns(np.asarray(x, dtype=np.float64))
    norm_A = norm_from_below(product, task)
    rounding = _rounding(product, task, norm_A)
    sizes = [_sizes(product, rounding, B[:, j], X[:, j]) for j in range(X.shape[1])]
    backward = metric == "backward_error"
    bound, estimate = _worst(sizes, norm_A if backward else 0.0)
    if backward and task.access == "sparse" and target is not None and bound > target:
        bound, estimate = _worst(sizes, max(norm_A, norm_from_below(product, task, steps=_STEPS)))
    method = "one product with A in float64" if task.access == "sparse" else "one product with the operator"
    return Certificate(metric, bound, estimate, 1.0, method, target, says_enough(bound, target))


def _rounding(product: Product, task: Task, norm_A: float) -> Callable[[np.ndarray, np.ndarray], float]:
    """(b, x) -> how far the computed residual may be from the true one, in norm."""
    if task.access == "sparse":
        size_of_A = abs(product.A)
        terms = np.diff(product.A.indptr) + 2.0
        each = np.minimum(terms, _WALK * np.sqrt(terms)) * UNIT * (1.0 + 1e-6)
        return lambda b, x: float(np.linalg.norm(each * (size_of_A @ np.abs(x) + np.abs(b))))
    unit = UNIT_ROUNDOFF.get(str(product.A.dtype), UNIT) / UNIT * rounding_of_residual(task.n)
    return lambda b, x: unit * (norm_A * float(np.linalg.norm(x)) + float(np.linalg.norm(b)))


def _sizes(product: Product, rounding: Callable[[np.ndarray, np.ndarray], float], b: Any, x: Any) -> tuple[float, ...]:
    """Norms of b, x, A x and b - A x, and the rounding of the last."""
    found = product(x)
    return *(float(np.linalg.norm(v)) for v in (b, x, found, b - found)), rounding(b, x)


def _worst(sizes: list[tuple[float, ...]], norm_A: float) -> tuple[float, float]:
    """Largest (bound, estimate) over the columns; what is not finite counts as infinite."""
    bound = estimate = 0.0
    for norm_b, norm_x, norm_Ax, residual, rounding in sizes:
        seen = max(norm_A, (1.0 - 1e-12) * norm_Ax / norm_x) if norm_A > 0.0 and norm_x > 0.0 else norm_A
        scale = seen * norm_x + norm_b
        if not math.isfinite(residual) or not math.isfinite(scale) or (scale == 0.0 and residual > 0.0):
            return math.inf, math.inf
        if scale > 0.0:
            estimate = max(estimate, residual / scale)
            bound = max(bound, (residual + rounding) / scale)
    return bound, estimate


def work(task: Task, evidence: Evidence) -> Work:
    """Two products for each right-hand side, and those of the power method."""
    products = 2.0 * task.nrhs + _STEPS + 4.0
    held = 8.0 * task.n * (2.0 * task.nrhs + 5.0) + (24.0 * task.nnz if task.access == "sparse" else 0.0)
    return Work((reading(product_bytes(task, evidence), products),), held)
