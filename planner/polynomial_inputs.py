"""What the functions that make polynomials of a matrix have in common: checks of arguments, the Lanczos probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from ..primitives.polynomials import Recurrence
from ..probes import ritz
from ..profiles.errors import InvalidProblem
from .planning import seed_of


class PolynomialOperator(LinearOperator):
    """V -> p(A) V for V : (n,) or (n, r), symmetric, of A's shape and dtype.

    Attributes
    ----------
    recurrence : Recurrence
        The coefficients of p.
    degree : int
        Products with A of one application.
    """

    def __init__(self, A: LinearOperator, recurrence: Recurrence) -> None:
        super().__init__(A.dtype, A.shape)  # type: ignore[call-arg]
        self.recurrence, self._A = recurrence, A

    @property
    def degree(self) -> int:
        return self.recurrence.degree

    def _step(self, product: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What p is a polynomial of, from the product with A."""
        return product

    def _matvec(self, x: Any) -> Any:
        return self.recurrence.apply(self._step(self._A.matvec), x)

    def _matmat(self, X: Any) -> Any:
        return self.recurrence.apply(self._step(self._A.matmat), X)

    def _adjoint(self) -> PolynomialOperator:
        return self


def operator_of(A: Any) -> LinearOperator:
    """A as a SciPy operator. Raises InvalidProblem where it is none, or not square and real."""
    if hasattr(A, "detach"):
        A = A.detach().cpu().numpy()
    try:
        operator = aslinearoperator(A)
    except (TypeError, ValueError) as error:  # no operator, or of more than two dimensions
        raise InvalidProblem(
            f"A is a {type(A).__name__}; pass an array, a scipy.sparse array or a LinearOperator",
            argument="A",
            found=type(A).__name__,
        ) from error
    if len(operator.shape) != 2 or operator.shape[0] != operator.shape[1] or operator.shape[0] == 0:
        raise InvalidProblem(f"A has shape {tuple(operator.shape)}, which is not square", argument="A")
    if operator.dtype not in (np.float64, np.float32):
        raise InvalidProblem(
            f"A has dtype {operator.dtype}; convert it to float64 or float32", argument="A", found=str(operator.dtype)
        )
    return operator


def check_counts(degree: Any, probe: Any, n: int) -> None:
    """Raise InvalidProblem unless both are positive integers, and more was seen than a polynomial has coefficients."""
    for name, value, least in (("degree", degree, 1), ("probe", probe, 2)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise InvalidProblem(f"{name} = {value!r} must be an integer of at least {least}", argument=name)
    if probe <= degree < n:
        raise InvalidProblem(
            f"probe = {probe} must be above degree = {degree}: a polynomial has no more coefficients than were seen",
            argument="probe",
        )


def probed(operator: LinearOperator, steps: int, rng: Any) -> ritz.RitzValues:
    """Ritz values of a positive definite operator after so many Lanczos steps.

    Raises
    ------
    InvalidProblem
        If it is seen not to be positive definite.
    NonFiniteInput
        If a product with it is not finite.
    """
    generator = np.random.default_rng(np.random.Philox(key=seed_of(rng)))
    start: Any = generator.standard_normal(operator.shape[0])
    seen = ritz.run(operator.matvec, start.astype(operator.dtype), int(steps))
    if not float(seen.values[0]) > float(np.finfo(str(operator.dtype)).eps) * seen.high:
        raise InvalidProblem(
            f"A is not positive definite: it has a Ritz value of {seen.values[0]:.2g} beside one of"
            f" {seen.values[-1]:.2g}",
            argument="A",
        )
    return seen


__all__ = ["PolynomialOperator", "check_counts", "operator_of", "probed"]
