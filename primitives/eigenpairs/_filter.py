"""The Chebyshev filter of an end of the spectrum: where the unwanted part ends, from a short run.

Zhou and Saad, SIAM J. Matrix Anal. Appl. 29 (2007): the interval begins at a Ritz value a few beyond those that are
wanted, and ends beyond the other end of the spectrum, as far as the residual of its Ritz value says.
"""

from __future__ import annotations

import math

import numpy as np

from ..algorithm import Breakdown
from ..evidence import Evidence
from ..polynomials import Recurrence
from ..polynomials.filters import chebyshev_filter
from ..task import Task
from ._common import EXTRA, Symmetric, end_of, random_block, seen, wanted
from .krylov_schur import Cycle, krylov_schur

DEGREE = 21
RUNS = 3  # outer iterations of the short run


def short_run(product: Symmetric, task: Task, evidence: Evidence, dimension: int) -> Recurrence:
    """The filter from a few outer iterations of Krylov-Schur with A itself."""
    k, end = wanted(task), end_of(task, evidence)
    ends: list[tuple[float, float]] = []
    values = np.zeros(0)

    def looked(cycle: Cycle) -> bool:
        nonlocal values
        values = cycle.values
        if not ends:
            other = float(cycle.values[-1]), float(cycle.residuals[-1])
            ends.append((other[0] - other[1], other[0] + other[1]))
        return False

    start = random_block(task, 0)[:, 0]
    krylov_schur(product, start, k, dimension, which=end, most=RUNS, tolerance=0.0, seen=looked)
    far = ends[0][0] if end == "LA" else ends[0][1]
    boundary = float(values[min(k + EXTRA, len(values) - 2)])
    return filter_of(float(values[0]), boundary, far)


def filter_of(first: float, boundary: float, far: float) -> Recurrence:
    """Large at `first`, small from `boundary` to `far`. Raises Breakdown where there is no such interval."""
    low, high = sorted((boundary, far))
    apart = 1e-9 * max(abs(first), abs(far))
    if not (math.isfinite(low) and low < high - apart and (first > high + apart or first < low - apart)):
        raise Breakdown("the eigenvalues that were seen are too close to each other for a filter")
    return chebyshev_filter(low, high, DEGREE, first)


def foreseen(task: Task, evidence: Evidence) -> Recurrence | None:
    """What `short_run` is likely to come to, from Ritz values."""
    end = end_of(task, evidence)
    if end not in ("LA", "SA") or not evidence.ritz:
        return None
    sign = -1.0 if end == "SA" else 1.0
    _, boundary, far = seen(task, evidence, wanted(task) + EXTRA + 1)
    value, _, residual = evidence.ritz[0 if end == "SA" else -1]
    first = value + sign * residual
    try:
        return filter_of(first, sign * boundary, sign * far)
    except Breakdown:
        return None
