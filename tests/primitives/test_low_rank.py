"""Low-rank algorithms, what they forecast, the probe they start from, and the bound on the best error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from autonla.primitives import algorithms_for
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.low_rank import optimality, range_basis
from autonla.primitives.range_finder_theory import Spectrum, krylov_error, range_error
from autonla.primitives.task import UNIT_ROUNDOFF, Task
from autonla.probes import range_sketch

ALGORITHMS = {algorithm.name: algorithm for algorithm in algorithms_for("low_rank")}
SPECTRA = {
    "flat": np.ones(120),
    "polynomial": np.arange(1.0, 121.0) ** -1.0,
    "exponential": 0.8 ** np.arange(120),
    "step": np.concatenate([np.ones(15), np.full(105, 1e-2)]),
    "slow": np.arange(1.0, 121.0) ** -0.5,
}


def matrix(s, m=200, n=120, seed=0):
    rng = np.random.default_rng(seed)
    k = len(s)
    U, V = np.linalg.qr(rng.standard_normal((m, k)))[0], np.linalg.qr(rng.standard_normal((n, k)))[0]
    return (U * s) @ V.T


def task_of(A, **changes):
    order = "F" if isinstance(A, np.ndarray) and A.flags.f_contiguous and not A.flags.c_contiguous else "C"
    library = "numpy" if isinstance(A, np.ndarray) else "torch"
    fields = {"dtype": str(A.dtype).rpartition(".")[2], "order": order, "library": library, "target": 1e-2}
    return Task("low_rank", A.shape[0], A.shape[1], nrhs=0, **{**fields, **changes})


def evidence_of(s, A):
    keep = min(60, len(s))
    return Evidence(
        norm_fro=float(np.linalg.norm(s)), singular_values=tuple(s[:keep]), tail_energy=float((s[keep:] ** 2).sum())
    )


def settings(name, task, evidence, backend):
    algorithm = ALGORITHMS[name]
    return [
        o
        for o in algorithm.options(task, evidence)
        if o.backend == backend and not algorithm.applies(task, evidence, o)
    ]


def factors(outcome):
    return [np.asarray(part, dtype=float) for part in outcome.value]


def error(A, outcome):
    U, s, Vh = factors(outcome)
    return float(np.linalg.norm(A - (U * s) @ Vh))


@pytest.mark.parametrize("name", ["flat", "polynomial", "exponential", "step", "slow"])
@pytest.mark.parametrize("power_steps", [0, 1, 2])
def test_the_fixed_point_formula_predicts_the_mean_error(name, power_steps):
    s, l = SPECTRA[name], 25
    rng = np.random.default_rng(1)
    measured = []
    for _ in range(12):
        Y = s[:, None] ** (2 * power_steps + 1) * rng.standard_normal((len(s), l))
        Q = np.linalg.qr(Y)[0]
        measured.append(np.linalg.norm(np.diag(s) - Q @ (Q.T * s)) ** 2)
    assert range_error(Spectrum.from_values(s), l, power_steps) == pytest.approx(np.mean(measured), rel=0.12, abs=0.0)


def test_predictions_fall_with_columns_power_steps_and_krylov_steps():
    spectrum = Spectrum.from_values(SPECTRA["polynomial"])
    assert range_error(spectrum, 40) < range_error(spectrum, 20)
    assert range_error(spectrum, 20, 1) < range_error(spectrum, 20, 0)
    assert krylov_error(spectrum, 20, 2) < krylov_error(spectrum, 20, 1)
    assert range_error(spectrum, 30, 3, rank=20) >= spectrum.tail(20)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(200, 120), (120, 200), (150, 150)])
def test_triplets_are_orthonormal_ordered_and_near_the_best(name, backend, dtype, shape):
    s = 0.85 ** np.arange(min(shape))
    A = matrix(s, *shape).astype(dtype)
    original = A.copy()
    k = 8
    task = task_of(A, rank=k, target=0.05)
    evidence = evidence_of(s, A)
    found = settings(name, task, evidence, backend)
    if not found:
        pytest.skip("does not apply")
    u = UNIT_ROUNDOFF[dtype]
    best = float(np.linalg.norm(s[k:]))
    for options in found:
        outcome = ALGORITHMS[name].solve(A, None, task, options, evidence, {})
        U, values, Vh = factors(outcome)
        assert U.shape == (shape[0], k)
        assert Vh.shape == (k, shape[1])
        # float32 power steps leave float64 factors orthonormal to the dtype they were computed in
        loose = max(u, UNIT_ROUNDOFF[options.dtype])
        assert np.linalg.norm(U.T @ U - np.eye(k)) < 200 * loose
        assert np.linalg.norm(Vh @ Vh.T - np.eye(k)) < 200 * loose
        assert np.all(np.diff(values) <= 1e-6)
        steps = getattr(options, "power_steps", 1)
        assert error(A, outcome) <= best * (1.6 if steps == 0 else 1.1), options
        np.testing.assert_array_equal(A, original)


@pytest.mark.parametrize("name", ["svd", "gram", "randomized_svd", "block_krylov"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_smallest_rank_that_meets_the_target(name, center, order):
    s = np.arange(1.0, 121.0) ** -1.5
    A = np.asarray(matrix(s) + (3.0 if center else 0.0), order=order)
    reference = A - A.mean(axis=0) if center else A
    true = np.linalg.svd(reference, compute_uv=False)
    size = np.linalg.norm(reference)
    task = task_of(A, target=0.03, center=center)
    evidence = evidence_of(true, A)
    evidence = replace(evidence, norm_fro=float(np.linalg.norm(A)))
    smallest = next(k for k in range(121) if np.linalg.norm(true[k:]) <= 0.03 * size)
    for options in settings(name, task, evidence, "scipy"):
        outcome = ALGORITHMS[name].solve(A, None, task, options, evidence, {})
        assert error(reference, outcome) <= 0.03 * size * (1 + 1e-9), options
        assert len(outcome.value[1]) <= math.ceil(1.2 * smallest) + 1, options


def test_without_power_steps_a_slow_spectrum_is_captured_badly():
    """A negative control: if zero steps did as well as two, the steps would do nothing."""
    s, k = SPECTRA["slow"], 10
    A = matrix(s)
    task, evidence = task_of(A, rank=k, target=0.5), evidence_of(SPECTRA["slow"], A)
    excess = {}
    for options in settings("randomized_svd", task, evidence, "scipy"):
        if options.dtype == "float64":
            outcome = ALGORITHMS["randomized_svd"].solve(A, None, task, options, evidence, {})
            excess[options.power_steps] = error(A, outcome) / np.linalg.norm(s[k:]) - 1.0
    assert excess[0] > 3 * excess[2] > 0


def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    A = matrix(SPECTRA["polynomial"])
    evidence = evidence_of(SPECTRA["polynomial"], A)
    values = []
    for seed in (5, 5, 6):
        task = task_of(A, rank=10, target=0.05, seed=seed)
        options = settings("randomized_svd", task, evidence, "scipy")[0]
        values.append(factors(ALGORITHMS["randomized_svd"].solve(A, None, task, options, evidence, {})))
    np.testing.assert_array_equal(values[0][0], values[1][0])
    assert not np.array_equal(values[0][0], values[2][0])


def test_rank_deficient_and_zero_matrices():
    A = matrix(np.concatenate([np.ones(5), np.zeros(115)]))
    task, evidence = task_of(A, target=1e-6), evidence_of(np.concatenate([np.ones(5), np.zeros(115)]), A)
    for name in ("svd", "gram", "randomized_svd"):
        for options in settings(name, task, evidence, "scipy"):
            outcome = ALGORITHMS[name].solve(A, None, task, options, evidence, {})
            assert error(A, outcome) < 1e-6 * np.linalg.norm(A), options
            assert len(outcome.value[1]) <= 7, options


@pytest.mark.parametrize("spectrum", ["polynomial", "exponential", "slow"])
def test_forecasts_of_the_excess_cover_what_is_measured(spectrum):
    s, k, inside, total = SPECTRA[spectrum], 12, 0, 0
    for seed in range(6):
        A = matrix(s, seed=seed)
        task = task_of(A, rank=k, target=0.05, seed=seed)
        evidence = evidence_of(s, A)
        for options in settings("randomized_svd", task, evidence, "scipy"):
            if options.dtype != "float64":
                continue
            outcome = ALGORITHMS["randomized_svd"].solve(A, None, task, options, evidence, {})
            measured = max(0.0, error(A, outcome) / np.linalg.norm(s[k:]) - 1.0)  # below the best: rounding
            forecast = ALGORITHMS["randomized_svd"].error(task, evidence, options)
            total += 1
            inside += forecast.low / 2 <= measured <= 2 * forecast.high + 1e-12
    assert inside >= 0.85 * total
    assert total >= 12


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_work_names_kernels_of_the_catalogue(name):
    s = SPECTRA["polynomial"]
    A = matrix(s)
    for rank in (None, 10):
        task, evidence = task_of(A, rank=rank, target=0.03), evidence_of(s, A)
        for backend in ("scipy", "numpy", "torch"):
            for options in settings(name, task, evidence, backend):
                work = ALGORITHMS[name].work(task, evidence, options)
                assert work.peak_bytes > 0
                for call in work.calls:
                    assert len(call.dims) == len(KERNELS[call.kernel].dims)


def test_what_does_not_apply_says_why():
    A = np.zeros((2000, 2000), dtype="float64")
    for name, rank, words in (("randomized_svd", 1900, "nothing is left"), ("lanczos", 1900, "too many")):
        task = task_of(A, rank=rank)
        reasons = [ALGORITHMS[name].applies(task, Evidence(), o) for o in ALGORITHMS[name].options(task, Evidence())]
        assert reasons
        assert all(reason is not None and words in reason for reason in reasons)
    tight = task_of(A, target=1e-10)
    gram = ALGORITHMS["gram"]
    assert all("resolves" in (gram.applies(tight, Evidence(), o) or "") for o in gram.options(tight, Evidence()))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_probe_sees_the_decay_and_its_range_is_used_again(library, monkeypatch):
    s = np.arange(1.0, 401.0) ** -1.0
    A = matrix(s, 600, 400)
    operand = A if library == "numpy" else pytest.importorskip("torch").from_numpy(A)
    task = task_of(operand, rank=10, target=0.05)
    evidence, by_products = range_sketch.run(operand, None, task, Evidence())
    np.testing.assert_allclose(evidence.singular_values[:5], s[:5], rtol=0.1)
    assert evidence.norm_fro == pytest.approx(np.linalg.norm(s), rel=1e-10, abs=0.0)
    assert evidence.findings
    calls = []
    genuine = range_basis.find
    monkeypatch.setattr(range_basis, "find", lambda *a, **k: calls.append(a) or genuine(*a, **k))
    backend = "scipy" if library == "numpy" else "torch"
    options = next(o for o in settings("randomized_svd", task, evidence, backend) if o.power_steps == 1)
    outcome = ALGORITHMS["randomized_svd"].solve(operand, None, task, options, evidence, by_products)
    assert calls == []
    assert error(A, outcome) <= 1.1 * np.linalg.norm(s[10:])


def lower_bound(A, Q, k, seed=1):
    products = range_basis.products(A, "scipy")
    return optimality.best_rank_k_lower_bound(products, Q, Q.T @ A, k, float(np.linalg.norm(A)), seed, 1e-2)


@pytest.mark.statistical
@pytest.mark.parametrize("name", sorted(SPECTRA))
def test_the_lower_bound_is_one_and_tight_where_the_spectrum_falls(name):
    s, k, l = SPECTRA[name], 10, 20
    best = float(np.linalg.norm(s[k:]))
    for seed in range(15):
        rng = np.random.default_rng(seed)
        A = matrix(s, seed=seed)
        Y = A @ rng.standard_normal((120, l))
        for _ in range(2):
            Y = A @ (A.T @ np.linalg.qr(Y)[0])
        bound = lower_bound(A, np.linalg.qr(Y)[0], k, seed)
        assert bound <= best * (1 + 1e-10)
        if name == "exponential":  # in a step or a plateau the range need not hold the leading directions
            assert bound >= 0.99 * best


def test_a_range_without_a_leading_direction_gives_itself_away():
    """A negative control: the bound must not depend on Q being good."""
    s, k = SPECTRA["exponential"], 10
    A = matrix(s)
    U = np.linalg.svd(A, full_matrices=False)[0]
    good, bad = lower_bound(A, U[:, :20], k), lower_bound(A, U[:, 1:21], k)
    best = float(np.linalg.norm(s[k:]))
    assert good == pytest.approx(best, rel=1e-3, abs=0.0)
    # what the bad range itself leaves is far above the bound: an approximation from it would not be certified
    assert bad <= best
    assert np.linalg.norm(A - U[:, 1:21] @ (U[:, 1:21].T @ A)) > 5 * bad
