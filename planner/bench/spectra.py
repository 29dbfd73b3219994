"""Singular spectra by name, and matrices that have them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Spectrum = Callable[[int, float], np.ndarray]
"""(k, condition) -> k singular values from 1 down to 1 / condition."""


def _polynomial(k: int, condition: float) -> np.ndarray:
    power = np.log(condition) / np.log(max(k, 2))
    return np.arange(1.0, k + 1.0) ** -power


def _step(k: int, condition: float) -> np.ndarray:
    return np.where(np.arange(k) < max(1, k // 10), 1.0, 1.0 / condition)


def _one_small(k: int, condition: float) -> np.ndarray:
    s = np.ones(k)
    s[-1] = 1.0 / condition
    return s


def _clustered(k: int, condition: float) -> np.ndarray:
    centres = np.geomspace(1.0, 1.0 / condition, 4)
    return np.sort(np.repeat(centres, -(-k // 4))[:k] * (1.0 + 1e-3 * np.linspace(0, 1, k)))[::-1]


SPECTRA: dict[str, Spectrum] = {
    "flat": lambda k, condition: np.linspace(1.0, 0.5, k),
    "polynomial": _polynomial,
    "exponential": lambda k, condition: np.geomspace(1.0, 1.0 / condition, k),
    "step": _step,
    "one small": _one_small,
    "clustered": _clustered,
}


def with_singular_values(m: int, n: int, s: np.ndarray, rng: np.random.Generator, coherent: bool = False) -> np.ndarray:
    """(m, n) matrix U diag(s) V'. Incoherent: U and V random. Coherent: a tenth as many rows as columns of U weigh
    most, so that uniform sampling of rows would miss what they hold."""
    k = min(m, n)
    U = rng.standard_normal((m, k))
    if coherent:
        U[: max(1, k // 10)] *= 1e3
    U, V = np.linalg.qr(U)[0], np.linalg.qr(rng.standard_normal((n, k)))[0]
    return (U * s) @ V.T
