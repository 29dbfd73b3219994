"""Every algorithm for eigenpairs finds those of the end that is asked for, or breaks down, and says what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import aslinearoperator

from autonla.planner.files import read_array
from autonla.primitives import algorithms_for
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.autospec import eigenproblems
from autonla.primitives.eigenpairs import _filter, arpack, arpack_shift_invert, filtered_krylov_schur, lapack
from autonla.primitives.eigenpairs._common import FOUND, Symmetric, end_of, outer, seen, supposed
from autonla.primitives.eigenpairs.spectral_filters import chosen
from autonla.primitives.evidence import Evidence
from autonla.primitives.stopping import stopped_by
from autonla.primitives.task import Task
from autonla.probes import ritz
from tests.primitives.test_incomplete_cholesky import laplacian

N, K = 300, 4
ALGORITHMS = {algorithm.name: algorithm for algorithm in algorithms_for("eigenpairs")}
BY_PRODUCTS = ("arpack", "arpack_deflated", "lobpcg", "krylov_schur", "filtered_subspace")


def with_spectrum(values: np.ndarray, seed: int = 0) -> np.ndarray:
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    A = (Q * values) @ Q.T
    return 0.5 * (A + A.T)


def task_of(A: Any, k: int = K, which: str = "LA", *, target: float = 1e-10, structure: str = "symmetric") -> Task:
    dense = not sp.issparse(A) and not hasattr(A, "matvec")
    return Task(
        "eigenpairs", A.shape[0], A.shape[0], nrhs=0, target=target, rank=k, structure=structure, seed=5, which=which,
        access="dense" if dense else "sparse" if sp.issparse(A) else "operator",
        nnz=A.nnz if sp.issparse(A) else 0, dtype=str(A.dtype).removeprefix("torch."),
        library="torch" if isinstance(A, torch.Tensor) else "numpy",
    )  # fmt: skip


def probed(A: Any, task: Task) -> Evidence:
    found = ritz.run(Symmetric(A, task), np.random.default_rng(1).standard_normal(task.n), 60, keep=False)
    rows = zip(
        found.values.tolist(), (found.weights / found.weights.sum()).tolist(), found.residuals.tolist(), strict=True
    )
    return Evidence(ritz=tuple(rows), diagonal_pivots=True)


def run(name: str, A: Any, task: Task, evidence: Evidence | None = None) -> tuple[np.ndarray, np.ndarray]:
    algorithm = ALGORITHMS[name]
    evidence = probed(A, task) if evidence is None else evidence
    options = next(iter(algorithm.options(task, evidence)))
    assert algorithm.applies(task, evidence, options) is None
    return algorithm.solve(A, None, task, options, evidence, {}).value


def expected(A: np.ndarray, k: int, which: str) -> np.ndarray:
    w = np.linalg.eigvalsh(A)
    return w[np.argsort({"LA": -w, "SA": w, "LM": -np.abs(w), "SM": np.abs(w)}[which])][:k]


def residual(A: np.ndarray, w: np.ndarray, V: np.ndarray) -> float:
    return float(np.linalg.norm(A @ V - V * w, axis=0).max() / np.linalg.norm(A, 2))


SPECTRUM = np.concatenate([np.linspace(-3.0, -2.0, 6), np.linspace(-1.0, 2.0, N - 14), np.linspace(2.5, 4.0, 8)])


@pytest.mark.parametrize("access", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("which", ["LA", "SA", "LM"])
@pytest.mark.parametrize("name", BY_PRODUCTS)
def test_methods_of_products_find_the_end(name, which, access):
    A = with_spectrum(SPECTRUM)
    operand = {"dense": A, "sparse": sp.csr_array(A), "operator": aslinearoperator(A)}[access]
    task = task_of(operand, which=which)
    evidence = probed(operand, task)
    options = next(iter(ALGORITHMS[name].options(task, evidence)))
    if which == "LM" and name != "arpack":
        assert "both" in str(ALGORITHMS[name].applies(task, evidence, options))
        return
    w, V = run(name, operand, task, evidence)
    np.testing.assert_allclose(w, expected(A, K, which), rtol=1e-9)
    assert residual(A, w, V) <= 1e-10
    np.testing.assert_allclose(V.T @ V, np.eye(K), atol=1e-9)


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (30, 3), (N, 4), (N, 200)])
@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_lapack_finds_every_part(backend, n, k, dtype, which):
    A = with_spectrum(np.linspace(-1.0, 1.5, n)).astype(dtype)
    task = replace(task_of(A, k, which), library="numpy")
    options = next(o for o in lapack.options(task, Evidence()) if o.backend == backend)
    w, V = lapack.solve(A, None, task, options, Evidence(), {}).value
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert (w.dtype, V.dtype, w.shape, V.shape) == (np.dtype(dtype), np.dtype(dtype), (k,), (n, k))
    np.testing.assert_allclose(w, expected(A.astype(float), k, which), atol=tolerance)
    assert residual(A.astype(float), w.astype(float), V.astype(float)) <= tolerance


COPIES = np.concatenate([np.linspace(-1.0, 1.0, 240), np.repeat([1.5, 2.0], 5), np.repeat([3.0, 3.5, 4.0], 2)])


@pytest.mark.parametrize("access", ["dense", "sparse", "operator"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("k", [1, 2, 5, 9, 14])
def test_all_copies_of_equal_eigenvalues_are_found(k, sign, access):
    A = sign * with_spectrum(COPIES)
    operand = {"dense": A, "sparse": sp.csr_array(A), "operator": aslinearoperator(A)}[access]
    task = task_of(operand, k, "LA" if sign > 0.0 else "SA", target=1e-8)
    w, V = run("arpack_deflated", operand, task)
    np.testing.assert_allclose(w, expected(A, k, task.which), atol=1e-8)
    assert residual(A, w, V) <= 1e-8
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=1e-9)


def test_one_vector_misses_copies_and_its_pairs_are_gone_on_from():
    A = with_spectrum(COPIES)
    task = task_of(A, 9, target=1e-6)
    options = next(iter(arpack.options(task, Evidence())))
    first = arpack.solve(A, None, task, options, Evidence(), {})
    assert float(np.abs(first.value[0] - expected(A, 9, "LA")).max()) > 0.1
    assert first.by_products[FOUND] is first.value[1]
    algorithm = ALGORITHMS["arpack_deflated"]
    options = next(iter(algorithm.options(task, Evidence())))
    alone, on = (algorithm.solve(A, None, task, options, Evidence(), reuse) for reuse in ({}, first.by_products))
    for outcome in (alone, on):
        np.testing.assert_allclose(outcome.value[0], expected(A, 9, "LA"), atol=1e-6)
    assert int(on.details["products"]) < int(alone.details["products"])
    assert (alone.details["locked"], on.details["locked"]) == (0, 9)
    # whatever they are: these are not of the wanted end
    poor = algorithm.solve(A, None, task, options, Evidence(), {FOUND: np.linalg.eigh(A)[1][:, 20:29]})
    np.testing.assert_allclose(poor.value[0], expected(A, 9, "LA"), atol=1e-6)


def test_where_one_vector_has_missed_a_pair_such_methods_are_expected_to_do_so_again():
    A = laplacian(20, 15)
    task = task_of(A, 6)
    missed = replace(probed(A, task), repeated=True)
    for name in ("arpack", "krylov_schur", "arpack_deflated"):
        algorithm = ALGORITHMS[name]
        options = next(iter(algorithm.options(task, missed)))
        before, after = (algorithm.breakdown(task, evidence, options) for evidence in (Evidence(), missed))
        assert (after > 0.5) == (name != "arpack_deflated")
        assert before < 0.1
    options = next(iter(ALGORITHMS["arpack_deflated"].options(task, missed)))
    from_the_start, on = (
        ALGORITHMS["arpack_deflated"].work(task, evidence, options).calls[0].count for evidence in (Evidence(), missed)
    )
    assert on < from_the_start


@pytest.mark.parametrize("which", ["SA", "SM"])
@pytest.mark.parametrize(
    "A",
    [
        laplacian(20, 15),
        sp.csr_array(laplacian(20, 15) - 0.5 * sp.eye_array(300)),
        sp.csr_array(
            sp.csgraph.laplacian(
                sp.csr_array(
                    sp.diags_array([1.0] * 299, offsets=1, shape=(300, 300))
                    + sp.diags_array([1.0] * 299, offsets=-1, shape=(300, 300))
                )
            )
        ),
    ],
    ids=["definite", "indefinite", "singular"],
)
def test_shift_and_invert_finds_the_small_end(A, which):
    task = task_of(A, which=which)
    w, V = run("arpack_shift_invert", A, task)
    np.testing.assert_allclose(w, expected(A.toarray(), K, which), atol=1e-10)
    assert residual(A.toarray(), w, V) <= 1e-12


@pytest.mark.parametrize("target", [1e-3, 1e-8])
def test_shift_and_invert_finds_all_copies_of_a_multiple_eigenvalue(target):
    A = sp.csr_array(sp.kron(laplacian(20, 15), sp.eye_array(4)))
    task = task_of(A, 6, "SA", target=target)
    w, _ = run("arpack_shift_invert", A, task)
    np.testing.assert_allclose(w, expected(A.toarray(), 6, "SA"), atol=8.0 * target)
    np.testing.assert_allclose(w[:4], w[0], atol=1e-3 * w[0])


@pytest.mark.parametrize("name", [*BY_PRODUCTS, "arpack_shift_invert"])
def test_the_same_seed_gives_the_same_answer(name):
    A = laplacian(20, 15)
    task = task_of(A, which="SA")
    first, again = run(name, A, task), run(name, A, task)
    for x, y in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, y)


def test_what_does_not_converge_breaks_down():
    A = aslinearoperator(sp.diags_array(np.geomspace(1e-12, 1.0, 4000)))
    task = task_of(A, 3, "SA", target=1e-15)
    for name in ("arpack", "krylov_schur"):
        with pytest.raises(Breakdown, match="converge"):
            run(name, A, task)


def test_products_that_are_not_finite_break_down():
    A = aslinearoperator(np.full((N, N), np.nan))
    for name in ("krylov_schur", "filtered_subspace"):
        with pytest.raises(Breakdown, match="not finite"):
            run(name, A, task_of(A), Evidence())


def test_multiples_of_the_identity_have_no_filter():
    A = sp.csr_array(3.0 * sp.eye_array(N))
    for name in ("krylov_schur", "filtered_subspace"):
        with pytest.raises(Breakdown, match="too close"):
            run(name, A, task_of(A), Evidence())


@pytest.mark.parametrize("name", [*BY_PRODUCTS, "arpack_shift_invert"])
def test_operands_in_single_precision_give_single_precision(name):
    A = sp.csr_array(laplacian(20, 15).astype("float32"))
    task = task_of(A, which="SA", target=1e-5)
    w, V = run(name, A, task)
    assert w.dtype == V.dtype == np.float32
    np.testing.assert_allclose(w, expected(A.toarray().astype(float), K, "SA"), atol=1e-4)


def test_iterations_end_when_they_are_asked_to():
    A = aslinearoperator(with_spectrum(SPECTRUM))
    task = task_of(A)
    for name in BY_PRODUCTS:
        with stopped_by(lambda: True), pytest.raises(Breakdown, match="stopped"):
            run(name, A, task, Evidence())


class TestWhatApplies:
    def test_the_inside_of_the_spectrum_needs_a_factorization(self):
        A = aslinearoperator(with_spectrum(SPECTRUM))
        task = task_of(A, which="SM")
        evidence = probed(A, task)
        assert end_of(task, evidence) == "SM"
        for algorithm in ALGORITHMS.values():
            options = next(iter(algorithm.options(task, evidence)))
            assert algorithm.applies(task, evidence, options) is not None

    @pytest.mark.parametrize(
        ("which", "sign", "end"), [("SM", 1.0, "SA"), ("SM", -1.0, "LA"), ("LM", 1.0, "LA"), ("LM", -1.0, "SA")]
    )
    def test_magnitudes_are_an_end_where_all_have_one_sign(self, which, sign, end):
        A = sign * with_spectrum(np.linspace(0.1, 2.0, N))
        task = task_of(A, which=which)
        assert end_of(task, probed(A, task)) == end
        w, _ = run("arpack", A, task)
        np.testing.assert_allclose(w, expected(A, K, which), rtol=1e-8)

    def test_a_matrix_that_is_not_symmetric_has_no_algorithm(self):
        A = sp.csr_array(with_spectrum(SPECTRUM))
        task = task_of(A, structure="general")
        for algorithm in ALGORITHMS.values():
            options = next(iter(algorithm.options(task, Evidence())))
            assert "symmetric" in str(algorithm.applies(task, Evidence(), options))

    def test_all_eigenpairs_are_for_lapack(self):
        A = sp.csr_array(with_spectrum(SPECTRUM[:30]))
        task = task_of(A, 30)
        applying = [
            name for name, a in ALGORITHMS.items()
            if a.applies(task, Evidence(), next(iter(a.options(task, Evidence())))) is None
        ]  # fmt: skip
        assert applying == ["lapack"]


class TestForecasts:
    def test_ritz_values_stand_for_as_many_eigenvalues_as_their_weights_say(self):
        A = aslinearoperator(sp.diags_array(np.linspace(0.0, 1.0, 10_000)))
        task = task_of(A, 200, "LA")
        at_k, beyond, low = seen(task, probed(A, task), 500)
        assert at_k == pytest.approx(0.98, abs=0.01)
        assert beyond == pytest.approx(0.95, abs=0.02)
        assert low == pytest.approx(0.0, abs=0.01)

    @pytest.mark.parametrize("which", ["LA", "SA"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_products_are_forecast_to_a_factor_of_four(self, which, seed):
        rng = np.random.default_rng(seed)
        A = aslinearoperator(sp.diags_array(np.sort(rng.uniform(0.0, 1.0, 1500))))
        task = task_of(A, 5, which, target=1e-9)
        evidence = probed(A, task)
        for options in arpack.options(task, evidence):
            taken = float(arpack.solve(A, None, task, options, evidence, {}).details["products"])
            known = arpack.counts(task, evidence, options)
            assert known.low <= taken <= known.high

    def test_a_filter_takes_fewer_iterations_and_a_smaller_basis(self):
        A = laplacian(50, 40)
        task = task_of(A, 2, "LA")
        evidence = probed(A, task)
        first = next(iter(arpack.options(task, evidence)))
        options = filtered_krylov_schur.Options()
        assert filtered_krylov_schur.counts(task, evidence, options).median < outer(task, evidence, 10).median
        plain = arpack.work(task, evidence, first)
        filtered = filtered_krylov_schur.work(task, evidence, options)
        assert filtered.peak_bytes < plain.peak_bytes

    def test_the_shift_is_below_the_spectrum(self):
        A = sp.csr_array(laplacian(20, 15) - 0.5 * sp.eye_array(300))
        task = task_of(A, which="SA")
        low = float(np.linalg.eigvalsh(A.toarray())[0])
        assert low - 0.2 < arpack_shift_invert.shift(task, probed(A, task), 8.0) < low
        assert arpack_shift_invert.shift(replace(task, structure="spd"), Evidence(), 8.0) == 0.0

    @pytest.mark.parametrize("which", ["LA", "SA"])
    def test_outer_iterations_with_a_filter_are_forecast_to_a_factor_of_four(self, which):
        A = aslinearoperator(sp.diags_array(np.sort(np.random.default_rng(2).uniform(0.0, 1.0, 1500))))
        task = task_of(A, 6, which, target=1e-9)
        evidence = probed(A, task)
        for options in filtered_krylov_schur.options(task, evidence):
            taken = float(filtered_krylov_schur.solve(A, None, task, options, evidence, {}).details["iterations"])
            known = filtered_krylov_schur.counts(task, evidence, options)
            assert known.low <= taken <= known.high
            assert known.median > 1.0  # not the least that there is

    def test_without_a_probe_all_methods_are_forecast_on_one_spectrum(self):
        A = laplacian(40, 40)
        task = task_of(A, 4, "LA")
        for gap in (1e-1, 1e-3):
            at_k, beyond, low = seen(task, Evidence(ritz=supposed(task, gap)), 4 + 6)
            assert (at_k - beyond) / (at_k - low) == pytest.approx(gap, rel=0.1)
            assert seen(replace(task, which="SA"), Evidence(ritz=supposed(task, gap)), 10)[0] == pytest.approx(
                at_k - 3.0, abs=1e-9
            )
        unseen, medium = (outer(task, e, 10) for e in (Evidence(), Evidence(ritz=supposed(task))))
        assert unseen.median == medium.median
        assert unseen.high > medium.high

    def test_a_filter_takes_an_end_with_a_gap_in_few_outer_iterations(self):
        task = task_of(laplacian(40, 40), 6, "LA")
        easy, hard = (Evidence(ritz=supposed(task, gap)) for gap in (0.1, 1e-4))
        for options in filtered_krylov_schur.options(task, easy):
            few, many = (filtered_krylov_schur.counts(task, evidence, options).median for evidence in (easy, hard))
            assert few < 3.0 < many
            steps, products = filtered_krylov_schur.steps_and_products(task, easy, options)
            assert filtered_krylov_schur.dimension(task, options) < steps < products


class TestFilters:
    @pytest.mark.parametrize("k", [4, 5, 25, 26])
    def test_the_learned_one_is_for_what_it_was_trained_for(self, k):
        task = task_of(laplacian(40, 40), k, "LA")
        kinds = {options.filter for options in filtered_krylov_schur.options(task, Evidence())}
        assert ("auto" in kinds) == (5 <= k <= 25)

    @pytest.mark.parametrize(("promised", "kind"), [(0.5, "autospec"), (2.0, "chebyshev")])
    @pytest.mark.parametrize("which", ["LA", "SA"])
    def test_a_filter_is_taken_where_it_is_forecast_to_win(self, monkeypatch, promised, kind, which):
        """The learned one by what its engine promises; whichever it is, the answer is right."""

        class Engine:
            def __call__(self, probe: Any, degree: int) -> eigenproblems.Said:
                zeros = eigenproblems.recurrence(eigenproblems.start(probe), np.zeros(eigenproblems.OUTPUTS), degree)
                return eigenproblems.Said(zeros, np.log(np.full(3, promised)))

        monkeypatch.setattr(eigenproblems, "engine", Engine)
        A = laplacian(25, 24)
        task = task_of(A, 5, which, target=1e-9)
        options = filtered_krylov_schur.Options("auto", "large")
        outcome = filtered_krylov_schur.solve(A, None, task, options, probed(A, task), {})
        assert outcome.details["filter"] == kind
        w, V = outcome.value
        np.testing.assert_allclose(w, expected(A.toarray(), 5, which), atol=1e-7)
        assert residual(A.toarray(), w, V) <= 1e-9

    @pytest.mark.parametrize("which", ["LA", "SA"])
    def test_rounding_of_a_filter_does_not_reach_the_last_of_what_is_wanted(self, which):
        """Of degree 21 it would be 1e-10 of its largest value there."""
        sign = 1.0 if which == "LA" else -1.0
        values = sign * np.concatenate([np.geomspace(1.0, 1e-2, 8), np.linspace(-5e-3, 5e-3, N - 8)])
        A = with_spectrum(values)
        for options in filtered_krylov_schur.options(task_of(A, 6), Evidence()):
            degrees = []
            for target in (1e-14, 1e-3):
                task = task_of(A, 6, which, target=target)
                size = filtered_krylov_schur.dimension(task, options)
                choice = _filter.short_run(Symmetric(A, task), task, Evidence(), size, options.filter)
                degrees.append(choice.polynomial.degree)
                w, V = filtered_krylov_schur.solve(A, None, task, options, Evidence(), {}).value
                np.testing.assert_allclose(w, expected(A, 6, which), atol=2.0 * target)
                assert residual(A, w, V) <= 2.0 * target
            assert degrees[0] < degrees[1] < _filter.DEGREE

    def test_the_minimax_filter_is_looked_for_where_products_take_long(self, monkeypatch):
        offered = []

        def keep(*arguments: Any) -> Any:
            offered.append(arguments[1])
            return chosen(*arguments)

        monkeypatch.setattr(_filter, "chosen", keep)
        for size in (_filter._LINEAR_PROGRAM, 0.0):
            monkeypatch.setattr(_filter, "_LINEAR_PROGRAM", size)
            A = laplacian(25, 24)
            task = task_of(A, 6, "LA")
            _filter.short_run(Symmetric(A, task), task, Evidence(), 24, "auto")
        assert offered == [("chebyshev", "autospec"), ("chebyshev", "autospec", "minimax")]

    def test_the_learned_filter_takes_fewer_products_on_spectra_that_it_is_for(self, shared_data):
        """Smallest eigenvalues of a stiffness matrix: the learned one against Chebyshev's from the same place on."""
        A = sp.csr_array(read_array(shared_data / "nos5.mtx.gz"))
        A = sp.csr_array(A / sp.linalg.norm(A, np.inf))
        taken = {"auto": 0.0, "chebyshev": 0.0}
        for seed in range(3):
            task = replace(task_of(A, 5, "SA", target=1e-8), seed=seed)
            for kind in taken:
                options = filtered_krylov_schur.Options(kind, "large")
                details = filtered_krylov_schur.solve(A, None, task, options, Evidence(), {}).details
                taken[kind] += float(details["products"])
                assert details["filter"] == {"auto": "autospec", "chebyshev": "chebyshev"}[kind]
        assert taken["auto"] < 0.95 * taken["chebyshev"]
