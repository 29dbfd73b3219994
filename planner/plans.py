"""A plan: pure data that says what would be run, what else was considered, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..cost_models.forecast import Forecast
from ..primitives.evidence import Evidence, Finding
from ..primitives.interval import Interval
from ..primitives.task import Task
from ..profiles.errors import PlanError
from .budget import Budget

if TYPE_CHECKING:
    from .problems import Problem
    from .solution import Solution

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to solve the problem, priced.

    Attributes
    ----------
    label : str
        "name(option=value)[backend dtype]"; unique within a plan.
    algorithm, title : str
        Name in the registry, and what a person calls it.
    forecast : Forecast or None
        Seconds, bytes, joules and error of running and certifying it; None if it cannot be priced.
    feasible : bool
        Whether it is forecast to fit the budget.
    reason : str
        Why it was rejected, a sentence; empty if feasible.
    failure : float
        Forecast probability that its answer cannot be certified.
    cost : float
        Expected cost to a certified answer in what the budget minimises; infinite if infeasible.
    margin : float
        The algorithm aims at the plan's target divided by this: more than one where its certificate is loose, less
        where nothing so accurate fits the limits and a looser answer is taken.
    """

    label: str
    algorithm: str
    title: str
    forecast: Forecast | None
    feasible: bool
    reason: str
    failure: float = 0.0
    cost: float = float("inf")
    margin: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be run for a problem and budget, with everything that was considered.

    Attributes
    ----------
    task : Task
        Shape of the problem.
    budget : Budget
    metric : str
        Metric of the accuracy.
    target : float
        Accuracy that the chosen candidate is asked for (the budget's, or LAPACK's where it names none).
    evidence : Evidence
        What the probes found and what each cost.
    candidates : tuple of Candidate
        Every candidate considered, the feasible ones first, by expected cost.
    chosen : Candidate
    profile : str
        The hardware profile that priced them.
    notes : tuple of str
        What else decided, in sentences.
    seconds : dict
        Time spent on "probe" and "plan" [s].
    """

    task: Task
    budget: Budget
    metric: str
    target: float
    evidence: Evidence
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    profile: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    _problem: Problem | None = field(default=None, compare=False, repr=False)
    _prepared: Any = field(default=None, compare=False, repr=False)
    _entries: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def candidate(self, label: str) -> Candidate:
        """The candidate with this label.

        Raises
        ------
        PlanError
            If there is none.
        """
        for candidate in self.candidates:
            if candidate.label == label:
                return candidate
        raise PlanError(f"candidate {label!r} is not in this plan; its labels are {[c.label for c in self.candidates]}")

    def run(self, problem: Problem | None = None, candidate: Candidate | str | None = None) -> Solution:
        """Run the chosen candidate, or another one, on the planned problem or a new one of the same shape.

        Parameters
        ----------
        problem : Problem, optional
            Default: the problem that was planned. A new one must have the same kind, shape and dtype; nothing is
            probed again, and a failed certificate escalates as in `solve`.
        candidate : Candidate or str, optional
            Another candidate of this plan, or its label; it is then run as it is, without escalation.

        Returns
        -------
        Solution

        Raises
        ------
        PlanError
            If the plan does not fit the problem, or has none and is given none.
        CertificationFailed
            If no answer could be certified and the budget says "raise".
        BudgetExceeded
            If memory or time ran out on the way, as in `solve`.
        """
        from .execution import run_plan

        return run_plan(self, problem, candidate)

    def explain(self) -> str:
        """What was found, what was chosen, what was rejected and why, as text for a person."""
        from .explanation import explain_plan

        return explain_plan(self)

    def to_json(self) -> str:
        """The plan as JSON (data only: no operands), with a checksum."""
        from .plan_document import sealed

        document = {
            "schema_version": SCHEMA_VERSION,
            "task": {name: value for name, value in asdict(replace(self.task, call=None)).items() if name != "call"},
            "budget": self.budget.to_dict(),
            "metric": self.metric,
            "target": self.target,
            "evidence": asdict(self.evidence),
            "candidates": [_candidate_to_dict(c) for c in self.candidates],
            "chosen": self.chosen.label,
            "profile": self.profile,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
        return sealed(_finite(document))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote; give `run` the problem to solve.

        Raises
        ------
        PlanError
            If `text` is not such a plan.
        """
        from .plan_document import read

        return read(text)

    def __repr__(self) -> str:
        return f"Plan(chosen={self.chosen.label!r}, {len(self.candidates)} candidates)"

    def _repr_html_(self) -> str:
        from .explanation import as_html

        return as_html(self.explain())


def _candidate_to_dict(candidate: Candidate) -> dict[str, Any]:
    return {
        "label": candidate.label,
        "algorithm": candidate.algorithm,
        "title": candidate.title,
        "forecast": None if candidate.forecast is None else candidate.forecast.to_dict(),
        "feasible": candidate.feasible,
        "reason": candidate.reason,
        "failure": candidate.failure,
        "cost": candidate.cost,
        "margin": candidate.margin,
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity: it is written as the string "inf"."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def interval_from(value: dict[str, Any] | None) -> Interval | None:
    """Interval from its dict."""
    return None if value is None else Interval(float(value["median"]), float(value["low"]), float(value["high"]))


def evidence_from(value: dict[str, Any]) -> Evidence:
    """Evidence from its dict."""
    intervals = ("norm_2", "condition", "scaled_condition", "residual", "solution", "coherence")
    fields = {name: interval_from(value[name]) for name in intervals}
    plain = ("norm_fro", "numerical_rank", "tail_energy", "small_fraction")
    findings = tuple(Finding(f["probe"], f["sentence"], f["seconds"]) for f in value["findings"])
    return Evidence(
        **fields,  # type: ignore[arg-type]
        **{name: value[name] for name in plain},
        effective_rank=value.get("effective_rank"),
        ritz=tuple((float(a), float(b), float(c)) for a, b, c in value.get("ritz", ())),
        cg_steps=value.get("cg_steps", 0),
        cg_converged=value.get("cg_converged", False),
        cg_likely=value.get("cg_likely"),
        diagonal_pivots=value.get("diagonal_pivots"),
        product_entries=value.get("product_entries"),
        fill=interval_from(value.get("fill")),
        fill_flops=interval_from(value.get("fill_flops")),
        repeated=value.get("repeated", False),
        underflows=value.get("underflows", False),
        singular_values=tuple(value["singular_values"]),
        findings=findings,
    )
