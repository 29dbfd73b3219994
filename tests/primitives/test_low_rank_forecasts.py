"""What the low-rank algorithms say beforehand (error, work, memory) against what happens, from real probes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from autonla.primitives import Breakdown, algorithms_for
from autonla.primitives.evidence import Evidence
from autonla.primitives.low_rank import block_krylov, gram, optimality, randomized_svd, range_basis
from autonla.primitives.task import Task
from autonla.probes import range_sketch

ALGORITHMS = {algorithm.name: algorithm for algorithm in algorithms_for("low_rank")}
N = 240
J = np.arange(1.0, N + 1)
SPECTRA = {
    "1/j": 1 / J,
    "1/sqrt(j)": J**-0.5,
    "j^-2": J**-2,
    "exponential": np.exp(-J / 20),
    "sigmoid": 1 / (1 + np.exp((J - 25) / 8)) + 1e-3,
    "signal and noise": np.exp(-J / 6) + 0.02 * (1 - J / (N + 1)) ** 0.5,
    "flat": np.ones(N),
}


def task_of(A: np.ndarray, **changes: Any) -> Task:
    return Task("low_rank", *A.shape, nrhs=0, **{"dtype": A.dtype.name, "target": 1e-2, **changes})


def applicable(name: str, task: Task, evidence: Evidence, backend: str = "scipy") -> list[Any]:
    algorithm = ALGORITHMS[name]
    return [
        o
        for o in algorithm.options(task, evidence)
        if o.backend == backend and algorithm.applies(task, evidence, o) is None
    ]


def relative_error(A: np.ndarray, value: Any) -> float:
    U, s, Vh = (np.asarray(part, dtype=float) for part in value)
    return float(np.linalg.norm(A - (U * s) @ Vh) / np.linalg.norm(A))


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("name", "backend"),
    [("randomized_svd", "scipy"), ("block_krylov", "scipy"), ("lanczos", "numpy"), ("svd", "numpy"), ("gram", "scipy")],
)
def test_the_forecast_interval_of_the_excess_covers(name, backend):
    """At least 85 % of the draws, and no more than 10 % above, which is the side that breaks promises."""
    inside, above, total = 0, 0, 0
    for s in SPECTRA.values():
        A = np.diag(s)  # as good as any: Gaussian test matrices are rotation-invariant
        for k in (5, 25):
            best = np.linalg.norm(s[k:])
            for seed in range(3):
                task = task_of(A, rank=k, seed=seed)
                evidence, by_products = range_sketch.run(A, None, task, Evidence())
                for options in applicable(name, task, evidence, backend):
                    forecast = ALGORITHMS[name].error(task, evidence, options)
                    value = ALGORITHMS[name].solve(A, None, task, options, evidence, by_products).value
                    excess = max(relative_error(A, value) * np.linalg.norm(A) / best - 1, 0.0)
                    inside += forecast.low * 0.999 <= excess <= forecast.high * 1.001 + 1e-12
                    above += excess > forecast.high * 1.001 + 1e-12
                    total += 1
    assert total >= 12
    assert inside >= 0.85 * total
    assert above <= 0.1 * total


@pytest.mark.statistical
def test_the_median_forecast_of_one_power_step_is_honest():
    ratios = []
    for name in ("1/j", "1/sqrt(j)", "exponential", "sigmoid"):
        A, s = np.diag(SPECTRA[name]), SPECTRA[name]
        for seed in range(6):
            task = task_of(A, rank=20, seed=seed)
            evidence, by_products = range_sketch.run(A, None, task, Evidence())
            options = randomized_svd.Options(power_steps=1)
            value = randomized_svd.solve(A, None, task, options, evidence, by_products).value
            excess = relative_error(A, value) * np.linalg.norm(A) / np.linalg.norm(s[20:]) - 1
            ratios.append(excess / randomized_svd.error(task, evidence, options).median)
    assert 0.7 < np.median(ratios) < 1.4


@pytest.mark.parametrize("target", [0.2, 1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("name", ["1/j", "j^-2", "exponential", "signal and noise"])
def test_a_target_is_met_with_a_rank_near_the_smallest(name, target):
    s = SPECTRA[name]
    A = np.diag(s)
    tails = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0)) / np.linalg.norm(s)
    smallest = max(1, int(np.argmax(tails <= target)))
    task = task_of(A, target=target, seed=2)
    evidence, by_products = range_sketch.run(A, None, task, Evidence())
    solved = 0
    for which in ("svd", "gram", "randomized_svd", "block_krylov"):
        for options in applicable(which, task, evidence):
            try:
                outcome = ALGORITHMS[which].solve(A, None, task, options, evidence, by_products)
            except Breakdown:
                assert which in ("randomized_svd", "block_krylov")
                assert smallest > 0.3 * N, options
                continue
            solved += 1
            assert relative_error(A, outcome.value) <= target, options
            assert len(outcome.value[1]) <= 1.2 * smallest + 1, options
            low, high = ALGORITHMS[which].error(task, evidence, options).low, target
            assert low <= target <= high * 1.0000001
    assert solved


class CountedProducts:
    """Counts the products with A by the number of columns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.columns: list[int] = []
        for name in ("matmul", "rmatmul"):
            monkeypatch.setattr(range_basis.Products, name, self._counting(getattr(range_basis.Products, name)))

    def _counting(self, product: Any) -> Any:
        def counted(products: Any, X: Any) -> Any:
            self.columns.append(X.shape[1])
            return product(products, X)

        return counted


