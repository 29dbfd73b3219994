"""Functions of a symmetric A: the residual of the equation that defines the answer, with a bound on what is not seen.

With Y the answer, and B what f(A) is applied to, or the identity, the metric is, in Frobenius norms,

    ||A^(1/p) Y - B|| / ||B||            inv (p = 1), inv_sqrt (p = 2), ("inv_root", p)
    ||Y - log(A) B|| / ||B||             log
    ||Y - f(A) B|| / ||f(A) B||          sqrt, exp, sign, callables

The norm of a matrix M = A^(1/p) Y - B or Y - f(A) B of more than six columns is bounded by M G, G standard normal with
six columns: ||M||^2 <= ||M G||^2 / q but with a probability, of which q is the quantile (`primitives.chi_squared`). M G
takes one of three ways, which together fail with a probability of at most 1 - confidence.

1. inv: the residual is one product with A.

2. From eigenpairs A = V diag(w) V' that an algorithm leaves. Let eta bound ||A - V diag(w) V'|| and omega ||V'V - I||,
   by test vectors again. With Q the nearest orthonormal matrix, ||V - Q|| <= omega, and A is Q diag(w) Q' but for
   eta' = eta + 2.1 omega max |w|. Functions of two symmetric matrices differ by

       ||f(A) - f(A')|| <= L ||A - A'||,    L the Lipschitz constant of f on an interval that holds both spectra,

   since X'(f(A) - f(A'))Z, X and Z the eigenvectors of A and A', has the entries (f(l_i) - f(m_j)) / (l_i - m_j)
   times those of X'(A - A')Z; powers 0 < s < 1 of semidefinite matrices besides by n^((1 - s) / 2) ||A - A'||^s, since
   they are no further apart than |A - A'|^s is large (Ando 1988). All eigenvalues of A are within eta' of the w (Weyl),
   so that L is known. That of a callable is taken from its values at the w and close to them.

3. By products alone: A^(1/p) y for y = Y g, or f(A) b for b = B g, from an own Lanczos run A V = V T + beta v e_m' + F,
   with T's f(T). It needs no interval, for its error is known. For 0 < s < 1

       x^s = (sin(pi s) / pi) int t^(s-1) x / (x + t) dt,    log x = int 1 / (1 + t) - 1 / (x + t) dt

   over t > 0, so that the error is an integral over those of x_t = V (T + t)^-1 e_1 ||y||, an approximation to
   (A + t)^-1 y with the residual r_t, ||r_t|| <= ||y|| (beta |e_m'(T + t)^-1 e_1| + ||F (T + t)^-1 e_1||):

       ||A^s y - V T^s e_1 ||y|| || <= (sin(pi s) / pi) int t^(s-1) ||r_t|| dt,

   because t / (x + t) <= 1 for x >= 0; of the logarithm int ||r_t|| / (x + t) dt, where A's eigenvalues are taken to be
   u ||A|| at least: closer to zero they are not known. beta |e_m'(T + t)^-1 e_1| = prod beta / prod (theta + t) falls
   with t, so that sums over a grid bound the integrals. Nothing is assumed of the orthogonality of V; F is the rounding
   of each step. A is taken to be positive (semi)definite, without which there is no f: a negative Ritz value fails the
   answer. The exponential: e' = A e + r gives ||e|| <= int_0^1 exp((1 - t) L) ||r_t|| dt with r_t that of exp(t T)
   (Saad 1992; Botchev, Grimm and Hochbruck 2013), L above the spectrum with a probability by Kuczynski and
   Wozniakowski's bound (`eigenpairs.resolution`), from a run of its own.

   An answer may come from the same Krylov space, that of b: it is the bound that certifies, not that two agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...primitives import chi_squared
from ...primitives.evidence import Evidence
from ...primitives.matrix_function._common import (
    MOST_STEPS,
    Products,
    columns,
    copy_bytes,
    krylov_steps,
    needs_definite,
    on_numbers,
    power,
    products,
    unit_of,
    vectors,
)
from ...primitives.sparse_linear_system._common import reading
from ...primitives.task import Task
from ...primitives.work import Calls, Work
from ...probes import ritz
from ..certificate import Certificate, says_enough
from .eigenpairs import resolution
from .linear_system import rounding_of_residual
from .products import UNIT

METRIC = "residual"
VECTORS = 6  # columns from which test vectors take their place, and their number
_ENDS = 60  # Lanczos steps that look for the end of the spectrum
_SHARE = 0.02  # of the target that the own run may leave
_LOOK, _GROWTH = 8, 1.15  # steps at which its bound is looked at
_GRID = 1.1  # quotient of neighbouring points t
_WALK = 4.0  # rounding errors of steps add up as a random walk does, with this constant
_EXHAUSTED = 16.0 * UNIT
_NEGATIVE = 1e-12
# The bound from eigenpairs is the cheap one; where it is above the target by no more than a factor, the other is tried.
_WITHIN_REACH = 1e3


class _Failed(ArithmeticError):
    """There is no bound; says why."""


@dataclass(frozen=True, slots=True)
class _Test:
    """What is held against what: y is the answer times test vectors, or itself, and b what f(A) is applied to, alike.

    `spread` times the norm of a difference in these columns bounds that of the whole; `size_b` and `size_y` are norms
    of the wholes, `largest` the spectral norm of the former or more.
    """

    product: Products
    A: Any
    task: Task
    y: np.ndarray
    b: np.ndarray
    exact: bool
    spread: float
    size_b: float
    size_y: float
    largest: float
    aim: float
    delta: float
    random: np.random.Generator


class _Seen(NamedTuple):
    """The difference that was computed (n, k), a bound on what more there is as a whole, how, and whether by chance."""

    difference: np.ndarray
    rest: float
    how: str
    certain: bool


def certify(
    A: Any, B: np.ndarray | None, value: np.ndarray, eigenpairs: tuple[np.ndarray, np.ndarray] | None, task: Task,
    target: float | None, default: float, *, seed: int, confidence: float,
) -> Certificate:  # fmt: skip
    """Certificate of a value, NumPy arrays, of the scaled problem.

    Parameters
    ----------
    A : array, csr_array or LinearOperator
    B : (n, r) float64 array or None
        What f(A) is applied to; None for the identity.
    value : (n, r) or (n, n) float64 array
    eigenpairs : (w, V) or None
        What an algorithm has left.
    default : float
        What stands for the target where there is none.
    """
    if not np.isfinite(value).all():
        return _failed("the answer is not finite", target)
    n, wide = task.n, task.n if B is None else B.shape[1]
    random = np.random.default_rng(np.random.Philox(key=seed))
    delta = (1.0 - confidence) / 3.0  # of the test vectors, of the eigenpairs, and of the end of the spectrum
    exact, spread = wide <= VECTORS, 1.0
    if exact:
        y, b = value, np.eye(n) if B is None else B
    else:
        G = random.standard_normal((wide, VECTORS))
        y, b = value @ G, G if B is None else B @ G
        spread = 1.0 / math.sqrt(chi_squared.quantile(VECTORS, delta))
    size_b = math.sqrt(n) if B is None else _frobenius(B)
    test = _Test(
        Products(A, task), A, task, y, b, exact, spread, size_b, _frobenius(value), 1.0 if B is None else size_b,
        _SHARE * (default if target is None else target), delta, random,
    )  # fmt: skip
    ways: list[Callable[[], _Seen]] = [lambda: _by_lanczos(test)]
    if task.function == "inv":
        ways = [lambda: _by_product(test)]
    elif eigenpairs is not None:
        ways.insert(0, lambda: _by_eigenpairs(test, *eigenpairs))
    best = _failed("nothing was tried", target)
    for way in ways:
        try:
            found = _judged(test, way(), target, confidence)
        except _Failed as error:
            found = _failed(str(error), target)
        best = found if found.bound < best.bound or math.isinf(best.bound) else best
        if best.satisfied or not (target is None or best.bound <= _WITHIN_REACH * target):
            break
    return best


def _judged(test: _Test, seen: _Seen, target: float | None, confidence: float) -> Certificate:
    """What was seen, relative to what the metric is relative to."""
    name, size = test.task.function, _frobenius(seen.difference)
    most = test.spread * size + seen.rest
    likely = min(most, size if test.exact else size / math.sqrt(VECTORS))
    relative_to_b = (power(name) or 1.0) < 0.0 or name == "log"
    scale = test.size_b if relative_to_b else test.size_y - most
    sure = 1.0 if test.exact and seen.certain else confidence
    how = seen.how if test.exact else f"{seen.how}, {VECTORS} test vectors"
    if most == 0.0 and scale == 0.0:
        return Certificate(METRIC, 0.0, 0.0, sure, how, target, True)
    if not (scale > 0.0 and math.isfinite(most)):
        raise _Failed(f"what differs is as large as the answer; {how}")
    bound = most / scale
    return Certificate(METRIC, bound, likely / scale, sure, how, target, says_enough(bound, target))


def _failed(why: str, target: float | None) -> Certificate:
    return Certificate(METRIC, math.inf, math.inf, 1.0, why, target, False)


def _frobenius(X: Any) -> float:
    flat = np.ravel(X)
    return math.sqrt(float(flat @ flat))


def _rounding(test: _Test) -> float:
    """Of a product with A, relative to ||A|| times the vector's norm."""
    terms = int(np.diff(test.product.A.indptr).max(initial=0)) if test.task.access == "sparse" else test.task.n
    return rounding_of_residual(terms) * unit_of(test.A, test.task) / UNIT


