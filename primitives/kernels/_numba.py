"""Our own compiled kernels: sparse sign sketch, fused normal residual, compensated products.

Imported where used, never by `import autonla`: numba takes about half a second to import, and each kernel up
to two seconds to compile for a dtype the first time it runs. The machine code is then kept on disk where numba
finds a directory it may write to.

Kernels are serial and release the interpreter lock; a few Python threads run them on disjoint tasks. No pool
of workers is left spinning beside BLAS's, calls from several threads at once are safe, and since the tasks
depend on the shape alone and are summed in a fixed order, the result is the same bits for any thread count.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, from_dtype, intp, njit, types, uint32, uint64, void
from numba.extending import intrinsic as _numba_intrinsic
from numba.extending import register_jitable

Array = np.ndarray
intrinsic: Any = _numba_intrinsic  # its calls do not have the signature that type checkers see

LINE = 64  # bytes: a cache line, and the width of a column tile of the sketch
CHUNK = 512  # rows that the sketch packs at a time
PANEL = 32  # tiles that it packs at a time: with CHUNK rows, 1 MiB
SEGMENT = 1 << 13  # least rows per task, where tasks have sums of their own
SEGMENTS = 16  # most of those
SERIAL = 1 << 18  # entries of A below which threads are not worth starting
LANES = 32  # partial sums of a compensated dot product
WIDTH = 2048  # columns whose compensated sums are kept in cache


# -- compiling and running ----------------------------------------------------------------------------------------


def _compile(function: Callable[..., None], *arguments: Any, **options: Any) -> Callable[..., None]:
    """Machine code for one signature, from the cache on disk where there is a usable one."""
    signature = [void(*arguments)]
    try:
        return njit(signature, nogil=True, cache=True, **options)(function)
    except Exception:  # a read-only installation and home, a full disk, a damaged file: do without
        return njit(signature, nogil=True, **options)(function)


def _read_only(dtype: np.dtype[Any], dimensions: int) -> types.Array:
    """Type of an input in C order; writable arrays convert to it, so that each dtype is compiled once."""
    return types.Array(from_dtype(dtype), dimensions, "C", readonly=True)


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(task: Callable[..., None], arguments: Sequence[tuple[Any, ...]], size: int, threads: int | None) -> None:
    """Call the task with each tuple of arguments, on threads where `size` entries are worth it."""
    threads = available_threads() if threads is None else threads
    threads = min(threads, len(arguments)) if size >= SERIAL else 1
    if threads <= 1:
        for each in arguments:
            task(*each)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(task, *zip(*arguments, strict=True)):
            pass


def _ranges(count: int, pieces: int) -> list[tuple[int, int]]:
    return [(i * count // pieces, (i + 1) * count // pieces) for i in range(pieces)]


def _segments(rows: int, most: int = SEGMENTS) -> int:
    """Tasks to divide rows into: a power of two, so that two or four threads share them evenly."""
    return 1 << (max(1, min(rows // SEGMENT, most)).bit_length() - 1)


# -- sparse sign sketch -------------------------------------------------------------------------------------------
#
# The rows of A are packed, a chunk at a time, into tiles of one cache line (8 doubles) by CHUNK rows, whatever the
# strides of A. Each tile is then added into its own (l, 64 byte) accumulator, which for l up to about 500 stays in
# the first-level cache: updates cost one load and one store there. LLVM cannot see that the updates of a tile do
# not overlap, so those two lines are written as vectors by hand.


def _vector_pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """Pointer to the LINE bytes that start at element `offset` of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    lanes = LINE * 8 // array_type.dtype.bitwidth
    vector = ir.VectorType(context.get_data_type(array_type.dtype), lanes)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


