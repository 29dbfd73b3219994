"""From a problem and a budget to a plan: probe what is worth probing, forecast, choose."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..cost_models.memory import PeakMemory
from ..cost_models.price import Pool, Unpriced, price
from ..primitives.algorithm import Breakdown
from ..primitives.backends import backends_for, home_backend
from ..primitives.evidence import Evidence, Finding
from ..primitives.kernels import library
from ..primitives.norms import sampled_norm
from ..primitives.task import Task
from ..primitives.tuning import Tuning
from ..primitives.work import Work
from ..profiles import HardwareProfile, completed, generic
from ..profiles import find as find_profile
from ..profiles import load as load_profile
from ..profiles.errors import InfeasibleBudget, InvalidProblem, ProfileError
from .attempts import Attempts, is_sound, library_errors
from .budget import Budget
from .candidates import (
    HOPELESS,
    Entry,
    Limits,
    Priced,
    chance_of_failure,
    enumerate_entries,
    forecast_seconds,
    frontier,
    only_accuracy_speaks_against,
    price_all,
    show_bytes,
    show_seconds,
)
from .kinds import Kind, ProbeStep, kind_for
from .learning import learned
from .plans import Candidate, Plan
from .prepare import Prepared, check, prepare, scaling_note
from .problems import Problem

RIGOR = ("estimate", "probe", "race", "exhaustive")
_CLOSE = 1.25
_FIRST = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child that is forked off meanwhile must not find it held
    os.register_at_fork(after_in_child=_FIRST._at_fork_reinit)  # pyright: ignore[reportAttributeAccessIssue]
_GLANCE_AT_NORM = 1.5  # how much larger than it looks from a few rows the norm is taken to be


@dataclass(frozen=True, slots=True)
class Machine:
    """A profile with where it came from, in words."""

    profile: HardwareProfile
    description: str


def seed_of(rng: Any) -> int:
    """The key of the random streams from what a user passes as `rng`.

    Raises
    ------
    InvalidProblem
        If `rng` is neither None, a non-negative integer nor a numpy Generator.
    """
    if rng is None:
        return int.from_bytes(os.urandom(8)) >> 1
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if hasattr(rng, "__index__") and not isinstance(rng, bool) and 0 <= int(rng.__index__()) < 2**63:
        return int(rng.__index__())
    raise InvalidProblem(
        f"rng = {rng!r} must be None, an integer from 0 to 2**63 - 1 or a numpy.random.Generator",
        argument="rng",
        found=repr(rng),
    )


def machine_of(profile: HardwareProfile | str | Path | None) -> Machine:
    """The profile to price on: the one given, the user's own, or the shipped one scaled by a spot check."""
    if isinstance(profile, HardwareProfile):
        return Machine(profile, f"the profile {profile.name!r}")
    if profile is not None:
        if not isinstance(profile, (str, Path)):
            raise InvalidProblem(
                f"profile is a {type(profile).__name__}; pass a HardwareProfile or the path of its file",
                argument="profile",
                found=type(profile).__name__,
            )
        loaded = load_profile(Path(profile))
        return Machine(loaded, f"the profile {loaded.name!r}")
    with _FIRST:  # several threads would each come by a profile of their own, with times of their own
        found = find_profile()
        if found.source == "shipped":
            return _scaled_generic()
        ready = _ready(ByIdentity(found.profile), found.source == "user")
    runs = sum(correction.count for correction in ready.corrections.values())
    learning = f", corrected by {runs} runs" if runs else ""
    return Machine(ready, f"the profile of this machine, measured {found.profile.created[:10]}{learning}")


def tuning_of(profile: HardwareProfile) -> Tuning:
    """The algorithms' free parameters, as a profile has them.

    Raises
    ------
    ProfileError
        If it names a parameter that there is not, or a value outside its range.
    """
    try:
        return Tuning.of({name: value for name, value in profile.tuning.items() if name != "switch_margin"})
    except ValueError as error:
        raise ProfileError(f"the tuning of the profile {profile.name!r} cannot be used: {error}") from error


class ByIdentity:
    """A profile as a key: it holds dictionaries, and hashing all of it would take longer than using it."""

    __slots__ = ("profile",)

    def __init__(self, profile: HardwareProfile) -> None:
        self.profile = profile

    def __hash__(self) -> int:
        return id(self.profile)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and self.profile is other.profile


