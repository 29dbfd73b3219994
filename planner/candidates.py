"""Every way to solve a problem, forecast, judged against the budget, and ordered by expected cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..cost_models.forecast import Forecast, forecast
from ..cost_models.price import ASLEEP, Pool, Unpriced
from ..primitives.algorithm import Algorithm
from ..primitives.evidence import Evidence
from ..primitives.interval import Interval
from ..primitives.task import Task
from ..profiles import HardwareProfile
from .budget import Budget
from .kinds import Kind
from .plans import Candidate

# Where forecasts are closer than this, the deterministic default is kept: a switch must be worth something.
SWITCH_MARGIN = 0.03
# Errors within this factor count as equal when the most accurate answer is wanted.
_SAME_ERROR = 3.0
_HOPELESS = 0.5
# What algorithms are asked for in turn, where no accuracy is given and nothing as good as LAPACK fits the limits.
_LOOSER = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5)
# Importing torch for operands of another library, where nothing has done so yet [s].
_LOADING_TORCH = 1.6


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate with what is needed to run it."""

    candidate: Candidate
    algorithm: Algorithm
    options: Any

    def task(self, task: Task) -> Task:
        """The task as the algorithm is given it."""
        margin = self.candidate.margin
        return task if margin == 1.0 else replace(task, target=task.target / margin)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is left of a budget: seconds after probing, and the accuracy asked for."""

    target: float
    accuracy_given: bool
    latency: float | None
    memory: float | None
    energy: float | None
    confidence: float
    minimize: str

    @property
    def limited(self) -> bool:
        """Whether seconds, bytes or joules are limited."""
        return self.latency is not None or self.memory is not None or self.energy is not None

    @classmethod
    def of(cls, budget: Budget, target: float, spent: float, copied_bytes: float = 0.0) -> Limits:
        """Limits of a budget of which `spent` seconds and `copied_bytes` are gone."""
        return cls(
            target=target,
            accuracy_given=budget.accuracy is not None,
            latency=None if budget.latency is None else budget.latency - spent,
            memory=None if budget.memory is None else budget.memory - copied_bytes,
            energy=budget.energy,
            confidence=budget.confidence,
            minimize=budget.minimize,
        )


def enumerate_entries(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    limits: Limits,
    ready: frozenset[str] = frozenset(),
    corrections: Mapping[str, float] | None = None,
    pool: Pool = ASLEEP,
) -> list[Entry]:
    """All candidates, judged; the feasible ones first, by expected cost.

    Parameters
    ----------
    ready : frozenset of str
        By-products of probes at hand.
    corrections : mapping of label to factor, optional
        Measured over forecast seconds of candidates that were timed on a part of the problem.
    pool : Pool
        Whose threads the probes left awake.
    """
    entries = _enumerate(kind, task, evidence, profile, limits, ready, corrections, pool)
    if limits.accuracy_given or not limits.limited or (entries and entries[0].candidate.feasible):
        return entries
    for target in _LOOSER:
        if target > task.target:
            loose = replace(task, target=target)
            found = _enumerate(kind, loose, evidence, profile, limits, ready, corrections, pool)
            if found and found[0].candidate.feasible:
                return [_loosened(e, task.target / target) for e in found]
    return entries


def _enumerate(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    limits: Limits,
    ready: frozenset[str],
    corrections: Mapping[str, float] | None,
    pool: Pool,
) -> list[Entry]:
    entries = []
    for algorithm in kind.algorithms:
        margin = kind.margin(task, algorithm, ready)
        aim = task if margin == 1.0 else replace(task, target=task.target / margin)
        for options in algorithm.options(aim, evidence):
            label = algorithm.label(options)
            reason = algorithm.applies(aim, evidence, options)
            if reason is not None:
                entries.append(
                    Entry(
                        Candidate(label, algorithm.name, algorithm.title, None, False, reason),
                        algorithm,
                        options,
                    )
                )
                continue
            try:
                priced = forecast(
                    algorithm.work(aim, evidence, options),
                    kind.certify_work(task, evidence, algorithm, options, ready),
                    algorithm.error(aim, evidence, options) * margin,
                    profile,
                    profile.corrections.get(algorithm.name),
                    device=task.device,
                    pool=pool,
                )
            except Unpriced as unpriced:
                reason = f"cannot be priced: {unpriced}"
                entries.append(
                    Entry(
                        Candidate(label, algorithm.name, algorithm.title, None, False, reason),
                        algorithm,
                        options,
                    )
                )
                continue
            if options.backend == "torch" and "torch" not in sys.modules:
                priced = replace(priced, seconds=priced.seconds + Interval.around(_LOADING_TORCH, 1.5))
            if corrections and label in corrections:
                priced = replace(priced, seconds=priced.seconds * corrections[label])
            judged = replace(_judge(label, algorithm, priced, limits), margin=margin)
            entries.append(Entry(judged, algorithm, options))
    return _ordered(entries, limits, kind.defaults)


def _loosened(entry: Entry, factor: float) -> Entry:
    """The same candidate of a task whose target is smaller by `factor`."""
    return replace(entry, candidate=replace(entry.candidate, margin=entry.candidate.margin * factor))


def _judge(label: str, algorithm: Algorithm, priced: Forecast, limits: Limits) -> Candidate:
    failure = priced.error.probability_above(limits.target)
    reason = ""
    if limits.memory is not None and priced.bytes.high > limits.memory:
        reason = (
            f"needs up to {show_bytes(priced.bytes.high)} of memory, {show_bytes(max(0.0, limits.memory))} are allowed"
        )
    elif limits.latency is not None and priced.seconds.probability_above(limits.latency) > 1.0 - limits.confidence:
        reason = (
            f"takes about {show_seconds(priced.seconds.median)} (up to {show_seconds(priced.seconds.high)}),"
            f" {show_seconds(max(0.0, limits.latency))} are left"
        )
    elif limits.energy is not None and priced.joules.probability_above(limits.energy) > 1.0 - limits.confidence:
        reason = f"takes about {priced.joules.median:.3g} J ({priced.energy_source}), {limits.energy:.3g} J are allowed"
    elif limits.accuracy_given and failure > _HOPELESS:
        reason = f"its error is forecast at {priced.error.median:.1e}, {limits.target:.1e} is asked for"
    return Candidate(label, algorithm.name, algorithm.title, priced, not reason, reason, failure)


def _price(candidate: Candidate, minimize: str) -> float:
    assert candidate.forecast is not None
    if minimize == "memory":
        return candidate.forecast.bytes.median
    if minimize == "energy":
        return candidate.forecast.joules.median
    return candidate.forecast.seconds.median


def _ordered(entries: list[Entry], limits: Limits, defaults: frozenset[str]) -> list[Entry]:
    """Expected costs filled in and entries sorted: feasible by cost, then infeasible by forecast seconds."""
    limited = any(limit is not None for limit in (limits.latency, limits.memory, limits.energy))
    by_error = limits.minimize == "error" or (limited and not limits.accuracy_given)
    feasible = [e for e in entries if e.candidate.feasible]
    # What a failure costs: the cheapest that can be relied on. Limits do not count, so that it cannot grow with them.
    known = [e for e in entries if e.candidate.forecast is not None]
    reliable = [e for e in known if e.algorithm.safe or e.candidate.failure <= 0.05] or known
    fallback = min((_price(e.candidate, limits.minimize) for e in reliable), default=0.0)
    priced: list[Entry] = []
    for entry in entries:
        candidate = entry.candidate
        if candidate.feasible:
            margin = 1.0 if entry.algorithm.name in defaults else 1.0 + SWITCH_MARGIN
            cost = margin * _price(candidate, limits.minimize) + candidate.failure * fallback
            candidate = replace(candidate, cost=cost)
        priced.append(replace(entry, candidate=candidate))

    best_error = min((e.candidate.forecast.error.median for e in feasible if e.candidate.forecast), default=0.0)

    def key(entry: Entry) -> tuple[float, float, float, str]:
        candidate = entry.candidate
        error = candidate.forecast.error.median if candidate.forecast else math.inf
        seconds = candidate.forecast.seconds.median if candidate.forecast else math.inf
        if not candidate.feasible:
            return 1.0, 0.0, seconds, candidate.label
        class_of_error = 0.0
        if by_error:
            base = max(best_error, limits.target if not limits.accuracy_given else 0.0, 1e-300)
            class_of_error = math.floor(max(0.0, math.log(error / base, _SAME_ERROR))) if error > 0 else 0.0
        return 0.0, class_of_error, candidate.cost, candidate.label

    return sorted(priced, key=key)


def only_accuracy_speaks_against(candidate: Candidate, limits: Limits) -> bool:
    """Whether trying it anyway breaks no hard promise: forecasts of error are cautious, and certificates decide."""
    forecast = candidate.forecast
    return (
        forecast is not None
        and (limits.memory is None or forecast.bytes.high <= limits.memory)
        and (limits.latency is None or forecast.seconds.median <= limits.latency)
        and (limits.energy is None or forecast.joules.median <= limits.energy)
    )


def frontier(entries: list[Entry]) -> list[Candidate]:
    """Priced candidates that no other one beats in seconds, bytes and error at once, fastest first."""
    priced = [e.candidate for e in entries if e.candidate.forecast is not None]

    def measures(c: Candidate) -> tuple[float, float, float]:
        assert c.forecast is not None
        return c.forecast.seconds.median, c.forecast.bytes.median, c.forecast.error.median

    return [
        c
        for c in sorted(priced, key=measures)
        if not any(
            all(x <= y for x, y in zip(measures(o), measures(c), strict=True)) and measures(o) != measures(c)
            for o in priced
        )
    ]


def show_seconds(seconds: float) -> str:
    """Three significant digits with a unit a person reads."""
    if seconds >= 1.0:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def show_bytes(size: float) -> str:
    """Three significant digits with a binary unit."""
    for unit, scale in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"
