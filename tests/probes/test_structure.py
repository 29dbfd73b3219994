from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from autonla.primitives.evidence import Evidence
from autonla.primitives.task import Task
from autonla.probes import structure
from tests._support.backends import BACKENDS, DTYPES

N = 150


def _rng():
    return np.random.default_rng(7)


def _general():
    return _rng().standard_normal((N, N))


def _banded(lower, upper):
    return np.triu(np.tril(_general(), upper), -lower)


def _indefinite():
    A = _general() + _general().T
    A[3, 3] = 0.0
    return A


def _rounded_symmetric():
    """Symmetric up to the rounding of a product, not bit for bit."""
    Q = np.linalg.qr(_general())[0]
    A = (Q * np.linspace(1, 2, N)) @ Q.T
    assert not np.array_equal(A, A.T)
    return A


def _one_entry(A, i, j, value):
    A = A.copy()
    A[i, j] = value
    return A


MATRICES = {
    "general": (_general, "general", None),
    "symmetric": (lambda: _general() @ _general().T, "symmetric", None),
    "symmetric to rounding": (_rounded_symmetric, "symmetric", None),
    "zero on the diagonal": (_indefinite, "indefinite", None),
    "upper": (lambda: np.triu(_general()), "upper", None),
    "lower": (lambda: np.tril(_general()), "lower", None),
    "diagonal": (lambda: np.diag(np.arange(1.0, N + 1)), "diagonal", None),
    "zero": (lambda: np.zeros((N, N)), "diagonal", None),
    "tridiagonal": (lambda: _banded(1, 1), "banded", (1, 1)),
    "banded": (lambda: _banded(2, 5), "banded", (2, 5)),
    "bidiagonal": (lambda: _banded(0, 1), "upper", None),
    "wide band": (lambda: _banded(50, 60), "general", None),
    "one entry outside": (lambda: _one_entry(_banded(1, 1), 0, N - 1, 1e-300), "general", None),
    "one entry below": (lambda: _one_entry(np.triu(_general()), N - 1, 0, 1e-300), "general", None),
    "one entry asymmetric": (lambda: _one_entry(_general() @ _general().T, 10, 140, 1e-8), "general", None),
    "mostly zero": (lambda: _one_entry(np.eye(N), 5, 90, 1.0), "upper", None),
}


def _task(**changes):
    return dataclasses.replace(Task("linear_system", N, N), **changes)


# float32 has no room for the tiny entries outside
CASES = [(name, dtype) for name in MATRICES for dtype in DTYPES if dtype == "float64" or "one entry" not in name]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_structure_is_found(backend, dtype, order, name):
    make, expected, bandwidth = MATRICES[name]
    A = backend.asarray(make(), dtype)
    if order == "F":
        A = A.T.copy().T if backend.name == "numpy" else A.T.contiguous().T
    elif order == "strided":
        buffer = backend.asarray(np.full((2 * N, 3 * N), 7.0), dtype)
        buffer[::2, 1::3] = A
        A = buffer[::2, 1::3]
    before = backend.to_numpy(A).copy()
    evidence, task, by_products = structure.run(A, _task(library=backend.module, dtype=dtype), Evidence())
    assert (task.structure, task.bandwidth) == (expected, bandwidth)
    assert not by_products
    assert evidence.norm_fro == pytest.approx(float(np.linalg.norm(before.astype(np.float64))), rel=1e-5, abs=0.0)
    assert evidence.findings[-1].probe == "structure"
    assert evidence.findings[-1].seconds > 0
    np.testing.assert_array_equal(backend.to_numpy(A), before)


def test_an_asymmetric_entry_is_found_wherever_it_is():
    S = _general() @ _general().T
    for i, j in ((0, 1), (149, 0), (127, 128), (128, 127), (77, 3)):
        A = _one_entry(S, i, j, S[i, j] * (1 + 1e-10))
        assert structure.run(A, _task(), Evidence())[1].structure == "general"


DECLARATIONS = [
    # matrix, declared, found or None for a contradiction
    ("symmetric", "spd", "spd"),
    ("symmetric", "symmetric", "symmetric"),
    ("symmetric to rounding", "spd", "spd"),
    ("zero on the diagonal", "symmetric", "indefinite"),
    ("zero on the diagonal", "spd", None),
    ("one entry asymmetric", "symmetric", None),
    ("one entry asymmetric", "spd", None),
    ("general", "symmetric", None),
    ("general", "triangular", None),
    ("general", "upper", None),
    ("upper", "triangular", "upper"),
    ("lower", "triangular", "lower"),
    ("lower", "upper", None),
    ("one entry below", "upper", None),
    ("diagonal", "spd", "diagonal"),
    ("zero", "spd", None),
    ("zero", "symmetric", "diagonal"),
    ("upper", "symmetric", None),
    ("diagonal", "upper", "diagonal"),
    ("tridiagonal", "diagonal", None),
    ("tridiagonal", "banded", "banded"),
    ("wide band", "banded", "banded"),
]


