"""The suite in the terminal: a line for each instance while it runs, then a table and the worst cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ...profiles.errors import AutonlaError
from ..candidates import show_seconds
from . import metrics
from .measuring import Row, measure
from .metrics import Summary, summarize
from .suite import suite

_WORST = 8
AIMS = {  # of the full suite, on a profiled and otherwise idle machine
    "regret_mean": (1.10, "<="), "regret_p95": (1.4, "<="), "regret_max": (2.0, "<="), "gap_closed": (0.8, ">="),
    "harmed": (0.01, "<="), "harm_max": (1.25, "<="), "overhead_p95": (0.05, "<="), "q_median": (1.25, "<="),
    "q_p95": (1.8, "<="), "coverage": (0.85, ">="), "memory_under": (0.005, "<="),
}  # fmt: skip
_SHARES = ("gap_closed", "harmed", "overhead_median", "overhead_p95", "certify_median", "coverage", "memory_under")


def run_suite(
    out: Console, *, daily: bool = False, only: str = "", rounds: int = 3, race: bool = True, output: Path | None = None
) -> list[Row]:
    """Measure the suite, print a line for each instance, and write what was measured to `output` as it comes.

    Raises
    ------
    AutonlaError
        If no instance has `only` in its name, or `output` cannot be written.
    """
    chosen = [instance for instance in suite() if only in instance.name and (instance.daily or not daily)]
    if not chosen:
        raise AutonlaError(f"no instance of the suite has {only!r} in its name")
    rows: list[Row] = []
    for number, instance in enumerate(chosen, 1):
        row = measure(instance, rounds, race=race)
        rows.append(row)
        out.print(f"[{number}/{len(chosen)}] {line(row)}", markup=False, highlight=False, soft_wrap=True)
        if output is not None:
            write(output, rows)
    out.print()
    out.print(table(rows))
    for text in worst(rows):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    return rows


def write(output: Path, rows: Sequence[Row]) -> None:
    """Rows and summaries as JSON."""
    document = {"summary": summarize(rows).to_dict(), "rows": [row.to_dict() for row in rows]}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1))
    except OSError as error:
        raise AutonlaError(f"{output}: cannot be written ({error.strerror}); choose another --output") from error


def read(file: Path) -> list[Row]:
    """The rows that `write` wrote."""
    try:
        return [Row.from_dict(row) for row in json.loads(file.read_text())["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AutonlaError(f"{file}: not the result of a benchmark ({error})") from error


def line(row: Row) -> str:
    """One instance."""
    if row.status == "refused":
        return f"{row.name}: refused ({row.note})"
    regret = "" if row.best is None else f", regret {metrics.regret(row):.2f}"
    q = "" if row.forecast is None or row.attempts > 1 else f", forecast off by {metrics.q_error(row):.2f}"
    return (
        f"{row.name}: {row.chosen}, {show_seconds(row.seconds)},"
        f" {row.default_seconds / row.seconds:.2f}x {row.default}{regret}{q}"
        + ("" if row.status == "certified" else f", {row.status}")
    )


def table(rows: Sequence[Row]) -> Table:
    """Summaries of each family and of all, beside what is aimed at."""
    families = sorted({row.family for row in rows})
    columns = [summarize([row for row in rows if row.family == family]) for family in families]
    columns.append(summarize(rows))
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", *(family.replace("_", " ") for family in families), "all", "aim"):
        result.add_column(name, justify="left" if name == "" else "right")
    for name in Summary.__dataclass_fields__:
        aim = AIMS.get(name)
        shown = [_show(name, getattr(summary, name)) for summary in columns]
        if aim is not None:
            value = getattr(columns[-1], name)
            good = value <= aim[0] if aim[1] == "<=" else value >= aim[0]
            shown[-1] = f"[{'green' if good else 'red'}]{shown[-1]}[/]"
        result.add_row(name.replace("_", " "), *shown, "" if aim is None else f"{aim[1]} {_show(name, aim[0])}")
    return result


def _show(name: str, value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.1%}" if name in _SHARES else f"{value:.2f}"


def worst(rows: Sequence[Row]) -> list[str]:
    """The instances that a person would look at first."""
    lines = []
    by_regret = sorted((row for row in rows if row.best is not None), key=metrics.regret, reverse=True)[:_WORST]
    for row in by_regret:
        best = min((c for c in row.candidates if c.seconds is not None), key=lambda c: c.seconds or 0.0)
        stages = ", ".join(f"{name} {show_seconds(seconds)}" for name, seconds in row.stages.items() if seconds > 0.0)
        lines.append(
            f"regret {metrics.regret(row):.2f}: {row.name}: {row.chosen} ({stages}); best {best.label}"
            f" {show_seconds(best.seconds or 0.0)}"
        )
    harmed = [row for row in rows if row.status != "refused" and row.seconds > metrics.HARM * row.default_seconds]
    for row in sorted(harmed, key=lambda row: row.default_seconds / row.seconds)[:_WORST]:
        lines.append(
            f"slower than {row.default} by {row.seconds / row.default_seconds:.2f}: {row.name}: {row.chosen},"
            f" {show_seconds(row.seconds)}"
        )
    return lines
