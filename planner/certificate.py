"""What is promised about an answer, and on what grounds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..primitives.interval import Interval


def says_enough(bound: float, target: float | None) -> bool:
    """Whether a bound relative to the size of the problem keeps a target; without one, whether it says something."""
    return bound < 1.0 if target is None else math.isfinite(bound) and bound <= target


@dataclass(frozen=True, slots=True)
class Certificate:
    """An a-posteriori bound on the error of one answer.

    Attributes
    ----------
    metric : str
        What is bounded ("backward_error", ...).
    bound : float
        Upper bound on the error, holding with probability `confidence`.
    estimate : float
        The likely value of the error (at most `bound`).
    confidence : float
        1.0 for a deterministic bound.
    method : str
        How it was computed, one sentence.
    target : float or None
        The accuracy asked for; None if the budget asked for none.
    satisfied : bool
        bound <= target; where none was asked for, that the bound says something: below one (low rank: finite).
    numerical_rank : int or None
        Of a matrix that was found to be rank-deficient on the way.
    columns : int or None
        Of the range that a bound on the best error rests on, where a wider one is needed for a better bound.
    condition : Interval or None
        The 2-norm condition number of A between bounds that hold with `confidence`, where it was looked for.
    residual : float or None
        Least squares: ||b - A x|| / ||b||, worst right-hand side.
    """

    metric: str
    bound: float
    estimate: float
    confidence: float
    method: str
    target: float | None
    satisfied: bool
    numerical_rank: int | None = None
    columns: int | None = None
    condition: Interval | None = None
    residual: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        sign = "<=" if self.satisfied or self.target is None else "not shown to be <="
        target = "" if self.target is None else f" {sign} {self.target:.1e}"
        return f"{self.metric} {self.bound:.1e}{target} ({self.method}; confidence {self.confidence:.4g})"
