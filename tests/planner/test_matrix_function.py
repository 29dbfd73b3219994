"""Functions of symmetric matrices through plan and solve: chosen by what they cost, certified, explained."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import autonla as nla
from autonla.planner.certificate import Certificate
from autonla.planner.certify import matrix_function as certificate
from autonla.planner.kinds import kind_of
from autonla.planner.kinds.matrix_function import name_of
from autonla.planner.planning import all_candidates
from autonla.primitives.matrix_function._common import krylov_steps
from autonla.primitives.matrix_function.eigendecomposition import EIGENPAIRS
from tests._support.machine import synthetic_profile
from tests.primitives.test_eigenpairs_algorithms import with_spectrum
from tests.primitives.test_incomplete_cholesky import laplacian

PROFILE = synthetic_profile()
_operator: Any = LinearOperator
FUNCTIONS: dict[Any, Any] = {
    "inv": lambda x: 1.0 / x,
    "sqrt": np.sqrt,
    "inv_sqrt": lambda x: x**-0.5,
    ("inv_root", 3): lambda x: x ** (-1.0 / 3.0),
    "log": np.log,
    "exp": np.exp,
    "sign": np.sign,
    np.cos: np.cos,
}
MATRICES: dict[str, Any] = {
    "small": with_spectrum(np.geomspace(0.02, 5.0, 40)),
    "dense": with_spectrum(np.geomspace(0.05, 8.0, 210)),
    "grid": laplacian(19, 17),
    "diagonal": sp.csr_array(sp.diags_array(np.linspace(0.5, 9.0, 200))),
    "one": np.array([[4.0]]),
    "identity": sp.csr_array(sp.eye_array(180) * 2.0),
    "operator": aslinearoperator(laplacian(15, 12)),
}


def plain(A: Any) -> np.ndarray:
    if sp.issparse(A):
        return A.toarray()
    return np.asarray(A @ np.eye(A.shape[0]) if isinstance(A, LinearOperator) else A, dtype=float)


def residual(A: Any, f: Any, b: Any, value: Any) -> float:
    """What the metric is defined to be, from all eigenvalues."""
    w, V = np.linalg.eigh(plain(A))
    B = np.eye(len(w)) if b is None else np.asarray(b, dtype=float)
    Y = np.asarray(value, dtype=float)
    name = name_of(f)
    if name in ("inv", "inv_sqrt") or name.startswith("inv_root"):
        return float(np.linalg.norm((V / FUNCTIONS[f](w)) @ (V.T @ Y) - B) / np.linalg.norm(B))
    wanted = (V * FUNCTIONS[f](w)) @ (V.T @ B)
    return float(np.linalg.norm(Y - wanted) / np.linalg.norm(B if name == "log" else wanted))


def vectors(n: int, columns: int) -> Any:
    if columns == 0:
        return None
    B = np.random.default_rng(7).standard_normal((n, columns))
    return B[:, 0] if columns == 1 else B


@pytest.mark.parametrize("route", [None, PROFILE])
@pytest.mark.parametrize("columns", [0, 1, 9])
@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
@pytest.mark.parametrize("name", MATRICES)
def test_functions_are_found_and_certified(name, f, columns, route):
    A = MATRICES[name]
    b = vectors(A.shape[0], columns)
    solution = nla.solve(nla.MatrixFunction(A, f, apply_to=b), nla.Budget(accuracy=1e-7), rng=0, profile=route)
    assert solution.status == "certified"
    assert solution.certificate.metric == "residual"
    assert solution.value.shape == (A.shape if b is None else b.shape)
    assert residual(A, f, b, solution.value) - 2e-14 <= solution.certificate.bound <= 1e-7
    assert "residual" in solution.explain()


@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
def test_without_a_budget_it_is_as_good_as_lapack(f):
    A = MATRICES["dense"]
    solution = nla.solve(nla.MatrixFunction(A, f), rng=0)
    assert solution.status == "certified"
    assert residual(A, f, None, solution.value) < 1e-12


@pytest.mark.parametrize("columns", [0, 1, 8])
def test_tensors_in_tensors_out_in_their_dtype(columns):
    A = torch.from_numpy(MATRICES["dense"]).to(torch.float32)
    b = vectors(210, columns)
    problem = nla.MatrixFunction(A, "inv_sqrt", apply_to=None if b is None else torch.from_numpy(b).to(torch.float32))
    solution = nla.solve(problem, nla.Budget(accuracy=1e-4), rng=0, profile=PROFILE)
    assert isinstance(solution.value, torch.Tensor)
    assert solution.value.dtype == torch.float32
    assert residual(A, "inv_sqrt", problem.apply_to, solution.value) <= solution.certificate.bound <= 1e-4


@pytest.mark.parametrize("scale", [1e-90, 1e90])
@pytest.mark.parametrize("f", ["inv", "sqrt", "inv_sqrt", ("inv_root", 3)], ids=str)
def test_matrices_far_from_unit_size_are_scaled_and_powers_scaled_back(f, scale):
    A = MATRICES["small"] * scale
    unscaled = nla.solve(nla.MatrixFunction(MATRICES["small"], f), rng=0).value * FUNCTIONS[f](scale)
    for b in (None, vectors(40, 2) * 1e-80):
        solution = nla.solve(nla.MatrixFunction(A, f, apply_to=b), nla.Budget(accuracy=1e-9), rng=0)
        wanted = unscaled if b is None else unscaled @ b
        np.testing.assert_allclose(solution.value, wanted, rtol=1e-8, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("f", ["exp", "log", np.cos], ids=str)
def test_functions_that_do_not_scale_are_refused_there(f):
    with pytest.raises(nla.InvalidProblem, match="the norm of A"):
        nla.solve(nla.MatrixFunction(MATRICES["small"] * 1e90, f), rng=0)


# -- what cannot be solved ---------------------------------------------------------------------------------------------

SKEWED = np.triu(np.ones((30, 30))) + 30.0 * np.eye(30)
INDEFINITE = with_spectrum(np.r_[-1.0, np.linspace(1.0, 4.0, 299)])


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, aslinearoperator])
@pytest.mark.parametrize("n", [30, 400])
def test_what_is_not_symmetric_has_no_algorithm_and_is_told_what_has(form, n):
    A = form(np.kron(SKEWED, np.eye(n // 30 + 1))[:n, :n])
    with pytest.raises(nla.NoAlgorithm, match=r"not symmetric.*scipy\.linalg") as caught:
        nla.solve(nla.MatrixFunction(A, "sqrt", apply_to=np.ones(n)), rng=0)
    assert caught.value.kind == "matrix_function"


@pytest.mark.parametrize("f", ["sqrt", "inv_sqrt", "log", ("inv_root", 4)], ids=str)
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, aslinearoperator])
def test_an_indefinite_matrix_has_no_real_root_and_that_is_said(form, f):
    with pytest.raises(nla.InvalidProblem, match="Rayleigh quotient") as caught:
        nla.solve(nla.MatrixFunction(form(INDEFINITE), f, apply_to=np.ones(300)), rng=0, rigor="exhaustive")
    assert caught.value.argument == "A"
    with pytest.raises(nla.InvalidProblem, match="diagonal"):
        nla.solve(nla.MatrixFunction(np.diag([1.0, -2.0, 3.0]), f), rng=0)


def test_a_small_indefinite_matrix_is_found_out_by_its_eigenvalues():
    A = with_spectrum(np.r_[-0.1, np.linspace(1.0, 4.0, 59)])
    with pytest.raises(
        (nla.InvalidProblem, nla.CertificationFailed), match=r"not positive definite|is not: a Rayleigh"
    ):
        nla.solve(nla.MatrixFunction(A, "inv_sqrt"), rng=0)


def test_a_singular_matrix_is_named_as_such():
    A = with_spectrum(np.r_[0.0, np.linspace(1.0, 4.0, 59)])
    with pytest.raises(nla.AutonlaError, match=r"singular|not positive definite|is not:"):
        nla.solve(nla.MatrixFunction(A, "inv_sqrt"), rng=0)
    solution = nla.solve(nla.MatrixFunction(A, "sqrt"), nla.Budget(accuracy=1e-6), rng=0)
    np.testing.assert_allclose(solution.value @ solution.value, A, atol=1e-10)


def test_the_polar_factor_has_no_algorithm_yet():
    with pytest.raises(nla.NoAlgorithm, match="polar"):
        nla.solve(nla.MatrixFunction(np.ones((5, 3)), "polar"), rng=0)


def test_an_empty_block_of_vectors_gives_one_back():
    solution = nla.solve(nla.MatrixFunction(MATRICES["small"], "sqrt", apply_to=np.zeros((40, 0))), rng=0)
    assert solution.value.shape == (40, 0)
    assert nla.solve(nla.MatrixFunction(np.zeros((0, 0)), "sqrt"), rng=0).value.shape == (0, 0)


# -- the certificate ---------------------------------------------------------------------------------------------------


def certified(
    A: Any, f: Any, b: Any, value: Any, target: float, seed: int = 0, confidence: float = 0.99, **left: Any
) -> Certificate:
    kind = kind_of("matrix_function")
    problem = nla.MatrixFunction(A, f, apply_to=b)
    task = kind.task(problem, target, 0)
    columns = [None if x is None else np.asarray(x, dtype=float).reshape(len(x), -1) for x in (b, value)]
    assert columns[1] is not None
    return certificate.certify(
        A, columns[0], columns[1], task, target, target, seed=seed, confidence=confidence, **left
    )


def exact(A: Any, f: Any, b: Any) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    w, V = np.linalg.eigh(plain(A))
    F = (V * FUNCTIONS[f](w)) @ V.T
    return (F if b is None else F @ b), (w, V)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("columns", [0, 1, 9])
@pytest.mark.parametrize("f", [f for f in FUNCTIONS if f not in ("sign", np.cos)], ids=str)
@pytest.mark.parametrize("name", ["dense", "grid"])
def test_a_bound_holds_and_is_not_far_above_the_error(name, f, columns, ready):
    A = MATRICES[name]
    b = vectors(A.shape[0], columns)
    value, pairs = exact(A, f, b)
    noise = np.random.default_rng(2).standard_normal(value.shape)
    for size in (0.0, 1e-6, 1e-3):
        given = value + size * noise * (np.linalg.norm(value) / np.linalg.norm(noise))
        error = residual(A, f, b, given)
        found = certified(A, f, b, given, 1e-7, eigenpairs=pairs if ready else None)
        assert error <= found.bound + 1e-13
        assert found.bound <= (4.0 if ready or f == "inv" or columns == 1 else 40.0) * error + 2e-8
        assert found.satisfied is (size == 0.0)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("damage", ["one entry", "one sign", "transposed in part", "zero", "not finite", "another f"])
@pytest.mark.parametrize("f", ["inv", "inv_sqrt", "sqrt", "log", "exp"])
def test_a_damaged_answer_fails(f, damage, ready):
    A = MATRICES["dense"]
    value, (w, V) = exact(A, f, None)
    if damage == "one entry":
        value[3, 7] += 1e-3 * np.linalg.norm(value)
    elif damage == "one sign":  # its square is the same
        value = value - 2.0 * FUNCTIONS[f](w[60]) * np.outer(V[:, 60], V[:, 60])
    elif damage == "transposed in part":
        value[:5, :9], value[:9, :5] = value[:5, :9] * 2.0, value[:9, :5] / 2.0
    elif damage == "zero":
        value = np.zeros_like(value)
    elif damage == "not finite":
        value[0, 0] = np.nan
    else:
        value = exact(A, "log" if f != "log" else "sqrt", None)[0]
    assert not certified(A, f, None, value, 1e-5, eigenpairs=(w, V) if ready else None).satisfied


@pytest.mark.parametrize("damage", ["value", "vector", "both"])
def test_wrong_eigenpairs_do_not_certify_what_was_made_of_them(damage):
    A = MATRICES["dense"]
    _, (w, V) = exact(A, "inv_sqrt", None)
    if damage != "vector":
        w[10] *= 1.001
    if damage != "value":
        V[:, 20] = np.roll(V[:, 20], 1)
    X = (V * w**-0.5) @ V.T
    assert not certified(A, "inv_sqrt", None, X, 1e-6, eigenpairs=(w, V)).satisfied
    assert not certified(A, "sign", None, V @ V.T, 1e-6, eigenpairs=(w, V * 1.001)).satisfied


def test_signs_and_callables_are_certified_from_eigenpairs_alone():
    value, pairs = exact(MATRICES["dense"], "sign", None)
    assert certified(MATRICES["dense"], "sign", None, value, 1e-8, eigenpairs=pairs).satisfied
    found = certified(MATRICES["dense"], "sign", None, value, 1e-8)
    assert not found.satisfied
    assert "eigenpairs alone" in found.method


def test_a_matrix_seen_to_be_indefinite_fails_every_root():
    value = np.ones(300)
    found = certified(sp.csr_array(INDEFINITE), "sqrt", value, value, 1e-3)
    assert math.isinf(found.bound)
    assert "not positive definite" in found.method


@pytest.mark.statistical
@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt"])
def test_test_vectors_fail_as_seldom_as_stated_and_would_more_often_without_their_quantile(f):
    """Differences of rank one, which test vectors are the most likely to miss."""
    A = with_spectrum(np.linspace(1.0, 3.0, 24))
    value, _ = exact(A, f, None)
    v = np.random.default_rng(1).standard_normal(24)
    given = value + 1e-3 * np.outer(v, v) / (v @ v)
    error, confidence, draws = residual(A, f, None, given), 0.9, 500
    found = [certified(A, f, None, given, 1e-9, seed=seed, confidence=confidence) for seed in range(draws)]
    missed = sum(c.bound < error for c in found)
    allowed = 1.0 - confidence
    assert missed <= allowed * draws + 4.0 * math.sqrt(allowed * draws)
    assert all(c.confidence == confidence for c in found)
    # of what is estimated without a quantile about half are below
    assert sum(c.estimate < error for c in found) > 0.3 * draws


@pytest.mark.parametrize("f", ["inv_sqrt", "log", "exp", "sqrt"])
def test_an_operator_in_float32_is_certified_as_far_as_its_products_go(f):
    A = MATRICES["grid"].astype(np.float32)
    operator = _operator(A.shape, matvec=lambda v: A @ v.astype(np.float32).ravel(), dtype=np.float32)
    b = vectors(A.shape[0], 1).astype(np.float32)
    solution = nla.solve(nla.MatrixFunction(operator, f, apply_to=b), nla.Budget(accuracy=5e-2), rng=0, profile=PROFILE)
    assert residual(A, f, b, solution.value) <= solution.certificate.bound <= 5e-2


# -- the choice --------------------------------------------------------------------------------------------------------


def big(n: int = 20_000) -> sp.csr_array:
    """Well-conditioned, of an order that is never dense."""
    return sp.csr_array(sp.diags_array([-np.ones(n - 1), np.full(n, 2.5), -np.ones(n - 1)], offsets=[-1, 0, 1]))  # type: ignore[arg-type]


def test_one_vector_of_a_large_sparse_matrix_goes_to_lanczos():
    b = np.random.default_rng(0).standard_normal(20_000)
    plan = nla.plan(
        nla.MatrixFunction(big(), "inv_sqrt", apply_to=b), nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE
    )
    assert plan.chosen.algorithm == "lanczos"
    assert plan.run().status == "certified"


def test_little_memory_leaves_a_polynomial_where_lanczos_would_keep_a_basis():
    problem = nla.MatrixFunction(big(), "inv_sqrt", apply_to=np.random.default_rng(0).standard_normal((20_000, 3)))

    def candidates(memory: Any) -> Any:
        budget = nla.Budget(accuracy=1e-9, memory=memory)
        return [entry.candidate for entry in all_candidates(problem, budget, PROFILE, 0)[1]]

    kept = next(c for c in candidates(None) if c.label.startswith("lanczos["))
    assert kept.feasible
    limited = candidates("8 MiB")
    assert limited[0].algorithm == "polynomial"
    assert "of memory" in next(c for c in limited if c.label == kept.label).reason


def test_many_vectors_go_to_a_polynomial_and_the_plan_says_which():
    b = np.random.default_rng(0).standard_normal((20_000, 40))
    problem = nla.MatrixFunction(big(), "inv_sqrt", apply_to=b)
    solution = nla.solve(problem, nla.Budget(accuracy=1e-6), rng=0, profile=PROFILE)
    assert solution.plan.chosen.algorithm == "polynomial"
    assert solution.status == "certified"
    details = solution.record.attempts[-1].details
    assert f"a polynomial of degree {details['degree']} on [0.5" in solution.explain()
    w = 2.5 - 2.0 * np.cos(np.arange(1, 20_001) * math.pi / 20_001)  # the matrix is diagonal in sines
    from scipy.fft import dst

    def rotated(X: np.ndarray) -> Any:
        return dst(X, type=1, axis=0, norm="ortho")

    error = np.linalg.norm(w[:, None] ** 0.5 * rotated(solution.value) - rotated(b)) / np.linalg.norm(b)
    assert error <= solution.certificate.bound <= 1e-6


def test_a_polynomial_is_chosen_where_inner_products_are_waited_for():
    b = np.random.default_rng(0).standard_normal((20_000, 6))
    problem = nla.MatrixFunction(big(), "inv_sqrt", apply_to=b)
    waiting = PROFILE.with_reductions(1e-3)
    plans = [nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=profile) for profile in (PROFILE, waiting)]
    assert [plan.chosen.algorithm for plan in plans] == ["lanczos", "polynomial"]
    assert plans[1].run().status == "certified"
    entries = {e.candidate.label: e for e in all_candidates(problem, nla.Budget(accuracy=1e-8), PROFILE, 0)[1]}
    task, evidence = replace(plans[1].task, target=1e-8), plans[1].evidence
    reductions = {
        label: e.algorithm.work(task, evidence, e.options).reductions for label, e in entries.items() if e.options
    }
    steps = krylov_steps(task, evidence, 1e-8).median
    assert reductions["lanczos[scipy float64]"] == pytest.approx(2.0 * 6.0 * steps)
    assert reductions["lanczos(basis=twice)[scipy float64]"] == pytest.approx(4.0 * 6.0 * steps)
    assert reductions["polynomial[scipy float64]"] == 0.0


def test_what_is_left_for_the_certificate_saves_its_products():
    counted = 0
    A = big()

    def matvec(v: np.ndarray) -> np.ndarray:
        nonlocal counted
        counted += 1
        return A @ v

    operator = _operator(A.shape, matvec=matvec, dtype=np.float64)
    problem = nla.MatrixFunction(operator, "inv_sqrt", apply_to=np.random.default_rng(0).standard_normal(20_000))
    plan = nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor="exhaustive")
    after = {}
    for label in ("lanczos[scipy float64]", "polynomial[scipy float64]"):
        counted = 0
        solution = plan.run(candidate=label)
        after[label.partition("[")[0]] = counted - int(solution.record.attempts[-1].details["products"])
        assert solution.status == "certified"
    assert after["lanczos"] == 4  # three of test vectors, and one of the difference
    assert after["polynomial"] > 40


def test_the_example_of_the_documentation_runs():
    example = doctest.DocTestParser().get_doctest(nla.MatrixFunction.__doc__ or "", {}, "MatrixFunction", None, 0)
    assert len(example.examples) == 4
    assert doctest.DocTestRunner().run(example).failed == 0


def test_a_small_dense_matrix_goes_to_its_eigenvalues_and_an_inverse_to_cholesky():
    A = MATRICES["dense"]
    chosen = [nla.plan(nla.MatrixFunction(A, f), rng=0, profile=PROFILE).chosen.algorithm for f in ("sqrt", "inv")]
    assert chosen == ["eigendecomposition", "cholesky"]
    for f, columns, name in (("sqrt", 0, "eigendecomposition"), ("inv", 30, "cholesky")):
        solution = nla.solve(nla.MatrixFunction(A, f, apply_to=vectors(210, columns)), rng=0)
        assert solution.plan.chosen.algorithm == name
        assert "ran at once" in solution.explain()  # whatever there is to be known of it


def test_an_indefinite_inverse_is_found_although_cholesky_fails():
    solution = nla.solve(nla.MatrixFunction(INDEFINITE, "inv"), rng=0, profile=PROFILE)
    np.testing.assert_allclose(solution.value @ INDEFINITE, np.eye(300), atol=1e-10)


def test_whitening_by_the_gram_matrix_of_the_rows():
    """Counts of rare events in 400 rows, whose Gram matrix is regularized: W = G^(-1/2) makes the rows orthonormal."""
    rng = np.random.default_rng(3)
    counts = sp.random_array((400, 3000), density=0.01, rng=rng, data_sampler=lambda size: rng.poisson(2.0, size) + 1.0)
    gram = (counts @ counts.T).toarray()
    gram = gram / np.linalg.norm(gram, 2) + 1e-3 * np.eye(400)
    W = nla.solve(nla.MatrixFunction(gram, "inv_sqrt"), nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE)
    np.testing.assert_allclose(W.value @ gram @ W.value, np.eye(400), atol=1e-6)
    rows = counts.toarray()[:, :8]
    some = nla.solve(nla.MatrixFunction(gram, "inv_sqrt", apply_to=rows), nla.Budget(accuracy=1e-8), rng=0)
    np.testing.assert_allclose(some.value, W.value @ rows, atol=1e-6 * np.abs(rows).max())


def test_a_race_runs_every_candidate_and_certifies_each():
    b = vectors(MATRICES["grid"].shape[0], 1)
    race = nla.race(
        nla.MatrixFunction(MATRICES["grid"], "sqrt", apply_to=b), nla.Budget(accuracy=1e-6), rng=0, profile=PROFILE
    )
    assert {row.label.split("[")[0].split("(")[0] for row in race.rows if row.certified} >= {
        "eigendecomposition",
        "lanczos",
    }


def test_a_plan_goes_through_json_and_runs_on_another_matrix_and_callable():
    A = MATRICES["dense"]
    plan = nla.plan(nla.MatrixFunction(A, np.cos), rng=0, profile=PROFILE)
    text = plan.to_json()
    again = nla.Plan.from_json(text)
    assert again.task.function == "callable"
    solution = again.run(nla.MatrixFunction(2.0 * A, np.sin))
    np.testing.assert_allclose(solution.value, exact_of(2.0 * A, np.sin), atol=1e-12)
    with pytest.raises(nla.PlanError, match="does not fit"):
        again.run(nla.MatrixFunction(A, "exp"))


def exact_of(A: np.ndarray, f: Any) -> np.ndarray:
    w, V = np.linalg.eigh(A)
    return (V * f(w)) @ V.T


def test_the_eigenpairs_are_handed_on_under_the_name_that_the_certificate_asks_for():
    kind = kind_of("matrix_function")
    task = kind.task(nla.MatrixFunction(MATRICES["dense"], "sqrt"), 1e-8, 0)
    algorithm, options = kind.setting("eigendecomposition", task)
    from autonla.primitives.evidence import Evidence

    outcome = algorithm.solve(MATRICES["dense"], None, task, options, Evidence(), {})
    assert set(outcome.by_products) == {EIGENPAIRS}


def test_the_same_seed_gives_the_same_answer():
    b = np.random.default_rng(0).standard_normal(20_000)
    problem = nla.MatrixFunction(big(), "inv_sqrt", apply_to=b)
    values = [nla.solve(problem, nla.Budget(accuracy=1e-6), rng=4, profile=PROFILE).value for _ in range(2)]
    np.testing.assert_array_equal(*values)


def test_what_is_scaled_with_the_vectors_alone():
    kind = kind_of("matrix_function")
    task = kind.task(nla.MatrixFunction(MATRICES["dense"], "exp"), 1e-8, 0)
    assert kind.unscale(1.5, task, 7, 3) == 12.0


def test_an_array_on_a_gpu_has_no_algorithm_yet():
    class OnGPU(nla.MatrixFunction):
        __slots__ = ()
        device = "cuda:0"  # type: ignore[assignment]

    with pytest.raises(nla.NoAlgorithm, match="GPU"):
        kind_of("matrix_function").task(OnGPU(MATRICES["small"], "sqrt"), 1e-8, 0)


def test_a_race_on_a_part_of_an_operator_takes_all_of_it():
    kind = kind_of("matrix_function")
    for name, order in (("operator", 180), ("grid", 161), ("dense", 105)):
        b = vectors(MATRICES[name].shape[0], 2)
        task = kind.task(nla.MatrixFunction(MATRICES[name], "sqrt", apply_to=b), 1e-8, 0)
        A, part, smaller = kind.slice_problem(MATRICES[name], b, task)
        assert A.shape == (order, order)
        assert part.shape == (order, 2)
        assert smaller.n == smaller.m == order
        assert smaller.nnz == (A.nnz if name == "grid" else 0)


def test_why_no_answer_could_be_certified():
    kind = kind_of("matrix_function")
    for A, f, says in (
        (SKEWED, "sqrt", "not symmetric"), (INDEFINITE, "log", "not positive definite"),
        (MATRICES["grid"], "sqrt", ""), (np.zeros((4, 4)), "inv", "singular"),
    ):  # fmt: skip
        told = kind.diagnosis(A, kind.task(nla.MatrixFunction(A, f), 1e-8, 0))
        assert (says in told) if says else told == ""
    operator = MATRICES["operator"]
    assert kind.diagnosis(operator, kind.task(nla.MatrixFunction(operator, "sqrt"), 1e-8, 0)) == ""


def test_why_there_is_no_polynomial_is_said():
    A = sp.csr_array(sp.diags_array(np.r_[1e-9, np.linspace(1.0, 2.0, 899)]))
    b = np.random.default_rng(0).standard_normal((900, 3))
    plan = nla.plan(
        nla.MatrixFunction(A, "inv_sqrt", apply_to=b), nla.Budget(accuracy=1e-8), profile=PROFILE, rigor="exhaustive"
    )
    assert any("no polynomial: more than 3000 products" in note for note in plan.notes)


def test_a_latency_shorter_than_what_runs_at_once_is_left_to_planning():
    kind = kind_of("matrix_function")
    times = [kind.longest_at_once(kind.task(nla.MatrixFunction(np.eye(n), "sqrt"), 1e-8, 0)) for n in (20, 400, 1000)]
    assert times == pytest.approx([0.05, 0.064, 1.0])
    late = nla.Budget(latency=0.06, on_infeasible="best_effort")
    solution = nla.solve(nla.MatrixFunction(with_spectrum(np.linspace(1.0, 2.0, 400)), "sqrt"), late, rng=0)
    assert "ran at once" not in solution.explain()
