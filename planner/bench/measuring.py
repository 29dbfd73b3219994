"""One instance, measured: `solve`, the safe default, and every candidate that is feasible once all probes have run.

All in turn in one process, after a pause that lets the threads of the call before fall asleep; medians. The time of
`solve` holds everything (probes, planning, run, certificate); that of a candidate only its run and certificate. It is
given what the probes found, but nothing that they computed: the virtual best that regret is measured against pays for
no search, and gets no work done for it. The fastest of a dozen noisy medians is the luckiest as well as the best, so
once it is known which it is, it is timed again, in turn with `solve`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ...primitives.algorithm import Breakdown, Outcome
from ...profiles.errors import BudgetExceeded, CertificationFailed, InfeasibleBudget
from .. import solve
from ..attempts import run_and_certify
from ..candidates import Entry, forecast_seconds
from ..certificate import Certificate
from ..kinds import kind_of
from ..planning import all_candidates, machine_of
from ..plans import Candidate, Plan
from ..problems import Problem
from ..solution import Solution
from .baselines import alternatives, baseline
from .suite import Instance
from .truth import true_error

PAUSE = 0.12  # idle threads of a BLAS spin for some tens of milliseconds [s]
SHORT = 0.03  # where `solve` takes less, every call is made three times more at once, and their median counts [s]
HOPELESS = 6.0  # a candidate forecast to take this many times what `solve` took is not run
SURPRISE = 3.0  # a first call that takes this many times its forecast may have compiled something: it does not count
LONG = 0.3  # beside this waking threads is nothing [s]
CONTENDER = 1.5  # only what comes within this factor of the fastest is timed more than once


@dataclass(frozen=True, slots=True)
class Timed:
    """A candidate: label, name of its algorithm, forecast and measured seconds of run and certificate.

    `seconds` is None where it broke down, was not certified, or was not run; `again` says that it was the fastest and
    that its seconds were measured after that was known.
    """

    label: str
    algorithm: str
    forecast: float
    seconds: float | None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """What `solve` did with a part of the planner left out: label of its choice, how it ended, seconds (None: refused).

    `status` is that of the solution, "refused", or "wrong" where an answer went out that no certificate would pass.
    """

    chosen: str
    status: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of another library that one might make: name, seconds until it ended or was given up, and whether it did.

    `reached` says that there is an answer whose true error is within the target, as far as that can be known.
    """

    name: str
    seconds: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one instance.

    Attributes
    ----------
    name, family, tags
        Of the instance.
    chosen, status : str
        What `solve` ran first, and how it ended; "refused" where it raised, with the message in `note`.
    seconds, default_seconds : float
        Of `solve` and of the safe default [s], medians.
    default : str
        The call.
    stages : dict
        Seconds of the median run's "probe", "plan", "run", "certify".
    forecast : (median, low, high) or None
        Of run and certificate [s]; None on the fast path, which makes none.
    attempts : int
    bound, target : float
    true_error, true_error_off : float or None
        Of the median run's answer, and by how much it may be off, by `truth.true_error`; None where that cannot tell.
    peak_bytes, forecast_bytes : float or None
        Measured peak and the upper end of its forecast.
    likely_bytes : float or None
        The median of that forecast.
    latency, memory, energy : float or None
        Limits of the budget [s], [B], [J].
    slowest : float or None
        The longest run of `solve` that was timed [s].
    joules : float or None
        Of the median run, measured or modelled.
    features : dict
        What is known of the problem for free: "m", "n", "nrhs", "rank", "ridge", "center", "dtype", "library", "nnz",
        "which".
    candidates : tuple of Timed
        What was raced.
    unraced : tuple of Timed
        What was priced, but rejected by the planner or hopelessly slow: so it was forecast, or it was stopped.
    calls : tuple of Call
        The safe default and the other calls that one might make, for kinds where there are several.
    variants : dict of str to Variant
        The ablations, where they were asked for.
    """

    name: str
    family: str
    tags: Mapping[str, Any]
    chosen: str
    status: str
    seconds: float
    default: str
    default_seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)
    forecast: tuple[float, float, float] | None = None
    attempts: int = 1
    bound: float = 0.0
    target: float = 0.0
    true_error: float | None = None
    true_error_off: float | None = None
    peak_bytes: float | None = None
    forecast_bytes: float | None = None
    likely_bytes: float | None = None
    latency: float | None = None
    memory: float | None = None
    energy: float | None = None
    slowest: float | None = None
    joules: float | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[Timed, ...] = ()
    unraced: tuple[Timed, ...] = ()
    calls: tuple[Call, ...] = ()
    variants: Mapping[str, Variant] = field(default_factory=dict)
    note: str = ""

    @property
    def best(self) -> float | None:
        """Seconds of the fastest certified candidate [s]: the virtual best.

        None where no accuracy was asked for: what is fastest is not best then.
        """
        return self.fastest.seconds if self.fastest is not None and self.target > 0.0 else None

    @property
    def fastest(self) -> Timed | None:
        """The candidate that was found to be the fastest, and was timed again then; in older files the fastest."""
        known = [c for c in self.candidates if c.seconds is not None]
        again = [c for c in known if c.again]
        return min(again or known, key=lambda c: c.seconds or 0.0, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """The inverse of `to_dict`; what an older file does not hold is unknown."""
        forecast = data.get("forecast")
        return cls(
            **{
                **data,
                "candidates": tuple(Timed(**candidate) for candidate in data.get("candidates", ())),
                "unraced": tuple(Timed(**candidate) for candidate in data.get("unraced", ())),
                "calls": tuple(Call(**call) for call in data.get("calls", ())),
                "variants": {name: Variant(**variant) for name, variant in data.get("variants", {}).items()},
                "forecast": None if forecast is None else tuple(forecast),
            }
        )


def measure(instance: Instance, rounds: int = 3, *, race: bool = True) -> Row:
    """Measure one instance; the first call of everything warms up and is not counted.

    Parameters
    ----------
    rounds : int
    race : bool
        Whether to time the candidates as well.
    """
    problem, budget = instance.problem(), instance.budget
    default, call = baseline(problem, budget.accuracy or 0.0)
    call()
    common = {
        "name": instance.name, "family": instance.family, "tags": dict(instance.tags), "default": default,
        "features": features(problem), "target": budget.accuracy or 0.0, "latency": budget.latency,
        "memory": budget.memory, "energy": budget.energy,
    }  # fmt: skip

    def own() -> Solution:
        try:
            return solve(problem, budget, rng=0)
        except BudgetExceeded as late:
            if late.solution is None:
                raise
            return late.solution  # what it took is measured here

    try:
        with contextlib.suppress(InfeasibleBudget, CertificationFailed, BudgetExceeded):
            own()  # a latency may not allow for warming up
        short = is_short(own)
        theirs, ours = [timed(call, short)[0]], []
        others: _Alternatives | None = None
        for _ in range(rounds):
            ours.append(timed(own, short))
            theirs.append(timed(call, short)[0])
            if others is None:
                deadline = HOPELESS * max(ours[0][0], theirs[0], SHORT)
                others = _Alternatives(problem, budget.accuracy or 0.0, default, deadline)
            others.run(short)
        raced, more = _race(problem, ours[-1][1].plan, ours[-1][0], rounds, own, short) if race else ({}, [])
        ours += more
    except (InfeasibleBudget, CertificationFailed, BudgetExceeded) as refusal:
        seconds = median(timed(call, is_short(call))[0] for _ in range(rounds))
        note = f"{type(refusal).__name__}: {refusal}"[:300]
        return Row(**common, chosen="", status="refused", seconds=seconds, default_seconds=seconds, note=note)
    ours.sort(key=lambda run: run[0])
    seconds, (_, solution) = median(taken for taken, _ in ours), ours[(len(ours) - 1) // 2]
    record, made = solution.record, solution.plan
    true = true_error(problem, solution.value, budget.accuracy or solution.certificate.bound)
    planned = not any(finding.probe == "none" for finding in made.evidence.findings)
    forecast = made.chosen.forecast if planned else None  # the fast path makes none; its plan is written afterwards
    return Row(
        **common,
        chosen=made.chosen.label,
        status=solution.status,
        seconds=seconds,
        default_seconds=median(theirs),
        stages={stage: record.seconds[stage] for stage in ("probe", "plan", "run", "certify")},
        forecast=None if forecast is None else (forecast.seconds.median, forecast.seconds.low, forecast.seconds.high),
        attempts=len(record.attempts),
        bound=solution.certificate.bound,
        true_error=None if true is None else true.error,
        true_error_off=None if true is None else true.uncertainty,
        peak_bytes=record.peak_bytes,
        forecast_bytes=None if forecast is None else forecast.bytes.high,
        likely_bytes=None if forecast is None else forecast.bytes.median,
        calls=others.judged(median(theirs)) if others else (),
        slowest=ours[-1][0],
        joules=record.joules,
        **raced,
    )


def features(problem: Problem) -> dict[str, Any]:
    """What is known of a problem before anything is computed."""
    m, n = problem.shape
    return {
        "m": m, "n": n, "nrhs": getattr(problem, "right_hand_sides", 1),
        "rank": getattr(problem, "rank", getattr(problem, "k", None)), "ridge": getattr(problem, "ridge", 0.0),
        "center": getattr(problem, "center", False), "dtype": problem.working()[2], "library": problem.access,
        "nnz": getattr(problem.A, "nnz", 0), "which": getattr(problem, "which", ""),
    }  # fmt: skip


class _Alternatives:
    """The calls that one might make, timed in rounds; what fails or takes hopelessly long is called once only.

    Parameters
    ----------
    default : str
        That of them which is timed elsewhere.
    deadline : float
        Seconds from which on a call is hopeless.
    """

    def __init__(self, problem: Problem, target: float, default: str, deadline: float) -> None:
        self.problem, self.target, self.default, self.deadline = problem, target, default, deadline
        self.calls = alternatives(problem, target, deadline)
        self.first = {name: _once(call) for name, call in self.calls.items()}
        self.times: dict[str, list[float]] = {name: [] for name in self.calls}

    def run(self, short: bool) -> None:
        """Time each once more."""
        for name, call in self.calls.items():
            taken, value = self.first[name]
            if name != self.default and value is not None and taken < self.deadline:
                self.times[name].append(timed(call, short)[0])

    def judged(self, default_seconds: float) -> tuple[Call, ...]:
        """With medians, and whether their answers are what was asked for."""
        found = []
        for name, (taken, value) in self.first.items():
            seconds = default_seconds if name == self.default else median(self.times[name] or [taken])
            found.append(Call(name, seconds, _reached(self.problem, value, self.target)))
        return tuple(found)


def _reached(problem: Problem, value: Any, target: float) -> bool:
    """Whether there is an answer, and nothing is known against it."""
    true = None if value is None else true_error(problem, value, target)
    return value is not None and (true is None or true.low <= target)


def _raced(candidate: Candidate, seconds: float) -> bool:
    """Whether a candidate is worth running where `solve` took so many seconds."""
    forecast = candidate.forecast
    return candidate.feasible and forecast is not None and forecast.seconds.median < HOPELESS * seconds


_Runs = list[tuple[float, Solution]]


def _race(
    problem: Problem, made: Plan, seconds: float, rounds: int, own: Callable[[], Solution], short: bool
) -> tuple[dict[str, Any], _Runs]:
    """Every candidate that is feasible once all probes have run, and what `solve` chose; run and certified.

    Those that can be priced and are not worth running are named apart, and so are those that were stopped after a
    hopelessly long time, which stands for their forecast then. The fastest is timed again at the end, in turn
    with `own`, a call of `solve`, whose runs are returned as well.
    """
    kind, budget = kind_of(made.task.kind), made.budget
    prepared, known = all_candidates(problem, budget, machine_of(None).profile, made.task.seed)
    entries = [e for e in known if _raced(e.candidate, seconds)]
    labels = {e.candidate.label for e in entries}
    entries += [e for e in made._entries if e.candidate.label == made.chosen.label and made.chosen.label not in labels]
    chosen = {e.candidate.label for e in entries}
    unraced = tuple(
        Timed(e.candidate.label, e.candidate.algorithm, forecast_seconds(e.candidate), None)
        for e in known
        if e.candidate.forecast is not None and e.candidate.label not in chosen
    )

    limit = HOPELESS * max(seconds, SHORT)

    def once(entry: Entry) -> tuple[Outcome, Certificate, float, float]:
        end = time.perf_counter() + limit
        return run_and_certify(
            kind, prepared, entry, made.metric, budget.accuracy, budget.confidence,
            stop=lambda: time.perf_counter() > end,
        )  # fmt: skip

    def run(entry: Entry) -> tuple[float, Certificate]:
        _, (_, certificate, ran, certified) = timed(lambda: once(entry), short)
        return ran + certified, certificate

    late: dict[str, float] = {}
    times: dict[str, list[float]] = {e.candidate.label: [] for e in entries}
    failed: set[str] = set()
    for turn in range(rounds):
        fastest = min((median(t) for label, t in times.items() if t and label not in failed), default=float("inf"))
        for entry in entries:
            label = entry.candidate.label
            if turn == 1 and label not in failed and times[label][0] > SURPRISE * forecast_seconds(entry.candidate):
                times[label].clear()
            if label in failed or (times[label] and turn > 0 and median(times[label]) > CONTENDER * fastest):
                continue
            started = time.perf_counter()
            try:
                taken, certificate = run(entry)
            except (Breakdown, MemoryError):
                failed.add(label)
                taken = time.perf_counter() - started
            else:
                times[label].append(taken)
                if not certificate.satisfied:
                    failed.add(label)
            if label in failed and taken > limit:
                late[label] = taken
    more: _Runs = []
    certified = [e for e in entries if e.candidate.label not in failed and times[e.candidate.label]]
    best = min(certified, key=lambda e: median(times[e.candidate.label]), default=None)
    if best is not None:
        fresh = []
        for _ in range(rounds):
            more.append(timed(own, short))
            fresh.append(run(best)[0])
        times[best.candidate.label] = fresh
    candidates = tuple(
        Timed(
            e.candidate.label,
            e.candidate.algorithm,
            forecast_seconds(e.candidate),
            None if e.candidate.label in failed else median(times[e.candidate.label]),
            e is best,
        )
        for e in entries
        if e.candidate.label not in late
    )
    unraced += tuple(
        Timed(label, e.candidate.algorithm, late[label], None) for e in entries if (label := e.candidate.label) in late
    )
    return {"candidates": candidates, "unraced": unraced}, more


def is_short(call: Callable[[], Any]) -> bool:
    """Whether a call, warmed up, takes so little that it should be timed in rows; one of two may stall."""
    time.sleep(PAUSE)
    return min(_once(call)[0], _once(call)[0]) < SHORT


def timed(call: Callable[[], Any], short: bool) -> tuple[float, Any]:
    """Seconds and result of a call after a pause; of short ones, the median of three more right after it.

    Short calls come in rows; of a single one most is the waking of threads and caches, whoever makes it. What is
    compared must be timed in the same way, unless it takes so long that this is no matter.
    """
    time.sleep(PAUSE)
    once = _once(call)
    if not short or once[0] > LONG:
        return once
    return sorted((_once(call) for _ in range(3)), key=lambda run: run[0])[1]


def _once(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result
