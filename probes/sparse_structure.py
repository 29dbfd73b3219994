"""What a sparse matrix looks like, from a few passes: symmetry, the sign of its diagonal, what is declared of it.

Of an operator only a declared symmetry can be checked, by two products: u'(A v) and v'(A u) agree up to rounding.
Reference for the order and the fill: `primitives.sparse.minimum_degree`.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.sparse_linear_system import SYMMETRIC, superlu
from ..primitives.sparse_linear_system._common import ENTRY, Product, dot, reading
from ..primitives.task import Task
from ..primitives.work import Work

_ALIKE = 6.0  # units of roundoff, relative to ||A||_F, within which A and A' count as equal
_STRONG, _MOST = 0.1, 0.95  # of the largest entry of a column, and of the columns
_TIMED = 1 << 16  # entries of the vector whose reading a product with an operator is compared with
# Of L + U over that of the order by minimum degree: pivots on the diagonal, nearly so, and column order with pivoting.
_EXACT, _NEARLY, _GUESS = Interval(1.02, 1.0, 1.2), Interval(1.0, 0.35, 3.5), Interval(0.7, 0.1, 2.2)


def work(task: Task) -> Work:
    """A transposition and a comparison."""
    if task.access == "operator":
        return Work((reading(ENTRY * 10.0 * task.n, 4.0),), 40.0 * task.n)
    return Work((reading(ENTRY * task.nnz, 12.0),), 3.0 * ENTRY * task.nnz)


def run(A: Any, task: Task, evidence: Evidence) -> tuple[Task, Evidence, str]:
    """Look at A; the sentence says by what it is not as declared, and is empty where it is.

    Parameters
    ----------
    A : (n, n) csr_array, canonical, or LinearOperator

    Returns
    -------
    task : Task
        Its structure is "general", "symmetric" (which may be positive definite, its diagonal is positive), "indefinite"
        (symmetric, and not positive definite) or "spd" (as declared).
    evidence : Evidence
        With `diagonal_pivots`, or `product_entries`.
    mismatch : str
    """
    started = time.perf_counter()
    if task.access == "operator":
        task, evidence, sentence, mismatch = _operator(A, task, evidence)
    else:
        task, evidence, sentence, mismatch = _sparse(A, task, evidence)
    finding = Finding("structure", sentence, time.perf_counter() - started)
    return task, replace(evidence, findings=(*evidence.findings, finding)), mismatch


def _sparse(A: Any, task: Task, evidence: Evidence) -> tuple[Task, Evidence, str, str]:
    T, diagonal = A.T.tocsr(), A.diagonal()
    difference = math.sqrt(float((differences(A, T) ** 2).sum()))
    size = evidence.norm_fro if evidence.norm_fro is not None else math.sqrt(float((A.data.astype(float) ** 2).sum()))
    symmetric = difference <= _ALIKE * task.unit_roundoff * size
    positive = bool((diagonal > 0.0).all())
    evidence = replace(evidence, diagonal_pivots=_may_pivot(A, T, diagonal))
    mismatch = _mismatch(A, task, symmetric, positive)
    structure = "general"
    if symmetric:
        structure = "spd" if task.structure == "spd" else "symmetric" if positive else "indefinite"
    what = {
        "general": f"not symmetric (||A - A'|| is {difference / size if size else 0.0:.0e} of ||A||)",
        "spd": "symmetric, declared positive definite",
        "symmetric": "symmetric, its diagonal positive",
        "indefinite": "symmetric, and not positive definite: its diagonal is not positive",
    }[structure]
    density = task.nnz / max(1, task.n)
    return replace(task, structure=structure), evidence, f"A is sparse, {density:.3g} entries a row, {what}", mismatch


def differences(A: Any, T: Any) -> np.ndarray:
    """Entries of A - T, T = A' in compressed rows, canonical as A is: often of the same pattern."""
    alike = np.array_equal(A.indptr, T.indptr) and np.array_equal(A.indices, T.indices)
    return A.data - T.data if alike else (A - T).data


def pivots(A: Any, evidence: Evidence) -> Evidence:
    """The evidence with `diagonal_pivots` alone: a fraction of what `run` takes.

    A : (n, n) csr_array, canonical.
    """
    return replace(evidence, diagonal_pivots=_may_pivot(A, A.T.tocsr(), A.diagonal()))


