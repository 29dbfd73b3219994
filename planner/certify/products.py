"""Products with A in float64 whatever the dtype of A, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...primitives.kernels._library import Library
from ...primitives.norms import SERIAL, dot_small, norm

_BLOCK_BYTES = 8 * 2**20  # larger ones are new memory each time, whose first touch takes longer than the product
# blocks of rows whose sums are added up: small ones round less, and take longer
_FEWEST_ROWS, _MOST_ROWS, _BLOCK_ENTRIES = 1024, 4096, 2**15
UNIT = 2.0**-53


def row_blocks(A: Any, itemsize: int = 8) -> list[slice]:
    """Slices of rows of A whose float64 copies stay below a fixed size."""
    m, n = A.shape
    step = max(1, _BLOCK_BYTES // max(1, itemsize * n))
    return [slice(i, min(i + step, m)) for i in range(0, m, step)]


def is_double(A: Any) -> bool:
    """Whether A is a float64 array."""
    return getattr(A.dtype, "char", "") == "d" or "float64" in str(A.dtype)


def matmul64(lib: Library, A: Any, X: Any) -> Any:
    """A X in float64; X is float64."""
    if is_double(A):
        return lib.matmul(A, X)
    return lib.xp.concat([lib.matmul(lib.astype(A[rows], "float64"), X) for rows in row_blocks(A)], axis=0)


def rmatmul64(lib: Library, A: Any, Y: Any) -> Any:
    """A' Y in float64; Y is float64."""
    if is_double(A):
        return lib.rmatmul(A, Y)
    total: Any = 0.0
    for rows in row_blocks(A):
        total = total + lib.rmatmul(lib.astype(A[rows], "float64"), Y[rows])
    return total


def rows_at_once(A: Any) -> int:
    """Rows of A (m, n) that `rmatmul_in_blocks` adds up at once."""
    m, n = A.shape
    whole = isinstance(A, np.ndarray) and not A.flags.c_contiguous  # a block of rows would be copied
    return m if whole else min(m, max(_FEWEST_ROWS, min(_MOST_ROWS, _BLOCK_ENTRIES // max(1, n))))


def rmatmul_in_blocks(lib: Library, A: Any, Y: Any) -> Any:
    """A'Y of float64 arrays, A (m, n) with m large, in sums over few rows: see `rounding_of_sum`."""
    step = rows_at_once(A)
    if step == A.shape[0]:
        return lib.rmatmul(A, Y)
    total: Any = 0.0
    for start in range(0, A.shape[0], step):
        total = total + lib.rmatmul(A[start : start + step], Y[start : start + step])
    return total


def rounding_of_sum(length: int) -> float:
    """Rounding error of a sum of so many products, in units of u times the largest norm of its partial sums.

    Roundings behave like a random walk (Higham and Mary 2019): sqrt(length) with a small constant, which in smooth data
    is below this one in 999 of 1000 cases (OpenBLAS and MKL, two columns and more). The exception are sums of one
    number, again and again, or of a large one and many small ones of one sign: their roundings are of one sign while
    the partial sum keeps its exponent, and add up to a quarter of length.
    """
    return 1.0 + 0.18 * math.sqrt(length)


def column_norms(X: Any) -> Any:
    """2-norms of the columns of X : (m, r), r small; the planner has scaled the operands, so squares are safe."""
    return (X * X).sum(0) ** 0.5


def column_norm_list(X: Any) -> list[float]:
    """The same as Python floats, each safe against under- and overflow of its squares."""
    if X.shape[1] == 1 and hasattr(X, "flags"):
        column = X[:, 0]
        total = dot_small(column) if column.shape[0] <= SERIAL else float(np.einsum("i,i->", column, column))
        sizes = [math.sqrt(total)] if total >= 0.0 else [math.nan]
    else:
        sizes = column_norms(X).tolist()
    return [size if 1e-140 < size < 1e150 else norm(X[:, j]) for j, size in enumerate(sizes)]


def as_columns(x: Any) -> Any:
    """(n,) -> (n, 1)."""
    return x[:, None] if x.ndim == 1 else x
