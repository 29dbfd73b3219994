"""The plan file: what a stored plan must look like (the boundary where pydantic checks)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..cost_models.forecast import Forecast
from ..primitives.task import Task
from ..primitives.tuning import DEFAULT, Tuning
from ..profiles.errors import AutonlaError, PlanError
from .budget import Budget
from .plans import SCHEMA_VERSION, Candidate, Plan, evidence_from

_MAX_BYTES = 4 * 2**20


def _number(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf") else value


Number = Annotated[float, BeforeValidator(_number)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IntervalDocument(_Strict):
    """An Interval."""

    median: Number
    low: Number
    high: Number


class FindingDocument(_Strict):
    """A Finding."""

    probe: str
    sentence: str
    seconds: float


class EvidenceDocument(_Strict):
    """An Evidence."""

    norm_fro: float | None
    norm_2: IntervalDocument | None
    condition: IntervalDocument
    scaled_condition: IntervalDocument
    numerical_rank: int | None
    residual: IntervalDocument | None
    solution: IntervalDocument | None
    coherence: IntervalDocument | None
    singular_values: list[float]
    tail_energy: float | None
    small_fraction: float | None
    effective_rank: float | None = None
    underflows: bool = False
    findings: list[FindingDocument]


class TaskDocument(_Strict):
    """A Task."""

    kind: str
    m: int
    n: int
    nrhs: int
    dtype: str
    library: str
    device: str
    order: str
    target: float
    rank: int | None
    ridge: float
    center: bool
    structure: str
    bandwidth: tuple[int, int] | None
    seed: int
    tuning: Tuning = DEFAULT


class CandidateDocument(_Strict):
    """A Candidate."""

    label: str
    algorithm: str
    title: str
    forecast: dict[str, Any] | None
    feasible: bool
    reason: str
    failure: Number
    cost: Number
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class PlanDocument(_Strict):
    """A Plan."""

    schema_version: int
    task: TaskDocument
    budget: dict[str, Any]
    metric: str
    target: float
    evidence: EvidenceDocument
    candidates: list[CandidateDocument]
    chosen: str
    profile: str
    notes: list[str]
    seconds: dict[str, float]


def read(text: str) -> Plan:
    """A Plan from the text of `Plan.to_json`. Raises PlanError."""
    if len(text) > _MAX_BYTES:
        raise PlanError(f"a plan of {len(text)} characters is too long; at most {_MAX_BYTES}")
    try:
        document = PlanDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the text"
        raise PlanError(f"not a plan written by to_json: {where}: {first['msg']}") from error
    if document.schema_version != SCHEMA_VERSION:
        raise PlanError(
            f"the plan has schema version {document.schema_version} and this autonla reads {SCHEMA_VERSION};"
            " make the plan again"
        )
    candidates = []
    for item in document.candidates:
        try:
            forecast = None if item.forecast is None else Forecast.from_dict(item.forecast)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"the forecast of {item.label!r} cannot be read: {error}") from error
        candidates.append(
            Candidate(
                item.label,
                item.algorithm,
                item.title,
                forecast,
                item.feasible,
                item.reason,
                item.failure,
                item.cost,
                item.margin,
            )
        )
    try:
        budget = Budget(**document.budget)
    except (TypeError, AutonlaError) as error:
        raise PlanError(f"the budget cannot be read: {error}") from error
    chosen = [c for c in candidates if c.label == document.chosen]
    if not chosen:
        raise PlanError(f"the chosen candidate {document.chosen!r} is not among the candidates")
    return Plan(
        task=Task(**{**document.task.model_dump(), "tuning": document.task.tuning}),
        budget=budget,
        metric=document.metric,
        target=document.target,
        evidence=evidence_from(document.evidence.model_dump()),
        candidates=tuple(candidates),
        chosen=chosen[0],
        profile=document.profile,
        notes=tuple(document.notes),
        seconds=document.seconds,
    )
