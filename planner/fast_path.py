"""Small and empty problems, where planning would take longer than solving.

A small problem goes straight to LAPACK and is certified like any other; the plan is written down only when somebody
asks for it. If the certificate fails, the full planner takes over.
"""

from __future__ import annotations

import time
from typing import Any

from ..primitives.algorithm import Breakdown
from ..primitives.evidence import Evidence, Finding
from ..primitives.task import Task
from .budget import Budget
from .candidates import Entry, Limits, enumerate_entries
from .certificate import Certificate
from .execution import finish, run_and_certify, small_record
from .kinds import Kind
from .plans import Candidate, Plan
from .prepare import Prepared, prepare
from .problems import Problem
from .solution import LowRankFactors, Record, Solution

_SHORTEST_LATENCY = 5e-3
_DECLARED = (None, "general", "spd", "symmetric")


def solve_small(kind: Kind, problem: Problem, budget: Budget, seed: int) -> Solution | None:
    """LAPACK's answer to a small problem with its certificate; None if the full planner must decide."""
    if budget.memory is not None or (budget.latency is not None and budget.latency < _SHORTEST_LATENCY):
        return None
    if getattr(problem, "assume", None) not in _DECLARED:
        return None
    started = time.perf_counter()
    task = kind.task(problem, budget.accuracy or 0.0, seed)
    if not kind.small(task):
        return None
    prepared = prepare(problem, task)
    algorithm, options = kind.small_default(task)
    entry = Entry(
        Candidate(algorithm.label(options), algorithm.name, algorithm.title, None, True, ""),
        algorithm,
        options,
    )
    try:
        outcome, certificate, ran, certified = run_and_certify(
            kind, prepared, entry, problem.metric or "", budget.accuracy, budget.confidence
        )
    except Breakdown:
        return None
    if not certificate.satisfied:
        return None
    value = finish(kind, outcome.value, prepared)
    total = time.perf_counter() - started
    return Solution(
        value,
        certificate,
        "certified",
        lambda: _plan_afterwards(kind, problem, budget, prepared, entry),
        lambda: small_record(entry, outcome, ran, certified, total),
    )


def _plan_afterwards(kind: Kind, problem: Problem, budget: Budget, prepared: Prepared, entry: Entry) -> Plan:
    """The plan that the fast path followed, with what the other candidates were forecast to cost."""
    from .planning import machine_of

    task: Task = prepared.task
    target = budget.accuracy or kind.lapack_target(task, prepared.evidence)
    machine = machine_of(None)
    limits = Limits.of(budget, target, 0.0)
    entries = enumerate_entries(kind, task, prepared.evidence, machine.profile, limits)
    entries.sort(key=lambda e: e.candidate.label != entry.candidate.label)
    finding = Finding("none", "nothing was probed: LAPACK takes about as long as planning would")
    return Plan(
        task=task,
        budget=budget,
        metric=problem.metric or "",
        target=target,
        evidence=Evidence(norm_fro=prepared.evidence.norm_fro, findings=(finding,)),
        candidates=tuple(e.candidate for e in entries),
        chosen=entries[0].candidate,
        profile=machine.description,
        notes=("the problem is small: LAPACK was called at once and its answer certified",),
        seconds={"probe": 0.0, "plan": 0.0},
        _problem=problem,
        _prepared=prepared,
        _entries=tuple(entries),
    )


def is_empty(problem: Problem) -> bool:
    """Whether A has no entries, or b no columns."""
    return problem.dense and (0 in problem.shape or getattr(problem, "right_hand_sides", 1) == 0)


def solve_empty(problem: Problem, budget: Budget) -> Solution:
    """The answer to a problem whose A has no entries, or whose b has no columns: zeros, or factors of rank zero."""
    A, b, dtype = problem.working()
    m, n = problem.shape
    value: Any
    if problem.kind == "low_rank":
        value = LowRankFactors(A[:, :0], A[:0, :].reshape(-1)[:0], A[:0, :])
        if m == 0:
            value = LowRankFactors(A[:, :0].reshape(0, 0), A.reshape(-1)[:0], A[:0, :])
        else:
            value = LowRankFactors(
                A.reshape(m, 0), A.reshape(-1)[:0], A.T[:0, :].reshape(0, n) if n else A.reshape(0, 0)
            )
    else:
        columns = tuple(b.shape[1:])
        value = _zeros_like(b, (n, *columns))
    certificate = Certificate(problem.metric or "", 0.0, 0.0, 1.0, "nothing was to be computed", budget.accuracy, True)
    candidate = Candidate("empty", "empty", "nothing to compute", None, True, "")
    task = Task(problem.kind, m, n, dtype=dtype, library=problem.access, device=problem.device)
    plan = Plan(
        task=task,
        budget=budget,
        metric=problem.metric or "",
        target=budget.accuracy or 1.0,
        evidence=Evidence(findings=(Finding("none", "the operands have no entries"),)),
        candidates=(candidate,),
        chosen=candidate,
        profile="no profile was needed",
        seconds={"probe": 0.0, "plan": 0.0},
        _problem=problem,
    )
    record = Record(
        {"probe": 0.0, "plan": 0.0, "run": 0.0, "certify": 0.0, "total": 0.0}, None, "", 0.0, "modelled", ()
    )
    return Solution(value, certificate, "certified", plan, record)


def _zeros_like(b: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape in b's library, dtype and device."""
    import array_api_compat

    xp = array_api_compat.array_namespace(b)
    return xp.zeros(shape, dtype=b.dtype, device=array_api_compat.device(b))
