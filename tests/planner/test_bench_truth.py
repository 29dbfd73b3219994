"""The yardstick of the bench, against exact arithmetic and against the tests' own one, which is written differently."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest

import autonla as nla
from autonla.planner.bench import truth
from autonla.planner.bench.spectra import with_singular_values
from autonla.planner.bench.truth import true_error
from tests._support import draws, judge
from tests.test_accuracy_sweep import stated

DIGITS = 60


def exact(x) -> Any:
    return mpmath.matrix(np.asarray(x, dtype=float).tolist())


def frobenius(X) -> Any:
    return mpmath.sqrt(mpmath.fsum(entry**2 for entry in X))


def close(found, expected) -> bool:
    """Within what the yardstick says of itself, and that is little."""
    assert found is not None
    gap = abs(mpmath.mpf(found.error) - expected)
    return gap <= found.uncertainty + 1e-14 * abs(expected) and found.uncertainty <= 1e-9 * found.error + 1e-17


@pytest.mark.parametrize("exponents", [(0, 0), (-500, 0), (500, 500), (-500, -500)])
def test_backward_error(exponents):
    rng = np.random.default_rng(1)
    A = with_singular_values(6, 6, np.geomspace(1.0, 1e-12, 6), rng)
    x = rng.standard_normal((6, 2))
    A, b = np.ldexp(A, exponents[0]), np.ldexp(A @ x, exponents[1])
    x = np.ldexp(x * (1.0 + 1e-13), exponents[1] - exponents[0])
    found = true_error(nla.LinearSystem(A, b), x, 1e-12)
    with mpmath.workdps(DIGITS):
        norm = max(mpmath.svd_r(exact(A), compute_uv=False))
        r = exact(b) - exact(A) * exact(x)
        columns = [frobenius(r[:, j]) / (norm * frobenius(exact(x)[:, j]) + frobenius(exact(b)[:, j])) for j in (0, 1)]
        assert close(found, max(columns))
        relative = true_error(nla.LinearSystem(A, b, metric="relative_residual"), x, 1e-12)
        assert close(relative, max(frobenius(r[:, j]) / frobenius(exact(b)[:, j]) for j in (0, 1)))


def test_the_norm_of_a_large_matrix_comes_from_lanczos(monkeypatch):
    rng = np.random.default_rng(2)
    for s in (np.ones(200), np.linspace(1.0, 0.5, 200), np.geomspace(1.0, 1e-8, 200)):
        A = with_singular_values(200, 200, 3.0 * s, rng)
        x = rng.standard_normal(200)
        b = A @ x + 1e-8 * rng.standard_normal(200)
        problem = nla.LinearSystem(A, b)
        exactly = true_error(problem, x, 1e-8)
        monkeypatch.setattr(truth, "EXACT_NORM", 10)
        nearly = true_error(problem, x, 1e-8)
        monkeypatch.undo()
        assert exactly is not None
        assert nearly is not None
        assert nearly.low <= exactly.error <= nearly.high
        assert exactly.uncertainty < nearly.uncertainty < 0.02 * exactly.error


def exact_prediction_error(A, x, b, ridge: float) -> Any:
    A, x, b = exact(A), exact(x), exact(b)
    normal = A.T * A + mpmath.mpf(ridge) * mpmath.eye(A.cols)
    y = x - mpmath.lu_solve(normal, A.T * b)
    return mpmath.sqrt(frobenius(A * y) ** 2 + mpmath.mpf(ridge) * frobenius(y) ** 2) / frobenius(b)


@pytest.mark.parametrize("ridge", [0.0, 1e-6])
@pytest.mark.parametrize("condition", [1e1, 1e7, 1e12])
def test_prediction_error(condition, ridge):
    """Also where LAPACK's own error is all that there is to see."""
    rng = np.random.default_rng(3)
    A = with_singular_values(14, 5, np.geomspace(1.0, 1.0 / condition, 5), rng)
    b = A @ rng.standard_normal(5) + 0.3 * rng.standard_normal(14)
    stacked = np.vstack([A, math.sqrt(ridge) * np.eye(5)]), np.concatenate([b, np.zeros(5)])
    x = np.linalg.lstsq(*stacked)[0]
    for answer in (x, x + 1e-9 * rng.standard_normal(5)):
        found = true_error(nla.LeastSquares(A, b, ridge=ridge), answer, 1e-13)
        assert found is not None
        with mpmath.workdps(DIGITS):
            expected = exact_prediction_error(A, answer, b, ridge)
        assert abs(found.error - float(expected)) <= found.uncertainty <= max(1e-14, 1e-6 * found.error)
        assert found.error > 1e-17


