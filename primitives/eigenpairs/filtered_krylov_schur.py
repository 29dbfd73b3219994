"""Krylov-Schur with a filter of degree 21 (`krylov_schur`): Chebyshev's, or a learned one where it is forecast to win.

An outer iteration takes 21 times as many products as without the filter, and there are fewer of them: what is saved is
orthogonalization, restarts and, where a basis of k + 10 vectors is to do, memory. Of several filters the one is taken
that needs the fewest outer iterations, as far as a short run without a filter shows (`spectral_filters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from . import _filter
from ._common import (
    EXTRA,
    FOUND,
    MISSES,
    MOST_PRODUCTS,
    Symmetric,
    converged,
    end_of,
    found,
    iterated,
    iterates,
    outer,
    random_block,
    wanted,
)
from .krylov_schur import krylov_schur

# Times as many iterations as the formula says, from so many wanted vectors on, and in proportion for fewer: fitted to
# 314 runs on eight matrices (orders 468 to 10000, k from 2 to 20, both ends) that ended within 1.5 s; 38 did not. Of
# 236 runs on six others (28 more did not end), within a factor of four: 74 % (small), 86 % (medium), 89 % (large).
_MEASURED = {"small": (6.0, 10), "medium": (3.2, 8), "large": (2.3, 1)}


@dataclass(frozen=True, slots=True)
class Options:
    """The filter, and the basis.

    Attributes
    ----------
    filter : str
        "chebyshev", or "auto": of that one, the learned one and the minimax one the best by forecast.
    basis : str
        "small" is k + 10 vectors, "medium" 2 k + 10, "large" 4 k.
    """

    filter: str = "chebyshev"
    basis: str = "small"
    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Chebyshev's with two sizes, and the best of several, where there is a learned one."""
    yield Options()
    yield Options(basis="medium")
    if wanted(task) in _filter.LEARNED:
        yield Options("auto", "large")


def dimension(task: Task, options: Options) -> int:
    """Of the basis."""
    k = wanted(task)
    return {"small": k + 10, "medium": 2 * k + 10, "large": 4 * k}[options.basis]


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """One end of a symmetric spectrum."""
    reason = iterates(task, evidence, dimension(task, options) + 1)
    if reason is None and end_of(task, evidence) == "LM":
        return "filters are of one end of the spectrum, and the largest magnitudes may be at both"
    return reason


def counts(task: Task, evidence: Evidence, options: Options) -> Interval:
    """Outer iterations."""
    polynomial, steps = _filter.foreseen(task, evidence), dimension(task, options) - wanted(task) - EXTRA
    if polynomial is None:
        return Interval(30.0, 6.0, 90.0)
    factor, enough = _MEASURED[options.basis]
    return outer(task, evidence, steps, polynomial, factor * min(1.0, wanted(task) / enough))


def steps_and_products(task: Task, evidence: Evidence, options: Options) -> tuple[float, float]:
    """Vectors that are orthogonalized, and products with A, the short run included."""
    size, kept = dimension(task, options), wanted(task) + EXTRA
    short = _filter.RUNS * (size - kept) + kept
    steps = counts(task, evidence, options).median * (size - kept) + kept
    return steps + short, min(_filter.DEGREE * steps + short, MOST_PRODUCTS)


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """The short run, and products of the filter in each step."""
    known, size = counts(task, evidence, options), dimension(task, options)
    steps, products = steps_and_products(task, evidence, options)
    held = size + wanted(task) + EXTRA + 6.0
    return iterated(task, evidence, products, size, steps, known.high / known.median, held)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """What it stops at."""
    return converged(task)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where there is no filter, or it does not converge."""
    product, size, k = Symmetric(A, task), dimension(task, options), wanted(task)
    choice = _filter.short_run(product, task, evidence, size, options.filter)
    most = max(5, int(MOST_PRODUCTS / (_filter.DEGREE * max(1, size - k - EXTRA))))
    pairs = krylov_schur(
        product, random_block(task, 1)[:, 1], k, size, which=end_of(task, evidence), polynomial=choice.polynomial,
        extra=EXTRA, tolerance=0.02 * task.target, most=most,
    )  # fmt: skip
    outcome = found(product, pairs, task)
    details = {"filter": choice.kind, **outcome.details}
    return replace(outcome, details=details, by_products={FOUND: outcome.value[1]})


def breakdown(task: Task, evidence: Evidence, options: Options) -> float:
    """Seldom, unless eigenvalues are equal: then what it finds may lack some."""
    return MISSES if evidence.repeated else 0.04


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="krylov_schur",
    title="Krylov-Schur with a polynomial filter",
    reference="Zhou and Saad 2007; Stewart 2001; Liu, Balabanov, Yang and Mahoney 2026",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=breakdown,
)
