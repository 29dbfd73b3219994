"""The certificate of a linear system: never below the true backward error, seldom far above it, and hard to fool."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from autonla.cost_models.price import price
from autonla.planner.certificate import Certificate
from autonla.planner.certify import linear_system as certificate
from autonla.planner.problems import LinearSystem
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.kernels import library
from autonla.primitives.kernels._scipy import ScipyLibrary
from autonla.primitives.task import Task
from tests._support import matrices, spectra, truth
from tests._support.backends import BACKENDS
from tests._support.certifying import certify
from tests._support.machine import synthetic_profile

ROUNDING = 1e-14


def problems(count: int, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(description, A, b, x): every shape of spectrum, answers from exact to worthless."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = int(rng.integers(1, 60))
        condition = 10.0 ** rng.uniform(0, 14)
        s = (spectra.geometric(n, condition), spectra.one_small(n, condition), spectra.one_large(n, condition))[i % 3]
        A = matrices.with_spectrum(n, n, s, rng).A
        if i % 5 == 0:
            A = matrices.graded(A, rows=rng.uniform(-6, 6), columns=rng.uniform(-6, 6))
        shape = (n,) if i % 3 else (n, 3)
        b = A @ rng.standard_normal(shape) if i % 2 else rng.standard_normal(shape)
        x = np.linalg.solve(A, b)
        noise = float(rng.choice([0.0, 1e-13, 1e-8, 1e-3, 1.0]))
        x = x * (1.0 + noise * rng.standard_normal(shape))
        yield f"{i}: n={n} condition={condition:.0e} noise={noise:.0e}", A, b, x


@pytest.mark.parametrize("evidence", [None, Evidence()], ids=["norm known", "norm not known"])
def test_never_below_the_true_error_and_seldom_far_above(evidence):
    ratios = []
    for what, A, b, x in problems(150, seed=1):
        found, error = certify(LinearSystem(A, b), x, evidence=evidence), truth.backward_error(A, x, b)
        assert found.bound >= error.low, what
        assert found.estimate <= found.bound
        assert found.confidence == 1.0
        if error > ROUNDING:
            ratios.append(found.bound / error)
        else:
            assert found.bound < 100 * ROUNDING, what
    assert len(ratios) > 60
    assert median(ratios) <= 2.0
    assert max(ratios) <= 20.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_library_and_dtype(backend, dtype):
    lib = "numpy" if backend.name == "numpy" else "torch"
    for what, A, b, x in problems(25, seed=2):
        A, b, x = (a.astype(dtype) for a in (A, b, x))
        problem = LinearSystem(backend.asarray(A, dtype), backend.asarray(b, dtype))
        found, error = certify(problem, x, backend=lib), truth.backward_error(A, x, b)
        assert found.bound >= error.low, what
        assert found.bound <= 20.0 * error + 100 * ROUNDING, what


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-4, 1e-1])
def test_a_wrong_answer_of_known_size_is_seen(size):
    rng = np.random.default_rng(3)
    for condition in (1e1, 1e6, 1e12):
        A = matrices.with_spectrum(40, 40, spectra.geometric(40, condition), rng).A
        x = rng.standard_normal(40)
        b = A @ x
        direction = np.linalg.svd(A)[2][0]  # where a change of x shows most
        wrong = x + size * np.linalg.norm(x) * direction
        error = truth.backward_error(A, wrong, b)
        found = certify(LinearSystem(A, b), wrong, target=0.9 * float(error))
        assert error.low <= found.bound <= 3.0 * error
        assert not found.satisfied
        assert certify(LinearSystem(A, b), wrong, target=3.0 * float(error)).satisfied


def test_one_wrong_column_among_many():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((30, 30))
    X = rng.standard_normal((30, 5))
    B = A @ X
    wrong = X.copy()
    wrong[:, 3] *= 1.0 + 1e-5
    assert certify(LinearSystem(A, B), X, target=1e-13).satisfied
    found = certify(LinearSystem(A, B), wrong, target=1e-7)
    assert not found.satisfied
    assert found.bound >= truth.backward_error(A, wrong, B).low


@pytest.mark.parametrize("exponent", [0, 565, -565, 1000, -1000])
def test_zero_is_no_answer_at_any_scale(exponent):
    """2^565 is 1e170: squares over- and underflow."""
    rng = np.random.default_rng(5)
    A, b = np.ldexp(rng.standard_normal((20, 20)), exponent), np.ldexp(rng.standard_normal(20), exponent)
    found = certify(LinearSystem(A, b), np.zeros(20), target=0.5)
    assert found.bound == pytest.approx(1.0, rel=1e-6, abs=0.0)
    assert not found.satisfied
    tiny = certify(LinearSystem(A, b), np.full(20, 1e-200), target=0.5)
    assert not tiny.satisfied


@pytest.mark.parametrize(("row", "column"), [(565, 0), (0, 565), (-565, 0), (0, -565), (900, 900), (-900, -900)])
def test_scale_of_A_and_b_changes_nothing(row, column):
    rng = np.random.default_rng(6)
    A, b = rng.standard_normal((20, 20)), rng.standard_normal(20)
    x = np.linalg.solve(A, b) * (1.0 + 1e-6 * rng.standard_normal(20))
    plain = certify(LinearSystem(A, b), x)
    scaled = certify(LinearSystem(np.ldexp(A, row), np.ldexp(b, column)), np.ldexp(x, column - row))
    assert scaled.bound == pytest.approx(plain.bound, rel=1e-3, abs=0.0)


def test_zero_right_hand_side():
    A = np.diag([1.0, 2.0, 3.0])
    exact = certify(LinearSystem(A, np.zeros(3)), np.zeros(3), target=1e-15)
    assert exact.satisfied
    assert exact.bound == 0.0
    assert certify(LinearSystem(A, np.zeros(3)), np.ones(3), target=1e-2).bound >= 0.5
    both = certify(LinearSystem(A, np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])), np.array([[0.0, 1.0]] * 3))
    assert both.bound < 1e-15


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_answer_that_is_not_finite_never_passes(bad):
    A = np.eye(4)
    x = np.ones((4, 2))
    x[2, 1] = bad
    for target in (None, 1.0):
        found = certify(LinearSystem(A, np.ones((4, 2))), x, target=target)
        assert found.bound == math.inf
        assert not found.satisfied


def test_near_the_floor_the_residual_is_computed_in_twice_the_precision():
    rng = np.random.default_rng(7)
    A = rng.standard_normal((300, 300))
    b = rng.standard_normal(300)
    x = np.linalg.solve(A, b)
    for _ in range(3):  # as accurate as float64 can hold it
        x = x + np.linalg.solve(A, b - A @ x)
    error, plain = truth.backward_error(A, x, b), certify(LinearSystem(A, b), x)
    assert "twice" not in plain.method
    sharp = certify(LinearSystem(A, b), x, target=0.5 * plain.bound)
    assert "twice float64's precision" in sharp.method
    assert sharp.satisfied
    assert error.low <= sharp.bound < 0.5 * plain.bound
    # Where the answer is wrong by far, a sharper residual would not help and is not computed.
    assert "twice" not in certify(LinearSystem(A, b), 1.001 * x, target=1e-12).method


def test_a_residual_that_cancels_in_float64_is_still_covered():
    """A solver that refines with the same products may see its residual vanish where the true one does not."""
    rng = np.random.default_rng(8)
    for n in (60, 400):
        A = rng.uniform(0.0, 1.0, (n, n)) + np.eye(n)
        b = A @ rng.uniform(1.0, 2.0, n)
        x = np.linalg.solve(A, b)
        tried = [x]
        for _ in range(5):
            x = x + np.linalg.solve(A, b - A @ x)
            tried.append(x)
        for x in tried:
            error = truth.backward_error(A, x, b)
            for target in (None, 1.5e-16, 4e-16):
                assert certify(LinearSystem(A, b), x, target=target).bound >= error.low


def test_relative_residual_is_measured_against_b_alone():
    rng = np.random.default_rng(9)
    A = matrices.with_spectrum(30, 30, spectra.geometric(30, 1e10), rng).A
    b = rng.standard_normal(30)
    x = np.linalg.solve(A, b)
    expected = np.linalg.norm(b - A @ x) / np.linalg.norm(b)
    found = certify(LinearSystem(A, b, metric="relative_residual"), x)
    assert found.metric == "relative_residual"
    assert expected <= found.bound
    assert found.estimate == pytest.approx(expected, rel=0.1, abs=0.0)
    # x is large: relative to ||A|| ||x|| + ||b|| the same residual is rounding
    assert certify(LinearSystem(A, b), x).bound < 1e-3 * found.bound


def test_a_norm_that_a_probe_found_is_used():
    rng = np.random.default_rng(10)
    A, x = rng.standard_normal((25, 25)), rng.standard_normal(25)
    b = A @ x + 1e-3 * rng.standard_normal(25)
    exact = float(np.linalg.norm(A, 2))
    evidence = Evidence(norm_fro=float(np.linalg.norm(A)), norm_2=Interval(exact, 0.99 * exact, 1.1 * exact))
    found, error = certify(LinearSystem(A, b), x, evidence=evidence), truth.backward_error(A, x, b)
    assert error.low <= found.bound <= 1.02 * error


def test_the_lower_bound_of_the_norm_is_one():
    rng = np.random.default_rng(11)
    from autonla.primitives.kernels import library

    for _ in range(50):
        n = int(rng.integers(1, 30))
        A = matrices.with_spectrum(n, n, spectra.geometric(n, 10.0 ** rng.uniform(0, 10)), rng).A
        b = rng.standard_normal((n, 1))
        bound = certificate.norm_lower_bound(library("scipy"), A, b)
        largest = float(np.linalg.norm(A, 2))
        assert 0.1 * largest <= bound <= largest * (1 + 1e-12)
    assert certificate.norm_lower_bound(library("scipy"), np.zeros((3, 3)), np.zeros((3, 1))) == 0.0


@pytest.mark.parametrize("nrhs", [1, 7])
@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
def test_its_price_is_that_of_a_few_products(nrhs, backend):
    profile, task = synthetic_profile(), Task("linear_system", 2000, 2000, nrhs=nrhs, target=1e-12)

    def seconds(task: Task, evidence: Evidence) -> float:
        return price(certificate.work(task, evidence, backend), profile).seconds.median

    known = Evidence(norm_fro=50.0, norm_2=Interval.exact(2.0))
    assert 0.0 < seconds(task, known) == seconds(task, Evidence(norm_fro=50.0)) == seconds(task, Evidence()) < 0.02
    sharp = replace(task, target=1e-15)  # where ||A||_F / sqrt(n) will not do
    assert seconds(sharp, known) < seconds(sharp, Evidence(norm_fro=50.0)) < 0.02


@pytest.mark.parametrize("rows", ["alike", "one huge", "one of those seen huge", "graded", "most of them tiny"])
def test_without_the_norm_a_few_rows_stand_for_it(rows):
    """However the rows that were not looked at differ, the bound holds; where they are alike it is as sharp."""
    rng = np.random.default_rng(7)
    n = 200  # every fourth row is looked at
    factors = {
        "alike": np.ones(n),
        "one huge": np.where(np.arange(n) == 1, 1e8, 1.0),
        "one of those seen huge": np.where(np.arange(n) == 4, 1e8, 1.0),
        "graded": np.logspace(-6, 6, n),
        "most of them tiny": np.where(np.arange(n) % 50 == 3, 1.0, 1e-9),
    }[rows]
    A = factors[:, None] * matrices.with_spectrum(n, n, spectra.geometric(n, 100.0), rng).A
    b = rng.standard_normal(n)
    for noise in (0.0, 1e-12, 1e-6):
        x = np.linalg.solve(A, b) * (1.0 + noise * rng.standard_normal(n))
        error = truth.backward_error(A, x, b)
        for target in (None, 1e-13, 1e-5):
            found = certify(LinearSystem(A, b), x, evidence=Evidence(), target=target)
            assert found.bound >= error.low
            if rows == "alike":
                known = certify(LinearSystem(A, b), x, target=target)
                assert found.bound <= 1.5 * known.bound


@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
def test_many_right_hand_sides_are_certified_by_test_vectors(backend):
    """The bound is above the true error, and a single wrong column among many is seen."""
    if backend == "torch":
        pytest.importorskip("torch")
    rng = np.random.default_rng(9)
    A = matrices.with_spectrum(150, 150, spectra.geometric(150, 1e6), rng).A
    B = rng.standard_normal((150, 80))
    X = np.linalg.solve(A, B) * (1.0 + 1e-9 * rng.standard_normal((150, 80)))
    error = truth.backward_error(A, X, B)
    found = certify(LinearSystem(A, B), X, target=1e-5, backend=backend)
    assert found.satisfied
    assert found.method == "16 test vectors for 80 right-hand sides"
    assert found.confidence == 0.99
    plain = certify(LinearSystem(A, B), X, target=1e-5, backend=backend, confidence=1.0)  # the residual itself
    assert error.low <= found.bound <= 4.0 * plain.bound
    assert 0.5 * plain.estimate <= found.estimate <= 2.0 * plain.estimate
    exact = certify(LinearSystem(A, B), np.linalg.solve(A, B), target=1e-13, backend=backend)
    assert exact.satisfied
    X[:, 33] = np.linalg.norm(X[:, 33]) * rng.standard_normal(150)
    assert not certify(LinearSystem(A, B), X, target=1e-5, backend=backend).satisfied
    X[7, 33] = np.nan
    assert not certify(LinearSystem(A, B), X, target=1e-5, backend=backend).satisfied


def test_what_test_vectors_overlook_is_the_probability_stated(monkeypatch):
    """Every column has a residual of norm one: how often at least one of them is bounded by less."""
    A, lib, rng = np.eye(60), library("scipy"), np.random.default_rng(10)
    B = rng.standard_normal((60, 100))
    X = B - np.linalg.qr(rng.standard_normal((60, 60)))[0][:, rng.integers(0, 60, 100)]

    def misses(p: float) -> int:
        return sum(min(certificate._tested_norms(lib, A, B, X, seed, p)[0]) < 1.0 for seed in range(300))

    allowed = 300 * 0.2 + 4.9 * math.sqrt(300 * 0.2 * 0.8)
    assert 5 < misses(0.2) <= allowed
    monkeypatch.setattr(certificate.chi_squared, "quantile", lambda r, p: 0.5 * r)
    assert misses(0.2) > allowed


def test_the_norm_is_needed_where_the_residual_might_not_tell():
    rng = np.random.default_rng(8)
    A, task = rng.standard_normal((200, 200)), Task("linear_system", 200, 200)
    x = rng.standard_normal(200)
    assert not certificate.needs_norm(A, x, task, "backward_error")
    assert certificate.needs_norm(A, x, task, "relative_residual")
    assert certificate.needs_norm(A, np.where(np.arange(200) == 7, 0.0, x), task, "backward_error")
    for far in (1e-180, 1e180, np.nan, np.inf):
        with np.errstate(all="ignore"):
            assert certificate.needs_norm(far * A, x, task, "backward_error"), far


def test_a_sharper_bound_on_the_norm_is_looked_for_only_where_it_decides(monkeypatch):
    rng = np.random.default_rng(3)
    A = matrices.with_spectrum(40, 40, spectra.one_large(40, 1e6), rng).A  # ||A||_F / sqrt(n) is far below ||A||_2
    b = A @ rng.standard_normal(40)
    x = np.linalg.solve(A, b) * (1.0 + 1e-9 * rng.standard_normal(40))
    products = []
    for name in ("matmul", "rmatmul"):
        product = getattr(ScipyLibrary, name)
        counted = lambda self, A, X, product=product: products.append(A.shape) or product(self, A, X)  # noqa: E731
        monkeypatch.setattr(ScipyLibrary, name, counted)
    sharp = certify(LinearSystem(A, b), x, target=1e-12)
    assert not sharp.satisfied
    assert len(products) == 3
    products.clear()
    near = certify(LinearSystem(A, b), x, target=1.5 * sharp.bound)
    assert near.satisfied
    assert near.bound == sharp.bound
    assert len(products) == 3
    products.clear()
    far = certify(LinearSystem(A, b), x, target=100.0 * sharp.bound)
    assert far.satisfied
    assert sharp.bound < far.bound <= math.sqrt(40) * sharp.bound
    assert len(products) == 1


def test_every_term_of_the_bound_by_hand():
    A = np.array([[2.0, 1.0], [0.0, 0.5]])
    B, X = np.array([[3.0, 4.0], [0.5, 4.0]]), np.array([[1.0 + 1e-9, -2.0], [1.0, 8.0]])
    task, norm = Task("linear_system", 2, 2, nrhs=2), float(np.linalg.norm(A))
    r = np.linalg.norm(B - A @ X, axis=0)
    b, u = np.linalg.norm(B, axis=0), (1.0 + 0.25 * math.sqrt(2.0)) * 2.0**-53
    lib = library("scipy")
    known = Evidence(norm_fro=norm, norm_2=Interval(2.2, 2.1, 2.3))

    def rounding() -> np.ndarray:
        x = np.linalg.norm(X, axis=0)
        alike = 0.25 * 2 * 2.0**-53 * b * b / (norm * x)  # the cosine is below one
        return u * (norm / math.sqrt(2.0) * x + b) + alike

    def certified(evidence: Evidence, metric: str = "backward_error") -> Certificate:
        return certificate.certify(lib, A, B, X, task, evidence, metric, None, 1.0)

    found, scale = certified(known), 2.1 * (1.0 - 1e-9) * np.linalg.norm(X, axis=0) + b
    assert found.bound == pytest.approx(np.max(r / scale + rounding() / scale), rel=1e-8, abs=0.0)
    assert found.estimate == pytest.approx(np.max(r / scale), rel=1e-8, abs=0.0)
    # the same, where the residual is exactly zero and rounding is all there is
    X[0, 0] = 1.0
    scale = 2.1 * (1.0 - 1e-9) * np.linalg.norm(X, axis=0) + b
    exact = certified(known)
    assert exact.estimate == 0.0
    assert exact.bound == pytest.approx(np.max(rounding() / scale), rel=1e-12, abs=0.0)
    assert certified(known, "relative_residual").bound == pytest.approx(np.max(rounding() / b), rel=1e-12, abs=0.0)
    # relative to ||A||_2 ||x|| + ||b||, whatever that is; ||A||_F / sqrt(2) stands for ||A||_2 in what is left
    unknown = certified(Evidence())
    scale = norm / math.sqrt(2.0) * (1.0 - 1e-9) * np.linalg.norm(X, axis=0) + b
    alike = rounding() - u * (norm / math.sqrt(2.0) * np.linalg.norm(X, axis=0) + b)
    assert unknown.bound == pytest.approx(np.max(u + alike / scale), rel=1e-8, abs=0.0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("lib", ["scipy", "torch"])
def test_sums_of_one_number_round_to_one_side(lib, order):
    n, rng = 800, np.random.default_rng(12)
    A = np.asarray(np.full((n, n), 1.1) + np.diag(1e-3 * rng.standard_normal(n)), order=order)
    x = np.full(n, 1.7)
    b = library(lib).to_numpy(library(lib).matmul(library(lib).asarray(A), library(lib).asarray(x[:, None])))[:, 0]
    for evidence in (None, Evidence()):
        found, error = certify(LinearSystem(A, b), x, backend=lib, evidence=evidence), truth.backward_error(A, x, b)
        assert found.estimate == 0.0  # the product is the one that b was made by
        assert error.low <= found.bound
    # sums that cancel are not said to round as much
    A = rng.standard_normal((n, n))
    x = rng.standard_normal(n)
    found = certify(LinearSystem(A, A @ x), x)
    assert found.bound - found.estimate < 1.5 * certificate.rounding_of_residual(n)


def test_sums_of_one_number_by_hand():
    alike = certificate._rounding_alike
    u = 2.0**-53
    assert alike(100, 0.1, 3.0, 3.0) == pytest.approx(25.0 * u * 3.0, rel=1e-12, abs=0.0)  # ||A||_F = 1: the worst case
    assert alike(100, 0.1, 3.0, 0.3) == pytest.approx(2.5 * u * 0.3, rel=1e-12, abs=0.0)
    assert alike(100, 0.1, 3.0, 30.0) == pytest.approx(25.0 * u * 30.0, rel=1e-12, abs=0.0)  # never more than that
    assert alike(100, 0.0, 3.0, 3.0) == alike(100, 0.1, 0.0, 3.0) == 0.0


def test_the_norm_may_be_off_by_its_rounding():
    """In float32 by a thousandth, which is on the safe side."""
    rng = np.random.default_rng(13)
    A, x = rng.standard_normal((20, 20)).astype(np.float32), rng.standard_normal(20).astype(np.float32)
    b = (2.0 * A @ x).astype(np.float32)
    found = certify(LinearSystem(A, b), x, evidence=Evidence(norm_2=Interval.exact(5.0), norm_fro=20.0))
    r, size_x, size_b = (np.linalg.norm(v.astype(float)) for v in (b - A @ x, x, b))
    assert found.estimate == pytest.approx(r / (5.0 * 0.999 * size_x + size_b), rel=1e-6, abs=0.0)


def test_a_norm_that_is_not_finite_is_none():
    rng = np.random.default_rng(14)
    A, x = rng.standard_normal((20, 20)), rng.standard_normal(20)
    evidence = Evidence(norm_fro=float(np.linalg.norm(A)), norm_2=Interval(math.inf, math.inf, math.inf))
    found, error = certify(LinearSystem(A, np.ones(20)), x, evidence=evidence), truth.backward_error(A, x, np.ones(20))
    assert error.low <= found.bound <= 10.0 * error


def test_its_work_by_hand():
    n = 300
    for columns, calls in (
        (1, [("gemv", (n, n), 1.0)]),
        (5, [("gemm", (n, 5, n), 1.0)]),
        (80, [("gemm", (n, 16, n), 1.0), ("gemm", (16, 80, n), 2.0)]),
    ):
        work = certificate.work(Task("linear_system", n, n, nrhs=columns, target=1e-10), Evidence(), "scipy")
        assert [(call.kernel, call.dims, call.count) for call in work.calls] == calls
        assert work.peak_bytes == 8.0 * n * (3 * columns + 2)
    sharp = certificate.work(Task("linear_system", n, n, target=1e-15), Evidence(), "scipy")
    assert [call.kernel for call in sharp.calls] == ["gemv", "gemv_t", "gemv"]
    known = Evidence(norm_2=Interval.exact(1.0))
    assert len(certificate.work(Task("linear_system", n, n, target=1e-15), known, "scipy").calls) == 1


def test_the_confidence_of_the_budget_is_that_of_the_test_vectors(monkeypatch):
    """Seen in the bound: less confidence, a smaller one, by the quantiles of chi-squared."""
    rng = np.random.default_rng(11)
    A, X = rng.standard_normal((30, 30)), rng.standard_normal((30, 100))
    B = A @ X + 1e-6 * rng.standard_normal((30, 100))
    bounds = {
        c: certify(LinearSystem(A, B), X, target=1.0, confidence=c, evidence=Evidence()).bound for c in (0.6, 0.99)
    }
    from autonla.primitives import chi_squared

    quantiles = [chi_squared.quantile(16, (1.0 - c) / 100) for c in (0.6, 0.99)]
    assert bounds[0.99] / bounds[0.6] == pytest.approx(math.sqrt(quantiles[0] / quantiles[1]), rel=1e-3, abs=0.0)


def direct(A: np.ndarray, b: np.ndarray, x: np.ndarray, evidence: Evidence | None = None, **how) -> Certificate:
    """As it is written: the operands not scaled."""
    task, target = Task("linear_system", *A.shape, nrhs=1 if b.ndim == 1 else b.shape[1]), how.pop("target", None)
    with np.errstate(all="ignore"):  # as where it is called
        return certificate.certify(
            library("scipy"), A, b, x, task, evidence or Evidence(), "backward_error", target, 1.0, **how
        )


def test_an_answer_whose_norm_is_beyond_float64_never_passes():
    A, x = 1e-60 * np.eye(6), np.full(6, 1e308)
    assert direct(A, A @ x, x).bound == math.inf
    x[1:] = 1.0
    assert direct(A, A @ x, x).bound < 1e-15


def test_a_residual_beside_nothing_that_was_seen_never_passes():
    A = np.zeros((128, 128))
    A[1::2] = 1.0  # the rows between those that stand for the norm
    assert direct(A, np.zeros(128), np.ones(128)).bound == math.inf
    assert direct(A, np.zeros(128), np.zeros(128)).bound == 0.0


@pytest.mark.parametrize(("times", "again"), [(0.7, 1), (3.9, 1), (4.1, 0), (4.9, 0)])
def test_when_the_residual_is_computed_again(times, again, monkeypatch):
    """Where rounding may have decided: the estimate is below four times the target, and the bound is not."""
    from autonla.primitives.kernels import _numba

    calls, exact = [], _numba.residual_compensated
    monkeypatch.setattr(_numba, "residual_compensated", lambda *args: calls.append(1) or exact(*args))
    rng = np.random.default_rng(15)
    A, x = np.eye(20), rng.standard_normal(20)
    b = x + 1e-15 * rng.standard_normal(20)
    first = direct(A, b, x)
    target = first.estimate / times
    found = direct(A, b, x, target=target)
    assert found.satisfied == (times < 1.0)
    assert len(calls) == again
    if again:  # then nothing but the residual itself is rounded
        assert found.bound == pytest.approx(found.estimate + 2.0**-53, rel=1e-9, abs=0.0)
    calls.clear()
    direct(A, b, x, target=2.0 * first.bound)
    assert not calls


def test_no_right_hand_side_is_priced_as_one():
    works = [certificate.work(Task("linear_system", 9, 9, nrhs=r, target=1e-10), Evidence(), "scipy") for r in (0, 1)]
    assert works[0] == works[1]
