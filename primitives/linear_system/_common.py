"""What the linear-system algorithms share: their options, reuse of factors, operands, and rounding errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..algorithm import Breakdown
from ..backends import backends_for
from ..evidence import Evidence
from ..interval import Interval
from ..kernels import library
from ..norms import is_finite, max_abs
from ..task import ITEMSIZE, UNIT_ROUNDOFF, Task

Array = Any

LARGEST_FLOAT32 = (2.0 - 2.0**-23) * 2.0**127
_PACKING = 4.0 * 2**20  # measured, OpenBLAS and MKL: 3 to 4 MiB a process, touched when first used
SYMMETRIC = ("symmetric", "spd", "indefinite")  # values of Task.structure that promise A = A'


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of an algorithm without parameters of its own. Values are in the operands' dtype whatever they say.

    Attributes
    ----------
    backend : str
        "scipy" | "numpy" | "torch" | "cupy".
    dtype : str
        Dtype in which the matrix is factored.
    """

    backend: str = "scipy"
    dtype: str = "float64"


@dataclass(frozen=True, slots=True)
class Factor:
    """A factorization as the by-product "factor", with what made it: only the same algorithm may use it again."""

    algorithm: str
    options: Any
    data: Any


def settings(
    task: Task, allowed: tuple[str, ...] = ("scipy", "numpy", "torch"), *, low_precision: bool = True
) -> Iterator[Settings]:
    """Each backend in the dtypes worth pricing: the operands' own, and the other where the target makes it useful."""
    low, high = UNIT_ROUNDOFF["float32"], 64 * UNIT_ROUNDOFF["float32"]
    for backend in backends_for(task, allowed):
        yield Settings(backend, task.dtype)
        if task.dtype == "float32" and task.target < high and backend != "numpy":  # numpy computes in float64 anyway
            yield Settings(backend, "float64")
        if task.dtype == "float64" and task.target > 8 * low and low_precision and backend != "numpy":
            yield Settings(backend, "float32")


def stored_factor(reuse: Mapping[str, Any], algorithm: str, options: Any) -> Any:
    """The data of a factor that the same algorithm with the same options left behind, or None."""
    factor = reuse.get("factor")
    if isinstance(factor, Factor) and factor.algorithm == algorithm and factor.options == options:
        return factor.data
    return None


def matrix(A: Array, options: Any) -> tuple[Array, bool]:
    """A in the options' library and dtype, and whether it is a fresh copy that may be overwritten."""
    lib = library(options.backend)
    A = lib.asarray(A)
    cast = lib.astype(A, options.dtype)
    return cast, cast is not A


def right_hand_side(b: Array, options: Any) -> Array:
    """b in the options' library and dtype."""
    lib = library(options.backend)
    return lib.astype(lib.asarray(b), options.dtype)


def checked(lib: Any, x: Array, task: Task) -> Array:
    """x in the operands' dtype, or Breakdown where dividing by a tiny pivot left the range of that."""
    largest = max_abs(x) if task.dtype == "float32" else (0.0 if is_finite(x) else math.inf)
    if not largest <= LARGEST_FLOAT32:
        raise Breakdown("the solution overflows: the matrix is singular to working accuracy")
    return lib.astype(x, task.dtype)


def square(task: Task) -> str | None:
    """The reason why not, when A is not square."""
    return None if task.m == task.n else f"the matrix is {task.m} x {task.n}, not square"


def rounding(task: Task, dtype: str, median: float, high: float, low: float | None = None) -> Interval:
    """Backward error, the median and the ends of its 90 % interval in units of the roundoff of `dtype`.

    A result more accurate than the operands' own dtype is rounded to it, which costs 0.1 u (0.02 .. 0.3) of that.
    """
    u = UNIT_ROUNDOFF[dtype]
    error = Interval(median, median / 4 if low is None else low, high) * u
    if u < task.unit_roundoff:
        error = error + Interval(0.1, 0.02, 0.3) * task.unit_roundoff
    return error


def growing(task: Task, evidence: Evidence, dtype: str) -> Interval:
    """Backward error of elimination with pivoting.

    0.3 + 0.2 n phi^2 roundoffs, phi = ||A||_F / (sqrt(n) ||A||_2): measured on Gaussian, orthogonal, uniform, Toeplitz
    and geometric matrices, n = 30 .. 2000, LU and Bunch-Kaufman, within a factor of 2. phi is 1 for an orthogonal
    matrix, 1/2 for a Gaussian one, 0.15 for a geometric spectrum of condition 1e10. phi^2 is at most the effective rank
    over n, and half of that for a geometric spectrum; where neither is known, anything.
    """
    if evidence.norm_2 is None and evidence.effective_rank is not None:
        most = 0.3 + 0.2 * task.n * evidence.effective_rank
        return rounding(task, dtype, most / 2.0, 4.0 * most, most / 16.0)
    if evidence.norm_fro is None or evidence.norm_2 is None or evidence.norm_2.median <= 0.0:
        return rounding(task, dtype, 0.3 + 0.03 * task.n, 1.0 + 0.3 * task.n, 0.3)
    phi = min(1.0, evidence.norm_fro / (math.sqrt(task.n) * evidence.norm_2.median))
    median = 0.3 + 0.2 * task.n * phi**2
    return rounding(task, dtype, median, 4.0 * median, median / 4.0)


def matrix_bytes(task: Task, copies: float, dtype: str) -> float:
    """Bytes of `copies` matrices of the shape of A, and of the buffers into which BLAS packs its operands."""
    entries = copies * task.n * task.n * ITEMSIZE[dtype]
    return entries + min(_PACKING, 0.15 * entries)


def vector_bytes(task: Task, count: float, dtype: str = "float64") -> float:
    """Bytes of `count` arrays of the shape of b."""
    return count * task.n * task.nrhs * ITEMSIZE[dtype]
