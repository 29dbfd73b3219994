from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from autonla.primitives.evidence import Evidence
from autonla.primitives.linear_system import ALGORITHMS
from autonla.primitives.task import Task
from autonla.probes import conditioning
from tests._support.backends import BACKENDS

MIXED_LU = next(algorithm for algorithm in ALGORITHMS if algorithm.name == "mixed_lu")


def _reflected(A, rng, symmetric=False):
    """A between products of a few random reflections: dense, same singular values, in O(n^2)."""
    for _ in range(3):
        v = rng.standard_normal(len(A))
        v /= np.linalg.norm(v)
        A = A - 2 * np.outer(v, v @ A)
        if not symmetric:
            v = rng.standard_normal(len(A))
            v /= np.linalg.norm(v)
        A = A - 2 * np.outer(A @ v, v)
    return A


def _matrix(name, n, seed=0):
    rng = np.random.default_rng([n, seed])
    if name == "gaussian":
        return rng.standard_normal((n, n))
    if name == "clustered":
        return _reflected(np.diag(np.r_[1e3, rng.uniform(0.5, 1.0, n - 1)]), rng)
    if name == "fast decay":
        return _reflected(np.diag(np.exp(-np.arange(n) / 8.0)), rng)
    if name == "low rank and noise":
        return _reflected(np.diag(np.where(np.arange(n) < n // 10, 1.0, 1e-9)), rng)
    exponent = float(name.removeprefix("geometric 1e"))
    return _reflected(np.diag(rng.permutation(np.geomspace(1.0, 10.0**-exponent, n))), rng)


class Found:
    """Evidence of which the probe has filled in every field that is asked for."""

    def __init__(self, evidence: Evidence) -> None:
        assert evidence.norm_2 is not None
        assert evidence.small_fraction is not None
        self.evidence, self.norm_2, self.small_fraction = evidence, evidence.norm_2, evidence.small_fraction
        self.condition = evidence.condition


def _probe(A, seed=0, **keywords):
    n = A.shape[0]
    task = Task("linear_system", n, n, seed=seed)
    evidence, by_products = conditioning.run(A, task, Evidence(norm_fro=float(np.linalg.norm(A))), **keywords)
    return Found(evidence), by_products, task


BENIGN = ("gaussian", "geometric 1e1", "geometric 1e2", "geometric 1e4", "clustered")
HOPELESS = ("geometric 1e10", "geometric 1e12", "geometric 1e15", "fast decay", "low rank and noise")


@pytest.mark.parametrize("n", [500, 1200])
@pytest.mark.parametrize("seed", range(3))
def test_it_separates_what_a_float32_factor_can_solve_from_what_it_cannot(n, seed):
    for name in BENIGN:
        evidence, _, task = _probe(_matrix(name, n, seed), seed)
        assert evidence.small_fraction < 0.02, name
        assert evidence.condition.median < 2e5, name
        assert MIXED_LU.error(task, evidence.evidence, None).median <= task.target, name
    for name in HOPELESS:
        evidence, _, task = _probe(_matrix(name, n, seed), seed)
        assert evidence.small_fraction > 0.1, name
        assert evidence.condition.median > 3e7, name
        assert MIXED_LU.error(task, evidence.evidence, None).median > 0.1, name


@pytest.mark.parametrize("exponent", [2, 4, 6, 8, 10, 12])
def test_the_spread_of_a_geometric_spectrum(exponent):
    """Within a fifth of its decades: 20 % is 4 standard deviations at n = 1000."""
    estimates = [
        math.log10(_probe(_matrix(f"geometric 1e{exponent}", 1000), seed)[0].condition.median) for seed in range(3)
    ]
    assert np.median(estimates) == pytest.approx(exponent, rel=0.2, abs=0.0)


@pytest.mark.parametrize("name", [*BENIGN, *HOPELESS])
def test_bounds_are_bounds(name):
    A = _matrix(name, 300)
    s = np.linalg.svd(A, compute_uv=False)
    for seed in range(4):
        evidence, _, _ = _probe(A, seed)
        assert evidence.norm_2.low <= s[0] * (1 + 1e-6)
        assert evidence.norm_2.low >= 0.8 * s[0]
        assert evidence.norm_2.high >= s[0]
        assert evidence.condition.low <= s[0] / s[-1]
        assert evidence.condition.low <= evidence.condition.median <= evidence.condition.high == math.inf


def test_one_tiny_singular_value_stays_unseen():
    """The limit that the docstring states: a mass of 1 / n is invisible to a random start."""
    rng = np.random.default_rng(0)
    A = _reflected(np.diag(np.r_[np.linspace(0.5, 1.0, 499), 1e-12]), rng)
    evidence, _, _ = _probe(A)
    assert evidence.condition.median < 1e6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_backends_and_orders_agree(backend, order):
    A = _matrix("geometric 1e4", 300)
    reference, _, _ = _probe(A)
    B = backend.asarray(A)
    if order == "F":
        B = B.T.copy().T if backend.name == "numpy" else B.T.contiguous().T
    task = Task("linear_system", 300, 300, library=backend.module, order=order)
    before = backend.to_numpy(B).copy()
    evidence, by_products = conditioning.run(B, task, Evidence())
    assert by_products == {}
    evidence = Found(evidence)
    assert evidence.condition.median == pytest.approx(reference.condition.median, rel=0.02, abs=0.0)
    assert evidence.norm_2.low == pytest.approx(reference.norm_2.low, rel=1e-4, abs=0.0)
    np.testing.assert_array_equal(backend.to_numpy(B), before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_computes_in_the_dtype_of_the_operands_and_copies_nothing(dtype):
    n = 700
    A = _matrix("gaussian", n).astype(dtype)
    task = Task("linear_system", n, n, dtype=dtype)
    tracemalloc.start()
    evidence, by_products = conditioning.run(A, task, Evidence())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert by_products == {}
    assert evidence.norm_2 is not None
    work = conditioning.work(task)
    assert [(call.kernel, call.dtype, call.count) for call in work.calls] == [
        ("gemv", dtype, conditioning.STEPS),
        ("gemv_t", dtype, conditioning.STEPS),
        ("stream", dtype, 1.0),
    ]
    assert peak < work.peak_bytes + 0.2 * A.nbytes


def test_a_negative_ritz_value_proves_indefiniteness():
    rng = np.random.default_rng(3)
    n = 300
    S = rng.standard_normal((n, n))
    for A, indefinite in ((S + S.T + 5 * np.eye(n), True), (S @ S.T, False), (S @ S.T + n * np.eye(n), False)):
        task = Task("linear_system", n, n, structure="symmetric")
        _, by_products = conditioning.run(A, task, Evidence())
        assert by_products.get("indefinite", False) is indefinite


def test_same_seed_same_evidence():
    A = _matrix("gaussian", 300)
    first, again, other = (_probe(A, seed)[0] for seed in (5, 5, 6))
    assert first.condition == again.condition
    assert first.norm_2 == again.norm_2
    assert first.condition != other.condition


@pytest.mark.parametrize(
    "A",
    [np.zeros((5, 5)), np.eye(1), np.eye(4), np.ones((6, 6)), np.diag([1.0, 0.0, 0.0, 2.0])],
    ids=["zero", "one", "identity", "rank one", "rank two"],
)
def test_degenerate_matrices(A):
    evidence, _ = conditioning.run(A, Task("linear_system", *A.shape), Evidence())
    assert evidence.findings[-1].probe == "conditioning"
    assert evidence.condition.median >= 1.0
    if A.any():
        assert Found(evidence).norm_2.low == pytest.approx(np.linalg.norm(A, 2), rel=1e-5, abs=0.0)


def test_outliers_get_more_steps():
    """Nine singular values far above the rest: after six steps all Ritz values but one are outliers."""
    rng = np.random.default_rng(0)
    A = _reflected(np.diag(np.r_[np.geomspace(1e3, 30.0, 9), rng.uniform(0.5, 1.0, 491)]), rng)
    evidence, _, _ = _probe(A)
    assert evidence.small_fraction < 0.02
    assert evidence.condition.median < 1e6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_frobenius_norm_comes_with_it_where_it_is_not_known(dtype, order):
    A = np.asarray(np.random.default_rng(0).standard_normal((80, 80)), dtype=dtype, order=order)
    task = Task("linear_system", 80, 80, dtype=dtype)
    found = conditioning.run(A, task, Evidence())[0]
    assert found.norm_2 is not None
    assert found.norm_fro is not None
    assert found.norm_fro == pytest.approx(float(np.linalg.norm(A.astype(float))), rel=1e-6, abs=0.0)
    assert found.norm_2.low <= found.norm_fro
    assert conditioning.run(A, task, Evidence(norm_fro=3.0))[0].norm_fro == 3.0
    for odd in (np.nan, np.inf, 1e200 if dtype == "float64" else 1e32):
        B = A.copy()
        B[3, 5] = odd
        seen = conditioning.run(B, task, Evidence())[0]
        assert seen.norm_fro is None
        assert seen.norm_2 is None
