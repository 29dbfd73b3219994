"""The bound on the best rank-k error from all eigenvalues of the Gram matrix: valid whatever it is given, and sharp."""

from __future__ import annotations

import numpy as np
import pytest

from autonla.primitives.kernels import library
from autonla.primitives.low_rank import optimality
from autonla.primitives.low_rank.range_basis import Products
from tests._support import matrices, spectra

SHAPES = ((60, 25), (200, 40))
SPECTRA = {
    "slow": lambda n: spectra.polynomial(n, 0.5),
    "fast": lambda n: spectra.geometric(n, 1e6),
    "step": lambda n: spectra.step(n, 5, 1e3),
}


def best_error(A, k) -> float:
    s = np.linalg.svd(np.asarray(A, dtype=np.float64), compute_uv=False)
    return float(np.sqrt((s[k:] ** 2).sum()))


def bound(A, w, V, k, seed=0, p=0.005, backend="scipy") -> float:
    lib = library(backend)
    B = np.asarray(A, dtype=np.float64)
    return optimality.from_gram_eigenvectors(
        Products(lib.asarray(B), lib), w, lib.asarray(V), k, float(np.linalg.norm(B)), seed, p
    )


@pytest.mark.parametrize("backend", ["scipy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_below_the_best_error_and_near_it(shape, name, dtype, backend):
    if backend == "torch":
        pytest.importorskip("torch")
    m, n = shape
    A = matrices.with_spectrum(m, n, SPECTRA[name](n), np.random.default_rng(m)).A.astype(dtype)
    w, V = np.linalg.eigh(A.T @ A)
    for k in (1, 5, n // 2, n):
        best, total = best_error(A, k), np.linalg.norm(A.astype(np.float64))
        found = bound(A, w, V, k, backend=backend)
        assert found <= best * (1.0 + 1e-12) + 1e-14 * total
        # what rounding in the Gram matrix hides, as a share of the energy
        assert best**2 - found**2 <= 150.0 * np.sqrt(k * n) * np.finfo(dtype).eps * total**2


def test_wrong_eigenvalues_and_vectors_do_not_make_it_invalid():
    """What is claimed is held against A: too small eigenvalues, swapped vectors, vectors that are not orthonormal."""
    rng = np.random.default_rng(3)
    A = matrices.with_spectrum(80, 30, spectra.polynomial(30, 0.7), rng).A
    w, V = np.linalg.eigh(A.T @ A)
    k, best = 6, best_error(A, 6)
    wrong = {
        "smaller": (0.5 * w, V),
        "one smaller": (np.where(np.arange(30) == 29, 0.0, w), V),
        "swapped": (w, V[:, ::-1]),
        "half as long": (w, 0.5 * V),
        "another basis": (w, np.linalg.qr(rng.standard_normal((30, 30)))[0]),
        "nothing": (np.zeros(30), V),
    }
    for name, (eigenvalues, vectors) in wrong.items():
        for seed in range(20):
            assert bound(A, eigenvalues, vectors, k, seed) <= best, name


def test_it_holds_with_the_probability_that_is_stated():
    """The worst case, where E has rank one: the claim is wrong by one eigenvalue, and only the test vectors can tell.

    Were the quantile that of a larger probability, more bounds than stated would be above the best error. Half of the
    probability is kept for the eigenvectors, which are orthonormal here.
    """
    n, k, p = 20, 1, 0.1
    A = np.diag(np.sqrt(np.r_[2.0, np.ones(n - 1)]))
    w, V = np.r_[1.0, np.ones(n - 1)], np.eye(n)  # the largest is claimed to be 1 and is 2: E = e e'
    best = best_error(A, k)
    above = sum(bound(A, w, V, k, seed, p) > best for seed in range(600))
    assert 300 * p * 0.6 < above < 300 * p * 1.4


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("shape", [(200, 625), (625, 200)])
def test_a_float32_problem_is_certified_by_its_gram_matrix(shape, center):
    """Its range has no columns beyond the rank, from which the bound on the best error misses by half a per cent."""
    import autonla as nla
    from tests._support.machine import synthetic_profile

    rng = np.random.default_rng(0)
    m, n = shape
    A = matrices.with_spectrum(m, n, 30.0 * spectra.polynomial(200, 0.8), rng).A.astype(np.float32) + np.float32(0.01)
    problem = nla.LowRank(A, rank=20, center=center)
    plan = nla.plan(problem, nla.Budget(accuracy=1e-3), rng=0, profile=synthetic_profile())
    label = next(c.label for c in plan.candidates if c.algorithm == "gram" and "scipy" in c.label)
    certificate = plan.run(candidate=label).certificate
    assert certificate.satisfied
    assert "eigenvalues of the Gram matrix" in certificate.method
    U, s, Vh = plan.run(candidate=label).value
    B = A.astype(np.float64)
    B = B - B.mean(axis=0) if center else B
    true = np.linalg.norm(B - (U.astype(np.float64) * s) @ Vh.astype(np.float64)) / best_error(B, 20) - 1.0
    assert true <= certificate.bound
