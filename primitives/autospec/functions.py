"""AutoSpec for functions of a positive definite matrix: the interval on which a polynomial has to be good.

On a known interval the best polynomial is known too (`polynomials.functions.minimax`). What a Lanczos probe leaves open
is where the spectrum ends: the smallest Ritz value is above the smallest eigenvalue, by nothing or by a factor of ten.
A polynomial of an interval that is too short is far off at the eigenvalue left out; one that is too long is worse
everywhere. The network says where the interval should begin and end; it is trained by the largest error at the
eigenvalues of the polynomial that comes of it, over that of the best polynomial on the true interval.

The paper's engine predicts the coefficients themselves (`paper`, task "inverse_square_root").
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from ..polynomials.functions import Function
from .features import features
from .network import DATA, Perceptron, perceptron, read

_LEAST = 1e-9  # of the largest, by which the interval is longer than the Ritz values at least


def inputs(values: np.ndarray, residuals: np.ndarray, weights: np.ndarray, f: Function) -> np.ndarray:
    """Features of Ritz values (k,), ascending and positive, their residual norms, quadrature weights, and f."""
    high = float(values[-1] + residuals[-1])
    seen = features(values / high, residuals / high, weights, np.zeros(0))
    return np.append(seen, [0.0, 1.0] if f.power is None else [f.power, 0.0])


@dataclass(frozen=True)
class Engine:
    """A trained network: features to how far below the smallest Ritz value, and how far above the largest."""

    ends: Perceptron

    def __call__(
        self, values: np.ndarray, residuals: np.ndarray, weights: np.ndarray, f: Function
    ) -> tuple[float, float]:
        """(low, high), to be given to `minimax`. It is trained for degree 21, and asked for all."""
        below, above = self.ends(inputs(values, residuals, weights, f))
        low = float(values[0]) * math.exp(-np.logaddexp(0.0, below) - _LEAST)
        high = float(values[-1]) * (1.0 + _LEAST) + float(residuals[-1]) / (1.0 + math.exp(-above))
        return low, high


@functools.cache
def engine() -> Engine:
    """The one that is shipped. Raises ValueError where its file is damaged."""
    return Engine(perceptron(read(DATA / "functions.npz"), "ends"))


__all__ = ["Engine", "engine", "inputs"]
