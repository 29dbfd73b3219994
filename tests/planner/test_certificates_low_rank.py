"""The certificate of a low-rank approximation: its error, and how far that is above the best of its rank."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from autonla.cost_models.price import price
from autonla.planner.budget import Budget
from autonla.planner.certify import low_rank as certificate
from autonla.planner.certify import products
from autonla.planner.kinds import kind_of
from autonla.planner.problems import LowRank
from autonla.primitives.evidence import Evidence
from autonla.primitives.kernels import library
from autonla.primitives.low_rank import optimality, range_basis
from autonla.primitives.task import Task
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
