"""How far rounding alone moves a least-squares solution, in the metric ||A(x - x*)|| / ||b||.

A backward-stable method returns the exact solution of (A + E, b), ||E|| <= c u ||A||, and to first order

    A (x - x*) = -P E x* + (A^+)' E' r,      P the projector onto range(A),  r = b - A x*,

so that ||A(x - x*)|| / ||b|| is about u (c1 ||A|| ||x*|| / ||b|| + c2 cond(A) ||r|| / ||b||): Wedin's theorem (Bjorck,
Numerical Methods for Least Squares Problems, 1996, sec. 1.4; Higham, Accuracy and Stability of Numerical
Algorithms, 2002, theorem 20.1) in this metric.

The constants are medians over some 500 random problems measured in double-double arithmetic (orders 3 to 80, m / n
from 1 to 100, conditions 1 to 1e13, residuals 0 to 0.99, spectra geometric, log-uniform, flat and with one small
value); the interval is what 90 % of them showed. The second term varies most: E'r may or may not meet the smallest
singular vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..evidence import Evidence
from ..interval import Interval
from ..task import UNIT_ROUNDOFF, Task

_SOLUTION_UNKNOWN = 2.0  # ||A|| ||x*|| / ||b|| of a smooth problem
_SOLUTION_MOST = 1e4  # and hardly ever more: b would have to be next to orthogonal to all that A does well
_RESIDUAL_UNKNOWN = 0.3


@dataclass(frozen=True, slots=True)
class Stability:
    """What was measured of one method.

    c1 = `solution` k^`growth` and c2 = `residual` (p / k)^-0.2 with k = min(m, n), p = max(m, n), each within a factor
    of its spread (down, up) in 90 % of cases. `columns_scaled`: scaling the columns of A changes nothing for the
    method, so that the smaller of the two condition numbers counts.
    """

    solution: float
    growth: float
    residual: float
    columns_scaled: bool
    solution_spread: tuple[float, float] = (6.0, 4.0)
    residual_spread: tuple[float, float] = (20.0, 7.0)


SVD = Stability(1.1, 0.45, 0.09, columns_scaled=False)
HOUSEHOLDER = Stability(0.55, 0.3, 0.1, columns_scaled=True)
PIVOTED = Stability(0.5, 0.35, 0.08, columns_scaled=False)
CORRECTED = Stability(0.3, 0.12, 0.05, columns_scaled=True)  # any method whose last step is a residual correction


def residual_of(task: Task, evidence: Evidence) -> Interval:
    """||b - A x*|| / ||b||, of the augmented system with ridge; anything up to 1 where no probe has looked."""
    rho = evidence.residual
    if rho is None:
        consistent = task.m <= task.n and task.ridge == 0.0
        return Interval.exact(0.0) if consistent else Interval(_RESIDUAL_UNKNOWN, 0.0, 1.0)
    if task.ridge > 0.0 and evidence.solution is not None and evidence.norm_2 is not None:
        weight, x = math.sqrt(task.ridge) / evidence.norm_2.median, evidence.solution
        return Interval(
            math.hypot(rho.median, weight * x.median),
            math.hypot(rho.low, weight * x.low),
            math.hypot(rho.high, weight * x.high),
        ).at_most(1.0)
    return rho


def solution_of(evidence: Evidence) -> Interval:
    """||A|| ||x*|| / ||b||, at most the condition number; where no probe has looked, up to what that probably is."""
    if evidence.solution is not None:
        return evidence.solution
    return Interval(_SOLUTION_UNKNOWN, 0.1, max(_SOLUTION_UNKNOWN, min(evidence.condition.median, _SOLUTION_MOST)))


def condition_of(task: Task, evidence: Evidence, columns_scaled: bool = True) -> Interval:
    """The condition number that counts for a method: the smaller one where scaling changes nothing for it.

    For wide A the rows are what is scaled, and with ridge they carry a residual each: scaling then changes the metric.
    """
    scaled, plain = evidence.scaled_condition, evidence.condition
    if (task.m < task.n and task.ridge > 0.0) or scaled.median > plain.median or scaled.high > plain.high:
        return plain
    if columns_scaled:
        return scaled
    # LAPACK's drivers start with a QR factorization, and where that grades R the rest often is accurate too.
    return Interval(math.sqrt(plain.median * scaled.median), scaled.low, plain.high)


def stable_error(task: Task, evidence: Evidence, dtype: str, method: Stability) -> Interval:
    """Forecast of the error of a backward-stable method that computes in `dtype`."""
    u = UNIT_ROUNDOFF[dtype]
    p, k = max(task.m, task.n), min(task.m, task.n)
    c1, c2 = method.solution * k**method.growth, method.residual * (p / k) ** -0.2
    condition = condition_of(task, evidence, method.columns_scaled)
    x, rho = solution_of(evidence), residual_of(task, evidence)
    if evidence.numerical_rank is not None:  # the condition of what is kept is not known
        kept = 0.5 / (p * u)
        condition = Interval(min(math.sqrt(kept), 1e4), 1.0, kept)

    def total(end: str, solution_factor: float, residual_factor: float) -> float:
        size, cond, residual = getattr(x, end), getattr(condition, end), getattr(rho, end)
        second = c2 * residual_factor * cond * residual if residual > 0.0 else 0.0
        return u * (c1 * solution_factor * size + second)

    long_sums = 1.0
    if dtype == "float32" and method is not CORRECTED:  # roundings of one sign in long columns grow like m, not sqrt(m)
        long_sums = max(1.0, math.sqrt(p / 2000.0))
    error = Interval(
        total("median", 1.0, 1.0),
        total("low", 1.0 / method.solution_spread[0], 1.0 / method.residual_spread[0]),
        total("high", method.solution_spread[1] * long_sums, method.residual_spread[1]),
    )
    if dtype != task.dtype:  # computed in float64, handed back in the float32 of the problem
        error = error + rounded_solution(task, evidence)
    return error


def rounded_solution(task: Task, evidence: Evidence) -> Interval:
    """||A dx|| / ||b|| for x rounded to the dtype of the problem."""
    u, x = UNIT_ROUNDOFF[task.dtype], solution_of(evidence)
    return Interval(0.15 * u * x.median, 0.02 * u * x.low, 0.6 * u * x.high)


def truncation_error(task: Task, evidence: Evidence, slack: float = 1.0) -> Interval:
    """What setting singular values below t sigma_1 to zero costs, t = max(m, n) eps: |u_i'b| / ||b|| for each of them.

    For a matrix of full rank that is sigma_i |v_i'x*| / ||b||, at most ||A|| ||x*|| / (cond ||b||). For one whose
    rank is below working accuracy it is nothing if the rank is what is meant, and up to the share of the residual
    that so many random directions hold if it is not. `slack`: by how much the method overestimates condition numbers.
    """
    p, k = max(task.m, task.n), min(task.m, task.n)
    t = p * 2.0 * UNIT_ROUNDOFF[task.dtype]
    if evidence.numerical_rank is not None:
        outside = max(p - evidence.numerical_rank, 1)
        share = math.sqrt(min(1.0, (k - evidence.numerical_rank) / outside))
        return Interval(0.0, 0.0, 2.0 * share * residual_of(task, evidence).high)
    condition, x = evidence.condition, solution_of(evidence)
    if condition.high * t * slack < 1.0:
        return Interval.exact(0.0)
    high = min(1.0, x.high / max(condition.low, 0.3 / (t * slack)))
    if condition.median * t < 1.0:
        return Interval(0.0, 0.0, high)
    return Interval(min(0.5 * high, 0.5 * x.median / condition.median), 0.0, high)


def singular_reason(task: Task, evidence: Evidence, limit: float, consequence: str) -> str | None:
    """Why a method that needs full rank does not apply: a sentence, or None where it does."""
    k = min(task.m, task.n)
    if evidence.numerical_rank is not None:
        return f"the numerical rank is {evidence.numerical_rank} of {k}: {consequence}"
    low = min(evidence.condition.low, evidence.scaled_condition.low)
    if low > limit:
        return f"the condition number is at least {low:.1g}, above {limit:.0e}: {consequence}"
    return None
