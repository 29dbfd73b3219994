"""Sparse LU with partial or threshold pivoting (SuperLU, through SciPy), in an order of little fill.

Where A has a large diagonal: minimum degree on A + A', and pivots on the diagonal where they are not smaller than a
tenth of their column (a thousandth of it in a symmetric A of positive diagonal, which is likely to be definite; at all
if it was seen to be). The fill is known beforehand then, exactly unless pivots leave the diagonal or A is not
symmetric; the order is what the probe of the fill leaves behind. Else column approximate minimum degree and partial
pivoting, of which the fill is a guess. One step of refinement where the residual asks for it.

References: Demmel, Eisenstat, Gilbert, Li and Liu, SIAM J. Matrix Anal. Appl. 20 (1999); Amestoy, Davis and Duff, ibid.
17 (1996).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import KernelCall, Work
from ._common import (
    ENTRY,
    Product,
    Settings,
    answer_bytes,
    assembled,
    columns,
    computing,
    needs_entries,
    norm_from_below,
    product_bytes,
    reading,
    settings,
)

ORDER = "elimination_order"  # the by-product that a probe of the fill leaves
_UNKNOWN_FILL = Interval(20.0, 2.0, 150.0)  # times the entries of A; the middle one is the mean
_THRESHOLD = {"spd": 0.0, "symmetric": 1e-3}  # by structure; else
_PIVOTING = 0.1
# Bytes whose reading from a cache takes as long as the factorization for an entry of L + U, for an operation and for a
# row; as ordering for an entry of A, and for a row; and as a solve for an entry of L + U. Of 13 matrices within 0.7 to
# 1.2; one of order 150 000 took four times as long.
_PER_FILL, _PER_FLOP, _PER_ROW, PER_SOLVE = 270.0, 1.2, 8000.0, 21.0
_PER_ORDERED, _PER_ORDERED_ROW = 1000.0, 10_000.0
_MOST_FILL = 2.0**31
_OWN_ORDER = 2000  # up to this order SuperLU's own multiple minimum degree is as fast, and compiles nothing
_STORED = 24.0  # bytes for an entry of L + U, where blocks are stored with their zeros; 12 to 29 were measured


def fill(task: Task, evidence: Evidence) -> Interval:
    """Nonzeros of L + U."""
    return (_UNKNOWN_FILL * task.nnz).at_most(float(task.n) ** 2) if evidence.fill is None else evidence.fill


def flops(task: Task, evidence: Evidence) -> Interval:
    """Operations of the factorization: 1.5 times the square of the fill over n, where nobody knows better."""
    if evidence.fill_flops is not None:
        return evidence.fill_flops
    known = fill(task, evidence)
    return Interval(*(1.5 * size * size / max(1, task.n) for size in (known.median, known.low, known.high)))


def ordering(task: Task) -> KernelCall:
    """Ordering, which looks at every entry again and again."""
    return computing(_PER_ORDERED * task.nnz + _PER_ORDERED_ROW * task.n)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Any sparse matrix whose factors its indices can count."""
    reason = needs_entries(task)
    if reason is None and fill(task, evidence).median > _MOST_FILL:
        return f"its factors would have {fill(task, evidence).median:.1e} entries, more than indices of 32 bits count"
    return reason


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """Order, factorization, and a solve and a residual for each right-hand side."""
    size, operations = fill(task, evidence), flops(task, evidence)
    calls = [
        computing(_PER_FILL * size.median + _PER_FLOP * operations.median + _PER_ROW * task.n),
        computing(PER_SOLVE * size.median, task.nrhs),
        reading(product_bytes(task, evidence), task.nrhs + 10.0),
    ]
    if evidence.fill is None:
        calls.append(ordering(task))
    spread = max(1.5, operations.high / max(operations.median, 1.0))
    peak = _STORED * size.high + 6.0 * ENTRY * task.nnz + answer_bytes(task, 12.0)
    return Work(tuple(calls), peak, min(spread, 30.0))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """A few units of roundoff, and what rounding to the operands' own dtype adds."""
    rounded = Interval(0.1, 0.02, 0.3) * task.unit_roundoff if task.dtype == "float32" else Interval.exact(0.0)
    return Interval(1.0, 0.1, 8.0) * 2.0**-53 + rounded


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x by two triangular solves. Raises Breakdown when a pivot is exactly zero."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    product = Product(A, task)
    order = None
    how: dict[str, Any] = {"permc_spec": "COLAMD"}
    matrix = product.A
    if evidence.diagonal_pivots:
        definite = bool(evidence.ritz and evidence.ritz[0][0] > 0.0)
        threshold = 0.0 if definite else _THRESHOLD.get(task.structure, _PIVOTING)
        how = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": threshold, "options": {"SymmetricMode": True}}
        order = reuse.get(ORDER)
        if order is None and task.n > _OWN_ORDER:
            from ..sparse import minimum_degree

            order = minimum_degree(matrix).order
        if order is not None:
            how["permc_spec"] = "NATURAL"
            matrix = matrix[order][:, order]
    try:
        factors = splu(sp.csc_array(matrix), **how)
    except RuntimeError as error:  # a pivot is zero, or indices do not do
        raise Breakdown(f"SuperLU: {error}") from error

    def solved(r: np.ndarray) -> np.ndarray:
        if order is None:
            return factors.solve(r)
        x = np.empty_like(r)
        x[order] = factors.solve(r[order])
        return x

    found, size = [], norm_from_below(product, task)
    for column in columns(b):
        x = solved(column)
        r = column - product(x)
        if not np.linalg.norm(r) <= 0.25 * task.target * (size * np.linalg.norm(x) + np.linalg.norm(column)):
            x += solved(r)
        found.append(x)
    return Outcome(assembled(found, b), details={"factor_entries": int(factors.nnz)})


ALGORITHM = Algorithm(
    kind="sparse_linear_system",
    name="superlu",
    title="sparse LU",
    reference="Demmel, Eisenstat, Gilbert, Li and Liu 1999; Amestoy, Davis and Duff 1996",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    safe=True,
)
