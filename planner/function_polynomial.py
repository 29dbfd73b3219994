"""A polynomial near a function of a positive definite matrix: whitening, roots, the logarithm, by products alone."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..primitives.autospec import functions as autospec
from ..primitives.polynomials import Recurrence
from ..primitives.polynomials.functions import Function, function, interpolated, minimax, taylor
from ..probes import ritz
from ..profiles.errors import AutonlaWarning, InvalidProblem
from .polynomial_inputs import PolynomialOperator, check_counts, operator_of, probed

KINDS = ("autospec", "minimax", "interpolated", "taylor")
_NARROW = 1.0 + 1e-6  # quotient of the ends of an interval from which it is made wider


class FunctionPolynomial(PolynomialOperator):
    """V -> p(A) V for V : (n,) or (n, r), symmetric.

    Attributes
    ----------
    kind : str
        One of "autospec", "minimax", "interpolated", "taylor".
    recurrence : Recurrence
        Its coefficients.
    interval : (float, float)
        On which p is near f, in the units of A.
    error : float
        The largest on that interval: |p / f - 1| for powers, |p - log|. An eigenvalue outside may be worse off.
    probe : RitzValues
        What was seen of A.
    degree : int
        Products with A of one application.
    """

    def __init__(
        self, A: LinearOperator, kind: str, recurrence: Recurrence, interval: tuple[float, float], error: float,
        probe: ritz.RitzValues,
    ) -> None:  # fmt: skip
        super().__init__(A, recurrence)
        self.kind, self.interval, self.error, self.probe = kind, interval, error, probe


def function_polynomial(
    A: Any, f: str | tuple[str, int] = "inv_sqrt", kind: str = "autospec", *, degree: int = 21, probe: int = 50,
    rng: Any = None,
) -> FunctionPolynomial:  # fmt: skip
    """A polynomial p of A with p(A) near f(A), on the interval where a probe sees the spectrum.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
        Real symmetric positive definite, float64 or float32. Operators need matvec only.
    f : {"inv_sqrt", "sqrt", "inv", "log"} or ("inv_root", r), default "inv_sqrt"
        x^(-1/2), x^(1/2), x^(-1), log x, x^(-1/r).
    kind : {"autospec", "minimax", "interpolated", "taylor"}, default "autospec"
        "autospec": the best polynomial on an interval that a trained network says, which knows how far the ends of the
        spectrum may be beyond what the probe saw. "minimax": the best on the interval of the probe. "interpolated": at
        Chebyshev points of the same. "taylor": the power series about the largest eigenvalue (Neumann).
    degree : int, default 21
        Products with A in one application.
    probe : int, default 50
        Lanczos steps that the spectrum is seen by: products with A, once. More than `degree`.
    rng : None, int or numpy.random.Generator
        Seed of the start of the probe.

    Returns
    -------
    FunctionPolynomial
        A scipy.sparse.linalg.LinearOperator of A's shape and dtype.

    Raises
    ------
    InvalidProblem
        If A is not square, not real, or seen not to be positive definite; if an argument makes no sense.
    NonFiniteInput
        If a product with A is not finite.

    Warns
    -----
    AutonlaWarning
        If no value is right to one digit: the degree is too low for a matrix as ill-conditioned as this.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.diag(np.linspace(1.0, 10.0, 100))
    >>> W = function_polynomial(A, "inv_sqrt", rng=0)
    >>> bool(abs(W @ A @ (W @ np.eye(100)) - np.eye(100)).max() < 1e-5)
    True
    """
    operator = operator_of(A)
    if kind not in KINDS:
        raise InvalidProblem(f"kind = {kind!r} is not one of {', '.join(KINDS)}", argument="kind", found=repr(kind))
    try:
        wanted = function(f)
    except ValueError as error:
        raise InvalidProblem(f"f = {error}", argument="f", found=repr(f)) from error
    check_counts(degree, probe, operator.shape[0])
    seen = probed(operator, probe, rng)
    low, high = float(seen.values[0]), seen.high
    if kind == "autospec" and high > _NARROW * low:
        low, high = autospec.engine()(seen.values, seen.residuals, seen.weights, wanted)
    if high < _NARROW * low:
        low, high = low / _NARROW, high * _NARROW
    if kind == "taylor":
        p = taylor(wanted, high, int(degree))
    elif kind == "interpolated":
        p = interpolated(wanted, low, high, int(degree))
    else:
        p = minimax(wanted, low, high, int(degree))
    error = _error(wanted, p, low, high)
    if not error < 0.5:
        warnings.warn(
            f"a polynomial of degree {degree} is off by {error:.2g} on [{low:.3g}, {high:.3g}]: a higher degree is"
            " needed",
            AutonlaWarning,
            stacklevel=2,
        )
    return FunctionPolynomial(operator, kind, p, (low, high), error, seen)


def _error(f: Function, p: Recurrence, low: float, high: float) -> float:
    points = 20 * p.degree + 1
    even = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, math.pi, points))
    x = np.clip(np.concatenate([even, np.geomspace(low, high, points)]), low, high)
    return float(np.abs(f.error(p, x)).max())


__all__ = ["KINDS", "FunctionPolynomial", "function_polynomial"]
