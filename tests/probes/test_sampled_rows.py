"""The condition number from a few rows: within its interval where no row matters much more than others."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import autonla as nla
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.least_squares import normal_equations
from autonla.primitives.task import Task
from autonla.probes import sampled_rows as probe
from tests._support import matrices, spectra, truth
from tests._support.backends import BACKENDS, DTYPES
from tests._support.machine import synthetic_profile

MOST = normal_equations.limit("float64")
SHAPES = ((600, 5), (1200, 30), (4000, 80))


def problem(m, n, condition, rng, coherent=False, one_small=False) -> np.ndarray:
    s = (spectra.one_small if one_small else spectra.geometric)(n, condition)
    return matrices.with_spectrum(m, n, s, rng, coherent=coherent).A


def scaled_condition(A, ridge=0.0) -> float:
    """With the columns scaled to one length."""
    if ridge:
        A = np.vstack([A, np.sqrt(ridge) * np.eye(A.shape[1])])
    s = np.linalg.svd(A / np.linalg.norm(A, axis=0), compute_uv=False)
    return float(s[0] / s[-1])


def look(A, seed=0, **keywords) -> Evidence:
    task = Task("least_squares", *A.shape, seed=seed, **keywords)
    return probe.run(A, task, Evidence(norm_fro=float(np.linalg.norm(np.asarray(A, dtype=float)))))


@pytest.mark.statistical
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6])
def test_the_interval_holds_on_incoherent_matrices(condition):
    rng = np.random.default_rng(int(condition))
    ratios, inside = [], []
    for m, n in SHAPES:
        for seed in range(12):
            A = problem(m, n, condition, rng, one_small=seed % 2 == 1)
            found, exact = look(A, seed).scaled_condition, scaled_condition(A)
            inside.append(found.low <= exact <= found.high)
            ratios.append(exact / found.median)
    assert np.mean(inside) >= 0.9
    assert 0.2 < np.median(ratios) < 2.0
    # The check can fail: an interval a hundred times lower or higher does not hold.
    for factor in (0.01, 100.0):
        assert not (1.0 / probe._LOW * factor <= np.median(ratios) * probe._SHARE <= probe._HIGH * factor)


def test_the_interval_does_not_depend_on_the_scale_of_columns():
    rng = np.random.default_rng(1)
    A = problem(1200, 30, 1e3, rng)
    graded = np.ldexp(A, np.arange(30) * 3 - 45)
    assert look(graded).scaled_condition.median == pytest.approx(look(A).scaled_condition.median, rel=1e-6, abs=0.0)


@pytest.mark.statistical
@pytest.mark.parametrize("condition", [1e9, 1e12, 1e16])
def test_matrices_beyond_the_gram_matrix_are_told_from_those_within(condition):
    rng = np.random.default_rng(2)
    options = normal_equations.Options()
    for m, n in SHAPES:
        for seed in range(8):
            A = problem(m, n, condition, rng, one_small=seed % 2 == 1)
            found = look(A, seed)
            task = Task("least_squares", m, n)
            assert found.condition.low <= MOST < found.condition.median
            assert normal_equations.applies(task, found, options) is not None
            assert "above 3e+07" in found.findings[-1].sentence
            within = look(problem(m, n, 1e4, rng), seed)
            assert normal_equations.applies(task, within, options) is None
            assert normal_equations.breakdown(task, within, options) < 0.05


def test_columns_that_depend_on_each_other_do_so_in_any_rows():
    rng = np.random.default_rng(3)
    A = problem(1200, 30, 10.0, rng)
    for dependent in (np.hstack([A, A[:, :1]]), np.hstack([A, A @ np.ones((30, 1))]), np.hstack([A, 0.0 * A[:, :1]])):
        assert look(dependent).condition.median > MOST


@pytest.mark.parametrize("condition", [1.0, 1e4])
@pytest.mark.parametrize("seed", range(2))
def test_where_few_rows_carry_everything_it_may_be_wrong_and_nothing_else_is(condition, seed):
    """Rows that matter may be missed: the interval is wide, and what is done on its strength can fail or cost more."""
    rng = np.random.default_rng(seed)
    A = problem(30_000, 60, condition, rng, coherent=True)
    found = look(A, seed).condition
    assert found.high >= 50.0 * found.low
    b = A @ rng.standard_normal(60) + 0.1 * rng.standard_normal(30_000)
    solution = nla.solve(nla.LeastSquares(A, b), nla.Budget(accuracy=1e-8), rng=seed, profile=synthetic_profile())
    assert solution.status == "certified"
    assert [f.probe for f in solution.plan.evidence.findings][:1] == ["sampled rows"]
    assert truth.prediction_error(A, solution.value, b).low <= solution.certificate.bound <= 1e-8


@pytest.mark.parametrize("ridge", [1e-2, 1e-6])
def test_with_ridge_it_is_that_of_the_augmented_matrix(ridge):
    rng = np.random.default_rng(5)
    for m, n in SHAPES:
        A = problem(m, n, 1e10, rng)
        found = look(A, ridge=ridge).condition
        assert found.low <= scaled_condition(A, ridge) <= found.high
    assert look(A).condition.median > MOST


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_library_dtype_and_order(backend, dtype, order):
    A = problem(1200, 30, 1e3, np.random.default_rng(6)).astype(dtype)
    expected = look(A, dtype=dtype).condition.median
    operand = backend.asarray(A)
    if order == "F":
        operand = backend.asarray(np.ascontiguousarray(A.T)).T
    task = Task("least_squares", 1200, 30, dtype=dtype, library=backend.module, device=backend.device, order=order)
    if backend.device == "cpu":
        for library in ("scipy", "torch") if backend.module == "torch" else ("scipy",):
            found = probe.run(operand, task, Evidence(), backend=library).condition
            assert found.median == pytest.approx(expected, rel=1e-3, abs=0.0)
    assert probe.run(operand, task, Evidence()).condition.median == pytest.approx(expected, rel=1e-3, abs=0.0)


def test_the_rows_follow_the_seed_and_the_operand_is_left_alone():
    A = problem(1200, 30, 1e3, np.random.default_rng(7))
    before = A.tobytes()
    assert look(A, seed=3) == look(A, seed=3)
    assert look(A, seed=3).condition != look(A, seed=4).condition
    assert A.tobytes() == before


def test_what_was_known_is_kept():
    A = problem(1200, 30, 1e3, np.random.default_rng(8))
    found = look(A)
    assert found.norm_fro == float(np.linalg.norm(A))
    assert found.residual is found.solution is found.numerical_rank is None
    assert found.condition == found.scaled_condition
    sentence = found.findings[-1].sentence
    assert f"{probe.rows_of(30)} rows" in sentence
    assert f"{found.condition.median / probe._SHARE:.1e}" in sentence


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_its_price_names_kernels_and_its_memory_is_not_forecast_too_low(dtype, ridge):
    A = problem(20_000, 100, 1e3, np.random.default_rng(9)).astype(dtype)
    task = Task("least_squares", 20_000, 100, dtype=dtype, ridge=ridge)
    work = probe.work(task)
    for call in work.calls:
        kernel = KERNELS[call.kernel]
        assert kernel.supports(call.backend, call.dtype)
        assert len(call.dims) == len(kernel.dims)
    assert {call.backend for call in probe.work(task, "torch").calls} == {"torch"}
    probe.run(A, task, Evidence())
    tracemalloc.start()
    try:
        probe.run(A, task, Evidence())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert work.peak_bytes >= 0.95 * peak
    # and a small share of what the Gram matrix of all rows costs
    flops = sum(call.count * KERNELS[call.kernel].flops(*call.dims) for call in work.calls)
    assert flops < 0.1 * KERNELS["syrk"].flops(20_000, 100)
