"""The certificate of a least-squares problem, each of its functions against its formula in plain numpy."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from autonla.planner.certify import least_squares as certificate
from autonla.primitives import chi_squared
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.kernels import _numba, library
from autonla.primitives.sketches import make_sketch
from autonla.primitives.task import Task
from autonla.primitives.work import KernelCall

U = 2.0**-53
LIB = library("scipy")


def by_hand(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=0.0)


def of_shape(m: int, n: int, **how: Any) -> Task:
    return Task("least_squares", m, n, **how)


def normals(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(np.random.Philox(key=seed)).standard_normal(shape)


def norm(M: np.ndarray) -> np.ndarray:
    return np.linalg.norm(M, axis=0)


def embedding(R=None, V=None, s=None, U=None, distortion=0.0, amplification=1.0, wide=False):
    return certificate._Embedding(R, V, s, U, distortion, 1.0, "by hand", amplification, wide)


def steep(d: float) -> np.ndarray:
    """||D R^-1||_F is sqrt(2 + 2 / d^2)."""
    return np.array([[1.0, 1.0], [0.0, d]])


def refused(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("not to be called")


# What counts as a singular value.


@pytest.mark.parametrize(
    ("m", "n", "units"),
    [
        (50, 10, 4.0 * math.sqrt(10.0)),
        (10, 50, 4.0 * math.sqrt(10.0)),
        (50, 1, math.sqrt(50.0)),  # 4 sqrt(1), times a quarter of sqrt(50 / 1)
        (50000, 4, 2.0 * math.sqrt(12500.0)),
        (4, 50000, 2.0 * math.sqrt(12500.0)),
        (170, 10, math.sqrt(170.0)),
        (5, 0, 4.0),
    ],
)
def test_what_is_negligible_grows_with_the_short_side_and_with_long_columns(m, n, units):
    assert certificate._negligible(of_shape(m, n)) == by_hand(units * U)


def test_clear_singular_values_are_counted_without_a_product():
    task, nothing, same = of_shape(4, 3), np.zeros((4, 3)), np.eye(3)
    small = 4.0 * math.sqrt(3.0) * U

    def count(*s: float) -> int:
        return certificate._counted(LIB, nothing, same, np.array(s), task)  # where M V is looked at: 0

    assert count(3.0, 2.0, 1e-3) == 3
    assert count(3.0, 2.0, 3.0 * 1.9 * U) == 2
    assert count(3.0, 0.0, 0.0) == 1
    assert count(3.0, 2.0, 3.0 * 1e3 * small * 1.01) == 3
    assert count(3.0, 2.0, 3.0 * 1e3 * small * 0.99) == 0
    assert count(3.0, 2.0, 3.0 * 2.1 * U) == 0


@pytest.mark.parametrize(("size", "rank"), [(0.99, 2), (1.01, 3)])
def test_unclear_singular_values_are_judged_by_what_is_left_of_their_columns(size, rank):
    s0 = 3.0
    d = size * 4.0 * math.sqrt(3.0) * U * s0
    M = np.zeros((4, 3))
    M[0, 1], M[1, 2], M[2, 0] = -s0, 1.0, d
    V = np.eye(3)[:, [1, 2, 0]]
    s = np.array([s0, 1.0, 100.0 * 4.0 * math.sqrt(3.0) * U * s0])
    assert certificate._counted(LIB, M, V, s, of_shape(4, 3)) == rank


# The sketch and what is factored.


@pytest.mark.parametrize(
    ("m", "n", "rows"),
    [
        (2000, 100, 0),
        (2001, 100, 400),
        (6000, 1000, 0),
        (6001, 1000, 4000),
        (800_000, 5, 0),
        (800_001, 5, 25),
        (555_556, 6, 26),
        (500_000, 7, 28),
        (200_000, 11, 44),
    ],
)
def test_the_rows_of_a_sketch(m, n, rows):
    assert certificate.sketch_rows(of_shape(m, n)) == rows


def test_a_ridge_is_appended_as_a_multiple_of_the_identity():
    A = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32)
    plain, augmented = (certificate._with_ridge(LIB, A, ridge) for ridge in (0.0, 0.25))
    assert plain.dtype == augmented.dtype == np.float64
    np.testing.assert_array_equal(plain, A)
    np.testing.assert_array_equal(augmented, np.vstack([A, 0.5 * np.eye(2)]))


@pytest.mark.parametrize(("size", "asked"), [(0.9, True), (1.1, False)])
def test_singular_values_are_computed_only_where_a_pivot_is_small_beside_its_column(size, asked, monkeypatch):
    task, seen = of_shape(3, 2), []
    d = size * 1e3 * 4.0 * math.sqrt(2.0) * U
    M = np.vstack([steep(-d) * [1.0, 7.0], np.zeros(2)])
    monkeypatch.setattr(certificate, "_counted", lambda *args: seen.append(args) or 2)
    found = certificate._from_matrix(LIB, M, task, 0.25, 0.9, "QR of A")
    assert len(seen) == asked
    eta = 2.0 * U * math.sqrt(2.0) * math.sqrt(2.0 + 2.0 / d**2)
    assert found.distortion == by_hand(1.25 / (1.0 - eta) - 1.0)
    assert (found.V, found.method, found.confidence) == (None, "QR of A", 0.9)


def test_singular_values_are_computed_where_the_factor_turns_out_too_inaccurate(monkeypatch):
    seen = []
    monkeypatch.setattr(certificate, "_inverse_norm", lambda *args: 1e16)
    monkeypatch.setattr(certificate, "_counted", lambda *args: seen.append(args) or 2)
    found = certificate._from_matrix(LIB, np.eye(3)[:, :2], of_shape(3, 2), 0.25, 0.9, "QR of A")
    assert found.distortion == math.inf
    assert len(seen) == 1


@pytest.mark.parametrize("s1", [1e-12, 1e-10])
def test_the_embedding_of_a_rank_deficient_matrix(s1):
    M = np.zeros((4, 3))
    M[0, 1], M[1, 0] = 2.0, 2.0 * s1
    found = certificate._from_matrix(LIB, M, of_shape(40, 3), 0.25, 0.9, "QR of A")
    eta = 2.0 * U * math.sqrt(3.0) / s1
    assert found.distortion == by_hand(1.25 / (1.0 - eta) - 1.0)
    assert found.s == by_hand(np.array([2.0, 2.0 * s1]))
    np.testing.assert_allclose(abs(found.V), [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], atol=1e-15)
    assert (found.R, found.U, found.confidence, found.method) == (None, None, 0.9, "QR of A, rank 2")
    assert (found.amplification, found.wide) == (1.0, False)


def test_the_rounding_of_singular_values_is_limited(monkeypatch):
    monkeypatch.setattr(certificate, "_counted", lambda *args: 2)
    found = certificate._from_matrix(LIB, np.diag([1.0, 1e-16, 0.0]), of_shape(3, 3), 0.25, 0.9, "QR of A")
    assert found.distortion == by_hand(1.25 / 0.1 - 1.0)


def test_nothing_is_left_of_a_matrix_of_zeros():
    found = certificate._from_matrix(LIB, np.zeros((4, 3)), of_shape(4, 3), 0.25, 0.9, "QR of A")
    assert found.V.shape == (3, 0)
    assert found.s.shape == (0,)
    assert (found.distortion, found.method) == (0.25, "QR of A, rank 0")


@pytest.mark.parametrize(("wanted", "finite"), [(0.3, True), (0.89, True), (0.91, False)])
def test_the_rounding_of_a_factorization_is_part_of_the_distortion(wanted, finite):
    unit = 2.0 * U * math.sqrt(5.0)
    R = steep(math.sqrt(2.0) * unit / wanted)
    amplification = math.sqrt(2.0 + 2.0 / R[1, 1] ** 2)
    found = certificate._rounded(LIB, R, of_shape(9, 5), 0.25, 0.9, "QR of A")
    assert found.amplification == by_hand(amplification)
    expected = 1.25 / (1.0 - unit * amplification) - 1.0 if finite else math.inf
    assert found.distortion == by_hand(expected)
    assert found.R is R
    assert (found.V, found.s, found.U) == (None, None, None)
    assert (found.confidence, found.method, found.wide) == (0.9, "QR of A", False)


@pytest.mark.parametrize("n", [1, 2, 5, 128])
def test_the_inverse_of_a_factor_is_exact_where_it_is_small(n):
    R = np.triu(normals(n, n, n)) / n + 3.0 * np.diag((-1.0) ** np.arange(n))
    expected = np.linalg.norm(norm(R)[:, None] * np.linalg.inv(R))
    assert certificate._inverse_norm(LIB, R) == by_hand(expected)


def test_the_inverse_of_a_larger_factor_is_sampled():
    n = 129
    R = np.triu(normals(0, n, n)) / n + 3.0 * np.diag((-1.0) ** np.arange(n))
    sampled = norm(R)[:, None] * scipy.linalg.solve_triangular(R, normals(n, n, 16))
    assert certificate._inverse_norm(LIB, R) == by_hand(2.0 * np.linalg.norm(sampled) / 4.0)


def test_the_inverse_of_a_singular_factor_is_infinite():
    assert certificate._inverse_norm(LIB, np.diag([1.0, 0.0])) == math.inf
    assert certificate._inverse_norm(LIB, np.diag([1.0, math.nan])) == math.inf
    assert certificate._inverse_norm(LIB, np.diag([1e-3, -1.0])) == by_hand(math.sqrt(2.0))


# Which embedding.


def embed(A, task, reuse=None, given=None, confidence=0.9, seed=3):
    return certificate._embedding(LIB, A, task, reuse or {}, seed, confidence, given)


def test_a_factor_that_passes_its_test_is_the_embedding():
    checked, asked = embedding(), []
    given = SimpleNamespace(checked=lambda lib, task: asked.append((lib, task)) or checked, failure=0.0)
    task = of_shape(3, 2)
    assert embed(np.eye(3)[:, :2], task, given=given) is checked
    assert asked == [(LIB, task)]


def test_a_small_matrix_is_factored():
    A = normals(1, 5, 3).astype(np.float32)
    given = SimpleNamespace(checked=lambda lib, task: None, failure=0.0)
    for ridge, factor in ((0.0, None), (0.25, given)):
        found = embed(A, of_shape(5, 3, ridge=ridge), given=factor)
        whole = np.vstack([A.astype(np.float64), math.sqrt(ridge) * np.eye(3)])
        R: Any = np.linalg.qr(whole, mode="r")
        np.testing.assert_allclose(abs(found.R), abs(R), rtol=1e-12, atol=1e-12)
        eta = 2.0 * U * math.sqrt(3.0) * certificate._inverse_norm(LIB, R)
        assert found.distortion == by_hand(1.001 / (1.0 - eta) - 1.0)
        assert (found.confidence, found.method) == (1.0, "QR of A")


def test_a_square_matrix_and_a_wide_one_with_ridge_are_factored():
    assert embed(normals(2, 3, 3), of_shape(3, 3)).method == "QR of A"
    A = normals(2, 2, 3)
    found = embed(A, of_shape(2, 3, ridge=1.0))
    assert found.method == "QR of A"
    np.testing.assert_allclose(found.R.T @ found.R, A.T @ A + np.eye(3), atol=1e-12)


def test_of_a_wide_matrix_there_are_singular_vectors():
    A = np.array([[0.0, 3.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    found = embed(A, of_shape(3, 4))
    assert found.s.dtype == np.float64
    assert found.s == by_hand(np.array([3.0, 2.0]))
    np.testing.assert_array_equal(abs(found.U), [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(abs(found.V), np.eye(4)[:, [1, 0]])
    assert (found.R, found.distortion, found.confidence, found.wide) == (None, 0.0, 1.0, False)
    assert found.method == "singular vectors of A"


@pytest.mark.parametrize(("units", "rank"), [(5.0, 1), (7.0, 2)])
def test_the_rank_of_a_wide_matrix_where_it_is_unclear(units, rank):
    A = np.zeros((2, 4))
    A[0, 0], A[1, 1] = 1.0, units * U
    assert embed(A, of_shape(2, 4)).s.shape == (rank,)


@pytest.mark.parametrize("ridge", [0.0, 4.0])
@pytest.mark.parametrize("ready", [None, "sparse_sign", "identity", "used"])
def test_a_large_matrix_is_sketched(ready, ridge, monkeypatch):
    m, n, own, seed, confidence, failure = 300, 3, 40, 5, 0.9, 0.004
    A, task = normals(4, m, n), of_shape(m, n, ridge=ridge)
    monkeypatch.setattr(certificate, "sketch_rows", lambda task: own)
    left = normals(6, 50, n)
    reuse: dict[str, Any] = {}
    if ready is not None:
        kind = "sparse_sign" if ready == "used" else ready
        reuse = {"sketch": SimpleNamespace(kind=kind, R=left, rows=50), "sketch_used": ready == "used"}
    given = SimpleNamespace(checked=lambda lib, task: None, failure=failure)
    for factor, delta in ((None, 1.0 - confidence), (given, 1.0 - confidence - failure)):
        found = embed(A, task, reuse, factor, confidence, seed)
        taken = ready == "sparse_sign"
        SA, rows = (left, 50) if taken else (make_sketch("sparse_sign", own, m, seed).apply(A), own)
        whole = np.vstack([SA, math.sqrt(ridge) * np.eye(n)])
        np.testing.assert_allclose(found.R.T @ found.R, whole.T @ whole, rtol=1e-10, atol=1e-10)
        distortion = math.sqrt(n / rows) + math.sqrt(2.0 * math.log(1.0 / delta) / rows)
        assert found.distortion == by_hand(distortion)
        assert (found.confidence, found.method) == (confidence, "independent sketch")


# A factor that an algorithm or a probe has left.


def given_of(reuse, task, seed=3, confidence=0.9) -> Any:
    return certificate._Given.of(LIB, reuse, task, seed, confidence)


def test_without_a_factor_nothing_is_given():
    task = of_shape(5, 2)
    assert given_of({}, task) is None
    left = SimpleNamespace(kind="sparse_sign", R=np.eye(2))
    assert given_of({"sketch": left}, task) is None
    whole = SimpleNamespace(kind="identity", R=np.eye(2))
    assert given_of({"sketch": whole}, of_shape(5, 2, dtype="float32")) is None
    assert given_of({"sketch": whole}, task) is not None


def test_the_factor_of_a_probe_is_augmented_by_the_ridge():
    R = np.array([[3.0, 1.0], [0.0, 2.0]])
    left = SimpleNamespace(kind="identity", R=R)
    plain = given_of({"sketch": left}, of_shape(5, 2))
    np.testing.assert_array_equal(plain.R, R)
    ridged = given_of({"sketch": left}, of_shape(5, 2, ridge=0.25))
    np.testing.assert_allclose(ridged.R.T @ ridged.R, R.T @ R + 0.25 * np.eye(2), rtol=1e-12)
    assert not plain.squared
    assert not ridged.squared
    other = np.array([[7.0, 1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(given_of({"sketch": left, "r_factor": other}, of_shape(5, 2)).R, other)


@pytest.mark.parametrize("squared", [False, True])
def test_a_factor_in_float64_comes_with_three_test_vectors(squared):
    R, other = np.array([[2.0, 1.0], [0.0, -0.5]]), np.eye(2)
    reuse = {"gram_factor": R, "r_factor": other} if squared else {"r_factor": R}
    found = given_of(reuse, of_shape(5, 2), seed=11, confidence=0.9)
    amplification = np.linalg.norm(norm(R)[:, None] * np.linalg.inv(R))
    assert found.amplification == by_hand(amplification)
    assert found.eta == by_hand(8.0 * U * math.sqrt(2.0) * amplification ** (2 if squared else 1))
    np.testing.assert_array_equal(found.R, R)
    np.testing.assert_array_equal(found.G, normals(11, 2, 3))
    np.testing.assert_allclose(found.W, np.linalg.solve(R, found.G), rtol=1e-12)
    assert found.failure == by_hand(0.01)
    assert (found.squared, found.measuring, found.V, found.s, found.product) == (squared, False, None, None, None)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("size", [0.99, 1.01])
def test_a_factor_whose_rounding_is_too_large_is_refused(squared, size):
    unit = 8.0 * U * math.sqrt(2.0)
    amplification = math.sqrt(size * 0.25 / unit) if squared else size * 0.05 / unit
    R = steep(math.sqrt(2.0) / amplification)
    found = given_of({"gram_factor" if squared else "r_factor": R}, of_shape(5, 2))
    assert (found is None) == (size > 1.0)
    if found is not None:
        assert found.measuring
        assert found.eta == by_hand(size * (0.25 if squared else 0.05))


@pytest.mark.parametrize("size", [0.99, 1.01])
def test_where_rounding_could_stand_for_a_direction_it_is_measured(size):
    unit = 8.0 * U * math.sqrt(2.0)
    R = steep(math.sqrt(2.0) / (size * 1e-3 / 2.0 / unit))
    tall, wide, ridged = (
        given_of({"r_factor": R}, task) for task in (of_shape(5, 2), of_shape(2, 5), of_shape(2, 5, ridge=1.0))
    )
    assert tall.measuring == wide.measuring == (size > 1.0)
    assert (ridged is None) == (size > 1.0)  # wide and with ridge nothing can be measured
    np.testing.assert_array_equal(tall.G, normals(3, 2, 7 if size > 1.0 else 3))


def test_a_factor_in_float32_is_measured():
    R = np.array([[2.0, 1.0], [0.0, -0.5]], dtype=np.float32)
    found = given_of({"r_factor": R, "r_svd": (np.array([1.0, 0.0]), np.eye(2))}, of_shape(5, 2), seed=4)
    assert found.R.dtype == np.float64
    np.testing.assert_array_equal(found.R, R)
    np.testing.assert_array_equal(found.G, normals(4, 2, 7))
    np.testing.assert_allclose(found.W, np.linalg.solve(R.astype(float), found.G), rtol=1e-12)
    assert (found.measuring, found.eta, found.amplification, found.squared) == (True, 0.0, 0.0, False)
    assert given_of({"gram_factor": R}, of_shape(2, 5)).squared
    assert given_of({"gram_factor": R}, of_shape(2, 5, ridge=0.5)) is None
    assert given_of({"gram_factor": R}, of_shape(2, 2, ridge=0.5)) is not None
    assert given_of({"gram_factor": R}, of_shape(5, 2, ridge=0.5)) is not None


def test_a_factor_with_a_zero_on_its_diagonal_or_an_infinite_inverse_is_refused():
    task = of_shape(5, 2)
    for dtype in (np.float64, np.float32):
        singular = {"r_factor": np.diag([1.0, 0.0]).astype(dtype)}
        assert given_of(singular, task) is None
        assert certificate._Given.of(library("numpy"), singular, task, 3, 0.9) is None  # whose solve would raise
        assert given_of({"r_factor": np.diag([1.0, math.nan]).astype(dtype)}, task) is None
    assert given_of({"r_factor": np.array([[1.0, math.inf], [0.0, 1.0]], dtype=np.float32)}, task) is None
    assert given_of({"r_factor": np.diag([-1.0, 1e-3])}, task) is not None


def test_singular_vectors_that_an_algorithm_has_left():
    R, task, seed = np.triu(np.ones((3, 3))), of_shape(9, 3), 8
    Vh = np.linalg.qr(normals(1, 3, 3))[0].T
    s = np.array([4.0, 1.6, 2.0 * U])
    found = given_of({"gram_factor": np.eye(3) * 2.0, "r_factor": R, "r_svd": (s, Vh)}, task, seed)
    np.testing.assert_array_equal(found.V, Vh[:2].T)
    np.testing.assert_array_equal(found.s, s[:2])
    stream = np.random.default_rng(np.random.Philox(key=seed))
    G, v = stream.standard_normal((2, 3)), stream.standard_normal((3, 3))
    np.testing.assert_array_equal(found.G, G)
    W = np.hstack([Vh[:2].T @ (G / s[:2, None]), v - Vh[:2].T @ (Vh[:2] @ v)])
    np.testing.assert_allclose(found.W, W, atol=1e-14)
    assert found.amplification == by_hand(math.sqrt(2.0) * 2.5)
    assert found.eta == by_hand(8.0 * U * math.sqrt(3.0) * math.sqrt(2.0) * 2.5)
    assert (found.squared, found.measuring) == (False, False)
    assert found.failure == by_hand(0.01)


@pytest.mark.parametrize(("size", "kept"), [(0.99, 2), (1.01, 3)])
def test_which_singular_values_an_algorithm_has_left_count(size, kept):
    s = np.array([2.0, 1.0, 2.0 * size * 4.0 * math.sqrt(3.0) * U])
    found = given_of({"r_factor": np.triu(np.ones((3, 3))), "r_svd": (s, np.eye(3))}, of_shape(9, 3))
    assert (found.V is None) == (kept == 3)


@pytest.mark.parametrize("size", [0.99, 1.01])
def test_singular_vectors_of_an_ill_conditioned_matrix_are_refused(size):
    s1 = 2.0 * 8.0 * U * math.sqrt(3.0) * math.sqrt(2.0) / (size * 1e-3)
    found = given_of({"r_factor": np.eye(3), "r_svd": (np.array([1.0, s1, 0.0]), np.eye(3))}, of_shape(9, 3))
    assert (found is None) == (size > 1.0)


def test_singular_values_of_which_none_counts_are_refused():
    assert given_of({"r_factor": np.eye(2), "r_svd": (np.zeros(2), np.eye(2))}, of_shape(9, 2)) is None


# Whether it passes, and what it is off by.


def measuring(R, W, product, G, **how) -> Any:
    return certificate._Given(R, None, None, how.pop("squared", False), G, W, 0.02, True, product, **how)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_measured_distortion(ridge):
    R = np.array([[1e-4, 3.0, -2.0], [0.0, 1e-5, 1.0], [0.0, 0.0, 0.5]])
    G, W, product = normals(1, 3, 7), 1e-2 * normals(2, 3, 7), R.T @ normals(3, 3, 7)
    found = measuring(R, W, product, G).measured(LIB, of_shape(9, 3, ridge=ridge))
    quantile = chi_squared.quantile(7, 0.01)
    departure = np.linalg.solve(R.T, product + ridge * W) - G
    amplification = np.linalg.norm(norm(R)[:, None] * W) / math.sqrt(quantile)
    distortion = np.linalg.norm(departure) / math.sqrt(quantile) + 8.0 * U * math.sqrt(3.0) * amplification
    assert found == pytest.approx((distortion, amplification), rel=1e-9, abs=0.0)


def test_rounding_is_part_of_the_measured_distortion():
    G = normals(1, 3, 7)
    W = 1e5 * normals(2, 3, 7)
    distortion, amplification = measuring(np.eye(3), W, G, G).measured(LIB, of_shape(9, 3))
    assert amplification == by_hand(np.linalg.norm(W) / math.sqrt(chi_squared.quantile(7, 0.01)))
    assert distortion == by_hand(8.0 * U * math.sqrt(3.0) * amplification)


@pytest.mark.parametrize(("m", "eps", "passes"), [
    (9, 0.299, True), (9, 0.301, False), (2, 0.0099, True), (2, 0.0101, False), (3, 0.299, True),
])  # fmt: skip
@pytest.mark.parametrize("squared", [False, True])
def test_a_measured_factor_passes_below_a_limit(m, eps, passes, squared, monkeypatch):
    given = measuring(np.eye(3), None, None, normals(1, 3, 7), squared=squared)
    monkeypatch.setattr(certificate._Given, "measured", lambda self, lib, task: (eps, 5.0))
    found = given.checked(LIB, of_shape(m, 3))
    if not passes:
        assert found is None
        return
    assert found.R is given.R
    assert (found.V, found.s, found.U, found.amplification, found.wide) == (None, None, None, 5.0, m == 2)
    assert found.distortion == by_hand(0.0 if m == 2 else 1.0 / math.sqrt(1.0 - eps) - 1.0)
    assert found.confidence == by_hand(0.98)
    what = "Gram" if squared else "R"
    assert found.method == f"{what} factor checked by independent test vectors to {eps:.1e}"


@pytest.mark.parametrize("m", [9, 3, 2])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_how_far_a_factor_may_be_off_by_its_test_vectors(m, squared, ridge):
    """The lengths of A W are off by known shares; the rounding of the products counts by 1e12."""
    R, G, W, failure = np.diag([1.0, 2.0, 3.0]), normals(1, 3, 3), 0.2 * normals(2, 3, 3), 1e-3
    lengths = norm(G) ** 2
    shares = np.array([1.0, -0.4, 0.3]) * 1e-2
    product = np.sqrt(lengths * (1.0 + shares) - ridge * norm(W) ** 2) * np.array([[0.6], [0.8]])
    given: Any = certificate._Given(R, None, None, squared, G, W, failure, False, product, 0.02, 1e12)
    found = given.checked(LIB, of_shape(m, 3, ridge=ridge))
    gap = norm(product) ** 2 + ridge * norm(W) ** 2 - lengths
    assert gap == by_hand(shares * lengths)
    rounding = 16.0 * U * math.sqrt(3.0) * 1e12 * lengths
    q = chi_squared.quantile(1, failure ** (1.0 / 3.0))
    assert found.distortion == by_hand(2.0 / q * np.max(abs(gap) + rounding))
    assert found.R is R
    assert (found.V, found.s, found.U, found.amplification, found.wide) == (None, None, None, 1e12, m == 2)
    assert found.confidence == by_hand(1.0 - failure)
    assert found.method == ("Gram" if squared else "R") + " factor checked by independent test vectors"


@pytest.mark.parametrize("eta", [0.0, 3e-10])
@pytest.mark.parametrize(("size", "passes"), [(0.99, True), (1.01, False), (-0.99, True), (-1.01, False)])
def test_test_vectors_refuse_what_is_off_by_more_than_rounding(eta, size, passes):
    G = np.array([[3.0, 1.0, 1.0]])
    product = G * np.sqrt(1.0 + np.array([size * (1e-10 + eta), 0.0, 0.0]))
    given: Any = certificate._Given(np.eye(1), None, None, False, G, G, 1e-3, False, product, eta, 1.0)
    assert (given.checked(LIB, of_shape(9, 1)) is not None) == passes


def test_test_vectors_that_are_not_numbers_refuse():
    G = np.ones((1, 3))
    given: Any = certificate._Given(np.eye(1), None, None, False, G, G, 1e-3, False, G * math.nan, 0.1, 1.0)
    assert given.checked(LIB, of_shape(9, 1)) is None


@pytest.mark.parametrize(("size", "passes"), [(0.99, True), (1.01, False)])
def test_vectors_outside_the_row_space_must_be_seen_as_rounding(size, passes):
    V, s, G = np.eye(4)[:, :2], np.array([1e12, 1e11]), normals(1, 2, 3)
    outside = np.vstack([np.zeros((2, 3)), normals(2, 2, 3)])
    small = 4.0 * math.sqrt(4.0) * U * 1e12
    limit = np.sqrt(small**2 * norm(outside) ** 2 + small**2)
    gap = np.array([0.0, 1e-3, 0.0])
    inside = np.vstack([G * np.sqrt(1.0 + gap), np.zeros((1, 3))])
    nulls = np.zeros((3, 3))
    nulls[2] = limit * np.array([0.5, size, 0.5])
    W = np.hstack([V @ (G / s[:, None]), outside])
    given: Any = certificate._Given(
        np.eye(4), V, s, False, G, W, 1e-3, False, np.hstack([inside, nulls]), 0.01, 7e12
    )  # fmt: skip
    found = given.checked(LIB, of_shape(9, 4))
    if not passes:
        assert found is None
        return
    lengths = norm(G) ** 2
    rounding = 16.0 * U * math.sqrt(4.0) * 7e12 * lengths
    q = chi_squared.quantile(1, 1e-3 ** (1.0 / 3.0))
    assert found.distortion == pytest.approx(2.0 / q * np.max(gap * lengths + rounding), rel=1e-9, abs=0.0)
    assert found.V is V
    assert found.s is s
    assert (found.R, found.U, found.amplification, found.wide) == (None, None, 1.0, False)
    assert found.confidence == by_hand(1.0 - 1e-3)
    assert found.method == "singular values of the algorithm's R checked by independent test vectors, rank 2"


# What the error is read off.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_projection_for_wide_matrices(dtype):
    A = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], dtype=dtype)
    R, g, r = np.array([[4.0, 2.0], [0.0, 6.0]]), np.array([[1.0, 5.0], [2.0, -9.0], [0.5, 9.0]]), normals(1, 2, 2)
    found = certificate._projected_norms(LIB, A, embedding(R, wide=True), r, g, of_shape(2, 3))
    assert found == by_hand(norm(r))
    inside = norm(np.linalg.solve(R.T, A @ g)) ** 2
    size = norm(g) ** 2
    rest = size - inside
    assert rest[0] > 0.0
    assert rest[1] > 0.0
    for distortion in (0.0, 0.01):
        how = embedding(R, wide=True, distortion=distortion)
        found = certificate._projected_norms(LIB, A, how, r, g, of_shape(2, 3, ridge=0.3))
        assert found == by_hand(np.sqrt((rest + (8.0 * math.sqrt(2.0) * U + distortion) * size) / 0.3))
        how = embedding(0.1 * R, wide=True, distortion=distortion)  # the difference is negative
        found = certificate._projected_norms(LIB, A, how, r, g, of_shape(2, 3, ridge=0.3))
        assert found == by_hand(np.sqrt((8.0 * math.sqrt(2.0) * U + distortion) * size / 0.3))


def test_the_projection_for_other_matrices():
    R, V, s = np.array([[2.0, 1.0], [0.0, 3.0]]), np.linalg.qr(normals(1, 2, 2))[0][:, :1], np.array([0.3])
    U_, r, g, A = np.linalg.qr(normals(2, 4, 2))[0], normals(3, 4, 2), normals(4, 2, 2), np.zeros((4, 2))

    def found(*args):
        return certificate._projected_norms(LIB, A, embedding(*args), r, g, of_shape(4, 2, ridge=0.3))

    assert found(R) == by_hand(norm(np.linalg.solve(R.T, g)))
    assert found(None, V, s, U_) == by_hand(norm(U_.T @ r))
    assert found(None, V, s) == by_hand(norm(V.T @ g) / 0.3)


@pytest.mark.parametrize(("projected", "norm_r", "expected"), [
    (0.0, 5.0, 0.0), (0.0, 0.0, 0.0), (3.0, 5.0, 0.25), (4.0, 5.0, 2.0 / 3.0), (5.0, 5.0, math.inf),
    (6.0, 5.0, math.inf), (1.0, 0.0, math.inf), (1.0, -2.0, math.inf), (1e-9, 1.0, 5e-19), (0.3, 0.5, 0.25),
])  # fmt: skip
def test_the_suboptimality_by_what_is_projected(projected, norm_r, expected):
    assert certificate._suboptimality(projected, norm_r) == by_hand(expected)


def test_a_quotient_of_what_may_be_zero():
    above, below = np.array([2.0, 0.0, 3.0, 0.0, 0.5]), np.array([4.0, 0.0, 0.0, 2.0, 0.25])
    np.testing.assert_array_equal(certificate._where_positive(LIB, above, below), [0.5, 0.0, math.inf, 0.0, 2.0])
    squares = np.array([[1.0, 4.0], [0.0, 3.0]])
    found = certificate._where_positive(LIB, squares, np.array([[2.0, 8.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(found, [[0.5, 0.5], [0.0, math.inf]])


def test_how_much_of_the_residual_is_seen_in_the_backward_error():
    norm_x, norm_r = np.array([2.0, 0.0, 0.0, 0.1, 3.0]), np.array([3.0, 5.0, 0.0, 100.0, 0.0])
    found = certificate._seen_through(LIB, norm_x, norm_r, 6.0)
    assert found == by_hand(np.array([0.5, 1.2, 0.0, 0.06, 1.0 / 3.0]))


def test_the_backward_error_by_a_factor_or_singular_vectors():
    R, g = np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([[1.0, -0.5, 3.0, 0.0], [0.3, 2.0, 1.0, 0.0]])
    norm_x, norm_r = np.array([0.7, 1.3, 2.0, 0.0]), np.array([1.1, 0.2, 1e-30, 0.0])

    def by_solving(gram, g, x, r):
        return math.sqrt(g @ np.linalg.solve(x**2 * gram + r**2 * np.eye(len(g)), g))

    found = certificate._karlson_walden(LIB, embedding(R), g, norm_x, norm_r)
    expected = [by_solving(R.T @ R, g[:, j], norm_x[j], norm_r[j]) for j in range(3)]
    assert found == by_hand(np.array([*expected, 0.0]))
    V, s, g = np.linalg.qr(normals(1, 3, 3))[0][:, :2], np.array([2.0, 0.4]), normals(2, 3, 2)
    found = certificate._karlson_walden(LIB, embedding(None, V, s), g, norm_x[:2], norm_r[:2])
    gram = (V * s**2) @ V.T
    assert found == by_hand(np.array([by_solving(gram, g[:, j], norm_x[j], norm_r[j]) for j in range(2)]))


def test_the_backward_error_for_wide_matrices_is_the_smaller_of_two_bounds():
    g = np.array([[3.0, 0.3, 3.0, 0.0], [4.0, 0.4, 4.0, 0.0]])
    norm_x, norm_r = np.array([2.0, 2.0, 0.0, 0.0]), np.array([1.0, 10.0, 2.0, 0.0])
    for how in (embedding(np.eye(2), wide=True), embedding(None, np.eye(2), np.ones(2), np.eye(2))):
        found = certificate._karlson_walden(LIB, how, g, norm_x, norm_r)
        assert found == by_hand(np.array([0.5, 0.05, 2.5, 0.0]))


# Passes over A.


def test_products_with_the_columns_that_the_test_vectors_need():
    tall, B, X = normals(1, 7, 3), normals(2, 7, 2), normals(3, 3, 2)
    r, g, image = certificate._residual_and_gradient(LIB, tall, B, X, None, False)
    np.testing.assert_allclose(r, B - tall @ X, rtol=1e-11)
    np.testing.assert_allclose(g, tall.T @ r, rtol=1e-11)
    assert image.shape == (7, 0)
    given: Any = SimpleNamespace(W=normals(4, 3, 5), measuring=False)
    r, g, image = certificate._residual_and_gradient(LIB, tall, B, X, given, False)
    np.testing.assert_allclose(g, tall.T @ (B - tall @ X), rtol=1e-11)
    np.testing.assert_allclose(image, tall @ given.W, rtol=1e-11)
    given.measuring = True
    r, g, image = certificate._residual_and_gradient(LIB, tall, B, X, given, False)
    np.testing.assert_allclose(r, B - tall @ X, rtol=1e-11)
    np.testing.assert_allclose(g, tall.T @ np.hstack([r, tall @ given.W]), rtol=1e-11)
    wide, B, X = normals(5, 3, 7), normals(6, 3, 2), normals(7, 7, 2)
    for given.measuring in (False, True):
        r, g, image = certificate._residual_and_gradient(LIB, wide, B, X, given, True)
        np.testing.assert_allclose(r, B - wide @ X, rtol=1e-11)
        np.testing.assert_allclose(g, wide.T @ np.hstack([r, given.W]), rtol=1e-11)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("measured", [False, True])
def test_products_in_less_than_float64_are_made_by_blocks_of_rows(wide, measured, monkeypatch):
    m, n = (5, 8) if wide else (8, 5)
    A, B, X = normals(1, m, n).astype(np.float32), normals(2, m, 2), normals(3, n, 2)
    given: Any = SimpleNamespace(W=normals(4, 5, 3), measuring=measured)
    asked = []

    def blocks(A, itemsize=8):
        asked.append(itemsize)
        return [slice(0, 3), slice(3, 4), slice(4, m)]

    monkeypatch.setattr(certificate, "row_blocks", blocks)
    r, g, image = certificate._residual_and_gradient(LIB, A, B, X, given, wide)
    assert asked == [16]
    exact = A.astype(np.float64)
    np.testing.assert_allclose(r, B - exact @ X, rtol=1e-10)
    beside = given.W if wide else exact @ given.W
    if wide or measured:
        np.testing.assert_allclose(g, exact.T @ np.hstack([r, beside]), rtol=1e-10)
    else:
        np.testing.assert_allclose(g, exact.T @ r, rtol=1e-10)
        np.testing.assert_allclose(image, beside, rtol=1e-10)


# Whether x is of minimum norm.


def outside(how, X, task, A=None):
    return certificate._outside_row_space(LIB, A, how, np.asarray(X), task)


def test_of_a_unique_solution_no_part_is_outside():
    X = normals(1, 3, 2)
    assert outside(embedding(np.eye(3)), X, of_shape(9, 3)) is None
    assert outside(embedding(np.eye(3)), X, of_shape(9, 3, ridge=1.0)) is None
    assert outside(embedding(np.eye(2), wide=True), X, of_shape(2, 3, ridge=1.0)) is None


@pytest.mark.parametrize(("dtype", "s", "allowed"), [
    ("float64", [1.0], 2.0**-26.5), ("float32", [1.0], 2.0**-12), ("float64", [5e-8, 5.0], 2.0**-26.5),
    ("float64", [3.5e8, 1e8, 1.3], 100.0 * U * 2.0 * 3.5e8 / 1.3),
])  # fmt: skip
@pytest.mark.parametrize("size", [0.99, 1.01])
def test_what_is_outside_the_row_space_is_compared_with_rounding(dtype, s, allowed, size):
    k = len(s)
    how, task = embedding(None, np.eye(4)[:, :k], np.array(s)), of_shape(9, 4, dtype=dtype)
    X = np.zeros((4, 3))
    X[0] = [0.0, 1e-3, 5.0]
    X[3, 1] = size * allowed * 1e-3
    found = outside(how, X, task)
    if size < 1.0:
        assert found is None
    else:
        assert found == f"{size * allowed:.1e} of x is outside the row space of A"


def test_in_the_row_space_of_a_matrix_of_zeros_lies_only_zero():
    how, task = embedding(None, np.zeros((3, 0)), np.zeros(0)), of_shape(9, 3)
    assert outside(how, np.zeros((3, 1)), task) is None
    assert outside(how, np.full((3, 1), 1e-9), task) == "1.0e+00 of x is outside the row space of A"


@pytest.mark.parametrize(("shrunk", "asked", "found"), [
    (1e-9, 1, None), (1e-5, 2, None), (2e-3, 3, None), (0.01, 4, None),
    (0.0102, 4, "1.1e-08 of x is outside the row space of A"),
])  # fmt: skip
def test_a_wide_matrix_and_its_factor_project_up_to_four_times(shrunk, asked, found, monkeypatch):
    """A'(R'R)^-1 A is 1 - `shrunk` in the row space."""
    A = np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    R = np.diag([2.0, 3.0]) / math.sqrt(1.0 - shrunk)
    calls, product = [], certificate.matmul64
    monkeypatch.setattr(certificate, "matmul64", lambda *args: calls.append(args) or product(*args))
    assert outside(embedding(R, wide=True), [[0.6], [0.8], [0.0]], of_shape(2, 3), A) == found
    assert len(calls) == asked


def test_what_is_outside_the_row_space_of_a_wide_matrix_may_be_as_large_as_its_rounding():
    A = np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    how = embedding(np.diag([2.0, 3.0]), wide=True, amplification=1e10)
    allowed = 100.0 * U * math.sqrt(3.0) * 1e10
    assert outside(how, [[0.0], [1.0], [0.99 * allowed]], of_shape(2, 3), A) is None
    assert outside(how, [[0.0], [1.0], [1.01 * allowed]], of_shape(2, 3), A) == (
        f"{1.01 * allowed:.1e} of x is outside the row space of A"
    )


# How large the partial sums of A X may be.


def norm_2_by_hand(M):
    n = M.shape[0]
    V = np.column_stack([np.ones(n), np.cos(np.arange(n) ** 2.0)])
    Y = M.T @ (M @ V)
    return 2.0 * np.max(norm(M @ Y) / norm(Y))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_norm_of_a_factor_is_twice_what_two_vectors_show(seed):
    M = np.triu(normals(seed, 30, 30))
    assert certificate._norm_2(LIB, M) == by_hand(norm_2_by_hand(M))
    assert certificate._norm_2(LIB, np.eye(10)) == by_hand(2.0)


def test_the_norm_of_a_factor_is_at_most_its_frobenius_norm():
    assert certificate._norm_2(LIB, np.diag([3.0, 4.0])) == by_hand(5.0)
    assert certificate._norm_2(LIB, np.zeros((3, 3))) == 0.0
    two = np.kron(np.eye(4), np.array([[1.0, -1.0], [0.0, 0.0]]))  # times a vector of ones: zero
    with np.errstate(invalid="raise", divide="raise"):
        v = np.cos(np.arange(8) ** 2.0)
        Y = two.T @ (two @ v)
        expected = min(2.0 * np.linalg.norm(two @ Y) / np.linalg.norm(Y), math.sqrt(8.0))
        assert certificate._norm_2(LIB, two) == by_hand(expected)
    shrunk = 1e-3 * two
    assert certificate._norm_2(LIB, shrunk) == by_hand(1e-3 * expected)


def partial(how, X, task, A=None, norm_b=None, target=None):
    norm_b = np.ones(X.shape[1]) if norm_b is None else norm_b
    return certificate._partial_sums(LIB, A, how, X, norm_b, task, target)


@pytest.mark.parametrize("n", [2, 16])
def test_partial_sums_of_few_columns(n):
    R, X = np.triu(normals(1, n, n)), normals(2, n, 2)
    assert partial(embedding(R), X, of_shape(50, n)) == by_hand(math.sqrt(n) * norm(norm(R)[:, None] * X))


def test_partial_sums_of_more_columns_are_looked_at_where_that_matters():
    n, task = 17, of_shape(50, 17)
    R, X, norm_b = np.triu(normals(1, n, n)), normals(2, n, 2), np.array([0.5, 3.0])
    R[:, 5] = 0.0
    norms = norm(R)
    rough = math.sqrt(n) * norm(norms[:, None] * X)
    sharp = norm_2_by_hand(R / np.where(norms > 0, norms, 1.0)) * norm(norms[:, None] * X)
    enough = np.max(rough / norm_b) * n * U / 1e-3
    assert sharp[0] < 0.9 * rough[0]
    how = embedding(R)
    assert partial(how, X, task, None, norm_b) == by_hand(sharp)
    assert partial(how, X, task, None, norm_b, 0.99 * enough) == by_hand(sharp)
    assert partial(how, X, task, None, norm_b, 1.01 * enough) == by_hand(rough)


def test_partial_sums_of_the_rows_of_a_wide_matrix():
    m, n = 9, 40
    task, few = of_shape(m, n), 1.0 + 2.0 / 3.0
    A, R, X = normals(1, m, n), np.triu(normals(2, m, m)), normals(3, n, 2)
    how, norm_b = embedding(R, wide=True), np.array([100.0, 300.0])
    rough = few * np.linalg.norm(R) * norm(X)
    sharp = few * norm_2_by_hand(R) * norm(X)
    assert sharp[0] < 0.95 * rough[0]
    enough = np.max(rough / norm_b) * n * U / 1e-3
    assert partial(how, X, task, A, norm_b) == by_hand(sharp)
    assert partial(how, X, task, A, norm_b, 0.99 * enough) == by_hand(sharp)
    assert partial(how, X, task, A, norm_b, 1.01 * enough) == by_hand(rough)
    V = embedding(None, np.eye(n)[:, :2], np.array([4.0, 0.5]))
    assert partial(V, X, task, None, norm_b) == by_hand(2.0 * few * 4.0 * norm(X))
    nothing = embedding(None, np.zeros((n, 0)), np.zeros(0))
    np.testing.assert_array_equal(partial(nothing, X, task, None, norm_b), [0.0, 0.0])


@pytest.mark.parametrize("size", [29.9, 30.1])
def test_partial_sums_where_x_is_large_beside_b(size):
    m, n = 9, 40
    few = 1.0 + 2.0 / 3.0
    A = normals(1, m, n) * np.logspace(0.0, -3.0, n)
    X = np.column_stack([np.eye(n)[0] * 5.0, np.eye(n)[-1]])
    how = embedding(None, np.eye(n)[:, :2], np.array([2.0, 0.5]))
    found = 2.0 * few * 2.0 * norm(X)
    expected = found.copy()
    if size > 30.0:
        by_columns = few * math.sqrt(n) * norm(norm(A)[:, None] * X)
        assert by_columns[0] > found[0]
        assert by_columns[1] < found[1]
        expected[1] = by_columns[1]
    norm_b = np.array([1e3, found[1] / size])
    assert partial(how, X, of_shape(m, n), A, norm_b) == by_hand(expected)


# What rounding of A'r is multiplied by.


@pytest.mark.parametrize(("A", "rows"), [
    (np.zeros((6, 3)), 6), (np.zeros((5000, 3)), 4096), (np.zeros((5000, 3), order="F"), 5000),
])  # fmt: skip
def test_how_rounding_of_the_gradient_is_amplified(A, rows):
    m, n = A.shape
    unit = (1.0 + 1.0 / 3.0) * (1.0 + 0.18 * math.sqrt(rows))

    def found(how, **task):
        return certificate._amplification(LIB, A, how, of_shape(m, n, **task))

    R = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0], [0.0, 0.0, 1.0]])
    s = np.array([4.0, 2.0, 0.5])
    assert found(embedding(R, amplification=7.0)) == by_hand(7.0 * unit)
    assert found(embedding(R, amplification=7.0), ridge=0.3) == by_hand(7.0 * unit)
    assert found(embedding(R, amplification=7.0, wide=True)) == 1.0
    size = np.linalg.norm(R)
    assert found(embedding(R, amplification=7.0, wide=True), ridge=0.3) == by_hand(unit * size / math.sqrt(0.3))
    assert found(embedding(None, R, s, R)) == by_hand(1.0 + 0.18 * math.sqrt(m))
    assert found(embedding(None, R[:, :0], s[:0])) == by_hand(1.0 + 0.18 * math.sqrt(m))
    assert found(embedding(None, R, s)) == by_hand(unit * np.linalg.norm(s) / 0.5)


def test_by_what_angle_singular_vectors_may_be_turned():
    s, M = np.array([6.0, 4.0, 0.4]), np.eye(3)

    def found(m, s, left: Any = M):
        return certificate._turned(embedding(None, M, s, left), of_shape(m, 9))

    assert found(5, s) == by_hand(2.0 * math.sqrt(5.0) * 15.0)
    assert found(3, s) == found(5, s[:0]) == found(5, s, None) == 0.0
    assert certificate._turned(embedding(M), of_shape(5, 3)) == 0.0


# The bound, term by term. Columns of A and what is left of B are orthogonal, in small integers: sums are exact.

COLUMNS = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [0.0, 2.0], [0.0, 0.0]])
LEFT = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 3.0])[:, None] * [1.0, 0.25]
ANSWER = np.array([[3.0, 1.0], [-2.0, 5.0]])
SQUARES = np.array([[4.0], [8.0]])  # of the norms of the columns
METRICS = ["prediction_error", "suboptimality", "backward_error"]
NORM_A = math.sqrt(12.0)


def certified(A, B, X, target=None, *, ridge=0.0, metric="", reuse=None, confidence=0.9, seed=7, **how):
    task = of_shape(*A.shape, ridge=ridge, metric=metric, **how)
    evidence = Evidence(norm_fro=float(np.linalg.norm(A)))
    return certificate.certify(
        LIB, A, B, X, task, evidence, target, reuse=reuse or {}, seed=seed, confidence=confidence
    )  # fmt: skip


def exact_problem(ridge: float) -> np.ndarray:
    """B for which `ANSWER` is the solution."""
    return COLUMNS @ (ANSWER + ridge * ANSWER / SQUARES) + LEFT


def rounding_by_hand(A, B, X, r, ridge, metric):
    """(what is lost in less than twice the precision, what is lost anyway), at most, in units of u."""
    partial_sums = math.sqrt(2.0) * norm(np.sqrt(SQUARES + ridge) * X)
    in_r = (1.0 + 0.18 * math.sqrt(2.0)) * partial_sums + norm(B)
    norm_x, unit = norm(X), 1.0 + 0.18 * math.sqrt(6.0)
    norm_r = np.sqrt(norm(r) ** 2 + ridge * norm_x**2)
    if metric == "backward_error":
        norm_A = math.hypot(NORM_A, math.sqrt(2.0 * ridge))
        seen = np.minimum(1.0 / norm_x, norm_A / norm_r)
        return in_r * seen + unit * norm_A, 2.0 * math.sqrt(ridge) * np.ones(2), in_r
    return in_r + 1.5 * unit * math.sqrt(2.0) * norm_r, 2.0 * math.sqrt(ridge) * norm_x, in_r


def error_by_hand(sizes, norm_b, norm_r, in_r, ridge, metric):
    if metric == "backward_error":
        return np.max(math.sqrt(2.0) * sizes / math.hypot(NORM_A, math.sqrt(2.0 * ridge)))
    if metric == "suboptimality":
        t = sizes / (norm_r - U * in_r)
        return np.max(np.expm1(-0.5 * np.log1p(-t * t)))
    return np.max(sizes / norm_b)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ridge", [0.0, 0.25])
@pytest.mark.parametrize("twice", [False, True])
def test_every_term_of_the_rounding_by_hand(metric, ridge, twice):
    B = exact_problem(ridge)
    found = certified(COLUMNS, B, ANSWER, 1e-300 if twice else None, ridge=ridge, metric=metric)
    r = B - COLUMNS @ ANSWER
    lost, fixed, in_r = rounding_by_hand(COLUMNS, B, ANSWER, r, ridge, metric)
    sizes = U * (U * (lost + fixed) + fixed) if twice else U * (lost + fixed)
    norm_r = np.sqrt(norm(r) ** 2 + ridge * norm(ANSWER) ** 2)
    assert found.bound == by_hand(error_by_hand(sizes, norm(B), norm_r, in_r, ridge, metric))
    assert found.estimate == 0.0
    assert found.metric == metric
    assert found.confidence == 1.0
    assert found.method == "QR of A" + (", residual in twice float64's precision" if twice else "")
    assert found.satisfied == (not twice)
    assert found.target == (1e-300 if twice else None)
    assert found.residual == by_hand(np.max(norm_r / norm(B)))
    assert (found.numerical_rank, found.columns, found.condition) == (None, None, None)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ridge", [0.0, 0.25])
@pytest.mark.parametrize("columns", [1, 2])
def test_an_error_that_is_known_by_hand(metric, ridge, columns):
    B, off = exact_problem(ridge)[:, :columns], np.array([[0.25, 0.0], [-0.125, 0.5]])[:, :columns]
    X = ANSWER[:, :columns] + off
    b, x = (B[:, 0], X[:, 0]) if columns == 1 else (B, X)
    found = certified(COLUMNS, b, x, 0.9, ridge=ridge, metric=metric)
    r = B - COLUMNS @ X
    norm_x, gradient = norm(X), (SQUARES + ridge) * off
    norm_r = np.sqrt(norm(r) ** 2 + ridge * norm_x**2)
    if metric == "backward_error":
        sizes = norm(gradient / np.sqrt(norm_x**2 * (SQUARES + ridge) + norm_r**2))
    else:
        sizes = norm(gradient / np.sqrt(SQUARES + ridge))
    distortion = 1.001 / (1.0 - 2.0 * U * math.sqrt(2.0) * math.sqrt(2.0)) - 1.0
    for number, expected in ((found.estimate, sizes), (found.bound, (1.0 + distortion) * sizes)):
        assert number == by_hand(error_by_hand(expected, norm(B), norm_r, 0.0, ridge, metric))
    assert found.bound < 0.9
    assert found.satisfied
    assert found.method == "QR of A"


@pytest.mark.parametrize("metric", METRICS)
def test_the_size_of_the_operands_changes_nothing(metric):
    B, X = exact_problem(0.25), ANSWER + 0.5
    expected = certified(COLUMNS, B, X, ridge=0.25, metric=metric)
    for a, b in ((2.0**-6, 2.0**-8), (2.0**8, 2.0**6)):
        found = certified(a * COLUMNS, b * B, b / a * X, ridge=0.25 * a * a, metric=metric)
        assert (found.bound, found.estimate) == by_hand((expected.bound, expected.estimate))


def test_rounding_counts_in_what_the_residual_is_at_least():
    X, left = np.array([[3.0], [-2.0]]), np.zeros((6, 1))
    left[5] = 2.0**-47
    B = COLUMNS @ X + left
    found = certified(COLUMNS, B, X, metric="suboptimality")
    in_r = (1.0 + 0.18 * math.sqrt(2.0)) * math.sqrt(2.0) * norm(np.sqrt(SQUARES) * X) + norm(B)
    lost = U * (in_r + 1.5 * (1.0 + 0.18 * math.sqrt(6.0)) * math.sqrt(2.0) * 2.0**-47)
    t = float((lost / (2.0**-47 - U * in_r))[0])
    assert 0.05 < t < 0.9
    assert found.bound == by_hand(math.expm1(-0.5 * math.log1p(-t * t)))
    assert found.method == "QR of A"


def test_of_a_residual_of_rounding_no_suboptimality_is_known():
    X = np.array([[3.0], [-2.0]])
    found = certified(COLUMNS, COLUMNS @ X, X, metric="suboptimality")
    assert found.bound == math.inf
    assert not found.satisfied
    assert found.method == (
        "the residual is hardly more than rounding: relative to it no error is small; ask for prediction_error"
    )


def test_columns_of_zeros():
    B, X = exact_problem(0.0) * [1.0, 0.0], (ANSWER + 0.5) * [1.0, 0.0]
    found = certified(COLUMNS, B, X)
    expected = np.linalg.norm(np.sqrt(SQUARES) * 0.5) / norm(B)[0]
    assert found.estimate == by_hand(expected)
    assert found.residual == by_hand(norm(B - COLUMNS @ X)[0] / norm(B)[0])
    small = certified(COLUMNS, 2.0**-8 * B, 2.0**-8 * X)
    assert (small.estimate, small.residual) == by_hand((found.estimate, found.residual))
    found = certified(COLUMNS, B, X + np.array([0.0, 1e-30]))
    assert found.bound == found.estimate == math.inf
    assert not found.satisfied
    zero = np.zeros(2)
    assert certified(COLUMNS, np.zeros(6), zero).bound == 0.0
    assert certified(0.0 * COLUMNS, LEFT[:, 0], zero, metric="backward_error").bound == math.inf


def test_an_answer_that_is_not_finite():
    X = ANSWER * [1.0, math.nan]
    found = certified(COLUMNS, exact_problem(0.0), X, 0.5)
    assert (found.metric, found.bound, found.estimate) == ("prediction_error", math.inf, math.inf)
    assert (found.confidence, found.method, found.target, found.satisfied) == (1.0, "x is not finite", 0.5, False)


def test_an_error_that_is_not_a_number_is_infinite():
    found = certified(COLUMNS, exact_problem(0.0) * math.nan, ANSWER)
    assert found.bound == found.estimate == math.inf


def test_an_embedding_that_says_nothing_gives_an_infinite_bound(monkeypatch):
    how = embedding(np.diag(np.sqrt(SQUARES[:, 0])), distortion=math.inf)
    monkeypatch.setattr(certificate, "_embedding", lambda *args: how)
    B = exact_problem(0.0)
    found = certified(COLUMNS, B, ANSWER + 0.5)
    assert found.bound == math.inf
    assert found.estimate == by_hand(np.max(np.linalg.norm(np.sqrt(SQUARES) * 0.5) / norm(B)))


def asked_again(monkeypatch):
    asked, product = [], _numba.residual_double_double

    def spy(*args):
        asked.append(args)
        return product(*args)

    monkeypatch.setattr(_numba, "residual_double_double", spy)
    return asked


@pytest.mark.parametrize(("over", "again"), [(3.99, True), (4.01, False), (1.0, True), (0.998, False)])
def test_a_residual_is_computed_again_near_the_target(over, again, monkeypatch):
    asked, B, X = asked_again(monkeypatch), exact_problem(0.0), ANSWER + 0.5
    estimate = certified(COLUMNS, B, X).estimate
    found = certified(COLUMNS, B, X, estimate / over)
    assert bool(asked) == again
    assert ("twice" in found.method) == again
    assert not certified(COLUMNS, B, X, estimate / over, device="cuda:0").method.endswith("precision")
    assert len(asked) == again
    assert found.estimate == by_hand(estimate)
    assert found.bound == by_hand(1.001 * estimate)
    assert found.satisfied == (over < 0.999)


def test_a_residual_is_computed_again_near_its_rounding(monkeypatch):
    seen = set()
    x = np.array([[1.0], [0.0]])
    B = COLUMNS @ x + LEFT[:, :1]
    for k in range(1, 40):
        asked = asked_again(monkeypatch)
        X = x + np.array([[k * 2.0**-52], [0.0]])
        lost, _, _ = rounding_by_hand(COLUMNS, B, X, LEFT[:, :1], 0.0, "")
        estimate = 2.0 * k * 2.0**-52 / norm(B)[0]
        near = estimate < 4.0 * U * lost[0] / norm(B)[0]
        found = certified(COLUMNS, B, X, 1e-20)
        assert found.estimate == pytest.approx(estimate, rel=1e-6, abs=0.0)
        assert bool(asked) == near
        seen.add(near)
        monkeypatch.undo()
    assert seen == {True, False}


def test_what_is_computed_again_is_what_counts(monkeypatch):
    """The residual in float64 is taken to be off by half, the one in twice the precision to be exact."""
    plain = certificate._residual_and_gradient

    def rough(*args):
        r, g, image = plain(*args)
        return r, 0.5 * g, image

    monkeypatch.setattr(certificate, "_residual_and_gradient", rough)
    for ridge in (0.0, 0.25):
        B, X = exact_problem(ridge), ANSWER + 0.5
        size = norm(np.sqrt(SQUARES + ridge) * 0.5) / norm(B)
        found = certified(COLUMNS, B, X, 0.3 * float(np.max(size)), ridge=ridge)
        assert "twice" in found.method
        assert found.estimate == by_hand(np.max(size))
    wide = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, -2.0, 2.0, -2.0]])
    monkeypatch.setattr(certificate, "_residual_and_gradient", lambda *args: (0.5 * plain(*args)[0], *plain(*args)[1:]))
    x, b = wide.T @ np.array([1.0, 2.0]), np.array([5.0, 32.0])
    r = float(np.linalg.norm(b - wide @ x))
    assert r > 0.0
    found = certified(wide, b, x, 0.3 * r / float(np.linalg.norm(b)))
    assert "twice" in found.method
    assert found.estimate == by_hand(r / np.linalg.norm(b))


WIDE = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, -2.0, 2.0, -2.0], [0.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("metric", ["prediction_error", "backward_error"])
def test_a_wide_matrix_that_lacks_rank_by_hand(metric, twice):
    x, left = (WIDE.T @ np.array([1.0, 2.0, 0.0]))[:, None], np.array([[0.0], [0.0], [3.0]])
    b = WIDE @ x + left
    found = certified(WIDE, b, x, 1e-300 if twice else None, metric=metric)
    norm_b, norm_x, norm_A = np.linalg.norm(b), np.linalg.norm(x), math.sqrt(20.0)
    in_r = (1.0 + 0.18 * 2.0) * 2.0 * (1.0 + 2.0 / math.sqrt(3.0)) * 4.0 * norm_x + norm_b
    lost, fixed = in_r + (1.0 + 0.18 * math.sqrt(3.0)) * 3.0, 2.0 * math.sqrt(3.0) * 2.0 * 3.0
    size = norm_b
    if metric == "backward_error":
        lost, size = (
            in_r * min(1.0 / norm_x, norm_A / 3.0) + (1.0 + 0.18 * math.sqrt(3.0)) * norm_A,
            norm_A / math.sqrt(2.0),
        )
    rounding = U * (lost + fixed)
    expected = (U * rounding + U * fixed if twice else rounding) / size
    assert found.bound == by_hand(expected)
    assert found.numerical_rank == 2
    assert found.method.startswith("singular vectors of A")
    assert found.confidence == 1.0


def test_a_wide_matrix_of_full_rank():
    A, off = WIDE[:2], np.array([1.0, 0.0, -1.0, 0.0])
    x = A.T @ np.array([1.0, 2.0])
    found = certified(A, A @ x, x)
    assert found.numerical_rank is None
    found = certified(A, A @ x, x + off, 0.9)
    share = math.sqrt(2.0) / np.linalg.norm(x + off)
    assert found.method == f"not of minimum norm: {share:.1e} of x is outside the row space of A"
    assert (found.bound, found.target, found.satisfied, found.numerical_rank) == (math.inf, 0.9, False, None)
    assert found.estimate < 1e-15
    assert found.residual is None
    found = certified(WIDE, WIDE @ x, x + off)
    assert (found.bound, found.numerical_rank) == (math.inf, 2)


@pytest.mark.parametrize("ridge", [0.0, 0.25])
@pytest.mark.parametrize("name", ["gram_factor", "r_factor"])
def test_a_factor_that_an_algorithm_has_left(name, ridge):
    B, X = exact_problem(ridge), ANSWER + 0.5
    R = np.diag(np.sqrt(SQUARES[:, 0] + ridge))
    found = certified(COLUMNS, B, X, ridge=ridge, reuse={name: R})
    expected = np.max(norm(np.sqrt(SQUARES + ridge) * 0.5 * np.ones(2)) / norm(B))
    assert found.bound == by_hand(expected)
    assert found.confidence == by_hand(1.0 - 0.01)
    what = "Gram" if name == "gram_factor" else "R"
    assert found.method == f"{what} factor checked by independent test vectors"
    wrong = certified(COLUMNS, B, X, ridge=ridge, reuse={name: 1.1 * R})
    assert (wrong.method, wrong.confidence) == ("QR of A", 1.0)


@pytest.mark.parametrize("ridge", [0.0, 0.25])
def test_a_factor_in_float32_by_hand(ridge):
    B, X, seed, confidence = exact_problem(ridge), ANSWER + 0.5, 9, 0.9
    R = np.diag(1.01 * np.sqrt(SQUARES[:, 0] + ridge)).astype(np.float32)
    found = certified(COLUMNS, B, X, ridge=ridge, reuse={"gram_factor": R}, seed=seed, confidence=confidence)
    exact, G = R.astype(float), normals(seed, 2, 7)
    image = (SQUARES + ridge) * np.linalg.solve(exact, G)
    q = chi_squared.quantile(7, 0.005)
    eps = np.linalg.norm(np.linalg.solve(exact.T, image) - G) / math.sqrt(q)
    eps += 8.0 * U * math.sqrt(2.0) * np.linalg.norm(G) / math.sqrt(q)
    sizes = norm(np.linalg.solve(exact.T, (SQUARES + ridge) * 0.5 * np.ones(2)))
    assert 0.03 < eps < 0.3
    assert found.estimate == by_hand(np.max(sizes / norm(B)))
    assert found.bound == by_hand(np.max(sizes / norm(B)) / math.sqrt(1.0 - eps))
    assert found.confidence == by_hand(0.99)
    assert found.method == f"Gram factor checked by independent test vectors to {eps:.1e}"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_factor_of_a_wide_matrix_by_hand(dtype):
    A = WIDE[:2]
    x = (A.T @ np.array([1.0, 2.0]))[:, None]
    b = A @ x
    R = np.diag([2.0, 4.0]).astype(dtype) * dtype(1.0 if dtype is np.float64 else 1.0005)
    reuse = {"gram_factor": R}
    found = certified(A, b, x, reuse=reuse)
    in_r = (1.0 + 0.18 * 2.0) * (1.0 + math.sqrt(2.0)) * math.sqrt(np.sum(R.astype(float) ** 2))
    in_r = in_r * np.linalg.norm(x) + np.linalg.norm(b)
    assert found.bound == by_hand(U * in_r / np.linalg.norm(b))
    method = "Gram factor checked by independent test vectors"
    if dtype is np.float32:
        exact, G, q = R.astype(float), normals(7, 2, 7), chi_squared.quantile(7, 0.005)
        E = (A @ A.T) / np.outer(np.diag(exact), np.diag(exact)) - np.eye(2)
        method += f" to {np.linalg.norm(E @ G) / math.sqrt(q):.1e}"
    assert found.method == method
    other = b + np.array([[1.0], [0.5]])
    off = certified(A, other, x, reuse=reuse)
    expected = math.sqrt(1.25) / np.linalg.norm(other)
    assert [off.estimate, off.bound] == by_hand([expected, expected])
    off = certified(A, b, x + np.array([[1.0], [0.0], [-1.0], [0.0]]), reuse=reuse)
    assert off.method.startswith("not of minimum norm")


def test_a_factor_of_a_wide_matrix_with_ridge_by_hand():
    A, ridge = WIDE[:2], 0.25
    R = np.diag(np.sqrt([4.0 + ridge, 16.0 + ridge]))
    x = np.array([[1.0], [-2.0], [0.5], [3.0]])
    b = A @ x + [[1.0], [-3.0]]
    found = certified(A, b, x, ridge=ridge, reuse={"gram_factor": R})
    g = A.T @ (b - A @ x) - ridge * x
    expected = np.sqrt(g.T @ np.linalg.solve(A.T @ A + ridge * np.eye(4), g)) / np.linalg.norm(b)
    assert found.estimate == by_hand(float(expected[0, 0]))
    assert found.bound == by_hand(float(expected[0, 0]))
    assert found.method == "Gram factor checked by independent test vectors"


# What is foreseen.


def known(condition: float, scaled: float | None = None) -> Evidence:
    exact = Interval.exact
    return Evidence(condition=exact(condition), scaled_condition=exact(scaled or condition))


@pytest.mark.parametrize("n", [20, 80, 300])
def test_the_distortion_that_is_going_to_be_measured(n):
    amplification = 50.0 * math.sqrt(1.0 + n / 80.0)
    assert certificate._measured_distortion(n, 50.0, True, 1e-6) == by_hand(3.9e-6 * 0.6 * amplification**2)
    assert certificate._measured_distortion(n, 50.0, False, 1e-6) == by_hand(3.9e-6 * 3.0 * amplification)


@pytest.mark.parametrize(("algorithm", "tall", "tall_ridged", "wide", "wide_ridged"), [
    ("normal_equations", True, True, True, True),
    ("householder_qr", True, True, True, False),
    ("randomized_cholesky_qr", True, True, False, False),
    ("svd", True, True, False, False),
    ("lsqr", False, False, False, False),
])  # fmt: skip
def test_which_algorithms_leave_a_factor(algorithm, tall, tall_ridged, wide, wide_ridged):
    def leaves(m, n, ridge, backend="scipy", dtype="float64"):
        return certificate.leaves_factor(of_shape(m, n, ridge=ridge), known(2.0), algorithm, backend, dtype)

    assert leaves(50, 20, 0.0) == leaves(20, 20, 0.0) == tall
    assert leaves(50, 20, 1.0) == leaves(20, 20, 1.0) == tall_ridged
    assert leaves(20, 50, 0.0) == wide
    assert leaves(20, 50, 1.0) == wide_ridged
    assert leaves(50, 20, 0.0, "numpy") == (tall and algorithm != "svd")
    assert leaves(50, 20, 0.0, dtype="float32") == tall
    assert leaves(50, 20, 1.0, dtype="float32") == tall_ridged
    assert leaves(20, 50, 0.0, dtype="float32") == wide
    assert not leaves(20, 50, 1.0, dtype="float32")


@pytest.mark.parametrize("algorithm", ["householder_qr", "randomized_cholesky_qr"])
def test_the_condition_up_to_which_a_factor_in_float64_is_expected_to_pass(algorithm):
    limit = 0.05 / (8.0 * U * 20)
    for size in (0.99, 1.01):
        for evidence in (known(size * limit, 1e16), known(1e16, size * limit)):
            task = of_shape(50, 20)
            assert certificate.leaves_factor(task, evidence, algorithm, "scipy", "float64") == (size < 1.0)
    for other in ("normal_equations", "svd"):
        assert certificate.leaves_factor(of_shape(50, 20), known(1e16), other, "scipy", "float64")
    assert certificate.leaves_factor(of_shape(20, 50), known(1e16), "householder_qr", "scipy", "float64")


@pytest.mark.parametrize(("m", "n", "limit"), [(50, 20, 0.3), (20, 50, 0.01), (20, 20, 0.3)])
@pytest.mark.parametrize("algorithm", ["normal_equations", "householder_qr"])
@pytest.mark.parametrize("size", [0.99, 1.01])
def test_the_condition_up_to_which_a_factor_in_float32_is_expected_to_pass(m, n, limit, algorithm, size):
    task, u = of_shape(m, n, dtype="float32"), 2.0**-24
    amplification = math.sqrt(limit / 3.9 / u / 0.6) if algorithm == "normal_equations" else limit / 3.9 / u / 3.0
    c = size * amplification / math.sqrt(1.25)
    for evidence in (
        known(c, 1e9),
        known(1e9, c),
        Evidence(condition=Interval(1e9, c / 1e3, c * 1e3), scaled_condition=Interval.exact(1e9)),
        Evidence(condition=Interval.exact(1e9), scaled_condition=Interval(1e9, c / 1e3, c * 1e3)),
    ):
        assert certificate.leaves_factor(task, evidence, algorithm, "scipy", "float32") == (size < 1.0)


def test_the_margin_by_hand():
    assert certificate.margin(of_shape(2000, 100), False) == 1.05
    assert certificate.margin(of_shape(2001, 100), True) == 1.05
    expected = (1.0 + 0.5 + 3.0 / 20.0) / math.sqrt(1.0 - 0.25)
    assert certificate.margin(of_shape(2001, 100), False) == by_hand(expected)
    q = math.sqrt(6.0 / 26.0)
    expected = (1.0 + q + 3.0 / math.sqrt(26.0)) / math.sqrt(1.0 - 6.0 / 26.0)
    assert certificate.margin(of_shape(600_000, 6), False) == by_hand(expected)


# Its work.

WELL = known(10.0)


def calls_and_peak(task, *args, evidence=WELL, **kwargs):
    found = certificate.work(task, evidence, "scipy", *args, **kwargs)
    for call in found.calls:
        assert call.backend == ("numba" if call.kernel == "sparse_sign" else "scipy")
        assert call.dtype == (task.dtype if call.kernel == "sparse_sign" else "float64")
    return [(call.kernel, call.dims, call.count) for call in found.calls], found.peak_bytes


@pytest.mark.parametrize(("r", "n", "small"), [(1, 200, 128), (3, 200, 128), (3, 60, 60)])
def test_the_work_of_a_small_problem(r, n, small):
    m = 400
    for ridge in (0.0, 1.0):
        calls, peak = calls_and_peak(of_shape(m, n, nrhs=r, ridge=ridge), False, False)
        assert calls == [
            ("gemv", (m, n), 1.0) if r == 1 else ("gemm", (m, r, n), 1.0),
            ("gemv_t", (m, n), 1.0) if r == 1 else ("gemm", (n, r, m), 1.0),
            ("trsm", (n, small), 1.0),
            ("trsm", (n, r), 1.0),
            ("geqrf", (m + (n if ridge else 0), n), 1.0),
        ]
        assert peak == 8.0 * (m * (3 * r + 3) + 4 * n * n + n * r + 2 * m * n)
    assert calls_and_peak(of_shape(m, n, nrhs=0), False, False) == calls_and_peak(of_shape(m, n), False, False)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_work_of_a_sketched_problem(dtype):
    m, n = 2001, 100
    task = of_shape(m, n, dtype=dtype)
    for ready in (False, True):
        calls, peak = calls_and_peak(task, False, ready)
        sketch = [] if ready else [("sparse_sign", (m, n, 400, 8), 1.0)]
        assert calls == [
            ("gemv", (m, n), 1.0), ("gemv_t", (m, n), 1.0), ("trsm", (n, 100), 1.0), ("trsm", (n, 1), 1.0),
            *sketch, ("geqrf", (400, n), 1.0),
        ]  # fmt: skip
        converted = m * n if dtype == "float32" else 0
        assert peak == 8.0 * (m * 6 + 4 * n * n + n + 3 * 400 * n + converted)
    assert certificate.work(task, WELL, "scipy", False, False).calls[4] == KernelCall(
        "sparse_sign", (m, n, 400, 8), dtype, "numba"
    )


def test_the_work_of_a_wide_problem():
    m, n = 100, 300
    calls, peak = calls_and_peak(of_shape(m, n), False, False, evidence=Evidence())
    assert calls == [
        ("gemv", (m, n), 1.0), ("gemv_t", (m, n), 1.0), ("trsm", (n, 128), 1.0), ("trsm", (n, 1), 1.0),
        ("gesdd", (m, n), 1.0),
    ]  # fmt: skip
    assert peak == 8.0 * (m * 6 + 4 * n * n + n + 3 * m * n)
    calls, peak = calls_and_peak(of_shape(m, n, ridge=1.0), False, False)
    assert calls[4:] == [("geqrf", (m + n, n), 1.0)]
    assert peak == 8.0 * (m * 6 + 4 * n * n + n + 2 * m * n)
    square = calls_and_peak(of_shape(m, m), False, False)[0]
    assert square[4:] == [("geqrf", (m, m), 1.0)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("r", [1, 3])
def test_the_work_with_a_factor(dtype, r):
    m, n = 400, 200
    task = of_shape(m, n, nrhs=r, dtype=dtype)
    converted = m * n if dtype == "float32" else 0
    calls, peak = calls_and_peak(task, True, False)
    back = ("gemv_t", (m, n), 1.0) if r == 1 else ("gemm", (n, r, m), 1.0)
    assert calls == [("gemm", (m, r + 3, n), 1.0), back, ("trsm", (n, 128), 1.0), ("trsm", (n, r), 1.0)]
    assert peak == 8.0 * (m * (3 * r + 3) + n * (2 * r + 3) + 4 * n * n + converted)
    calls, peak = calls_and_peak(task, True, True, dtype="float32")
    assert calls == [
        ("gemm", (m, r + 7, n), 1.0), ("gemm", (n, r + 7, m), 1.0), ("trsm", (n, 7), 2.0), ("trsm", (n, r), 1.0),
    ]  # fmt: skip
    assert peak == 8.0 * (m * (3 * r + 14) + n * (2 * r + 14) + 4 * n * n + converted)
    assert calls_and_peak(of_shape(m, 60), True, False)[0][2] == ("trsm", (60, 60), 1.0)
    assert calls_and_peak(of_shape(n, n), True, False)[0][0] == ("gemm", (n, 4, n), 1.0)


@pytest.mark.parametrize("r", [1, 3])
def test_the_work_with_a_factor_of_a_wide_matrix(r):
    m, n = 200, 400
    task = of_shape(m, n, nrhs=r)
    forward = ("gemv", (m, n), 1.0) if r == 1 else ("gemm", (m, r, n), 1.0)
    projections = [("gemv", (m, n), 1.0 * r), ("gemv_t", (m, n), 1.0 * r)]
    calls, peak = calls_and_peak(task, True, False)
    assert calls == [
        forward, ("gemm", (n, r + 3, m), 1.0), ("trsm", (m, 128), 1.0), ("trsm", (m, r), 1.0), *projections,
    ]  # fmt: skip
    assert peak == 8.0 * (m * (3 * r + 3) + n * (2 * r + 3) + 4 * m * m)
    calls, peak = calls_and_peak(task, True, False, dtype="float32")
    assert calls == [
        forward, ("gemm", (n, r + 7, m), 1.0), ("trsm", (m, 7), 2.0), ("trsm", (m, r), 1.0), ("gemm", (m, 7, n), 1.0),
        *projections,
    ]  # fmt: skip
    assert peak == 8.0 * (m * (3 * r + 21) + n * (2 * r + 21) + 4 * m * m)


def test_of_a_large_matrix_in_float32_blocks_are_converted():
    m, n = 40_000, 50
    peaks = [calls_and_peak(of_shape(m, n, dtype=dtype), True, False)[1] for dtype in ("float64", "float32")]
    assert peaks[1] - peaks[0] == 8.0 * 2**19
    peaks = [calls_and_peak(of_shape(n, m, dtype=dtype), True, False)[1] for dtype in ("float64", "float32")]
    assert peaks[1] - peaks[0] == 8.0 * 2**20


@pytest.mark.parametrize(("share", "asked"), [(0.011, True), (0.009, False), (0.6, True)])
def test_singular_values_are_priced_by_how_likely_they_are_asked_for(share, asked):
    from statistics import NormalDist

    task = of_shape(400, 200)
    threshold = 1e-3 / (4.0 * math.sqrt(200.0) * U)
    median = threshold * math.exp(-NormalDist().inv_cdf(1.0 - share))
    condition = Interval(median, 1.0, median * math.exp(NormalDist().inv_cdf(0.95)))
    evidence = Evidence(condition=condition)
    assert condition.probability_above(threshold) == by_hand(share)
    calls, _ = calls_and_peak(task, False, False, evidence=evidence)
    expected = [("gesdd", (200, 200), by_hand(share))] if asked else []
    assert calls[5:] == expected
    assert [
        c for c in calls_and_peak(of_shape(200, 400, ridge=1.0), False, False, evidence=evidence)[0] if c[0] == "gesdd"
    ] == []
    assert len(calls_and_peak(task, True, False, evidence=evidence)[0]) == 4
