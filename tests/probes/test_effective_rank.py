"""The effective rank from a few rows: without bias, whatever the matrix; and what follows for float32 factors."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import scipy.linalg

import autonla as nla
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.linear_system import lu, mixed_lu
from autonla.primitives.linear_system._common import Settings
from autonla.primitives.task import Task
from autonla.probes import effective_rank as probe
from tests._support import matrices, spectra
from tests._support.backends import BACKENDS


def task(A, seed=0, **keywords) -> Task:
    return Task("linear_system", *A.shape, seed=seed, structure="general", **keywords)


def look(A, seed=0, **keywords) -> Evidence:
    return probe.run(A, task(A, seed, **keywords), Evidence())


def estimate(A, seed) -> float:
    """1 / (n share), which is what is estimated without bias but for the rounding off at 1."""
    rows = np.random.default_rng(seed).choice(len(A), probe.ROWS, replace=False)
    share = probe.share(A[rows] @ A[rows].T, task(A))
    assert share is not None
    return share


def exact(A) -> float:
    s = np.linalg.svd(A, compute_uv=False)
    return float(np.sum(s**2) ** 2 / np.sum(s**4) / len(A))


def arrow(n, rng) -> np.ndarray:
    """Sparse, one row and one column full: rows are anything but alike."""
    A = np.diag(rng.uniform(1.0, 2.0, n))
    A[0] += 0.3
    A[:, 0] += 0.3
    return A


@pytest.mark.statistical
@pytest.mark.parametrize("condition", [2.0, 1e2, 1e4, 1e8])
def test_it_estimates_the_share_of_matrices_without_special_rows(condition):
    rng = np.random.default_rng(1)
    A = matrices.with_spectrum(400, 400, spectra.geometric(400, condition), rng).A
    found = np.array([estimate(A, seed) for seed in range(20)])
    assert abs(found.mean() / exact(A) - 1.0) < 0.03
    assert np.all(np.abs(found / exact(A) - 1.0) < 0.2)
    # The check can fail: pairs without repetition are fewer than k^2.
    wrong = probe.ROWS / (probe.ROWS - 1.0)
    assert abs(found.mean() * wrong**2 / exact(A) - 1.0) > 0.03 or condition > 1e6


@pytest.mark.statistical
def test_the_second_moment_has_no_bias_whatever_the_rows():
    """1 / share is linear in the second moment where all rows have the same norm, and rows alike in norm only."""
    rng = np.random.default_rng(2)
    n = 300
    A = arrow(n, rng)
    A /= np.linalg.norm(A, axis=1)[:, None]
    means = np.mean([1.0 / estimate(A, seed) for seed in range(400)])
    assert abs(means * exact(A) - 1.0) < 0.03


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e8, 1e12])
def test_evenly_spread_singular_values_have_the_condition_that_it_says(condition):
    rng = np.random.default_rng(3)
    for n in (250, 600):
        A = matrices.with_spectrum(n, n, spectra.geometric(n, condition), rng).A
        found = look(A).condition
        assert condition / 30 < found.median < condition * 30
        assert found.low == 1.0
        assert found.median < found.high < math.inf
        assert math.log10(found.median) == round(math.log10(found.median))


def test_float32_factors_are_thought_good_enough_where_they_are():
    rng = np.random.default_rng(4)
    chances = []
    for condition in (1e1, 1e3, 1e5, 1e10, 1e14):
        A = matrices.with_spectrum(500, 500, spectra.geometric(500, condition), rng).A
        aim = Task("linear_system", 500, 500, structure="general", target=1e-12)
        error = mixed_lu.error(aim, look(A), Settings("scipy", "float32"))
        chances.append(error.probability_above(aim.target))
    assert chances == sorted(chances)
    assert chances[1] < 0.15
    assert chances[-2] > 0.45


def test_a_single_tiny_singular_value_is_not_seen():
    """What it cannot see: the interval must leave room for it."""
    rng = np.random.default_rng(5)
    A = matrices.with_spectrum(300, 300, spectra.one_small(300, 1e12), rng).A
    found = look(A).condition
    assert found.median < 1e2
    assert found.probability_above(1e7) > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_library_finds_the_same(backend):
    A = np.random.default_rng(6).standard_normal((200, 200))
    found = probe.run(backend.asarray(A), task(A, 7, library=backend.name), Evidence(), backend=backend.name)
    assert found.condition == look(A, 7).condition
    assert [f.probe for f in found.findings] == [probe.NAME]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e200, 1e-200])
def test_it_says_nothing_of_what_it_cannot_square(value):
    with np.errstate(all="ignore"):
        assert look(np.full((100, 100), value)) == Evidence()


@pytest.mark.parametrize("n", [1, 2, 5, 63, 64, 65])
def test_small_orders_are_read_in_full(n):
    A = np.random.default_rng(8).standard_normal((n, n))
    found = look(A)
    if n == 1:
        assert found == Evidence()
    elif n <= probe.ROWS:
        assert probe.share(A @ A.T, task(A)) == pytest.approx(exact(A))


def decaying(n=400, width=40) -> np.ndarray:
    """Tridiagonal with a dominant diagonal, and a corner for the fill to come from."""
    A = np.diag(np.full(n, 4.0)) + np.diag(np.full(n - 1, 0.7), 1) + np.diag(np.full(n - 1, 0.7), -1)
    A[0, -1] = A[-1, 0] = 0.7
    return A


def subnormal(A) -> int:
    lu = np.abs(scipy.linalg.lu_factor(A.astype(np.float32), check_finite=False)[0])
    return int(np.count_nonzero((lu > 0) & (lu < np.finfo(np.float32).tiny)))


def test_fill_that_decays_to_subnormal_numbers_is_foreseen():
    A = decaying()
    assert subnormal(A) > 0  # the reason
    found = look(A)
    assert found.underflows
    assert "subnormal" in found.findings[-1].sentence
    reason = mixed_lu.applies(task(A), found, Settings("scipy", "float32"))
    assert reason is not None
    assert "subnormal" in reason
    # Neither where the diagonal does not dominate nor where there are no zeros.
    laplacian = decaying()
    laplacian[np.arange(400), np.arange(400)] = 1.4
    assert subnormal(laplacian) == 0
    assert not look(laplacian).underflows
    dense = decaying() + 1e-3 * np.random.default_rng(9).standard_normal((400, 400))
    assert subnormal(dense) == 0
    assert not look(dense).underflows


def test_its_work_is_what_it_does_and_holds():
    A = np.random.default_rng(10).standard_normal((1500, 1500))
    work = probe.work(task(A))
    assert all(call.kernel in KERNELS for call in work.calls)
    look(A)
    tracemalloc.start()
    look(A)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 1.05 * work.peak_bytes + 65536


def test_a_well_conditioned_system_is_solved_with_float32_factors_and_says_why():
    rng = np.random.default_rng(11)
    A = rng.standard_normal((1200, 1200))
    x = nla.solve(nla.LinearSystem(A, A @ np.ones(1200)), nla.Budget(accuracy=1e-12), rng=0, rigor="exhaustive")
    assert x.status == "certified"
    assert any(f.probe == probe.NAME for f in x.plan.evidence.findings)


def test_what_elimination_loses_is_forecast_from_it_without_the_norm():
    """An ill-conditioned system to 1e-14: the backward error of LU, which needs ||A||_F / ||A||_2 otherwise."""
    rng = np.random.default_rng(12)
    n = 500
    A = matrices.with_spectrum(n, n, spectra.geometric(n, 1e12), rng).A
    found = look(A)
    assert found.effective_rank is not None
    assert found.norm_2 is None
    phi = float(np.linalg.norm(A) / (math.sqrt(n) * np.linalg.norm(A, 2)))
    assert phi**2 <= 1.2 * found.effective_rank  # rounded to one digit
    error = lu.error(task(A), found, Settings("scipy", "float64"))
    x = scipy.linalg.solve(A, A @ np.ones(n))
    r = A @ (np.ones(n) - x)
    backward = float(np.linalg.norm(r) / (np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(A @ np.ones(n))))
    assert backward <= error.high
    blind = lu.error(task(A), Evidence(), Settings("scipy", "float64"))
    assert error.high < blind.high / 5.0
