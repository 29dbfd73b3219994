"""The certificate of a low-rank approximation: its error, and how far that is above the best of its rank."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from autonla.cost_models.price import price
from autonla.planner.budget import Budget
from autonla.planner.certificate import Certificate
from autonla.planner.certify import low_rank as certificate
from autonla.planner.certify import products
from autonla.planner.kinds import kind_of
from autonla.planner.problems import LowRank
from autonla.primitives import chi_squared
from autonla.primitives.algorithm import Outcome
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels import library
from autonla.primitives.low_rank import optimality, range_basis
from autonla.primitives.task import Task
from autonla.primitives.work import KernelCall
from tests._support import gallery, matrices, spectra, truth
from tests._support.backends import BACKENDS
from tests._support.certifying import certify_factors
from tests._support.machine import synthetic_profile

Factors = tuple[np.ndarray, np.ndarray, np.ndarray]


def truncated(A: np.ndarray, rank: int) -> Factors:
    U, s, Vh = np.linalg.svd(A, full_matrices=False)
    return U[:, :rank], s[:rank], Vh[:rank]


def projected(A: np.ndarray, rank: int, columns: int, rng: np.random.Generator) -> Factors:
    """From a random range of so many columns: orthonormal, and worse than the best by a few per cent to a factor."""
    Q = np.linalg.qr(A @ rng.standard_normal((A.shape[1], columns)))[0]
    U, s, Vh = np.linalg.svd(Q.T @ A, full_matrices=False)
    return Q @ U[:, :rank], s[:rank], Vh[:rank]


def find_range(A: np.ndarray, columns: int, seed: int) -> Any:
    P = range_basis.products(A, "scipy")
    return range_basis.find(P, columns, seed, float(np.linalg.norm(A)))


@dataclass(frozen=True, slots=True)
class Case:
    what: str
    A: np.ndarray
    rank: int
    factors: Factors
    by_products: dict[str, Any]


def cases(count: int, seed: int, smallest: int = 12) -> Iterator[Case]:
    """Polynomial, exponential, stepped and flat spectra; the best factors, good ones and poor ones."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        m, n = (int(k) for k in rng.integers(smallest, smallest + 30, 2))
        k = min(m, n)
        rank = int(rng.integers(1, k))
        s = (
            spectra.polynomial(k, rng.uniform(0.3, 2.0)),
            spectra.exponential(k, rng.uniform(0.05, 1.0)),
            spectra.step(k, rank, 10.0 ** rng.uniform(-8, -0.1)),
            spectra.flat(k),
        )[i % 4]
        A = matrices.with_spectrum(m, n, s, rng).A
        how = i % 3
        factors = truncated(A, rank) if how == 0 else projected(A, rank, min(k, rank + (0, 5)[how - 1]), rng)
        by_products = {"singular_values": np.linalg.svd(A, compute_uv=False)} if i % 5 == 0 else {}
        yield Case(f"{i}: {m}x{n} rank {rank}, {('best', 'poor', 'good')[how]}", A, rank, factors, by_products)


# By hand. Where every term has to be seen, rounding is made coarse.

COARSE, COARSE_DTYPE = 2.0**-7, {"float64": 2.0**-9, "float32": 2.0**-6}


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(certificate, "UNIT", COARSE)
    monkeypatch.setattr(certificate, "UNIT_ROUNDOFF", COARSE_DTYPE)


def exactly(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=0.0)


def of_sum(length: int) -> float:
    """What `rounding_of_sum` must give."""
    return 1.0 + 0.18 * math.sqrt(length)


def of_squares(count: int, unit: float = COARSE) -> float:
    """What `_rounding_of_squares` must give."""
    return (4.0 + 0.012 * count) * unit


def orthonormal(m: int, k: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((m, k)))[0]


def task_of(m: int, n: int, rank: int | None = None, **more: Any) -> Task:
    return Task("low_rank", m, n, nrhs=0, rank=rank, **more)


