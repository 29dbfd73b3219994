"""What one call of a kernel costs at any shape, from the points where it was measured.

    t(dims) = (sum_i c_i f_i(dims)) * exp(r(dims))

The first factor is a combination with non-negative coefficients, fitted to least relative error, so that it grows with
every dimension and extrapolates sanely. Its features are a constant, what the catalogue says the kernel's time grows
with, traffic and the operations bound by it, again for what does not fit a cache, and memory new to the process.
r interpolates what that leaves (inverse-distance weights in the logarithms of the dimensions, Shepard 1968) and dies
out away from the points. How wrong the whole is comes from leaving each point out in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..primitives.kernels.catalogue import ITEMSIZE, Kernel
from ..profiles import KernelTable

_CACHES = (1.0 * 2**20, 16.0 * 2**20)  # bytes beyond which memory is slower: about a core's share of two levels
_FRESH = 32.0 * 2**20  # bytes beyond which malloc takes new pages for every array (glibc, M_MMAP_THRESHOLD_MAX)
_REACH = math.log(8.0)  # residuals count for little further than this from a point, in log dims
_SOFT = 0.03**2  # softening of squared distances: within a few per cent of a point its own residual counts
_EXTRAPOLATION = 0.15  # sigma for each factor e beyond the measured range
_UNKNOWN = 0.5  # sigma of a table too short to be judged
_NOISIEST = 100.0  # spread from which more makes no difference, and the exponential of it would be no number
_FLOOR = 0.03  # no forecast of a time is better than that
_SHORT = 4  # points below which a table only scales a nominal machine
_NOMINAL = (1e-6, 5e-11, 1e-10)  # seconds per call, flop and byte of that machine


class TableFit:
    """Times of one kernel at any shape.

    Parameters
    ----------
    table : KernelTable
        Enabled, with at least one point.
    kernel : Kernel
    """

    __slots__ = ("_coefficients", "_features", "_high", "_low", "_points", "_w0", "flops", "left_out", "moved")

    def __init__(self, table: KernelTable, kernel: Kernel) -> None:
        itemsize = ITEMSIZE[table.dtype]
        terms = kernel.backend_terms.get(table.backend, kernel.terms)

        def features(dims: Sequence[int]) -> tuple[float, ...]:
            moved, new = itemsize * kernel.elements(*dims), itemsize * kernel.fresh(*dims)
            parts, panels = terms(*dims), kernel.panels(*dims)
            small, large = (max(0.0, moved - cache) for cache in _CACHES)
            return (
                1.0,
                *parts,
                moved,
                small,
                large,
                new if new > _FRESH else 0.0,
                panels,
                panels * small / moved,
                panels * large / moved,
            )

        def nominal(dims: Sequence[int]) -> tuple[float, ...]:
            call, flop, byte = _NOMINAL
            return (call + flop * kernel.flops(*dims) + byte * itemsize * kernel.elements(*dims),)

        self._features: Callable[[Sequence[int]], tuple[float, ...]] = (
            features if len(table.points) >= _SHORT else nominal
        )
        self.flops = kernel.flops
        self.moved: Callable[..., float] = lambda *dims: itemsize * kernel.elements(*dims)
        seconds = np.array([point.seconds for point in table.points])
        X = np.array([self._features(point.dims) for point in table.points])
        coefficients, relative, leverage = _fit(X / seconds[:, None])
        self._coefficients = tuple(float(c) for c in coefficients)
        logs = [tuple(math.log(d) for d in point.dims) for point in table.points]
        residuals = [-math.log1p(max(e, -0.9)) for e in relative]  # log(measured / base)
        spreads = [
            min(point.spread, _NOISIEST) / 2.563 for point in table.points
        ]  # p90 - p10 of a normal is 2.563 sigma
        self._points = tuple((x, r, s) for x, r, s in zip(logs, residuals, spreads, strict=True))
        self._w0 = 1.0 / (_REACH**2 + _SOFT) ** 2
        self._low = tuple(min(x) for x in zip(*logs, strict=True))
        self._high = tuple(max(x) for x in zip(*logs, strict=True))
        without = [
            -math.log1p(max(e / max(1.0 - h, 0.2), -0.9)) - self._interpolate(x, skip=i)[0]
            for i, (e, h, x) in enumerate(zip(relative, leverage, logs, strict=True))
        ]
        self.left_out = tuple(without)
        """log(measured / forecast) of each point when it is left out."""

    @property
    def interpolation_sigma(self) -> float:
        """Typical log error between the points, robust against a single odd one."""
        if len(self.left_out) < _SHORT:
            return _UNKNOWN
        ordered = sorted(abs(e) for e in self.left_out)
        middle = ordered[len(ordered) // 2] / 0.6745
        rms = math.sqrt(sum(e * e for e in ordered) / len(ordered))
        return 0.5 * (middle + rms)

    def __call__(self, dims: tuple[int, ...]) -> tuple[float, float, float, float]:
        """(seconds, sigma of its logarithm, flops, bytes) of one call."""
        base = 0.0
        for c, f in zip(self._coefficients, self._features(dims), strict=True):
            base += c * f
        x = tuple([math.log(d) for d in dims])
        residual, noise, nearest = self._interpolate(x)
        outside = 0.0
        for value, low, high in zip(x, self._low, self._high, strict=True):
            outside += max(0.0, low - value, value - high)
        between = self.interpolation_sigma * min(1.0, 0.5 + nearest)
        sigma = math.sqrt(_FLOOR**2 + noise * noise + between * between + (_EXTRAPOLATION * outside) ** 2)
        return base * math.exp(residual), sigma, self.flops(*dims), self.moved(*dims)

    def _interpolate(self, x: tuple[float, ...], skip: int = -1) -> tuple[float, float, float]:
        """Residual and noise interpolated at x (log dims), and the distance to the nearest point."""
        points = self._points if skip < 0 else self._points[:skip] + self._points[skip + 1 :]
        total, residual, noise, nearest, distance = self._w0, 0.0, 0.0, math.inf, math.dist
        for y, r, s in points:
            d = distance(x, y)
            if d < nearest:
                nearest = d
            w = 1.0 / (d * d + _SOFT) ** 2
            total += w
            residual += w * r
            noise += w * s
        return residual / total, noise / total, nearest


def _fit(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of X c = 1 with c >= 0: c, the relative errors X c - 1, and the leverage of each row."""
    scale = np.max(np.abs(X), axis=0)
    usable = scale > 0
    Y = X[:, usable] / scale[usable]
    c = np.zeros(X.shape[1])
    solution = nonnegative_least_squares(Y)
    c[usable] = solution / scale[usable]
    active = Y[:, solution > 0]
    U = np.linalg.svd(active, full_matrices=False)[0]
    return c, X @ c - 1.0, np.sum(U * U, axis=1)


def nonnegative_least_squares(Y: np.ndarray) -> np.ndarray:
    """argmin ||Y c - 1|| over c >= 0 (Lawson and Hanson 1974, ch. 23)."""
    m, n = Y.shape
    ones = np.ones(m)
    c, passive = np.zeros(n), np.zeros(n, dtype=bool)
    for _ in range(3 * n):
        gradient = Y.T @ (ones - Y @ c)
        gradient[passive] = -np.inf
        j = int(np.argmax(gradient))
        if gradient[j] <= 1e-9 * m or passive.sum() == min(m, n):
            break
        passive[j] = True
        while True:
            trial = np.zeros(n)
            trial[passive] = np.linalg.lstsq(Y[:, passive], ones, rcond=None)[0]
            negative = passive & (trial <= 0)
            if not negative.any():
                break
            step = np.min(c[negative] / np.maximum(c[negative] - trial[negative], 1e-300))
            c = c + step * (trial - c)
            passive &= c > 1e-14
            if not passive.any():
                break
        c = np.where(passive, trial, 0.0)
    return c
