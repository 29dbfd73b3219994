"""What `solve` returns: the value, what is promised about it, and a record of what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .certificate import Certificate

if TYPE_CHECKING:
    from .plans import Plan


class LowRankFactors(NamedTuple):
    """A is approximated by (U * s) @ Vh [+ mean].

    Attributes
    ----------
    U : (m, k) array
        Orthonormal columns.
    s : (k,) array
        Non-negative, descending.
    Vh : (k, n) array
        Orthonormal rows.
    """

    U: Any
    s: Any
    Vh: Any


class Eigensystem(NamedTuple):
    """A @ V is V * w, nearly.

    Attributes
    ----------
    w : (k,) array
        Eigenvalues, those of the wanted end first.
    V : (n, k) array
        Orthonormal columns.
    """

    w: Any
    V: Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate that was run.

    Attributes
    ----------
    label : str
    seconds : float
        Running and certifying it [s].
    outcome : str
        A sentence: "certified", or why not.
    bound : float or None
        Error bound of its answer; None if it broke down.
    details : dict
        What the algorithm reports of its run (iterations, sketch rows, ...).
    """

    label: str
    seconds: float
    outcome: str
    bound: float | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What happened, measured.

    Attributes
    ----------
    seconds : dict of str to float
        Wall-clock time by stage: "probe", "plan", "run", "certify", and their "total" [s].
    peak_bytes : float or None
        Peak memory beyond the operands [B]; None where it was not measured (problems too small to matter).
    memory_source : str
        How `peak_bytes` was obtained.
    joules : float
        Energy [J].
    energy_source : str
        "measured" or "modelled".
    attempts : tuple of Attempt
        Every candidate that was run, in order; the last one that was certified gave the value.
    """

    seconds: dict[str, float]
    peak_bytes: float | None
    memory_source: str
    joules: float
    energy_source: str
    attempts: tuple[Attempt, ...]


class Solution:
    """The answer to a problem.

    Attributes
    ----------
    value : array, LowRankFactors or Eigensystem
        In the library and dtype of the operands.
    certificate : Certificate
        What is promised about `value`.
    status : str
        "certified" | "best_effort".
    plan : Plan
        What was considered and why this was chosen.
    record : Record
        What happened, measured.
    """

    __slots__ = ("_plan", "_record", "certificate", "status", "value")

    def __init__(
        self,
        value: Any,
        certificate: Certificate,
        status: str,
        plan: Plan | Callable[[], Plan],
        record: Record | Callable[[], Record],
    ) -> None:
        self.value, self.certificate, self.status = value, certificate, status
        self._plan, self._record = plan, record

    @property
    def plan(self) -> Plan:
        """The plan; on the fast path for small problems it is written down when first asked for."""
        plan = self._plan
        if callable(plan):  # two threads that ask at once both make it
            self._plan = plan = plan()
        return plan

    @property
    def record(self) -> Record:
        """What happened, measured."""
        record = self._record
        if callable(record):
            self._record = record = record()
        return record

    def explain(self) -> str:
        """The choice, its reasons and what happened, as text for a person."""
        from .explanation import explain_solution

        return explain_solution(self)

    def __repr__(self) -> str:
        return f"Solution(status={self.status!r}, certificate={str(self.certificate)!r})"

    def _repr_html_(self) -> str:
        from .explanation import as_html

        return as_html(self.explain())
