"""What the planner must know of each solvable kind of problem: its algorithms, probes, floors and certificates."""

from __future__ import annotations

from functools import cache

from ...profiles.errors import NoAlgorithm
from ._base import Kind, ProbeStep


@cache
def kind_of(name: str) -> Kind:
    """The kind called `name`.

    Raises
    ------
    NoAlgorithm
        If nothing can solve problems of this kind yet.
    """
    if name == "linear_system":
        from .linear_system import LinearSystemKind

        return LinearSystemKind()
    if name == "least_squares":
        from .least_squares import LeastSquaresKind

        return LeastSquaresKind()
    if name == "low_rank":
        from .low_rank import LowRankKind

        return LowRankKind()
    raise NoAlgorithm(
        f"no algorithm registered yet for {name.replace('_', ' ')} problems;"
        " linear_system, least_squares and low_rank can be solved",
        kind=name,
    )


__all__ = ["Kind", "ProbeStep", "kind_of"]
