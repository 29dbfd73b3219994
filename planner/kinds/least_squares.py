"""Dense least squares, with and without ridge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...primitives import algorithms_for
from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import sketched_least_squares
from ..certificate import Certificate
from ..certify import least_squares as certificate
from ..problems import LeastSquares, Problem
from ._base import Kind, ProbeStep, interval_or, times_power_of_two

_SMALL_FLOPS = 1e8


def _sketch(A: Any, b: Any, task: Task, evidence: Evidence) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = sketched_least_squares.run(A, b, task, evidence)
    return task, evidence, by_products


class LeastSquaresKind(Kind):
    """min ||b - A x||^2 + ridge ||x||^2."""

    name = "least_squares"
    defaults = frozenset({"svd"})

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return algorithms_for(self.name)

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "sketch",
                lambda t, e: t.m > t.n and t.n >= 2 and e.residual is None,
                lambda t, e: sketched_least_squares.work(t),
                _sketch,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, LeastSquares)
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=problem.right_hand_sides, dtype=dtype,
            library=problem.access, device=problem.device, order=problem.order(), target=target,
            ridge=problem.ridge, seed=seed,
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        columns = "" if task.nrhs == 1 else f", {task.nrhs} right-hand sides"
        ridge = f", ridge {task.ridge:g}" if task.ridge else ""
        return f"least squares {task.m} x {task.n}{columns}{ridge}, {task.dtype} ({task.library})"

    def small(self, task: Task) -> bool:
        small, large = sorted((task.m, task.n))
        return 4.0 * large * small**2 + 10.0 * small**3 < _SMALL_FLOPS

    def small_default(self, task: Task) -> tuple[Algorithm, Any]:
        backend = "scipy" if task.device == "cpu" and task.library != "cupy" else task.library
        for algorithm in self.algorithms:
            if algorithm.safe and algorithm.name == "svd":
                for options in algorithm.options(task, Evidence()):
                    if options.backend == backend and options.dtype == task.dtype:
                        return algorithm, options
        raise LookupError(f"the registry has no SVD least squares on {backend}")

    def known(self, task: Task, evidence: Evidence) -> Evidence:
        # The singular values of [A; sqrt(ridge) I] lie between sqrt(ridge) and sqrt(||A||^2 + ridge).
        if task.ridge <= 0.0 or evidence.norm_fro is None:
            return evidence
        most = math.hypot(evidence.norm_fro, math.sqrt(task.ridge)) / math.sqrt(task.ridge)
        if not most < 1.0 / task.unit_roundoff:
            return evidence
        return replace(evidence, condition=Interval(max(1.0, 0.3 * most), 1.0, most))

    def floor(self, task: Task, evidence: Evidence) -> float:
        moved = evidence.solution.low if evidence.solution is not None else 0.0
        return task.unit_roundoff * max(0.5, 0.05 * moved)

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        moved, residual = interval_or(evidence.solution, 10.0), interval_or(evidence.residual, 1.0)
        condition = min(evidence.condition.median, 1.0 / task.unit_roundoff)
        return min(0.5, 20.0 * task.unit_roundoff * (1.0 + moved + condition * residual))

    def favourable(self, task: Task, evidence: Evidence) -> Evidence:
        return replace(
            evidence,
            condition=Interval(30.0, 10.0, 100.0),
            scaled_condition=Interval(30.0, 10.0, 100.0),
            residual=Interval(0.1, 0.05, 0.2),
            solution=Interval(1.0, 0.5, 2.0),
            coherence=Interval(2.0, 1.0, 4.0),
        )

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        gram = algorithm.name == "normal_equations" and task.dtype == "float64"
        return certificate.work(task, evidence, options.backend, gram, "sketch" in ready and not algorithm.randomized)

    def margin(self, task: Task, algorithm: Algorithm, ready: frozenset[str]) -> float:
        return certificate.margin(task, algorithm.name == "normal_equations" and task.dtype == "float64")

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

    def unscale(self, value: Any, exponent_A: int, exponent_b: int) -> Any:
        return times_power_of_two(value, exponent_b - exponent_A)
