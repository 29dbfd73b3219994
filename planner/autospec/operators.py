"""Spectra like those of the matrices that people solve systems with, for training: a few hundred nodes each.

The paper's generator (`paper_spectra`) makes smooth curves. Iterations depend on more: on how the eigenvalues near the
ends stand, on clusters and gaps, on how many there are. So most spectra here are those of operators - differences on
grids with layered coefficients, their squares, graph Laplacians - and the rest are random quantile functions.

A spectrum is a list of nodes with multiplicities. That of a matrix of order 30 000 has its ends as they are and the
middle merged, which neither fifty Lanczos steps nor conjugate gradients can tell from the original.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NODES = 512  # at most, of one spectrum
_KEPT_BELOW, _KEPT_ABOVE = 96, 32  # eigenvalues at the ends that are never merged
_CONDITION = 1e7  # eigenvalues further below the largest are lifted

Spectrum = tuple[np.ndarray, np.ndarray]


def spectrum(rng: np.random.Generator) -> Spectrum:
    """(nodes (k,), ascending, with the largest at one; multiplicities (k,)) of a random operator, k <= NODES."""
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=_SHARES)]
    values = np.sort(family(rng))
    values = values / values[-1]
    values = _outliers(values, rng)
    kind = rng.uniform()
    low = 1.0 / _CONDITION
    if kind < 0.2:
        low = 10.0 ** -rng.uniform(0.7, np.log10(_CONDITION))
    elif kind < 0.28:  # hardly any work
        low = 10.0 ** -rng.uniform(0.01, 0.7)
    return _merged(np.maximum(values, 0.0) * (1.0 - low) + low)


def _merged(values: np.ndarray) -> Spectrum:
    n = len(values)
    if n <= NODES:
        return values, np.ones(n)
    below, middle, above = np.split(values, [_KEPT_BELOW, n - _KEPT_ABOVE])
    parts = np.array_split(middle, NODES - _KEPT_BELOW - _KEPT_ABOVE)
    means = np.array([part.mean() for part in parts])
    counts = np.array([float(len(part)) for part in parts])
    ones = np.ones
    return np.concatenate([below, means, above]), np.concatenate([ones(_KEPT_BELOW), counts, ones(_KEPT_ABOVE)])


def _outliers(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few eigenvalues far below the others, or above, for a third of the spectra."""
    if rng.uniform() < 0.2:
        count = rng.integers(1, 9)
        values[:count] = values[:count].min() * 10.0 ** -np.sort(rng.uniform(0.0, 2.5, count))[::-1]
    if rng.uniform() < 0.15:
        count = rng.integers(1, 5)
        values[-count:] *= 10.0 ** np.sort(rng.uniform(0.0, 0.6, count))
    return np.sort(values) / values.max()


def _line(rng: np.random.Generator, n: int, contrast: float) -> np.ndarray:
    """Eigenvalues of -(c u')' on n points with layers c, fixed or free at the ends, maybe over a mass matrix."""
    from scipy.linalg import eigh_tridiagonal

    layers = rng.integers(1, 6)
    ends = np.sort(rng.integers(0, n + 1, layers - 1))
    c = np.repeat(10.0 ** rng.uniform(-0.5 * contrast, 0.5 * contrast, layers), np.diff([0, *ends, n + 1]))
    c = c * np.exp(0.2 * contrast * rng.standard_normal(n + 1))
    diagonal = c[:-1] + c[1:]
    if rng.uniform() < 0.3:
        diagonal[0] -= c[0]
    if rng.uniform() < 0.3:
        diagonal[-1] -= c[-1]
    inner = -c[1:-1]
    if rng.uniform() < 0.5:  # to a unit diagonal
        scale = 1.0 / np.sqrt(diagonal)
        diagonal, inner = np.ones(n), inner * scale[:-1] * scale[1:]
    return np.maximum(eigh_tridiagonal(diagonal, inner, eigvals_only=True), 0.0)


def _grid(rng: np.random.Generator) -> np.ndarray:
    dimensions = rng.integers(1, 4)
    n = 10.0 ** rng.uniform(2.4, 4.5 if dimensions > 1 else 3.2)
    shares = rng.dirichlet(np.full(dimensions, 6.0))
    sides = np.maximum(2, (n**shares).astype(int))
    contrast = float(rng.choice([0.0, 0.0, 0.5, 1.5]))
    values = np.zeros(1)
    for side in sides:
        strength = 10.0 ** (rng.uniform(0.0, 3.0) if rng.uniform() < 0.3 else 0.0)
        values = (values[:, None] + strength * _line(rng, int(side), contrast)[None, :]).ravel()
    if rng.uniform() < 0.3:  # a mass matrix of linear elements, roughly: large ones are raised
        values = values / (1.0 - rng.uniform(0.1, 0.6) * values / values.max())
    if rng.uniform() < 0.35:  # a reaction term, or a time step
        values = values + values.max() * 10.0 ** rng.uniform(-5.0, -1.0)
    if rng.uniform() < 0.2:
        values = values**2
    return values


