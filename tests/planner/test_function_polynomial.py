"""nla.function_polynomial: whitening and other functions of a matrix by products alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.primitives.polynomials.functions import function, minimax
from autonla.profiles.errors import AutonlaWarning, InvalidProblem, NonFiniteInput

KINDS = ("autospec", "minimax", "interpolated", "taylor")
FUNCTIONS = ("inv_sqrt", "sqrt", "inv", "log", ("inv_root", 4))


def with_spectrum(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    A = (Q * eigenvalues) @ Q.T
    return 0.5 * (A + A.T)


EIGENVALUES = np.linspace(1.0, 8.0, 120)
A = with_spectrum(EIGENVALUES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("f", FUNCTIONS)
def test_it_is_near_the_function_of_the_matrix(kind, f):
    p: Any = nla.function_polynomial(A, f, kind, rng=0)
    assert p.kind == kind
    assert p.degree == 21
    values, vectors = np.linalg.eigh(A)
    expected = (vectors * function(f)(values)) @ vectors.T
    error = np.linalg.norm(p @ np.eye(120) - expected, 2) / np.linalg.norm(expected, 2)
    assert error < {"taylor": 0.1}.get(kind, 1e-4)
    v = np.random.default_rng(1).standard_normal(120)
    np.testing.assert_allclose(p @ v, p.recurrence.matrix(A) @ v, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(p.T @ v, p @ v, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_it_states_is_that_of_the_eigenvalues_inside_its_interval(kind):
    p = nla.function_polynomial(A, "inv_sqrt", kind, rng=0)
    low, high = p.interval
    inside = EIGENVALUES[(low <= EIGENVALUES) & (high >= EIGENVALUES)]
    assert len(inside) >= 118
    true = np.abs(function("inv_sqrt").error(p.recurrence, inside)).max()
    assert true <= p.error * (1.0 + 1e-9)
    assert true >= 0.3 * p.error


@pytest.mark.parametrize("condition", [10.0, 100.0, 1000.0])
def test_a_learned_inverse_square_root_is_within_a_factor_of_two_of_the_best_on_the_true_interval(condition):
    f = function("inv_sqrt")
    for seed in range(5):
        values = np.exp(np.random.default_rng(seed).uniform(-math.log(condition), 0.0, 800))
        values[[0, 1]] = 1.0 / condition, 1.0
        p = nla.function_polynomial(sp.diags_array(values).tocsr(), "inv_sqrt", rng=seed)
        best = minimax(f, 1.0 / condition, 1.0, 21)
        x = np.geomspace(1.0 / condition, 1.0, 3000)
        ours, least = np.abs(f.error(p.recurrence, values)).max(), np.abs(f.error(best, x)).max()
        assert ours <= 2.0 * least


def test_operators_and_sparse_arrays_and_float32_are_taken_and_torch_is_read():
    import torch

    dense: Any = nla.function_polynomial(A, rng=0)
    operator = spla.LinearOperator((120, 120), matvec=lambda v: A @ v, dtype=np.float64)  # type: ignore[call-arg]
    v = np.ones(120)
    for other in (operator, sp.csr_array(A), torch.from_numpy(A)):
        again: Any = nla.function_polynomial(other, rng=0)
        np.testing.assert_allclose(again @ v, dense @ v, rtol=1e-9)
    single: Any = nla.function_polynomial(A.astype(np.float32), rng=0) @ v.astype(np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, dense @ v, rtol=1e-3, atol=1e-3)


def test_the_units_do_not_matter():
    for scale in (1e-8, 1e8):
        p: Any = nla.function_polynomial(scale * A, "inv_sqrt", rng=0)
        q: Any = nla.function_polynomial(A, "inv_sqrt", rng=0)
        np.testing.assert_allclose(math.sqrt(scale) * (p @ np.ones(120)), q @ np.ones(120), rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_multiple_of_the_identity_is_no_special_case(kind):
    p: Any = nla.function_polynomial(4.0 * np.eye(50), "inv_sqrt", kind, rng=0)
    np.testing.assert_allclose(p @ np.ones(50), 0.5, rtol=1e-4)


def test_a_degree_too_low_is_said():
    with pytest.warns(AutonlaWarning, match=r"degree 3 is off by 0\.\d+ on .* a higher degree"):
        nla.function_polynomial(np.diag(np.geomspace(1e-4, 1.0, 200)), degree=3, rng=0)


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"kind": "neumann"}, "kind"),
        ({"f": "exp"}, "f"),
        ({"f": ("inv_root", -1)}, "f"),
        ({"degree": 0}, "degree"),
        ({"degree": True}, "degree"),
        ({"probe": 21}, "probe"),
        ({"A": np.ones((3, 2))}, "A"),
        ({"A": -np.eye(40)}, "A"),
        ({"A": np.diag(np.linspace(-1.0, 1.0, 40))}, "A"),
        ({"A": np.eye(3, dtype=complex)}, "A"),
    ],
)
def test_arguments_that_make_no_sense_are_named(change, argument):
    with pytest.raises(InvalidProblem) as caught:
        nla.function_polynomial(**({"A": A, "rng": 0} | change))
    assert caught.value.argument == argument


def test_entries_that_are_not_finite_are_said():
    bad = A.copy()
    bad[3, 4] = np.nan
    with pytest.raises(NonFiniteInput):
        nla.function_polynomial(bad, rng=0)
