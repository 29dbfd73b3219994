"""What a candidate would cost and how good it would be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..primitives.interval import Interval
from ..primitives.work import Work
from ..profiles import Correction, HardwareProfile
from .price import ASLEEP, Pool, Price, price

_Z90 = 1.6448536269514722
_PRIOR = 3.0  # runs that the uncorrected forecast is worth against the runs on record
_WORKSPACE = 3.0 * 2**20  # packing buffers of BLAS and stacks of threads, which no algorithm allocates itself
_OVER, _UNDER = 1.3, 1.05  # declared peaks are upper bounds: up to 30 % too high, hardly ever 5 % too low


@dataclass(frozen=True, slots=True)
class Forecast:
    """A candidate's cost and quality.

    Attributes
    ----------
    seconds : Interval
        Run and certificate.
    bytes : Interval
        Peak of the memory held beyond the inputs.
    joules : Interval
    error : Interval
        In the metric of the problem.
    energy_source : str
        "measured" | "calibrated" | "tdp-model": what the joules rest on.
    stages : tuple of (str, float)
        Median seconds of "run" and "certify".
    """

    seconds: Interval
    bytes: Interval
    joules: Interval
    error: Interval
    energy_source: str
    stages: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (an infinite end is written as None)."""
        fields = {name: _plain(getattr(self, name)) for name in ("seconds", "bytes", "joules", "error")}
        return fields | {"energy_source": self.energy_source, "stages": [list(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Forecast:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        seconds, size, joules, error = (_interval(data[name]) for name in ("seconds", "bytes", "joules", "error"))
        stages = tuple((str(name), float(value)) for name, value in data["stages"])
        return cls(seconds, size, joules, error, str(data["energy_source"]), stages)


def forecast(
    run: Work,
    certify: Work,
    error: Interval,
    profile: HardwareProfile,
    correction: Correction | None = None,
    *,
    device: str = "cpu",
    pool: Pool = ASLEEP,
) -> Forecast:
    """Forecast a candidate.

    Parameters
    ----------
    run, certify : Work
        `certify.peak_bytes` includes the value that is certified: see `Work.holding`.
    error : Interval
        The algorithm's own forecast.
    profile : HardwareProfile
    correction : Correction, optional
        What forecasts of this algorithm have been off by; it corrects the run.
    device : str
    pool : Pool
        Whose threads are awake at the start.

    Raises
    ------
    Unpriced
        If a kernel was not measured on this machine, or is disabled there.
    """
    priced = price(run, profile, device=device, pool=pool)
    first = corrected(priced, correction)
    second = price(certify, profile, device=device, pool=priced.pool)
    peak = max(run.peak_bytes, certify.peak_bytes)
    return Forecast(
        seconds=first.seconds + second.seconds,
        bytes=Interval(peak, peak / _OVER, peak * _UNDER + _WORKSPACE),
        joules=first.joules + second.joules,
        error=error,
        energy_source=profile.energy.source,
        stages=(("run", first.seconds.median), ("certify", second.seconds.median)),
    )


def corrected(priced: Price, correction: Correction | None) -> Price:
    """A price with the bias taken off that records have shown, as far as their number warrants.

    The median moves by the mean log error of n runs times n / (n + 3). The interval becomes what those runs scattered,
    likewise mixed with what it was.
    """
    if correction is None or correction.count == 0:
        return priced
    trust = correction.count / (correction.count + _PRIOR)
    factor = math.exp(trust * correction.log_bias)

    def moved(x: Interval) -> Interval:
        if x.median <= 0.0 or x.low <= 0.0 or not math.isfinite(x.high):
            return x * factor
        below, above = math.log(x.median / x.low), math.log(x.high / x.median)
        seen = (_Z90 * correction.log_sigma) ** 2
        below, above = (math.sqrt((1.0 - trust) * side**2 + trust * seen) for side in (below, above))
        median = factor * x.median
        return Interval(median, median * math.exp(-below), median * math.exp(above))

    calls = tuple((call, factor * seconds) for call, seconds in priced.calls)
    return Price(moved(priced.seconds), moved(priced.joules), calls)


def _plain(x: Interval) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in (x.median, x.low, x.high)]


def _interval(data: Any) -> Interval:
    median, low, high = (math.inf if value is None else float(value) for value in data)
    return Interval(median, low, high)