@lru_cache(maxsize=4)
def _ready(key: ByIdentity, learning: bool) -> HardwareProfile:
    """The profile, once completed where a time limit cut it, and with what the records of earlier processes teach."""
    profile = completed(key.profile)
    return learned(profile) if learning else profile


@lru_cache(maxsize=1)
def _scaled_generic() -> Machine:
    from ..cost_models.spot_check import spot_check

    profile = generic()
    factor = spot_check(profile).factor
    return Machine(
        learned(profile.with_scale(factor)),
        f"a generic profile, scaled by {factor:.2f} after a spot check (`autonla profile` makes forecasts sharper)",
    )


def make_plan(
    problem: Problem,
    budget: Budget,
    *,
    rng: Any,
    profile: HardwareProfile,
    rigor: str,
    described: str,
    before: Attempts | None = None,
    later: bool = False,
) -> Plan:
    """The plan, its candidates in the order in which they would be tried.

    Parameters
    ----------
    before : Attempts, optional
        What was tried in vain before planning.
    later : bool
        Whether to look at A only once something is to run that needs it.

    Raises
    ------
    InvalidProblem, NonFiniteInput, DeclarationMismatch
        If the problem cannot be solved as it was stated.
    NoAlgorithm
        If nothing is registered for its kind.
    InfeasibleBudget
        If nothing is forecast to fit and the budget says "raise".
    """
    started = time.perf_counter()
    if rigor not in RIGOR:
        raise InvalidProblem(f"rigor = {rigor!r} is not one of {', '.join(RIGOR)}", argument="rigor", found=repr(rigor))
    kind = kind_for(problem)
    seed = seed_of(rng)
    gone = 0.0 if before is None else started - before.started
    if before is not None:
        prepared = before.prepared
        check(prepared)
    else:
        task = kind.task(problem, budget.accuracy or 0.0, seed)
        # a scaled copy counts against a memory limit
        prepared = prepare(problem, task, later=later and budget.memory is None)
    prepared.task = replace(prepared.task, tuning=tuning_of(profile))
    prepared.evidence = _known(kind, prepared)
    notes = [scaling_note(prepared)] if prepared.exponent_A or prepared.exponent_b else []
    if before is not None:
        notes += [f"tried before planning: {a.label}, {a.outcome}" for a in before.attempts]
        for entry in before.tried:
            work = entry.algorithm.work(prepared.task, prepared.evidence, entry.options)
            prepared.pool = _pool_after(work, profile, prepared.pool)
    probing = time.perf_counter()
    with PeakMemory() as memory:
        entries = _probe(kind, prepared, budget, profile, rigor, gone + probing - started)
    prepared.probe_bytes = float(memory.bytes)
    probed = time.perf_counter()

    task, evidence = prepared.task, prepared.evidence
    target = budget.accuracy or kind.lapack_target(task, evidence)
    floor = kind.floor(task, evidence)
    task = prepared.task = replace(task, target=target)
    ready = frozenset(prepared.by_products)
    limits = Limits.of(budget, target, gone + probed - started, prepared.held_bytes)
    if entries is None or limits.limited:
        entries = _remembered(kind, task, evidence, profile, limits, ready, prepared.pool)
    if rigor in ("race", "exhaustive"):
        entries, note = _race(kind, prepared, entries, profile, limits, everything=rigor == "exhaustive")
        notes += note
    if before is not None:
        entries = _without_failures(entries, before)
    chosen, note = _choose(entries, limits, budget, floor, kind.describe(task))
    notes += note
    notes += kind.remarks(task, evidence, chosen)
    plan = Plan(
        task=task,
        budget=budget,
        metric=problem.metric or "",
        target=target,
        evidence=evidence,
        candidates=tuple(e.candidate for e in entries),
        chosen=chosen,
        profile=described,
        notes=tuple(notes),
        seconds={"probe": probed - probing, "plan": (probing - started) + (time.perf_counter() - probed)},
        _problem=problem,
        _prepared=prepared,
        _entries=tuple(entries),
    )
    if not chosen.feasible and budget.strict and not only_accuracy_speaks_against(chosen, limits):
        raise InfeasibleBudget(
            f"no algorithm is forecast to fit the budget for this {kind.describe(task)}: {chosen.label} comes"
            f" nearest but {chosen.reason}",
            nearest=tuple(frontier(entries)),
            plan=plan,
        )
    needed = 0.0 if chosen.forecast is None else chosen.forecast.bytes.high
    if limits.memory is not None and needed > limits.memory:
        raise InfeasibleBudget(
            f"memory is a hard limit, and even {chosen.label} needs up to {show_bytes(needed)} for this"
            f" {kind.describe(task)}; {show_bytes(max(0.0, limits.memory))} are allowed",
            nearest=tuple(frontier(entries)),
            plan=plan,
        )
    if budget.accuracy is not None and budget.accuracy < floor and budget.strict:
        raise InfeasibleBudget(
            f"accuracy {budget.accuracy:.1e} is below what rounding allows for this problem in {task.dtype}:"
            f" the floor is about {floor:.1e}",
            nearest=tuple(frontier(entries)),
            plan=plan,
        )
    return plan


