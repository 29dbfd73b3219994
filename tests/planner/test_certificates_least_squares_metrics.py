"""Backward error and suboptimality of least-squares solutions: bounds that hold, and are close."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest

import autonla as nla
from autonla.planner.certify import least_squares as certificate
from autonla.planner.problems import LeastSquares
from tests._support import matrices, spectra, truth
from tests._support.backends import BACKENDS
from tests._support.certifying import certify


def backward_error(A: np.ndarray, x: np.ndarray, b: np.ndarray) -> float:
    """min ||E||_F / ||A||_F such that x solves min ||b - (A + E) x|| (Walden, Karlson, Sun 1995, theorem 2.2)."""
    r = b - A @ x
    if not r.any():
        return 0.0
    unit = r / np.linalg.norm(r)
    if not x.any():
        return float(np.linalg.norm(A.T @ unit) / np.linalg.norm(A))
    phi = np.linalg.norm(r) / np.linalg.norm(x)
    smallest = np.linalg.svd(np.hstack([A, phi * (np.eye(len(b)) - np.outer(unit, unit))]), compute_uv=False)[
        len(b) - 1
    ]
    return float(min(phi, smallest) / np.linalg.norm(A))


def suboptimality(A: np.ndarray, x: np.ndarray, b: np.ndarray, ridge: float = 0.0) -> float:
    """||b - A x|| / ||b - A x*|| - 1."""
    if ridge:
        A, b = np.vstack([A, math.sqrt(ridge) * np.eye(A.shape[1])]), np.append(b, np.zeros(A.shape[1]))
    moved = float(truth.prediction_error(A, x, b)) * np.linalg.norm(b)
    t = moved / np.linalg.norm(b - A @ x)
    return math.inf if t >= 1.0 else math.expm1(-0.5 * math.log1p(-t * t))


def problems(count: int, seed: int, noises=(1e-9, 1e-6, 1e-3, 0.1, 1.0)):
    """(description, A, b, x) with relative residuals from 1e-3 to 1, and answers from good to worthless."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = int(rng.integers(1, 12))
        m = n + int(rng.integers(1, 40))
        condition = 10.0 ** rng.uniform(0, 9)
        s = (spectra.geometric(n, condition), spectra.one_small(n, condition), spectra.one_large(n, condition))[i % 3]
        A = matrices.with_spectrum(m, n, s, rng).A
        fitted = A @ rng.standard_normal(n)
        noise = rng.standard_normal(m)
        b = fitted + 10.0 ** rng.uniform(-3, 1) * np.linalg.norm(fitted) * noise / np.linalg.norm(noise)
        x = np.linalg.lstsq(A, b, rcond=None)[0]
        wrong = float(rng.choice(noises))
        x = x + wrong * np.linalg.norm(x) * rng.standard_normal(n) / math.sqrt(n)
        yield f"{i}: {m}x{n} condition={condition:.0e} noise={wrong:.0e}", A, b, x


def test_the_backward_error_is_never_above_its_bound_and_seldom_far_below():
    ratios = []
    for what, A, b, x in problems(200, seed=1):
        found, error = certify(LeastSquares(A, b, metric="backward_error"), x), backward_error(A, x, b)
        assert found.metric == "backward_error"
        assert found.bound >= error * (1.0 - 1e-6) - 1e-16, what  # the yardstick itself is rounded
        if error > 1e-13:
            ratios.append(found.bound / error)
    assert len(ratios) > 150
    assert median(ratios) < 2.0
    assert max(ratios) < 3.0


def test_the_factor_of_the_estimate_is_needed(monkeypatch):
    """Without sqrt(2) some bounds lie below the error."""
    monkeypatch.setattr(certificate, "_KARLSON_WALDEN", 1.0)
    below = 0
    for _, A, b, x in problems(200, seed=1):
        found, error = certify(LeastSquares(A, b, metric="backward_error"), x), backward_error(A, x, b)
        below += found.bound < error * (1.0 - 1e-3)
    assert below > 0


