"""How evenly the singular values of a square matrix are spread, from a few of its rows.

The effective rank of A'A, r = tr(A'A)^2 / tr((A'A)^2) (Bartlett, Long, Lugosi and Tsigler, PNAS 117 (2020),
30063-30070, definition 3), is n where all singular values are equal and 1 where one decides. Both traces are means over
rows and over pairs of rows, ||A||_F^2 = sum_i g_ii and ||A A'||_F^2 = sum_ij g_ij^2 for G = A A', so that the Gram
matrix of k rows drawn without replacement estimates them without bias, whatever A is; and it costs next to nothing.

Singular values spread evenly over L decades have r / n = 1 / (L ln 10) = 0.434 / L up to 10^-2L, hence
cond(A) = exp(n / r). That takes much for granted, and the interval is wide. Of 57 systems of order 300 to 4900, 18 of
them real, float32 factors would not do for 19: r / n was at most 0.09 there, but for two with a single tiny singular
value, which nothing as cheap as this can see. Of the 38 others 28 had more; ten real ones, most of them badly scaled,
look worse than they are.

Where a few rows matter much more than others the estimate scatters: that of either half of the rows is looked at as
well, and the smallest counts.

The same rows tell of matrices whose fill decays: with mostly zeros, and many rows in which the diagonal entry exceeds
the rest twice, what elimination makes of zeros shrinks geometrically with the distance from the diagonal (Demko, Moss
and Smith, Math. Comp. 43 (1984), 491-499), in float32 down to subnormal numbers, with which processors take many times
longer (5 times as long for a sparse matrix of order 1500, 3 % of whose factors were subnormal). It foretells, and does
not prove.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..primitives.backends import home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.kernels import library
from ..primitives.norms import needs_no_scaling
from ..primitives.task import Task
from ..primitives.work import Calls, Work

NAME = "effective rank"
ROWS = 64  # 2016 pairs: within a twentieth where no row matters much more than others
_SPREAD = 1e4  # how far above exp(n / r) the condition number is taken to be, in 1 case of 20
_MOST = 15  # decades
_DOMINANT, _MANY = 0.5, 0.2  # the rest of a row over its diagonal entry; the share of rows that are so


def work(task: Task, backend: str | None = None) -> Work:
    """A copy of the rows, their absolute values, and their Gram matrix."""
    k, rows = Calls(backend or home_backend(task), task.dtype), min(ROWS, task.m)
    return Work((k("copy", rows, task.n), k("syrk", task.n, rows)), task.itemsize * rows * (2.0 * task.n + 4.0 * rows))


def run(A: Any, task: Task, evidence: Evidence, *, backend: str | None = None) -> Evidence:
    """Look at A : (n, n), numpy, torch or cupy; the evidence with `condition` and `effective_rank`, or `underflows`.

    Where the rows are zero, not finite or far from unit size, nothing is said.
    """
    lib = library(backend or home_backend(task))
    rng = np.random.Generator(np.random.Philox(key=task.seed))
    chosen = np.sort(rng.choice(task.m, min(ROWS, task.m), replace=False))
    S = lib.asarray(A)[chosen]
    if decays(lib.to_numpy(S), chosen):
        sentence = (
            "mostly zeros beside large diagonal entries: elimination in float32 is likely to meet subnormal numbers"
        )
        return replace(evidence, underflows=True, findings=(*evidence.findings, Finding(NAME, sentence)))
    G = np.asarray(lib.to_numpy(lib.gram(S.T)), dtype=np.float64)
    parts = (G, G[::2, ::2], G[1::2, 1::2]) if len(chosen) >= ROWS else (G,)
    shares = [found for part in parts if (found := share(part, task)) is not None]
    if len(shares) < len(parts):
        return evidence
    ratio = min(shares)
    sentence = f"singular values are as even as {ratio:.2g} of {task.n} equal ones ({len(chosen)} rows)"
    findings = (*evidence.findings, Finding(NAME, sentence))
    return replace(evidence, condition=condition_from(ratio), effective_rank=float(f"{ratio:.1g}"), findings=findings)


def share(G: np.ndarray, task: Task) -> float | None:
    """r / n from the Gram matrix of sampled rows, whose upper triangle is read; None where nothing can be said."""
    k, n = G.shape[0], task.m
    diagonal = G.diagonal()
    first = float(diagonal.sum()) * n / k
    if k < 2 or not needs_no_scaling(first, task.dtype):
        return None
    diagonal, above = diagonal / first, np.triu(G, 1) / first
    second = n / k * float((diagonal * diagonal).sum())
    second += 2.0 * n * (n - 1) / (k * (k - 1)) * float((above * above).sum())
    return min(1.0, 1.0 / (n * second))


def decays(rows: np.ndarray, indices: np.ndarray) -> bool:
    """Whether what elimination puts in the place of zeros is going to decay, as far as some rows of A tell."""
    sizes = np.abs(rows)
    if 2 * np.count_nonzero(sizes) > sizes.size:
        return False
    diagonal = sizes[np.arange(len(indices)), indices]
    rest = sizes.sum(axis=1) - diagonal
    return bool(np.mean((rest > 0.0) & (rest <= _DOMINANT * diagonal)) >= _MANY)


def condition_from(ratio: float) -> Interval:
    """The condition number of singular values that are spread evenly over as many decades as r / n = `ratio` says.

    To the nearest power of ten: planning remembers what it has forecast for the like.
    """
    decades = round(min(1.0 / (max(ratio, 1e-3) * math.log(10.0)), _MOST))
    return Interval(10.0**decades, 1.0, _SPREAD * 10.0**decades)
