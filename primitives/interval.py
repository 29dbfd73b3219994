"""A number that is not known exactly: its median and the interval that covers it in 90 % of cases.

Forecasts and findings are positive and uncertain by factors rather than by amounts, so an interval is read as
log-normal: `sigma` is the standard deviation of the logarithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_Z90 = 1.6448536269514722  # the 95 % point of the normal distribution: 5 % on either side
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """Median and 90 % interval of a non-negative quantity; `high` may be infinite when nothing is known."""

    median: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Interval:
        """A number known to working accuracy."""
        return cls(value, value, value)

    @classmethod
    def around(cls, median: float, factor: float) -> Interval:
        """The interval [median / factor, median * factor]; `factor` >= 1."""
        return cls(median, median / factor, median * factor)

    @classmethod
    def above(cls, least: float, most: float) -> Interval:
        """A number known only to exceed `least`, and to make no difference beyond `most`: nearer to the former."""
        most = max(most, 10.0 * least)
        return cls(least ** (2.0 / 3.0) * most ** (1.0 / 3.0), least, most)

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm, read off the upper side (the side that breaks promises)."""
        if self.median <= 0 or self.high <= self.median:
            return 0.0
        return math.log(self.high / self.median) / _Z90 if math.isfinite(self.high) else math.inf

    def probability_above(self, threshold: float) -> float:
        """P(value > threshold) under the log-normal reading."""
        if threshold >= self.high == self.low or self.median <= 0:
            return 0.0 if threshold >= self.median else 1.0
        if threshold <= 0:
            return 1.0
        sigma = self.sigma
        if sigma == 0.0:
            return float(self.median > threshold)
        if math.isinf(sigma):
            return 0.5
        return 1.0 - _NORMAL.cdf(math.log(threshold / self.median) / sigma)

    def __mul__(self, factor: float) -> Interval:
        return Interval(self.median * factor, self.low * factor, self.high * factor)

    __rmul__ = __mul__

    def __add__(self, other: Interval) -> Interval:
        """Sum of two quantities whose errors need not be independent: interval ends add."""
        return Interval(self.median + other.median, self.low + other.low, self.high + other.high)

    def at_most(self, bound: float) -> Interval:
        """The same quantity when it cannot exceed `bound`."""
        return Interval(min(self.median, bound), min(self.low, bound), min(self.high, bound))

    def at_least(self, bound: float) -> Interval:
        """The same quantity when it cannot be below `bound`."""
        return Interval(max(self.median, bound), max(self.low, bound), max(self.high, bound))
