"""The tests' matrices, streams of problems, backends and layouts: what is claimed of them is so."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_limits

from tests._support import draws, matrices, spectra, truth
from tests._support.backends import BACKENDS, DTYPES, layouts

linalg: Any = scipy.linalg  # inferred types are wrong where outputs are optional


@pytest.fixture(autouse=True)
def one_blas_thread():
    # Small matrices gain nothing from threads, and lose much where others compete for the cores.
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.mark.parametrize("shape", [(50, 12), (12, 12), (12, 50)])
@pytest.mark.parametrize("coherent", [False, True])
def test_with_spectrum_has_its_singular_values(shape, coherent, rng):
    for s in (
        spectra.flat(12),
        spectra.geometric(12, 1e10),
        spectra.arithmetic(12, 1e3),
        spectra.one_small(12, 1e8),
        spectra.one_large(12, 1e8),
        spectra.clustered(12, 1e4),
        spectra.log_uniform(12, 1e6, rng),
        spectra.polynomial(12, 2.0),
        spectra.exponential(12, 1.0),
        spectra.step(12, 4, 1e-5),
    ):
        assert s.shape == (12,)
        assert s[0] == 1.0
        assert (np.diff(s) <= 0).all()
        matrix = matrices.with_spectrum(shape[0], shape[1], s, rng, coherent)
        np.testing.assert_allclose(np.linalg.svd(matrix.A, compute_uv=False), s, atol=1e-14)


def test_coherent_rows_carry_the_leverage(rng):
    for coherent, low, high in ((False, 0.0, 0.2), (True, 0.5, 1.0)):
        Q = np.linalg.qr(matrices.with_spectrum(1000, 20, spectra.flat(20), rng, coherent).A)[0]
        leverage = np.sort((Q**2).sum(axis=1))[::-1]
        assert low < leverage[:11].sum() / 20 <= high


def rank_in_exact_arithmetic(A) -> int:
    rows = [[Fraction(float(v)) for v in row] for row in A]
    rank = 0
    for column in range(A.shape[1]):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            if rows[i][column]:
                factor = rows[i][column] / rows[rank][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


def test_exact_ranks_are_exact(rng):
    base = matrices.with_spectrum(14, 5, spectra.geometric(5, 1e6), rng)
    for matrix in (
        matrices.exact_rank(14, 9, 4, rng),
        matrices.exact_rank(9, 14, 4, rng, cond=1e4),
        matrices.repeated_columns(base, 9, rng, zeros=2),
        matrices.dummy_variables(30, (3, 4), rng),
    ):
        assert rank_in_exact_arithmetic(matrix.A) == matrix.rank < min(matrix.A.shape)
    # A rounded product is not: it must say so.
    rounded = matrices.with_spectrum(14, 6, [1.0, 0.5, 0.25, 0.0, 0.0, 0.0], rng)
    assert rounded.rank == 3
    assert not rounded.rank_is_exact
    assert rank_in_exact_arithmetic(rounded.A) > 3


def test_structured_matrices(rng):
    s = spectra.geometric(10, 1e5)
    spd = matrices.spd(10, s, rng).A
    assert (spd == spd.T).all()
    assert np.linalg.eigvalsh(spd)[0] > 0
    indefinite = matrices.symmetric_indefinite(10, s, rng).A
    assert (indefinite == indefinite.T).all()
    assert np.linalg.eigvalsh(indefinite)[0] < -0.9e-5
    lower = matrices.triangular(10, s, rng, lower=True).A
    assert not np.triu(lower, 1).any()
    np.testing.assert_allclose(np.linalg.svd(lower, compute_uv=False), s, atol=1e-13)
    band = matrices.banded(10, 2, 1, 0.0, rng).A
    assert not np.tril(band, -3).any()
    assert not np.triu(band, 2).any()
    assert np.linalg.norm(linalg.lu(matrices.wilkinson_growth(30).A)[2], np.inf) > 2.0**28


def test_right_hand_sides_have_their_residual(rng):
    matrix = matrices.with_spectrum(60, 10, spectra.geometric(10, 1e8), rng)
    for rho, rough in itertools.product((0.0, 1e-6, 0.7), (False, True)):
        problem = matrices.least_squares(matrix, rho, rng, rough=rough, columns=2)
        for b in problem.b.T:
            residual = truth.project(problem.A, b).left.norm() / np.linalg.norm(b)
            assert residual == pytest.approx(rho, rel=1e-6, abs=1e-8 if rough else 1e-14)


@pytest.mark.parametrize("kind", draws.KINDS)
def test_draws_are_reproducible_and_cover_the_field(kind):
    stream = list(draws.random_problems(kind, 66, seed=5))
    again = draws.draw(kind, 40, seed=5)
    assert str(again) == str(stream[40])
    assert again.problem.A.tobytes() == stream[40].problem.A.tobytes()
    assert draws.draw(kind, 40, seed=6).problem.A.tobytes() != again.problem.A.tobytes()
    for d in stream:
        A = d.problem.A
        assert np.isfinite(A).all()
        assert min(A.shape) <= (480 if d.parameters["large"] else 120)
        assert max(A.shape) <= (60000 if d.parameters["large"] else 1500)
        assert 1e-13 <= d.accuracy <= 1e-2
    assert 8 <= sum(d.parameters["large"] for d in stream) <= 33
    accuracies = np.log10([d.accuracy for d in stream])
    assert accuracies.min() < -12
    assert accuracies.max() > -3
    sizes = np.array([np.abs(d.problem.A).max() for d in stream])
    assert sizes.min() < 1e-140
    assert sizes.max() > 1e140
    conditions = [d.parameters["cond"] for d in stream if "cond" in d.parameters]
    assert min(conditions) < 1e2
    assert max(conditions) > 1e11
    if kind != "linear_system":
        shapes = [d.problem.A.shape for d in stream]
        assert {np.sign(m - n) for m, n in shapes} == {-1, 0, 1}
    if kind == "least_squares":
        problems = [d.problem for d in stream]
        assert any(p.ridge for p in problems)
        assert any(p.rank is not None and p.rank < min(p.A.shape) for p in problems)
        assert any(p.b.ndim == 2 for p in problems)
    if kind == "low_rank":
        assert {d.problem.rank is None for d in stream} == {True, False}


# Backends and layouts.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_backends_carry_arrays_there_and_back(backend, dtype, rng):
    A = rng.standard_normal((4, 3)).astype(dtype)
    there = backend.asarray(A)
    assert backend.owns(there)
    assert there.dtype == backend.dtype(dtype)
    back = backend.to_numpy(there)
    assert back.dtype == A.dtype
    np.testing.assert_array_equal(back, A)
    assert backend.asarray(A, "float32").dtype == backend.dtype("float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_hold_the_same_numbers(dtype, rng):
    A = rng.standard_normal((5, 4)).astype(dtype)
    seen = dict(layouts(A))
    assert all(np.array_equal(a, A) for a in seen.values())
    assert seen["Fortran"].flags.f_contiguous
    assert not seen["strided"].flags.forc
    assert seen["negative strides"].strides[0] < 0
    assert not seen["read-only"].flags.writeable
    assert not seen["unaligned"].flags.aligned
    assert not seen["big-endian"].dtype.isnative