def _known(kind: Kind, prepared: Prepared) -> Evidence:
    """What follows from the statement of the problem; with a ridge from the norm of A, of which a glance is enough."""
    task, evidence = prepared.task, prepared.evidence
    if evidence.norm_fro is not None or not task.ridge:
        return kind.known(task, evidence)
    glance = replace(evidence, norm_fro=_GLANCE_AT_NORM * sampled_norm(prepared.A, task.seed))
    return replace(kind.known(task, glance), norm_fro=None)


def all_candidates(
    problem: Problem, budget: Budget, profile: HardwareProfile, seed: int
) -> tuple[Prepared, list[Entry]]:
    """Every candidate as it stands once all probes have run, whatever they cost: what hindsight may choose from."""
    kind = kind_for(problem)
    prepared = prepare(problem, kind.task(problem, budget.accuracy or 0.0, seed))
    prepared.task = replace(prepared.task, tuning=tuning_of(profile))
    prepared.evidence = kind.known(prepared.task, prepared.evidence)
    _probe(kind, prepared, budget, profile, "exhaustive", 0.0)
    target = budget.accuracy or kind.lapack_target(prepared.task, prepared.evidence)
    prepared.task = replace(prepared.task, target=target)
    prepared.by_products, prepared.evidence = {}, prepared.evidence.without_by_products()
    limits = Limits.of(budget, target, 0.0, prepared.held_bytes)
    return prepared, enumerate_entries(kind, prepared.task, prepared.evidence, profile, limits)


def _without_failures(entries: list[Entry], before: Attempts) -> list[Entry]:
    """The entries, those that have failed already marked and last."""
    failed = [e.candidate.feasible and before.has_failed(e) for e in entries]
    again = [
        replace(e, candidate=replace(e.candidate, feasible=False, reason="it was tried before planning, and failed"))
        for e, marked in zip(entries, failed, strict=True)
        if marked
    ]
    return [e for e, marked in zip(entries, failed, strict=True) if not marked] + again


def _probe(
    kind: Kind, prepared: Prepared, budget: Budget, profile: HardwareProfile, rigor: str, spent: float
) -> list[Entry] | None:
    """Run the probes that are worth their price; fills in prepared.task, .evidence and .by_products.

    Returns the candidates as they stand, where the last decision has needed them and nothing has changed since.
    """
    entries = None
    for step in kind.probes:
        task, evidence = prepared.task, prepared.evidence
        if not step.applies(task, evidence):
            continue
        if not step.always:
            if rigor == "estimate":
                continue
            target = budget.accuracy or kind.lapack_target(task, evidence)
            limits = Limits.of(budget, target, spent, prepared.held_bytes)
            task = replace(task, target=target)
            if entries is None:
                ready = frozenset(prepared.by_products)
                entries = _remembered(kind, task, evidence, profile, limits, ready, prepared.pool)
        backends = _probing_backends(task, entries)
        if not step.always and rigor != "exhaustive":
            assert entries is not None
            asked = kind, step, task, evidence, profile, limits, prepared, entries
            saved = {backend: _saved(*asked, backend) for backend in backends}
            backends = sorted((b for b in backends if saved[b] > 0.0), key=lambda b: -saved[b])
            if not backends:
                continue
        backend = backends[0]
        started = time.perf_counter()
        if not step.unchecked:
            check(prepared, library(backend))
            evidence = prepared.evidence
        try:
            with library_errors(), np.errstate(all="ignore"):
                more = {"by_products": prepared.by_products} if step.goes_on else {}
                task, evidence, by_products = step.run(prepared.A, prepared.b, prepared.task, evidence, backend, **more)
            if not (_can_be(evidence) and all(map(is_sound, by_products.values()))):
                raise Breakdown("what it found is not finite")
        except (Breakdown, MemoryError) as error:  # planning does without
            gave_up = Finding(step.name, f"the {step.name} probe gave up: {error}")
            task, by_products = prepared.task, {}
            evidence = replace(prepared.evidence, findings=(*prepared.evidence.findings, gave_up))
        entries = None
        seconds = time.perf_counter() - started
        spent += seconds
        work = step.work(prepared.task, prepared.evidence, backend)
        prepared.pool = _pool_after(work, profile, prepared.pool)
        prepared.task = task
        prepared.evidence = _with_price(evidence, step.name, seconds, len(prepared.evidence.findings))
        prepared.by_products.update(by_products)
    return entries


