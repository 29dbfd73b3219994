"""AutoSpec's engine for eigenproblems: what it starts from, and that it is a filter whatever is said."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from autonla.primitives.autospec import eigenproblems
from autonla.primitives.autospec.eigenproblems import EXTRA, KNOTS, MOST, OUTPUTS
from autonla.primitives.eigenpairs.spectral_filters import SpectralProbe, probed
from autonla.primitives.polynomials import Recurrence, chebyshev_filter, from_roots

SPECTRA = {
    "squares": np.linspace(1.0, 30.0, 500) ** 2,
    "geometric": np.geomspace(1e-4, 1.0, 400),
    "few large": np.concatenate([np.linspace(1.0, 40.0, 400), [2e3, 2.1e3, 3e4]]),
    "few small": np.concatenate([np.geomspace(1e-5, 1e-3, 12), np.linspace(1.0, 3.0, 300)]),
}


def probe(values: np.ndarray, k: int = 8, which: str = "SA", outer: int = 8) -> SpectralProbe:
    start = np.random.default_rng(0).standard_normal(len(values))
    return probed(lambda v: values * v, start, k, which, outer)


def said(reach: float = 0.0, gaps: np.ndarray | float = 0.0) -> np.ndarray:
    found = np.zeros(OUTPUTS)
    found[0], found[1:] = reach, gaps
    return found


@pytest.mark.parametrize("degree", [1, 2, 9, 21, 34])
@pytest.mark.parametrize("which", ["SA", "LA"])
@pytest.mark.parametrize("what", SPECTRA)
def test_without_a_change_it_is_chebyshevs_polynomial(what, which, degree):
    seen = probe(SPECTRA[what], which=which)
    p = eigenproblems.recurrence(eigenproblems.start(seen), said(), degree)
    low, high = sorted((seen.boundary(seen.k + EXTRA), seen.far))
    expected = chebyshev_filter(low, high, degree, float(seen.values[0]))
    x = np.linspace(low, high, 300)
    np.testing.assert_allclose(p(x), expected(x), rtol=0.0, atol=1e-9 * np.abs(expected(x)).max())
    assert p.degree == degree
    assert p(seen.values[:1])[0] == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("what", SPECTRA)
def test_whatever_is_said_its_zeros_are_beyond_the_boundary_and_it_grows_towards_the_wanted_end(what):
    rng = np.random.default_rng(1)
    values = SPECTRA[what]
    for which in ("SA", "LA"):
        seen = probe(values, which=which)
        given = eigenproblems.start(seen)
        for _ in range(20):
            change = rng.standard_normal(OUTPUTS) * 10.0 ** rng.uniform(-2.0, 2.0)
            p = eigenproblems.recurrence(given, change)
            x = np.linspace(float(seen.values[0]), given.last, 50)
            assert (np.diff(p(x)) < 0.0).all()
            assert p(x[:1])[0] == pytest.approx(1.0, rel=1e-12)
            beyond = np.linspace(seen.far, 2.0 * seen.far - given.last, 20)
            assert (np.diff(np.abs(p(beyond))) > 0.0).all()  # no zero out there


@pytest.mark.parametrize("what", SPECTRA)
def test_degree_21_is_exact_to_1e_10_of_its_largest_value_on_the_unwanted_part(what):
    """Against rational arithmetic with the same coefficients, which are those of factors x - zero."""
    seen = probe(SPECTRA[what])
    given = eigenproblems.start(seen)
    rng = np.random.default_rng(3)
    for _ in range(3):
        change = 0.4 * rng.standard_normal(OUTPUTS)
        p = eigenproblems.recurrence(given, change)
        knots = np.interp(np.linspace(0.0, 1.0, 22), np.linspace(0.0, 1.0, KNOTS), change[1:])
        gaps = np.full(22, 2.0)
        gaps[[0, -1]] = 1.0
        gaps = gaps * np.exp(knots)
        angles = np.cumsum(gaps)[:-1] * math.pi / gaps.sum()
        reach = min(given.reach * math.exp(change[0]), 0.5 * (given.far - given.last))
        zeros = given.last + reach + 0.5 * (given.far - given.last - reach) * (1.0 - np.cos(angles))
        x = np.linspace(given.last + reach, given.far, 200)
        exact = []
        for point in x:
            value = Fraction(1)
            for zero in zeros:
                value *= (Fraction(float(point)) - Fraction(float(zero))) / (
                    Fraction(given.first) - Fraction(float(zero))
                )
            exact.append(float(value))
        np.testing.assert_allclose(p(x), exact, rtol=0.0, atol=1e-10 * np.abs(exact).max())


@pytest.mark.parametrize("what", ["squares", "geometric", "few large"])
def test_products_with_a_matrix_lose_no_digits_between_the_first_factor_and_the_last(what):
    """The zeros one after the other from the boundary on, the same polynomial, lose half of them or more."""
    values = SPECTRA[what][::2]
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((len(values),) * 2))[0]
    A = (Q * values) @ Q.T
    seen = probe(values)
    p = eigenproblems.recurrence(eigenproblems.start(seen), said())
    unwanted = Q[:, 2 * seen.k :] / math.sqrt(len(values))
    exact = p(values[2 * seen.k :])
    errors = [
        np.linalg.norm(q.apply(lambda v: A @ v, unwanted.sum(axis=1)) - unwanted @ exact) / np.abs(exact).max()
        for q in (p, ascending(p))
    ]
    assert errors[0] < 1e-12
    assert errors[1] > 1e3 * errors[0]


def ascending(p: Recurrence) -> Recurrence:
    zeros = (np.real(p.roots()) - p.center) / p.radius
    return replace(from_roots(zeros[np.argsort(np.abs(zeros))]), center=p.center, radius=p.radius)


def test_the_boundary_and_the_gaps_move_by_the_factors_that_are_said():
    seen = probe(SPECTRA["squares"])
    given = eigenproblems.start(seen)
    plain = chebyshev_filter(given.last + math.e**0.7 * given.reach, given.far, 21, given.first)
    x = np.linspace(given.last + 3.0 * given.reach, given.far, 50)
    moved = eigenproblems.recurrence(given, said(0.7))
    np.testing.assert_allclose(moved(x), plain(x), rtol=0.0, atol=1e-10 * np.abs(plain(x)).max())
    ramp = np.linspace(-0.5, 0.5, KNOTS)  # gaps narrower at the boundary than at the far end
    equal, narrow = (np.sort(np.real(eigenproblems.recurrence(given, said(0.0, g)).roots())) for g in (0.0, ramp))
    assert narrow[10] < 0.95 * equal[10]


@pytest.mark.parametrize("what", ["reach", "gap"])
def test_no_factor_is_larger_than_twenty(what):
    given = eigenproblems.start(probe(SPECTRA["geometric"]))
    found = []
    for size in (MOST, 40.0):
        change = np.zeros(OUTPUTS)
        change[0 if what == "reach" else 6] = size
        found.append(eigenproblems.recurrence(given, change))
    assert found[0] == found[1]


@pytest.mark.parametrize("factor", [-1e-9, -1.0, 1e9])
def test_the_engine_knows_neither_units_nor_the_sign(factor):
    values = SPECTRA["geometric"]
    ours = eigenproblems.engine()(probe(values))
    theirs = eigenproblems.engine()(probe(factor * values, which="SA" if factor > 0.0 else "LA"))
    np.testing.assert_allclose(theirs.recurrence(factor * values), ours.recurrence(values), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(theirs.off, ours.off, atol=1e-3)


def test_the_engine_knows_no_shift():
    values = SPECTRA["squares"]
    ours, theirs = (eigenproblems.engine()(probe(v)) for v in (values, values - 400.0))
    np.testing.assert_allclose(theirs.recurrence(values - 400.0), ours.recurrence(values), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("k", [1, 3, 12, 40])
@pytest.mark.parametrize("outer", [1, 30])
def test_features_are_finite_and_as_many_for_all_k_and_probes(k, outer):
    seen = probe(SPECTRA["geometric"], k, outer=outer)
    found = eigenproblems.start(seen).features
    assert np.isfinite(found).all()
    assert found.shape == (eigenproblems.engine().moves.inputs,)
    off = eigenproblems.engine()(seen).off
    assert off[0] <= off[1] <= off[2]


@pytest.mark.parametrize(("values", "k"), [([1.0, 2.0], 1), ([1.0] * 20 + [5.0] * 20, 3), ([1.0, 5.0, 5.0], 2)])
def test_equal_eigenvalues_and_short_spectra_are_no_trouble(values, k):
    seen = probe(np.array(values), k)
    assert np.isfinite(eigenproblems.start(seen).features).all()
    found = eigenproblems.engine()(seen).recurrence(np.array(values))
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(1.0, rel=1e-9)
