"""A polynomial of a symmetric matrix that is large at the wanted end of its spectrum: a filter for eigensolvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..primitives.algorithm import Breakdown
from ..primitives.eigenpairs import Cycle, krylov_schur, outer_iterations
from ..primitives.polynomials import Recurrence, chebyshev_filter, minimax_filter, power
from ..profiles.errors import InvalidProblem, NonFiniteInput
from .planning import seed_of
from .polynomial_inputs import PolynomialOperator, operator_of

KINDS = ("auto", "autospec", "chebyshev", "minimax", "power")
WHICH = ("LA", "SA", "LM", "SM")
EXTRA = 5  # Ritz vectors that Krylov-Schur keeps besides those wanted, as MATLAB's eigs and the paper do
_SEEN = 1e-8  # of the largest Ritz value: residuals from which the probe has nothing more to see
_MOST = 10_000  # outer iterations that are forecast at most
_MARGIN = 1.01  # by which what rests on gaps must be forecast to be better than Chebyshev's
_ALONE = 1e-3  # of the distance to the next Ritz value, that the residual of one that stands alone is below
_COMES_TRUE = 0.6  # of the logarithm of what the network promises: -0.22 of -0.38, mean of 65 synthetic spectra
_LOST = 1e-11  # of the values of a polynomial, that rounding may take
_APART = 1e-6  # of the spectrum, that the boundary is away from its wanted end at least


@dataclass(frozen=True, slots=True)
class SpectralProbe:
    """What a few outer iterations of Krylov-Schur show of a symmetric spectrum, seen from its wanted end.

    Attributes
    ----------
    k : int
        Wanted.
    values, residuals : (l,) array
        Ritz values of the last iteration, those of the wanted end first, and their residual norms: the first k are of
        the wanted eigenvalues, the others of those that follow.
    start_values, start_residuals, start_weights : (l,) array
        Of the first iteration, likewise, of the whole spectrum; the weights are those of its density, of sum one.
    iterations, products : int
        Outer ones, and products with the matrix.
    converged : bool
        Whether the wanted ones are known, perhaps before the iterations were over.
    rounding : float
        Unit roundoff of the products.
    """

    k: int
    values: np.ndarray
    residuals: np.ndarray
    start_values: np.ndarray
    start_residuals: np.ndarray
    start_weights: np.ndarray
    iterations: int
    products: int
    converged: bool
    rounding: float

    @property
    def sign(self) -> float:
        """1 where the largest eigenvalues are wanted, -1 where the smallest are."""
        return math.copysign(1.0, float(self.values[0] - self.start_values[-1]))

    @property
    def far(self) -> float:
        """Beyond the other end of the spectrum, unless the start was all but orthogonal to its vector."""
        return float(self.start_values[-1] - self.sign * self.start_residuals[-1])

    def boundary(self, i: int) -> float:
        """The (i + 1)-th Ritz value, a little away from the first at least, and short of the other end."""
        first, last = float(self.values[0]), float(self.values[min(i, len(self.values) - 1)])
        whole = abs(self.far - first)
        wanted = abs(float(self.values[self.k - 1]) - first)
        most = 0.5 * (wanted + whole) if wanted < (1.0 - _APART) * whole else 0.5 * whole
        return first - self.sign * min(max(abs(last - first), _APART * whole), most)

    def window(self, wanted: int = 10, following: int = 94) -> tuple[np.ndarray, np.ndarray]:
        """(values, residuals), each (wanted + following,): so many of both parts, evenly, repeated if need be.

        The last of each part is the last that there is (algorithm 2 and appendix E of arXiv:2602.09530).
        """
        k, count = self.k, len(self.values)
        inside = np.round(np.linspace(0, k - 1, wanted) if wanted > 1 else np.array([k - 1.0])).astype(int)
        outside = np.round(np.linspace(min(k, count - 1), count - 1, following)).astype(int)
        chosen = np.concatenate([inside, outside])
        return self.values[chosen], self.residuals[chosen]

    def points(self, i: int, *, alone: bool = True) -> np.ndarray:
        """Where the part of the spectrum from the (i + 1)-th Ritz value on may have eigenvalues, the ends included, as
        points; without those of `single` where not `alone`."""
        low, high = self._parts()
        if not alone:
            low, high = low[~self._alone], high[~self._alone]
        boundary = self.boundary(i)
        nearest = self.start_values[0] + self.sign * self.start_residuals[0]  # of what the density says
        points = np.concatenate([np.linspace(boundary, nearest, 20), np.linspace(low, high, 7).ravel(), [boundary]])
        if alone:
            points = np.append(points, self.far)
        return points[self.sign * points <= self.sign * boundary]

    def single(self, i: int) -> np.ndarray:
        """Values beyond the (i + 1)-th Ritz value that are far from all others: one Lanczos step for each."""
        values = self.start_values[self._alone]
        return values[self.sign * values < self.sign * self.boundary(i)]

    @property
    def _alone(self) -> np.ndarray:
        """Which Ritz values of the first iteration are surely by themselves."""
        gaps = np.concatenate([[np.inf], np.abs(np.diff(self.start_values)), [np.inf]])
        return self.start_residuals <= _ALONE * np.minimum(gaps[1:], gaps[:-1])

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends (l,) of the part of the spectrum that each Ritz value of the first iteration stands for: as far as its
        residual goes, and not beyond the middle between it and the next."""
        order = np.argsort(self.start_values)
        values, residuals = self.start_values[order], self.start_residuals[order]
        middles = 0.5 * (values[1:] + values[:-1])
        low = np.maximum(values - residuals, np.concatenate([[-np.inf], middles]))
        high = np.minimum(values + residuals, np.concatenate([middles, [np.inf]]))
        back = np.argsort(order)
        return low[back], high[back]


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
    seen, squared = probed(operator.matvec, start, k, end, probe), False
    if which in ("LM", "SM"):
        if _signs(seen) == {-1.0}:  # negative definite: the other end
            end = "SA" if end == "LA" else "LA"
            seen = probed(operator.matvec, start, k, end, probe)
        squared = len(_signs(seen)) == 2
    if squared:
        end = {"LM": "LA", "SM": "SA"}[which]
        seen = probed(_product(operator.matvec, squared), start, k, end, probe)
    eps = float(np.finfo(str(operator.dtype)).eps)
    if not abs(seen.far - float(seen.values[0])) > 100.0 * eps * abs(float(seen.values[0])):
        raise InvalidProblem(f"all eigenvalues that were seen are {seen.values[0]:.6g}: A has no end", argument="A")
    choices = [
        offer
        for name, make in _MAKERS.items()
        if kind in ("auto", name)
        for offer in make(seen, degree, kind == "auto")
    ]
    steps = max(1, len(seen.values) - k - EXTRA)
    target, others = float(seen.values[k - 1]), seen.points(k + EXTRA)
    crowd, single = seen.points(k + EXTRA, alone=False), seen.single(k + EXTRA)

    counts, ranks = list[float](), list[float]()
    for i, offer in enumerate(choices):
        p = offer.over or offer.polynomial
        count = outer_iterations(float(p(target)), p(crowd), p(single), n, steps)
        counts.append(count * offer.expected)
        ranks.append(count * offer.doubtful * (1.0 if i == 0 else _MARGIN))
    best = min(range(len(choices)), key=lambda i: (ranks[i], i))
    considered = tuple(
        (offer.label, math.ceil(min(count, _MOST))) for offer, count in zip(choices, counts, strict=True)
    )
    name, p = choices[best].label.split("(")[0], choices[best].polynomial
    own, baseline = (
        math.log(max(abs(float(q(target))), 1e-300)) - math.log(max(float(np.abs(q(others)).max()), 1e-300))
        for q in (p, power(seen.far, float(seen.values[0]), degree))
    )
    gain = own / baseline if baseline > 0.0 else math.inf
    return SpectralFilter(operator, name, p, squared, seen, considered[best][1], gain, considered)


