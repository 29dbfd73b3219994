"""Algorithms for sparse systems and operators: they solve what they apply to, stop where they are told to, break down
where the numbers defeat them, and foresee their iterations and their fill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse.linalg import aslinearoperator

from autonla.primitives import algorithms_for
from autonla.primitives.algorithm import Algorithm, Breakdown
from autonla.primitives.evidence import Evidence
from autonla.primitives.sparse_linear_system import _iterations
from autonla.primitives.sparse_linear_system._common import Product, norm_from_below
from autonla.primitives.stopping import stopped_by
from autonla.primitives.task import Task
from autonla.probes import ritz, sparse_structure

from .test_incomplete_cholesky import laplacian, random_spd

ALGORITHMS = {a.name: a for a in algorithms_for("sparse_linear_system")}
CG = ("cg_jacobi", "cg_ichol", "cg_ichol_polynomial", "cg_multigrid", "cg_polynomial")
TARGET = 1e-11


def saddle(n: int) -> Any:
    """[[A, B'], [B, 0]], symmetric and indefinite."""
    A = laplacian(n, n)
    B = sp.random_array((n, n * n), density=0.05, rng=np.random.default_rng(4)) + sp.eye_array(n, n * n)
    return sp.csr_array(sp.block_array([[A, B.T], [B, None]]))


def general(n: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return sp.csr_array(sp.random_array((n, n), density=4.0 / n, rng=rng) + 3.0 * sp.diags_array(0.5 + rng.random(n)))


def anisotropic(n: int) -> Any:
    line = laplacian(n)
    return sp.csr_array(sp.kron(line, sp.eye_array(n)) + 1e-3 * sp.kron(sp.eye_array(n), line))


DEFINITE = {"grid": laplacian(20, 20), "cube": laplacian(8, 8, 8), "random": random_spd(400, 3),
            "anisotropic": anisotropic(20)}  # fmt: skip


def probed(A: Any, steps: int = 50) -> Evidence:
    """Ritz values from a random start, as the planner sees them."""
    n = A.shape[0]
    scale = 1.0 / np.sqrt(A.diagonal()) if sp.issparse(A) else np.ones(n)
    start: Any = np.random.default_rng(9).standard_normal(n)
    found = ritz.run(lambda v: scale * (A @ (scale * v)), start, steps, keep=False)
    weights = found.weights / found.weights.sum()
    triples = tuple(zip(found.values.tolist(), weights.tolist(), found.residuals.tolist(), strict=True))
    return Evidence(ritz=triples, diagonal_pivots=True)


def task_of(A: Any, structure: str = "general", **fields: Any) -> Task:
    sparse = sp.issparse(A)
    n = A.shape[0]
    return Task(
        "sparse_linear_system", n, n, target=TARGET, structure=structure, access="sparse" if sparse else "operator",
        nnz=A.nnz if sparse else 0, **fields,
    )  # fmt: skip


def run(name: str, A: Any, b: Any, task: Task, evidence: Evidence | None = None) -> list[Any]:
    """Outcomes of all settings of an algorithm."""
    algorithm, evidence = ALGORITHMS[name], evidence or Evidence()
    found = list(algorithm.options(task, evidence))
    assert found
    for options in found:
        assert algorithm.applies(task, evidence, options) is None
    return [algorithm.solve(A, b, task, options, evidence, {}) for options in found]


def backward_error(A: Any, b: Any, x: Any) -> float:
    dense = A.toarray() if sp.issparse(A) else A @ np.eye(A.shape[0])
    r = np.linalg.norm(np.atleast_2d((b - dense @ x).T), axis=1)
    sizes = np.linalg.norm(np.atleast_2d(x.T), axis=1), np.linalg.norm(np.atleast_2d(b.T), axis=1)
    return float((r / (np.linalg.norm(dense, 2) * sizes[0] + sizes[1])).max())


@pytest.mark.parametrize("columns", [(), (1,), (3,)])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_solves_a_definite_system(name, columns):
    A = DEFINITE["grid"]
    b = np.random.default_rng(0).standard_normal((A.shape[0], *columns))
    before = A.copy(), b.copy()
    task = task_of(A, "spd", nrhs=columns[0] if columns else 1)
    for outcome in run(name, A, b, task, probed(A)):
        assert outcome.value.shape == b.shape
        assert backward_error(A, b, outcome.value) <= TARGET
    assert (before[0] != A).nnz == 0
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize("matrix", DEFINITE)
@pytest.mark.parametrize("name", CG)
def test_conjugate_gradients_meet_the_target_and_do_not_go_far_beyond(name, matrix):
    A = DEFINITE[matrix]
    b = np.random.default_rng(1).standard_normal(A.shape[0])
    for outcome in run(name, A, b, task_of(A, "symmetric"), probed(A)):
        assert 1e-4 * TARGET < backward_error(A, b, outcome.value) <= TARGET
        assert outcome.details["iterations"] > 0


@pytest.mark.parametrize("name", ["cg_jacobi", "cg_polynomial", "minres", "gmres"])
@pytest.mark.parametrize("matrix", ["grid", "cube"])
def test_products_are_enough(name, matrix):
    A = DEFINITE[matrix]
    operator = aslinearoperator(A)
    b = np.random.default_rng(2).standard_normal((A.shape[0], 2))
    task = replace(task_of(operator, "spd"), nrhs=2)
    (outcome,) = run(name, operator, b, task, probed(operator))
    assert backward_error(A, b, outcome.value) <= TARGET


@pytest.mark.parametrize("name", ["cg_ichol", "cg_multigrid", "superlu", "dense_lu"])
def test_what_needs_entries_does_not_apply_to_an_operator(name):
    task = task_of(aslinearoperator(DEFINITE["grid"]), "spd")
    for options in ALGORITHMS[name].options(task, Evidence()):
        assert "entries" in str(ALGORITHMS[name].applies(task, Evidence(), options))


@pytest.mark.parametrize("name", CG)
def test_conjugate_gradients_apply_to_nothing_that_is_not_definite(name):
    for structure in ("general", "indefinite"):
        task, evidence = task_of(saddle(8), structure), probed(DEFINITE["grid"])
        for options in ALGORITHMS[name].options(task, evidence):
            assert "symmetric" in str(ALGORITHMS[name].applies(task, evidence, options))


@pytest.mark.parametrize("name", ["minres", "superlu", "dense_lu", "gmres"])
def test_symmetric_indefinite_systems(name):
    A = saddle(8)
    b = np.random.default_rng(3).standard_normal(A.shape[0])
    evidence = Evidence(diagonal_pivots=False)  # zeros on the diagonal
    for outcome in run(name, A, b, task_of(A, "indefinite"), evidence):
        assert backward_error(A, b, outcome.value) <= TARGET


@pytest.mark.parametrize("pivots", [False, True])
@pytest.mark.parametrize("name", ["superlu", "dense_lu", "gmres"])
def test_general_systems(name, pivots):
    A = general(300)
    b = np.random.default_rng(4).standard_normal(300)
    for outcome in run(name, A, b, task_of(A), Evidence(diagonal_pivots=pivots)):
        assert backward_error(A, b, outcome.value) <= TARGET


def test_pivots_leave_the_diagonal_where_it_is_small():
    A = general(200, 1)
    A.setdiag(1e-14)
    A = sp.csr_array(A + sp.eye_array(200, k=1) + sp.eye_array(200, k=-199))
    b = np.ones(200)
    for outcome in run("superlu", A, b, task_of(A), Evidence(diagonal_pivots=True)):
        assert backward_error(A, b, outcome.value) <= TARGET


@pytest.mark.parametrize("name", ["superlu", "dense_lu"])
@pytest.mark.parametrize("pivots", [False, True])
def test_an_exactly_singular_matrix_breaks_a_factorization_down(name, pivots):
    A = general(50)
    A = sp.csr_array(sp.diags_array(np.minimum(1.0, np.arange(50.0))) @ A)  # a row of zeros
    with pytest.raises(Breakdown):
        run(name, A, np.ones(50), task_of(A), Evidence(diagonal_pivots=pivots))


@pytest.mark.parametrize("name", CG)
def test_conjugate_gradients_break_down_where_A_is_not_definite(name):
    A = sp.csr_array(laplacian(20, 20) - 1.0 * sp.eye_array(400))  # its diagonal is positive
    with pytest.raises(Breakdown):
        run(name, A, np.random.default_rng(5).standard_normal(400), task_of(A, "symmetric"), probed(laplacian(20, 20)))


@pytest.mark.parametrize("name", ["minres", "gmres"])
def test_no_solution_is_a_breakdown(name):
    A = sp.csr_array(np.diag([1.0, 2.0, 0.0, 3.0]))
    with pytest.raises(Breakdown):
        run(name, A, np.ones(4), replace(task_of(A, "symmetric"), metric="relative_residual"))


def test_a_singular_matrix_whose_system_can_be_solved_is_solved():
    A = sp.csr_array(
        laplacian(30) - sp.diags_array(np.eye(30)[0] + np.eye(30)[-1])
    )  # of a path: constants are mapped to 0
    b = A @ np.random.default_rng(6).standard_normal(30)
    (outcome,) = run("cg_jacobi", A, b, task_of(A, "symmetric"))
    assert backward_error(A, b, outcome.value) <= TARGET


@pytest.mark.parametrize("name", ["cg_jacobi", "cg_ichol", "cg_multigrid", "cg_polynomial", "minres", "gmres"])
def test_what_iterates_ends_when_it_is_asked_to_with_what_it_has(name):
    A = anisotropic(30)
    b = np.random.default_rng(7).standard_normal(900)
    task, evidence = task_of(A, "symmetric"), probed(A)
    options = next(iter(ALGORITHMS[name].options(task, evidence)))
    whole = int(ALGORITHMS[name].solve(A, b, task, options, evidence, {}).details["iterations"])
    asked = iter([False, True])
    with stopped_by(lambda: next(asked, True)):
        outcome = ALGORITHMS[name].solve(A, b, task, options, evidence, {})
    assert int(outcome.details["iterations"]) <= max(2, whole // 2) or name == "gmres"
    assert np.isfinite(outcome.value).all()
    assert np.linalg.norm(b - A @ outcome.value) > 0.0


def test_gmres_ends_after_the_cycle_in_which_it_is_asked_to():
    A = aslinearoperator(anisotropic(30))
    b = np.random.default_rng(7).standard_normal(900)
    options = next(iter(ALGORITHMS["gmres"].options(task_of(A), Evidence())))
    whole = int(ALGORITHMS["gmres"].solve(A, b, task_of(A), options, Evidence(), {}).details["iterations"])
    with stopped_by(lambda: True):
        outcome = ALGORITHMS["gmres"].solve(A, b, task_of(A), options, Evidence(), {})
    assert outcome.details["iterations"] == 50
    assert whole > 100


@pytest.mark.parametrize("name", ALGORITHMS)
def test_zero_is_solved_by_zero(name):
    A = DEFINITE["grid"]
    for outcome in run(name, A, np.zeros(400), task_of(A, "spd"), probed(A)):
        np.testing.assert_array_equal(outcome.value, np.zeros(400))


@pytest.mark.parametrize("name", ["cg_jacobi", "minres", "gmres"])
def test_an_operator_of_the_wrong_shape_is_a_breakdown(name):
    class Wrong:
        shape, dtype = (9, 9), np.dtype(float)

        def matvec(self, x: Any) -> Any:
            return np.ones(8)

    task = task_of(Wrong(), "spd")
    with pytest.raises(Breakdown, match="shape"):
        run(name, Wrong(), np.ones(9), task)


def test_an_operator_that_writes_all_its_products_to_one_place():
    A = DEFINITE["grid"]
    out = np.empty(400)

    class Reusing:
        shape, dtype = A.shape, np.dtype(float)

        def matvec(self, x: Any) -> Any:
            out[:] = A @ x
            return out

    b = np.random.default_rng(8).standard_normal(400)
    for name in ("cg_jacobi", "minres", "gmres"):
        (outcome,) = run(name, Reusing(), b, task_of(Reusing(), "spd"))
        assert backward_error(A, b, outcome.value) <= TARGET


def test_relative_residuals_are_met_where_they_are_what_is_measured():
    A = anisotropic(15)
    b = np.random.default_rng(9).standard_normal(225)
    task = replace(task_of(A, "symmetric"), metric="relative_residual")
    for name in ("cg_jacobi", "cg_ichol", "minres", "gmres"):
        for outcome in run(name, A, b, task, probed(A)):
            assert np.linalg.norm(b - A @ outcome.value) <= TARGET * np.linalg.norm(b)


# --- forecasts


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        (name, matrix)
        for name in ("cg_jacobi", "cg_ichol", "cg_polynomial")
        for matrix in DEFINITE
        if (name, matrix) != ("cg_ichol", "anisotropic")  # nearly tridiagonal: a factor of zero fill is all but exact
    ],
)
def test_iterations_are_within_their_forecast(name, matrix):
    A = DEFINITE[matrix]
    task, evidence = task_of(A, "symmetric"), probed(A)
    b = np.random.default_rng(10).standard_normal(A.shape[0])
    algorithm = ALGORITHMS[name]
    for options, outcome in zip(algorithm.options(task, evidence), run(name, A, b, task, evidence), strict=True):
        work = algorithm.work(task, evidence, options)
        products = max(call.count for call in work.calls if call.kernel == "stream") - 10.0
        taken = outcome.details["iterations"] * (_iterations.DEGREE + 1 if name == "cg_polynomial" else 1)
        assert products / (2.0 * work.spread) <= taken <= 2.0 * work.spread * products


def test_a_spectrum_that_goes_on_below_what_was_seen_widens_the_forecast():
    A = laplacian(150, 150)
    task = task_of(A, "symmetric")
    seen, all_of_it = probed(A), probed(laplacian(20, 20))
    b = np.random.default_rng(11).standard_normal(A.shape[0])
    (outcome,) = run("cg_jacobi", A, b, task, seen)
    count = _iterations.plain(task, seen)
    assert count.high / count.median > 2.0
    assert count.low <= outcome.details["iterations"] <= count.high
    sharp = _iterations.plain(task_of(laplacian(20, 20), "symmetric"), all_of_it)
    assert sharp.high / sharp.median < 1.6


def test_the_fill_of_a_symmetric_matrix_is_known_beforehand():
    A = laplacian(30, 30)
    task, evidence = task_of(A, "symmetric"), replace(probed(A), fill=None)
    found, by_products = sparse_structure.fill(A, task, evidence)
    options = next(iter(ALGORITHMS["superlu"].options(task, found)))
    outcome = ALGORITHMS["superlu"].solve(A, np.ones(900), task, options, found, by_products)
    assert found.fill is not None
    assert 0.95 * found.fill.low <= int(outcome.details["factor_entries"]) <= 2.5 * found.fill.high
    known, guess = (ALGORITHMS["superlu"].work(task, e, options) for e in (found, evidence))
    assert known.spread < guess.spread


@pytest.mark.parametrize("name", ALGORITHMS)
def test_more_right_hand_sides_are_more_work_and_never_less_memory(name):
    algorithm: Algorithm = ALGORITHMS[name]
    task, evidence = task_of(DEFINITE["grid"], "spd"), probed(DEFINITE["grid"])
    for options in algorithm.options(task, evidence):
        one, four = (algorithm.work(replace(task, nrhs=r), evidence, options) for r in (1, 4))
        count = [sum(call.count * np.prod(call.dims) for call in work.calls) for work in (one, four)]
        assert count[1] > count[0]
        assert four.peak_bytes > one.peak_bytes
        assert one.spread >= 1.0
        assert algorithm.error(task, evidence, options).median < TARGET


@pytest.mark.parametrize("A", [laplacian(12, 12), general(80), saddle(5), sp.csr_array((4, 4))])
def test_the_bound_on_the_norm_is_below_it_and_not_far(A):
    task = task_of(A)
    norm = np.linalg.norm(A.toarray(), 2)
    for steps, share in ((None, 0.3), (8, 0.6)):
        assert share * norm <= norm_from_below(Product(A, task), task, steps=steps) <= norm
    operator = aslinearoperator(A)
    task = task_of(operator)
    assert 0.2 * norm <= norm_from_below(Product(operator, task), task) <= norm


def test_minres_meets_the_target_without_beginning_again():
    A = sp.csr_array(laplacian(40, 40) - 0.3 * sp.eye_array(1600))
    b = np.random.default_rng(2).standard_normal(1600)
    counts = {}
    for target in (1e-4, 1e-8, 1e-12):
        task = replace(task_of(A, "symmetric"), target=target)
        (outcome,) = run("minres", A, b, task)
        assert 0.05 * target <= backward_error(A, b, outcome.value) <= target
        counts[target] = outcome.details["iterations"]
    best: list[int] = []
    spla.minres(A, b, rtol=1e-12, maxiter=5000, callback=lambda x: best.append(1))  # of the same method
    assert counts[1e-12] <= 1.25 * len(best)
    assert counts[1e-4] < counts[1e-8] < counts[1e-12]


def test_minres_knows_rounding_from_a_residual_in_another_norm():
    D = np.geomspace(1e-5, 1e5, 300)  # of the preconditioner: the norms differ by as much
    A = sp.csr_array(sp.diags_array(D) @ (laplacian(300) - 0.5 * sp.eye_array(300)) @ sp.diags_array(D))
    b = A @ np.random.default_rng(2).standard_normal(300)
    task = replace(task_of(A, "symmetric"), target=1e-9)
    (outcome,) = run("minres", A, b, task)
    assert backward_error(A, b, outcome.value) <= 1e-9


def test_minres_ends_where_its_space_does():
    diagonal = np.array([-3.0, -3.0, 2.0, 2.0, 2.0, 7.0])
    A = sp.csr_array(sp.diags_array(diagonal))
    (outcome,) = run("minres", aslinearoperator(A), np.ones(6), task_of(aslinearoperator(A), "symmetric"))
    assert outcome.details["iterations"] <= 4
    np.testing.assert_allclose(outcome.value, 1.0 / diagonal, rtol=1e-9)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_a_polynomial_on_incomplete_cholesky_cuts_its_iterations(columns):
    A = sp.csr_array(laplacian(90) @ laplacian(90) + 1e-9 * sp.eye_array(90))  # of the fourth order
    A = sp.csr_array(sp.kron(A, sp.eye_array(40)) + sp.kron(sp.eye_array(90), laplacian(40)) * 1e-2)
    B = np.random.default_rng(4).standard_normal((3600, *columns))
    task = task_of(A, "spd", nrhs=columns[0] if columns else 1)
    outcomes = {name: run(name, A, B, task, probed(A))[0] for name in ("cg_ichol", "cg_ichol_polynomial")}
    plain, better = (int(outcome.details["iterations"]) for outcome in outcomes.values())
    details = outcomes["cg_ichol_polynomial"].details
    r = max(1, task.nrhs)
    assert plain > 100 * r
    assert details["without"] == 50
    assert details["degree"] == 11
    assert better - 50 < 2.0 * plain / 12 + 5 * r
    for outcome in outcomes.values():
        residual = np.linalg.norm(np.atleast_2d((B - A @ outcome.value).T), axis=1)
        sizes = (np.linalg.norm(np.atleast_2d(v.T), axis=1) for v in (outcome.value, B))
        size_x, size_b = sizes
        assert (residual <= TARGET * (norm_from_below(Product(A, task), task) * size_x + size_b)).all()


def test_a_polynomial_on_incomplete_cholesky_is_priced_below_it_where_inner_products_are_waited_for():
    A = anisotropic(30)
    task, evidence = task_of(A, "spd"), Evidence(ritz=tuple((v, 0.01, 0.0) for v in np.geomspace(1e-6, 2.0, 100)))
    with_, without = (
        ALGORITHMS[name].work(task, evidence, next(iter(ALGORITHMS[name].options(task, evidence))))
        for name in ("cg_ichol_polynomial", "cg_ichol")
    )
    assert with_.reductions < 0.4 * without.reductions
    assert with_.peak_bytes > without.peak_bytes
