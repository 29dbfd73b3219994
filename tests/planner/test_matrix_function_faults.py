"""Functions of matrices where something is at fault: products, what algorithms leave behind, operands.

What comes of it is a certified answer that is right, or an error of ours. What is computed wrong inside a certificate
may defeat any certificate: wrong numbers are planted in what algorithms compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import autonla as nla
from autonla.planner.certify import matrix_function as certificate
from autonla.planner.kinds.matrix_function import MatrixFunctionKind
from autonla.primitives.evidence import Evidence
from autonla.primitives.matrix_function import _bounds, lanczos
from autonla.primitives.matrix_function._common import Products, on_numbers
from autonla.primitives.norms import norm
from tests._support.machine import synthetic_profile
from tests._support.planted import CALLS, FAULTS, Planted
from tests.planner.test_matrix_function import FUNCTIONS, MATRICES, certified, residual, vectors
from tests.primitives.test_eigenpairs_algorithms import with_spectrum
from tests.primitives.test_incomplete_cholesky import laplacian
from tests.primitives.test_matrix_function_algorithms import task_of

PROFILE = synthetic_profile()
GRID = laplacian(16, 14)
OF = Products, MatrixFunctionKind
_operator: Any = LinearOperator


def right_or_ours(make: Callable[[], Any], A: Any, f: Any, b: Any, target: float) -> bool:
    """Whether there was an answer; it is right then."""
    try:
        solution = make()
    except nla.AutonlaError:
        return False
    assert solution.status == "certified"
    assert residual(A, f, b, solution.value) <= min(target, solution.certificate.bound + 2e-14)
    return True


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt", "exp", "inv"])
@pytest.mark.parametrize(
    "name", ["lanczos[scipy float64]", "lanczos(basis=twice)[scipy float64]", "polynomial[scipy float64]"]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_product_that_fails_while_it_runs(fault, name, f, columns, monkeypatch):
    b = vectors(224, columns)
    plan = nla.plan(
        nla.MatrixFunction(GRID, f, apply_to=b), nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor="exhaustive"
    )
    found = [c for c in plan.candidates if c.label == name and c.forecast is not None]
    assert found, [c.label for c in plan.candidates]
    plan, reached = replace(plan, chosen=found[0]), 0
    for at in CALLS:
        for lasting in (False, True):
            with monkeypatch.context() as patch:
                planted = Planted(patch, OF, fault, at, lasting=lasting)
                assert right_or_ours(plan.run, GRID, f, b, 1e-8)  # there is always another way
                reached += planted.hits
    assert reached > 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [0, 1, 5, 20, 60, 100])
def test_a_product_that_fails_while_planning_or_after(at, fault, monkeypatch):
    b = vectors(GRID.shape[0], 1)
    operator = aslinearoperator(GRID)
    with monkeypatch.context() as patch:
        planted = Planted(patch, OF, fault, at)
        right_or_ours(
            lambda: nla.solve(
                nla.MatrixFunction(operator, "inv_sqrt", apply_to=b), nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE
            ), GRID, "inv_sqrt", b, 1e-8,
        )  # fmt: skip
        assert planted.count > 0


# -- what algorithms leave ---------------------------------------------------------------------------------------------


def krylov_of(A: Any, b: np.ndarray, f: Any, target: float = 1e-8) -> lanczos.Krylov:
    task = task_of(A, f, 1, target=target)
    return lanczos.solve(A, b, task, lanczos.Options("kept"), Evidence(), {}).by_products[lanczos.KRYLOV]


def made_of(krylov: lanczos.Krylov, f: str, size: float) -> np.ndarray:
    theta, S = _bounds.decomposed(krylov.alphas, krylov.betas)
    return size * _bounds.over(krylov.basis, (S @ (on_numbers(f, theta) * S[0]))[:, None])[:, 0]


@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt", "log", "exp", "inv_root 3"])
@pytest.mark.parametrize("A", [GRID, MATRICES["dense"], aslinearoperator(GRID)], ids=["sparse", "dense", "operator"])
def test_a_krylov_space_certifies_the_answer_that_comes_from_it_and_no_other(A, f):
    b = vectors(A.shape[0], 1)
    krylov = krylov_of(A, b, f)
    value = made_of(krylov, f, float(np.linalg.norm(b)))
    stated: Any = ("inv_root", 3) if f == "inv_root 3" else f
    noise = np.random.default_rng(2).standard_normal(len(b))
    for size in (0.0, 1e-5, 1e-2):
        given = value + size * noise * (np.linalg.norm(value) / np.linalg.norm(noise))
        error = residual(A, stated, b, given)
        found = certified(A, stated, b, given, 1e-7, krylov=krylov)
        assert error <= found.bound
        assert found.bound <= 30.0 * error + 1e-8  # the moment inequality is not sharp
        assert size > 0.0 or "Krylov space" in found.method
        assert found.satisfied is (size == 0.0)


def cut(whole: lanczos.Krylov, steps: int) -> lanczos.Krylov:
    """The space after fewer steps."""
    rows = np.concatenate(whole.basis)
    steps = min(steps, len(rows) - 1)
    return lanczos.Krylov([rows[:steps]], whole.alphas[:steps], whole.betas[:steps], rows[steps])


@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt", "log", "exp"])
@pytest.mark.parametrize("steps", [3, 10, 25])
def test_a_krylov_space_that_is_too_small_is_seen_to_be(steps, f):
    b = vectors(GRID.shape[0], 1)
    whole = krylov_of(GRID, b, f, target=1e-13)
    krylov = cut(whole, steps)
    value = made_of(krylov, f, float(np.linalg.norm(b)))
    error = residual(GRID, f, b, value)
    found = certified(GRID, f, b, value, 1e3, krylov=krylov)
    assert "Krylov" in found.method
    assert error <= found.bound <= (1e4 if f == "log" else 400.0) * error + 1e-11


@pytest.mark.parametrize(
    "damage", ["alpha", "beta", "vector", "start", "no end", "short end", "not finite", "another matrix"]
)
@pytest.mark.parametrize("f", ["inv_sqrt", "sqrt", "log", "exp"])
def test_a_wrong_krylov_space_does_not_certify_what_was_made_of_it(f, damage):
    b = vectors(GRID.shape[0], 1)
    basis, a, c, after = krylov_of(GRID if damage != "another matrix" else GRID * 1.001, b, f)
    if damage == "alpha":
        a[3] *= 1.01
    elif damage == "beta":
        c[2] *= 1.01
    elif damage == "vector":
        basis[0][4] = np.roll(basis[0][4], 1)
    elif damage == "start":  # all is as long as it starts with
        basis, after = [1.001 * rows for rows in basis], 1.001 * after
    elif damage in ("no end", "short end"):  # as if the space were exhausted, after few steps
        basis, a, c, after = [basis[0][:6]], a[:6], c[:6].copy(), basis[0][6]
        after = np.zeros_like(after) if damage == "no end" else 1e-3 * after
        c[-1] = 0.0 if damage == "no end" else c[-1]
    elif damage == "not finite":
        after[0] = np.nan
    krylov = lanczos.Krylov(basis, a, c, after)
    value = made_of(krylov, f, float(np.linalg.norm(b)))
    assert residual(GRID, f, b, value) > 1e-6 or damage == "not finite"
    found = certified(GRID, f, b, value, 1e-6, krylov=krylov)
    assert found.bound >= residual(GRID, f, b, value)
    assert not found.satisfied or damage == "not finite"


def test_a_negative_ritz_value_fails_a_krylov_space():
    A = with_spectrum(np.r_[-0.5, np.linspace(1.0, 3.0, 59)])
    b = vectors(60, 1)
    krylov = krylov_of(A, b, "exp", target=1e-12)
    for f in ("sqrt", "inv_sqrt", "log"):
        found = certified(A, f, b, b, 1e-3, krylov=krylov)
        assert not found.satisfied
        assert "not positive definite" in found.method


@pytest.mark.parametrize("f", ["sqrt", "inv_sqrt", "log"])
def test_a_space_of_a_singular_matrix_bounds_its_root_alone(f):
    A = np.diag(np.r_[0.0, np.linspace(1.0, 3.0, 59)])
    b = np.ones(60)
    krylov = krylov_of(A, b, "sqrt")
    value = np.sqrt(np.diag(A)) * b
    found = certified(A, f, b, value, 1e-5, krylov=krylov)
    assert found.satisfied is (f == "sqrt")


def test_exponentials_of_wide_spectra_are_bounded():
    """As of a heat equation: nearly all of exp(A) is zero, and the integrand of its error has a narrow peak."""
    A, b = sp.csr_array(sp.diags_array(-np.linspace(0.0, 3000.0, 400))), np.ones(400)
    whole = krylov_of(A, b, "exp", target=1e-13)
    for steps in (20, 60, 100, 140, 180):
        krylov = cut(whole, steps)
        value = made_of(krylov, "exp", 20.0)
        error = residual(A, "exp", b, value)
        assert error <= certified(A, "exp", b, value, 1e3, krylov=krylov).bound
        assert error <= certified(A, "exp", b, value, 1e-3).bound


def test_an_exponential_beyond_the_range_of_numbers_has_no_certificate():
    A = np.diag(np.linspace(690.0, 708.0, 30))
    b = np.ones(30)
    value = np.exp(np.diag(A)) * b
    with np.errstate(all="ignore"):
        assert not certified(A, "exp", b, value, 1e-3, krylov=krylov_of(A - 690.0 * np.eye(30), b, "exp")).satisfied
        assert certified(A, "exp", b, value, 1e-3, eigenpairs=(np.diag(A), np.eye(30))).satisfied
        w = np.diag(A) + 1e-7
        wrong = np.exp(w) * b
        found = certified(A, "exp", b, wrong, 1e-3, eigenpairs=(w, np.eye(30)))
        assert 0.9e-7 < norm(wrong - value) / norm(value) <= found.bound
        beyond = A + 1.5 * np.eye(30)
        assert not certified(beyond, "exp", b, value, 1e-3, eigenpairs=(np.diag(beyond), np.eye(30))).satisfied


def test_an_operator_that_changes_its_mind_is_found_out():
    calls = 0

    def matvec(v: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return GRID @ v * (1.0 + 1e-3 * (calls > 45))

    A = _operator(GRID.shape, matvec=matvec, dtype=np.float64)
    found = certified(A, "sqrt", np.ones(224), np.ones(224), 1e-6)
    assert not found.satisfied
    assert "the second time" in found.method


# -- operands ----------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": np.asarray, "sparse": sp.csr_array, "operator": aslinearoperator,
    "float32": lambda M: np.asarray(M, dtype=np.float32), "tensor": lambda M: torch.tensor(np.asarray(M)),
}  # fmt: skip
ODD: dict[str, np.ndarray] = {
    "one": np.array([[2.0]]),
    "minus one": np.array([[-1.0]]),
    "zero of order one": np.zeros((1, 1)),
    "zero": np.zeros((30, 30)),
    "large zero": np.zeros((160, 160)),
    "multiple of the identity": 3.0 * np.eye(170),
    "singular": with_spectrum(np.r_[0.0, np.linspace(1.0, 2.0, 169)]),
    "path": np.diag(np.r_[1.0, np.full(158, 2.0), 1.0]) - np.eye(160, k=1) - np.eye(160, k=-1),  # which maps ones to 0
}


@pytest.mark.parametrize("f", [f for f in FUNCTIONS if f is not np.cos], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ODD)
def test_odd_matrices_have_a_right_answer_or_an_error_of_ours(name, form, f):
    A = FORMS[form](ODD[name])
    n, target = A.shape[0], 1e-3 if form == "float32" else 1e-6
    given = [None, np.zeros(n), np.ones(n), np.eye(n)[:, :1]]
    for b in given[:: 3 if form == "operator" and n > 100 else 1]:
        if b is not None:
            b = torch.tensor(b) if form == "tensor" else b.astype(np.float32 if form == "float32" else np.float64)
        try:
            solution = nla.solve(nla.MatrixFunction(A, f, apply_to=b), nla.Budget(accuracy=target), rng=0)
        except nla.AutonlaError:
            assert name in ("minus one", "zero of order one", "zero", "large zero", "singular", "path")
            continue
        with np.errstate(all="ignore"):
            error = residual(A, f, b, solution.value)
        assert np.isnan(error) or error <= solution.certificate.bound * 1.1 + 2e-14


def test_zero_has_a_root_and_an_exponential():
    for form in ("array", "sparse", "operator"):
        A = FORMS[form](np.zeros((30, 30)))
        assert not nla.solve(nla.MatrixFunction(A, "sqrt"), rng=0).value.any()
        np.testing.assert_allclose(nla.solve(nla.MatrixFunction(A, "exp"), rng=0).value, np.eye(30), atol=1e-15)


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e100, 1e200])
@pytest.mark.parametrize("f", ["sqrt", "inv_sqrt", "inv", ("inv_root", 3)], ids=str)
@pytest.mark.parametrize("form", ["array", "sparse"])
def test_powers_of_matrices_of_any_size(form, f, scale):
    A, b = FORMS[form](MATRICES["dense"] * scale), vectors(210, 1)
    wanted = nla.solve(nla.MatrixFunction(MATRICES["dense"], f, apply_to=b), rng=0).value * FUNCTIONS[f](scale)
    found = nla.solve(nla.MatrixFunction(A, f, apply_to=b), nla.Budget(accuracy=1e-10), rng=0).value
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("where", ["A", "apply_to"])
@pytest.mark.parametrize("what", [np.nan, np.inf])
@pytest.mark.parametrize("form", ["array", "sparse", "tensor", "float32"])
@pytest.mark.parametrize("n", [20, 210])
def test_what_is_not_finite_is_named(n, form, what, where):
    M, b = with_spectrum(np.linspace(1.0, 2.0, n)), np.ones(n)
    if where == "A":
        M[3, 3] = what
    else:
        b[3] = what
    given: Any = torch.tensor(b) if form == "tensor" else b.astype(np.float32 if form == "float32" else np.float64)
    for f in ("inv", "sqrt", "exp"):
        with pytest.raises(nla.NonFiniteInput) as caught:
            nla.solve(nla.MatrixFunction(FORMS[form](M), f, apply_to=given), rng=0)
        assert caught.value.argument == ("A" if where == "A" else "b")


@pytest.mark.parametrize("returned", [np.ones(3), np.ones((224, 2)), np.full(224, np.nan), np.full(224, np.inf)])
@pytest.mark.parametrize("f", ["inv", "sqrt", "exp", "sign"])
def test_operators_that_return_something_else_end_in_an_error_of_ours(f, returned):
    A = _operator((224, 224), matvec=lambda v: v, dtype=np.float64)
    A.matvec = lambda v: returned
    with pytest.raises(nla.AutonlaError):
        nla.solve(nla.MatrixFunction(A, f, apply_to=np.ones(224)), rng=0)


@pytest.mark.parametrize("A", [np.eye(4) * 1j, sp.csr_array(np.eye(4) * 1j), torch.eye(4, dtype=torch.complex128)])
def test_complex_matrices_are_refused(A):
    with pytest.raises(nla.AutonlaError):
        nla.solve(nla.MatrixFunction(A, "sqrt"), rng=0)


# -- certificates that have no bound -----------------------------------------------------------------------------------


def test_what_is_not_finite_has_no_bound():
    A, b = MATRICES["dense"], vectors(210, 1)
    value, (w, V) = np.ones(210), np.linalg.eigh(A)
    spoilt = V.copy()
    spoilt[3, 3] = np.nan
    nothing: Any = _operator((210, 210), matvec=lambda v: np.full(210, np.nan), dtype=np.float64)
    with np.errstate(all="ignore"):
        for found, says in (
            (certified(A, "sqrt", b, value, 1e-3, eigenpairs=(w, spoilt)), "eigenpairs are not finite"),
            (certified(A, lambda x: x / 0.0, b, value, 1e-3, eigenpairs=(w, V)), "f is not finite"),
            (certified(nothing, "sqrt", b, value, 1e-3), "product with A is not finite"),
            (certified(nothing, "sqrt", b, value, 1e-3, krylov=krylov_of(A, b, "sqrt")), "product with A is not"),
        ):
            assert not found.satisfied
            assert says in found.method


def test_few_steps_say_too_little_of_the_end_of_a_spectrum(monkeypatch):
    monkeypatch.setattr(certificate, "_ENDS", 4)
    found = certified(GRID, "exp", np.ones(224), np.ones(224), 1e-3)
    assert not found.satisfied
    assert "too little" in found.method


def test_a_spectrum_too_close_to_zero_takes_too_many_steps(monkeypatch):
    monkeypatch.setattr(certificate, "MOST_STEPS", 20)
    found = certified(GRID, "sqrt", np.ones(224), np.ones(224), 1e-9)
    assert not found.satisfied
    assert "did not come close enough" in found.method


def test_a_product_that_is_not_finite_ends_the_probe_of_the_spectrum():
    A = _operator((2000, 2000), matvec=lambda v: np.full(2000, np.nan) if calls > 6 else counted(v), dtype=np.float64)
    calls = 0

    def counted(v: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return 2.0 * v + np.roll(v, 1) * 0.5 + np.roll(v, -1) * 0.5

    problem = nla.MatrixFunction(A, "sqrt", apply_to=np.random.default_rng(0).standard_normal((2000, 8)))
    with pytest.raises(nla.AutonlaError):
        nla.solve(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor="exhaustive")
