"""What the rows of a suite add up to. Pure functions of the rows, so that a report can be made again from its JSON.

Definitions (planner literature: Bischl et al. 2016, doi:10.1016/j.artint.2016.04.003, for the virtual and the single
best solver; q-error: Moerkotte, Neumann, Steidl 2009, doi:10.14778/1687627.1687738):

- regret: seconds of `solve` over those of the virtual best, the fastest certified candidate without any search.
- gap closed: (SBS - ours) / (SBS - VBS) in mean logarithms of seconds; the single best solver (SBS) is, per family,
  the one algorithm that would have done best throughout, falling back on the safe default's time where it fails.
- harm: seconds of `solve` over those of the safe default.
- q-error: max(forecast / measured, measured / forecast) of run and certificate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .measuring import Row

OVERHEAD_FROM = 0.02  # share of probe, plan and certificate counts where `solve` takes at least this [s]
HARM = 1.1


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers over a set of rows; nan where no row says anything of it.

    Attributes
    ----------
    count, refused, best_effort : int
    regret_mean, regret_p95, regret_max : float
        Geometric mean, 95th percentile, largest.
    gap_closed : float
    harmed, harm_max : float
        Share of rows more than 10 % slower than the safe default; the slowest ratio.
    speedup : float
        Geometric mean over the safe default.
    overhead_median, overhead_p95 : float
        Share of probe and plan in `solve`; the certificate is in `certify_median`.
    q_median, q_p95, coverage : float
        Of forecasts of time; share of 90 % intervals that hold the measured time.
    memory_under : float
        Share of rows whose peak is more than 5 % above the upper end of its forecast.
    misses : int
        Answers called certified whose bound is above the target.
    """

    count: int
    refused: int
    best_effort: int
    regret_mean: float
    regret_p95: float
    regret_max: float
    gap_closed: float
    harmed: float
    harm_max: float
    speedup: float
    overhead_median: float
    overhead_p95: float
    certify_median: float
    q_median: float
    q_p95: float
    coverage: float
    memory_under: float
    misses: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (nan becomes None)."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def summarize(rows: Sequence[Row]) -> Summary:
    """The summary of some rows."""
    solved = [row for row in rows if row.status != "refused"]
    regrets = [regret(row) for row in solved if row.best is not None]
    harms = [row.seconds / row.default_seconds for row in solved]
    long = [row for row in solved if row.seconds >= OVERHEAD_FROM]
    searching = [(row.stages["probe"] + row.stages["plan"]) / row.seconds for row in long]
    certifying = [row.stages["certify"] / row.seconds for row in long]
    forecast = [row for row in solved if row.forecast is not None and row.attempts == 1]
    errors = [q_error(row) for row in forecast]
    covered = [row.forecast[1] <= measured(row) <= row.forecast[2] for row in forecast if row.forecast]
    memory = [
        row.peak_bytes > 1.05 * row.forecast_bytes
        for row in solved
        if row.peak_bytes is not None and row.forecast_bytes is not None
    ]
    return Summary(
        count=len(rows),
        refused=len(rows) - len(solved),
        best_effort=sum(row.status == "best_effort" for row in solved),
        regret_mean=geometric_mean(regrets),
        regret_p95=percentile(regrets, 0.95),
        regret_max=max(regrets, default=math.nan),
        gap_closed=gap_closed(solved),
        harmed=_share(harm > HARM for harm in harms) if harms else math.nan,
        harm_max=max(harms, default=math.nan),
        speedup=1.0 / geometric_mean(harms),
        overhead_median=percentile(searching, 0.5),
        overhead_p95=percentile(searching, 0.95),
        certify_median=percentile(certifying, 0.5),
        q_median=percentile(errors, 0.5),
        q_p95=percentile(errors, 0.95),
        coverage=_share(covered) if covered else math.nan,
        memory_under=_share(memory) if memory else math.nan,
        misses=sum(row.status == "certified" and row.target > 0.0 and not row.bound <= row.target for row in solved),
    )


def regret(row: Row) -> float:
    """Seconds of `solve` over those of the virtual best."""
    assert row.best is not None
    return row.seconds / row.best


def measured(row: Row) -> float:
    """Seconds of run and certificate, which is what is forecast."""
    return row.stages["run"] + row.stages["certify"]


def q_error(row: Row) -> float:
    """Of the forecast of time."""
    assert row.forecast is not None
    ratio = measured(row) / row.forecast[0]
    return max(ratio, 1.0 / ratio)


def single_best(rows: Sequence[Row]) -> tuple[str, list[float]]:
    """The one algorithm with the least mean log seconds over rows that have a virtual best, and its seconds."""
    names = sorted({c.algorithm for row in rows for c in row.candidates if c.seconds is not None})

    def seconds(name: str) -> list[float]:
        return [
            min((c.seconds for c in row.candidates if c.algorithm == name and c.seconds is not None), default=math.nan)
            for row in rows
        ]

    def filled(name: str) -> list[float]:
        return [
            row.default_seconds if math.isnan(value) else value for row, value in zip(rows, seconds(name), strict=True)
        ]

    best = min(names, key=lambda name: (geometric_mean(filled(name)), name))
    return best, filled(best)


def gap_closed(rows: Sequence[Row]) -> float:
    """Share of the gap between the single and the virtual best, per family, that `solve` closes (1: all of it)."""
    ours = best = single = 0.0
    for family in sorted({row.family for row in rows}):
        own = [row for row in rows if row.family == family and row.best is not None]
        if own:
            ours += sum(math.log(row.seconds) for row in own)
            best += sum(math.log(row.best) for row in own if row.best is not None)
            single += sum(map(math.log, single_best(own)[1]))
    return (single - ours) / (single - best) if single > best else math.nan


def geometric_mean(values: Sequence[float]) -> float:
    """nan for none."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else math.nan


def percentile(values: Sequence[float], q: float) -> float:
    """The smallest value that a share q of all do not exceed; nan for none."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)] if values else math.nan


def _share(flags: Any) -> float:
    flags = list(flags)
    return sum(flags) / len(flags)
