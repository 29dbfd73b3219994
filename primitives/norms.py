"""Norms that neither overflow nor underflow, and finiteness, in one pass and bounded memory.

A plain sum of squares is tried first: it is right unless it comes out zero, infinite, not a number, or so small that
squares were lost below the smallest normal number. Only then is the sum repeated on entries scaled by a power of two,
which is exact (Blue 1978, ACM TOMS 4, doi:10.1145/355769.355771, does the same with three accumulators).

Arrays may be numpy, torch or cupy, of any shape, strides and memory order. No pass allocates more than a block of
them, and none wakes a BLAS thread pool on numpy arrays. Sums of blocks are added in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

Array = Any

_BLOCK = 1 << 16  # entries: 512 KiB of float64, within the second-level cache
_BLOCK_IN_PLACE = 1 << 20  # entries of float64 whose squares are added at once where nothing is copied
SERIAL = 10_000  # entries up to which a dot product wakes no BLAS threads (OpenBLAS)
_HOST = 1 << 19  # entries of a torch tensor up to which its threads are not woken: it takes 3 ms if another pool spins
_BLOCK_ELSEWHERE = 1 << 22  # torch and cupy: a call costs more, and their reductions are blocked inside
_TINY = {"float64": 2.0**-1022, "float32": 2.0**-126}
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23}
# Arrays with norms up to these, and down to one over them, need no scaling: fourth powers and their sums stay inside
# the exponent range.
UNSCALED = {"float64": 1e60, "float32": 1e8}
# By how much, relative, a norm may be off: sums of one number, again and again, in torch (3e-12 and 6e-4 were measured
# of 4 million entries; numpy is a hundred and forty times closer).
NORM_ROUNDING = {"float64": 1e-9, "float32": 1e-3}
# Outside [1/_SAFE, _SAFE] squares, and sums and ratios of squares, come near the ends of the exponent range.
_SAFE = {"float64": 2.0**200, "float32": 2.0**20}


def norm(x: Array) -> float:
    """2-norm of a vector, Frobenius norm of a matrix; nan or inf when an entry is.

    Parameters
    ----------
    x : array
        float64 or float32, any shape.

    Returns
    -------
    float
        Infinite for finite entries only where the norm itself exceeds the largest float64.
    """
    total = _sum_of_squares(x, 1.0)
    if _trusted(total, _size(x), _dtype(x)):
        return math.sqrt(total)
    largest = max_abs(x)
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    exponent = math.frexp(largest)[1]
    total = _sum_of_squares(x, exponent=-exponent)
    return _scaled(math.sqrt(total), exponent)


def sampled_norm(A: Array, seed: int, rows: int = 64) -> float:
    """An estimate of ||A||_F from random rows of A : (m, n): exact where all rows are of one length, else anything."""
    m = A.shape[0]
    if m <= rows:
        return norm(A)
    i = np.random.Generator(np.random.Philox(key=seed)).integers(0, m, rows)
    if not isinstance(A, np.ndarray):
        i = array_api_compat.array_namespace(A).asarray(i, device=array_api_compat.device(A))
    return math.sqrt(m / rows) * norm(A[i])


def spectral_norm_from_below(A: Array, rows: int = 64) -> float:
    """A lower bound of ||A||_2 from some `rows` evenly spaced rows S of A : (m, n), by ||S||_F / sqrt(rank).

    It is no sharper than ||A||_F / sqrt(min(m, n)) where all rows are of one length, and costs no pass over A.
    """
    S = A[:: max(1, -(-A.shape[0] // rows))]
    return norm(S) / math.sqrt(max(1, min(S.shape)))


def column_norms(A: Array) -> Array:
    """2-norms of the columns of A : (m, n), as a float64 array (n,) of A's own library."""
    xp = array_api_compat.array_namespace(A)
    total = None
    for block in _row_blocks(A):
        part = _column_sum_of_squares(xp, block)
        total = part if total is None else total + part
    if total is None:
        return xp.zeros(A.shape[1], dtype=xp.float64, device=array_api_compat.device(A))
    trusted = (total > A.shape[0] * _TINY[_dtype(A)] / _EPS[_dtype(A)]) & xp.isfinite(total)
    norms = xp.sqrt(total)
    if not bool(xp.all(trusted)):
        for j in np.flatnonzero(~_to_numpy(trusted)):
            norms[int(j)] = norm(A[:, int(j)])
    return norms


def is_finite(x: Array) -> bool:
    """Whether every entry is finite. A finite sum of squares proves it; otherwise the entries are looked at."""
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.shape[0] <= SERIAL and x.dtype.char == "d":
        total = dot_small(x)
    else:
        total = _sum_of_squares(x, 1.0)
    return math.isfinite(total) or math.isfinite(max_abs(x))


def needs_no_scaling(sum_of_squares: float, dtype: str) -> bool:
    """Whether an array of this sum of squares is finite and of a norm that all algorithms can take."""
    limit = UNSCALED[dtype] ** 2
    return 1.0 / limit <= sum_of_squares <= limit


def dot_small(x: np.ndarray) -> float:
    """x'x for a float64 vector of at most `SERIAL` entries, in half a microsecond and without warnings."""
    return _ddot()(x, x) if x.shape[0] else 0.0  # its wrapper refuses empty vectors