def test_the_worst_right_hand_side_counts():
    rng = np.random.default_rng(4)
    A, b = rng.standard_normal((20, 4)), rng.standard_normal((20, 3))
    x = np.linalg.lstsq(A, b)[0]
    x[:, 1] += 1e-6
    found = true_error(nla.LeastSquares(A, b), x, 1e-8)
    alone = true_error(nla.LeastSquares(A, b[:, 1]), x[:, 1], 1e-8)
    assert found is not None
    assert alone is not None
    assert found.error == pytest.approx(alone.error, rel=1e-12, abs=0.0)
    zero = np.zeros((20, 3))
    assert true_error(nla.LeastSquares(A, zero), np.zeros((4, 3)), 1e-8) == (0.0, 0.0)
    assert true_error(nla.LeastSquares(A, zero), x, 1e-8) == (math.inf, math.inf) or math.isinf(
        (true_error(nla.LeastSquares(A, zero), x, 1e-8) or (0.0, 0.0))[0]
    )


def test_rank_deficient_least_squares():
    """Copied columns: the prediction is that of the columns without copies."""
    rng = np.random.default_rng(5)
    base = with_singular_values(30, 6, np.geomspace(1.0, 1e-4, 6), rng)
    A = np.hstack([base, 2.0 * base[:, :3]])
    b = rng.standard_normal(30)
    x = np.linalg.lstsq(A, b)[0] + 1e-7
    small = np.concatenate([x[:3] + 2.0 * x[6:], x[3:6]])
    with mpmath.workdps(DIGITS):
        expected = float(exact_prediction_error(base, small, b, 0.0))
    for rank in (6, None):  # stated, or read off the gap in the singular values
        found = true_error(nla.LeastSquares(A, b), x, 1e-9, rank=rank)
        assert found is not None
        assert found.error == pytest.approx(expected, rel=1e-6, abs=0.0)


def test_wide_least_squares():
    rng = np.random.default_rng(6)
    A, b = rng.standard_normal((5, 30)), rng.standard_normal(5)
    x = np.linalg.lstsq(A, b)[0] * (1.0 + 1e-9)
    found = true_error(nla.LeastSquares(A, b), x, 1e-9)
    assert found is not None
    assert found.error == pytest.approx(1e-9, rel=1e-5, abs=0.0)


def test_a_rank_that_is_in_doubt_is_not_guessed():
    rng = np.random.default_rng(7)
    for smallest, known in ((1e-12, True), (3e-15, False), (0.0, True)):
        A = with_singular_values(60, 10, np.append(np.ones(9), smallest), rng)
        b = rng.standard_normal(60)
        found = true_error(nla.LeastSquares(A, b), np.linalg.lstsq(A, b)[0], 1e-10)
        assert (found is not None) == known, smallest


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-2])
def test_low_rank(noise, center):
    rng = np.random.default_rng(8)
    A = with_singular_values(9, 6, np.array([1.0, 0.7, 0.3, 1e-2, 1e-3, 1e-4]), rng)
    seen = A - A.mean(axis=0) if center else A
    U, s, Vh = np.linalg.svd(seen, full_matrices=False)
    value = U[:, :3], s[:3] * (1.0 + noise * rng.standard_normal(3)), Vh[:3]
    with mpmath.workdps(DIGITS):
        means = exact(np.ones((9, 1))) * (exact(np.ones((1, 9))) * exact(A)) / 9 if center else 0 * exact(A)
        E = exact(A) - means - exact(value[0]) * mpmath.diag(list(map(float, value[1]))) * exact(value[2])
        M = exact(A) - means
        relative = frobenius(E) / frobenius(M)
        values = sorted(mpmath.eigsy(M.T * M, eigvals_only=True))[:3]
        excess = frobenius(E) / mpmath.sqrt(mpmath.fsum(values)) - 1
    by_accuracy = true_error(nla.LowRank(A, center=center), value, 1e-4)
    assert by_accuracy is not None
    assert abs(by_accuracy.error - float(relative)) <= by_accuracy.uncertainty <= 1e-13
    for claim in (1e-1, 1e-12):  # float64 is enough for the first
        found = true_error(nla.LowRank(A, rank=3, center=center), value, claim)
        assert found is not None
        assert abs(found.error - float(excess)) <= found.uncertainty <= max(0.1 * claim, 1e-9 * found.error)


