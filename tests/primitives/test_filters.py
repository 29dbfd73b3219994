"""Spectral filters are the polynomials that they are said to be, on either side, without over- or underflow."""

from __future__ import annotations

import numpy as np
import pytest

from autonla.primitives.polynomials import chebyshev_filter, minimax_filter, power


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 21])
@pytest.mark.parametrize(("origin", "at"), [(5.0, 0.5), (-2.0, 3.0), (0.0, 1e-3)])
def test_power_is_a_power_of_the_shifted_matrix(degree, origin, at):
    p = power(origin, at, degree)
    x = np.linspace(min(origin, at), max(origin, at), 11)
    np.testing.assert_allclose(p(x), ((x - origin) / (at - origin)) ** degree, rtol=1e-12, atol=1e-300)
    assert p.degree == degree
    np.testing.assert_allclose(p.matrix(np.diag(x)), np.diag(p(x)), atol=1e-15)


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("at", [0.5, 7.0, -30.0])
def test_chebyshev_is_the_polynomial_of_the_interval_over_its_value_at_the_end(degree, at):
    low, high = 1.0, 6.0
    p = chebyshev_filter(low, high, degree, at)
    x = np.concatenate([np.linspace(low, high, 21), [at, 0.3, 8.0]])
    T = np.polynomial.chebyshev.Chebyshev.basis(degree, domain=[low, high])
    np.testing.assert_allclose(p(x), T(x) / T(at), rtol=1e-9, atol=1e-13 / abs(T(at)))
    assert p.degree == degree


def test_chebyshev_neither_overflows_nor_underflows_at_the_wanted_end():
    """T itself is 1e600 there."""
    p = chebyshev_filter(1.0, 2.0, 300, -24.0)
    assert p(-24.0) == pytest.approx(1.0, rel=1e-9, abs=0.0)
    assert np.isfinite(p(np.linspace(-24.0, 2.0, 1000))).all()
    with np.errstate(over="ignore"):
        assert not np.isfinite(np.cosh(300 * np.arccosh(51.0)))
    assert np.abs(p(np.linspace(1.0, 2.0, 100))).max() < 1e-300


@pytest.mark.parametrize("at", [-0.1, 2.3])
def test_no_polynomial_is_smaller_on_the_interval_than_chebyshevs(at):
    x = np.linspace(0.0, 2.0, 400)
    chebyshev, rival = chebyshev_filter(0.0, 2.0, 9, at), minimax_filter(x, 9, at)
    assert np.abs(rival(x)).max() == pytest.approx(np.abs(chebyshev(x)).max(), rel=1e-2, abs=0.0)
    baseline = power(2.0 if at < 0.0 else 0.0, at, 9)
    assert np.abs(chebyshev(x)).max() < 0.5 * np.abs(baseline(x)).max()


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_minimax_uses_the_gaps_between_the_points_as_far_as_it_may(mirror):
    points = np.concatenate([np.linspace(1.0, 10.0, 200), [100.0, 101.0, 300.0]])
    everywhere = np.linspace(1.0, 300.0, 20_000)
    sizes = []
    for between in (1.0, 100.0, 1e4):
        p = minimax_filter(mirror * points, 12, mirror * 0.5, between)
        size = float(np.abs(p(mirror * points)).max())
        assert p(mirror * 0.5) == pytest.approx(1.0, rel=1e-9, abs=0.0)
        assert np.abs(p(mirror * everywhere)).max() <= 1.1 * between * size
        sizes.append(size)
    assert sizes[0] == pytest.approx(np.abs(chebyshev_filter(1.0, 300.0, 12, 0.5)(points)).max(), rel=0.05, abs=0.0)
    assert sizes[0] > 1.4 * sizes[1] > 1.4 * 1.4 * sizes[2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: power(1.0, 1.0, 3),
        lambda: power(1.0, np.inf, 3),
        lambda: power(1.0, 0.0, 0),
        lambda: chebyshev_filter(1.0, 2.0, 0, 0.0),
        lambda: chebyshev_filter(2.0, 1.0, 3, 0.0),
        lambda: chebyshev_filter(1.0, 2.0, 3, 1.5),
        lambda: chebyshev_filter(1.0, 2.0, 3, 2.0),
        lambda: chebyshev_filter(1.0, 2.0, 3, np.nan),
        lambda: minimax_filter([1.0], 3, 0.0),
        lambda: minimax_filter([1.0, 1.0], 3, 0.0),
        lambda: minimax_filter([1.0, 2.0], 3, 1.5),
        lambda: minimax_filter([1.0, np.nan], 3, 0.0),
        lambda: minimax_filter([1.0, 2.0], 3, 0.0, 0.5),
        lambda: minimax_filter([1.0, 2.0], 0, 0.0),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r"\d"):
        make()


def test_points_fewer_than_coefficients_are_enough_where_values_between_them_are_bounded():
    p = minimax_filter([1.0, 2.0, 3.0], 8, 0.0)
    assert np.abs(p(np.linspace(1.0, 3.0, 999))).max() < np.abs(chebyshev_filter(1.0, 3.0, 8, 0.0)(1.0)) * 2.0
