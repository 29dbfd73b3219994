"""What several least-squares algorithms share: passes over A by blocks of rows, ridge rows, counts of calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..kernels._library import Library
from ..task import ITEMSIZE, Task
from ..work import Calls, KernelCall

Array = Any

PASS_BLOCK = 1 << 19  # entries of a block that is read twice: 4 MiB of float64; smaller ones wake threads too often
CAST_BLOCK = 1 << 20  # entries of a block that is copied
_POWER_STEPS, _INVERSE_STEPS = 2, 3


# -- passes over A ---------------------------------------------------------------------------------------------------


def gram(lib: Library, A: Array, dtype: str) -> Array:
    """A'A (upper triangle) in `dtype`, holding at most a block of A in it."""
    if _has_dtype(lib, A, dtype):
        return lib.gram(A)
    return _sum(lib.gram(lib.astype(A[rows], dtype)) for rows in row_blocks(A.shape[0], A.shape[1], CAST_BLOCK))


def gradient(lib: Library, A: Array, b: Array | None, x: Array | None, dtype: str) -> Array:
    """A'(b - A x), without b or without x where they are None, in `dtype`.

    One pass over memory where the rows of A are contiguous: each block is used while it is in cache.
    """
    cast = not _has_dtype(lib, A, dtype)
    if cast or (b is not None and not _has_dtype(lib, b, dtype)):
        return _sum(
            _block_gradient(lib, lib.astype(A[rows], dtype), None if b is None else lib.astype(b[rows], dtype), x)
            for rows in row_blocks(A.shape[0], A.shape[1], PASS_BLOCK)
        )
    if x is None or not _rows_contiguous(A):
        return _block_gradient(lib, A, b, x)
    return _sum(
        _block_gradient(lib, A[rows], None if b is None else b[rows], x)
        for rows in row_blocks(A.shape[0], A.shape[1], PASS_BLOCK)
    )


def _block_gradient(lib: Library, A: Array, b: Array | None, x: Array | None) -> Array:
    if x is None:
        return lib.rmatmul(A, b)
    y = lib.matmul(A, x)
    return -lib.rmatmul(A, y) if b is None else lib.rmatmul(A, b - y)


def _sum(parts: Iterator[Array]) -> Array:
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _has_dtype(lib: Library, A: Array, dtype: str) -> bool:
    return A.dtype == getattr(lib.xp, dtype)


def _rows_contiguous(A: Array) -> bool:
    return bool(A.flags.c_contiguous if hasattr(A, "flags") else A.is_contiguous())


def row_blocks(m: int, n: int, entries: int) -> Iterator[slice]:
    """Slices of consecutive rows holding about `entries` entries each; at least one."""
    rows = block_rows(n, entries)
    for start in range(0, max(m, 1), rows):
        yield slice(start, min(start + rows, m))


