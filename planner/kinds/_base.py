"""The contract of a kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.task import Task
from ...primitives.work import Work
from ..certificate import Certificate
from ..problems import Problem


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One probe the planner may run.

    Attributes
    ----------
    name : str
    applies : callable (task, evidence) -> bool
        Whether it can find anything here.
    work : callable (task, evidence) -> Work
    run : callable (A, b, task, evidence) -> (Task, Evidence, by_products)
    always : bool
        Run it without asking what it is worth (it costs next to nothing, or later steps rely on it).
    """

    name: str
    applies: Callable[[Task, Evidence], bool]
    work: Callable[[Task, Evidence], Work]
    run: Callable[[Any, Any, Task, Evidence], tuple[Task, Evidence, dict[str, Any]]]
    always: bool = False


class Kind(ABC):
    """One solvable kind of problem. Stateless."""

    name: str
    defaults: frozenset[str]
    """Names of the algorithms that people call today: others must beat them by a margin."""

    @property
    @abstractmethod
    def algorithms(self) -> tuple[Algorithm, ...]:
        """Every algorithm registered for the kind, those of entry points included."""

    @property
    @abstractmethod
    def probes(self) -> tuple[ProbeStep, ...]:
        """In the order in which they are considered."""

    @abstractmethod
    def task(self, problem: Problem, target: float, seed: int) -> Task:
        """The task of a problem with dense operands."""

    @abstractmethod
    def describe(self, task: Task) -> str:
        """The problem in a few words for a person."""

    @abstractmethod
    def small(self, task: Task) -> bool:
        """Whether LAPACK solves it in about the time that planning would take."""

    @abstractmethod
    def small_default(self, task: Task) -> tuple[Algorithm, Any]:
        """The deterministic algorithm, with options, that small problems are given."""

    def known(self, task: Task, evidence: Evidence) -> Evidence:
        """The evidence with what follows from the statement of the problem alone."""
        return evidence

    @abstractmethod
    def floor(self, task: Task, evidence: Evidence) -> float:
        """The smallest error that an answer in the task's dtype can have, of the order of rounding."""

    @abstractmethod
    def lapack_target(self, task: Task, evidence: Evidence) -> float:
        """The error that LAPACK's default would leave: the target when the budget names none."""

    @abstractmethod
    def favourable(self, task: Task, evidence: Evidence) -> Evidence:
        """Evidence at its most encouraging: what the probes not yet run might find."""

    @abstractmethod
    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        """Work of certifying the answer of `algorithm`; `ready` names the by-products of probes at hand."""

    def keeps(self, by_product: str, algorithm: str) -> bool:
        """Whether what a probe left behind is of use once `algorithm` is chosen; else its memory is freed."""
        return True

    def margin(self, task: Task, algorithm: Algorithm, ready: frozenset[str]) -> float:
        """Certified bound over true error, as far as it can be foreseen: algorithms aim at target / margin."""
        return 1.0

    @abstractmethod
    def certify(
        self,
        lib: Library,
        A: Any,
        b: Any,
        outcome: Outcome,
        task: Task,
        evidence: Evidence,
        *,
        metric: str,
        target: float | None,
        reuse: Mapping[str, Any],
        seed: int,
        confidence: float,
    ) -> Certificate:
        """Certificate of an outcome, operands and value being arrays of `lib`."""

    @abstractmethod
    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        """A leading part of the problem of about an eighth of the work, to time candidates on."""

    @abstractmethod
    def unscale(self, value: Any, exponent_A: int, exponent_b: int) -> Any:
        """The value of the problem from that of the problem with A 2^-exponent_A and b 2^-exponent_b."""


def interval_or(value: Interval | None, default: float) -> float:
    """Median of an interval, or a default where nothing is known."""
    return default if value is None else value.median


def times_power_of_two(value: Any, exponent: int) -> Any:
    """value * 2^exponent, in steps that do not overflow on the way."""
    while exponent:
        step = max(-126, min(126, exponent))  # a power of two that float32 holds
        value = value * 2.0**step
        exponent -= step
    return value