@pytest.mark.parametrize(("name", "declared", "found"), DECLARATIONS)
def test_declarations_are_checked(name, declared, found):
    A = MATRICES[name][0]()
    evidence, task, by_products = structure.run(A, _task(structure=declared), Evidence())
    if found is None:
        assert declared in by_products["mismatch"] or "positive definite" in by_products["mismatch"]
        assert evidence.findings[-1].sentence == by_products["mismatch"]
    else:
        assert task.structure == found
        assert not by_products


def test_a_declared_band_is_an_upper_bound():
    A = MATRICES["banded"][0]()
    _, task, by_products = structure.run(A, _task(structure="banded", bandwidth=(3, 8)), Evidence())
    assert (task.bandwidth, by_products) == ((2, 5), {})
    _, _, by_products = structure.run(A, _task(structure="banded", bandwidth=(1, 8)), Evidence())
    assert "(1, 8)" in by_products["mismatch"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_entries_that_are_not_finite_are_counted(backend):
    A = _general()
    A[4, 5] = A[60, 2] = np.nan
    A[140, 140] = np.inf
    _, _, by_products = structure.run(backend.asarray(A), _task(library=backend.module), Evidence())
    assert by_products == {"not_finite": "A has 3 entries that are not finite, the first at (4, 5)"}


def test_rectangular_matrices_get_their_norm():
    A = _rng().standard_normal((20, 5))
    evidence, task, _ = structure.run(A, Task("least_squares", 20, 5), Evidence())
    assert evidence.norm_fro == pytest.approx(float(np.linalg.norm(A)))
    assert task.structure == "general"


@pytest.mark.parametrize("exponent", [-520, -300, 300, 500])
def test_scale_does_not_matter(exponent):
    for name in ("symmetric to rounding", "one entry asymmetric", "tridiagonal"):
        make, expected, _ = MATRICES[name]
        assert structure.run(np.ldexp(make(), exponent), _task(), Evidence())[1].structure == expected


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_matrices(n):
    for A in (np.ones((n, n)), np.triu(np.ones((n, n))), np.eye(n)):
        _, task, by_products = structure.run(A, Task("linear_system", n, n), Evidence())
        assert not by_products
        assert task.structure in ("diagonal", "upper", "symmetric")


def test_the_work_counts_the_symmetry_pass_only_where_it_is_certain():
    kernels = lambda task: [call.kernel for call in structure.work(task).calls]  # noqa: E731
    assert kernels(_task()) == ["stream"]
    assert kernels(_task(structure="spd")) == ["stream", "symmetry"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", MATRICES)
def test_a_guess_is_right_where_the_structure_is_the_same_in_all_rows(order, name):
    make, expected, bandwidth = MATRICES[name]
    seen = structure.guess(np.asarray(make(), order=order), _task())
    if expected in ("upper", "lower", "diagonal") and name not in ("mostly zero", "zero"):
        assert seen.structure == expected
    elif expected == "banded":
        assert (seen.structure, seen.bandwidth) in (("banded", bandwidth), ("general", None))
    elif name not in ("one entry outside", "one entry below", "mostly zero", "zero"):  # what a few rows cannot show
        assert (seen.structure, seen.bandwidth) == ("general", None)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("widths", [(1, 1), (0, 2), (3, 0), (2, 7)])
def test_a_steady_band_is_guessed(order, widths):
    lower, upper = widths
    A = np.asarray(np.triu(np.tril(_general(), upper), -lower), order=order)
    seen = structure.guess(A, _task())
    expected = "banded" if lower and upper else "upper" if upper else "lower"
    assert seen.structure == expected
    assert seen.bandwidth == (widths if expected == "banded" else None)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_band_that_is_not_as_wide_everywhere_is_guessed_wider_than_it_looks(order):
    n, most = 900, 20
    for seed in range(10):
        rng = np.random.default_rng(seed)
        A = np.triu(np.tril(np.where(rng.random((n, n)) < 0.2, 1.0, 0.0), most), -most) + np.eye(n)
        task = Task("linear_system", n, n, seed=seed)
        seen = structure.guess(np.asarray(A, order=order), task)
        assert seen.structure == "banded"
        assert seen.bandwidth is not None
        assert all(most <= width <= 1.3 * most + 1 for width in seen.bandwidth)


def test_a_sparse_matrix_that_is_not_symmetric_is_told_by_a_few_rows(monkeypatch):
    A = np.where(np.random.default_rng(5).random((N, N)) < 0.1, _general(), 0.0) + np.eye(N)
    monkeypatch.setattr(structure, "norm", lambda x: np.linalg.norm(x) if x.size < A.size else pytest.fail("all read"))
    assert structure.run(A, _task(), Evidence(), sampled=True)[1].structure == "general"
    # what differs by rounding only is looked at in full
    S = A + A.T
    S[0, 1:] *= 1 + 2.0**-52
    monkeypatch.undo()
    assert structure.run(S, _task(), Evidence(), sampled=True)[1].structure in ("symmetric", "indefinite")


def test_nothing_is_guessed_of_what_was_declared():
    assert structure.guess(np.triu(_general()), _task(structure="symmetric")).structure == "symmetric"


def test_a_sample_speaks_for_a_dense_symmetric_matrix():
    S = _general() @ _general().T
    evidence, task, _ = structure.run(S, _task(), Evidence(), sampled=True)
    assert task.structure == "symmetric"
    assert evidence.norm_fro is None
    assert "1024 pairs" in evidence.findings[-1].sentence
    # a few entries that differ may be overlooked where nothing depends on them, and only there
    few = _one_entry(S, 10, 140, 1e-8)
    assert structure.run(few, _task(), Evidence(), sampled=True)[1].structure in ("symmetric", "general")
    assert structure.run(few, _task(), Evidence())[1].structure == "general"
    assert "mismatch" in structure.run(few, _task(structure="symmetric"), Evidence(), sampled=True)[2]
    for share in (1.0, 0.05):
        A = S + np.where(np.random.default_rng(0).random(S.shape) < share, 1e-6 * _general(), 0.0)
        assert structure.run(A, _task(), Evidence(), sampled=True)[1].structure == "general"


@pytest.mark.parametrize("order", ["C", "F"])
def test_where_most_entries_are_zero_whole_rows_speak_or_all_is_read(order):
    def symmetric(share):
        S = np.where(np.random.default_rng(5).random((N, N)) < share, _general(), 0.0)
        return np.asarray(S + S.T + np.eye(N), order=order)

    def sentence(S):
        return structure.run(S, _task(), Evidence(), sampled=True)[0].findings[-1].sentence

    sparse, nearly_empty = symmetric(0.02), symmetric(0.001)
    assert "pairs of entries that are not zero" in sentence(sparse)
    assert "exactly" in sentence(nearly_empty)
    nearly_empty[70, 3] += 1.0
    assert "neither" in sentence(nearly_empty)
    assert "neither" in sentence(np.triu(sparse, 1) * 2.0 + np.tril(sparse))


def _indefinite_with_a_positive_diagonal(n=400):
    """Eigenvalues of both signs, whose mean is positive."""
    Q = np.linalg.qr(_rng().standard_normal((n, n)))[0]
    A = (Q * np.where(np.arange(n) % 5 < 2, -1.0, 1.5)) @ Q.T
    A = (A + A.T) / 2
    assert (A.diagonal() > 0).all()
    return A


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_principal_submatrix_tells_that_a_matrix_is_not_positive_definite(backend, dtype):
    for seed in range(5):
        task = Task("linear_system", 400, 400, structure="general", dtype=dtype, library=backend.name, seed=seed)
        A = _indefinite_with_a_positive_diagonal()
        evidence, found, _ = structure.run(backend.asarray(A, dtype), task, Evidence(), sampled=True)
        assert found.structure == "indefinite"
        assert "principal submatrix" in evidence.findings[-1].sentence
        definite = A + 1.2 * np.eye(400)
        assert np.linalg.eigvalsh(definite)[0] > 0.0
        _, found, _ = structure.run(backend.asarray(definite, dtype), task, Evidence(), sampled=True)
        assert found.structure == "symmetric"


def test_the_glance_looks_at_a_principal_submatrix_too():
    A = _indefinite_with_a_positive_diagonal()
    assert not structure.may_be_spd(A)
    assert structure.may_be_spd(A + 1.2 * np.eye(400))
    assert structure.may_be_spd(A[:300, :300])  # too small for a part to be worth factoring: Cholesky itself tells


def test_what_is_declared_spd_is_left_to_cholesky():
    """A submatrix that rounding alone makes indefinite is no reason to contradict the user."""
    task = Task("linear_system", 400, 400, structure="spd")
    _, found, by_products = structure.run(_indefinite_with_a_positive_diagonal(), task, Evidence())
    assert (found.structure, by_products) == ("spd", {})


@pytest.mark.parametrize("declared", ["spd", "upper"])
def test_a_declaration_that_only_nan_contradicts_is_no_mismatch(declared):
    """NaN differs from itself and from zero."""
    A = np.eye(N) + (0.1 if declared == "spd" else np.triu(np.ones((N, N)), 1))
    A[5, 2] = np.nan
    task = Task("linear_system", N, N, structure=declared)
    _, _, by_products = structure.run(A, task, Evidence(), sampled=True)
    assert by_products == {"not_finite": "A has 1 entries that are not finite, the first at (5, 2)"}


def test_nothing_may_be_spd_in_an_empty_matrix():
    assert not structure.may_be_spd(np.zeros((0, 0)))
    assert structure.may_be_spd(np.eye(5))


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("general", "A is banded: 1 diagonals below, 1 above"),
        ("symmetric", "A is symmetric exactly and banded: 1 diagonals on either side"),
    ],
)
def test_a_narrow_symmetric_band_that_is_not_definite_stays_a_band(declared, says):
    """What is banded is solved as such, definite or not."""
    A = np.diag(np.full(N, -1.0)) + np.diag(np.ones(N - 1), 1) + np.diag(np.ones(N - 1), -1)
    evidence, task, by_products = structure.run(A, Task("linear_system", N, N, structure=declared), Evidence())
    assert (task.structure, task.bandwidth, by_products) == ("banded", (1, 1), {})
    assert evidence.findings[-1].sentence == says