def _by_product(test: _Test) -> _Seen:
    """A y - b."""
    if test.task.access == "operator":  # about; an operator shows no more
        values = ritz.run(test.product, np.ones(test.task.n), 8, keep=False).values
        norm = 1.2 * float(np.abs(values).max(initial=0.0))
    else:
        norm = float(abs(test.product.A).sum(axis=0).max())
    rounding = 2.0 * _rounding(test) * (norm * test.size_y + test.size_b)
    return _Seen(test.product(test.y) - test.b, rounding, "one product with A in float64", True)


# -- from eigenpairs ---------------------------------------------------------------------------------------------------


def _by_eigenpairs(test: _Test, w: np.ndarray, V: np.ndarray) -> _Seen:
    """By the function of the eigenvalues that an algorithm has left."""
    task, n = test.task, test.task.n
    if not (np.isfinite(w).all() and np.isfinite(V).all()):
        raise _Failed("the eigenpairs are not finite")
    size = float(np.abs(w).max(initial=0.0))
    G = test.random.standard_normal((n, VECTORS))
    VG = V.T @ G
    spread = 1.0 / math.sqrt(chi_squared.quantile(VECTORS, 0.5 * test.delta))
    walk = 3.0 * rounding_of_residual(n) * math.sqrt(n)
    away = spread * _frobenius(test.product(G) - V @ (w[:, None] * VG)) + walk * size
    skew = spread * _frobenius(V.T @ (V @ G) - G) + walk
    if not skew < 0.1:
        raise _Failed(f"the eigenvectors are not orthonormal: V'V differs from I by {skew:.1e}")
    apart = away + 2.1 * skew * size
    exponent = power(task.function)
    how = f"from eigenpairs, shown to be those of a matrix within {apart / size if size else 0.0:.1e} ||A||"
    if exponent is not None and exponent < 0.0:
        root = np.maximum(w, 0.0) ** -exponent
        changed = _of_powers(-exponent, float(w[0]), apart, n) + 2.1 * skew * float(root.max(initial=0.0))
        rest = (changed + walk * float(root.max(initial=0.0))) * test.size_y
        return _Seen(V @ (root[:, None] * (V.T @ test.y)) - test.b, rest, how, False)
    values = on_numbers(task.function, w, task.call)
    if not np.isfinite(values).all():
        raise _Failed("f is not finite at an eigenvalue")
    largest = float(np.abs(values).max(initial=0.0))
    changed = _changed(task, w, apart, values) + (2.1 * skew + walk) * largest
    if task.function == "callable":
        how += ", f taken to be as smooth as near the eigenvalues"
    return _Seen(V @ (values[:, None] * (V.T @ test.b)) - test.y, changed * test.largest, how, False)