def normals(key: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(np.random.Philox(key=key)).standard_normal(shape)


SCIPY = library("scipy")


def test_column_means_by_hand():
    A = np.arange(12.0).reshape(4, 3) ** 2
    assert certificate._means(SCIPY, A, task_of(4, 3)) is None
    found = certificate._means(SCIPY, A.astype(np.float32), task_of(4, 3, center=True))
    assert found.shape == (1, 3)
    assert found[0] == exactly(A.mean(axis=0))


@pytest.mark.parametrize("count", [5, 8192, 8193, 3 * 8192 + 7])
def test_a_sum_of_squares_by_parts(count, monkeypatch):
    asked = []

    def remembered(entries):
        asked.append(len(entries))
        return float(entries @ entries)

    E = np.sqrt(np.arange(1.0, count + 1.0))[:, None]
    monkeypatch.setattr(type(SCIPY), "sum_of_squares", staticmethod(remembered))
    assert certificate._sum_of_squares(SCIPY, E) == exactly(0.5 * count * (count + 1))
    assert asked == [8192] * (count // 8192) + [count % 8192] * (count % 8192 > 0)


def test_the_rounding_of_squares_by_hand():
    for count in (0, 1, 1000):
        assert certificate._rounding_of_squares(count) == exactly(of_squares(count, 2.0**-53))
    assert certificate._BLOCK == 8192


@pytest.mark.parametrize(("m", "n"), [(5, 3), (100, 100)])
def test_the_size_of_A_by_hand(m, n, coarse):
    A = np.random.default_rng(40).standard_normal((m, n))
    known = certificate._size(SCIPY, A, None, 7.0)
    assert (known.norm, known.shift, known.means) == (7.0, 0.0, 0.0)
    assert known.unsure == exactly(of_squares(m * n) * 49.0)
    seen = certificate._size(SCIPY, A, None)
    assert (seen.norm, seen.shift, seen.means) == (exactly(np.linalg.norm(A)), 0.0, 0.0)
    assert seen.unsure == exactly(of_squares(min(8192, m * n)) * np.linalg.norm(A) ** 2)


@pytest.mark.parametrize(("m", "n", "rows"), [(7, 3, 7), (7, 3, 3), (7, 3, 1), (120, 70, 50)])
def test_the_size_of_A_without_its_means_by_hand(m, n, rows, coarse, monkeypatch):
    """The means are off, which is seen in the sums of what they leave."""
    A = np.random.default_rng(41).standard_normal((m, n))
    mean = A.mean(axis=0)[None, :] + np.linspace(-0.1, 0.3, n)
    monkeypatch.setattr(products, "_BLOCK_BYTES", 8 * n * rows)
    found, E = certificate._size(SCIPY, A, mean), A - mean
    norm = float(np.linalg.norm(E))
    assert found.norm == exactly(norm)
    assert found.unsure == exactly(of_squares(8192) * norm**2)
    assert found.shift == exactly(np.linalg.norm(E.sum(axis=0)) / math.sqrt(m) + of_sum(rows) * COARSE * norm)
    assert found.means == exactly(np.linalg.norm(np.ones((m, 1)) * mean))


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("k", [1, 7, 8, 9, 12])
def test_what_test_vectors_show_by_hand(k, centred, right, coarse):
    """Of factors that are wrong in every respect."""
    rng, seed, delta, norm_fro = np.random.default_rng(42), 11, 0.2, 3.0
    A, U, V, s = (rng.standard_normal(shape) for shape in ((15, 13), (15, k), (13, k), (k,)))
    mean = rng.standard_normal((1, 13)) if centred else None
    found = certificate._checked(SCIPY, A, mean, (U, s, V.T), right, norm_fro, seed, delta)
    X = np.eye(k) if k <= 8 else normals(seed + 3, k, 8)
    quantile = 1.0 if k <= 8 else chi_squared.quantile(8, delta / 3.0)
    E = A if mean is None else A - mean
    held, other, image = (V, U, E @ V) if right else (U, V, E.T @ U)

    def most(M):
        return np.linalg.norm(M @ X) / math.sqrt(quantile)

    size = float(np.linalg.norm(other * s) ** 2)
    departures = most(held.T @ held - np.eye(k)), most(other.T @ other - np.eye(k))
    assert found.exact is (k <= 8)
    assert found.energy == exactly(norm_fro**2 - size)
    assert found.departure == exactly(max(departures))
    assert found.slack == exactly(
        2.0 * most(image - other * s) * math.sqrt(size) + departures[0] * size + 16.0 * COARSE * norm_fro**2
    )


def test_no_factors_and_factors_that_are_not_numbers_by_hand():
    A, none = np.ones((3, 2)), np.zeros((3, 0))
    nothing = certificate._checked(SCIPY, A, None, (none, none[0], none[:2].T), True, 3.0, 1, 0.1)
    assert nothing == certificate._Checked(9.0, 0.0, 0.0, True)
    bad = np.array([[math.nan], [1.0], [0.0]])
    for right in (False, True):
        found = certificate._checked(SCIPY, A, None, (bad, np.ones(1), np.ones((1, 2))), right, 3.0, 1, 0.1)
        assert found.departure == found.slack == math.inf or math.isnan(found.slack)
        assert found.departure == math.inf


# How a certificate is put together, its pieces given.

M, N, K, NORM = 30, 16, 3, 2.0


class Pieces:
    """Stands for what `certify` asks, and remembers with what it was asked."""

    def __init__(
        self, patch: pytest.MonkeyPatch, checked: tuple[float, float, float], *sizes: tuple[float, ...],
        by_blocks: float = math.nan, exact: bool = False, best: float = 0.0,
        lost: tuple[float, float] = (math.inf, math.inf),
    ) -> None:  # fmt: skip
        """`checked`: energy, slack and departure. The last of `sizes` counts from then on."""
        self.patch = patch
        self.sizes, self.known = [certificate._Size(*size) for size in sizes or ((NORM, 0.0),)], []
        self.checked = certificate._Checked(*checked, exact)
        self.by_blocks, self.best, self.lost = by_blocks, best, lost
        self.asked: dict[str, Any] = {}
        rng = np.random.default_rng(43)
        self.A = rng.standard_normal((M, N))
        self.U, self.s, self.Vh = rng.standard_normal((M, K)), np.array([3.0, 2.0, 1.0]), rng.standard_normal((K, N))

    def _size(self, lib, A, mean, known=None):
        self.known.append(known)
        return self.sizes[min(len(self.known), len(self.sizes)) - 1]

    def _checked(self, *asked):
        self.asked["checked"] = asked
        return self.checked

    def _norm_by_blocks(self, *asked):
        self.asked["by blocks"] = asked
        return self.by_blocks

    def _best_error_from_below(self, *asked):
        self.asked["best"] = asked
        return self.best, "best"

    def _lost_energy(self, *asked):
        self.asked["lost"] = asked
        return self.lost

    def certify(self, target: float | None, rank: int | None = None, tried: float = 0.5, **how: Any) -> Certificate:
        self.asked.clear()
        self.known.clear()
        by_products = how.pop("by_products", {})
        task = task_of(M, N, rank, target=tried, **how)
        outcome = Outcome((self.U, self.s, self.Vh), by_products)
        pieces = ("_size", "_checked", "_norm_by_blocks", "_best_error_from_below", "_lost_energy")
        with self.patch.context() as patch:
            for name in pieces:
                patch.setattr(certificate, name, getattr(self, name))
            return certificate.certify(
                SCIPY, self.A.astype(task.dtype), outcome, task, Evidence(norm_fro=5.0), target,
                reuse={}, seed=6, confidence=0.9,
            )  # fmt: skip


def rounding(norm: float = NORM, unit: float = COARSE) -> float:
    return (3.0 + of_sum(K)) * unit * norm


@pytest.mark.parametrize("exact", [False, True])
def test_an_error_that_test_vectors_show_by_hand(exact, coarse, monkeypatch):
    energy, slack, unsure, shift = 0.04, 1e-5, 2e-5, 0.01
    pieces = Pieces(monkeypatch, (energy, slack, 0.0), (NORM, unsure, shift, 9.0), exact=exact)
    found = pieces.certify(0.5)
    most = 0.2 * (1.0 + of_squares(M * N)) + rounding() + math.sqrt(energy + slack + unsure) - 0.2 + shift
    norm = NORM - shift - 0.5 * unsure / NORM
    assert found.bound == exactly(most / norm)
    assert found.estimate == exactly(0.2 / norm)
    assert found.confidence == (1.0 if exact else 0.9)
    assert found.method == "residual from the factors, checked by test vectors"
    assert (found.metric, found.target, found.satisfied) == ("relative_frobenius", 0.5, True)
    assert "by blocks" not in pieces.asked
    assert pieces.known == [5.0]


@pytest.mark.parametrize("centred", [False, True])
def test_an_error_that_is_formed_by_blocks_by_hand(centred, coarse, monkeypatch):
    pieces = Pieces(monkeypatch, (0.04, 1.0, 0.0), (NORM, 0.1, 0.01, 9.0), by_blocks=0.3)
    found = pieces.certify(0.1, center=centred)
    norm = NORM - 0.01 - 0.5 * 0.1 / NORM
    assert found.bound == exactly((0.3 * (1.0 + of_squares(M * N)) + rounding() + 0.01) / norm)
    assert found.estimate == exactly(0.3 / norm)
    assert (found.confidence, found.method, found.satisfied) == (1.0, "residual formed by blocks", False)
    lib, A, mean, U, scaled_Vh = pieces.asked["by blocks"]
    assert lib is SCIPY
    np.testing.assert_array_equal(A, pieces.A)
    np.testing.assert_array_equal(U, pieces.U)
    np.testing.assert_allclose(scaled_Vh, pieces.s[:, None] * pieces.Vh, rtol=1e-15)
    assert mean is None if not centred else mean == exactly(pieces.A.mean(axis=0)[None, :])


def test_large_blocks_round_no_more_than_one_of_them(coarse, monkeypatch):
    monkeypatch.setattr(certificate, "_BLOCK", 100)
    found = Pieces(monkeypatch, (0.04, 1.0, 0.0), by_blocks=0.3).certify(0.1)
    assert found.bound == exactly((0.3 * (1.0 + of_squares(100)) + rounding()) / NORM)


@pytest.mark.parametrize(
    ("target", "tried", "aim"),
    [(0.5, 0.01, 0.1), (0.09, 0.01, 0.09), (None, 0.01, 0.01), (None, 0.3, 0.1), (None, 0.0, 1e-12)],
)
def test_from_where_on_test_vectors_do_not_show_enough(target, tried, aim, monkeypatch):
    """A thousandth of the energy, and a hundredth of the accuracy that is aimed at."""
    enough = 1.0 * min(1e-3, 1e-2 * aim)
    for slack, unsure, vectors in ((0.999, 0.0, True), (1.0, 0.0, False), (1.001, 0.0, False), (0.5, 0.499, True)):
        pieces = Pieces(monkeypatch, (1.0, slack * enough, 0.0), (NORM, unsure * enough), by_blocks=0.3)
        found = pieces.certify(target, tried=tried)
        assert ("test vectors" in found.method) is vectors
        assert pieces.known == [5.0]


def test_the_norm_is_added_up_again_where_it_decides(coarse, monkeypatch):
    """Whose energy then takes the place of the other's."""
    enough = 0.5 * 1e-3
    for unsure, again in ((0.499, False), (0.5, True), (4.0, True)):
        pieces = Pieces(monkeypatch, (0.5, 0.5 * enough, 0.0), (NORM, unsure * enough), (1.9, 0.1 * enough, 0.01))
        found = pieces.certify(0.5)
        assert pieces.known == ([5.0, None] if again else [5.0])
        norm, left, shift = (1.9, 0.1 * enough, 0.01) if again else (NORM, unsure * enough, 0.0)
        energy = 0.5 + norm**2 - NORM**2
        assert "test vectors" in found.method
        most = math.sqrt(energy) * of_squares(M * N) + math.sqrt(energy + 0.5 * enough + left)
        norm_fro = norm - shift - 0.5 * left / norm
        assert found.bound == exactly((most + rounding(norm) + shift) / norm_fro)
        assert found.estimate == exactly(math.sqrt(energy) / norm_fro)
    for slack in (1.0, 1.1):
        pieces = Pieces(monkeypatch, (0.5, slack * enough, 0.0), (NORM, enough), (1.9, 0.0), by_blocks=0.3)
        assert "by blocks" in pieces.certify(0.5).method
        assert pieces.known == [5.0]
    for norm in (math.sqrt(NORM**2 - 0.5) - 1e-9, 1.0):
        pieces = Pieces(monkeypatch, (0.5, 0.0, 0.0), (NORM, 4.0), (norm, 0.0), by_blocks=0.3)
        found = pieces.certify(0.5)
        assert "by blocks" in found.method  # no energy is left
        assert found.estimate == exactly(0.3 / norm)


def test_no_energy_at_all_is_not_a_bound(monkeypatch):
    """The norm that was added up again says that the factors hold all of A."""
    pieces = Pieces(monkeypatch, (3.0, 0.0, 0.0), (NORM, 4.0), (1.0, 0.0), by_blocks=0.3)
    assert "by blocks" in pieces.certify(0.5).method


@pytest.mark.parametrize("how", [{"dtype": "float32"}, {"center": True}])
def test_a_norm_that_is_no_other_is_not_added_up_again(how, monkeypatch):
    """In float32, and without the means, what is known of A is not taken in the first place."""
    enough = 0.5 * 1e-3
    pieces = Pieces(monkeypatch, (0.5, 0.5 * enough, 0.0), (NORM, 0.5 * enough), by_blocks=1.0, best=0.9)
    for rank in (None, K):
        assert "by blocks" in pieces.certify(0.5, rank, **how).method
        assert pieces.known == [None]


def test_a_norm_is_not_added_up_a_third_time(monkeypatch):
    enough = 0.5 * 1e-3
    pieces = Pieces(monkeypatch, (0.5, 0.5 * enough, 0.0), (NORM, enough), (NORM, 0.1), by_blocks=1.0, best=0.9)
    pieces.certify(0.5, K)
    assert pieces.known == [5.0, None]


@pytest.mark.parametrize(("found", "right"), [(None, True), (True, True), (False, False)])
def test_what_the_test_vectors_are_asked(found, right, monkeypatch):
    pieces = Pieces(monkeypatch, (1.0, 0.0, 0.0))
    by_products = {} if found is None else {"range": SimpleNamespace(transposed=found, columns=7)}
    pieces.certify(0.5, by_products=by_products, center=True)
    lib, A, mean, factors, how, norm_fro, seed, delta = pieces.asked["checked"]
    assert lib is SCIPY
    assert A is not None
    assert mean == exactly(pieces.A.mean(axis=0)[None, :])
    for part, given in zip(factors, (pieces.U, pieces.s, pieces.Vh), strict=True):
        np.testing.assert_array_equal(part, given)
    assert (how, norm_fro, seed, delta) == (right, NORM, 6, exactly(0.25 * 0.1))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_how_far_from_orthonormal_factors_may_be(dtype, coarse, monkeypatch):
    limit = 100.0 * COARSE_DTYPE[dtype] * 30
    for departure, good in ((0.999 * limit, True), (limit, False), (math.nan, False)):
        found = Pieces(monkeypatch, (1.0, 0.0, departure)).certify(0.9, dtype=dtype)
        assert found.satisfied is good
        if not good:
            assert found.bound == math.inf
            assert found.estimate == pytest.approx(departure, rel=1e-12, abs=0.0, nan_ok=True)
            assert (found.confidence, found.method) == (1.0, "the factors are not orthonormal")


def test_a_zero_matrix_by_hand(monkeypatch):
    pieces = Pieces(monkeypatch, (1.0, 0.0, 0.0), (0.0, 0.0))
    found = pieces.certify(0.5)
    assert (found.bound, found.estimate, found.confidence) == (math.inf, 0.0, 1.0)
    pieces.s = np.zeros(K)
    found = pieces.certify(0.5)
    assert (found.bound, found.estimate, found.confidence, found.method) == (0.0, 0.0, 1.0, "A is zero")
    assert found.satisfied


def test_where_nothing_is_left_of_the_norm(monkeypatch):
    for unsure, shift, left in ((0.0, NORM, False), (4.0, 1.0, False), (0.0, 3.0, False), (4.0, 0.999, True)):
        found = Pieces(monkeypatch, (0.04, 1.0, 0.0), (NORM, unsure, shift), by_blocks=1e-5).certify(1e5)
        assert found.satisfied is left
        if not left:
            assert (found.bound, found.estimate, found.confidence) == (math.inf, math.inf, 1.0)
            assert found.method == "columns differ from their means by rounding only"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_exact_up_to_rounding_by_hand(dtype, coarse, monkeypatch):
    unsure, shift = 0.1, 0.02
    norm = NORM - shift - 0.5 * unsure / NORM
    noise = 8.0 * COARSE_DTYPE[dtype] * 4.0 * norm + 2.0 * shift
    for part in (1.0 - 1e-9, 1.0 + 1e-9):
        estimate = (part * noise - rounding() - shift) / (1.0 + of_squares(M * N))
        pieces = Pieces(
            monkeypatch, (0.04, 1.0, 0.0), (NORM, unsure, shift), by_blocks=estimate if estimate > 0.0 else 0.0
        )
        if dtype == "float64":  # here the rounding of everything else is above that of the dtype
            pieces.patch.setattr(certificate, "UNIT", 0.0)
            pieces.by_blocks = estimate = part * noise - shift
        found = pieces.certify(0.7, K, dtype=dtype)
        assert ("exact up to rounding" in found.method) is (part < 1.0)
        if part < 1.0:
            assert found.bound == pytest.approx(part * noise / norm, rel=1e-12, abs=0.0)
            assert found.estimate == exactly(estimate / norm)
            assert (found.confidence, found.method) == (1.0, "residual formed by blocks: exact up to rounding")
    monkeypatch.setattr(certificate, "UNIT", 0.0)
    edge = 8.0 * COARSE_DTYPE[dtype] * 4.0 * NORM
    found = Pieces(monkeypatch, (0.04, 1.0, 0.0), by_blocks=edge).certify(0.7, K, dtype=dtype)
    assert "exact up to rounding" in found.method


ESTIMATE = 1.5


def above_best(patch: pytest.MonkeyPatch, best: float, *sizes: tuple[float, ...], **how: Any) -> Pieces:
    """An error of 1.5, formed by blocks, and a bound on the best."""
    return Pieces(patch, (0.04, 9.0, 0.0), *sizes, by_blocks=ESTIMATE, best=best, **how)


BOUND = ESTIMATE * (1.0 + of_squares(M * N)) + rounding()


@pytest.mark.parametrize("target", [None, 0.25])
@pytest.mark.parametrize("centred", [False, True])
def test_what_the_best_error_is_asked(target, centred, coarse, monkeypatch):
    pieces = above_best(monkeypatch, 1.4)
    pieces.certify(target, K, center=centred)
    lib, seen, outcome, task, size, seed, delta, enough = pieces.asked["best"]
    assert lib is seen.lib is SCIPY
    np.testing.assert_array_equal(seen.A, pieces.A)
    assert not seen.transposed
    assert seen.means is None if not centred else seen.means == exactly(pieces.A.mean(axis=0))
    assert outcome.value[0] is pieces.U
    assert task.rank == K
    assert (size.norm, seed, delta) == (NORM, 6, exactly(0.5 * 0.1))
    assert enough == (math.inf if target is None else exactly(BOUND / (1.0 + 0.99 * 0.25)))


@pytest.mark.parametrize(("target", "tried", "aim"), [(0.5, 0.01, 0.5), (None, 0.01, 0.01), (None, 0.0, 1e-12)])
def test_the_norm_is_added_up_again_for_the_best_error(target, tried, aim, coarse, monkeypatch):
    least = 1e-2 * aim * ESTIMATE**2
    values = {"singular_values": np.ones(N)}
    for unsure, by_products, again in (
        (0.999 * least, {}, False), (least, {}, False), (1.001 * least, {}, True), (2.0 * least, values, False),
    ):  # fmt: skip
        pieces = above_best(monkeypatch, 1.4, (NORM, unsure), (1.9, 0.0))
        pieces.certify(target, K, tried, by_products=by_products)
        assert pieces.known == ([5.0, None] if again else [5.0])
        assert pieces.asked["best"][4].norm == (1.9 if again else NORM)


def test_the_excess_over_a_best_error_by_hand(coarse, monkeypatch):
    for best, bound, likely in (
        (1.2, BOUND / 1.2 - 1.0, ESTIMATE / 1.2 - 1.0),
        (1.6, BOUND / 1.6 - 1.0, 0.0),  # above what is likely
        (1e-3, BOUND / 1e-3 - 1.0, ESTIMATE / 1e-3 - 1.0),
    ):
        found = above_best(monkeypatch, best).certify(None, K)
        assert found.bound == exactly(bound * (1.0 + 1e-6))
        assert found.estimate == exactly(likely)
        assert (found.confidence, found.method) == (0.9, "residual formed by blocks; best")
        assert found.satisfied
    monkeypatch.setattr(certificate, "_rounding_of_squares", lambda count: 0.0)
    edge = ESTIMATE + rounding()
    found = above_best(monkeypatch, edge).certify(None, K)
    assert (found.bound, found.estimate) == (4.0 * COARSE, 0.0)
    monkeypatch.setattr(certificate, "UNIT", 0.0)
    found = above_best(monkeypatch, ESTIMATE).certify(None, K)
    assert (found.bound, found.estimate) == (0.0, 0.0)


@pytest.mark.parametrize("best", [0.0, -1.0, BOUND * (1.0 + 1e-12), 9.0])
def test_without_a_best_error_nothing_is_known(best, coarse, monkeypatch):
    found = above_best(monkeypatch, best, (NORM, 0.0, 0.1)).certify(None, K) if best <= 0.0 else None
    if found is None:
        found = above_best(monkeypatch, best).certify(None, K)
    assert found.bound == math.inf
    assert found.estimate == exactly(ESTIMATE / (NORM - 0.1 * (best <= 0.0)))
    assert (found.confidence, found.satisfied, found.columns) == (1.0, False, None)


def test_the_energy_that_is_lost_by_hand(coarse, monkeypatch):
    """The residuals of the singular vectors decide where they say more, and only where the range does not do."""
    first, least = BOUND / 1.2 - 1.0, (ESTIMATE - rounding()) ** 2
    stationary = 1.0 / math.sqrt(1.0 - 0.3) - 1.0
    assert 0.1 < stationary < first < 0.5
    for target, part, bound, how in (
        (0.1, 0.3, stationary, "best error bounded by the residuals of the singular vectors"),
        (0.1, 0.9, first, "best"),
        (0.5, 0.3, first, "best"),
        (None, 0.3, first, "best"),
    ):
        pieces = above_best(monkeypatch, 1.2, lost=(part * least, 0.0))
        found = pieces.certify(target, K)
        assert ("lost" in pieces.asked) is (target == 0.1)
        assert found.bound == exactly(bound * (1.0 + 1e-6))
        assert found.estimate == exactly(min(found.bound, ESTIMATE / 1.2 - 1.0))
        assert (found.confidence, found.columns) == (0.9, None)
        assert found.method == f"residual formed by blocks; {how}"


def test_an_excess_that_is_the_target_is_enough(coarse, monkeypatch):
    excess = BOUND / 1.2 - 1.0
    pieces = above_best(monkeypatch, 1.2)
    pieces.certify(excess, K)
    assert "lost" not in pieces.asked
    pieces.certify(excess * (1.0 - 1e-12), K)
    assert "lost" in pieces.asked


def test_what_the_lost_energy_is_asked(coarse, monkeypatch):
    pieces = above_best(monkeypatch, 1.2)
    pieces.certify(0.1, K)
    lib, seen, (U, scaled_Vh), outcome, task, size, seed, delta = pieces.asked["lost"]
    assert lib is seen.lib is SCIPY
    np.testing.assert_array_equal(U, pieces.U)
    np.testing.assert_allclose(scaled_Vh, pieces.s[:, None] * pieces.Vh, rtol=1e-15)
    assert outcome.value[0] is pieces.U
    assert (task.rank, size.norm, seed, delta) == (K, NORM, 6, exactly(0.25 * 0.1))


def test_what_is_lost_has_to_be_less_than_the_error(coarse, monkeypatch):
    least = (ESTIMATE - rounding()) ** 2
    for lost in (least, 1.1 * least, math.inf):
        found = above_best(monkeypatch, 0.0, lost=(lost, math.inf)).certify(0.1, K)
        assert (found.bound, found.confidence) == (math.inf, 1.0)
        assert found.method == "residual formed by blocks; best"
    for best in (0.0, 9.0):  # neither of which is believed
        found = above_best(monkeypatch, best, lost=(0.75 * least, 0.0)).certify(2.0, K)
        assert found.bound == found.estimate == exactly(1.0 + 1e-6)
        assert found.satisfied
        assert found.method == "residual formed by blocks; best error bounded by the residuals of the singular vectors"
    # an error that rounding could make up says nothing
    pieces = above_best(monkeypatch, 0.0, (NORM, 0.0, 1.6), lost=(0.01, 0.0))
    assert pieces.certify(0.1, K).bound == math.inf


def test_how_many_columns_more_are_said_to_help(coarse, monkeypatch):
    """As many as there are, where the vectors are good and only the gap is missing."""
    least = (ESTIMATE - rounding()) ** 2
    target = 0.1
    edge = 0.1 * target * least
    found = {"range": SimpleNamespace(transposed=True, columns=7)}
    for by_products, lost, residual, best, expected in (
        ({}, math.inf, 0.999 * edge, 1.2, K),
        (found, math.inf, 0.999 * edge, 1.2, 7),
        (found, math.inf, 0.999 * edge, 0.0, 7),  # nothing is known
        (found, math.inf, edge, 1.2, None),
        (found, math.inf, 1.001 * edge, 1.2, None),
        (found, 1e9, 0.999 * edge, 1.2, None),
        (found | {"singular_values": np.ones(N)}, math.inf, 0.5 * edge, 1.2, None),
        (found, math.inf, 0.5 * edge, BOUND / 1.09, None),  # good enough
    ):
        pieces = above_best(monkeypatch, best, lost=(lost, residual))
        assert pieces.certify(target, K, by_products=by_products).columns == expected, (lost, residual)


def test_a_certificate_by_hand():
    for bound, target, satisfied in (
        (0.1, 0.1, True), (0.1, 0.0999, False), (0.1, None, True), (math.inf, None, False), (math.inf, 1.0, False),
        (math.nan, None, False),
    ):  # fmt: skip
        found = certificate._certificate(bound, 0.05, 0.9, "how", target, 7)
        assert (found.metric, found.estimate, found.confidence) == ("relative_frobenius", 0.05, 0.9)
        assert (found.method, found.target, found.satisfied, found.columns) == ("how", target, satisfied, 7)
    assert certificate._certificate(0.1, 0.1, 1.0, "how", None).columns is None


# Bounds on the best error.


def outcome_of(U: np.ndarray, found: Any = None, **by_products: Any) -> Outcome:
    k = U.shape[1]
    return Outcome((U, np.ones(k), np.ones((k, 1))), by_products | ({} if found is None else {"range": found}))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("m", "n", "l"), [(9, 7, 3), (7, 9, 1), (40, 40, 12)])
def test_the_range_that_was_found_is_taken_as_it_is(m, n, l, transposed):
    rng = np.random.default_rng(44)
    A = rng.standard_normal((m, n))
    seen = range_basis.Products(A, SCIPY, transposed=transposed)
    found = range_basis.find(seen, l, 5, float(np.linalg.norm(A)))
    U = orthonormal(m, 2, rng)
    mine = certificate._seen_range(SCIPY, range_basis.Products(A, SCIPY), outcome_of(U, found), 3)
    assert mine.products.transposed is transposed
    assert mine.products.A is A
    assert mine.Q is found.Q
    np.testing.assert_array_equal(mine.B, found.B)
    of_U = certificate._seen_range(SCIPY, range_basis.Products(A, SCIPY), outcome_of(U), 3)
    assert not of_U.products.transposed
    assert of_U.Q is U
    np.testing.assert_allclose(of_U.B, U.T @ A, rtol=1e-13, atol=1e-14)


def test_a_range_that_is_not_orthonormal_or_not_of_A_is_put_right():
    rng = np.random.default_rng(45)
    A = rng.standard_normal((9, 7))
    seen = range_basis.Products(A, SCIPY)
    found = range_basis.find(seen, 4, 5, float(np.linalg.norm(A)))

    def mine(**changed):
        return certificate._seen_range(SCIPY, seen, outcome_of(A[:, :1], replace(found, **changed)), 3)

    # ||Q'Q - I||_F = 2 e sqrt(4) for (1 + e) Q, and 4e-12 is allowed
    near, far = mine(Q=found.Q * (1.0 + 0.95e-12)), mine(Q=found.Q * (1.0 + 1.05e-12))
    np.testing.assert_array_equal(near.Q, found.Q * (1.0 + 0.95e-12))
    np.testing.assert_array_equal(near.B, found.B)
    for changed in (far, mine(Q=1.1 * found.Q, R=1.1 * found.R), mine(R=(1.0 + 1e-6) * found.R)):
        np.testing.assert_allclose(changed.Q.T @ changed.Q, np.eye(4), atol=1e-14)
        np.testing.assert_allclose(changed.B, changed.Q.T @ A, rtol=1e-13, atol=1e-14)
    assert not (far.Q == found.Q * (1.0 + 1.05e-12)).all()
    small = mine(**{part: getattr(found, part).astype(np.float32) for part in ("Q", "Z", "R")})
    assert small.Q.dtype == small.B.dtype == np.float64
    np.testing.assert_allclose(small.Q.T @ small.Q, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(small.B, small.Q.T @ A, rtol=1e-13, atol=1e-14)
    identity = np.eye(9, dtype=np.float32)[:, :4]  # orthonormal though in float32; what was multiplied with it is not
    other = mine(Q=identity, Z=found.Z, R=found.R)
    np.testing.assert_array_equal(other.Q, identity)
    np.testing.assert_allclose(other.B, A[:4], rtol=1e-14)


@pytest.mark.parametrize(("m", "n", "l"), [(4, 6, 4), (5, 1, 5), (30, 40, 30)])
def test_whether_a_matrix_is_the_compressed_one(m, n, l):
    """To 1e-10 of A; Q is square, so that all of A is seen."""
    rng, seed = np.random.default_rng(46), 3
    Q, A = orthonormal(m, l, rng), rng.standard_normal((m, n))
    seen = range_basis.Products(A, SCIPY)

    def is_compressed(B):
        return certificate._is_compressed(SCIPY, seen, Q, B, seed)

    B = Q.T @ A
    for error, right in ((0.0, True), (0.9e-10, True), (1.1e-10, False), (1e-3, False), (-2.0, False)):
        assert is_compressed(B * (1.0 + error)) is right, error
    assert not is_compressed(rng.standard_normal((l, n)))
    assert not is_compressed(math.nan * B)
    X = normals(seed + 1, n, 2)
    hidden = np.linalg.svd(X)[0][:, 2:] if n > 2 else np.zeros((n, 0))  # what the test vectors do not see
    for direction in hidden.T[:2]:
        assert is_compressed(B + direction)
    zero = range_basis.Products(0.0 * A, SCIPY)
    assert certificate._is_compressed(SCIPY, zero, Q, 0.0 * B, seed) is True


def best_of(outcome: Outcome, task: Task, enough: float = math.inf, **size: float) -> tuple[float, str]:
    A = np.ones((task.m, task.n))
    sizes = certificate._Size(**({"norm": 5.0, "unsure": 0.0} | size))
    seen = range_basis.Products(A, SCIPY)
    return certificate._best_error_from_below(SCIPY, seen, outcome, task, sizes, 4, 0.1, enough)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_best_error_from_singular_values_by_hand(dtype, monkeypatch):
    units = {"float64": 2.0**-12, "float32": 2.0**-9}
    monkeypatch.setattr(certificate, "UNIT_ROUNDOFF", units)
    values, unit = np.array([4.0, 2.0, 2.0, 1.0]), units[dtype] * math.sqrt(7.0 + 4.0)
    task, outcome = task_of(7, 4, 2, dtype=dtype), outcome_of(np.ones((7, 2)), singular_values=values)
    found, how = best_of(outcome, task, means=200.0)
    off = of_sum(7) * units[dtype] * 200.0
    assert found == exactly(math.sqrt(5.0 - off**2) - 4.0 * unit * 5.0)
    assert how == "best error from a full SVD"
    assert best_of(outcome, task, means=1e6)[0] == 0.0  # nothing is left
    for part, good in ((0.999, True), (1.001, False)):
        for sign in (-1.0, 1.0):
            norm = 5.0 / (1.0 + sign * part * 30.0 * unit)
            found, how = best_of(outcome, task, norm=norm)
            assert found == (exactly(math.sqrt(5.0) - 4.0 * unit * norm) if good else 0.0)
            assert ("full SVD" in how) is good
    assert how == "the singular values do not add up to the norm of A"
    assert best_of(outcome, task_of(7, 4, 4, dtype=dtype))[0] == 0.0


def test_singular_values_that_add_up_exactly(monkeypatch):
    monkeypatch.setattr(certificate, "UNIT_ROUNDOFF", {"float64": 0.0})
    outcome = outcome_of(np.ones((2, 1)), singular_values=np.array([3.0, 4.0]))
    assert best_of(outcome, task_of(2, 2, 1), norm=5.0) == (4.0, "best error from a full SVD")


@pytest.mark.parametrize(("m", "n"), [(7, 4), (4, 7), (5, 5)])
def test_the_best_error_from_the_gram_matrix_and_the_range_by_hand(m, n, coarse, monkeypatch):
    asked: dict[str, Any] = {}
    given = {"gram": 3.0, "range": 3.5}

    def from_gram(*arguments):
        asked["gram"] = arguments
        return given["gram"]

    def from_range(*arguments, **more):
        asked["range"] = (*arguments, more)
        return given["range"]

    monkeypatch.setattr(optimality, "from_gram_eigenvectors", from_gram)
    monkeypatch.setattr(optimality, "best_rank_k_lower_bound", from_range)
    U = np.eye(m)[:, :2]
    w, V = np.ones(3), np.eye(3)
    with_gram = outcome_of(U, gram_eigenvectors=(w, V))
    task, size = task_of(m, n, 2), {"unsure": 0.3, "means": 2.0}
    lost = 2.0 * of_sum(max(m, n)) * COARSE * 2.0 * 5.0 + 0.3
    gram, seen = math.sqrt(9.0 - lost), math.sqrt(3.5**2 - lost)
    of_gram = "best error from the eigenvalues of the Gram matrix, checked by test vectors"
    of_range = "best error bounded from the range found"

    assert best_of(with_gram, task, gram * (1.0 - 1e-9), **size) == (exactly(gram), of_gram)
    assert "range" not in asked
    tall, *rest = asked["gram"]
    assert tall.transposed is (m < n)
    assert rest == [w, V, 2, 5.0, 4, exactly(0.05)] or [id(a) for a in rest[:2]] == [id(w), id(V)]
    assert rest[2:] == [2, 5.0, 4, exactly(0.05)]
    assert best_of(with_gram, task, gram * (1.0 + 1e-9), **size) == (exactly(seen), of_range)
    products_seen, Q, B, *rest = asked["range"]
    assert not products_seen.transposed
    np.testing.assert_array_equal(Q, U)
    np.testing.assert_allclose(B, np.ones((2, n)), rtol=1e-14)
    assert rest == [2, 5.0, 4, exactly(0.05), {"enough": gram * (1.0 + 1e-9)}]

    given["range"] = 2.5
    assert best_of(with_gram, task, **size) == (exactly(gram), of_gram)
    given["range"] = 3.0  # as good as the other
    assert best_of(with_gram, task, **size) == (exactly(gram), of_range)
    asked.clear()
    assert best_of(outcome_of(U), task, 0.5, **size) == (exactly(gram), of_range)
    assert "gram" not in asked
    assert asked["range"][6] == exactly(0.1)
    given["range"] = 0.1  # less than what is lost
    assert best_of(outcome_of(U), task, 0.5, **size) == (0.0, of_range)


def test_a_bound_that_is_just_enough_needs_no_range(monkeypatch):
    monkeypatch.setattr(optimality, "from_gram_eigenvectors", lambda *a: 3.0)
    monkeypatch.setattr(optimality, "best_rank_k_lower_bound", lambda *a, **k: 4.0)
    outcome = outcome_of(np.eye(7)[:, :2], gram_eigenvectors=(np.ones(4), np.eye(4)))
    assert best_of(outcome, task_of(7, 4, 2), 3.0)[0] == 3.0
    assert best_of(outcome, task_of(7, 4, 2), 3.1)[0] == 4.0


def test_an_error_without_some_energy_by_hand():
    assert certificate._less(5.0, 16.0) == 3.0
    assert certificate._less(5.0, 25.0) == certificate._less(5.0, 26.0) == 0.0
    assert certificate._less(0.5, 0.16) == exactly(0.3)


# What the residuals of singular vectors show.


def test_the_lost_energy_of_a_diagonal_matrix_by_hand(coarse, monkeypatch):
    """U is turned from the first two axes by little; its coupling with the other two is known."""
    c, t = math.cos(0.1), math.sin(0.1)
    d = np.array([4.0, 3.0, 0.5, 0.25])
    U = np.array([[c, 0.0], [0.0, c], [t, 0.0], [0.0, t]])
    A = np.diag(d)
    B = np.array([[4.0 * c, 0.0, 0.5 * t, 0.0], [0.0, 3.0 * c, 0.0, 0.25 * t]])
    scaled_Vh = B + np.array([[0.0, 0.3, 0.0, 0.0], [0.0, 0.0, 0.0, -0.4]])
    theta = 9.0 * c**2 + 0.0625 * t**2
    coupling = c**2 * t**2 * ((16.0 - 0.25) ** 2 + (9.0 - 0.0625) ** 2)  # of axes 1 with 3, and 2 with 4
    values = {"singular_values": d}
    size = certificate._Size(5.0, 0.0, 0.0, 2.0)
    off = of_sum(4) * COARSE * (5.0 + 2.0)
    own, residual = (0.5 + off) ** 2, (math.sqrt(coupling) + off * 5.0) ** 2
    u = COARSE_DTYPE["float64"]
    for rank, following in ((2, 0.5), (3, 0.25), (4, 0.0)):
        lost, least = certificate._lost_energy(
            SCIPY, range_basis.Products(A, SCIPY), (U, scaled_Vh), outcome_of(U, **values), task_of(4, 4, rank),
            size, 1, 0.1,
        )  # fmt: skip
        h = (following + u * (4.0 * math.sqrt(8.0) * 4.0 + of_sum(4) * 2.0)) ** 2
        assert lost == exactly(own + residual / (theta - h))
        assert least == exactly(own + residual / theta)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("m", "n"), [(9, 6), (6, 9)])
def test_the_lost_energy_by_hand(m, n, centred, coarse, monkeypatch):
    """Factors that are far from orthonormal, and a bound on the next singular value that is given."""
    rng, seed, delta, asked = np.random.default_rng(47), 8, 0.1, []
    A, U, scaled_Vh = rng.standard_normal((m, n)), rng.standard_normal((m, 2)), rng.standard_normal((2, n))
    mean = rng.standard_normal(n) if centred else None
    E = A if mean is None else A - mean
    size = certificate._Size(3.0, 0.5, 0.25, 2.0)
    seen = range_basis.Products(A, SCIPY, mean)

    def bound(*arguments):
        asked.append(arguments)
        return gap_from

    def lost_energy():
        return certificate._lost_energy(
            SCIPY, seen, (U, scaled_Vh), outcome_of(U), task_of(m, n, 2), size, seed, delta
        )  # fmt: skip

    monkeypatch.setattr(optimality, "spectral_norm_bound", bound)
    Q, R = np.linalg.qr(U)
    B = Q.T @ E
    C = E @ B.T - Q @ (B @ B.T)
    theta = float(np.linalg.eigvalsh(B @ B.T)[0])
    off = of_sum(9) * COARSE * (3.0 + 2.0)
    own = (np.linalg.norm(B - R @ scaled_Vh) + off) ** 2
    residual = (np.linalg.norm(C) + off * 3.0) ** 2
    for part in (0.0, 0.3, 0.999999, 1.000001, 2.0):
        gap_from = math.sqrt(part * theta)
        lost, least = lost_energy()
        assert least == exactly(own + residual / theta)
        if part < 1.0:
            assert lost == pytest.approx(own + residual / (theta - part * theta), rel=1e-7, abs=0.0)
        else:
            assert lost == math.inf
    given, basis, Y, p, steps = asked[0]
    assert given is seen
    np.testing.assert_allclose(abs(basis.T @ Q), np.eye(2), atol=1e-12)
    X = normals(seed + 2, n, 12)
    np.testing.assert_allclose(Y, E @ X - Q @ (B @ X), rtol=1e-9, atol=1e-11)
    assert (p, steps) == (delta, optimality.STEPS)


def test_no_energy_is_known_to_be_lost_without_a_gap():
    """Exactly none, and vectors of which A shows nothing."""
    size = certificate._Size(1.0, 0.0)

    def lost(d, U):
        values = np.sort(d)[::-1]
        given = outcome_of(U, singular_values=values)
        seen = range_basis.Products(np.diag(d), SCIPY)
        return certificate._lost_energy(SCIPY, seen, (U, U.T * d), given, task_of(3, 3, 1), size, 1, 0.1)

    first = np.eye(3)[:, :1]
    assert lost(np.array([0.0, 1.0, 1.0]), first) == (math.inf, math.inf)
    assert lost(np.array([1.0, 2.0, 1.0]), first)[0] == math.inf
    flat = lost(np.array([1.0, 1.0, 1.0]), first)
    assert flat[0] == math.inf
    assert flat[1] < 1e-25
    assert lost(np.array([1.0, 0.5, 0.0]), first)[0] < 1e-25


def test_a_gap_that_is_just_closed_is_none(monkeypatch):
    monkeypatch.setattr(optimality, "spectral_norm_bound", lambda *a: 2.0)
    seen, U = range_basis.Products(np.diag([2.0, 2.0, 1.0]), SCIPY), np.eye(3)[:, :1]
    found = certificate._lost_energy(
        SCIPY, seen, (U, 2.0 * U.T), outcome_of(U), task_of(3, 3, 1), certificate._Size(3.0, 0.0), 1, 0.1
    )
    assert found[0] == math.inf
    assert found[1] < 1e-25


# What it takes, by hand.


def setting(name: str, task: Task, **changed: Any) -> tuple[Any, Any]:
    algorithm, options = kind_of("low_rank").setting(name, task)
    return algorithm, replace(options, **changed)


def call(kernel: str, *dims: int, count: float = 1.0) -> KernelCall:
    return KernelCall(kernel, dims, "float64", "scipy", count)


FACTORS = 8.0 * 2 * 10 * (300 + 200)
VECTORS = (
    call("gemm", 300, 8, 200),
    call("gemm", 300, 8, 10, count=2),
    call("gemm", 200, 8, 10, count=2),
    call("copy", 300, 10),
)
BLOCKS = (call("gemm", 300, 200, 10), call("copy", 300, 200), call("stream", 300, 200))
IN_FLOAT32 = (call("cast", 300, 200, count=2.0), call("stream", 300, 200))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rank", [10, None])
def test_the_work_of_the_residual_by_hand(rank, dtype):
    """By test vectors or by blocks of rows; with an algorithm that is safe there is nothing else."""
    norm = IN_FLOAT32 if dtype == "float32" else ()
    evidence = Evidence(norm_fro=1.0, singular_values=tuple([0.1] * 10))
    for target, by_vectors in ((0.95, True), (1e-9, False)):
        if rank is None:  # ten values leave a tenth, which is 0.949 of the norm
            evidence = evidence if by_vectors else Evidence(norm_fro=1.0, singular_values=(0.316227766016,) * 10)
        task = task_of(300, 200, rank, dtype=dtype, target=target)
        found = certificate.work(task, evidence, *setting("svd", task, backend="scipy"))
        r = 10 if rank else certificate._rank_forecast(task, evidence)
        extra = 8.0 * 4 * 8 * 500 if by_vectors else 8.0 * 3 * 60_000
        if r == 10:
            assert found.calls == (*VECTORS, *norm, *(() if by_vectors else BLOCKS))
            assert found.peak_bytes == exactly(FACTORS + extra)
        else:
            assert found.peak_bytes == exactly(8.0 * 2 * r * 500 + extra)


def test_without_a_rank_no_best_error_is_bounded():
    task = task_of(300, 200, None, target=0.5)
    evidence = Evidence(norm_fro=1.0, singular_values=(0.3,) * 20)
    for name in ("gram", "randomized_svd", "block_krylov"):
        found = certificate.work(task, evidence, *setting(name, task))
        assert len(found.calls) == 4
        assert found.calls[1].dims == (300, 8, 9)  # nine of them leave 0.19
        assert found.peak_bytes == 8.0 * 2 * 9 * 500 + 8.0 * 4 * 8 * 500


def test_the_memory_of_large_residuals_by_hand():
    """The blocks of rows are of so many entries at most."""
    task = task_of(5000, 2000, 10, target=1e-9)
    found = certificate.work(task, Evidence(), *setting("svd", task, backend="scipy"))
    assert found.peak_bytes == 8.0 * 2 * 10 * 7000 + 8.0 * 3 * (4 * 2**20 + 2000)
    task = task_of(2**11, 2**11, 10, target=1e-9)
    found = certificate.work(task, Evidence(), *setting("svd", task, backend="scipy"))
    assert found.peak_bytes == 8.0 * 2 * 10 * 2**12 + 8.0 * 3 * 2**22


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("target", [0.1, 1e-9])
def test_the_work_after_the_gram_matrix_by_hand(target, dtype):
    task = task_of(300, 200, 10, dtype=dtype, target=target)
    found = certificate.work(task, Evidence(), *setting("gram", task, dtype="float64"))
    bound = optimality.gram_work(task, "scipy")
    norm = IN_FLOAT32 if dtype == "float32" else ()
    assert found.calls == (*VECTORS, *norm, *(BLOCKS if target == 1e-9 else ()), *bound.calls)
    residual = FACTORS + (8.0 * 3 * 60_000 if target == 1e-9 else 8.0 * 4 * 8 * 500)
    held = FACTORS + (8.0 * 60_000 if dtype == "float32" else 0.0)
    assert found.peak_bytes == exactly(max(residual, bound.peak_bytes + held))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("target", "tight"), [(0.1, False), (1e-4, False), (0.999e-4, True)])
