"""Implicitly restarted Lanczos (ARPACK, through SciPy's `eigsh`), with products alone.

Lehoucq, Sorensen and Yang, ARPACK Users' Guide (1998); Sorensen, SIAM J. Matrix Anal. Appl. 13 (1992). ARPACK stops by
residuals relative to each Ritz value. Here they are to be small beside ||A||, so an end is sought as that of
A + ||A|| I or A - ||A|| I, where its values are as large as any: that moves no vector and no gap. Memory: the basis of
`dimension` vectors. The start is drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from ._common import (
    EXTRA,
    FOUND,
    MISSES,
    MOST_PRODUCTS,
    Symmetric,
    answer,
    converged,
    end_of,
    iterated,
    iterates,
    outer,
    random_block,
    wanted,
)

# Outer iterations over what the formula for Krylov-Schur says: the middle of what was measured of twelve matrices,
# orders 468 to 60000 (0.6 to 4 times the formula).
_MEASURED = {"small": 1.3, "large": 1.0}
_LOSS = 0.25  # of the target that residuals in ARPACK's own measure may take


@dataclass(frozen=True, slots=True)
class Options:
    """Vectors of the basis, beside those wanted: "small" is twice k or 20, "large" four times or 60."""

    basis: str = "small"
    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Two sizes."""
    yield Options("small")
    yield Options("large")


def dimension(task: Task, options: Options) -> int:
    """Of the basis."""
    k = wanted(task)
    size = max(2 * k + 1, 20) if options.basis == "small" else max(4 * k + 1, 60)
    return min(size, task.n)


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Ends of a symmetric spectrum, where k is below the order."""
    return iterates(task, evidence, dimension(task, options))


def counts(task: Task, evidence: Evidence, options: Options) -> Interval:
    """Products."""
    size = dimension(task, options)
    steps = max(1, size - wanted(task) - EXTRA)
    cycles = outer(task, evidence, steps) * _MEASURED[options.basis]
    return (cycles.at_least(1.0) * steps + Interval.exact(float(size - steps))).at_most(MOST_PRODUCTS)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A product and an orthogonalization in each step, and the norm."""
    known, size = counts(task, evidence, options), dimension(task, options)
    total = known.median + 10.0
    return iterated(task, evidence, total, size, known.median, known.high / known.median, size + wanted(task) + 6.0)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """What it stops at."""
    return converged(task)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where ARPACK does not converge."""
    product, end = Symmetric(A, task), end_of(task, evidence)
    size = dimension(task, options)
    V = found(product, task, size, end, product.norm())
    outcome = answer(product, V, task, {"basis": size})
    return replace(outcome, by_products={FOUND: outcome.value[1]})


def breakdown(task: Task, evidence: Evidence, options: Options) -> float:
    """Seldom, unless eigenvalues are equal: then what it finds lacks some."""
    return MISSES if evidence.repeated else 0.02


def found(
    product: Symmetric, task: Task, size: int, end: str, norm: float,
    outside: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """(n, k) vectors of an end of A, or of what a projection leaves of it, which puts the rest amidst the spectrum."""
    shift = {"LA": 1.0, "SA": -1.0, "LM": 0.0}[end] * norm

    def shifted(v: np.ndarray) -> np.ndarray:
        y = product(v) + shift * v
        return y if outside is None else outside(y)

    return eigsh(shifted, task, size, "LM", _LOSS * task.target, product)


def eigsh(apply: Any, task: Task, size: int, which: str, tolerance: float, product: Symmetric) -> np.ndarray:
    """(n, k) vectors of an operator v -> apply(v); Breakdown in place of ARPACK's errors."""
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator
    from scipy.sparse.linalg import eigsh as scipy_eigsh

    operator: Any = LinearOperator  # their types do not say what they take
    lanczos: Any = scipy_eigsh
    start = random_block(task, 0)[:, 0]
    most = max(10, int(MOST_PRODUCTS / max(1, size - wanted(task))))
    try:
        return lanczos(
            operator((task.n, task.n), matvec=lambda v: apply(np.ravel(v)), dtype=np.float64),
            wanted(task), which=which, ncv=size, v0=start, tol=max(tolerance, 2.0**-52), maxiter=most,
        )[1]  # fmt: skip
    except ArpackNoConvergence as error:
        raise Breakdown(f"ARPACK did not converge in {product.count} products") from error
    except ArpackError as error:
        raise Breakdown(f"ARPACK: {error}") from error


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="arpack",
    title="implicitly restarted Lanczos (ARPACK)",
    reference="Lehoucq, Sorensen and Yang 1998",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=breakdown,
)
