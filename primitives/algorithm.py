"""The descriptor every algorithm file ends with, and what running one returns.

An algorithm is one file that can be read alone: what it computes, its `work`, its `error`, when it applies, and the
reference it comes from. Adding one is adding the file and one line in the registry (`primitives/__init__.py`), or an
entry point in the group `autonla.algorithms` of another package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .evidence import Evidence
from .interval import Interval
from .task import Task
from .work import Work


class Breakdown(ArithmeticError):
    """An algorithm cannot finish on these numbers (a Cholesky pivot is negative, an iteration diverges).

    Not an error of the user's: the planner catches it and moves to the next candidate.

    Attributes
    ----------
    condition : Interval or None
        The condition number, as far as the failure shows it: the planner goes on with it.
    by_products : dict
        As those of an `Outcome`: what the next algorithm need not compute again.
    pivot : int or None
        Where a Cholesky factorization has failed, from 1.
    structure : str or None
        What A has turned out to be (a value of `Task.structure`), where the failure shows it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        condition: Interval | None = None,
        by_products: dict[str, Any] | None = None,
        pivot: int | None = None,
        structure: str | None = None,
    ) -> None:
        super().__init__(message)
        self.structure = structure
        self.condition = condition
        self.pivot = pivot
        self.by_products = by_products or {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run produced.

    Attributes
    ----------
    value : array or tuple of arrays
        x : (n,) or (n, nrhs); low rank: (U, s, Vh).
    by_products : dict
        What a later step may reuse instead of computing it again: "gram_factor" (upper triangular R with R'R = A'A +
        ridge I, from the Gram matrix itself; A A' for wide A), "r_factor" (the same from orthogonal transformations
        or Cholesky of a preconditioned Gram matrix: backward stable in A), "r_svd" (singular values and right
        singular vectors of "r_factor"), "gram_eigenvectors" (eigenvalues and eigenvectors, all of them, of the Gram
        matrix of the shorter side), "condition" (a number: what was seen of it), "norm_fro" (a number: ||A||_F),
        "factor" (LU, Cholesky, ...), "Q" and "B", "eigenvectors" (n, k) of a run that may have missed some, ...
    details : dict
        Plain numbers for the report: iterations, corrections, sketch rows, ...
    """

    value: Any
    by_products: dict[str, Any] = field(default_factory=dict)
    details: dict[str, float | int | str] = field(default_factory=dict)


def _never(task: Task, evidence: Evidence, options: Any) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm, as the planner sees it.

    Attributes
    ----------
    kind : str
        Kind of problem it solves ("least_squares", ...).
    name : str
        Short unique name; the first part of a candidate's label.
    title : str
        What a person calls it, a few words.
    reference : str
        Where it comes from.
    options : callable (task, evidence) -> iterable of frozen dataclasses
        The settings worth pricing; each has at least `backend` and `dtype`.
    applies : callable (task, evidence, options) -> str or None
        None, or the reason why not, as a sentence a user reads.
    work : callable (task, evidence, options) -> Work
    error : callable (task, evidence, options) -> Interval
        Forecast of the kind's default metric, where it does not break down.
    solve : callable (A, b, task, options, evidence, reuse) -> Outcome
        A and b are arrays of the problem's own library; `reuse` maps names to by-products of probes and of
        earlier runs. The value may be an array of the backend's library: the planner converts. Raises Breakdown.
        Where nobody knows beforehand how many iterations there will be, it asks `stop_asked` after each.
    safe : bool
        Deterministic and backward stable: may serve as the last resort.
    randomized : bool
        Whether the value depends on `task.seed`.
    breakdown : callable (task, evidence, options) -> float
        Probability that it raises Breakdown.
    unchecked : bool
        Whether it may run on an A that nobody has looked at, which may be of any size and not finite: it comes to an
        end on that too, in a Breakdown or with any answer.
    """

    kind: str
    name: str
    title: str
    reference: str
    options: Callable[[Task, Evidence], Iterable[Any]]
    applies: Callable[[Task, Evidence, Any], str | None]
    work: Callable[[Task, Evidence, Any], Work]
    error: Callable[[Task, Evidence, Any], Interval]
    solve: Callable[[Any, Any, Task, Any, Evidence, Mapping[str, Any]], Outcome]
    safe: bool = False
    randomized: bool = False
    breakdown: Callable[[Task, Evidence, Any], float] = _never
    unchecked: bool = False

    def label(self, options: Any) -> str:
        """`name(option=value, ...)[backend dtype]`, leaving out options at their defaults."""
        shown = [
            f"{f.name}={getattr(options, f.name)}"
            for f in fields(options)
            if f.name not in ("backend", "dtype") and getattr(options, f.name) != f.default
        ]
        arguments = f"({', '.join(shown)})" if shown else ""
        return f"{self.name}{arguments}[{options.backend} {options.dtype}]"
