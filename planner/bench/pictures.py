"""Four pictures of a benchmark, made from its rows alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...profiles.errors import AutonlaError
from . import metrics
from .measuring import Row
from .selectors import Contest
from .variants import FULL, Ablation

_COLOURS = {
    "least_squares": "#1f6fb4", "linear_system": "#e08214", "low_rank": "#7b3fa0", "sparse_linear_system": "#138d75",
    "eigenpairs": "#d6579b",
}  # fmt: skip
_OTHERS = ("#b5651d", "#5d6d7e", "#8e9b00")
_GREY, _BAD, _GOOD = "#a9a9a9", "#c8102e", "#2a9d4a"
_SORT_COLOURS = {"autonla": _BAD, "fixed": "#5d6d7e", "rule": "#1f6fb4", "learned": "#138d75", "ablation": "#e08214"}
OFF = 1.8  # what a forecast may be off by, at most in one case of twenty


def draw_all(
    rows: Sequence[Row], contests: Sequence[Contest], ablations: Sequence[Ablation], folder: Path
) -> list[Path]:
    """Draw what the rows have something to say of.

    Returns
    -------
    list of Path
        Some of regret.png, forecast.png, speedup.png and selectors.png.

    Raises
    ------
    AutonlaError
        If the folder cannot be written.
    """
    solved = [row for row in rows if row.status != "refused"]
    beside = [row for row in rows if metrics.beside_default(row)]
    raced = [row for row in solved if row.best is not None]
    forecast = [row for row in solved if row.forecast is not None and row.attempts == 1]
    strips = list(_strips(raced, contests, ablations)) if contests or ablations else []
    figures = {
        "regret.png": _regret(raced) if raced else None,
        "forecast.png": _forecast(forecast) if forecast else None,
        "speedup.png": _speedup(beside) if beside else None,
        "selectors.png": _selectors(strips) if strips else None,
    }
    drawn = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            if figure is not None:
                figure.savefig(folder / name)
                drawn.append(folder / name)
    except OSError as error:
        raise AutonlaError(f"{folder}: cannot be written ({error.strerror}); choose another --pictures") from error
    return drawn


def _figure(height: float, title: str) -> tuple[Any, Any]:
    """A figure with one pair of axes, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(True, which="major", color="#ececec")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, fontsize=12, fontweight="bold", pad=10)
    return figure, axes


