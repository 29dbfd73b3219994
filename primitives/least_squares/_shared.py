"""Small things that several least-squares algorithms share: products, ridge rows, blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..kernels._library import Library
from ..task import ITEMSIZE, Task
from ..work import Calls, KernelCall

Array = Any

BLOCK_ENTRIES = 1 << 19  # entries of a block of rows: 4 MiB of float64, within the last-level cache


def product(k: Calls, task: Task, count: float = 1.0) -> KernelCall:
    """`count` products A X with as many columns as there are right-hand sides."""
    m, n, r = task.m, task.n, task.nrhs
    return k("gemv", m, n, count=count) if r == 1 else k("gemm", m, r, n, count=count)


def product_transpose(k: Calls, task: Task, count: float = 1.0) -> KernelCall:
    """`count` products A' Y with as many columns as there are right-hand sides."""
    m, n, r = task.m, task.n, task.nrhs
    return k("gemv_t", m, n, count=count) if r == 1 else k("gemm", n, r, m, count=count)


def size(dtype: str, *entries: float) -> float:
    """Bytes of so many entries."""
    return ITEMSIZE[dtype] * sum(entries)


def scaled_identity(lib: Library, A: Array, n: int, scale: float) -> Array:
    """`scale` times the identity of order n, with the dtype and device of A."""
    return scale * lib.xp.eye(n, dtype=A.dtype, device=getattr(A, "device", None))


def plus_ridge(lib: Library, G: Array, ridge: float) -> Array:
    """G + ridge I."""
    return G if ridge == 0.0 else G + scaled_identity(lib, G, G.shape[0], ridge)


def stacked(lib: Library, A: Array, b: Array, ridge: float) -> tuple[Array, Array]:
    """The problem without ridge whose solution starts with that of min ||b - A x||^2 + ridge ||x||^2: a copy of A.

    Tall A: [A; sqrt(ridge) I] and [b; 0]. Wide A: [A, sqrt(ridge) I] and b, for the minimum of ||x||^2 + ||w||^2 subject
    to A x + sqrt(ridge) w = b is that of ||x||^2 + ||b - A x||^2 / ridge.
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


def row_blocks(m: int, n: int, entries: int = BLOCK_ENTRIES) -> Iterator[slice]:
    """Slices of consecutive rows holding about `entries` entries each."""
    rows = block_rows(n, entries)
    for start in range(0, m, rows):
        yield slice(start, min(start + rows, m))


def block_rows(n: int, entries: int = BLOCK_ENTRIES) -> int:
    """Rows of one block."""
    return max(64, entries // max(n, 1))