def block_rows(n: int, entries: int) -> int:
    """Rows of one block."""
    return max(64, entries // max(n, 1))


# -- ridge -----------------------------------------------------------------------------------------------------------


def scaled_identity(lib: Library, A: Array, n: int, scale: float) -> Array:
    """`scale` times the identity of order n, with the dtype and device of A."""
    return scale * lib.xp.eye(n, dtype=A.dtype, device=getattr(A, "device", None))


def plus_ridge(lib: Library, G: Array, ridge: float) -> Array:
    """G + ridge I."""
    return G if ridge == 0.0 else G + scaled_identity(lib, G, G.shape[0], ridge)


def stacked(lib: Library, A: Array, b: Array, ridge: float) -> tuple[Array, Array]:
    """The problem without ridge whose solution starts with that of min ||b - A x||^2 + ridge ||x||^2: a copy of A.

    Tall A: [A; sqrt(ridge) I] and [b; 0]. Wide A: [A, sqrt(ridge) I] and b, for the minimum of ||x||^2 + ||w||^2
    subject to A x + sqrt(ridge) w = b is that of ||x||^2 + ||b - A x||^2 / ridge.
    """
    if ridge == 0.0:
        return A, b
    m, n = A.shape
    I = scaled_identity(lib, A, min(m, n), math.sqrt(ridge))
    if m < n:
        return lib.xp.concat([A, I], axis=1), b
    zeros = lib.xp.zeros((n, *b.shape[1:]), dtype=b.dtype, device=getattr(b, "device", None))
    return lib.xp.concat([A, I], axis=0), lib.xp.concat([b, zeros], axis=0)


def stacked_shape(task: Task) -> tuple[int, int]:
    """Shape of what `stacked` returns."""
    m, n = task.m, task.n
    if task.ridge == 0.0:
        return m, n
    return (m, n + m) if m < n else (m + n, n)


# -- condition -------------------------------------------------------------------------------------------------------


def scaled_condition(lib: Library, R: Array, scale: Array) -> float:
    """Condition number of R D^-1, D = diag(`scale`), from a few steps of power and inverse iteration; inf if singular.

    Within a factor of about two, from below before a correction of 1.5 (Kuczynski and Wozniakowski 1992, as in
    `_sketched.extreme_singular_values`, which is sharper and costs more).
    """
    n = R.shape[0]
    if not float(scale.min()) > 0.0 or not float(abs(lib.xp.linalg.diagonal(R)).min()) > 0.0:
        return math.inf
    v = w = lib.asarray(_start(n), str(R.dtype).rpartition(".")[2])
    inverse = largest = 0.0
    for _ in range(_POWER_STEPS):
        w = lib.rmatmul(R, lib.matmul(R, w / scale)) / scale
        largest = float((w * w).sum()) ** 0.5
        w = w / largest
    for _ in range(_INVERSE_STEPS):
        v = scale * lib.solve_triangular(R, lib.solve_triangular(R, scale * v, transpose=True))
        inverse = float((v * v).sum()) ** 0.5
        if not 0.0 < inverse < math.inf:
            return math.inf
        v = v / inverse
    return max(1.0, 1.5 * math.sqrt(largest * inverse))


@lru_cache(maxsize=16)
def _start(n: int) -> np.ndarray:
    """A unit vector (n,) with nothing special about it; not to be changed."""
    start = np.random.Generator(np.random.Philox(key=n)).standard_normal(n)
    start /= np.linalg.norm(start)
    start.flags.writeable = False
    return start


# -- counting --------------------------------------------------------------------------------------------------------


def product(k: Calls, task: Task, count: float = 1.0) -> KernelCall:
    """`count` products A X with as many columns as there are right-hand sides."""
    m, n, r = task.m, task.n, task.nrhs
    return k("gemv", m, n, count=count) if r == 1 else k("gemm", m, r, n, count=count)


def product_transpose(k: Calls, task: Task, count: float = 1.0, rows: int | None = None) -> KernelCall:
    """`count` products A' Y with as many columns as there are right-hand sides; of `rows` rows of A if given."""
    m, n, r = rows or task.m, task.n, task.nrhs
    return k("gemv_t", m, n, count=count) if r == 1 else k("gemm", n, r, m, count=count)


def gradient_calls(k: Calls, task: Task, count: float) -> tuple[KernelCall, ...]:
    """`count` calls of `gradient` with an x. Blocks still in cache save little: it takes what two passes do."""
    return () if count <= 0.0 else (product(k, task, count), product_transpose(k, task, count))


def condition_calls(k: Calls, n: int) -> tuple[KernelCall, ...]:
    """Kernel calls of `scaled_condition`."""
    return k("gemv", n, n, count=2.0 * _POWER_STEPS), k("trsm", n, 1, count=2.0 * _INVERSE_STEPS)


def gradient_entries(task: Task) -> float:
    """Numbers that `gradient` holds: the residual of a block of rows, or of all."""
    rows = task.m if task.order == "F" else min(task.m, block_rows(task.n, PASS_BLOCK))
    return 2.0 * rows * task.nrhs + 2.0 * task.n * task.nrhs


def size(dtype: str, *entries: float) -> float:
    """Bytes of so many entries."""
    return ITEMSIZE[dtype] * sum(entries)
