"""Plans and solutions in words: what was found, what was chosen, what was rejected, why, and what happened."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from .candidates import show_bytes, show_seconds
from .kinds import kind_of

if TYPE_CHECKING:
    from ..cost_models.forecast import Forecast
    from .plans import Candidate, Plan
    from .solution import Solution

_WIDTH = 110
_MOST_REJECTED = 5
_NO_STRUCTURE = "the matrix is not known to be"


def _clip(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _forecast(forecast: Forecast) -> str:
    seconds = forecast.seconds
    return (
        f"{show_seconds(seconds.median)} ({show_seconds(seconds.low)} to {show_seconds(seconds.high)}),"
        f" {show_bytes(forecast.bytes.median)}, {forecast.joules.median:.2g} J ({forecast.energy_source}),"
        f" error {forecast.error.median:.1e}"
    )


def _budget(plan: Plan) -> str:
    budget = plan.budget
    parts = [f"accuracy {budget.accuracy:.1e}" if budget.accuracy is not None else _without_accuracy(plan)]
    if budget.latency is not None:
        parts.append(f"at most {show_seconds(budget.latency)}")
    if budget.memory is not None:
        parts.append(f"at most {show_bytes(budget.memory)}")
    if budget.energy is not None:
        parts.append(f"at most {budget.energy:.3g} J")
    if budget.minimize != "latency":
        parts.append(f"least {budget.minimize}")
    return ", ".join(parts)


def _without_accuracy(plan: Plan) -> str:
    if plan.budget.limited:
        return "the most accurate answer that fits"
    return f"LAPACK's accuracy (about {plan.target:.0e})"


def explain_plan(plan: Plan) -> str:
    """At most 25 lines."""
    lines = [
        f"Problem   {kind_of(plan.task.kind).describe(plan.task)}",
        f"Budget    {_budget(plan)}; error measured as {plan.metric.replace('_', ' ')}",
    ]
    for i, finding in enumerate(plan.evidence.findings[:6]):
        price = f" [{show_seconds(finding.seconds)}]" if finding.seconds else ""
        lines.append(_clip(f"{'Found' if i == 0 else '':10s}{finding.sentence}{price}"))
    if not plan.evidence.findings:
        lines.append("Found     nothing was probed")
    chosen = plan.chosen
    lines.append(_clip(f"Chosen    {chosen.label}: {chosen.title}"))
    if chosen.forecast is not None:
        lines.append(f"Forecast  {_forecast(chosen.forecast)}")
    lines.append(_clip(f"Because   {_reason(plan)}"))
    lines += [_clip(f"Note      {note}") for note in plan.notes[:2]]
    runners = [c for c in plan.candidates if c.feasible and c.label != chosen.label]
    if runners:
        shown = ", ".join(f"{c.label} {show_seconds(c.forecast.seconds.median)}" for c in runners[:3] if c.forecast)
        more = f" and {len(runners) - 3} more" if len(runners) > 3 else ""
        lines.append(_clip(f"Also fits {shown}{more}", 2 * _WIDTH))
    lines += _rejected(plan)
    lines.append(f"Priced on {plan.profile}")
    return "\n".join(lines)


def _rejected(plan: Plan) -> list[str]:
    """One line for each algorithm that was rejected, with the reason of its nearest variant."""
    feasible = {c.algorithm for c in plan.candidates if c.feasible} | {plan.chosen.algorithm}
    seen: dict[str, Candidate] = {}
    for candidate in plan.candidates:
        if not candidate.feasible and candidate.algorithm not in feasible:
            seen.setdefault(candidate.algorithm, candidate)
    unstructured = [c for c in seen.values() if c.reason.startswith(_NO_STRUCTURE)]
    lines = [f"{c.title}: {c.reason}" for c in seen.values() if c not in unstructured]
    if len(unstructured) > 1:
        lines.append(f"{', '.join(c.title for c in unstructured)}: A has no such structure")
    else:
        lines += [f"{c.title}: {c.reason}" for c in unstructured]
    if len(lines) > _MOST_REJECTED:
        lines = [*lines[:_MOST_REJECTED], f"and {len(lines) - _MOST_REJECTED} more: see plan.candidates"]
    return [_clip(f"{'Rejected' if i == 0 else '':10s}{line}", 2 * _WIDTH) for i, line in enumerate(lines)]


def _reason(plan: Plan) -> str:
    """Why the chosen one, against the next that fits."""
    chosen = plan.chosen
    others = [c for c in plan.candidates if c.feasible and c.label != chosen.label and c.forecast]
    if chosen.forecast is None:
        return "there is nothing to compute" if chosen.algorithm == "empty" else "nothing else can be priced here"
    if not chosen.feasible:
        return f"nothing fits the budget; this comes nearest ({chosen.reason})"
    if not others:
        return "it is the only candidate that fits the budget"
    rivals = [c for c in others if c.algorithm != chosen.algorithm] or others
    rival = rivals[0]
    assert rival.forecast is not None
    if plan.budget.minimize == "memory":
        return f"least memory that fits: {show_bytes(chosen.forecast.bytes.median)} against " + (
            f"{show_bytes(rival.forecast.bytes.median)} for {rival.label}"
        )
    if plan.budget.minimize == "error" or (plan.budget.accuracy is None and plan.budget.limited):
        return (
            f"most accurate that fits: error {chosen.forecast.error.median:.1e} against"
            f" {rival.forecast.error.median:.1e} for {rival.label}"
        )
    ratio = rival.forecast.seconds.median / max(chosen.forecast.seconds.median, 1e-12)
    if ratio < 0.995 and rival.failure > chosen.failure + 0.01:
        return (
            f"least expected cost: {rival.label} takes {ratio:.0%} of its time but fails its certificate with"
            f" probability {rival.failure:.0%}"
        )
    if ratio < 1.03:
        return f"as fast as anything that fits: {rival.label} is forecast at {ratio:.0%} of its time, within the margin"
    faster = f"{ratio:.1f} times" if ratio >= 1.1 else f"{ratio - 1.0:.0%}"
    return f"least expected time to a certified answer: {faster} faster than {rival.label}"


def explain_solution(solution: Solution) -> str:
    """The plan's explanation and what happened, at most 25 lines."""
    plan, record = solution.plan, solution.record
    lines = explain_plan(plan).split("\n")
    after = []
    if len(record.attempts) > 1 or solution.status != "certified":
        attempts = record.attempts if len(record.attempts) <= 4 else (*record.attempts[:3], record.attempts[-1])
        for attempt in attempts:
            after.append(_clip(f"Tried     {attempt.label} ({show_seconds(attempt.seconds)}): {attempt.outcome}"))
    stages = ", ".join(f"{name} {show_seconds(s)}" for name, s in record.seconds.items() if name != "total" and s > 0)
    memory = "" if record.peak_bytes is None else f"; {show_bytes(record.peak_bytes)} extra memory"
    after.append(
        f"Took      {show_seconds(record.seconds['total'])} ({stages}){memory};"
        f" {record.joules:.2g} J ({record.energy_source})"
    )
    details = record.attempts[-1].details if record.attempts else {}
    if details:
        after.append(_clip("Run       " + ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in details.items())))
    after.append(f"Status    {solution.status}: {solution.certificate}")
    return "\n".join(lines[: 25 - len(after)] + after)


def _plain(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_html(text: str) -> str:
    """Text for a notebook."""
    return f"<pre style='line-height:1.25'>{html.escape(text)}</pre>"
