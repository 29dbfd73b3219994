"""The picture: every candidate of a problem, time against error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..candidates import show_seconds

if TYPE_CHECKING:
    from .run import Outcome

_SMALLEST_ERROR = 1e-17
_GREY, _CHOSEN, _ASKED = "#a9a9a9", "#c8102e", "#2a9d4a"
_PALETTE = (
    "#1f6fb4",
    "#e08214",
    "#7b3fa0",
    "#138d75",
    "#b5651d",
    "#d6579b",
    "#5d6d7e",
    "#8e9b00",
    "#17a2c9",
    "#6b4c3b",
)
_PANEL, _TOP, _AXES, _ROW = 7.4, 1.25, 5.0, 0.172  # [inch]
_LABEL_WIDTH = 58


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate: where it stands, and how it is drawn ("measured", "missed" or "infeasible")."""

    label: str
    algorithm: str
    seconds: float
    error: float
    state: str
    chosen: bool


def points(race: Any) -> list[Point]:
    """Raced candidates where they were measured, the others where they are forecast; fastest first."""
    measured = {row.label: row for row in race.rows if row.seconds is not None and row.error is not None}
    found = []
    for candidate in race.plan.candidates:
        row, forecast = measured.get(candidate.label), candidate.forecast
        if row is not None:
            seconds, error, state = row.seconds, row.error, "measured" if row.certified else "missed"
        elif forecast is not None:
            seconds, error, state = forecast.seconds.median, forecast.error.median, "infeasible"
        else:
            continue
        if math.isfinite(seconds) and math.isfinite(error):
            chosen = candidate.label == race.plan.chosen.label
            found.append(
                Point(candidate.label, candidate.algorithm, seconds, max(error, _SMALLEST_ERROR), state, chosen)
            )
    return sorted(found, key=lambda p: p.seconds)


def frontier(found: Sequence[Point]) -> list[Point]:
    """Measured points that no other one beats in both time and error, fastest first."""
    kept: list[Point] = []
    for p in sorted((p for p in found if p.state != "infeasible"), key=lambda p: (p.seconds, p.error)):
        if not kept or p.error < kept[-1].error:
            kept.append(p)
    return kept