def _product(product: Callable[[Any], Any], squared: bool) -> Callable[[Any], Any]:
    return (lambda V: product(product(V))) if squared else product


def _signs(seen: SpectralProbe) -> set[float]:
    """Of the Ritz values that are more than rounding."""
    values = np.concatenate([seen.values, seen.start_values])
    return set(np.sign(values[np.abs(values) > 100.0 * seen.rounding * np.abs(values).max()]).tolist())


def probed(product: Callable[[Any], Any], start: Any, k: int, which: str, most: int) -> SpectralProbe:
    """What Krylov-Schur of v -> A v sees from a start (n,) in so many outer iterations."""
    cycles: list[Cycle] = []

    def keep(cycle: Cycle) -> bool:
        del cycles[1:]
        cycles.append(cycle)
        return False

    try:
        found = krylov_schur(
            product,
            start,
            k,
            max(4 * k, k + EXTRA + 2),
            which=which,
            extra=EXTRA,
            tolerance=_SEEN,
            most=most,
            seen=keep,
        )
    except Breakdown as error:
        raise NonFiniteInput(f"{error}: an entry of A is not, or the operator is at fault", argument="A") from error
    first, last = cycles[0], cycles[-1]
    return SpectralProbe(
        k, last.values, last.residuals, first.values, first.residuals, first.weights, found.iterations, found.products,
        found.converged, float(np.finfo(start.dtype).eps),
    )  # fmt: skip


