"""Run a plan: the chosen candidate, its certificate, and what follows when the certificate fails."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cost_models.energy import EnergyMeter, modelled
from ..cost_models.memory import PeakMemory
from ..primitives.algorithm import Breakdown, Outcome
from ..primitives.kernels import library
from ..primitives.norms import norm
from ..primitives.task import Task
from ..primitives.work import Work
from ..profiles import HardwareProfile
from ..profiles.errors import BudgetExceeded, CertificationFailed, InvalidProblem, PlanError
from .budget import Budget
from .candidates import Entry, Limits, only_accuracy_speaks_against
from .certificate import Certificate
from .kinds import Kind, kind_of
from .operand import dtype_name
from .plans import Candidate, Plan
from .prepare import Prepared, prepare
from .problems import Problem
from .solution import Attempt, LowRankFactors, Record, Solution

# The certificate draws from its own random stream, never from the algorithm's.
_CERTIFICATE_STREAM = 0x5EED_CE57
# Without an accuracy in the budget an answer this far from LAPACK's is not taken from a shortcut.
_FAR_FROM_LAPACK = 100.0
# By-products of an answer that was not good enough from which the next candidate may go on (a range: by power steps).
_CONTINUED = ("range", "factor")
_SMALLEST_NORMAL = {"float64": 2.0**-1022, "float32": 2.0**-126}


def certificate_seed(seed: int) -> int:
    """Key of the certificate's random stream."""
    return (seed ^ _CERTIFICATE_STREAM) & (2**63 - 1)


def to_library(value: Any, task: Task) -> Any:
    """An array of any CPU library as one of the problem's own library, device and dtype."""
    name = task.library
    if name == "numpy":
        array = value if hasattr(value, "flags") else library("torch").to_numpy(value)
        return array if dtype_name(array) == task.dtype else array.astype(task.dtype)
    array = library(name).asarray(value)
    return array if str(array.dtype).endswith(task.dtype) else library(name).astype(array, task.dtype)


def finish(kind: Kind, value: Any, prepared: Prepared) -> Any:
    """What the user gets: own library and dtype, scaled back. Raises InvalidProblem where that cannot be written."""
    if isinstance(value, tuple):
        value = LowRankFactors(*(to_library(part, prepared.task) for part in value))
        return LowRankFactors(*kind.unscale(value, prepared.exponent_A, prepared.exponent_b))
    scaled = to_library(value, prepared.task)
    if not (prepared.exponent_A or prepared.exponent_b):
        return scaled
    with np.errstate(over="ignore", under="ignore"):
        value = kind.unscale(scaled, prepared.exponent_A, prepared.exponent_b)
    # What overflows, or is rounded to the coarse grid below the smallest normal number, is not what was certified.
    if not _SMALLEST_NORMAL[prepared.task.dtype] <= norm(value) < math.inf and norm(scaled) > 0.0:
        raise InvalidProblem(
            f"the solution is beyond the range of {prepared.task.dtype}; divide A or b by a constant",
            argument="b",
        )
    return value


def run_and_certify(
    kind: Kind, prepared: Prepared, entry: Entry, metric: str, accuracy: float | None, confidence: float
) -> tuple[Outcome, Certificate, float, float]:
    """One candidate: its outcome, certificate, and the seconds of both. Raises Breakdown."""
    started = time.perf_counter()
    task = prepared.task
    outcome = entry.algorithm.solve(
        prepared.A, prepared.b, entry.task(task), entry.options, prepared.evidence, prepared.by_products
    )
    ran = time.perf_counter()
    _check_shapes(outcome.value, prepared)
    lib = library(entry.options.backend)
    value = tuple(map(lib.asarray, outcome.value)) if isinstance(outcome.value, tuple) else lib.asarray(outcome.value)
    with np.errstate(all="ignore"):  # an answer may be anything; what overflows is not certified
        certificate = kind.certify(
            lib,
            lib.asarray(prepared.A),
            None if prepared.b is None else lib.asarray(prepared.b),
            replace(outcome, value=value),
            task,
            prepared.evidence,
            metric=metric,
            target=accuracy,
            reuse={
                **outcome.by_products,
                **{k: v for k, v in prepared.by_products.items() if k == "sketch"},
                "sketch_used": entry.algorithm.randomized,
            },
            seed=certificate_seed(task.seed),
            confidence=confidence,
        )
    return outcome, certificate, ran - started, time.perf_counter() - ran


