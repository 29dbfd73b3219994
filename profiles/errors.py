"""The one error tree of the library.

It stands in the lowest room so that every room can raise from it. Every message is one line: which
argument or file, what was found, what to do. Extra facts are attributes, given by keyword, so that
every error survives pickling and copying.

    AutonlaError
    ├── InvalidProblem (ValueError)     ├── NoAlgorithm
    │   ├── NonFiniteInput              ├── ProfileError
    │   ├── UnsupportedDtype            ├── PlanError (ValueError)
    │   └── DeclarationMismatch         ├── BackendUnavailable
    ├── InvalidBudget (ValueError)      └── BudgetExceeded
    ├── InfeasibleBudget
    └── CertificationFailed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AutonlaError(Exception):
    """Base of every error that the library raises on purpose."""


class InvalidProblem(AutonlaError, ValueError):
    """A problem cannot be stated from these arguments.

    Parameters
    ----------
    message : str
        One line: the argument, what was found, what to do.
    argument : str
        Name of the offending argument, as the caller wrote it.
    found : str
        What was found in it.
    """

    def __init__(self, message: str, *, argument: str = "", found: str = "") -> None:
        super().__init__(message)
        self.argument = argument
        self.found = found


class NonFiniteInput(InvalidProblem):
    """An operand holds NaN or infinity (some LAPACK callers hang on it)."""


class UnsupportedDtype(InvalidProblem):
    """An operand has a dtype that no kernel computes with."""


class DeclarationMismatch(InvalidProblem):
    """What was declared (``assume="spd"``, ...) contradicts what was found."""


class InvalidBudget(AutonlaError, ValueError):
    """A budget cannot be parsed, or contradicts itself.

    Parameters
    ----------
    message : str
    argument : str
        The field of the budget: ``"accuracy"``, ``"latency"``, ...
    found : str
        What was given.
    """

    def __init__(self, message: str, *, argument: str = "", found: str = "") -> None:
        super().__init__(message)
        self.argument = argument
        self.found = found


class InfeasibleBudget(AutonlaError):
    """No candidate is forecast to fit the budget; raised before anything runs.

    Parameters
    ----------
    message : str
    nearest : sequence of candidates
        The nearest feasible points of the frontier, nearest first.
    plan : Plan or None
        The plan with every candidate and why it was rejected.
    """

    def __init__(self, message: str, *, nearest: Sequence[Any] = (), plan: Any = None) -> None:
        super().__init__(message)
        self.nearest = tuple(nearest)
        self.plan = plan


class CertificationFailed(AutonlaError):
    """Everything that the budget allowed was tried and no answer could be certified.

    Parameters
    ----------
    message : str
    solution : Solution or None
        The best solution found, with the certificate that failed.
    tried : sequence
        What was tried, in order.
    """

    def __init__(self, message: str, *, solution: Any = None, tried: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.solution = solution
        self.tried = tuple(tried)


class NoAlgorithm(AutonlaError):
    """No algorithm is registered for this kind of problem.

    Parameters
    ----------
    message : str
    kind : str
        The kind of problem, ``"least_squares"``, ...
    """

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class ProfileError(AutonlaError):
    """A hardware profile cannot be read, written, or used on this machine."""


class PlanError(AutonlaError, ValueError):
    """A stored plan cannot be read, or does not fit the problem."""


class BackendUnavailable(AutonlaError):
    """A backend that was asked for is not installed, or its device is missing.

    Parameters
    ----------
    message : str
    backend : str
        ``"torch"``, ``"numba"``, ``"cupy"``, ...
    """

    def __init__(self, message: str, *, backend: str = "") -> None:
        super().__init__(message)
        self.backend = backend


class BudgetExceeded(AutonlaError):
    """Memory or time ran out on the way to an answer.

    Parameters
    ----------
    message : str
    resource : str
        ``"memory"`` or ``"latency"``.
    plan : Plan or None
        The plan that was running; None where it ran out before there was one.
    solution : Solution or None
        The best answer so far, with what its certificate allows (an answer that came late may be certified).
    tried : sequence
        What was tried, in order.
    """

    def __init__(
        self, message: str, *, resource: str = "", plan: Any = None, solution: Any = None, tried: Sequence[Any] = ()
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.plan = plan
        self.solution = solution
        self.tried = tuple(tried)


class AutonlaWarning(UserWarning):
    """Base of every warning that the library gives."""
