"""f(A) b from the Krylov space of b: V f(T) e_1 ||b||, T the tridiagonal matrix of Lanczos.

Druskin and Knizhnerman, USSR Comput. Math. Math. Phys. 29 (1989); Higham, Functions of Matrices (2008), section 13.2.
Within twice the error of the best polynomial on the spectrum after as many products, and much below that where few
eigenvalues are far from the others: it needs no interval. Vectors are not orthogonalized again; convergence is as of
exact steps on a slightly longer interval (Druskin, Greenbaum and Knizhnerman, SIAM J. Sci. Comput. 19, 1998).

Each column of b is on its own. The basis is kept, a vector for each step, or made twice, which takes twice the
products, and memory for a few vectors (Frommer and Simoncini 2008, section 4.3). It stops where a bound on the error of
exact steps is below a part of the target (`_bounds`); of inverse powers that is the residual of conjugate gradients.

The basis of a single column is left for the certificate, which then takes three products (`Krylov`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..sparse_linear_system._common import dot, size_of
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from ._bounds import decomposed, exponential, last, over, ritz_values
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

KRYLOV = "krylov"  # by-product of one column with its basis
_FIRST, _GROWTH = 8, 1.1  # steps at which the bound is looked at
_AIM = 0.3  # of the target that is left
_ROUNDING = 4.0 * 2.0**-52
_NEGATIVE = 1e-12  # of the largest Ritz value: what counts as no sign
_ROWS = 32  # vectors of a basis in one array
REDUCTIONS = 2.0  # of a step: q'A q, and the norm of what is left


class Krylov(NamedTuple):
    """A V = V T + beta v e_m' to rounding, with V e_1 = b / ||b||.

    Attributes
    ----------
    basis : list of (k, n) arrays
        The columns of V, as rows.
    alphas, betas : (m,) arrays
        Diagonal of T, and off the diagonal with beta after it.
    after : (n,) array
        v; zero where beta is.
    """

    basis: list[np.ndarray]
    alphas: np.ndarray
    betas: np.ndarray
    after: np.ndarray


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
    """A product and three operations on vectors in each step; the bounds; the sum at the end."""
    steps = krylov_steps(task, evidence, task.target)
    m, r, twice = steps.median, task.nrhs, options.basis == "twice"
    spread = max(1.0, steps.high / max(1.0, m))
    calls = (
        *products(task, evidence, 1, m * r * (2.0 if twice else 1.0)),
        vectors(task.n, m * r * (14.0 if twice else 9.0)),
        # of T: what its eigenvalues take, in operations on vectors as long as it
        vectors(max(1, int(m)), 30.0 * m * r),
    )
    waits = REDUCTIONS * m * r * (2.0 if twice else 1.0)
    basis = 5.0 if twice else 1.3 * m + 5.0
    return Work(calls, 8.0 * task.n * (basis + r) + 24.0 * m * m + copy_bytes(task), spread, waits)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """What it stops at."""
    return iterated(task)


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """f(A) b of the shape of b. Raises Breakdown where A is seen not to be definite, and f needs that."""
    product, B = Products(A, task), columns_of(b)
    Y, steps, left = np.empty_like(B), 0, None
    for j in range(B.shape[1]):
        Y[:, j], taken, left = _column(product, np.ascontiguousarray(B[:, j]), task, options.basis == "kept")
        steps += taken
    value = Y[:, 0] if b.ndim == 1 else Y
    by_products = {KRYLOV: left} if left is not None and task.nrhs == 1 else {}
    return Outcome(value.astype(task.dtype), by_products, {"steps": steps, "products": product.count})


def _column(product: Products, b: np.ndarray, task: Task, kept: bool) -> tuple[np.ndarray, int, Krylov | None]:
    """f(A) b, how many steps it took, and what is left of them where they are kept."""
    size = size_of(b)
    if size == 0.0:
        return np.zeros_like(b), 0, None
    alphas: list[float] = []
    betas: list[float] = []
    basis: list[np.ndarray] = []
    near, most = _stopping(task), min(MOST_STEPS, 6 * task.n + 20)
    largest, after = 0.0, b
    for q, alpha, beta, w in _steps(product, b / size):
        if not math.isfinite(beta):
            raise Breakdown("a product with A is not finite")
        m = len(alphas)
        if kept:
            if m % _ROWS == 0:
                basis.append(np.empty((_ROWS, len(b))))
            basis[-1][m % _ROWS] = q
        largest = max(largest, abs(alpha), beta)
        after = w
        alphas.append(alpha)
        betas.append(0.0 if beta <= _ROUNDING * largest else beta)
        if near(alphas, betas) or betas[-1] == 0.0 or len(alphas) >= most or stop_asked():
            break
    a, c = np.array(alphas), np.array(betas)
    weights = _combination(a, c, task)
    if not kept:
        y = np.zeros_like(b)
        for weight, (q, *_) in zip(weights.tolist(), _steps(product, b / size), strict=False):  # has no end by itself
            y += weight * q
        return size * y, len(a), None
    basis[-1] = basis[-1][: (len(a) - 1) % _ROWS + 1]
    after = after * (1.0 / c[-1] if c[-1] > 0.0 else 0.0)
    return size * over(basis, weights[:, None])[:, 0], len(a), Krylov(basis, a, c, after)


def _steps(product: Products, q: np.ndarray) -> Iterator[tuple[np.ndarray, float, float, np.ndarray]]:
    """(q_j, alpha_j, beta_j, beta_j q_{j+1}) of Lanczos from a unit vector q, without end."""
    before, beta = np.zeros_like(q), 0.0
    while True:
        w = product(q)
        w -= beta * before
        alpha = dot(q, w)
        w -= alpha * q
        beta = size_of(w)
        yield q, alpha, beta, w
        before = q
        q = w / beta if beta > 0.0 else w


def _stopping(task: Task) -> Callable[[list[float], list[float]], bool]:
    """Whether what is left after these steps is little enough, as the metric has it.

    Raises Breakdown where A is not definite, and f needs that.
    """
    aim, name, exponent = _AIM * task.target, task.function, power(task.function)
    if exponent is not None and exponent < 0.0:
        return _residual(aim)
    look = _FIRST

    def near(alphas: list[float], betas: list[float]) -> bool:
        nonlocal look
        if len(alphas) < look:
            return False
        look = max(look + 2, math.ceil(_GROWTH * look))
        a, c = np.array(alphas), np.array(betas)
        if name == "exp":
            theta, S = decomposed(a, c)
            left, rounding, _ = exponential(theta, S, c, float(theta[-1]))
            return left <= max(aim * float(np.linalg.norm(np.exp(theta) * S[0])), rounding)
        theta = _positive(ritz_values(a, c), task)
        return last(theta, c, exponent)[0] <= aim * (1.0 if name == "log" else alphas[0] ** 0.5)

    return near


def _residual(aim: float) -> Callable[[list[float], list[float]], bool]:
    """That of conjugate gradients, beta |e_m' T^-1 e_1|, from the pivots of T."""
    pivot, logarithm = math.inf, 0.0

    def near(alphas: list[float], betas: list[float]) -> bool:
        nonlocal pivot, logarithm
        before = betas[-2] if len(betas) > 1 else 0.0
        pivot = alphas[-1] - before * before / pivot
        if not pivot > 0.0:
            raise Breakdown(f"A is not positive definite: a pivot of Lanczos's matrix is {pivot:.2g}")
        if betas[-1] == 0.0:
            return True
        logarithm += math.log(betas[-1]) - math.log(pivot)
        return logarithm <= math.log(aim)

    return near


def _positive(theta: np.ndarray, task: Task) -> np.ndarray:
    """The Ritz values, of which none is below zero but by rounding; raises Breakdown."""
    least, size = float(theta[0]), float(np.abs(theta).max())
    if needs_definite(task.function) and least < -_NEGATIVE * size:
        raise Breakdown(f"A is not positive definite: it has a Ritz value of {least:.2g} beside one of {size:.2g}")
    return theta


def _combination(a: np.ndarray, c: np.ndarray, task: Task) -> np.ndarray:
    """f(T) e_1 : (m,). Raises Breakdown where f is not defined at an eigenvalue of T."""
    theta, S = decomposed(a, c)
    values = on_numbers(task.function, _positive(theta, task))
    if not np.isfinite(values).all():
        raise Breakdown("f is not finite at a Ritz value of A")
    return S @ (values * S[0])


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