@dataclass(frozen=True)
class _Offer:
    """A polynomial that may be taken. Its outer iterations are those that are forecast from the probe of it, or of
    `over`, times `expected`; `doubtful` is that factor with a handicap."""

    label: str
    polynomial: Recurrence
    over: Recurrence | None = None
    expected: float = 1.0
    doubtful: float = 1.0


# What each kind has to offer, given the probe, the degree, and whether it may offer more than one.
Maker = Callable[[SpectralProbe, int, bool], list[_Offer]]


def _chebyshev(seen: SpectralProbe, degree: int, several: bool) -> list[_Offer]:
    k, at = seen.k, float(seen.values[0])
    places = {"1.5k": 3 * k // 2}  # of the paper, appendix E
    if several:
        places = {"k+5": k + EXTRA} | places
    made = []
    for label, i in places.items():
        low, high = sorted((seen.boundary(i), seen.far))
        made.append(_Offer(f"chebyshev({label})", chebyshev_filter(low, high, degree, at)))
    return made


def _autospec(seen: SpectralProbe, degree: int, several: bool) -> list[_Offer]:
    from ..primitives.autospec.eigenproblems import engine

    said = engine()(seen, degree)
    [paper] = _chebyshev(seen, degree, False)
    # it knows better than the probe where the wanted eigenvalues are, but not that a Ritz value beyond is none
    if not float(np.abs(said.recurrence(seen.points(seen.k + EXTRA))).max()) < 1.0:
        return [] if several else [paper]
    expected, doubtful = (math.exp(_COMES_TRUE * float(said.off[i])) for i in (0, 1))
    return [_Offer("autospec", said.recurrence, paper.polynomial, expected, doubtful)]


def _minimax(seen: SpectralProbe, degree: int, several: bool) -> list[_Offer]:
    k, at = seen.k, float(seen.values[0])
    return [_Offer("minimax", minimax_filter(seen.points(k + EXTRA), degree, at, max(1.0, _LOST / seen.rounding)))]


def _power(seen: SpectralProbe, degree: int, several: bool) -> list[_Offer]:
    return [_Offer("power", power(seen.far, float(seen.values[0]), degree))]


_MAKERS: dict[str, Maker] = {"chebyshev": _chebyshev, "autospec": _autospec, "minimax": _minimax, "power": _power}


__all__ = ["KINDS", "WHICH", "SpectralFilter", "SpectralProbe", "probed", "spectral_filter"]
