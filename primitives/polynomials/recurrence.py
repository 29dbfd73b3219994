"""Polynomials of a matrix as executable recurrences: one product with it for each degree, three blocks of state.

The state transition of AutoSpec (Liu, Balabanov, Yang and Mahoney, "Learning to Discover Iterative Spectral
Algorithms", arXiv:2602.09530, equations 4 and 5), of the shifted and scaled matrix Y = (X - center I) / radius:

    A_1 = constant V,  B_1 = V,  C_1 = Y V
    A_{k+1} = A_k + rho_k C_k,  B_{k+1} = C_k,
    C_{k+1} = gamma_k A_k + eta_k B_k + alpha_k C_k + beta_k Y C_k        for 1 <= k < d
    P(X) V = gamma_d A_d + eta_d B_d + alpha_d C_d + beta_d Y C_d

The paper has center 0, constant 1 and a radius near the largest eigenvalue. With the spectrum in [-1, 1] classical
recurrences neither over- nor underflow, and a polynomial without a constant term can be written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Array = Any
interpolate: Any = np.polynomial.chebyshev.chebinterpolate  # its annotation wants a function of complex numbers


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Coefficients of d transitions.

    Attributes
    ----------
    rho : tuple of float
        d - 1 of them, for k = 1 ... d - 1.
    gamma, eta, alpha, beta : tuple of float
        d each, for k = 1 ... d.
    center, radius : float
        Of the interval that is mapped to [-1, 1].
    constant : float
        Weight of the identity in the accumulator at the start.

    Raises
    ------
    ValueError
        If the lengths do not fit, or a number is not finite.
    """

    rho: tuple[float, ...]
    gamma: tuple[float, ...]
    eta: tuple[float, ...]
    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    center: float = 0.0
    radius: float = 1.0
    constant: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rho", "gamma", "eta", "alpha", "beta"):  # plain numbers: numpy's would make float32 float64
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        for name in ("center", "radius", "constant"):
            object.__setattr__(self, name, float(getattr(self, name)))
        d = len(self.gamma)
        lengths = [len(values) for values in (self.eta, self.alpha, self.beta)]
        if d < 1 or lengths != [d] * 3 or len(self.rho) != d - 1:
            raise ValueError(
                f"a recurrence of d transitions has d - 1 rho and d of the others, found {len(self.rho)},"
                f" {d}, {', '.join(map(str, lengths))}"
            )
        numbers = (*self.rho, *self.gamma, *self.eta, *self.alpha, *self.beta, self.center, self.constant)
        if not all(map(math.isfinite, numbers)) or not 0.0 < self.radius < math.inf:
            raise ValueError("a coefficient is not finite, or the radius not positive")

    @property
    def degree(self) -> int:
        """Of the polynomial, at most; the same as the number of products with the matrix."""
        return 1 + sum(b != 0.0 for b in self.beta)

    def apply(self, product: Callable[[Array], Array], V: Array) -> Array:
        """P(X) V for V : (n,) or (n, r) of any array library, `product` being V -> X V.

        Parameters
        ----------
        product : callable
            Returns a new array of the shape and dtype of its argument.
        V : array
            Left as it is.
        """

        def mapped(U: Array) -> Array:
            XU = product(U)
            return (XU - self.center * U) / self.radius if self.center else XU / self.radius

        A, B, C = self.constant * V, V, mapped(V)
        last = len(self.gamma) - 1
        for k, (gamma, eta, alpha, beta) in enumerate(zip(self.gamma, self.eta, self.alpha, self.beta, strict=True)):
            following = beta * mapped(C) if beta else 0.0 * C
            for weight, block in ((gamma, A), (eta, B), (alpha, C)):
                if weight:
                    following = following + weight * block
            if k < last:
                if self.rho[k]:
                    A = A + self.rho[k] * C
                B = C
            C = following
        return C

    def __call__(self, x: Any) -> np.ndarray:
        """P(x) of numbers."""
        x = np.asarray(x, dtype=np.float64)
        return self.apply(lambda v: x * v, np.ones_like(x))

    def matrix(self, X: Array) -> Array:
        """P(X) of an explicit X : (n, n), numpy, torch or cupy."""
        import array_api_compat

        xp = array_api_compat.array_namespace(X)
        eye = xp.eye(X.shape[0], dtype=X.dtype, device=array_api_compat.device(X))
        return self.apply(lambda V: X @ V, eye)

    def chebyshev(self, low: float, high: float) -> np.ndarray:
        """Coefficients (degree + 1,) of the polynomial in the Chebyshev polynomials of [low, high]."""
        _check_interval(low, high)
        return interpolate(lambda t: self(0.5 * (low + high) + 0.5 * (high - low) * t), self.degree)

    def roots(self) -> np.ndarray:
        """Its zeros, complex (degree,), fewer where leading coefficients vanish."""
        low, high = self.center - self.radius, self.center + self.radius
        coefficients = np.polynomial.chebyshev.chebtrim(self.chebyshev(low, high))
        return self.center + self.radius * np.polynomial.chebyshev.chebroots(coefficients).astype(complex)

    def scaled(self, factor: float) -> Recurrence:
        """factor times this polynomial."""
        gamma, eta, alpha, beta = (
            (*values[:-1], factor * values[-1]) for values in (self.gamma, self.eta, self.alpha, self.beta)
        )
        return Recurrence(self.rho, gamma, eta, alpha, beta, self.center, self.radius, self.constant)

    def extremes(self, low: float, high: float, times: Callable[[np.ndarray], np.ndarray] | None = None) -> Any:
        """(smallest, largest) value on [low, high], of P or of x P(x) and the like where `times` is given: at the ends,
        at the zeros of the derivative of an interpolant of twice the degree, and at as many points in between."""
        _check_interval(low, high)

        def value(x: np.ndarray) -> np.ndarray:
            return self(x) if times is None else times(x) * self(x)

        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        c = interpolate(lambda t: value(middle + half * t), 2 * self.degree + 2)
        c = np.where(np.abs(c) > 1e-15 * np.abs(c).max(), c, 0.0)
        turning = np.polynomial.chebyshev.chebroots(
            np.polynomial.chebyshev.chebtrim(np.polynomial.chebyshev.chebder(c))
        )
        real = turning.real[(np.abs(turning.imag) < 1e-6) & (np.abs(turning.real) <= 1.0)]
        grid = np.cos(np.linspace(0.0, math.pi, 16 * self.degree + 1))
        found = value(middle + half * np.concatenate([grid, real, [-1.0, 1.0]]))
        return float(found.min()), float(found.max())