def _may_pivot(A: Any, T: Any, diagonal: np.ndarray) -> bool:
    """Whether pivots from the diagonal are about as large as others, in nearly every column.

    Entries that are all of one size cancel exactly on the way, and leave pivots of zero.
    """
    if not len(diagonal) or bool((diagonal == 0.0).any()):
        return False
    if A.nnz > len(diagonal) and float(np.ptp(np.abs(A.data))) == 0.0:
        return False
    largest = np.maximum.reduceat(np.abs(T.data), T.indptr[:-1])  # no column is empty
    return float((np.abs(diagonal) >= _STRONG * largest).mean()) >= _MOST


def _mismatch(A: Any, task: Task, symmetric: bool, positive: bool) -> str:
    """What speaks against the declared structure; empty where nothing does."""
    declared = task.structure
    if declared in ("symmetric", "spd") and not symmetric:
        return f"A was declared {declared} and is not symmetric"
    if declared == "spd" and not positive:
        return "A was declared spd, and an entry of its diagonal is not positive"
    if declared in ("upper", "lower", "triangular", "diagonal"):
        rows = np.repeat(np.arange(task.n), np.diff(A.indptr))
        below = bool(((rows > A.indices) & (A.data != 0.0)).any())
        above = bool(((rows < A.indices) & (A.data != 0.0)).any())
        broken = {
            "upper": below, "lower": above, "triangular": below and above, "diagonal": below or above
        }  # fmt: skip
        if broken[declared]:
            return f"A was declared {declared} and has other entries that are not zero"
    return ""


def _operator(A: Any, task: Task, evidence: Evidence) -> tuple[Task, Evidence, str, str]:
    product = Product(A, task)
    random = np.random.default_rng(np.random.Philox(key=task.seed))
    u, v = random.standard_normal((2, task.n))
    started = time.perf_counter()
    Av, Au = product(v), product(u)
    seconds = 0.5 * (time.perf_counter() - started)
    evidence = replace(evidence, product_entries=_entries_worth(seconds))
    if task.structure not in SYMMETRIC:
        return replace(task, structure="general"), evidence, "A is an operator; nothing was declared of it", ""
    scale = float(np.linalg.norm(u) * np.linalg.norm(Av) + np.linalg.norm(v) * np.linalg.norm(Au))
    apart = abs(float(u @ Av) - float(v @ Au))
    rounding = 2.0**-24 if str(A.dtype) == "float32" else 2.0**-53
    if not apart <= 100.0 * math.sqrt(task.n) * rounding * scale:
        return task, evidence, "", f"A was declared {task.structure}, and u'(A v) is not v'(A u) for random u and v"
    if task.structure == "spd" and not min(float(u @ Au), float(v @ Av)) > 0.0:
        return task, evidence, "", "A was declared spd, and v'A v is not positive for a random v"
    declared = "positive definite" if task.structure == "spd" else "symmetric"
    return task, evidence, f"A is an operator, declared {declared}, as far as two products show", ""


def _entries_worth(seconds: float) -> float:
    """Nonzeros of a sparse matrix with which a product takes as long, by reading memory at the same time."""
    x = np.ones(_TIMED)
    dot(x, x)
    started = time.perf_counter()
    for _ in range(8):
        dot(x, x)
    per_byte = (time.perf_counter() - started) / (8 * 8 * _TIMED)
    return max(1.0, seconds / max(per_byte, 1e-12) / ENTRY)


# -- fill --------------------------------------------------------------------------------------------------------------


def fill_work(task: Task) -> Work:
    """The order, and the counts that follow from it."""
    return Work((superlu.ordering(task),), 80.0 * task.nnz + 100.0 * task.n)


def fill(A: Any, task: Task, evidence: Evidence) -> tuple[Evidence, dict[str, Any]]:
    """The fill of a direct factorization, and the order that it is of, as the by-product `superlu.ORDER`."""
    from ..primitives.sparse import minimum_degree

    found = minimum_degree(A)
    definite = task.structure == "spd" or bool(evidence.ritz and evidence.ritz[0][0] > 0.0)
    ordered = bool(evidence.diagonal_pivots)
    factor = (_EXACT if definite or task.structure == "symmetric" else _NEARLY) if ordered else _GUESS
    size, operations = found.fill, max(1.0, found.flops)
    evidence = replace(
        evidence,
        fill=Interval(factor.median * size, factor.low * size, factor.high * size),
        fill_flops=Interval(factor.median**2 * operations, factor.low**2 * operations, factor.high**2 * operations),
    )
    sentence = (
        f"its factors have {factor.median * size:.2g} entries ({factor.low * size:.1g} to {factor.high * size:.1g})"
        f" and take {factor.median**2 * operations:.1g} operations"
    )
    evidence = replace(evidence, findings=(*evidence.findings, Finding("fill", sentence)))
    return evidence, {superlu.ORDER: found.order} if ordered else {}