@pytest.mark.parametrize(
    ("name", "changed", "columns"),
    [
        ("randomized_svd", {"oversampling": 7}, 17),
        ("lanczos", {"backend": "scipy"}, 10),
        ("block_krylov", {"steps": 2}, 60),
        ("block_krylov", {"block": 15, "steps": 3}, 60),
        ("block_krylov", {"block": 90, "steps": 3}, 200),
    ],
)
def test_the_work_from_a_range_by_hand(name, changed, columns, target, tight, dtype):
    task = task_of(300, 200, 10, target=target, dtype=dtype)
    double = task_of(300, 200, 10, target=target)
    found = certificate.work(task, Evidence(), *setting(name, task, **({"dtype": "float64"} | changed)))
    seen = call("syrk", 300, columns), call("gemm", 300, 2, 200), call("gemm", columns, 200, columns)
    bound = optimality.work(double, columns, "scipy")
    calls = [*VECTORS]
    resolved = dtype == "float64" or target >= 3e-3
    if dtype == "float32":
        calls += IN_FLOAT32
    if not resolved:
        calls += BLOCKS
    calls += [*seen, *bound.calls]
    if tight:
        calls += [call("gemm", 200, 10, 300), call("gemm", 300, 10, 200), call("gemm", 10, 10, 300, count=5)]
        calls += optimality.work(double, 0, "scipy").calls
    assert found.calls == tuple(calls)
    held = FACTORS + 8.0 * 60_000 * (dtype == "float32")
    residual = FACTORS + (8.0 * 4 * 8 * 500 if resolved else 8.0 * 3 * 60_000)
    assert found.peak_bytes == exactly(max(residual, bound.peak_bytes + held))
    low = certificate.work(task, Evidence(), *setting(name, task, **({"dtype": "float32"} | changed)))
    again = (call("gemm", columns, 200, 300), call("qr", 300, columns))
    split = len(VECTORS) + 2 * (dtype == "float32") + 3 * (not resolved)
    assert low.calls == (*calls[:split], *again, *calls[split:])
    assert low.peak_bytes == found.peak_bytes