@pytest.mark.parametrize("rank", [20, None])
@pytest.mark.parametrize("shape", [(500, 300), (300, 500)])
def test_products_with_A_are_those_forecast_and_the_probe_is_not_repeated(monkeypatch, shape, rank):
    rng = np.random.default_rng(0)
    A = np.linalg.qr(rng.standard_normal((500, 300)))[0] * J[0] / np.arange(1.0, 301.0) ** 1.5
    A = A if shape[0] > shape[1] else np.ascontiguousarray(A.T)
    task = task_of(A, rank=rank, target=0.02)
    evidence, by_products = range_sketch.run(A, None, task, Evidence())
    counted = CountedProducts(monkeypatch)
    for name in ("randomized_svd", "block_krylov"):
        for options in applicable(name, task, evidence):
            counted.columns.clear()
            ALGORITHMS[name].solve(A, None, task, options, evidence, by_products)
            long, short = max(shape), min(shape)
            forecast = sum(
                call.count * call.dims[1]
                for call in ALGORITHMS[name].work(task, evidence, options).calls
                if call.kernel == "gemm" and {call.dims[0], call.dims[2]} == {long, short}
            )
            done = sum(counted.columns)
            assert done <= 1.3 * forecast + 40, options
            assert done >= 0.7 * forecast - 40, options
            if rank is not None:
                assert done == forecast, options
            if name == "randomized_svd" and rank is not None:
                assert len(counted.columns) == 2 * options.power_steps, "the probe's products were done again"


@pytest.mark.parametrize("backend", ["scipy", "numpy"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(900, 400), (400, 900)])
@pytest.mark.parametrize("center", [False, True])
def test_memory_is_not_forecast_too_low(backend, dtype, shape, center):
    """The peak traced (numpy's and f2py's arrays; the range that is reused counts as held) against the forecast."""
    A = np.zeros(shape, dtype=dtype)
    i = np.arange(400)
    A[i, i] = (1.0 + i) ** -1.2
    for rank in (30, None):
        task = task_of(A, rank=rank, target=0.05, center=center)
        evidence, by_products = range_sketch.run(A, None, task, Evidence(), backend=backend)
        found = by_products["range"]
        held = found.Q.nbytes + found.Z.nbytes + found.R.nbytes
        for name in ("svd", "gram", "randomized_svd", "block_krylov"):
            for options in applicable(name, task, evidence, backend):
                ALGORITHMS[name].solve(A, None, task, options, evidence, by_products)  # what is imported stays
                tracemalloc.start()
                ALGORITHMS[name].solve(A, None, task, options, evidence, by_products)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                reused = held if name in ("randomized_svd", "block_krylov") else 0
                assert ALGORITHMS[name].work(task, evidence, options).peak_bytes >= 0.95 * (peak + reused), options


def test_the_gram_matrix_is_refused_where_squaring_loses_the_tail():
    s, rng = np.exp(-J / 4), np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    A = (U * s) @ V.T
    evidence = Evidence(
        norm_fro=float(np.linalg.norm(s)), singular_values=tuple(s[:110]), tail_energy=float(s[110:] @ s[110:])
    )
    for rank, refused in ((20, False), (100, True)):
        task = task_of(A, rank=rank)
        assert (gram.applies(task, evidence, gram.Options()) is not None) == refused
        value = gram.solve(A, None, task, gram.Options(), evidence, {}).value
        excess = relative_error(A, value) * np.linalg.norm(s) / np.linalg.norm(s[rank:]) - 1
        assert (excess > 1e-2) == refused


