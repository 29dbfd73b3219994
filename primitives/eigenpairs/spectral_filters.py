"""Which polynomial filters an end of a symmetric spectrum best: what a short Krylov-Schur run has seen of it decides.

Each kind makes its polynomials from the probe, and the outer iterations of Krylov-Schur with each are forecast from the
part of the spectrum that the probe says there is (`forecast`). For the polynomials see `polynomials.filters` and, for
the one that is learned, `autospec.eigenproblems`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..polynomials import Recurrence
from ..polynomials.filters import chebyshev_filter, minimax_filter, power
from .forecast import outer_iterations
from .krylov_schur import Cycle, krylov_schur

KINDS = ("autospec", "chebyshev", "minimax", "power")
EXTRA = 5  # Ritz vectors that Krylov-Schur keeps besides those wanted, as MATLAB's eigs and the paper do
_SEEN = 1e-8  # of the largest Ritz value: residuals from which the probe has nothing more to see
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


def probed(
    product: Callable[[Any], Any], start: Any, k: int, which: str, most: int, dimension: int | None = None
) -> SpectralProbe:
    """What Krylov-Schur of v -> A v sees from a start (n,) in so many outer iterations; by default of dimension 4 k.

    Raises
    ------
    Breakdown
        If a product is not finite.
    """
    cycles: list[Cycle] = []

    def keep(cycle: Cycle) -> bool:
        del cycles[1:]
        cycles.append(cycle)
        return False

    found = krylov_schur(
        product, start, k, dimension or max(4 * k, k + EXTRA + 2), which=which, extra=EXTRA, tolerance=_SEEN, most=most,
        seen=keep,
    )  # fmt: skip
    first, last = cycles[0], cycles[-1]
    return SpectralProbe(
        k, last.values, last.residuals, first.values, first.residuals, first.weights, found.iterations, found.products,
        found.converged, float(np.finfo(start.dtype).eps),
    )  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """A polynomial that may be taken. Its outer iterations are those that are forecast from the probe of it, or of
    `over`, times `expected`; `doubtful` is that factor with a handicap."""

    label: str
    polynomial: Recurrence
    over: Recurrence | None = None
    expected: float = 1.0
    doubtful: float = 1.0


# What each kind has to offer, given the probe, the degree, and labels with the Ritz value at which damping begins.
Maker = Callable[[SpectralProbe, int, Mapping[str, int]], list[Offer]]


def places(k: int) -> dict[str, int]:
    """Where damping may begin: five Ritz values beyond the wanted ones, and the paper's place (its appendix E)."""
    return {"k+5": k + EXTRA, "1.5k": 3 * k // 2}


def _chebyshev(seen: SpectralProbe, degree: int, where: Mapping[str, int]) -> list[Offer]:
    made = []
    for label, i in where.items():
        low, high = sorted((seen.boundary(i), seen.far))
        made.append(Offer(f"chebyshev({label})", chebyshev_filter(low, high, degree, float(seen.values[0]))))
    return made


def _autospec(seen: SpectralProbe, degree: int, where: Mapping[str, int]) -> list[Offer]:
    from ..autospec.eigenproblems import engine

    said = engine()(seen, degree)
    # it knows better than the probe where the wanted eigenvalues are, but not that a Ritz value beyond is none
    if not float(np.abs(said.recurrence(seen.points(seen.k + EXTRA))).max()) < 1.0:
        return []
    [paper] = _chebyshev(seen, degree, {"1.5k": places(seen.k)["1.5k"]})
    expected, doubtful = (math.exp(_COMES_TRUE * float(said.off[i])) for i in (0, 1))
    return [Offer("autospec", said.recurrence, paper.polynomial, expected, doubtful)]


def _minimax(seen: SpectralProbe, degree: int, where: Mapping[str, int]) -> list[Offer]:
    at, i = float(seen.values[0]), next(iter(where.values()))
    return [Offer("minimax", minimax_filter(seen.points(i), degree, at, max(1.0, _LOST / seen.rounding)))]


def _power(seen: SpectralProbe, degree: int, where: Mapping[str, int]) -> list[Offer]:
    return [Offer("power", power(seen.far, float(seen.values[0]), degree))]


_MAKERS: dict[str, Maker] = {"chebyshev": _chebyshev, "autospec": _autospec, "minimax": _minimax, "power": _power}


@dataclass(frozen=True)
class Choice:
    """The polynomial that is taken.

    Attributes
    ----------
    kind : str
        One of `KINDS`: what it came to.
    polynomial : Recurrence
    considered : tuple of (str, float)
        What was compared, with the outer iterations that are forecast.
    iterations : float
        Of it.
    """

    kind: str
    polynomial: Recurrence
    considered: tuple[tuple[str, float], ...]
    iterations: float


def chosen(seen: SpectralProbe, kinds: Sequence[str], where: Mapping[str, int], n: int, degree: int) -> Choice:
    """Of the polynomials of some kinds that of the fewest outer iterations by forecast.

    Of Krylov-Schur of the probe's dimension, for a matrix of order n.

    Parameters
    ----------
    kinds : sequence of str
        Of `KINDS`. Where "autospec" would be larger at a Ritz value beyond the wanted ones than at the first of them,
        it has nothing to offer, and "chebyshev" takes its place where it is alone.
    where : mapping of str to int
        Some of `places`: Chebyshev's polynomial is offered for each of them, the minimax one for the first.

    Raises
    ------
    ValueError
        If there is no polynomial.
    """
    k = seen.k
    choices = [offer for name, make in _MAKERS.items() if name in kinds for offer in make(seen, degree, where)]
    choices = choices or _chebyshev(seen, degree, where)
    steps = max(1, len(seen.values) - k - EXTRA)
    target = float(seen.values[k - 1])
    crowd, single = seen.points(k + EXTRA, alone=False), seen.single(k + EXTRA)
    counts, ranks = list[float](), list[float]()
    for i, offer in enumerate(choices):
        p = offer.over or offer.polynomial
        count = outer_iterations(float(p(target)), p(crowd), p(single), n, steps)
        counts.append(count * offer.expected)
        ranks.append(count * offer.doubtful * (1.0 if i == 0 else _MARGIN))
    best = min(range(len(choices)), key=lambda i: (ranks[i], i))
    considered = tuple((offer.label, count) for offer, count in zip(choices, counts, strict=True))
    return Choice(choices[best].label.split("(")[0], choices[best].polynomial, considered, counts[best])


__all__ = ["EXTRA", "KINDS", "Choice", "SpectralProbe", "chosen", "places", "probed"]
