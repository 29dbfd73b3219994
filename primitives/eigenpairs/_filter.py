"""The filter of an end of the spectrum that a short run decides on, and what is foreseen of it.

Zhou and Saad, SIAM J. Matrix Anal. Appl. 29 (2007): the polynomial is large at the wanted end, and small from a Ritz
value a few beyond those that are wanted to beyond the other end of the spectrum, as far as the residual of its Ritz
value says. Which polynomial that is, see `spectral_filters`.
"""

from __future__ import annotations

import math

from ..algorithm import Breakdown
from ..evidence import Evidence
from ..polynomials import Recurrence
from ..polynomials.filters import chebyshev_filter
from ..task import Task
from ._common import EXTRA, Symmetric, end_of, product_bytes, random_block, seen, supposed, wanted
from .spectral_filters import Choice, chosen, places, probed

DEGREE = 21
_LOWER = (15, 10, 7, 5, 3, 2, 1)  # degrees, for where rounding would tell
_ROUNDING = 16.0 * 2.0**-53  # of the largest value of a filter, in its products
RUNS = 8  # outer iterations of the short run: with three, hard spectra took 1.1 to 1.5 times as many products
LEARNED = range(5, 26)  # k for which the learned filter was trained, from Krylov-Schur of dimension 4 k
_APART = 1e-9  # of the eigenvalues in magnitude, that the spectrum must be wide
_LINEAR_PROGRAM = 4e7  # bytes of a product, from which the linear program of the minimax filter takes little


def short_run(product: Symmetric, task: Task, evidence: Evidence, dimension: int, kind: str) -> Choice:
    """The filter from a few outer iterations of Krylov-Schur with A itself. Breakdown where there is none.

    `kind` is "chebyshev", or "auto" for the best of several by forecast: the learned one and, where finding it takes
    little, the minimax one. Its degree is lower where a wanted eigenvalue is so far from the first that rounding would
    tell in its vector.
    """
    start = random_block(task, 0)[:, 0]
    k = wanted(task)
    probe = probed(product, start, k, end_of(task, evidence), RUNS, dimension)
    first = float(probe.values[0])
    if not abs(probe.far - first) > _APART * max(abs(first), abs(probe.far)):
        raise Breakdown("the eigenvalues that were seen are too close to each other for a filter")
    kinds = ("chebyshev",)
    if kind == "auto":
        learned = ("autospec",) if dimension == 4 * k and k in LEARNED else ()
        large = DEGREE * product_bytes(task, evidence) > _LINEAR_PROGRAM
        kinds = (*kinds, *learned, *(("minimax",) if large else ()))
    # the nearer place: a short run has not seen the Ritz values beyond as well as a forecast would have it
    label, i = min(places(k).items(), key=lambda place: place[1])
    where, last = {label: i}, probe.values[k - 1 : k]
    least = min(0.5, _ROUNDING / max(task.target, 2.0**-53))
    try:
        choice = chosen(probe, kinds, where, task.n, DEGREE)
        for degree in _LOWER:  # beside the value of one at the first, the k-th must keep its digits
            if float(abs(choice.polynomial(last)[0])) >= least:
                break
            choice = chosen(probe, kinds, where, task.n, degree)
    except ValueError as error:
        raise Breakdown(str(error)) from error
    return choice


def foreseen(task: Task, evidence: Evidence) -> Recurrence | None:
    """Chebyshev's, as `short_run` is likely to come to it, from Ritz values."""
    end = end_of(task, evidence)
    if end not in ("LA", "SA"):
        return None
    sign = -1.0 if end == "SA" else 1.0
    _, boundary, far = seen(task, evidence, wanted(task) + EXTRA + 1)
    value, _, residual = (evidence.ritz or supposed(task))[0 if end == "SA" else -1]
    first = sign * value + residual
    apart = _APART * max(abs(first), abs(far))
    if not (math.isfinite(far) and far < boundary - apart and boundary < first - apart):
        return None
    low, high = sorted((sign * boundary, sign * far))
    return chebyshev_filter(low, high, DEGREE, sign * first)
