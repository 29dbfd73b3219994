"""One problem of the suite under one budget."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..budget import Budget
from ..problems import Problem

Maker = Callable[[np.random.Generator], Problem]


@dataclass(frozen=True, slots=True)
class Instance:
    """One problem under one budget.

    Attributes
    ----------
    name : str
        Unique; it also seeds the data.
    family : str
        Kind of problem, for the tables.
    tags : dict
        Shape, spectrum, condition, ...: what made it.
    make : callable (rng) -> Problem
    budget : Budget
    daily : bool
    """

    name: str
    family: str
    tags: dict[str, Any]
    make: Maker = field(repr=False)
    budget: Budget
    daily: bool = False

    def problem(self) -> Problem:
        """The problem, the same every time."""
        return self.make(np.random.default_rng(zlib.crc32(self.name.encode())))
