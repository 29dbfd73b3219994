"""What the rows of a suite add up to. Pure functions of the rows, so that a report can be made again from its JSON.

Definitions (planner literature: Bischl et al. 2016, doi:10.1016/j.artint.2016.04.003, for the virtual and the single
best solver; q-error: Moerkotte, Neumann, Steidl 2009, doi:10.14778/1687627.1687738):

- regret: seconds of `solve` over those of the virtual best, the fastest certified candidate without any search.
- gap closed: (SBS - ours) / (SBS - VBS) in mean logarithms of seconds; the single best solver (SBS) is, per family,
  the one algorithm that would have done best throughout, falling back on the safe default's time where it fails.
- harm: seconds of `solve` over those of the safe default, where no memory or energy is limited.
- q-error: max(forecast / measured, measured / forecast); of time: run and certificate.
- effectivity: certified bound over true error (the effectivity index of Ainsworth and Oden 2000); an exact answer has
  none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .measuring import Row

OVERHEAD_FROM = 0.02  # share of probe, plan and certificate counts where `solve` takes at least this [s]
HARM = 1.1
LATE = 1.05  # of its latency the slowest run may take: what the system adds to a clock is not the planner's


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
    harmed_at_best : float
        The same share of the virtual best, certified and without any search: no planner can go below that.
    default_misses : int
        Safe defaults whose own answer is not what was asked for, where that is known.
    speedup : float
        Geometric mean over the safe default.
    overhead_median, overhead_p95 : float
        Share of probe and plan in `solve`.
    certify_median, certify_p95 : float
        Share of the certificate.
    q_median, q_p95, coverage : float
        Of forecasts of time; share of 90 % intervals that hold the measured time.
    memory_q_median, memory_q_p95 : float
        q-error of forecasts of the peak of memory.
    memory_under : float
        Share of rows whose peak is more than 5 % above the upper end of its forecast.
    late, over_memory, over_energy : int
        Answers that took longer, more memory or more energy than their budget allowed.
    misses : int
        Answers called certified whose bound is above the target.
    errors_known : int
        Answers whose true error is known, which the rest speaks of.
    false_accepts : int
        Answers called certified whose true error is above the target, whatever it may be off by.
    false_bounds : int
        Answers whose true error is above their bound, likewise.
    effectivity_median, effectivity_p95 : float
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
    harmed_at_best: float
    default_misses: int
    speedup: float
    overhead_median: float
    overhead_p95: float
    certify_median: float
    certify_p95: float
    q_median: float
    q_p95: float
    coverage: float
    memory_q_median: float
    memory_q_p95: float
    memory_under: float
    late: int
    over_memory: int
    over_energy: int
    misses: int
    errors_known: int
    false_accepts: int
    false_bounds: int
    effectivity_median: float
    effectivity_p95: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (nan becomes None)."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def summarize(rows: Sequence[Row]) -> Summary:
    """The summary of some rows."""
    solved = [row for row in rows if row.status != "refused"]
    regrets = [regret(row) for row in solved if row.best is not None]
    harms = [row.seconds / row.default_seconds for row in solved if beside_default(row)]
    least = [row.best / row.default_seconds for row in solved if row.best is not None and beside_default(row)]
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
    peaks = [_ratio(row.peak_bytes, row.likely_bytes) for row in forecast if row.peak_bytes and row.likely_bytes]
    known = [(row, row.true_error) for row in solved if row.true_error is not None]
    surely = [(row, error - (row.true_error_off or 0.0)) for row, error in known]  # the least that it can be
    effectivities = [row.bound / error for row, error in known if error > 0.0]
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
        harmed_at_best=_share(harm > HARM for harm in least) if least else math.nan,
        default_misses=sum(not row.calls[0].reached for row in rows if row.calls),
        speedup=1.0 / geometric_mean(harms),
        overhead_median=percentile(searching, 0.5),
        overhead_p95=percentile(searching, 0.95),
        certify_median=percentile(certifying, 0.5),
        certify_p95=percentile(certifying, 0.95),
        q_median=percentile(errors, 0.5),
        q_p95=percentile(errors, 0.95),
        coverage=_share(covered) if covered else math.nan,
        memory_q_median=percentile(peaks, 0.5),
        memory_q_p95=percentile(peaks, 0.95),
        memory_under=_share(memory) if memory else math.nan,
        late=sum(_above(row.slowest or row.seconds, row.latency, LATE) for row in solved),
        over_memory=sum(_above(row.peak_bytes, row.memory) for row in solved),
        over_energy=sum(_above(row.joules, row.energy) for row in solved),
        misses=sum(row.status == "certified" and row.target > 0.0 and not row.bound <= row.target for row in solved),
        errors_known=len(known),
        false_accepts=sum(
            row.status == "certified" and row.target > 0.0 and not error <= row.target for row, error in surely
        ),
        false_bounds=sum(not error <= row.bound for row, error in surely),
        effectivity_median=percentile(effectivities, 0.5),
        effectivity_p95=percentile(effectivities, 0.95),
    )


def beside_default(row: Row) -> bool:
    """Whether the safe default does what was asked: it knows no limits, nor what is enough where nobody says so."""
    return row.status != "refused" and row.target > 0.0 and row.memory is None and row.energy is None


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
    return _ratio(measured(row), row.forecast[0])


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


def spread(values: Sequence[float]) -> dict[str, float]:
    """Geometric mean, 95th percentile and maximum; nan for none."""
    return {
        "mean": geometric_mean(values),
        "p95": percentile(values, 0.95),
        "max": max(values, default=math.nan),
    }


def _ratio(a: float, b: float) -> float:
    return max(a / b, b / a)


def _above(value: float | None, limit: float | None, tolerance: float = 1.0) -> bool:
    """Whether a known value exceeds a limit that was set."""
    return value is not None and limit is not None and not value <= tolerance * limit


def _share(flags: Any) -> float:
    flags = list(flags)
    return sum(flags) / len(flags)
