"""One instance, measured: `solve`, the safe default, and every candidate that the planner considered feasible.

All in turn in one process, after a pause that lets the threads of the call before fall asleep; medians. The time of
`solve` holds everything (probes, planning, run, certificate); that of a candidate only its run and certificate. It is
given what the probes found, but nothing that they computed: the virtual best that regret is measured against pays for
no search, and gets no work done for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from ...primitives.algorithm import Breakdown
from ...profiles.errors import CertificationFailed, InfeasibleBudget
from .. import solve
from ..execution import run_and_certify
from ..kinds import kind_of
from ..plans import Plan
from .baselines import baseline
from .suite import Instance

PAUSE = 0.12  # idle threads of a BLAS spin for some tens of milliseconds [s]
HOPELESS = 6.0  # a candidate forecast to take this many times what `solve` took is not run
CONTENDER = 1.5  # only what comes within this factor of the fastest is timed more than once


@dataclass(frozen=True, slots=True)
class Timed:
    """A candidate: label, name of its algorithm, forecast and measured seconds of run and certificate.

    `seconds` is None where it broke down, was not certified, or was not run.
    """

    label: str
    algorithm: str
    forecast: float
    seconds: float | None


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
    peak_bytes, forecast_bytes : float or None
        Measured peak and the upper end of its forecast.
    candidates : tuple of Timed
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
    peak_bytes: float | None = None
    forecast_bytes: float | None = None
    candidates: tuple[Timed, ...] = ()
    note: str = ""

    @property
    def best(self) -> float | None:
        """Seconds of the fastest certified candidate [s]: the virtual best."""
        return min((c.seconds for c in self.candidates if c.seconds is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """The inverse of `to_dict`."""
        candidates = tuple(Timed(**candidate) for candidate in data["candidates"])
        forecast = None if data["forecast"] is None else tuple(data["forecast"])
        return cls(**{**data, "candidates": candidates, "forecast": forecast})


def measure(instance: Instance, rounds: int = 3, *, race: bool = True) -> Row:
    """Measure one instance; the first call of everything warms up and is not counted.

    Parameters
    ----------
    rounds : int
    race : bool
        Whether to time the candidates as well.
    """
    problem = instance.problem()
    default, call = baseline(problem)
    call()
    theirs = [_timed(call)[0]]
    common = {"name": instance.name, "family": instance.family, "tags": dict(instance.tags), "default": default}
    try:
        solve(problem, instance.budget, rng=0)
        ours = []
        for _ in range(rounds):
            ours.append(_timed(lambda: solve(problem, instance.budget, rng=0)))
            theirs.append(_timed(call)[0])
    except (InfeasibleBudget, CertificationFailed) as refusal:
        seconds = median(theirs)
        note = f"{type(refusal).__name__}: {refusal}"[:300]
        return Row(**common, chosen="", status="refused", seconds=seconds, default_seconds=seconds, note=note)
    ours.sort(key=lambda run: run[0])
    seconds, solution = ours[(len(ours) - 1) // 2]
    record, made = solution.record, solution.plan
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
        target=instance.budget.accuracy or 0.0,
        peak_bytes=record.peak_bytes,
        forecast_bytes=None if forecast is None else forecast.bytes.high,
        candidates=_race(made, seconds, rounds) if race else (),
    )


def _race(made: Plan, seconds: float, rounds: int) -> tuple[Timed, ...]:
    """Every feasible candidate, run on the problem as the planner prepared it and certified."""
    kind, budget = kind_of(made.task.kind), made.budget
    prepared = replace(made._prepared, by_products={})
    entries = [
        e
        for e in made._entries
        if e.candidate.feasible and e.candidate.forecast and e.candidate.forecast.seconds.median < HOPELESS * seconds
    ]
    times: dict[str, list[float]] = {e.candidate.label: [] for e in entries}
    failed: set[str] = set()
    for turn in range(rounds):
        fastest = min((median(t) for label, t in times.items() if t and label not in failed), default=float("inf"))
        for entry in entries:
            label = entry.candidate.label
            if label in failed or (turn > 0 and median(times[label]) > CONTENDER * fastest):
                continue
            time.sleep(PAUSE)
            try:
                _, certificate, ran, certified = run_and_certify(
                    kind, prepared, entry, made.metric, budget.accuracy, budget.confidence
                )
            except (Breakdown, MemoryError):
                failed.add(label)
                continue
            times[label].append(ran + certified)
            if not certificate.satisfied:
                failed.add(label)
    return tuple(
        Timed(
            e.candidate.label,
            e.candidate.algorithm,
            e.candidate.forecast.seconds.median if e.candidate.forecast else 0.0,
            None if e.candidate.label in failed else median(times[e.candidate.label]),
        )
        for e in entries
    )


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(PAUSE)
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result
