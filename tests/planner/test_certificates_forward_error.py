"""The certificate of the forward error: never below it, close to it, whatever has solved for the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from statistics import median
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import binom

import autonla as nla
from autonla.planner.certify import forward_error as certificate
from autonla.planner.problems import LinearSystem
from autonla.primitives import chi_squared
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.kernels import library
from autonla.primitives.task import Task
from tests._support import matrices, spectra
from tests._support.backends import BACKENDS
from tests._support.certifying import certify

U = 2.0**-53


def exact(A: np.ndarray, b: np.ndarray) -> Any:
    """x* to 80 digits."""
    with mpmath.workdps(80):
        return mpmath.lu_solve(mpmath.matrix(A.tolist()), mpmath.matrix(b.tolist()))


def true_error(A: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """||x - x*|| / ||x*||."""
    with mpmath.workdps(80):
        known = exact(A, b)
        return float(mpmath.norm(mpmath.matrix(x.tolist()) - known) / mpmath.norm(known))


def solver(A: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    factor = scipy.linalg.lu_factor(A.astype(np.float64))
    return lambda B: scipy.linalg.lu_solve(factor, B)


def found(A, b, x, again=None, **how):
    problem = LinearSystem(A, b, metric="forward_error")
    return certify(problem, x, reuse={"again": again or solver(A)}, **how)


def random_system(i: int, rng: np.random.Generator, most: float = 15.0, largest: int = 16):
    n = int(rng.integers(1, largest))
    condition = 10.0 ** rng.uniform(0, most)
    s = (spectra.geometric(n, condition), spectra.one_small(n, condition), spectra.one_large(n, condition))[i % 3]
    A = matrices.with_spectrum(n, n, s, rng).A
    b = A @ rng.standard_normal(n) if i % 2 else rng.standard_normal(n)
    return A, b, condition


def test_never_below_the_true_error_and_close_to_it():
    rng = np.random.default_rng(0)
    ratios = []
    for i in range(150):
        A, b, condition = random_system(i, rng)
        x = np.linalg.solve(A, b)
        noise = float(rng.choice([0.0, 0.0, 1e-13, 1e-6, 1e-2]))
        x = x * (1.0 + noise * rng.standard_normal(x.shape))
        certified, error = found(A, b, x), true_error(A, b, x)
        what = f"{i}: n={A.shape[0]} condition={condition:.0e} noise={noise:.0e}"
        assert certified.bound >= error, what
        assert certified.estimate <= certified.bound
        assert certified.confidence == 0.99
        if condition < 1e14 and error > U:
            ratios.append(certified.bound / error)
    assert len(ratios) > 90
    assert median(ratios) < 1.2
    assert np.quantile(ratios, 0.95) < 3.0


def test_the_condition_number_lies_between_its_bounds():
    rng = np.random.default_rng(1)
    widths = []
    for i in range(100):
        A, b, condition = random_system(i, rng, most=13.0)
        certified = found(A, b, np.linalg.solve(A, b))
        true = np.linalg.cond(A)
        assert certified.condition is not None
        assert certified.condition.low <= true * (1.0 + 1e-3 * condition * 1e-12) <= 1.01 * certified.condition.high, i
        widths.append(certified.condition.high / certified.condition.low)
        assert f"{certified.condition.low:.1g}" in certified.method
    assert median(widths) < 300.0


@pytest.mark.parametrize("size", [1e-2, 1e-7, 1e-12])
def test_a_wrong_answer_of_known_size_is_seen(size):
    rng = np.random.default_rng(2)
    A = matrices.with_spectrum(40, 40, spectra.geometric(40, 1e3), rng).A
    x = rng.standard_normal(40)
    direction = rng.standard_normal(40)
    wrong = x + size * np.linalg.norm(x) * direction / np.linalg.norm(direction)
    assert not found(A, A @ x, wrong, target=0.9 * size).satisfied
    assert found(A, A @ x, wrong, target=1.1 * size).satisfied


def test_an_error_that_the_residual_hardly_shows():
    """Along the last right singular vector an error of size one leaves a residual of 1/condition."""
    rng = np.random.default_rng(3)
    made = matrices.with_spectrum(30, 30, spectra.geometric(30, 1e10), rng)
    x = rng.standard_normal(30)
    _, _, Vh = np.linalg.svd(made.A)
    wrong = x + 1e-3 * np.linalg.norm(x) * Vh[-1]
    b = made.A @ x
    assert certify(LinearSystem(made.A, b), wrong, target=1e-12).satisfied  # backward error
    certified = found(made.A, b, wrong, target=1e-4)
    assert not certified.satisfied
    assert certified.bound == pytest.approx(1e-3, rel=0.1, abs=0.0)


def test_one_wrong_column_among_many():
    rng = np.random.default_rng(4)
    A, X = rng.standard_normal((20, 20)), rng.standard_normal((20, 5))
    wrong = X.copy()
    wrong[:, 3] *= 1.0 + 1e-6
    assert found(A, A @ X, X, target=1e-11).satisfied
    certified = found(A, A @ X, wrong, target=1e-7)
    assert not certified.satisfied
    assert certified.bound == pytest.approx(1e-6, rel=0.01, abs=0.0)


BAD_SOLVERS: dict[str, Callable[[np.ndarray, np.random.Generator], Callable[[np.ndarray], np.ndarray]]] = {
    "zeros": lambda A, rng: lambda B: np.zeros_like(B),
    "its argument": lambda A, rng: lambda B: B,
    "noise": lambda A, rng: lambda B: rng.standard_normal(B.shape),
    "ten per cent off": lambda A, rng: lambda B: 0.9 * solver(A)(B),
    "of another matrix": lambda A, rng: solver(A + 0.1 * rng.standard_normal(A.shape)),
    "in float32": lambda A, rng: lambda B: np.linalg.solve(A.astype(np.float32), B.astype(np.float32)),
    "without the weakest direction": lambda A, rng: lambda B: np.linalg.pinv(A, rcond=1e-3) @ B,
    "not a number": lambda A, rng: lambda B: np.full_like(B, np.nan),
    "nearly everything": lambda A, rng: lambda B: np.full_like(B, 1e300),
}


@pytest.mark.parametrize("name", BAD_SOLVERS)
def test_a_wrong_solver_never_leads_to_a_bound_below_the_error(name):
    rng = np.random.default_rng(5)
    for i in range(25):
        A, b, _ = random_system(i, rng, most=6.0)
        x = np.linalg.solve(A, b) * (1.0 + 1e-3 * rng.standard_normal(A.shape[0]))
        with np.errstate(all="ignore"):
            certified = found(A, b, x, BAD_SOLVERS[name](A, rng))
        assert certified.bound >= true_error(A, b, x), i


def test_without_the_second_term_a_wrong_solver_would_certify_a_wrong_answer(monkeypatch):
    rng = np.random.default_rng(6)
    A = matrices.with_spectrum(20, 20, spectra.geometric(20, 1e5), rng).A
    x = rng.standard_normal(20)
    b, wrong = A @ x, 1.1 * x
    fooled = BAD_SOLVERS["zeros"](A, rng)
    assert not found(A, b, wrong, fooled, target=1e-3).satisfied
    monkeypatch.setattr(certificate, "_inverse_norm", lambda *_: (0.0, Interval(1.0, 1.0, 1.0)))
    assert found(A, b, wrong, fooled, target=1e-3).satisfied


def test_a_solver_that_breaks_down_certifies_nothing():
    def breaks_down(B):
        raise Breakdown("a pivot is zero")

    certified = found(np.eye(3), np.ones(3), np.ones(3), breaks_down, target=0.5)
    assert not certified.satisfied
    assert "a pivot is zero" in certified.method


def exceeded(trials: int, delta: float, correlated: bool = False) -> int:
    """How often the bound on ||A^-1|| is below it, for a matrix whose inverse is nearly of rank one: the worst."""
    task = Task("linear_system", 12, 12, metric="forward_error")
    s = np.append(np.full(11, 1.0), 1e-9)
    rng = np.random.default_rng(7)
    A = matrices.with_spectrum(12, 12, s, rng).A
    evidence, again = Evidence(norm_fro=float(np.linalg.norm(A))), solver(A)
    b = rng.standard_normal(12)
    x, above = again(b), 0
    lib = library("scipy")
    bounds: list[float] = []
    original = certificate._inverse_norm

    def remembered(*arguments):
        bounds.append(original(*arguments)[0])
        return original(*arguments)

    certificate._inverse_norm = remembered
    try:
        for seed in range(trials):
            bounds.clear()
            certificate.certify(
                lib, A, b, x, task, evidence, None, again=again, seed=seed * (not correlated), confidence=1.0 - delta
            )
            above += bounds[-1] < 1e9 * (1.0 - 1e-4)
    finally:
        certificate._inverse_norm = original
    return above


@pytest.mark.statistical
def test_the_bound_on_the_inverse_fails_no_more_often_than_stated(monkeypatch):
    trials, delta = 500, 0.1
    most = int(binom.isf(1e-6, trials, delta))
    seen = exceeded(trials, delta)
    assert seen <= most
    assert seen >= int(binom.ppf(1e-6, trials, 0.5 * delta))  # the worst case is nearly attained
    monkeypatch.setattr(chi_squared, "quantile", lambda degrees, probability: float(degrees))  # the mean instead
    assert exceeded(trials, delta) > most


def test_zero_right_hand_side():
    A = np.array([[2.0, 1.0], [0.0, 1.0]])
    exact_zero = found(A, np.zeros(2), np.zeros(2), target=1e-15)
    assert exact_zero.satisfied
    assert exact_zero.bound == 0.0
    assert not found(A, np.zeros(2), np.array([1e-300, 0.0]), target=0.5).satisfied


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_not_finite_never_passes(bad):
    x = np.ones(4)
    x[2] = bad
    assert not found(np.eye(4), np.ones(4), x, target=1.0).satisfied


def test_zero_is_no_answer():
    assert not found(np.eye(4), np.ones(4), np.zeros(4), target=1.0).satisfied


@pytest.mark.parametrize(("row", "column"), [(0, 40), (40, 0), (-60, 60), (300, -300)])
def test_scale_of_A_and_b_changes_nothing(row, column):
    rng = np.random.default_rng(8)
    A = matrices.with_spectrum(25, 25, spectra.geometric(25, 1e6), rng).A
    b = rng.standard_normal(25)
    x = np.linalg.solve(A, b)
    plain = found(A, b, x)
    far = np.ldexp(A, row)

    def again(B):  # the planner scales A beyond moderate sizes
        return solver(A)(B) * (np.linalg.norm(A) / size)

    problem = LinearSystem(far, np.ldexp(b, column), metric="forward_error")
    from autonla.planner.prepare import prepare

    size = float(np.linalg.norm(prepare(problem, Task("linear_system", 25, 25)).A))
    scaled = certify(problem, np.ldexp(x, column - row), reuse={"again": again})
    assert scaled.bound == pytest.approx(plain.bound, rel=1e-2, abs=0.0)


def test_what_rounding_adds_to_the_residual_covers_what_it_does():
    rng = np.random.default_rng(9)
    lib = library("scipy")
    for n in (40, 700):
        for order in ("C", "F"):
            for positive in (False, True):
                A = np.zeros((n, n), order=order)
                A[:4] = abs(rng.standard_normal((4, n))) if positive else rng.standard_normal((4, n))
                x = abs(rng.standard_normal((n, 1))) if positive else rng.standard_normal((n, 1))
                products = [sum(Fraction(a) * Fraction(v) for a, v in zip(row, x[:, 0], strict=True)) for row in A[:4]]
                b = np.zeros((n, 1))
                b[:4, 0] = [float(p) for p in products]
                norm_b, norm_x = [float(np.linalg.norm(b))], [float(np.linalg.norm(x))]
                task = Task("linear_system", n, n)
                r, off, _ = certificate._residual(lib, A, b, x, float(np.linalg.norm(A)), norm_b, norm_x, task)
                wrong = [float(Fraction(b[i, 0]) - products[i] - Fraction(r[i, 0])) for i in range(4)]
                assert np.linalg.norm(wrong) <= off[0], (n, order, positive)
                assert np.linalg.norm(wrong) >= 1e-4 * (off[0] - U * np.linalg.norm(r))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_and_dtype(backend, dtype):
    rng = np.random.default_rng(10)
    A = matrices.with_spectrum(30, 30, spectra.geometric(30, 1e2), rng).A.astype(dtype)
    b = rng.standard_normal(30).astype(dtype)
    operands = (backend.asarray(A), backend.asarray(b))
    solution = nla.solve(nla.LinearSystem(*operands, metric="forward_error"), rng=0)
    value = np.asarray(solution.value)
    assert value.dtype == dtype
    assert solution.status == "certified"
    error = true_error(A.astype(float), b.astype(float), value.astype(float))
    assert error <= solution.certificate.bound <= 3 * error + U
    assert error <= 1e2 * np.finfo(dtype).eps


@pytest.mark.parametrize("structure", ["general", "spd", "symmetric", "upper", "lower", "banded", "diagonal"])
@pytest.mark.parametrize("accuracy", [None, 1e-3, 1e-9, 1e-15])
def test_every_structure_and_accuracy(structure, accuracy):
    rng = np.random.default_rng(11)
    n, s = 60, spectra.geometric(60, 1e7)
    A = {
        "spd": lambda: matrices.spd(n, s, rng).A,
        "symmetric": lambda: matrices.symmetric_indefinite(n, s, rng).A,
        "upper": lambda: matrices.triangular(n, s, rng, lower=False).A,
        "lower": lambda: matrices.triangular(n, s, rng, lower=True).A,
        "banded": lambda: matrices.banded(n, 2, 3, 1.0, rng).A,
        "diagonal": lambda: np.diag(s),
    }.get(structure, lambda: matrices.with_spectrum(n, n, s, rng).A)()
    b = rng.standard_normal(n)
    problem = nla.LinearSystem(A, b, assume=structure, metric="forward_error")
    solution = nla.solve(problem, nla.Budget(accuracy=accuracy), rng=0)
    certified = solution.certificate
    assert solution.status == "certified"
    assert certified.metric == "forward_error"
    assert true_error(A, b, solution.value) <= certified.bound
    assert accuracy is None or certified.bound <= accuracy
    assert "forward error" in solution.explain()


def test_what_no_backward_stable_method_reaches_takes_corrections():
    rng = np.random.default_rng(12)
    A = matrices.with_spectrum(50, 50, spectra.geometric(50, 1e12), rng).A
    b = rng.standard_normal(50)
    plain = nla.solve(nla.LinearSystem(A, b), rng=0)
    assert true_error(A, b, plain.value) > 1e-8
    solution = nla.solve(nla.LinearSystem(A, b, metric="forward_error"), nla.Budget(accuracy=1e-13), rng=0)
    assert solution.plan.chosen.algorithm == "refined_lu"
    assert true_error(A, b, solution.value) <= 1e-15
    assert solution.certificate.bound <= 1e-14


def test_a_singular_matrix_is_called_singular():
    rng = np.random.default_rng(13)
    A = rng.standard_normal((30, 29)) @ rng.standard_normal((29, 30))
    with pytest.raises(nla.CertificationFailed) as caught:
        nla.solve(nla.LinearSystem(A, np.ones(30), metric="forward_error"), nla.Budget(accuracy=1e-3), rng=0)
    certified = caught.value.solution.certificate
    assert certified.bound == math.inf
    assert certified.condition is not None
    assert certified.condition.low > 1e14
    assert "singular" in certified.method


def test_its_price_can_be_had():
    from autonla.cost_models.price import price
    from autonla.planner.kinds import kind_of
    from tests._support.machine import synthetic_profile

    kind = kind_of("linear_system")
    for name in ("lu", "cholesky", "qr", "refined_lu"):
        task = Task("linear_system", 500, 500, metric="forward_error", structure="spd")
        algorithm, options = kind.setting(name, task)
        work = kind.certify_work(task, Evidence(norm_fro=1.0), algorithm, options, frozenset())
        plain = kind.certify_work(Task("linear_system", 500, 500), Evidence(), algorithm, options, frozenset())
        assert work.peak_bytes > 0
        assert price(work, synthetic_profile()).seconds.median > price(plain, synthetic_profile()).seconds.median


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_term_of_the_bound_by_hand(device):
    """Two right-hand sides, the second zero; a solver with an error of its own, so that something is left."""
    A = np.array([[2.0, 1.0], [0.0, 0.5]])
    B, X = np.array([[3.0, 0.0], [0.5, 0.0]]), np.array([[1.0 + 1e-9, 0.0], [1.0, 0.0]])
    task = Task("linear_system", 2, 2, nrhs=2, metric="forward_error", device=device)
    norm_A, confidence, seed = float(np.linalg.norm(A)), 0.9, 5

    def again(right):
        return np.linalg.solve(A, right) * 1.001

    found = certificate.certify(
        library("scipy"), A, B, X, task, Evidence(norm_fro=norm_A), 1e-3, again=again, seed=seed, confidence=confidence
    )
    r = B - A @ X
    size, norm_x, norm_b = np.linalg.norm(r[:, 0]), np.linalg.norm(X[:, 0]), np.linalg.norm(B[:, 0])
    G = np.random.default_rng(np.random.Philox(key=seed)).standard_normal((2, 4))
    wanted = np.column_stack([r[:, 0] / size, r[:, 1], G])
    solved = again(wanted)
    u = (1.0 + 0.25 * math.sqrt(2.0)) * U
    norms = np.linalg.norm(solved, axis=0)
    left = np.linalg.norm(wanted - A @ solved, axis=0) + u * (norm_A * norms + np.linalg.norm(wanted, axis=0))
    q = chi_squared.quantile(4, 1.0 - confidence)
    inverse = np.linalg.norm(norms[2:]) / (math.sqrt(q) - np.linalg.norm(left[2:]))
    if device == "cpu":
        off = U * (size + (4.0 + 0.25 * 2 / 32) * U * (norm_A * norm_x + norm_b))
    else:
        off = u * (norm_A * norm_x + norm_b)
    most = size * norms[0] + inverse * (size * left[0] + off)
    assert found.bound == pytest.approx(most / (norm_x - most), rel=1e-6, abs=0.0)
    assert found.estimate == pytest.approx(size * norms[0] / norm_x, rel=1e-6, abs=0.0)
    assert found.satisfied
    assert found.confidence == confidence
    assert found.condition is not None
    assert found.condition.high == pytest.approx(norm_A * inverse, rel=1e-6, abs=0.0)
    least = np.max(norms[2:] / (np.linalg.norm(G, axis=0) + left[2:]))
    assert found.condition.low == pytest.approx(max(1.0, norm_A / math.sqrt(2.0) * least), rel=1e-6, abs=0.0)
    assert ("twice" in found.method) == (device == "cpu")


def test_what_rounding_may_hide_counts_where_the_computed_residual_is_zero(monkeypatch):
    rng = np.random.default_rng(14)
    A = matrices.with_spectrum(20, 20, spectra.geometric(20, 1e13), rng).A
    b = rng.standard_normal(20)
    x = np.linalg.solve(A, b)
    task, norm = Task("linear_system", 20, 20, device="cuda:0"), float(np.linalg.norm(A))
    evidence = Evidence(norm_fro=norm)
    asked: list[np.ndarray] = []

    def again(right):
        asked.append(right)
        return solver(A)(right)

    def exact_product(lib, A, X):
        return asked[-1] if asked else A @ X

    monkeypatch.setattr(certificate, "matmul64", exact_product)
    found = certificate.certify(
        library("scipy"), A, b, x, task, evidence, None, again=again, seed=1, confidence=0.99
    )  # fmt: skip
    solved = solver(A)(asked[0])
    norms = np.linalg.norm(solved, axis=0)[1:]
    u = (1.0 + 0.25 * math.sqrt(20.0)) * U
    left = u * (norm * norms + np.linalg.norm(asked[0], axis=0)[1:])
    room = math.sqrt(chi_squared.quantile(4, 0.01)) - np.linalg.norm(left)
    assert found.condition is not None
    assert found.condition.high == pytest.approx(norm * np.linalg.norm(norms) / room, rel=1e-6, abs=0.0)
    assert found.condition.high > 1.01 * norm * np.linalg.norm(norms) / math.sqrt(chi_squared.quantile(4, 0.01))


def test_what_is_left_is_solved_for_where_the_condition_number_is_near_its_limit(monkeypatch):
    rng = np.random.default_rng(15)
    A = matrices.with_spectrum(40, 40, spectra.geometric(40, 1e15), rng).A
    b = rng.standard_normal(40)
    x = np.linalg.solve(A, b)
    error = true_error(A, b, x)
    assert error <= found(A, b, x).bound <= 1.5 * error
    monkeypatch.setattr(certificate, "_LOOSE", math.inf)
    assert found(A, b, x).bound > 3.0 * error


def test_what_is_left_is_solved_for_by_hand():
    """A diagonal matrix of powers of two, and a solver that is off by 2^-10 when it is asked first, then exact."""
    diagonal = np.array([1.0, 2.0**-50])
    A, x = np.diag(diagonal), np.array([1.0, 3.0])
    b = A @ x + np.array([2.0**-20, 2.0**-80])
    norm_A, confidence, asked = math.hypot(*diagonal), 0.9, []

    def again(B):
        asked.append(B)
        return B / diagonal[:, None] * (1.0 + 2.0**-10 * (len(asked) == 1))

    found = certificate.certify(
        library("scipy"), A, b, x, Task("linear_system", 2, 2), Evidence(norm_fro=norm_A), None,
        again=again, seed=3, confidence=confidence,
    )  # fmt: skip
    assert len(asked) == 2
    wanted, rest = asked
    np.testing.assert_allclose(rest, -(2.0**-10) * wanted, rtol=1e-10)
    u, twice = (1.0 + 0.25 * math.sqrt(2.0)) * U, (4.0 + 0.25 * 2 / 32) * U
    solved, more, sizes = wanted / diagonal[:, None] * (1.0 + 2.0**-10), rest / diagonal[:, None], norm(wanted)
    rest_off = U * (norm(rest) + twice * (norm_A * norm(solved) + sizes))
    left = u * (norm_A * norm(more) + norm(rest)) + rest_off
    solved = norm(solved + more)
    inverse = math.hypot(*solved[1:]) / (math.sqrt(chi_squared.quantile(4, 1.0 - confidence)) - math.hypot(*left[1:]))
    r = float(np.linalg.norm(b - A @ x))
    off = U * (r + twice * (norm_A * np.linalg.norm(x) + np.linalg.norm(b)))
    most = r * solved[0] + inverse * (r * left[0] + off)
    assert inverse * r * left[0] > 1e-4 * most
    assert inverse * off > 1e-4 * most
    assert found.bound == pytest.approx(most / (np.linalg.norm(x) - most), rel=1e-9, abs=0.0)
    assert found.condition is not None
    assert found.condition.high == pytest.approx(norm_A * inverse, rel=1e-9, abs=0.0)


def norm(M: np.ndarray) -> np.ndarray:
    return np.linalg.norm(M, axis=0)


@pytest.mark.parametrize(("order", "steps"), [("C", 40 / 32), ("F", 40.0)])
def test_how_far_a_residual_in_twice_the_precision_may_be_off(order, steps):
    rng = np.random.default_rng(16)
    A, X = np.asarray(rng.standard_normal((40, 40)), order=order), rng.standard_normal((40, 2))
    B = A @ X + np.array([1e-16, 1.0])
    r, off, how = certificate._residual(
        library("scipy"), A, B, X, 7.0, [2.0, 3.0], [5.0, 11.0], Task("linear_system", 40, 40)
    )
    np.testing.assert_allclose(r, B - A @ X, atol=1e-12)
    expected = U * (norm(r) + (4.0 + 0.25 * steps) * U * (7.0 * np.array([5.0, 11.0]) + np.array([2.0, 3.0])))
    assert off == pytest.approx(expected, rel=1e-12, abs=0.0)
    assert norm(r)[0] < 1e-13  # so that both terms are seen
    assert "twice" in how


def test_where_nothing_bounds_the_inverse_the_condition_number_is_infinite():
    solved, left, sizes = [4.0, 1.0, 2.0, 3.0], [9.0, 0.1, 0.1, 0.1], [1.0, 0.5, 1.0, 1.0]
    inverse, condition = certificate._inverse_norm(solved, left, sizes, Evidence(norm_fro=6.0), 9, 0.99)
    assert inverse == condition.high == math.inf
    least = 3.0 / 1.1  # the largest of z / (g + q): 0.4, 1.7, 1.8, 2.7
    assert condition.low == pytest.approx(2.0 * least, rel=1e-12, abs=0.0)  # ||A||_F / sqrt(9)
    assert condition.median == pytest.approx(20.0 * least, rel=1e-12, abs=0.0)
    seen = Evidence(norm_fro=6.0, norm_2=Interval(5.0, 4.0, 6.0))
    assert certificate._inverse_norm(solved, left, sizes, seen, 9, 0.99)[1].low == pytest.approx(
        4.0 * least, rel=1e-12, abs=0.0
    )
    inverse, condition = certificate._inverse_norm(solved, [0.1] * 4, sizes, seen, 9, 0.99)
    assert condition.median == pytest.approx(math.sqrt(condition.low * condition.high), rel=1e-12, abs=0.0)
    assert condition.high == pytest.approx(6.0 * inverse, rel=1e-12, abs=0.0)


def test_its_work_by_hand():
    from autonla.planner.kinds import kind_of
    from autonla.primitives.work import KernelCall

    n, r = 300, 3
    task = Task("linear_system", n, n, nrhs=r, metric="forward_error")
    kind = kind_of("linear_system")
    algorithm, options = kind.setting("lu", task)
    work = certificate.work(task, Evidence(), algorithm, options)
    assert work.calls == (
        KernelCall("gemm", (n, r, n), "float64", "scipy", count=4.0),
        KernelCall("gemm", (n, r + 4, n), "float64", "scipy"),
        KernelCall("trsm", (n, r + 4), "float64", "scipy", count=2.0),
    )
    assert work.peak_bytes == 8.0 * n * (3 * r + 4 * (r + 4))
    qr, options = kind.setting("qr", task)
    factored = certificate.work(task, Evidence(), qr, options)
    assert {call.kernel for call in factored.calls} == {"gemm", "gels"}
    assert factored.peak_bytes > work.peak_bytes + 8.0 * n * n