def test_suboptimality_is_never_above_its_bound_and_close():
    ratios = []
    for i, (what, A, b, x) in enumerate(problems(200, seed=2)):
        ridge = 0.0 if i % 2 else 1e-3 * float(np.linalg.norm(A, 2)) ** 2
        found = certify(LeastSquares(A, b, ridge=ridge, metric="suboptimality"), x)
        error = suboptimality(A, x, b, ridge)
        assert found.metric == "suboptimality"
        assert found.bound >= error * (1.0 - 1e-9), what
        if 1e-26 < error < 1e6 and math.isfinite(found.bound):
            ratios.append(found.bound / error)
    assert len(ratios) > 100
    assert median(ratios) < 1.3


def test_suboptimality_is_the_square_of_what_the_prediction_is_off():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((200, 8))
    b = rng.standard_normal(200)
    x = np.linalg.lstsq(A, b, rcond=None)[0]
    wrong = x + 1e-5 * rng.standard_normal(8)
    found = certify(LeastSquares(A, b, metric="suboptimality"), wrong, target=1e-6)
    assert found.satisfied
    best, ours = np.linalg.norm(b - A @ x), np.linalg.norm(b - A @ wrong)
    assert found.bound == pytest.approx(ours / best - 1.0, rel=0.1, abs=0.0)
    assert found.bound < 1e-9
    assert not certify(LeastSquares(A, b, metric="suboptimality"), wrong, target=0.5 * found.estimate).satisfied


def test_of_a_consistent_system_suboptimality_says_nothing():
    rng = np.random.default_rng(4)
    A = rng.standard_normal((50, 6))
    x = rng.standard_normal(6)
    found = certify(LeastSquares(A, A @ x, metric="suboptimality"), x * (1.0 + 1e-15), target=0.1)
    assert not found.satisfied
    assert "prediction_error" in found.method
    zero = certify(LeastSquares(A, np.zeros(50), metric="suboptimality"), np.zeros(6), target=1e-15)
    assert zero.satisfied


def test_a_backward_stable_answer_to_an_ill_conditioned_problem_passes():
    """Where its prediction error is large all the same."""
    rng = np.random.default_rng(5)
    A = matrices.with_spectrum(200, 20, spectra.geometric(20, 1e10), rng).A
    b = rng.standard_normal(200)
    for accuracy in (None, 1e-13):
        solution = nla.solve(LeastSquares(A, b, metric="backward_error"), nla.Budget(accuracy=accuracy), rng=0)
        assert solution.status == "certified"
        assert solution.certificate.bound < 1e-13
        assert backward_error(A, solution.value, b) < 1e-13
    prediction = certify(LeastSquares(A, b), solution.value)
    assert prediction.bound > 30 * solution.certificate.bound


@pytest.mark.parametrize("metric", ["backward_error", "suboptimality"])
@pytest.mark.parametrize("size", [1e-1, 1e-3, 1e-6])
def test_a_wrong_answer_of_known_size_is_seen(metric, size):
    rng = np.random.default_rng(6)
    A, b = rng.standard_normal((100, 10)), rng.standard_normal(100)
    x = np.linalg.lstsq(A, b, rcond=None)[0] * (1.0 + size)
    error = (backward_error if metric == "backward_error" else suboptimality)(A, x, b)
    problem = LeastSquares(A, b, metric=metric)
    assert not certify(problem, x, target=0.9 * error).satisfied
    assert certify(problem, x, target=3.0 * error).satisfied


@pytest.mark.parametrize("metric", ["backward_error", "suboptimality"])
def test_one_wrong_column_among_many(metric):
    rng = np.random.default_rng(7)
    A, B = rng.standard_normal((60, 6)), rng.standard_normal((60, 4))
    X = np.linalg.lstsq(A, B, rcond=None)[0]
    wrong = X.copy()
    wrong[:, 2] *= 1.01
    alone = certify(LeastSquares(A, B[:, 2], metric=metric), wrong[:, 2])
    together = certify(LeastSquares(A, B, metric=metric), wrong)
    assert together.bound == pytest.approx(alone.bound, rel=1e-6, abs=0.0)
    assert certify(LeastSquares(A, B, metric=metric), X).bound < 1e-3 * together.bound


