"""Recurrences run the polynomials that they stand for, in every library; classical coefficients do what is said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from autonla.primitives.polynomials import (
    Recurrence,
    chebyshev,
    from_chebyshev,
    from_roots,
    gmres_roots,
    harmonic_ritz_values,
    leja_order,
    neumann,
    ritz_least_squares,
)
from autonla.probes import ritz
from tests._support.backends import BACKENDS

LOW, HIGH = 0.2, 7.0
X = np.linspace(LOW, HIGH, 101)


def drawn(d: int, seed: int = 0, **how: Any) -> Recurrence:
    rng = np.random.default_rng(seed)
    gamma, eta, alpha, beta = (tuple(rng.standard_normal(d)) for _ in range(4))
    return Recurrence(tuple(rng.standard_normal(d - 1)), gamma, eta, alpha, beta, **how)


def state_by_state(r: Recurrence, x: float) -> float:
    """Equation 5 of the paper, a number at a time."""
    y = (x - r.center) / r.radius
    A, B, C = r.constant, 1.0, y
    for k in range(len(r.gamma) - 1):
        A, B, C = A + r.rho[k] * C, C, r.gamma[k] * A + r.eta[k] * B + r.alpha[k] * C + r.beta[k] * y * C
    return r.gamma[-1] * A + r.eta[-1] * B + r.alpha[-1] * C + r.beta[-1] * y * C


def symmetric(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    Q, lam = np.linalg.qr(rng.standard_normal((n, n)))[0], np.sort(rng.uniform(LOW, HIGH, n))
    return (Q * lam) @ Q.T, lam, Q


# The recurrence.


@pytest.mark.parametrize("d", [1, 2, 3, 11])
@pytest.mark.parametrize("how", [{}, {"center": 3.0, "radius": 4.0, "constant": -0.5}])
def test_it_is_equation_5_of_the_paper(d, how):
    r = drawn(d, **how)
    assert r(X) == pytest.approx([state_by_state(r, x) for x in X], rel=1e-12, abs=0.0)
    assert r.degree == d + 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("columns", [None, 3])
def test_vectors_and_blocks_in_every_library(backend, dtype, columns):
    A, lam, Q = symmetric(12)
    r = drawn(4, center=3.0, radius=4.0)
    V = np.random.default_rng(2).standard_normal(12 if columns is None else (12, columns))
    there, block = backend.asarray(A, dtype), backend.asarray(V, dtype)
    before = np.array(V, dtype)
    found = r.apply(lambda U: there @ U, block)
    expected = (Q * r(lam)) @ (Q.T @ V)
    close = 1e-12 if dtype == "float64" else 1e-4
    assert str(found.dtype).endswith(dtype)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=close * np.abs(expected).max())
    np.testing.assert_array_equal(np.asarray(block), before)  # left as it was
    if columns is None:
        matrix = np.asarray(r.matrix(there))
        np.testing.assert_allclose(matrix, (Q * r(lam)) @ Q.T, rtol=0, atol=close * np.abs(r(lam)).max())


def test_sparse_matrices_and_operators():
    from scipy.sparse.linalg import aslinearoperator

    A = sp.csr_array(np.diag(np.linspace(1.0, 5.0, 40)) + 0.3 * (np.eye(40, k=1) + np.eye(40, k=-1)))
    r, V = drawn(5, center=3.0, radius=3.0), np.random.default_rng(3).standard_normal((40, 2))
    expected = r.matrix(A.toarray()) @ V
    for product in (lambda U: A @ U, aslinearoperator(A).matmat):
        np.testing.assert_allclose(r.apply(product, V), expected, rtol=1e-11)


def test_products_are_counted_by_the_degree():
    calls = []

    def product(V):
        calls.append(1)
        return 2.0 * V

    for r in (
        drawn(1),
        drawn(7),
        from_chebyshev([1.0, 2.0, 3.0, 4.0], 0.0, 1.0),
        neumann(2.0, 5),
        chebyshev(0.1, 1.0, 9),
    ):
        calls.clear()
        r.apply(product, np.ones(3))
        assert len(calls) == r.degree
    assert neumann(2.0, 5).degree == 5
    assert chebyshev(0.1, 1.0, 9).degree == 9


def test_an_affine_three_term_recurrence_is_proposition_3_1():
    """With rho = 0: C_{k+1} = gamma I + eta C_{k-1} + alpha C_k + beta X C_k."""
    r = drawn(6)
    r = Recurrence((0.0,) * 5, r.gamma, r.eta, r.alpha, r.beta)
    before, C = np.ones_like(X), X
    for gamma, eta, alpha, beta in zip(r.gamma, r.eta, r.alpha, r.beta, strict=True):
        before, C = C, gamma + eta * before + alpha * C + beta * X * C
    np.testing.assert_allclose(r(X), C, rtol=1e-12)


def test_an_expansion_in_a_three_term_basis_is_proposition_3_2():
    """With gamma = 0 but for the last, which alone reads out: gamma_d I + gamma_d sum of rho_k C_k."""
    rng = np.random.default_rng(4)
    rho, eta, alpha, beta = rng.standard_normal((4, 5))
    last = 1.7
    r = Recurrence(tuple(rho), (0.0,) * 5 + (last,), (*eta, 0.0), (*alpha, 0.0), (*beta, 0.0))
    before, C, total = np.ones_like(X), X, np.ones_like(X)
    for k in range(5):
        total = total + rho[k] * C
        before, C = C, eta[k] * before + alpha[k] * C + beta[k] * X * C
    np.testing.assert_allclose(r(X), last * total, rtol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 11, 40])
def test_to_and_from_chebyshev_coefficients(degree):
    c = np.random.default_rng(degree).standard_normal(degree + 1)
    r = from_chebyshev(c, LOW, HIGH)
    t = (X - 0.5 * (LOW + HIGH)) / (0.5 * (HIGH - LOW))
    np.testing.assert_allclose(r(X), np.polynomial.chebyshev.chebval(t, c), rtol=0, atol=1e-12 * np.abs(c).sum())
    np.testing.assert_allclose(r.chebyshev(LOW, HIGH), c, rtol=0, atol=1e-12 * np.abs(c).sum())
    assert r.degree == degree


def test_a_polynomial_without_a_constant_term():
    r = from_chebyshev([0.0, 0.0, 0.0, 1.0], -1.0, 1.0)
    np.testing.assert_allclose(r(np.linspace(-1, 1, 9)), np.cos(3 * np.arccos(np.linspace(-1, 1, 9))), atol=1e-15)


@pytest.mark.parametrize(
    "roots",
    [
        [1.0, 2.0],
        [3.0, 0.5, 1.5, 6.0, 0.25],
        [2.0 + 1.0j, 2.0 - 1.0j],
        [2.0 + 1.0j, 2.0 - 1.0j, 4.0, 0.3 - 0.2j, 0.3 + 0.2j, 5.0],
        [4.0, 1.0 + 0.5j, 1.0 - 0.5j],
    ],
)
def test_to_and_from_zeros(roots):
    r = from_roots(roots, 2.5, 0.1)
    expected = 2.5 * np.prod([(X - z) / (0.1 - z) for z in roots], axis=0)
    assert np.abs(expected.imag).max() < 1e-9
    np.testing.assert_allclose(r(X), expected.real, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert r(0.1) == pytest.approx(2.5, rel=1e-13, abs=0.0)
    found = sorted(r.roots(), key=lambda z: (round(z.real, 6), z.imag))
    np.testing.assert_allclose(found, sorted(map(complex, roots), key=lambda z: (round(z.real, 6), z.imag)), atol=1e-8)


def test_a_multiple_of_it():
    r = drawn(5)
    np.testing.assert_allclose(r.scaled(-3.0)(X), -3.0 * r(X), rtol=0, atol=1e-12 * np.abs(r(X)).max())


def test_its_extremes_on_an_interval():
    r = from_chebyshev([0.0] * 9 + [2.0], LOW, HIGH)  # between -2 and 2, at ten points
    low, high = r.extremes(LOW, HIGH)
    assert (low, high) == pytest.approx((-2.0, 2.0), rel=1e-12, abs=0.0)
    narrow = from_roots([1.0, 1.0 + 1e-3])  # below zero on a thousandth of the interval
    assert narrow.extremes(LOW, HIGH)[0] == pytest.approx(-0.25e-6 / 1.001, rel=1e-3, abs=0.0)
    assert neumann(HIGH, 3).extremes(LOW, HIGH, times=lambda x: x)[1] == pytest.approx(1.0, rel=1e-12, abs=0.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (((), (), (), (), ()), "d - 1 rho"),
        (((1.0,), (1.0,), (1.0,), (1.0,), (1.0,)), "d - 1 rho"),
        (((), (1.0,), (1.0, 2.0), (1.0,), (1.0,)), "d - 1 rho"),
        (((), (math.nan,), (1.0,), (1.0,), (1.0,)), "not finite, or the radius"),
        (((), (1.0,), (1.0,), (1.0,), (1.0,), 0.0, 0.0), "not finite, or the radius"),
        (((), (1.0,), (1.0,), (1.0,), (1.0,), math.inf), "not finite, or the radius"),
    ],
)
def test_what_is_no_recurrence(fields, said):
    with pytest.raises(ValueError, match=said):
        Recurrence(*fields)


@pytest.mark.parametrize(
    "call",
    [
        lambda: from_chebyshev([1.0], 0.0, 1.0),
        lambda: from_chebyshev([1.0, 2.0], 1.0, 1.0),
        lambda: from_roots([1.0]),
        lambda: from_roots([1.0, 0.0]),
        lambda: from_roots([1.0 + 1.0j, 2.0]),
        lambda: chebyshev(0.0, 1.0, 0),
        lambda: chebyshev(2.0, 1.0, 3),
        lambda: chebyshev(-1.0, 1.0, 3),
        lambda: neumann(math.inf, 3),
        lambda: gmres_roots([1.0]),
        lambda: gmres_roots([1.0, -2.0]),
    ],
)
def test_what_cannot_be_made(call):
    with pytest.raises(ValueError, match=r"\w"):
        call()


# Approximate inverses.


@pytest.mark.parametrize("degree", [1, 2, 5, 11])
def test_neumann_by_hand(degree):
    expected = sum((1.0 - X / HIGH) ** j for j in range(degree + 1)) / HIGH
    np.testing.assert_allclose(neumann(HIGH, degree)(X), expected, rtol=1e-13)


@pytest.mark.parametrize("degree", [1, 2, 5, 11, 40])
@pytest.mark.parametrize(("low", "high"), [(LOW, HIGH), (1e-6, 1.0), (0.9, 1.0)])
def test_the_residual_of_chebyshev_is_the_least_that_there_is(degree, low, high):
    """It takes its largest size degree + 2 times with alternating signs, which no smaller one can."""
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.arange(degree + 2) * math.pi / (degree + 1))
    residual = 1.0 - x * chebyshev(low, high, degree)(x)
    size = 1.0 / math.cosh((degree + 1) * math.acosh((high + low) / (high - low)))
    np.testing.assert_allclose(residual, size * (-1.0) ** np.arange(degree + 2), rtol=0, atol=1e-9 * size + 1e-13)


def test_least_squares_at_ritz_values_by_hand():
    rng = np.random.default_rng(5)
    values, weights = np.sort(rng.uniform(0.3, 6.0, 30)), rng.uniform(0.1, 2.0, 30)
    for scale in (np.ones(30), weights):
        p = ritz_least_squares(values, 4, None if scale[0] == 1.0 else scale)
        powers = np.vander(values, 5, increasing=True) * values[:, None]
        c = np.linalg.lstsq(np.sqrt(scale)[:, None] * powers, np.sqrt(scale))[0]
        np.testing.assert_allclose(p(values), np.vander(values, 5, increasing=True) @ c, rtol=1e-8)
    few = ritz_least_squares([1.0, 2.0, 4.0], 7)
    np.testing.assert_allclose(few(np.array([1.0, 2.0, 4.0])), [1.0, 0.5, 0.25], rtol=1e-10)
    wider = ritz_least_squares(values, 4, interval=(0.1, 8.0))
    np.testing.assert_allclose(wider(values), ritz_least_squares(values, 4)(values), rtol=1e-9)


def test_the_zeros_of_gmres_are_those_of_its_residual():
    """After k steps of MINRES from v the residual is r(A) v, r the product of 1 - x / theta."""
    A, _, _ = symmetric(30, seed=6)
    v = np.random.default_rng(7).standard_normal(30)
    found = ritz.run(lambda u: A @ u, v, 6)
    theta = harmonic_ritz_values(found.T, found.last)
    K = np.stack([np.linalg.matrix_power(A, j + 1) @ v for j in range(6)], axis=1)
    residual = v - K @ np.linalg.lstsq(K, v)[0]
    p = gmres_roots(theta)
    np.testing.assert_allclose(v - A @ p.apply(lambda u: A @ u, v), residual, rtol=0, atol=1e-8)
    assert p.degree == 5


def test_zeros_are_added_where_rounding_would_be_large():
    """One zero far above the others: the product of the other factors there is 1e20 (pof of Embree, Loe and Morgan)."""
    theta = [*np.linspace(0.01, 0.1, 10), 10.0]
    p = gmres_roots(theta)
    assert p.degree > len(theta) - 1
    x = np.array(theta)
    assert np.abs(1.0 - x * p(x)).max() < 1e-8
    assert gmres_roots(np.linspace(1.0, 2.0, 8)).degree == 7


def test_leja_order_by_hand():
    assert leja_order([1.0, 2.0, 3.0, 4.0]).tolist() == [4.0, 1.0, 2.0, 3.0] or leja_order(
        [1.0, 2.0, 3.0, 4.0]
    ).tolist() == [4.0, 1.0, 3.0, 2.0]
    assert leja_order([0.5]).tolist() == [0.5]
    assert sorted(leja_order([2.0, 2.0, 1.0]).tolist()) == [1.0, 2.0, 2.0]


# Ritz values.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keep", [True, False])
def test_ritz_values_have_eigenvalues_within_their_residuals(backend, keep):
    A, lam, _ = symmetric(80, seed=8)
    there = backend.asarray(A, "float64")
    start = backend.asarray(np.random.default_rng(9).standard_normal(80), "float64")
    found = ritz.run(lambda u: there @ u, start, 20, keep=keep)
    assert found.steps == 20
    assert (np.diff(found.values) > 0.0).all()
    gaps = np.abs(found.values[:, None] - lam[None, :]).min(axis=1)
    assert (gaps <= found.residuals + 1e-12).all()
    assert found.weights.sum() == pytest.approx(1.0, rel=1e-10, abs=0.0)
    assert lam[-1] <= found.high
    assert found.residuals[-1] < 0.1 * (lam[-1] - lam[0])


def test_quadrature_by_ritz_values_is_exact_for_polynomials():
    A, lam, Q = symmetric(60, seed=10)
    v = np.random.default_rng(11).standard_normal(60)
    found = ritz.run(lambda u: A @ u, v, 8)
    moments = [float((found.weights * found.values**j).sum()) for j in range(16)]
    expected = [float((((Q.T @ v) ** 2) * lam**j).sum() / (v @ v)) for j in range(16)]
    np.testing.assert_allclose(moments, expected, rtol=1e-10)


def test_an_exhausted_space_ends_it():
    A = np.diag([1.0, 1.0, 2.0, 2.0, 5.0])
    found = ritz.run(lambda u: A @ u, np.ones(5), 50)
    np.testing.assert_allclose(found.values, [1.0, 2.0, 5.0], rtol=1e-13)
    np.testing.assert_allclose(found.weights, [0.4, 0.4, 0.2], rtol=1e-12)
    assert (found.steps, found.last) == (3, 0.0)
    assert ritz.run(lambda u: A @ u, np.array([0.0, 0, 0, 0, 1.0]), 4).values.tolist() == [5.0]


def test_without_the_basis_copies_are_dropped():
    """Long after the largest values have converged they come back; each is reported once."""
    lam = np.concatenate([np.linspace(0.0, 1.0, 200), [3.0, 5.0]])
    start = np.ones(202)
    found = ritz.run(lambda u: lam * u, start, 150, keep=False)
    raw = np.linalg.eigvalsh(found.T)
    assert np.count_nonzero(raw > 2.0) > 2
    assert np.count_nonzero(found.values > 2.0) == 2
    np.testing.assert_allclose(found.values[-2:], [3.0, 5.0], rtol=1e-12)


def test_a_product_that_is_not_finite():
    from autonla.profiles.errors import NonFiniteInput

    with pytest.raises(NonFiniteInput, match="product 1 "):
        ritz.run(lambda u: u * math.nan, np.ones(4), 3)
