"""Incomplete Cholesky is what its definition says, exists by a shift where it would not, and preconditions; the order
by minimum degree and its counts are those of an elimination carried out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from autonla.planner.files import read_array
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.sparse import incomplete_cholesky, minimum_degree


def laplacian(*sides: int) -> Any:
    """Of a grid."""
    A: Any = sp.csr_array((1, 1))
    for i, n in enumerate(sides):
        line = sp.diags_array([2.0 * np.ones(n), -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1])  # type: ignore[call-overload]
        A = sp.csr_array(line) if i == 0 else sp.kron(A, sp.eye_array(n)) + sp.kron(sp.eye_array(A.shape[0]), line)
    return sp.csr_array(A)


def random_spd(n: int, per_row: int, seed: int = 0, shift: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    B = sp.random_array((n, n), density=per_row / n, rng=rng)
    return sp.csr_array(B @ B.T + shift * sp.eye_array(n))


def iterations(A: Any, M: Any = None) -> int:
    counted: list[int] = []
    b = np.random.default_rng(3).standard_normal(A.shape[0])
    _, info = spla.cg(A, b, M=M, rtol=1e-10, maxiter=5000, callback=lambda _: counted.append(1))
    assert info == 0
    return len(counted)


def as_operator(L: Any) -> Any:
    return spla.LinearOperator((L.order, L.order), matvec=L.solve, matmat=L.solve, dtype=float)  # type: ignore[call-arg]


@pytest.mark.parametrize("A", [laplacian(9, 7), laplacian(4, 5, 3), random_spd(80, 3), sp.csr_array(sp.eye_array(5))])
def test_zero_fill_agrees_with_A_on_its_pattern(A):
    L = incomplete_cholesky(A)
    assert L.shift == 0.0
    lower = L.tocsc()
    assert lower.nnz == sp.tril(A).nnz
    pattern = A.toarray() != 0.0
    product = (lower @ lower.T).toarray()
    np.testing.assert_allclose(product[pattern], A.toarray()[pattern], rtol=1e-12)


@pytest.mark.parametrize("drop", [0.0, 1e-14])
def test_without_dropping_it_is_the_cholesky_factor(drop):
    A = random_spd(60, 4)
    L = incomplete_cholesky(A, drop, fill=60)
    np.testing.assert_allclose(L.tocsc().toarray(), np.linalg.cholesky(A.toarray()), rtol=1e-10, atol=1e-12)


def test_a_tridiagonal_matrix_has_no_fill_to_leave_out():
    A = laplacian(50)
    np.testing.assert_allclose(
        incomplete_cholesky(A).tocsc().toarray(), np.linalg.cholesky(A.toarray()), rtol=1e-12, atol=1e-14
    )


def test_what_is_kept_is_at_most_what_was_allowed():
    A = laplacian(30, 30)
    of_A = np.diff(sp.csc_array(sp.tril(A)).indptr)
    for fill in (0, 2, 5):
        L = incomplete_cholesky(A, 1e-6, fill=fill)
        assert (np.diff(L.start) <= of_A + fill).all()
        assert (np.diff(L.start) == of_A + fill).any()
        for j in range(L.order):  # ascending, the diagonal first
            rows = L.row[L.start[j] : L.start[j + 1]]
            assert rows[0] == j
            assert (np.diff(rows) > 0).all()


def test_a_smaller_threshold_keeps_more_and_takes_fewer_iterations():
    A = laplacian(40, 40)
    sizes, counts = [], []
    for drop in (1e-1, 1e-2, 1e-3):
        L = incomplete_cholesky(A, drop, fill=40)
        sizes.append(len(L.row))
        counts.append(iterations(A, as_operator(L)))
    assert sizes[0] < sizes[1] < sizes[2]
    assert counts[0] > counts[1] > counts[2]
    assert counts[-1] < 0.2 * iterations(A)


def test_zero_fill_takes_about_a_third_of_the_iterations_on_a_grid():
    A = laplacian(40, 40)
    assert iterations(A, as_operator(incomplete_cholesky(A))) < 0.45 * iterations(A)


@pytest.mark.parametrize("shape", [(63,), (63, 1), (63, 5)])
def test_solves_are_those_of_the_triangular_factors(shape):
    A = laplacian(9, 7)
    L = incomplete_cholesky(A)
    x = np.random.default_rng(1).standard_normal(shape)
    before = x.copy()
    dense = L.tocsc().toarray()
    np.testing.assert_allclose(L.solve_lower(x), np.linalg.solve(dense, x), rtol=1e-11)
    np.testing.assert_allclose(L.solve_upper(x), np.linalg.solve(dense.T, x), rtol=1e-11)
    np.testing.assert_allclose(L.solve(x), np.linalg.solve(dense @ dense.T, x), rtol=1e-10)
    np.testing.assert_array_equal(x, before)


def kershaw() -> Any:
    """Positive definite, and its zero-fill factorization meets a negative pivot (Kershaw 1978)."""
    return sp.csr_array(np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]]))


def test_where_it_does_not_exist_a_shift_makes_it():
    A = kershaw()
    assert np.linalg.eigvalsh(A.toarray())[0] > 0.0
    L = incomplete_cholesky(A)
    assert L.shift > 0.0
    shifted = A + L.shift * sp.diags_array(A.diagonal())
    pattern = A.toarray() != 0.0
    np.testing.assert_allclose((L.tocsc() @ L.tocsc().T).toarray()[pattern], shifted.toarray()[pattern], rtol=1e-12)
    half = L.shift / 2.0  # it was not shifted by more than twice what it takes
    assert incomplete_cholesky(A, shift=half).shift >= L.shift
    assert incomplete_cholesky(A, shift=L.shift).shift == L.shift


@pytest.mark.parametrize("A", [
    np.diag([1.0, 0.0, 2.0]), np.diag([1.0, -1.0]), np.array([[1.0, np.nan], [np.nan, 1.0]]), np.diag([1.0, np.inf]),
    np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 1e9], [1e9, 1.0]]),
])  # fmt: skip
def test_what_is_not_positive_definite_breaks_down(A):
    with pytest.raises(Breakdown):
        incomplete_cholesky(sp.csr_array(A))


@pytest.mark.parametrize(("arguments", "why"), [
    ({"A": np.eye(3)}, "scipy.sparse"), ({"A": sp.csr_array((3, 4))}, "square"),
    ({"A": sp.csr_array(np.eye(3) + 0j)}, "real"), ({"drop": -1.0}, "drop"), ({"drop": np.nan}, "drop"),
    ({"fill": -1}, "fill"), ({"shift": -1e-3}, "shift"), ({"shift": np.inf}, "shift"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(arguments, why):
    with pytest.raises(ValueError, match=why):
        incomplete_cholesky(**{"A": laplacian(3), **arguments})
    with pytest.raises(ValueError, match="shape"):
        incomplete_cholesky(laplacian(3)).solve(np.ones(4))


def test_any_format_and_dtype_untidy_or_not_and_left_alone():
    A = laplacian(6, 5)
    expected = incomplete_cholesky(A).value
    for other in (A.tocsc(), A.tocoo(), A.tolil(), sp.csr_matrix(A), A.astype("f4"), A.astype(int)):
        np.testing.assert_allclose(incomplete_cholesky(other).value, expected, rtol=1e-6)
    coo = A.tocoo()
    twice = sp.coo_array((np.tile(coo.data / 2, 2), (np.tile(coo.row, 2), np.tile(coo.col, 2))), shape=A.shape)
    np.testing.assert_allclose(incomplete_cholesky(twice).value, expected, rtol=1e-12)
    assert twice.nnz == 2 * A.nnz


@pytest.mark.data
def test_counts_of_real_matrices(shared_data):
    # MATLAB's ichol, in the given order: 150 for gyro_m are published
    A = sp.csr_array(read_array(shared_data / "gyro_m.mtx.gz"))
    L = incomplete_cholesky(A)
    assert L.shift == 0.0
    assert 130 <= iterations(A, as_operator(L)) <= 165


# --- minimum degree


def eliminated(A: Any, order: np.ndarray) -> np.ndarray:
    """Entries below the diagonal of the columns of the factor, by elimination of the pattern."""
    pattern = (A + A.T).toarray()[np.ix_(order, order)] != 0.0
    counts = []
    for k in range(len(order)):
        below = np.flatnonzero(pattern[k + 1 :, k]) + k + 1
        counts.append(len(below))
        pattern[np.ix_(below, below)] = True
    return np.array(counts)


MATRICES = {
    "grid": laplacian(13, 11),
    "cube": laplacian(6, 5, 7),
    "line": laplacian(40),
    "random": abs(sp.random_array((150, 150), density=0.02, rng=np.random.default_rng(2))),
    "arrow": sp.csr_array(np.diag(np.ones(30)) + np.eye(1, 30) + np.eye(1, 30).T @ np.ones((1, 30))),
    "full": sp.csr_array(np.ones((20, 20))),
    "diagonal": sp.csr_array(sp.eye_array(12)),
    "blocks": sp.csr_array(sp.block_diag([laplacian(5, 5), np.ones((7, 7)), np.ones((1, 1))])),
    "one": sp.csr_array(np.ones((1, 1))),
}


@pytest.mark.parametrize("name", MATRICES)
def test_counts_are_those_of_the_elimination(name):
    A: Any = sp.csr_array(MATRICES[name])
    found = minimum_degree(A)
    np.testing.assert_array_equal(np.sort(found.order), np.arange(A.shape[0]))
    np.testing.assert_array_equal(found.counts, eliminated(A, found.order))
    lower = found.counts.sum()
    assert found.fill == 2 * lower + A.shape[0]
    assert found.flops == (2.0 * found.counts**2 + found.counts).sum()


@pytest.mark.parametrize("name", ["line", "arrow"])
def test_trees_have_no_fill(name):
    A: Any = sp.csr_array(MATRICES[name])
    assert minimum_degree(A).counts.sum() == sp.tril(A + A.T, -1).nnz


def test_it_fills_no_more_than_the_orders_of_SuperLU():
    for A in (laplacian(30, 30), laplacian(9, 9, 9)):
        ours = minimum_degree(A).fill
        for other in ("COLAMD", "MMD_AT_PLUS_A"):
            factors = spla.splu(
                sp.csc_array(A), permc_spec=other, diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
            assert ours <= 1.15 * (factors.L.nnz + factors.U.nnz)


def test_what_is_forecast_is_what_SuperLU_makes():
    for A in (laplacian(25, 20), random_spd(300, 3)):
        found = minimum_degree(A)
        ordered = sp.csc_array(A[found.order][:, found.order])
        how = {"permc_spec": "NATURAL", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        factors = spla.splu(ordered, **how)
        assert found.fill - A.shape[0] <= factors.L.nnz + factors.U.nnz <= 1.1 * (found.fill + A.shape[0])


def test_only_square_sparse_matrices_are_ordered():
    for A in (np.eye(3), sp.csr_array((2, 3))):
        with pytest.raises(ValueError, match="square"):
            minimum_degree(A)
