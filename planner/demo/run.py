"""Runs the demo: every case solved, timed beside today's calls, reported; the frontier drawn at the end."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...profiles import Found, find, save
from ...profiles.errors import AutonlaError
from .. import plan, race, solve
from ..budget import Budget
from ..certificate import Certificate
from ..plans import Plan
from ..problems import LowRank
from ..racing import Race
from ..solution import Record, Solution
from ..terminal import console, measure
from . import report
from .picture import draw
from .problems import Case, Sizes, Today, entries

_SLOW = 3.0  # a call that takes longer is run once, after the first that warms up [s]
_SETTLE = 0.12  # idle threads of one library's pool spin for a while and would disturb the next call [s]
_HURRY = 150.0  # after so long every call is timed once [s]
_RUNS = 3
_RUNS_WHEN_FAST = 7
_FAST = 0.15


@dataclass(frozen=True, slots=True)
class Timing:
    """One of today's calls: median time [s] and error by the demo's yardstick."""

    label: str
    seconds: float
    error: float
    runs: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case; it holds no operands, which together would take a gigabyte.

    Attributes
    ----------
    name, title, data, call : str
        The case in a few words and in a line, its data, and the call as one writes it.
    budget : Budget
    plan, certificate, status, record
        Of the solution whose run had the median time.
    rank : int or None
        Rank that was found, where it was not given.
    seconds : float
        Median of the whole call `solve` [s], by the demo's clock.
    error : float
        By the demo's yardstick.
    relaxed : str
        What would be chosen under the case's relaxed budget, a sentence; empty where there is none.
    raced : Race or None
        Every feasible candidate, run.
    """

    name: str
    title: str
    data: str
    call: str
    budget: Budget
    plan: Plan
    certificate: Certificate
    status: str
    record: Record
    rank: int | None
    seconds: float
    error: float
    today: tuple[Timing, ...]
    relaxed: str
    raced: Race | None


def run_demo(
    folder: str | Path = "autonla-demo",
    *,
    quick: bool = False,
    measure_profile: bool = True,
    out: Console | None = None,
) -> list[Outcome]:
    """Solve every case, print what happened, and save the picture of two frontiers.

    Parameters
    ----------
    folder : path
        Created where missing; ``frontier.png`` is written there.
    quick : bool
        Small problems, and no measurement of the machine.
    measure_profile : bool
        Measure the quick profile first, and save it, where the user has none.

    Returns
    -------
    list of Outcome
        Of the cases that could be solved.

    Raises
    ------
    AutonlaError
        If no profile can be used or the folder cannot be written.
    """
    out = out or console()
    folder = _made(Path(folder))
    began = time.perf_counter()
    report.heading(out, quick)
    report.busy(out)
    report.machine(out, _profile(out, measure_profile and not quick))
    cases = list(entries(Sizes.quick() if quick else Sizes()))
    outcomes: list[Outcome] = []
    refused: list[str] = []
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True, refresh_per_second=3) as bar:
        task = bar.add_task("", total=len(cases) + 1)
        for number, entry in enumerate(cases, 1):

            def say(what: str, title: str = entry.title) -> None:
                bar.update(task, description=f"{title}: {what}"[:44])

            try:
                say("data")
                case = entry.build()
                hurry = quick or time.perf_counter() - began > _HURRY
                outcome = _run(entry.title, case, 1 if hurry else None, say)
            except AutonlaError as error:
                refused.append(entry.title)
                report.refusal(bar.console, number, len(cases), entry.title, error)
            else:
                report.case(bar.console, number, len(cases), outcome)
                outcomes.append(outcome)
            bar.advance(task)
            gc.collect()
        bar.update(task, description="picture")
        raced = [outcome for outcome in outcomes if outcome.raced is not None]
        picture = draw(raced, folder / "frontier.png") if raced else None
    report.summary(out, outcomes, refused, picture, time.perf_counter() - began)
    return outcomes


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AutonlaError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from error
    return folder


def _profile(out: Console, allowed: bool) -> Found:
    """The profile to plan with, measured first where the user has none."""
    found = find()
    if found.source != "shipped" or not allowed:
        return found
    report.before_profile(out)
    profile = measure(out, "quick")
    if not profile.complete:
        report.incomplete_profile(out)
    save(profile)
    return find()


def _run(name: str, case: Case, turns: int | None, say: Callable[[str], None]) -> Outcome:
    say("solve")
    ours = [_timed(lambda: solve(case.problem, case.budget, rng=0))]  # also compiles what is compiled at first use
    theirs: list[list[float]] = []
    values: list[Any] = []
    for today in case.today:
        say(today.label)
        seconds, result = _timed(today.call)
        theirs.append([seconds])
        values.append(today.value(result))
        del result
    ours = _interleaved(case, ours, theirs, turns, say)
    ours.sort(key=lambda run: run[0])
    seconds, solution = ours[(len(ours) - 1) // 2]
    say("errors")
    timings = tuple(
        Timing(today.label, statistics.median(runs), case.error(value), len(runs))
        for today, runs, value in zip(case.today, theirs, values, strict=True)
    )
    relaxed = ""
    if case.relaxed is not None:
        label = plan(case.problem, case.relaxed, rng=0).chosen.label
        same = " as well" if label == solution.plan.chosen.label else ""
        relaxed = f"with {report.budget_text(case.relaxed)} it would be {label}{same}"
    raced = None
    if case.rounds:
        say("race of all candidates")
        raced = race(case.problem, case.budget, rng=0, repeats=1 if turns == 1 else case.rounds)
        raced = replace(raced, plan=_bare(raced.plan))
    return Outcome(
        name=name,
        title=case.title,
        data=case.data,
        call=report.call_text(case.problem, case.budget),
        budget=case.budget,
        plan=_bare(solution.plan),
        certificate=solution.certificate,
        status=solution.status,
        record=solution.record,
        rank=len(solution.value.s) if isinstance(case.problem, LowRank) and case.problem.rank is None else None,
        seconds=seconds,
        error=case.error(solution.value),
        today=timings,
        relaxed=relaxed,
        raced=raced,
    )


def _bare(plan: Plan) -> Plan:
    """The plan without the operands it is bound to."""
    return replace(plan, _problem=None, _prepared=None)


def _interleaved(
    case: Case, ours: list[tuple[float, Solution]], theirs: list[list[float]], turns: int | None,
    say: Callable[[str], None],
) -> list[tuple[float, Solution]]:  # fmt: skip
    """Runs of ours after the first, which warmed up; those of today's calls are written into `theirs`.

    Turn by turn, so that a disturbance of the machine hits all alike.
    """
    slowest = max([ours[0][0], *(runs[0] for runs in theirs)])
    turns = turns or (_RUNS_WHEN_FAST if slowest < _FAST else _RUNS)
    for turn in range(turns):
        say(f"run {turn + 1} of {turns}")
        if turn == 0 or ours[-1][0] <= _SLOW:
            run = _timed(lambda: solve(case.problem, case.budget, rng=0))
            ours = [run] if turn == 0 else [*ours, run]
        for today, runs in zip(case.today, theirs, strict=True):
            if turn == 0 or runs[-1] <= _SLOW:
                seconds, _ = _timed(today.call)
                runs[:] = [seconds] if turn == 0 else [*runs, seconds]
    return ours


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(_SETTLE)
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


__all__ = ["Outcome", "Timing", "Today", "run_demo"]
