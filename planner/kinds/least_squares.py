"""Dense least squares, with and without ridge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.least_squares import normal_equations
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import sampled_rows, sketched_least_squares
from ..certificate import Certificate
from ..certify import least_squares as certificate
from ..problems import LeastSquares, Problem
from ._base import Kind, ProbeStep, interval_or, times_power_of_two

_SMALL_FLOPS = 1e8  # below so many an SVD takes about as long as planning
_SQUARISH, _MORE_FLOPS = 8, 4e8  # up to so many rows per column sketches save nothing, and a probe factors A itself
_GRAM_AT_ONCE = 4e8  # m n min(m, n) below which the normal equations do: they show at once whether they work
_WORTH_A_GLANCE = 1e8  # m n min(m, n) from which a Gram matrix in vain takes more than a look at some rows
_ROWS_PER_COLUMN = 20  # below this a sample of rows costs too large a share of the Gram matrix
# Condition numbers (columns scaled) that people bring: a prior, where nothing has been seen of the matrix.
UNSEEN = Interval(1e4, 1.0, 1e12)
_GOOD, _BAD = Interval(1e3, 50.0, 2e4), Interval(1e10, 1e8, 1e14)  # what a look at the matrix may find
_RESIDUAL = 0.3  # relative residual that people bring, where nothing has been seen of it
_SKETCH_TELLS = 0.6  # how often knowing the residual and having the sketch is of use


def _rows(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    return task, sampled_rows.run(A, task, evidence, backend=backend), {}


def _conditions(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    """A condition number that the normal equations stand, or not."""
    bad = evidence.condition.probability_above(normal_equations.limit("float64"))
    return [
        (1.0 - bad, replace(evidence, condition=_GOOD, scaled_condition=_GOOD)),
        (bad, replace(evidence, condition=_BAD, scaled_condition=_BAD)),
    ]


def _sketched_outcomes(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    seen = replace(
        evidence,
        residual=Interval(0.1, 0.05, 0.2),
        solution=Interval(1.0, 0.5, 2.0),
        coherence=Interval(2.0, 1.0, 4.0),
    )
    open_question = seen.condition.low < normal_equations.limit("float64") < seen.condition.high
    found = _conditions(task, seen) if open_question else [(1.0, seen)]
    return [(_SKETCH_TELLS * chance, known) for chance, known in found]


def _sketch(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = sketched_least_squares.run(A, b, task, evidence, backend=backend)
    return task, evidence, by_products


def _rows_may_tell(task: Task, evidence: Evidence) -> bool:
    """Whether few of the rows are enough to show the condition number, and it is an open question."""
    low, high = evidence.condition.low, evidence.condition.high
    few = task.n >= 2 and task.m >= _ROWS_PER_COLUMN * task.n + 256
    looked = any(finding.probe == sampled_rows.NAME for finding in evidence.findings)
    return few and not looked and low < normal_equations.limit("float64") < high


class LeastSquaresKind(Kind):
    """min ||b - A x||^2 + ridge ||x||^2."""

    name = "least_squares"
    defaults = frozenset({"svd"})

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                sampled_rows.NAME,
                lambda t, e: _rows_may_tell(t, e) and e.residual is None,
                lambda t, e, backend: sampled_rows.work(t, backend),
                _rows,
                _conditions,
                unchecked=True,
            ),
            ProbeStep(
                "sketch",
                lambda t, e: t.m > t.n and t.n >= 2 and e.residual is None,
                lambda t, e, backend: sketched_least_squares.work(t, backend),
                _sketch,
                _sketched_outcomes,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, LeastSquares)
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=problem.right_hand_sides, dtype=dtype,
            library=problem.access, device=problem.device, order=problem.order(), target=target,
            metric=problem.metric,
            ridge=problem.ridge, seed=seed,
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        columns = "" if task.nrhs == 1 else f", {task.nrhs} right-hand sides"
        ridge = f", ridge {task.ridge:g}" if task.ridge else ""
        return f"least squares {task.m} x {task.n}{columns}{ridge}, {task.dtype} ({task.library})"

    def small(self, task: Task) -> bool:
        return 0.0 < float(task.m) * task.n * min(task.m, task.n) <= _GRAM_AT_ONCE

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        if not self.small(task):
            return ()
        small, large = sorted((task.m, task.n))
        few = _MORE_FLOPS if large < _SQUARISH * small else _SMALL_FLOPS
        tiny = 4.0 * large * small**2 + 10.0 * small**3 < few
        names = ("normal_equations", "householder_qr", "svd")[: 3 if tiny else 1]
        return (self.setting(name, task) for name in names)

    def glance(
        self, A: Any, b: Any, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any
    ) -> tuple[bool, Evidence, dict[str, Any]]:
        if algorithm.name == "householder_qr":  # the normal equations may have shown that the rank is not full
            return evidence.condition.median < 1.0 / task.unit_roundoff, evidence, {}
        large = float(task.m) * task.n * min(task.m, task.n) >= _WORTH_A_GLANCE
        if algorithm.name != "normal_equations" or not large or not _rows_may_tell(task, self.known(task, evidence)):
            return True, evidence, {}
        seen = sampled_rows.run(A, task, evidence, backend=options.backend)
        return seen.condition.median <= normal_equations.limit(options.dtype), seen, {}

    def known(self, task: Task, evidence: Evidence) -> Evidence:
        if evidence.condition.high < math.inf or evidence.scaled_condition.high < math.inf:
            return evidence
        if task.ridge <= 0.0 or evidence.norm_fro is None:
            return replace(evidence, condition=UNSEEN, scaled_condition=UNSEEN)
        # The singular values of [A; sqrt(ridge) I] lie between sqrt(ridge) and sqrt(||A||^2 + ridge).
        most = math.hypot(evidence.norm_fro, math.sqrt(task.ridge)) / math.sqrt(task.ridge)
        if not most < UNSEEN.high:
            return replace(evidence, condition=UNSEEN, scaled_condition=UNSEEN)
        bounded = Interval(min(max(1.0, 0.3 * most), UNSEEN.median), 1.0, most)
        return replace(evidence, condition=bounded, scaled_condition=bounded)

    def floor(self, task: Task, evidence: Evidence) -> float:
        moved = evidence.solution.low if evidence.solution is not None else 0.0
        prediction = task.unit_roundoff * max(0.5, 0.05 * moved)
        if task.metric == certificate.SUBOPTIMALITY:
            return 0.5 * prediction**2  # the residual is at most b
        return 0.25 * task.unit_roundoff if task.metric == certificate.BACKWARD else prediction

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        prediction = min(0.5, 20.0 * task.unit_roundoff * self._amplification(task, evidence))
        if task.metric == certificate.SUBOPTIMALITY:
            return min(0.5, 0.5 * (prediction / interval_or(evidence.residual, _RESIDUAL)) ** 2)
        return 20.0 * task.unit_roundoff if task.metric == certificate.BACKWARD else prediction

    def _amplification(self, task: Task, evidence: Evidence) -> float:
        """Prediction error of a backward stable method, in units of its backward error."""
        moved, residual = interval_or(evidence.solution, 10.0), interval_or(evidence.residual, 1.0)
        return 1.0 + moved + min(evidence.condition.median, 1.0 / task.unit_roundoff) * residual

    def _in_metric(self, task: Task, evidence: Evidence) -> float:
        """Error in the metric over the prediction error that algorithms forecast and aim at."""
        if task.metric == certificate.SUBOPTIMALITY:  # half the square of prediction error over residual
            return math.sqrt(0.5 * max(task.target, 1e-30)) / interval_or(evidence.residual, _RESIDUAL)
        return 1.0 / self._amplification(task, evidence) if task.metric == certificate.BACKWARD else 1.0

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        factor = certificate.leaves_factor(task, evidence, algorithm.name, options.backend, options.dtype)
        has_sketch = "sketch" in ready and not algorithm.randomized
        return certificate.work(task, evidence, options.backend, factor, has_sketch, options.dtype)

    def margin(self, task: Task, evidence: Evidence, algorithm: Algorithm, ready: frozenset[str]) -> float:
        factor = certificate.leaves_factor(task, evidence, algorithm.name, "scipy", task.dtype)
        return certificate.margin(task, factor) * self._in_metric(task, evidence)

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        return certificate.certify(
            lib, A, b, outcome.value, task, evidence, target, reuse=reuse, seed=seed, confidence=confidence
        )

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        m = max(min(task.m, 2 * task.n), task.m // 8, 1)
        return A[:m], b[:m], replace(task, m=m)

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        return times_power_of_two(value, exponent_b - exponent_A)