def test_the_excess_of_svd_is_far_below_rounding():
    rng = np.random.default_rng(9)
    A = with_singular_values(40, 30, np.geomspace(1.0, 1e-3, 30), rng)
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    found = true_error(nla.LowRank(A, rank=10), (U[:, :10], s[:10], Vh[:10]), 1e-14)
    assert found is not None
    assert 0.0 < found.error < 1e-24


def test_ranks_that_are_exact_and_factors_of_rank_zero():
    rng = np.random.default_rng(10)
    A = with_singular_values(20, 10, np.append(np.ones(4), np.zeros(6)), rng)
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    found = true_error(nla.LowRank(A, rank=4), (U[:, :4], s[:4], Vh[:4]), 1e-12)
    assert found is not None  # both errors are rounding: relative to A
    assert found.error < 1e-14
    nothing = true_error(nla.LowRank(A), (U[:, :0], s[:0], Vh[:0]), 1.0)
    assert nothing is not None
    assert nothing.error == pytest.approx(1.0)
    zero = np.zeros((5, 3))
    assert true_error(nla.LowRank(zero), (zero[:, :0], s[:0], zero[:0]), 1e-3) == (0.0, 0.0)


def test_what_is_not_finite_is_infinitely_wrong():
    A, b = np.eye(3), np.ones(3)
    bad = np.array([1.0, np.nan, 1.0])
    for found in (
        true_error(nla.LinearSystem(A, b), bad, 1e-3),
        true_error(nla.LeastSquares(A, b), bad, 1e-3),
        true_error(nla.LowRank(A), (A, bad, A), 1e-3),
    ):
        assert found == (math.inf, 0.0)


def test_what_would_take_too_long_is_not_looked_at(monkeypatch):
    A, b = np.eye(30), np.ones(30)
    problem = nla.LeastSquares(A, b)
    assert true_error(problem, b, 1e-3) == (0.0, 0.0)
    monkeypatch.setattr(truth, "DEAREST", 26_000.0)
    assert true_error(problem, b, 1e-3) is None
    assert true_error(nla.LinearSystem(A, b, metric="forward_error"), b, 1e-3) is None
    monkeypatch.setattr(truth, "DEAREST", 1e11)
    assert true_error(nla.LinearSystem(A, b, metric="forward_error"), b, 1e-3) is None
    rng = np.random.default_rng(11)
    B = with_singular_values(40, 30, np.geomspace(1.0, 1e-3, 30), rng)
    U, s, Vh = np.linalg.svd(B, full_matrices=False)
    value = U[:, :10], s[:10], Vh[:10]
    monkeypatch.setattr(truth, "DEAREST_PRODUCTS", 10.0)
    assert true_error(nla.LowRank(B, rank=10), value, 1e-2) is not None
    assert true_error(nla.LowRank(B, rank=10), value, 1e-14) is None  # float64 does not know


def test_operands_of_torch_and_of_other_dtypes():
    import torch

    rng = np.random.default_rng(12)
    A, b = rng.standard_normal((20, 4)).astype(np.float32), rng.standard_normal(20).astype(np.float32)
    x = np.linalg.lstsq(A, b)[0]
    expected = true_error(nla.LeastSquares(A, b), x, 1e-5)
    problem = nla.LeastSquares(torch.from_numpy(A), torch.from_numpy(b))
    assert expected is not None
    assert true_error(problem, torch.from_numpy(x), 1e-5) == expected
    assert 1e-9 < expected.error < 1e-6
    whole = nla.LinearSystem(np.array([[2, 1], [1, 3]]), np.array([3, 4]))
    found = true_error(whole, np.ones(2), 1e-3)
    assert found is not None
    assert found.error == 0.0


@pytest.mark.parametrize("kind", draws.KINDS)
@judge.one_thread
def test_two_yardsticks_agree(kind):
    known = 0
    for draw in draws.random_problems(kind, 22, seed=21):
        problem, rng = draw.problem, np.random.default_rng(draw.index)
        if draw.parameters["large"] or (kind == "least_squares" and not problem.rank_is_exact):
            continue
        value: Any = judge._numpy(draw)
        if kind == "low_rank":
            value = value[0], value[1] * (1.0 + 1e-7), value[2]
        else:
            value = value * (1.0 + 1e-7 * rng.standard_normal(value.shape))
        expected = judge.true_error(draw, value)
        rank = problem.rank if kind == "least_squares" else None
        found = true_error(stated(draw), value, draw.accuracy, rank=rank)
        if found is not None:
            known += 1
            gap = abs(found.error - float(expected))
            assert gap <= found.uncertainty + expected.uncertainty + 1e-12 * float(expected), draw
    assert known >= 10


