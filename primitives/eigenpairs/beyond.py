"""Whether a symmetric operator has eigenvalues beyond a number: a Lanczos run that keeps no basis.

Let p_0, p_1, ... be the orthonormal polynomials of the spectral measure of the start b, as the steps give them:
beta_j p_{j+1}(x) = (x - alpha_j) p_j(x) - beta_{j-1} p_{j-1}(x). At a number x

- the first p_j (x) that has another sign (at the lower end: than (-1)^j) shows a Ritz value beyond x (Sturm), and so an
  eigenvalue;
- while there is none, what is beyond x has at most the weight 1 / (p_0(x)^2 + ... + p_m(x)^2) in the measure: the
  polynomial sum_j p_j(x) p_j, of degree m, grows beyond x, has integral of its square the sum, and is the sum at x
  (the Christoffel function: Akhiezer, The Classical Moment Problem, 1965, theorem 2.5.2; Golub and Meurant, Matrices,
  Moments and Quadrature, 2010, for the measure). Of a unit eigenvector u and a Gaussian start in dimension n,
  P(|b'u| <= r ||b||) <= r sqrt(2 n / pi) (Dixon, SIAM J. Numer. Anal. 20, 1983).

Both need no Ritz value to have converged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..algorithm import Breakdown

_ROUNDING = 8.0 * 2.0**-53


@dataclass(frozen=True)
class Seen:
    """What a run has shown.

    Attributes
    ----------
    alphas, betas : (m,) array
        Of the steps; the last beta is zero where the space has ended.
    crossed : bool
        Whether an eigenvalue is beyond one of the numbers.
    shown : bool
        Whether the sum has reached what was enough at all of them, or the space has ended: none is.
    """

    alphas: np.ndarray
    betas: np.ndarray
    crossed: bool
    shown: bool

    def ends(self) -> tuple[float, float]:
        """The outermost Ritz values."""
        from scipy.linalg import eigvalsh_tridiagonal

        values = eigvalsh_tridiagonal(self.alphas, self.betas[:-1])
        return float(values[0]), float(values[-1])

    def reach(self, sign: float, enough: float) -> float:
        """The number, beyond the outermost Ritz value, at which the sum is enough. `sign` is 1 at the upper end."""
        inner = self.ends()[1 if sign > 0.0 else 0]
        step = self.ends()[1] - self.ends()[0]
        while self._sum(inner + sign * step, sign) < enough:
            step *= 2.0
        low, high = 0.0, step
        for _ in range(50):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self._sum(inner + sign * middle, sign) >= enough else (middle, high)
        return inner + sign * high

    def _sum(self, x: float, sign: float) -> float:
        total, p, before, beta = 1.0, 1.0, 0.0, 0.0
        for a, b in zip(self.alphas.tolist(), self.betas.tolist(), strict=True):
            if b == 0.0 or total > 1e200:
                break
            p, before, beta = (sign * (x - a) * p - beta * before) / b, p, b
            total += p * p
        return total


def enough(n: int, delta: float) -> float:
    """The sum at which, with probability 1 - delta, no eigenvalue is beyond; half of the weight is for rounding."""
    return 4.0 * n / (math.pi * delta * delta)


def look(
    product: Callable[[np.ndarray], np.ndarray], outside: Callable[[np.ndarray], np.ndarray], start: np.ndarray,
    numbers: Sequence[tuple[float, float]], target: float, most: int,
) -> Seen:  # fmt: skip
    """Look beyond some numbers, in `most` steps at most.

    Parameters
    ----------
    product : callable
        v -> A v.
    outside : callable
        A projection: the operator is A between two of it. Every vector is projected when it is made, so that A alone
        acts on it as the operator does.
    start : (n,) array
        Projected, not zero.
    numbers : sequence of (sign, x)
        Beyond is above x where the sign is 1, below it where it is -1.
    target : float
        That sum which is enough.

    Raises
    ------
    Breakdown
        If a product is not finite.
    """
    alphas, betas = list[float](), list[float]()
    before, q = np.zeros(0), start / float(np.linalg.norm(start))
    sums = [(sign, x, 1.0, 0.0, 1.0) for sign, x in numbers]  # with p_j, p_{j-1}
    crossed = shown = False
    size = 0.0
    while len(alphas) < min(most, len(start)) and not (crossed or shown):
        y = product(q)
        alpha, old = float(q @ y), betas[-1] if betas else 0.0
        y = y - alpha * q
        if betas:
            y -= old * before
        y = outside(y)
        beta = float(np.linalg.norm(y))
        if not math.isfinite(beta):
            raise Breakdown(f"product {len(alphas) + 1} is not finite")
        alphas.append(alpha)
        size = max(size, abs(alpha), beta)
        if beta <= _ROUNDING * size:  # an invariant subspace: a random start has parts in all eigenspaces
            betas.append(0.0)
            going = [one for one in sums if one[-1] < target]
            crossed = any(sign * (x - alpha) * p - old * behind < 0.0 for sign, x, p, behind, _ in going)
            return Seen(np.array(alphas), np.array(betas), crossed, not crossed)
        betas.append(beta)
        before, q = q, y / beta
        for i, (sign, x, p, behind, total) in enumerate(sums):
            if total < target:
                following = (sign * (x - alpha) * p - old * behind) / beta
                crossed = crossed or following <= 0.0
                sums[i] = sign, x, following, p, total + following * following
        shown = all(total >= target for *_, total in sums)
    return Seen(np.array(alphas), np.array(betas), crossed, shown and not crossed)
