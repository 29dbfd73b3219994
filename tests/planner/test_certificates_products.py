"""Products and norms that the certificates are made of: in float64 whatever A is in, in blocks of a known size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autonla.planner.certify import products
from autonla.primitives.kernels import library
from tests._support.backends import BACKENDS

LIBRARIES = {"numpy": "scipy", "torch": "torch"}


def lib_of(backend):
    return library(LIBRARIES.get(backend.name, "torch"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "double"), [("float64", True), ("float32", False)])
def test_what_is_double(backend, dtype, double):
    assert products.is_double(backend.asarray(np.ones((2, 2)), dtype)) is double


def test_blocks_of_rows_cover_all_rows_within_eight_mebibytes():
    for (m, n), step in (((10, 3), 10), ((5000, 1000), 1048), ((3, 2**21), 1), ((5, 2**22), 1), ((7, 0), 7)):
        found = products.row_blocks(np.broadcast_to(np.float32(1.0), (m, n)))
        assert found[0] == slice(0, step)
        assert [i for block in found for i in range(m)[block]] == list(range(m))
        assert all(block.stop - block.start == step for block in found[:-1])
        assert found[-1].stop == m
    assert products.row_blocks(np.broadcast_to(np.float32(1.0), (5000, 1000)), 16)[0] == slice(0, 524)
    assert products.row_blocks(np.ones((0, 4))) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_in_float64(backend, dtype, monkeypatch):
    """Of float32 entries as they are, in blocks: no sum is rounded to float32."""
    lib, rng = lib_of(backend), np.random.default_rng(1)
    A = rng.standard_normal((23, 6)).astype(dtype)
    X, Y, exact = rng.standard_normal((6, 2)), rng.standard_normal((23, 3)), A.astype(np.float64)
    monkeypatch.setattr(products, "_BLOCK_BYTES", 8 * 6 * 5)  # five rows
    if dtype == "float32":
        assert len(products.row_blocks(A)) == 5
    operand = lib.asarray(backend.asarray(A, dtype))
    for found, expected in (
        (products.matmul64(lib, operand, lib.asarray(X)), exact @ X),
        (products.rmatmul64(lib, operand, lib.asarray(Y)), exact.T @ Y),
    ):
        assert products.is_double(found)
        np.testing.assert_allclose(lib.to_numpy(found), expected, rtol=0, atol=1e-14 * np.abs(expected).max() * 23)


def test_how_many_rows_are_added_up_at_once():
    def rows(m: int, n: int, order: Any = "C") -> int:
        found = products.rows_at_once(np.empty((m, n), order=order))
        assert isinstance(found, int)
        return found

    assert rows(100_000, 4) == 4096  # never more
    assert rows(100_000, 100) == 1024  # never fewer
    assert rows(100_000, 16) == 2048  # 2^15 entries
    assert rows(100_000, 0) == 4096
    assert rows(1500, 4) == 1500
    assert rows(100_000, 100, "F") == 100_000  # blocks of it would be copied
    assert products.rows_at_once(library("torch").asarray(np.ones((5000, 16)))) == 2048


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_long_product_is_the_sum_of_its_blocks(backend, order, monkeypatch):
    lib, rng = lib_of(backend), np.random.default_rng(2)
    A, Y = np.asarray(rng.standard_normal((2500, 40)), order=order), rng.standard_normal((2500, 2))
    seen, plain = [], type(lib).rmatmul

    def counting(self, A, Y):
        seen.append(A.shape[0])
        return plain(self, A, Y)

    monkeypatch.setattr(type(lib), "rmatmul", counting)
    found = products.rmatmul_in_blocks(lib, lib.asarray(A), lib.asarray(Y))
    np.testing.assert_allclose(lib.to_numpy(found), A.T @ Y, rtol=0, atol=1e-11)
    whole = order == "F" and backend.name == "numpy"
    assert seen == ([2500] if whole else [1024, 1024, 452])


def test_rounding_of_a_sum_by_hand():
    assert products.rounding_of_sum(0) == 1.0
    assert products.rounding_of_sum(100) == pytest.approx(2.8, rel=1e-12, abs=0.0)
    assert products.rounding_of_sum(10_000) == pytest.approx(19.0, rel=1e-12, abs=0.0)
    assert products.UNIT == 2.0**-53


@pytest.mark.parametrize("backend", BACKENDS)
def test_column_norms(backend):
    lib, rng = lib_of(backend), np.random.default_rng(3)
    X = rng.standard_normal((50, 4))
    np.testing.assert_allclose(lib.to_numpy(products.column_norms(lib.asarray(X))), np.linalg.norm(X, axis=0))
    assert products.column_norm_list(lib.asarray(X)) == pytest.approx(np.linalg.norm(X, axis=0), rel=1e-14, abs=0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [5, 20_000])  # by a routine that wakes no threads up to 10 000
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-135, 0.3, 1e140, 1e160, 1e300])
def test_norms_of_columns_of_any_size(backend, rows, columns, size):
    lib = lib_of(backend)
    X = size * (1.0 + np.random.default_rng(4).random((rows, columns)))
    with np.errstate(all="ignore"):
        found = products.column_norm_list(lib.asarray(X))
    assert found == pytest.approx(size * np.linalg.norm(X / size, axis=0), rel=1e-12, abs=0.0)
    assert all(isinstance(each, float) for each in found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", [1, 2])
def test_norms_of_what_is_not_finite_and_of_nothing(backend, columns):
    lib = lib_of(backend)
    for bad in (math.nan, math.inf):
        X = np.ones((4, columns))
        X[1, 0] = bad
        with np.errstate(all="ignore"):
            first, *rest = products.column_norm_list(lib.asarray(X))
        assert math.isnan(first) if math.isnan(bad) else first == math.inf
        assert rest == [2.0] * (columns - 1)
    assert products.column_norm_list(lib.asarray(np.zeros((4, columns)))) == [0.0] * columns


def test_one_column_of_any_strides():
    X = np.arange(24.0).reshape(8, 3)
    assert products.column_norm_list(X[::2, 1:2]) == pytest.approx([np.linalg.norm(X[::2, 1])], rel=1e-14, abs=0.0)


def test_a_vector_is_one_column():
    x = np.arange(3.0)
    np.testing.assert_array_equal(products.as_columns(x), x[:, None])
    X = np.ones((3, 2))
    assert products.as_columns(X) is X


@pytest.mark.parametrize(("rows", "short"), [(1, 1), (10_000, 1), (10_001, 0)])
def test_norms_in_the_usual_range_take_one_pass_and_short_ones_wake_no_threads(rows, short, monkeypatch):
    calls, dot = [], products.dot_small
    monkeypatch.setattr(products, "dot_small", lambda x: calls.append(1) or dot(x))
    monkeypatch.setattr(products, "norm", None)  # a second pass
    for size in (1e-130, 1e-3, 1.0, 1e140):
        calls.clear()
        x = np.full((rows, 1), size)
        assert products.column_norm_list(x) == pytest.approx([size * math.sqrt(rows)], rel=1e-12, abs=0.0)
        assert len(calls) == short
        assert products.column_norm_list(np.hstack([x, x]))[1] == pytest.approx(
            size * math.sqrt(rows), rel=1e-12, abs=0
        )
