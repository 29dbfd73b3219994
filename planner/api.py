"""The public functions: solve, plan, race, profile_hardware."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..profiles import HardwareProfile
from ..profiles.errors import InvalidBudget, InvalidProblem
from .budget import Budget
from .candidates import show_seconds
from .execution import typed_errors
from .fast_path import is_empty, solve_at_once, solve_empty
from .kinds import kind_for
from .planning import RIGOR, machine_of, make_plan, seed_of
from .plans import Plan
from .problems import Problem
from .racing import Race, run_race
from .solution import Solution

RIGORS = ("quick", "standard", "thorough")
"""How well `profile_hardware` measures."""


def _budget(budget: Any) -> Budget:
    if budget is None:
        return Budget()
    if not isinstance(budget, Budget):
        raise InvalidBudget(f"budget is a {type(budget).__name__}; write autonla.Budget(accuracy=1e-8, latency='2 s')")
    return budget


def _problem(problem: Any) -> Problem:
    if not isinstance(problem, Problem):
        raise InvalidProblem(
            f"problem is a {type(problem).__name__}; state one such as autonla.LeastSquares(A, b)",
            argument="problem",
            found=type(problem).__name__,
        )
    return problem


def _to_standard_error(text: str) -> None:
    sys.stderr.write(f"autonla: {text}\n")


def _reporter(progress: bool | Callable[[str], None]) -> Callable[[str], None]:
    """Where progress messages go: nowhere, standard error, or a function of the caller's."""
    if callable(progress):
        return progress
    if progress:
        return _to_standard_error
    return lambda text: None


@typed_errors()
def solve(
    problem: Problem,
    budget: Budget | None = None,
    *,
    rng: Any = None,
    profile: HardwareProfile | str | Path | None = None,
    rigor: str = "probe",
    progress: bool | Callable[[str], None] = False,
) -> Solution:
    """Solve a problem within a budget: probe, choose, run, certify; escalate where a certificate fails.

    Parameters
    ----------
    problem : Problem
        LinearSystem, Eigenpairs or MatrixFunction of dense arrays, sparse matrices or operators; LeastSquares or
        LowRank of dense arrays (the other kinds can be stated, not yet solved).
    budget : Budget, optional
        Accuracy and limits; without one, what LAPACK would give in the least time.
    rng : None, int or numpy.random.Generator
        Seed of the random streams. The same inputs, seed, profile and thread count give the same plan.
    profile : HardwareProfile or path, optional
        Default: the one `autonla profile` measured on this machine, else a shipped generic one. Its forecasts are
        corrected by the runs of earlier processes (the environment variable AUTONLA_RECORDS=0 prevents that); a
        profile that is given is used as it is.
    rigor : {"estimate", "probe", "race", "exhaustive"}
        No probes; probes where they pay (default); also time the two closest candidates on a part of the problem;
        time all feasible ones so.
    progress : bool or callable
        True writes the stages to standard error; a function is called with one line of text each.

    Returns
    -------
    Solution
        Its value is in the library and dtype of the operands, which are never modified.

    Raises
    ------
    InvalidProblem, NonFiniteInput, DeclarationMismatch
        If the problem cannot be solved as it was stated.
    InfeasibleBudget
        Before anything runs, if nothing is forecast to fit; `.nearest` holds the nearest points of the frontier.
    CertificationFailed
        If no answer could be certified; `.solution` holds the best one.
    BudgetExceeded
        If memory ran out and nothing that needs less was left to try, or time did; `.solution` holds the best answer,
        if there is one.
    NoAlgorithm
        If nothing is registered for this kind of problem or operand.

    Examples
    --------
    >>> import autonla as nla, numpy as np
    >>> A = np.vander(np.linspace(0, 1, 30), 5); b = np.ones(30)
    >>> nla.solve(nla.LeastSquares(A, b), nla.Budget(accuracy=1e-10)).status
    'certified'
    """
    problem, budget, report = _problem(problem), _budget(budget), _reporter(progress)
    if rigor not in RIGOR:
        raise InvalidProblem(f"rigor = {rigor!r} is not one of {', '.join(RIGOR)}", argument="rigor", found=repr(rigor))
    kind = kind_for(problem)
    if is_empty(problem):
        return solve_empty(problem, budget)
    seed = seed_of(rng)
    before = None
    if rigor in ("probe", "estimate") and profile is None:
        before = solve_at_once(kind, problem, budget, seed)
        if isinstance(before, Solution):
            return before
    from .execution import execute

    machine = machine_of(profile)
    report(f"planning {problem!r}")
    plan = make_plan(
        problem,
        budget,
        rng=seed,
        profile=machine.profile,
        rigor=rigor,
        described=machine.description,
        before=before,
        later=True,
    )
    report(f"running {plan.chosen.label}, forecast {_forecast_seconds(plan)}")
    solution = execute(plan, plan._entries, machine.profile, before=before)
    report(f"{solution.status}: {solution.certificate}")
    return solution


