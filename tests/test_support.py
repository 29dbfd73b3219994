"""The tests' own instruments, tested: against mpmath, exact fractions, known answers and second routes.

A measurement that cannot fail proves nothing, so each also has a negative control: a solution spoilt by a
known amount must measure that amount, to three digits, at condition number 1e12.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import mpmath as _mpmath
import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_limits

from tests._support import bars, matrices, spectra, truth
from tests._support.doubledouble import UNIT, DoubleDouble, orthonormal_basis, two_product, two_sum

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional
mpmath: Any = _mpmath
DIGITS = 80


@pytest.fixture(autouse=True)
def one_blas_thread():
    # Small matrices gain nothing from threads, and lose much where others compete for the cores.
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


# Exact and high-precision references: slow, simple, and sharing nothing with what they check.


def exact(a) -> Fraction:
    """A float, or a scalar double-double, as the rational number it is."""
    return Fraction(float(a.hi)) + Fraction(float(a.lo)) if isinstance(a, DoubleDouble) else Fraction(float(a))


def mp_matrix(a) -> Any:
    a = np.asarray(a, dtype=float)
    return mpmath.matrix(a.reshape(len(a), -1).tolist())


def mp_project(A, v, rank):
    """Projection onto the range of A, by the normal equations of independent columns in 80 digits."""
    size = np.abs(A).max(axis=0)
    columns = linalg.qr(A / np.where(size > 0, size, 1.0), mode="r", pivoting=True)[1][:rank]
    B = mp_matrix(A[:, columns])
    return B * mpmath.lu_solve(B.T * B, B.T * v)


def mp_prediction_error(A, x, b, ridge=0.0, rank=None) -> float:
    with mpmath.workdps(DIGITS):
        matrix, rhs, X = mp_matrix(A), mp_matrix(b), mp_matrix(x)
        r = rhs - matrix * X
        if ridge:
            m, n = A.shape
            augmented = mpmath.matrix(m + n, n)
            augmented[:m, :] = matrix
            augmented[m:, :] = mpmath.eye(n) * mpmath.sqrt(mpmath.mpf(ridge))
            r = mpmath.matrix([*r, *(-(mpmath.sqrt(mpmath.mpf(ridge)) * X))])
            fitted = augmented * mpmath.lu_solve(augmented.T * augmented, augmented.T * r)
        else:
            fitted = mp_project(A, r, min(A.shape) if rank is None else rank)
        return float(mpmath.norm(fitted) / mpmath.norm(rhs))


# Double-double arithmetic.


def test_error_free_transformations_are_exact(rng):
    a = rng.standard_normal(200) * 10.0 ** rng.uniform(-20, 20, 200)
    b = rng.standard_normal(200) * 10.0 ** rng.uniform(-20, 20, 200)
    s, e = two_sum(a, b)
    p, f = two_product(a, b)
    for i in range(200):
        assert exact(s[i]) + exact(e[i]) == exact(a[i]) + exact(b[i])
        assert exact(p[i]) + exact(f[i]) == exact(a[i]) * exact(b[i])


def test_double_double_operations_keep_31_digits(rng):
    def random():
        hi = rng.standard_normal(50)
        return DoubleDouble(*two_sum(hi, hi * rng.uniform(-1e-17, 1e-17, 50)))

    x, y = random(), random()
    for result, operation in (
        (x + y, Fraction.__add__),
        (x - y, Fraction.__sub__),
        (x * y, Fraction.__mul__),
    ):
        for i in range(50):
            want = operation(exact(x[i]), exact(y[i]))
            assert abs(exact(result[i]) - want) <= 8 * Fraction(UNIT) * abs(want)
    # A sum that cancels to nothing in float64.
    terms = np.array([1.0, 1e20, 1e-12, -1e20, -1.0])
    assert exact(DoubleDouble.of(terms).sum()) == exact(1e-12)
    root = DoubleDouble.sqrt(2.0)
    assert abs(exact(root) ** 2 - 2) <= 8 * Fraction(UNIT)


def test_double_double_product_of_matrices(rng):
    # Rows and columns of very different size, and entries within them too.
    A = rng.standard_normal((4, 7)) * 10.0 ** rng.uniform(-20, 20, (4, 1)) * 10.0 ** rng.uniform(-9, 0, (4, 7))
    B = rng.standard_normal((7, 3)) * 10.0 ** rng.uniform(-20, 20, (1, 3)) * 10.0 ** rng.uniform(-9, 0, (7, 3))
    C = DoubleDouble.of(A) @ B
    for i, j in itertools.product(range(4), range(3)):
        want = sum(exact(A[i, k]) * exact(B[k, j]) for k in range(7))
        scale = exact(np.abs(A[i]).max()) * exact(np.abs(B[:, j]).max())
        assert abs(exact(C[i, j]) - want) <= 8 * Fraction(UNIT) * scale


def test_double_double_product_of_double_doubles(rng):
    def random(*shape):
        hi = rng.standard_normal(shape)
        return DoubleDouble(*two_sum(hi, hi * rng.uniform(-1e-17, 1e-17, shape)))

    A, B = random(3, 200), random(200, 2)
    C, y = A @ B, A @ B[:, 0]
    for i, j in itertools.product(range(3), range(2)):
        want = sum(exact(A[i, k]) * exact(B[k, j]) for k in range(200))
        assert abs(exact(C[i, j]) - want) <= 100 * Fraction(UNIT)
    assert (C[:, 0] - y).norm() == 0.0
    assert (A[:, :0] @ B[:0]).shape == (3, 2)


def test_orthonormal_basis_is_orthonormal_to_double_double(rng):
    A = matrices.with_spectrum(40, 12, spectra.geometric(12, 1e14), rng).A
    Q = orthonormal_basis(A)
    assert (Q.T @ Q - np.eye(12)).norm() < 1e-29
    assert (DoubleDouble.of(A) - Q @ (Q.T @ A)).norm() < 1e-29


# Least squares.


def least_squares_cases() -> list:
    rng = np.random.default_rng(7)
    geometric = matrices.with_spectrum(12, 6, spectra.geometric(6, 1e12), rng)
    wide = matrices.with_spectrum(6, 12, spectra.geometric(6, 1e8), rng)
    small = matrices.with_spectrum(12, 6, spectra.one_small(6, 1e14), rng)
    graded = matrices.Matrix(matrices.graded(rng.standard_normal((12, 6)), columns=-14.0))
    rows = matrices.Matrix(matrices.graded(rng.standard_normal((12, 6)), rows=10.0))
    deficient = matrices.exact_rank(12, 6, 4, rng)
    wide_deficient = matrices.exact_rank(6, 12, 4, rng)
    repeated = matrices.repeated_columns(matrices.with_spectrum(12, 4, spectra.geometric(4, 1e6), rng), 7, rng, zeros=1)
    cases = {
        "condition 1e12": (geometric, 0.5, 0.0),
        "condition 1e14": (small, 0.9, 0.0),
        "consistent": (geometric, 0.0, 0.0),
        "square": (matrices.with_spectrum(6, 6, spectra.geometric(6, 1e10), rng), 0.0, 0.0),
        "wide": (wide, 0.0, 0.0),
        "graded columns": (graded, 0.3, 0.0),
        "graded rows": (rows, 0.3, 0.0),
        "rank 4 of 6": (deficient, 0.5, 0.0),
        "wide, rank 4": (wide_deficient, 0.5, 0.0),
        "repeated columns": (repeated, 0.5, 0.0),
        "ridge": (geometric, 0.5, 1e-9),
        "ridge, wide": (wide, 0.0, 1e-4),
        "ridge, deficient": (deficient, 0.5, 1e-6),
    }
    return [
        pytest.param(matrices.least_squares(matrix, rho, rng, ridge=ridge, rough=True), id=name)
        for name, (matrix, rho, ridge) in cases.items()
    ]


@pytest.mark.parametrize("problem", least_squares_cases())
def test_prediction_error_agrees_with_mpmath(problem, rng):
    A, b, ridge, rank = problem.A, problem.b, problem.ridge, problem.rank
    augmented = np.vstack([A, np.sqrt(ridge) * np.eye(A.shape[1])]) if ridge else A
    x = linalg.lstsq(augmented, np.concatenate([b, np.zeros(len(augmented) - len(b))]))[0]
    for spoilt in (x, x * (1 + 1e-9), x + 1e-3 * rng.standard_normal(x.shape)):
        want = mp_prediction_error(A, spoilt, b, ridge, rank)
        measured = truth.prediction_error(A, spoilt, b, ridge, rank)
        assert abs(measured - want) <= measured.uncertainty + 1e-13 * want
        # Known well enough to judge an accuracy of 1e-13.
        assert measured.uncertainty <= 1e-12 * measured + 1e-15


@pytest.mark.parametrize("problem", least_squares_cases())
@pytest.mark.parametrize("exponent", [499, -499])
def test_prediction_error_does_not_depend_on_scale(problem, exponent):
    A, b, rank = problem.A, problem.b, problem.rank
    x = linalg.lstsq(A, b)[0]
    ridge = problem.ridge
    here = truth.prediction_error(A, x, b, ridge, rank)
    there = truth.prediction_error(np.ldexp(A, exponent), x, np.ldexp(b, exponent), np.ldexp(ridge, 2 * exponent), rank)
    assert there == pytest.approx(here, rel=1e-12, abs=1e-25)
    assert truth.prediction_error(A, np.ldexp(x, exponent), np.ldexp(b, exponent), ridge, rank) == pytest.approx(
        here, rel=1e-12, abs=1e-25
    )


def test_prediction_error_of_a_known_solution(rng):
    # A = [B; B] and r = [w; -w] are orthogonal in exact arithmetic, and few enough bits keep b = A x0 + r
    # exact: x0 IS the solution, whatever the condition number.
    n = 8
    B = matrices.with_spectrum(20, n, spectra.geometric(n, 1e10), rng).A
    B = np.ldexp(np.rint(np.ldexp(B, 38)), -38)
    w = np.ldexp(np.rint(np.ldexp(rng.standard_normal(20), 20)), -20)
    x0 = rng.integers(-8, 9, n).astype(float)
    A, b = np.vstack([B, B]), np.concatenate([B @ x0 + w, B @ x0 - w])
    assert all(exact(c) == sum(map(Fraction.__mul__, map(exact, row), map(exact, x0)), exact(v))
               for c, row, v in zip(b, A, [*w, *-w], strict=True))  # fmt: skip
    assert np.linalg.cond(A) > 1e9
    assert truth.prediction_error(A, x0, b).high < 1e-20
    solution = truth.least_squares_solution(A, b)
    np.testing.assert_allclose(solution.hi, x0, atol=1e-14)
    # Negative control: the same x0 for a slightly different b.
    b[3] += 1e-9 * np.linalg.norm(b)
    assert 1e-12 < truth.prediction_error(A, x0, b) < 1e-9


@pytest.mark.parametrize("cond", [1e4, 1e12, 1e14])
@pytest.mark.parametrize("shape", ["one_small", "geometric"])
def test_projection_agrees_with_orthogonalization(cond, shape, rng):
    A = matrices.with_spectrum(200, 30, getattr(spectra, shape)(30, cond), rng).A
    v = rng.standard_normal(200)
    refined = truth.project(A, v)
    Q = orthonormal_basis(A)
    other = Q @ (Q.T @ v)
    # Both err by about cond 2^-104; the bound must cover the difference and still be of use.
    assert (refined.fitted - other).norm() <= 2 * refined.uncertainty
    assert refined.uncertainty < max(1e-29 * cond, 1e-27) * np.linalg.norm(v)
    assert (refined.fitted + refined.left - v).norm() <= refined.uncertainty


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-8])
@pytest.mark.parametrize("direction", [0, 3, 7])
def test_spoilt_least_squares_solution_measures_what_was_done_to_it(delta, direction, rng):
    n, cond = 8, 1e12
    problem = matrices.least_squares(
        matrices.with_spectrum(60, n, spectra.geometric(n, cond), rng), 0.5, rng, rough=False
    )
    A, b = problem.A, problem.b
    x_true = truth.least_squares_solution(A, b)
    _, s, Vh = np.linalg.svd(A)
    step = delta * np.linalg.norm(x_true.hi)
    # Rounding x to float64 is part of what is done to it: at this condition it cannot be ignored.
    spoilt = x_true.hi + step * Vh[direction]
    change = DoubleDouble.of(spoilt) - x_true
    predicted = (DoubleDouble.of(A) @ change).norm() / np.linalg.norm(b)
    assert truth.prediction_error(A, spoilt, b) == pytest.approx(predicted, rel=1e-3, abs=0.0)
    if step * s[direction] > 1e4 * 1e-16 * np.linalg.norm(x_true.hi):
        # And by the textbook: the step times its singular value.
        assert predicted == pytest.approx(step * s[direction] / np.linalg.norm(b), rel=1e-3, abs=0.0)


def test_spoilt_ridge_solution_measures_what_was_done_to_it(rng):
    A = matrices.with_spectrum(60, 8, spectra.geometric(8, 1e12), rng).A
    b, ridge = rng.standard_normal(60), 1e-10
    x_true = truth.least_squares_solution(A, b, ridge)
    assert truth.prediction_error(A, x_true.hi, b, ridge) < 1e-14
    _, s, Vh = np.linalg.svd(A)
    for direction in (0, 7):
        spoilt = x_true.hi + 1e-4 * Vh[direction]
        predicted = 1e-4 * np.hypot(s[direction], 1e-5) / np.linalg.norm(b)
        assert truth.prediction_error(A, spoilt, b, ridge) == pytest.approx(predicted, rel=1e-3, abs=0.0)


@pytest.mark.parametrize("exponent", [13, 14, 15, 16, 17])
@pytest.mark.parametrize("seed", range(4))
def test_beyond_its_reach_the_truth_says_so(exponent, seed):
    # Either no answer, or one whose uncertainty covers the error: never a wrong one.
    rng = np.random.default_rng([exponent, seed])
    A = matrices.with_spectrum(12, 6, spectra.geometric(6, 10.0**exponent), rng).A
    b = rng.standard_normal(12)
    x = linalg.lstsq(A, b)[0]
    try:
        measured = truth.prediction_error(A, x, b)
    except ArithmeticError:
        assert exponent > 14
        return
    assert abs(measured - mp_prediction_error(A, x, b)) <= measured.uncertainty


def test_rank_that_was_not_declared(rng):
    deficient = matrices.exact_rank(30, 8, 5, rng)
    b = rng.standard_normal(30)
    x = linalg.lstsq(deficient.A, b)[0] + 1e-9 * rng.standard_normal(8)
    declared = truth.prediction_error(deficient.A, x, b, rank=5)
    try:
        undeclared = truth.prediction_error(deficient.A, x, b)
    except ArithmeticError:
        return
    assert abs(undeclared - declared) <= undeclared.uncertainty


def test_rank_declared_too_high():
    with pytest.raises(ArithmeticError, match="rank"):
        truth.prediction_error(np.diag([1.0, 0.0, 0.0])[:, :2], np.zeros(2), np.ones(3))


def test_degenerate_least_squares():
    assert truth.prediction_error(np.eye(3), np.zeros(3), np.zeros(3)) == 0.0
    assert truth.prediction_error(np.ones((3, 1)), np.ones(1), np.zeros(3)) == np.inf
    assert truth.prediction_error(np.ones((3, 1)), np.array([np.nan]), np.ones(3)) == np.inf
    # The worst column counts.
    A, X = np.eye(4)[:, :2], np.array([[1.0, 1.0], [1.0, 1.5]])
    assert truth.prediction_error(A, X, np.ones((4, 2))) == pytest.approx(0.25, rel=1e-6, abs=0.0)


@pytest.mark.parametrize("make", ["wide", "wide deficient", "tall deficient"])
@pytest.mark.parametrize("exponent", [0, 499, -499])
def test_minimum_norm_excess(make, exponent, rng):
    matrix = {
        "wide": lambda: matrices.with_spectrum(6, 14, spectra.geometric(6, 1e4), rng),
        "wide deficient": lambda: matrices.exact_rank(6, 14, 4, rng),
        "tall deficient": lambda: matrices.exact_rank(30, 8, 5, rng),
    }[make]()
    A = matrix.scaled(exponent).A
    x = np.linalg.pinv(matrix.A) @ rng.standard_normal(len(A))
    assert truth.minimum_norm_excess(A, x, matrix.rank) < 1e-11
    null = linalg.null_space(matrix.A)[:, 0]
    for t in (1e-2, 1e-6):
        spoilt = x + t * np.linalg.norm(x) * null
        assert truth.minimum_norm_excess(A, np.ldexp(spoilt, -exponent), matrix.rank) == pytest.approx(
            t, rel=1e-3, abs=0.0
        )


# Linear systems.


def test_backward_error_agrees_with_mpmath(rng):
    A = matrices.with_spectrum(9, 9, spectra.geometric(9, 1e12), rng).A
    b = rng.standard_normal(9)
    x = np.linalg.solve(A, b)
    for spoilt in (x, x * (1 + 1e-7)):
        with mpmath.workdps(DIGITS):
            above = mpmath.norm(mp_matrix(b) - mp_matrix(A) * mp_matrix(spoilt))
            norm_A = mpmath.svd_r(mp_matrix(A), compute_uv=False)[0]
            want = float(above / (norm_A * mpmath.norm(mp_matrix(spoilt)) + mpmath.norm(mp_matrix(b))))
        measured = truth.backward_error(A, spoilt, b)
        assert measured == pytest.approx(want, rel=1e-12, abs=0.0)
        assert abs(measured - want) <= measured.uncertainty
        for p, q in ((499, 499), (-499, -499), (499, 0), (-499, 0)):
            scaled = truth.backward_error(np.ldexp(A, p), np.ldexp(spoilt, q - p), np.ldexp(b, q))
            assert scaled == pytest.approx(measured, rel=1e-13, abs=0.0)


@pytest.mark.parametrize("delta", [1e-3, 1e-8, 1e-13])
def test_spoilt_linear_solution_measures_what_was_done_to_it(delta, rng):
    n = 20
    A = matrices.with_spectrum(n, n, spectra.geometric(n, 1e12), rng).A
    _, s, Vh = np.linalg.svd(A)
    x = rng.standard_normal(n)
    b = A @ x
    spoilt = x + delta * np.linalg.norm(x) * Vh[0]
    predicted = delta * np.linalg.norm(x) * s[0] / (s[0] * np.linalg.norm(spoilt) + np.linalg.norm(b))
    assert truth.backward_error(A, x, b) < 1e-15
    assert truth.backward_error(A, spoilt, b) == pytest.approx(predicted, rel=2e-3, abs=0.0)
    # Along the last singular vector the same step is invisible to A, and rightly so.
    hidden = x + 1e-4 * np.linalg.norm(x) * Vh[-1]
    assert truth.backward_error(A, hidden, b) < 1e-15


def test_degenerate_linear_systems():
    assert truth.backward_error(np.eye(2), np.zeros(2), np.zeros(2)) == 0.0
    assert truth.backward_error(np.eye(2), np.array([np.inf, 0.0]), np.ones(2)) == np.inf
    assert truth.backward_error(np.eye(2), np.zeros((2, 2)), np.eye(2)) == 1.0
    assert truth.backward_error(np.eye(2), np.array([[1.0, 1.0], [0.0, 0.0]]), np.eye(2)) > 0.4


# Low rank.


def test_low_rank_error_agrees_with_mpmath(rng):
    A = matrices.with_spectrum(9, 6, spectra.geometric(6, 1e9), rng).A
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    for k in (1, 3, 6):
        with mpmath.workdps(DIGITS):
            E = mp_matrix(A) - mp_matrix(U[:, :k]) * mpmath.diag(s[:k].tolist()) * mp_matrix(Vh[:k])
            want = float(mpmath.mnorm(E, "f") / mpmath.mnorm(mp_matrix(A), "f"))
            sigma = mpmath.svd_r(mp_matrix(A), compute_uv=False)
            tail = mpmath.sqrt(sum(sigma[i] ** 2 for i in range(k, 6)))
            best, excess = (
                float(tail / mpmath.norm(sigma)),
                float(mpmath.mnorm(E, "f") / tail - 1) if k < 6 else 0,
            )
        for p in (0, 499, -499):
            scaled = np.ldexp(A, p), U[:, :k], np.ldexp(s[:k], p), Vh[:k]
            measured = truth.low_rank_error(*scaled)
            assert measured == pytest.approx(want, rel=1e-8, abs=0.0)
            assert abs(measured - want) <= measured.uncertainty + 1e-14 * want
            least = truth.best_rank_error(scaled[0], k)
            assert abs(least - best) <= least.uncertainty
            if k < 6:
                above = truth.low_rank_excess(*scaled, k)
                assert abs(above - excess) <= above.uncertainty
                assert above.uncertainty < 1e-13


@pytest.mark.parametrize("theta", [1e-1, 1e-4, 1e-6])
def test_rotated_singular_vector_measures_its_angle(theta, rng):
    # Turning the k-th vector by theta towards the next one costs sin^2(theta) (s_k^2 - s_{k+1}^2).
    k = 5
    A = matrices.with_spectrum(60, 20, spectra.geometric(20, 1e6), rng).A
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    Q = U[:, :k].copy()
    Q[:, -1] = np.cos(theta) * U[:, k - 1] + np.sin(theta) * U[:, k]
    # The best factors for this basis, so that nothing else is lost.
    P, t, Wh = np.linalg.svd(Q.T @ A, full_matrices=False)
    tail = np.sum(s[k:] ** 2)
    predicted = np.sqrt(1 + np.sin(theta) ** 2 * (s[k - 1] ** 2 - s[k] ** 2) / tail) - 1
    measured = truth.low_rank_excess(A, Q @ P, t, Wh, k)
    assert measured == pytest.approx(predicted, rel=1e-3, abs=0.0)
    assert truth.low_rank_error(A, Q @ P, t, Wh) == pytest.approx(
        np.sqrt(tail) / np.linalg.norm(A) * (1 + predicted), rel=1e-10, abs=0.0
    )


def test_best_rank_error_is_known_from_the_singular_values(rng):
    s = spectra.polynomial(30, 1.5)
    A = matrices.with_spectrum(90, 30, s, rng).scaled(-499).A
    for k in (0, 1, 10, 29):
        best = truth.best_rank_error(A, k)
        assert best == pytest.approx(np.linalg.norm(s[k:]) / np.linalg.norm(s), rel=1e-12, abs=0.0)
    assert truth.best_rank_error(A, 30) == 0.0


# LAPACK's ratios: stable routines pass on nasty matrices, unstable ones and spoilt results do not.


def nasty_square(n, rng):
    return {
        "random": rng.standard_normal((n, n)),
        "condition 1e15": matrices.with_spectrum(n, n, spectra.geometric(n, 1e15), rng).A,
        "hilbert": matrices.hilbert(n).A,
        "kahan": matrices.kahan(n).A,
        "graded rows": matrices.graded(rng.standard_normal((n, n)), rows=-30),
        "1e290": rng.standard_normal((n, n)) * 1e290,
        "1e-290": rng.standard_normal((n, n)) * 1e-290,
    }


def test_stable_routines_pass_the_bars(rng):
    n = 40
    for name, A in nasty_square(n, rng).items():
        b = rng.standard_normal(n)
        x = np.linalg.solve(A, b)
        assert bars.linear_solve_ratio(A, x, b) < bars.BAR, name
        assert bars.componentwise_ratio(A, x, b) < 1e3 * bars.BAR, name  # no promise of partial pivoting
        P, L, U = linalg.lu(A)
        assert bars.reconstruction_ratio(A, P @ (L @ U)) < bars.BAR, name
        Q, R = np.linalg.qr(A)
        assert bars.qr_ratio(A, Q, R) < bars.BAR, name
        assert bars.orthogonality_ratio(Q) < bars.BAR, name
        U, s, Vh = np.linalg.svd(A)
        assert bars.svd_ratio(A, U, s, Vh) < bars.SVD_BAR, name
        assert max(bars.orthogonality_ratio(U), bars.orthogonality_ratio(Vh.T)) < bars.SVD_BAR, name
        assert bars.singular_value_ratio(linalg.svdvals(A), s, A.shape) < bars.BAR, name
        S = A / 2 + A.T / 2
        w, V = np.linalg.eigh(S)
        assert bars.eigen_ratio(S, w, V) < bars.EIGEN_BAR, name
    for shape in ((60, 20), (20, 60)):
        A, x0 = rng.standard_normal(shape), rng.standard_normal(shape[1])
        for b in (rng.standard_normal(shape[0]), A @ x0):
            x = linalg.lstsq(A, b)[0]
            assert bars.lstsq_ratio(A, x, b) < bars.BAR
            assert bars.minimum_norm_ratio(A, x) < bars.BAR
        assert bars.lstsq_residual_ratio(A, x, b) < bars.BAR
    A = rng.standard_normal((n, n))
    assert bars.inverse_ratio(A, np.linalg.inv(A)) < bars.BAR
    x = rng.standard_normal(n)
    assert bars.forward_error_ratio(np.linalg.solve(A, A @ x), x, 1 / np.linalg.cond(A, 1)) < bars.BAR


def test_unstable_routines_fail_the_bars(rng):
    A = matrices.wilkinson_growth(100).A
    b = rng.standard_normal(100)
    x = np.linalg.solve(A, b)
    assert bars.linear_solve_ratio(A, x, b) > 1e6
    Q, R = np.linalg.qr(A)
    assert bars.linear_solve_ratio(A, linalg.solve_triangular(R, Q.T @ b), b) < bars.BAR

    A = matrices.with_spectrum(80, 20, spectra.geometric(20, 1e6), rng).A
    Q = A @ np.linalg.inv(np.linalg.cholesky(A.T @ A)).T
    assert bars.orthogonality_ratio(Q) > 1e3 * bars.BAR
    b = rng.standard_normal(80)
    x = linalg.lstsq(A, b)[0]
    assert bars.lstsq_ratio(A, x * (1 + 1e-9), b) > bars.BAR

    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    assert bars.svd_ratio(A, U, s * (1 + 1e-10), Vh) > bars.SVD_BAR
    assert bars.svd_ratio(A, U[:, ::-1], s[::-1], Vh[::-1]) > 1e15
    assert bars.singular_value_ratio(s + 1e-11, s, A.shape) > bars.BAR
    assert bars.orthogonality_ratio(U + 1e-10) > bars.SVD_BAR

    wide = rng.standard_normal((20, 60))
    basic = np.concatenate([np.linalg.solve(wide[:, :20], b[:20]), np.zeros(40)])
    assert bars.minimum_norm_ratio(wide, basic) > 1e12

    assert bars.linear_solve_ratio(np.eye(2), np.array([np.nan, 0.0]), np.ones(2)) == np.inf
    assert bars.orthogonality_ratio(np.full((3, 2), np.nan)) == np.inf


def test_bars_are_in_the_units_of_the_dtype(rng):
    A = rng.standard_normal((50, 50)).astype(np.float32)
    Q, _ = np.linalg.qr(A)
    assert bars.orthogonality_ratio(Q) < bars.BAR
    assert bars.orthogonality_ratio(Q, u=bars.unit_roundoff(np.float64)) > 1e6
