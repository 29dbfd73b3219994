"""How many iterations conjugate gradients will take, from Ritz values: the method itself on a spectrum like theirs.

The condition number alone overestimates them wherever few eigenvalues are small. Ritz values with their quadrature
weights say how the eigenvalues are distributed: their cumulative weights, interpolated between the logarithms of the
values, are the distribution function (Golub and Meurant 2010, chapter 7, of a random start; each weight is known to be
no sharper than its neighbours allow). On a diagonal matrix of some hundred such eigenvalues an iteration takes
microseconds, for all polynomials at once.
"""

from __future__ import annotations

import math

import numpy as np

NODES = 300


def spectrum(values: np.ndarray, weights: np.ndarray, nodes: int = NODES) -> np.ndarray:
    """Eigenvalues (nodes + k,), ascending, distributed as the Ritz values (k,) with weights (k,) say; all positive."""
    middle = np.cumsum(weights) - 0.5 * weights
    at = (np.arange(nodes) + 0.5) / nodes
    return np.sort(np.concatenate([np.exp(np.interp(at, middle, np.log(values))), values]))


def cg_iterations(
    eigenvalues: np.ndarray,
    multipliers: np.ndarray,
    tolerance: float,
    most: int = 2000,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Iterations (c,) of preconditioned conjugate gradients until ||r|| <= tolerance ||b||, `most` where it takes more.

    With a fraction, by the logarithm of the last two residuals: of two that take as many one comes further below.

    Parameters
    ----------
    eigenvalues : (n,) array
        Of A, which is diagonal here, positive.
    multipliers : (n, c) array
        p at the eigenvalues, for each preconditioner. Where one is not positive the method breaks down: `most`.
    start : (n,) array, optional
        The right-hand side in the basis of eigenvectors; ones where it is not given.
    """
    n, count = multipliers.shape
    found = np.full(count, float(most))
    columns = np.flatnonzero((multipliers > 0.0).all(axis=0))
    p = multipliers[:, columns]
    r = np.ones((n, len(columns))) if start is None else np.repeat(start[:, None], len(columns), axis=1)
    whole = math.sqrt(n) if start is None else float(np.linalg.norm(start))
    z = p * r
    d, rz = z.copy(), (r * z).sum(axis=0)
    limit = tolerance * whole
    before = np.full(len(columns), whole)
    for k in range(1, most):
        if not len(columns):
            break
        q = eigenvalues[:, None] * d
        r -= rz / (d * q).sum(axis=0) * q
        sizes = np.sqrt((r * r).sum(axis=0))
        done = sizes <= limit
        if done.any():
            last, now = np.log(before[done]), np.log(np.maximum(sizes[done], 1e-300))
            found[columns[done]] = k - 1.0 + (last - math.log(limit)) / (last - now)
            left = ~done
            columns, p, r, d, rz, sizes = columns[left], p[:, left], r[:, left], d[:, left], rz[left], sizes[left]
        before = sizes
        z = p * r
        new = (r * z).sum(axis=0)
        d = z + new / rz * d
        rz = new
    return found
