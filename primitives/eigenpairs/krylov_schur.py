"""Thick-restart Lanczos: Krylov-Schur of a symmetric operator, of itself or of a polynomial of it.

Lanczos steps up to a subspace of a given dimension, the best Ritz vectors of it, and on from there: Stewart, "A
Krylov-Schur algorithm for large eigenproblems", SIAM J. Matrix Anal. Appl. 23 (2001); Wu and Simon, "Thick-restart
Lanczos method for large symmetric eigenvalue problems", same journal 22 (2000). Every new vector is orthogonalized
twice against the whole basis. How many Ritz vectors are kept is what MATLAB's `eigs` does, asked for five more than are
wanted: those, and one more for each that has converged, up to the middle of what is left.

With a polynomial p the method runs on p(A), whose largest eigenvalues must be those of the wanted end of A: an outer
iteration takes degree times as many products, and there are fewer of them. Eigenvalues of A come from a Rayleigh-Ritz
step with A on what has converged.

Memory: (dimension + 1) n numbers. Cost of an outer iteration with m = dimension - kept steps: m products with the
operator and 8 m n dimension flops for the orthogonalization, at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Breakdown
from ..norms import norm
from ..polynomials import Recurrence

Array = Any
WHICH = ("LA", "SA", "LM")


@dataclass(frozen=True, slots=True)
class Cycle:
    """What an outer iteration ends with, of the operator that is iterated: of p(A) where there is a polynomial.

    Attributes
    ----------
    iteration : int
        From one on.
    values, residuals : (dimension,) array
        Ritz values, those of the wanted end first, and the norms of the residuals of their unit vectors.
    weights : (dimension,) array
        In the first iteration those of Gauss quadrature for the spectral measure of the start.
    vectors : callable
        The first so many Ritz vectors (n, count), while the iteration has not gone on.
    """

    iteration: int
    values: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray
    vectors: Callable[[int], Array]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Approximate eigenpairs of A.

    Attributes
    ----------
    values : (k,) array
        Those of the wanted end first. NumPy's, float64.
    vectors : (n, k) array
        Orthonormal, of the library and dtype of the start.
    residuals : (k,) array
        Norms of A v - value v.
    iterations : int
        Outer ones.
    products : int
        With A.
    converged : bool
        Whether all of them are within the tolerance.
    """

    values: np.ndarray
    vectors: Array
    residuals: np.ndarray
    iterations: int
    products: int
    converged: bool


