"""What the demo prints: one block per case, a table at the end. Losses and ties are said as plainly as gains."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ...profiles import Found
from ...profiles.errors import AutonlaError
from ..budget import Budget
from ..candidates import show_bytes, show_seconds
from ..explanation import _reason as reason
from ..plans import Candidate, Plan
from ..problems import LowRank, Problem
from ..terminal import show_energy, show_error

if TYPE_CHECKING:
    from .run import Outcome, Timing

_TIE = 1.1  # a ratio of times below this, either way, is called a tie
_FORECAST_FACTOR = 1.5
_BUSY = 0.75
_LABEL = 11
_MOST_REJECTED = 3
_MOST_FINDINGS = 4


def heading(out: Console, quick: bool) -> None:
    """The first lines."""
    out.print(Rule("autonla demo", style="cyan"))
    out.print(
        "Each problem is solved under a budget: probed, planned, run and certified. The whole call is timed in turn"
        " with the calls one would make today (medians), and every error is measured by a separate yardstick."
    )
    if quick:
        out.print("--quick: small problems, timed once; their times say little.", style="yellow")


def busy(out: Console) -> None:
    """A warning where other programs keep the processor busy."""
    load, cores = psutil.getloadavg()[0], psutil.cpu_count() or 1
    if load > _BUSY * cores:
        out.print(
            f"The machine is busy (load {load:.1f} on {cores} cores): times and comparisons of speed will be off.",
            style="yellow",
        )


def before_profile(out: Console) -> None:
    """Said while the user waits for the measurement."""
    out.print("This machine has not been profiled yet: measuring it once, at most a minute.", style="dim")


def incomplete_profile(out: Console) -> None:
    """Said when the measurement ran into its time limit."""
    out.print(
        "A minute was not enough to measure everything here; a generic profile fills the gaps."
        " `autonla profile --rigor standard` takes up to ten.",
        style="yellow",
    )


def machine(out: Console, found: Found) -> None:
    """Which profile the forecasts are priced on."""
    profile = found.profile
    if found.source == "shipped":
        out.print(
            f"profile: a generic one ({'; '.join(found.reasons)}); forecasts are rough", style="yellow", markup=False
        )
    else:
        threads = max(profile.fingerprint.threads.values(), default=1)
        out.print(
            f"profile: {profile.name}, {threads} thread{'s' * (threads > 1)}, {profile.rigor}, {profile.created[:10]};"
            f" energy {'measured' if profile.energy.source == 'measured' else 'modelled'}",
            style="dim", markup=False,
        )  # fmt: skip


def call_text(problem: Problem, budget: Budget) -> str:
    """The call as one writes it."""
    operands = ["A"] if isinstance(problem, LowRank) else ["A", "b"]
    for name in ("ridge", "rank", "center"):
        if value := getattr(problem, name, None):
            operands.append(f"{name}={value:g}" if name == "ridge" else f"{name}={value}")
    return f"solve({type(problem).__name__}({', '.join(operands)}), {budget_text(budget)})"


def budget_text(budget: Budget) -> str:
    """The budget as one writes it."""
    shown = []
    if budget.accuracy is not None:
        shown.append(f"accuracy={budget.accuracy:g}")
    if budget.latency is not None:
        shown.append(f"latency={show_seconds(budget.latency)!r}")
    if budget.memory is not None:
        shown.append(f"memory={show_bytes(budget.memory)!r}")
    return f"Budget({', '.join(shown)})"


def case(out: Console, number: int, total: int, outcome: Outcome) -> None:
    """The block of one case."""
    plan, record = outcome.plan, outcome.record
    out.print()
    out.print(Rule(Text(f"{number} of {total}  {outcome.title}", style="bold"), align="left", style="cyan"))
    _line(out, "data", outcome.data, style="dim")
    _line(out, "call", outcome.call, style="dim")
    _lines(out, "probes", _findings(plan))
    _line(out, "chosen", f"{plan.chosen.title}  {plan.chosen.label}", style="bold")
    _lines(out, "because", _because(outcome))
    for attempt in record.attempts[:-1]:
        _line(out, "tried", f"{attempt.label}: {attempt.outcome}", style="yellow")
    out.print(_forecast_table(outcome))
    stages = ", ".join(
        f"{name} {show_seconds(record.seconds[name])}"
        for name in ("probe", "plan", "run", "certify")
        if record.seconds[name] > 0.0
    )
    _line(out, "whole call", f"{show_seconds(outcome.seconds)} ({stages})")
    for text, kept in _limits(outcome):
        _line(out, "limit", text, style="green" if kept else "red")
    mark, style = ("✔", "green") if outcome.status == "certified" else ("•", "yellow")
    _line(out, "certificate", f"{mark} {outcome.status}: {outcome.certificate}", style=style)
    for timing in outcome.today:
        verdict, style = compare(timing.seconds, outcome.seconds)
        missed = "" if _good(outcome, timing) else ", which misses the accuracy"
        once = " (one run)" if timing.runs == 1 else ""
        text = f"{timing.label} {show_seconds(timing.seconds)}{once}, error {show_error(timing.error)}{missed}: "
        _line(out, "today", f"{text}autonla is {verdict}", style=style)


def _limits(outcome: Outcome) -> list[tuple[str, bool]]:
    """The limits of the budget, and whether they were kept."""
    budget, peak, found = outcome.budget, outcome.record.peak_bytes, []
    if budget.latency is not None:
        kept = outcome.seconds <= budget.latency
        found.append((f"{show_seconds(budget.latency)} allowed, {show_seconds(outcome.seconds)} taken", kept))
    if budget.memory is not None and peak is not None:
        kept = peak <= budget.memory
        found.append((f"{show_bytes(budget.memory)} beyond the data allowed, {show_bytes(peak)} taken", kept))
    return found


def _good(outcome: Outcome, timing: Timing) -> bool:
    """Whether one of today's calls reaches the accuracy that was asked for."""
    accuracy = outcome.budget.accuracy
    return accuracy is None or timing.error <= accuracy


