"""Counter-based random numbers: Philox4x32-10.

A counter-based generator is a function: word = f(key, counter). Nothing is advanced, so an entry of
a random operator depends only on the seed and on its own row and column, whatever the block size,
the number of threads or the array library. numpy's and torch's generators do not share a stream,
and their normal variates consume a varying number of words; hence this one, 30 lines.

Every array here is indexed by (item, lane): the item is a 64-bit index (a row of the operand), its
lanes are as many 32-bit words as wanted, four to a counter. The counter is

    (item low, item high, lane // 4, stream),

where the stream keeps different uses of one seed independent.

The bits are the same everywhere. The normal variates are the same on one machine; another
processor's logarithm, sine and cosine may differ in the last place.

References
----------
Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3
(doi:10.1145/2063384.2063405); known answers from its library Random123.
Box, Muller, "A note on the generation of random normal deviates", 1958 (doi:10.1214/aoms/1177706645).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

# One stream for each use, so that one seed serves several operators without correlation.
STREAM_FLAT = 0
STREAM_SPARSE_SIGN = 1
STREAM_GAUSSIAN = 2
STREAM_TRIGONOMETRIC = 3
STREAM_RESTRICTION = 4
STREAM_TEST_MATRIX = 5

_COUNTERS_AT_ONCE = 1 << 13  # six uint64 arrays of this length stay in a second-level cache
_LANES_AT_ONCE = 256
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def split_key(key: int) -> tuple[int, int]:
    """Low and high 32-bit halves of a seed.

    Raises
    ------
    ValueError
        If the seed is not in [0, 2**64): two seeds must never silently mean the same operator.
    """
    key = operator.index(key)
    if not 0 <= key < 1 << 64:
        raise ValueError(f"a seed must be at least 0 and below 2**64, got {key}")
    return key & 0xFFFFFFFF, key >> 32


def philox4x32(counter: Sequence[Any], key: Sequence[int]) -> np.ndarray:
    """Ten rounds of Philox on many counters.

    Parameters
    ----------
    counter : four integers or integer arrays that broadcast, each below 2**32
    key : two integers below 2**32

    Returns
    -------
    (4, ...) uint32 array
    """
    # 32-bit words in 64-bit lanes: the high half of a 32 x 32 bit product is then a plain shift.
    shape = np.broadcast_shapes(*(np.shape(c) for c in counter))
    c0, c1, c2, c3 = (np.array(np.broadcast_to(c, shape), dtype=np.uint64, order="C", ndmin=1) for c in counter)
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = key
    for _ in range(ROUNDS):
        np.multiply(c0, np.uint64(MULTIPLIERS[0]), out=p0)
        np.multiply(c2, np.uint64(MULTIPLIERS[1]), out=p1)
        np.right_shift(p1, _HALF, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, np.uint64(k0), out=c0)
        np.right_shift(p0, _HALF, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, np.uint64(k1), out=c2)
        np.bitwise_and(p1, _WORD, out=c1)
        np.bitwise_and(p0, _WORD, out=c3)
        k0 = (k0 + KEY_INCREMENTS[0]) & 0xFFFFFFFF
        k1 = (k1 + KEY_INCREMENTS[1]) & 0xFFFFFFFF
    words = np.empty((4, *c0.shape), np.uint32)
    for lane, c in enumerate((c0, c1, c2, c3)):
        words[lane] = c
    return words.reshape(4, *shape)


def words(key: int, start: int, stop: int, lanes: int, stream: int, first_group: int = 0) -> np.ndarray:
    """Random words of the items start <= item < stop.

    Parameters
    ----------
    key : int
        Seed, below 2**64.
    start, stop : int
        Range of items, below 2**64.
    lanes : int
        Words per item; a prefix: asking for more leaves the first ones as they were.
    stream : int
        Which use of the seed.
    first_group : int
        Skip this many groups of four lanes.

    Returns
    -------
    (lanes, stop - start) uint32 array
    """
    halves = split_key(key)
    groups = -(-lanes // 4)
    out = np.empty((groups, 4, stop - start), np.uint32)
    group = np.arange(first_group, first_group + groups, dtype=np.uint64)[:, None]
    step = max(1, _COUNTERS_AT_ONCE // max(groups, 1))
    for i in range(start, stop, step):
        item = np.arange(i, min(i + step, stop), dtype=np.uint64)
        block = philox4x32((item & _WORD, item >> _HALF, group, stream), halves)
        out[:, :, i - start : i - start + item.size] = block.transpose(1, 0, 2)
    return out.reshape(4 * groups, stop - start)[:lanes]


def uniform_bits(key: int, counter_start: int, count: int, stream: int = STREAM_FLAT) -> np.ndarray:
    """Words counter_start ... counter_start + count - 1 of the flat stream of a seed.

    Returns
    -------
    (count,) uint32 array
    """
    first, last = counter_start // 4, -(-(counter_start + count) // 4)
    flat = words(key, first, last, 4, stream).T.reshape(-1)
    return flat[counter_start - 4 * first :][:count]


def normals(key: int, start: int, shape: int | tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Standard normal variates start, start + 1, ... of the flat stream of a seed, in C order.

    Returns
    -------
    array of the given shape, float64 or float32
    """
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    first, last = start // 2, -(-(start + count) // 2)
    pairs = uniform_bits(key, 2 * first, 2 * (last - first)).reshape(-1, 2)
    flat = np.stack(_box_muller(pairs[:, 0], pairs[:, 1]), axis=1).reshape(-1)
    return flat[start - 2 * first :][:count].reshape(shape).astype(dtype, copy=False)


def normal_matrix(key: int, rows: tuple[int, int], columns: tuple[int, int], dtype: Any, stream: int) -> np.ndarray:
    """Block of a standard normal matrix without bounds: entry (i, j) depends on the seed, i and j only.

    The column is the item and the row its lane, so that a range of many columns and few rows is the
    fast direction.

    Parameters
    ----------
    rows, columns : (start, stop)

    Returns
    -------
    (rows[1] - rows[0], columns[1] - columns[0]) array, float64 or float32
    """
    out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), dtype)
    for i in range(rows[0] - rows[0] % 4, rows[1], _LANES_AT_ONCE):
        lanes = min(_LANES_AT_ONCE, 4 * -(-(rows[1] - i) // 4))
        top, bottom = max(i, rows[0]), min(i + lanes, rows[1])
        step = 4 * _COUNTERS_AT_ONCE // lanes
        for j in range(*columns, step):
            end = min(j + step, columns[1])
            bits = words(key, j, end, lanes, stream, i // 4)
            block = np.empty(bits.shape, np.float32)
            block[0::2], block[1::2] = _box_muller(bits[0::2], bits[1::2])
            target = out[top - rows[0] : bottom - rows[0], j - columns[0] : end - columns[0]]
            target[...] = block[top - i : bottom - i]
    return out


def _box_muller(radius_bits: np.ndarray, angle_bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # In float32 for every dtype: numpy's float64 sine costs 20 times as much, a sketch cannot tell
    # the seventh digit of its own entries, and operators in both precisions are then the same one.
    # One word each for radius and angle: the tail ends at sqrt(66 ln 2) = 6.76. Each step below makes
    # a contiguous array, so that numpy takes the same vector path whatever the block.
    radius = radius_bits.astype(np.float32, order="C")
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = angle_bits.astype(np.float32, order="C")
    angle *= np.float32(2.0**-32 * 2.0 * math.pi)
    return np.cos(angle) * radius, np.sin(angle) * radius
