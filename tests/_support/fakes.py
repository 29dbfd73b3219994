"""Algorithms that do as they are told, and a kind of problem made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autonla.planner.certificate import Certificate
from autonla.planner.kinds import Kind, ProbeStep
from autonla.planner.problems import Problem
from autonla.primitives.algorithm import Algorithm, Outcome
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.task import Task
from autonla.primitives.work import KernelCall, Work

from .machine import synthetic_profile

PROFILE = synthetic_profile()
# "copy" of a column is what one second of the fakes' work is made of.
_ROWS = 100_000


def seconds_of_work(seconds: float, backend: str = "numpy") -> KernelCall:
    """A kernel call that the synthetic machine takes about `seconds` for."""
    from autonla.cost_models.price import seconds_of

    each = seconds_of("copy", (_ROWS, 20), "float64", backend, PROFILE).median
    return KernelCall("copy", (_ROWS, 20), "float64", backend, count=seconds / each)


@dataclass(frozen=True, slots=True)
class FakeOptions:
    backend: str = "numpy"
    dtype: str = "float64"
    variant: int = 0


def fake(
    name: str,
    solve: Callable[..., Any] | None = None,
    *,
    kind: str = "fake",
    seconds: float | tuple[float, ...] = 1e-3,
    peak_bytes: float = 1e3,
    error: float | Interval | tuple[float, ...] = 1e-15,
    reason: str | None = None,
    safe: bool = False,
    randomized: bool = False,
    backend: str = "numpy",
    breakdown: float | Callable[[Evidence], float] = 0.0,
) -> Algorithm:
    """An algorithm with a declared price and error.

    Parameters
    ----------
    solve : callable (A, b, task, reuse) -> array, tuple or Outcome
        Default: zeros.
    error : float, Interval or tuple of float
        Its forecast; a tuple makes as many variants (`seconds` may then be one too).
    breakdown : float or callable (evidence) -> float
        Probability that it breaks down.
    """

    def run(A: Any, b: Any, task: Task, options: Any, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
        value = solve(A, b, task, reuse) if solve else 0.0 * A[0]
        return value if isinstance(value, Outcome) else Outcome(value)

    errors = error if isinstance(error, tuple) else (error,)
    prices = seconds if isinstance(seconds, tuple) else (seconds,) * len(errors)

    def forecast(task: Task, evidence: Evidence, options: FakeOptions) -> Interval:
        value = errors[options.variant]
        return value if isinstance(value, Interval) else Interval(value, value / 10.0, value * 10.0)

    return Algorithm(
        kind=kind,
        name=name,
        title=f"the {name} algorithm",
        reference="none",
        options=lambda task, evidence: [FakeOptions(backend, variant=i) for i in range(len(errors))],
        applies=lambda task, evidence, options: reason,
        work=lambda task, evidence, options: Work((seconds_of_work(prices[options.variant]),), peak_bytes),
        error=forecast,
        solve=run,
        safe=safe,
        randomized=randomized,
        breakdown=lambda task, evidence, options: breakdown(evidence) if callable(breakdown) else breakdown,
    )


class FakeKind(Kind):
    """A kind whose algorithms are given, and whose certificates cost nothing."""

    name = "fake"
    profile = PROFILE

    def __init__(self, *algorithms: Algorithm, probes: tuple[ProbeStep, ...] = ()) -> None:
        self._algorithms, self._probes = algorithms, probes
        self.defaults = frozenset(a.name for a in algorithms if a.safe)

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return self._algorithms

    @property
    def probes(self) -> tuple[ProbeStep, ...]:
        return self._probes

    def task(self, problem: Problem, target: float, seed: int) -> Task:
        return Task("fake", *problem.shape, target=target, seed=seed)

    def describe(self, task: Task) -> str:
        return "fake problem"

    def small(self, task: Task) -> bool:
        return False

    def at_once(self, task: Task, A: Any) -> list[tuple[Algorithm, Any]]:
        return []

    def floor(self, task: Task, evidence: Evidence) -> float:
        return 1e-16

    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        return 1e-12

    def certify_work(self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: Any) -> Work:
        return Work(())

    def certify(
        self, lib: Any, A: Any, b: Any, outcome: Any, task: Task, evidence: Evidence, **how: Any
    ) -> Certificate:
        return Certificate(how["metric"], 0.0, 0.0, 1.0, "nothing was checked", how["target"], True)

    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        return A, b, task

    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
        return value