def _fastest(outcome: Outcome) -> Timing:
    """The fastest of today's calls that is good enough (of all, if none is)."""
    return min(outcome.today, key=lambda timing: (not _good(outcome, timing), timing.seconds))


def compare(theirs: float, ours: float) -> tuple[str, str]:
    """In words how ours compares with theirs, and a colour."""
    ratio = theirs / ours
    if ratio >= _TIE:
        return f"{ratio:.1f}x faster", "green"
    if ratio <= 1.0 / _TIE:
        return f"{1.0 / ratio:.1f}x slower", "red"
    return "as fast", "yellow"


def refusal(out: Console, number: int, total: int, title: str, error: AutonlaError) -> None:
    """A case that could not be solved within its budget."""
    out.print()
    out.print(Rule(Text(f"{number} of {total}  {title}", style="bold"), align="left", style="cyan"))
    _line(out, "not solved", f"{type(error).__name__}: {error}", style="red")


def _line(out: Console, label: str, text: str, style: str = "") -> None:
    _lines(out, label, [text], style)


def _lines(out: Console, label: str, texts: Iterable[str], style: str = "") -> None:
    width = max(40, out.width - _LABEL - 2)
    for text in texts:
        for piece in textwrap.wrap(text, width) or [""]:
            out.print(Text.assemble((f"{label:<{_LABEL}} ", "cyan"), (piece, style)), soft_wrap=True)
            label = ""


def _findings(plan: Plan) -> list[str]:
    findings = plan.evidence.findings
    if not findings:
        return ["none was worth its price"]
    lines = [f"{f.sentence}{f' ({show_seconds(f.seconds)})' if f.seconds else ''}" for f in findings]
    hidden = len(lines) - _MOST_FINDINGS
    return lines[:_MOST_FINDINGS] + ([f"and {hidden} more"] if hidden > 0 else [])


def _because(outcome: Outcome) -> list[str]:
    """The reason, the best reasons against other algorithms, and what the budget's point changed."""
    plan = outcome.plan
    if any(finding.probe == "none" for finding in plan.evidence.findings):  # the fast path compares nothing
        return list(plan.notes)
    lines = [reason(plan), *(note for note in plan.notes if not note.startswith("nothing fits"))]
    fit = {c.algorithm for c in plan.candidates if c.feasible} | {plan.chosen.algorithm}
    rejected = _one_per_algorithm(c for c in plan.candidates if c.algorithm not in fit)
    lines += [f"not {c.title}: {c.reason}" for c in rejected[:_MOST_REJECTED]]
    return lines + ([outcome.relaxed] if outcome.relaxed else [])


