from __future__ import annotations

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from autonla.primitives.evidence import Evidence, Finding
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.task import Task
from autonla.probes import sketched_least_squares as probe
from tests._support import matrices, spectra
from tests._support.backends import BACKENDS
from tests._support.draws import random_problems


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1, "blas"):
        yield


def _task(A, b, **keywords):
    dtype = str(A.dtype).rpartition(".")[2]
    return Task("least_squares", A.shape[0], A.shape[1], nrhs=1 if b.ndim == 1 else b.shape[1], dtype=dtype, **keywords)


def _look(A, b, evidence=None, **keywords):
    return probe.run(A, b, _task(A, b, **keywords), Evidence() if evidence is None else evidence)


def _truth(A, b, ridge=0.0):
    """Extreme singular values as they are and with columns of one length, ||r|| / ||b||, ||A|| ||x|| / ||b||."""
    m, n = A.shape
    tall = A if m >= n else A.T
    full = np.vstack([tall, math.sqrt(ridge) * np.eye(min(m, n))])
    s = np.linalg.svd(full, compute_uv=False)
    scaled = np.linalg.svd(full / np.linalg.norm(full, axis=0), compute_uv=False)
    augmented = np.vstack([A, math.sqrt(ridge) * np.eye(n)])
    x = np.linalg.lstsq(augmented, np.concatenate([b, np.zeros((n, *b.shape[1:]))]))[0] if ridge else None
    x = np.linalg.lstsq(A, b)[0] if x is None else x
    size = np.linalg.norm(b, axis=0)
    residual = np.max(np.linalg.norm(b - A @ x, axis=0) / size)
    return s, scaled, residual, np.max(np.linalg.norm(x, axis=0) / size) * np.linalg.norm(A, 2)


def _inside(interval, value, slack=1.0):
    return interval.low / slack <= value <= interval.high * slack


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(3000, 40), (200, 60), (60, 60), (30, 400)])
@pytest.mark.parametrize("columns", [None, 3])
def test_findings_hold(backend, dtype, shape, columns):
    rng = np.random.default_rng([*shape, 1])
    matrix = matrices.with_spectrum(shape[0], shape[1], spectra.geometric(min(shape), 300.0), rng)
    rho = 0.2 if shape[0] > shape[1] else 0.0
    problem = matrices.least_squares(matrix, rho, rng, columns=columns)
    A, b = backend.asarray(problem.A, dtype), backend.asarray(problem.b, dtype)
    library = backend.module
    found, by_products = _look(A, b, library=library, device="cpu" if backend.device == "cpu" else backend.device)
    s, scaled, residual, solution = _truth(problem.A, problem.b)
    assert found.numerical_rank is None
    assert found.norm_2 is not None
    assert found.residual is not None
    assert found.solution is not None
    assert _inside(found.norm_2, s[0])
    assert _inside(found.condition, s[0] / s[-1])
    assert _inside(found.scaled_condition, scaled[0] / scaled[-1])
    assert found.condition.high < 20.0 * found.condition.low
    assert found.residual.low / 1.1 - 1e-5 <= residual <= 1.1 * found.residual.high + 1e-5
    assert _inside(found.solution, solution, slack=1.05)
    assert ("sketch" in by_products) == (shape[0] >= shape[1])
    if "sketch" in by_products:
        assert backend.owns(by_products["sketch"].R)
    assert 1 <= len(found.findings) <= 3
    for finding in found.findings:
        assert isinstance(finding, Finding)
        assert finding.sentence


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_operands_are_left_alone(order):
    rng = np.random.default_rng(2)
    A, b = np.array(rng.standard_normal((500, 6)), order=order), rng.standard_normal(500)
    before = A.copy(), b.copy()
    A.setflags(write=False)
    b.setflags(write=False)
    first, _ = _look(A, b, seed=7)
    assert np.array_equal(A, before[0])
    assert np.array_equal(b, before[1])
    again, _ = _look(np.ascontiguousarray(A), b, seed=7)
    assert again == first  # the same in both memory orders
    assert _look(A, b, seed=8)[0] != first


@pytest.mark.statistical
def test_intervals_cover_nine_in_ten():
    counts = {"condition": [], "scaled_condition": [], "norm_2": [], "residual": [], "solution": []}
    medians = []
    for draw in random_problems("least_squares", 110, 31):
        problem = draw.problem
        exponent = int(np.frexp(np.abs(problem.A).max())[1])
        A = np.ldexp(problem.A, -exponent)
        b = np.ldexp(problem.b, -int(np.frexp(np.abs(problem.b).max())[1]))
        ridge = float(np.ldexp(problem.ridge, -2 * exponent))
        if A.size > 60_000 or (problem.rank is not None and problem.rank < min(A.shape)):
            continue
        found, _ = _look(A, b, ridge=ridge, seed=draw.index)
        assert found.numerical_rank is None, str(draw)
        s, scaled, residual, solution = _truth(A, b, ridge)
        if s[-1] < 1e-11 * s[0] or A.shape[0] <= A.shape[1]:  # numpy's answer is not the truth, or there is no sketch
            continue
        counts["condition"].append(_inside(found.condition, s[0] / s[-1]))
        counts["scaled_condition"].append(_inside(found.scaled_condition, scaled[0] / scaled[-1]))
        counts["norm_2"].append(_inside(found.norm_2, s[0]))
        assert found.residual is not None
        counts["residual"].append(found.residual.low - 1e-15 <= residual <= found.residual.high + 1e-15)
        counts["solution"].append(_inside(found.solution, solution))
        medians.append(math.log(found.scaled_condition.median * scaled[-1] / scaled[0]))
    assert len(medians) > 30
    for name, inside in counts.items():
        assert np.mean(inside) >= 0.85, (name, np.mean(inside))
    assert abs(np.median(medians)) < 0.3