@intrinsic
def _load(typingctx: Any, address: Any, like: Any) -> Any:
    """The number at an address, of the dtype of the array `like`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(like.dtype)
        return builder.load(builder.inttoptr(arguments[0], number.as_pointer()), align=1)

    return like.dtype(types.intp, like), generate


@intrinsic
def _copy_line(typingctx: Any, out: Any, offset: Any, address: Any) -> Any:
    """out[offset : offset + W] = the LINE bytes at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _vector_pointer(context, builder, out, arguments[0], arguments[1])
        source = builder.inttoptr(arguments[2], target.type)
        builder.store(builder.load(source, align=1), target, align=out.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return void(out, types.intp, types.intp), generate


@intrinsic
def _add_line(typingctx: Any, out: Any, source: Any, at: Any, offsets: Any, weights: Any) -> Any:
    """out[o : o + W] += w source[at : at + W] for each o in offsets and w in weights, tuples of equal length."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        align = out.dtype.bitwidth // 8
        line = builder.load(_vector_pointer(context, builder, source, arguments[1], arguments[2]), align=align)
        undefined = ir.Constant(line.type, ir.Undefined)
        spread = ir.Constant(ir.VectorType(number, line.type.count), [0] * line.type.count)
        for k in range(len(offsets)):
            offset = builder.extract_value(arguments[3], k)
            weight = builder.insert_element(undefined, builder.extract_value(arguments[4], k), number(0))
            weight = builder.shuffle_vector(weight, undefined, spread)
            target = _vector_pointer(context, builder, out, arguments[0], offset)
            total = builder.fadd(builder.load(target, align=align), builder.fmul(line, weight))
            builder.store(total, target, align=align)
        return context.get_dummy_value()

    return void(out, source, types.intp, offsets, weights), generate


@register_jitable
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    # The same function as sketches.philox.philox4x32, which has the reference.
    for _ in range(10):
        p0 = uint64(0xD2511F53) * uint64(c0)
        p1 = uint64(0xCD9E8D57) * uint64(c2)
        c0 = uint32(p1 >> uint64(32)) ^ c1 ^ k0
        c2 = uint32(p0 >> uint64(32)) ^ c3 ^ k1
        c1, c3 = uint32(p1), uint32(p0)
        k0, k1 = uint32(k0 + uint32(0x9E3779B9)), uint32(k1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


@register_jitable
def _draw(bits: Any, first: Any, rows: Any, key: Any, stream: Any) -> None:
    """Words of the items first ... first + rows - 1: bits (4 ceil(z / 4), rows)."""
    for group in range(bits.shape[0] // 4):
        for i in range(rows):
            item = uint64(first + i)
            low, high = uint32(item), uint32(item >> uint64(32))
            word = _philox(low, high, uint32(group), uint32(stream), uint32(key[0]), uint32(key[1]))
            bits[4 * group, i], bits[4 * group + 1, i] = word[0], word[1]
            bits[4 * group + 2, i], bits[4 * group + 3, i] = word[2], word[3]


@register_jitable
def _pack(packed: Any, address: Any, strides: Any, rows: Any, n: Any, W: Any) -> None:
    """Rows at an address, as tiles: packed[(tile, row of CHUNK, W)]."""
    whole = 0
    if strides[1] == packed.itemsize:
        whole = n // W
        for i in range(rows):
            for tile in range(whole):
                _copy_line(packed, (tile * CHUNK + i) * W, address + i * strides[0] + tile * LINE)
    for tile in range(whole, (n + W - 1) // W):
        column = address + tile * W * strides[1]
        width = min(W, n - tile * W)
        for i in range(rows):
            for c in range(width):
                number = _load(column + i * strides[0] + c * strides[1], packed)
                packed[(tile * CHUNK + i) * W + c] = number


def _sparse_sign_panel(address, strides, n, rows, first, key, stream, l, z, scale, sums):
    """sums (tiles, l, W) flat = S[:, first : first + rows] A, for A (rows, n) at an address, n <= PANEL W."""
    W = LINE // sums.itemsize
    tiles = (n + W - 1) // W
    bits = np.empty((4 * ((z + 3) // 4), CHUNK), np.uint32)
    at = np.empty((CHUNK, z), np.int64)
    weight = np.empty((CHUNK, z), sums.dtype)
    buffer = np.zeros(tiles * CHUNK * W + W, sums.dtype)
    skip = (-buffer.ctypes.data % LINE) // sums.itemsize
    packed = buffer[skip : skip + tiles * CHUNK * W]
    for i in range(sums.size):
        sums[i] = 0
    for chunk in range(0, rows, CHUNK):
        count = min(CHUNK, rows - chunk)
        _draw(bits, first + chunk, count, key, stream)
        for k in range(z):
            edge = k * l // z
            height = uint64((k + 1) * l // z - edge)
            for i in range(count):
                word = bits[k, i]
                at[i, k] = (edge + intp(uint64(word >> uint32(1)) * height >> uint64(31))) * W
                weight[i, k] = -scale if word & uint32(1) else scale
        _pack(packed, address + chunk * strides[0], strides, count, n, W)
        for tile in range(tiles):
            out = sums[tile * l * W : (tile + 1) * l * W]
            lines = packed[tile * CHUNK * W : (tile + 1) * CHUNK * W]
            for i in range(count):
                for k in range(0, z - 3, 4):
                    offsets = (at[i, k], at[i, k + 1], at[i, k + 2], at[i, k + 3])
                    weights = (weight[i, k], weight[i, k + 1], weight[i, k + 2], weight[i, k + 3])
                    _add_line(out, lines, i * W, offsets, weights)
                for k in range(z // 4 * 4, z):
                    _add_line(out, lines, i * W, (at[i, k],), (weight[i, k],))


@cache
def _sparse_sign_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    number = from_dtype(dtype)
    pair, key = types.UniTuple(intp, 2), types.UniTuple(uint32, 2)
    shape = (intp, pair, intp, intp, intp)
    return _compile(_sparse_sign_panel, *shape, key, uint32, intp, intp, number, number[::1])


def sparse_sign_apply(
    A: Array,
    l: int,
    nonzeros: int,
    key: tuple[int, int],
    stream: int,
    first: int = 0,
    threads: int | None = None,
) -> Array:
    """S[:, first : first + m] A, for a sparse sign operator S with l rows.

    Parameters
    ----------
    A : (m, n) array, float64 or float32
        Any strides; read once.
    nonzeros : int
        Per column of S, at most l; their rows and signs come from Philox at (column, key, stream).
    threads : int, optional
        At most so many; all available by default.

    Returns
    -------
    (l, n) array of the dtype of A, in C order
    """
    kernel = _sparse_sign_kernel(A.dtype)
    m, n = A.shape
    W = LINE // A.itemsize
    width = PANEL * W
    tiles, panels = -(-n // W), -(-n // width)
    # Each segment has its own sums: at most an eighth of A, and one where the panels give tasks enough.
    pieces = _segments(m, min(SEGMENTS // max(panels, 1), m // (8 * l)))
    buffer = np.empty(pieces * tiles * l * W + W, A.dtype)
    skip = (-buffer.ctypes.data % LINE) // A.itemsize
    sums = buffer[skip : skip + pieces * tiles * l * W].reshape(pieces, tiles * l * W)
    scale = A.dtype.type(1.0 / math.sqrt(nonzeros))
    tasks = []
    for piece, (start, stop) in enumerate(_ranges(m, pieces)):
        for j in range(0, n, width):
            address = A.ctypes.data + start * A.strides[0] + j * A.strides[1]
            columns = min(width, n - j)
            out = sums[piece, j * l : (j + -(-columns // W) * W) * l]
            tasks.append(
                (
                    address,
                    A.strides,
                    columns,
                    stop - start,
                    first + start,
                    key,
                    stream,
                    l,
                    nonzeros,
                    scale,
                    out,
                )
            )
    _run(kernel, tasks, A.size, threads)
    total = sums[0]
    for part in sums[1:]:
        total += part
    return np.ascontiguousarray(total.reshape(tiles, l, W).transpose(1, 0, 2).reshape(l, tiles * W)[:, :n])


# -- fused normal residual ----------------------------------------------------------------------------------------


def _normal_residual_rows(A, x, b, start, stop, r, g):
    n = A.shape[1]
    g[:] = 0
    for i in range(start, stop):
        row = A[i]
        product = A.dtype.type(0)
        for j in range(n):
            product += row[j] * x[j]
        r[i] = b[i] - product
        for j in range(n):
            g[j] += row[j] * r[i]


@cache
def _normal_residual_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    vector, given = from_dtype(dtype)[::1], _read_only(dtype, 1)
    arguments = (_read_only(dtype, 2), given, given, intp, intp, vector, vector)
    return _compile(_normal_residual_rows, *arguments, fastmath={"reassoc", "contract", "nsz"})


def normal_residual(A: Array, x: Array, b: Array, *, threads: int | None = None) -> tuple[Array, Array]:
    """A'(b - A x) and b - A x, reading A once.

    Parameters
    ----------
    A : (m, n) array, float64 or float32, in C order
    x : (n,) array
    b : (m,) array

    Returns
    -------
    g : (n,) array of the dtype of A
    r : (m,) array of the dtype of A

    Raises
    ------
    ValueError
        If A is not in C order.
    """
    if not A.flags.c_contiguous:
        raise ValueError("the fused residual needs A in C order")
    m, n = A.shape
    kernel = _normal_residual_kernel(A.dtype)
    x, b = np.ascontiguousarray(x, A.dtype), np.ascontiguousarray(b, A.dtype)
    pieces = _segments(m)
    r, g = np.empty(m, A.dtype), np.empty((pieces, n), A.dtype)
    tasks = [(A, x, b, start, stop, r, g[i]) for i, (start, stop) in enumerate(_ranges(m, pieces))]
    _run(kernel, tasks, A.size, threads)
    return g.sum(axis=0), r


# -- compensated products -----------------------------------------------------------------------------------------
#
# Dot2 of Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005), algorithm 5.3
# (doi:10.1137/030601818): products and sums without error, the errors summed alongside. The result is as good as
# if computed in twice the precision and then rounded: |error| <= u |exact| + gamma_n^2 |a|'|x| (its prop. 5.5).


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(float64, float64, float64), generate


@register_jitable
def _two_sum(a: Any, b: Any) -> Any:
    total = a + b
    z = total - a
    return total, (a - (total - z)) + (b - z)


@register_jitable
def _add_product(hi: Any, lo: Any, a: Any, x_hi: Any, x_lo: Any) -> Any:
    """(hi + lo) + a (x_hi + x_lo), the errors of the leading terms caught."""
    product = a * x_hi
    total, error = _two_sum(hi, product)
    return total, lo + ((_fma(a, x_hi, -product) + error) + a * x_lo)


def _dot2_rows(A, X_hi, X_lo, B, start, stop, out_hi, out_lo):
    """out (k, m) = B + X A' for rows start <= i < stop of A (m, n), X (k, n), B (k, m)."""
    n = A.shape[1]
    whole = n // LANES * LANES
    hi, lo = np.empty(LANES), np.empty(LANES)
    for i in range(start, stop):
        row = A[i]
        for q in range(X_hi.shape[0]):
            x_hi, x_lo = X_hi[q], X_lo[q]
            hi[:] = 0.0
            lo[:] = 0.0
            for j in range(0, whole, LANES):
                a, h, e = row[j : j + LANES], x_hi[j : j + LANES], x_lo[j : j + LANES]
                for t in range(LANES):
                    hi[t], lo[t] = _add_product(hi[t], lo[t], float64(a[t]), h[t], e[t])
            for t in range(n - whole):
                j = whole + t
                hi[t], lo[t] = _add_product(hi[t], lo[t], float64(row[j]), x_hi[j], x_lo[j])
            half = LANES // 2
            while half:
                for t in range(half):
                    total, error = _two_sum(hi[t], hi[t + half])
                    hi[t], lo[t] = total, (lo[t] + lo[t + half]) + error
                half //= 2
            total, error = _two_sum(B[q, i], hi[0])
            out_hi[q, i], out_lo[q, i] = _two_sum(total, error + lo[0])


def _axpy2_columns(A, R_hi, R_lo, start, stop, first, last, hi, lo):
    """hi + lo (k, n) += R[:, rows] A[rows] for rows start <= i < stop and columns first <= j < last."""
    for i in range(start, stop):
        row = A[i][first:last]
        for q in range(R_hi.shape[0]):
            h, e = R_hi[q, i], R_lo[q, i]
            hi_q, lo_q = hi[q][first:last], lo[q][first:last]
            for j in range(last - first):
                hi_q[j], lo_q[j] = _add_product(hi_q[j], lo_q[j], float64(row[j]), h, e)


@cache
def _dot2_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    M = float64[:, ::1]
    return _compile(_dot2_rows, _read_only(dtype, 2), M, M, M, intp, intp, M, M)


@cache
def _axpy2_kernel(dtype: np.dtype[Any]) -> Callable[..., None]:
    M = float64[:, ::1]
    return _compile(_axpy2_columns, _read_only(dtype, 2), M, M, intp, intp, intp, intp, M, M)


def _multiply_add(A: Array, X_hi: Array, X_lo: Array, B: Array, threads: int | None) -> tuple[Array, Array]:
    """B + X A' : (k, m) as unevaluated sums hi + lo, for X (k, n) and A (m, n) in either memory order."""
    if A.dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        A = A.astype(np.float64)
    if not (A.flags.c_contiguous or A.flags.f_contiguous) or not A.flags.aligned:
        A = np.ascontiguousarray(A)
    m, n = A.shape
    k = X_hi.shape[0]
    if A.flags.c_contiguous:
        out_hi, out_lo = np.empty((k, m)), np.empty((k, m))
        pieces = max(1, min(m, A.size * k // SERIAL))
        tasks = [(A, X_hi, X_lo, B, start, stop, out_hi, out_lo) for start, stop in _ranges(m, pieces)]
        _run(_dot2_kernel(A.dtype), tasks, A.size * k, threads)
        return out_hi, out_lo
    pieces = _segments(n)
    hi, lo = np.zeros((pieces, k, m)), np.zeros((pieces, k, m))
    hi[0] = B
    tasks = [
        (A.T, X_hi, X_lo, start, stop, j, min(j + WIDTH, m), hi[i], lo[i])
        for i, (start, stop) in enumerate(_ranges(n, pieces))
        for j in range(0, m, WIDTH)
    ]
    _run(_axpy2_kernel(A.dtype), tasks, A.size * k, threads)
    total, tail = hi[0], lo[0]
    for i in range(1, pieces):
        total, error = _two_sum(total, hi[i])
        tail = tail + lo[i] + error
    return _two_sum(total, tail)


def _rows(x: Any) -> Array:
    """(length,) or (length, k) as a float64 (k, length) array in C order, a copy."""
    x = np.asarray(x, dtype=np.float64)
    return np.array(x[:, None].T if x.ndim == 1 else x.T, order="C")


def residual_double_double(A: Array, x: Array, b: Array, *, threads: int | None = None) -> tuple[Array, Array]:
    """b - A x as the unevaluated sum of two float64 arrays, as if computed in twice the precision.

    Parameters
    ----------
    A : (m, n) array
        float64 or float32, C or Fortran order; copied otherwise.
    x : (n,) or (n, k) array
    b : (m,) or (m, k) array

    Returns
    -------
    hi, lo : (m,) or (m, k) float64 arrays
        hi is the residual rounded to float64, lo what the rounding left. Componentwise |hi - r| <=
        u |r| + 2 gamma_{n+2}^2 (|A| |x| + |b|), u = 2^-53, gamma_n = n u / (1 - n u). Not finite where a
        product overflows.
    """
    A, b = np.asarray(A), np.asarray(b)
    X = -_rows(x)
    hi, lo = _multiply_add(A, X, np.zeros_like(X), _rows(b), threads)
    return hi.T.reshape(b.shape), lo.T.reshape(b.shape)


def residual_compensated(A: Array, x: Array, b: Array, *, threads: int | None = None) -> Array:
    """b - A x in float64, as if computed in twice the precision: see `residual_double_double`."""
    return residual_double_double(A, x, b, threads=threads)[0]


def rmatvec_compensated(A: Array, r: Array, r_low: Array | None = None, *, threads: int | None = None) -> Array:
    """A'(r + r_low) in float64, as if computed in twice the precision.

    With both parts of `residual_double_double` this is A'(b - A x) although r is nearly orthogonal to the
    columns of A, where rounding r to one float64 would already leave u ||A|| ||r||.

    Parameters
    ----------
    A : (m, n) array
        float64 or float32, C or Fortran order; copied otherwise.
    r, r_low : (m,) or (m, k) arrays

    Returns
    -------
    (n,) or (n, k) float64 array
    """
    A, r = np.asarray(A), np.asarray(r)
    R = _rows(r)
    R_low = np.zeros_like(R) if r_low is None else _rows(r_low)
    hi, _ = _multiply_add(A.T, R, R_low, np.zeros((R.shape[0], A.shape[1])), threads)
    return hi.T.reshape(A.shape[1], *r.shape[1:])
