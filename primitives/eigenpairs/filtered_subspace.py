"""Subspace iteration with a polynomial of a symmetric matrix, Rayleigh-Ritz and locking.

A block is filtered, orthonormalized and rotated to its Ritz vectors; those of the wanted end that have converged, from
the first on, are locked: they are not filtered again, and the others are kept orthogonal to them (Zhou, Saad, Tiago and
Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace iteration", J. Comput. Phys. 219,
2006; Saad, Numerical Methods for Large Eigenvalue Problems, 2011, section 5.1). All products are with blocks, and no
basis is kept beside the block: some 5 r n numbers. The error of the i-th vector goes down by max |p| beyond the r-th
eigenvalue over |p| at the i-th each time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..polynomials import Recurrence
from .krylov_schur import WHICH, Array, Pairs, rayleigh_ritz


def filtered_subspace(
    product: Callable[[Array], Array],
    polynomial: Recurrence,
    start: Array,
    wanted: int,
    *,
    which: str = "LA",
    tolerance: float = 1e-10,
    most: int = 100,
) -> Pairs:
    """`wanted` eigenpairs of the end of the spectrum where |polynomial| is largest.

    Parameters
    ----------
    product : callable
        V -> A V for V : (n, c), any c.
    polynomial : Recurrence
        See `autonla.primitives.polynomials.filters`.
    start : (n, r) array
        Of numpy, torch or cupy, float64 or float32, of full rank, with some more columns than are wanted.
    wanted : int
        From 1 to r.
    which : {"LA", "SA", "LM"}
        The end, by which what comes out is in order.
    tolerance : float
        Of the residuals, relative to the largest ||A x|| of a unit vector that was met.
    most : int
        Iterations.

    Returns
    -------
    Pairs
        The best there were after the last iteration.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    Breakdown
        If a product is not finite.
    """
    import array_api_compat

    xp = array_api_compat.array_namespace(start)
    n, r = start.shape
    if which not in WHICH:
        raise ValueError(f"which = {which!r} is not one of {', '.join(WHICH)}")
    if not (1 <= wanted <= r <= n and most >= 1):
        raise ValueError(f"wanted = {wanted} of a block of {r}, most = {most}, of order {n}")
    values, X, residuals = rayleigh_ritz(product, xp.linalg.qr(start)[0], which)
    products, scale = r, float(np.hypot(values, residuals).max())  # ||A x||: the residual is orthogonal to x
    locked, known, errors, iteration = X[:, :0], np.zeros(0), np.zeros(0), 0
    while len(known) < wanted and iteration < most:
        iteration += 1
        X = polynomial.apply(product, X)
        for _ in range(2):
            X = xp.linalg.qr(X - locked @ (locked.T @ X))[0]
        products += (polynomial.degree + 1) * X.shape[1]
        values, X, residuals = rayleigh_ritz(product, X, which)
        scale = max(scale, float(np.hypot(values, residuals).max()))
        fine = residuals <= tolerance * scale
        done = min(len(fine) if fine.all() else int(np.argmin(fine)), wanted - len(known))
        locked = xp.concat([locked, X[:, :done]], axis=1)
        known, errors = np.concatenate([known, values[:done]]), np.concatenate([errors, residuals[:done]])
        values, X, residuals = values[done:], X[:, done:], residuals[done:]
    missing = wanted - len(known)
    vectors = xp.concat([locked, X[:, :missing]], axis=1)
    found = np.concatenate([known, values[:missing]])
    errors = np.concatenate([errors, residuals[:missing]])
    order = np.argsort({"LA": -found, "SA": found, "LM": -np.abs(found)}[which], kind="stable")
    vectors = vectors[:, xp.asarray(order, device=array_api_compat.device(X))]
    return Pairs(found[order], vectors, errors[order], iteration, products, not missing)
