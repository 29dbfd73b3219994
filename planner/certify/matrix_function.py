"""Functions of a symmetric A: the residual of the equation that defines the answer, with a bound on what is not seen.

With Y the answer, and B what f(A) is applied to, or the identity, the metric is, in Frobenius norms,

    ||A^(1/p) Y - B|| / ||B||            inv (p = 1), inv_sqrt (p = 2), ("inv_root", p)
    ||Y - log(A) B|| / ||B||             log
    ||Y - f(A) B|| / ||f(A) B||          sqrt, exp, sign, callables

The norm of a matrix M = A^(1/p) Y - B or Y - f(A) B of more than six columns (two, where each takes a Lanczos run) is
bounded by M G, G standard normal with as many columns: ||M||^2 <= ||M G||^2 / q but with a probability, of which q is
the quantile (`primitives.chi_squared`). M G takes one of four ways, which together fail with a probability of at most
1 - confidence.

1. inv: the residual is one product with A.

2. From eigenpairs A = V diag(w) V' that an algorithm leaves. Let eta bound ||A - V diag(w) V'|| and omega ||V'V - I||,
   by test vectors again. With Q the nearest orthonormal matrix, ||V - Q|| <= omega, and A is Q diag(w) Q' but for
   eta' = eta + 2.1 omega max |w|. Functions of two symmetric matrices differ by

       ||f(A) - f(A')|| <= L ||A - A'||,    L the Lipschitz constant of f on an interval that holds both spectra,

   since X'(f(A) - f(A'))Z, X and Z the eigenvectors of A and A', has the entries (f(l_i) - f(m_j)) / (l_i - m_j)
   times those of X'(A - A')Z; powers 0 < s < 1 of semidefinite matrices besides by n^((1 - s) / 2) ||A - A'||^s, since
   they are no further apart than |A - A'|^s is large (Ando 1988). All eigenvalues of A are within eta' of the w (Weyl),
   so that L is known. That of a callable is taken from its values at the w and close to them.

3. From a basis V of a Krylov space that an algorithm leaves of one b, with its T, beta and v. It is taken at its word
   in nothing: F = A V - V T - beta v e_m' is bounded by three test vectors, V e_1 ||b|| is held against b, and what is
   left then bounds how far V f(T) e_1 ||b|| is from f(A) b, or A^(1/p) times it from b (`primitives.matrix_function.
   _bounds`, with its proof). The answer differs from that by some d, of which A^(1/p) makes no more than
   ||A d||^(1/p) ||d||^(1 - 1/p) (the moment inequality).

4. By products alone: A^(1/p) y for y = Y g, or f(A) b for b = B g, from an own Lanczos run by the same bounds, F being
   the rounding of each step. It needs no interval, for its error is known.

A is taken to be positive (semi)definite where there is no f without: a negative Ritz value fails the answer. One that
is negative by rounding is moved up to zero by a shift d of A, which changes A^s by no more than d^s. Of the logarithm
A's eigenvalues are taken to be u ||A|| at least: closer to zero they are not known.

The exponential needs to know where the spectrum ends: no further than the largest sum over a row (Gershgorin), or, with
a probability by Kuczynski and Wozniakowski's bound (`eigenpairs.resolution`), than a Lanczos run from a random start
shows.

An answer may come from the same Krylov space: it is the bound that certifies, not that two agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ...primitives import chi_squared
from ...primitives.evidence import Evidence
from ...primitives.matrix_function._bounds import (
    conjugate_gradients,
    decomposed,
    exponential,
    floor_of,
    last,
    over,
    ritz_values,
)
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
from ...primitives.matrix_function.eigendecomposition import EIGENPAIRS
from ...primitives.matrix_function.lanczos import KRYLOV, REDUCTIONS, Krylov
from ...primitives.norms import norm
from ...primitives.sparse_linear_system._common import reading
from ...primitives.task import Task
from ...primitives.work import Calls, Work
from ...probes import ritz
from ..certificate import Certificate, says_enough
from .eigenpairs import resolution
from .linear_system import rounding_of_residual
from .products import UNIT

METRIC = "residual"
VECTORS = 6  # columns from which test vectors take their place, and their number: where they cost little,
FEW = 2  # and where each takes a Lanczos run: it costs less to be twice as close
_ENDS = 60  # Lanczos steps that look for the end of the spectrum, at most
_WIDE = 1e6  # a spectrum, of which nothing is known
_OF_A_BASIS = 3  # test vectors
_SHARE = 0.1  # of the target that the own run may leave
_LOOK, _GROWTH = 8, 1.15  # steps at which its bound is looked at
_WALK = 4.0  # rounding errors of steps add up as a random walk does, with this constant
_EXHAUSTED = 16.0 * UNIT
_NEGATIVE = 1e-12
_SAME = 1e-6  # of a length, that may change where it is computed again
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
    target: float
    delta: float
    random: np.random.Generator


class _Seen(NamedTuple):
    """The norm of the difference that was computed in the columns, a bound on what more there is as a whole, and how.

    `certain` says that no chance was in it, `known` how much of the rest is no rounding.
    """

    size: float
    rest: float
    how: str
    certain: bool
    known: float = 0.0


def certify(
    A: Any, B: np.ndarray | None, value: np.ndarray, task: Task, target: float | None, default: float, *,
    seed: int, confidence: float, eigenpairs: tuple[np.ndarray, np.ndarray] | None = None, krylov: Krylov | None = None,
) -> Certificate:  # fmt: skip
    """Certificate of a value, NumPy arrays, of the scaled problem.

    Parameters
    ----------
    A : array, csr_array or LinearOperator
    B : (n, r) float64 array or None
        What f(A) is applied to; None for the identity.
    value : (n, r) or (n, n) float64 array
    default : float
        What stands for the target where there is none.
    eigenpairs : (w, V) or None
    krylov : Krylov or None
        What an algorithm has left.
    """
    if not np.isfinite(value).all():
        return _failed("the answer is not finite", target)
    n, wide = task.n, task.n if B is None else B.shape[1]
    random = np.random.default_rng(np.random.Philox(key=seed))
    delta = (1.0 - confidence) / 3.0  # of the test vectors, of the eigenpairs, and of the end of the spectrum
    few = test_vectors(task, "" if eigenpairs is None else EIGENPAIRS)
    exact, spread = wide <= few, 1.0
    if exact:
        y, b = value, np.eye(n) if B is None else B
    else:
        G = random.standard_normal((wide, few))
        y, b = value @ G, G if B is None else B @ G
        spread = 1.0 / math.sqrt(chi_squared.quantile(few, delta))
    size_b = math.sqrt(n) if B is None else _frobenius(B)
    test = _Test(
        Products(A, task), A, task, y, b, exact, spread, size_b, _frobenius(value), 1.0 if B is None else size_b,
        default if target is None else target, delta, random,
    )  # fmt: skip
    ways: list[Callable[[], _Seen]] = [lambda: _by_lanczos(test)]
    if task.function == "inv":
        ways = [lambda: _by_product(test)]
    elif eigenpairs is not None:
        ways.insert(0, lambda: _by_eigenpairs(test, *eigenpairs))
    elif krylov is not None and wide == 1:
        ways.insert(0, lambda: _by_basis(test, krylov))
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
    name, size = test.task.function, seen.size
    most = test.spread * size + seen.rest
    likely = min(most, seen.known + (size if test.exact else size / math.sqrt(test.y.shape[1])))
    relative_to_b = (power(name) or 1.0) < 0.0 or name == "log"
    scale = test.size_b if relative_to_b else test.size_y - most
    sure = 1.0 if test.exact and seen.certain else confidence
    how = seen.how if test.exact else f"{seen.how}, {test.y.shape[1]} test vectors"
    if most == 0.0 and scale == 0.0:
        return Certificate(METRIC, 0.0, 0.0, sure, how, target, True)
    if not (0.0 < scale < math.inf and math.isfinite(most)):
        raise _Failed(f"what differs is as large as the answer; {how}")
    bound = most / scale
    return Certificate(METRIC, bound, likely / scale, sure, how, target, says_enough(bound, target))


def _failed(why: str, target: float | None) -> Certificate:
    return Certificate(METRIC, math.inf, math.inf, 1.0, why, target, False)


def _frobenius(X: Any) -> float:
    flat = np.ravel(X)
    size = math.sqrt(float(flat @ flat))
    return size if 1e-140 < size < 1e150 else norm(flat)  # of exponentials


def _rounding(test: _Test) -> float:
    """Of a product with A, relative to ||A|| times the vector's norm."""
    terms = int(np.diff(test.product.A.indptr).max(initial=0)) if test.task.access == "sparse" else test.task.n
    return rounding_of_residual(terms) * unit_of(test.A, test.task) / UNIT