@pytest.mark.parametrize("family", ["exact rank", "repeated columns", "dummy variables", "numerical rank"])
def test_the_rank_is_found_where_it_is_deficient(family):
    seen = 0
    for draw in random_problems("least_squares", 110, 12):
        problem = draw.problem
        if draw.family != family or problem.rank is None or problem.rank >= min(problem.A.shape) or problem.ridge:
            continue
        A = np.ldexp(problem.A, -int(np.frexp(np.abs(problem.A).max())[1]))
        b = np.ldexp(problem.b, -int(np.frexp(np.abs(problem.b).max())[1]))
        found, _ = _look(A, b)
        assert found.numerical_rank == problem.rank, str(draw)
        assert found.condition.high == math.inf
        assert f"{problem.rank} of {min(A.shape)}" in found.findings[0].sentence
        ridge = 0.1
        assert _look(A, b, ridge=ridge)[0].numerical_rank is None  # ridge makes any rank full
        seen += 1
    assert seen >= 2


def test_full_rank_at_condition_1e13_is_not_taken_for_deficient():
    rng = np.random.default_rng(3)
    for shape in ((2000, 30), (300, 200), (40, 40), (40, 300)):
        problem = matrices.least_squares(
            matrices.with_spectrum(*shape, spectra.geometric(min(shape), 1e13), rng), 0.0, rng
        )
        found, _ = _look(problem.A, problem.b)
        assert found.numerical_rank is None
        assert _inside(found.condition, 1e13)


def test_column_scales_are_told_from_ill_conditioning():
    rng = np.random.default_rng(4)
    A = matrices.graded(rng.standard_normal((1000, 10)), columns=9.0)
    found, _ = _look(A, rng.standard_normal(1000))
    assert found.condition.low > 1e7
    assert found.scaled_condition.high < 20.0
    assert "scaled" in found.findings[0].sentence


def test_consistent_systems_are_seen_to_be():
    rng = np.random.default_rng(5)
    A = rng.standard_normal((1000, 10))
    found, _ = _look(A, A @ rng.standard_normal(10))
    assert found.residual is not None
    assert found.residual.low == 0.0
    assert found.residual.high < 1e-13
    assert "within rounding" in found.findings[1].sentence


def test_coherence():
    rng = np.random.default_rng(6)
    flat, _ = _look(rng.standard_normal((3000, 10)), rng.standard_normal(3000))
    assert flat.coherence is not None
    assert 1.0 <= flat.coherence.low <= flat.coherence.median < 6.0
    assert flat.coherence.high == 300.0
    A = rng.standard_normal((100, 10))
    A[0] *= 1e6
    peaked, _ = _look(A, rng.standard_normal(100))
    assert peaked.coherence is not None
    assert peaked.coherence.low == pytest.approx(10.0, rel=1e-6, abs=0.0)  # every row was looked at


def test_findings_are_added():
    rng = np.random.default_rng(7)
    earlier = Evidence(norm_fro=3.0, findings=(Finding("another", "something"),))
    found, _ = _look(rng.standard_normal((300, 4)), rng.standard_normal(300), earlier)
    assert found.findings[0] == earlier.findings[0]
    assert found.norm_fro == 3.0
    assert len(found.findings) > 1


@pytest.mark.parametrize("special", ["zero A", "zero column", "zero b", "one column", "one row"])
def test_degenerate_operands(special):
    rng = np.random.default_rng(8)
    A, b = rng.standard_normal((300, 5)), rng.standard_normal(300)
    if special == "zero A":
        A[:] = 0.0
    elif special == "zero column":
        A[:, 2] = 0.0
    elif special == "zero b":
        b[:] = 0.0
    elif special == "one column":
        A = A[:, :1]
    else:
        A, b = A[:1], b[:1]
    found, _ = _look(A, b)
    assert found.numerical_rank == {"zero A": 0, "zero column": 4}.get(special)
    for interval in (found.norm_2, found.condition, found.scaled_condition, found.residual, found.solution):
        assert interval is not None
        assert not math.isnan(interval.low + interval.median)
        assert interval.low <= interval.median <= interval.high


@pytest.mark.parametrize("task", [
    Task("least_squares", 100000, 200), Task("least_squares", 300, 200, ridge=1.0), Task("least_squares", 20, 2000),
    Task("least_squares", 5000, 300, nrhs=4, dtype="float32", library="torch"),
])  # fmt: skip
def test_work(task):
    work = probe.work(task)
    for call in work.calls:
        kernel = KERNELS[call.kernel]
        assert kernel.supports(call.backend, call.dtype), call
        assert len(call.dims) == len(kernel.dims), call
    if task.m > 10000:
        flops = sum(call.count * KERNELS[call.kernel].flops(*call.dims) for call in work.calls)
        assert flops < 0.1 * task.m * task.n**2  # a tenth of the Gram matrix
        assert work.peak_bytes < 0.2 * 8 * task.m * task.n
