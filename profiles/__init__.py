"""What a machine is described by: schema, fingerprint, validation, where profiles are kept.

The lowest room: it knows no algorithm and measures nothing. The errors of the whole library are
defined here too, so that every room can raise them.
"""

from __future__ import annotations

from .complete import completed as completed
from .errors import AutonlaError as AutonlaError
from .errors import AutonlaWarning as AutonlaWarning
from .errors import BackendUnavailable as BackendUnavailable
from .errors import BudgetExceeded as BudgetExceeded
from .errors import CertificationFailed as CertificationFailed
from .errors import DeclarationMismatch as DeclarationMismatch
from .errors import InfeasibleBudget as InfeasibleBudget
from .errors import InvalidBudget as InvalidBudget
from .errors import InvalidProblem as InvalidProblem
from .errors import NoAlgorithm as NoAlgorithm
from .errors import NonFiniteInput as NonFiniteInput
from .errors import PlanError as PlanError
from .errors import ProfileError as ProfileError
from .errors import UnsupportedDtype as UnsupportedDtype
from .fingerprint import Mismatch as Mismatch
from .fingerprint import compare as compare
from .fingerprint import fingerprint as fingerprint
from .schema import BlasLibrary as BlasLibrary
from .schema import Correction as Correction
from .schema import Device as Device
from .schema import EnergyModel as EnergyModel
from .schema import Fingerprint as Fingerprint
from .schema import HardwareProfile as HardwareProfile
from .schema import KernelPoint as KernelPoint
from .schema import KernelTable as KernelTable
from .schema import Run as Run
from .schema import Term as Term
from .store import Found as Found
from .store import dumps as dumps
from .store import find as find
from .store import generic as generic
from .store import home as home
from .store import load as load
from .store import loads as loads
from .store import profile_path as profile_path
from .store import save as save