def _families(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Name for a person, colour and rows of each family."""
    others = iter(_OTHERS * 4)
    for family in sorted({row.family for row in rows}):
        colour = _COLOURS.get(family) or next(others)
        yield family.replace("_", " "), colour, [row for row in rows if row.family == family]


def _regret(rows: Sequence[Row]) -> Any:
    figure, axes = _figure(5.2, "How much longer than the fastest certified candidate")
    groups = list(_families(rows))
    if len(groups) > 1:
        groups.append(("all", "black", list(rows)))
    for name, colour, own in groups:
        values = sorted(metrics.regret(row) for row in own)
        shares = [(i + 1) / len(values) for i in range(len(values))]
        label = f"{name} ({len(values)}; mean {metrics.geometric_mean(values):.2f}, worst {values[-1]:.2f})"
        width = 2.6 if name == "all" else 1.7
        axes.step([values[0], *values], [0.0, *shares], where="post", color=colour, linewidth=width, label=label)
    for value, text in ((1.1, "1.1"), (1.4, "1.4"), (2.0, "2")):
        axes.axvline(value, color=_GREY, linestyle=":", linewidth=1.0, zorder=1)
        axes.annotate(text, (value, 0.0), xytext=(2, 3), textcoords="offset points", fontsize=8, color="#8a8a8a")
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("regret: time of solve, everything included, over that of the virtual best")
    axes.set_ylabel("share of instances")
    axes.legend(loc="lower right", fontsize=9, frameon=False)
    return figure


def _forecast(rows: Sequence[Row]) -> Any:
    figure, axes = _figure(6.6, "Forecast against measured time of run and certificate")
    held = 0
    for name, colour, own in _families(rows):
        x = [metrics.measured(row) for row in own]
        bands = [row.forecast for row in own if row.forecast is not None]
        inside = [band[1] <= seconds <= band[2] for seconds, band in zip(x, bands, strict=True)]
        held += sum(inside)
        for seconds, band, good in zip(x, bands, inside, strict=True):
            axes.plot([seconds, seconds], band[1:], color=colour if good else _BAD, linewidth=1.0, alpha=0.45, zorder=2)
        colours = [colour if good else _BAD for good in inside]
        axes.scatter(x, [band[0] for band in bands], s=22, color=colours, edgecolors=colour, zorder=3)
        axes.scatter([], [], s=22, color=colour, label=f"{name} ({len(own)})")
    axes.scatter([], [], s=22, color=_BAD, label="measured outside the band forecast to hold 90 %")
    low, high = axes.get_xlim()
    low = max(low, 0.7 * min(metrics.measured(row) for row in rows))
    line = [low, max(high, 1.4 * max(metrics.measured(row) for row in rows))]
    axes.plot(line, line, color="black", linewidth=1.0, zorder=1, label="as forecast")
    for factor, label in ((OFF, f"off by {OFF:g}"), (1.0 / OFF, None)):
        ends = [factor * value for value in line]
        axes.plot(line, ends, color="#8a8a8a", linestyle="--", linewidth=1.0, zorder=1, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"measured [s]; {held} of {len(rows)} within their band")
    axes.set_ylabel("forecast [s]")
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    return figure


def _speedup(rows: Sequence[Row]) -> Any:
    figure, axes = _figure(5.2, "How much faster than the safe default")
    ordered = sorted(rows, key=lambda row: row.default_seconds / row.seconds)
    place = {id(row): i for i, row in enumerate(ordered)}
    for name, colour, own in _families(rows):
        ratios = [row.default_seconds / row.seconds for row in own]
        axes.scatter(
            [place[id(row)] for row in own], ratios, s=20, color=colour, zorder=3,
            label=f"{name} ({len(own)}; mean {metrics.geometric_mean(ratios):.2f})",
        )  # fmt: skip
    harmed = [row for row in ordered if row.seconds > metrics.HARM * row.default_seconds]
    if harmed:
        axes.scatter(
            [place[id(row)] for row in harmed], [row.default_seconds / row.seconds for row in harmed], s=70,
            facecolors="none", edgecolors=_BAD, linewidths=1.2, zorder=4,
            label=f"more than 10 % slower ({len(harmed)} of {len(rows)})",
        )  # fmt: skip
    axes.axhline(1.0, color="black", linewidth=1.0, zorder=1)
    axes.set_yscale("log")
    least = min(0.5, axes.get_ylim()[0])
    axes.axhspan(least, 1.0, color=_BAD, alpha=0.06, zorder=0)
    axes.set_ylim(bottom=least)
    _plain_ticks(axes.yaxis)
    axes.set_xticks([])
    axes.set_xlabel("instances, sorted")
    axes.set_ylabel("time of the safe default over that of solve")
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    return figure


Strip = tuple[str, str, Sequence[float]]
"""Name, sort, regrets."""


def _strips(rows: Sequence[Row], contests: Sequence[Contest], ablations: Sequence[Ablation]) -> Iterator[Strip]:
    """autonla first, then its ablations, then everything it is compared with."""
    if rows:
        yield "autonla", "autonla", [metrics.regret(row) for row in rows]
    if contests:
        widest = max(contests, key=lambda contest: len(contest.choice))
        yield "autonla, its choice alone", "autonla", widest.choice
    for ablation in ablations:
        if ablation.name != FULL and ablation.regrets:
            yield ablation.name, "ablation", ablation.regrets
    for contest in contests:
        yield contest.name, contest.sort, contest.regrets


def _selectors(strips: Sequence[Strip]) -> Any:
    figure, axes = _figure(1.6 + 0.42 * len(strips), "Regret beside other ways to choose")
    for i, (_, sort, values) in enumerate(strips):
        colour = _SORT_COLOURS.get(sort, _GREY)
        # a fixed jitter, so that equal values can be told apart
        axes.scatter(values, [i + 0.5 * (j * 0.618 % 1.0) - 0.25 for j in range(len(values))], s=7, color=colour,
                     alpha=0.35, linewidths=0, zorder=2)  # fmt: skip
        mean, p95 = metrics.geometric_mean(values), metrics.percentile(values, 0.95)
        axes.plot([mean, p95], [i, i], color=colour, linewidth=2.0, zorder=3)
        axes.scatter([mean], [i], marker="D", s=42, color=colour, edgecolors="white", zorder=4)
        axes.scatter([p95], [i], marker="|", s=110, color=colour, zorder=4)
        axes.annotate(
            f"{mean:.2f}, {p95:.2f}", (1.01, i), xycoords=("axes fraction", "data"), fontsize=8, color=colour,
            va="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(strips)), [f"{name} ({len(values)})" for name, _, values in strips], fontsize=9)
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=1.0, zorder=1)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlabel(
        "regret against the virtual best; diamond: geometric mean, bar: to the 95th percentile (numbers: the two)"
    )
    return figure


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10 ... in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = (abs(v) for v in axis.get_view_interval())
    wide = high > 200.0 * max(low, 1e-12) and math.isfinite(high)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