def krylov_schur(
    product: Callable[[Array], Array],
    start: Array,
    wanted: int,
    dimension: int,
    *,
    which: str = "LA",
    polynomial: Recurrence | None = None,
    extra: int = 5,
    tolerance: float = 1e-10,
    most: int = 300,
    seen: Callable[[Cycle], bool] | None = None,
) -> Pairs:
    """`wanted` eigenpairs of one end of the spectrum of a symmetric A.

    Parameters
    ----------
    product : callable
        v -> A v for v : (n,), (n, r) too where there is a polynomial.
    start : (n,) array
        Of numpy, torch or cupy, float64 or float32, not zero.
    wanted : int
        From 1 to n.
    dimension : int
        Of the subspace before a restart, above `wanted` unless that is n; more than n counts as n.
    which : {"LA", "SA", "LM"}
        The largest, the smallest, or the largest in magnitude. With a polynomial only the order of what comes out.
    polynomial : Recurrence, optional
        Whose values are largest at the wanted end.
    extra : int
        How many more Ritz vectors than wanted are kept at least.
    tolerance : float
        Of the residuals, relative to the largest Ritz value in magnitude, with a polynomial of p(A), relative to each.
    most : int
        Outer iterations.
    seen : callable, optional
        Given each `Cycle`; the iteration ends where it says True.

    Returns
    -------
    Pairs
        The best there were after the last outer iteration.

    Raises
    ------
    ValueError
        If an argument makes no sense.
    Breakdown
        If a product is not finite.
    """
    import array_api_compat

    xp, n = array_api_compat.array_namespace(start), int(start.shape[0])
    dimension = min(dimension, n)
    if which not in WHICH:
        raise ValueError(f"which = {which!r} is not one of {', '.join(WHICH)}")
    if not (1 <= wanted <= n and (wanted < dimension or dimension == n) and most >= 1 and extra >= 0):
        raise ValueError(f"wanted = {wanted}, dimension = {dimension}, extra = {extra}, most = {most} of order {n}")
    operator = product if polynomial is None else lambda v: polynomial.apply(product, v)
    end = which if polynomial is None else "LA"
    basis = xp.zeros((dimension + 1, n), dtype=start.dtype, device=array_api_compat.device(start))
    basis[0] = start / norm(start)
    generator = np.random.default_rng(np.random.Philox(key=0))
    rounding = float(xp.finfo(start.dtype).eps)
    T = np.zeros((dimension, dimension))
    kept, applied, largest = 0, 0, 0.0
    for iteration in range(1, most + 1):
        beta = 0.0
        for j in range(kept, dimension):
            w = operator(basis[j])
            applied += 1
            size = norm(w)
            if not math.isfinite(size):
                raise Breakdown(f"product {applied} with the operator is not finite")
            largest = max(largest, size)
            w, h = _orthogonal(basis[: j + 1], w)
            T[j, j] = h
            beta = norm(w)
            if beta <= 4.0 * rounding * largest:  # an invariant subspace: on with what is orthogonal to it
                beta = 0.0
                w = xp.zeros_like(w)
                while j + 1 < n and not norm(w) > 0.5:
                    fresh = generator.standard_normal(n)
                    w = xp.asarray(fresh, dtype=start.dtype, device=array_api_compat.device(start))
                    w = _orthogonal(basis[: j + 1], w / norm(w))[0]
                    w = w / max(norm(w), rounding)
                basis[j + 1] = _orthogonal(basis[: j + 1], w)[0]
            else:
                basis[j + 1] = w / beta
            if j + 1 < dimension:
                T[j, j + 1] = T[j + 1, j] = beta
        values, S = np.linalg.eigh(T)
        order = order_of(values, end)
        values, S = values[order], S[:, order]
        residuals = beta * np.abs(S[-1])
        within = residuals <= tolerance * (np.abs(values).max() if polynomial is None else np.abs(values))
        fine = bool(within[:wanted].all())
        cycle = Cycle(iteration, values, residuals, S[0] ** 2, lambda count, S=S: _combine(basis, S[:, :count]))
        stop = seen is not None and seen(cycle)
        if fine or stop or iteration == most:
            break
        least = min(wanted + extra, dimension - 1)
        kept = least + min(int(within[:wanted].sum()), (dimension - least) // 2)
        kept = min(kept, dimension - 1)
        rotation = xp.asarray(S[:, :kept].T.copy(), dtype=start.dtype, device=array_api_compat.device(start))
        basis[:kept] = rotation @ basis[:dimension]
        basis[kept] = basis[dimension]
        T[:] = 0.0
        T[range(kept), range(kept)] = values[:kept]
        if kept < dimension:
            T[kept, :kept] = T[:kept, kept] = beta * S[-1, :kept]
    X = cycle.vectors(wanted)
    basis = X[:0]  # its memory is for the last step
    if polynomial is None:
        return Pairs(values[:wanted], X, residuals[:wanted], iteration, applied, fine)
    found, X, errors = rayleigh_ritz(product, X, which)
    return Pairs(found, X, errors, iteration, applied * polynomial.degree + wanted, fine)


def rayleigh_ritz(
    product: Callable[[Array], Array], Q: Array, which: str = "LA"
) -> tuple[np.ndarray, Array, np.ndarray]:
    """Ritz values, vectors and residual norms of A on the span of Q : (n, r) of orthonormal columns.

    `product` is V -> A V for V : (n, r); the values of the wanted end come first.
    """
    import array_api_compat

    xp = array_api_compat.array_namespace(Q)
    AQ = product(Q)
    H = np.asarray(_host(Q.T @ AQ), dtype=np.float64)
    if not np.isfinite(H).all():
        raise Breakdown("a product with the operator is not finite")
    values, S = np.linalg.eigh(0.5 * (H + H.T))
    order = order_of(values, which)
    values, S = values[order], S[:, order]
    rotation = xp.asarray(S, dtype=Q.dtype, device=array_api_compat.device(Q))
    shifts = xp.asarray(values, dtype=Q.dtype, device=array_api_compat.device(Q))
    X = Q @ rotation
    # one column after the other: no fourth array of their size
    residuals = [norm(AQ @ rotation[:, i] - shifts[i] * X[:, i]) for i in range(len(values))]
    return values, X, np.array(residuals)


def _combine(basis: Array, S: np.ndarray) -> Array:
    """(n, r) of the rows of the basis (l, n) or more, weighted by S : (l, r)."""
    import array_api_compat

    xp = array_api_compat.array_namespace(basis)
    return basis[: len(S)].T @ xp.asarray(S, dtype=basis.dtype, device=array_api_compat.device(basis))


def _orthogonal(basis: Array, w: Array) -> tuple[Array, float]:
    """w less its components in the rows of the basis, and that in the last of them: twice is enough (Parlett 1998)."""
    inside = 0.0
    for _ in range(2):
        components = basis @ w
        inside += float(components[-1])
        w = w - basis.T @ components
    return w, inside


def order_of(values: np.ndarray, which: str) -> np.ndarray:
    """Of the wanted end first."""
    keys = {"LA": -values, "SA": values, "LM": -np.abs(values), "SM": np.abs(values)}
    return np.argsort(keys[which], kind="stable")


def _host(array: Array) -> Any:
    return array.get() if hasattr(array, "get") else array.cpu() if hasattr(array, "cpu") else array
