"""Low-rank approximation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...primitives import algorithms_for
from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import range_sketch
from ..certificate import Certificate
from ..certify import low_rank as certificate
from ..problems import LowRank, Problem
from ._base import Kind, ProbeStep, times_power_of_two

_SMALL_FLOPS = 2e8


def _range(A: Any, b: Any, task: Task, evidence: Evidence) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = range_sketch.run(A, None, task, evidence)
    return task, evidence, by_products


class LowRankKind(Kind):
    """A ~ U diag(s) Vh."""

    name = "low_rank"
    defaults = frozenset({"svd"})

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return algorithms_for(self.name)

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "range",
                lambda t, e: (
                    not e.singular_values and min(t.m, t.n) >= 32 and (t.rank is None or t.rank < 0.5 * min(t.m, t.n))
                ),
                lambda t, e: range_sketch.work(t),
                _range,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, LowRank)
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=0, dtype=dtype, library=problem.access,
            device=problem.device, order=problem.order(), target=target, rank=problem.rank, center=problem.center,
            seed=seed,
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        what = "by accuracy" if task.rank is None else f"rank {task.rank}"
        center = ", centered" if task.center else ""
        return f"low rank ({what}) of {task.m} x {task.n}{center}, {task.dtype} ({task.library})"

    def small(self, task: Task) -> bool:
        return 12.0 * task.m * task.n * min(task.m, task.n) < _SMALL_FLOPS

    def small_default(self, task: Task) -> tuple[Algorithm, Any]:
        backend = "scipy" if task.device == "cpu" and task.library != "cupy" else task.library
        for algorithm in self.algorithms:
            if algorithm.safe:
                for options in algorithm.options(task, Evidence()):
                    if options.backend == backend and options.dtype == task.dtype:
                        return algorithm, options
        raise LookupError(f"the registry has no SVD on {backend}")

    def floor(self, task: Task, evidence: Evidence) -> float:
        return task.unit_roundoff

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        if task.rank is not None:
            return 1e-8 if task.dtype == "float64" else 1e-4
        return 8.0 * task.unit_roundoff * min(task.m, task.n) ** 0.5

    def favourable(self, task: Task, evidence: Evidence) -> Evidence:
        count = max(1, min(task.m, task.n) // 4)
        total = (evidence.norm_fro or 1.0) ** 2
        ratio = 0.7
        first = (total * (1.0 - ratio**2)) ** 0.5
        return replace(
            evidence, singular_values=tuple(first * ratio**j for j in range(min(count, 200))), tail_energy=0.0
        )

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence, algorithm, options)

    def margin(self, task: Task, algorithm: Algorithm, ready: frozenset[str]) -> float:
        # The bound on the best error from a range is loose by a few times the excess that is to be certified.
        return 3.0 if task.rank is not None and algorithm.randomized else 1.0

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        return certificate.certify(
            lib, A, outcome, task, evidence, target, reuse=reuse, seed=seed, confidence=confidence
        )

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        m, n = max(1, task.m // 3), max(1, task.n // 3)
        rank = None if task.rank is None else min(task.rank, m, n)
        return A[:m, :n], None, replace(task, m=m, n=n, rank=rank)

    def unscale(self, value: Any, exponent_A: int, exponent_b: int) -> Any:
        if exponent_A == 0:
            return value
        U, s, Vh = value
        return U, times_power_of_two(s, exponent_A), Vh