def _of_powers(s: float, least: float, apart: float, n: int) -> float:
    """||A^s - A'^s|| for 0 < s < 1, A' with eigenvalues of at least `least`, A positive semidefinite, both within."""
    below = max(0.0, -least) * math.sqrt(n)  # those that are negative are taken to be zero
    total = apart + below
    held = n ** (0.5 * (1.0 - s)) * total**s
    low = least - apart
    return min(held, s * low ** (s - 1.0) * apart) if low > 0.0 else held


def _changed(task: Task, w: np.ndarray, apart: float, values: np.ndarray) -> float:
    """||f(A) - f(A')||, A' with the eigenvalues w, ||A - A'|| <= apart."""
    name, low, high = task.function, float(w[0]) - apart, float(w[-1]) + apart
    if name == "sqrt":
        return _of_powers(0.5, float(w[0]), apart, task.n)
    if name == "exp":
        return math.exp(min(high, 700.0)) * apart
    if name == "log":
        return apart / low if low > 0.0 else math.inf
    if name == "sign":
        gap = float(np.abs(w).min()) - apart
        return apart / gap if gap > 0.0 else math.inf
    step = max(apart, 1e-8 * float(np.abs(w).max(initial=0.0)))
    beside = [on_numbers(name, w + move, task.call) for move in (-step, step)]
    slopes = [np.abs(other - values) / step for other in beside] if step else [np.zeros(1)]
    far = np.diff(w) > step
    slopes.append(np.abs(np.diff(values))[far] / np.diff(w)[far])
    return apart * max(float(s.max(initial=0.0)) for s in slopes)


