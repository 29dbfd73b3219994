"""Problems, budgets, the choice of an algorithm, its execution and its certificate."""

from .api import plan, profile_hardware, race, solve
from .budget import Budget
from .certificate import Certificate
from .plans import Candidate, Plan
from .problems import (
    Eigenpairs,
    Hierarchical,
    LeastSquares,
    LinearSystem,
    LowRank,
    MatrixFunction,
    Problem,
    Product,
    SpectralDensity,
    Trace,
)
from .racing import Race, RaceRow
from .solution import Attempt, Eigensystem, LowRankFactors, Record, Solution

__all__ = [
    "Attempt", "Budget", "Candidate", "Certificate", "Eigenpairs", "Eigensystem", "Hierarchical", "LeastSquares",
    "LinearSystem", "LowRank", "LowRankFactors", "MatrixFunction", "Plan", "Problem", "Product", "Race", "RaceRow",
    "Record", "Solution", "SpectralDensity", "Trace", "plan", "profile_hardware", "race", "solve",
]  # fmt: skip
