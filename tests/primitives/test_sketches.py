"""Sketches: known random numbers, exact structure, identity under slicing, moments, embedding quality.

Seeds are fixed, so nothing here flakes; the thresholds are derived, and for each statistical bar a broken
sketch shows that it can be missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import pytest
import scipy.fft
import scipy.sparse.linalg
import torch
from scipy.stats import binom, chi2, kstest, norm, poisson
from threadpoolctl import threadpool_limits

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


# -- the operators by their stated rules, from a generator written down once more --------------------------------------


def philox_by_hand(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox 4x32 with 10 rounds in plain integers (Salmon, Moraes, Dror, Shaw, SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % (1 << 32), (k[1] + 0xBB67AE85) % (1 << 32)]
    return tuple(c)


def word(seed: int, item: int, lane: int, stream: int) -> int:
    counter = item % (1 << 32), item >> 32, lane // 4, stream
    return philox_by_hand(counter, (seed % (1 << 32), seed >> 32))[lane % 4]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_generator_by_hand_has_the_known_answers(counter, key, expected):
    assert " ".join(f"{w:08x}" for w in philox_by_hand(counter, key)) == expected


@pytest.mark.parametrize("seed", [0, 12345, (7 << 32) + 11, (1 << 64) - 1])
@pytest.mark.parametrize(("l", "nonzeros"), [(24, 8), (29, 8), (5, 3)])
def test_sparse_signs_are_those_of_the_generator(seed, l, nonzeros):
    S = SparseSignSketch(l, 1 << 40, seed, DOUBLE, nonzeros)
    for start in (0, 17, (1 << 32) - 1, (1 << 39) + 3):
        rows, signs = S.nonzero_entries(start, start + 2)
        for j, k in product(range(2), range(nonzeros)):
            bits = word(seed, start + j, k, philox.STREAM_SPARSE_SIGN)
            first, last = k * l // nonzeros, (k + 1) * l // nonzeros
            assert rows[k, j] == first + ((bits >> 1) * (last - first) >> 31)
            assert signs[k, j] == (-1 if bits & 1 else 1)


@pytest.mark.parametrize("seed", [0, (7 << 32) + 11])
def test_gaussian_entries_are_those_of_the_generator(seed):
    l, m = 9, 1 << 34
    S = make_sketch("gaussian", l, m, seed)
    for start in (0, 5, (1 << 33) + 1):
        block = S.columns(start, start + 2) * math.sqrt(l)
        for i, j in product(range(0, l - 1, 2), range(2)):
            u, v = (word(seed, start + j, i + side, philox.STREAM_GAUSSIAN) for side in (0, 1))
            radius = math.sqrt(-2.0 * math.log((u + 0.5) / 2.0**32))
            pair = radius * math.cos(2 * math.pi * v / 2.0**32), radius * math.sin(2 * math.pi * v / 2.0**32)
            np.testing.assert_allclose(block[i : i + 2, j], pair, atol=3e-6)


@pytest.mark.parametrize("seed", [0, (7 << 32) + 11])
def test_the_transform_permutes_signs_and_selects_by_the_generator(seed):
    l, m = 7, 40
    S = TrigonometricSketch(l, m, seed, DOUBLE)
    order, signs = S.permutation()
    keys = [(word(seed, i, 0, philox.STREAM_TRIGONOMETRIC) << 32) | word(seed, i, 1, philox.STREAM_TRIGONOMETRIC)
            for i in range(m)]  # fmt: skip
    assert list(order) == sorted(range(m), key=keys.__getitem__)
    assert list(signs) == [1 - 2 * (word(seed, i, 2, philox.STREAM_TRIGONOMETRIC) & 1) for i in range(m)]
    keys = [(word(seed, i, 0, philox.STREAM_RESTRICTION) << 32) | word(seed, i, 1, philox.STREAM_RESTRICTION)
            for i in range(m)]  # fmt: skip
    assert list(S.frequencies()) == sorted(sorted(range(m), key=keys.__getitem__)[:l])


# -- distributions ----------------------------------------------------------------------------------------------------


def moments_are_normal(z: np.ndarray) -> bool:
    """Moments 1 to 4, and how many are beyond 3 and beyond 4, each within 6 of its standard errors."""
    n = z.size
    stated = ((z, 0.0, 1.0), (z**2, 1.0, 2.0), (z**3, 0.0, 15.0), (z**4, 3.0, 96.0))
    moments = all(abs(x.mean() - mean) < 6.0 * math.sqrt(variance / n) for x, mean, variance in stated)
    tails = ((np.abs(z) > far, 2.0 * norm.sf(far)) for far in (3.0, 4.0))
    return moments and all(abs(x.mean() - p) < 6.0 * math.sqrt(p / n) for x, p in tails)


@pytest.mark.statistical
def test_moments_and_tails_of_normal_numbers():
    for seed in range(3):
        z = philox.normals(seed, 0, 1_000_000)
        assert moments_are_normal(z)
        assert not moments_are_normal(1.005 * z)
        assert not moments_are_normal(z[np.abs(z) < 3.5])
        assert not moments_are_normal(np.abs(z))
    uniform_sum = sum(uniform(seed, 1_000_000) for seed in range(12)) - 6.0  # normal but for its tails
    assert not moments_are_normal(np.asarray(uniform_sum))


@pytest.mark.statistical
def test_normal_numbers_reach_as_far_as_they_should():
    """27 of four million are expected beyond 4.5; the largest that one word for the radius can give is 6.76."""
    z = np.abs(np.concatenate([philox.normals(seed, 0, 1_000_000) for seed in range(4)]))
    beyond = poisson(8e6 * norm.sf(4.5))
    assert 1e-6 < beyond.cdf(np.sum(z > 4.5)) < 1.0 - 1e-6
    assert beyond.cdf(0) < 1e-6  # what a generator that ends before would give
    assert z.max() < 6.77


UNIT_VECTORS = {
    "one entry": np.eye(300)[:, 7],
    "two entries": (np.eye(300)[:, 3] + np.eye(300)[:, 4]) / math.sqrt(2.0),
    "flat": np.ones(300) / math.sqrt(300.0),
    "graded": np.logspace(0, -6, 300) / np.linalg.norm(np.logspace(0, -6, 300)),
}
SEEDS = range(600)


def squared_lengths(kind: str, l: int, x: np.ndarray) -> np.ndarray:
    """||S x||^2 for every seed."""
    return np.array([float(np.sum(make_sketch(kind, l, x.size, seed).apply(x) ** 2)) for seed in SEEDS])  # type: ignore[arg-type]


@pytest.mark.statistical
@pytest.mark.parametrize("name", UNIT_VECTORS)
def test_squared_lengths_under_a_gaussian_are_chi_squared(name):
    l = 24
    found = l * squared_lengths("gaussian", l, UNIT_VECTORS[name])
    assert kstest(found, chi2(l).cdf).pvalue > 1e-6
    assert kstest(1.2 * found, chi2(l).cdf).pvalue < 1e-6
    assert kstest(found, chi2(l // 2).cdf).pvalue < 1e-6  # as if every other row were a copy


@pytest.mark.statistical
@pytest.mark.parametrize("name", UNIT_VECTORS)
def test_squared_lengths_under_sparse_signs_have_the_variance_that_follows(name):
    """Two columns of S have z pairs of nonzeros in one block of l / z rows each: their product has the variance 1 / l,
    so that the variance of ||S x||^2 is 2 (1 - sum x_i^4) / l."""
    l, x = 24, UNIT_VECTORS[name]
    found = squared_lengths("sparse_sign", l, x)
    variance = 2.0 * (1.0 - float(np.sum(x**4))) / l
    assert abs(found.mean() - 1.0) <= 6.0 * math.sqrt(variance / len(found)) + 1e-12
    spread = 6.0 * math.sqrt(2.0 / len(found))  # of a sample variance, where the fourth moment is a normal one's
    assert abs(found.var() - variance) <= 1.6 * spread * variance + 1e-12
    assert abs(1.2 * found.mean() - 1.0) > 6.0 * math.sqrt(variance / len(found))


@pytest.mark.statistical
@pytest.mark.parametrize("name", UNIT_VECTORS)
def test_squared_lengths_under_the_transform_have_mean_one(name):
    """And they vary no more than under a Gaussian, because its rows are orthogonal."""
    l = 24
    found = squared_lengths("srtt", l, UNIT_VECTORS[name])
    assert abs(found.mean() - 1.0) < 6.0 * math.sqrt(2.0 / l / len(found))
    assert found.var() < (2.0 / l) * (1.0 + 6.0 * math.sqrt(2.0 / len(found)))


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("subspace", ["incoherent", "coherent"])
def test_sketch_and_solve_loses_what_is_stated(kind, subspace):
    """E ||A (x - x*)||^2 = d / (l - d - 1) ||b - A x*||^2 for a Gaussian; others are no worse on such problems."""
    d, l, m = 8, 40, 300
    U = basis(subspace, m, d)
    r = np.random.default_rng(5).standard_normal(m)
    r -= U @ (U.T @ r)
    r /= np.linalg.norm(r)
    lost = []
    for seed in SEEDS:
        SU = make_sketch(kind, l, m, seed).apply(np.column_stack([U, r]))
        lost.append(float(np.sum(np.linalg.lstsq(SU[:, :d], SU[:, d])[0] ** 2)))
    mean, error = np.mean(lost), np.std(lost) / math.sqrt(len(lost))
    stated = d / (l - d - 1)
    assert mean <= stated + 5.0 * error
    if kind == "gaussian":
        assert abs(mean - stated) < 5.0 * error
        assert abs(mean - d / l) > 5.0 * error  # what it would be without the inverse's bias
        assert abs(mean - d / (l - 2 * d - 1)) > 5.0 * error


# -- embedding, where failures can be counted --------------------------------------------------------------------------

# Of a Gaussian S (Davidson and Szarek 2001): sigma_max(S U) <= 1 + sqrt(d / l) + t and sigma_min(S U) >= 1 - sqrt(d /
# l) - t, each but for a probability of exp(-l t^2 / 2).


def hard_basis(name: str, m: int, d: int) -> np.ndarray:
    """(m, d) with orthonormal columns."""
    G = np.random.default_rng([m, d]).standard_normal((m, d))
    if name == "few rows":
        G[2 * d :] = 0.0
    elif name == "one heavy row":
        G[11] *= 1e6
    elif name == "graded":
        G *= np.logspace(0, -8, m)[:, None]
    elif name == "cosines":  # what the transform turns into unit vectors, but for its permutation and signs
        return np.asarray(scipy.fft.idct(np.eye(m, d), axis=0, norm="ortho"))
    else:
        return basis(name, m, d)
    return np.linalg.qr(G)[0]


HARD = ("incoherent", "coherent", "few rows", "one heavy row", "graded", "cosines")


def distorted(make: Callable[[int], Sketch | np.ndarray], U: np.ndarray, l: int, delta: float) -> tuple[int, int]:
    """In how many of 600 trials the largest, and the smallest, singular value of S U is beyond its bound."""
    q, t = math.sqrt(U.shape[1] / l), math.sqrt(2.0 * math.log(1.0 / delta) / l)
    above = below = 0
    for seed in SEEDS:
        S = make(seed)
        s = np.linalg.svd(S.apply(U) if isinstance(S, Sketch) else S @ U, compute_uv=False)
        above += s[0] > 1.0 + q + t
        below += s[-1] < 1.0 - q - t
    return above, below


def at_most(count: int, delta: float) -> bool:
    return bool(binom.sf(count - 1, len(SEEDS), delta) > 1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("subspace", HARD)
def test_distortion_is_no_more_frequent_than_for_a_gaussian(kind, subspace):
    U, l, delta = hard_basis(subspace, 300, 10), 60, 0.2
    with threadpool_limits(1, "blas"):
        for count in distorted(lambda seed: make_sketch(kind, l, 300, seed), U, l, delta):
            assert at_most(count, delta)


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "too large": lambda S: 1.5 * S,
    "too small": lambda S: 0.5 * S,
    "columns used five times": lambda S: np.repeat(S[:, ::5], 5, axis=1),
    "rows used four times": lambda S: np.vstack([S[: len(S) // 4]] * 4),
    "without signs": np.abs,
    "the same column everywhere": lambda S: np.repeat(S[:, :1], S.shape[1], axis=1),
}


@pytest.mark.statistical
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", SKETCH_KINDS)
def test_a_broken_sketch_distorts_more_often(kind, fault):
    l, delta = 60, 0.2
    U = np.linalg.qr(np.abs(hard_basis("few rows", 300, 10)))[0]  # one column of it is nearly constant
    with threadpool_limits(1, "blas"):
        counts = distorted(lambda seed: FAULTS[fault](make_sketch(kind, l, 300, seed).to_dense()), U, l, delta)
    assert not all(at_most(count, delta) for count in counts)


@pytest.mark.statistical
def test_the_transform_without_its_permutation_distorts_unit_vectors():
    """Signs and cosines alone leave a pattern between neighbouring rows."""
    d, l, m = 100, 200, 4096
    U = basis("coherent", m, d)
    with threadpool_limits(1, "blas"):
        right, wrong = (
            [float(np.linalg.svd(kind(l, m, seed, DOUBLE).apply(U), compute_uv=False)[-1]) for seed in range(8)]
            for kind in (TrigonometricSketch, Unpermuted)
        )
    edge = 1.0 - math.sqrt(d / l) - math.sqrt(2.0 * math.log(5.0) / l)  # but for a probability of 0.2
    assert sum(smallest < edge for smallest in right) <= 2
    assert all(smallest < edge for smallest in wrong)


@pytest.mark.parametrize("kind", SKETCH_KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_slice_is_that_of_the_whole(kind, dtype):
    rng = np.random.default_rng(9)
    for l, m in ((1, 1), (3, 5), (8, 64), (21, 700)):
        S = make_sketch(kind, l, m, int(rng.integers(1 << 62)), dtype=dtype)
        whole = S.to_dense()
        assert whole.dtype == dtype
        for _ in range(20):
            start, stop = sorted(int(i) for i in rng.integers(0, m + 1, 2))
            np.testing.assert_array_equal(S.columns(start, stop), whole[:, start:stop])
            block = S.apply_block(np.eye(m, dtype=dtype)[start:stop], start)
            np.testing.assert_allclose(block[:, start:stop], whole[:, start:stop], atol=3e-7)
