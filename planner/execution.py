"""Run a plan: the chosen candidate, its certificate, and what follows when the certificate fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..cost_models.energy import EnergyMeter, modelled
from ..cost_models.memory import PeakMemory
from ..cost_models.price import Pool
from ..primitives.algorithm import Breakdown
from ..primitives.kernels import library
from ..primitives.norms import norm
from ..primitives.task import Task
from ..primitives.work import Work
from ..profiles import HardwareProfile
from ..profiles.errors import BudgetExceeded, CertificationFailed, InvalidProblem, PlanError
from .attempts import Attempts, library_errors
from .candidates import (
    Entry,
    Limits,
    enumerate_entries,
    forecast_seconds,
    only_accuracy_speaks_against,
    show_seconds,
)
from .kinds import Kind, kind_for, kind_of
from .learning import remember
from .operand import dtype_name
from .plans import Candidate, Plan
from .prepare import Prepared, check, prepare, scaling_note
from .problems import Problem
from .solution import Record, Solution

_SMALL_PART = 0.05  # of the time of a surer candidate
_SMALLEST_NORMAL = {"float64": 2.0**-1022, "float32": 2.0**-126}


def to_library(value: Any, task: Task) -> Any:
    """An array of any CPU library as one of the problem's own library, device and dtype."""
    name = task.library
    if name == "numpy":
        array = value if hasattr(value, "flags") else library("torch").to_numpy(value)
        return array if dtype_name(array) == task.dtype else array.astype(task.dtype)
    array = library(name).asarray(value)
    return array if str(array.dtype).endswith(task.dtype) else library(name).astype(array, task.dtype)


@contextmanager
def typed_errors(plan: Plan | None = None) -> Iterator[None]:
    """What libraries raise inside the block, as errors of ours.

    Raises
    ------
    BudgetExceeded
        Where memory runs out, with the plan if there is one.
    CertificationFailed
        Where a routine fails on the numbers, outside of any attempt that another could follow.
    """
    try:
        with library_errors():
            yield
    except MemoryError as error:
        raise BudgetExceeded(f"memory ran out: {error}", resource="memory", plan=plan) from error
    except Breakdown as error:
        raise CertificationFailed(f"no algorithm came to an answer: {error}") from error


def finish(kind: Kind, value: Any, task: Task, exponents: tuple[int, int]) -> Any:
    """What the user gets: own library and dtype, scaled back. Raises InvalidProblem where that cannot be written.

    `exponents` are those by which A and b were scaled when the value was computed.
    """
    factors = isinstance(value, tuple)
    scaled: Any = kind.named(*(to_library(part, task) for part in value)) if factors else to_library(value, task)
    if not any(exponents):
        return scaled
    with np.errstate(over="ignore", under="ignore"):
        value = kind.unscale(scaled, task, *exponents)
    if factors:
        value = kind.named(*value)
    if not _can_be_written(kind.sizes(value), kind.sizes(scaled), task.dtype):
        raise InvalidProblem(
            f"the solution is beyond the range of {task.dtype}; divide A or b by a constant",
            argument="b",
        )
    return value


def _can_be_written(value: Any, scaled: Any, dtype: str) -> bool:
    """Whether every column of an answer has the digits that it had when it was certified, scaled.

    What overflows, or is rounded to the coarse grid below the smallest normal number, has not.
    """
    columns = zip(value.T, scaled.T, strict=True) if value.ndim == 2 else [(value, scaled)]
    return all(_SMALLEST_NORMAL[dtype] <= norm(v) < math.inf or norm(c) == 0.0 for v, c in columns)


def _order_after(entries: Sequence[Entry]) -> list[Entry]:
    """What to try after a failure: the feasible ones by expected cost, then the safe ones, then the rest by error.

    The safe ones are about as accurate as each other: those that are as likely to fail go by their time.
    """

    def key(entry: Entry) -> tuple[bool, float, float]:
        candidate = entry.candidate
        assert candidate.forecast is not None
        seconds = candidate.forecast.seconds.median
        if entry.algorithm.safe:
            return False, round(candidate.failure, 1), seconds
        return True, candidate.forecast.error.median, seconds

    rest = [e for e in entries if e.candidate.forecast is not None]
    return [e for e in rest if e.candidate.feasible] + sorted((e for e in rest if not e.candidate.feasible), key=key)


