"""Judges a solver on random problems: what it certified must be true, what it refused must be out of reach.

The solver is handed in, so that the judge itself can be tested with solvers that lie.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from . import truth
from .draws import Draw
from .truth import Measured

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional

# The judge's own small matrices gain nothing from BLAS threads, and lose much where others compete for the cores.
# The solver is left as it is.
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")

# Solutions of a problem whose rank holds only up to rounding differ by this much among themselves.
ROUNDED_RANK = 1e-11
# A solution that is not of minimum norm at all (a basic one, say) has an excess near 1; rounding at condition
# 1e12 explains 1e-4.
MINIMUM_NORM = 1e-2


class Refused(Exception):
    """The solver declined to answer, and said why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a solver returned: an array, or (U, s, Vh); whether it vouches for it, and the bound it states."""

    value: Any
    certified: bool
    bound: float


@dataclass(slots=True)
class Verdict:
    draw: Draw
    outcome: str = ""
    error: Measured | None = None
    bound: float | None = None
    lapack: Measured | None = None
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = [f"{name} {value:.2e}" for name in ("error", "bound", "lapack")
                   if (value := getattr(self, name)) is not None]  # fmt: skip
        return "\n".join([f"{self.draw}", f"    {self.outcome}; {', '.join(numbers)}",
                          *(f"    FAULT: {fault}" for fault in self.faults)])  # fmt: skip


def judge(draw: Draw, solver: Callable[[Draw], Answer], may_refuse=False, minimum_norm=True) -> Verdict:
    """Run a solver on one problem and list its faults; exceptions other than ``Refused`` are faults too.

    A refusal is a fault where LAPACK would have met the accuracy, unless the solver may refuse what it likes.
    ``minimum_norm`` says whether least-squares solutions must be of minimum norm.
    """
    verdict = Verdict(draw)
    operands = {name: getattr(draw.problem, name) for name in ("A", "b") if hasattr(draw.problem, name)}
    before = {name: (a.tobytes(), a.flags.writeable) for name, a in operands.items()}
    start = time.perf_counter()
    try:
        answer = solver(draw)
    except Refused as refusal:
        verdict.outcome = f"refused: {refusal}"
    except Exception as error:
        verdict.outcome = f"raised {type(error).__name__}: {error}"
        verdict.faults.append("raised:\n" + "".join(traceback.format_tb(error.__traceback__)[-3:]))
    else:
        verdict.seconds = time.perf_counter() - start
        _judge_answer(verdict, answer, may_refuse, minimum_norm)
    if verdict.outcome.startswith("refused") and not may_refuse:
        verdict.lapack = lapack_error(draw)
        if max(verdict.lapack.high, floor(draw)) <= draw.accuracy:
            verdict.faults.append(f"refused, but LAPACK reaches {verdict.lapack:.2e}")
    for name, a in operands.items():
        if (a.tobytes(), a.flags.writeable) != before[name]:
            verdict.faults.append(f"{name} was changed")
    return verdict


@one_thread
def _judge_answer(verdict: Verdict, answer: Answer, may_refuse: bool, minimum_norm: bool) -> None:
    draw = verdict.draw
    verdict.outcome = "certified" if answer.certified else "not certified"
    verdict.bound = float(answer.bound)
    if not answer.certified:
        if not may_refuse:
            verdict.faults.append("neither certified nor refused, though no best effort was asked for")
        return
    if not verdict.bound <= draw.accuracy:
        verdict.faults.append(f"certified with a bound of {verdict.bound:.2e}")
    try:
        verdict.error = true_error(draw, answer.value)
        if verdict.error.low > draw.accuracy:
            times = verdict.error / draw.accuracy
            verdict.faults.append(f"certified, but the error is {times:.3g} times the accuracy")
        _judge_form(verdict, answer.value, minimum_norm)
    except (ArithmeticError, ValueError) as error:  # ValueError: arrays of the wrong shape
        verdict.faults.append(f"could not be measured: {error}")


def _judge_form(verdict: Verdict, value, minimum_norm: bool) -> None:
    """What the error alone does not see."""
    problem = verdict.draw.problem
    if verdict.draw.kind == "low_rank":
        U, s, Vh = (np.asarray(a) for a in value)
        loss = max(np.linalg.norm(Q.T @ Q - np.eye(len(s)), 2) if len(s) else 0.0 for Q in (U, Vh.T))
        if loss > max(1e-5, verdict.draw.accuracy):
            verdict.faults.append(f"singular vectors orthonormal only to {loss:.1e}")
        if (s < 0).any() or (np.diff(s) > 0).any():
            verdict.faults.append("singular values negative or not in descending order")
        if problem.rank is not None and len(s) != problem.rank:
            verdict.faults.append(f"rank {len(s)} instead of {problem.rank}")
    elif np.shape(value) != (problem.A.shape[1], *problem.b.shape[1:]):
        verdict.faults.append(f"x has shape {np.shape(value)}")
    elif verdict.draw.kind == "least_squares" and minimum_norm and not problem.ridge:
        excess = truth.minimum_norm_excess(problem.A, value, problem.rank)
        if excess.low > MINIMUM_NORM:
            verdict.faults.append(f"not of minimum norm: {excess:.1e} of x is outside the row space")


def true_error(draw: Draw, value) -> Measured:
    """The error of an answer in its kind's default metric."""
    problem = draw.problem
    if draw.kind == "linear_system":
        return truth.backward_error(problem.A, value, problem.b)
    if draw.kind == "least_squares":
        error = truth.prediction_error(problem.A, value, problem.b, problem.ridge, problem.rank)
        return error if problem.rank_is_exact else Measured(error, error.uncertainty + ROUNDED_RANK)
    if problem.rank is None:
        return truth.low_rank_error(problem.A, value[0], value[1], value[2])
    return truth.low_rank_excess(problem.A, value[0], value[1], value[2], problem.rank)


