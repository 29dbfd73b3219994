"""The suite in the terminal: a line for each instance while it runs, then tables, the worst cases and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ...profiles.atomic import replacing
from ...profiles.errors import AutonlaError
from ..candidates import show_seconds
from . import metrics
from .measuring import Row, measure
from .metrics import Summary, summarize
from .real import left_out
from .selectors import Contest, contests
from .stability import Stability, StabilitySummary, machines_of, stability, summarize_stability
from .suite import Instance, suite
from .variants import FULL, Ablation, ablations, run_variants

_WORST = 8
AIMS = {  # of the full suite, on a profiled and otherwise idle machine
    "regret_mean": (1.10, "<="), "regret_p95": (1.4, "<="), "regret_max": (2.0, "<="), "gap_closed": (0.8, ">="),
    "harmed": (0.01, "<="), "harm_max": (1.25, "<="), "overhead_p95": (0.05, "<="), "q_median": (1.25, "<="),
    "q_p95": (1.8, "<="), "coverage": (0.85, ">="), "memory_under": (0.005, "<="), "late": (0, "<="),
    "over_memory": (0, "<="), "over_energy": (0, "<="), "misses": (0, "<="), "false_accepts": (0, "<="),
    "false_bounds": (0, "<="),
}  # fmt: skip
_SHARES = (
    "gap_closed", "harmed", "harmed_at_best", "overhead_median", "overhead_p95", "certify_median", "certify_p95",
    "coverage", "memory_under",
)  # fmt: skip


def run_suite(
    out: Console,
    *,
    daily: bool = False,
    only: str = "",
    kind: str = "",
    rounds: int = 3,
    race: bool = True,
    ablate: bool = False,
    output: Path | None = None,
    pictures: Path | None = None,
) -> list[Row]:
    """Measure the suite, print a line for each instance, and write what was measured to `output` as it comes.

    Parameters
    ----------
    only, kind : str
        Instances with this in their name; of this family.
    ablate : bool
        Also solve every instance with each part of the planner left out.
    pictures : Path, optional
        Folder for the pictures.

    Raises
    ------
    AutonlaError
        If no instance is of this `kind` with `only` in its name, or `output` or `pictures` cannot be written.
    """
    import torch  # noqa: F401 -- as after the first solve that used it; its import is not what is measured

    chosen = _instances(daily, only, kind)
    missing = left_out()
    if missing and not only and not kind:
        out.print(
            f"{missing} instances of real matrices are left out: AUTONLA_SHARED_DATA names no folder that has them",
            style="dim", soft_wrap=True,
        )  # fmt: skip
    rows: list[Row] = []
    for number, instance in enumerate(chosen, 1):
        row = measure(instance, rounds, race=race)
        if ablate:
            row = replace(row, variants=run_variants(instance))
        rows.append(row)
        out.print(f"[{number}/{len(chosen)}] {line(row)}", markup=False, highlight=False, soft_wrap=True)
        if output is not None:
            write(output, rows)
    print_report(out, rows, output=output, pictures=pictures)
    return rows


def _instances(daily: bool, only: str, kind: str) -> list[Instance]:
    every = suite()
    families = sorted({instance.family for instance in every})
    if kind and kind not in families:
        raise AutonlaError(f"--kind {kind}: not one of {', '.join(families)}")
    chosen = [i for i in every if only in i.name and (i.daily or not daily) and kind in ("", i.family)]
    if not chosen:
        which = " ".join((*(["daily"] if daily else []), "instance", *([f"of kind {kind}"] if kind else [])))
        raise AutonlaError(f"no {which} of the suite has {only!r} in its name")
    return chosen


def print_report(
    out: Console, rows: Sequence[Row], *, output: Path | None = None, pictures: Path | None = None
) -> None:
    """Everything that rows say: tables, worst cases, JSON where `output` is, pictures in the folder `pictures`."""
    rivals, parts = contests(rows), ablations(rows)
    out.print()
    out.print(table(rows))
    if rivals:
        out.print("\n[bold]Beside other ways to choose[/] (regret: mean, 95th percentile, largest; the same rows)")
        out.print(contest_table(rivals))
    if parts:
        out.print("\n[bold]With a part left out[/] (one run each)")
        out.print(ablation_table(parts))
    out.print()
    for text in worst(rows):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        write(output, rows, rivals, parts)
    if pictures is not None:
        from .pictures import draw_all

        for file in draw_all(rows, rivals, parts, pictures):
            out.print(f"picture: {file}", markup=False, highlight=False, soft_wrap=True)


def write(output: Path, rows: Sequence[Row], rivals: Sequence[Contest] = (), parts: Sequence[Ablation] = ()) -> None:
    """Rows, and what they add up to, as JSON."""
    document = {
        "summary": summarize(rows).to_dict(),
        "selectors": [contest.to_dict() for contest in rivals],
        "ablations": [ablation.to_dict() for ablation in parts],
        "rows": [row.to_dict() for row in rows],
    }
    _write_json(output, document)


def _write_json(output: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all: a benchmark that is interrupted leaves what it had."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as file:
            file.write(json.dumps(document, indent=1).encode())
    except OSError as error:
        raise AutonlaError(f"{output}: cannot be written ({error.strerror}); choose another --output") from error


def read(file: Path) -> list[Row]:
    """The rows that `write` wrote, or an earlier version of it.

    Raises
    ------
    AutonlaError
        If the file cannot be read, or holds no rows of a benchmark.
    """
    try:
        document = json.loads(file.read_text())
        rows = [Row.from_dict(row) for row in document["rows"]]
    except OSError as error:
        raise AutonlaError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AutonlaError(
            f"{file}: not the result of a benchmark ({type(error).__name__}: {error}); `autonla bench --output FILE`"
            " writes one"
        ) from error
    if not rows:
        raise AutonlaError(f"{file}: holds no rows; the benchmark that wrote it was stopped before its first instance")
    return rows


def run_stability(
    out: Console,
    seeds: int,
    profiles: Sequence[Path] = (),
    *,
    daily: bool = False,
    only: str = "",
    kind: str = "",
    output: Path | None = None,
) -> list[Stability]:
    """Plan every instance with several seeds on every profile, and say how often the choice is the same.

    Parameters
    ----------
    seeds : int
    profiles : sequence of Path
        Files or folders of profiles of this machine; without any, the one in use.

    Raises
    ------
    AutonlaError
        If no instance is of this `kind` with `only` in its name, a profile cannot be used, or `output` cannot be
        written.
    """
    machines, found = machines_of(profiles), []
    for instance in _instances(daily, only, kind):
        found.append(stability(instance, seeds, machines))
        if output is not None:
            _write_stability(output, found)
    out.print(stability_table(found))
    for text in unstable(found):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    return found


def _write_stability(output: Path, found: Sequence[Stability]) -> None:
    document = {
        "stability": summarize_stability(found).to_dict(),
        "instances": [instance.to_dict() for instance in found],
    }
    _write_json(output, document)


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
        shown = [_show(name, _known(name, summary)) for summary in columns]
        if aim is not None:
            value = _known(name, columns[-1])
            good = value <= aim[0] if aim[1] == "<=" else value >= aim[0]
            if not math.isnan(value):
                shown[-1] = f"[{'green' if good else 'red'}]{shown[-1]}[/]"
        result.add_row(name.replace("_", " "), *shown, "" if aim is None else f"{aim[1]} {_show(name, aim[0])}")
    return result


def _known(name: str, summary: Summary) -> float:
    """A number of a summary; nan for a count of what no row could show."""
    return (
        math.nan if name in ("false_accepts", "false_bounds") and not summary.errors_known else getattr(summary, name)
    )


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
        best = row.fastest
        assert best is not None
        stages = ", ".join(f"{name} {show_seconds(seconds)}" for name, seconds in row.stages.items() if seconds > 0.0)
        lines.append(
            f"regret {metrics.regret(row):.2f}: {row.name}: {row.chosen} ({stages}); best {best.label}"
            f" {show_seconds(best.seconds or 0.0)}"
        )
    harmed = [row for row in rows if metrics.beside_default(row) and row.seconds > metrics.HARM * row.default_seconds]
    for row in sorted(harmed, key=lambda row: row.default_seconds / row.seconds)[:_WORST]:
        lines.append(
            f"slower than {row.default} by {row.seconds / row.default_seconds:.2f}: {row.name}: {row.chosen},"
            f" {show_seconds(row.seconds)}"
        )
    return lines


def contest_table(rivals: Sequence[Contest]) -> Table:
    """Each selector's regret, beside autonla's and that of its choice alone."""
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    result.add_column("")
    for name in ("rows", "regret", "autonla, all included", "autonla, its choice"):
        result.add_column(name, justify="right")
    for contest in rivals:
        ours, theirs = metrics.geometric_mean(contest.ours), metrics.geometric_mean(contest.regrets)
        colour = "green" if ours <= theirs else "red"
        result.add_row(
            contest.name, str(len(contest.regrets)), _spread(contest.regrets),
            f"[{colour}]{_spread(contest.ours)}[/]", _spread(contest.choice),
        )  # fmt: skip
    return result


def ablation_table(parts: Sequence[Ablation]) -> Table:
    """Each variant of the planner."""
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    result.add_column("")
    for name in ("rows", "regret", "harmed", "other choice", "refused", "best effort", "wrong"):
        result.add_column(name, justify="right")
    for part in parts:
        result.add_row(
            part.name, str(part.count), _spread(part.regrets), _show("harmed", part.harmed),
            "" if part.name == FULL else f"{part.changed:.1%}", str(part.refused), str(part.best_effort),
            str(part.wrong),
        )  # fmt: skip
    return result


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    of = metrics.spread(values)
    return f"{of['mean']:.2f}  {of['p95']:5.2f}  {of['max']:6.2f}"


def stability_table(found: Sequence[Stability]) -> Table:
    """By family and over all."""
    families = sorted({instance.family for instance in found})
    columns = [summarize_stability([s for s in found if s.family == family]) for family in families]
    columns.append(summarize_stability(found))
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", *(family.replace("_", " ") for family in families), "all"):
        result.add_column(name, justify="left" if name == "" else "right")
    for name in StabilitySummary.__dataclass_fields__:
        values = [getattr(column, name) for column in columns]
        result.add_row(
            name.replace("_", " "),
            *(f"{v:.1%}" if name.startswith("same") else str(v) if name == "count" else f"{v:.3f}" for v in values),
        )
    return result


def unstable(found: Sequence[Stability]) -> list[str]:
    """The instances with more than one choice, the dearest disagreement first."""
    lines = []
    for instance in sorted((s for s in found if len(s.labels) > 1), key=lambda s: s.ratio, reverse=True)[:_WORST]:
        choices = ", ".join(f"{label} ({n})" for label, n in sorted(instance.labels.items(), key=lambda c: -c[1]))
        apart = "one does not fit in the other's plan" if math.isinf(instance.ratio) else f"{instance.ratio:.2f} apart"
        lines.append(f"{instance.name}: {choices}; {apart}")
    return lines
