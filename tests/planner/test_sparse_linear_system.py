"""Sparse matrices and operators through plan and solve: chosen by what they cost, certified, explained."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import autonla as nla
from autonla.cost_models.price import price
from autonla.planner.certify import sparse_linear_system as certificate
from autonla.planner.files import read_array
from autonla.planner.kinds import kind_of
from autonla.primitives import algorithms_for
from autonla.primitives.task import Task
from autonla.primitives.work import Calls, Work
from autonla.probes import conjugate_gradients, sparse_structure
from tests._support.machine import synthetic_profile
from tests.primitives.test_incomplete_cholesky import laplacian, random_spd
from tests.primitives.test_sparse_linear_system import anisotropic, backward_error, general, saddle

PROFILE = synthetic_profile()
_operator: Any = LinearOperator  # what it is called with, its type does not say

SYSTEMS = {
    "grid": laplacian(25, 24),
    "cube": laplacian(9, 9, 9),
    "anisotropic": anisotropic(25),
    "random definite": random_spd(500, 3),
    "general": general(500),
    "saddle": saddle(8),
    "diagonal": sp.csr_array(sp.diags_array(np.geomspace(1.0, 1e6, 450))),
    "triangular": sp.csr_array(sp.tril(general(450))),
    "permutation": sp.csr_array(np.eye(60)[np.random.default_rng(0).permutation(60)]),
    "one": sp.csr_array(np.array([[3.0]])),
}


def rhs(A: Any, *columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((A.shape[0], *columns))


@pytest.mark.parametrize("route", [None, PROFILE])
@pytest.mark.parametrize("columns", [(), (3,)])
@pytest.mark.parametrize("name", SYSTEMS)
def test_sparse_systems_are_solved_and_certified(name, columns, route):
    A = SYSTEMS[name]
    b = rhs(A, *columns)
    solution = nla.solve(nla.LinearSystem(A, b), rng=0, profile=route)
    assert solution.status == "certified"
    assert type(solution.value) is np.ndarray
    assert solution.value.shape == b.shape
    assert solution.value.dtype == np.float64
    error = backward_error(A, b, solution.value)
    assert (
        error
        <= solution.certificate.bound
        <= 100.0 * kind_of("sparse_linear_system").lapack_target(solution.plan.task, solution.plan.evidence)
    )
    text = solution.explain()
    assert "sparse with" in text
    assert solution.plan.chosen.label in text


@pytest.mark.parametrize("accuracy", [1e-4, 1e-8, 1e-13])
@pytest.mark.parametrize("name", ["grid", "general", "saddle"])
def test_the_accuracy_asked_for_is_certified(name, accuracy):
    A = SYSTEMS[name]
    b = rhs(A)
    solution = nla.solve(nla.LinearSystem(A, b), nla.Budget(accuracy=accuracy), rng=0, profile=PROFILE)
    assert solution.certificate.bound <= accuracy
    assert backward_error(A, b, solution.value) <= solution.certificate.bound


def test_every_feasible_candidate_comes_to_the_same_answer():
    A = laplacian(30, 30)
    b = rhs(A)
    plan = nla.plan(nla.LinearSystem(A, b), nla.Budget(accuracy=1e-12), rng=0, profile=PROFILE, rigor="exhaustive")
    expected = np.linalg.solve(A.toarray(), b)
    ran = []
    for candidate in plan.candidates:
        if candidate.feasible:
            ran.append(candidate.algorithm)
            x = plan.run(candidate=candidate).value
            assert np.linalg.norm(x - expected) <= 1e-8 * np.linalg.norm(expected)
    assert {"superlu", "cg_jacobi", "cg_ichol", "cg_multigrid", "cg_polynomial", "minres", "gmres"} <= set(ran)


def test_relative_residuals():
    A = SYSTEMS["anisotropic"]
    b = rhs(A)
    problem = nla.LinearSystem(A, b, metric="relative_residual")
    solution = nla.solve(problem, nla.Budget(accuracy=1e-9), rng=0, profile=PROFILE)
    assert np.linalg.norm(b - A @ solution.value) <= solution.certificate.bound * np.linalg.norm(b)
    assert solution.certificate.bound <= 1e-9


def test_the_forward_error_is_not_certified_yet():
    with pytest.raises(nla.NoAlgorithm, match="backward_error"):
        nla.solve(nla.LinearSystem(SYSTEMS["grid"], rhs(SYSTEMS["grid"]), metric="forward_error"), profile=PROFILE)


def test_float32_comes_out_as_float32():
    A = SYSTEMS["grid"].astype(np.float32)
    b = rhs(A).astype(np.float32)
    for operand in (A, aslinearoperator(A)):
        solution = nla.solve(nla.LinearSystem(operand, b, assume="spd"), rng=0, profile=PROFILE)
        assert solution.value.dtype == np.float32
        assert backward_error(A.astype(float), b.astype(float), solution.value.astype(float)) < 1e-5


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_matrices_far_from_unit_size(size):
    A = SYSTEMS["grid"] * size
    b = rhs(A) * 1e100
    solution = nla.solve(nla.LinearSystem(A, b), rng=0, profile=PROFILE) if size > 1.0 else None
    if solution is None:  # the answer is 1e300
        b = b * 1e-200
        solution = nla.solve(nla.LinearSystem(A, b), rng=0, profile=PROFILE)
    expected = np.linalg.solve(SYSTEMS["grid"].toarray(), b / np.abs(b).max())
    found = solution.value / np.abs(b).max() * size
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_no_entries():
    solution = nla.solve(nla.LinearSystem(sp.csr_array((0, 0)), np.ones(0)))
    assert solution.value.shape == (0,)
    A = SYSTEMS["grid"]
    assert nla.solve(nla.LinearSystem(A, np.ones((A.shape[0], 0)))).value.shape == (A.shape[0], 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(bad):
    A = SYSTEMS["grid"].copy()
    row = 7
    A.data[A.indptr[row]] = bad
    with pytest.raises(nla.NonFiniteInput, match=rf"A is not finite: 1 entry .* index \({row}, "):
        nla.solve(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE)
    b = rhs(A)
    b[3] = bad
    with pytest.raises(nla.NonFiniteInput, match="b is not finite"):
        nla.solve(nla.LinearSystem(SYSTEMS["grid"], b), rng=0, profile=PROFILE)


@pytest.mark.parametrize("n", [40, 600])
def test_a_singular_matrix_is_refused_where_there_is_no_solution(n):
    A = sp.csr_array(sp.diags_array(np.minimum(1.0, np.arange(n))) @ general(n))  # a row of zeros
    for problem in (nla.LinearSystem(A, np.ones(n)), nla.LinearSystem(A, np.ones(n), metric="relative_residual")):
        with pytest.raises(nla.CertificationFailed, match="singular"):
            nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)


# --- operators


@pytest.mark.parametrize("assume", ["spd", "symmetric", None])
def test_operators_are_solved_by_what_is_declared_of_them(assume):
    A = SYSTEMS["cube"]
    b = rhs(A, 2)
    solution = nla.solve(nla.LinearSystem(aslinearoperator(A), b, assume=assume), rng=0, profile=PROFILE)
    assert solution.status == "certified"
    assert backward_error(A, b, solution.value) <= solution.certificate.bound
    allowed = {"spd": {"cg_jacobi", "cg_polynomial", "minres", "gmres"}, "symmetric": {"cg_jacobi", "minres", "gmres",
               "cg_polynomial"}, None: {"gmres"}}[assume]  # fmt: skip
    feasible = {c.algorithm for c in solution.plan.candidates if c.feasible}
    assert feasible <= allowed
    assert "operator" in solution.explain()


def test_an_operator_may_write_all_its_products_to_one_place():
    A = SYSTEMS["grid"]
    out = np.empty(A.shape[0])

    class Reusing:
        shape, dtype = A.shape, np.dtype(float)

        def matvec(self, x: Any) -> Any:
            return np.copyto(out, A @ x) or out

    b = rhs(A)
    solution = nla.solve(nla.LinearSystem(Reusing(), b, assume="spd"), rng=0, profile=PROFILE)
    assert solution.plan.chosen.algorithm.startswith("cg")
    assert backward_error(A, b, solution.value) <= solution.certificate.bound


class Lying:
    """Products of one matrix in the first `honest` calls, of another one afterwards."""

    def __init__(self, honest: int, first: Any, then: Any) -> None:
        self.shape, self.dtype = first.shape, np.dtype(float)
        self.honest, self.first, self.then = honest, first, then

    def matvec(self, x: Any) -> Any:
        self.honest -= 1
        return (self.first if self.honest >= 0 else self.then) @ x


@pytest.mark.parametrize("honest", [3, 20, 60])
def test_answers_of_an_operator_that_changes_are_refused_or_right_for_what_it_became(honest):
    A = laplacian(20, 20)
    other = sp.csr_array(A + sp.diags_array(np.linspace(0.0, 5.0, 400)))
    b = rhs(A)
    problem = nla.LinearSystem(Lying(honest, A, other), b, assume="spd")
    try:
        solution = nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    except (nla.CertificationFailed, nla.DeclarationMismatch):
        return
    assert backward_error(other, b, solution.value) <= 1e-10


def test_answers_of_an_operator_that_is_not_linear_are_refused():
    A = laplacian(20, 20)
    noise = np.random.default_rng(1)
    noisy = _operator(A.shape, matvec=lambda x: A @ x * (1.0 + 1e-3 * noise.standard_normal(400)), dtype=float)
    for assume in ("spd", "symmetric", None):
        with pytest.raises((nla.CertificationFailed, nla.DeclarationMismatch)):
            nla.solve(nla.LinearSystem(noisy, rhs(A), assume=assume), nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE)


def test_an_operator_whose_products_are_not_finite_comes_to_no_answer():
    broken = _operator((50, 50), matvec=lambda x: x * np.nan, dtype=float)
    for assume in ("spd", None):
        with pytest.raises((nla.CertificationFailed, nla.DeclarationMismatch)):
            nla.solve(nla.LinearSystem(broken, np.ones(50), assume=assume), rng=0, profile=PROFILE)


@pytest.mark.parametrize(("A", "assume", "why"), [
    (SYSTEMS["general"], "symmetric", "not symmetric"), (SYSTEMS["general"], "spd", "not symmetric"),
    (SYSTEMS["saddle"], "spd", "diagonal"), (SYSTEMS["grid"], "upper", "other entries"),
    (SYSTEMS["triangular"], "upper", "other entries"), (SYSTEMS["triangular"], "diagonal", "other entries"),
    (SYSTEMS["grid"], "triangular", "other entries"), (aslinearoperator(SYSTEMS["general"]), "spd", "random"),
    (aslinearoperator(SYSTEMS["general"]), "symmetric", "random"),
    (aslinearoperator(-SYSTEMS["grid"]), "spd", "not positive"),
])  # fmt: skip
def test_declarations_that_are_false_are_refused(A, assume, why):
    with pytest.raises(nla.DeclarationMismatch, match=why):
        nla.solve(nla.LinearSystem(A, np.ones(A.shape[0]), assume=assume), rng=0, profile=PROFILE)


@pytest.mark.parametrize(("name", "assume"), [
    ("triangular", "lower"), ("triangular", "triangular"), ("diagonal", "diagonal"), ("diagonal", "upper"),
    ("grid", "spd"), ("grid", "symmetric"), ("general", "general"), ("grid", "banded"),
])  # fmt: skip
def test_declarations_that_are_true_are_accepted(name, assume):
    A = SYSTEMS[name]
    b = rhs(A)
    solution = nla.solve(nla.LinearSystem(A, b, assume=assume), rng=0, profile=PROFILE)
    assert backward_error(A, b, solution.value) <= 1e-13


def test_an_indefinite_matrix_with_a_positive_diagonal_is_found_out_or_survived():
    A = sp.csr_array(laplacian(30, 30) - 1.0 * sp.eye_array(900))
    b = rhs(A)
    solution = nla.solve(nla.LinearSystem(A, b), rng=0, profile=PROFILE)
    assert backward_error(A, b, solution.value) <= 1e-12
    probed = nla.plan(nla.LinearSystem(A, b), rng=0, profile=PROFILE, rigor="exhaustive")
    assert probed.task.structure == "indefinite"
    assert not any(c.feasible for c in probed.candidates if c.algorithm.startswith("cg"))


# --- the certificate


@pytest.mark.parametrize("name", ["grid", "general", "saddle", "anisotropic"])
@pytest.mark.parametrize("off", [1e-3, 1e-8, 1e-13])
def test_a_wrong_answer_is_not_certified(name, off):
    A = SYSTEMS[name]
    b = rhs(A)
    x = np.linalg.solve(A.toarray(), b)
    x = x + off * np.linalg.norm(x) * np.random.default_rng(2).standard_normal(len(b))
    truth = backward_error(A, b, x)
    for operand in (A, aslinearoperator(A)):
        access = "sparse" if sp.issparse(operand) else "operator"
        task = Task("sparse_linear_system", len(b), len(b), access=access, nnz=A.nnz)
        found = certificate.certify(operand, b, x, task, "backward_error", 0.5 * truth)
        assert not found.satisfied
        assert found.bound >= truth
        assert found.bound <= 8.0 * truth + 1e-13
        assert certificate.certify(operand, b, x, task, "backward_error", 8.0 * truth + 1e-13).satisfied


def test_the_rounding_of_the_residual_is_part_of_the_bound():
    A = SYSTEMS["grid"]
    x = np.ones(A.shape[0])
    b = A @ x
    task = Task("sparse_linear_system", len(b), len(b), access="sparse", nnz=A.nnz)
    found = certificate.certify(A, b, x, task, "backward_error", 1e-15)
    assert found.estimate == 0.0
    assert 2.0**-53 < found.bound < 2e-15


def test_answers_that_are_not_finite_bound_nothing():
    A = SYSTEMS["grid"]
    task = Task("sparse_linear_system", A.shape[0], A.shape[0], access="sparse", nnz=A.nnz)
    for bad in (np.nan, np.inf):
        x = np.full(A.shape[0], bad)
        found = certificate.certify(A, np.ones(A.shape[0]), x, task, "backward_error", None)
        assert found.bound == np.inf
        assert not found.satisfied


# --- decisions


def test_a_small_matrix_is_factored_at_once():
    A = laplacian(15, 15)
    solution = nla.solve(nla.LinearSystem(A, rhs(A)), rng=0)
    assert solution.plan.chosen.algorithm == "superlu"
    assert "ran at once" in solution.explain()


def test_a_large_cube_is_solved_by_iterations():
    A = laplacian(40, 40, 40)
    plan = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE)
    assert plan.chosen.algorithm.startswith("cg")
    assert plan.evidence.cg_steps >= 18


def test_a_memory_limit_leaves_what_needs_no_factors():
    A = laplacian(20, 20, 20)
    b = rhs(A)
    limit = nla.Budget(memory="8 MiB", accuracy=1e-10)
    solution = nla.solve(nla.LinearSystem(A, b), limit, rng=0, profile=PROFILE)
    assert solution.status == "certified"
    assert solution.plan.chosen.algorithm.startswith("cg")
    reasons = {c.algorithm: c.reason for c in solution.plan.candidates if not c.feasible}
    assert "memory" in reasons["superlu"]
    assert "memory" in reasons["dense_lu"]


def test_many_right_hand_sides_are_worth_a_factorization():
    A = laplacian(60, 60)
    one, many = (nla.plan(nla.LinearSystem(A, rhs(A, r)), rng=0, profile=PROFILE) for r in (1, 300))
    assert many.chosen.algorithm == "superlu"

    def cost(plan: Any, algorithm: str) -> float:
        return min(c.forecast.seconds.median for c in plan.candidates if c.algorithm == algorithm and c.forecast)

    assert cost(many, "cg_jacobi") / cost(one, "cg_jacobi") > 2.0 * cost(many, "superlu") / cost(one, "superlu")


def test_probes_are_run_only_where_they_may_change_the_choice():
    A = laplacian(25, 25)
    small = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE)
    guessed = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE, rigor="estimate")
    everything = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE, rigor="exhaustive")
    assert not guessed.evidence.ritz
    assert guessed.evidence.fill is None
    assert everything.evidence.ritz
    assert everything.evidence.fill is not None
    assert len(small.evidence.findings) <= len(everything.evidence.findings)


EASY = sp.csr_array(laplacian(17, 17, 17) + 2.0 * sp.eye_array(4913))


def error_at_most(A: Any, b: np.ndarray, x: np.ndarray) -> float:
    """The backward error with the longest row for the norm of A."""
    size = float(np.sqrt((A * A).sum(axis=1).max()))
    return float(np.linalg.norm(b - A @ x) / (size * np.linalg.norm(x) + np.linalg.norm(b)))


def test_an_easy_system_is_solved_by_the_probe_of_its_spectrum():
    b = rhs(EASY)
    solution = nla.solve(nla.LinearSystem(EASY, b), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert solution.plan.evidence.cg_converged
    assert solution.plan.chosen.algorithm == "cg_jacobi"
    assert solution.record.attempts[0].details["iterations"] == solution.plan.evidence.cg_steps <= 30
    assert 0.5 * error_at_most(EASY, b, solution.value) <= solution.certificate.bound <= 1e-10
    assert any("which are enough" in finding.sentence for finding in solution.plan.evidence.findings)
    assert "had solved it" in solution.explain()
    other = next(c for c in solution.plan.candidates if c.algorithm == "cg_polynomial")
    assert "without a polynomial" in other.reason


def test_no_product_is_computed_twice_probed_or_not():
    count = 0

    def matvec(x: Any) -> Any:
        nonlocal count
        count += 1
        return EASY @ x

    A = _operator(EASY.shape, matvec=matvec, dtype=float)
    budget = nla.Budget(accuracy=1e-10)
    solution = nla.solve(nla.LinearSystem(A, rhs(EASY), assume="spd"), budget, rng=0, profile=PROFILE)
    # two to see whether it is symmetric, those that bound the norm (twice, and in the certificate), two residuals
    assert count <= solution.record.attempts[0].details["iterations"] + 2 + 3 * 8 + 2


def test_a_plan_that_rests_on_the_probe_solves_other_systems_too():
    plan = nla.plan(nla.LinearSystem(EASY, rhs(EASY)), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert plan.evidence.cg_converged
    b = rhs(EASY, seed=8)
    for again in (plan, nla.Plan.from_json(plan.to_json())):
        assert again.evidence == plan.evidence
        solution = again.run(nla.LinearSystem(EASY, b))
        assert error_at_most(EASY, b, solution.value) <= 1e-10
    first, second = plan.run(), plan.run()
    np.testing.assert_array_equal(first.value, second.value)


def test_small_matrices_with_long_rows_are_tried_with_a_few_iterations_first():
    A = sp.csr_array(random_spd(300, 3) @ random_spd(300, 3) + 3000.0 * sp.eye_array(300))
    assert 12 * 300 <= A.nnz <= 30_000
    budget = nla.Budget(accuracy=1e-10)
    easy = nla.solve(nla.LinearSystem(A, rhs(A)), budget, rng=0)
    assert easy.plan.chosen.algorithm == "cg_jacobi"
    assert "ran at once" in easy.explain()
    hard = sp.csr_array(A - 2999.0 * sp.eye_array(300))
    for other in (hard, sp.csr_array(sp.triu(A)), sp.csr_array(A - 6000.0 * sp.eye_array(300))):
        solution = nla.solve(nla.LinearSystem(other, rhs(A)), budget, rng=0)
        assert not any(a.label.startswith("cg") for a in solution.record.attempts)
        assert backward_error(other, rhs(A), solution.value) <= 1e-10


def test_a_matrix_that_a_breakdown_has_shown_to_be_indefinite_is_not_tried_with_conjugate_gradients_again():
    A = sp.csr_array(laplacian(50, 50) - 0.5 * sp.eye_array(2500))
    plan = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE, rigor="estimate")
    solution = plan.run(candidate=None)
    chosen = next(c for c in plan.candidates if c.algorithm == "cg_jacobi")
    forced = nla.Plan.from_json(plan.to_json())
    forced = replace(forced, chosen=chosen).run(nla.LinearSystem(A, rhs(A)))
    tried = [a.label for a in forced.record.attempts]
    assert tried[0].startswith("cg_jacobi")
    assert "not positive definite" in forced.record.attempts[0].outcome
    assert not any(label.startswith("cg") for label in tried[1:])
    assert error_at_most(A, rhs(A), solution.value) <= 1e-12


def test_entries_of_one_size_may_cancel_and_are_no_pivots():
    path: Any = abs(laplacian(40)) - sp.eye_array(40)
    A = sp.csr_array(sp.kron(path, path))
    ones = sp.csr_array((np.ones(A.nnz), A.indices, A.indptr), shape=A.shape)
    varied = sp.csr_array(ones + 0.5 * sp.eye_array(1600))
    found = [
        nla.plan(nla.LinearSystem(M, rhs(M)), rng=0, profile=PROFILE, rigor="exhaustive").evidence.diagonal_pivots
        for M in (ones, varied)
    ]
    assert found == [False, True]


def test_the_same_inputs_give_the_same_plan_and_the_same_answer():
    A = laplacian(45, 45)
    problem = nla.LinearSystem(A, rhs(A))
    first, second = (nla.solve(problem, rng=3, profile=PROFILE) for _ in range(2))
    assert first.plan.chosen == second.plan.chosen
    assert first.plan.evidence.ritz == second.plan.evidence.ritz
    np.testing.assert_array_equal(first.value, second.value)


def test_the_spread_of_work_widens_what_it_is_forecast_to_take():
    work = Calls("scipy", "float64")("copy", 1000, 1000, count=10.0)
    sure, unsure = (price(Work((work,), spread=spread), PROFILE) for spread in (1.0, 4.0))
    assert unsure.seconds.median == sure.seconds.median
    assert unsure.seconds.high >= 4.0 * unsure.seconds.median >= 16.0 * unsure.seconds.low
    assert sure.seconds.high < 3.9 * sure.seconds.median
    assert unsure.joules.high > sure.joules.high


def test_what_is_said_of_polynomials():
    A = laplacian(40, 40, 40)
    plan = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE)
    (note,) = [n for n in plan.notes if "polynomial of degree 11" in n]
    chosen = plan.chosen.algorithm == "cg_polynomial"
    assert ("saves operations on vectors" if chosen else "on one processor little is gained") in note
    assert "polynomial of degree 11" in plan.explain()


def test_polynomials_are_chosen_where_inner_products_are_waited_for(monkeypatch):
    monkeypatch.setattr(sparse_structure, "_entries_worth", lambda seconds: 50_000.0)  # whatever the clock says
    A = anisotropic(36)
    problem = nla.LinearSystem(aslinearoperator(A), rhs(A), assume="spd")
    chosen, seconds = [], []
    for profile in (PROFILE, PROFILE.with_reductions(1e-3)):
        plan = nla.plan(problem, nla.Budget(accuracy=1e-10), rng=0, profile=profile)
        chosen.append(plan.chosen.algorithm)
        seconds.append({c.algorithm: c.forecast.seconds.median for c in plan.candidates if c.forecast})
    assert chosen == ["cg_jacobi", "cg_polynomial"]
    assert seconds[1]["cg_polynomial"] < 0.5 * seconds[1]["cg_jacobi"]
    waits = {name: seconds[1][name] - seconds[0][name] for name in seconds[0]}
    assert waits["gmres"] > 3.0 * waits["minres"]  # each step orthogonalizes against a basis
    assert any("inner products to wait for" in note for note in plan.notes)
    solution = plan.run()
    assert solution.status == "certified"
    assert backward_error(A, rhs(A), solution.value) <= 1e-10


def test_a_plan_can_be_written_read_and_run_on_another_right_hand_side():
    A = laplacian(21, 21)
    plan = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE, rigor="exhaustive")
    read = nla.Plan.from_json(plan.to_json())
    assert read.evidence == plan.evidence
    assert read.task == plan.task
    b = rhs(A, seed=5)
    solution = read.run(nla.LinearSystem(A, b))
    assert backward_error(A, b, solution.value) <= 1e-12
    for other in (A.toarray(), aslinearoperator(A)):
        with pytest.raises(nla.AutonlaError, match="plan"):
            read.run(nla.LinearSystem(other, b))


def test_iterations_end_when_the_latency_is_over():
    n = 900

    def slow(x: Any) -> Any:
        time.sleep(3e-3)  # a hundred products at most, of some three hundred that it takes
        return A @ x

    A = anisotropic(30)
    operator = _operator((n, n), matvec=slow, dtype=float)
    budget = nla.Budget(accuracy=1e-13, latency=0.3, on_infeasible="best_effort")
    solution = nla.solve(nla.LinearSystem(operator, rhs(A), assume="spd"), budget, rng=0, profile=PROFILE)
    assert solution.status == "best_effort"
    assert not solution.certificate.satisfied
    assert np.isfinite(solution.value).all()


def test_a_race_runs_them_all():
    A = laplacian(25, 25)
    race = nla.race(nla.LinearSystem(A, rhs(A)), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert race.best is not None
    assert sum(row.certified for row in race.rows) >= 5
    raced = nla.plan(nla.LinearSystem(A, rhs(A)), rng=0, profile=PROFILE, rigor="race")
    assert raced.chosen.feasible


def test_algorithms_are_registered_under_one_name_each():
    names = [a.name for a in algorithms_for("sparse_linear_system")]
    assert len(set(names)) == len(names) >= 8
    assert not set(names) & {a.name for a in algorithms_for("linear_system")}


@pytest.mark.data
@pytest.mark.parametrize("name", ["nos5", "wathen100", "gyro_m", "bcsstk14", "494_bus", "orsirr_1", "west0479",
                                  "sherman5", "mahindas", "Si2", "maxwell_M1"])  # fmt: skip
def test_real_matrices(shared_data, name):
    A = sp.csr_array(read_array(shared_data / f"{name}.mtx.gz")).astype(float)
    b = rhs(A)
    solution = nla.solve(nla.LinearSystem(A, b), nla.Budget(accuracy=1e-11), rng=0)
    assert solution.status == "certified"
    r = np.linalg.norm(b - A @ solution.value)
    assert r <= 1e-11 * (sp.linalg.norm(A) * np.linalg.norm(solution.value) + np.linalg.norm(b))


def test_a_few_iterations_tell_an_easy_system_from_others():
    hard = anisotropic(60)
    plan = nla.plan(nla.LinearSystem(hard, rhs(hard)), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert plan.evidence.cg_steps in (18, 50)
    assert any("18 iterations of conjugate gradients leave" in f.sentence for f in plan.evidence.findings)
    assert not plan.evidence.cg_converged
    easy = nla.plan(nla.LinearSystem(EASY, rhs(EASY)), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert easy.evidence.cg_converged
    assert 18 < easy.evidence.cg_steps < 100


def test_the_probe_of_the_spectrum_goes_on_from_the_first_iterations():
    A = anisotropic(60)
    b = rhs(A)
    plan = nla.plan(nla.LinearSystem(A, b), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE, rigor="exhaustive")
    at_once = conjugate_gradients.run(A, b, replace(plan.task, target=1e-10), 50)
    assert at_once.ritz is not None
    assert plan.evidence.ritz == at_once.ritz.triples
    assert plan.evidence.cg_steps == 50


def test_a_right_hand_side_of_zero_is_solved_by_zero_and_shows_nothing():
    A = anisotropic(60)
    solution = nla.solve(nla.LinearSystem(A, np.zeros(3600)), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    np.testing.assert_array_equal(solution.value, np.zeros(3600))
    assert solution.status == "certified"
    assert not solution.plan.evidence.ritz
