"""What the algorithms for sparse matrices and operators share: products, the price of memory traffic, when they apply.

Profiles have no tables of sparse kernels. What these do is reading memory, and it is priced so: as the kernel "stream",
which reads once, for products, factors and triangular solves, and "copy" for vectors, with measured factors. SciPy's
products and SuperLU run on one thread, as these kernels do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithm import Breakdown, Outcome
from ..evidence import Evidence
from ..interval import Interval
from ..task import ITEMSIZE, Task
from ..work import Calls, KernelCall

SYMMETRIC = ("symmetric", "spd", "indefinite")  # values of Task.structure that promise A = A'
ENTRY = 12  # bytes of a value and its index
_CACHED = 1e7  # bytes
_CALLS = Calls("scipy", "float64")


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of an algorithm without parameters of its own: all compute in float64."""

    backend: str = "scipy"
    dtype: str = "float64"


def settings(task: Task, evidence: Evidence) -> Iterator[Settings]:
    """The only setting."""
    yield Settings()


def entries(task: Task, evidence: Evidence) -> float:
    """Nonzeros of A; of an operator those that a product with it takes the time of."""
    if task.access == "sparse":
        return float(task.nnz)
    return 10.0 * task.n if evidence.product_entries is None else evidence.product_entries


def reading(size: float, count: float = 1.0) -> KernelCall:
    """Reading so many bytes, from memory or from a cache that holds them all [B]."""
    side = max(1, math.isqrt(max(1, round(size / 8.0))))
    return _CALLS("stream", side, side, count=count)


def computing(size: float, count: float = 1.0) -> KernelCall:
    """What takes as long as reading so many bytes from a cache [B]: of many, as many reads of what a cache holds."""
    parts = max(1.0, size / _CACHED)
    return reading(size / parts, parts * count)


def vectors(n: int, count: float) -> KernelCall:
    """Operations on vectors of length n that make one."""
    return _CALLS("copy", n, 1, count=count)


def product_bytes(task: Task, evidence: Evidence) -> float:
    """What one product with A reads and writes [B]."""
    return ENTRY * entries(task, evidence) + 24.0 * task.n


def answer_bytes(task: Task, vectors: float) -> float:
    """The answer, and vectors that are held while it is computed [B]."""
    return task.n * (8.0 * vectors + 8.0 * task.nrhs + ITEMSIZE[task.dtype] * task.nrhs)


def needs_entries(task: Task) -> str | None:
    """The reason why not, where A is not an explicit sparse matrix."""
    return None if task.access == "sparse" else "needs the entries of A, which an operator does not show"


def may_be_definite(task: Task, evidence: Evidence) -> str | None:
    """The reason why not, where A is not symmetric, or seen not to be positive definite."""
    if task.structure == "indefinite" or (evidence.ritz and evidence.ritz[0][0] <= 0.0):
        return "A is symmetric and not positive definite"
    if task.structure not in SYMMETRIC:
        declared = "; declare it with assume='spd' if it is" if task.access == "operator" else ""
        return f"A is not known to be symmetric{declared}"
    return None


class Product:
    """x -> A x in float64 for x : (n,), whatever A is; raises Breakdown where what comes out has another shape."""

    def __init__(self, A: Any, task: Task) -> None:
        self._A = A
        self._sparse = task.access == "sparse"
        if self._sparse and A.dtype != np.float64:
            self._A = A.astype(np.float64)
        self._n = task.n

    @property
    def A(self) -> Any:
        """The matrix, float64 in compressed rows, or the operator."""
        return self._A

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self._sparse:
            return self._A @ x
        y = np.asarray(self._A.matvec(x))
        if y.shape != (self._n,):
            raise Breakdown(f"a product with A has shape {y.shape}, not {(self._n,)}")
        return y.astype(np.float64)  # a copy: an operator may write its next product there


def dot(x: np.ndarray, y: np.ndarray) -> float:
    """x'y on this thread: those of a BLAS would have to be woken for each, and there is little to gain by them."""
    return float(np.einsum("i,i->", x, y))


def size_of(x: np.ndarray) -> float:
    """2-norm; the planner has scaled the operands, so squares are safe."""
    return math.sqrt(dot(x, x))


def columns(b: Any) -> Iterator[np.ndarray]:
    """The right-hand sides of b : (n,) or (n, r), each (n,) float64."""
    B = np.asarray(b, dtype=np.float64)
    yield from [B] if B.ndim == 1 else (np.ascontiguousarray(B[:, j]) for j in range(B.shape[1]))


def assembled(found: list[np.ndarray], b: Any) -> np.ndarray:
    """x of the shape of b from its columns. Raises Breakdown where it is not finite."""
    x = found[0] if np.ndim(b) == 1 else np.stack(found, axis=1)
    if not np.isfinite(x).all():
        raise Breakdown("the solution is not finite")
    return x


def norm_from_below(product: Product, task: Task, *, steps: int | None = None) -> float:
    """A lower bound on ||A||_2: the longest row and column, or what a few steps of the power method show.

    Any ||A v|| / ||v|| is one, whatever v. `steps` is by default 0 for a sparse matrix, 8 for an operator.
    """
    bound = 0.0
    if task.access == "sparse" and task.n:
        from scipy.sparse import csr_array

        A, ones = product.A, np.ones(task.n)
        squares = csr_array((A.data * A.data, A.indices, A.indptr), shape=A.shape)
        bound = math.sqrt(max(float((squares @ ones).max()), float((squares.T @ ones).max())))
    if steps is None:
        steps = 0 if task.access == "sparse" else 8
    v = np.random.default_rng(np.random.Philox(key=task.seed)).standard_normal(task.n)
    for _ in range(steps):
        size = size_of(v)
        if not 0.0 < size < math.inf:
            break
        v = product(v / size)
        found = size_of(v)
        bound = max(bound, found if math.isfinite(found) else 0.0)
    return bound * (1.0 - 1e-12)


def norm_in_metric(product: Product, task: Task) -> float:
    """A lower bound on ||A|| for the metric; 0 where that knows none."""
    return 0.0 if task.metric == "relative_residual" else norm_from_below(product, task)


def by_columns(
    A: Any,
    b: Any,
    task: Task,
    most: float,
    preconditioner: Callable[[Product], Any],
    solve_one: Callable[[Product, Any, np.ndarray, float, float, int], tuple[np.ndarray, int]],
    norm_A: float | None = None,
) -> Outcome:
    """x with its iterations, the sum over right-hand sides, `most` for each of them.

    solve_one takes the product, the preconditioner, a column of b, half the target, `norm_in_metric` (here `norm_A`,
    where it is known) and how many iterations at most; it returns the column of x, and its iterations.
    """
    product = Product(A, task)
    apply = preconditioner(product)
    size = norm_in_metric(product, task) if norm_A is None else norm_A
    found, total = [], 0
    for column in columns(b):
        x, count = solve_one(product, apply, column, 0.5 * task.target, size, math.ceil(most))
        found.append(x)
        total += count
    return Outcome(assembled(found, b), details={"iterations": total})


def iterated(task: Task) -> Interval:
    """Error of what stops by its residual: below half the target, and above a tenth of that."""
    return Interval(0.4, 0.04, 0.7) * task.target + Interval(1.0, 0.1, 4.0) * 2.0**-53