def _norm(test: _Test) -> float:
    """||A||: the largest sum over a column, no less; of an operator about."""
    if test.task.access == "operator":
        values = ritz.run(test.product, np.ones(test.task.n), 8, keep=False).values
        return 1.2 * float(np.abs(values).max(initial=0.0))
    return float(abs(test.product.A).sum(axis=0).max())


def _by_product(test: _Test) -> _Seen:
    """A y - b."""
    chance = 1.0 if test.exact else test.spread * math.sqrt(VECTORS)
    in_y = 0.0 if test.exact else rounding_of_residual(test.task.n)  # of the answer times test vectors
    rounding = 2.0 * chance * ((_rounding(test) + in_y) * _norm(test) * test.size_y + _rounding(test) * test.size_b)
    difference = test.product(test.y) - test.b
    return _Seen(_frobenius(difference), rounding, "one product with A in float64", True)


# -- from eigenpairs ---------------------------------------------------------------------------------------------------


def _by_eigenpairs(test: _Test, w: np.ndarray, V: np.ndarray) -> _Seen:
    """By the function of the eigenvalues that an algorithm has left."""
    task, n = test.task, test.task.n
    if not (np.isfinite(w).all() and np.isfinite(V).all()):
        raise _Failed("the eigenpairs are not finite")
    size = float(np.abs(w).max(initial=0.0))
    G = test.random.standard_normal((n, VECTORS))
    exponent = power(task.function)
    inverse = exponent is not None and exponent < 0.0
    values = np.maximum(w, 0.0) ** -exponent if inverse and exponent else on_numbers(task.function, w, task.call)
    if not np.isfinite(values).all():
        raise _Failed("f is not finite at an eigenvalue")
    # V'G and V'y, V diag(w) V'G, V V'G and V f(w) V'y: arrays of the size of V are read as seldom as can be
    inner = V.T @ np.hstack([G, test.y if inverse else test.b])
    VG, Vy = inner[:, :VECTORS], inner[:, VECTORS:]
    outer = V @ np.hstack([w[:, None] * VG, VG, values[:, None] * Vy])
    spread = 1.0 / math.sqrt(chi_squared.quantile(VECTORS, 0.5 * test.delta))
    walk = 3.0 * rounding_of_residual(n) * math.sqrt(n)
    away = spread * _frobenius(test.product(G) - outer[:, :VECTORS]) + walk * size
    skew = spread * _frobenius(outer[:, VECTORS : 2 * VECTORS] - G) + walk
    if not skew < 0.1:
        raise _Failed(f"the eigenvectors are not orthonormal: V'V differs from I by {skew:.1e}")
    apart = away + 2.1 * skew * size
    how = f"from eigenpairs, shown to be those of a matrix within {apart / size if size else 0.0:.1e} ||A||"
    largest = float(np.abs(values).max(initial=0.0))
    off = _frobenius(outer[:, 2 * VECTORS :] - (test.b if inverse else test.y))
    if inverse:
        changed = _of_powers(-exponent, float(w[0]), apart, n) if exponent else 0.0
        return _Seen(off, (changed + (2.1 * skew + walk) * largest) * test.size_y, how, False)
    changed = _changed(task, w, apart, values) + (2.1 * skew + walk) * largest
    if task.function == "callable":
        how += ", f taken to be as smooth as near the eigenvalues"
    return _Seen(off, changed * test.largest, how, False)


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
        return math.exp(high) * apart if high < 709.0 else math.inf
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


