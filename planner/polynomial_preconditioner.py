"""A polynomial of a positive definite matrix as a preconditioner for anybody's conjugate gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from ..primitives.polynomials import (
    Recurrence,
    chebyshev,
    forecast,
    gmres_roots,
    harmonic_ritz_values,
    neumann,
    ritz_least_squares,
)
from ..probes import ritz
from ..profiles.errors import AutonlaWarning, InvalidProblem
from .planning import seed_of

KINDS = ("auto", "chebyshev", "ritz_lsq", "gmres_roots", "neumann")
# Where the Chebyshev interval begins: at multiples of the smallest Ritz value, or at the one with this many below it.
# Conjugate gradients find the few eigenvalues below by themselves, and the others are served better.
_LIFTED = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)
_BELOW = (1, 2, 3, 4, 6, 9, 13)
_EXPONENTS = (-0.25, 0.0, 0.25, 0.5)  # of 1/x in the weights of least squares at Ritz values
_MARGIN = 1e-3  # by which the interval on which a polynomial must be positive goes beyond the largest Ritz value
_NARROW = 1.1  # quotient of the ends of the interval from which it is made wider
_LEAST = 1e-8  # of its largest value, that x p(x) must stay above on the probed interval: more than rounding


class PolynomialPreconditioner(LinearOperator):
    """V -> p(A) V for V : (n,) or (n, r), positive definite: pass it as ``M=``.

    Attributes
    ----------
    kind : str
        One of "chebyshev", "ritz_lsq", "gmres_roots", "neumann": what it came to.
    recurrence : Recurrence
        Its coefficients.
    probe : RitzValues
        What was seen of A.
    iterations : int
        Forecast for conjugate gradients with it to `tolerance`, 2000 or more where it says 2000.
    considered : tuple of (str, int)
        What was compared, with its forecast; -1 where it was not positive on the spectrum.
    degree : int
        Products with A of one application.
    """

    def __init__(
        self, A: LinearOperator, kind: str, recurrence: Recurrence, probe: ritz.RitzValues, iterations: int,
        considered: tuple[tuple[str, int], ...],
    ) -> None:  # fmt: skip
        super().__init__(A.dtype, A.shape)  # type: ignore[call-arg]
        self.kind, self.recurrence, self.probe, self.iterations = kind, recurrence, probe, iterations
        self.considered, self._A = considered, A

    @property
    def degree(self) -> int:
        return self.recurrence.degree

    def _matvec(self, x: Any) -> Any:
        return self.recurrence.apply(self._A.matvec, x)

    def _matmat(self, X: Any) -> Any:
        return self.recurrence.apply(self._A.matmat, X)

    def _adjoint(self) -> PolynomialPreconditioner:
        return self


def polynomial_preconditioner(
    A: Any, kind: str = "auto", *, degree: int = 11, probe: int = 50, rng: Any = None, tolerance: float = 1e-10
) -> PolynomialPreconditioner:
    """A polynomial of A near its inverse, chosen from a probe of its spectrum, to be given to conjugate gradients.

    It pays where an iteration costs more than its products with A: in communication, or in an outer preconditioner. On
    one processor the products of all iterations together are hardly fewer than without it.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
        Real symmetric positive definite, float64 or float32. Operators need matvec only.
    kind : {"auto", "chebyshev", "ritz_lsq", "gmres_roots", "neumann"}, default "auto"
        How the coefficients are chosen, see `autonla.primitives.polynomials`. "auto" forecasts the iterations of many
        from the Ritz values, and takes the one with the fewest.
    degree : int, default 11
        Products with A in one application.
    probe : int, default 50
        Lanczos steps that the spectrum is seen by: products with A, once. More than `degree`.
    rng : None, int or numpy.random.Generator
        Seed of the start of the probe.
    tolerance : float, default 1e-10
        Relative residual that iterations are forecast for.

    Returns
    -------
    PolynomialPreconditioner
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
        If the polynomial that was asked for is not positive on the spectrum, and Chebyshev's is used instead.

    Examples
    --------
    >>> import scipy.sparse as sp, scipy.sparse.linalg as spla, numpy as np
    >>> A = sp.csr_array(sp.diags_array(np.linspace(1.0, 1e4, 2000)))
    >>> M = polynomial_preconditioner(A, rng=0)
    >>> x, info = spla.cg(A, np.ones(2000), M=M, rtol=1e-10)
    >>> info
    0
    """
    operator = _operator(A)
    n = operator.shape[0]
    if kind not in KINDS:
        raise InvalidProblem(f"kind = {kind!r} is not one of {', '.join(KINDS)}", argument="kind", found=repr(kind))
    for name, value, least in (("degree", degree, 1), ("probe", probe, 2)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise InvalidProblem(f"{name} = {value!r} must be an integer of at least {least}", argument=name)
    if probe <= degree < n:
        raise InvalidProblem(
            f"probe = {probe} must be above degree = {degree}: a polynomial has no more coefficients than were seen",
            argument="probe",
        )
    if not 0.0 < tolerance < 1.0:
        raise InvalidProblem(f"tolerance = {tolerance!r} must be in (0, 1)", argument="tolerance")
    generator = np.random.default_rng(np.random.Philox(key=seed_of(rng)))
    start: Any = generator.standard_normal(n)
    seen = ritz.run(operator.matvec, start.astype(operator.dtype), int(probe))
    low, high = float(seen.values[0]), seen.high
    if not low > float(np.finfo(str(operator.dtype)).eps) * high:
        raise InvalidProblem(
            f"A is not positive definite: it has a Ritz value of {low:.2g} beside one of {seen.values[-1]:.2g}",
            argument="A",
        )
    if high < _NARROW * low:  # a polynomial of an interval so narrow could not be evaluated outside of it
        low, high = low / _NARROW, high * _NARROW
    choices = _choices(kind, seen, low, high, int(degree))
    eigenvalues = forecast.spectrum(seen.values, seen.weights)
    safe = [_positive(p, low, high) for _, _, p in choices]
    multipliers = np.array([p(eigenvalues) for _, _, p in choices]).reshape(len(choices), len(eigenvalues)).T
    iterations = forecast.cg_iterations(eigenvalues, multipliers, tolerance)
    counts = [math.ceil(count) if fine else -1 for count, fine in zip(iterations, safe, strict=True)]
    considered = tuple(zip((label for label, _, _ in choices), counts, strict=True))
    able = [i for i, fine in enumerate(safe) if fine]
    if not able:
        warnings.warn(
            f"there is no {kind} polynomial of degree {degree} that is positive on [{low:.3g}, {high:.3g}]:"
            " Chebyshev's is used",
            AutonlaWarning,
            stacklevel=2,
        )
        p = chebyshev(low, _top(high), int(degree))
        count = math.ceil(forecast.cg_iterations(eigenvalues, p(eigenvalues)[:, None], tolerance)[0])
        return PolynomialPreconditioner(operator, "chebyshev", p, seen, count, considered)
    best = min(able, key=lambda i: (iterations[i], i))
    _, name, p = choices[best]
    return PolynomialPreconditioner(operator, name, p, seen, math.ceil(iterations[best]), considered)


def _operator(A: Any) -> LinearOperator:
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


def _choices(
    kind: str, seen: ritz.RitzValues, low: float, high: float, degree: int
) -> list[tuple[str, str, Recurrence]]:
    """(label, kind, polynomial) of what is to be compared."""
    made: dict[str, Callable[[], list[tuple[str, Recurrence]]]] = {
        "chebyshev": lambda: [("chebyshev", chebyshev(low, _top(high), degree))],
        "ritz_lsq": lambda: [("ritz_lsq", _least_squares(seen, degree, low, high, 0.0))],
        "gmres_roots": lambda: _gmres(seen, degree),
        "neumann": lambda: [("neumann", neumann(_top(high), degree))],
    }
    if kind != "auto":
        return [(label, kind, p) for label, p in made[kind]()]
    begins = {f"lifted={lift:g}": lift * low for lift in _LIFTED}
    begins |= {f"below={j}": 0.9 * float(seen.values[j]) for j in _BELOW if j < len(seen.values)}
    choices = [
        (f"chebyshev({label})", "chebyshev", chebyshev(begin, _top(high), degree))
        for label, begin in begins.items()
        if begin == low or begin < 0.5 * high
    ]
    choices += [
        (f"ritz_lsq(exponent={e:g})", "ritz_lsq", _least_squares(seen, degree, low, high, e)) for e in _EXPONENTS
    ]
    return choices + [(label, "gmres_roots", p) for label, p in made["gmres_roots"]()]


def _least_squares(seen: ritz.RitzValues, degree: int, low: float, high: float, exponent: float) -> Recurrence:
    weights = (low / seen.values) ** exponent
    return ritz_least_squares(seen.values, degree, weights, (low, high), (0.0, _top(high)))


def _gmres(seen: ritz.RitzValues, degree: int) -> list[tuple[str, Recurrence]]:
    """From the first steps of the probe; nothing where the start lies in a space as small as that."""
    k = min(degree + 1, seen.steps)
    last = float(seen.T[k, k - 1]) if k < seen.steps else seen.last
    zeros = harmonic_ritz_values(seen.T[:k, :k], last)
    return [("gmres_roots", gmres_roots(zeros))] if len(zeros) > 1 and zeros[0] > 0.0 else []


def _top(high: float) -> float:
    """Where intervals end: beyond where polynomials have to be positive."""
    return high * (1.0 + 2.0 * _MARGIN)


def _positive(p: Recurrence, low: float, high: float) -> bool:
    """Whether p is positive on the spectrum with a margin, below the smallest Ritz value and beyond the largest too."""
    least, most = p.extremes(low, high, times=lambda x: x)
    if not (math.isfinite(least) and math.isfinite(most) and least > _LEAST * most):
        return False
    return p.extremes(0.0, high * (1.0 + _MARGIN))[0] > 0.0


__all__ = ["KINDS", "PolynomialPreconditioner", "polynomial_preconditioner"]
