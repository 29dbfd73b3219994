from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from autonla.primitives.norms import column_norms, is_finite, max_abs, norm, power_of_two_scale
from tests._support.backends import BACKENDS, DTYPES, layouts

SHAPES = [(7,), (0,), (5, 3), (0, 4), (4, 0), (300, 700), (1, 1)]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23}


def _random(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_agrees_with_the_definition(backend, dtype, shape):
    A = _random(shape, dtype)
    exact = math.sqrt(math.fsum(float(a) ** 2 for a in A.ravel()))
    assert norm(backend.asarray(A)) == pytest.approx(exact, rel=20 * EPS[dtype], abs=0.0)
    assert max_abs(backend.asarray(A)) == np.max(np.abs(A), initial=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("dtype", "exponents"), [("float64", (-1040, -700, -500, 0, 500, 1000)), ("float32", (-135, -90, 0, 60, 115))]
)
def test_norm_scales_exactly_with_powers_of_two(backend, dtype, exponents):
    A = _random((40, 30), dtype)
    for exponent in exponents:
        scaled = np.ldexp(A, exponent).astype(dtype)
        exact = float(np.linalg.norm(np.ldexp(scaled.astype(np.float64), -exponent)))
        assert norm(backend.asarray(scaled)) == pytest.approx(math.ldexp(exact, exponent), rel=20 * EPS[dtype], abs=0.0)


def test_norm_keeps_small_entries_beside_each_other():
    # each square underflows, the plain sum of squares is zero
    x = np.full(10_000, 1e-170)
    assert norm(x) == pytest.approx(1e-168, rel=1e-12, abs=0.0)
    assert norm(np.array([5e-324])) == 5e-324
    assert norm(np.full(4, 1.7e308)) == math.inf  # the norm itself is not representable


def test_norm_of_columns_of_unequal_scale():
    A = _random((50, 4)) * np.array([1e-200, 1.0, 1e200, 0.0])
    exact = [float(np.linalg.norm(A[:, j] / s)) * s for j, s in enumerate((1e-200, 1.0, 1e200))]
    np.testing.assert_allclose(column_norms(A), [*exact, 0.0], rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_column_norms_in_blocks(backend, dtype):
    A = _random((3000, 70), dtype)
    norms = column_norms(backend.asarray(A))
    assert backend.owns(norms)
    np.testing.assert_allclose(
        backend.to_numpy(norms), np.linalg.norm(A.astype(np.float64), axis=0), rtol=40 * EPS[dtype]
    )
    assert column_norms(backend.asarray(A[:0])).shape == (70,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_entry_that_is_not_finite_is_found_anywhere(backend, dtype, bad):
    for position in ((0, 0), (299, 699), (150, 3)):
        A = _random((300, 700), dtype)
        assert is_finite(backend.asarray(A))
        A[position] = bad
        assert not is_finite(backend.asarray(A))
        assert not math.isfinite(norm(backend.asarray(A)))
        assert not math.isfinite(max_abs(backend.asarray(A)))


def test_large_entries_are_finite():
    A = np.full((300, 300), 1e300)
    assert is_finite(A)
    assert norm(A) == pytest.approx(3e302)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layout_gives_the_same(dtype):
    A = _random((90, 33), dtype)
    for name, B in layouts(A):
        if name == "big-endian":
            continue  # the planner makes the byte order native
        before = B.copy()
        assert norm(B) == pytest.approx(norm(A), rel=4 * EPS[dtype], abs=0.0), name
        assert max_abs(B) == max_abs(A), name
        np.testing.assert_allclose(column_norms(B), column_norms(A), rtol=10 * EPS[dtype], err_msg=name)
        np.testing.assert_array_equal(B, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_power_of_two_scale(backend):
    for exponent in (-600, -300, 0, 300, 600):
        A = np.ldexp(_random((20, 20)), exponent)
        scale = power_of_two_scale(backend.asarray(A))
        assert math.frexp(scale)[0] == 0.5
        if exponent == 0:
            assert scale == 1.0
        else:
            assert 0.5 <= np.max(np.abs(A)) * scale < 1.0
    assert power_of_two_scale(backend.asarray(np.zeros((3, 3)))) == 1.0
    tiny = power_of_two_scale(backend.asarray(np.array([5e-324])))
    assert math.isfinite(tiny)
    assert tiny >= 2.0**1000
    with pytest.raises(ValueError, match="not finite"):
        power_of_two_scale(backend.asarray(np.array([1.0, math.inf])))


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
def test_memory_is_a_block(layout):
    A = _random((1500, 1000))
    A = {"C": A, "F": np.asfortranarray(A), "strided": A[::2, ::2]}[layout]
    tiny = A * 1e-200
    for measure in (norm, max_abs, column_norms, is_finite):  # whatever is imported at first use
        measure(A[:2])
    tracemalloc.start()
    try:
        for measure in (norm, max_abs, column_norms, is_finite):
            measure(A)
            measure(tiny)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3e6


@pytest.mark.parametrize("n", [0, 1, 9_999, 10_000, 10_001])
def test_finiteness_of_vectors_of_any_length(n):
    """Short ones take another route."""
    x = np.ones(2 * n)[::2]
    assert is_finite(x)
    assert is_finite(1e200 * x)  # whose squares overflow
    for bad in (np.nan, np.inf):
        if n:
            spoilt = x.copy()
            spoilt[-1] = bad
            assert not is_finite(spoilt)