# -- from the basis of a Krylov space ---------------------------------------------------------------------------------


def _by_basis(test: _Test, krylov: Krylov) -> _Seen:
    """By the function of T, and the error of that."""
    task, (basis, a, c, after), m = test.task, krylov, len(krylov.alphas)
    name, exponent, b, size = task.function, power(task.function), test.b[:, 0], test.size_b
    if not (np.isfinite(a).all() and np.isfinite(c).all() and math.isfinite(_frobenius(after))):
        raise _Failed("the basis is not finite")
    if _frobenius(size * basis[0][0] - b) > 8.0 * UNIT * size:
        raise _Failed("the basis does not begin with what f(A) is applied to")
    theta, S = decomposed(a, c)
    shift = _shift(theta, c, task)
    inverse = exponent is not None and exponent < 0.0
    if shift and inverse:
        raise _Failed("A is singular to working precision")
    G = test.random.standard_normal((m, _OF_A_BASIS))
    TG = a[:, None] * G
    TG[:-1] += c[:-1, None] * G[1:]
    TG[1:] += c[:-1, None] * G[:-1]
    values = on_numbers(name, theta + shift)
    weights = S @ (values * S[0])
    combined = over(basis, np.column_stack([G, TG, weights]))
    AG = test.product(np.ascontiguousarray(combined[:, :_OF_A_BASIS]))
    away = AG - combined[:, _OF_A_BASIS:-1] - c[-1] * np.outer(after, G[-1])
    size_A = float(np.abs(theta).max()) + float(c[-1])
    walk = math.sqrt(m) * 8.0 * UNIT * size_A  # of T's eigenvectors
    spread = 1.0 / math.sqrt(chi_squared.quantile(_OF_A_BASIS, test.delta))
    rounding = (_rounding(test) + 2.0 * rounding_of_residual(m)) * size_A * _frobenius(combined[:, :_OF_A_BASIS])
    F = spread * (_frobenius(away) + rounding) + walk
    if not math.isfinite(F):
        raise _Failed("a product with A is not finite")
    c = np.append(c[:-1], c[-1] * _frobenius(after))
    inner = 8.0 * UNIT * m * float(np.linalg.norm(weights))  # in the sum, of vectors that may be alike
    d = test.y[:, 0] - size * combined[:, -1]
    near = F / size_A if size_A else 0.0
    how = f"from a Krylov space of {m} dimensions, shown to be that of a matrix within {near:.1e} ||A||"
    if name == "exp":

        def seen(top: float) -> _Seen:
            left, more, first = exponential(theta, S, c, top)
            rest = size * (left + more + F * first + inner + 8.0 * UNIT * first)
            return _Seen(_frobenius(d), rest, how, False, size * left)

        return _with_top(test, seen, theta)
    theta = theta + shift
    s = None if exponent is None else abs(exponent)
    left, at, grid = last(theta, c, s)
    first = _shrinking(theta, S[0] * (values if inverse else 1.0), at, grid)
    grown = _frobenius(d)
    if s is None:
        largest = max(abs(math.log(floor_of(theta, c))), abs(math.log(size_A)))
    else:
        largest = size_A**s
        if inverse:
            left = conjugate_gradients(theta, c)
            inner *= largest
            Ad = _frobenius(test.product(d)) + _rounding(test) * size_A * grown
            grown, largest = Ad**s * grown ** (1.0 - s), 1.0
        inner += shift**s
    return _Seen(grown, size * (left + F * first + inner + 8.0 * UNIT * largest), how, False, size * left)


