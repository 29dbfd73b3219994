"""Ritz values of a symmetric matrix from a few Lanczos steps, with what is known of how good they are.

Only products are needed. Where the basis is kept and orthogonalized again the values are those of exact arithmetic;
where it is not, copies of converged values are dropped by the test of Cullum and Willoughby (1985): a value of T that T
without its first row and column has too is spurious, and of close ones one is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..primitives.norms import norm
from ..primitives.ritz import RitzValues, of_tridiagonal
from ..profiles.errors import NonFiniteInput


def run(product: Callable[[Any], Any], start: Any, steps: int, *, keep: bool = True) -> RitzValues:
    """Ritz values of a symmetric matrix after so many Lanczos steps; fewer where the space is exhausted.

    Parameters
    ----------
    product : callable
        V -> X V for V : (n,).
    start : (n,) array
        Of numpy, torch or cupy, floating point, not zero.
    steps : int
        At most n are taken.
    keep : bool
        Whether the basis (steps, n) is kept and orthogonalized again. Without it values that have converged come back
        as copies, which are dropped, and fewer different ones are seen.

    Raises
    ------
    NonFiniteInput
        If a product is not finite.
    """
    import array_api_compat

    xp = array_api_compat.array_namespace(start)
    n, steps = start.shape[0], min(steps, start.shape[0])
    basis = xp.zeros((steps if keep else 1, n), dtype=start.dtype, device=array_api_compat.device(start))
    alphas: list[float] = []
    betas: list[float] = []
    before, beta, q = None, 0.0, start / norm(start)
    for j in range(steps):
        if keep:
            basis[j] = q
        w = product(q)
        alpha = float(q @ w)
        w = w - alpha * q
        if before is not None:
            w = w - beta * before
        if keep:
            for _ in range(2):  # twice is enough (Parlett 1998)
                w = w - basis[: j + 1].T @ (basis[: j + 1] @ w)
        beta = norm(w)
        if not math.isfinite(alpha) or not math.isfinite(beta):
            raise NonFiniteInput(
                f"product {j + 1} with A is not finite: an entry of A is not, or the operator is at fault", argument="A"
            )
        alphas.append(alpha)
        betas.append(beta)
        size = max(map(abs, (*alphas, *betas)))
        if beta <= 4.0 * float(xp.finfo(start.dtype).eps) * size:
            betas[-1] = 0.0
            break
        before, q = q, w / beta
    return of_tridiagonal(alphas, betas, copies=not keep)


__all__ = ["RitzValues", "run"]
