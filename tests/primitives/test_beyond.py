"""A Lanczos run that looks beyond a number: what it finds is there, and what it excludes is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autonla.primitives.algorithm import Breakdown
from autonla.primitives.eigenpairs import beyond
from tests.primitives.test_eigenpairs_algorithms import with_spectrum


def everything(v: np.ndarray) -> np.ndarray:
    return v


def start(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def look(values: np.ndarray, numbers, target: float = 1e8, most: int = 300, seed: int = 0) -> beyond.Seen:
    return beyond.look(lambda v: values * v, everything, start(len(values), seed), numbers, target, most)


SPECTRUM = np.concatenate([np.linspace(-1.0, 1.0, 500), [1.3]])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_beyond_is_found_and_what_is_not_is_excluded(sign):
    for x, crossed in ((0.9, True), (1.2, True), (1.299, True), (1.301, False), (1.5, False), (3.0, False)):
        seen = look(sign * SPECTRUM, [(sign, sign * x)])
        assert (seen.crossed, seen.shown) == (crossed, not crossed), x
    assert look(sign * SPECTRUM, [(-sign, sign * 0.0)]).crossed
    assert look(sign * SPECTRUM, [(-sign, sign * -1.05)]).shown


@pytest.mark.parametrize("upper", [1.2, 1.4])
@pytest.mark.parametrize("lower", [-0.9, -1.1])
def test_both_ends_are_looked_at(upper, lower):
    seen = look(SPECTRUM, [(1.0, upper), (-1.0, lower)])
    assert seen.crossed == (upper < 1.3 or lower > -1.0)
    assert seen.shown == (not seen.crossed)


def test_a_number_far_from_the_spectrum_takes_few_steps():
    counts = [len(look(SPECTRUM, [(1.0, x)]).alphas) for x in (1.3001, 1.31, 1.4, 2.0, 1e3)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 5 < 20 < counts[0]


def test_the_sum_is_that_of_the_orthonormal_polynomials():
    """It is one over the weight in a Gauss-Radau rule that has a node at x."""
    seen, x = look(SPECTRUM, [(1.0, 9.0)], target=math.inf, most=12), 1.4
    m = len(seen.alphas)
    T = np.diag(seen.alphas) + np.diag(seen.betas[:-1], 1) + np.diag(seen.betas[:-1], -1)
    radau = np.zeros((m + 1, m + 1))
    radau[:m, :m] = T
    radau[m, m - 1] = radau[m - 1, m] = seen.betas[-1]
    last = np.linalg.solve(T - x * np.eye(m), np.eye(m)[:, -1] * seen.betas[-1] ** 2)[-1]
    radau[m, m] = x + last
    values, S = np.linalg.eigh(radau)
    at = int(np.abs(values - x).argmin())
    assert values[at] == pytest.approx(x)
    assert seen._sum(x, 1.0) == pytest.approx(1.0 / S[0, at] ** 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_reach_is_where_the_sum_is_enough(sign):
    seen = look(sign * SPECTRUM, [(sign, sign * 9.0)], target=math.inf, most=25)
    reach = seen.reach(sign, 1e8)
    assert sign * reach > 1.3
    assert seen._sum(reach, sign) == pytest.approx(1e8, rel=1e-6)
    assert look(sign * SPECTRUM, [(sign, reach * 1.001)], most=25).shown
    assert not look(sign * SPECTRUM, [(sign, reach * 0.999)], most=25).shown


@pytest.mark.parametrize("error", [0.0, 1e-3])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_what_a_projection_takes_away_does_not_come_back(size, error):
    """However large it is, and of whatever vectors."""
    rng = np.random.default_rng(0)
    A = with_spectrum(np.concatenate([size * np.array([-3.0, -2.0, 2.0, 3.0, 4.0]), np.linspace(-0.5, 0.25, 195)]))
    w, V = np.linalg.eigh(A)
    V = np.linalg.qr(V[:, np.abs(w) > 1.0] + error * rng.standard_normal((200, 5)))[0]

    def outside(v: np.ndarray) -> np.ndarray:
        return v - V @ (V.T @ v)

    P = np.eye(200) - V @ V.T
    left = np.linalg.eigvalsh(P @ A @ P)
    seen = beyond.look(lambda v: A @ v, outside, outside(start(200)), [(1.0, left[-1] + 0.01)], math.inf, 80)
    assert seen.ends() == pytest.approx((left[0], left[-1]), rel=1e-3)
    assert not seen.crossed
    V = np.delete(V, 2, axis=1)
    assert beyond.look(lambda v: A @ v, outside, outside(start(200)), [(1.0, size)], 1e8, 120).crossed


def test_where_nothing_else_is_left_the_run_has_seen_all():
    values = np.r_[np.ones(90), np.full(90, 3.0)]
    for x, crossed in ((2.0, True), (3.5, False)):
        seen = look(values, [(1.0, x)], target=math.inf)
        assert (seen.crossed, seen.shown, len(seen.alphas)) == (crossed, not crossed, 2)
    assert seen.ends() == pytest.approx((1.0, 3.0))
    assert look(np.ones(40), [(1.0, 0.5)]).crossed
    assert look(np.ones(40), [(1.0, 1.5)]).shown


def test_a_product_that_is_not_finite_is_a_breakdown():
    with pytest.raises(Breakdown, match="product 1"):
        beyond.look(lambda v: v * np.nan, everything, start(9), [(1.0, 1.0)], 1e8, 9)


@pytest.mark.statistical
@pytest.mark.parametrize("delta", [0.3, 0.05])
def test_an_eigenvalue_is_overlooked_with_the_probability_that_was_allowed(delta):
    """One value just beyond the others, which a start with little of it does not show before the sum is enough."""
    n, runs = 200, 600
    values = np.concatenate([np.linspace(-1.0, 1.0, n - 1), [1.02]])

    def overlooked(target: float) -> float:
        return float(np.mean([look(values, [(1.0, 1.0199)], target, seed=seed).shown for seed in range(runs)]))

    spread = 3.0 * math.sqrt(delta * (1.0 - delta) / runs)
    assert overlooked(beyond.enough(n, delta)) <= delta + spread
    assert overlooked(beyond.enough(n, delta) / 100.0) > delta + spread  # the test can fail