def _next(run: Attempts, left: Sequence[Entry]) -> Entry | None:
    """The first that may follow; what was thought as likely to fail as what has failed comes after what was not.

    Forecasts of error rest on the same guess at the data, which the failure speaks against; what takes a small part of
    the time of the surer one is tried all the same. Where memory ran out, those that need less of it come first.
    """
    least = min((e.candidate.failure for e in run.failed), default=1.0)
    able = [e for e in left if run.may_follow(e)]
    if run.out_of_memory:
        able = [e for e in able if e.candidate.forecast and e.candidate.forecast.bytes.median < run.too_large] or able
    sure = next((e for e in able if e.candidate.failure < least), None)
    if sure is None:
        return able[0] if able else None
    limit = _SMALL_PART * forecast_seconds(sure.candidate)
    return next((e for e in able if e.candidate.feasible and forecast_seconds(e.candidate) <= limit), sure)


def _escalate(run: Attempts, entries: Sequence[Entry], plan: Plan, profile: HardwareProfile) -> bool:
    """Try one candidate after the other; what a failure teaches changes the forecasts of those that are left."""
    left = _order_after(entries)
    while True:
        if run.learned:
            run.learned = False
            limits = Limits.of(plan.budget, plan.target, time.perf_counter() - run.started, run.held_bytes)
            left = _order_after(
                enumerate_entries(
                    run.kind,
                    run.prepared.task,
                    run.prepared.evidence,
                    profile,
                    limits,
                    frozenset(run.prepared.by_products),
                    pool=Pool(run.failed[-1].options.backend),
                )
            )
        entry = _next(run, left)
        if entry is None and run.too_narrow > 0:  # nothing wider is left: what is narrow may do better after all
            run.too_narrow = 0
            continue
        if entry is None:
            return False
        left.remove(entry)
        if run.attempt(entry):
            return True


