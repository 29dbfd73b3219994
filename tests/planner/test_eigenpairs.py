"""Eigenpairs through plan and solve: chosen by what they cost, certified, none missing, explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import autonla as nla
from autonla.planner.certificate import Certificate
from autonla.planner.certify import eigenpairs as certificate
from autonla.planner.kinds import kind_of
from autonla.primitives.eigenpairs._common import Symmetric
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from tests._support.machine import synthetic_profile
from tests.primitives.test_eigenpairs_algorithms import SPECTRUM, expected, residual, task_of, with_spectrum
from tests.primitives.test_incomplete_cholesky import laplacian

PROFILE = synthetic_profile()
_operator: Any = LinearOperator  # what it is called with, its type does not say


def arrow(n: int) -> sp.csr_array:
    A = sp.lil_array((n, n))
    A.setdiag(np.linspace(-1.0, 1.0, n))
    A[0, 1:] = A[1:, 0] = 0.1
    return sp.csr_array(A)


_banded: Any = sp.diags_array
# sixty entries a row, and its largest eigenvalues well apart
WIDE = sp.csr_array(
    _banded([1.0] * 61, offsets=list(range(-30, 31)), shape=(3000, 3000))
    + sp.diags_array(np.r_[200.0 * 2.0 ** -np.arange(8), np.zeros(2992)])
)
MATRICES: dict[str, Any] = {
    "spectrum": with_spectrum(SPECTRUM),
    "multiple": with_spectrum(np.repeat([5.0, 3.0, 1.0, -4.0], 10)),
    "grid": laplacian(25, 24),
    "arrow": arrow(500),
    "diagonal": sp.csr_array(sp.diags_array(np.geomspace(1e-3, 1e3, 450))),
    "identity": np.eye(30) * 7.0,
    "sparse identity": sp.csr_array(sp.eye_array(300)),
    "zero": np.zeros((6, 6)),
    "sparse zero": sp.csr_array((250, 250)),
    "one": np.array([[-3.0]]),
}


def plain(A: Any) -> np.ndarray:
    return A.toarray() if sp.issparse(A) else np.asarray(A, dtype=float)


def agrees(A: Any, solution: Any, k: int, which: str, tolerance: float) -> None:
    dense = plain(A)
    w, V = (np.asarray(part, dtype=float) for part in solution.value)
    size = max(float(np.linalg.norm(dense, 2)), 1e-300)
    assert (w.shape, V.shape) == ((k,), (len(dense), k))
    keys = (np.abs(w), np.abs(expected(dense, k, which))) if which in ("LM", "SM") else (w, expected(dense, k, which))
    np.testing.assert_allclose(*keys, atol=tolerance * size)
    assert float(np.linalg.norm(dense @ V - V * w, axis=0).max()) <= solution.certificate.bound * size * 1.0001
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=max(10 * tolerance, 1e-12))


@pytest.mark.parametrize("route", [None, PROFILE])
@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
@pytest.mark.parametrize("name", MATRICES)
def test_eigenpairs_are_found_and_certified(name, which, route):
    A = MATRICES[name]
    k = min(4, A.shape[0])
    solution = nla.solve(nla.Eigenpairs(A, k, which=which), rng=0, profile=route)
    assert solution.status == "certified"
    assert isinstance(solution.value, nla.Eigensystem)
    agrees(A, solution, k, which, 1e-12)
    text = solution.explain()
    assert "eigenpair" in text
    assert solution.plan.chosen.label in text


@pytest.mark.parametrize("accuracy", [1e-3, 1e-8, 1e-12])
@pytest.mark.parametrize("which", ["LA", "SA"])
def test_the_accuracy_asked_for_is_certified(which, accuracy):
    A = laplacian(22, 25)
    solution = nla.solve(nla.Eigenpairs(A, 5, which=which), nla.Budget(accuracy=accuracy), rng=0, profile=PROFILE)
    assert solution.certificate.bound <= accuracy
    assert residual(A.toarray(), *solution.value) <= solution.certificate.bound
    agrees(A, solution, 5, which, accuracy)


def test_every_feasible_candidate_comes_to_the_same_answer():
    A = laplacian(30, 20)
    problem = nla.Eigenpairs(A, 3, which="SA")
    plan = nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE)
    names = set()
    for candidate in plan.candidates:
        if candidate.feasible:
            agrees(A, plan.run(candidate=candidate), 3, "SA", 1e-8)
            names.add(candidate.algorithm)
    assert names >= {"lapack", "arpack", "arpack_shift_invert", "krylov_schur"}


@pytest.mark.parametrize("assume", ["symmetric", "spd"])
def test_operators_are_solved_by_products_alone(assume):
    A = laplacian(40, 30)
    solution = nla.solve(nla.Eigenpairs(aslinearoperator(A), 4, which="SM" if assume == "spd" else "LM", assume=assume),
                         nla.Budget(accuracy=1e-9), rng=0, profile=PROFILE)  # fmt: skip
    agrees(A, solution, 4, "SM" if assume == "spd" else "LM", 1e-9)
    assert "Lanczos run" in solution.certificate.method
    assert 0.98 < solution.certificate.confidence < 1.0


def test_torch_tensors_give_torch_tensors():
    A = torch.asarray(with_spectrum(SPECTRUM)).to(torch.float32)
    for route in (None, PROFILE):
        value = nla.solve(nla.Eigenpairs(A, 3), rng=0, profile=route).value
        assert all(isinstance(part, torch.Tensor) and part.dtype == torch.float32 for part in value)
        np.testing.assert_allclose(value.w.numpy(), expected(plain(A), 3, "LA"), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_matrices_of_any_size_are_scaled(scale):
    A = laplacian(20, 20)
    value = nla.solve(nla.Eigenpairs(sp.csr_array(A * scale), 3), rng=0, profile=PROFILE).value
    np.testing.assert_allclose(value.w / scale, expected(A.toarray(), 3, "LA"), rtol=1e-12)


class TestDecisions:
    def plan(self, problem, **budget) -> nla.Plan:
        return nla.plan(problem, nla.Budget(**budget), rng=0, profile=PROFILE)

    def test_a_few_of_a_large_sparse_matrix_are_for_arpack(self):
        plan = self.plan(nla.Eigenpairs(WIDE, 5))
        assert plan.chosen.algorithm == "arpack"
        assert not plan.evidence.ritz  # a probe would take as long as what it may save
        assert any("would orthogonalize" in note for note in plan.notes)
        assert any("on one processor little is gained" in note for note in plan.notes)

    @pytest.mark.parametrize("access", ["sparse", "operator"])
    def test_many_that_are_close_to_each_other_are_for_a_filter(self, access):
        A = laplacian(100, 100)
        operand = A if access == "sparse" else aslinearoperator(A)
        plan = self.plan(nla.Eigenpairs(operand, 20, assume="symmetric"))
        assert plan.evidence.ritz
        assert plan.chosen.algorithm == "krylov_schur"
        assert any("orthogonalizes" in note and "probed" in note for note in plan.notes)
        assert any("saves orthogonalization" in note for note in plan.notes)
        by_arpack = [c.forecast.seconds.median for c in plan.candidates if c.algorithm == "arpack" and c.forecast]
        assert plan.chosen.forecast is not None
        assert plan.chosen.forecast.seconds.median < min(by_arpack)

    def test_what_a_filter_came_to_is_told(self):
        problem = nla.Eigenpairs(laplacian(30, 30), 5)
        plan = self.plan(problem, accuracy=1e-8)
        solution = plan.run(candidate="krylov_schur(filter=auto, basis=large)[scipy float64]")
        assert solution.status == "certified"
        assert solution.record.attempts[-1].details["filter"] in ("autospec", "chebyshev")
        assert "filter " + str(solution.record.attempts[-1].details["filter"]) in solution.explain()

    def test_the_small_end_of_a_sparse_matrix_is_for_its_factors(self):
        assert self.plan(nla.Eigenpairs(laplacian(80, 80), 5, which="SA")).chosen.algorithm == "arpack_shift_invert"

    def test_many_of_a_small_dense_matrix_are_for_lapack(self):
        assert self.plan(nla.Eigenpairs(with_spectrum(SPECTRUM), 60)).chosen.algorithm == "lapack"

    def test_little_memory_leaves_the_small_basis_of_a_filter(self):
        problem = nla.Eigenpairs(aslinearoperator(laplacian(150, 150)), 2, assume="symmetric")
        free = self.plan(problem, accuracy=1e-6)
        need = {c.label: c.forecast.bytes.high for c in free.candidates if c.forecast}
        least = need.pop("krylov_schur[scipy float64]")
        between = 0.5 * (least + min(need.values()))
        assert least < between
        assert free.chosen.label != "krylov_schur[scipy float64]"
        plan = self.plan(problem, accuracy=1e-6, memory=between)
        assert plan.chosen.label == "krylov_schur[scipy float64]"
        assert any("memory for a basis" in note for note in plan.notes)
        solution = plan.run()
        assert solution.status == "certified"
        assert solution.record.peak_bytes is not None
        assert solution.record.peak_bytes <= between

    @pytest.mark.parametrize("rigor", ["estimate", "race", "exhaustive"])
    def test_every_rigor_comes_to_a_certified_answer(self, rigor):
        A = laplacian(25, 20)
        for operand in (A, A.toarray(), aslinearoperator(A)):
            problem = nla.Eigenpairs(operand, 3, assume="symmetric")
            solution = nla.solve(problem, nla.Budget(accuracy=1e-7), rng=0, profile=PROFILE, rigor=rigor)
            agrees(A, solution, 3, "LA", 1e-7)

    def test_no_memory_is_infeasible(self):
        with pytest.raises(nla.InfeasibleBudget):
            self.plan(nla.Eigenpairs(laplacian(60, 60), 3), memory=10_000)

    def test_accuracy_below_rounding_is_infeasible(self):
        with pytest.raises(nla.InfeasibleBudget, match="floor"):
            self.plan(nla.Eigenpairs(with_spectrum(SPECTRUM), 3), accuracy=1e-17)

    def test_a_plan_goes_through_json_and_runs_on_another_matrix(self):
        plan = self.plan(nla.Eigenpairs(laplacian(30, 30), 3, which="SA"), accuracy=1e-9)
        again = nla.Plan.from_json(plan.to_json())
        assert again.task == plan.task
        assert again.evidence == plan.evidence
        other = sp.csr_array(laplacian(30, 30) + sp.diags_array(np.linspace(0.0, 0.5, 900)))
        agrees(other, again.run(nla.Eigenpairs(other, 3, which="SA")), 3, "SA", 1e-9)
        for wrong in (nla.Eigenpairs(other, 3), nla.Eigenpairs(other, 4, which="SA")):
            with pytest.raises(nla.PlanError):
                again.run(wrong)

    def test_a_plan_on_a_matrix_that_is_not_symmetric_certifies_nothing(self):
        A = laplacian(30, 30)
        plan = self.plan(nla.Eigenpairs(A, 3))
        other = A.copy()
        other.data[1] += 0.5
        with pytest.raises(nla.CertificationFailed, match="not symmetric"):
            plan.run(nla.Eigenpairs(other, 3))


class TestRefusals:
    def refused(self, A: Any, error: Any, match: str, **how: Any) -> None:
        for route in (None, PROFILE):
            with pytest.raises(error, match=match):
                nla.solve(nla.Eigenpairs(A, 2, **how), rng=0, profile=route)

    @pytest.mark.parametrize("n", [20, 300])
    def test_matrices_that_are_not_symmetric(self, n):
        A = np.random.default_rng(0).standard_normal((n, n))
        self.refused(A, nla.InvalidProblem, "not symmetric")
        self.refused(sp.csr_array(A), nla.InvalidProblem, "not symmetric")

    def test_rounding_of_symmetry_is_allowed(self):
        A = with_spectrum(SPECTRUM)
        A[0, 1] *= 1.0 + 1e-15
        agrees(A, nla.solve(nla.Eigenpairs(A, 3), rng=0, profile=PROFILE), 3, "LA", 1e-12)

    def test_operators_must_be_declared(self):
        self.refused(aslinearoperator(np.eye(20)), nla.InvalidProblem, "declare assume")

    def test_declarations_are_checked(self):
        A = np.random.default_rng(0).standard_normal((300, 300))
        self.refused(aslinearoperator(A), nla.DeclarationMismatch, "u'", assume="symmetric")
        indefinite = laplacian(20, 20) - 3.0 * sp.eye_array(400)
        self.refused(sp.csr_array(indefinite), nla.DeclarationMismatch, "spd", assume="spd", which="SA")
        self.refused(aslinearoperator(indefinite), nla.DeclarationMismatch, "spd", assume="spd", which="SA")
        with pytest.raises(nla.DeclarationMismatch, match="diagonal is negative"):
            nla.plan(nla.Eigenpairs(np.diag([1.0, -1.0, 2.0]), 1, assume="spd"), rng=0, profile=PROFILE)

    def test_the_inside_of_an_operators_spectrum(self):
        problem = nla.Eigenpairs(aslinearoperator(with_spectrum(SPECTRUM)), 2, which="SM", assume="symmetric")
        with pytest.raises(nla.InfeasibleBudget, match="factorization"):
            nla.solve(problem, rng=0, profile=PROFILE)

    def test_numbers_that_are_not_finite(self):
        A = with_spectrum(SPECTRUM)
        A[3, 3] = np.nan
        self.refused(A, nla.NonFiniteInput, "not finite")
        self.refused(sp.csr_array(A), nla.NonFiniteInput, "not finite")
        self.refused(A[:20, :20], nla.NonFiniteInput, "not finite")
        bad = _operator((300, 300), matvec=lambda v: v * np.nan, dtype=float)
        with pytest.raises((nla.AutonlaError,)):
            nla.solve(nla.Eigenpairs(bad, 2, assume="symmetric"), rng=0, profile=PROFILE)

    @pytest.mark.parametrize("k", [0, 6, 1.5, True])
    def test_counts_that_make_no_sense(self, k):
        with pytest.raises(nla.InvalidProblem, match="k ="):
            nla.Eigenpairs(np.eye(5), k)

    def test_matrices_without_rows(self):
        with pytest.raises(nla.InvalidProblem, match="k ="):
            nla.Eigenpairs(np.zeros((0, 0)), 1)


# -- the certificate ---------------------------------------------------------------------------------------------------

ACCESS = {"dense": lambda A: A, "sparse": sp.csr_array, "operator": aslinearoperator}
# operators, and what is too large to be factored, are certified by a Lanczos run
CERTAIN = {"dense": 1.0, "sparse": 1.0, "operator": 0.99}


def certified(
    A: np.ndarray, access: str, w: Any, V: Any, which: str = "LA", target: float | None = 1e-8, seed: int = 1
) -> Certificate:
    operand = ACCESS[access](A)
    task = task_of(operand, len(w), which)
    return certificate.certify(
        operand, (w, V), task, Evidence(fill_flops=Interval.exact(1e6)), target, 1e-12, order=None, seed=seed,
        confidence=0.99,
    )  # fmt: skip


def eigen(A: np.ndarray, chosen: list[int], which: str = "LA") -> tuple[np.ndarray, np.ndarray]:
    """Those of the given places from the wanted end on."""
    w, V = np.linalg.eigh(A)
    order = np.argsort({"LA": -w, "SA": w, "LM": -np.abs(w), "SM": np.abs(w)}[which], kind="stable")[chosen]
    return w[order], V[:, order]


REPEATED = with_spectrum(np.concatenate([[9.0, 9.0, 9.0, 7.0, 7.0], np.linspace(-3.0, 3.0, 200)]))
GENERAL = with_spectrum(SPECTRUM + 0.003)  # so that no two have one magnitude

POSITIVE = GENERAL + 4.0 * np.eye(len(GENERAL))


@pytest.mark.parametrize("access", ACCESS)
class TestCertificates:
    @pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
    def test_right_answers_are_certified(self, access, which):
        for A, k in ((GENERAL, 5), (REPEATED, 3), (REPEATED, 2), (REPEATED, 5)):
            found = certified(A, access, *eigen(A, list(range(k)), which), which)
            if access == "operator" and which == "SM":  # nothing is known of the inside of its spectrum
                assert not found.satisfied
                continue
            assert found.satisfied, found
            assert found.bound < 1e-12
            assert found.confidence == CERTAIN[access]

    @pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
    @pytest.mark.parametrize("chosen", [[0, 1, 2, 4], [1, 2, 3, 4], [0, 2, 3, 4], [5, 6, 7, 8]])
    @pytest.mark.parametrize(
        "A", [GENERAL, -GENERAL, POSITIVE, -POSITIVE], ids=["plus", "minus", "definite", "negative"]
    )
    def test_a_missing_pair_is_found(self, access, A, which, chosen):
        found = certified(A, access, *eigen(A, chosen, which), which)
        assert not found.satisfied
        assert found.bound == np.inf
        assert "missing" in found.method or "excluded" in found.method

    @pytest.mark.parametrize("A", [POSITIVE, -POSITIVE], ids=["definite", "negative"])
    def test_small_magnitudes_are_certified_where_all_have_one_sign(self, access, A):
        found = certified(A, access, *eigen(A, [0, 1, 2], "SM"), "SM")
        assert found.satisfied
        assert found.confidence == CERTAIN[access]

    @pytest.mark.parametrize("chosen", [[0, 1, 3], [0, 1, 3, 4], [0, 3], [3, 4]])
    def test_a_missing_copy_of_a_multiple_eigenvalue_is_found(self, access, chosen):
        found = certified(REPEATED, access, *eigen(REPEATED, chosen))
        assert not found.satisfied
        assert "missing" in found.method

    def test_one_vector_twice_is_refused(self, access):
        w, V = eigen(REPEATED, [0, 1, 2])
        V[:, 2] = V[:, 1]
        found = certified(REPEATED, access, w, V)
        assert not found.satisfied
        assert "orthonormal" in found.method

    @pytest.mark.parametrize("lost", [1e-5, 1e-2])
    def test_lost_orthogonality_is_refused(self, access, lost):
        w, V = eigen(REPEATED, [0, 1, 2])
        V[:, 2] += lost * V[:, 1]
        V[:, 2] /= np.linalg.norm(V[:, 2])
        assert not certified(REPEATED, access, w, V).satisfied

    def test_a_wrong_vector_or_value_has_a_large_residual(self, access):
        w, V = eigen(GENERAL, [0, 1, 2])
        turned = V.copy()
        turned[:, 1] += 1e-4 * eigen(GENERAL, [9])[1][:, 0]
        turned[:, 1] /= np.linalg.norm(turned[:, 1])
        for values, vectors in ((w + np.array([0.0, 1e-4, 0.0]), V), (w, turned)):
            found = certified(GENERAL, access, values, vectors)
            assert not found.satisfied
            assert found.bound > 1e-5

    def test_bounds_cover_the_residual(self, access):
        rng = np.random.default_rng(0)
        w, V = eigen(GENERAL, [0, 1, 2])
        for noise in (1e-14, 1e-10, 1e-6):
            vectors = np.linalg.qr(V + noise * rng.standard_normal(V.shape))[0]
            found = certified(GENERAL, access, w, vectors, target=1e-4)
            assert residual(GENERAL, w, vectors) <= found.bound

    def test_values_out_of_order_are_refused(self, access):
        w, V = eigen(GENERAL, [0, 1, 2])
        found = certified(GENERAL, access, w[::-1].copy(), V[:, ::-1].copy())
        assert not found.satisfied
        assert "order" in found.method

    def test_numbers_that_are_not_finite_are_refused(self, access):
        w, V = eigen(GENERAL, [0, 1])
        V[0, 0] = np.nan
        assert not certified(GENERAL, access, w, V).satisfied


@pytest.mark.parametrize("k", [1, 6, 40, 120])
def test_rounding_of_many_vectors_is_no_loss_of_orthogonality(k):
    A = with_spectrum(SPECTRUM)
    w, V = eigen(A, list(range(k)))
    assert certified(A, "dense", w, V, target=1e-14 * k).satisfied


def test_asymmetry_is_that_of_the_entries_whatever_the_pattern():
    A = np.array([[1.0, 2.0, 0.0], [2.5, 0.0, 4.0], [0.0, 4.0, 0.0]])
    B = A.copy()
    B[0, 2] = 3.0  # its mirror image is not stored
    for dense in (A, B, A + A.T, np.zeros((2, 2))):
        task = task_of(sp.csr_array(dense), 1)
        expected_pair = np.linalg.norm(dense - dense.T), np.linalg.norm(dense)
        assert certificate.asymmetry(sp.csr_array(dense), task) == pytest.approx(expected_pair)


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_what_is_left_without_the_vectors_has_the_ends_of_the_others(size):
    """However large what was taken out is: rounding must not bring it back."""
    others = np.linspace(-0.5, 0.25, 195)
    A = with_spectrum(np.concatenate([size * np.array([-3.0, -2.0, 2.0, 3.0, 4.0]), others]))
    w, V = np.linalg.eigh(A)
    V = V[:, np.abs(w) > 1.0]
    start = np.random.default_rng(1).standard_normal(200)
    product = Symmetric(A, task_of(A, 5))
    low, high, steps, ended = certificate._ends(product, lambda v: v - V @ (V.T @ v), start - V @ (V.T @ start))
    assert (low, high) == pytest.approx((-0.5, 0.25), abs=1e-9 * size)
    assert steps == certificate.STEPS
    assert not ended


def test_where_nothing_else_is_left_the_run_has_seen_all():
    A, top = np.diag(np.r_[5.0, np.ones(180)]), np.eye(181)[:, :1]
    start = np.r_[0.0, np.random.default_rng(1).standard_normal(180)]
    found = certificate._ends(Symmetric(A, task_of(A, 1)), lambda v: v - top @ (top.T @ v), start)
    assert found == (pytest.approx(1.0), pytest.approx(1.0), 1, True)


def test_what_is_closer_than_the_target_is_not_missing():
    A = with_spectrum(np.concatenate([[5.0, 5.0 - 1e-7], np.linspace(-1.0, 1.0, 60)]))
    w, V = eigen(A, [1])
    assert certified(A, "dense", w, V, target=1e-6).satisfied
    assert not certified(A, "dense", w, V, target=1e-10).satisfied


def test_a_factorization_whose_pivots_left_the_diagonal_is_not_counted():
    A = sp.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert certificate._sparse_below(A, 0.0, np.arange(2)) is None


@pytest.mark.parametrize("seed", range(6))
def test_inertia_counts_are_those_of_the_eigenvalues(seed):
    rng = np.random.default_rng(seed)
    A = sp.random_array((120, 120), density=0.03, rng=rng)
    A = sp.csr_array(A + A.T + sp.diags_array(rng.standard_normal(120)))
    w = np.linalg.eigvalsh(A.toarray())
    for x in rng.uniform(w[0], w[-1], 5):
        order = rng.permutation(120)
        for found in (certificate._dense_below(A.toarray(), x), certificate._sparse_below(A, x, order)):
            if found is not None and found[1] < float(np.abs(w - x).min()):
                assert found[0] == int((w < x).sum())


def test_the_rounding_of_a_factorization_without_pivoting_shows():
    A = sp.csr_array(np.array([[1e-14, 1.0], [1.0, 1.0]]))
    found = certificate._sparse_below(A, 0.0, np.arange(2))
    assert found is not None
    assert found[1] > 1e-3  # a pivot of 1e-14 makes numbers of 1e14


@pytest.mark.statistical
def test_the_bound_of_the_lanczos_run_holds_with_its_probability():
    """Of the hardest kind of spectrum, one value just beyond the others: steps so few that it is often missed."""
    n, steps, delta = 200, 12, 0.2
    eps = certificate.resolution(n, steps, delta)
    assert 0.0 < eps < 1.0
    missed = 0
    from autonla.probes import ritz

    values = np.concatenate([0.5 * (1.0 - eps) * (1.0 - np.cos(np.linspace(0.0, np.pi, n - 1))), [1.0]])
    for seed in range(200):
        found = ritz.run(lambda v: values * v, np.random.default_rng(seed).standard_normal(n), steps, keep=False)
        missed += float(np.linalg.eigvalsh(found.T)[-1]) < 1.0 - eps
    assert missed <= 200 * delta
    # and with much fewer steps than the bound asks for it is missed more often: the test can fail
    few = [
        float(np.linalg.eigvalsh(ritz.run(lambda v: values * v, np.random.default_rng(s).standard_normal(n), 3).T)[-1])
        for s in range(50)
    ]
    assert np.mean(np.array(few) < 1.0 - eps) > delta


def test_the_resolution_is_that_of_the_paper():
    # (ln(1.648 sqrt(10^4) / 0.01) / (2 * 50 - 1))^2
    assert certificate.resolution(10_000, 50, 0.01) == pytest.approx((9.70990 / 99.0) ** 2, rel=1e-4)
    assert kind_of("eigenpairs").name == "eigenpairs"