def _can_be(evidence: Evidence) -> bool:
    """Whether no number in it is NaN, and none infinite that is a measure of the data."""
    plain = evidence.norm_fro, evidence.tail_energy, evidence.small_fraction, evidence.effective_rank
    measured = evidence.norm_2, evidence.residual, evidence.solution, evidence.coherence
    lows = [interval.low for interval in measured if interval is not None]
    intervals = [interval for interval in (*measured, evidence.condition, evidence.scaled_condition) if interval]
    ends = [end for interval in intervals for end in (interval.median, interval.low, interval.high)]
    finite = all(math.isfinite(x) for x in (*plain, *evidence.singular_values, *lows) if x is not None)
    return finite and not any(map(math.isnan, ends))


def _pool_after(work: Work, profile: HardwareProfile, pool: Pool) -> Pool:
    """Whose threads some work leaves awake."""
    try:
        return price(work, profile, pool=pool).pool
    except Unpriced:
        return pool


def _with_price(evidence: Evidence, probe: str, seconds: float, known: int) -> Evidence:
    """The evidence with the probe's measured price on its first new finding."""
    new = evidence.findings[known:]
    if not new:
        return evidence
    priced = Finding(probe, new[0].sentence, seconds)
    return replace(evidence, findings=(*evidence.findings[:known], priced, *(replace(f, probe=probe) for f in new[1:])))


def _probing_backends(task: Task, entries: list[Entry] | None) -> list[str]:
    """The libraries a probe may run in: first that of the best candidate so far, for it to find its threads awake.

    Then those of others that come close, for what the probe finds may make one of them the best.
    """
    able = backends_for(task, ("scipy", "torch"))
    best = _best(entries) if entries else None
    if entries is None or best is None:
        likely = entries[0].options.backend if entries else ""
        return [likely if likely in able else home_backend(task)]
    close = (e for e in entries if e.candidate.feasible and e.candidate.cost <= _CLOSE * best.candidate.cost)
    found = dict.fromkeys(e.options.backend for e in (best, *close) if e.options.backend in able)
    return list(found) or [home_backend(task)]


def _saved(
    kind: Kind,
    step: ProbeStep,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    limits: Limits,
    prepared: Prepared,
    entries: list[Entry],
    backend: str,
) -> float:
    """Value of information: how much more the probe saves, in the mean over its outcomes, than it costs [s].

    What is saved is the difference between the choice made without it and the one made with it: what would not change
    the choice is worth nothing. `entries` are the candidates as they stand without it.
    """
    work = step.work(task, evidence, backend)
    try:
        priced = price(work, profile, pool=prepared.pool)
    except Unpriced:
        return -math.inf
    cost = priced.seconds.median + step.thin_calls * profile.python_overhead_seconds
    if limits.memory is not None and work.peak_bytes > limits.memory:
        return -math.inf
    if limits.latency is not None and cost > limits.latency:
        return -math.inf
    ready = frozenset(prepared.by_products)
    now, gain = _best(entries), 0.0
    if now is not None and cost >= max(now.candidate.cost, forecast_seconds(now.candidate)):  # no more can be saved
        return -math.inf
    # Forecasts of the same algorithm through other libraries move together: the fastest stands for them.
    fastest = None if now is None or limits.limited else _fastest(entries)
    for chance, known in step.outcomes(task, _regardless_of_scale(evidence)):
        found = _remembered(kind, task, known, profile, limits, ready, priced.pool, fastest, supposed=True)
        then = _best(found)
        if now is None:
            if then is not None:
                return math.inf
            continue
        if _goes_wrong(now, kind, task, known, ready):  # its time is lost, no more often than it is taken to fail
            gain += min(chance, now.candidate.failure) * forecast_seconds(now.candidate)
        elif then is not None:
            gain += chance * max(0.0, _cost_of(now, found, kind) - then.candidate.cost)
    return gain - cost