@pytest.mark.parametrize("name", ["randomized_svd", "block_krylov"])
def test_nothing_left_to_find_is_no_breakdown(name):
    """Rank 3 and a range of ten columns and more: seven of them are arbitrary, and still orthonormal."""
    rng = np.random.default_rng(0)
    for A in (np.diag(np.where(J <= 3, 1.0, 0.0)), rng.standard_normal((N, 3)) @ rng.standard_normal((3, N))):
        task = task_of(A, rank=3)
        for options in applicable(name, task, Evidence()):
            outcome = ALGORITHMS[name].solve(A, None, task, options, Evidence(), {})
            assert relative_error(A, outcome.value) < (1e-13 if options.dtype == "float64" else 1e-6), options
            Q = outcome.by_products["range"].Q
            np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-12)


def test_float32_power_steps_keep_float64_where_it_counts():
    """Singular values to float64, because the last product is in float64; the directions only to float32."""
    s = 0.7**J
    A = np.diag(s)
    task = task_of(A, rank=10)
    for dtype in ("float64", "float32"):
        options = randomized_svd.Options(power_steps=2, dtype=dtype)
        U, values, _ = randomized_svd.solve(A, None, task, options, Evidence(), {}).value
        assert values.dtype == U.dtype == np.float64
        np.testing.assert_allclose(values, s[:10], rtol=1e-9)
        np.testing.assert_allclose(U.T @ U, np.eye(10), atol=1e-13)


@pytest.mark.statistical
def test_the_bound_on_the_spectral_norm_fails_as_rarely_as_it_says():
    """With failure probability 0.2, over spectra from one dominant direction (the hard case) to a plateau."""
    failures, trials, ratios = 0, 0, []
    for s in (np.where(J == 1, 1.0, 1e-3), 1 / J, np.ones(N)):
        products = range_basis.products(np.diag(s), "scipy")
        nothing = np.zeros((N, 1))
        nothing[-1, 0] = 1.0
        for seed in range(60):
            Y = s[:, None] * np.random.default_rng(seed).standard_normal((N, 4))
            Y[-1] = 0.0
            bound = optimality.spectral_norm_bound(products, nothing, Y, 0.2, 2)
            failures += bound < s[0] * (1 - 1e-12)
            ratios.append(bound / s[0])
            trials += 1
    assert failures <= 0.2 * trials + 3 * np.sqrt(0.16 * trials)
    assert np.median(ratios) < 1.2


