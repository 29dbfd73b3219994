"""Products that fail, or return NaN or a wrong number, at any call of any algorithm for sparse systems.

What comes of it is a certified answer that is right, or an error of ours. What is computed wrong inside a certificate
may defeat any certificate: wrong numbers are planted in what algorithms compute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.planner.kinds.sparse_linear_system import SparseLinearSystemKind
from autonla.primitives import algorithms_for
from autonla.primitives.sparse_linear_system._common import Product
from tests._support.machine import synthetic_profile
from tests._support.planted import CALLS, FAULTS, Planted
from tests.primitives.test_incomplete_cholesky import laplacian
from tests.primitives.test_sparse_linear_system import anisotropic

PROFILE = synthetic_profile()
NAMES = [algorithm.name for algorithm in algorithms_for("sparse_linear_system")]
A = anisotropic(30)
B = np.random.default_rng(3).standard_normal(900)
NORM = float(np.linalg.norm(A.toarray(), 2))
OF = Product, SparseLinearSystemKind


def backward_error(x: np.ndarray) -> float:
    return float(np.linalg.norm(B - A @ x) / (NORM * np.linalg.norm(x) + np.linalg.norm(B)))


def right_or_ours(plan: nla.Plan) -> bool:
    """Whether there was an answer; it is right then."""
    try:
        solution = plan.run()
    except nla.AutonlaError:
        return False
    assert solution.status == "certified"
    assert backward_error(solution.value) <= min(1e-10, solution.certificate.bound)
    return True


def planned(name: str) -> nla.Plan:
    """With the algorithm first, and others to go on to."""
    plan = nla.plan(nla.LinearSystem(A, B), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE, rigor="exhaustive")
    return replace(plan, chosen=next(c for c in plan.candidates if c.algorithm == name and c.forecast is not None))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_product_that_fails_once(name, fault, monkeypatch):
    plan = planned(name)
    reached = 0
    for at in CALLS:
        with monkeypatch.context() as patch:
            planted = Planted(patch, OF, fault, at)
            assert right_or_ours(plan)  # there is always another way
            reached += planted.hits
    assert reached > 0 or name == "dense_lu"  # LAPACK's, of A itself
    assert right_or_ours(plan)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_products_that_fail_from_some_call_on(name, fault, monkeypatch):
    plan = planned(name)
    for at in (0, 4):
        with monkeypatch.context() as patch:
            Planted(patch, OF, fault, at, lasting=True)
            right_or_ours(plan)
    assert right_or_ours(plan)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", [0, 1, 5, 20, 60])
def test_a_product_that_fails_while_planning_or_after(at, fault, monkeypatch):
    matrix = laplacian(60, 60)
    b = np.random.default_rng(0).standard_normal(3600)
    with monkeypatch.context() as patch:
        planted = Planted(patch, OF, fault, at)
        solution = nla.solve(nla.LinearSystem(matrix, b), nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE)
        assert planted.count > 0
    residual = np.linalg.norm(b - matrix @ solution.value)
    assert residual <= 1e-10 * (8.0 * np.linalg.norm(solution.value) + np.linalg.norm(b))


@pytest.mark.parametrize("error", [MemoryError("planted"), RuntimeError("planted: not enough memory to factor")])
@pytest.mark.parametrize("name", ["splu", "spilu"])
def test_factorizations_that_fail(name, error, monkeypatch):
    def failing(*arguments: Any, **named: Any) -> Any:
        raise error

    first = planned("superlu" if name == "splu" else "gmres")
    with monkeypatch.context() as patch:
        patch.setattr(spla, name, failing)
        solution = first.run()
    assert len(solution.record.attempts) > 1
    assert backward_error(solution.value) <= 1e-10