@pytest.mark.parametrize("exponent", [-300, -80, 80, 300])
@pytest.mark.parametrize("metric", ["backward_error", "suboptimality"])
def test_scale_changes_nothing_and_zero_is_no_answer(metric, exponent):
    rng = np.random.default_rng(8)
    A, b = rng.standard_normal((40, 5)), rng.standard_normal(40)
    x = np.linalg.lstsq(A, b, rcond=None)[0] * 1.001
    plain = certify(LeastSquares(A, b, metric=metric), x)
    scaled = certify(LeastSquares(np.ldexp(A, exponent), b, metric=metric), np.ldexp(x, -exponent))
    assert scaled.bound == pytest.approx(plain.bound, rel=1e-6, abs=0.0)
    zero = certify(LeastSquares(A, A @ np.ones(5), metric=metric), np.zeros(5), target=1e-3)
    assert not zero.satisfied


@pytest.mark.parametrize("metric", ["backward_error", "suboptimality"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_not_finite_never_passes(metric, bad):
    rng = np.random.default_rng(9)
    A, b = rng.standard_normal((40, 5)), rng.standard_normal(40)
    x = np.ones(5)
    x[1] = bad
    found = certify(LeastSquares(A, b, metric=metric), x, target=1.0)
    assert not found.satisfied
    assert found.metric == metric


def test_wide_and_rank_deficient_problems_still_take_the_solution_of_minimum_norm():
    rng = np.random.default_rng(10)
    wide, b = rng.standard_normal((5, 20)), rng.standard_normal(5)
    x = np.linalg.lstsq(wide, b, rcond=None)[0]
    found = certify(LeastSquares(wide, b, metric="backward_error"), x, target=1e-13)
    assert found.satisfied
    null = np.linalg.svd(wide)[2][-1]
    assert not certify(LeastSquares(wide, b, metric="backward_error"), x + null, target=0.5).satisfied
    thin = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 6))
    b = rng.standard_normal(40)
    x = np.linalg.lstsq(thin, b, rcond=1e-10)[0]
    found = certify(LeastSquares(thin, b, metric="backward_error"), x, target=1e-12)
    assert found.satisfied
    assert found.bound >= backward_error(thin, x, b) - 1e-15
    wrong = x * 1.1
    found = certify(LeastSquares(thin, b, metric="backward_error"), wrong)
    assert 1.0 - 1e-6 <= found.bound / backward_error(thin, wrong, b) < 3.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", ["backward_error", "suboptimality"])
@pytest.mark.parametrize(("shape", "ridge"), [((300, 12), 0.0), ((300, 12), 0.5), ((40, 30), 0.0)])
def test_every_library_and_dtype(backend, dtype, metric, shape, ridge):
    rng = np.random.default_rng(11)
    A, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    problem = LeastSquares(backend.asarray(A), backend.asarray(b), ridge=ridge, metric=metric)
    for accuracy in (None, 1e-3):
        solution = nla.solve(problem, nla.Budget(accuracy=accuracy), rng=0)
        assert solution.status == "certified"
        x = np.asarray(solution.value).astype(float)
        tall, right = A.astype(float), b.astype(float)
        if metric == "suboptimality":
            assert suboptimality(tall, x, right, ridge) <= solution.certificate.bound
        else:
            if ridge:
                tall = np.vstack([tall, math.sqrt(ridge) * np.eye(shape[1])])
                right = np.append(right, np.zeros(shape[1]))
            assert backward_error(tall, x, right) <= solution.certificate.bound + 1e-15
        assert accuracy is None or solution.certificate.bound <= accuracy


@pytest.mark.parametrize("accuracy", [0.5, 1e-6, 1e-12])
def test_a_loose_suboptimality_is_planned_for_as_the_square_that_it_is(accuracy):
    """Half as much again as the least residual is what a sketch gives; 1e-12 takes no more than 1e-6 in A x."""
    rng = np.random.default_rng(12)
    A, b = rng.standard_normal((20_000, 40)), rng.standard_normal(20_000)
    plan = nla.plan(LeastSquares(A, b, metric="suboptimality"), nla.Budget(accuracy=accuracy), rng=0)
    solution = plan.run()
    assert solution.status == "certified"
    assert suboptimality(A, solution.value, b) <= solution.certificate.bound <= accuracy
    sketched = [c for c in plan.candidates if c.algorithm == "sketch_and_solve" and c.feasible]
    assert bool(sketched) == (accuracy == 0.5)
