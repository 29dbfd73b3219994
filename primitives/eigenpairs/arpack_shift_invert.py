"""Lanczos (ARPACK) with the inverse of A - sigma I, by sparse LU: for the small end, and for the inside at zero.

The eigenvalues nearest to sigma become the largest of (A - sigma I)^-1, well apart from the others, and a few dozen
solves do (Ericsson and Ruhe, Math. Comp. 35, 1980). sigma lies at zero for eigenvalues of small magnitude, a little
below the spectrum for the smallest: eigenvalues on its other side are not sought, and the certificate tells whether
there are any. A single vector finds one of equal eigenvalues, and the others by rounding alone: what is left without
those that were found is searched again, until nothing changes. Pivots are from the diagonal where A - sigma I is likely
to be definite. Values come from a Rayleigh-Ritz step with A itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..sparse_linear_system import superlu
from ..sparse_linear_system._common import SYMMETRIC, computing, needs_entries
from ..task import Task
from ..work import Work
from . import arpack
from ._common import Settings, Symmetric, answer, converged, end_of, iterated, outside, settings, wanted

_STEPS = Interval(3.0, 2.0, 8.0)  # solves for each vector that is wanted, beyond the first
_PASSES = 5  # at most
_BELOW = 1e-10  # of ||A||: where the smallest eigenvalue may be zero
_APART = 0.01  # of what Ritz values span, below the smallest where that is negative


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """The small end of a sparse matrix, or its inside, where the factors fit."""
    reason = needs_entries(task) if task.access != "dense" else "written for sparse matrices"
    if reason is not None:
        return reason
    if task.structure not in SYMMETRIC:
        return "A is not symmetric"
    if task.which not in ("SA", "SM") or end_of(task, evidence) == "LA":
        return "for the small end of the spectrum"
    if min(_dimension(task), task.n) <= wanted(task) or task.n < 3:
        return "k is not below the order of A"
    return superlu.applies(task, evidence, superlu.Settings())


def _dimension(task: Task) -> int:
    return min(max(2 * wanted(task) + 1, 20), task.n)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """A factorization, solves, and the orthogonalization of a short iteration."""
    factored = superlu.work(task, evidence, superlu.Settings())
    size = _dimension(task)
    solves = (_STEPS * wanted(task) + Interval.exact(float(size))) * 2.0
    fill = superlu.fill(task, evidence).median
    lanczos = iterated(
        task, evidence, 12.0, size, solves.median, solves.high / solves.median, size + wanted(task) + 6.0
    )
    calls = (*factored.calls, computing(superlu.PER_SOLVE * fill, solves.median), *lanczos.calls)
    return Work(calls, factored.peak_bytes + lanczos.peak_bytes, max(1.5, factored.spread))


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at, and what rounding leaves of solves."""
    return converged(task) + Interval(4.0, 0.5, 40.0) * 2.0**-53


def shift(task: Task, evidence: Evidence, norm: float) -> float:
    """sigma."""
    if end_of(task, evidence) == "SM":
        return 0.0
    if task.structure == "spd":
        return 0.0
    low, high = (evidence.ritz[0][0], evidence.ritz[-1][0]) if evidence.ritz else (-norm, norm)
    return -_BELOW * norm if low >= -_BELOW * norm else low - _APART * (high - low)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where A - sigma I is singular, or ARPACK does not converge."""
    import scipy.sparse as sp

    product = Symmetric(A, task)
    norm = product.norm()
    sigma = shift(task, evidence, norm)
    shifted = sp.csr_array(product.A - sigma * sp.eye_array(task.n, format="csr")) if sigma else product.A
    order = reuse.get(superlu.ORDER)
    if order is None:
        from ..sparse import minimum_degree

        order = minimum_degree(product.A).order
    factors = factored(shifted, order, 0.0 if end_of(task, evidence) == "SA" else 1e-3)

    def inverse(v: np.ndarray) -> np.ndarray:
        x = np.empty_like(v)
        x[order] = factors.solve(v[order])
        return x

    size, tolerance = _dimension(task), 1e-2 * task.target  # relative to the values of the inverse that are wanted
    V = arpack.eigsh(inverse, task, size, "LM", tolerance, product)
    outcome, passes = answer(product, V, task, {}), 1
    while passes < _PASSES:
        w, V = (np.asarray(part, dtype=np.float64) for part in outcome.value)
        Q = np.linalg.qr(V)[0]
        if 2 * wanted(task) >= task.n:
            break
        others = arpack.eigsh(lambda v, Q=Q: outside(Q, inverse(outside(Q, v))), task, size, "LM", tolerance, product)
        outcome, passes = answer(product, np.hstack([Q, others]), task, {}), passes + 1
        if float(np.abs(np.asarray(outcome.value[0]) - w).max()) <= task.target * norm:
            break
    details = {"factor_entries": int(factors.nnz), "sigma": float(sigma), "passes": passes, "products": product.count}
    return replace(outcome, by_products={superlu.ORDER: order}, details=details)


def factored(A: Any, order: np.ndarray, threshold: float) -> Any:
    """SuperLU of A[order][:, order], pivots from the diagonal where they are not below a threshold. Breakdown."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    try:
        return splu(
            sp.csc_array(A[order][:, order]), permc_spec="NATURAL", diag_pivot_thresh=threshold,
            options={"SymmetricMode": True},
        )  # fmt: skip
    except RuntimeError as error:
        raise Breakdown(f"SuperLU: {error}") from error


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="arpack_shift_invert",
    title="Lanczos (ARPACK) with sparse LU",
    reference="Ericsson and Ruhe 1980; Lehoucq, Sorensen and Yang 1998",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=lambda task, evidence, options: 0.03,
)
