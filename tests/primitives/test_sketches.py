"""Sketches: known random numbers, exact structure, identity under slicing, moments, embedding quality.

Seeds are fixed, so nothing here flakes; the thresholds are derived, and for each statistical bar a broken
sketch shows that it can be missed.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from scipy.stats import chi2, kstest

from autonla.primitives.sketches import (
    SKETCH_KINDS,
    Sketch,
    SparseSignSketch,
    TrigonometricSketch,
    gaussian_test_matrix,
    make_sketch,
    philox,
)

DOUBLE = np.dtype(np.float64)

# -- random numbers -----------------------------------------------------------------------------------------------

# Random123, kat_vectors: philox4x32, 10 rounds.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, expected):
    assert " ".join(f"{int(w):08x}" for w in philox.philox4x32(counter, key)) == expected


def test_philox_is_vectorised_over_counters():
    counters = [np.array([c[i] for c, _, _ in KNOWN_ANSWERS[:2]]) for i in range(4)]
    block = philox.philox4x32(counters, (0, 0))
    assert block.shape == (4, 2)
    np.testing.assert_array_equal(block[:, 0], philox.philox4x32((0, 0, 0, 0), (0, 0)))
    np.testing.assert_array_equal(block[:, 1], philox.philox4x32((0xFFFFFFFF,) * 4, (0, 0)))


def test_words_are_philox_of_item_group_and_stream():
    key, item, stream = 0x123456789ABCDEF0, (7 << 32) + 5, 3
    block = philox.words(key, item, item + 2, 7, stream)
    assert block.shape == (7, 2)
    for j in range(2):
        for lane in range(7):
            expected = philox.philox4x32((5 + j, 7, lane // 4, stream), (0x9ABCDEF0, 0x12345678))[lane % 4]
            assert block[lane, j] == expected


@pytest.mark.parametrize(("start", "count"), [(0, 1), (1, 2), (3, 6), (5, 40001), (37, 0)])
def test_flat_streams_can_be_entered_anywhere(start, count):
    whole = philox.uniform_bits(11, 0, 41000)
    np.testing.assert_array_equal(philox.uniform_bits(11, start, count), whole[start : start + count])
    whole = philox.normals(11, 0, 41000)
    np.testing.assert_array_equal(philox.normals(11, start, count), whole[start : start + count])


def test_normal_matrix_slices_agree_and_precisions_are_the_same_operator():
    whole = philox.normal_matrix(5, (0, 600), (0, 300), np.float64, 9)
    for rows, columns in [((0, 1), (0, 1)), ((3, 530), (17, 18)), ((255, 257), (0, 300)), ((8, 8), (1, 4))]:
        part = philox.normal_matrix(5, rows, columns, np.float64, 9)
        np.testing.assert_array_equal(part, whole[slice(*rows), slice(*columns)])
    single = philox.normal_matrix(5, (0, 600), (0, 300), np.float32, 9)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, whole)


def uniform(seed: int, count: int) -> np.ndarray:
    return philox.uniform_bits(seed, 0, count) * 2.0**-32


@pytest.mark.statistical
@pytest.mark.parametrize("count", [1000, 100_000])
def test_distributions_by_kolmogorov_smirnov(count):
    for seed in range(10):
        assert kstest(uniform(seed, count), "uniform").pvalue > 1e-6
        assert kstest(philox.normals(seed, 0, count), "norm").pvalue > 1e-6


@pytest.mark.statistical
def test_kolmogorov_smirnov_can_fail():
    sample = philox.normals(0, 0, 100_000)
    assert kstest(1.05 * sample, "norm").pvalue < 1e-6
    assert kstest(sample + 0.03, "norm").pvalue < 1e-6


@pytest.mark.statistical
def test_normals_are_uncorrelated_along_every_direction():
    Z = philox.normal_matrix(3, (0, 400), (0, 400), np.float64, 1)
    other = philox.normal_matrix(4, (0, 400), (0, 400), np.float64, 1)
    stream = philox.normal_matrix(3, (0, 400), (0, 400), np.float64, 2)
    for a, b in [(Z[1:], Z[:-1]), (Z[4:], Z[:-4]), (Z[:, 1:], Z[:, :-1]), (Z, Z.T), (Z, other), (Z, stream)]:
        for f in (lambda x: x, lambda x: x**2 - 1):
            terms = f(a) * f(b)
            if a.shape == Z.T.shape and b is not other and b is not stream and a is Z:
                terms = terms[np.triu_indices(400, 1)]
            assert abs(terms.mean()) < 6 * terms.std() / math.sqrt(terms.size)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        make_sketch("gaussian", 4, 10, seed)


# -- structure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("l", "nonzeros", "expected"), [(64, 8, 8), (67, 8, 8), (9, 4, 4), (5, 8, 5), (1, 8, 1), (10, 3, 3)]
)
def test_sparse_sign_has_exactly_its_nonzeros_and_no_duplicates(l, nonzeros, expected):
    S = SparseSignSketch(l, 500, 1, DOUBLE, nonzeros)
    rows, signs = S.nonzero_entries(0, 500)
    assert rows.shape == (expected, 500)
    edges = np.array([k * l // expected for k in range(expected + 1)])
    assert (rows >= edges[:-1, None]).all()
    assert (rows < edges[1:, None]).all()
    assert set(np.unique(signs)) == {-1, 1}
    dense = S.to_dense()
    assert (np.count_nonzero(dense, axis=0) == expected).all()
    np.testing.assert_allclose(np.abs(dense[dense != 0]), 1 / math.sqrt(expected), rtol=1e-15)


@pytest.mark.statistical
def test_sparse_sign_positions_and_signs_are_uniform():
    S = SparseSignSketch(67, 40_000, 2, DOUBLE, 8)
    rows, signs = S.nonzero_entries(0, S.m)
    for k in range(8):
        low, high = k * 67 // 8, (k + 1) * 67 // 8
        counts = np.bincount(rows[k] - low, minlength=high - low)
        statistic = ((counts - S.m / counts.size) ** 2).sum() / (S.m / counts.size)
        assert chi2.sf(statistic, counts.size - 1) > 1e-6
        assert abs(int(signs[k].sum(dtype=int))) < 5 * math.sqrt(S.m)
        assert abs(int((signs[k] * signs[(k + 1) % 8]).sum(dtype=int))) < 5 * math.sqrt(S.m)


def test_srtt_is_a_scaled_selection_of_an_orthogonal_matrix():
    S = TrigonometricSketch(40, 100, 3, DOUBLE)
    dense = S.to_dense()
    np.testing.assert_allclose(dense @ dense.T, np.eye(40) * (100 / 40), atol=1e-13)
    order, signs = S.permutation()
    assert sorted(order) == list(range(100))
    assert set(signs) == {-1, 1}
    assert len(set(S.frequencies())) == 40
    whole = make_sketch("srtt", 100, 100, 3).to_dense()
    np.testing.assert_allclose(whole @ whole.T, np.eye(100), atol=1e-13)


def test_impossible_sketches_are_refused():
    with pytest.raises(ValueError, match="without replacement"):
        make_sketch("srtt", 11, 10, 0)
    with pytest.raises(ValueError, match="l >= 1"):
        make_sketch("gaussian", 0, 10, 0)
    with pytest.raises(ValueError, match="nonzero"):
        make_sketch("sparse_sign", 4, 10, 0, nonzeros=0)
    with pytest.raises(ValueError, match="no sketch"):
        make_sketch("count", 4, 10, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float64 or float32"):
        make_sketch("gaussian", 4, 10, 0, dtype=np.float16)


# -- the same operator whatever the block, library, order, threads ---------------------------------------------------

SHAPES = [(20, 100, 7), (67, 3000, 33), (3, 1000, 9), (40, 600, 300)]


def matrix(m: int, n: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n)).astype(dtype)


def tolerance(dtype: type, m: int) -> float:
    return 4 * math.sqrt(m) * float(np.finfo(dtype).eps) * 5


@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize(("l", "m", "n"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_apply_is_multiplication_by_the_dense_operator(kind, l, m, n, dtype):
    S = make_sketch(kind, l, m, 12345)
    A = matrix(m, n, dtype)
    before = A.copy()
    SA = S.apply(A)
    assert SA.dtype == dtype
    assert SA.shape == (l, n)
    assert SA.flags.c_contiguous
    np.testing.assert_allclose(SA, S.to_dense() @ A.astype(float), atol=tolerance(dtype, m))
    np.testing.assert_array_equal(A, before)


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_slices_are_slices_of_the_whole(kind):
    S = make_sketch(kind, 21, 400, 7)
    whole = S.to_dense()
    assert whole.shape == S.shape == (21, 400)
    for start, stop in [(0, 1), (17, 18), (33, 400), (5, 5)]:
        np.testing.assert_array_equal(S.columns(start, stop), whole[:, start:stop])
    single = replace(S, dtype=np.dtype(np.float32)).to_dense()
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, atol=1e-6)


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_row_blocks_add_up(kind):
    S = make_sketch(kind, 21, 400, 7)
    A = matrix(400, 5)
    edges = [0, 1, 130, 131, 400]
    parts = [S.apply_block(A[i:j], i) for i, j in pairwise(edges)]
    np.testing.assert_allclose(sum(parts), S.apply(A), atol=1e-12)
    with pytest.raises(ValueError, match="not within"):
        S.apply_block(A[:10], 391)
    with pytest.raises(ValueError, match="cannot be applied"):
        S.apply(A[:399])


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_libraries_agree(kind):
    S = make_sketch(kind, 50, 700, 99)
    A = matrix(700, 12)
    SA = S.apply(A)
    for dtype, torch_dtype in [(np.float64, torch.float64), (np.float32, torch.float32)]:
        tensor = torch.from_numpy(A.astype(dtype)).requires_grad_()
        out = S.apply(tensor)
        assert isinstance(out, torch.Tensor)
        assert out.dtype == torch_dtype
        np.testing.assert_allclose(out.numpy(), S.apply(A.astype(dtype)), atol=tolerance(dtype, 700))
    bfloat = S.apply(torch.from_numpy(A).to(torch.bfloat16))
    assert bfloat.dtype == torch.bfloat16
    np.testing.assert_allclose(bfloat.float().numpy(), SA, atol=0.3)
    if kind == "srtt":
        with pytest.raises(TypeError, match="host"):
            S.apply(scipy.sparse.csr_array(A))
    else:
        out = S.apply(scipy.sparse.csr_array(A))
        assert isinstance(out, np.ndarray)
        np.testing.assert_allclose(out, SA, atol=1e-12)
    with pytest.raises(TypeError, match="cannot be applied"):
        S.apply(scipy.sparse.linalg.aslinearoperator(A))


def test_the_path_for_other_devices_agrees():
    S = SparseSignSketch(50, 700, 99, DOUBLE)
    A = matrix(700, 12)
    for operand in (A, A[:, 0]):
        out = S._apply_on_device(torch.from_numpy(operand.copy()), 0)
        np.testing.assert_allclose(out.numpy(), S.apply(operand), atol=1e-13)


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_memory_orders_agree(kind):
    S = make_sketch(kind, 30, 900, 4)
    A = matrix(900, 40)
    SA = S.apply(A)
    wide = matrix(900, 100)
    wide[:, 3:43] = A
    spread = np.zeros((900, 80))
    spread[:, ::2] = A
    backwards = np.ascontiguousarray(A[::-1, ::-1])
    orders = [np.asfortranarray(A), wide[:, 3:43], spread[:, ::2], backwards[::-1, ::-1]]
    read_only = A.copy()
    read_only.flags.writeable = False
    packed = np.zeros(900 * 40 * 8 + 1, np.uint8)[1:].view(np.float64).reshape(900, 40)
    packed[...] = A
    for B in (*orders, read_only, packed):
        result = S.apply(B)
        if kind == "gaussian":  # BLAS may sum in another order
            np.testing.assert_allclose(result, SA, atol=1e-12)
        else:
            np.testing.assert_array_equal(result, SA)
    np.testing.assert_allclose(S.apply(A[:, 5]), SA[:, 5], atol=1e-12)
    np.testing.assert_allclose(S.apply_right(A.T), SA.T, atol=1e-12)


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_other_dtypes(kind):
    S = make_sketch(kind, 30, 300, 4)
    dense = S.to_dense()
    A = matrix(300, 6)
    B = (10 * A).astype(np.int16)
    for integers in (B, B > 0, B.astype(">i4")):
        out = S.apply(integers)
        assert out.dtype == np.float64
        np.testing.assert_allclose(out, dense @ integers.astype(float), atol=1e-11)
    C = A + 1j * matrix(300, 6, seed=1)
    for values in (C, np.asfortranarray(C), C[:, 0]):
        out = S.apply(values)
        assert out.dtype == np.complex128
        np.testing.assert_allclose(out, dense @ values, atol=1e-12)
    out = S.apply(torch.from_numpy(C).to(torch.complex64).conj())
    assert out.dtype == torch.complex64
    np.testing.assert_allclose(out.numpy(), dense @ C.conj(), atol=1e-4)
    half = S.apply(A.astype(np.float16))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, dense @ A, atol=0.05)
    swapped = S.apply(A.astype(">f8"))
    assert swapped.dtype == np.float64
    np.testing.assert_allclose(swapped, dense @ A, atol=1e-12)
    with pytest.raises(TypeError, match="dtype"):
        S.apply(A.astype(np.longdouble))


@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("shape", [(50, 0), (50,)])
def test_empty_and_vector_operands(kind, shape):
    S = make_sketch(kind, 8, 50, 1)
    assert S.apply(np.ones(shape)).shape == (8, *shape[1:])
    if kind != "srtt":
        empty = make_sketch(kind, 8, 0, 1).apply(np.ones((0, 3)))
        np.testing.assert_array_equal(empty, np.zeros((8, 3)))


@pytest.mark.parametrize("kind", ["sparse_sign", "srtt"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [1, 20, 300])
def test_thread_counts_give_the_same_bits(kind, order, n):
    m = 33_000 if n < 300 else 2_000  # both divide into several tasks
    S = make_sketch(kind, 24, m, 6)
    A = np.asarray(matrix(m, n), order=order)
    serial = S.apply(A, threads=1)
    for threads in (2, 3, None):
        np.testing.assert_array_equal(S.apply(A, threads=threads), serial)


def test_concurrent_callers():
    S = make_sketch("sparse_sign", 24, 33_000, 6)
    A = matrix(33_000, 20)
    expected = S.apply(A)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: S.apply(A, threads=2), range(8)):
            np.testing.assert_array_equal(result, expected)


def test_rows_beyond_32_bits():
    S = make_sketch("sparse_sign", 24, 1 << 40, 6)
    start = (1 << 33) - 2
    A = matrix(5, 3)
    np.testing.assert_allclose(S.apply_block(A, start), S.columns(start, start + 5) @ A, atol=1e-14)
    near = S.columns(0, 5)
    assert not np.array_equal(near, S.columns(1 << 32, (1 << 32) + 5))


@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_kinds_and_seeds_are_different_operators(kind):
    a, b = (make_sketch(kind, 40, 200, seed).to_dense() for seed in (1, 1 + (1 << 32)))
    assert not np.array_equal(a, b)
    assert make_sketch(kind, 40, 200, 1) == make_sketch(kind, 40, 200, 1)


def test_gaussian_blocks_do_not_change_the_operator():
    S = make_sketch("gaussian", 16, 500, 2)
    A = matrix(500, 4)
    np.testing.assert_allclose(replace(S, block_bytes=16 * 8 * 7).apply(A), S.apply(A), atol=1e-13)


def test_gaussian_test_matrix_grows_by_columns():
    Omega = gaussian_test_matrix(300, 12, 5)
    assert Omega.shape == (300, 12)
    np.testing.assert_array_equal(gaussian_test_matrix(300, 5, 5, first_column=7), Omega[:, 7:])
    np.testing.assert_array_equal(gaussian_test_matrix(200, 12, 5), Omega[:200])
    tensor = gaussian_test_matrix(300, 12, 5, np.float32, xp=torch)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), Omega)
    assert abs(np.linalg.norm(Omega) ** 2 / 3600 - 1) < 6 * math.sqrt(2 / 3600)
    S = make_sketch("gaussian", 12, 300, 5).to_dense()
    assert abs((S * Omega.T).sum()) < 6 * np.linalg.norm(S)  # a stream of its own


# -- E[S'S] = I ---------------------------------------------------------------------------------------------------


def mean_gram_error(sketches: list[np.ndarray]) -> tuple[float, float]:
    """Largest entry of |mean(S'S) - I| and mean square of the off-diagonal entries of S'S, both times l."""
    l, m = sketches[0].shape
    off = ~np.eye(m, dtype=bool)
    grams = np.array([S.T @ S for S in sketches])
    deviation = np.abs(grams.mean(axis=0) - np.eye(m)).max()
    return deviation * math.sqrt(l * len(sketches)), float((grams[:, off] ** 2).mean() * l)


# An entry of S'S has variance 1/l off the diagonal, and at most 2/l on it: the mean over K seeds deviates by at
# most 6 sqrt(2 / (l K)) with probability 1 - 1e-6 for all 465 entries at once.
MEAN_BAR = 6 * math.sqrt(2)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("l", [24, 29])
def test_expected_gram_matrix_is_the_identity(kind, l):
    sketches = [make_sketch(kind, l, 30, seed).to_dense() for seed in range(400)]
    deviation, variance = mean_gram_error(sketches)
    assert deviation < MEAN_BAR
    if kind != "srtt":  # whose rows are orthogonal: less variance
        assert 0.95 < variance < 1.05
    assert mean_gram_error([1.2 * S for S in sketches])[0] > MEAN_BAR
    doubled = [np.vstack([S[: l // 2], S[: l // 2]]) for S in sketches]
    assert mean_gram_error(doubled)[1] > 1.5 or kind == "srtt"
    unsigned = [np.abs(S) for S in sketches]
    assert mean_gram_error(unsigned)[0] > MEAN_BAR


# -- subspace embedding -------------------------------------------------------------------------------------------

# A Gaussian S with rows = ceil(((1 + t) / d)^2 N), N = ceil(((sqrt(2 ln 1/p) + 1) / t)^2), keeps the singular
# values of an N-dimensional basis within 1 +- d with probability 1 - p: t = 1, d = 1/2, p = 1e-6.
DIMENSION = math.ceil((math.sqrt(2 * math.log(1e6)) + 1) ** 2)
EMBEDDING_ROWS = math.ceil((2 / 0.5) ** 2 * DIMENSION)


def basis(name: str, m: int, n: int) -> np.ndarray:
    if name == "coherent":
        return np.eye(m, n)
    return np.linalg.qr(np.random.default_rng(8).standard_normal((m, n)))[0]


def embeds(S: np.ndarray | Sketch, U: np.ndarray, distortion: float = 0.5) -> bool:
    SU = S.apply(U) if isinstance(S, Sketch) else S @ U
    s = np.linalg.svd(SU, compute_uv=False)
    return bool(1 - distortion <= s[-1] and s[0] <= 1 + distortion)


def test_embedding_sizes_are_those_of_the_theory():
    assert (DIMENSION, EMBEDDING_ROWS) == (40, 640)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("subspace", ["incoherent", "coherent"])
def test_subspace_embedding(kind, subspace):
    U = basis(subspace, 2000, DIMENSION)
    for seed in range(5):
        assert embeds(make_sketch(kind, EMBEDDING_ROWS, 2000, seed), U)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_a_wrong_scale_does_not_embed(kind):
    U = basis("incoherent", 2000, DIMENSION)
    S = make_sketch(kind, EMBEDDING_ROWS, 2000, 0).to_dense()
    assert embeds(S, U)
    assert not embeds(1.4 * S, U)
    assert not embeds(0.6 * S, U)


def condition(S: Sketch, n: int) -> float:
    s = np.linalg.svd(S.apply(basis("coherent", S.m, n)), compute_uv=False)
    return float(s[0] / s[-1]) if s[-1] > 0 else math.inf


# At l = 2n a Gaussian gives (1 + sqrt(1/2)) / (1 - sqrt(1/2)) = 5.83 on any subspace; half as much again is a miss.
CONDITION_BAR = 1.5 * 5.83


@dataclass(frozen=True, slots=True)
class Unpermuted(TrigonometricSketch):
    """The transform without its permutation: broken on purpose."""

    def permutation(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(self.m), TrigonometricSketch.permutation(self)[1]


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_coherent_rows_are_mixed_at_twice_the_dimension(kind):
    for seed in range(3):
        assert condition(make_sketch(kind, 200, 4096, seed), 100) < CONDITION_BAR


@pytest.mark.statistical
def test_one_nonzero_per_column_merges_unit_vectors():
    for seed in range(3):
        S = SparseSignSketch(200, 4096, seed, DOUBLE, nonzeros=1)
        assert condition(S, 100) > 1e6


@pytest.mark.statistical
def test_the_transform_needs_its_permutation():
    for seed in range(3):
        S = Unpermuted(200, 4096, seed, DOUBLE)
        np.testing.assert_allclose(S.apply(np.eye(4096, 3)), S.columns(0, 3), atol=1e-13)
        assert condition(S, 100) > CONDITION_BAR