def test_what_a_difference_of_energies_resolves():
    for rank, dtype, least in (
        (None, "float64", 3e-6), (None, "float32", 1e-2), (5, "float64", 1e-7), (5, "float32", 3e-3),
    ):  # fmt: skip
        for target, resolved in ((least, True), (0.999 * least, False), (1.001 * least, True), (0.5, True)):
            assert certificate._resolves(task_of(9, 9, rank, dtype=dtype, target=target)) is resolved


def test_the_columns_that_an_algorithm_leaves():
    task = task_of(300, 200, 10)
    for name, changed, columns in (
        ("randomized_svd", {"oversampling": 7}, 17),
        ("randomized_svd", {"oversampling": 0}, 10),
        ("lanczos", {}, 10),
        ("block_krylov", {"block": 0, "steps": 2}, 60),
        ("block_krylov", {"block": 6, "steps": 3}, 24),
        ("block_krylov", {"block": 90, "steps": 3}, 360),
        ("gram", {}, None),
        ("svd", {}, None),
    ):
        algorithm, options = setting(name, task, **changed)
        assert certificate.range_columns(task, algorithm, options) == columns, name
        assert certificate.range_columns(task_of(300, 200), algorithm, options) is None
        assert columns is None or certificate._columns(options, 10) == columns


