"""How each kernel is started on given operands, and how far a result is from the truth.

A `start_*` function sets up what the call needs (a factor, a test matrix) and returns the call itself. An error
function recomputes the result, or what it must satisfy, in extended precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..norms import norm
from ._library import Library
from ._operands import Arrays

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a kernel is started on: a library, its arrays, the dimensions and the dtype asked for."""

    lib: Library
    arrays: Arrays
    dims: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One checked call: where it ran, its inputs as extended-precision numpy arrays, and what it returned."""

    on: Setting
    inputs: Arrays
    result: Any

    def array(self, part: int | None = None) -> np.ndarray:
        """The result, or one part of it, as an extended-precision numpy array."""
        return exactly(self.on.lib, self.result if part is None else self.result[part])


def exactly(lib: Library, a: Any) -> np.ndarray:
    """`a` as an extended-precision numpy array."""
    return np.asarray(lib.to_numpy(lib.astype(a, "float32") if str(a.dtype).endswith("bfloat16") else a), np.longdouble)


def place(lib: Library, a: np.ndarray, device: str) -> Any:
    """A numpy array as an array of the library, on the device."""
    native = lib.asarray(a)
    return native.to(device) if lib.name == "torch" and device != "cpu" else native


def relative(result: np.ndarray, truth: np.ndarray) -> float:
    """||result - truth||_F / ||truth||_F; infinite when the shapes differ."""
    if result.shape != truth.shape:
        return float("inf")
    scale = float(np.sqrt(np.sum(truth**2)))
    return float(np.sqrt(np.sum((result - truth) ** 2))) / (scale or 1.0)


# -- starting ---------------------------------------------------------------------------------------------------------


def start_gemm(s: Setting) -> Call:
    A, B = (s.lib.astype(x, s.dtype) for x in s.arrays)
    return lambda: s.lib.matmul(A, B)


def start_gemv_t(s: Setting) -> Call:
    A, x = s.arrays
    return lambda: s.lib.rmatmul(A, x)


def start(method: str) -> Callable[[Setting], Call]:
    """One method of the library, on the operands as they are."""

    def begin(s: Setting) -> Call:
        function, arrays = getattr(s.lib, method), s.arrays
        return lambda: function(*arrays)

    return begin


def start_trsm(s: Setting) -> Call:
    R, B = s.lib.cholesky(s.arrays[0]), s.arrays[1]
    return lambda: s.lib.solve_triangular(R, B)


def start_trsm_right(s: Setting) -> Call:
    R, A = s.lib.cholesky(s.arrays[0]), s.arrays[1]
    return lambda: s.lib.right_solve_triangular(A, R)


def start_getrs(s: Setting) -> Call:
    factor, B = s.lib.lu_factor(s.arrays[0]), s.arrays[1]
    return lambda: s.lib.lu_solve(factor, B)


def start_sytrs(s: Setting) -> Call:
    lib: Any = s.lib  # SciPy's library alone has symmetric indefinite factors and condition estimates
    factor, B = lib.ldl_factor(s.arrays[0]), s.arrays[1]
    return lambda: lib.ldl_solve(factor, B)


def start_gecon(s: Setting) -> Call:
    lib: Any = s.lib
    A = s.arrays[0]
    factor, norm_1 = lib.lu_factor(A), float(abs(A).sum(axis=0).max())
    return lambda: lib.lu_reciprocal_condition(factor, norm_1)


def start_gbsv(s: Setting) -> Call:
    lib: Any = s.lib
    A, B = s.arrays
    _, kl, ku, _ = s.dims
    return lambda: lib.solve_banded(A, B, kl, ku)


def start_cast(s: Setting) -> Call:
    A = s.arrays[0]
    return lambda: s.lib.astype(A, s.dtype)


def start_copy(s: Setting) -> Call:
    A = s.arrays[0]
    return lambda: s.lib.xp.asarray(A, copy=True)


def start_stream(s: Setting) -> Call:
    A = s.arrays[0]
    return lambda: norm(A)


# -- errors -----------------------------------------------------------------------------------------------------------


def product_error(t: Trial) -> float:
    A, B = t.inputs
    return relative(t.array(), A @ B)


def transposed_product_error(t: Trial) -> float:
    A, x = t.inputs
    return relative(t.array(), A.T @ x)


def gram_error(t: Trial) -> float:
    A = t.inputs[0]
    return relative(np.triu(t.array()), np.triu(A.T @ A))


def cholesky_error(t: Trial) -> float:
    R = t.array()
    return relative(R.T @ R, t.inputs[0])


def _upper(t: Trial) -> np.ndarray:
    return np.triu(exactly(t.on.lib, t.on.lib.cholesky(t.on.arrays[0])))


def triangular_error(t: Trial) -> float:
    return relative(_upper(t) @ t.array(), t.inputs[1])


def right_triangular_error(t: Trial) -> float:
    return relative(t.array() @ _upper(t), t.inputs[1])


def factor_error(t: Trial) -> float:
    """Of a factorization, by solving with it."""
    n = t.on.dims[0]
    b = place(t.on.lib, np.ones(n, t.on.dtype), "cpu")
    b = b.to(t.on.arrays[0].device) if t.on.lib.name == "torch" else b
    lib: Any = t.on.lib
    x = lib.ldl_solve(t.result, b) if hasattr(t.result, "ldl") else lib.lu_solve(t.result, b)
    return relative(t.inputs[0] @ exactly(lib, x), np.ones(n, np.longdouble))


def solve_error(t: Trial) -> float:
    A, B = t.inputs
    return relative(A @ t.array(), B)


def condition_error(t: Trial) -> float:
    """LAPACK's estimate may be too large a reciprocal by a factor of three or so, never too small."""
    A = np.asarray(t.inputs[0], np.float64)
    truth = 1.0 / (np.linalg.norm(A, 1) * np.linalg.norm(np.linalg.inv(A), 1))
    ratio = float(t.result) / truth
    return 0.0 if 0.99 < ratio < 10.0 else float("inf")


