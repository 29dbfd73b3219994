"""The contract of a kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...primitives import algorithms_for
from ...primitives.algorithm import Algorithm, Outcome
from ...primitives.evidence import Evidence
from ...primitives.interval import Interval
from ...primitives.kernels._library import Library
from ...primitives.task import Task
from ...primitives.work import Work
from ..certificate import Certificate
from ..plans import Candidate
from ..problems import Problem


def _nothing(task: Task, evidence: Evidence) -> Sequence[tuple[float, Evidence]]:
    return ()


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One probe the planner may run.

    Attributes
    ----------
    name : str
    applies : callable (task, evidence) -> bool
        Whether it can find anything here.
    work : callable (task, evidence, backend) -> Work
        `backend` names the library that the next computation will probably use ("scipy" or "torch", or the operands'
        own off the CPU): switching between libraries costs time.
    run : callable (A, b, task, evidence, backend) -> (Task, Evidence, by_products)
    outcomes : callable (task, evidence) -> sequence of (probability, Evidence)
        What it may find; what is missing to probability one is finding nothing of use.
    always : bool
        Run it without asking what it is worth (it costs next to nothing, or later steps rely on it).
    thin_calls : float
        What Python adds to it, in thin kernel calls.
    unchecked : bool
        Whether it takes an A that may not be finite, or of any size: it then finds nothing.
    goes_on : bool
        Whether `run` takes `by_products` too, what probes before it have left: a dict, which is not to be changed.
    """

    name: str
    applies: Callable[[Task, Evidence], bool]
    work: Callable[[Task, Evidence, str], Work]
    run: Callable[..., tuple[Task, Evidence, dict[str, Any]]]
    outcomes: Callable[[Task, Evidence], Sequence[tuple[float, Evidence]]] = _nothing
    always: bool = False
    thin_calls: float = 700.0  # 350 to 850 were measured of those that iterate
    unchecked: bool = False
    goes_on: bool = False


class Kind(ABC):
    """One solvable kind of problem. Stateless."""

    name: str
    defaults: frozenset[str]
    """Names of the algorithms that people call today: others must beat them by a margin."""

    probes_count_iterations = False
    """Whether what the probes may find decides how long a choice takes, and not only which one is the best."""

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """Every algorithm registered for the kind, those of entry points included."""
        return algorithms_for(self.name)

    @property
    @abstractmethod
    def probes(self) -> tuple[ProbeStep, ...]:
        """In the order in which they are considered."""

    @abstractmethod
    def task(self, problem: Problem, target: float, seed: int) -> Task:
        """The task of a problem."""

    @abstractmethod
    def describe(self, task: Task) -> str:
        """The problem in a few words for a person."""

    @abstractmethod
    def small(self, task: Task) -> bool:
        """Whether solving takes about as long as planning would, going by the shape alone."""

    @abstractmethod
    def at_once(self, task: Task, A: Any) -> Iterable[tuple[Algorithm, Any]]:
        """What is run, in order, without planning, where that is likely to do and takes little; else empty."""

    def longest_at_once(self, task: Task) -> float:
        """Several times what anything that runs `at_once` takes [s]: a shorter latency is left to planning."""
        return 0.05

    def guess(self, task: Task, A: Any) -> Task:
        """The task as a glance at A makes it look: for what runs `at_once`, whose certificate does not rely on it."""
        return task

    def glance(
        self, A: Any, b: Any, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any
    ) -> tuple[bool, Evidence, dict[str, Any]]:
        """Whether one of those that run `at_once` is worth trying, what a glance at A has shown, and its by-products.

        In the library that it is going to run in, and only where that takes little beside it. A may not be finite.
        """
        return True, evidence, {}

    def setting(self, name: str, task: Task) -> tuple[Algorithm, Any]:
        """The algorithm `name` with the options it has on the library that small problems are best solved with.

        Where it has none there, on another one.

        Raises
        ------
        LookupError
            If the registry does not have it.
        """
        backend = "scipy" if task.device == "cpu" and task.library != "cupy" else task.library
        for algorithm in self.algorithms:
            if algorithm.name == name:
                known = list(algorithm.options(task, Evidence()))
                found = [options for options in known if options.dtype == task.dtype] or known
                if found:
                    return algorithm, next((options for options in found if options.backend == backend), found[0])
        raise LookupError(f"the registry has no {name} for {self.name} on {backend}")

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
    def certify_work(
        self, task: Task, evidence: Evidence, algorithm: Algorithm, options: Any, ready: frozenset[str]
    ) -> Work:
        """Work of certifying the answer of `algorithm`; `ready` names the by-products of probes at hand."""

    def margin(self, task: Task, evidence: Evidence, algorithm: Algorithm, ready: frozenset[str]) -> float:
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

    def needs_norm(self, A: Any, value: Any, task: Task, metric: str) -> bool:
        """Whether ||A||_F has to be known to certify a value, or that A is finite and of moderate size.

        Both are arrays of one library; where it is False, the certificate itself tells.
        """
        return True

    def learned(self, task: Task, evidence: Evidence, outcome: Outcome) -> Evidence:
        """The evidence with what an answer that was not good enough has shown."""
        return evidence

    def remarks(self, task: Task, evidence: Evidence, chosen: Candidate) -> list[str]:
        """What a person should know of a choice beyond the forecasts, in sentences."""
        return []

    def range_columns(self, task: Task, algorithm: Algorithm, options: Any) -> int | None:
        """Columns of the range that the certificate of an answer will rest on, where it rests on one."""
        return None

    def diagnosis(self, A: Any, task: Task) -> str:
        """Why no answer could be certified, and what to do, where A : (m, n), finite and scaled, shows it; else empty.

        Raises Breakdown.
        """
        return ""

    def named(self, *parts: Any) -> Any:
        """The parts of a value that has several, under the names that a user gets them by."""
        return parts

    def shapes(self, task: Task, b: Any, value: Any) -> list[tuple[int, ...]]:
        """Of the parts that a value has to have; of one that has no parts, its own."""
        return [(task.n, *b.shape[1:])]

    def sizes(self, value: Any) -> Any:
        """That part of a value which is scaled with the operands."""
        return value

    @abstractmethod
    def slice_problem(self, A: Any, b: Any, task: Task) -> tuple[Any, Any, Task]:
        """A leading part of the problem of about an eighth of the work, to time candidates on."""

    @abstractmethod
    def unscale(self, value: Any, task: Task, exponent_A: int, exponent_b: int) -> Any:
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
