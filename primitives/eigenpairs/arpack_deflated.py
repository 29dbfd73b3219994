"""Lanczos (ARPACK) again and again on what is left: equal eigenvalues, and those that another run has missed.

A Krylov space of one vector holds one vector of each eigenspace, and others by rounding alone. What was found, by
ARPACK here or by a run before that has missed some, is taken out of the operator, which puts it at zero where the
wanted end is the largest in magnitude: v -> (I - Q Q') (A + s I) v. While a short Lanczos run sees an eigenvalue beyond
the k-th of those at hand (`beyond`), ARPACK looks for some more. The k best go through a Rayleigh-Ritz step in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import Task
from ..work import Work
from . import arpack, beyond
from ._common import (
    FOUND,
    Settings,
    Symmetric,
    answer,
    converged,
    end_of,
    iterated,
    iterates,
    outside,
    settings,
    wanted,
)
from .krylov_schur import order_of, rayleigh_ritz

_PASSES = 30
_STEPS = 120  # of the run that looks beyond
_DELTA = 0.01  # probability that it overlooks a value, where it says that there is none
_MORE = 0.8  # products over those of ARPACK, to go on from what is known


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """As ARPACK, where something is left besides what is taken out, and one end is wanted."""
    if end_of(task, evidence) == "LM":
        return "looks beyond one end of the spectrum, and the largest magnitudes may be at both"
    return iterates(task, evidence, arpack.dimension(task, arpack.Options()) + 2 * wanted(task))


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """To go on, ARPACK's products for fewer pairs, with what is taken out; first those of ARPACK, if need be."""
    first, k = arpack.Options(), wanted(task)
    known = arpack.counts(task, evidence, first) * (_MORE if evidence.repeated else 1.0 + _MORE)
    size, products = arpack.dimension(task, first), known.median + _STEPS
    return iterated(task, evidence, products, size + k, products, known.high / known.median, size + 4.0 * k + 6.0)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """What it stops at."""
    return converged(task)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """(w, V), wanted end first. Raises Breakdown where ARPACK does not converge."""
    product, end, k = Symmetric(A, task), end_of(task, evidence), wanted(task)
    sign = 1.0 if end == "LA" else -1.0
    norm = product.norm()
    V = reuse.get(FOUND)
    if V is None:
        V = arpack.found(product, task, arpack.dimension(task, arpack.Options()), end, norm)
    w, Q, _ = rayleigh_ritz(product, np.linalg.qr(np.asarray(V, dtype=np.float64))[0], end)
    alike, more, passes = task.target * norm, -(-k // 2), 0

    def left(v: np.ndarray) -> np.ndarray:
        return outside(Q, v)

    while passes < _PASSES:
        start = left(np.random.default_rng(np.random.Philox(key=[task.seed, passes + 1])).standard_normal(task.n))
        last = float(w[-1])
        seen = beyond.look(product, left, start, ((sign, last + sign * alike),), beyond.enough(task.n, _DELTA), _STEPS)
        if not seen.crossed:
            break
        part = replace(task, rank=more, seed=task.seed + passes + 1)
        X = arpack.found(product, part, arpack.dimension(part, arpack.Options()), end, norm, left)
        found, X, _ = rayleigh_ritz(product, np.linalg.qr(left(X))[0], end)
        both = np.append(w, found)
        first_k = order_of(both, end)[:k]
        w, Q, passes = both[first_k], np.hstack([Q, X])[:, first_k], passes + 1
        # some more of the same: as many as belonged to the k this time, unless fewer could belong to them
        more = max(1, min(int((first_k >= k).sum()), k - int((sign * (w - found[0]) > -alike).sum())))
    return answer(product, Q, task, {"passes": passes, "locked": 0 if FOUND not in reuse else k})


ALGORITHM = Algorithm(
    kind="eigenpairs",
    name="arpack_deflated",
    title="Lanczos (ARPACK), again on what is left",
    reference="Lehoucq, Sorensen and Yang 1998; Saad 2011, section 4.2.3",
    options=settings,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    randomized=True,
    breakdown=lambda task, evidence, options: 0.01,
)