def _check_shapes(value: Any, prepared: Prepared) -> None:
    """Raise Breakdown where an algorithm (of another package, perhaps) returned something of another shape."""
    task, b = prepared.task, prepared.b
    if b is not None:
        found, expected = [tuple(value.shape)], [(task.n, *b.shape[1:])]
    else:
        found, rank = [tuple(part.shape) for part in value], int(value[1].shape[0])
        expected = [(task.m, rank), (rank,), (rank, task.n)]
    if found != expected:
        raise Breakdown(f"its answer has shape {found}, not {expected}")


def _rank(certificate: Certificate) -> tuple[bool, float, float]:
    """Order of answers: satisfied before not, then by bound, then by estimate."""
    return not certificate.satisfied, certificate.bound, certificate.estimate


class _Run:
    """The state of one execution: what was tried, the best so far, and what is left of the budget."""

    def __init__(self, kind: Kind, prepared: Prepared, budget: Budget, metric: str, started: float) -> None:
        self.kind, self.budget, self.metric, self.started = kind, budget, metric, started
        # a copy: what attempts leave behind is for the next attempt of this run only
        self.prepared = replace(prepared, by_products=dict(prepared.by_products))
        self.attempts: list[Attempt] = []
        self.failed: list[Entry] = []
        self.best: tuple[Outcome, Certificate] | None = None
        self.seconds = {"run": 0.0, "certify": 0.0}
        self.out_of_memory = False
        self.learned = False  # whether a failed certificate has added to the evidence
        self.work = Work(())
        self.joules = 0.0  # forecast for what has been tried

    def attempt(self, entry: Entry) -> bool:
        """Run one candidate; True when its answer satisfies the budget."""
        label = entry.candidate.label
        begun = time.perf_counter()
        self._count(entry)
        if entry.candidate.forecast is not None:
            self.joules += entry.candidate.forecast.joules.median
        try:
            outcome, certificate, ran, certified = run_and_certify(
                self.kind, self.prepared, entry, self.metric, self.budget.accuracy, self.budget.confidence
            )
        except Breakdown as breakdown:
            self._failed(entry, begun, f"broke down: {breakdown}")
            return False
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "allocate" in str(error) or "out of memory" in str(error)):
                raise
            self.out_of_memory = True
            self._failed(entry, begun, f"ran out of memory: {error}")
            return False
        self.seconds["run"] += ran
        self.seconds["certify"] += certified
        if self.best is None or _rank(certificate) < _rank(self.best[1]):
            self.best = outcome, certificate
        good = certificate.satisfied
        if good and self.budget.accuracy is None and not self.budget.limited and not entry.algorithm.safe:
            good = certificate.bound <= _FAR_FROM_LAPACK * self.prepared.task.target
        sentence = "certified" if good else f"its certificate allows only {certificate.bound:.1e}"
        self.attempts.append(Attempt(label, ran + certified, sentence, certificate.bound, dict(outcome.details)))
        if not good:
            self.failed.append(entry)
            self.prepared.by_products |= {k: v for k, v in outcome.by_products.items() if k in _CONTINUED}
            if certificate.numerical_rank is not None:
                self.learned = True
                known = replace(self.prepared.evidence, numerical_rank=certificate.numerical_rank)
                self.prepared.evidence = known
        return good

    def _count(self, entry: Entry) -> None:
        """Add what the candidate asks of the machine, for the energy model."""
        task, evidence = self.prepared.task, self.prepared.evidence
        ready = frozenset(self.prepared.by_products)
        self.work += entry.algorithm.work(task, evidence, entry.options)
        self.work += self.kind.certify_work(task, evidence, entry.algorithm, entry.options, ready)

    def _failed(self, entry: Entry, begun: float, sentence: str) -> None:
        seconds = time.perf_counter() - begun
        self.seconds["run"] += seconds
        self.failed.append(entry)
        self.attempts.append(Attempt(entry.candidate.label, seconds, sentence, None))

    def left(self) -> float:
        """Seconds left of the latency budget."""
        return math.inf if self.budget.latency is None else self.budget.latency - (time.perf_counter() - self.started)

    def may_follow(self, entry: Entry) -> bool:
        """Whether it is worth trying `entry` after what has failed, and whether it fits what is left."""
        forecast = entry.candidate.forecast
        if forecast is None:
            return False
        if self.budget.memory is not None and forecast.bytes.high > self.budget.memory - self.prepared.held_bytes:
            return False
        if forecast.seconds.median > self.left():
            return False
        if self.budget.energy is not None and forecast.joules.median > self.budget.energy - self.joules:
            return False
        if self.learned and not self._still_applies(entry):
            return False
        return not any(_same_method(entry, other) for other in self.failed)

    def _still_applies(self, entry: Entry) -> bool:
        """Whether the algorithm still claims to work, now that more is known."""
        task = entry.task(self.prepared.task)
        return entry.algorithm.applies(task, self.prepared.evidence, entry.options) is None


