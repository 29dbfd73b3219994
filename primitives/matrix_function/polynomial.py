"""f(A) by a polynomial that is near f on an interval, run by a recurrence: products alone, of all vectors at once.

The interval is that which AutoSpec's engine says (`autospec.functions`), for powers and the logarithm: a Lanczos probe
does not see how far the spectrum goes on below its smallest Ritz value. For the exponential it ends where the residuals
of the outermost Ritz values say. The degree is the least at which the Chebyshev coefficients left out
are below the target (Trefethen, Approximation Theory and Approximation Practice, 2013, theorem 8.2); up to a degree of
60 the coefficients are those of the best polynomial (Remez), which is better by a factor of two or so.

Nothing is orthogonalized and no basis kept: four blocks of memory, and the same products for every vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Breakdown, Outcome
from ..autospec import functions as autospec
from ..evidence import Evidence
from ..interval import Interval
from ..polynomials import Recurrence, from_chebyshev
from ..polynomials.functions import Function, minimax
from ..stopping import stop_asked
from ..task import Task
from ..work import Work
from ._common import (
    Products,
    Ritz,
    blocks,
    columns,
    columns_of,
    copy_bytes,
    is_positive,
    iterated,
    on_numbers,
    power,
    products,
    vectors,
)

MOST = 3000  # the highest degree
_REMEZ = 60  # degree up to which the best polynomial is sought
_WIDTH = 128  # columns at once
_OPERATIONS = 9.0  # on vectors, for each product
_OFF = 0.5  # of the target that the polynomial may be off by
_NARROW = 1.0 + 1e-6  # quotient of the ends of an interval from which it is made wider


@dataclass(frozen=True, slots=True)
class Options:
    """Where it runs."""

    backend: str = "scipy"
    dtype: str = "float64"


def options(task: Task, evidence: Evidence) -> Iterator[Options]:
    """The only one."""
    yield Options()


def applies(task: Task, evidence: Evidence, options: Options) -> str | None:
    """Functions that are smooth on an interval which was seen."""
    if task.function in ("callable", "sign"):
        return "no polynomial is near to it on all of the spectrum"
    if not evidence.ritz:
        return "the spectrum was not probed"
    if task.function != "exp" and not is_positive(evidence.ritz):
        return "A is not seen to be positive definite"
    if _fitted(task, evidence) is None:
        low, high = interval(task.function, evidence.ritz)
        return f"more than {MOST} products would be needed on [{low:.3g}, {high:.3g}]"
    return None


@lru_cache(maxsize=64)
def interval(function: str, ritz: Ritz) -> tuple[float, float]:
    """Where the spectrum is taken to be."""
    values, weights, residuals = np.array(ritz).T
    low, high = float(values[0] - residuals[0]), float(values[-1] + residuals[-1])
    if function == "exp":
        wider = 1e-9 * max(abs(low), abs(high), 1e-300)
        return low - wider, high + wider
    if float(values[-1]) > _NARROW * float(values[0]):
        low, high = autospec.engine()(values, residuals, weights, Function(power(function)))
    else:
        low = float(values[0])
    return (low / _NARROW, high * _NARROW) if high < _NARROW * low else (low, high)


def _fitted(task: Task, evidence: Evidence) -> np.ndarray | None:
    """Coefficients of the Chebyshev series on the interval that leave half of the target; None beyond MOST.

    ||exp(A) b|| is taken to be the largest eigenvalue's times ||b|| / sqrt(n).
    """
    share = _OFF / task.n**0.5 if task.function == "exp" else _OFF
    return series(task.function, *interval(task.function, evidence.ritz), share * task.target)


@lru_cache(maxsize=64)
def series(function: str, low: float, high: float, error: float) -> np.ndarray | None:
    """Chebyshev coefficients (d + 1,), d >= 1 the least that leaves no more than `error`, as the metric has it."""
    from scipy.fft import dct

    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    count = 64
    while count <= 4 * MOST:
        points = np.cos((np.arange(count) + 0.5) * (math.pi / count))
        values = on_numbers(function, middle + half * points)
        if not np.isfinite(values).all():
            return None
        transform: Any = dct
        c = transform(values) / count
        c[0] *= 0.5
        # relative at every eigenvalue; of the logarithm absolute, of the exponential relative to the largest value, and
        # of the root to that of the geometric mean of the ends, for what it is small at has little part in an answer
        scale = {"log": 1.0, "exp": float(np.abs(values).max()), "sqrt": (abs(low) * high) ** 0.25}.get(
            function, float(np.abs(values).min())
        )
        tails = np.cumsum(np.abs(c[::-1]))[::-1]  # of the terms from each on
        allowed = error * scale + 2.0**-52 * float(np.abs(values).max())
        rounding = 2.0**-53 * count * float(np.abs(values).max())
        few = np.flatnonzero(tails <= max(allowed, rounding))
        if len(few) and few[0] <= 0.8 * count:
            degree = max(1, int(few[0]) - 1)
            return c[: degree + 1] if degree <= MOST else None
        count *= 2
    return None


def degree(task: Task, evidence: Evidence) -> int:
    """Products with A for each vector; only where it applies."""
    found = _fitted(task, evidence)
    assert found is not None
    return len(found) - 1


def _polynomial(task: Task, evidence: Evidence) -> tuple[Recurrence, str]:
    """What is run, and what it is called."""
    low, high = interval(task.function, evidence.ritz)
    coefficients = _fitted(task, evidence)
    if coefficients is None:
        raise Breakdown("no polynomial of a degree that is low enough is near f")
    if len(coefficients) - 1 <= _REMEZ and task.function != "exp":
        return minimax(Function(power(task.function)), low, high, len(coefficients) - 1), "best (Remez)"
    return from_chebyshev(coefficients, low, high), "Chebyshev"


def work(task: Task, evidence: Evidence, options: Options) -> Work:
    """So many products with all columns."""
    d, r = degree(task, evidence), columns(task)
    width = min(r, _WIDTH)
    calls = (
        *products(task, evidence, width, float(d) * r / width),
        vectors(task.n * width, _OPERATIONS * d * r / width),
    )
    return Work(calls, 8.0 * task.n * (r + 6.0 * width) + copy_bytes(task), 1.05)


def error(task: Task, evidence: Evidence, options: Options) -> Interval:
    """At most half the target on the interval."""
    return iterated(task)


def _misses(task: Task, evidence: Evidence, options: Options) -> float:
    """Probability that an eigenvalue is outside of the interval, where the polynomial is far off.

    Of thirteen matrices none was where the smallest Ritz value had a residual below a tenth of it, and half of those
    where it was above a quarter.
    """
    if task.function == "exp":
        return 0.02
    value, _, residual = evidence.ritz[0]
    return min(0.6, 0.03 + max(0.0, 2.0 * (residual / value - 0.1)))


def solve(A: Any, b: Any, task: Task, options: Options, evidence: Evidence, reuse: Mapping[str, Any]) -> Outcome:
    """p(A) : (n, n), or p(A) b of the shape of b."""
    product = Products(A, task)
    p, name = _polynomial(task, evidence)
    B = None if b is None else columns_of(b)
    Y = np.empty((task.n, columns(task)), dtype=task.dtype)
    for part in blocks(Y.shape[1], _WIDTH):
        if stop_asked():
            raise Breakdown("it was stopped before all columns were done")
        V = np.ascontiguousarray(B[:, part]) if B is not None else _identity(task.n, part)
        Y[:, part] = p.apply(product, V[:, 0])[:, None] if V.shape[1] == 1 else p.apply(product, V)
    value = Y if b is None else Y[:, 0] if b.ndim == 1 else Y
    return Outcome(value, details={"degree": p.degree, "polynomial": name, "products": product.count})


def _identity(n: int, part: slice) -> np.ndarray:
    V = np.zeros((n, part.stop - part.start))
    V[np.arange(part.start, part.stop), np.arange(part.stop - part.start)] = 1.0
    return V


ALGORITHM = Algorithm(
    kind="matrix_function",
    name="polynomial",
    title="a polynomial on the probed interval",
    reference="Trefethen 2013, chapters 8 and 10; arXiv:2602.09530",
    options=options,
    applies=applies,
    work=work,
    error=error,
    solve=solve,
    breakdown=_misses,
)