def test_how_many_singular_values_the_target_needs():
    def forecast(target, values=(), norm: float | None = 5.0, m=40, n=80):
        evidence = Evidence(norm_fro=norm, singular_values=tuple(values))
        return certificate._rank_forecast(task_of(m, n, target=target), evidence)

    values = [3.0, 3.0, 2.0, 1.0]  # leave 25, 16, 7, 3, 2
    assert [forecast(t / 5.0, values) for t in (4.1, 3.9, 2.7, 2.6, 1.74, 1.72, 1.42)] == [1, 2, 2, 3, 3, 4, 4]
    assert forecast(1.0, values) == 1  # one at least
    assert forecast(2.0, values) == 1
    assert forecast(1.41 / 5.0, values) == 10  # more than was seen: a fourth of the directions
    assert forecast(0.01, values, m=80, n=43) == 10
    assert forecast(0.01, values, m=12, n=80) == 4
    assert forecast(0.01, (), m=2, n=80) == 1
    assert forecast(0.01, (0.1,), m=2, n=80) == 1
    assert forecast(0.5, (0.5, 0.5, 0.5, 0.1), norm=None) == 3  # of norm one; what is left may be just what is allowed
    assert forecast(0.25, (3.0, 1.0), norm=math.sqrt(10.0)) == 2


