"""Small and empty problems, and what is worth trying at once: where planning would take longer than solving.

What a kind names goes ahead without a plan and is certified like anything else; the plan is written down only when
somebody asks for it. Where no certificate holds, the full planner takes over, knowing what the attempts have taught.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from ..cost_models.price import Pool, Unpriced, price
from ..primitives.algorithm import Algorithm, Breakdown
from ..primitives.evidence import Evidence, Finding
from ..primitives.task import Task
from .attempts import Attempts, library_errors
from .budget import Budget
from .candidates import Entry, Limits, enumerate_entries
from .certificate import Certificate
from .execution import unmetered
from .kinds import Kind
from .planning import ByIdentity, machine_of
from .plans import Candidate, Plan
from .prepare import checked_norm, prepare
from .problems import Problem
from .solution import LowRankFactors, Record, Solution

_WORTH_ASKING = 150_000  # entries of A from which one library may be much faster than another
_KEEP = 0.9  # by so much another one must be forecast to be faster: waking its threads costs time
_DECLARED = (None, "general", "spd", "symmetric")


def solve_at_once(kind: Kind, problem: Problem, budget: Budget, seed: int) -> Solution | Attempts | None:
    """The answer with its certificate, or what was tried in vain; None if planning is to decide from the start."""
    if budget.memory is not None or budget.energy is not None or budget.minimize != "latency":
        return None
    if getattr(problem, "assume", None) not in _DECLARED:
        return None
    started = time.perf_counter()
    stated = kind.task(problem, budget.accuracy or 0.0, seed)
    if budget.latency is not None and budget.latency < kind.longest_at_once(stated):
        return None
    A = problem.working()[0]  # in a dtype that can be looked at
    task = kind.guess(stated, A)
    candidates = iter(kind.at_once(task, A))
    first = next(candidates, None)
    if first is None:
        return None
    prepared = prepare(problem, task, later=first[0].unchecked)
    run = Attempts(kind, prepared, budget, problem.metric or "", started)
    for algorithm, options in chain((first,), candidates):
        if run.tried and budget.latency is not None:  # planning knows what still fits
            break
        if task.m * task.n >= _WORTH_ASKING and "torch" in sys.modules:
            profile = ByIdentity(machine_of(None).profile)
            awake = run.tried[-1].options.backend if run.tried else ""
            options = _on_the_fastest_library(algorithm, options, replace(task, seed=0), profile, Pool(awake))
        try:
            with library_errors():
                worth_trying, run.prepared.evidence, by_products = kind.glance(
                    run.prepared.A, run.prepared.b, task, run.prepared.evidence, algorithm, options
                )
        except (Breakdown, MemoryError):
            continue
        if not worth_trying:
            continue
        run.prepared.by_products |= by_products
        candidate = Candidate(algorithm.label(options), algorithm.name, algorithm.title, None, True, "")
        if run.attempt(Entry(candidate, algorithm, options)):
            return unmetered(run, lambda: _plan_afterwards(run, problem))
    run.prepared.task = replace(run.prepared.task, structure=stated.structure, bandwidth=stated.bandwidth)
    return run


@lru_cache(maxsize=512)
def _on_the_fastest_library(algorithm: Algorithm, options: Any, task: Task, profile: ByIdentity, pool: Pool) -> Any:
    """The options with the library that is forecast to be fastest, remembered for the shape."""
    priced = []
    own = "torch" if task.library == "torch" else options.backend
    for other in algorithm.options(task, Evidence()):
        if other.dtype == options.dtype and replace(other, backend=options.backend) == options:
            with contextlib.suppress(Unpriced):
                seconds = price(algorithm.work(task, Evidence(), other), profile.profile, pool=pool).seconds.median
                priced.append((_KEEP * seconds if other.backend == own else seconds, other.backend, other))
    return min(priced)[2] if priced else options


def _plan_afterwards(run: Attempts, problem: Problem) -> Plan:
    """The plan that the fast path followed, with what the other candidates were forecast to cost."""
    kind, budget, prepared, entry = run.kind, run.budget, run.prepared, run.tried[-1]
    evidence = kind.known(prepared.task, prepared.evidence)
    target = budget.accuracy or kind.lapack_target(prepared.task, evidence)
    task: Task = replace(prepared.task, target=target)
    machine = machine_of(None)
    limits = Limits.of(budget, target, 0.0)
    entries = enumerate_entries(kind, task, evidence, machine.profile, limits)
    entries.sort(key=lambda e: e.candidate.label != entry.candidate.label)
    guessed = task.structure != kind.task(problem, 0.0, 0).structure
    glanced = prepared.evidence.findings
    nothing = "nothing more" if glanced else "nothing"
    seen, why = f"{nothing} was probed: trying takes about as long", "trying beats planning here"
    if guessed:
        seen = f"a few rows make A look {task.structure}, and the certificate has read all of it"
        why = f"A looked {task.structure}"
    finding = Finding("none", f"{seen} ({entry.algorithm.title})")
    return Plan(
        task=task,
        budget=budget,
        metric=problem.metric or "",
        target=target,
        evidence=Evidence(norm_fro=prepared.evidence.norm_fro, findings=(*glanced, finding)),
        candidates=tuple(e.candidate for e in entries),
        chosen=entries[0].candidate,
        profile=machine.description,
        notes=(f"{why}: {entry.algorithm.title} ran at once and its answer was certified",),
        seconds={"probe": 0.0, "plan": 0.0},
        _problem=problem,
        _prepared=prepared,
        _entries=tuple(entries),
    )


def is_empty(problem: Problem) -> bool:
    """Whether A has no entries, or b no columns."""
    return problem.access != "dask" and (0 in problem.shape or getattr(problem, "right_hand_sides", 1) == 0)


def solve_empty(problem: Problem, budget: Budget) -> Solution:
    """The answer to a problem whose A has no entries, or whose b has no columns: zeros, or factors of rank zero.

    Raises
    ------
    NonFiniteInput
        If what there is of A or b is not finite.
    """
    A, b, dtype = problem.working()
    for argument, operand in (("A", A), ("b", b)):
        if operand is not None and not (argument == "A" and problem.access == "operator"):
            checked_norm(argument, operand)
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
    elif b is None:  # a function of a matrix of order zero
        value = _zeros_like(A, (0, 0)) if problem.dense else np.zeros((0, 0), dtype=dtype)
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