def _shrinking(theta: np.ndarray, c: np.ndarray, at: np.ndarray, grid: np.ndarray) -> float:
    """The integral over ||(T + t)^-1 c||, c given by its coordinates in eigenvectors of T."""
    return float(np.sqrt((c * c) @ (1.0 / (theta[:, None] + at) ** 2)) @ grid)


def _shift(theta: np.ndarray, c: np.ndarray, task: Task) -> float:
    """What T has to be moved up by for its eigenvalues to be no less than rounding. Raises _Failed beyond that."""
    short = floor_of(theta, c) - float(theta[0])
    if not needs_definite(task.function) or (short <= 0.0 and float(theta[0]) > 0.0):
        return 0.0
    if short > _NEGATIVE * float(np.abs(theta).max()):
        raise _Failed(f"A is not positive definite: it has a Ritz value of {float(theta[0]):.2g}")
    if task.function == "log":
        raise _Failed("A is singular to working precision")
    return short


def _with_top(test: _Test, seen: Callable[[float], _Seen], theta: np.ndarray) -> _Seen:
    """What is seen of the exponential with a top of the spectrum: one that costs nothing, where it is near enough."""
    if test.task.access != "operator":
        found = seen(_gershgorin(test.product.A))
        if found.size + found.rest <= test.target * (test.size_y - found.size - found.rest):
            return found
    return seen(_top(test, float(theta[-1] - theta[0])))