def test_a_matrix_of_rank_zero_predicts_nothing():
    """Whatever x is, A x is the prediction of every minimiser."""
    problem = nla.LeastSquares(np.zeros((4, 3)), np.ones(4))
    assert true_error(problem, np.array([1.0, -2.0, 3.0]), 1e-8, rank=0) == (0.0, 0.0)


def test_a_square_singular_matrix_is_read_off_the_gap():
    """The range of a square A is everything, unless A is singular."""
    rng = np.random.default_rng(13)
    base = with_singular_values(8, 6, np.geomspace(1.0, 1e-2, 6), rng)
    A, b = np.hstack([base, 2.0 * base[:, :2]]), rng.standard_normal(8)
    x = np.linalg.lstsq(A, b)[0] + 1e-7
    small = np.concatenate([x[:2] + 2.0 * x[6:], x[2:6]])
    with mpmath.workdps(DIGITS):
        expected = float(exact_prediction_error(base, small, b, 0.0))
    found = true_error(nla.LeastSquares(A, b), x, 1e-9)
    assert found is not None
    assert found.error == pytest.approx(expected, rel=1e-6, abs=0.0)
    regular = rng.standard_normal((8, 8))
    r = b - regular @ x
    found = true_error(nla.LeastSquares(regular, b), x, 1e-9)
    assert found is not None
    assert found.error == pytest.approx(np.linalg.norm(r) / np.linalg.norm(b), rel=1e-12, abs=0.0)


def test_a_refinement_that_is_cut_short_knows_less(monkeypatch):
    rng = np.random.default_rng(14)
    A = with_singular_values(30, 6, np.geomspace(1.0, 1e-9, 6), rng)
    b = rng.standard_normal(30)
    x = np.linalg.lstsq(A, b)[0] * (1.0 + 1e-9)
    problem = nla.LeastSquares(A, b)
    whole = true_error(problem, x, 1e-3)
    monkeypatch.setattr(truth, "REFINEMENTS", 2)
    short = true_error(problem, x, 1e-3)
    assert whole is not None
    assert short is not None
    assert whole.uncertainty < short.uncertainty
    assert abs(short.error - whole.error) <= short.uncertainty + whole.uncertainty


def test_the_excess_over_a_best_error_of_zero_is_unknown():
    """A has that rank exactly: no multiple of nothing says how bad an answer is."""
    A = np.diag([4.0, 2.0, 0.0])
    assert true_error(nla.LowRank(A, rank=2), (np.eye(3)[:, :2], np.array([3.0, 2.0]), np.eye(3)[:2]), 1e-3) is None
    perfect = true_error(nla.LowRank(A, rank=2), (np.eye(3)[:, :2], np.array([4.0, 2.0]), np.eye(3)[:2]), 1e-3)
    assert perfect is not None
    assert perfect.error == 0.0


@pytest.mark.parametrize(("least", "known"), [(1e-12, True), (1e-15, False)])
def test_where_a_direction_counts_as_zero_nobody_knows_the_answer(least, known):
    """Of a rank that is exact, but by singular values that everybody takes for rounding."""
    A = np.zeros((9, 4))
    A[0, 0], A[1, 1] = 1.0, least
    A[:, 2:] = A[:, :2]
    b, x = np.ones(9), np.array([1.0, 0.0, 0.0, 0.0])
    found = true_error(nla.LeastSquares(A, b), x, 1.0, rank=2)
    assert (found is not None) is known
    if found is not None:
        assert found.error == pytest.approx(1.0 / 3.0, rel=1e-9, abs=0.0)  # what of b lies along e2


def test_a_wide_matrix_of_low_rank_is_read_off_the_gap():
    rng = np.random.default_rng(15)
    A = with_singular_values(6, 20, np.array([1.0, 0.5, 0.2, 0.1, 0.0, 0.0]), rng)
    b = rng.standard_normal(6)
    x = np.linalg.lstsq(A, b, rcond=1e-10)[0] * (1.0 + 1e-6)
    U = np.linalg.svd(A)[0][:, :4]
    found = true_error(nla.LeastSquares(A, b), x, 1e-6)
    assert found is not None
    expected = np.linalg.norm(U.T @ (b - A @ x)) / np.linalg.norm(b)
    assert found.error == pytest.approx(expected, rel=1e-6, abs=0.0)
    assert np.linalg.norm(b - A @ x) > 1e-3, "what no x can reach does not count"