def banded_error(t: Trial) -> float:
    A, b = t.inputs
    _, kl, ku, _ = t.on.dims
    return relative(np.tril(np.triu(A, -kl), ku) @ t.array(), b)


def r_error(t: Trial) -> float:
    A, R = t.inputs[0], t.array()
    return max(relative(R.T @ R, A.T @ A), relative(np.triu(R), R))


def qr_error(t: Trial) -> float:
    Q, R = t.array(0), t.array(1)
    eye = np.eye(Q.shape[1], dtype=np.longdouble)
    return max(relative(Q @ R, t.inputs[0]), relative(Q.T @ Q, eye), relative(np.triu(R), R))


def least_squares_error(t: Trial) -> float:
    """||A'(b - A x)|| / (||A||^2 ||x||): zero at the minimiser."""
    A, b = t.inputs
    x = t.array()
    gradient = A.T @ (b - A @ x)
    return float(np.sqrt(np.sum(gradient**2) / (np.sum(A**2) ** 2 * np.sum(x**2))))


def svd_error(t: Trial) -> float:
    U, s, Vh = t.array(0), t.array(1), t.array(2)
    eye = np.eye(len(s), dtype=np.longdouble)
    return max(relative((U * s) @ Vh, t.inputs[0]), relative(U.T @ U, eye), relative(Vh @ Vh.T, eye))


def svdvals_error(t: Trial) -> float:
    truth = np.linalg.svd(np.asarray(t.inputs[0], np.float64), compute_uv=False)
    return relative(t.array(), np.asarray(truth, np.longdouble))


def eigh_error(t: Trial) -> float:
    w, V = t.array(0), t.array(1)
    eye = np.eye(len(w), dtype=np.longdouble)
    return max(relative((V * w) @ V.T, t.inputs[0]), relative(V.T @ V, eye))


def same_error(t: Trial) -> float:
    """Of a cast or a copy: entries to the rounding of the new dtype, and the dtype itself."""
    named = str(t.result.dtype).rsplit(".", 1)[-1]
    return relative(t.array(), t.inputs[0]) if named == t.on.dtype else float("inf")


def norm_error(t: Trial) -> float:
    truth = float(np.sqrt(np.sum(t.inputs[0] ** 2)))
    return abs(float(t.result) - truth) / truth


# -- kernels that are not a method of a library -----------------------------------------------------------------------


def asymmetry(A: Any, tile: int = 128) -> float:
    """||A - A'||_F, tile by tile: both tiles of a pair stay in cache, and nothing of A's size is allocated."""
    n, total = A.shape[0], 0.0
    for i in range(0, n, tile):
        for j in range(i, n, tile):
            d = A[i : i + tile, j : j + tile] - A[j : j + tile, i : i + tile].T
            part = float(np.einsum("ij,ij->", d, d)) if isinstance(d, np.ndarray) else float((d * d).sum())
            total += part if i == j else 2.0 * part
    return math.sqrt(total)


def start_symmetry(s: Setting) -> Call:
    A = s.arrays[0]
    return lambda: asymmetry(A)


def symmetry_error(t: Trial) -> float:
    A = t.inputs[0]
    truth = float(np.sqrt(np.sum((A - A.T) ** 2)))
    return abs(float(t.result) - truth) / truth


def _sketch(s: Setting) -> Any:
    from ..sketches import make_sketch

    if len(s.dims) == 4:
        m, _, l, z = s.dims
        return make_sketch("sparse_sign", l, m, 1, nonzeros=z)
    m, _, l = s.dims
    return make_sketch("srtt", l, m, 1)


def start_sketch(s: Setting) -> Call:
    """A sketch is drawn and applied: it is not kept."""
    A = s.arrays[0]
    return lambda: _sketch(s).apply(A)


def sketch_error(t: Trial) -> float:
    return relative(np.asarray(t.result, np.longdouble), _sketch(t.on).to_dense() @ t.inputs[0])


def start_randn(s: Setting) -> Call:
    from ..sketches import gaussian_test_matrix

    m, n = s.dims
    return lambda: gaussian_test_matrix(m, n, 1, np.dtype(s.dtype))


def randn_error(t: Trial) -> float:
    """Mean and variance of the entries: four standard deviations from what they should be is wrong."""
    x = np.asarray(t.result, np.float64)
    off = max(abs(x.mean()) * np.sqrt(x.size), abs(x.var() - 1.0) * np.sqrt(x.size / 2.0))
    return 0.0 if x.shape == t.on.dims and off < 4.0 else float("inf")