def _check_interval(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"[{low!r}, {high!r}] is no interval")


def from_chebyshev(coefficients: ArrayLike, low: float, high: float) -> Recurrence:
    """The polynomial with these coefficients (degree + 1,) in the Chebyshev polynomials of [low, high], degree >= 1.

    Proposition 3.2 of the paper: a homogeneous three-term recurrence generates the basis, the accumulator the sum.
    """
    _check_interval(low, high)
    c: list[float] = np.asarray(coefficients, dtype=np.float64).tolist()
    d = len(c) - 1
    if d < 1:
        raise ValueError("a recurrence has a degree of one at least")
    # T_{k+1} = 2 t T_k - T_{k-1} while sums are added up; the last transition adds c_d T_d itself
    steps = d - 1
    return Recurrence(
        rho=tuple(c[1:d]),
        gamma=(0.0,) * steps + (1.0,),
        eta=(-1.0,) * steps + (0.0,),
        alpha=(0.0,) * steps + (c[d],),
        beta=(2.0,) * steps + (0.0,),
        center=0.5 * (low + high),
        radius=0.5 * (high - low),
        constant=c[0],
    )


def from_roots(roots: ArrayLike, value: float = 1.0, at: float = 0.0) -> Recurrence:
    """The polynomial with these zeros and P(at) = value, multiplied out in the order in which they are given.

    Parameters
    ----------
    roots : (degree,) array_like of complex
        Two or more, none equal to `at`; those that are not real in pairs of conjugates one after the other.

    Notes
    -----
    A factor x - a takes one transition, a pair a +- i b two: with C' = (x - a) C, C'' = (x - a) C' + b^2 C, which is
    the block B of then.
    """
    zeros: list[complex] = np.asarray(roots, dtype=np.complex128).tolist()
    if len(zeros) < 2 or not all(np.isfinite(zeros)) or at in zeros:
        raise ValueError("the zeros are two or more finite numbers other than where the value is")
    factors: list[tuple[float, float]] = []  # x - shift, and what of the block before the last is added
    i = 0
    while i < len(zeros):
        root = zeros[i]
        if root.imag == 0.0:
            factors.append((root.real, 0.0))
            i += 1
        elif i + 1 < len(zeros) and zeros[i + 1] == root.conjugate():
            factors += [(root.real, 0.0), (root.real, root.imag**2)]
            i += 2
        else:
            raise ValueError(f"{root} is not followed by its conjugate")
    # each factor over what it is at `at`, and over that of a pair for both of its transitions: values stay near one
    scales = []
    for j, (shift, square) in enumerate(factors):
        paired = j + 1 < len(factors) and factors[j + 1][1] > 0.0
        if square:
            scales.append(math.hypot(at - shift, math.sqrt(square)))
        elif paired:
            scales.append(math.hypot(at - shift, math.sqrt(factors[j + 1][1])))
        else:
            scales.append(at - shift)
    # C_1 = x is one factor too many: the first transition makes (x - a_1) / scale_1 of it, without a product
    d = len(factors)
    eta = [-factors[0][0] / scales[0]]
    alpha, beta = [1.0 / scales[0]], [0.0]
    for j in range(1, d):
        shift, square = factors[j]
        alpha.append(-shift / scales[j])
        beta.append(1.0 / scales[j])
        # the block before the last is I for the first pair, which stands in B_1 only until it is shifted out
        eta.append(square / (scales[j] * scales[j - 1]))
    gamma = [0.0] * d
    if factors[1][1]:  # the second transition wants C_0 = I, and has C_1 = x in its place: the accumulator is I
        gamma[1], eta[1] = eta[1], 0.0
    for values in (gamma, eta, alpha, beta):
        values[-1] *= value
    return Recurrence((0.0,) * (d - 1), tuple(gamma), tuple(eta), tuple(alpha), tuple(beta))
