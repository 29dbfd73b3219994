"""A profile that a time limit cut, completed: what it lacks is taken from the shipped one at this machine's speed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from .schema import LONGEST, SHORTEST, HardwareProfile, KernelPoint, KernelTable
from .store import generic

FEW = 5
"""A table with fewer points than this says less of other shapes than one of another machine that has them all."""


def completed(profile: HardwareProfile, shipped: HardwareProfile | None = None) -> HardwareProfile:
    """`profile` with the tables that it lacks, and the points that its short tables lack, taken from `shipped`.

    Their times are multiplied by how much slower this machine is: at the same kernel where it was measured, else at
    all of them (medians of the ratios). A profile that no time limit cut is returned as it is; the default of
    `shipped` is the generic profile.
    """
    if profile.complete:
        return profile
    shipped = shipped or generic()
    known = {table.key: table for table in profile.kernels}
    ratios = {table.key: list(_ratios(known[table.key], table)) for table in shipped.kernels if table.key in known}
    overall = _typical([ratio for each in ratios.values() for ratio in each], 1.0)
    tables = dict(known)
    for table in shipped.kernels:
        mine = known.get(table.key)
        if mine is None:
            tables[table.key] = table.model_copy(update={"points": _scaled(table.points, overall)})
        elif mine.enabled and table.enabled and len(mine.points) < FEW:
            measured = {point.dims for point in mine.points}
            others = [point for point in table.points if point.dims not in measured]
            factor = _typical(ratios[table.key], overall)
            tables[table.key] = mine.model_copy(update={"points": (*mine.points, *_scaled(others, factor))})
    fields = {name: getattr(profile, name) for name in HardwareProfile.model_fields}
    return HardwareProfile(**{**fields, "kernels": tuple(tables.values())})


def _ratios(mine: KernelTable, other: KernelTable) -> Iterator[float]:
    """log(mine / other) of the shapes that both have."""
    if mine.enabled and other.enabled:
        seconds = {point.dims: point.seconds for point in other.points}
        for point in mine.points:
            if point.dims in seconds:
                yield math.log(point.seconds / seconds[point.dims])


def _typical(logs: list[float], default: float) -> float:
    return math.exp(median(logs)) if logs else default


def _scaled(points: list[KernelPoint] | tuple[KernelPoint, ...], factor: float) -> tuple[KernelPoint, ...]:
    scaled = (min(LONGEST, max(SHORTEST, point.seconds * factor)) for point in points)
    return tuple(point.model_copy(update={"seconds": s}) for point, s in zip(points, scaled, strict=True))
