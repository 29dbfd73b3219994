"""Budget-aware numerical linear algebra: say how accurate, how fast and how big, not which algorithm.

>>> import autonla as nla, numpy as np
>>> A, b = np.eye(3), np.ones(3)
>>> nla.solve(nla.LinearSystem(A, b), nla.Budget(accuracy=1e-12)).value
array([1., 1., 1.])
"""

from typing import TYPE_CHECKING, Any

from autonla.cost_models.forecast import Forecast as Forecast
from autonla.planner import Attempt as Attempt
from autonla.planner import Budget as Budget
from autonla.planner import Candidate as Candidate
from autonla.planner import Certificate as Certificate
from autonla.planner import Eigenpairs as Eigenpairs
from autonla.planner import Eigensystem as Eigensystem
from autonla.planner import Hierarchical as Hierarchical
from autonla.planner import LeastSquares as LeastSquares
from autonla.planner import LinearSystem as LinearSystem
from autonla.planner import LowRank as LowRank
from autonla.planner import LowRankFactors as LowRankFactors
from autonla.planner import MatrixFunction as MatrixFunction
from autonla.planner import Plan as Plan
from autonla.planner import Problem as Problem
from autonla.planner import Product as Product
from autonla.planner import Race as Race
from autonla.planner import RaceRow as RaceRow
from autonla.planner import Record as Record
from autonla.planner import Solution as Solution
from autonla.planner import SpectralDensity as SpectralDensity
from autonla.planner import Trace as Trace
from autonla.planner import plan as plan
from autonla.planner import profile_hardware as profile_hardware
from autonla.planner import race as race
from autonla.planner import solve as solve
from autonla.primitives.interval import Interval as Interval
from autonla.profiles import HardwareProfile as HardwareProfile
from autonla.profiles.errors import AutonlaError as AutonlaError
from autonla.profiles.errors import AutonlaWarning as AutonlaWarning
from autonla.profiles.errors import BackendUnavailable as BackendUnavailable
from autonla.profiles.errors import BudgetExceeded as BudgetExceeded
from autonla.profiles.errors import CertificationFailed as CertificationFailed
from autonla.profiles.errors import DeclarationMismatch as DeclarationMismatch
from autonla.profiles.errors import InfeasibleBudget as InfeasibleBudget
from autonla.profiles.errors import InvalidBudget as InvalidBudget
from autonla.profiles.errors import InvalidProblem as InvalidProblem
from autonla.profiles.errors import NoAlgorithm as NoAlgorithm
from autonla.profiles.errors import NonFiniteInput as NonFiniteInput
from autonla.profiles.errors import PlanError as PlanError
from autonla.profiles.errors import ProfileError as ProfileError
from autonla.profiles.errors import UnsupportedDtype as UnsupportedDtype

if TYPE_CHECKING:
    from autonla.planner.function_polynomial import function_polynomial as function_polynomial
    from autonla.planner.polynomial_preconditioner import polynomial_preconditioner as polynomial_preconditioner
    from autonla.planner.spectral_filter import spectral_filter as spectral_filter

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What needs scipy.sparse.linalg, which takes longer to import than all the rest, is imported when first used."""
    if name == "function_polynomial":
        from autonla.planner.function_polynomial import function_polynomial

        return function_polynomial
    if name == "polynomial_preconditioner":
        from autonla.planner.polynomial_preconditioner import polynomial_preconditioner

        return polynomial_preconditioner
    if name == "spectral_filter":
        from autonla.planner.spectral_filter import spectral_filter

        return spectral_filter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Attempt",
    "AutonlaError",
    "AutonlaWarning",
    "BackendUnavailable",
    "Budget",
    "BudgetExceeded",
    "Candidate",
    "Certificate",
    "CertificationFailed",
    "DeclarationMismatch",
    "Eigenpairs",
    "Eigensystem",
    "Forecast",
    "HardwareProfile",
    "Hierarchical",
    "InfeasibleBudget",
    "Interval",
    "InvalidBudget",
    "InvalidProblem",
    "LeastSquares",
    "LinearSystem",
    "LowRank",
    "LowRankFactors",
    "MatrixFunction",
    "NoAlgorithm",
    "NonFiniteInput",
    "Plan",
    "PlanError",
    "Problem",
    "Product",
    "ProfileError",
    "Race",
    "RaceRow",
    "Record",
    "Solution",
    "SpectralDensity",
    "Trace",
    "UnsupportedDtype",
    "function_polynomial",
    "plan",
    "polynomial_preconditioner",
    "profile_hardware",
    "race",
    "solve",
    "spectral_filter",
]
