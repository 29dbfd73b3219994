"""LU in float64 with corrections from residuals in twice the precision: digits of x, not only a small residual.

Cost: 2/3 n^3 flops, and a compensated product with A and two triangular solves a correction. As long as the condition
number stays below about 1/u a correction shrinks the error by condition times u, down to the rounding of x itself: a
forward error of a few u where LU alone leaves condition times u. Beyond that the first correction shows it, and this is
a Breakdown. Of use where the forward error is what counts; the backward error of LU is small already.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), sec. 12.1; LAPACK's xGERFSX (Demmel
et al., ACM TOMS 32, 2006, doi:10.1145/1141885.1141894).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..norms import column_norms
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, Work
from . import lu
from ._common import Factor, Settings, checked, matrix, right_hand_side, settings, square, stored_factor, vector_bytes

MOST_CORRECTIONS = 8
_SLOWEST = 0.25  # a correction that shrinks the last by less will not come to an end in so many
COMPENSATED = 4.0  # products in float64 that one in twice the precision takes as long as
_U = UNIT_ROUNDOFF["float64"]


def options(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """The libraries that keep their factors; always in float64."""
    backends = dict.fromkeys(setting.backend for setting in settings(task, ("scipy", "torch")))
    return (Settings(backend, "float64") for backend in backends)


def applies(task: Task, evidence: Evidence, options: Settings) -> str | None:
    """Where the forward error counts, on a processor that the compensated product runs on."""
    if task.metric != "forward_error":
        return "the backward error of LU is small already: corrections gain only where the forward error counts"
    if task.device != "cpu":
        return "residuals in twice the precision are computed on the CPU only"
    if evidence.condition.low > 1.0 / _U:
        return f"the condition number is at least {evidence.condition.low:.1g}: corrections would not converge"
    return square(task)


def work(task: Task, evidence: Evidence, options: Settings) -> Work:
    """LU, and its corrections."""
    k, count = Calls(options.backend, "float64"), forecast_corrections(task, evidence)
    once = lu.work(task, evidence, options)
    n, r = task.n, max(1, task.nrhs)
    again = (k("gemm", n, r, n, count=COMPENSATED * count), k("trsm", n, r, count=2.0 * count))
    return Work((*once.calls, *again), once.peak_bytes + vector_bytes(task, 8))


def forecast_corrections(task: Task, evidence: Evidence) -> float:
    """How many corrections it takes, the one that shows the end included."""
    shrinks = min(0.1, max(math.sqrt(_U), _U * evidence.condition.median))
    return min(float(MOST_CORRECTIONS), math.ceil(math.log(_U) / math.log(shrinks)) - 1.0)


def error(task: Task, evidence: Evidence, options: Settings) -> Interval:
    """The rounding of x."""
    return Interval(0.5, 0.1, 2.0) * task.unit_roundoff


def breaks_down(task: Task, evidence: Evidence, options: Settings) -> float:
    """How likely the condition number is beyond what corrections from float64 factors converge for."""
    if math.isinf(evidence.condition.high):
        return 0.05
    return evidence.condition.probability_above(0.1 / _U)


def solve(A: Any, b: Any, task: Task, options: Settings, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """x, corrected until that changes nothing. Raises Breakdown where corrections do not shrink."""
    from ..kernels import _numba

    lib = library(options.backend)
    factor = stored_factor(reuse, "refined_lu", options) or stored_factor(reuse, "lu", options)
    if factor is None:
        own_A, own = matrix(A, options)
        factor = lib.lu_factor(own_A, overwrite=own)
    B = right_hand_side(b, options)
    x = lib.lu_solve(factor, B)
    host_A, host_b = lib.to_numpy(lib.asarray(A)), lib.to_numpy(B)
    before = 1.0  # as if the first solution were a correction of zero
    corrections = 0
    while corrections < MOST_CORRECTIONS:
        corrections += 1
        r = lib.asarray(_numba.residual_compensated(host_A, lib.to_numpy(x), host_b))
        d = lib.lu_solve(factor, r)
        share = _largest_share(lib, d, x)
        if not math.isfinite(share):
            raise Breakdown("the solution overflows: the matrix is singular to working accuracy")
        if share > max(_SLOWEST * before, _U):
            raise Breakdown(
                f"corrections do not shrink (the last is {share:.1g} of x): the condition number is beyond 1e15"
            )
        x, foreseen, before = x + d, share * share / before, share
        if foreseen < 0.5 * _U or share <= _U:  # the next would not change x
            break
    kept = {"factor": Factor("refined_lu", options, factor)}
    return Outcome(checked(lib, x, task), kept, {"corrections": corrections, "last_correction": before})


def _largest_share(lib: Any, d: Any, x: Any) -> float:
    """Largest ||d|| / ||x|| over columns; 0 for columns of zeros."""
    over, under = column_norms(d[:, None] if d.ndim == 1 else d), column_norms(x[:, None] if x.ndim == 1 else x)
    return float(lib.xp.max(lib.xp.where(over > 0, over / lib.xp.where(under > 0, under, over), 0.0 * over)))


ALGORITHM = Algorithm(
    kind="linear_system",
    name="refined_lu",
    title="LU, refined in twice float64's precision",
    reference="Higham 2002, sec. 12.1; Demmel et al. 2006, doi:10.1145/1141885.1141894",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=breaks_down,
    unchecked=True,
)
