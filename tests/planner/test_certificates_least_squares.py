"""The certificate of a least-squares problem: never below the true error (with its confidence), seldom far above it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from autonla.cost_models.price import price
from autonla.planner.certificate import Certificate
from autonla.planner.certify import least_squares as certificate
from autonla.planner.certify.products import UNIT, rmatmul_in_blocks, rounding_of_sum, rows_at_once
from autonla.planner.kinds import kind_of
from autonla.planner.prepare import prepare
from autonla.planner.problems import LeastSquares
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.kernels import library
from autonla.primitives.least_squares import SketchedFactor
from autonla.primitives.least_squares._sketched import sketched_factor
from autonla.primitives.task import Task
from tests._support import gallery, matrices, spectra, truth
from tests._support.backends import BACKENDS
from tests._support.certifying import certify
from tests._support.doubledouble import DoubleDouble
from tests._support.machine import synthetic_profile

ABOVE_ROUNDING = 1e-9
LIBRARIES = ["scipy", "numpy", pytest.param("torch", marks=pytest.mark.skipif(not find_spec("torch"), reason="none"))]


@dataclass(frozen=True, slots=True)
class Case:
    what: str
    problem: LeastSquares
    x: np.ndarray
    rank: int | None

    def true_error(self) -> truth.Measured:
        return truth.prediction_error(self.problem.A, self.x, self.problem.b, self.problem.ridge, self.rank)


def augmented(A: np.ndarray, b: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    n = A.shape[1]
    return np.vstack([A, math.sqrt(ridge) * np.eye(n)]), np.concatenate([b, np.zeros((n, *b.shape[1:]))])


def full_rank(count: int, seed: int, tallest: int = 120) -> Iterator[Case]:
    """Tall and square, condition 1 to 1e14, with and without ridge; answers from LAPACK's to worthless."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = int(rng.integers(1, 40))
        m = int(rng.integers(n, tallest))
        condition = 10.0 ** rng.uniform(0, 14)
        s = (spectra.geometric(n, condition), spectra.one_small(n, condition))[i % 2]
        matrix = matrices.with_spectrum(m, n, s, rng, coherent=i % 3 == 0)
        stated = matrices.least_squares(
            matrix, float(rng.choice([0.0, 1e-8, 0.1, 0.9])), rng, rough=i % 4 == 0,
            ridge=10.0 ** rng.uniform(-12, 1) if i % 5 == 0 else 0.0, columns=3 if i % 7 == 0 else None,
        )  # fmt: skip
        x = np.linalg.lstsq(*augmented(stated.A, stated.b, stated.ridge), rcond=0)[0]
        noise = float(rng.choice([0.0, 1e-12, 1e-6, 1e-2]))
        x = x * (1.0 + noise * rng.standard_normal(x.shape))
        what = f"{i}: {m}x{n} condition={condition:.0e} ridge={stated.ridge:.0e} noise={noise:.0e}"
        yield Case(what, LeastSquares(stated.A, stated.b, ridge=stated.ridge), x, None)


def rank_deficient(count: int, seed: int) -> Iterator[Case]:
    """Exactly rank-deficient; answers of minimum norm, with errors inside the row space."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = int(rng.integers(4, 30))
        m, r = int(rng.integers(n, 120)), int(rng.integers(1, n))
        if i % 3 == 0:
            matrix = matrices.exact_rank(m, n, r, rng, cond=10.0 ** rng.uniform(0, 5))
        elif i % 3 == 1:
            base = matrices.with_spectrum(m, r, spectra.geometric(r, 10.0 ** rng.uniform(0, 7)), rng)
            matrix = matrices.repeated_columns(base, n, rng)
        else:
            matrix = matrices.dummy_variables(m, (3, 4), rng)
        stated = matrices.least_squares(matrix, float(rng.choice([0.0, 0.1, 0.9])), rng)
        x = np.linalg.lstsq(stated.A, stated.b)[0]
        inside = stated.A.T @ rng.standard_normal(stated.A.shape[0])
        noise = float(rng.choice([0.0, 1e-7, 1e-3]))
        x = x + noise * np.linalg.norm(x) / np.linalg.norm(inside) * inside
        what = f"{i}: {stated.A.shape} rank {matrix.rank}, noise={noise:.0e}"
        yield Case(what, LeastSquares(stated.A, stated.b), x, matrix.rank)


def check(cases: Iterator[Case], most: float, **how) -> None:
    """The bound holds in every case, and its median over the true error is at most `most`."""
    ratios, below = [], []
    for case in cases:
        found, error = certify(case.problem, case.x, **how), case.true_error()
        if found.bound < error.low:
            below.append(f"{case.what}: bound {found.bound:.2e}, true {error:.2e}, {found.method}")
        assert found.estimate <= found.bound
        if error > ABOVE_ROUNDING:
            ratios.append(found.bound / error)
    assert not below
    assert len(ratios) >= 10
    assert median(ratios) <= most
    assert np.quantile(ratios, 0.9) <= 25.0  # conditions to 1e14 amplify what sums may round by at worst


def test_full_rank_by_QR_of_A():
    check(full_rank(120, seed=1), most=1.1)


def test_rank_deficient():
    check(rank_deficient(60, seed=2), most=1.1)


def test_full_rank_by_a_sketch(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    check(full_rank(80, seed=3, tallest=400), most=3.0)


def test_rank_deficient_by_a_sketch(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    check(rank_deficient(60, seed=4), most=3.0)


def wide(count: int, seed: int) -> Iterator[Case]:
    """Underdetermined: errors of the fit are inside the row space."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m = int(rng.integers(1, 25))
        n = int(rng.integers(m + 1, 60))
        A = matrices.with_spectrum(m, n, spectra.geometric(m, 10.0 ** rng.uniform(0, 8)), rng).A
        b, ridge = rng.standard_normal(m), 0.1 if i % 3 == 0 else 0.0
        x = np.linalg.lstsq(*augmented(A, b, ridge), rcond=None)[0]
        inside = A.T @ rng.standard_normal(m)
        noise = float(rng.choice([1e-7, 1e-3]))
        x = x + noise * np.linalg.norm(x) / np.linalg.norm(inside) * inside
        yield Case(f"{i}: {m}x{n} ridge={ridge}", LeastSquares(A, b, ridge=ridge), x, None)