def _same_method(entry: Entry, failed: Entry) -> bool:
    """Whether `entry` would fail for the reason `failed` did: the same algorithm, not forecast to be more accurate."""
    if entry.algorithm.name != failed.algorithm.name:
        return False
    a, b = entry.candidate.forecast, failed.candidate.forecast
    return a is None or b is None or a.error.median > 0.5 * b.error.median


def _order_after(entries: Sequence[Entry], first: Entry) -> list[Entry]:
    """What to try after `first`: the feasible ones by expected cost, then the safe ones, then the rest by error."""
    rest = [e for e in entries if e is not first and e.candidate.forecast is not None]
    feasible = [e for e in rest if e.candidate.feasible]
    others = sorted(
        (e for e in rest if not e.candidate.feasible),
        key=lambda e: (not e.algorithm.safe, e.candidate.forecast.error.median),  # type: ignore[union-attr]
    )
    return feasible + others


def _most_reliable(entries: Sequence[Entry], defaults: frozenset[str]) -> int:
    """Index of the safe default, else of anything safe, else of the first."""
    ranks = [(not e.algorithm.safe, e.algorithm.name not in defaults, i) for i, e in enumerate(entries)]
    return min(ranks)[2]


def execute(plan: Plan, entries: Sequence[Entry], profile: HardwareProfile, *, escalate: bool = True) -> Solution:
    """Run the chosen candidate of a plan and certify it; escalate while the budget lasts.

    Raises
    ------
    CertificationFailed
        If no answer could be certified and the budget says "raise"; it carries the best one.
    BudgetExceeded
        If memory ran out and nothing else was left to try.
    """
    started = time.perf_counter()
    spent = sum(plan.seconds.values())
    prepared: Prepared = plan._prepared
    kind = kind_of(plan.task.kind)
    first = next(e for e in entries if e.candidate.label == plan.chosen.label)
    run = _Run(kind, prepared, plan.budget, plan.metric, started - spent)
    done = False
    held = prepared.held_bytes
    with EnergyMeter(device=plan.task.device) as energy, PeakMemory() as memory:
        done = run.attempt(first)
        if not done and escalate:
            left = _order_after(entries, first)
            while left and not done:
                # What a failure has taught was not in the forecasts: then the one to rely on comes first.
                entry = left.pop(_most_reliable(left, kind.defaults) if run.learned else 0)
                done = run.may_follow(entry) and run.attempt(entry)
    total = time.perf_counter() - started + spent
    reading = energy.reading
    joules = modelled(profile.energy, total, run.work) if reading is None else reading.joules
    record = Record(
        seconds={**plan.seconds, **run.seconds, "total": total},
        peak_bytes=max(memory.bytes + held, prepared.probe_bytes + prepared.copied_bytes),
        memory_source=memory.method,
        joules=joules.median,
        energy_source="modelled" if reading is None else reading.source,
        attempts=tuple(run.attempts),
    )
    if run.best is None:
        tried = "; ".join(f"{a.label} {a.outcome}" for a in run.attempts)
        if run.out_of_memory:
            raise BudgetExceeded(f"memory ran out: {tried}", resource="memory", plan=plan)
        raise CertificationFailed(f"no algorithm came to an answer: {tried}", tried=tuple(run.attempts))
    outcome, certificate = run.best
    value = finish(kind, outcome.value, prepared)
    limits = Limits.of(plan.budget, plan.target, plan.seconds.get("probe", 0.0), held)
    kept = plan.chosen.feasible or only_accuracy_speaks_against(plan.chosen, limits)
    met = (done or certificate.satisfied) and kept
    solution = Solution(value, certificate, "certified" if met else "best_effort", plan, record)
    if not done and not certificate.satisfied and plan.budget.on_infeasible == "raise" and escalate:
        tried = "; ".join(f"{a.label}: {a.outcome}" for a in run.attempts)
        raise CertificationFailed(
            f"accuracy {plan.target:.1e} could not be certified; the best answer has {certificate.metric} at most"
            f" {certificate.bound:.1e} and is attached as .solution. Tried: {tried}",
            solution=solution,
            tried=tuple(run.attempts),
        )
    return solution


