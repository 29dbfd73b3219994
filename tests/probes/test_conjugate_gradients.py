"""The first iterations of conjugate gradients as a probe of the spectrum, and going on from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from autonla.primitives import algorithms_for
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.evidence import Evidence
from autonla.primitives.sparse_linear_system import _cg
from autonla.primitives.task import Task
from autonla.probes import conjugate_gradients, ritz
from tests.primitives.test_incomplete_cholesky import laplacian, random_spd
from tests.primitives.test_sparse_linear_system import anisotropic, backward_error

CG = next(a for a in algorithms_for("sparse_linear_system") if a.name == "cg_jacobi")
EASY = sp.csr_array(random_spd(300, 3) + 40.0 * sp.eye_array(300))


class Counted:
    """An operator that counts its products."""

    dtype = np.dtype(float)

    def __init__(self, A: Any) -> None:
        self.A, self.shape, self.count = A, A.shape, 0

    def matvec(self, x: Any) -> Any:
        self.count += 1
        return self.A @ x


def task_of(A: Any, target: float = 1e-10, **fields: Any) -> Task:
    n, sparse = A.shape[0], sp.issparse(A)
    known: Any = {"structure": "symmetric", "target": target} | fields
    return Task(
        "sparse_linear_system", n, n, access="sparse" if sparse else "operator", nnz=A.nnz if sparse else 0, **known
    )


def rhs(n: int, *columns: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((n, *columns))


@pytest.mark.parametrize("operator", [False, True])
def test_the_ritz_values_are_those_of_lanczos_with_their_weights_and_residuals(operator):
    A = anisotropic(12)
    b = rhs(144)
    scale = np.ones(144) if operator else 1.0 / np.sqrt(A.diagonal())
    given: Any = Counted(A) if operator else A
    seen = conjugate_gradients.run(given, b, task_of(given, 1e-14), 12)
    lanczos = ritz.run(lambda v: scale * (A @ (scale * v)), scale * b, 12)
    assert seen.ritz is not None
    np.testing.assert_allclose(seen.ritz.values, lanczos.values, rtol=1e-9)
    np.testing.assert_allclose(seen.ritz.weights, lanczos.weights, rtol=1e-6)
    np.testing.assert_allclose(seen.ritz.residuals, lanczos.residuals, rtol=1e-6)


def test_it_ends_where_the_system_is_solved_with_the_residual_norms_of_that_step():
    b = rhs(300)
    seen = conjugate_gradients.run(EASY, b, task_of(EASY), 50)
    assert seen.state is not None
    assert seen.state.converged
    assert seen.state.done < 30
    assert backward_error(EASY, b, seen.state.x) <= 1e-10
    scale = 1.0 / np.sqrt(EASY.diagonal())
    lanczos = ritz.run(lambda v: scale * (EASY @ (scale * v)), scale * b, seen.state.done)
    assert seen.ritz is not None
    np.testing.assert_allclose(seen.ritz.values, lanczos.values, rtol=1e-8)
    np.testing.assert_allclose(seen.ritz.residuals, lanczos.residuals, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("columns", [(), (3,)])
def test_the_method_goes_on_from_it_and_takes_no_product_twice(columns):
    A = laplacian(20, 20)
    b = rhs(400, *columns)
    alone, together = Counted(A), Counted(A)
    task = task_of(alone, nrhs=columns[0] if columns else 1)
    options = next(iter(CG.options(task, Evidence())))
    scratch = CG.solve(alone, b, task, options, Evidence(), {})
    seen = conjugate_gradients.run(together, b, task, 25)
    before = together.count
    outcome = CG.solve(together, b, task, options, Evidence(), {_cg.STARTED: seen.state})
    assert before >= 25
    assert together.count <= alone.count + 8  # of the norm, once more
    assert outcome.details == scratch.details
    np.testing.assert_allclose(outcome.value, scratch.value, rtol=1e-12, atol=1e-12)
    again = CG.solve(together, b, task, options, Evidence(), {_cg.STARTED: seen.state})
    np.testing.assert_array_equal(again.value, outcome.value)  # what was started is as it was


@pytest.mark.parametrize("operator", [False, True])
def test_a_recursive_residual_that_is_wrong_is_noticed(operator):
    A = laplacian(20, 20)
    given: Any = Counted(A) if operator else A
    b = rhs(400)
    task = task_of(given)
    seen = conjugate_gradients.run(given, b, task_of(given, 1e-3), 400)
    assert seen.state is not None
    assert seen.state.converged
    wrong = replace(seen.state, x=seen.state.x + 1.0, r=np.zeros(400))
    options = next(iter(CG.options(task, Evidence())))
    outcome = CG.solve(given, b, task, options, Evidence(), {_cg.STARTED: wrong})
    assert backward_error(A, b, outcome.value) <= 1e-10


def test_the_first_column_that_is_not_zero_is_the_one():
    A, B = laplacian(10, 10), rhs(100, 3)
    B[:, 0] = 0.0
    task = task_of(A, nrhs=3)
    seen = conjugate_gradients.run(A, B, task, 50)
    assert seen.state is not None
    assert seen.state.column == 1
    options = next(iter(CG.options(task, Evidence())))
    outcome = CG.solve(A, B, task, options, Evidence(), {_cg.STARTED: seen.state})
    assert backward_error(A, B[:, 1:], outcome.value[:, 1:]) <= 1e-10
    np.testing.assert_array_equal(outcome.value[:, 0], np.zeros(100))


def test_zero_shows_nothing_and_is_solved():
    seen = conjugate_gradients.run(EASY, np.zeros(300), task_of(EASY), 50)
    assert seen.ritz is None
    assert seen.state is not None
    assert seen.state.converged
    assert seen.state.done == 0


@pytest.mark.parametrize("operator", [False, True])
def test_an_indefinite_matrix_is_found_out_by_a_rayleigh_quotient_of_it(operator):
    A = sp.csr_array(laplacian(30, 30) - 1.0 * sp.eye_array(900))
    given: Any = Counted(A) if operator else A
    seen = conjugate_gradients.run(given, rhs(900), task_of(given), 50)
    assert seen.ritz is None
    assert seen.state is None
    eigenvalues = np.linalg.eigvalsh(A.toarray()) / (1.0 if operator else 3.0)
    assert eigenvalues[0] <= seen.curvature < 0.0
    assert 0.1 * eigenvalues[-1] < seen.size < 10.0 * eigenvalues[-1]


def test_products_that_are_not_finite_are_a_breakdown():
    A: Any = LinearOperator((4, 4), matvec=lambda v: v * np.nan, dtype=float)  # type: ignore[call-arg]
    with pytest.raises(Breakdown, match="finite"):
        conjugate_gradients.run(A, np.ones(4), task_of(A), 3)


@pytest.mark.parametrize("name", ["easy", "grid", "anisotropic"])
def test_the_total_is_foreseen_from_the_last_iterations(name):
    A = {"easy": EASY, "grid": laplacian(24, 24), "anisotropic": anisotropic(24)}[name]
    b, task = rhs(A.shape[0]), task_of(A)
    seen = conjugate_gradients.run(A, b, task, 12)
    assert seen.state is not None
    likely = conjugate_gradients.likely_total(seen.state, 0.5 * task.target)
    conjugate_gradients.run(A, b, task, 2000, started=seen.state)
    assert seen.state.converged
    assert seen.state.done / 3.0 <= likely <= 3.0 * seen.state.done


def test_no_total_is_foreseen_where_the_residual_grows():
    seen = conjugate_gradients.run(EASY, rhs(300), task_of(EASY), 5)
    assert seen.state is not None
    grown = replace(seen.state, betas=[1.5] * 5)
    assert conjugate_gradients.likely_total(grown, 1e-10) == np.inf
