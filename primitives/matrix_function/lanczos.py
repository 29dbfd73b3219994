"""f(A) b from the Krylov space of b: V f(T) e_1 ||b||, T the tridiagonal matrix of Lanczos.

Druskin and Knizhnerman, USSR Comput. Math. Math. Phys. 29 (1989); Higham, Functions of Matrices (2008), section 13.2.
Within twice the error of the best polynomial on the spectrum after as many products, and much below that where few
eigenvalues are far from the others: it needs no interval. Vectors are not orthogonalized again; convergence is as of
exact steps on a slightly longer interval (Druskin, Greenbaum and Knizhnerman, SIAM J. Sci. Comput. 19, 1998).

Each column of b is on its own. The basis is kept, a vector for each step, or made twice, which takes twice the
products, and memory for a few vectors (Frommer and Simoncini 2008, section 4.3). It stops where what the last steps
have changed is below a fifth of the target, in the norm of the residual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..sparse_linear_system._common import dot, size_of
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from ._common import (
    MOST_STEPS,
    Products,
    columns_of,
    copy_bytes,
    is_positive,
    iterated,
    krylov_steps,
    needs_definite,
    on_numbers,
    power,
    products,
    vectors,
)

_FIRST, _GROWTH, _GAP = 8, 1.15, 4  # steps at which the answer is looked at
_CHANGE = 0.2  # of the target
_STALLED, _SMALL = 0.9, 1e-8  # of the change before, where it is as small as that: rounding is reached
_ROUNDING = 4.0 * 2.0**-52
_NEGATIVE = 1e-12  # of the largest Ritz value: what counts as no sign


@dataclass(frozen=True, slots=True)
class Options:
    """Whether the basis is "kept" or made "twice"."""

    basis: str = "kept"
    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """Both."""
    yield Options("kept")
    yield Options("twice")


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Functions on an interval, of vectors."""
    if not task.nrhs:
        return "it finds f(A) b for vectors b, not f(A)"
    if task.function in ("callable", "sign"):
        return "it is for functions that a polynomial is near to on all of the spectrum"
    if task.function == "inv" and evidence.ritz and not is_positive(evidence.ritz):
        return "A is not positive definite"
    return None


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """A product and three operations on vectors in each step; the tridiagonal matrices; the sum at the end."""
    steps = krylov_steps(task, evidence, task.target)
    m, r, twice = steps.median, task.nrhs, options.basis == "twice"
    spread = max(1.0, steps.high / max(1.0, m))
    calls = (
        *products(task, evidence, 1, m * r * (2.0 if twice else 1.0)),
        vectors(task.n, m * r * (14.0 if twice else 9.0)),
        # of T: what its eigenvalues take, in operations on vectors as long as it
        vectors(max(1, int(m)), 60.0 * m * r),
    )
    basis = 5.0 if twice else 1.3 * m + 5.0
    return Work(calls, 8.0 * task.n * (basis + r) + 24.0 * m * m + copy_bytes(task), spread)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """What it stops at."""
    return iterated(task)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """f(A) b of the shape of b. Raises Breakdown where A is seen not to be definite, and f needs that."""
    product, B = Products(A, task), columns_of(b)
    Y, steps = np.empty_like(B), 0
    for j in range(B.shape[1]):
        Y[:, j], taken = _column(product, np.ascontiguousarray(B[:, j]), task, options.basis == "kept")
        steps += taken
    value = Y[:, 0] if b.ndim == 1 else Y
    return Outcome(value.astype(task.dtype), details={"steps": steps, "products": product.count})


def _column(product: Products, b: np.ndarray, task: Task, kept: bool) -> tuple[np.ndarray, int]:
    """f(A) b, and how many steps it took."""
    size = float(np.linalg.norm(b))
    if size == 0.0:
        return np.zeros_like(b), 0
    alphas: list[float] = []
    betas: list[float] = []
    basis: list[np.ndarray] = []
    weights, change = np.zeros(0), math.inf
    look, most = _FIRST, min(MOST_STEPS, 6 * task.n + 20)
    for q, alpha, beta in _steps(product, b / size):
        alphas.append(alpha)
        betas.append(beta)
        if kept:
            basis.append(q)
        m = len(alphas)
        if not math.isfinite(beta):
            raise Breakdown("a product with A is not finite")
        exhausted = beta <= _ROUNDING * max(map(abs, (*alphas, *betas)))
        over = exhausted or m >= most or stop_asked()
        if m < look and not over:
            continue
        look = max(m + _GAP, math.ceil(_GROWTH * m))
        before = change
        weights, change = _combination(np.array(alphas), np.array(betas[:-1]), weights, task)
        stalled = change > _STALLED * before and change < _SMALL
        if over or stalled or change <= _CHANGE * task.target:
            break
    again = basis if kept else (q for q, _, _ in _steps(product, b / size))
    y = np.zeros_like(b)
    for weight, q in zip(weights.tolist(), again, strict=False):  # the second time it does not end by itself
        y += (size * weight) * q
    return y, len(weights)


def _steps(product: Products, q: np.ndarray) -> Iterator[tuple[np.ndarray, float, float]]:
    """(q_j, alpha_j, beta_j) of Lanczos from a unit vector q, without end."""
    before, beta = np.zeros_like(q), 0.0
    while True:
        w = product(q)
        w -= beta * before
        alpha = dot(q, w)
        w -= alpha * q
        beta = size_of(w)
        yield q, alpha, beta
        before, q = q, w / beta if beta > 0.0 else w


def _combination(
    alphas: np.ndarray, betas: np.ndarray, before: np.ndarray, task: Task
) -> tuple[np.ndarray, float]:  # fmt: skip
    """f(T) e_1 : (m,), and by how much it differs from `before`, in the norm of the residual.

    Raises Breakdown where f is not defined at an eigenvalue of T.
    """
    from scipy.linalg import eigh_tridiagonal

    theta, S = eigh_tridiagonal(alphas, betas)
    least, size = float(theta[0]), float(np.abs(theta).max())
    if (needs_definite(task.function) or task.function == "inv") and least < -_NEGATIVE * size:
        raise Breakdown(f"A is not positive definite: it has a Ritz value of {least:.2g} beside one of {size:.2g}")
    values = on_numbers(task.function, theta)
    if not np.isfinite(values).all():
        raise Breakdown("f is not finite at a Ritz value of A")
    weights = S @ (values * S[0])
    difference = S.T @ (weights - np.pad(before, (0, len(weights) - len(before))))
    exponent = power(task.function)
    if exponent is not None and exponent < 0.0:
        difference = np.maximum(theta, 0.0) ** -exponent * difference
    scale = 1.0 if task.function == "log" or (exponent or 1.0) < 0.0 else float(np.linalg.norm(weights))
    return weights, float(np.linalg.norm(difference)) / scale if scale > 0.0 else 0.0


ALGORITHM = Algorithm(
    kind="matrix_function",
    name="lanczos",
    title="Lanczos",
    reference="Druskin and Knizhnerman 1989; Higham 2008, section 13.2",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=lambda task, evidence, options: 0.02 if is_positive(evidence.ritz) or task.function == "exp" else 0.2,
)
