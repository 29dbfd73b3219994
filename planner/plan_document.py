"""The plan file: what a stored plan must look like (the boundary where pydantic checks).

It is one JSON object. Its first field is a SHA-256 of the others, however they are laid out: a plan that changed on the
way might ask for less than was asked of it, and its answer would be certified all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..cost_models.forecast import Forecast
from ..primitives.task import Task
from ..primitives.tuning import DEFAULT, Tuning
from ..profiles.errors import AutonlaError, PlanError
from .budget import Budget
from .plans import SCHEMA_VERSION, Candidate, Plan, evidence_from

_MAX_BYTES = 4 * 2**20


def sealed(document: Mapping[str, Any]) -> str:
    """The text of a plan file: a document of plain data without NaN or infinities, and its checksum."""
    return json.dumps({"checksum": _checksum(document), **document}, allow_nan=False, indent=1)


def _checksum(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))  # floats are written so that they come back
    return hashlib.sha256(text.encode()).hexdigest()


def _number(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf") else value


def _not_nan(value: float) -> float:
    if value != value:
        raise ValueError("must be a number")
    return value


Number = Annotated[float, BeforeValidator(_number), AfterValidator(_not_nan)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IntervalDocument(_Strict):
    """An Interval."""

    median: Number
    low: Number
    high: Number


class FindingDocument(_Strict):
    """A Finding."""

    probe: str
    sentence: str
    seconds: Finite


class EvidenceDocument(_Strict):
    """An Evidence."""

    norm_fro: Number | None
    norm_2: IntervalDocument | None
    condition: IntervalDocument
    scaled_condition: IntervalDocument
    numerical_rank: Count | None
    residual: IntervalDocument | None
    solution: IntervalDocument | None
    coherence: IntervalDocument | None
    singular_values: list[Finite]
    tail_energy: Number | None
    small_fraction: Number | None
    effective_rank: Number | None = None
    ritz: list[tuple[Finite, Finite, NonNegative]] = []
    cg_steps: Count = 0
    cg_converged: bool = False
    cg_likely: NonNegative | None = None
    diagonal_pivots: bool | None = None
    product_entries: Finite | None = None
    fill: IntervalDocument | None = None
    fill_flops: IntervalDocument | None = None
    repeated: bool = False
    underflows: bool = False
    findings: list[FindingDocument]


class TaskDocument(_Strict):
    """A Task."""

    kind: str
    m: Count
    n: Count
    nrhs: Count
    dtype: str
    library: str
    device: str
    order: str
    target: Positive
    metric: str = ""
    rank: Count | None
    ridge: NonNegative
    center: bool
    structure: str
    bandwidth: tuple[Count, Count] | None
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    tuning: Tuning = DEFAULT
    access: str = "dense"
    nnz: Count = 0
    which: str = ""
    function: str = ""


Ends = Annotated[list[NonNegative | None], Field(min_length=3, max_length=3)]
"""Median, low and high end of a forecast; None is infinite."""


def _run_and_certify(stages: list[tuple[str, float]]) -> list[tuple[str, float]]:
    if sorted(name for name, _ in stages) != ["certify", "run"]:
        raise ValueError("must be those of running and certifying")
    return stages


class ForecastDocument(_Strict):
    """A Forecast."""

    seconds: Ends
    bytes: Ends
    joules: Ends
    error: Ends
    energy_source: str
    stages: Annotated[list[tuple[str, NonNegative]], AfterValidator(_run_and_certify)]
    correction: Positive = 1.0


class BudgetDocument(_Strict):
    """A Budget, whose own rules are checked when it is made."""

    accuracy: Finite | None
    latency: Finite | None
    memory: Finite | None
    energy: Finite | None
    confidence: Finite
    minimize: str
    on_infeasible: str


class CandidateDocument(_Strict):
    """A Candidate."""

    label: str
    algorithm: str
    title: str
    forecast: ForecastDocument | None
    feasible: bool
    reason: str
    failure: Number
    cost: Number
    margin: Positive = 1.0


class PlanDocument(_Strict):
    """A Plan."""

    checksum: str
    schema_version: int
    task: TaskDocument
    budget: BudgetDocument
    metric: str
    target: Positive
    evidence: EvidenceDocument
    candidates: list[CandidateDocument]
    chosen: str
    profile: str
    notes: list[str]
    seconds: dict[str, Finite]


def _check_version_and_checksum(text: str) -> None:
    """Raises PlanError, unless `text` is an object of this version that is as it was written."""
    try:
        data = json.loads(text)
        checksum = data.pop("checksum", None) if isinstance(data, dict) else None
        unchanged = checksum == _checksum(data)
    except (ValueError, RecursionError):
        raise PlanError("not a plan written by to_json: not JSON, or damaged") from None
    if not isinstance(data, dict):
        raise PlanError("not a plan written by to_json: not an object")
    version = data.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise PlanError(
            f"the plan has schema version {str(version)[:20]} and this autonla reads {SCHEMA_VERSION}; make the plan"
            " again"
        )
    if not unchanged:
        raise PlanError("the plan changed after it was written (checksum); make the plan again")


def read(text: str) -> Plan:
    """A Plan from the text of `Plan.to_json`. Raises PlanError, of one line."""
    if not isinstance(text, str):
        raise PlanError(f"a plan is read from text, not from {type(text).__name__}")
    if len(text) > _MAX_BYTES:
        raise PlanError(f"a plan of {len(text)} characters is too long; at most {_MAX_BYTES}")
    _check_version_and_checksum(text)
    try:
        document = PlanDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the text"
        raise PlanError(f"not a plan written by to_json: {_short(where)}: {_short(first['msg'])}") from None
    candidates = tuple(
        Candidate(
            item.label,
            item.algorithm,
            item.title,
            None if item.forecast is None else Forecast.from_dict(item.forecast.model_dump()),
            item.feasible,
            item.reason,
            item.failure,
            item.cost,
            item.margin,
        )
        for item in document.candidates
    )
    try:
        budget = Budget(**document.budget.model_dump())
    except AutonlaError as error:
        raise PlanError(f"the budget cannot be read: {_short(str(error))}") from error
    chosen = [c for c in candidates if c.label == document.chosen]
    if not chosen:
        raise PlanError(f"the chosen candidate {_short(document.chosen)!r} is not among the candidates")
    return Plan(
        task=Task(**{**document.task.model_dump(), "tuning": document.task.tuning}),
        budget=budget,
        metric=document.metric,
        target=document.target,
        evidence=evidence_from(document.evidence.model_dump()),
        candidates=candidates,
        chosen=chosen[0],
        profile=document.profile,
        notes=tuple(document.notes),
        seconds=document.seconds,
    )


def _short(said: str) -> str:
    """In one line: names and values in a file may hold anything."""
    return " ".join(said.split())[:200]
