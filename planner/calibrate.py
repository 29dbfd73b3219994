"""Calibration: small problems of every kind, solved by each algorithm that applies, teach what forecasts are off by.

It comes after the kernels of a machine have been measured. What is timed is what a call of `solve` meets: a candidate
from the operands to its certificate, once, after a pause. Kernels are measured in a row; the threads of a library that
have slept take milliseconds to come (one library more than the other), and that is part of what the corrections learn.
Nothing is used that probes have computed, and the forecast counts on nothing of it either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..cost_models._timing import waited_for_processor
from ..cost_models.corrections import fit, key_of
from ..profiles import HardwareProfile, Run, completed, records
from ..profiles.errors import AutonlaError
from .attempts import run_and_certify
from .budget import Budget
from .candidates import Entry, Limits, enumerate_entries
from .kinds import kind_of
from .learning import run_of
from .planning import make_plan
from .plans import Plan
from .problems import LeastSquares, LinearSystem, LowRank, Problem

TIME_LIMIT = {"quick": 10.0, "standard": 60.0, "thorough": 60.0}
"""Default time limits [s]."""

_HOPELESS = 3.0  # what is forecast to take this many times the fastest decides nothing
_REPEATS = {"quick": 1}  # other shapes say more than the same again
_MORE_REPEATS = 3
_PAUSE = 0.05  # before each run: until threads sleep [s]
_ATTEMPTS = 3  # at one run, while other programs are running
_DISTURBED = 0.1  # share of a run that its threads waited for a processor
_SHARE = 0.15  # of the time that is left: what one candidate may take

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A problem to calibrate on: its budget, and what makes it (from a generator of random numbers)."""

    make: Callable[[np.random.Generator], Problem]
    budget: Budget


def regression(m: int, n: int, condition: float) -> Case:
    """Least squares with singular values that fall geometrically, and a tenth of noise."""

    def make(rng: np.random.Generator) -> Problem:
        V = np.linalg.qr(rng.standard_normal((n, n)))[0]
        A = (rng.standard_normal((m, n)) * np.geomspace(1.0, 1.0 / condition, n)) @ V
        b = A @ rng.standard_normal(n)
        noise = rng.standard_normal(m)
        return LeastSquares(A, b / np.linalg.norm(b) + 0.1 * noise / np.linalg.norm(noise))

    return Case(make, Budget(accuracy=1e-8 if condition < 1e6 else 1e-6))


def _general(n: int) -> Case:
    return Case(
        lambda rng: LinearSystem(rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n)),
        Budget(accuracy=1e-12),
    )


def _definite(n: int) -> Case:
    def make(rng: np.random.Generator) -> Problem:
        G = rng.standard_normal((n, n)) / np.sqrt(n)
        return LinearSystem(G @ G.T + 0.01 * np.eye(n), rng.standard_normal(n))

    return Case(make, Budget(accuracy=1e-12))


def approximation(m: int, n: int, rank: int | None, accuracy: float = 0.05, decay: float = 1.0) -> Case:
    """Low rank of a matrix whose singular values fall like 1 / k^decay."""

    def make(rng: np.random.Generator) -> Problem:
        k = min(m, n)
        U, V = rng.standard_normal((m, k)) / np.sqrt(m), rng.standard_normal((k, n)) / np.sqrt(n)
        return LowRank((U / np.arange(1.0, k + 1.0) ** decay) @ V, rank=rank)

    return Case(make, Budget(accuracy=accuracy))


CASES = (
    regression(20_000, 60, 1e3), regression(3000, 150, 1e9), _general(900), _definite(900),
    approximation(800, 600, 20), approximation(600, 400, 200),
    regression(3000, 150, 1e3), regression(20_000, 60, 1e9), _general(1300), _definite(1300),
    approximation(4000, 200, 20), approximation(1500, 150, 70),
    regression(1500, 500, 1e3), regression(1200, 400, 1e9), _general(1700), _definite(1700),
    regression(40_000, 80, 1e3), approximation(1000, 1000, None), approximation(2000, 200, 100),
    regression(8000, 200, 1e9), regression(8000, 250, 1e3), approximation(1500, 1000, 50),
    regression(60_000, 40, 1e9), regression(100_000, 50, 1e3),
    # what a longer time limit adds
    regression(2000, 1000, 1e3), regression(100_000, 200, 1e4), approximation(2000, 2000, 100),
    _general(3000), _definite(3000), approximation(20_000, 300, 30), regression(300_000, 30, 1e3),
    regression(4000, 600, 1e9), approximation(20_000, 300, 200), regression(200_000, 60, 1e9),
)  # fmt: skip
"""The most telling first: a time limit leaves out the last."""


