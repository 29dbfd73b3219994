"""Sparse linear systems and eigenpairs in the bench: their matrices, SciPy's calls beside ours, and the yardstick."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator
from typer.testing import CliRunner

import autonla as nla
from autonla.planner.bench import Row, measure, measuring, suite, summarize, truth, write
from autonla.planner.bench import report as bench_report
from autonla.planner.bench import sparse as made
from autonla.planner.bench.baselines import alternatives, baseline
from autonla.planner.bench.measuring import HOPELESS, Call
from autonla.planner.bench.selectors import cola, contests, facts, linear_solve
from autonla.planner.bench.sparse import dense_symmetric, eigenpairs, sparse_systems
from autonla.planner.bench.suite import Instance
from autonla.planner.bench.truth import true_error
from autonla.planner.cli import app
from autonla.primitives.algorithm import Breakdown
from tests._support.bench_rows import row, tiny

KINDS = ("sparse_linear_system", "eigenpairs")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- matrices


def test_second_differences_have_the_spectrum_that_sines_have():
    for sides in ((7,), (5, 6), (3, 4, 5)):
        ends = [4.0 * np.sin(0.5 * np.pi * np.arange(1, n + 1) / (n + 1)) ** 2 for n in sides]
        expected = np.sort(np.add.outer(ends[0], np.add.outer(ends[1], ends[2])).ravel()) if len(sides) == 3 else (
            np.sort(np.add.outer(*ends).ravel()) if len(sides) == 2 else ends[0]
        )  # fmt: skip
        A = made.poisson(*sides)
        np.testing.assert_allclose(np.linalg.eigvalsh(A.toarray()), expected, atol=1e-13)
        np.testing.assert_array_equal(made.convection(*sides, speed=0.0).toarray(), A.toarray())


def test_definite_indefinite_and_general_are_what_they_are_called():
    def values(A: sp.csr_array) -> np.ndarray:
        np.testing.assert_allclose(A.toarray(), A.toarray().T, atol=1e-15)
        return np.linalg.eigvalsh(A.toarray())

    contrast = values(made.contrast(rng(), 10, 6.0))
    assert contrast[0] > 0.0
    assert contrast[-1] / contrast[0] > 1e4
    mixed = made.mixed(rng(), 4, 2.0)
    assert np.count_nonzero(values(mixed) < 0.0) == np.count_nonzero(mixed.diagonal() == 0.0) == 16
    assert values(made.shifted(made.poisson(8, 8), 1.0))[[0, -1]].prod() < 0.0
    flow = made.convection(6, 5, speed=0.5).toarray()
    assert np.abs(flow - flow.T).max() == 0.5
    assert (np.abs(flow).sum(axis=1) <= 2.0 * np.diagonal(flow) + 1e-12).all()
    surfer = made.pagerank(rng(), 50, 4, 0.85)
    np.testing.assert_allclose(surfer.sum(axis=0), 0.15, atol=1e-14)  # columns of P' add up to one
    well = values(made.schroedinger(rng(), 8, 1.0))
    assert well[0] > values(made.poisson(8, 8))[0]


@pytest.mark.parametrize("angle", [0.0, np.pi / 6.0, 2.0])
def test_diffusion_is_fast_along_its_angle_and_slow_across(angle):
    """Of quadratics, elements have the exact second derivatives away from the boundary."""
    side, ratio = 12, 1e-3
    A = made.anisotropic(side, ratio, angle)
    assert np.linalg.eigvalsh(A.toarray())[0] > 0.0
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    inside = np.ix_(range(1, side - 1), range(1, side - 1))
    for direction, rate in ((angle, 1.0), (angle + 0.5 * np.pi, ratio)):
        u = (np.cos(direction) * x + np.sin(direction) * y) ** 2
        np.testing.assert_allclose((A @ u.ravel()).reshape(side, side)[inside], -2.0 * rate, atol=1e-11)


@pytest.mark.parametrize(
    "graph",
    [
        lambda: made.geometric_graph(rng(), 400, 8.0),
        lambda: made.random_graph(rng(), 400, 2),
        lambda: made.scale_free_graph(rng(), 400, 3),
    ],
)
def test_graphs_are_simple_and_their_laplacians_semidefinite(graph):
    A = graph()
    assert (abs(A - A.T)).nnz == 0
    assert set(A.data) == {1.0}
    assert not A.diagonal().any()
    L = made.laplacian(A, 0.25)
    np.testing.assert_allclose(L.sum(axis=1), 0.25, atol=1e-13)
    assert np.linalg.eigvalsh(L.toarray())[0] == pytest.approx(0.25, rel=1e-10, abs=0.0)


def test_degrees_are_those_of_their_graphs():
    degree = {
        name: np.asarray(A.sum(axis=1))
        for name, A in (
            ("geometric", made.geometric_graph(rng(), 2000, 8.0)),
            ("random", made.random_graph(rng(), 2000, 2)),
            ("scale-free", made.scale_free_graph(rng(), 2000, 3)),
        )
    }
    assert 7.0 < degree["geometric"].mean() < 8.5  # fewer at the boundary
    assert degree["random"].max() == 4
    assert degree["random"].mean() > 3.9
    assert degree["scale-free"].max() > 12.0 * np.median(degree["scale-free"])


def test_dense_matrices_have_their_spectrum():
    A = dense_symmetric(rng(), 60, "exponential")
    np.testing.assert_array_equal(A, A.T)
    assert np.linalg.eigvalsh(A)[-2] == pytest.approx(10.0 ** (-6.0 / 59.0), rel=1e-9, abs=0.0)
    circle = np.linalg.eigvalsh(dense_symmetric(rng(), 400, "semicircle"))
    assert circle[-1] == pytest.approx(math.sqrt(2.0 * 400), rel=0.06, abs=0.0)
    assert dense_symmetric(rng(), 20, "flat", "float32").dtype == np.float32


def test_the_suite_has_them_easy_and_hard_and_each_is_the_same_every_time():
    systems, pairs = list(sparse_systems()), list(eigenpairs())
    assert {i.tags["structure"] for i in systems} == {"spd", "indefinite", "general"}
    assert {i.tags["which"] for i in pairs} == {"LA", "SA", "LM", "SM"}
    assert {(i.family, i.daily) for i in (*systems, *pairs)} == {(kind, daily) for kind in KINDS for daily in (0, 1)}
    assert any(i.budget.memory for i in systems)
    for instance in (*systems, *pairs):
        if not instance.name.endswith(("torch, 10 LA, to 1e-08", "operator, to 1e-08")) and "1500" not in instance.name:
            first, second = (i.problem().A for i in (instance, instance))
            assert abs(first - second).max() == 0.0
            if sp.issparse(first):
                assert (abs(first - first.T).max() == 0.0) == (instance.tags.get("structure") != "general")


# --- SciPy's calls


def names(problem: nla.Problem) -> list[str]:
    return list(alternatives(problem, 1e-8, math.inf))


def test_the_calls_of_today_solve_what_they_are_for():
    b = rng().standard_normal((100, 2))
    definite = made.poisson(10, 10)
    indefinite, general = made.shifted(definite, 1.0), made.convection(10, 10, speed=0.5)
    for A, expected in (
        (definite, ["scipy spsolve", "scipy minres", "scipy cg, Jacobi"]),
        (made.shifted(definite, 5.0), ["scipy spsolve", "scipy minres"]),  # its diagonal is negative
        (indefinite, ["scipy spsolve", "scipy minres", "scipy cg, Jacobi"]),
        (general, ["scipy spsolve", "scipy gmres, spilu"]),
    ):
        for right in (b, b[:, 0]):
            problem = nla.LinearSystem(A, right)
            assert names(problem) == expected
            assert baseline(problem)[0] == "scipy spsolve"
            x = np.linalg.solve(A.toarray(), right)
            for name, call in alternatives(problem, 1e-12, math.inf).items():
                if A is definite or name != "scipy cg, Jacobi":
                    np.testing.assert_allclose(call(), x, atol=1e-6 * np.abs(x).max(), err_msg=name)
    operator = aslinearoperator(definite)
    for assume, name in (("spd", "cg"), ("symmetric", "minres"), (None, "gmres")):
        problem = nla.LinearSystem(operator, b[:, 0], assume=assume)
        assert names(problem) == [f"scipy {name}"]
        np.testing.assert_allclose(definite @ baseline(problem, 1e-10)[1](), b[:, 0], atol=1e-6)


def test_what_fails_or_takes_too_long_has_no_answer():
    singular = nla.LinearSystem(made.laplacian(made.random_graph(rng(), 50, 2)), rng().standard_normal(50))
    gone = alternatives(singular, 1e-8, 0.0)
    assert [gone[name]() for name in ("scipy minres", "scipy cg, Jacobi")] == [None, None]
    assert alternatives(nla.Eigenpairs(singular.A, 3), 1e-8, 0.0)["scipy eigsh"]() is None
    assert baseline(nla.Eigenpairs(singular.A, 3), 1e-8)[1]() is not None  # the safe default is waited for
    single = nla.Eigenpairs(dense_symmetric(rng(), 40, "flat", "float32"), 3)
    assert alternatives(single, 1e-4, math.inf)["scipy eigsh"]()[0].dtype == np.float32
    empty = nla.LinearSystem(sp.csr_array(np.diag([1.0, 0.0, 2.0]) + np.eye(3, k=1)), np.ones(3))
    assert alternatives(empty, 1e-8, math.inf)["scipy gmres, spilu"]() is None  # its factors are singular


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
def test_the_eigensolvers_of_today_find_the_wanted_end_first(which):
    import torch

    A = made.shifted(made.poisson(9, 8), 2.9)
    every = np.linalg.eigvalsh(A.toarray())
    expected = every[np.argsort({"LA": -every, "SA": every, "LM": -abs(every), "SM": abs(every)}[which])][:3]
    found = names(nla.Eigenpairs(A, 3, which=which))
    shifts = which in ("SA", "SM")
    assert found == (["scipy eigsh, shift-invert", "scipy eigsh"] if shifts else ["scipy eigsh"])
    for operand in (A, A.toarray(), torch.from_numpy(A.toarray())):
        for call in alternatives(nla.Eigenpairs(operand, 3, which=which), 1e-10, math.inf).values():
            w, V = (np.asarray(part) for part in call())
            np.testing.assert_allclose(w, expected, atol=1e-8)
            assert np.abs(A @ V - V * w).max() < 1e-7
    assert names(nla.Eigenpairs(A.toarray(), 72)) == ["scipy eigh"]  # ARPACK finds all but one at most
    assert names(nla.Eigenpairs(torch.from_numpy(A.toarray()), 3)) == ["torch.linalg.eigh"]


def test_kinds_with_one_way_have_no_alternatives():
    A = rng().standard_normal((5, 5))
    assert names(nla.LinearSystem(A, A[0])) == names(nla.LowRank(A, rank=1)) == []


# --- the yardstick


def exact(x) -> Any:
    return mpmath.matrix(np.asarray(x, dtype=float).tolist())


def frobenius(X) -> Any:
    return mpmath.sqrt(mpmath.fsum(entry**2 for entry in X))


def close(found, expected) -> bool:
    assert found is not None
    return abs(mpmath.mpf(found.error) - expected) <= found.uncertainty + 1e-14 * abs(expected)


@pytest.mark.parametrize("exponents", [(0, 0), (-500, 0), (500, 500), (-500, -500)])
def test_backward_errors_of_sparse_systems_at_the_level_of_rounding(exponents):
    A = made.convection(3, 3, speed=0.3) + sp.csr_array(([1e9], ([0], [4])), shape=(9, 9))  # of very unlike sizes
    x = rng(1).standard_normal((9, 2))
    A, b = sp.csr_array(A * 2.0 ** exponents[0]), np.ldexp(A @ x, exponents[1])
    x = np.ldexp(x * (1.0 + 1e-15), exponents[1] - exponents[0])
    found = true_error(nla.LinearSystem(A, b), x, 1e-12)
    with mpmath.workdps(60):
        norm = max(mpmath.svd_r(exact(A.toarray()), compute_uv=False))
        r = exact(b) - exact(A.toarray()) * exact(x)
        columns = [frobenius(r[:, j]) / (norm * frobenius(exact(x)[:, j]) + frobenius(exact(b)[:, j])) for j in (0, 1)]
        assert 0.0 < max(columns) < 1e-15
        assert close(found, max(columns))
        relative = true_error(nla.LinearSystem(A, b, metric="relative_residual"), x, 1e-12)
        assert close(relative, max(frobenius(r[:, j]) / frobenius(exact(b)[:, j]) for j in (0, 1)))


def test_of_an_operator_and_of_what_is_too_large_nothing_is_known(monkeypatch):
    A = made.poisson(5, 5)
    b = A @ np.ones(25)
    assert true_error(nla.LinearSystem(A, b), np.ones(25), 1e-8) is not None
    assert true_error(nla.LinearSystem(aslinearoperator(A), b, assume="spd"), np.ones(25), 1e-8) is None
    monkeypatch.setattr(truth, "DEAREST_SPARSE", 10.0)
    assert true_error(nla.LinearSystem(A, b), np.ones(25), 1e-8) is None


@pytest.mark.parametrize("dense", [False, True])
def test_residuals_of_eigenpairs_at_the_level_of_rounding(dense):
    A = made.shifted(made.poisson(3, 4), 0.1)
    w, V = np.linalg.eigh(A.toarray())
    w, V = w[:-3:-1] * (1.0 + 3e-16), V[:, :-3:-1] * np.array([1.0, 1.0 + 1e-9])
    found = true_error(nla.Eigenpairs(A.toarray() if dense else A, 2), (w, V), 1e-12)
    with mpmath.workdps(60):
        M, X = exact(A.toarray()), exact(V)
        norm = max(mpmath.svd_r(M, compute_uv=False))
        columns = [
            frobenius(M * X[:, j] - mpmath.mpf(float(w[j])) * X[:, j]) / (norm * frobenius(X[:, j])) for j in (0, 1)
        ]
        assert 0.0 < max(columns) < 1e-15
        assert close(found, max(columns))


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
@pytest.mark.parametrize("order", [3000, 10], ids=["all are known", "the end is known"])
def test_pairs_that_were_missed_are_an_infinite_error(monkeypatch, which, order):
    monkeypatch.setattr(truth, "ALL_EIGENVALUES", order)
    A = sp.csr_array(made.shifted(made.poisson(9, 11), 2.9))
    values, vectors = np.linalg.eigh(A.toarray())
    first = np.argsort({"LA": -values, "SA": values, "LM": -abs(values), "SM": abs(values)}[which])
    problem = nla.Eigenpairs(A, 4, which=which)

    def judged(places: list[int], turn: np.ndarray | None = None) -> float | None:
        chosen = first[places]
        V = vectors[:, chosen] if turn is None else vectors[:, chosen] @ turn
        found = true_error(problem, (values[chosen], V), 1e-8)
        return None if found is None else found.error

    right = judged([0, 1, 2, 3])
    assert right is not None
    assert right < 1e-14
    assert judged([3, 0, 2, 1]) == right  # their order is the certificate's business
    for missed in ([1, 2, 3, 4], [0, 1, 2, 5], [0, 1, 3, 4]):
        assert judged(missed) == math.inf, missed
    double = np.eye(4)
    double[:, 1] = double[:, 0]
    assert judged([0, 1, 2, 3], double) == math.inf  # the same vector twice


def test_an_eigenvalue_that_is_near_enough_is_not_missed():
    """What is within the claim of the last one is not told apart from it."""
    A = np.diag([3.0, 2.0, 1.0 + 1e-7, 1.0, 0.5])
    pairs = np.array([3.0, 2.0, 1.0]), np.eye(5)[:, [0, 1, 3]]
    assert true_error(nla.Eigenpairs(A, 3), pairs, 1e-6) == (0.0, 0.0)
    strict = true_error(nla.Eigenpairs(A, 3), pairs, 1e-8)
    assert strict is not None
    assert strict.error == math.inf


def test_the_second_of_a_double_eigenvalue_is_not_overlooked():
    A = made.poisson(16, 16)
    twice = np.linalg.eigvalsh(A.toarray())[[0, 1, 2, 3]]
    assert twice[2] - twice[1] < 1e-13 < 0.1 < twice[3] - twice[2]
    problem = nla.Eigenpairs(A, 3, which="SA")
    w, V = np.linalg.eigh(A.toarray())
    for places, error in (([0, 1, 2], 1e-14), ([0, 1, 3], math.inf)):
        found = true_error(problem, (w[places], V[:, places]), 1e-8)
        assert found is not None
        assert found.error <= error
        assert math.isinf(found.error) == math.isinf(error)


@pytest.mark.slow
@pytest.mark.parametrize("instance", [*sparse_systems(), *eigenpairs()], ids=lambda i: i.name)
def test_what_is_certified_is_true(instance):
    try:
        solution = nla.solve(instance.problem(), instance.budget, rng=0)
    except (nla.InfeasibleBudget, nla.CertificationFailed):
        assert instance.budget.memory is not None  # what no limit forbids is solved
        return
    assert solution.status == "certified"
    true = true_error(instance.problem(), solution.value, instance.budget.accuracy)
    if true is None:
        assert "operator" in instance.name
    else:
        assert true.low <= instance.budget.accuracy


# --- measured


def system(n: int, limit: str | None = "1 GiB") -> Instance:
    make = lambda g: nla.LinearSystem(made.poisson(n, n), g.standard_normal(n * n))  # noqa: E731
    return Instance(f"system {n}", KINDS[0], {"structure": "spd"}, make, nla.Budget(1e-8, memory=limit))


def pairs(n: int) -> Instance:
    make = lambda g: nla.Eigenpairs(made.poisson(n, n + 1), 3, which="SA")  # noqa: E731
    return Instance(f"pairs {n}", KINDS[1], {"which": "SA"}, make, nla.Budget(1e-8))


def test_a_sparse_system_and_eigenpairs_are_measured_beside_the_calls_of_today(monkeypatch):
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    for instance, calls, default in (
        (system(50), {"scipy spsolve", "scipy cg, Jacobi", "scipy minres"}, "scipy spsolve"),
        (pairs(16), {"scipy eigsh, shift-invert", "scipy eigsh"}, "scipy eigsh, shift-invert"),
    ):
        found = measure(instance, rounds=1)
        assert found.status == "certified"
        assert found.true_error is not None
        assert found.true_error <= found.bound <= found.target
        assert {call.name for call in found.calls} == calls
        assert (found.default, found.default_seconds) == (found.calls[0].name, found.calls[0].seconds)
        assert found.default == default
        assert {c.name for c in found.calls if c.reached} >= calls - {"scipy minres"}
        assert found.best is not None
        assert len([c for c in found.candidates if c.seconds is not None]) >= 3
        assert found.features["nnz"] == instance.problem().A.nnz
        assert Row.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert (found.features["rank"], found.features["which"]) == (3, "SA")


def test_an_answer_that_misses_the_target_was_not_reached(monkeypatch):
    """Planted: a safe default that is off, and another call that has no answer."""
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    problem = system(12).problem()
    assert isinstance(problem, nla.LinearSystem)
    right = sp.linalg.spsolve(sp.csc_array(problem.A), problem.b)
    answers = {"off": right * (1.0 + 1e-6), "right": right, "none": None}
    calls: dict[str, int] = dict.fromkeys(answers, 0)

    def planted(name):
        def call():
            calls[name] += 1
            return answers[name]

        return call

    monkeypatch.setattr(measuring, "baseline", lambda problem, target: ("off", planted("off")))
    monkeypatch.setattr(measuring, "alternatives", lambda *args: {name: planted(name) for name in answers})
    found = measure(system(12), rounds=3, race=False)
    assert {call.name: call.reached for call in found.calls} == {"off": False, "right": True, "none": False}
    assert calls["none"] == 1
    assert calls["right"] > 3


def test_a_candidate_that_is_stopped_counts_as_hopelessly_slow(monkeypatch):
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    monkeypatch.setattr(measuring, "SHORT", 1e-3)
    honest, stopped = measuring.run_and_certify, []

    def run(kind, prepared, entry, *args, stop):
        if entry.algorithm.name != "minres":
            return honest(kind, prepared, entry, *args, stop=stop)
        assert not stop()
        while not stop():
            pass
        stopped.append(entry.candidate.label)
        raise Breakdown("stopped")

    monkeypatch.setattr(measuring, "run_and_certify", run)
    found = measure(system(50), rounds=2)
    assert len(stopped) == 1
    late = [c for c in found.unraced if c.algorithm == "minres"]
    assert [c.label for c in late] == stopped
    assert late[0].seconds is None
    assert late[0].forecast >= HOPELESS * 1e-3
    assert "minres" not in {c.algorithm for c in found.candidates}


# --- reported


def test_the_calls_of_today_are_contests_by_hand():
    """A miss costs the safe default's time as well; a call that a row has not says nothing of that row."""
    rows = [
        row(1.0, 2.0, KINDS[0], calls=(Call("lu", 2.0, True), Call("cg", 0.4, True))),
        row(1.0, 2.0, KINDS[0], calls=(Call("lu", 2.0, True), Call("cg", 0.4, False), Call("gmres", 1.0, True))),
        row(1.0, 2.0, "low_rank"),
    ]
    assert summarize(rows).default_misses == 0
    missed = replace(rows[0], calls=(Call("lu", 2.0, False), Call("cg", 0.4, False)))
    assert summarize([missed, *rows]).default_misses == 1
    found = {contest.name: contest.regrets for contest in contests(rows, learned=False)}
    assert found["lu"] == pytest.approx((2.5, 2.5))
    assert found["cg"] == pytest.approx((0.5, 3.0))
    assert found["gmres"] == pytest.approx((1.25,))
    assert found["SciPy's best call"] == pytest.approx((0.5, 1.25))
    limited = replace(rows[0], memory=1.0)  # of which those calls know nothing
    assert not {"SciPy's best call", "lu"} & {c.name for c in contests([rows[2], limited], learned=False)}