def _one_per_algorithm(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first, hence best, candidate of every algorithm."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.algorithm, candidate)
    return list(first.values())


def _forecast_table(outcome: Outcome) -> Table:
    record, forecast = outcome.record, outcome.plan.chosen.forecast
    run = record.seconds["run"] + record.seconds["certify"]
    measured = (
        ("run and certify", "seconds", show_seconds, show_seconds(run)),
        ("memory", "bytes", show_bytes, _peak(record)),
        (f"energy ({record.energy_source})", "joules", show_energy, show_energy(record.joules)),
        ("error", "error", show_error, show_error(outcome.error) + (f", rank {outcome.rank}" if outcome.rank else "")),
    )
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="cyan", min_width=_LABEL - 2)
    rows: list[list[str | Text]] = [[""], ["forecast"], [Text("  90 %", style="dim")], ["measured"]]
    for name, attribute, show, text in measured:
        table.add_column()
        interval = None if forecast is None else getattr(forecast, attribute)
        rows[0].append(Text(name, style="dim"))
        rows[1].append("-" if interval is None else show(interval.median))
        rows[2].append("" if interval is None else Text(f"{show(interval.low)} to {show(interval.high)}", style="dim"))
        rows[3].append(Text(text, style="bold"))
    for row in rows:
        table.add_row(*row)
    return table


def _peak(record: Any) -> str:
    return "not measured" if record.peak_bytes is None else show_bytes(record.peak_bytes)


def summary(out: Console, outcomes: list[Outcome], refused: list[str], picture: Path | None, seconds: float) -> None:
    """The table of all cases and what it adds up to."""
    out.print()
    out.print(Rule("summary", style="cyan"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, justify in (
        ("problem", "left"), ("chosen", "left"), ("autonla", "right"), ("today", "right"), ("autonla is", "left"),
        ("certified", "right"), ("forecast", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for outcome in outcomes:
        table.add_row(*_summary_row(outcome))
    for name in refused:
        table.add_row(Text(name), Text("not solved", style="red"))
    out.print(table)
    out.print()
    for line in totals(outcomes, refused):
        out.print(line, markup=False)
    if picture is not None:
        out.print(
            f"the frontier of candidates, time against error: {picture}", style="bold", markup=False, soft_wrap=True
        )
    out.print(f"the demo took {seconds:.0f} s", style="dim")


def _summary_row(outcome: Outcome) -> list[Text]:
    best = _fastest(outcome)
    verdict, style = compare(best.seconds, outcome.seconds)
    ratio = _time_over_forecast(outcome)
    near = ratio is not None and 1.0 / _FORECAST_FACTOR <= ratio <= _FORECAST_FACTOR
    return [
        Text(outcome.name),
        Text(outcome.record.attempts[-1].label.partition("[")[0].partition("(")[0].replace("_", " ")),
        Text(show_seconds(outcome.seconds)),
        Text(show_seconds(best.seconds)),
        Text(verdict, style=style),
        Text(f"≤ {outcome.certificate.bound:.0e}", style="green" if outcome.status == "certified" else "yellow"),
        Text("-" if ratio is None else f"x {ratio:.2g}", style="" if near else "yellow"),
    ]


def _time_over_forecast(outcome: Outcome) -> float | None:
    """Measured over forecast time of running and certifying; None where the first choice was not the last."""
    forecast, record = outcome.plan.chosen.forecast, outcome.record
    if forecast is None or len(record.attempts) != 1:
        return None
    return (record.seconds["run"] + record.seconds["certify"]) / forecast.seconds.median


def totals(outcomes: list[Outcome], refused: list[str]) -> list[str]:
    """Certified answers, speed against the fastest of today's calls, quality of the forecasts of time."""
    certified = sum(o.status == "certified" for o in outcomes)
    limits = [kept for o in outcomes for _, kept in _limits(o)]
    ratios = [_fastest(o).seconds / o.seconds for o in outcomes]
    faster = sum(r >= _TIE for r in ratios)
    slower = sum(r <= 1.0 / _TIE for r in ratios)
    forecasts = [ratio for o in outcomes if (ratio := _time_over_forecast(o)) is not None]
    near = sum(1.0 / _FORECAST_FACTOR <= ratio <= _FORECAST_FACTOR for ratio in forecasts)
    lines = [
        f"{certified} of {len(outcomes)} answers certified"
        + (f", {len(refused)} not solved within their budget" if refused else ""),
        f"against the fastest of today's calls: {faster} faster, {len(ratios) - faster - slower} as fast,"
        f" {slower} slower",
    ]
    if limits:
        lines.append(f"limits of time and memory kept: {sum(limits)} of {len(limits)}")
    if forecasts:
        lines.append(f"measured time within a factor {_FORECAST_FACTOR:g} of forecast: {near} of {len(forecasts)}")
    return lines