def calibrated(
    profile: HardwareProfile,
    *,
    time_limit: float | None = None,
    progress: Progress | None = None,
    cases: tuple[Case, ...] = CASES,
) -> HardwareProfile:
    """The profile with corrections, fitted to runs on this machine now.

    Parameters
    ----------
    profile : HardwareProfile
        Of this machine. Corrections that it has are replaced.
    time_limit : float [s], optional
        Default: by the rigor of the profile, 10 s for "quick", 60 s else.
    progress : callable (fraction, text), optional
    cases : tuple of Case

    Returns
    -------
    HardwareProfile
        Its `calibration` holds the runs, its `corrections` the fits, and what took time is in its `seconds_spent`.
    """
    started = time.perf_counter()
    limit = TIME_LIMIT.get(profile.rigor, 60.0) if time_limit is None else time_limit
    report = progress or (lambda fraction, text: None)
    plain = profile.model_copy(update={"corrections": {}, "calibration": ()})
    priced_on = completed(plain)
    if any(table.backend == "torch" for table in profile.kernels):
        import torch  # noqa: F401  else the price of importing it would count against its candidates

    identity = records.identity(profile)
    repeats = _REPEATS.get(profile.rigor, _MORE_REPEATS)
    warm: set[tuple[str, str]] = set()
    runs: list[Run] = []
    for number, case in enumerate(cases):
        spent = time.perf_counter() - started
        if spent > limit:
            break
        problem = case.make(np.random.default_rng(number))
        report(spent / limit, f"solving {problem!r}")
        try:
            plan = make_plan(problem, case.budget, rng=number, profile=priced_on, rigor="probe", described="")
        except AutonlaError:  # nothing applies, or nothing could be priced
            continue
        runs += _runs(plan, priced_on, identity, started + limit, repeats, warm)
    report(1.0, "done")
    spent = round(profile.seconds_spent + time.perf_counter() - started, 3)
    return plain.model_copy(update={"corrections": fit(runs), "calibration": tuple(runs), "seconds_spent": spent})


def _runs(
    plan: Plan, profile: HardwareProfile, identity: str, deadline: float, repeats: int, warm: set[tuple[str, str]]
) -> Iterator[Run]:
    """Every promising candidate of a plan, run. What could not be timed undisturbed teaches nothing.

    `warm` names what this process has run before: the first run of anything may load and compile.
    """
    kind, budget, limits = kind_of(plan.task.kind), plan.budget, Limits.of(plan.budget, plan.target, 0.0)
    prepared = replace(plan._prepared, by_products={})
    entries = [e for e in enumerate_entries(kind, plan.task, plan.evidence, profile, limits) if e.candidate.feasible]
    fastest = min(map(_forecast, entries), default=0.0)
    done: set[str] = set()
    for entry in sorted(entries, key=_forecast):
        name, backend = entry.algorithm.name, entry.options.backend
        key = key_of(name, backend, entry.options.dtype)
        left = deadline - time.perf_counter()
        if _forecast(entry) > min(_HOPELESS * fastest, _SHARE * left) or key in done:
            continue
        done.add(key)  # other options of an algorithm are off by much the same

        def run(entry: Entry = entry) -> tuple[float, float] | None:
            """Seconds of run and certificate; None if it is not certified."""
            _, certificate, *seconds = run_and_certify(
                kind, prepared, entry, plan.metric, budget.accuracy, budget.confidence
            )
            return (seconds[0], seconds[1]) if certificate.satisfied else None

        try:
            if (name, backend) not in warm:
                warm.add((name, backend))
                run()
            seconds = _timed(run, repeats)
        except Exception:  # it broke down, ran out of memory or is broken: that must not cost the profile
            continue
        found = None if seconds is None else run_of(plan.task, entry, identity, *seconds, None)
        if found is not None:
            yield found


def _timed(run: Callable[[], tuple[float, float] | None], repeats: int) -> tuple[float, float] | None:
    """The median of so many runs that other programs did not disturb; None where there was none."""
    calm: list[tuple[float, float]] = []
    for _ in range(_ATTEMPTS * repeats):
        time.sleep(_PAUSE)
        waited = waited_for_processor()
        seconds = run()
        if seconds is None:
            return None
        if waited_for_processor() - waited < _DISTURBED * sum(seconds):
            calm.append(seconds)
        if len(calm) == repeats:
            break
    return sorted(calm, key=sum)[(len(calm) - 1) // 2] if calm else None


def _forecast(entry: Entry) -> float:
    """Seconds of run and certificate."""
    assert entry.candidate.forecast is not None
    return sum(seconds for _, seconds in entry.candidate.forecast.stages)