@one_thread
def floor(draw: Draw) -> float:
    """What nobody can vouch for in float64, however good the answer is.

    With the rank given, the error is compared with that of the best approximation, which is itself known only to
    a rounding of A: 1e-15 or so, relative to A and not to what is left of it.
    """
    if draw.kind != "low_rank" or draw.problem.rank is None:
        return 0.0
    best = truth.best_rank_error(draw.problem.A, draw.problem.rank)
    return 1e-14 / float(best)


@one_thread
def lapack_error(draw: Draw) -> Measured:
    """What a plain call of LAPACK achieves, the better one where there are two."""
    errors = []
    for solve in (_numpy, _scipy):
        try:
            errors.append(true_error(draw, solve(draw)))
        except np.linalg.LinAlgError:
            continue
    return min(errors, default=Measured(np.inf))


def _numpy(draw: Draw):
    problem = draw.problem
    if draw.kind == "linear_system":
        return np.linalg.solve(problem.A, problem.b)
    if draw.kind == "least_squares":
        return np.linalg.lstsq(*_augmented(problem))[0]
    U, s, Vh = np.linalg.svd(problem.A, full_matrices=False)
    return U[:, : problem.rank], s[: problem.rank], Vh[: problem.rank]


def _scipy(draw: Draw):
    # numpy and scipy truncate at different singular values; for the other kinds they are the same routine.
    if draw.kind == "least_squares":
        return linalg.lstsq(*_augmented(draw.problem), lapack_driver="gelsd")[0]
    return _numpy(draw)


def _augmented(problem):
    A, b = problem.A, problem.b
    if problem.ridge:
        n = A.shape[1]
        A = np.vstack([A, np.sqrt(problem.ridge) * np.eye(n)])
        b = np.concatenate([b, np.zeros((n, *b.shape[1:]))])
    return A, b


def summary(verdicts: Iterable[Verdict], every=False) -> str:
    """Counts, how sharp the bounds were, and every problem with a fault (or simply every problem)."""
    verdicts = list(verdicts)
    certified = [
        (v.error, v.bound, v)
        for v in verdicts
        if v.outcome == "certified" and v.error is not None and v.bound is not None
    ]
    broken = [v for error, bound, v in certified if error.low > bound]
    # Where the error is far above rounding, how much larger is the bound?
    sharp = [bound / error for error, bound, _ in certified if error > 1e-15]
    lines = [
        f"{len(verdicts)} problems: {len(certified)} certified, "
        f"{sum(v.outcome.startswith(('refused', 'not')) for v in verdicts)} refused, "
        f"{sum(bool(v.faults) for v in verdicts)} with faults; "
        f"{sum(v.seconds for v in verdicts):.1f} s, the slowest {max(v.seconds for v in verdicts):.2f} s",
        f"certificate bound below the true error: {len(broken)} of {len(certified)}",
    ]
    if sharp:
        low, middle, high = np.quantile(sharp, [0.05, 0.5, 0.95])
        lines.append(f"bound / error where the error is above 1e-15: {low:.2g}, {middle:.2g}, {high:.2g} "
                     "(5 %, median, 95 %)")  # fmt: skip
    lines += [f"bound below the true error: {v}" for v in broken if not v.faults]
    shown: set[str] = set()
    for verdict in verdicts:
        if every or verdict.faults:
            # One cause may break many problems: its traceback is shown once.
            repeated = verdict.faults and verdict.outcome.startswith("raised") and verdict.faults[0] in shown
            shown.update(verdict.faults[:1])
            lines.append(str(replace(verdict, faults=["raised as above"]) if repeated else verdict))
    return "\n".join(lines)
