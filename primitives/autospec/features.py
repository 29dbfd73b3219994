"""What the networks see of a Lanczos probe: logarithms, so that a condition number of 1e6 is a number like others."""

from __future__ import annotations

import math

import numpy as np

TOP = 1.002  # over the upper bound of the spectrum: where angles end
_BELOW, _ABOVE = 14, 8  # Ritz values at the ends
_RANKS = np.array(
    [0.001, 0.003, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98,
     0.99, 0.997]
)  # fmt: skip
_FARTHEST = 1e-12  # what logarithms of residuals and weights are cut off at


def features(x: np.ndarray, residuals: np.ndarray, weights: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Of one probe.

    Parameters
    ----------
    x : (k,) array
        Ritz values over the upper bound of the spectrum, ascending, positive.
    residuals : (k,) array
        Their residual norms, over the same.
    weights : (k,) array
        Of sum one.
    gaps : (g,) array
        Of zeros that a network starts from; may be empty.
    """
    logs = np.log10(x)
    relative = np.log10(np.maximum(residuals / x, _FARTHEST))
    shares = np.log10(np.maximum(weights, _FARTHEST))
    middle = np.cumsum(weights) - 0.5 * weights
    k = len(x)
    below = np.minimum(np.arange(_BELOW), k - 1)  # where there are few, the last stands for the rest
    above = np.maximum(k - 1 - np.arange(_ABOVE), 0)
    return np.concatenate(
        [
            np.interp(_RANKS, middle, logs),
            logs[below],
            np.maximum(relative[below], -8.0),
            np.maximum(shares[below], -8.0),
            np.arccos(1.0 - 2.0 * x[above] / TOP),
            np.maximum(relative[above], -8.0),
            np.log(gaps),
            [math.log10(k), logs[0] / 2.0, relative.max()],
        ]
    )


__all__ = ["TOP", "features"]
