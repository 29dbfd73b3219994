"""Every way to solve a problem, forecast, judged against the budget, and ordered by expected cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..cost_models.corrections import correction_of
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

# Where forecasts are closer than this, the deterministic default is kept: a switch must be worth something. A tuned
# profile has a value of its own.
SWITCH_MARGIN = 0.03
# A failure weighs more than its expected cost: a long wait is minded more than a short one is enjoyed.
_RISK = 1.5
# Errors within this factor count as equal when the most accurate answer is wanted.
_SAME_ERROR = 3.0
# A candidate that is more likely to fail than this does not count.
HOPELESS = 0.5
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


@dataclass(frozen=True, slots=True)
class Priced:
    """A candidate as it is whatever the limits: its forecast, or why it has none; how likely it breaks down."""

    label: str
    algorithm: Algorithm
    options: Any
    forecast: Forecast | None
    reason: str
    breaks: float
    margin: float


def enumerate_entries(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    limits: Limits,
    ready: frozenset[str] = frozenset(),
    corrections: Mapping[str, float] | None = None,
    pool: Pool = ASLEEP,
    only: frozenset[tuple[str, str]] | None = None,
    pricing: Callable[[Task], Sequence[Priced]] | None = None,
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
    only : set of (algorithm, backend), optional
        What to look at, where not all.
    pricing : callable, optional
        What remembers the result of `price_all`, for a task; it is called otherwise.
    """

    def judged(task: Task) -> list[Entry]:
        found = pricing(task) if pricing else price_all(kind, task, evidence, profile, ready, pool, only)
        return _judged(kind, found, profile, limits, corrections)

    entries = judged(task)
    if limits.accuracy_given or not limits.limited or (entries and entries[0].candidate.feasible):
        return entries
    for target in _LOOSER:
        if target > task.target:
            found = judged(replace(task, target=target))
            if found and found[0].candidate.feasible:
                return [_loosened(e, task.target / target) for e in found]
    return entries


def price_all(
    kind: Kind,
    task: Task,
    evidence: Evidence,
    profile: HardwareProfile,
    ready: frozenset[str],
    pool: Pool,
    only: frozenset[tuple[str, str]] | None,
) -> list[Priced]:
    """Every candidate with its forecast; arguments are those of `enumerate_entries`."""
    priced = []
    torch_loaded = "torch" in sys.modules
    for algorithm in kind.algorithms:
        margin = kind.margin(task, evidence, algorithm, ready)
        aim = task if margin == 1.0 else replace(task, target=task.target / margin)
        for options in algorithm.options(aim, evidence):
            if only is not None and (algorithm.name, options.backend) not in only:
                continue
            label = algorithm.label(options)
            reason, foreseen, breaks = algorithm.applies(aim, evidence, options), None, 0.0
            if reason is None:
                try:
                    foreseen = forecast(
                        algorithm.work(aim, evidence, options),
                        kind.certify_work(task, evidence, algorithm, options, ready),
                        algorithm.error(aim, evidence, options) * margin,
                        profile,
                        correction_of(profile.corrections, algorithm.name, options.backend, options.dtype),
                        shape=(task.m, task.n),
                        device=task.device,
                        pool=pool,
                    )
                    breaks = algorithm.breakdown(aim, evidence, options)
                except Unpriced as unpriced:
                    reason = f"cannot be priced: {unpriced}"
            if foreseen is not None and not torch_loaded and options.backend == "torch":
                foreseen = replace(foreseen, seconds=foreseen.seconds + Interval.around(_LOADING_TORCH, 1.5))
            priced.append(Priced(label, algorithm, options, foreseen, reason or "", breaks, margin))
    return priced


def chance_of_failure(breaks: float, error: Interval, target: float) -> float:
    """Of breaking down, which has the probability `breaks`, or of an error above the target."""
    return 1.0 - (1.0 - breaks) * (1.0 - error.probability_above(target))


def forecast_seconds(candidate: Candidate) -> float:
    """Median forecast of run and certificate [s]; 0 where there is none."""
    return candidate.forecast.seconds.median if candidate.forecast else 0.0