def test_wide():
    check(wide(40, seed=5), most=1.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_library_and_dtype(backend, dtype):
    lib = "numpy" if backend.name == "numpy" else "torch"
    for case in full_rank(20, seed=6):
        A, b, x = (a.astype(dtype) for a in (case.problem.A, case.problem.b, case.x))
        problem = LeastSquares(backend.asarray(A, dtype), backend.asarray(b, dtype), ridge=case.problem.ridge)
        error = truth.prediction_error(A, x, b, case.problem.ridge)
        assert certify(problem, x, backend=lib).bound >= error.low, case.what


def test_a_sketch_in_float32_left_by_the_probe_serves():
    rng = np.random.default_rng(7)
    for case in full_rank(40, seed=7):
        A, b = case.problem.A.astype(np.float32), case.problem.b.astype(np.float32)
        x = (case.x * (1.0 + 1e-5 * rng.standard_normal(case.x.shape))).astype(np.float32)
        problem = LeastSquares(A, b, ridge=case.problem.ridge)
        prepared = prepare(problem, kind_of("least_squares").task(problem, 0.0, 0))
        sketch = sketched_factor(library("scipy"), prepared.A, prepared.b, "identity", A.shape[0], 0)
        error = truth.prediction_error(A, x, b, case.problem.ridge)
        assert certify(problem, x, reuse={"sketch": sketch, "sketch_used": False}).bound >= error.low, case.what


@pytest.mark.parametrize("size", [1e-10, 1e-6, 1e-2])
@pytest.mark.parametrize("ridge", [0.0, 1e-4])
def test_a_wrong_answer_of_known_size_is_seen(size, ridge):
    rng = np.random.default_rng(8)
    for condition in (1e1, 1e5):
        A = matrices.with_spectrum(80, 20, spectra.geometric(20, condition), rng).A
        b = A @ rng.standard_normal(20) + rng.standard_normal(80)
        x = np.linalg.lstsq(*augmented(A, b, ridge), rcond=None)[0]
        for direction in np.linalg.svd(A)[2][[0, 10, 19]]:
            step = size * np.linalg.norm(b) / np.linalg.norm(A @ direction)
            wrong = x + step * direction
            error = truth.prediction_error(A, wrong, b, ridge)
            found = certify(LeastSquares(A, b, ridge=ridge), wrong, target=0.9 * float(error))
            assert error.low <= found.bound <= 1.3 * error
            assert not found.satisfied
            assert certify(LeastSquares(A, b, ridge=ridge), wrong, target=1.5 * float(error)).satisfied


def test_an_error_in_the_direction_that_A_hardly_sees():
    """The residual hardly changes, x does by 10^5 of itself: the metric is that of the fit, and so is the bound."""
    rng = np.random.default_rng(9)
    A = matrices.with_spectrum(60, 10, spectra.geometric(10, 1e9), rng).A
    b = rng.standard_normal(60)
    x = np.linalg.lstsq(A, b, rcond=0)[0]
    last = np.linalg.svd(A)[2][-1]
    moved = x + 1e-3 * np.linalg.norm(b) / 1e-9 * last
    assert certify(LeastSquares(A, b), moved).bound == pytest.approx(1e-3, rel=0.1, abs=0.0)


def test_residual_of_b_does_not_hide_an_error():
    """Nearly all of b is outside the range of A: ||r|| says nothing."""
    rng = np.random.default_rng(10)
    A = rng.standard_normal((200, 5))
    b = 1e-3 * A @ np.ones(5) + rng.standard_normal(200)
    x = np.linalg.lstsq(A, b)[0]
    error = truth.prediction_error(A, 1.5 * x, b)
    found = certify(LeastSquares(A, b), 1.5 * x)
    assert error.low <= found.bound <= 1.1 * error


@pytest.mark.parametrize("exponent", [0, 565, -565, 1000, -1000])
def test_zero_is_no_answer_at_any_scale(exponent):
    rng = np.random.default_rng(11)
    A = rng.standard_normal((40, 8))
    b = A @ np.ones(8) + 0.1 * rng.standard_normal(40)
    problem = LeastSquares(np.ldexp(A, exponent), np.ldexp(b, exponent))
    for x in (np.zeros(8), np.full(8, 1e-200)):
        found = certify(problem, x, target=0.5)
        assert found.bound > 0.9
        assert not found.satisfied
    assert certify(problem, np.linalg.lstsq(A, b)[0], target=1e-13).satisfied


@pytest.mark.parametrize(("a", "b"), [(565, 0), (0, 565), (-565, 0), (0, -565), (900, 900), (-1000, -1000)])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_scale_of_A_and_b_changes_nothing(a, b, ridge):
    rng = np.random.default_rng(12)
    A, rhs = rng.standard_normal((40, 8)), rng.standard_normal(40)
    x = np.linalg.lstsq(*augmented(A, rhs, ridge))[0] * (1.0 + 1e-6 * rng.standard_normal(8))
    plain = certify(LeastSquares(A, rhs, ridge=ridge), x)
    if ridge and abs(a) > 500:
        ridge = 0.0 if a < 0 else ridge  # 4^-565 cannot be written down
        plain = certify(LeastSquares(A, rhs, ridge=0.0), x)
    scaled_ridge = math.ldexp(ridge, 2 * a) if abs(a) <= 500 else 0.0
    scaled = certify(LeastSquares(np.ldexp(A, a), np.ldexp(rhs, b), ridge=scaled_ridge), np.ldexp(x, b - a))
    assert scaled.bound == pytest.approx(plain.bound, rel=1e-3, abs=0.0)


def test_zero_right_hand_side():
    rng = np.random.default_rng(13)
    A = rng.standard_normal((20, 4))
    exact = certify(LeastSquares(A, np.zeros(20)), np.zeros(4), target=1e-15)
    assert exact.satisfied
    assert exact.bound == 0.0
    wrong = certify(LeastSquares(A, np.zeros(20)), 1e-30 * np.ones(4), target=0.9)
    assert not wrong.satisfied
    B = np.stack([np.zeros(20), A @ np.ones(4)], axis=1)
    assert certify(LeastSquares(A, B), np.stack([np.zeros(4), np.ones(4)], axis=1)).bound < 1e-14


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_not_finite_never_passes(bad):
    rng = np.random.default_rng(14)
    x = np.ones((4, 2))
    x[1, 1] = bad
    found = certify(LeastSquares(rng.standard_normal((20, 4)), np.ones((20, 2))), x, target=1.0)
    assert found.bound == math.inf
    assert not found.satisfied


def test_one_wrong_column_among_many():
    rng = np.random.default_rng(15)
    A, B = rng.standard_normal((50, 6)), rng.standard_normal((50, 4))
    X = np.linalg.lstsq(A, B)[0]
    assert certify(LeastSquares(A, B), X, target=1e-13).satisfied
    X[:, 2] *= 1.0 + 1e-4
    found = certify(LeastSquares(A, B), X, target=1e-6)
    assert not found.satisfied
    assert found.bound >= truth.prediction_error(A, X, B).low


def test_not_of_minimum_norm():
    """Where many solutions fit, only the smallest is the answer."""
    rng = np.random.default_rng(16)
    for matrix in (matrices.exact_rank(40, 10, 6, rng), matrices.exact_rank(6, 15, 6, rng)):
        A = matrix.A
        b = A @ rng.standard_normal(A.shape[1])
        x = np.linalg.lstsq(A, b)[0]
        null = np.linalg.svd(A)[2][-1]
        assert certify(LeastSquares(A, b), x, target=1e-10).satisfied
        assert not certify(LeastSquares(A, b), x + null, target=1e-10).satisfied


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_minimum_norm_to_the_rounding_of_the_norm(dtype):
    """What is outside the row space adds its square: up to the root of u nobody sees it in ||x||."""
    u = 0.5 * float(np.finfo(dtype).eps)
    A, b = np.eye(3, 6).astype(dtype), np.array([0.6, 0.0, 0.8], dtype)
    for share, fine in ((0.9, True), (1.1, False)):
        x = np.concatenate([b, [0.0, share * math.sqrt(u), 0.0]]).astype(dtype)
        found = certify(LeastSquares(A, b), x, target=1e-5)
        assert found.satisfied is fine
        assert ("outside the row space" in found.method) is not fine


@pytest.mark.parametrize(("share", "fine"), [(0.99, True), (1.01, False)])
def test_without_an_accuracy_of_minimum_norm_as_LAPACKs_tests_want_it(share, fine):
    u, n = 2.0**-24, 6
    A, b = np.eye(3, n).astype(np.float32), np.array([0.6, 0.0, 0.8], np.float32)
    for rows, columns, allowed in ((3, n, 30.0 * n * u), (3, 1000, math.sqrt(u))):
        wide = np.eye(rows, columns).astype(np.float32)
        x = np.concatenate([b, [0.0, share * allowed], np.zeros(columns - 5)]).astype(np.float32)
        assert certify(LeastSquares(wide, b), x).satisfied is fine
    x = np.concatenate([b, [0.0, 1.01 * 30.0 * n * u, 0.0]]).astype(np.float32)
    assert certify(LeastSquares(A, b), x, target=1e-5).satisfied  # where an accuracy was asked for, that decides


def test_near_the_floor_residuals_are_computed_in_twice_the_precision():
    rng = np.random.default_rng(17)
    A = matrices.with_spectrum(200, 30, spectra.geometric(30, 1e5), rng).A
    b = A @ rng.standard_normal(30) + 0.5 * rng.standard_normal(200)
    x = truth.least_squares_solution(A, b).hi
    error, plain = truth.prediction_error(A, x, b), certify(LeastSquares(A, b), x)
    assert "twice" not in plain.method
    assert plain.bound > 10.0 * error
    sharp = certify(LeastSquares(A, b), x, target=0.9 * plain.bound)
    assert "twice float64's precision" in sharp.method
    assert error.low <= sharp.bound < 0.9 * plain.bound
    assert sharp.satisfied
    assert "twice" not in certify(LeastSquares(A, b), 1.001 * x, target=1e-10).method


# Confidence.


def sketch_case(rng: np.random.Generator) -> tuple[LeastSquares, np.ndarray, float]:
    A = matrices.orthonormal(600, 8, rng, coherent=True)
    b = rng.standard_normal(600)
    x = A.T @ b + 1e-3 * rng.standard_normal(8)
    return LeastSquares(A, b), x, float(truth.prediction_error(A, x, b))


@pytest.mark.statistical
def test_a_sketched_bound_holds_with_its_confidence(monkeypatch):
    """And the estimate without the distortion does not: the check can fail."""
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    problem, x, error = sketch_case(np.random.default_rng(18))
    found = [certify(problem, x, confidence=0.9, seed=seed) for seed in range(200)]
    assert {c.method for c in found} == {"independent sketch"}
    assert {c.confidence for c in found} == {0.9}
    assert sum(c.bound < error for c in found) <= 0.1 * 200
    assert sum(c.estimate < error for c in found) > 0.1 * 200


def test_more_confidence_means_a_larger_bound(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    problem, x, _ = sketch_case(np.random.default_rng(19))
    bounds = [certify(problem, x, confidence=c).bound for c in (0.6, 0.9, 0.99, 0.999999)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


def test_deterministic_routes_are_certain():
    case = next(full_rank(1, seed=20))
    assert certify(case.problem, case.x, confidence=0.9).confidence == 1.0


# What earlier stages left behind.


def test_a_sketch_that_the_algorithm_used_is_not_used_again(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    rng = np.random.default_rng(21)
    A, b = rng.standard_normal((500, 6)), rng.standard_normal(500)
    # The sketch that makes the wrong x look right: all its weight is on rows that x fits.
    x = np.linalg.lstsq(A[:20], b[:20])[0]
    R = 1e6 * np.linalg.qr(A)[1]
    fitted = SketchedFactor("sparse_sign", 8, 100, 0, R, np.zeros(6), np.zeros(1), np.ones(6), 0.25)
    error = truth.prediction_error(A, x, b)
    assert certify(LeastSquares(A, b), x, reuse={"sketch": fitted, "sketch_used": True}).bound >= error.low
    # The sketch was taken from the probe where the algorithm did not touch it: so this test can tell.
    assert certify(LeastSquares(A, b), x, reuse={"sketch": fitted, "sketch_used": False}).bound < error


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_what_a_probe_has_left_of_all_of_A_is_checked_against_it(ridge):
    rng = np.random.default_rng(22)
    A, b = rng.standard_normal((60, 5)), rng.standard_normal(60)
    problem, x = LeastSquares(A, b, ridge=ridge), rng.standard_normal(5)
    error, R = truth.prediction_error(A, x, b, ridge), np.linalg.qr(A)[1]

    def with_R(R: np.ndarray) -> Certificate:
        left = SketchedFactor("identity", 60, 60, 0, R, np.zeros(5), np.zeros(1), np.ones(5), 0.0)
        return certify(problem, x, reuse={"sketch": left, "sketch_used": True})

    right, wrong = with_R(R), with_R(R * np.array([1.0, 1.0, 30.0, 1.0, 1.0]))
    assert right.method == "R factor checked by independent test vectors"
    assert wrong.method == "QR of A"
    for found in (right, wrong):
        assert error.low <= found.bound <= 1.01 * error


def test_the_residual_is_that_of_the_worst_right_hand_side():
    rng = np.random.default_rng(23)
    A, B, X = rng.standard_normal((30, 4)), rng.standard_normal((30, 3)), rng.standard_normal((4, 3))
    B[:, 1] *= 10.0
    found = certify(LeastSquares(A, B, ridge=0.5), X)
    sizes = np.sqrt(((B - A @ X) ** 2).sum(0) + 0.5 * (X**2).sum(0)) / np.linalg.norm(B, axis=0)
    assert found.residual == pytest.approx(sizes.max(), rel=1e-12, abs=0.0)
    assert certify(LeastSquares(A, np.zeros(30)), X[:, 0]).residual == 0.0


def test_a_gram_factor_is_checked_against_A():
    rng = np.random.default_rng(22)
    A, b = rng.standard_normal((60, 6)), rng.standard_normal(60)
    x = 1.001 * np.linalg.lstsq(A, b)[0]
    R = np.linalg.cholesky(A.T @ A).T
    error = truth.prediction_error(A, x, b)
    right = certify(LeastSquares(A, b), x, reuse={"gram_factor": R})
    assert right.method.startswith("Gram factor")
    assert error.low <= right.bound <= 1.1 * error
    wrong = certify(LeastSquares(A, b), x, reuse={"gram_factor": 1e3 * R})
    assert not wrong.method.startswith("Gram factor")
    assert error.low <= wrong.bound <= 1.1 * error


def test_a_gram_factor_wrong_in_a_weak_direction_does_not_certify():
    """A random vector hardly meets the weak direction: only a comparison that sees it finds the factor out."""
    rng = np.random.default_rng(23)
    A = matrices.with_spectrum(60, 6, spectra.geometric(6, 1e4), rng).A
    b = rng.standard_normal(60)
    last = np.linalg.svd(A)[2][-1]
    x = np.linalg.lstsq(A, b)[0] + 1e3 * last
    error = truth.prediction_error(A, x, b)
    R = np.linalg.cholesky(A.T @ A + 1e-4 * np.outer(last, last)).T
    assert certify(LeastSquares(A, b), x, reuse={"gram_factor": R}).bound >= error.low


def test_a_gram_factor_of_an_ill_conditioned_matrix_is_not_trusted():
    rng = np.random.default_rng(24)
    for condition in (1e6, 1e7, 3e7):
        A = matrices.with_spectrum(80, 10, spectra.geometric(10, condition), rng).A
        b = A @ rng.standard_normal(10) + rng.standard_normal(80)
        x = np.linalg.lstsq(A, b)[0] * (1.0 + 1e-7 * rng.standard_normal(10))
        R = np.linalg.cholesky(A.T @ A).T
        found = certify(LeastSquares(A, b), x, reuse={"gram_factor": R})
        assert found.bound >= truth.prediction_error(A, x, b).low


# Factors that the algorithm left behind, right and wrong.


@dataclass(frozen=True, slots=True)
class Factored:
    """A problem, its exact singular vectors, a right R factor, and an answer that is wrong in direction j."""

    problem: LeastSquares
    x: np.ndarray
    s: np.ndarray
    Vh: np.ndarray
    R: np.ndarray
    rank: int | None

    def wrong(self, j: int, size: float = 1e-3) -> np.ndarray:
        """x and an error of `size` in the fit, in the direction of the j-th right singular vector."""
        return self.x + size * np.linalg.norm(self.problem.b) / self.s[j] * self.Vh[j]

    def true_error(self, x: np.ndarray) -> truth.Measured:
        return truth.prediction_error(self.problem.A, x, self.problem.b, self.problem.ridge, self.rank)

    def with_singular_values(self, s: np.ndarray) -> np.ndarray:
        """R of the matrix with these singular values and the singular vectors of R."""
        Vh = np.linalg.svd(self.R)[2]
        return np.linalg.qr(s[:, None] * Vh)[1]


def factored(shape: str, condition: float, ridge: float = 0.0, seed: int = 0) -> Factored:
    """shape: "tall", "wide" or "rank-deficient"."""
    rng = np.random.default_rng([seed, int(math.log10(condition))])
    m, n = {"tall": (80, 12), "wide": (14, 60), "rank-deficient": (80, 14)}[shape]
    rank = 9 if shape == "rank-deficient" else None
    if rank:
        A = matrices.exact_rank(m, n, rank, rng, cond=condition).A
    else:
        A = matrices.with_spectrum(m, n, spectra.geometric(min(m, n), condition), rng).A
    b = rng.standard_normal(m)
    x = np.linalg.lstsq(*(augmented(A, b, ridge) if ridge else (A, b)), rcond=1e-11 if rank else 0)[0]
    _, s, Vh = np.linalg.svd(A, full_matrices=False)
    if shape == "wide":
        R = np.linalg.qr(np.vstack([A.T, math.sqrt(ridge) * np.eye(m)]))[1]
    else:
        R = np.linalg.qr(np.vstack([A, math.sqrt(ridge) * np.eye(n)]))[1]
    return Factored(LeastSquares(A, b, ridge=ridge), x, s, Vh, R, rank)


def broken(R: np.ndarray, where: tuple[int, int], value: float) -> np.ndarray:
    R = R.copy()
    R[where] = value
    return R


def wrong_factors(case: Factored) -> dict[str, np.ndarray]:
    """R factors of other matrices than A."""
    s = np.linalg.svd(case.R, compute_uv=False)
    last = len(s) - 1
    weak = np.arange(len(s)) == last
    return {
        "1000 times too large": 1e3 * case.R,
        "1000 times too small": 1e-3 * case.R,
        "a tenth too large": 1.1 * case.R,
        "a part in 10^4 too large": (1.0 + 1e-4) * case.R,
        "weakest direction twice too large": case.with_singular_values(np.where(weak, 2.0 * s, s)),
        "weakest direction 1000 times too large": case.with_singular_values(np.where(weak, 1e3 * s, s)),
        "strongest direction twice too large": case.with_singular_values(np.where(np.arange(len(s)) == 0, 2.0 * s, s)),
        "of another matrix nearby": np.triu(case.R + 0.1 * np.abs(case.R).max()),
        "lower triangular": np.ascontiguousarray(case.R.T),
        "a zero on its diagonal": broken(case.R, (3, 3), 0.0),
        "not a number": broken(case.R, (2, 3), math.nan),
        "infinite": broken(case.R, (2, 3), math.inf),
        "of random numbers": np.triu(np.random.default_rng(9).standard_normal(case.R.shape)),
    }


FACTORED = {
    "tall": {"shape": "tall", "condition": 10.0},
    "tall, condition 1e4": {"shape": "tall", "condition": 1e4},
    "tall, condition 1e6": {"shape": "tall", "condition": 1e6},
    "tall with ridge": {"shape": "tall", "condition": 1e4, "ridge": 1e-6},
    "wide": {"shape": "wide", "condition": 10.0},
    "wide, condition 1e6": {"shape": "wide", "condition": 1e6},
    "wide with ridge": {"shape": "wide", "condition": 10.0, "ridge": 0.1},
    "wide with a small ridge": {"shape": "wide", "condition": 1e3, "ridge": 1e-4},
}


@pytest.mark.parametrize("name", ["gram_factor", "r_factor"])
@pytest.mark.parametrize("what", FACTORED)
def test_a_right_factor_is_used_and_bounds_the_error(what, name):
    case = factored(**FACTORED[what])
    for j in (0, len(case.s) // 2, len(case.s) - 1):
        x = case.wrong(j)
        found, error = certify(case.problem, x, reuse={name: case.R}), case.true_error(x)
        assert "checked by independent test vectors" in found.method
        assert found.method.startswith("Gram" if name == "gram_factor" else "R ")
        assert error.low <= found.bound <= 1.05 * error
        assert found.confidence == pytest.approx(0.999, abs=1e-12)


@pytest.mark.parametrize("name", ["gram_factor", "r_factor"])
@pytest.mark.parametrize("what", FACTORED)
def test_no_wrong_factor_leads_to_a_bound_below_the_error(what, name):
    case = factored(**FACTORED[what])
    for label, R in wrong_factors(case).items():
        for j in (0, len(case.s) // 2, len(case.s) - 1):
            x = case.wrong(j)
            for seed in range(2):
                with np.errstate(all="ignore"):  # as where answers are certified
                    found = certify(case.problem, x, reuse={name: R}, seed=seed)
                assert found.bound >= case.true_error(x).low, (label, j, found.method)
                if "part in" not in label:  # that is within what squaring a condition of 1e6 may round to
                    assert "checked by independent test vectors" not in found.method, (label, j)


def test_without_the_test_vectors_a_wrong_factor_would_certify_a_wrong_answer(monkeypatch):
    """What the check is for: so the tests above can tell."""

    def trusting(self, lib, task):
        R = self.R if self.V is None else None
        return certificate._Embedding(R, self.V, self.s, None, 0.0, 1.0, "trusted", 1.0, task.m < task.n)

    monkeypatch.setattr(certificate._Given, "checked", trusting)
    case = factored("tall", 1e4)
    wrong = wrong_factors(case)
    for label in ("1000 times too large", "weakest direction 1000 times too large"):
        x = case.wrong(len(case.s) - 1)
        assert certify(case.problem, x, reuse={"r_factor": wrong[label]}).bound < 0.1 * case.true_error(x)
    case = factored("wide", 10.0, ridge=0.1)
    x = case.wrong(0)
    tiny = wrong_factors(case)["1000 times too small"]
    assert certify(case.problem, x, reuse={"gram_factor": tiny}).bound < 0.1 * case.true_error(x)
    case = factored("rank-deficient", 10.0)
    x, (s, Vh) = case.wrong(8), right_svd(case)
    weak = np.where(np.arange(len(s)) == 8, 1e3 * s, s)
    assert certify(case.problem, x, reuse={"r_factor": case.R, "r_svd": (weak, Vh)}).bound < 0.1 * case.true_error(x)


@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("ridge", [1e-2, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("wrong", ["without the ridge", "too small by rounding of float32", "too large by as much"])
def test_a_factor_that_is_nearly_right(shape, ridge, wrong):
    """For wide A the bound comes from a difference in which a relative error of `ridge` is everything."""
    case = factored(shape, 10.0, ridge=ridge)
    plain = factored(shape, 10.0)
    R = {
        "without the ridge": plain.R,
        "too small by rounding of float32": (1.0 - 4e-7) * case.R,
        "too large by as much": (1.0 + 4e-7) * case.R,
    }[wrong]
    for j in (0, len(case.s) - 1):
        x = case.wrong(j, 1e-4)
        assert certify(case.problem, x, reuse={"gram_factor": R}).bound >= case.true_error(x).low


# -- of a rank-deficient matrix


def right_svd(case: Factored) -> tuple[np.ndarray, np.ndarray]:
    _, s, Vh = np.linalg.svd(case.R)
    return s, Vh


def wrong_svds(case: Factored) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    s, Vh = right_svd(case)
    n, k = len(s), case.rank or 0
    at = np.arange(n)
    one_more = np.where(at == k, s[k - 1], s)
    twisted = np.linalg.qr(np.random.default_rng(10).standard_normal((n, n)))[0]
    swapped = Vh.copy()
    swapped[[k - 1, k]] = swapped[[k, k - 1]]  # a direction that counts for one that does not
    return {
        "three times too large": (3.0 * s, Vh),
        "three times too small": (s / 3.0, Vh),
        "a part in 10^4 too large": ((1.0 + 1e-4) * s, Vh),
        "weakest 1000 times too large": (np.where(at == k - 1, 1e3 * s, s), Vh),
        "weakest left out": (np.where(at >= k - 1, 0.0, s), Vh),
        "half left out": (np.where(at >= k // 2, 0.0, s), Vh),
        "one too many": (one_more, Vh),
        "full rank": (np.maximum(s, 0.1 * s[0]), Vh),
        "other vectors": (s, twisted),
        "vectors in reverse": (s, np.ascontiguousarray(Vh[::-1])),
        "two vectors exchanged": (s, swapped),
        "vectors too long": (s, 1.5 * Vh),
        "all zero": (0.0 * s, Vh),
        "not a number": (np.where(at == 1, math.nan, s), Vh),
        "vectors not a number": (s, np.where(Vh > 0.5, math.nan, Vh)),
    }


@pytest.mark.parametrize("condition", [10.0, 1e5])
def test_right_singular_vectors_of_a_rank_deficient_matrix_are_used(condition):
    case = factored("rank-deficient", condition)
    for j in (0, 4, 8):
        x = case.wrong(j)
        found = certify(case.problem, x, reuse={"r_factor": case.R, "r_svd": right_svd(case)})
        assert "checked by independent test vectors, rank 9" in found.method
        assert found.numerical_rank == 9
        assert case.true_error(x).low <= found.bound <= 1.01 * case.true_error(x)


@pytest.mark.parametrize("condition", [10.0, 1e5])
def test_no_wrong_singular_vectors_lead_to_a_bound_below_the_error(condition):
    case = factored("rank-deficient", condition)
    for label, parts in wrong_svds(case).items():
        for j in (0, 4, 8):
            x = case.wrong(j)
            for seed in range(2):
                with np.errstate(all="ignore"):  # as where answers are certified
                    found = certify(case.problem, x, reuse={"r_factor": case.R, "r_svd": parts}, seed=seed)
                assert found.bound >= case.true_error(x).low, (label, j, found.method)
                assert "checked by independent test vectors" not in found.method, (label, j)


def test_a_factor_does_not_hide_that_x_is_not_of_minimum_norm():
    case = factored("rank-deficient", 1e3)
    null = np.linalg.svd(case.problem.A)[2][-1]
    for part in (1e-3, 1.0):
        x = case.x + part * np.linalg.norm(case.x) * null
        for reuse in ({"r_factor": case.R, "r_svd": right_svd(case)}, {"r_factor": case.R}, {"gram_factor": case.R}):
            assert certify(case.problem, x, reuse=reuse).bound == math.inf
    case = factored("wide", 1e3)
    null = np.linalg.svd(case.problem.A)[2][-1]
    for part in (1e-3, 1.0):
        x = case.x + part * np.linalg.norm(case.x) * null
        for R in (case.R, *wrong_factors(case).values()):
            for name in ("gram_factor", "r_factor"):
                with np.errstate(all="ignore"):
                    found = certify(case.problem, x, reuse={name: R}, target=1e-6)
                assert found.bound == math.inf
                assert "not of minimum norm" in found.method


def test_factors_of_a_full_rank_matrix_handed_in_for_a_rank_deficient_wide_one():
    rng = np.random.default_rng(12)
    A = matrices.exact_rank(14, 60, 9, rng).A
    fake = np.linalg.cholesky(A @ A.T + 1e-3 * np.eye(14)).T
    _, s, Vh = np.linalg.svd(A, full_matrices=False)
    for b in (A @ rng.standard_normal(60), rng.standard_normal(14)):
        x = np.linalg.lstsq(A, b, rcond=1e-11)[0]
        for j in (0, 8):
            wrong = x + 1e-3 * np.linalg.norm(b) / s[j] * Vh[j]
            error = truth.prediction_error(A, wrong, b, rank=9)
            for name in ("gram_factor", "r_factor"):
                for R in (fake, np.linalg.qr(A.T)[1]):
                    found = certify(LeastSquares(A, b), wrong, reuse={name: R})
                    assert error.low <= found.bound <= 1.1 * error
                    assert "checked" not in found.method


def test_the_rank_of_real_data_with_products_of_its_variables():
    """A range that float64's own singular vectors miss by more than the error that is certified."""
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import PolynomialFeatures

    data: Any = load_diabetes()
    A, b = PolynomialFeatures(3).fit_transform(data.data), data.target
    x = np.linalg.lstsq(A, b, rcond=1e-13)[0]
    error = truth.prediction_error(A, x, b, rank=275)
    R = np.linalg.qr(A)[1]
    for reuse in ({}, {"r_factor": R, "r_svd": np.linalg.svd(R)[1:]}):
        found = certify(LeastSquares(A, b), x, reuse=reuse, target=1e-8)
        assert found.numerical_rank == 275
        assert error.low <= found.bound <= 1e-8


ALGORITHMS = ["normal_equations", "householder_qr", "svd", "randomized_cholesky_qr"]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("shape", [(500, 20), (30, 90), (60, 25)])
@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize(("dtype", "condition"), [("float64", 1e4), ("float32", 10.0), ("float32", 3e5)])
def test_what_the_algorithms_leave_passes_the_test_as_foreseen(name, shape, ridge, dtype, condition):
    """`leaves_factor` says what price the certificate has: it must be true of each algorithm, and the bound sharp."""
    rng = np.random.default_rng(13)
    if shape[0] < shape[1]:
        condition = min(condition, 1e4 if dtype == "float64" else 1e2)  # answers in float32 are then of minimum norm
    A = matrices.with_spectrum(shape[0], shape[1], spectra.geometric(min(shape), condition), rng).A.astype(dtype)
    b = rng.standard_normal(shape[0]).astype(dtype)
    problem, kind = LeastSquares(A, b, ridge=ridge), kind_of("least_squares")
    prepared = prepare(problem, kind.task(problem, 1e-10 if dtype == "float64" else 1e-5, 0))
    evidence = kind.known(prepared.task, prepared.evidence)
    if dtype == "float32":
        known = Interval.around(min(condition, 1.0 / math.sqrt(ridge)) if ridge else condition, 1.5)
        evidence = replace(evidence, condition=known, scaled_condition=known)
    algorithm = next(a for a in kind.algorithms if a.name == name)
    ran = 0
    for options in algorithm.options(prepared.task, evidence):
        if algorithm.applies(prepared.task, evidence, options) or options.dtype != dtype:
            continue
        lib = library(options.backend)
        out = algorithm.solve(prepared.A, prepared.b, prepared.task, options, evidence, {})
        x = np.array(lib.to_numpy(out.value), dtype=float)
        foreseen = certificate.leaves_factor(prepared.task, evidence, name, options.backend, dtype)
        # on [A, b] far below the roundings of the answer the bound is a little above the error, with a step on top
        wrong = x + 1e-5 * np.linalg.norm(b) / np.linalg.norm(A @ A.T[:, 0]) * A.T[:, 0]
        reuse = {k: v for k, v in out.by_products.items() if k != "sketch"}
        found = certify(problem, np.ldexp(wrong, prepared.exponent_b - prepared.exponent_A), backend=options.backend,
                        reuse=reuse)  # fmt: skip
        assert ("checked by independent test vectors" in found.method) is foreseen, (options, found.method)
        error = truth.prediction_error(A, np.ldexp(wrong, prepared.exponent_b - prepared.exponent_A), b, ridge)
        assert error.low <= found.bound <= 1.05 * error
        ran += 1
    assert ran > 0 or (name == "randomized_cholesky_qr" and shape != (500, 20)) or condition > 1e4


# Factors in less than float64, whose distortion is measured.


def single(R: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return R.astype(np.float32)


def planted(departure: np.ndarray, library_name: str = "scipy") -> tuple[dict[str, Any], Task, np.ndarray]:
    """A Gram factor R = I in float32 of a matrix with A'A = I + departure."""
    n = departure.shape[0]
    reuse = {"gram_factor": library(library_name).asarray(np.eye(n, dtype=np.float32))}
    return reuse, Task("least_squares", 5 * n, n, dtype="float32"), np.eye(n) + departure


def rounded_gram(rng: np.random.Generator) -> tuple[dict[str, Any], Task, np.ndarray]:
    """What float32 makes of a Gram matrix with a ridge."""
    A = matrices.with_spectrum(300, 20, spectra.geometric(20, 100.0), rng).A.astype(np.float32)
    ridge = 1e-4
    R = np.linalg.cholesky(A.T @ A + np.float32(ridge) * np.eye(20, dtype=np.float32)).T
    return {"gram_factor": R}, Task("least_squares", 300, 20, dtype="float32", ridge=ridge), A.T.astype(float) @ A


def departures() -> dict[str, tuple[dict[str, Any], Task, np.ndarray]]:
    rng = np.random.default_rng(26)
    direction = rng.standard_normal(30)
    Q = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    return {
        "one direction": planted(-0.02 * np.outer(direction, direction) / (direction @ direction)),
        "two of opposite sign": planted(1e-3 * (np.outer(Q[0], Q[0]) - np.outer(Q[1], Q[1]))),
        "all directions": planted(1e-3 * Q @ np.diag(rng.standard_normal(30)) @ Q.T),
        "rounding of float32": rounded_gram(rng),
    }


def exceeded(what: str, confidence: float, seeds: int) -> tuple[int, int]:
    """How often ||E||_F, and ||D R^-1||_F, are above what the test vectors say."""
    reuse, task, gram = departures()[what]
    lib, R = library("scipy"), reuse["gram_factor"].astype(float)
    inverse = np.linalg.inv(R)
    size = np.linalg.norm(inverse.T @ (gram + task.ridge * np.eye(task.n)) @ inverse - np.eye(task.n))
    spread = np.linalg.norm(np.linalg.norm(R, axis=0)[:, None] * inverse)
    found = []
    for seed in range(seeds):
        given = certificate._Given.of(lib, reuse, task, seed, confidence)
        assert given is not None
        given.product = gram @ given.W
        found.append(given.measured(lib, task))
    return sum(eps < size for eps, _ in found), sum(most < spread for _, most in found)


@pytest.mark.statistical
@pytest.mark.parametrize("what", ["one direction", "two of opposite sign", "all directions", "rounding of float32"])
def test_the_measured_distortion_is_exceeded_no_more_often_than_stated(what, monkeypatch):
    monkeypatch.setattr(certificate, "_SHARE", 1.0)
    seeds, confidence = 400, 0.6
    chance = 0.5 * (1.0 - confidence)  # of either of the two
    for count in exceeded(what, confidence, seeds):
        assert binom.sf(count - 1, seeds, chance) > 1e-6
    if what == "one direction":  # the worst there is: no more cautious than need be
        assert binom.cdf(exceeded(what, confidence, seeds)[0], seeds, chance) > 1e-6


@pytest.mark.statistical
def test_a_mean_in_place_of_the_quantile_would_be_exceeded_more_often(monkeypatch):
    """So the test above can tell."""
    monkeypatch.setattr(certificate, "_SHARE", 1.0)
    monkeypatch.setattr(certificate.chi_squared, "quantile", lambda degrees, chance: degrees)
    assert binom.sf(exceeded("one direction", 0.6, 400)[0] - 1, 400, 0.2) < 1e-6


def test_the_distortion_is_part_of_the_bound_and_of_the_confidence():
    """R is 1 % too large in one direction, and x wrong in just that one: the estimate is below, the bound above."""
    rng = np.random.default_rng(27)
    A, b = matrices.orthonormal(200, 10, rng), rng.standard_normal(200)
    x = A.T @ b
    x[4] += 1e-2
    R = np.eye(10, dtype=np.float32)
    R[4, 4] = 1.01
    error = truth.prediction_error(A, x, b)
    bounds = []
    for confidence in (0.6, 0.99, 0.9999):
        found = certify(LeastSquares(A, b), x, reuse={"gram_factor": R}, confidence=confidence)
        assert found.method.startswith("Gram factor checked by independent test vectors to")
        assert found.estimate < error.low < error.high < found.bound < 1.2 * error
        assert confidence < found.confidence < 1.0
        bounds.append(found.bound)
    assert bounds == sorted(set(bounds))


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_normal_equations_in_float32_are_certified_by_their_factor(backend, ridge):
    rng = np.random.default_rng(28)
    A = matrices.with_spectrum(2000, 50, spectra.geometric(50, 10.0), rng).A.astype(np.float32)
    b = (A @ rng.standard_normal(50) + rng.standard_normal(2000)).astype(np.float32)
    problem, kind = LeastSquares(A, b, ridge=ridge), kind_of("least_squares")
    prepared = prepare(problem, kind.task(problem, 1e-5, 0))
    algorithm = next(a for a in kind.algorithms if a.name == "normal_equations")
    options = next(
        o for o in algorithm.options(prepared.task, Evidence()) if (o.backend, o.dtype) == (backend, "float32")
    )
    out = algorithm.solve(prepared.A, prepared.b, prepared.task, options, Evidence(), {})
    shift = prepared.exponent_b - prepared.exponent_A
    x = np.ldexp(np.asarray(library(backend).to_numpy(out.value)), shift)
    v = np.linalg.svd(A)[2][-1]
    for wrong in (0.0, 1e-3, 1.0):
        moved = x + wrong * np.linalg.norm(b) * v
        error = truth.prediction_error(A, moved, b, ridge)
        found = certify(problem, moved, backend=backend, reuse=out.by_products, target=1e-5)
        assert found.method.startswith("Gram factor checked by independent test vectors")
        assert error.low <= found.bound <= 1.01 * error
        assert found.satisfied == (wrong == 0.0)


ACCEPTED = ["tall", "tall, condition 1e4", "tall with ridge", "wide"]


@pytest.mark.parametrize("name", ["gram_factor", "r_factor"])
@pytest.mark.parametrize("what", FACTORED)
def test_a_right_factor_in_float32_bounds_the_error(what, name):
    case = factored(**FACTORED[what])
    for j in (0, len(case.s) // 2, len(case.s) - 1):
        x = case.wrong(j)
        found, error = certify(case.problem, x, reuse={name: single(case.R)}), case.true_error(x)
        if what in ACCEPTED or "ridge" in what:
            assert ("checked by independent test vectors to" in found.method) == (what in ACCEPTED)
        assert error.low <= found.bound <= 1.25 * error


@pytest.mark.parametrize("name", ["gram_factor", "r_factor"])
@pytest.mark.parametrize("what", FACTORED)
def test_no_wrong_factor_in_float32_leads_to_a_bound_below_the_error(what, name):
    case = factored(**FACTORED[what])
    wrong = wrong_factors(case)
    wrong["a column half as long again"] = case.R * np.where(np.arange(len(case.s)) == 3, 1.5, 1.0)
    for label, R in wrong.items():
        for j in (0, len(case.s) - 1):
            x = case.wrong(j)
            for seed in range(2):
                with np.errstate(all="ignore"):  # as where answers are certified
                    found = certify(case.problem, x, reuse={name: single(R)}, seed=seed)
                assert found.bound >= case.true_error(x).low, (label, j, found.method)
                if "part in" not in label:
                    assert "checked by independent test vectors" not in found.method, (label, j)


def test_without_the_measurement_a_wrong_factor_in_float32_would_certify_a_wrong_answer(monkeypatch):
    """So the test above can tell."""
    monkeypatch.setattr(certificate._Given, "measured", lambda self, lib, task: (0.0, 1.0))
    case = factored("tall", 1e4)
    x = case.wrong(len(case.s) - 1)
    for label in ("1000 times too large", "weakest direction 1000 times too large"):
        wrong = single(wrong_factors(case)[label])
        assert certify(case.problem, x, reuse={"gram_factor": wrong}).bound < 0.1 * case.true_error(x)


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_factors_in_few_digits_in_every_library(backend, dtype):
    """A factor in float16 is off by some thousandths: the bound knows, or another way is taken. None raises."""
    lib = library(backend)
    for what in ("tall", "tall with ridge", "wide"):
        case = factored(**FACTORED[what])
        for label, R in {"right": case.R, **wrong_factors(case)}.items():
            with np.errstate(all="ignore"):
                few = lib.asarray(R.astype(dtype))
                x = case.wrong(len(case.s) - 1)
                found = certify(case.problem, x, backend=backend, reuse={"r_factor": few})
            assert case.true_error(x).low <= found.bound <= 1.25 * case.true_error(x), (what, label)
            if what == "tall" and label == "right":
                assert "checked by independent test vectors to" in found.method


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_a_wrong_answer_is_seen_through_a_factor_in_float32(backend, shape):
    case = factored(shape, 10.0)
    for j in (0, len(case.s) - 1):
        reuse = {"gram_factor": library(backend).asarray(single(case.R))}
        x = case.wrong(j, 1e-4)
        refused = certify(case.problem, x, backend=backend, reuse=reuse, target=0.9e-4)
        assert "checked by independent test vectors to" in refused.method
        assert not refused.satisfied
        assert certify(case.problem, x, backend=backend, reuse=reuse, target=1.1e-4).satisfied


def test_a_factor_in_float32_does_not_hide_that_x_is_not_of_minimum_norm():
    case = factored("wide", 1e3)
    null = np.linalg.svd(case.problem.A)[2][-1]
    for part in (1e-3, 1.0):
        x = case.x + part * np.linalg.norm(case.x) * null
        for name in ("gram_factor", "r_factor"):
            found = certify(case.problem, x, reuse={name: single(case.R)}, target=1e-6)
            assert found.bound == math.inf
            assert "not of minimum norm" in found.method
    case = factored("rank-deficient", 10.0)
    x = case.wrong(8)
    found = certify(case.problem, x, reuse={"r_factor": single(case.R), "r_svd": right_svd(case)})
    assert found.numerical_rank == 9
    assert "checked" not in found.method


def test_when_a_factor_in_float32_is_foreseen():
    def foreseen(name: str, known: Interval, shape: tuple[int, int] = (5000, 500), ridge: float = 0.0) -> bool:
        task = Task("least_squares", *shape, dtype="float32", ridge=ridge)
        return certificate.leaves_factor(
            task, Evidence(condition=known, scaled_condition=known), name, "scipy", "float32"
        )

    for condition, normal_equations, qr in ((10.0, True, True), (300.0, True, True), (1200.0, False, True)):
        assert foreseen("normal_equations", Interval.around(condition, 2.0)) is normal_equations
        assert foreseen("householder_qr", Interval.around(condition, 2.0)) is qr
    assert not foreseen("householder_qr", Interval.around(1e6, 2.0))
    assert foreseen("normal_equations", Interval(700.0, 1.0, 2400.0), ridge=1.0)  # a ridge bounds it: that is all
    assert not foreseen("normal_equations", Interval(1e4, 1.0, 1e12))
    assert foreseen("normal_equations", Interval.around(10.0, 2.0), (50, 500))
    assert not foreseen("normal_equations", Interval.around(300.0, 2.0), (50, 500))
    assert not foreseen("normal_equations", Interval.around(10.0, 2.0), (50, 500), ridge=1.0)
    assert not foreseen("spir", Interval.around(10.0, 2.0))


def test_a_sketch_in_place_of_a_refused_factor_has_the_rest_of_the_failure_probability(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    problem, x, error = sketch_case(np.random.default_rng(29))
    wrong = np.eye(8, dtype=np.float32) * np.float32(1.5)
    alone, after = certify(problem, x), certify(problem, x, reuse={"gram_factor": wrong})
    assert after.method == alone.method == "independent sketch"
    assert error < alone.bound < after.bound < 1.05 * alone.bound
    assert after.bound == pytest.approx(certify(problem, x, confidence=1.0 - 0.9 * 0.01).bound, rel=1e-9, abs=0.0)


# Rounding of the certificate's own sums.


def below_the_error(cases: Iterator[Case], backend: str, **how: Any) -> list[str]:
    """A sentence for each bound that is below the true error."""
    found = []
    for case in cases:
        bound, error = certify(case.problem, case.x, backend=backend, **how).bound, case.true_error()
        if bound < error.low:
            found.append(f"{case.what}: {bound:.3e} < {error:.3e}")
    return found


def few_long_rows(count: int, seed: int, lib: Any) -> Iterator[Case]:
    """Answers whose residual, as `lib` computes it, is next to nothing, and is rounding of long sums in truth."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m, n = int(rng.integers(1, 4)), int(rng.choice([40, 111, 500, 2000]))
        A = rng.standard_normal((m, n)) if i % 2 else 1.0 + 0.3 * rng.random((m, n))
        b = A @ (A.T @ rng.standard_normal(m))
        x, inverse = np.zeros(n), np.linalg.pinv(A)
        seen = [(math.inf, x)]
        for _ in range(6):
            r = lib.to_numpy(lib.asarray(b) - lib.matmul(lib.asarray(A), lib.asarray(x)))
            seen.append((float(np.linalg.norm(r)), x))
            x = x + inverse @ r
        yield Case(f"{i}: {m}x{n}", LeastSquares(A, b), min(seen, key=lambda s: s[0])[1], None)


@pytest.mark.parametrize("backend", LIBRARIES)
def test_rounding_of_long_rows_is_in_the_bound(backend, monkeypatch):
    lib = library(backend)
    assert not below_the_error(few_long_rows(200, 41, lib), backend)
    monkeypatch.setattr(certificate, "rounding_of_sum", lambda length: 0.0)
    assert below_the_error(few_long_rows(60, 41, lib), backend)


def long_columns(count: int, seed: int, lib: Any) -> Iterator[Case]:
    """Answers for which A'r, as the certificate adds it up, is next to nothing, with a large and smooth residual."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m, n = int(rng.choice([3000, 20000])), int(rng.integers(2, 5))
        t = np.arange(m) / m
        A = np.vander(2.0 * t - 1.0, n, increasing=True) if i % 2 else np.cos(np.pi * np.outer(t, np.arange(n)))
        b = A @ rng.standard_normal(n) + 3.0 * np.sin(rng.uniform(2.0, 30.0) * t + rng.uniform(0.0, 6.0))
        x, inverse = np.linalg.lstsq(A, b)[0], np.linalg.inv(A.T @ A)
        there = lib.asarray(A)
        for _ in range(4):
            r = lib.asarray((b - A @ x)[:, None])
            x = x + inverse @ lib.to_numpy(rmatmul_in_blocks(lib, there, r))[:, 0]
        yield Case(f"{i}: {m}x{n}", LeastSquares(A, b), x, None)


@pytest.mark.parametrize("backend", LIBRARIES)
def test_rounding_of_long_columns_is_in_the_bound(backend, monkeypatch):
    lib = library(backend)
    assert not below_the_error(long_columns(24, 42, lib), backend)
    monkeypatch.setattr(certificate, "rounding_of_sum", lambda length: 0.0)
    assert below_the_error(long_columns(24, 42, lib), backend)


@pytest.mark.parametrize("backend", LIBRARIES)
def test_sums_round_by_no_more_than_is_allowed_for(backend):
    """Smooth data, whose partial sums are large beside the sum itself, which is nearly zero: A'r, seen through R^-T."""
    lib, rng = library(backend), np.random.default_rng(43)
    worst = 0.0
    for i in range(60):
        m, n = int(np.exp(rng.uniform(3.0, 10.0))), int(rng.integers(2, 6))
        t = np.arange(m) / m
        A = np.cos(np.outer(t, rng.uniform(0.0, 9.0, n))) if i % 2 else np.vander(2.0 * t - 1.0, n, increasing=True)
        r = np.sin(rng.uniform(1.0, 30.0) * t + rng.uniform(0.0, 6.0))
        Q, R = np.linalg.qr(A)
        r = (r - Q @ (Q.T @ r))[:, None]
        A = np.asfortranarray(A) if i % 3 == 0 else A
        found = lib.to_numpy(rmatmul_in_blocks(lib, lib.asarray(A), lib.asarray(r)))
        error = np.linalg.norm(np.linalg.solve(R.T, found - (DoubleDouble.of(A.T) @ r).hi))
        allowed = UNIT * rounding_of_sum(rows_at_once(A)) * certificate._inverse_norm(lib, lib.asarray(R))
        worst = max(worst, float(error / (allowed * np.linalg.norm(r))))
    assert 0.1 < worst <= 1.0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("shape", [(1, 1), (0, 3), (1023, 5), (1024, 5), (4097, 3), (9000, 40), (5000, 0)])
def test_products_in_blocks_are_products(shape, backend, dtype):
    lib, rng = library(backend), np.random.default_rng(44)
    A, Y = rng.standard_normal(shape).astype(dtype), rng.standard_normal((shape[0], 2)).astype(dtype)
    for matrix in (A, np.asfortranarray(A)):
        found = lib.to_numpy(rmatmul_in_blocks(lib, lib.asarray(matrix), lib.asarray(Y)))
        np.testing.assert_allclose(found, A.T @ Y, atol=1e-12 if dtype == "float64" else 1e-2)
    assert 1 <= rows_at_once(np.zeros((10, 3))) <= 10
    assert rows_at_once(np.zeros((100_000, 20))) < 5000
    assert rows_at_once(np.zeros((100_000, 20), order="F")) == 100_000  # blocks of its rows would be copies


def test_a_small_bound_on_the_norm_of_a_matrix_is_one():
    rng = np.random.default_rng(45)
    for n in (1, 2, 10, 100):
        uneven, alike = np.diag(np.arange(1.0, n + 1)), np.outer(np.sin(np.arange(n)), np.ones(n))
        ones = np.ones((n, n))
        for M in (rng.standard_normal((n, n)), ones, np.triu(ones), uneven, alike, np.zeros((n, n))):
            found = certificate._norm_2(library("scipy"), M)
            exact = float(np.linalg.norm(M, 2))
            assert exact * (1.0 - 1e-12) <= found <= min(2.0 * exact, float(np.linalg.norm(M))) * (1.0 + 1e-12)


@pytest.mark.parametrize("rows", [40, 60])
def test_a_triangle_that_hides_that_it_is_singular(rows):
    """No pivot of a Jordan block is small: its R factor is found out by its inverse, and the SVD tells the rank."""
    n = 40
    A = np.zeros((rows, n))
    A[:n] = 0.01 * np.eye(n) + np.diag(np.ones(n - 1), 1)
    b = A @ np.random.default_rng(46).standard_normal(n)
    found = certify(LeastSquares(A, b), np.linalg.lstsq(A, b)[0], target=1e-10)
    assert found.satisfied
    assert found.numerical_rank == n - 1
    nothing = certify(LeastSquares(A, 0.0 * b), np.zeros(n), target=1e-15)
    assert nothing.satisfied
    assert nothing.bound == 0.0
    wrong = certify(LeastSquares(A, b), 1.001 * np.linalg.lstsq(A, b)[0], target=1e-10)
    assert not wrong.satisfied


def test_a_small_singular_value_of_long_columns_is_told_from_rounding():
    """44 u is below what rounding may leave of long columns that depend on each other, and here it is not rounding."""
    rng, lib = np.random.default_rng(47), library("scipy")
    task = Task("least_squares", 2600, 15)
    A = matrices.with_spectrum(2600, 15, spectra.one_small(15, 2e14), rng).A
    s = np.linalg.svd(A, compute_uv=False)
    assert s[-1] < certificate._negligible(task) * s[0]
    b = A @ rng.standard_normal(15) + 40.0 * rng.standard_normal(2600)
    x = np.linalg.lstsq(A, b, rcond=1e-13)[0]  # without the last direction
    error = truth.prediction_error(A, x, b)
    reuse = {"r_factor": np.linalg.qr(A)[1], "r_svd": np.linalg.svd(np.linalg.qr(A)[1])[1:]}
    for left in ({}, reuse):
        found = certify(LeastSquares(A, b), x, reuse=left)
        assert found.numerical_rank is None
        assert found.bound >= error.low > 1e-4
    # and where it is rounding: the factor of a matrix 300 u away, as some QR leave of columns that are all alike
    A = np.tile(rng.integers(1, 9, 15) / 10.0, (2600, 1))
    R = np.linalg.qr(A + 300.0 * UNIT * rng.standard_normal(A.shape))[1]
    _, s, Vh = np.linalg.svd(R)
    assert s[1] > certificate._negligible(task) * s[0]
    assert certificate._counted(lib, A, Vh.T, s, task) == 1
    assert certificate._counted(lib, A, Vh.T, s * np.eye(15)[0], task) == 1
    assert certificate._counted(lib, 0.0 * A, Vh.T, 0.0 * s, task) == 0


def test_left_singular_vectors_that_rounding_has_turned(monkeypatch):
    """Wide, and some singular values count as zero: the space of the others is known to rounding over the smallest."""

    def cases() -> Iterator[tuple[LeastSquares, np.ndarray, float]]:
        rng = np.random.default_rng(48)
        for _ in range(8):
            s = np.concatenate([spectra.geometric(4, 10.0 ** rng.uniform(9.0, 12.0)), 1e-17 * np.ones(3)])
            A, b = matrices.with_spectrum(7, 20, s, rng).A, rng.standard_normal(7)
            U, s, Vh = np.linalg.svd(A, full_matrices=False)
            x = Vh[:4].T @ ((U[:, :4].T @ b) / s[:4])
            r, e = truth.residual(A, x[:, None], b[:, None])
            fitted, off = gallery._on_dominant_directions(A, 4, r)
            assert off < 0.1
            yield LeastSquares(A, b), x, math.ldexp(fitted.norm() * (1.0 - off), e) / float(np.linalg.norm(b))

    known = list(cases())
    assert all(certify(problem, x, target=1e-12).bound >= error for problem, x, error in known)
    monkeypatch.setattr(certificate, "_turned", lambda embedding, task: 0.0)
    assert any(certify(problem, x, target=1e-12).bound < error for problem, x, error in known)


def test_the_product_of_ridge_and_x_is_rounded_too():
    """A'r and ridge x nearly cancel, and twice the precision is for the first of them."""
    rng, seen = np.random.default_rng(49), set()
    for _ in range(300):
        A, b, ridge = rng.standard_normal((1, 1)), rng.standard_normal(1), float(10.0 ** rng.uniform(-2.0, 2.0))
        x = A[0] * b / (A[0] ** 2 + ridge)
        found = certify(LeastSquares(A, b, ridge=ridge), x, target=1e-17)
        seen.add("twice" in found.method)
        assert found.bound >= truth.prediction_error(A, x, b, ridge).low
    assert True in seen


def test_wide_columns_of_very_different_sizes_do_not_make_the_bound_loose():
    """||A|| ||x|| is far larger than what A x adds up: the columns that x is large on are small."""
    rng = np.random.default_rng(50)
    A = np.zeros((10, 40))
    A[:, :10] = np.linalg.qr(rng.standard_normal((10, 10)))[0] * np.logspace(0.0, -10.0, 10)
    b = rng.standard_normal(10)
    x = np.concatenate([np.linalg.solve(A[:, :10], b), np.zeros(30)])
    assert np.linalg.norm(A, 2) * np.linalg.norm(x) > 1e7 * np.linalg.norm(b)
    error = truth.prediction_error(A, x, b)
    assert error.low <= certify(LeastSquares(A, b), x).bound <= 2.0 * error + 1e-13


# Price.


@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
@pytest.mark.parametrize("shape", [(100_000, 200), (3000, 1000), (50, 2000), (500, 500)])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_its_price_can_be_had(backend, shape, ridge):
    task, profile = Task("least_squares", *shape, ridge=ridge), synthetic_profile()
    plain = certificate.work(task, Evidence(), backend, False, False)
    seconds = price(plain, profile).seconds.median
    assert 0.0 < seconds < 3.0
    assert plain.peak_bytes > 0
    for gram, sketch, dtype in ((True, False, "float64"), (False, True, "float64"), (True, False, "float32")):
        cheaper = price(certificate.work(task, Evidence(), backend, gram, sketch, dtype), profile).seconds.median
        assert cheaper <= seconds


def test_the_margin_is_what_the_bound_exceeds_the_error_by(monkeypatch):
    monkeypatch.setattr(certificate, "_QR_AT_ONCE", 0.0)
    problem, x, error = sketch_case(np.random.default_rng(25))
    task = kind_of("least_squares").task(problem, 0.0, 0)
    expected = certificate.margin(task, False)
    ratios = [certify(problem, x, seed=seed).bound / error for seed in range(30)]
    assert 0.7 * expected < median(ratios) < 1.4 * expected
    assert certificate.margin(task, True) < 1.1
