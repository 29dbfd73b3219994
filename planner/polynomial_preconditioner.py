"""A polynomial of a positive definite matrix as a preconditioner for anybody's conjugate gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..primitives.autospec import linear_systems as autospec
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
from .polynomial_inputs import PolynomialOperator, check_counts, operator_of, probed

KINDS = ("auto", "autospec", "chebyshev", "ritz_lsq", "gmres_roots", "neumann")
# Where the Chebyshev interval begins: at multiples of the smallest Ritz value, or at the one with this many below it.
# Conjugate gradients find the few eigenvalues below by themselves, and the others are served better.
_LIFTED = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)
_BELOW = (1, 2, 3, 4, 6, 9, 13)
_DEGREES = (1, 2, 3, 5, 7, 11, 15, 19, 23)
_EXPONENTS = (-0.25, 0.0, 0.25, 0.5)  # of 1/x in the weights of least squares at Ritz values
# "auto" picks the least of many forecasts, which flatters the one picked: the trained engine, which is one, gives way
# only to a forecast that is lower by this factor, or where it says that it may lose more than _DOUBT.
_CLEARLY, _DOUBT = 0.85, 0.05
_MARGIN = 1e-3  # by which the interval on which a polynomial must be positive goes beyond the largest Ritz value
_NARROW = 1.1  # quotient of the ends of the interval from which it is made wider
_LEAST = 1e-8  # of its largest value, that x p(x) must stay above on the probed interval: more than rounding


class PolynomialPreconditioner(PolynomialOperator):
    """V -> p(A) V for V : (n,) or (n, r), positive definite: pass it as ``M=``.

    Attributes
    ----------
    kind : str
        One of "autospec", "chebyshev", "ritz_lsq", "gmres_roots", "neumann": what it came to.
    recurrence : Recurrence
        Its coefficients.
    probe : RitzValues
        What was seen of A.
    iterations : int
        Forecast for conjugate gradients with it to `tolerance`, 2000 or more where it says 2000.
    interval : (int, int)
        Around it, which held it nine times out of ten on the spectra that the engine was trained with.
    considered : tuple of (str, int)
        What was compared, with its forecast; -1 where it was not positive on the spectrum.
    degree : int
        Products with A of one application.
    """

    def __init__(
        self, A: LinearOperator, kind: str, recurrence: Recurrence, probe: ritz.RitzValues, iterations: int,
        interval: tuple[int, int], considered: tuple[tuple[str, int], ...],
    ) -> None:  # fmt: skip
        super().__init__(A, recurrence)
        self.kind, self.probe, self.iterations = kind, probe, iterations
        self.interval, self.considered = interval, considered


def polynomial_preconditioner(
    A: Any, kind: str = "auto", *, degree: int | Literal["auto"] = 11, probe: int = 50, rng: Any = None,
    tolerance: float = 1e-10, synchronization: float = 0.0,
) -> PolynomialPreconditioner:  # fmt: skip
    """A polynomial of A near its inverse, chosen from a probe of its spectrum, to be given to conjugate gradients.

    It pays where an iteration costs more than its products with A: in communication (say how much by
    `synchronization`), or in an outer preconditioner. On one processor the products of all iterations together are
    hardly fewer than without it.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
        Real symmetric positive definite, float64 or float32. Operators need matvec only.
    kind : {"auto", "autospec", "chebyshev", "ritz_lsq", "gmres_roots", "neumann"}, default "auto"
        How the coefficients are chosen, see `autonla.primitives.polynomials`. "autospec": by a trained network
        (`autonla.primitives.autospec`, docs/autospec.md). "auto" forecasts the iterations of many from the Ritz values,
        and takes the network's unless another needs clearly fewer.
    degree : int or "auto", default 11
        Products with A in one application. "auto": of 1, 2, 3, 5, 7, 11, 15, 19 and 23, below `probe`, that for which
        the forecast iterations times (degree + 1 + `synchronization`) are least.
    probe : int, default 50
        Lanczos steps that the spectrum is seen by: products with A, once. More than `degree`.
    rng : None, int or numpy.random.Generator
        Seed of the start of the probe.
    tolerance : float, default 1e-10
        Relative residual that iterations are forecast for.
    synchronization : float, default 0.0
        What the inner products of one iteration take where the system is solved, in products with A: with vectors that
        are spread over many processes more than one, often.

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
    operator = operator_of(A)
    n = operator.shape[0]
    if kind not in KINDS:
        raise InvalidProblem(f"kind = {kind!r} is not one of {', '.join(KINDS)}", argument="kind", found=repr(kind))
    check_counts(1 if isinstance(degree, str) and degree == "auto" else degree, probe, n)
    if not 0.0 < tolerance < 1.0:
        raise InvalidProblem(f"tolerance = {tolerance!r} must be in (0, 1)", argument="tolerance")
    if not 0.0 <= synchronization < math.inf:
        raise InvalidProblem(
            f"synchronization = {synchronization!r} must be a number of products, 0 or more", argument="synchronization"
        )
    seen = probed(operator, probe, rng)
    degrees = [d for d in _DEGREES if d < probe] if isinstance(degree, str) else [int(degree)]
    made = [_of_degree(operator, kind, d, seen, tolerance) for d in degrees]
    named = [M for M in made if kind in ("auto", M.kind)] or made
    best = min(named, key=lambda M: M.iterations * (M.degree + 1.0 + synchronization))
    if kind not in ("auto", best.kind):
        warnings.warn(
            f"there is no {kind} polynomial of degree {degree} that is positive on the spectrum as the probe shows it:"
            " Chebyshev's is used",
            AutonlaWarning,
            stacklevel=2,
        )
    return best