@cache
def _ddot() -> Any:
    """BLAS's own: numpy's warns where squares overflow. Imported when first used: `import autonla` stays light."""
    from scipy.linalg import blas

    return blas.ddot  # type: ignore[attr-defined]


def max_abs(x: Array) -> float:
    """Largest absolute value of the entries; nan if one is; 0 for an empty array."""
    largest = 0.0
    for block in _blocks(x):
        high, low = float(block.max()), float(block.min())
        if math.isnan(high) or math.isnan(low):
            return math.nan
        largest = max(largest, high, -low)
    return largest


def power_of_two_scale(x: Array) -> float:
    """The power of two by which to multiply x so that sums and ratios of squares of its entries are representable.

    1 when no scaling is needed, which is decided by the sum of squares alone where that suffices; otherwise the
    power that brings the largest entry into [0.5, 1), as far as a finite power of two can (an entry below 2^-1023
    comes out smaller). Raises ValueError if an entry is not finite.
    """
    safe = _SAFE[_dtype(x)]
    total = _sum_of_squares(x, 1.0)
    if total < safe**2 and total > _size(x) / safe**2:  # then 1/safe < max_abs(x) < safe
        return 1.0
    largest = max_abs(x)
    if not math.isfinite(largest):
        raise ValueError("an entry is not finite")
    if largest == 0.0 or 1.0 / safe <= largest <= safe:
        return 1.0
    limit = 1022 if _dtype(x) == "float64" else 126
    return 2.0 ** max(-limit, min(limit, -math.frexp(largest)[1]))


def _trusted(total: float, size: int, dtype: str) -> bool:
    """Whether a sum of squares is as accurate as rounding allows: squares lost to underflow do not matter in it."""
    return math.isfinite(total) and total > size * _TINY[dtype] / _EPS[dtype]


def _scaled(x: float, exponent: int) -> float:
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.inf


def _sum_of_squares(x: Array, scale: float = 1.0, *, exponent: int = 0) -> float:
    """Sum of squares of x, or of x * 2**exponent."""
    if _size(x) <= _HOST and hasattr(x, "detach") and x.device.type == "cpu":
        x = x.detach().numpy()
    total = 0.0
    half = exponent // 2  # 2**exponent itself may not be representable
    # float32 adds up in float32: short blocks keep its rounding small
    step = _BLOCK_IN_PLACE if isinstance(x, np.ndarray) and x.dtype.char == "d" and not exponent else None
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for block in _blocks(x, step):
            scaled = (block * 2.0**half) * 2.0 ** (exponent - half) if exponent else block
            total += _dot_self(scaled)
            if math.isnan(total):
                break
    return total


def _dot_self(block: Array) -> float:
    """Sum of squares of one block."""
    if isinstance(block, np.ndarray):
        # einsum, not dot: as fast where memory is the limit, and it starts no BLAS threads
        return float(np.einsum("i,i->", block, block))
    return float(block @ block)


def _column_sum_of_squares(xp: Any, block: Array) -> Array:
    if isinstance(block, np.ndarray):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return np.einsum("ij,ij->j", block, block, dtype=block.dtype).astype(np.float64)
    return xp.astype(xp.sum(block * block, axis=0), xp.float64)


def _blocks(x: Array, in_place: int | None = None) -> Iterator[Array]:
    """The entries of x as vectors of at most about `_BLOCK` entries: views where x is contiguous, else copies.

    `in_place` is another length for those that are views.
    """
    if _size(x) == 0:
        return
    if x.ndim >= 2 and not is_contiguous(x):
        if is_contiguous(x.T if x.ndim == 2 else x):
            yield from _blocks(x.T, in_place)
            return
        rows = max(1, _block(x) * x.shape[0] // _size(x))
        for i in range(0, x.shape[0], rows):
            part = x[i : i + rows]
            if _size(part) > 4 * _block(x):  # one row is itself large
                for row in part:
                    yield from _blocks(row)
            else:
                yield part.reshape(-1)
        return
    flat = x if x.ndim == 1 else x.reshape(-1)
    step = in_place or _block(flat)
    for i in range(0, flat.shape[0], step):
        yield flat[i : i + step]


def _row_blocks(A: Array) -> Iterator[Array]:
    rows = max(1, _block(A) // max(1, A.shape[1]))
    for i in range(0, A.shape[0], rows):
        yield A[i : i + rows]


def _block(x: Array) -> int:
    return _BLOCK if isinstance(x, np.ndarray) else _BLOCK_ELSEWHERE


def is_contiguous(x: Array) -> bool:
    """Whether the entries lie in memory one after the other, the last index running fastest."""
    if hasattr(x, "flags"):
        return bool(x.flags.c_contiguous)
    return bool(x.is_contiguous())


def _size(x: Array) -> int:
    return math.prod(x.shape)


def _dtype(x: Array) -> str:
    return "float32" if str(x.dtype).endswith("float32") else "float64"


def _to_numpy(a: Array) -> np.ndarray:
    if hasattr(a, "detach"):
        return a.detach().cpu().numpy()
    return a.get() if hasattr(a, "get") else np.asarray(a)
