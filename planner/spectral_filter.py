"""A polynomial of a symmetric matrix that is large at the wanted end of its spectrum: a filter for eigensolvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..primitives.algorithm import Breakdown
from ..primitives.eigenpairs.spectral_filters import EXTRA, SpectralProbe, chosen, places, probed
from ..primitives.eigenpairs.spectral_filters import KINDS as POLYNOMIALS
from ..primitives.polynomials import Recurrence, power
from ..profiles.errors import InvalidProblem, NonFiniteInput
from .planning import seed_of
from .polynomial_inputs import PolynomialOperator, operator_of

KINDS = ("auto", *POLYNOMIALS)
WHICH = ("LA", "SA", "LM", "SM")
_MOST = 10_000  # outer iterations that are forecast at most


class SpectralFilter(PolynomialOperator):
    """V -> p(A) V for V : (n,) or (n, r), whose largest eigenvalues are those of the wanted end of A.

    Attributes
    ----------
    kind : str
        One of "autospec", "chebyshev", "minimax", "power": what it came to. Where "autospec" would be larger at a Ritz
        value beyond the wanted ones than at the first of them, that is "chebyshev".
    recurrence : Recurrence
        Its coefficients; of A squared where `squared`. Its value is one at the first Ritz value.
    squared : bool
        Whether it is a polynomial of A squared: for eigenvalues of large or small magnitude of either sign.
    probe : SpectralProbe
        What was seen of A, or of A squared.
    iterations : int
        Outer iterations of Krylov-Schur of dimension 4 k that are forecast with it, 10000 where it takes more or there
        is no gap. Too few where the probe has not seen the end well.
    gain : float
        How many times as much the logarithm of |p| at the k-th eigenvalue over its largest value beyond the (k + 5)-th
        is as that of `power` of the same degree; infinite where that has none, not positive where this has none.
    considered : tuple of (str, int)
        What was compared, with its forecast.
    degree : int
        Products with A of one application.
    """

    def __init__(
        self, A: LinearOperator, kind: str, recurrence: Recurrence, squared: bool, probe: SpectralProbe,
        iterations: int, gain: float, considered: tuple[tuple[str, int], ...],
    ) -> None:  # fmt: skip
        super().__init__(A, recurrence)
        self.kind, self.squared, self.probe = kind, squared, probe
        self.iterations, self.gain, self.considered = iterations, gain, considered

    @property
    def degree(self) -> int:
        return self.recurrence.degree * (2 if self.squared else 1)

    def _step(self, product: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return _product(product, self.squared)


def spectral_filter(
    A: Any, k: int, which: str = "LA", kind: str = "auto", *, degree: int = 21, probe: int = 20, rng: Any = None
) -> SpectralFilter:
    """A polynomial of A that separates k eigenvalues of one end, chosen from a probe of the spectrum.

    Its largest eigenvalues are found by any eigensolver, and those of A from its vectors by a Rayleigh-Ritz step. It
    pays where an outer iteration costs more than its products with A: in orthogonalization, communication, or memory
    for a basis.

    Parameters
    ----------
    A : (n, n) array, sparse array or LinearOperator
        Real symmetric, float64 or float32. Operators need matvec only.
    k : int
        Eigenpairs that are wanted, below n.
    which : {"LA", "SA", "LM", "SM"}, default "LA"
        The largest or smallest of them, or those of the largest or smallest magnitude. For the last two A is squared
        where the probe finds eigenvalues of both signs: twice as many products.
    kind : {"auto", "autospec", "chebyshev", "minimax", "power"}, default "auto"
        "autospec" is a trained network (`autonla.primitives.autospec.eigenproblems`), for the others see
        `autonla.primitives.polynomials.filters`. "auto" forecasts the outer iterations of several on a spectrum
        like the probe's, and takes the one with the fewest.
    degree : int, default 21
        Of the polynomial.
    probe : int, default 20
        Outer iterations of Krylov-Schur of dimension 4 k by which the spectrum is seen, fewer where it converges.
    rng : None, int or numpy.random.Generator
        Seed of the start of the probe.

    Returns
    -------
    SpectralFilter
        A scipy.sparse.linalg.LinearOperator of A's shape and dtype.

    Raises
    ------
    InvalidProblem
        If A is not square, not real, or has one eigenvalue only; if an argument makes no sense.
    NonFiniteInput
        If a product with A is not finite.

    Examples
    --------
    >>> import scipy.sparse as sp, scipy.sparse.linalg as spla, numpy as np
    >>> A = sp.csr_array(sp.diags_array(np.linspace(1.0, 1e3, 2000) ** 2))
    >>> P = spectral_filter(A, 4, "SA", rng=0)
    >>> X = spla.eigsh(P, 4, which="LA")[1]
    >>> np.round(np.linalg.eigvalsh(X.T @ (A @ X)), 6)
    array([1.      , 2.249...
    """
    operator = operator_of(A)
    n = operator.shape[0]
    for name, value, options in (("which", which, WHICH), ("kind", kind, KINDS)):
        if value not in options:
            raise InvalidProblem(f"{name} = {value!r} is not one of {', '.join(options)}", argument=name)
    for name, value in (("k", k), ("degree", degree), ("probe", probe)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise InvalidProblem(f"{name} = {value!r} must be an integer of at least 1", argument=name)
    if k >= n:
        raise InvalidProblem(f"k = {k} must be below the order of A, {n}: all of it is no end", argument="k")
    k, degree, probe = int(k), int(degree), int(probe)
    generator = np.random.default_rng(np.random.Philox(key=seed_of(rng)))
    start: Any = generator.standard_normal(n).astype(str(operator.dtype))
    end = {"LM": "LA", "SM": "SA"}.get(which, which)
    seen, squared = _probed(operator.matvec, start, k, end, probe), False
    if which in ("LM", "SM"):
        if _signs(seen) == {-1.0}:  # negative definite: the other end
            end = "SA" if end == "LA" else "LA"
            seen = _probed(operator.matvec, start, k, end, probe)
        squared = len(_signs(seen)) == 2
    if squared:
        end = {"LM": "LA", "SM": "SA"}[which]
        seen = _probed(_product(operator.matvec, squared), start, k, end, probe)
    eps = float(np.finfo(str(operator.dtype)).eps)
    if not abs(seen.far - float(seen.values[0])) > 100.0 * eps * abs(float(seen.values[0])):
        raise InvalidProblem(f"all eigenvalues that were seen are {seen.values[0]:.6g}: A has no end", argument="A")
    where = places(k)
    if kind in ("chebyshev", "autospec"):
        del where["k+5"]
    choice = chosen(seen, POLYNOMIALS if kind == "auto" else (kind,), where, n, degree)
    target, others = float(seen.values[k - 1]), seen.points(k + EXTRA)
    own, baseline = (
        math.log(max(abs(float(q(target))), 1e-300)) - math.log(max(float(np.abs(q(others)).max()), 1e-300))
        for q in (choice.polynomial, power(seen.far, float(seen.values[0]), degree))
    )
    gain = own / baseline if baseline > 0.0 else math.inf
    considered = tuple((label, math.ceil(min(count, _MOST))) for label, count in choice.considered)
    iterations = math.ceil(min(choice.iterations, _MOST))
    return SpectralFilter(operator, choice.kind, choice.polynomial, squared, seen, iterations, gain, considered)


def _product(product: Callable[[Any], Any], squared: bool) -> Callable[[Any], Any]:
    return (lambda V: product(product(V))) if squared else product


def _signs(seen: SpectralProbe) -> set[float]:
    """Of the Ritz values that are more than rounding."""
    values = np.concatenate([seen.values, seen.start_values])
    return set(np.sign(values[np.abs(values) > 100.0 * seen.rounding * np.abs(values).max()]).tolist())


def _probed(product: Callable[[Any], Any], start: Any, k: int, which: str, most: int) -> SpectralProbe:
    try:
        return probed(product, start, k, which, most)
    except Breakdown as error:
        raise NonFiniteInput(f"{error}: an entry of A is not, or the operator is at fault", argument="A") from error


__all__ = ["KINDS", "WHICH", "SpectralFilter", "SpectralProbe", "spectral_filter"]
