"""AutoSpec for eigenproblems: the zeros of a spectral filter, from what a Krylov-Schur probe has seen, by a network.

The paper (Liu, Balabanov, Yang and Mahoney, arXiv:2602.09530, algorithm 2) predicts every coefficient of the recurrence
from linear maps of a window of Ritz values and residuals. Here

- the network sees logarithms of distances from the k-th Ritz value, and of residuals: which Ritz values are
  eigenvalues, and which only say that there are some;
- it starts from the zeros of Chebyshev's polynomial (`polynomials.filters`), and says where the part that is damped
  begins, and by which factor each gap between two zeros changes, in the angle in which they are equidistant;
- it is trained by what counts: how fast Krylov-Schur converges on true spectra.

All zeros are real and beyond the boundary, so that the filter is monotone on the wanted side of it. The recurrence is
the product of their factors in Leja order, as a function of the distance from the first Ritz value.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..polynomials.inverse import leja_order
from ..polynomials.recurrence import Recurrence, from_roots
from .network import DATA, Perceptron, perceptron, read

DEGREE = 21  # that it is trained for
KNOTS = 12  # at which changes of the gaps are said
OUTPUTS = 1 + KNOTS
EXTRA = 5  # eigenvalues beyond the k-th that are not damped: those that Krylov-Schur keeps
MOST = 3.0  # by which power of e the network may change a distance or a gap
_FARTHEST = 1e-12  # of the spread, what logarithms are cut off at
_RANKS = np.array([0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99])
_INSIDE, _OUTSIDE, _FAR, _WHOLE = 5, 16, 10, 12  # values of the window, and of the first iteration, that are looked at


class Probe(Protocol):
    """What `eigenpairs.spectral_filters.SpectralProbe` is: see there."""

    @property
    def k(self) -> int: ...
    @property
    def values(self) -> np.ndarray: ...
    @property
    def residuals(self) -> np.ndarray: ...
    @property
    def start_values(self) -> np.ndarray: ...
    @property
    def start_residuals(self) -> np.ndarray: ...
    @property
    def start_weights(self) -> np.ndarray: ...
    @property
    def iterations(self) -> int: ...
    @property
    def far(self) -> float: ...
    def boundary(self, i: int) -> float: ...


@dataclass(frozen=True)
class Start:
    """What the network is given.

    Attributes
    ----------
    features : (inputs,) array
    first, last : float
        The first Ritz value, where the filter is one, and the k-th.
    reach : float
        Distance of the boundary from the k-th.
    far : float
        The number at angle pi, the boundary being at angle 0.
    """

    features: np.ndarray
    first: float
    last: float
    reach: float
    far: float


def start(seen: Probe) -> Start:
    """From a probe."""
    first, boundary, far = float(seen.values[0]), seen.boundary(seen.k + EXTRA), seen.far
    last = float(seen.values[seen.k - 1])
    if not (boundary - last) * (far - first) > 0.0:  # equal Ritz values
        last = first
    return Start(_features(seen, last), first, last, abs(boundary - last), far)


def recurrence(given: Start, said: np.ndarray, degree: int = DEGREE) -> Recurrence:
    """Of what the network says (OUTPUTS,): logarithms of the factors of `reach`, and of the gaps between the angles of
    the zeros and the ends 0 and pi, interpolated."""
    said = np.clip(said, -MOST, MOST)
    gaps = equidistant(degree) * np.exp(
        np.interp(np.linspace(0.0, 1.0, degree + 1), np.linspace(0.0, 1.0, KNOTS), said[1:])
    )
    angles = np.cumsum(gaps)[:-1] * (math.pi / gaps.sum())
    whole = given.far - given.last
    reach = math.copysign(min(given.reach * math.exp(float(said[0])), 0.5 * abs(whole)), whole)
    zeros = given.last + reach + 0.5 * (whole - reach) * (1.0 - np.cos(angles))
    radius = abs(given.far - given.first)
    if degree == 1:
        scale = radius / (given.first - float(zeros[0]))
        return Recurrence((), (0.0,), (1.0,), (scale,), (0.0,), given.first, radius)
    return replace(from_roots(leja_order((zeros - given.first) / radius)), center=given.first, radius=radius)


def equidistant(degree: int) -> np.ndarray:
    """Gaps (degree + 1,) between the angles of Chebyshev's zeros and the ends, in proportion."""
    gaps = np.ones(degree + 1)
    gaps[[0, -1]] = 0.5
    return gaps


@dataclass(frozen=True)
class Said:
    """What the engine says of a probe.

    Attributes
    ----------
    recurrence : Recurrence
        One at the first Ritz value.
    off : (3,) array
        log(outer iterations / those with Chebyshev's polynomial from the 1.5 k-th Ritz value on): median, three
        quarters and nine of ten in training are below.
    """

    recurrence: Recurrence
    off: np.ndarray


@dataclass(frozen=True)
class Engine:
    """Trained networks: features to zeros, and to what is to be expected of them."""

    moves: Perceptron
    doubts: Perceptron

    def __call__(self, seen: Probe, degree: int = DEGREE) -> Said:
        """Of a probe. It is trained for degree 21; for others the changes of the gaps are interpolated."""
        given = start(seen)
        return Said(recurrence(given, self.moves(given.features), degree), np.sort(self.doubts(given.features)))


@functools.cache
def engine() -> Engine:
    """The one that is shipped. Raises ValueError where its file is damaged."""
    arrays = read(DATA / "eigenproblems.npz")
    return Engine(perceptron(arrays, "moves"), perceptron(arrays, "doubts"))


def _features(seen: Probe, last: float) -> np.ndarray:
    k, count, spread = seen.k, len(seen.values), abs(seen.far - last)

    def logs(distances: np.ndarray) -> np.ndarray:
        return np.log10(np.maximum(np.abs(distances) / spread, _FARTHEST))

    inside = np.round(np.linspace(0, k - 1, _INSIDE)).astype(int)
    outside = np.round(np.linspace(min(k, count - 1), count - 1, _OUTSIDE)).astype(int)
    outside = np.concatenate([outside, np.minimum([k + 2, k + EXTRA, 3 * k // 2], count - 1)])
    many = len(seen.start_values)
    whole = np.round(np.linspace(0, many - 1, _WHOLE)).astype(int)
    end = np.maximum(many - 1 - np.arange(_FAR), 0)
    middle = np.cumsum(seen.start_weights) - 0.5 * seen.start_weights
    return np.concatenate(
        [
            logs(seen.values[inside] - last),
            logs(seen.residuals[inside]),
            logs(seen.values[outside] - last),
            logs(seen.residuals[outside]),
            np.interp(_RANKS, middle, logs(seen.start_values - last)),
            logs(seen.start_values[whole] - last),
            logs(seen.start_residuals[whole]),
            logs(seen.start_values[end] - seen.far),
            logs(seen.start_residuals[end]),
            [math.log(k), count / k, math.log(seen.iterations)],
        ]
    )


__all__ = [
    "DEGREE", "EXTRA", "KNOTS", "MOST", "OUTPUTS", "Engine", "Probe", "Said", "Start", "engine", "equidistant",
    "recurrence", "start",
]  # fmt: skip
