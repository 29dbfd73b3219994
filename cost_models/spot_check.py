"""Whether a profile still speaks of this machine: a handful of kernels timed again, in tens of milliseconds."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np

from ..primitives.kernels.catalogue import KERNELS
from ..profiles import HardwareProfile, KernelPoint, KernelTable
from . import _timing

TOLERANCE = 1.5
"""Drift of all kernels together, or of the typical one against the others, that makes a profile stale."""

_BACKEND = "scipy"  # one pool: alternating between two would time their workers' spinning
_KERNELS = ("gemm", "gemv", "syrk", "potrf", "getrf", "geqrf", "gelsd", "stream")
_SHORTEST, _LONGEST = 2e-5, 1.2e-3  # points worth timing again [s]
_REPEATS = 5
_BUDGET = 0.06  # [s]


@dataclass(frozen=True, slots=True)
class SpotCheck:
    """How this machine compares with a profile now.

    Attributes
    ----------
    factor : float
        Geometric mean of measured over profiled seconds (before the profile's scale): what to give to
        ``profile.with_scale``.
    max_deviation : float
        The largest factor, at least 1, by which one kernel is off that mean.
    scale : float
        The profile's own.
    timed : tuple of (str, float)
        Each kernel with its ratio; empty where nothing could be compared.
    disturbed : int
        Kernels that could not be timed because other programs had our processors.
    """

    factor: float
    max_deviation: float
    scale: float
    timed: tuple[tuple[str, float], ...]
    disturbed: int = 0

    @property
    def drifted(self) -> bool:
        """Whether the machine as a whole is no longer what the profile says."""
        return bool(self.timed) and not 1.0 / TOLERANCE <= self.factor / self.scale <= TOLERANCE


def spot_check(profile: HardwareProfile) -> SpotCheck:
    """Time a handful of points of a profile again.

    Calls during which other programs had our processors do not count: a busy moment is not a slow machine. With
    nothing to compare, `factor` is the profile's own scale.

    Parameters
    ----------
    profile : HardwareProfile

    Returns
    -------
    SpotCheck
    """
    deadline = time.perf_counter() + _BUDGET
    rng = np.random.default_rng(0)

    def operands(*shape: int, dtype: str) -> np.ndarray:
        return rng.random(shape, np.float64 if dtype == "float64" else np.float32) - 0.5

    ratios: list[tuple[str, float]] = []
    disturbed = 0
    for name in _KERNELS:
        table = profile.table(name, _BACKEND, "float64")
        point = _suitable(table)
        if point is None or time.perf_counter() + 4.0 * point.seconds > deadline:
            continue
        call = KERNELS[name].prepare(_BACKEND, point.dims, "float64", operands)
        call()
        times = []
        for _ in range(_REPEATS):
            waited = _timing.waited_for_processor()
            seconds = _timing.timed(call)
            if _timing.waited_for_processor() - waited < 2e-5 + 0.1 * seconds:
                times.append(seconds)
            if time.perf_counter() + seconds > deadline:
                break
        if times:
            ratios.append((name, statistics.median(times) / point.seconds))
        else:
            disturbed += 1
    if not ratios:
        return SpotCheck(profile.scale, 1.0, profile.scale, (), disturbed)
    logs = [math.log(ratio) for _, ratio in ratios]
    mean = statistics.fmean(logs)
    off = max(abs(x - mean) for x in logs)
    return SpotCheck(math.exp(mean), math.exp(off), profile.scale, tuple(ratios), disturbed)


def _suitable(table: KernelTable | None) -> KernelPoint | None:
    """The longest point that is still short: least overhead, most arithmetic."""
    if table is None or not table.enabled or table.kernel not in KERNELS:
        return None
    points = [point for point in table.points if _SHORTEST <= point.seconds <= _LONGEST]
    return max(points, key=lambda point: point.seconds, default=None)