# -- by products alone -------------------------------------------------------------------------------------------------


def _by_lanczos(test: _Test) -> _Seen:
    """By Lanczos runs from the answer, or from what f(A) is applied to."""
    task = test.task
    if task.function in ("sign", "callable"):
        raise _Failed("it can be certified from eigenpairs alone, and there are none")
    exponent = power(task.function)
    inverse = exponent is not None and exponent < 0.0
    start, other = (test.y, test.b) if inverse else (test.b, test.y)
    certain, top = True, math.inf
    if task.function == "exp":
        certain, top = False, _top(test)
    unit = _rounding(test) + 8.0 * UNIT
    # what has to be small beside: B of inverse roots and logarithms, the answer of others
    scales = np.linalg.norm(test.b if inverse or task.function == "log" else test.y, axis=0)
    runs = _Runs(test.product, start)
    bound = _bound_of(task.function, top, unit)

    def close(a: np.ndarray, c: np.ndarray, size: float, j: int) -> bool:
        left, rounding = bound(a, c, size)
        return left <= max(test.aim * float(scales[j]), 0.1 * rounding)

    runs.until(close)
    coefficients, rest = [], np.zeros(start.shape[1])
    for j, size in enumerate(runs.sizes):
        if size == 0.0:
            coefficients.append(np.zeros(1))
            continue
        a, c = runs.tridiagonal(j)
        theta, S = _decomposed(a, c)
        if needs_definite(task.function):
            _positive(theta)
        name = f"inv_root {round(-1.0 / exponent)}" if inverse and exponent is not None else task.function
        values = np.maximum(theta, 0.0) ** -exponent if inverse and exponent is not None else on_numbers(name, theta)
        coefficients.append(size * (S @ (values * S[0])))
        inner = 8.0 * UNIT * math.sqrt(len(theta)) * float(np.linalg.norm(coefficients[-1]))
        rest[j] = sum(bound(a, c, size)) + inner
    found = runs.combined(coefficients)
    how = f"an own Lanczos run of {runs.steps} steps in float64, its error bounded"
    return _Seen(found - other, test.spread * _frobenius(rest), how, certain)


def _positive(theta: np.ndarray) -> None:
    if float(theta[0]) < -_NEGATIVE * float(np.abs(theta).max()):
        raise _Failed(f"A is not positive definite: it has a Ritz value of {float(theta[0]):.2g}")


