"""Dense square systems."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.backends import home_backend
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels import library
from ...primitives.kernels._library import Library
from ...primitives.task import Task
from ...primitives.work import Work
from ...probes import conditioning, effective_rank, structure
from ...profiles.errors import DeclarationMismatch
from ..certificate import Certificate
from ..certify import forward_error
from ..certify import linear_system as certificate
from ..problems import LinearSystem, Problem
from ._base import Kind, ProbeStep, times_power_of_two

_SMALL_FLOPS = 1e9
_WELL_CONDITIONED = 0.6  # how often a matrix is conditioned well enough for float32 factors
_TOO_MUCH = 1e7  # about where they do no more
_EVEN, _UNEVEN = 0.2, 0.05  # effective rank over n of matrices on either side
_EVEN_ENOUGH = 0.1  # from which float32 factors have always done
_GOOD, _BAD = Interval(30.0, 10.0, 100.0), Interval(1e10, 1e9, math.inf)
_WORTH_A_GUESS = 200  # order from which it matters whether A is triangular or banded, or float32 would do
_SOLVERS = {"diagonal": "diagonal", "upper": "triangular", "lower": "triangular", "banded": "banded"}
_WORTH_FLOAT32 = 450  # order from which float32 factors save more than looking whether they will do takes
_WORTH_A_DIAGNOSIS = 1000  # order up to which all singular values take less than a second
_WORTH_A_LOOK = 48  # order from which Cholesky saves more than looking whether A is symmetric takes


def _structure(A: Any, b: Any, task: Task, evidence: Evidence, backend: str) -> tuple[Task, Evidence, dict[str, Any]]:
    # an asymmetry that the sample overlooks spoils the answer, and its certificate tells
    evidence, task, by_products = structure.run(A, task, evidence, sampled=True)
    mismatch = by_products.pop("mismatch", None)
    if mismatch is not None:
        raise DeclarationMismatch(str(mismatch), argument="assume", found=str(mismatch))
    return task, evidence, by_products


def _conditioning(
    A: Any, b: Any, task: Task, evidence: Evidence, backend: str
) -> tuple[Task, Evidence, dict[str, Any]]:
    evidence, by_products = conditioning.run(A, task, evidence, backend=backend)
    if by_products.pop("indefinite", False):
        if task.structure == "spd":
            raise DeclarationMismatch(
                "A was declared spd, and a Rayleigh quotient of it is negative; declare it symmetric, or nothing",
                argument="assume",
                found="indefinite",
            )
        task = replace(task, structure="indefinite")
    return task, evidence, by_products


def _outcomes(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    good = _WELL_CONDITIONED
    if math.isfinite(evidence.condition.high):
        good = 1.0 - evidence.condition.probability_above(_TOO_MUCH)
    return [
        (good, replace(evidence, condition=_GOOD, small_fraction=0.0)),
        (1.0 - good, replace(evidence, condition=_BAD, small_fraction=0.3)),
    ]


def _effective_rank(
    A: Any, b: Any, task: Task, evidence: Evidence, backend: str
) -> tuple[Task, Evidence, dict[str, Any]]:
    return task, effective_rank.run(A, task, evidence, backend=backend), {}


def _shares(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    return [
        (chance, replace(evidence, condition=effective_rank.condition_from(share), effective_rank=share))
        for chance, share in ((_WELL_CONDITIONED, _EVEN), (1.0 - _WELL_CONDITIONED, _UNEVEN))
    ]


def _open(task: Task, evidence: Evidence) -> bool:
    """Whether float32 factors would do is worth asking, and not known."""
    dense = task.structure in ("general", "symmetric", "spd", "indefinite")
    return dense and task.dtype == "float64" and task.n >= _WORTH_A_GUESS and evidence.small_fraction is None


class LinearSystemKind(Kind):
    """A x = b."""

    name = "linear_system"
    defaults = frozenset({"lu", "cholesky", "ldlt", "triangular", "banded", "diagonal"})

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return (
            ProbeStep(
                "structure",
                lambda t, e: True,
                lambda t, e, backend: structure.work(t),
                _structure,
                always=True,
                unchecked=True,
            ),
            ProbeStep(
                effective_rank.NAME,
                lambda t, e: _open(t, e) and not math.isfinite(e.condition.high),
                lambda t, e, backend: effective_rank.work(t, backend),
                _effective_rank,
                _shares,
                thin_calls=200.0,
                unchecked=True,
            ),
            ProbeStep(
                "conditioning",
                _open,
                lambda t, e, backend: conditioning.work(t, backend=backend),
                _conditioning,
                _outcomes,
                unchecked=True,
            ),
        )

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        assert isinstance(problem, LinearSystem)
        A, _, dtype = problem.working()
        return Task(
            kind=self.name, m=A.shape[0], n=A.shape[1], nrhs=problem.right_hand_sides, dtype=dtype,
            library=problem.access, device=problem.device, order=problem.order(), target=target,
            metric=problem.metric,
            structure=problem.assume or "general", seed=seed,
        )  # fmt: skip

    def describe(self, task: Task) -> str:
        columns = "" if task.nrhs == 1 else f", {task.nrhs} right-hand sides"
        return f"linear system {task.n} x {task.n}{columns}, {task.dtype} ({task.library})"

    def small(self, task: Task) -> bool:
        return 2.0 / 3.0 * task.n**3 + 2.0 * task.n**2 * task.nrhs < _SMALL_FLOPS

    def guess(self, task: Task, A: Any) -> Task:
        return structure.guess(A, task) if task.n >= _WORTH_A_GUESS else task

    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        solver = _SOLVERS.get(task.structure)
        if solver is not None:
            return (self.setting(name, task) for name in (solver, "lu")[: 1 + self.small(task)])
        if not self.small(task):
            return ()
        spd = task.structure == "spd" or (task.n >= _WORTH_A_LOOK and structure.may_be_spd(A))
        large = task.n >= _WORTH_FLOAT32 and 4 * task.nrhs <= task.n
        mixed = large and task.dtype == "float64" and task.device == "cpu"
        names = ("cholesky",) * spd + ("mixed_lu",) * mixed + ("lu",)
        return (self.setting(name, task) for name in names)

    def glance(
        self, A: Any, b: Any, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any
    ) -> tuple[bool, Evidence, dict[str, Any]]:
        if algorithm.name != "mixed_lu":
            return True, evidence, {}
        evidence = effective_rank.run(A, task, evidence, backend=options.backend)
        return evidence.effective_rank is not None and evidence.effective_rank >= _EVEN_ENOUGH, evidence, {}

    def floor(self, task: Task, evidence: Evidence) -> float:
        return task.unit_roundoff

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        backward = (10.0 + max(4.0 * math.sqrt(task.n), 0.3 * task.n)) * task.unit_roundoff
        return min(0.5, backward * self._amplification(task, evidence))

    def _amplification(self, task: Task, evidence: Evidence) -> float:
        """By how much the error in the metric may be above the backward error."""
        if task.metric != forward_error.METRIC:
            return 1.0
        return max(1.0, min(evidence.condition.median, 1.0 / task.unit_roundoff))

    def margin(self, task: Task, evidence: Evidence, algorithm: Algorithm, ready: frozenset[str]) -> float:
        if algorithm.name == "refined_lu":  # its error is that in x
            return 1.0
        return self._amplification(task, evidence)

    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        if task.metric == forward_error.METRIC:
            return forward_error.work(task, evidence, algorithm, options)
        return certificate.work(task, evidence, options.backend)

    def certify(
        self, lib: Library, A: Any, b: Any, outcome: Outcome, task: Task, evidence: Evidence, *,
        metric: str, target: float | None, reuse: Mapping[str, Any], seed: int, confidence: float,
    ) -> Certificate:  # fmt: skip
        if metric == forward_error.METRIC:
            return forward_error.certify(
                lib, A, b, outcome.value, task, evidence, target,
                again=reuse["again"], seed=seed, confidence=confidence,
            )  # fmt: skip
        enough = self.lapack_target(task, evidence) if target is None else target
        return certificate.certify(
            lib, A, b, outcome.value, task, evidence, metric, target, enough, seed=seed, confidence=confidence
        )

    def needs_norm(self, A: Any, value: Any, task: Task, metric: str) -> bool:
        return certificate.needs_norm(A, value, task, metric)

    def diagnosis(self, A: Any, task: Task) -> str:
        if task.n > _WORTH_A_DIAGNOSIS:
            return ""
        lib = library(home_backend(task))
        s = lib.to_numpy(lib.svdvals(lib.asarray(A)))
        rank = int((s > 2.0 * task.n * task.unit_roundoff * s[0]).sum())
        if rank == task.n:
            return ""
        return (
            f"A is singular to working precision (rank {rank} of {task.n}); LeastSquares(A, b) gives the solution of"
            " minimum norm"
        )

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        n = max(1, task.n // 2)
        return A[:n, :n], b[:n], replace(task, m=n, n=n)

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        return times_power_of_two(value, exponent_b - exponent_A)
