"""The predictions of what a randomized range finder achieves, against experiments and against exact cases."""

from __future__ import annotations

import numpy as np
import pytest

from autonla.primitives.range_finder_theory import (
    Spectrum,
    correct_ritz_values,
    fixed_point,
    krylov_error,
    range_error,
)

N = 400
J = np.arange(1.0, N + 1)
SPECTRA = {
    "flat": np.ones(N),
    "1/j": 1 / J,
    "1/sqrt(j)": J**-0.5,
    "j^-2": J**-2,
    "exponential": np.exp(-J / 25),
    "step": np.where(J <= 20, 1.0, 0.05),
}
FALLING = ("1/j", "1/sqrt(j)", "j^-2", "exponential")


def singular_values_of_B(s: np.ndarray, l: int, q: int, rng: np.random.Generator) -> np.ndarray:
    """Of Q'A for A = diag(s): by rotational invariance of the Gaussian, the law for every A with these values."""
    Q = np.linalg.qr(s[:, None] * rng.standard_normal((len(s), l)))[0]
    for _ in range(q):
        Q = np.linalg.qr(s[:, None] * np.linalg.qr(s[:, None] * Q)[0])[0]
    return np.linalg.svd(Q.T * s, compute_uv=False)


@pytest.mark.statistical
@pytest.mark.parametrize("q", [0, 1, 2])
@pytest.mark.parametrize("name", SPECTRA)
def test_mean_error_of_the_range_and_of_its_truncation(name, q):
    s, l, k, rng = SPECTRA[name], 40, 30, np.random.default_rng(q)
    spectrum, total = Spectrum.from_values(s), float(s @ s)
    draws = [singular_values_of_B(s, l, q, rng) ** 2 for _ in range(10)]
    full = np.mean([total - d.sum() for d in draws])
    truncated = np.mean([total - d[:k].sum() for d in draws])
    assert range_error(spectrum, l, q) == pytest.approx(full, rel=0.12 if q == 0 else 0.06, abs=0.0)
    assert range_error(spectrum, l, q, k) == pytest.approx(truncated, rel=0.12 if q == 0 else 0.04, abs=0.0)


@pytest.mark.statistical
@pytest.mark.parametrize("name", FALLING)
def test_excess_over_the_best_error(name):
    """The excess of one and two power steps is a few per cent or per mille: it is predicted by factors."""
    s, l, k = SPECTRA[name], 40, 30
    spectrum, best = Spectrum.from_values(s), float(s[k:] @ s[k:])
    for q, factor in ((0, 1.35), (1, 1.7), (2, 2.5)):
        rng = np.random.default_rng(q)
        measured = np.mean([s @ s - (singular_values_of_B(s, l, q, rng)[:k] ** 2).sum() for _ in range(10)])
        ratio = (range_error(spectrum, l, q, k) - best) / (measured - best)
        assert 1 / factor < ratio < factor, f"q={q}: predicted / measured {ratio:.2f}"


@pytest.mark.statistical
@pytest.mark.parametrize(("block", "steps"), [(40, 1), (15, 3), (30, 2)])
@pytest.mark.parametrize("name", ["1/j", "1/sqrt(j)", "exponential"])
def test_block_krylov_is_predicted_from_above_and_not_by_much(name, block, steps):
    s, k, rng = SPECTRA[name], 30, np.random.default_rng(3)
    best, excesses = float(s[k:] @ s[k:]), []
    for _ in range(3):
        Q = np.linalg.qr(s[:, None] * rng.standard_normal((N, block)))[0]
        K = Q
        for _ in range(steps):
            W = s[:, None] ** 2 * Q
            for _ in range(2):
                W -= K @ (K.T @ W)
            Q = np.linalg.qr(W)[0]
            K = np.hstack([K, Q])
        theta = np.linalg.svd(K.T * s, compute_uv=False) ** 2
        excesses.append(s @ s - theta[:k].sum() - best)
    predicted = krylov_error(Spectrum.from_values(s), block, steps, k) - best
    assert 0.4 * np.mean(excesses) < predicted < 30 * np.mean(excesses)


def test_krylov_beats_power_steps_of_the_same_cost():
    spectrum = Spectrum.from_values(SPECTRA["1/j"])
    assert krylov_error(spectrum, 40, 1, 30) < range_error(spectrum, 40, 1, 30)
    assert krylov_error(spectrum, 40, 0, 30) == range_error(spectrum, 40, 0, 30)