def _decomposed(a: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import eigh_tridiagonal

    decompose: Any = eigh_tridiagonal  # its type does not say what it returns
    return decompose(a, c[:-1])


class _Runs:
    """Lanczos runs from several starts in step, without their bases: products are of blocks.

    Attributes
    ----------
    sizes : list of float
        Norms of the starts.
    steps : int
    """

    def __init__(self, product: Products, start: np.ndarray) -> None:
        self._product = product
        self.sizes = np.linalg.norm(start, axis=0).tolist()
        scale = np.array([size if size > 0.0 else 1.0 for size in self.sizes])
        self._first = start / scale
        self.steps = 0
        self._alphas: list[np.ndarray] = []
        self._betas: list[np.ndarray] = []

    def _run(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(Q, alphas, betas) of each step; the same numbers each time."""
        Q, before = self._first, np.zeros_like(self._first)
        beta = np.zeros(Q.shape[1])
        size = np.zeros(Q.shape[1])
        while True:
            W = self._product(Q) - beta * before
            alpha = np.einsum("ij,ij->j", Q, W)
            W -= alpha * Q
            beta = np.sqrt(np.einsum("ij,ij->j", W, W))
            if not (np.isfinite(alpha).all() and np.isfinite(beta).all()):
                raise _Failed("a product with A is not finite")
            size = np.maximum(size, np.maximum(np.abs(alpha), beta))
            beta = np.where(beta <= _EXHAUSTED * size, 0.0, beta)  # the space of this start is exhausted
            yield Q, alpha, beta
            before, Q = Q, W * np.divide(1.0, beta, out=np.zeros_like(beta), where=beta > 0.0)

    def until(self, done: Callable[[np.ndarray, np.ndarray, float, int], bool]) -> None:
        """Steps until done(alphas, betas, size, column) for all columns.

        Raises _Failed where that takes too many.
        """
        look, most = _LOOK, min(MOST_STEPS, 8 * self._first.shape[0] + 20)
        open_ = [j for j, size in enumerate(self.sizes) if size > 0.0]
        for _, alpha, beta in self._run():
            self._alphas.append(alpha)
            self._betas.append(beta)
            self.steps += 1
            if self.steps < look and (beta > 0.0).any():
                continue
            look = max(self.steps + 2, math.ceil(_GROWTH * self.steps))
            open_ = [j for j in open_ if not done(*self.tridiagonal(j), self.sizes[j], j)]
            if not open_:
                return
            if self.steps >= most:
                raise _Failed(f"{self.steps} Lanczos steps did not come close enough to A's function")

    def tridiagonal(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Diagonal (m,), and off the diagonal with what comes after it (m,), of column j; up to where it ended."""
        a, c = np.array([x[j] for x in self._alphas]), np.array([x[j] for x in self._betas])
        ended = np.flatnonzero(c == 0.0)
        m = int(ended[0]) + 1 if len(ended) else len(a)
        return a[:m], c[:m]

    def combined(self, coefficients: list[np.ndarray]) -> np.ndarray:
        """Sums (n, k) of the vectors of each run, made once more."""
        total = np.zeros_like(self._first)
        for i, (Q, _, _) in enumerate(self._run()):
            total += Q * np.array([c[i] if i < len(c) else 0.0 for c in coefficients])
            if i + 1 >= max(map(len, coefficients)):
                return total
        raise AssertionError("it does not end by itself")


def _bound_of(name: str, top: float, unit: float) -> Callable[[np.ndarray, np.ndarray, float], tuple[float, float]]:
    """(alphas, betas, ||start||) -> bounds on the error of the run: of what it left, and of rounding."""
    exponent = power(name)
    if name == "exp":
        return lambda a, c, size: _exponential(a, c, size, top, unit)
    if name == "log":
        return lambda a, c, size: _stieltjes(a, c, size, unit, None)
    assert exponent is not None
    return lambda a, c, size: _stieltjes(a, c, size, unit, abs(exponent))


def _stieltjes(a: np.ndarray, c: np.ndarray, size: float, unit: float, s: float | None) -> tuple[float, float]:
    """x^s, or log x for s None."""
    from scipy.linalg import eigvalsh_tridiagonal

    theta: Any = eigvalsh_tridiagonal(a, c[:-1])
    _positive(theta)
    norm = float(np.abs(theta).max()) + float(c[-1])
    floor = UNIT * norm
    theta = np.maximum(theta, floor)
    count = math.ceil(math.log(1e9 * norm / float(theta[0])) / math.log(_GRID))
    t = float(theta[0]) * 1e-4 * _GRID ** np.arange(count + 1)
    at = np.concatenate([[0.0], t])
    with np.errstate(divide="ignore"):
        logs = np.log(c).sum() - np.log(theta[:, None] + at).sum(axis=0)
    left, first = (
        np.exp(np.minimum(logs, 700.0)),
        1.0 / (float(theta[0]) + at),
    )  # |e_m'(T + t)^-1 e_1| beta; ||(..) e_1||
    if s is None:
        weights = np.append(np.diff(np.log(floor + at)), at[-1] / (floor + at[-1]))
        factor = 1.0
    else:
        weights = np.append(np.diff(at**s) / s, at[-1] ** s / (1.0 - s))
        factor = math.sin(math.pi * s) / math.pi
    both = (factor * size * 1.01 * float((v * weights).sum()) for v in (left, _WALK * unit * norm * first))
    return tuple(both)  # type: ignore[return-value]


def _exponential(a: np.ndarray, c: np.ndarray, size: float, top: float, unit: float) -> tuple[float, float]:
    theta, S = _decomposed(a, c)
    norm = float(np.abs(theta).max()) + float(c[-1])
    t = np.linspace(0.0, 1.0, 201)
    shifted = np.exp(np.minimum(np.outer(t, theta) + (1.0 - t)[:, None] * top, 700.0))
    last, first = np.abs(shifted @ (S[-1] * S[0])), np.sqrt((shifted**2) @ (S[0] ** 2))
    step = t[1]
    pieces = (float(np.maximum(v[1:], v[:-1]).sum()) * step * size for v in (float(c[-1]) * last, first))
    return next(pieces), _WALK * unit * norm * next(pieces)


def _top(test: _Test) -> float:
    """Above all eigenvalues of A, but with probability delta."""
    found = ritz.run(test.product, test.random.standard_normal(test.task.n), _ENDS, keep=False)
    values = np.linalg.eigvalsh(found.T)
    low, high = float(values[0]), float(values[-1])
    eps = 0.0 if found.last == 0.0 else resolution(test.task.n, found.steps, test.delta)
    if eps >= 0.25:
        raise _Failed(f"{found.steps} Lanczos steps say too little of where the spectrum ends")
    return high + eps * (high - low) / (1.0 - 2.0 * eps) + 1e-12 * max(abs(low), abs(high))


# -- what it costs -----------------------------------------------------------------------------------------------------


def work(task: Task, evidence: Evidence, *, eigenpairs: bool) -> Work:
    """Test vectors, and one of the three ways."""
    n, r = task.n, columns(task)
    width = min(r, VECTORS)
    held = 8.0 * n * (8.0 * width + (columns(task) if task.dtype != "float64" else 0.0)) + copy_bytes(task)
    k = Calls("scipy", "float64")
    calls = [] if r <= VECTORS else [k("gemm", n, width, r), reading(8.0 * n * r, 2.0)]
    if task.function == "inv":
        return Work((*calls, *products(task, evidence, width, 1.0), vectors(n * width, 6.0)), held)
    if eigenpairs:
        calls += [*products(task, evidence, VECTORS, 1.0), k("gemm", n, VECTORS, n, count=6.0)]
        calls.append(reading(8.0 * n * n, 3.0))  # finite
        return Work(tuple(calls), held + (16.0 * n * n if task.dtype != "float64" else 0.0))
    steps = krylov_steps(task, evidence, max(0.1 * task.target, 1e-15))
    m = steps.median
    calls += [
        *products(task, evidence, width, 2.0 * m),
        vectors(n * width, 16.0 * m),
        vectors(max(1, int(m)), 100.0 * m * width),
    ]
    if task.function == "exp":
        calls += [*products(task, evidence, 1, float(_ENDS)), vectors(n, 10.0 * _ENDS)]
    return Work(tuple(calls), held + 16.0 * m * m, max(1.0, steps.high / max(1.0, m)))


__all__ = ["METRIC", "VECTORS", "certify", "work"]
