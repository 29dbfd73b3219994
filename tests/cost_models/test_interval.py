"""Arithmetic of uncertain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autonla.primitives.interval import Interval


def test_sum_does_not_shrink() -> None:
    one = Interval.around(1.0, 2.0)
    total = one + one + one + one
    assert total == Interval(4.0, 2.0, 8.0)
    assert total.sigma == pytest.approx(one.sigma, rel=1e-6, abs=0.0)


def test_scaling() -> None:
    x = 3.0 * Interval(2.0, 1.0, 5.0)
    assert x == Interval(6.0, 3.0, 15.0)
    assert x.sigma == pytest.approx(Interval(2.0, 1.0, 5.0).sigma, rel=1e-6, abs=0.0)


def test_bounds() -> None:
    x = Interval(2.0, 1.0, 5.0)
    assert x.at_most(3.0) == Interval(2.0, 1.0, 3.0)
    assert x.at_least(1.5) == Interval(2.0, 1.5, 5.0)


def test_ninety_per_cent() -> None:
    x = Interval.around(1.0, 3.0)
    assert x.probability_above(3.0) == pytest.approx(0.05, rel=1e-6, abs=0.0)
    assert x.probability_above(1.0 / 3.0) == pytest.approx(0.95, rel=1e-6, abs=0.0)
    assert x.probability_above(1.0) == pytest.approx(0.5, rel=1e-6, abs=0.0)
    draws = np.exp(np.random.default_rng(0).normal(0.0, x.sigma, 20_000))
    assert np.mean(draws > 2.0) == pytest.approx(x.probability_above(2.0), abs=0.01)


def test_exact_and_unknown() -> None:
    assert Interval.exact(2.0).probability_above(2.0) == 0.0
    assert Interval.exact(2.0).probability_above(1.9) == 1.0
    assert Interval(1.0, 0.0, math.inf).probability_above(1e9) == 0.5
    assert Interval.exact(0.0).probability_above(0.0) == 0.0