def _mass(rng: np.random.Generator) -> np.ndarray:
    """Mass matrices scaled to a unit diagonal, and systems preconditioned well: around one, with a tail below."""
    n = int(10.0 ** rng.uniform(2.5, 4.0))
    bulk = rng.beta(rng.uniform(0.6, 6.0), rng.uniform(0.6, 6.0), n)
    low = 10.0 ** rng.uniform(-3.0, -0.3)
    values = low + (1.0 - low) * bulk
    tail = rng.integers(0, n // 4 + 1) if rng.uniform() < 0.6 else 0
    if tail:
        values[:tail] = low * 10.0 ** (-rng.uniform(0.5, 3.0) * rng.uniform(0.0, 1.0, tail) ** rng.uniform(1.0, 4.0))
    return values


def _graph(rng: np.random.Generator) -> np.ndarray:
    """The Laplacian of a grid or a tree with shortcuts, edges of very different weights, grounded, unit diagonal."""
    n = int(rng.integers(200, 420))
    kind = rng.uniform()
    if kind < 0.5:  # a tree in which nobody is far from their neighbours, as in power networks
        heads = np.arange(1, n)
        tails = np.maximum(0, heads - rng.geometric(rng.uniform(0.03, 0.5), n - 1))
    else:
        side = int(np.sqrt(n))
        n = side * side
        at = np.arange(n).reshape(side, side)
        heads = np.concatenate([at[1:].ravel(), at[:, 1:].ravel()])
        tails = np.concatenate([at[:-1].ravel(), at[:, :-1].ravel()])
    more = rng.integers(0, n // 2)
    heads = np.concatenate([heads, rng.integers(0, n, more)])
    tails = np.concatenate([tails, rng.integers(0, n, more)])
    weights = np.exp(rng.uniform(0.0, 2.5) * rng.standard_normal(len(heads)))
    A = np.zeros((n, n))
    np.add.at(A, (heads, tails), -weights)
    A = A + A.T
    np.fill_diagonal(A, 0.0)
    grounded = np.where(rng.uniform(size=n) < rng.uniform(0.0, 0.2), 1.0, 10.0 ** rng.uniform(-6.0, -1.0))
    diagonal = -A.sum(axis=1) + grounded * weights.mean()
    np.fill_diagonal(A, diagonal)
    if rng.uniform() < 0.3:  # plates rather than membranes
        A = A @ A
        diagonal = np.diag(A).copy()
    scale = 1.0 / np.sqrt(diagonal)
    return np.linalg.eigvalsh(A * scale[:, None] * scale)


def _quantiles(rng: np.random.Generator) -> np.ndarray:
    """A random monotone function of the rank, in logarithms."""
    n = int(10.0 ** rng.uniform(2.3, 4.0))
    knots = rng.integers(3, 12)
    steps = rng.gamma(rng.uniform(0.3, 3.0), size=knots)
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.sort(np.concatenate([[0.0, 1.0], rng.uniform(size=knots - 1) ** rng.uniform(0.5, 3.0)]))
    logs = np.interp((np.arange(n) + 0.5) / n, at, heights / heights[-1])
    logs = logs ** rng.uniform(0.3, 1.5)
    spread = rng.uniform(0.5, 6.0)
    return 10.0 ** (spread * (logs - 1.0)) * np.exp(rng.uniform(0.0, 0.1) * rng.standard_normal(n))


def _clusters(rng: np.random.Generator) -> np.ndarray:
    n = int(10.0 ** rng.uniform(2.3, 3.7))
    count = rng.integers(2, 8)
    centers = 10.0 ** -rng.uniform(0.0, rng.uniform(0.5, 4.0), count)
    which = rng.choice(count, n, p=rng.dirichlet(np.ones(count)))
    widths = rng.uniform(0.01, 0.5, count)
    return centers[which] * np.exp(widths[which] * rng.standard_normal(n))


def _blend(rng: np.random.Generator) -> np.ndarray:
    """Flat, exponential and power-law decay mixed, as in the paper's appendix C.1."""
    n = int(10.0 ** rng.uniform(2.2, 3.3))
    u = (np.arange(n) + 0.5) / n
    condition = rng.uniform(1.0, 5.0)
    shares = rng.dirichlet(np.ones(3))
    power = (1.0 + rng.uniform(1.0, 200.0) * u) ** -rng.uniform(0.3, 2.0)
    values = shares[0] + shares[1] * 10.0 ** (-condition * u) + shares[2] * power
    values = (values - values.min()) / (values.max() - values.min())
    values = values ** rng.uniform(0.4, 2.5)
    low = 10.0**-condition
    return (low + (1.0 - low) * values) * np.exp(rng.uniform(0.0, 0.1) * rng.standard_normal(n))


_FAMILIES: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (
    _grid, _graph, _mass, _quantiles, _clusters, _blend,
)  # fmt: skip
_SHARES = (0.34, 0.2, 0.14, 0.14, 0.08, 0.1)