def _of_degree(
    operator: LinearOperator, kind: str, degree: int, seen: ritz.RitzValues, tolerance: float
) -> PolynomialPreconditioner:
    low, high = float(seen.values[0]), seen.high
    if high < _NARROW * low:  # a polynomial of an interval so narrow could not be evaluated outside of it
        low, high = low / _NARROW, high * _NARROW
    learned = autospec.engine()(seen.values, seen.residuals, seen.weights, degree)
    choices = _choices(kind, seen, low, high, degree, learned)
    eigenvalues = forecast.spectrum(seen.values, seen.weights)
    safe = [_positive(p, low, high) for _, _, p in choices]
    multipliers = np.array([p(eigenvalues) for _, _, p in choices]).reshape(len(choices), len(eigenvalues)).T
    counts = forecast.cg_iterations(eigenvalues, multipliers, tolerance)
    off = np.exp(learned.off) if learned is not None else np.ones(3)

    def made(kind: str, p: Recurrence, count: float) -> PolynomialPreconditioner:
        middle, least, most = (math.ceil(count * factor) for factor in off)
        return PolynomialPreconditioner(operator, kind, p, seen, middle, (least, most), considered)

    considered = tuple(
        (label, math.ceil(count * off[0]) if fine else -1)
        for (label, _, _), count, fine in zip(choices, counts, safe, strict=True)
    )
    able = [i for i, fine in enumerate(safe) if fine]
    if not able:
        p = chebyshev(low, _top(high), degree)
        return made("chebyshev", p, forecast.cg_iterations(eigenvalues, p(eigenvalues)[:, None], tolerance)[0])

    def rank(i: int) -> tuple[float, int]:
        trusted = choices[i][1] == "autospec" and learned is not None and learned.loss <= _DOUBT
        return counts[i] * (_CLEARLY if trusted else 1.0), i

    best = min(able, key=rank)
    _, name, p = choices[best]
    return made(name, p, counts[best])


def _choices(
    kind: str, seen: ritz.RitzValues, low: float, high: float, degree: int, learned: autospec.Said | None
) -> list[tuple[str, str, Recurrence]]:
    """(label, kind, polynomial) of what is to be compared."""
    made: dict[str, Callable[[], list[tuple[str, Recurrence]]]] = {
        "autospec": lambda: [] if learned is None else [("autospec", learned.recurrence)],
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
    more = ("gmres_roots", "autospec")
    return choices + [(label, name, p) for name in more for label, p in made[name]()]


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