# -- by products alone -------------------------------------------------------------------------------------------------


def _by_lanczos(test: _Test) -> _Seen:
    """By Lanczos runs from the answer, or from what f(A) is applied to."""
    task = test.task
    if task.function in ("sign", "callable"):
        raise _Failed("it can be certified from eigenpairs alone, and there are none")
    exponent = power(task.function)
    inverse = exponent is not None and exponent < 0.0
    s = None if exponent is None else abs(exponent)
    start, other = (test.y, test.b) if inverse else (test.b, test.y)
    top = _top(test, _WIDE) if task.function == "exp" else 0.0
    unit = _rounding(test) + 8.0 * UNIT
    # what has to be small beside: B of inverse roots and logarithms, the answer of others
    scales = np.linalg.norm(test.b if inverse or task.function == "log" else test.y, axis=0)
    runs = _Runs(test.product, start)

    def close(a: np.ndarray, c: np.ndarray, size: float, j: int) -> bool:
        if task.function == "exp":
            left, rounding, _ = exponential(*decomposed(a, c), c, top)
        else:
            theta = ritz_values(a, c)
            left, rounding = last(theta + _shift(theta, c, task), c, s)[0], 0.0
        return size * left <= max(_SHARE / test.spread * test.target * float(scales[j]), size * rounding)

    runs.until(close)
    coefficients, rest = [], np.zeros(start.shape[1])
    for j, size in enumerate(runs.sizes):
        if size == 0.0:
            coefficients.append(np.zeros(1))
            continue
        a, c = runs.tridiagonal(j)
        theta, S = decomposed(a, c)
        shift = _shift(theta, c, task)
        values = (theta + shift) ** s if s is not None else on_numbers(task.function, theta)
        coefficients.append(size * (S @ (values * S[0])))
        inner = 8.0 * UNIT * math.sqrt(len(theta)) * float(np.linalg.norm(coefficients[-1])) / size
        if task.function == "exp":
            left, more, first = exponential(theta, S, c, top)
            inner += more
        else:
            left, at, grid = last(theta + shift, c, s)
            first = _shrinking(theta + shift, S[0], at, grid)
            inner += shift**s if s is not None else 0.0
        size_A = float(np.abs(theta).max()) + float(c[-1])
        rest[j] = size * (left + _WALK * unit * size_A * first + inner)
    found = runs.combined(coefficients)
    how = f"an own Lanczos run of {runs.steps} steps in float64, its error bounded"
    return _Seen(_frobenius(found - other), test.spread * _frobenius(rest), how, task.function != "exp")


