"""Run every feasible candidate of a plan, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..cost_models.memory import PeakMemory
from ..primitives.algorithm import Breakdown
from .attempts import run_and_certify
from .candidates import show_bytes, show_seconds
from .kinds import kind_of
from .plans import Plan


@dataclass(frozen=True, slots=True)
class RaceRow:
    """One candidate, forecast and measured.

    Attributes
    ----------
    label : str
    forecast : Forecast
    seconds : float or None
        Measured time of running and certifying it, the median of the repeats [s]; None if it broke down.
    error : float or None
        Certified error bound.
    certified : bool
        Whether it met the budget's accuracy.
    bytes : float or None
        Measured peak memory beyond the operands [B].
    note : str
        What went wrong, if anything did.
    """

    label: str
    forecast: Any
    seconds: float | None
    error: float | None
    certified: bool
    bytes: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Race:
    """Every feasible candidate, measured, fastest certified one first.

    Attributes
    ----------
    rows : tuple of RaceRow
    plan : Plan
        The plan whose candidates ran; `plan.chosen` is what `solve` would have taken.
    """

    rows: tuple[RaceRow, ...]
    plan: Plan

    @property
    def best(self) -> RaceRow | None:
        """The fastest candidate whose answer was certified."""
        certified = [row for row in self.rows if row.certified and row.seconds is not None]
        return min(certified, key=lambda row: row.seconds or 0.0, default=None)

    def __str__(self) -> str:
        lines = [f"{'candidate':52s} {'forecast':>10s} {'measured':>10s} {'error bound':>12s} {'memory':>10s}"]
        for row in self.rows:
            measured = "-" if row.seconds is None else show_seconds(row.seconds)
            bound = "-" if row.error is None else f"{row.error:.1e}"
            memory = "-" if row.bytes is None else show_bytes(row.bytes)
            mark = "*" if row.label == self.plan.chosen.label else " "
            forecast = show_seconds(row.forecast.seconds.median)
            tail = "" if row.certified else f"  {row.note or 'not certified'}"
            lines.append(f"{mark}{row.label:51s} {forecast:>10s} {measured:>10s} {bound:>12s} {memory:>10s}{tail}")
        return "\n".join(lines)


def run_race(plan: Plan, repeats: int, report: Callable[[str], None]) -> Iterator[RaceRow]:
    """Rows of a race, fastest certified candidate first."""
    kind, budget = kind_of(plan.task.kind), plan.budget
    entries = [e for e in plan._entries if e.candidate.feasible]
    seconds: dict[str, list[float]] = {e.candidate.label: [] for e in entries}
    bounds: dict[str, tuple[float, bool]] = {}
    peaks: dict[str, float] = {}
    notes: dict[str, str] = {}
    for round_ in range(repeats):
        for entry in entries:
            label = entry.candidate.label
            if label in notes:
                continue
            report(f"round {round_ + 1} of {repeats}: {label}")
            try:
                with PeakMemory() as memory:
                    _, certificate, ran, certified = run_and_certify(
                        kind, plan._prepared, entry, plan.metric, budget.accuracy, budget.confidence
                    )
            except (Breakdown, MemoryError) as error:
                notes[label] = f"broke down: {error}"
                continue
            seconds[label].append(ran + certified)
            bounds[label] = (certificate.bound, certificate.satisfied)
            peaks[label] = max(peaks.get(label, 0.0), float(memory.bytes))
    rows = []
    for entry in entries:
        label = entry.candidate.label
        bound, satisfied = bounds.get(label, (None, False))
        rows.append(
            RaceRow(
                label,
                entry.candidate.forecast,
                median(seconds[label]) if seconds[label] else None,
                bound,
                satisfied and label not in notes,
                peaks.get(label),
                notes.get(label, ""),
            )
        )
    yield from sorted(rows, key=lambda row: (not row.certified, row.seconds if row.seconds is not None else 1e300))