def _best(entries: list[Entry]) -> Entry | None:
    """The feasible candidate of least expected seconds to a certified answer."""
    return min((e for e in entries if e.candidate.feasible), key=lambda e: e.candidate.cost, default=None)


def _goes_wrong(choice: Entry, kind: Kind, task: Task, evidence: Evidence, ready: frozenset[str]) -> bool:
    """Whether a choice made without the evidence is likely to fail where it holds."""
    algorithm, options = choice.algorithm, choice.options
    margin = kind.margin(task, evidence, algorithm, ready)
    aim = replace(task, target=task.target / margin)
    if algorithm.applies(aim, evidence, options) is not None:
        return True
    error, breaks = algorithm.error(aim, evidence, options) * margin, algorithm.breakdown(aim, evidence, options)
    return chance_of_failure(breaks, error, task.target) > HOPELESS


def _cost_of(choice: Entry, entries: list[Entry], kind: Kind) -> float:
    """Expected seconds of a choice made without knowing what `entries` know.

    It pays neither for what the probe holds nor for the threads that the probe leaves awake: no more than it did, but
    where its iterations are what the probe tells.
    """
    same = [e.candidate for e in entries if e.candidate.label == choice.candidate.label]
    if kind.probes_count_iterations and same and same[0].feasible:
        return same[0].cost
    return min(c.cost for c in (*same, choice.candidate) if c.feasible)


def _remembered(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    limits: Limits,
    ready: frozenset[str],
    pool: Pool,
    only: frozenset[tuple[str, str]] | None = None,
    *,
    supposed: bool = False,
) -> list[Entry]:
    """`enumerate_entries`, remembered for problems of the same shape as long as the data have no say.

    Forecasts do not depend on the scale of A or on the seed; once a probe has seen singular values, condition or
    residual they are made anew, unless that is only `supposed`, as it is each time. What limits judge is judged anew.
    """
    seen = evidence.norm_2 is not None or evidence.residual is not None or evidence.numerical_rank is not None
    if seen and not supposed:
        return enumerate_entries(kind, task, evidence, profile, limits, ready, pool=pool, only=only)
    task, evidence = replace(task, seed=0), _regardless_of_scale(evidence)
    key, state = ByIdentity(profile), _state(kind)
    if limits.limited:

        def pricing(task: Task) -> Sequence[Priced]:
            return _priced(kind, task, evidence, key, ready, pool, only, state)

        return enumerate_entries(kind, task, evidence, profile, limits, ready, pricing=pricing)
    return list(_enumerated(kind, task, evidence, key, limits, ready, pool, only, state))


def _state(kind: Kind) -> tuple[object, ...]:
    """What else forecasts depend on: the algorithms that are registered, and whether torch has to be loaded."""
    return tuple(map(id, kind.algorithms)), "torch" in sys.modules


@lru_cache(maxsize=128)
def _priced(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: ByIdentity,
    ready: frozenset[str],
    pool: Pool,
    only: frozenset[tuple[str, str]] | None,
    state: object,
) -> tuple[Priced, ...]:
    return tuple(price_all(kind, task, evidence, profile.profile, ready, pool, only))


@lru_cache(maxsize=128)
def _enumerated(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: ByIdentity,
    limits: Limits,
    ready: frozenset[str],
    pool: Pool,
    only: frozenset[tuple[str, str]] | None,
    state: object,
) -> tuple[Entry, ...]:
    return tuple(enumerate_entries(kind, task, evidence, profile.profile, limits, ready, pool=pool, only=only))


def _regardless_of_scale(evidence: Evidence) -> Evidence:
    """Evidence as far as forecasts use it, where nothing has been seen of A but its norm."""
    return replace(evidence, norm_fro=1.0 if evidence.norm_fro else evidence.norm_fro, findings=())


