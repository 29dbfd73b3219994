"""Compiled kernels: exact residuals in rational arithmetic, and the same bits for any number of threads.

The bars are the theorems' constants; plain float64 must miss them on the same data.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from autonla.primitives.kernels import _numba as kernels
from autonla.primitives.sketches import make_sketch

U: Any = Fraction(1, 1 << 53)


def gamma(n: int) -> Any:
    return n * U / (1 - n * U)


def fractions(A: np.ndarray) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(np.asarray(A, dtype=np.float64))


def ill_conditioned(m: int, n: int, dtype: type, order: Any, columns: int | None, seed: int, decades: int = 12):
    """A with singular values down to 10^-decades, x, and b so close to A x that b - A x is all cancellation."""
    rng = np.random.default_rng(seed)
    W = np.linalg.qr(rng.standard_normal((m, n)))[0]
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = np.asarray((W * np.logspace(0, -decades, n)) @ V.T, dtype=dtype, order=order)
    shape = (n,) if columns is None else (n, columns)
    x = rng.standard_normal(shape) * 1e3
    b = A.astype(float) @ x
    b += 1e-15 * rng.standard_normal(b.shape)
    return A, x, b


CASES = [(np.float64, "C", None), (np.float64, "F", 3), (np.float32, "F", None), (np.float32, "C", 3)]


@pytest.mark.parametrize(("dtype", "order", "columns"), CASES)
@pytest.mark.parametrize(("m", "n"), [(40, 33), (9, 1), (25, 70)])
def test_residual_is_that_of_twice_the_precision(m, n, dtype, order, columns):
    A, x, b = ill_conditioned(max(m, n), min(m, n), dtype, order, columns, seed=m)
    if m < n:
        A, x, b = wide(A, columns, seed=m)
    A_exact, x_exact, b_exact = fractions(A), fractions(x), fractions(b)
    exact = b_exact - A_exact @ x_exact
    magnitude = abs(A_exact) @ abs(x_exact) + abs(b_exact)
    bar = U * abs(exact) + 2 * gamma(A.shape[1] + 2) ** 2 * magnitude
    hi, lo = kernels.residual_double_double(A, x, b)
    assert hi.shape == lo.shape == b.shape
    assert (abs(fractions(hi) - exact) <= bar).all()
    assert (abs(fractions(hi) + fractions(lo) - exact) <= 4 * gamma(A.shape[1] + 2) ** 2 * magnitude).all()
    np.testing.assert_array_equal(kernels.residual_compensated(A, x, b), hi)
    if n > 1:
        plain = fractions(b - A.astype(float) @ x)
        assert (abs(plain - exact) > bar).any()


def wide(A: np.ndarray, columns: int | None, seed: int):
    rng = np.random.default_rng(seed)
    order = "C" if A.flags.c_contiguous else "F"
    A = np.asarray(A.T, order=order)
    x = rng.standard_normal((A.shape[1],) if columns is None else (A.shape[1], columns)) * 1e3
    return A, x, A.astype(float) @ x


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradient_at_the_least_squares_solution(dtype, order):
    A, x, _ = ill_conditioned(40, 33, dtype, order, None, seed=5, decades=2)
    b = A.astype(float) @ x + np.random.default_rng(6).standard_normal(40)
    x = np.linalg.lstsq(A.astype(float), b, rcond=None)[0]
    A_exact, x_exact, b_exact = fractions(A), fractions(x), fractions(b)
    r = b_exact - A_exact @ x_exact
    exact = A_exact.T @ r
    magnitude = abs(A_exact.T) @ (abs(A_exact) @ abs(x_exact) + abs(b_exact))
    bar = U * abs(exact) + 8 * gamma(44) ** 2 * magnitude
    hi, lo = kernels.residual_double_double(A, x, b)
    assert (abs(fractions(kernels.rmatvec_compensated(A, hi, lo)) - exact) <= bar).all()
    # Neither a plain product nor a compensated one with the rounded residual will do.
    wide_A = A.astype(float)
    assert (abs(fractions(wide_A.T @ (b - wide_A @ x)) - exact) > bar).any()
    assert (abs(fractions(kernels.rmatvec_compensated(A, hi)) - exact) > bar).any()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("m", "n"), [(40_000, 50), (50, 40_000)])
def test_large_residuals_are_exact_in_integers_for_any_thread_count(m, n, order):
    rng = np.random.default_rng(1)
    A = np.asarray(rng.integers(-(1 << 26), 1 << 26, (m, n)), order=order)
    x = rng.integers(-(1 << 26), 1 << 26, n)
    exact_product = A @ x  # about 2^60: int64 holds it
    b = exact_product.astype(float)
    exact = b.astype(np.int64) - exact_product  # what rounding b took away
    values = A.astype(float)
    assert np.any(exact)
    for threads in (1, 2, None):
        hi, lo = kernels.residual_double_double(values, x, b, threads=threads)
        np.testing.assert_array_equal(hi, exact)
        assert not lo.any()
    assert np.any(b - values @ x != exact)
    y = rng.integers(-(1 << 26), 1 << 26, m)
    exact_product = A.T @ y
    for threads in (1, 2, None):
        np.testing.assert_array_equal(
            kernels.rmatvec_compensated(values, y, threads=threads), exact_product.astype(float)
        )


def test_compensated_products_take_any_layout_and_change_nothing():
    A, x, b = ill_conditioned(40, 33, np.float64, "C", None, seed=1)
    expected = kernels.residual_compensated(A, x, b)
    spread = np.zeros((40, 66))
    spread[:, ::2] = A
    for B in (spread[:, ::2], A.astype(">f8"), np.asfortranarray(A)):
        before = B.copy()
        np.testing.assert_allclose(kernels.residual_compensated(B, x, b), expected, rtol=2**-53, atol=1e-24)
        np.testing.assert_array_equal(B, before)
    A.flags.writeable = x.flags.writeable = b.flags.writeable = False
    np.testing.assert_array_equal(kernels.residual_compensated(A, x, b), expected)
    integers = np.arange(12).reshape(4, 3)
    assert (kernels.residual_compensated(integers, np.ones(3), integers.sum(axis=1)) == 0).all()


@pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0), (0, 0)])
def test_compensated_products_of_nothing(m, n):
    A = np.zeros((m, n))
    np.testing.assert_array_equal(kernels.residual_compensated(A, np.ones(n), np.ones(m)), np.ones(m))
    np.testing.assert_array_equal(kernels.rmatvec_compensated(A, np.ones(m)), np.zeros(n))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("m", "n"), [(50, 7), (40_000, 33), (1, 1), (0, 4), (4, 0)])
def test_normal_residual(m, n, dtype):
    rng = np.random.default_rng(2)
    A, x, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, n), n, m))
    g, r = kernels.normal_residual(A, x, b, threads=1)
    assert g.dtype == r.dtype == dtype
    u = np.finfo(dtype).eps / 2
    B, y, c = (v.astype(float) for v in (A, x, b))
    magnitude = abs(B) @ abs(y) + abs(c)
    exact = c - B @ y
    assert (abs(r - exact) <= 1.1 * (n + 2) * u * magnitude).all()
    bound = 1.1 * u * ((n + 2) * (abs(B.T) @ magnitude) + 4 * math.sqrt(m + 1) * (abs(B.T) @ abs(exact)))
    assert (abs(g - B.T @ exact) <= bound).all()
    for threads in (2, None):
        again = kernels.normal_residual(A, x, b, threads=threads)
        np.testing.assert_array_equal(again[0], g)
        np.testing.assert_array_equal(again[1], r)
    if m > 1 and n > 1:
        with pytest.raises(ValueError, match="C order"):
            kernels.normal_residual(np.asfortranarray(A), x, b)


def test_the_compiled_generator_is_the_numpy_one():
    for l, m, nonzeros in [(64, 1200, 8), (7, 600, 3)]:
        S = make_sketch("sparse_sign", l, m, (1 << 63) + 17, nonzeros)
        np.testing.assert_array_equal(S.apply(np.eye(m)), S.to_dense())


def test_first_calls_from_several_threads_at_once():
    kernels._dot2_kernel.cache_clear()
    kernels._axpy2_kernel.cache_clear()
    A, x, b = ill_conditioned(40, 33, np.float64, "C", None, seed=1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: kernels.residual_compensated(A, x, b), range(8)))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def increment(values):
    values[0] += 1


def test_compiles_where_nothing_can_be_cached(monkeypatch):
    from numba import float64

    tried = []

    def nowhere(function):
        tried.append(function)
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.FunctionCache", nowhere)
    values = np.zeros(1)
    kernels._compile(increment, float64[::1])(values)
    assert tried
    assert values[0] == 1


def test_threads_are_those_of_the_process():
    assert kernels.available_threads() >= 1