def _judged(
    kind: Kind,
    priced: Sequence[Priced],
    profile: HardwareProfile,
    limits: Limits,
    corrections: Mapping[str, float] | None,
) -> list[Entry]:
    known: list[_Judged] = []
    rejected: list[Entry] = []
    for p in priced:
        foreseen = p.forecast
        if foreseen is None:
            candidate = Candidate(p.label, p.algorithm.name, p.algorithm.title, None, False, p.reason)
            rejected.append(Entry(candidate, p.algorithm, p.options))
            continue
        if corrections and p.label in corrections:
            foreseen = replace(foreseen, seconds=foreseen.seconds * corrections[p.label])
        failure = chance_of_failure(p.breaks, foreseen.error, limits.target)
        reason = _speaks_against(foreseen, failure, p.breaks, limits)
        known.append(_Judged(p.label, p.algorithm, p.options, foreseen, reason, failure, p.margin))
    switch_margin = profile.tuning.get("switch_margin", SWITCH_MARGIN)
    costed = _costed(known, limits, kind.defaults, profile.pool_switch_seconds, switch_margin)
    return _ordered(costed + rejected, limits)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A candidate that can be priced, before its expected cost is known."""

    label: str
    algorithm: Algorithm
    options: Any
    forecast: Forecast
    reason: str
    failure: float
    margin: float

    def price(self, minimize: str) -> float:
        if minimize == "memory":
            return self.forecast.bytes.median
        if minimize == "energy":
            return self.forecast.joules.median
        return self.forecast.seconds.median


def _loosened(entry: Entry, factor: float) -> Entry:
    """The same candidate of a task whose target is smaller by `factor`."""
    return replace(entry, candidate=replace(entry.candidate, margin=entry.candidate.margin * factor))


def _speaks_against(priced: Forecast, failure: float, breaks: float, limits: Limits) -> str:
    """Why a candidate does not fit the budget; empty where it does."""
    if limits.memory is not None and priced.bytes.high > limits.memory:
        return (
            f"needs up to {show_bytes(priced.bytes.high)} of memory, {show_bytes(max(0.0, limits.memory))} are allowed"
        )
    if limits.latency is not None and priced.seconds.probability_above(limits.latency) > 1.0 - limits.confidence:
        return (
            f"takes about {show_seconds(priced.seconds.median)} (up to {show_seconds(priced.seconds.high)}),"
            f" {show_seconds(max(0.0, limits.latency))} are left"
        )
    if limits.energy is not None and priced.joules.probability_above(limits.energy) > 1.0 - limits.confidence:
        return f"takes about {priced.joules.median:.3g} J ({priced.energy_source}), {limits.energy:.3g} J are allowed"
    if limits.accuracy_given and failure > HOPELESS:
        if breaks > 0.5 * failure:
            return f"it breaks down with probability {breaks:.2f}"
        return f"its error is forecast at {priced.error.median:.1e}, {limits.target:.1e} is asked for"
    return ""


def _costed(
    known: list[_Judged],
    limits: Limits,
    defaults: frozenset[str],
    switching: Mapping[str, float],
    switch_margin: float,
) -> list[Entry]:
    """Expected cost to a certified answer: its own, and where it fails that of the best other algorithm.

    What every candidate is likely to fail at does not count against any. Limits do not count in what follows a
    failure, so that it cannot grow dearer with them; the time that another library's threads take over in does.
    """
    least: dict[tuple[str, str], float] = {}
    common = min((e.failure for e in known), default=0.0)
    for e in known:
        key = e.options.backend, e.algorithm.name
        least[key] = min(e.price(limits.minimize) / max(1.0 - (e.failure - common), 0.05), least.get(key, math.inf))
    timed = limits.minimize not in ("memory", "energy")
    after: dict[tuple[str, str], float] = {}  # cost of the best other algorithm after a failure of this one
    entries = []
    for e in known:
        name, backend = e.algorithm.name, e.options.backend
        cost = math.inf
        if not e.reason:
            price = e.price(limits.minimize)
            other = after.get((backend, name))
            if other is None:
                others = (
                    mean + (min(switching.get(f"{backend}>{to}", 0.0), mean) if timed and to != backend else 0.0)
                    for (to, also), mean in least.items()
                    if also != name
                )
                other = after[backend, name] = min(others, default=price)
            margin = 1.0 if name in defaults else 1.0 + switch_margin
            cost = margin * price + _RISK * (e.failure - common) * other
        candidate = Candidate(
            e.label, name, e.algorithm.title, e.forecast, not e.reason, e.reason, e.failure, cost, e.margin
        )
        entries.append(Entry(candidate, e.algorithm, e.options))
    return entries


def _ordered(entries: list[Entry], limits: Limits) -> list[Entry]:
    """Sorted: feasible by cost, then infeasible by forecast seconds."""
    by_error = limits.minimize == "error" or (limits.limited and not limits.accuracy_given)
    feasible = [e for e in entries if e.candidate.feasible]
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

    return sorted(entries, key=key)


def only_accuracy_speaks_against(candidate: Candidate, limits: Limits) -> bool:
    """Whether trying it anyway breaks no hard promise: forecasts of error are cautious, and certificates decide."""
    return candidate.forecast is not None and not _speaks_against(candidate.forecast, 0.0, 0.0, limits)


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