def test_the_fixed_point_solves_its_equation():
    """On steps and on decays of many orders, where Newton's method alone would leave."""
    rows = np.stack([SPECTRA["step"] ** 6, SPECTRA["exponential"] ** 10, SPECTRA["j^-2"] ** 6, np.ones(N)])
    count = np.ones(N)
    for l in (1.0, 19.9, 20.0, 150.0, 399.0):
        g = fixed_point(rows, count, l)
        y = g[:, None] * rows
        np.testing.assert_allclose((y / (1 + y)).sum(axis=1), l, rtol=1e-4)
    assert np.isinf(fixed_point(rows[:1] * (J <= 5), count, 6.0))


def test_more_columns_than_values_leave_nothing():
    spectrum = Spectrum.from_values(np.array([3.0, 2.0, 1.0]))
    assert range_error(spectrum, 3) == 0.0
    assert range_error(spectrum, 5, 1) == 0.0
    assert range_error(spectrum, 3, 0, 2) == pytest.approx(1.0)
    assert range_error(Spectrum.from_values(np.zeros(5)), 2) == 0.0


def test_a_spectrum_knows_its_tail_and_its_ranks():
    s = SPECTRA["1/j"]
    spectrum = Spectrum.from_leading(tuple(s[:30]), float(s[30:] @ s[30:]), N)
    assert spectrum.size == N
    assert spectrum.total == pytest.approx(s @ s, rel=1e-12, abs=0.0)
    assert spectrum.tail(30) == pytest.approx(s[30:] @ s[30:], rel=1e-12, abs=0.0)
    for j in (1, 30, 60, 200):
        assert spectrum.value(j) == pytest.approx(s[j - 1], rel=0.1, abs=0.0)
    for k in (1, 29, 60, 200):
        assert spectrum.smallest_rank(float(s[k:] @ s[k:])) == pytest.approx(k, rel=0.06, abs=1)
    assert spectrum.value(N + 1) == 0.0
    assert spectrum.smallest_rank(0.0) == N
    assert spectrum.smallest_rank(spectrum.total) == 0


@pytest.mark.parametrize("tail", [0.0, 1e-30, 1.0, 1e9])
def test_a_tail_of_any_energy_is_modelled_without_an_increase(tail):
    """Whatever a rough probe reports: no negative, no infinite values, none that grows, and the energy it said."""
    for leading in ((5.0,), (5.0, 4.0, 1e-9), tuple(np.linspace(3, 2, 40))):
        spectrum = Spectrum.from_leading(leading, tail, 300)
        assert np.all(np.diff(spectrum.energy) <= 1e-12 * spectrum.energy[0])
        assert np.all(spectrum.energy >= 0)
        assert spectrum.total == pytest.approx(sum(s * s for s in leading) + tail, rel=0.05, abs=1e-12) or tail == 1e9


@pytest.mark.statistical
@pytest.mark.parametrize("l", [20, 60])
@pytest.mark.parametrize("name", FALLING)
def test_the_spectrum_behind_a_sketch(name, l):
    """Within 15 % (median of five draws) at half the columns, where the sketch's own values are low by up to half."""
    s = SPECTRA[name]
    halves, tails = [], []
    for seed in range(5):
        values = singular_values_of_B(s, l, 0, np.random.default_rng(seed))
        spectrum = correct_ritz_values(values, float(s @ s - values @ values), N)
        assert spectrum.total == pytest.approx(s @ s, rel=1e-6, abs=0.0)
        halves.append([spectrum.value(j) / s[j - 1] for j in (1, l // 2, int(0.8 * l))])
        tails.append(spectrum.tail(l // 2) / (s[l // 2 :] @ s[l // 2 :]))
    np.testing.assert_allclose(np.median(halves, axis=0), 1.0, atol=0.15)
    assert np.median(tails) == pytest.approx(1.0, abs=0.15)


def test_the_correction_is_needed():
    """A negative control: without it the values of the sketch are low."""
    s = SPECTRA["1/j"]
    values = singular_values_of_B(s, 40, 0, np.random.default_rng(0))
    corrected = correct_ritz_values(values, float(s @ s - values @ values), N)
    assert values[30] < 0.8 * s[30]
    assert corrected.value(31) == pytest.approx(s[30], rel=0.2, abs=0.0)