# Against what is known.


def test_the_error_is_known_to_rounding():
    for case in cases(60, seed=1):
        found, error = certify_factors(LowRank(case.A), case.factors), truth.low_rank_error(case.A, *case.factors)
        assert found.bound >= error.low, case.what
        assert found.bound <= (1.0 + 1e-6) * error + 1e-14, case.what
        sampled = case.rank > 8 and "by blocks" not in found.method
        assert found.confidence == (0.99 if sampled else 1.0), case.what


def underrated(case: Case, **how: Any) -> str | None:
    """A sentence where the bound is below the true excess."""
    excess = truth.low_rank_excess(case.A, *case.factors, case.rank)
    if truth.best_rank_error(case.A, case.rank) < 1e-13:
        return None
    found = certify_factors(LowRank(case.A, rank=case.rank), case.factors, by_products=case.by_products, **how)
    assert found.estimate <= found.bound
    return f"{case.what}: {found.bound:.6e} < {excess:.6e}, {found.method}" if found.bound < excess.low else None


def test_the_excess_over_the_best_of_the_rank_is_never_underrated():
    assert not [fault for case in cases(60, seed=2) if (fault := underrated(case))]


def test_a_tail_that_is_nearly_rounding_is_not_overrated():
    """The best error is 1e-7 of the norm: its square is what rounding leaves of a difference."""
    rng, faults = np.random.default_rng(17), []
    for i in range(25):
        m, n = (int(k) for k in rng.integers(20, 45, 2))
        rank = int(rng.integers(2, min(m, n) - 6))
        A = matrices.with_spectrum(m, n, spectra.step(min(m, n), rank, 10.0 ** rng.uniform(-7, -4)), rng).A
        faults.append(underrated(Case(f"{i}: {m}x{n}", A, rank, projected(A, rank, rank + 5, rng), {})))
    assert not [fault for fault in faults if fault]


def test_few_rows_or_columns():
    assert not [fault for case in cases(30, seed=18, smallest=2) if (fault := underrated(case))]


def test_the_excess_is_not_overrated_by_much():
    """Where the algorithm left a range with a few more columns than the rank asked for, as they all do."""
    rng, ratios = np.random.default_rng(19), []
    for i in range(30):
        spectrum = (spectra.polynomial(60, 1.0), spectra.exponential(60, 0.3))[i % 2]
        A = matrices.with_spectrum(80, 60, spectrum, rng).A
        found_range = find_range(A, 20, i)
        factors = projected(A, 5, 6, rng)
        excess = truth.low_rank_excess(A, *factors, 5)
        found = certify_factors(LowRank(A, rank=5), factors, by_products={"range": found_range})
        assert found.bound >= excess.low
        if excess > 1e-2:
            ratios.append(found.bound / excess)
    assert len(ratios) >= 10
    assert median(ratios) <= 5.0


def test_with_a_target_the_sharper_bound_holds_too():
    """The stationary bound is tried when the first does not do."""
    certified = 0
    for case in cases(30, seed=3):
        excess = truth.low_rank_excess(case.A, *case.factors, case.rank)
        if truth.best_rank_error(case.A, case.rank) < 1e-13:
            continue
        for target in (1e-9, 1e-3, 0.3):
            found = certify_factors(LowRank(case.A, rank=case.rank), case.factors, target=target)
            assert found.bound >= min(excess.low, 1e300), f"{case.what}, target {target}"
            assert found.satisfied is (found.bound <= target)
            certified += found.satisfied
    assert certified > 10


def test_the_best_factors_are_recognised():
    """With a gap after the rank asked for, LAPACK's factors are within rounding of the best."""
    rng = np.random.default_rng(4)
    for gap in (0.5, 1e-3, 1e-8):
        A = matrices.with_spectrum(50, 40, spectra.step(40, 8, gap), rng).A
        for by_products in ({}, {"singular_values": np.linalg.svd(A, compute_uv=False)}):
            found = certify_factors(LowRank(A, rank=8), truncated(A, 8), target=1e-6, by_products=by_products)
            assert found.satisfied, found


def test_an_exactly_low_rank_matrix_of_a_higher_rank():
    rng = np.random.default_rng(5)
    A = matrices.exact_rank(40, 30, 5, rng).A
    found = certify_factors(LowRank(A, rank=10), truncated(A, 10), target=1e-3)
    assert found.satisfied
    assert "exact up to rounding" in found.method
    # One direction is missing: the error is far above the best, which is zero.
    U, s, Vh = truncated(A, 10)
    s = s.copy()
    s[4] = 0.0
    assert not certify_factors(LowRank(A, rank=10), (U, s, Vh), target=1e-3).satisfied


def slack_misses(p: float) -> int:
    """In how many of 400 the energy is further off than the slack, where test vectors hold with probability 1 - p.

    The worst case: the first of the singular values, which outweighs all others, is what is wrong.
    """
    n, k, misses, lib = 30, 20, 0, library("scipy")
    s = np.r_[10.0, np.linspace(0.1, 0.05, n - 1)]
    wrong = s[:k] + 0.05 * (np.arange(k) == 0)
    true = float(((s[:k] - wrong) ** 2).sum() + (s[k:] ** 2).sum())
    for seed in range(400):
        value = np.eye(n)[:, :k], wrong, np.eye(n)[:k]
        found = certificate._checked(lib, np.diag(s), None, value, seed % 2 == 0, float(np.linalg.norm(s)), seed, p)
        misses += abs(found.energy - true) > found.slack
    return misses


def test_what_test_vectors_may_overlook_is_the_probability_stated(monkeypatch):
    """One third of the probability is for what the product shows; the negative control takes the mean for the bound."""
    assert 400 * 0.1 * 0.5 < slack_misses(0.3) <= 400 * 0.1 + 4.9 * math.sqrt(400 * 0.1 * 0.9)
    monkeypatch.setattr(certificate.chi_squared, "quantile", lambda r, p: r)
    assert slack_misses(0.3) > 150


