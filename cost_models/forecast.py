"""What a candidate would cost and how good it would be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..primitives.interval import Interval
from ..primitives.work import Work
from ..profiles import Correction, HardwareProfile
from .corrections import Bias, bias, features
from .price import ASLEEP, Pool, price

_Z90 = 1.6448536269514722
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
    correction : float
        Factor by which earlier runs have moved the seconds from what the work is priced at; 1 where they say nothing.
    """

    seconds: Interval
    bytes: Interval
    joules: Interval
    error: Interval
    energy_source: str
    stages: tuple[tuple[str, float], ...] = ()
    correction: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON (an infinite end is written as None)."""
        fields = {name: _plain(getattr(self, name)) for name in ("seconds", "bytes", "joules", "error")}
        stages = [list(stage) for stage in self.stages]
        return fields | {"energy_source": self.energy_source, "stages": stages, "correction": self.correction}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Forecast:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        seconds, size, joules, error = (_interval(data[name]) for name in ("seconds", "bytes", "joules", "error"))
        stages = tuple((str(name), float(value)) for name, value in data["stages"])
        correction = float(data.get("correction", 1.0))
        if not 0.0 < correction < math.inf:
            raise ValueError(f"correction = {correction} is not a positive factor")
        return cls(seconds, size, joules, error, str(data["energy_source"]), stages, correction)


def forecast(
    run: Work,
    certify: Work,
    error: Interval,
    profile: HardwareProfile,
    correction: Correction | None = None,
    *,
    shape: tuple[int, int] = (1, 1),
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
        What forecasts of this algorithm have been off by.
    shape : (int, int)
        Of the operand, which a correction may depend on.
    device : str
    pool : Pool
        Whose threads are awake at the start.

    Raises
    ------
    Unpriced
        If a kernel was not measured on this machine, or is disabled there.
    """
    first = price(run, profile, device=device, pool=pool)
    second = price(certify, profile, device=device, pool=first.pool)
    run_seconds, certify_seconds = first.seconds.median, second.seconds.median
    off = None
    if correction is not None:
        off = bias(correction, features(*shape, run_seconds, certify_seconds))
    factor = 1.0 if off is None else off.factor
    peak = max(run.peak_bytes, certify.peak_bytes)
    return Forecast(
        seconds=corrected(first.seconds + second.seconds, off),
        bytes=Interval(peak, peak / _OVER, peak * _UNDER + _WORKSPACE),
        joules=corrected(first.joules + second.joules, off),
        error=error,
        energy_source=profile.energy.source,
        stages=(("run", factor * run_seconds), ("certify", factor * certify_seconds)),
        correction=factor,
    )


def corrected(cost: Interval, off: Bias | None) -> Interval:
    """A cost with the bias taken off that earlier runs have shown, as far as they are to be trusted.

    The median moves by the log factor times the trust. The interval becomes what those runs scattered, mixed likewise
    with what it was.
    """
    if off is None:
        return cost
    if cost.low <= 0.0 or not math.isfinite(cost.high):
        return cost * off.factor
    below, above = math.log(cost.median / cost.low), math.log(cost.high / cost.median)
    seen = (_Z90 * off.log_sigma) ** 2
    below, above = (math.sqrt((1.0 - off.trust) * side**2 + off.trust * seen) for side in (below, above))
    median = off.factor * cost.median
    return Interval(median, median * math.exp(-below), median * math.exp(above))


def _plain(x: Interval) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in (x.median, x.low, x.high)]


def _interval(data: Any) -> Interval:
    median, low, high = (math.inf if value is None else float(value) for value in data)
    return Interval(median, low, high)