def entries_of(plan: Plan) -> list[Entry]:
    """The plan's candidates with their algorithms and options, rebuilt from the registry.

    Raises
    ------
    PlanError
        If the registry no longer has one of the candidates that can be run.
    """
    kind = kind_of(plan.task.kind)
    margins: dict[str, set[float]] = {}
    for candidate in plan.candidates:
        margins.setdefault(candidate.algorithm, set()).add(candidate.margin)
    known: dict[str, tuple[Any, Any]] = {}
    for algorithm in kind.algorithms:
        for margin in margins.get(algorithm.name, ()):
            aim = replace(plan.task, target=plan.task.target / margin)
            for options in algorithm.options(aim, plan.evidence):
                known[algorithm.label(options)] = algorithm, options
    entries = []
    for candidate in plan.candidates:
        if candidate.label in known:
            entries.append(Entry(candidate, *known[candidate.label]))
        elif candidate.feasible or candidate.label == plan.chosen.label:
            raise PlanError(f"this autonla has no candidate {candidate.label!r}; make the plan again")
    return entries


def run_plan(plan: Plan, problem: Problem | None, candidate: Candidate | str | None) -> Solution:
    """`Plan.run`: see there."""
    from .fast_path import is_empty, solve_empty

    operands = plan._problem if problem is None else problem
    if plan.chosen.algorithm == "empty" and operands is not None and is_empty(operands):
        return solve_empty(operands, plan.budget)
    if problem is not None:
        prepared = _bind(plan, problem)
    elif plan._prepared is not None:
        prepared = plan._prepared
    else:
        raise PlanError("this plan was read from a file and holds no operands; give run() the problem")
    if candidate is not None:
        label = candidate if isinstance(candidate, str) else candidate.label
        chosen = plan.candidate(label)
        if chosen.forecast is None:
            raise PlanError(f"candidate {label!r} cannot be run here: {chosen.reason}")
        plan = replace(plan, chosen=chosen)
    entries = plan._entries or entries_of(plan)
    if kind_of(plan.task.kind).small(plan.task):
        solution = _run_directly(plan, entries, prepared)
        if solution is not None:
            return solution
    from .planning import machine_of

    plan = replace(plan, seconds={"probe": 0.0, "plan": 0.0}, _prepared=prepared)
    return execute(plan, entries, machine_of(None).profile, escalate=candidate is None)


def _run_directly(plan: Plan, entries: Sequence[Entry], prepared: Prepared) -> Solution | None:
    """The chosen candidate without meters, for problems too small to be worth them; None if it must escalate."""
    started = time.perf_counter()
    kind, budget = kind_of(plan.task.kind), plan.budget
    entry = next(e for e in entries if e.candidate.label == plan.chosen.label)
    try:
        outcome, certificate, ran, certified = run_and_certify(
            kind, prepared, entry, plan.metric, budget.accuracy, budget.confidence
        )
    except Breakdown:
        return None
    if not certificate.satisfied:
        return None
    value = finish(kind, outcome.value, prepared)
    total = time.perf_counter() - started
    return Solution(value, certificate, "certified", plan, lambda: small_record(entry, outcome, ran, certified, total))


def small_record(entry: Entry, outcome: Outcome, ran: float, certified: float, total: float) -> Record:
    """The record of a run without meters; its energy is modelled."""
    from .planning import machine_of

    joules = machine_of(None).profile.energy.idle_watts * total
    return Record(
        seconds={"probe": 0.0, "plan": 0.0, "run": ran, "certify": certified, "total": total},
        peak_bytes=None,
        memory_source="not measured: the problem is small",
        joules=joules,
        energy_source="modelled",
        attempts=(Attempt(entry.candidate.label, ran + certified, "certified", None, dict(outcome.details)),),
    )


def _bind(plan: Plan, problem: Problem) -> Prepared:
    """Operands of a problem of the same kind, shape and dtype as the planned one, checked and scaled."""
    task = plan.task
    kind = kind_of(task.kind)
    if problem.kind != task.kind or not problem.dense:
        raise PlanError(f"the plan is for a {kind.describe(task)}, not for {problem!r}")
    fresh = kind.task(problem, task.target, task.seed)
    if _shape(fresh) != _shape(task):
        raise PlanError(f"the problem does not fit the plan: {kind.describe(fresh)}; planned: {kind.describe(task)}")
    if task.structure != fresh.structure:
        fresh = replace(fresh, structure=task.structure, bandwidth=task.bandwidth)
    prepared = prepare(problem, fresh)
    # The norms are the new problem's own; what else the probes found is taken to hold, and the certificate decides.
    evidence = prepared.evidence
    if plan.evidence.condition.high < math.inf or plan.evidence.singular_values or task.m != task.n:
        evidence = replace(plan.evidence, norm_fro=evidence.norm_fro, norm_2=None)
    prepared.evidence = evidence
    return prepared


def _shape(task: Task) -> tuple[Any, ...]:
    """What a plan is bound to; the ridge and the memory order may change."""
    return task.m, task.n, task.nrhs, task.dtype, task.library, task.device, task.rank, task.center
