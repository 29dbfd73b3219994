"""The probe of the singular spectrum."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from autonla.primitives.evidence import Evidence
from autonla.primitives.range_finder_theory import Spectrum
from autonla.primitives.task import Task
from autonla.probes import range_sketch

J = np.arange(1.0, 301.0)


def with_values(s: np.ndarray, m: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((m, len(s))))[0]
    V = np.linalg.qr(rng.standard_normal((n, len(s))))[0]
    return (U * s) @ V.T


def task_of(A: np.ndarray, **changes) -> Task:
    return Task("low_rank", *A.shape, nrhs=0, **{"dtype": A.dtype.name, "target": 0.1, **changes})


@pytest.mark.parametrize("backend", ["scipy", "numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(500, 300), (300, 500), (300, 300)])
@pytest.mark.parametrize("center", [False, True])
def test_what_it_finds(backend, dtype, shape, center):
    A = with_values(1 / J, *shape)
    if center:
        A = A + 3.0 * np.random.default_rng(1).standard_normal(shape[1])
    A = A.astype(dtype)
    exact = A.astype(float) - (A.astype(float).mean(axis=0) if center else 0.0)
    s = np.linalg.svd(exact, compute_uv=False)
    task = task_of(A, rank=20, center=center)
    evidence, by_products = range_sketch.run(A, None, task, Evidence(), backend=backend)
    assert len(evidence.singular_values) == 30
    np.testing.assert_allclose(evidence.singular_values[:10], s[:10], rtol=0.1)
    assert evidence.tail_energy is not None
    assert evidence.norm_2 is not None
    energy = sum(v * v for v in evidence.singular_values) + evidence.tail_energy
    assert energy == pytest.approx(s @ s, rel=1e-3, abs=0.0)
    assert evidence.norm_2.low <= s[0] * (1 + 1e-12) <= evidence.norm_2.high * (1 + 1e-5)
    assert (evidence.norm_fro is None) == center
    found = by_products["range"]
    matrix = exact.T if found.transposed else exact
    Q, B = np.asarray(found.Q, dtype=float), np.asarray(found.B, dtype=float)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(Q.T @ Q, np.eye(30), atol=tolerance)
    np.testing.assert_allclose(B, Q.T @ matrix, atol=tolerance * s[0] * 5)
    assert found.residual_energy == pytest.approx(np.linalg.norm(matrix - Q @ B) ** 2, rel=1e-3, abs=0.0)


def test_how_many_columns():
    A = np.zeros((3000, 2000))
    assert range_sketch.columns(task_of(A, rank=50)) == 60
    assert range_sketch.columns(task_of(A)) == 50
    assert range_sketch.columns(task_of(A, rank=1900)) == 50
    assert range_sketch.columns(task_of(np.zeros((6, 4)))) == 4


@pytest.mark.parametrize(
    ("s", "rank", "words"),
    [
        (1 / J, 20, ("fall like j^-1.0", "first 20 carry 97 %")),
        (np.exp(-J / 20), 20, ("halve every 1", "of the energy")),
        (np.ones(300), None, ("hardly fall",)),
        (np.where(J <= 5, 1.0, 0.0), None, ("rounding level after about 5", "of the energy")),
    ],
)
def test_the_decay_in_words(s, rank, words):
    A = with_values(s, 400, 300)
    evidence, _ = range_sketch.run(A, None, task_of(A, rank=rank), Evidence())
    assert all(word in evidence.findings[-1].sentence for word in words), evidence.findings[-1].sentence


def test_a_small_residual_is_seen_where_energies_cancel():
    """The tail of exp(-j) is 1e-13 of the norm: ||A||^2 - ||B||^2 has lost it, the leave-one-out estimate has not."""
    s = np.exp(-J)
    A = with_values(s, 400, 300)
    _, by_products = range_sketch.run(A, None, task_of(A, rank=20), Evidence())
    found = by_products["range"]
    Q = np.asarray(found.Q)
    assert found.residual_energy**0.5 == pytest.approx(np.linalg.norm(A - Q @ (Q.T @ A)), rel=3.0, abs=0.0)
    assert found.residual_energy < 1e-20


@pytest.mark.parametrize("center", [False, True])
def test_nothing_to_see(center):
    A = np.full((40, 30), 2.0 if center else 0.0)
    evidence, by_products = range_sketch.run(A, None, task_of(A, center=center), Evidence())
    assert by_products == {}
    assert evidence.singular_values == ()
    assert evidence.findings


def test_the_same_seed_the_same_evidence_whatever_the_memory_order():
    A = with_values(1 / J, 300, 300)
    first = range_sketch.run(A, None, task_of(A, seed=7), Evidence())[0]
    again = range_sketch.run(np.asfortranarray(A), None, task_of(A, seed=7, order="F"), Evidence())[0]
    other = range_sketch.run(A, None, task_of(A, seed=8), Evidence())[0]
    np.testing.assert_allclose(first.singular_values, again.singular_values, rtol=1e-9)
    assert not np.allclose(first.singular_values, other.singular_values, rtol=1e-4)


def test_it_does_not_change_its_operand_and_costs_little_memory():
    A = with_values(1 / J, 1500, 300)
    copy, task = A.copy(), task_of(A, rank=20)
    range_sketch.run(A, None, task, Evidence())
    tracemalloc.start()
    range_sketch.run(A, None, task, Evidence())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(A, copy)
    assert 0.95 * peak <= range_sketch.work(task).peak_bytes < A.nbytes + 2e6


def test_the_words_follow_the_spectrum_given():
    spectrum = Spectrum.from_values(J**-2.0)
    assert "j^-2.0" in range_sketch.sentence(spectrum, 50, None)
    assert "the 21st" in range_sketch.sentence(Spectrum.from_values(np.linspace(1, 0.9, 40)), 21, None)
