"""What the algorithms for functions of a symmetric matrix share: f on numbers, products, prices, forecasts.

Sparse matrices and operators are priced by memory traffic, as for sparse linear systems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..algorithm import Breakdown
from ..evidence import Evidence
from ..interval import Interval
from ..polynomials.forecast import cg_iterations, spectrum
from ..products import Products as Products
from ..products import host
from ..sparse_linear_system import _common as sparse
from ..sparse_linear_system._common import reading, vectors
from ..task import UNIT_ROUNDOFF, Task
from ..work import Calls, KernelCall

Ritz = tuple[tuple[float, float, float], ...]
_STEPS, _MORE_STEPS, _MANY = 80, 240, 4  # Lanczos steps of the probe; those for more columns than so many
MOST_STEPS = 5000
_POWERS = {"inv": -1.0, "sqrt": 0.5, "inv_sqrt": -0.5}
_UNKNOWN_CONDITION = Interval(1e3, 1.0, 1e9)
_UNKNOWN_STEPS = Interval(120.0, 15.0, 900.0)
# A product of a sparse matrix with r vectors in the time of one with a single vector: 2.5 + 0.4 r was measured.
_BLOCK, _EACH = 2.5, 0.4


# -- the function ------------------------------------------------------------------------------------------------------


def power(name: str) -> float | None:
    """The exponent where f is a power; None for others."""
    return -1.0 / float(name.split()[1]) if name.startswith("inv_root") else _POWERS.get(name)


def needs_definite(name: str) -> bool:
    """Whether f is defined on positive numbers alone ("sqrt": and zero)."""
    return name == "log" or (name != "inv" and power(name) is not None)


def on_numbers(name: str, x: np.ndarray, call: Callable[[Any], Any] | None = None) -> np.ndarray:
    """f(x) in float64 for x : (k,) where it is defined; a root of a negative number is taken to be that of zero.

    Raises Breakdown where a callable returns another shape.
    """
    x, exponent = np.asarray(x, dtype=np.float64), power(name)
    if name == "callable":
        assert call is not None
        values = np.asarray(call(x.copy()))
        if values.shape != x.shape or np.iscomplexobj(values):
            raise Breakdown(f"f took values of shape {x.shape} to {values.dtype} of shape {values.shape}")
        return values.astype(np.float64)
    if exponent is not None:
        return np.maximum(x, 0.0) ** exponent if exponent != -1.0 else 1.0 / x
    return {"log": np.log, "exp": np.exp, "sign": np.sign}[name](x)


def defined_on(name: str, eigenvalues: np.ndarray, unit: float) -> str:
    """Why f is not defined at computed eigenvalues (k,), ascending, which rounding has moved; empty where it is."""
    size = float(np.abs(eigenvalues).max(initial=0.0))
    rounding = 2.0 * len(eigenvalues) * unit * size
    least, nearest = float(eigenvalues[0]), float(np.abs(eigenvalues).min())
    if name == "sqrt":
        bad = least < -rounding
    elif name in ("inv", "sign"):
        bad = nearest <= rounding
    else:
        bad = needs_definite(name) and least <= rounding
    if not bad:
        return ""
    what = "singular" if name in ("inv", "sign") or abs(least) <= rounding else "not positive definite"
    value = nearest if what == "singular" else least
    return f"A is {what} to working precision: it has an eigenvalue of {value:.2g} beside one of {size:.2g}"


# -- products ----------------------------------------------------------------------------------------------------------


def unit_of(A: Any, task: Task) -> float:
    """Unit roundoff of products in float64; an operator computes them in its own dtype."""
    return UNIT_ROUNDOFF.get(str(A.dtype), 2.0**-53) if task.access == "operator" else 2.0**-53


def columns_of(b: Any) -> np.ndarray:
    """(n,) or (n, r) of any library on the CPU as (n, r), float64 of NumPy's."""
    B = host(b)
    return B[:, None] if B.ndim == 1 else B


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of so many columns, or fewer."""
    return (slice(i, min(i + width, n)) for i in range(0, n, width))


def columns(task: Task) -> int:
    """Of what f(A) is applied to; the identity where nothing is named."""
    return task.nrhs or task.n


def products(task: Task, evidence: Evidence, width: int, count: float) -> tuple[KernelCall, ...]:
    """Work of so many products with blocks of `width` vectors."""
    if task.access == "dense":
        k = Calls("scipy", "float64")
        call = k("gemv", task.n, task.n, count=count) if width == 1 else k("gemm", task.n, width, task.n, count=count)
        return (call,)
    size = sparse.product_bytes(task, evidence)
    times = 1.0 if width == 1 else _BLOCK + _EACH * width
    if task.access == "operator" and width > 1:
        times = float(width)
    return (reading(size, count * times),)


def copy_bytes(task: Task) -> float:
    """A in float64, where it is not [B]."""
    if task.dtype == "float64":
        return 0.0
    return {"dense": 8.0 * task.n * task.n, "sparse": 12.0 * task.nnz}.get(task.access, 0.0)


# -- what to expect ----------------------------------------------------------------------------------------------------


def condition(evidence: Evidence) -> Interval:
    """Of A, as far as Ritz values show it."""
    if not evidence.ritz:
        return _UNKNOWN_CONDITION
    values = [value for value, _, _ in evidence.ritz]
    size, least = max(abs(values[0]), abs(values[-1])), min(map(abs, values))
    if least <= 0.0:
        return Interval(1e12, 1e6, math.inf)
    unseen = min(1e6, 1.0 + evidence.ritz[0][2] / least)
    return Interval(size / least * unseen**0.5, size / least, size / least * unseen * 1.5)


def sensitivity(task: Task, evidence: Evidence) -> Interval:
    """By how much a change of A, relative to ||A||, changes the residual, about."""
    known, exponent = condition(evidence), power(task.function)
    if exponent is not None and exponent > 0.0:
        return Interval(*(exponent * end**0.5 for end in (known.median, known.low, known.high))).at_least(1.0)
    if exponent is not None:
        return (known * -exponent).at_least(1.0)
    if task.function == "exp":
        size = max((abs(value) for value, _, _ in evidence.ritz), default=10.0)
        return Interval(max(1.0, size), 1.0, max(10.0, 3.0 * size))
    return known if task.function in ("log", "sign") else Interval(10.0, 1.0, 1e4)


def is_positive(ritz: Ritz) -> bool:
    """Whether all Ritz values are, beyond rounding."""
    return bool(ritz) and ritz[0][0] > 1e-14 * abs(ritz[-1][0])


def krylov_steps(task: Task, evidence: Evidence, target: float) -> Interval:
    """Lanczos steps after which f(A) b is right to `target`, from Ritz values.

    For inverse roots about those that conjugate gradients take to such a residual; roots and the logarithm weigh small
    eigenvalues less, by a power of the condition number. Where the probe has not seen the end of the spectrum there are
    more. Of the exponential as many as its Chebyshev series has terms. Measured of thirteen matrices.
    """
    if not evidence.ritz:
        return _UNKNOWN_STEPS.at_most(2.0 * task.n).at_least(1.0)
    if task.function == "exp":
        low, high = evidence.ritz[0][0], evidence.ritz[-1][0]
        return Interval.around(_exponential_terms(high - low, target), 1.5).at_most(1.2 * task.n).at_least(1.0)
    if not is_positive(evidence.ritz):
        return Interval(600.0, 100.0, 4000.0)
    value, _, residual = evidence.ritz[0]
    unseen = residual / value
    easier = {"sqrt": 0.5, "log": 0.2}.get(task.function, 0.0)
    aim = min(0.1, target * (evidence.ritz[-1][0] / value) ** easier)
    count = min(3.0, 1.0 + 0.3 * unseen) * _counted(evidence.ritz, round(math.log2(aim)))
    spread = min(4.0, 1.5 + 0.3 * unseen) * (1.6 if easier else 1.0)
    known = Interval.around(max(1.0, min(count, 3.0 * task.n)), spread)
    return known.at_most(float(MOST_STEPS))


def probe_steps(task: Task) -> int:
    """Lanczos steps of the probe that forecasts and polynomials rest on: more where much is computed from them.

    Of an array a product with one vector takes as long as with many, and LAPACK is the rival.
    """
    return min(task.n, _MORE_STEPS if columns(task) > _MANY and task.access != "dense" else _STEPS)


def _exponential_terms(spread: float, target: float) -> float:
    """Terms d with I_d(spread / 2) e^(-spread / 2) below the target: of a Gaussian up to about spread, and beyond."""
    digits = math.log(2.0 / target)
    return max(4.0, min(math.sqrt(2.0 * spread * digits), 0.5 * spread + digits) + 4.0)


@lru_cache(maxsize=64)
def _counted(ritz: Ritz, exponent: int) -> float:
    values, weights, _ = np.array(ritz).T
    eigenvalues = spectrum(values, weights)
    return float(cg_iterations(eigenvalues, np.ones((len(eigenvalues), 1)), 2.0**exponent)[0])


def iterated(task: Task) -> Interval:
    """Error of what stops by its own estimate: below half the target, and rounding."""
    return Interval(0.2, 0.01, 0.7) * task.target + Interval(2.0, 0.2, 8.0) * task.unit_roundoff


__all__ = [
    "MOST_STEPS", "Products", "blocks", "columns", "columns_of", "condition", "copy_bytes", "defined_on",
    "is_positive", "iterated", "krylov_steps", "needs_definite", "on_numbers", "power", "probe_steps", "products",
    "sensitivity", "unit_of", "vectors",
]  # fmt: skip