def execute(
    plan: Plan,
    entries: Sequence[Entry],
    profile: HardwareProfile,
    *,
    escalate: bool = True,
    before: Attempts | None = None,
    recorded: bool = True,
) -> Solution:
    """Run the chosen candidate of a plan and certify it; escalate while the budget lasts.

    Parameters
    ----------
    before : Attempts, optional
        What was tried before there was a plan.
    recorded : bool
        Whether a success at the first attempt is recorded: the forecasts must be those of `profile`, for this run.

    Raises
    ------
    CertificationFailed
        If no answer could be certified and the budget says "raise"; it carries the best one.
    BudgetExceeded
        If memory ran out and nothing else was left to try; if the latency was exceeded and the budget says "raise", or
        there is no answer. It carries the best one.
    """
    started = time.perf_counter()
    prepared: Prepared = plan._prepared
    kind = kind_of(plan.task.kind)
    first = next(e for e in entries if e.candidate.label == plan.chosen.label)
    run = before or Attempts(kind, prepared, plan.budget, plan.metric, started - sum(plan.seconds.values()))
    if run.prepared is prepared:  # the plan was made with what was tried before it
        run.prepared, run.learned = replace(prepared, by_products=dict(prepared.by_products)), False
    done = False
    held = prepared.held_bytes
    strict = escalate and plan.budget.strict
    no_time = strict and run.left() <= 0.0
    with EnergyMeter(device=plan.task.device) as energy, PeakMemory() as memory:
        if not no_time:
            tried_before = any(e.candidate.label == first.candidate.label for e in run.tried)
            done = not tried_before and run.attempt(first)
            done = done or (escalate and _escalate(run, entries, plan, profile))
    late = run.late or (not done and run.left() <= 0.0)
    ended = time.perf_counter()
    if recorded and done and len(run.attempts) == 1:
        remember(plan.task, first, profile, run.seconds["run"], run.seconds["certify"], memory)
    total = ended - run.started
    reading = energy.reading
    joules = modelled(profile.energy, total, _work(run)) if reading is None else reading.joules
    record = Record(
        seconds={**plan.seconds, **run.seconds, "total": total},
        peak_bytes=max(memory.bytes + held, prepared.probe_bytes + run.prepared.copied_bytes),
        memory_source=memory.method,
        joules=joules.median,
        energy_source="modelled" if reading is None else reading.source,
        attempts=tuple(run.attempts),
    )
    if late:
        plan = replace(plan, notes=(_late(run, total), *plan.notes))
    if run.best is None:
        everything = {"plan": plan, "tried": tuple(run.attempts)}
        if run.out_of_memory:
            raise BudgetExceeded(f"memory ran out: {_tried(run)}", resource="memory", **everything)
        if late:
            message = f"no answer in time: {plan.notes[0]}. {_tried(run)}"
            raise BudgetExceeded(message, resource="latency", **everything)
        raise CertificationFailed(
            f"no algorithm came to an answer{_diagnosis(run)}. Tried: {_tried(run)}", tried=tuple(run.attempts)
        )
    outcome, certificate = run.best
    if run.prepared.exponent_A != prepared.exponent_A:  # it was looked at while it ran
        plan = replace(plan, notes=(*plan.notes, scaling_note(run.prepared)))
    with typed_errors(plan):
        value = finish(kind, outcome.value, run.prepared.task, run.best_exponents)
    met = (done or certificate.satisfied) and not late and _fits(plan, prepared)
    solution = Solution(value, certificate, "certified" if met else "best_effort", plan, record)
    if late and strict:
        raise _came_late(run, solution)
    if not done and not certificate.satisfied and strict:
        raise CertificationFailed(
            f"accuracy {plan.target:.1e} could not be certified; the best answer has {certificate.metric} at most"
            f" {certificate.bound:.1e} ({certificate.method}) and is attached as .solution{_diagnosis(run)}."
            f" Tried: {_tried(run)}",
            solution=solution,
            tried=tuple(run.attempts),
        )
    return solution


def _tried(run: Attempts) -> str:
    """What was tried and how it ended, in one line."""
    return "; ".join(f"{a.label}: {a.outcome}" for a in run.attempts)


def _diagnosis(run: Attempts) -> str:
    """What is wrong with the operands, where they show it and there are no limits. Raises NonFiniteInput."""
    try:
        with library_errors():
            check(run.prepared)
            # with limits, what it takes was not weighed
            why = "" if run.budget.limited else run.kind.diagnosis(run.prepared.A, run.prepared.task)
    except (Breakdown, MemoryError):
        return ""
    return f": {why}" if why else ""


def _fits(plan: Plan, prepared: Prepared) -> bool:
    """Whether the chosen candidate was forecast to keep all limits, the accuracy apart."""
    limits = Limits.of(plan.budget, plan.target, plan.seconds.get("probe", 0.0), prepared.held_bytes)
    return plan.chosen.feasible or only_accuracy_speaks_against(plan.chosen, limits)


def _late(run: Attempts, total: float) -> str:
    return f"it took {show_seconds(total)}, and {show_seconds(run.budget.latency or 0.0)} were allowed"


def _came_late(run: Attempts, solution: Solution) -> BudgetExceeded:
    """The error that hands out an answer which came too late."""
    certificate = solution.certificate
    promised = f"has {certificate.metric} at most {certificate.bound:.1e}"
    return BudgetExceeded(
        f"{_late(run, solution.record.seconds['total'])}; the answer {promised} and is attached as .solution."
        f" Tried: {_tried(run)}",
        resource="latency",
        plan=solution.plan,
        solution=solution,
        tried=tuple(run.attempts),
    )