def _forecast_seconds(plan: Plan) -> str:
    forecast = plan.chosen.forecast
    return "unknown" if forecast is None else show_seconds(forecast.seconds.median)


@typed_errors()
def plan(
    problem: Problem,
    budget: Budget | None = None,
    *,
    rng: Any = None,
    profile: HardwareProfile | str | Path | None = None,
    rigor: str = "probe",
) -> Plan:
    """What `solve` would run and why; runs nothing but probes. Arguments and errors are those of `solve`.

    Returns
    -------
    Plan
        Its `run()` solves the problem, reusing what the probes computed.
    """
    problem = _problem(problem)
    if is_empty(problem):
        kind_for(problem)
        return solve_empty(problem, _budget(budget)).plan
    machine = machine_of(profile)
    return make_plan(
        problem, _budget(budget), rng=rng, profile=machine.profile, rigor=rigor, described=machine.description
    )


@typed_errors()
def race(
    problem: Problem,
    budget: Budget | None = None,
    *,
    rng: Any = None,
    profile: HardwareProfile | str | Path | None = None,
    repeats: int = 1,
    progress: bool | Callable[[str], None] = False,
) -> Race:
    """Run every feasible candidate, interleaved, and certify each: the best in hindsight, measured.

    Parameters
    ----------
    repeats : int, default 1
        Rounds; each round runs every candidate once, and medians are reported.

    Other arguments and errors are those of `solve`.

    Returns
    -------
    Race
    """
    problem, report = _problem(problem), _reporter(progress)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InvalidProblem(f"repeats = {repeats!r} must be a positive integer", argument="repeats")
    if is_empty(problem):
        return Race((), plan(problem, budget, rng=rng, profile=profile))
    machine = machine_of(profile)
    made = make_plan(
        problem,
        _budget(budget),
        rng=rng,
        profile=machine.profile,
        rigor="probe",
        described=machine.description,
    )
    return Race(tuple(run_race(made, repeats, report)), made)


def profile_hardware(
    rigor: str = "quick", *, save: bool = True, progress: Callable[[float, str], None] | None = None
) -> HardwareProfile:
    """Measure this machine once; `solve` and `plan` use the result from then on.

    First its kernels; then small problems are solved by every algorithm that applies, and what the forecasts were off
    by becomes the corrections of the profile.

    Parameters
    ----------
    rigor : {"quick", "standard", "thorough"}
        About one minute, ten minutes, or more than an hour; "thorough" also tunes free parameters of the algorithms.
    save : bool, default True
        Keep it where later processes find it.
    progress : callable (fraction, text), optional

    Returns
    -------
    HardwareProfile
    """
    import warnings

    from ..cost_models.measure import measure_profile
    from ..profiles import save as save_profile
    from ..profiles.errors import AutonlaWarning, ProfileError
    from .calibrate import calibrated

    if rigor not in RIGORS:
        raise InvalidProblem(f"rigor = {rigor!r} is not one of {', '.join(RIGORS)}", argument="rigor", found=rigor)
    report = progress or (lambda fraction, text: None)

    def part(start: float, end: float) -> Callable[[float, str], None]:
        return lambda fraction, text: report(start + (end - start) * min(1.0, fraction), text)

    kernels, calibration = {"quick": (0.8, 1.0), "standard": (0.9, 1.0), "thorough": (0.84, 0.86)}[rigor]
    profile = measure_profile(rigor, progress=part(0.0, kernels))
    profile = calibrated(profile, progress=part(kernels, calibration))
    if rigor == "thorough":
        from .tuning import tuned

        profile = tuned(profile, progress=part(calibration, 1.0))
    if save:
        try:
            save_profile(profile)
        except ProfileError as error:
            warnings.warn(f"the profile could not be kept ({error}); pass it as profile=", AutonlaWarning, stacklevel=2)
    return profile
