"""Iterative refinement: a float32 factor gives the corrections, float64 residuals the accuracy.

x_0 = M^-1 b, then d_k = M^-1 (b - A x_k) and x_{k+1} = x_k + d_k, where M^-1 applies a float32 factorization of A.
Each correction shrinks the error by about rho = sqrt(n) u_32 (0.02 cond(A) + 5); while rho < 1 the backward error
reaches the float64 level. It stops at the backward error asked for. Divergence shows in the first correction:
||d_1|| / ||x_0|| is about rho.

References: Langou et al., Exploiting the performance of 32 bit floating point arithmetic in obtaining 64 bit accuracy
(2006), doi:10.1145/1188455.1188573; Carson and Higham, SIAM J. Sci. Comput. 40 (2018), sec. 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import array_api_compat
import numpy as np

from ..algorithm import Breakdown
from ..evidence import Evidence
from ..interval import Interval
from ..norms import column_norms, norm, spectral_norm_from_below
from ..stopping import stop_asked
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, KernelCall
from ._common import growing, vector_bytes

Array = Any

MOST_CORRECTIONS = 10
SLOWEST = 0.5  # a correction that shrinks the last by less than this is not worth a solve with the factor
_CAUTION = 20.0  # how much worse than the last contraction the next may be
_NORMAL = NormalDist()
_U32, _U64 = UNIT_ROUNDOFF["float32"], UNIT_ROUNDOFF["float64"]
# Measured on n = 50 .. 1000, cond 10 .. 1e8, LU and Cholesky (half of LU), spectra geometric or with one small value:
_CONTRACTION = (0.02, 5.0)  # rho / (sqrt(n) u_32) = 0.02 cond + 5, 90 % within a factor 4


@dataclass(frozen=True, slots=True)
class Refined:
    """Solution x, how many corrections it took, the backward error reached (at most, where foreseen), contraction."""

    x: Array
    corrections: int
    backward_error: float
    contraction: float


def refine(lib: Any, A: Array, b: Array, solve: Callable[[Array], Array], task: Task, evidence: Evidence) -> Refined:
    """Solve A x = b to a backward error of `task.target` / 2 with `solve`, a solver for float32 right-hand sides.

    Where a stop is asked for, the best so far is returned.

    Parameters
    ----------
    A : (n, n) array, float64, contiguous
    b : (n,) or (n, r) array, float64
    solve : callable, float32 array of the shape of b -> the same

    Raises
    ------
    Breakdown
        If the corrections do not shrink: A is too ill-conditioned for a float32 factor.
    """
    norm_A = lower_bound_of_norm(A, evidence)
    norm_b = _norms(b)
    goal, acceptable = goal_of(task), max(task.target, 3 * floor_of(task.n))
    x, r = None, b
    norm_r, norm_d_before, contraction = norm_b, norm_b, 0.0
    active = np.ones(norm_b.shape, dtype=bool)  # columns not yet at the goal
    best, best_error = None, math.inf
    for corrections in range(MOST_CORRECTIONS + 1):
        d = _correction(lib, solve, r, norm_r)
        norm_d = _norms(d)
        if x is not None:
            contraction = float(np.max(norm_d[active] / norm_d_before[active]))
            left = MOST_CORRECTIONS - corrections
            if not contraction < SLOWEST or best_error * contraction ** (left + 2) > goal:  # also when it is nan
                break
        x = d if x is None else x + d
        foreseen = _CAUTION * contraction * best_error
        if corrections and foreseen <= goal and goal >= 4 * floor_of(task.n):
            return Refined(x, corrections, foreseen, contraction)  # the product with A is left to the certificate
        r = b - lib.matmul(A, x)
        norm_r, norm_x = _norms(r), _norms(x)
        with np.errstate(invalid="ignore", divide="ignore"):
            # A x = b - r is known, so ||A x|| / ||x|| is another lower bound of ||A||
            norm_A = max(norm_A, float(np.nanmax((norm_b - norm_r) / norm_x, initial=0.0)))
            errors = np.where(norm_r == 0.0, 0.0, norm_r / (norm_A * norm_x + norm_b))
        worst = float(np.max(errors))
        if not math.isfinite(worst):
            raise Breakdown("the float32 solution overflows: A is singular to float32 accuracy")
        if worst < best_error:
            best, best_error = Refined(x, corrections, worst, contraction), worst
        active = errors > goal
        if not active.any():
            return Refined(x, corrections, worst, contraction)
        if best is not None and stop_asked():
            return best
        norm_d_before = norm_d
    if best is not None and best_error <= acceptable:
        return best
    raise Breakdown(
        f"refinement does not converge (a correction is {contraction:.2g} of the one before): "
        "A is too ill-conditioned for a float32 factor"
    )


def lower_bound_of_norm(A: Array, evidence: Evidence) -> float:
    """A lower bound of ||A||_2, from the evidence where there is one."""
    if evidence.norm_2 is not None and evidence.norm_2.low > 0.0:
        return evidence.norm_2.low
    if evidence.norm_fro is not None:
        return evidence.norm_fro / math.sqrt(A.shape[1])
    return spectral_norm_from_below(A)


def floor_of(n: int) -> float:
    """Backward error that refinement reaches on every matrix it converges for: rounding in the float64 residual."""
    return (1.0 + 0.2 * math.sqrt(n)) * _U64


def goal_of(task: Task) -> float:
    """Backward error at which refinement stops."""
    return max(task.target / 2, floor_of(task.n))


def forecast_contraction(task: Task, evidence: Evidence) -> Interval:
    """Forecast of rho, the factor by which a correction shrinks the error."""
    slope, offset = _CONTRACTION
    condition, scale = evidence.condition, math.sqrt(task.n) * _U32
    return Interval(
        scale * (slope * condition.median + offset),
        scale * slope * condition.low / 4,
        4 * scale * (slope * condition.high + offset),
    )


def forecast_corrections(task: Task, evidence: Evidence) -> float:
    """How many corrections the target takes."""
    goal, first = goal_of(task), growing(task, evidence, "float32").median
    if goal >= first:
        return 0.0
    rho = min(SLOWEST, forecast_contraction(task, evidence).median)
    return min(float(MOST_CORRECTIONS), float(math.ceil(math.log(goal / first) / math.log(rho))))


def refinement_error(task: Task, evidence: Evidence) -> Interval:
    """Backward error forecast: as refined where refinement converges, 1 where it cannot.

    The last correction overshoots the goal by up to rho. The upper end is set so that the probability of an error
    above the target is that of no convergence: rho, known to a factor of 4 either way beside what is not known of the
    condition number, above `SLOWEST`; at least 3 %, and 2 in 5 where the condition is a guess.
    """
    goal, floor = goal_of(task), floor_of(task.n)
    rho = forecast_contraction(task, evidence).median
    unknown, sigma = math.log(4.0), evidence.condition.sigma
    if math.isfinite(sigma):
        unknown = math.hypot(unknown, sigma)
    failure = max(0.03, 1.0 - _NORMAL.cdf(math.log(SLOWEST / rho) / unknown))
    if evidence.small_fraction is None and math.isinf(sigma):
        failure = max(failure, 0.4)
    if failure > 0.45:
        return Interval(1.0, goal, 1.0)
    median = max(floor / 2, goal * math.sqrt(rho))
    spread = math.log(max(2.0 * goal, 4.0 * median) / median) / _NORMAL.inv_cdf(1.0 - failure)
    return Interval(median, min(floor / 8, median), median * math.exp(_NORMAL.inv_cdf(0.95) * spread))


def too_ill_conditioned(task: Task, evidence: Evidence) -> str | None:
    """The reason why refinement is not worth trying."""
    if task.dtype != "float64":
        return "the operands are float32 already"
    low = evidence.condition.low
    if forecast_contraction(task, evidence).low >= 1.0:
        return f"the condition number is at least {low:.1g}: corrections from a float32 factor would not converge"
    if evidence.underflows:
        return "elimination in float32 is likely to meet subnormal numbers, which take processors many times longer"
    if evidence.numerical_rank is not None:
        return f"the matrix is numerically singular (rank {evidence.numerical_rank} of {task.n})"
    return None


def refinement_calls(task: Task, evidence: Evidence, backend: str) -> tuple[KernelCall, ...]:
    """The float64 residuals: one before each correction, and in half of the cases one after the last."""
    k, count = Calls(backend, "float64"), 0.5 + forecast_corrections(task, evidence)
    n, r = task.n, task.nrhs
    return (k("gemv", n, n, count=count) if r == 1 else k("gemm", n, r, n, count=count),)


def refinement_bytes(task: Task) -> float:
    """Vectors alive at the peak: x, the one before, r, A x, a correction and its float32 copies."""
    return vector_bytes(task, 7)


def operand(lib: Any, A: Array) -> Array:
    """A as an array of the library, contiguous, so that no product copies it."""
    A = lib.asarray(A)
    if isinstance(A, np.ndarray) and not (A.flags.c_contiguous or A.flags.f_contiguous):
        return np.ascontiguousarray(A)
    return A


def _correction(lib: Any, solve: Callable[[Array], Array], r: Array, norm_r: np.ndarray) -> Array:
    """float64 solution of a float32 solve, the right-hand side scaled into float32's range."""
    scale = np.where((norm_r > 0.0) & np.isfinite(norm_r), norm_r, 1.0)
    factor = (
        float(scale[0]) if r.ndim == 1 else array_api_compat.to_device(lib.asarray(scale), array_api_compat.device(r))
    )
    return lib.astype(solve(lib.astype(r / factor, "float32")), "float64") * factor


def _norms(v: Array) -> np.ndarray:
    """2-norms of the columns of v : (n,) or (n, r), as a numpy array."""
    if v.ndim == 1:
        return np.array([norm(v)])
    norms = column_norms(v)
    return norms.detach().cpu().numpy() if hasattr(norms, "detach") else np.asarray(norms)