def test_the_rules_of_other_systems_for_sparse_systems_and_eigenpairs():
    features = {"m": 1000, "n": 1000, "nnz": 5000, "library": "sparse"}
    small = facts(row(family=KINDS[0], features=features))
    assert small is not None
    large = replace(small, m=1001)
    assert (small.nnz, linear_solve(small), linear_solve(replace(small, library="operator"))) == (
        5000, ("superlu",), None,
    )  # fmt: skip
    assert (cola(small), cola(large)) == (("dense_lu",), ("gmres",))
    few = replace(small, family=KINDS[1], which="SA")
    assert (cola(few), cola(replace(few, m=1001))) == (("lapack",), ("krylov_schur", "arpack"))
    assert linear_solve(few) is None


def test_instances_of_one_kind_can_be_asked_for(monkeypatch, tmp_path):
    instances = [system(12), pairs(12), tiny()]
    monkeypatch.setattr(bench_report, "suite", lambda: instances)
    monkeypatch.setattr(bench_report, "measure", lambda i, rounds, *, race: row(name=i.name, family=i.family, calls=()))

    def run(*arguments) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["bench", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.replace("│", " ").split())

    code, said = run("--kind", "eigenpairs")
    assert code == 0
    assert "[1/1] pairs 12:" in said
    code, said = run("--kind", "eigenpairs", "--only", "system")
    assert code == 2
    assert "no instance of kind eigenpairs of the suite has 'system' in its name" in said
    code, said = run("--kind", "determinants")
    assert code == 2
    assert "not one of eigenpairs, least_squares, sparse_linear_system" in said
    file = tmp_path / "rows.json"
    write(file, [row(name=i.name, family=i.family) for i in instances])
    code, said = run("--from", file, "--kind", "sparse_linear_system")
    assert code == 0
    assert "system 12" in said
    assert "pairs 12" not in said
    assert run("--from", file, "--kind", "low_rank")[0] == 2
    assert run("--small", 2, "--kind", "eigenpairs")[0] == 2


def test_the_new_kinds_are_in_the_suite():
    assert {i.family for i in suite()} >= set(KINDS)
