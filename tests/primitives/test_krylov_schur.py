"""Krylov-Schur and filtered subspace iteration find the eigenpairs of the end that is asked for, and say how well."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autonla.primitives import Breakdown
from autonla.primitives.eigenpairs import Cycle, filtered_subspace, krylov_schur, outer_iterations, rayleigh_ritz
from autonla.primitives.polynomials import chebyshev_filter, power


def with_spectrum(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    A = (Q * eigenvalues) @ Q.T
    return 0.5 * (A + A.T)


def start(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


EVEN = with_spectrum(np.linspace(-1.0, 2.0, 300))
SQUARES = np.linspace(0.0, 1.0, 1000) ** 2 + 0.01


def sorted_end(A: np.ndarray, which: str, k: int) -> np.ndarray:
    values = np.linalg.eigvalsh(A)
    return values[np.argsort({"LA": -values, "SA": values, "LM": -np.abs(values)}[which], kind="stable")][:k]


def check(found: Any, A: np.ndarray, which: str, k: int, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found.values, sorted_end(A, which, k), atol=tolerance * float(np.linalg.norm(A, 2)))
    X = np.asarray(found.vectors)
    assert X.shape == (len(A), k)
    np.testing.assert_allclose(X.T @ X, np.eye(k), atol=1e-12)
    residuals = np.linalg.norm(A @ X - X * found.values, axis=0)
    np.testing.assert_allclose(found.residuals, residuals, rtol=1e-3, atol=1e-13 * float(np.linalg.norm(A, 2)))


@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
@pytest.mark.parametrize(("k", "dimension"), [(1, 10), (6, 24), (20, 40)])
def test_the_end_that_is_asked_for(which, k, dimension):
    found = krylov_schur(lambda v: EVEN @ v, start(300), k, dimension, which=which)
    assert found.converged
    assert found.residuals.max() <= 1e-10 * 2.0
    check(found, EVEN, which, k)


def test_products_and_iterations_are_counted():
    counted: list[int] = []
    cycles: list[Cycle] = []

    def product(v: Any) -> Any:
        counted.append(1)
        return SQUARES * v

    def seen(cycle: Cycle) -> bool:
        cycles.append(cycle)
        return len(cycles) == 7

    found = krylov_schur(product, start(1000), 4, 16, which="SA", tolerance=0.0, seen=seen)
    assert (found.products, found.iterations, found.converged) == (len(counted), 7, False)
    assert found.products == 16 + 6 * (16 - 9)  # five more than wanted are kept
    assert [cycle.iteration for cycle in cycles] == list(range(1, 8))
    assert cycles[0].weights.sum() == pytest.approx(1.0)
    assert (np.diff([cycle.values[3] for cycle in cycles]) <= 1e-14).all()  # Ritz values of growing information
    found = krylov_schur(product, start(1000), 4, 16, which="SA", most=3, tolerance=0.0)
    assert found.iterations == 3


def test_each_ritz_value_has_an_eigenvalue_within_its_residual():
    lam = np.sort(np.random.default_rng(3).gamma(1.0, 1.0, 500))
    cycles: list[Cycle] = []
    krylov_schur(lambda v: lam * v, start(500), 5, 20, which="SA", tolerance=0.0, most=12,
                 seen=lambda cycle: bool(cycles.append(cycle)))  # fmt: skip
    for cycle in cycles:
        nearest = np.abs(lam[:, None] - cycle.values).min(axis=0)
        assert (nearest <= cycle.residuals + 1e-12).all()
    assert cycles[-1].residuals[0] < 0.1 * cycles[0].residuals[0]


def test_ritz_vectors_of_an_iteration_belong_to_its_values():
    lam = SQUARES
    checked: list[float] = []

    def seen(cycle: Cycle) -> bool:
        X = cycle.vectors(6)
        R = lam[:, None] * X - X * cycle.values[:6]
        checked.append(float(np.abs(np.linalg.norm(R, axis=0) - cycle.residuals[:6]).max()))
        return False

    krylov_schur(lambda v: lam * v, start(1000), 4, 16, which="SA", tolerance=0.0, most=5, seen=seen)
    assert len(checked) == 5
    assert max(checked) < 1e-12


def test_keeping_more_saves_products():
    """With nothing besides the wanted ones, the gap between the last of them and the next is what counts."""
    lam = np.concatenate([0.01 * np.arange(8), 0.0703 + 1e-4 * np.arange(4), np.linspace(0.4, 1.0, 200)])
    few = krylov_schur(lambda v: lam * v, start(212), 8, 20, which="SA", extra=0)
    more = krylov_schur(lambda v: lam * v, start(212), 8, 20, which="SA", extra=5)
    assert more.converged
    assert more.products < 0.85 * few.products


def test_a_filter_takes_a_fraction_of_the_iterations():
    plain = krylov_schur(lambda v: SQUARES * v, start(1000), 10, 40, which="SA")
    counts = []
    for p in (power(1.01, 0.01, 21), chebyshev_filter(float(SQUARES[15]), 1.01, 21, 0.01)):
        found = krylov_schur(lambda v: (SQUARES * v.T).T, start(1000), 10, 40, which="SA", polynomial=p)
        assert found.converged
        check(found, np.diag(SQUARES), "SA", 10)
        counts.append(found.iterations)
    assert 6 * counts[1] < 2 * counts[0] < plain.iterations
    assert (found.products - 10) % 21 == 0


def test_eigenvalues_that_are_equal_are_all_found():
    lam = np.concatenate([[1.0, 1.0, 1.0, 2.0, 2.0], np.linspace(5.0, 9.0, 95)])
    A = with_spectrum(lam)
    for polynomial in (None, chebyshev_filter(5.0, 9.0, 4, 1.0)):
        found = krylov_schur(lambda v: A @ v, start(100), 5, 20, which="SA", polynomial=polynomial, tolerance=1e-12,
                             most=60, seen=lambda cycle: cycle.iteration >= 60)  # fmt: skip
        assert np.abs(found.values[0] - 1.0) < 1e-10
    few = np.diag(np.array([3.0] * 30 + [1.0] * 30))  # the space is exhausted after two steps, again and again
    found = krylov_schur(lambda v: few @ v, start(60), 4, 12)
    assert found.converged
    check(found, few, "LA", 4)


def test_all_of_a_small_matrix():
    A = with_spectrum(np.array([1.0, 2.0, 3.0, 7.0, 7.5]))
    for k in (1, 4, 5):
        check(krylov_schur(lambda v: A @ v, start(5), k, 20, which="SA"), A, "SA", k)
    one = krylov_schur(lambda v: 3.0 * v, start(1), 1, 1)
    assert (one.values[0], one.iterations, one.products) == (pytest.approx(3.0), 1, 1)
    zero = krylov_schur(lambda v: 0.0 * v, start(6), 2, 4)
    assert zero.converged
    np.testing.assert_array_equal(zero.values, 0.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_gives_what_numpy_gives(dtype):
    torch = pytest.importorskip("torch")
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    A, v, V = EVEN.astype(dtype), start(300).astype(dtype), start(300, 12).astype(dtype)
    T = torch.from_numpy(A)
    p = chebyshev_filter(-0.8, 2.0, 10, -1.0)
    pairs = [
        krylov_schur(lambda x: T @ x, torch.from_numpy(v), 6, 24, which="SA", tolerance=tolerance),
        krylov_schur(lambda x: T @ x, torch.from_numpy(v), 6, 24, which="SA", tolerance=tolerance, polynomial=p),
        filtered_subspace(lambda X: T @ X, p, torch.from_numpy(V), 6, which="SA", tolerance=tolerance),
        krylov_schur(lambda x: A @ x, v, 6, 24, which="SA", tolerance=tolerance),
        filtered_subspace(lambda X: A @ X, p, V, 6, which="SA", tolerance=tolerance),
    ]
    for i, found in enumerate(pairs):
        assert found.converged
        assert isinstance(found.vectors, torch.Tensor) == (i < 3)
        assert str(found.vectors.dtype).endswith(dtype)
        np.testing.assert_allclose(found.values, sorted_end(EVEN, "SA", 6), atol=10.0 * tolerance)


def test_arguments_are_left_as_they_are():
    v, V = start(300), start(300, 10)
    before = v.copy(), V.copy()
    krylov_schur(lambda x: EVEN @ x, v, 3, 12, most=3)
    filtered_subspace(lambda X: EVEN @ X, power(-1.0, 2.0, 3), V, 3, most=3)
    np.testing.assert_array_equal(v, before[0])
    np.testing.assert_array_equal(V, before[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: krylov_schur(lambda v: v, start(9), 0, 5),
        lambda: krylov_schur(lambda v: v, start(9), 10, 20),
        lambda: krylov_schur(lambda v: v, start(9), 5, 5),
        lambda: krylov_schur(lambda v: v, start(9), 2, 5, most=0),
        lambda: krylov_schur(lambda v: v, start(9), 2, 5, extra=-1),
        lambda: krylov_schur(lambda v: v, start(9), 2, 5, which="SM"),
        lambda: filtered_subspace(lambda v: v, power(0.0, 1.0, 2), start(9, 3), 4),
        lambda: filtered_subspace(lambda v: v, power(0.0, 1.0, 2), start(9, 3), 0),
        lambda: filtered_subspace(lambda v: v, power(0.0, 1.0, 2), start(3, 9), 2),
        lambda: filtered_subspace(lambda v: v, power(0.0, 1.0, 2), start(9, 3), 2, most=0),
        lambda: filtered_subspace(lambda v: v, power(0.0, 1.0, 2), start(9, 3), 2, which="SM"),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r"which|wanted"):
        make()


def test_products_that_are_not_finite_are_a_breakdown():
    with pytest.raises(Breakdown, match="product 1 "):
        krylov_schur(lambda v: np.nan * v, start(9), 2, 5)
    with pytest.raises(Breakdown, match="not finite"):
        filtered_subspace(lambda v: np.nan * v, power(0.0, 1.0, 2), start(9, 3), 2)
    with pytest.raises(Breakdown, match="not finite"):
        rayleigh_ritz(lambda V: np.full_like(V, np.nan), np.eye(4)[:, :2])


# Filtered subspace iteration.


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_filtered_subspace_iteration_finds_the_end_of_its_filter(which):
    ends = (-1.0, 1.8, 2.0) if which == "LA" else (-0.8, 2.0, -1.0)
    p = chebyshev_filter(ends[0], ends[1], 12, ends[2])
    found = filtered_subspace(lambda X: EVEN @ X, p, start(300, 15), 8, which=which)
    assert found.converged
    assert found.residuals.max() <= 1e-10 * 2.0
    check(found, EVEN, which, 8)


def test_it_takes_as_many_iterations_as_the_filter_says():
    """The slowest error, of the last one, goes down by p beyond the block over p there."""
    block, k = 20, 12
    p = chebyshev_filter(float(SQUARES[block]), 1.01, 60, 0.01)
    found = filtered_subspace(lambda X: SQUARES[:, None] * X, p, start(1000, block), k, which="SA", tolerance=1e-12)
    rate = math.log(abs(p(SQUARES[k - 1])) / np.abs(p(SQUARES[block:])).max())
    assert found.converged
    assert 0.5 < found.iterations * rate / math.log(1e12) < 1.5


def test_what_is_locked_is_not_filtered_again():
    p = chebyshev_filter(-0.8, 2.0, 12, -1.0)
    counted: list[int] = []

    def product(X: Any) -> Any:
        counted.append(X.shape[1])
        return EVEN @ X

    found = filtered_subspace(product, p, start(300, 15), 8, which="SA")
    assert found.products == sum(counted)
    assert counted[0] == 15
    assert counted[-1] < 15
    assert (np.diff(counted) <= 0).all()
    short = filtered_subspace(lambda X: EVEN @ X, p, start(300, 15), 8, which="SA", most=2)
    assert (short.iterations, short.converged, short.vectors.shape) == (2, False, (300, 8))
    assert short.residuals.max() > found.residuals.max()


def test_what_is_locked_early_stays_out_of_the_others():
    """Locked at a loose tolerance, it is still in their filtered block."""
    p = chebyshev_filter(-0.8, 2.0, 3, -1.0)
    found = filtered_subspace(lambda X: EVEN @ X, p, start(300, 15), 8, which="SA", tolerance=1e-2, most=400)
    assert found.converged
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(found.values, sorted_end(EVEN, "SA", 8), atol=0.02)


# The forecast.


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [0, 4])
def test_outer_iterations_are_forecast_within_a_factor(outliers):
    """Eigenvalues far beyond the others are a step each, and no wider spectrum."""
    quotients = []
    far = 30.0 + 10.0 * np.arange(outliers)
    for bulk in (SQUARES, np.geomspace(1e-3, 1.0, 800), np.sort(np.random.default_rng(0).gamma(1.0, 1.0, 600))):
        spectrum, k = np.concatenate([bulk, far]), 10
        for p in (power(100.0, float(bulk[0]), 1), chebyshev_filter(float(bulk[k + 5]), 100.0, 4, float(bulk[0]))):
            target = float(p(spectrum[k - 1]))

            def seen(cycle: Cycle, target: float = target) -> bool:
                return abs(float(cycle.values[9]) - target) <= 1e-10 * target

            found = krylov_schur(
                lambda v, lam=spectrum: (lam * v.T).T,
                start(len(spectrum)),
                k,
                40,
                polynomial=p,
                tolerance=0.0,
                most=400,
                seen=seen,
            )
            forecast = outer_iterations(target, p(bulk[k + 5 :]), p(far), len(spectrum), 25)
            quotients.append(max(forecast, 1.0) / found.iterations)
    assert 0.3 < min(quotients) <= max(quotients) < 3.0


def test_a_forecast_is_infinite_without_a_gap_and_lower_where_it_is_wider():
    none = np.zeros(0)
    assert outer_iterations(1.0, np.array([1.0, 0.0]), none, 10, 5) == math.inf
    assert outer_iterations(1.0, np.array([0.0]), np.array([1.5]), 10, 5) == math.inf
    crowd = np.array([1.0, 0.0])
    alone = outer_iterations(1.1, crowd, none, 10, 5)
    assert outer_iterations(1.1, crowd, np.array([-1e6]), 10, 5) == pytest.approx(1.25 * alone)
    assert outer_iterations(1.1, np.append(crowd, -1e6), none, 10, 5) > 100.0 * alone
    wide, narrow = (outer_iterations(target, np.array([1.0, 0.0]), none, 10, 5) for target in (1e3, 1.1))
    assert 0.0 < 5.0 * wide < narrow < math.inf
    assert 0.0 < outer_iterations(2.0, np.array([1.0]), none, 10, 5) < 1.0