class _Runs:
    """Lanczos runs from several starts in step, without their bases. Vectors are rows.

    Attributes
    ----------
    sizes : list of float
        Norms of the starts.
    steps : int
    """

    def __init__(self, product: Products, start: np.ndarray) -> None:
        self._product = product
        self._at_once = isinstance(product.A, np.ndarray)
        self.sizes = np.linalg.norm(start, axis=0).tolist()
        scale = np.array([size if size > 0.0 else 1.0 for size in self.sizes])
        self._first = np.ascontiguousarray((start / scale).T)
        self.steps = 0
        self._alphas: list[np.ndarray] = []
        self._betas: list[np.ndarray] = []

    def _run(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(Q, W) of each step; alphas and betas that are known are taken, others found."""
        Q, before = self._first, np.zeros_like(self._first)
        beta, size = np.zeros((len(Q), 1)), np.zeros((len(Q), 1))
        for j in count():
            W = self._product(Q.T).T if self._at_once else np.stack([self._product(q) for q in Q])
            W -= beta * before
            if j == len(self._alphas):
                alpha = np.einsum("ij,ij->i", Q, W)[:, None]
                W -= alpha * Q
                beta = np.sqrt(np.einsum("ij,ij->i", W, W))[:, None]
                if not (np.isfinite(alpha).all() and np.isfinite(beta).all()):
                    raise _Failed("a product with A is not finite")
                size = np.maximum(size, np.maximum(np.abs(alpha), beta))
                beta = np.where(beta <= _EXHAUSTED * size, 0.0, beta)  # the space of this start is exhausted
                self._alphas.append(alpha)
                self._betas.append(beta)
            else:
                W -= self._alphas[j] * Q
                beta = self._betas[j]
            yield Q, W
            before, Q = Q, W * np.divide(1.0, beta, out=np.zeros_like(beta), where=beta > 0.0)

    def until(self, done: Callable[[np.ndarray, np.ndarray, float, int], bool]) -> None:
        """Steps until done(alphas, betas, size, column) for all columns.

        Raises _Failed where that takes too many.
        """
        look, most = _LOOK, min(MOST_STEPS, 8 * self._first.shape[1] + 20)
        open_ = [j for j, size in enumerate(self.sizes) if size > 0.0]
        for _ in self._run():
            self.steps += 1
            if self.steps < look and (self._betas[-1] > 0.0).any():
                continue
            look = max(self.steps + 2, math.ceil(_GROWTH * self.steps))
            open_ = [j for j in open_ if not done(*self.tridiagonal(j), self.sizes[j], j)]
            if not open_:
                return
            if self.steps >= most:
                raise _Failed(f"{self.steps} Lanczos steps did not come close enough to A's function")

    def tridiagonal(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Diagonal (m,), and off the diagonal with what comes after it (m,), of column j; up to where it ended."""
        a, c = (np.array([x[j, 0] for x in numbers]) for numbers in (self._alphas, self._betas))
        ended = np.flatnonzero(c == 0.0)
        m = int(ended[0]) + 1 if len(ended) else len(a)
        return a[:m], c[:m]

    def combined(self, coefficients: list[np.ndarray]) -> np.ndarray:
        """Sums (n, k) of the vectors of each run, made once more. Raises _Failed where they are not the same."""
        total, longest = np.zeros_like(self._first), max(map(len, coefficients))
        for i, (Q, W) in zip(range(longest), self._run(), strict=False):
            total += Q * np.array([[c[i] if i < len(c) else 0.0] for c in coefficients])
            beta = self._betas[i][:, 0]
            lengths = np.sqrt(np.einsum("ij,ij->i", W, W))
            if not (np.abs(lengths - beta)[beta > 0.0] <= _SAME * beta[beta > 0.0]).all():
                raise _Failed("a product with A gave something else the second time")
        return total.T


def _gershgorin(A: Any) -> float:
    """No eigenvalue of A, an array or a sparse matrix, is larger."""
    diagonal = A.diagonal()
    return float((np.asarray(abs(A).sum(axis=1)).ravel() - np.abs(diagonal) + diagonal).max()) * (1.0 + 1e-12)


def _top(test: _Test, spread: float) -> float:
    """Above all eigenvalues of A, but with probability delta; by about one where the spectrum is as wide as that."""
    n = test.task.n
    steps = min(_ENDS, math.ceil(0.5 + 0.5 * math.log(1.648 * math.sqrt(n) / test.delta) * max(2.5, spread**0.5)))
    found = ritz.run(test.product, test.random.standard_normal(n), steps, keep=False)
    values = np.linalg.eigvalsh(found.T)
    low, high = float(values[0]), float(values[-1])
    eps = 0.0 if found.last == 0.0 else resolution(n, found.steps, test.delta)
    if eps >= 0.25:
        raise _Failed(f"{found.steps} Lanczos steps say too little of where the spectrum ends")
    return high + eps * (high - low) / (1.0 - 2.0 * eps) + 1e-12 * max(abs(low), abs(high))


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_vectors(task: Task, left: str) -> int:
    """How many take the place of columns, where there are more of those; `left` names what an algorithm leaves."""
    return VECTORS if task.function == "inv" or left == EIGENPAIRS else FEW


def work(task: Task, evidence: Evidence, left: str) -> Work:
    """Test vectors, and one of the four ways; `left` names what an algorithm leaves."""
    n, r = task.n, columns(task)
    few = test_vectors(task, left)
    width = min(r, few)
    held = 8.0 * n * (8.0 * width + (columns(task) if task.dtype != "float64" else 0.0)) + copy_bytes(task)
    k = Calls("scipy", "float64")
    calls = [] if r <= few else [k("gemm", n, width, r), reading(8.0 * n * r, 2.0)]
    if task.function == "inv":
        return Work((*calls, *products(task, evidence, width, 1.0), vectors(n * width, 6.0)), held)
    if left == EIGENPAIRS:
        calls += [*products(task, evidence, VECTORS, 1.0), k("gemm", n, VECTORS, n, count=6.0)]
        calls.append(reading(8.0 * n * n, 3.0))  # finite
        return Work(tuple(calls), held + (16.0 * n * n if task.dtype != "float64" else 0.0))
    steps = krylov_steps(task, evidence, task.target if left == KRYLOV else max(0.1 * task.target, 1e-15))
    m, spread = steps.median, max(1.0, steps.high / max(1.0, steps.median))
    ends = [*products(task, evidence, 1, float(_ENDS)), vectors(n, 10.0 * _ENDS)] if task.function == "exp" else []
    if left == KRYLOV:
        test = 2 * _OF_A_BASIS + 1
        calls += [*products(task, evidence, _OF_A_BASIS, 1.0), *products(task, evidence, 1, 1.0)]
        calls += [k("gemm", n, test, max(1, int(m))), vectors(n, 6.0 * test), vectors(max(1, int(m)), 50.0 * m)]
        ends = ends if task.access == "operator" else [*products(task, evidence, 1, 5.0)]
        return Work((*calls, *ends), 8.0 * n * (1.3 * m + 4.0 * test) + 16.0 * m * m + copy_bytes(task), spread, 4.0)
    calls += [
        *products(task, evidence, 1, 2.0 * m * width),
        vectors(n * width, 16.0 * m),
        vectors(max(1, int(m)), 60.0 * m * width),
        *ends,
    ]
    return Work(tuple(calls), held + 16.0 * m * m, spread, REDUCTIONS * m)  # those of all runs together


__all__ = ["METRIC", "certify", "test_vectors", "work"]