def _fastest(entries: list[Entry]) -> frozenset[tuple[str, str]]:
    """(algorithm, backend) of the candidates that are their algorithm's fastest; all that cannot be priced yet."""
    best: dict[str, tuple[float, str]] = {}
    unknown = set()
    for e in entries:
        forecast, name = e.candidate.forecast, e.algorithm.name
        if forecast is None:
            unknown.add((name, e.options.backend))
        else:
            best[name] = min(best.get(name, (math.inf, "")), (forecast.seconds.median, e.options.backend))
    return frozenset(
        {(name, backend) for name, (_, backend) in best.items()} | {u for u in unknown if u[0] not in best}
    )


def _race(
    kind: Kind,
    prepared: Prepared,
    entries: list[Entry],
    profile: HardwareProfile,
    limits: Limits,
    *,
    everything: bool,
) -> tuple[list[Entry], list[str]]:
    """Time the candidates whose forecasts are close (or all feasible ones) on a part of the problem."""
    feasible = [e for e in entries if e.candidate.feasible]
    if len(feasible) < 2:
        return entries, []
    best = feasible[0].candidate.cost
    field = feasible if everything else [e for e in feasible if e.candidate.cost <= _CLOSE * best][:2]
    if len(field) < 2:
        return entries, ["no race: no other candidate was forecast to come close"]
    A, b, task = kind.slice_problem(prepared.A, prepared.b, prepared.task)
    evidence = prepared.evidence.without_by_products()
    corrections = {}
    for entry in field:
        forecast = price(entry.algorithm.work(task, evidence, entry.options), profile).seconds.median
        times = []
        for _ in range(2):  # the first one warms up
            started = time.perf_counter()
            try:
                with library_errors(), np.errstate(all="ignore"):
                    entry.algorithm.solve(A, b, task, entry.options, evidence, {})
            except (Breakdown, MemoryError):
                break
            times.append(time.perf_counter() - started)
        if times and forecast > 0:
            corrections[entry.candidate.label] = times[-1] / forecast
    ready = frozenset(prepared.by_products)
    entries = enumerate_entries(
        kind, prepared.task, prepared.evidence, profile, limits, ready, corrections, prepared.pool
    )
    timed = ", ".join(f"{label} ran at {factor:.2f} of its forecast" for label, factor in corrections.items())
    return entries, [f"raced on a {task.m} x {task.n} part: {timed}"] if corrections else []


def _choose(
    entries: list[Entry], limits: Limits, budget: Budget, floor: float, description: str
) -> tuple[Candidate, list[str]]:
    """The candidate to run; an infeasible one (the nearest) if none fits."""
    priced = [e for e in entries if e.candidate.forecast is not None]
    if not priced:
        told = sorted(entries, key=lambda e: not e.candidate.reason.startswith("cannot be priced"))
        reasons = "; ".join(f"{e.candidate.label}: {e.candidate.reason}" for e in told[:4])
        raise InfeasibleBudget(f"no algorithm applies to this {description}: {reasons}")
    if priced[0].candidate.feasible:
        return priced[0].candidate, []
    # Nothing fits. What fits all but the accuracy may still be certified: forecasts of error are cautious.
    tolerable = [e for e in priced if only_accuracy_speaks_against(e.candidate, limits)]
    if tolerable:
        best = min(
            tolerable,
            key=lambda e: (
                round(e.candidate.failure, 1),
                e.candidate.forecast.seconds.median if e.candidate.forecast else math.inf,
            ),
        )
        note = (
            f"no candidate is forecast to reach {limits.target:.1e}; {best.candidate.label} comes nearest and its"
            " certificate decides"
        )
        return best.candidate, [note]
    fits_memory = [
        e
        for e in priced
        if limits.memory is None or e.candidate.forecast.bytes.high <= limits.memory  # type: ignore[union-attr]
    ]
    pool = fits_memory or priced
    if fits_memory:
        best = min(pool, key=lambda e: e.candidate.forecast.seconds.median)  # type: ignore[union-attr]
        spare = f", {show_seconds(best.candidate.forecast.seconds.median)}"  # type: ignore[union-attr]
    else:
        best, spare = min(pool, key=lambda e: e.candidate.forecast.bytes.median), ""  # type: ignore[union-attr]
    return best.candidate, [f"nothing fits the budget; {best.candidate.label} comes nearest{spare}"]