def test_a_bound_that_is_enough_saves_products_and_is_no_larger():
    """What the first, cheaper bound on ||E|| gives is taken where it suffices; where it does not, nothing changes."""
    rng = np.random.default_rng(3)
    s = J**-1.5
    U, V = (np.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    A = (U * s) @ V.T
    k, best = 10, float(np.linalg.norm(s[10:]))
    products = range_basis.products(A, "scipy")
    found = range_basis.find(products, 40, 7, float(np.linalg.norm(A)))
    found = range_basis.power_step(products, found)

    def bound(enough: float) -> tuple[float, int]:
        counted = Counted(A, products.lib)
        return optimality.best_rank_k_lower_bound(
            counted, found.Q, found.B, k, found.norm_fro, 11, 0.005, enough=enough
        ), counted.count[0]

    full, most = bound(np.inf)
    assert 0.9 * best < full <= best
    loose, fewer = bound(0.5 * best)
    assert 0.5 * best <= loose <= best
    assert fewer < most
    assert bound(full) == (full, most)


def test_the_bound_on_the_sum_of_eigenvalues_is_one_and_needs_all_of_its_terms():
    """Against M itself, in the basis [Q, Qperp], for spectra and couplings of every size."""
    tight, without = [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        m, l, k = 30, int(rng.integers(3, 12)), int(rng.integers(1, 14))
        s = np.sort(10.0 ** rng.uniform(-3, 0, m))[::-1]
        U = np.linalg.qr(rng.standard_normal((m, m)))[0]
        coupling = 10.0 ** rng.uniform(-3, 0)
        mixing = np.linalg.qr(np.eye(m) + coupling * rng.standard_normal((m, m)))[0]
        M = (mixing * s**2) @ mixing.T if seed % 2 else (U * s**2) @ U.T
        T, C, D = M[:l, :l], M[l:, :l], M[l:, l:]
        inside, d = np.linalg.eigvalsh(T)[::-1], float(np.linalg.eigvalsh(D)[-1])
        truth = float(np.linalg.eigvalsh(M)[::-1][:k].sum())
        found = optimality._bound_on_sum(inside, float((C * C).sum()), d, k, m - l)
        assert found >= truth * (1 - 1e-12)
        if seed % 2 and coupling < 0.02 and k <= l:
            tight.append(found / truth)
        without += optimality._bound_on_sum(inside, 0.0, d, k, m - l) < truth * (1 - 1e-12)
    assert without > 20  # what lies outside the range counts
    assert len(tight) > 15
    assert np.median(tight) < 1.05


def test_eigenvalues_for_each_delta_are_sought_only_where_the_bound_on_their_sum_is_not_enough(monkeypatch):
    calls = []
    genuine = optimality._eigenvalue_bounds
    monkeypatch.setattr(optimality, "_eigenvalue_bounds", lambda *a: calls.append(a) or genuine(*a))
    rng = np.random.default_rng(5)
    U, V = (np.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    A = (U * J**-1.0) @ V.T
    best = float(np.linalg.norm(J[10:] ** -1.0))
    products = range_basis.products(A, "scipy")
    found = range_basis.find(products, 30, 7, float(np.linalg.norm(A)))
    for _ in range(3):
        found = range_basis.power_step(products, found)
    for share, needed in ((0.8, False), (np.inf, True)):
        calls.clear()
        bound = optimality.best_rank_k_lower_bound(
            products, found.Q, found.B, 10, found.norm_fro, 11, 0.005, enough=share * best
        )
        assert (len(calls) > 0) == needed
        assert min(share, 0.99) * best <= bound <= best


@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_block_krylov_gives_up_earlier_where_nobody_has_looked_at_the_spectrum(backend):
    n = 300
    rng = np.random.default_rng(2)
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    A = (U * np.exp(-np.arange(n) / 40.0)) @ V.T  # an error of 0.1 takes about 90 of the 300 directions
    task = Task("low_rank", n, n, nrhs=0, target=0.1)
    krylov = ALGORITHMS["block_krylov"]
    options = next(o for o in krylov.options(task, Evidence()) if o.backend == backend)
    blind = Evidence(norm_fro=float(np.linalg.norm(A)))
    with pytest.raises(Breakdown, match="would be needed"):
        krylov.solve(A, None, task, options, blind, {})
    seen, by_products = range_sketch.run(A, None, task, blind)
    outcome = krylov.solve(A, None, task, options, seen, by_products)
    assert int(outcome.details["columns"]) > block_krylov.BLIND * n


class Counted(range_basis.Products):
    """Products that count themselves."""

    __slots__ = ("count",)

    def __init__(self, A: Any, lib: Any) -> None:
        super().__init__(A, lib)
        object.__setattr__(self, "count", [0])

    def matmul(self, X: Any) -> Any:
        self.count[0] += 1
        return super().matmul(X)

    def rmatmul(self, Y: Any) -> Any:
        self.count[0] += 1
        return super().rmatmul(Y)


@pytest.mark.parametrize("name", ["scipy", "torch"])
def test_a_residual_that_cancellation_has_eaten_is_estimated_in_the_same_library(name, monkeypatch):
    """Leave-one-out needs a small triangular solve; through scipy.linalg it would wake the threads of another pool."""
    import scipy.linalg

    monkeypatch.setattr(scipy.linalg, "solve_triangular", lambda *a, **k: pytest.fail("another library was called"))
    rng = np.random.default_rng(8)
    U, V = (np.linalg.qr(rng.standard_normal((N, 60)))[0] for _ in range(2))
    s = 10.0 ** -np.arange(0.0, 9.0, 0.15)
    A = (U * s) @ V.T
    ratios = []
    for seed in range(20):
        products = range_basis.products(A, name)
        found = range_basis.find(products, 52, seed, float(np.linalg.norm(s)))
        Q = np.asarray(products.lib.to_numpy(found.Q))
        ratios.append(found.residual_energy / float(np.linalg.norm(A - Q @ (Q.T @ A)) ** 2))
    assert 0.3 < np.median(ratios) < 3.0