@pytest.mark.parametrize("size", [1e-10, 1e-6, 1e-2])
def test_wrong_factors_of_known_error_are_seen(size):
    rng = np.random.default_rng(6)
    A = matrices.with_spectrum(40, 30, spectra.exponential(30, 1.5), rng).A
    U, s, Vh = truncated(A, 20)
    wrong = s.copy()
    wrong[3] += size * np.linalg.norm(A)
    error = truth.low_rank_error(A, U, wrong, Vh)
    assert error > 0.9 * size
    found = certify_factors(LowRank(A), (U, wrong, Vh), target=0.5 * size)
    assert error.low <= found.bound <= 1.1 * error + 1e-14
    assert not found.satisfied


def test_factors_that_are_not_orthonormal():
    rng = np.random.default_rng(7)
    A = matrices.with_spectrum(40, 30, spectra.exponential(30, 1.0), rng).A
    U, s, Vh = truncated(A, 30)
    assert certify_factors(LowRank(A), (U, s, Vh), target=1e-10).satisfied
    for skewed in ((2.0 * U, s / 2.0, Vh), (U, s / 2.0, 2.0 * Vh), (U + 1e-6, s, Vh)):
        found = certify_factors(LowRank(A), skewed, target=1e-2)
        assert not found.satisfied
        assert "not orthonormal" in found.method


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_factors_that_are_not_finite(bad):
    A = np.random.default_rng(8).standard_normal((20, 10))
    with np.errstate(all="ignore"):
        for part in range(3):
            factors: Any = [f.copy() for f in truncated(A, 5)]
            factors[part].flat[1] = bad
            for rank in (None, 5):
                found = certify_factors(LowRank(A, rank=rank), tuple(factors), target=1.0)
                assert not found.satisfied
                assert not math.isfinite(found.bound)


@pytest.mark.parametrize("exponent", [565, -565, 1000, -1000])
@pytest.mark.parametrize("rank", [None, 6])
def test_scale_changes_nothing_and_zero_is_no_answer(exponent, rank):
    rng = np.random.default_rng(9)
    A = matrices.with_spectrum(30, 20, spectra.polynomial(20, 1.0), rng).A
    U, s, Vh = projected(A, 6, 6, rng)
    scaled = LowRank(np.ldexp(A, exponent), rank=rank)
    plain = certify_factors(LowRank(A, rank=rank), (U, s, Vh))
    assert certify_factors(scaled, (U, np.ldexp(s, exponent), Vh)).bound == pytest.approx(
        plain.bound, rel=1e-6, abs=0.0
    )
    nothing = certify_factors(scaled, (U, np.zeros(6), Vh), target=0.5)
    assert not nothing.satisfied
    assert nothing.bound >= (1.0 - 1e-6 if rank is None else 0.5)


def test_a_zero_matrix():
    U, Vh = np.eye(5)[:, :2], np.eye(4)[:2]
    for rank in (None, 2):
        assert certify_factors(LowRank(np.zeros((5, 4)), rank=rank), (U, np.zeros(2), Vh), target=1e-10).satisfied
        wrong = certify_factors(LowRank(np.zeros((5, 4)), rank=rank), (U, np.array([1e-300, 0.0]), Vh), target=1.0)
        assert not wrong.satisfied


def test_no_factors_at_all():
    A = np.random.default_rng(10).standard_normal((6, 4))
    found = certify_factors(LowRank(A), (A[:, :0], np.zeros(0), A[:0, :]), target=0.5)
    assert found.bound == pytest.approx(1.0, rel=1e-6, abs=0.0)
    assert not found.satisfied


# Principal components.


@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
def test_centering_is_that_of_the_columns(rank, offset):
    rng = np.random.default_rng(11)
    A = matrices.with_spectrum(50, 12, spectra.polynomial(12, 1.0), rng).A + offset * rng.standard_normal(12)
    centred = A - A.mean(axis=0)
    factors = projected(centred, 5, 7, rng)
    found = certify_factors(LowRank(A, center=True, rank=rank), factors)
    reference = certify_factors(LowRank(centred, rank=rank), factors)
    assert found.bound == pytest.approx(reference.bound, rel=1e-4, abs=0.0)
    wrong = certify_factors(LowRank(A + np.arange(12.0), rank=rank), factors, target=0.5)
    assert offset == 0.0 or not wrong.satisfied


