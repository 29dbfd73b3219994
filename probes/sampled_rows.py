"""The condition number of a tall least-squares problem from a few of its rows.

If columns of A nearly depend on each other, so do they in any subset of its rows: a Gram matrix of 2 n + 64 rows drawn
uniformly shows it for a small share of the price of A'A. Where no row matters much more than others the singular
values of the sample, times sqrt(m / rows), lie within a factor of about 4 of those of A (matrix Chernoff bounds:
Tropp, Found. Comput. Math. 12 (2012), 389-434; Drineas and Mahoney, Lectures on randomized numerical linear algebra,
2018, arXiv:1712.08880). Rows that matter may be missed, so the interval is wide, and what is done on its strength must
be able to fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..primitives.algorithm import Breakdown
from ..primitives.backends import home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.least_squares import normal_equations
from ..primitives.least_squares._shared import condition_calls, plus_ridge, scaled_condition
from ..primitives.norms import needs_no_scaling
from ..primitives.task import Task
from ..primitives.work import Calls, Work

NAME = "sampled rows"
_SHARE, _LOW, _HIGH = 0.6, 12.0, 10.0  # condition of A over that of the sample: median, and the ends of 90 %
_MOST = 1e14  # where the sample's Gram matrix is singular


def rows_of(n: int) -> int:
    """Rows that are looked at."""
    return 2 * n + 64


def work(task: Task, backend: str | None = None) -> Work:
    """A copy of the rows, their Gram matrix and its Cholesky factor."""
    k, n, rows = Calls(backend or home_backend(task), "float64"), task.n, rows_of(task.n)
    calls = (k("copy", rows, n), k("syrk", rows, n), k("potrf", n), *condition_calls(k, n))
    return Work(calls, 8.0 * (rows * n + 4 * n * n))


def run(A: Any, task: Task, evidence: Evidence, *, backend: str | None = None) -> Evidence:
    """Look at A : (m, n), numpy, torch or cupy; the evidence with its condition numbers.

    Where the rows are not finite, or far from unit size, nothing is said.
    """
    lib = library(backend or home_backend(task))
    m, n = task.m, task.n
    rows = rows_of(n)
    chosen = np.sort(np.random.Generator(np.random.Philox(key=task.seed)).choice(m, rows, replace=False))
    S = lib.astype(lib.asarray(A)[chosen], "float64")
    G = lib.gram(S)
    if not needs_no_scaling(float(lib.xp.linalg.trace(G)) * m / rows, task.dtype):
        return evidence
    try:
        R = lib.cholesky(plus_ridge(lib, G, task.ridge * rows / m))
        seen = scaled_condition(lib, R, lib.xp.sqrt(lib.xp.sum(R * R, axis=0)))
    except Breakdown:
        seen = float("inf")
    most = normal_equations.limit("float64")
    if seen < most:
        found = Interval(_SHARE * seen, seen / _LOW, _HIGH * seen).at_least(1.0)
        sentence = f"{rows} rows drawn at random have the condition number {seen:.1e} (columns scaled)"
    else:
        found = replace(Interval.above(most, _MOST), low=most / _LOW)
        sentence = f"{rows} rows drawn at random have a condition number above {most:.0e} (columns scaled)"
    findings = (*evidence.findings, Finding(NAME, sentence))
    return replace(evidence, condition=found, scaled_condition=found, findings=findings)
