"""Low-rank approximation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.kernels._library import Library
from ...primitives.low_rank.range_basis import Range
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import range_sketch
from ..certificate import Certificate
from ..certify import low_rank as certificate
from ..problems import LowRank, Problem
from ..solution import LowRankFactors
from ._base import Kind, ProbeStep, times_power_of_two

_SMALL_FLOPS = 2e8
_KRYLOV_AT_ONCE = 1e7  # entries up to which planning takes a good part of what a space of small rank takes
_SMALL_ENTRIES = 1.2e6  # entries up to which such a space takes little, and the Gram matrix follows where it fails
_RESOLVED = {
    "float64": 1e-6,
    "float32": 1e-3,
}  # accuracy that squaring A leaves room for, unless it nearly has the rank
_GRAM_FROM = 32  # min(m, n); below it Python is most of the time
_LOOSE, _LOW = 1e-3, 0.06  # accuracy and share of the directions that such a space is likely to do for
_DECAYS = 0.6  # how often singular values fall fast enough for a sketch
_FAST, _SLOWLY = 0.7, 0.985  # by what


def _range(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = range_sketch.run(A, None, task, evidence, backend=backend)
    return task, evidence, by_products


def _outcomes(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    """Singular values that fall fast, or slowly; as many as the probe sees."""
    return [
        (_DECAYS, _falling(task, evidence, _FAST)),
        (1.0 - _DECAYS, _falling(task, evidence, _SLOWLY)),
    ]


def _falling(task: Task, evidence: Evidence, ratio: float) -> Evidence:
    """Evidence of singular values each of which is `ratio` times the one before."""
    count, norm = range_sketch.columns(task), evidence.norm_fro or 1.0
    first = norm * ((1.0 - ratio**2) / (1.0 - ratio ** (2 * min(task.m, task.n)))) ** 0.5
    values = tuple(first * ratio**j for j in range(count))
    tail = norm**2 - sum(s * s for s in values)
    return replace(evidence, singular_values=values, tail_energy=max(tail, 0.0))


class LowRankKind(Kind):
    """A ~ U diag(s) Vh."""

    name = "low_rank"
    defaults = frozenset({"svd"})

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "range",
                lambda t, e: (
                    not e.singular_values and min(t.m, t.n) >= 32 and (t.rank is None or t.rank < 0.5 * min(t.m, t.n))
                ),
                lambda t, e, backend: range_sketch.work(t, backend),
                _range,
                _outcomes,
                thin_calls=4000.0,  # most of it is making forecasts anew, with singular values
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
        return self._svd_is_cheap(task) or (self._worth_a_try(task) and task.m * task.n <= _SMALL_ENTRIES)

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        if self._svd_is_cheap(task):
            first = ("gram",) if self._gram_will_do(task) else ()
            return (self.setting(name, task) for name in (*first, "svd"))
        if not self._worth_a_try(task):
            return ()
        second = task.rank is None and task.m * task.n <= _SMALL_ENTRIES and self._gram_will_do(task)
        return (self.setting(name, task) for name in ("block_krylov", "gram")[: 1 + second])

    def longest_at_once(self, task: Task) -> float:
        return 0.05 * max(1.0, task.m * task.n / 1e6)

    @staticmethod
    def _svd_is_cheap(task: Task) -> bool:
        return 12.0 * task.m * task.n * min(task.m, task.n) < _SMALL_FLOPS

    @staticmethod
    def _gram_will_do(task: Task) -> bool:
        """Eigenvectors of the Gram matrix take a fourth to three fourths of the SVD's time; what they lose is far below
        most targets, and their certificate tells where it is not."""
        size = min(task.m, task.n)
        fine = task.target >= _RESOLVED[task.dtype] and (task.rank is None or task.rank <= size // 2)
        return size >= _GRAM_FROM and fine

    @staticmethod
    def _worth_a_try(task: Task) -> bool:
        """A few products with A show whether a small space holds most of it: block Krylov gives up early where not."""
        loose = task.target >= _LOOSE and (task.rank is None or task.rank <= _LOW * min(task.m, task.n))
        return loose and task.m * task.n <= _KRYLOV_AT_ONCE

    def floor(self, task: Task, evidence: Evidence) -> float:
        return task.unit_roundoff

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        if task.rank is not None:
            return 1e-8 if task.dtype == "float64" else 1e-4
        return 8.0 * task.unit_roundoff * min(task.m, task.n) ** 0.5

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        return certificate.work(task, evidence, algorithm, options)

    def margin(self, task: Task, evidence: Evidence, algorithm: Algorithm, ready: frozenset[str]) -> float:
        # The bound on the best error from a range is loose by a few times the excess that is to be certified.
        return 3.0 if task.rank is not None and algorithm.randomized else 1.0

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        return certificate.certify(
            lib, A, outcome, task, evidence, target, reuse=reuse, seed=seed, confidence=confidence
        )

    def learned(self, task: Task, evidence: Evidence, outcome: Outcome) -> Evidence:
        found = outcome.by_products.get("range")
        if task.rank is None or evidence.singular_values or not isinstance(found, Range):
            return evidence
        return range_sketch.learned(found, evidence) if math.isfinite(found.residual_energy) else evidence

    def range_columns(self, task: Task, algorithm: Algorithm, options: Any) -> int | None:
        return certificate.range_columns(task, algorithm, options)

    def named(self, *parts: Any) -> LowRankFactors:
        return LowRankFactors(*parts)

    def shapes(self, task: Task, b: Any, value: Any) -> list[tuple[int, ...]]:
        rank = int(value[1].shape[0])
        return [(task.m, rank), (rank,), (rank, task.n)]

    def sizes(self, value: Any) -> Any:
        return value[1]

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        m, n = max(1, task.m // 3), max(1, task.n // 3)
        rank = None if task.rank is None else min(task.rank, m, n)
        return A[:m, :n], None, replace(task, m=m, n=n, rank=rank)

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        U, s, Vh = value
        return U, times_power_of_two(s, exponent_A), Vh