def draw(outcomes: Sequence[Outcome], path: Path) -> Path:
    """One panel per outcome (each with `raced`), saved as PNG; returns the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fields = [points(outcome.raced) for outcome in outcomes]
    key = 0.8 + _ROW * max(map(len, fields))
    width, height = _PANEL * len(outcomes), _TOP + _AXES + key
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    for i, (outcome, found) in enumerate(zip(outcomes, fields, strict=True)):
        colours = _colours(found)
        left = (i * _PANEL + 0.85) / width
        axes = figure.add_axes((left, key / height, (_PANEL - 1.15) / width, _AXES / height))
        _panel(axes, outcome, found, colours)
        _key(figure, left, (key - 0.75) / height, _PANEL / width, _ROW / height, found, colours)
    figure.text(
        0.5, 1.0 - 0.32 / height, "What could be run, how long it takes, how accurate it is", ha="center", va="center",
        fontsize=15, fontweight="bold",
    )  # fmt: skip
    figure.legend(
        handles=_legend(), loc="center", bbox_to_anchor=(0.5, 1.0 - 0.68 / height), ncol=6, fontsize=8.5, frameon=False,
        handletextpad=0.4, columnspacing=1.6,
    )  # fmt: skip
    figure.savefig(path)
    return path


def _colours(found: Sequence[Point]) -> dict[str, str]:
    """A colour for every algorithm of which something was measured."""
    names = dict.fromkeys(p.algorithm for p in found if p.state != "infeasible")
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(names)}


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(marker: str, label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

    return [
        mark("*", "chosen", color=_CHOSEN, markersize=14),
        mark("o", "measured and certified (a colour per algorithm)", color=_PALETTE[0]),
        mark("X", "measured, not certified", color=_PALETTE[0]),
        mark("o", "does not fit the budget (forecast)", markerfacecolor="none", markeredgecolor=_GREY),
        mark("D", "a call made today (measured error)", color="black", markersize=5),
        Line2D([], [], color=_ASKED, linestyle="--", label="accuracy asked for"),
    ]


def _panel(axes: Any, outcome: Outcome, found: list[Point], colours: dict[str, str]) -> None:
    front = frontier(found)
    axes.plot([p.seconds for p in front], [p.error for p in front], color="#cfd8e3", linewidth=2.5, zorder=1)
    for p in found:
        colour = _GREY if p.state == "infeasible" else colours[p.algorithm]
        axes.scatter(
            [p.seconds], [p.error], marker="X" if p.state == "missed" else "o", s=40, zorder=3, edgecolors=colour,
            facecolors="none" if p.state == "infeasible" else colour,
        )  # fmt: skip
        if p.chosen:
            axes.scatter([p.seconds], [p.error], marker="*", s=340, color=_CHOSEN, edgecolors="white", zorder=4)
    today = [(t.seconds, max(t.error, _SMALLEST_ERROR), t.label) for t in outcome.today]
    axes.scatter([t[0] for t in today], [t[1] for t in today], marker="D", s=38, color="black", zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.1, 0.1)
    accuracy, latency = outcome.budget.accuracy, outcome.budget.latency
    if accuracy is not None:
        axes.axhline(accuracy, color=_ASKED, linestyle="--", linewidth=1.3, zorder=2)
    if latency is not None:
        axes.axvline(latency, color=_ASKED, linestyle=":", linewidth=1.3, zorder=2)
    axes.grid(True, which="major", color="#ececec")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("time of running and certifying [s]")
    axes.set_ylabel("certified bound on the error")
    axes.set_title(outcome.title, fontsize=11.5, pad=10)
    numbered = [
        (p.seconds, p.error, str(i), _CHOSEN if p.chosen else _text_colour(p, colours)) for i, p in enumerate(found, 1)
    ]
    _place(axes, [*numbered, *((*t, "black") for t in today)])


def _text_colour(p: Point, colours: dict[str, str]) -> str:
    return "#8a8a8a" if p.state == "infeasible" else colours[p.algorithm]


def _place(axes: Any, texts: list[tuple[float, float, str, str]]) -> None:
    """Each (x, y, text, colour) near its point, where it covers nothing; a thin line leads back where it is far."""
    axes.figure.canvas.draw()
    transform, scale = axes.transData, axes.figure.dpi / 72.0
    anchors = [tuple(transform.transform((x, y)) / scale) for x, y, _, _ in texts]
    sizes = [(4.9 * len(text) + 3.0, 10.0) for _, _, text, _ in texts]
    frame = axes.get_window_extent()
    centres = layout(anchors, sizes, (frame.x0 / scale, frame.y0 / scale, frame.x1 / scale, frame.y1 / scale))
    for (x, y, text, colour), (px, py), (width, height), (cx, cy) in zip(texts, anchors, sizes, centres, strict=True):
        far = math.hypot(max(0.0, abs(cx - px) - width / 2), max(0.0, abs(cy - py) - height / 2)) > 9.0
        arrow = {"arrowstyle": "-", "color": "#b0b0b0", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3} if far else None
        axes.annotate(
            text, (x, y), xytext=tuple(transform.inverted().transform((cx * scale, cy * scale))), textcoords="data",
            fontsize=8, color=colour, ha="center", va="center", arrowprops=arrow, zorder=5,
        )  # fmt: skip


Box = tuple[float, float, float, float]


def layout(
    anchors: Sequence[tuple[float, ...]], sizes: Sequence[tuple[float, float]], frame: Box
) -> list[tuple[float, float]]:
    """Centres of boxes of these sizes, each as near its anchor as it can stand without covering an earlier box.

    Parameters
    ----------
    anchors : sequence of (x, y)
    sizes : sequence of (width, height)
    frame : (x0, y0, x1, y1)
        Where boxes should stay.
    """
    taken: list[Box] = [(x - 4.0, y - 4.0, x + 4.0, y + 4.0) for x, y in anchors]
    centres = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        best, least = (x, y), math.inf
        for radius in (9, 14, 20, 28, 37, 47, 58, 70):
            for step in range(24):
                angle = 2.0 * math.pi * step / 24 + 0.7
                cx, cy = x + (radius + 0.5 * width - 3.0) * math.cos(angle), y + radius * math.sin(angle)
                box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
                outside = box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]
                cost = 10.0 * sum(_overlap(box, other) for other in taken) + 1e5 * outside + 0.3 * radius
                if cost < least:
                    least, best = cost, (cx, cy)
        centres.append(best)
        cx, cy = best
        taken.append((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2))
    return centres


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _key(
    figure: Any, left: float, top: float, width: float, row: float, found: list[Point], colours: dict[str, str]
) -> None:
    """The numbers, spelled out: label, time, error bound."""
    style: dict[str, Any] = {"fontsize": 7.2, "family": "monospace", "va": "center"}
    for i, p in enumerate(found):
        label = p.label.replace("float64", "f64").replace("float32", "f32")
        label = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
        figure.text(
            left - 0.04 * width, top - i * row,
            f"{i + 1:>3}  {label:<{_LABEL_WIDTH}} {show_seconds(p.seconds):>8}  {p.error:.0e}",
            color=_CHOSEN if p.chosen else _text_colour(p, colours), fontweight="bold" if p.chosen else "normal",
            **style,
        )  # fmt: skip