def _work(run: Attempts) -> Work:
    """What everything that was tried asked of the machine, for the energy model."""
    task, evidence = run.prepared.task, run.prepared.evidence
    ready = frozenset(run.prepared.by_products)
    total = Work(())
    for entry in run.tried:
        total += entry.algorithm.work(task, evidence, entry.options)
        total += run.kind.certify_work(task, evidence, entry.algorithm, entry.options, ready)
    return total


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
    with typed_errors(plan):
        return _run_plan(plan, problem, candidate)


def _run_plan(plan: Plan, problem: Problem | None, candidate: Candidate | str | None) -> Solution:
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
    before = None
    if kind_of(plan.task.kind).small(plan.task) and _fits(plan, prepared):
        before = _run_directly(plan, entries, prepared, escalate=candidate is None)
        if isinstance(before, Solution):
            return before
    from .planning import machine_of

    plan = replace(plan, seconds={"probe": 0.0, "plan": 0.0}, _prepared=prepared)
    machine = machine_of(None)
    as_planned = problem is None and candidate is None and plan.profile == machine.description
    return execute(plan, entries, machine.profile, escalate=candidate is None, before=before, recorded=as_planned)


def _run_directly(plan: Plan, entries: Sequence[Entry], prepared: Prepared, *, escalate: bool) -> Solution | Attempts:
    """The chosen candidate without meters, for problems too small to be worth them; the attempt where it failed."""
    started = time.perf_counter()
    kind = kind_of(plan.task.kind)
    entry = next(e for e in entries if e.candidate.label == plan.chosen.label)
    run = Attempts(kind, prepared, plan.budget, plan.metric, started)
    return unmetered(run, plan, strict=escalate) if run.attempt(entry) else run


def unmetered(run: Attempts, plan: Plan | Callable[[], Plan], *, strict: bool = True) -> Solution:
    """The solution of a run without meters, whose last attempt was certified.

    Raises
    ------
    BudgetExceeded
        If memory runs out; if it comes late, the budget says "raise" and so does `strict`.
    """
    assert run.best is not None
    outcome, certificate = run.best
    with typed_errors():
        value = finish(run.kind, outcome.value, run.prepared.task, run.best_exponents)
    total, late = time.perf_counter() - run.started, run.late
    status = "best_effort" if late else "certified"
    solution = Solution(value, certificate, status, plan, lambda: _unmetered_record(run, total))
    if late and strict and run.budget.strict:
        raise _came_late(run, solution)
    return solution


def _unmetered_record(run: Attempts, total: float) -> Record:
    """Its energy is modelled, and its memory not known."""
    from .planning import machine_of

    joules = machine_of(None).profile.energy.idle_watts * total
    return Record(
        seconds={"probe": 0.0, "plan": 0.0, **run.seconds, "total": total},
        peak_bytes=None,
        memory_source="not measured: the run was short",
        joules=joules,
        energy_source="modelled",
        attempts=tuple(run.attempts),
    )


def _bind(plan: Plan, problem: Problem) -> Prepared:
    """Operands of a problem of the same kind, shape and dtype as the planned one, checked and scaled."""
    task = plan.task
    kind = kind_of(task.kind)
    if kind_for(problem).name != task.kind:
        raise PlanError(f"the plan is for a {kind.describe(task)}, not for {problem!r}")
    fresh = kind.task(problem, task.target, task.seed)
    if _shape(fresh) != _shape(task):
        raise PlanError(f"the problem does not fit the plan: {kind.describe(fresh)}; planned: {kind.describe(task)}")
    if task.structure != fresh.structure:
        fresh = replace(fresh, structure=task.structure, bandwidth=task.bandwidth)
    prepared = prepare(problem, fresh)
    # The norms are the new problem's own; what else the probes found is taken to hold, and the certificate decides.
    known = plan.evidence.without_by_products()
    prepared.evidence = replace(known, norm_fro=prepared.evidence.norm_fro, norm_2=None)
    return prepared


def _shape(task: Task) -> tuple[Any, ...]:
    """What a plan is bound to; the ridge and the memory order may change."""
    where = task.library, task.access, task.device
    return task.m, task.n, task.nrhs, task.dtype, where, task.rank, task.center, task.which, task.function