@pytest.mark.parametrize("offset", [1e6, 1e7, 1e8, 3e8])
def test_columns_far_from_zero_do_not_hide_the_error(offset):
    """||A||^2 - m ||mean||^2 cancels: the norm of the centred matrix must not be taken from it."""
    rng = np.random.default_rng(12)
    A = rng.standard_normal((40, 10)) + offset
    centred = A - A.mean(axis=0)
    U, s, Vh = truncated(centred, 5)
    error = truth.low_rank_error(centred, U, s, Vh)
    found = certify_factors(LowRank(A, center=True), (U, s, Vh))
    assert 0.9 * error <= found.bound <= 1.5 * error


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, 1e6, 1e9])
def test_the_rounding_of_the_means_is_in_the_bound(offset, dtype):
    """Whatever means the algorithm took off, the error is that of exactly centred columns."""
    rng = np.random.default_rng(31)
    for i in range(40):
        m, n = (int(k) for k in rng.integers(3, 40, 2))
        A = (rng.standard_normal((m, n)) + offset * (1.0 + rng.random(n))).astype(dtype)
        asked = (None, 1, min(m - 1, n) // 2 + 1)[i % 3]
        rank = min(m - 1, n) if asked is None else min(asked, min(m - 1, n) - 1)
        if rank < 1:
            continue
        factors = truncated(A - A.mean(axis=0), rank)
        case = gallery.Case(
            "low_rank", i, "offset", A, None, "numpy", "solve", Budget(), asked=None if asked is None else rank,
            center=True,
        )  # fmt: skip
        values = {"singular_values": np.linalg.svd(A - A.mean(axis=0), compute_uv=False)} if i % 2 else {}
        found = certify_factors(LowRank(A, rank=case.asked, center=True), factors, by_products=values)
        error = gallery.true_error(case, factors, exact="exact up to rounding" in found.method)
        assert error is None or found.bound >= error.low, (i, A.shape, rank, found)
        if asked is None and offset <= 1e3 and dtype == "float64":
            assert found.bound < 1e-10


def test_columns_that_do_not_differ_from_their_means_are_not_certified():
    """A tenth has no exact mean: what is left after centering is rounding, and no answer but zero is right."""
    refused = 0
    for m in range(3, 40):
        A = np.tile(np.arange(1.0, 9.0) / 10.0, (m, 1))
        factors = truncated(A - A.mean(axis=0), 1)
        found = certify_factors(LowRank(A, center=True), factors, target=0.5)
        assert not (found.satisfied and factors[1].any())
        refused += not found.satisfied
    assert refused >= 20
    exact = certify_factors(LowRank(np.ones((9, 4)), center=True), truncated(np.zeros((9, 4)), 1), target=1e-10)
    assert exact.satisfied


# Rounding, where it decides.


def test_factors_in_float32_are_compared_as_they_are():
    """They are orthonormal to float32's rounding only, which enters the excess in its square."""
    rng, sharp = np.random.default_rng(32), 0
    for i in range(150):
        m, n = (int(k) for k in rng.integers(2, 12, 2))
        k = min(m, n)
        rank = int(rng.integers(1, k)) if k > 1 else 1
        A = matrices.with_spectrum(m, n, spectra.step(k, rank, 10.0 ** rng.uniform(-4.0, -0.5)), rng).A
        A = A.astype(np.float32)
        U, s, Vh = truncated(A, rank)
        best = truth.best_rank_error(A, rank)
        if best < 1e-5:
            continue
        excess = truth.low_rank_excess(A, U, s, Vh, rank)
        values = {"singular_values": np.linalg.svd(A, compute_uv=False)}
        found = certify_factors(LowRank(A, rank=rank), (U, s, Vh), target=1e-9, by_products=values)
        assert found.bound >= excess.low, (i, found, excess)
        sharp += "residuals of the singular vectors" in found.method
    assert sharp >= 20


def test_no_gap_is_seen_in_singular_values_that_float32_has_rounded():
    """Where the spectrum is flat at the rank asked for, only their rounding sets values apart."""
    rng = np.random.default_rng(37)
    for i in range(50):
        n = int(rng.integers(10, 80))
        rank = int(rng.integers(1, n - 1))
        s = spectra.one_small(n, 10.0 ** rng.uniform(1.0, 12.0))
        A = matrices.with_spectrum(int(1.5 * n), n, s, rng).A.astype(np.float32)
        A = np.ascontiguousarray(A.T) if i % 2 else A
        U, s, Vh = scipy.linalg.svd(A, full_matrices=False)  # numpy's computes in float64
        excess = truth.low_rank_excess(A, U[:, :rank], s[:rank], Vh[:rank], rank)
        values, factors = {"singular_values": s.astype(float)}, (U[:, :rank], s[:rank], Vh[:rank])
        found = certify_factors(LowRank(A, rank=rank), factors, target=1e-7, by_products=values)
        assert found.bound >= excess.low, (i, found, excess)


def test_singular_values_of_columns_that_were_centred_in_float32():
    """Means that are off by d add ||1 d'||^2 to the best error, and hardly anything to the norm."""
    rng, m, n, rank = np.random.default_rng(38), 40, 20, 5
    for i in range(20):
        A = matrices.with_spectrum(m, n, spectra.step(n, rank, 0.02), rng).A
        A = (A + 2e4 * np.linalg.norm(A) / math.sqrt(m * n) * (1.0 + rng.random(n))).astype(np.float32)
        exact = gallery.centred(A.astype(float)).hi / m
        d = rng.standard_normal(n)
        d *= math.sqrt(40.0 * 2.0**-24 / m) * float(np.linalg.norm(exact) / np.linalg.norm(d))
        left = np.linalg.svd(exact, full_matrices=False)[0]
        turned = left[:, :rank] + 10.0 ** rng.uniform(-3.0, -1.5) * left[:, rank : 2 * rank]
        Q = np.linalg.qr(turned)[0]
        U, s, Vh = np.linalg.svd(Q.T @ exact, full_matrices=False)
        factors: Any = tuple(part.astype(np.float32) for part in (Q @ U, s, Vh))
        case = gallery.Case(
            "low_rank", i, "offset", A, None, "numpy", "solve", Budget(), asked=rank, center=True
        )  # fmt: skip
        excess = gallery.true_error(case, factors)
        assert excess is not None
        values = {"singular_values": np.linalg.svd(exact + d, compute_uv=False)}
        found = certify_factors(LowRank(A, rank=rank, center=True), factors, by_products=values)
        assert "best error from a full SVD" in found.method
        assert excess.low <= found.bound <= excess + 0.01


def test_a_best_error_next_to_rounding_is_not_underrated(monkeypatch):
    """What the factors miss of the best is then known to rounding only, and that is added."""

    def below() -> int:
        rng, count = np.random.default_rng(36), 0
        for _ in range(150):
            m, n = (int(k) for k in rng.integers(2, 8, 2))
            rank = int(rng.integers(1, min(m, n)))
            A = matrices.with_spectrum(m, n, spectra.step(min(m, n), rank, 10.0 ** rng.uniform(-13, -8)), rng).A
            if truth.best_rank_error(A, rank) < 3e-14:
                continue
            U, s, Vh = truncated(A, rank)
            values = {"singular_values": np.linalg.svd(A, compute_uv=False)}
            found = certify_factors(LowRank(A, rank=rank), (U, s, Vh), target=1e-16, by_products=values)
            assert "residuals of the singular vectors" in found.method
            count += found.bound < truth.low_rank_excess(A, U, s, Vh, rank).low
        return count

    assert below() == 0
    monkeypatch.setattr(certificate, "rounding_of_sum", lambda length: 0.0)
    assert below() >= 1


@pytest.mark.parametrize("backend", ["scipy", "torch"])
@pytest.mark.parametrize("centred", [False, True])
def test_no_lower_bound_is_above_the_best_error(backend, centred):
    """What is left after cancellation is within the rounding that is allowed for, however many values are tiny."""
    rng, lib = np.random.default_rng(33), library(backend)
    for i in range(60):
        n = int(np.exp(rng.uniform(1.2, 5.0)))
        m, k = int(n * rng.choice([1, 2])), int(rng.integers(1, min(n, 6)))
        s = np.concatenate([np.ones(k), 10.0 ** -rng.uniform(4.0, 10.0) * np.ones(n - k)])
        A = matrices.with_spectrum(m, n, s, rng).A
        mean = None
        if centred:
            A = A + rng.uniform(0.0, 3.0) / math.sqrt(m)
            mean = A.mean(axis=0)
        exact = A if mean is None else A - mean
        values = np.linalg.svd(exact, compute_uv=False)
        best, norm = float(np.linalg.norm(values[k:])), float(np.linalg.norm(values))
        columns = n if i % 2 else int(rng.integers(k, n + 1))
        left = np.linalg.svd(exact, full_matrices=False)[0][:, :columns]
        Q = np.linalg.qr(left + 10.0 ** -rng.uniform(3.0, 16.0) * rng.standard_normal(left.shape))[0]
        seen = range_basis.Products(lib.asarray(A), lib, None if mean is None else lib.asarray(mean))
        B = seen.rmatmul(lib.asarray(Q)).T
        found = optimality.best_rank_k_lower_bound(seen, lib.asarray(Q), B, k, norm, i, 1e-6)
        rounding = 0.0 if mean is None else 10.0 * products.UNIT * norm * float(np.linalg.norm(A))
        assert found**2 <= best**2 * (1.0 + 1e-12) + rounding, (i, m, n, k, columns)


def test_a_lower_bound_above_the_error_itself_is_none(monkeypatch):
    """No error is below the best: a bound that says so has failed, and certifies nothing."""
    rng = np.random.default_rng(34)
    A = matrices.with_spectrum(30, 20, spectra.exponential(20, 0.5), rng).A
    factors = truncated(A, 5)
    best = float(np.linalg.norm(A - (factors[0] * factors[1]) @ factors[2]))
    assert certify_factors(LowRank(A, rank=5), factors).bound < 1.0
    for too_much in (1.0 + 1e-9, 1.5):
        monkeypatch.setattr(certificate, "_best_error_from_below", lambda *a, much=too_much: (much * best, "a lie"))
        found = certify_factors(LowRank(A, rank=5), factors)
        assert found.bound == math.inf
        assert not found.satisfied
        assert found.estimate <= found.bound


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_background_of_one_number_does_not_hide_the_error(backend, monkeypatch):
    """Squares of one number, added up, round in one direction: ||A||^2 is off by more than the error is."""
    rng, lib = np.random.default_rng(35), "numpy" if backend.name == "numpy" else "torch"
    below = {False: 0, True: 0}
    for background in (0.7, 0.3, 1.1, 0.123, 1.0 / 3.0):
        A = np.full((1100, 1000), background)
        A[:5, :5] += 2e-3 * background * rng.standard_normal((5, 5))
        rows = np.concatenate([A[:5], math.sqrt(1095.0) * A[5:6]])  # all rows but five are alike
        left, s, Vh = np.linalg.svd(rows, full_matrices=False)
        U = np.concatenate([left[:5], np.repeat(left[5:] / math.sqrt(1095.0), 1095, axis=0)])
        factors: Any = (U[:, :1], s[:1], Vh[:1])
        E = A - (U[:, :1] * s[:1]) @ Vh[:1]
        error = math.sqrt(math.fsum((E * E).reshape(-1)) / math.fsum((A * A).reshape(-1)))
        for careless in (False, True):
            with monkeypatch.context() as patch:
                if careless:
                    patch.setattr(certificate, "_ONE_NUMBER", 0.0)
                bound = certify_factors(LowRank(backend.asarray(A)), factors, target=0.5, backend=lib).bound
                below[careless] += bound < (1.0 - 1e-9) * error
            if not careless:
                assert bound < 1.01 * error
    assert below[False] == 0
    if lib == "numpy":  # in torch the order of the sum, and so the error, depends on its threads
        assert below[True] >= 1


# Libraries, by-products, confidence.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_library_and_dtype(backend, dtype):
    lib = "numpy" if backend.name == "numpy" else "torch"
    for case in cases(12, seed=13):
        A = case.A.astype(dtype)
        factors: Any = tuple(f.astype(dtype) for f in case.factors)
        error = truth.low_rank_error(A, *factors)
        found = certify_factors(LowRank(backend.asarray(A, dtype)), factors, backend=lib)
        assert error.low <= found.bound <= (1.0 + 1e-6) * error + 1e-14, case.what
        excess = truth.low_rank_excess(A, factors[0], factors[1], factors[2], case.rank)
        if truth.best_rank_error(A, case.rank) < (1e-13 if dtype == "float64" else 1e-5):
            continue
        bounded = certify_factors(LowRank(backend.asarray(A, dtype), rank=case.rank), factors, backend=lib)
        assert bounded.bound >= min(excess.low, 1e300), case.what


def test_singular_values_that_do_not_belong_to_A_are_not_believed():
    rng = np.random.default_rng(14)
    A = matrices.with_spectrum(40, 30, spectra.polynomial(30, 1.0), rng).A
    factors = projected(A, 5, 5, rng)
    excess = truth.low_rank_excess(A, *factors, 5)
    values = 3.0 * np.linalg.svd(A, compute_uv=False)
    found = certify_factors(LowRank(A, rank=5), factors, by_products={"singular_values": values})
    assert found.bound >= excess.low


def test_a_range_that_the_algorithm_found_is_used_and_checked():
    rng = np.random.default_rng(15)
    A = matrices.with_spectrum(60, 40, spectra.polynomial(40, 1.0), rng).A
    factors = projected(A, 5, 15, rng)
    excess = truth.low_rank_excess(A, *factors, 5)
    right = find_range(A, 15, 3)
    other = find_range(matrices.with_spectrum(60, 40, spectra.flat(40), rng).A, 15, 3)
    for found in (right, other):
        bounded = certify_factors(LowRank(A, rank=5), factors, by_products={"range": found})
        assert excess.low <= bounded.bound


@pytest.mark.statistical
def test_the_bound_on_the_excess_holds_with_its_confidence():
    rng = np.random.default_rng(16)
    A = matrices.with_spectrum(50, 40, spectra.polynomial(40, 0.7), rng).A
    factors, by_products = projected(A, 6, 8, rng), {"range": find_range(A, 18, 0)}
    excess = truth.low_rank_excess(A, *factors, 6)
    problem = LowRank(A, rank=6)
    found = [
        certify_factors(problem, factors, confidence=0.9, seed=seed, by_products=by_products) for seed in range(100)
    ]
    assert {c.confidence for c in found} == {0.9}
    assert sum(c.bound < excess.low for c in found) <= 10
    assert len({c.bound for c in found}) > 1  # it does depend on the seed


# Price.


@pytest.mark.parametrize("rank", [None, 20, 300])
@pytest.mark.parametrize("shape", [(2000, 1000), (300, 5000), (40, 40)])
def test_its_price_can_be_had(shape, rank):
    task = Task("low_rank", *shape, nrhs=0, rank=None if rank is None else min(rank, *shape), target=1e-3)
    kind = kind_of("low_rank")
    for algorithm in kind.algorithms:
        for options in algorithm.options(task, Evidence(norm_fro=1.0)):
            work = certificate.work(task, Evidence(norm_fro=1.0), algorithm, options)
            assert 0.0 < price(work, synthetic_profile()).seconds.median < 3.0
            assert work.peak_bytes > 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["scipy", "torch"])
def test_norms_by_blocks_are_those_of_the_whole_in_little_memory(name, dtype, monkeypatch):
    """Whatever is taken off, with blocks that do not divide the rows."""
    rng = np.random.default_rng(4)
    lib = library(name)
    A = (rng.standard_normal((700, 300)) + 2.0).astype(dtype)
    U, W = rng.standard_normal((700, 5)), rng.standard_normal((5, 300))
    mean = A.astype(np.float64).mean(axis=0)[None, :]
    monkeypatch.setattr(products, "_BLOCK_BYTES", 8 * 300 * 64)
    given = [None if x is None else lib.asarray(x) for x in (A, mean, U, W)]
    before = A.copy()
    exact = A.astype(np.float64)
    by_blocks = certificate._norm_by_blocks
    tracemalloc.start()
    found = by_blocks(lib, given[0], None), by_blocks(lib, given[0], given[1]), by_blocks(lib, given[0], *given[1:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = exact, exact - mean, exact - mean - U @ W
    assert found == pytest.approx([float(np.linalg.norm(E)) for E in expected], rel=1e-13, abs=0.0)
    assert peak < 4 * products._BLOCK_BYTES + 100_000
    np.testing.assert_array_equal(A, before)
