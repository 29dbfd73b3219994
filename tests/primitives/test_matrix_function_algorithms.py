"""Functions of symmetric matrices, one algorithm after the other, beside what all eigenvalues give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from autonla.primitives import Breakdown, algorithms_for
from autonla.primitives.evidence import Evidence
from autonla.primitives.matrix_function import _bounds, _common, polynomial
from autonla.primitives.stopping import stopped_by
from autonla.primitives.task import Task
from autonla.probes import ritz
from tests.primitives.test_eigenpairs_algorithms import with_spectrum
from tests.primitives.test_incomplete_cholesky import laplacian

ALGORITHMS = {algorithm.name: algorithm for algorithm in algorithms_for("matrix_function")}
FUNCTIONS: dict[str, Any] = {
    "inv": lambda x: 1.0 / x,
    "sqrt": np.sqrt,
    "inv_sqrt": lambda x: x**-0.5,
    "inv_root 3": lambda x: x ** (-1.0 / 3.0),
    "log": np.log,
    "exp": np.exp,
}
_operator: Any = LinearOperator
DENSE = with_spectrum(np.geomspace(0.05, 8.0, 90))
GRID = laplacian(13, 11)  # of order 143


def task_of(A: Any, function: str, columns: int, **fields: Any) -> Task:
    access = "sparse" if sp.issparse(A) else "operator" if isinstance(A, LinearOperator) else "dense"
    known = {
        "dtype": str(A.dtype).removeprefix("torch."), "target": 1e-9, "seed": 5, "structure": "symmetric",
        "library": "torch" if isinstance(A, torch.Tensor) else "numpy", "nnz": getattr(A, "nnz", 0),
    }  # fmt: skip
    n = A.shape[0]
    return Task("matrix_function", n, n, columns, access=access, function=function, **{**known, **fields})


def seen(A: Any, task: Task, steps: int = 120) -> Evidence:
    start = np.random.default_rng(9).standard_normal(task.n)
    return Evidence(ritz=ritz.run(_common.Products(A, task), start, steps, keep=False).triples)


def plain(A: Any) -> np.ndarray:
    if sp.issparse(A):
        return A.toarray()
    return np.asarray(A @ np.eye(A.shape[0]) if isinstance(A, LinearOperator) else A, dtype=float)


def true(A: Any, f: Any) -> np.ndarray:
    w, V = np.linalg.eigh(plain(A))
    return (V * f(w)) @ V.T


def options_of(name: str, task: Task, evidence: Evidence) -> list[Any]:
    return [o for o in ALGORITHMS[name].options(task, evidence) if ALGORITHMS[name].applies(task, evidence, o) is None]


FORMS = {
    "dense": DENSE,
    "torch": torch.from_numpy(DENSE),
    "sparse": GRID,
    "operator": aslinearoperator(GRID),
}


@pytest.mark.parametrize("columns", [0, 1, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_comes_to_the_function_of_the_matrix(name, function, form, columns):
    A = FORMS[form]
    task = task_of(A, function, columns)
    evidence = seen(A, task)
    B = np.random.default_rng(1).standard_normal((task.n, max(1, columns)))
    b: Any = None if columns == 0 else B[:, 0] if columns == 1 else B
    F = true(A, FUNCTIONS[function])
    expected = F if b is None else F @ b
    if form == "torch" and b is not None:
        b = torch.from_numpy(b)
    found = options_of(name, task, evidence)
    assert found or name in ("lanczos", "cholesky")
    for options in found:
        value = ALGORITHMS[name].solve(A, b, task, options, evidence, {}).value
        assert tuple(value.shape) == expected.shape
        difference = np.linalg.norm(np.asarray(value) - expected) / np.linalg.norm(expected)
        assert difference < 2e-8, options


@pytest.mark.parametrize("name", ["eigendecomposition", "lanczos", "polynomial"])
def test_float32_goes_in_and_comes_out(name):
    A = DENSE.astype(np.float32)
    b = np.random.default_rng(1).standard_normal(90).astype(np.float32)
    task = task_of(A, "inv_sqrt", 1, target=1e-5)
    evidence = seen(A, task)
    for options in options_of(name, task, evidence):
        value = ALGORITHMS[name].solve(A, b, task, options, evidence, {}).value
        assert str(value.dtype).removeprefix("torch.") == "float32"
        np.testing.assert_allclose(value, true(A, FUNCTIONS["inv_sqrt"]) @ b, rtol=0, atol=2e-4)


def test_the_basis_made_twice_gives_the_same_answer_with_twice_the_products():
    task = task_of(GRID, "inv_sqrt", 1)
    b = np.random.default_rng(1).standard_normal(task.n)
    kept, twice = (
        ALGORITHMS["lanczos"].solve(GRID, b, task, options, Evidence(), {})
        for options in ALGORITHMS["lanczos"].options(task, Evidence())
    )
    np.testing.assert_allclose(kept.value, twice.value, rtol=0, atol=1e-14)
    assert twice.details["products"] == 2 * kept.details["products"]
    known = seen(GRID, task)
    small, large = (
        ALGORITHMS["lanczos"].work(task, known, options).peak_bytes
        for options in reversed(list(ALGORITHMS["lanczos"].options(task, known)))
    )
    assert small < 0.7 * large


@pytest.mark.parametrize("target", [1e-2, 1e-5, 1e-10])
def test_the_degree_is_what_the_target_takes_and_little_more(target):
    low, high = 0.04, 8.2
    c = polynomial.series("inv_sqrt", low, high, target)
    assert c is not None
    x = np.linspace(low, high, 4001)
    t = (2.0 * x - low - high) / (high - low)

    def error(coefficients: np.ndarray) -> float:
        return float(np.abs(np.polynomial.chebyshev.chebval(t, coefficients) * x**0.5 - 1.0).max())

    assert error(c) <= target
    assert error(c[: int(0.6 * len(c))]) > target


def test_the_best_polynomial_of_a_low_degree_is_run():
    task = task_of(GRID, "inv_sqrt", 1, target=1e-2)
    evidence = seen(GRID, task)
    b = np.random.default_rng(1).standard_normal(task.n)
    details = polynomial.solve(GRID, b, task, polynomial.Options(), evidence, {}).details
    assert details["polynomial"] == "best (Remez)"
    assert details["degree"] == polynomial.degree(task, evidence)
    tight = replace(task, target=1e-9)
    assert polynomial.solve(GRID, b, tight, polynomial.Options(), evidence, {}).details["polynomial"] == "Chebyshev"


def test_columns_of_all_sizes_and_none():
    task = task_of(GRID, "inv_sqrt", 3)
    B = np.random.default_rng(1).standard_normal((task.n, 3)) * np.array([1.0, 0.0, 1e-30])
    expected = true(GRID, FUNCTIONS["inv_sqrt"]) @ B
    for name in ("lanczos", "polynomial", "eigendecomposition"):
        value = (
            ALGORITHMS[name]
            .solve(GRID, B, task, options_of(name, task, seen(GRID, task))[0], seen(GRID, task), {})
            .value
        )
        np.testing.assert_allclose(value[:, 0], expected[:, 0], rtol=0, atol=1e-7)
        assert not value[:, 1].any()
        np.testing.assert_allclose(value[:, 2], expected[:, 2], rtol=0, atol=1e-37)


def test_an_invariant_subspace_ends_lanczos():
    A = np.diag(np.r_[np.full(20, 4.0), np.full(20, 9.0)])
    task = task_of(A, "sqrt", 1)
    b = np.r_[np.ones(20), np.zeros(19), 1.0]
    outcome = ALGORITHMS["lanczos"].solve(
        A, b, task, next(iter(ALGORITHMS["lanczos"].options(task, Evidence()))), Evidence(), {}
    )
    np.testing.assert_allclose(outcome.value, np.r_[np.full(20, 2.0), np.zeros(19), 3.0], atol=1e-13)
    assert outcome.details["steps"] == 2
    inverse = replace(task, function="inv", target=1e-15)
    outcome = ALGORITHMS["lanczos"].solve(A, b, inverse, options_of("lanczos", task, Evidence())[0], Evidence(), {})
    np.testing.assert_allclose(outcome.value, np.r_[np.full(20, 0.25), np.zeros(19), 1.0 / 9.0], atol=1e-15)
    assert outcome.details["steps"] == 2


INDEFINITE = with_spectrum(np.r_[-3.0, np.linspace(1.0, 4.0, 49)])


@pytest.mark.parametrize("function", ["sqrt", "inv_sqrt", "log", "inv_root 3"])
@pytest.mark.parametrize("name", ["eigendecomposition", "lanczos"])
def test_what_is_not_definite_breaks_down(name, function):
    task = task_of(INDEFINITE, function, 1)
    with pytest.raises(Breakdown, match="not positive definite"):
        ALGORITHMS[name].solve(
            INDEFINITE, np.ones(50), task, next(iter(ALGORITHMS[name].options(task, Evidence()))), Evidence(), {}
        )


@pytest.mark.parametrize("function", ["inv", "inv_sqrt", "log", "sign"])
def test_a_singular_matrix_breaks_down_and_its_root_does_not(function):
    A = with_spectrum(np.r_[0.0, np.linspace(1.0, 4.0, 29)])
    algorithm = ALGORITHMS["eigendecomposition"]
    task = task_of(A, function, 0)
    options = next(iter(algorithm.options(task, Evidence())))
    with pytest.raises(Breakdown, match="singular to working precision"):
        algorithm.solve(A, None, task, options, Evidence(), {})
    root = algorithm.solve(A, None, replace(task, function="sqrt"), options, Evidence(), {}).value
    np.testing.assert_allclose(root @ root, A, atol=1e-12)


def test_inverses_and_signs_of_indefinite_matrices_come_from_eigenvalues():
    algorithm = ALGORITHMS["eigendecomposition"]
    for function, f in (("inv", FUNCTIONS["inv"]), ("sign", np.sign)):
        task = task_of(INDEFINITE, function, 0)
        options = next(iter(algorithm.options(task, Evidence())))
        value = algorithm.solve(INDEFINITE, None, task, options, Evidence(), {}).value
        np.testing.assert_allclose(value, true(INDEFINITE, f), atol=1e-12)
        assert not options_of("polynomial", task, seen(INDEFINITE, task))
        assert not options_of("lanczos", replace(task, nrhs=1), seen(INDEFINITE, task))


def test_a_callable_is_asked_once_and_held_to_its_shape():
    algorithm = ALGORITHMS["eigendecomposition"]
    task = task_of(DENSE, "callable", 0, call=np.cos)
    options = next(iter(algorithm.options(task, Evidence())))
    np.testing.assert_allclose(
        algorithm.solve(DENSE, None, task, options, Evidence(), {}).value, true(DENSE, np.cos), atol=1e-12
    )
    for call, says in ((lambda x: x[:3], "shape"), (lambda x: x + 0j, "complex"), (lambda x: x / 0.0, "not finite")):
        with pytest.raises(Breakdown, match=says), np.errstate(all="ignore"):
            algorithm.solve(DENSE, None, replace(task, call=call), options, Evidence(), {})


def test_an_exponential_beyond_the_range_of_its_dtype_breaks_down():
    algorithm = ALGORITHMS["eigendecomposition"]
    task = task_of(DENSE, "exp", 0)
    options = next(iter(algorithm.options(task, Evidence())))
    with pytest.raises(Breakdown, match="beyond float64"), np.errstate(all="ignore"):
        algorithm.solve(100.0 * DENSE, None, task, options, Evidence(), {})


def test_an_operator_that_returns_another_shape_breaks_down():
    A = _operator((30, 30), matvec=lambda v: v, dtype=np.float64)
    A.matvec = lambda v: np.ones(3)
    task = task_of(A, "sqrt", 1)
    with pytest.raises(Breakdown, match="shape"):
        ALGORITHMS["lanczos"].solve(
            A, np.ones(30), task, next(iter(ALGORITHMS["lanczos"].options(task, Evidence()))), Evidence(), {}
        )


MATRICES = {
    "flat": np.linspace(1.0, 30.0, 700),
    "exponential": np.geomspace(1e-3, 1.0, 700),
    "clusters": np.r_[np.linspace(1.0, 1.1, 600), np.linspace(50.0, 500.0, 100)],
}


@pytest.mark.parametrize("function", ["inv_sqrt", "sqrt", "log"])
@pytest.mark.parametrize("name", MATRICES)
def test_steps_and_errors_are_as_forecast(name, function):
    A = sp.csr_array(sp.diags_array(MATRICES[name]))
    b = np.random.default_rng(3).standard_normal(700)
    expected = FUNCTIONS[function](MATRICES[name]) * b
    for target in (1e-3, 1e-6, 1e-9):
        task = task_of(A, function, 1, target=target)
        evidence = seen(A, task, 80)
        outcome = ALGORITHMS["lanczos"].solve(
            A, b, task, next(iter(ALGORITHMS["lanczos"].options(task, evidence))), evidence, {}
        )
        known = _common.krylov_steps(task, evidence, target)
        assert 0.6 * known.low <= int(outcome.details["steps"]) <= 1.6 * known.high
        weight = MATRICES[name] ** 0.5 if function == "inv_sqrt" else 1.0
        scale = np.linalg.norm(expected if function == "sqrt" else b)
        assert np.linalg.norm(weight * (outcome.value - expected)) <= target * scale


def test_a_polynomial_of_a_spectrum_whose_end_was_not_seen_is_held_to_be_likely_to_fail():
    values = np.r_[np.geomspace(1e-6, 1e-2, 15), np.linspace(1.0, 2.0, 985)]
    A = sp.csr_array(sp.diags_array(values))
    task = task_of(A, "inv_sqrt", 1)
    chance = ALGORITHMS["polynomial"].breakdown
    assert chance(task, seen(A, task, 12), polynomial.Options()) > 0.5
    assert chance(task_of(GRID, "inv_sqrt", 1), seen(GRID, task_of(GRID, "inv_sqrt", 1)), polynomial.Options()) < 0.1


def test_without_evidence_little_is_known():
    task = task_of(GRID, "inv_sqrt", 1)
    assert _common.condition(Evidence()).high == 1e9
    assert _common.condition(Evidence(ritz=((0.0, 0.5, 0.0), (2.0, 0.5, 0.0)))).high == np.inf
    indefinite = Evidence(ritz=((-1.0, 0.5, 0.0), (2.0, 0.5, 0.0)))
    assert _common.krylov_steps(task, indefinite, 1e-8).high == 4000.0


def test_cholesky_is_not_tried_on_what_was_seen_to_be_indefinite():
    task = task_of(INDEFINITE, "inv", 1)
    assert options_of("cholesky", task, Evidence())
    assert not options_of("cholesky", task, seen(INDEFINITE, task))


def test_a_multiple_of_the_identity_has_a_polynomial_of_degree_one():
    A = 3.0 * np.eye(20)
    for function in ("inv_sqrt", "exp"):
        task = task_of(A, function, 0)
        outcome = polynomial.solve(A, None, task, polynomial.Options(), seen(A, task), {})
        assert outcome.details["degree"] == 1
        np.testing.assert_allclose(outcome.value, true(A, FUNCTIONS[function]), atol=1e-8)


def test_no_polynomial_is_near_an_exponential_beyond_the_range_of_numbers():
    task = task_of(GRID, "exp", 1)
    evidence = Evidence(ritz=((0.0, 0.5, 0.0), (800.0, 0.5, 0.0)))
    with np.errstate(all="ignore"):
        assert polynomial.series("exp", 0.0, 800.0, 1e-3) is None
        assert "more than" in str(polynomial.applies(task, evidence, polynomial.Options()))
        with pytest.raises(Breakdown, match="no polynomial"):
            polynomial.solve(GRID, np.ones(143), task, polynomial.Options(), evidence, {})


def test_a_polynomial_that_is_stopped_has_no_answer_and_lanczos_has_what_it_has():
    task = task_of(GRID, "inv_sqrt", 1)
    with stopped_by(lambda: True):
        with pytest.raises(Breakdown, match="stopped"):
            polynomial.solve(GRID, np.ones(143), task, polynomial.Options(), seen(GRID, task), {})
        options = options_of("lanczos", task, seen(GRID, task))[0]
        outcome = ALGORITHMS["lanczos"].solve(GRID, np.ones(143), task, options, Evidence(), {})
    assert outcome.details["steps"] == 1


@pytest.mark.parametrize("steps", [1, 32, 33, 64, 100])
def test_a_basis_is_put_together_from_its_parts(steps):
    rows = np.random.default_rng(0).standard_normal((steps, 50))
    X = np.random.default_rng(1).standard_normal((steps, 3))
    parts = [rows[i : i + 32] for i in range(0, steps, 32)]
    np.testing.assert_allclose(_bounds.over(parts, X), rows.T @ X, atol=1e-12)


@pytest.mark.parametrize("function", ["inv_sqrt", "inv_root 3", "sqrt", "log", "exp"])
@pytest.mark.parametrize("target", [1e-2, 1e-5, 1e-10])
def test_lanczos_stops_at_the_target_and_not_long_before(function, target):
    task = task_of(GRID, function, 1, target=target)
    b = np.random.default_rng(1).standard_normal(task.n)
    outcome = ALGORITHMS["lanczos"].solve(GRID, b, task, options_of("lanczos", task, Evidence())[0], Evidence(), {})
    w, V = np.linalg.eigh(GRID.toarray())
    power = _common.power(function)
    weight = w**-power if power is not None and power < 0.0 else np.ones(task.n)
    difference = weight * (V.T @ np.asarray(outcome.value) - FUNCTIONS[function](w) * (V.T @ b))
    scale = np.linalg.norm(FUNCTIONS[function](w) * (V.T @ b)) if function in ("sqrt", "exp") else np.linalg.norm(b)
    error = np.linalg.norm(difference) / scale
    assert error <= 0.31 * target
    if target > 1e-9:  # beyond, steps come to an end in a space of this dimension
        assert error > (1e-6 if function == "log" else 1e-3) * target
