"""Polynomials near functions on an interval: the series, the interpolant, the best."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autonla.primitives.polynomials.functions import Function, function, interpolated, minimax, taylor

NAMES = ("inv_sqrt", "sqrt", "inv", "log", ("inv_root", 3))


def errors(f: Function, p, low: float, high: float) -> np.ndarray:
    even = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, math.pi, 4001))
    return f.error(p, np.clip(even, low, high))


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_what_their_names_say(name):
    x = np.array([0.5, 1.0, 3.0])
    expected = {
        "inv_sqrt": x**-0.5, "sqrt": np.sqrt(x), "inv": 1.0 / x, "log": np.log(x), ("inv_root", 3): np.cbrt(1 / x),
    }  # fmt: skip
    np.testing.assert_allclose(function(name)(x), expected[name], rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["exp", "inv_root", ("inv_root", 0), ("inv_root", 2.5), ("inv_root", True), 3, ("a", 2)]
)
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="is not one of"):
        function(name)


def test_the_error_is_relative_for_powers_and_absolute_for_the_logarithm():
    x = np.array([0.25, 4.0])
    assert function("inv_sqrt").error(lambda x: np.ones_like(x), x).tolist() == [-0.5, 1.0]
    np.testing.assert_allclose(function("log").error(lambda x: np.zeros_like(x), x), [math.log(4.0), -math.log(4.0)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("degree", [1, 2, 5, 12])
def test_taylor_has_the_derivatives_of_the_function_at_the_largest_eigenvalue(name, degree):
    f, high = function(name), 3.0
    p = taylor(f, high, degree)
    assert p.degree == degree
    h = 0.02
    near, nearer = (abs(float(p(high - step) - f(high - step))) for step in (2.0 * h * high, h * high))
    assert near / nearer == pytest.approx(2.0 ** (degree + 1), rel=0.1 * degree) or near < 1e-13


def test_the_series_of_the_inverse_is_neumanns():
    x = np.linspace(0.2, 3.0, 7)
    expected = sum((1.0 - x / 3.0) ** k for k in range(5)) / 3.0
    np.testing.assert_allclose(taylor(function("inv"), 3.0, 4)(x), expected, rtol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("low", "high"), [(1.0, 10.0), (1e-6, 1e-4), (3.0, 3e3)])
@pytest.mark.parametrize("degree", [4, 11, 21])
def test_the_best_polynomial_alternates_between_equal_errors(name, low, high, degree):
    f = function(name)
    p = minimax(f, low, high, degree)
    assert p.degree <= degree
    e = errors(f, p, low, high)
    size = np.abs(e).max()
    if size < 1e-12:
        return
    peaks = [part[np.argmax(np.abs(part))] for part in np.split(e, np.flatnonzero(np.diff(np.sign(e))) + 1)]
    # the alternation theorem: degree + 2 extremes of one size and alternating signs are sufficient
    assert len(peaks) >= degree + 2
    assert np.sort(np.abs(peaks))[-(degree + 2)] >= 0.99 * size


@pytest.mark.parametrize("name", NAMES)
def test_it_is_no_worse_than_the_interpolant_and_far_better_than_the_series(name):
    f = function(name)
    for high in (5.0, 50.0, 500.0):
        best, between, series = (
            np.abs(errors(f, p, 1.0, high)).max()
            for p in (minimax(f, 1.0, high, 15), interpolated(f, 1.0, high, 15), taylor(f, high, 15))
        )
        assert best <= 1.001 * between
        assert between < series


def test_no_polynomial_of_another_kind_is_better():
    """De la Vallee Poussin: a lower bound on any polynomial's error, from least squares at random weights."""
    f, degree = function("inv_sqrt"), 9
    best = np.abs(errors(f, minimax(f, 1.0, 60.0, degree), 1.0, 60.0)).max()
    rng = np.random.default_rng(0)
    x = np.linspace(1.0, 60.0, 800)
    basis = np.polynomial.chebyshev.chebvander((2.0 * x - 61.0) / 59.0, degree) * np.sqrt(x)[:, None]
    for _ in range(30):
        w = np.sqrt(rng.uniform(0.2, 1.0, 800) / np.sqrt((x - 0.99) * (60.01 - x)))
        c = np.linalg.lstsq(w[:, None] * basis, w, rcond=None)[0]
        assert np.abs(basis @ c - 1.0).max() > best


@pytest.mark.parametrize(
    "make",
    [
        lambda f: taylor(f, 2.0, 0),
        lambda f: minimax(f, 1.0, 1.0, 5),
        lambda f: minimax(f, 0.0, 1.0, 5),
        lambda f: interpolated(f, -1.0, 1.0, 5),
        lambda f: minimax(f, 1.0, 2.0, 2.5),  # type: ignore[arg-type]
    ],
)
def test_a_degree_or_an_interval_that_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r"degree = |the interval"):
        make(function("sqrt"))
