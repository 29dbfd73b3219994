"""Tuning: values of the algorithms' free parameters that are better on this machine than their defaults.

For each algorithm Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes values, and
problems are solved with them and with the defaults in turn, probe, plan and certificate included; the mean of
log(seconds / seconds with the defaults) is what it minimises. The best of many noisy measurements looks better than it
is: it is measured afresh, and kept only where it saves at least `WORTH`. The switch margin of the planner is chosen on
the calibration runs, each shape forecast with corrections learned from the others.

How many power steps a range finder takes is not among them: forecasts choose it for every problem.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median
from typing import Any

import numpy as np

from ..cost_models.corrections import bias, correction_of, features, fit
from ..primitives.tuning import DEFAULT, RANGES
from ..profiles import HardwareProfile, Run, completed
from ..profiles.errors import AutonlaError
from .attempts import run_and_certify
from .budget import Budget
from .calibrate import Case, approximation, regression
from .candidates import SWITCH_MARGIN
from .kinds import kind_of
from .planning import make_plan
from .problems import Problem

TIME_LIMIT = 600.0
"""Default time limit [s]."""
WORTH = 0.03
"""Share of the time that a value must save to be kept."""

_TRIALS = 24  # at most, per algorithm
_PAIRS, _PAIRS_TO_CONFIRM = 2, 5
_FAILED = math.log(4.0)  # what a trial is charged where nothing is certified with its values
_FEWEST_SHAPES = 8  # with fewer the calibration says nothing of the switch margin
_MARGIN_WORTH = 0.01  # of the mean regret
_WIDEST_MARGIN = 0.5

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Study:
    """Parameters that are tuned together, on problems that one algorithm solves."""

    algorithm: str
    parameters: tuple[str, ...]
    cases: tuple[Case, ...]


_TALL = (regression(40_000, 100, 1e9), regression(100_000, 50, 1e8), regression(20_000, 200, 1e9))
STUDIES = (
    Study("spir", ("sketch_factor", "nonzeros"), _TALL),
    Study("randomized_cholesky_qr", ("panel_entries",), _TALL),
    Study(
        "randomized_svd",
        ("oversampling",),
        (
            approximation(2000, 1000, 20),
            approximation(1500, 1500, 100, decay=0.5),
            approximation(20_000, 300, 30, 0.02, decay=0.7),
            approximation(3000, 1000, 50, 0.01, decay=2.0),
        ),
    ),
    Study(
        "block_krylov",
        ("krylov_width", "krylov_steps"),
        (
            approximation(2000, 1000, 40, 1e-3),
            approximation(1500, 1500, 60, 1e-3, decay=0.5),
            approximation(20_000, 600, 40, 1e-3),
        ),
    ),
)


def tuned(
    profile: HardwareProfile,
    *,
    time_limit: float = TIME_LIMIT,
    trials: int = _TRIALS,
    progress: Progress | None = None,
    studies: tuple[Study, ...] = STUDIES,
) -> HardwareProfile:
    """The profile with what tuning found, measured on this machine now.

    Parameters
    ----------
    profile : HardwareProfile
        Of this machine, calibrated. What was tuned before is forgotten.
    time_limit : float [s]
        Shared by the studies.
    trials : int
        Values tried for each study, at most.
    progress : callable (fraction, text), optional
    studies : tuple of Study

    Returns
    -------
    HardwareProfile
        Its `tuning` holds the values that were kept, its `notes` a line for each study.
    """
    started = time.perf_counter()
    report = progress or (lambda fraction, text: None)
    plain = profile.model_copy(update={"tuning": {}})
    base = completed(plain)
    found: dict[str, float] = {}
    notes = []
    margin, note = switch_margin(base)
    notes.append(note)
    if margin is not None:
        found["switch_margin"] = margin
    for number, study in enumerate(studies):
        left = time_limit - (time.perf_counter() - started)
        share = left / (len(studies) - number)

        def step(fraction: float, number: int = number, study: Study = study) -> None:
            report((number + fraction) / len(studies), f"tuning {study.algorithm}")

        values, note = _searched(study, base.model_copy(update={"tuning": dict(found)}), share, trials, step)
        found |= values
        notes.append(note)
    report(1.0, "done")
    spent = round(profile.seconds_spent + time.perf_counter() - started, 3)
    return plain.model_copy(update={"tuning": found, "notes": (*plain.notes, *notes), "seconds_spent": spent})


def _searched(
    study: Study, profile: HardwareProfile, seconds: float, trials: int, report: Callable[[float], None]
) -> tuple[dict[str, float], str]:
    """Values that are worth having, and what to say of them."""
    import optuna

    started = time.perf_counter()
    default = {name: getattr(DEFAULT, name) for name in study.parameters}
    distributions = {name: _distribution(name) for name in study.parameters}
    problems = [(case.make(np.random.default_rng(i)), case.budget) for i, case in enumerate(study.cases)]

    def score(values: dict[str, float], pairs: int) -> float | None:
        """Mean of log(seconds / seconds with the defaults); None where the defaults solve none of the problems."""
        changed = profile.model_copy(update={"tuning": {**profile.tuning, **values}})
        ratios = [_log_ratio(study.algorithm, *problem, changed, profile, pairs) for problem in problems]
        known = [ratio for ratio in ratios if ratio is not None]
        return fmean(known) if known else None

    with _quiet(optuna):
        search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=min(8, trials)))
        for number in range(trials):
            used = time.perf_counter() - started
            if used > 0.8 * seconds:  # the rest is for the confirmation
                break
            report(max(used / seconds, number / trials))
            trial = search.ask(distributions)
            measured = score(trial.params, _PAIRS)
            if measured is None:
                return {}, f"tuning: {study.algorithm} applies to none of its problems here"
            search.tell(trial, measured)
        done = search.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        best = search.best_params if done else default
    shown = ", ".join(f"{name} = {value:.3g}" for name, value in best.items())
    saved = None if best == default else score(best, _PAIRS_TO_CONFIRM)
    if saved is None or saved > math.log1p(-WORTH):
        against = "" if saved is None else f" ({shown} takes {math.exp(saved):.2f} of the time)"
        return {}, f"tuning: {study.algorithm} keeps its defaults after {len(done)} trials{against}"
    note = f"tuning: {study.algorithm} with {shown} takes {math.exp(saved):.2f} of the time, after {len(done)} trials"
    return best, note


def _distribution(name: str) -> Any:
    import optuna

    low, high = RANGES[name]
    if isinstance(getattr(DEFAULT, name), int):
        return optuna.distributions.IntDistribution(int(low), int(high), log=high >= 10 * low)
    return optuna.distributions.FloatDistribution(low, high, log=high >= 10 * low)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Optuna's own log, a line for each trial, is not shown."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _log_ratio(
    algorithm: str, problem: Problem, budget: Budget, trial: HardwareProfile, default: HardwareProfile, pairs: int
) -> float | None:
    """Median of log(seconds with the trial's values / with the defaults), runs in turn; None: not with the defaults."""
    warm = [_seconds(algorithm, problem, budget, profile) for profile in (default, trial)]
    if warm[0] is None:
        return None
    if warm[1] is None:
        return _FAILED
    ratios = []
    for number in range(pairs):
        sign = -1.0 if number % 2 else 1.0  # which of the two comes first
        first, second = (default, trial) if number % 2 else (trial, default)
        before = _seconds(algorithm, problem, budget, first)
        after = _seconds(algorithm, problem, budget, second)
        if before is None or after is None:
            return _FAILED
        ratios.append(sign * math.log(before / after))
    return median(ratios)


def _seconds(algorithm: str, problem: Problem, budget: Budget, profile: HardwareProfile) -> float | None:
    """Probe, plan, run and certificate of the algorithm's best candidate; None where that gives no certified answer."""
    started = time.perf_counter()
    try:
        plan = make_plan(problem, budget, rng=0, profile=profile, rigor="probe", described="")
        entries = [e for e in plan._entries or () if e.algorithm.name == algorithm and e.candidate.forecast]
        if not entries:
            return None
        entry = min(entries, key=lambda e: (not e.candidate.feasible, e.candidate.cost))
        _, certificate, *_ = run_and_certify(
            kind_of(plan.task.kind), plan._prepared, entry, plan.metric, budget.accuracy, budget.confidence
        )
    except (AutonlaError, ArithmeticError, MemoryError):
        return None
    return time.perf_counter() - started if certificate.satisfied else None


def switch_margin(profile: HardwareProfile) -> tuple[float | None, str]:
    """The margin that costs least on the calibration runs, None to keep the default, and what to say of it."""
    import optuna

    shapes = list(_choices(profile.calibration))
    if len(shapes) < _FEWEST_SHAPES:
        return None, f"tuning: {len(shapes)} shapes of the calibration say nothing of the switch margin"

    def regret(margin: float) -> float:
        """Mean of log(measured / best measured) of what would be chosen."""
        lost = []
        for runs in shapes:
            chosen = min(runs, key=lambda r: r[0] * (1.0 if r[2] else 1.0 + margin))
            lost.append(math.log(chosen[1] / min(r[1] for r in runs)))
        return fmean(lost)

    with _quiet(optuna):
        search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        search.enqueue_trial({"margin": SWITCH_MARGIN})
        search.optimize(lambda trial: regret(trial.suggest_float("margin", 0.0, _WIDEST_MARGIN)), n_trials=50)
        least = min(trial.value for trial in search.trials if trial.value is not None)
        # the regret is a step function: of all that are best, the one nearest to the default
        best = min(
            (trial.params["margin"] for trial in search.trials if trial.value is not None and trial.value <= least),
            key=lambda margin: abs(margin - SWITCH_MARGIN),
        )
    saved = regret(SWITCH_MARGIN) - least
    if saved < _MARGIN_WORTH:
        return None, f"tuning: the switch margin stays at {SWITCH_MARGIN} (regret {math.exp(least):.3f} at best)"
    return round(best, 4), f"tuning: a switch margin of {best:.3f} lowers the regret to {math.exp(least):.3f}"


def _choices(calibration: tuple[Run, ...]) -> Iterator[list[tuple[float, float, bool]]]:
    """For each problem of the calibration: (forecast, measured, whether a default) of all that ran.

    The forecasts are corrected by what the other problems teach.
    """

    def problem(run: Run) -> tuple[Any, ...]:
        return run.kind, run.m, run.n, run.nrhs, run.rank

    for key, group in groupby(calibration, problem):
        runs = list(group)
        corrections = fit(run for run in calibration if problem(run) != key)
        defaults = kind_of(key[0]).defaults
        found = []
        for run in runs:
            seen = features(run.m, run.n, run.forecast_run, run.forecast_certify)
            said = bias(correction_of(corrections, run.algorithm, run.backend, run.dtype), seen)
            forecast = (run.forecast_run + run.forecast_certify) * (1.0 if said is None else said.factor)
            found.append((forecast, run.run + run.certify, run.algorithm in defaults))
        if len({default for _, _, default in found}) == 2:
            yield found
