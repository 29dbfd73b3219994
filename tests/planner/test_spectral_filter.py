"""Spectral filters for anybody's eigensolver: the wanted end comes first, chosen from a probe, safe to ask for."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

import autonla as nla
from autonla.planner.files import read_array
from autonla.planner.spectral_filter import SpectralProbe
from autonla.primitives.autospec import eigenproblems
from autonla.primitives.eigenpairs import Cycle, krylov_schur
from autonla.profiles.errors import InvalidProblem, NonFiniteInput

KINDS = ("autospec", "chebyshev", "minimax", "power")


def diagonal(values: np.ndarray) -> Any:
    return sp.csr_array(sp.diags_array(values))


SPECTRA = {
    "squares": np.linspace(1.0, 30.0, 600) ** 2,
    "geometric": np.geomspace(1e-2, 10.0, 500),
    "few large": np.concatenate([np.linspace(1.0, 40.0, 500), [2e3, 2.1e3, 3e4]]),
    "random": np.sort(np.random.default_rng(1).gamma(2.0, 1.0, 700)),
}


def iterations(values: np.ndarray, k: int, which: str, p: Any, most: int = 300) -> int:
    """Outer ones until the k-th eigenvalue of the filtered matrix is right to 1e-10."""
    target = float(np.sort(p(values))[-k])
    start: Any = np.random.default_rng(9).standard_normal(len(values))

    def seen(cycle: Cycle) -> bool:
        return abs(float(cycle.values[k - 1]) - target) <= 1e-10 * abs(target)

    how: Any = {"which": which, "polynomial": p, "tolerance": 0.0, "most": most, "seen": seen}
    return krylov_schur(lambda v: (values * v.T).T, start, k, 4 * k, **how).iterations


@pytest.mark.parametrize("kind", ["auto", *KINDS])
@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
def test_it_is_a_polynomial_of_A_whose_largest_eigenvalues_are_those_wanted(kind, which):
    values = np.concatenate([-(np.linspace(0.5, 3.0, 90) ** 2), np.linspace(0.4, 4.0, 110) ** 1.5])
    A, k = diagonal(values), 4
    P: Any = nla.spectral_filter(A, k, which, kind, degree=9, rng=0)
    squared = which in ("LM", "SM")
    p = P.recurrence(values**2 if squared else values)
    np.testing.assert_allclose(P @ np.eye(200), np.diag(p), atol=1e-12)
    np.testing.assert_allclose(P @ np.ones(200), p, atol=1e-12)
    np.testing.assert_allclose(P.T @ np.ones(200), p, atol=1e-12)
    assert (P.shape, P.dtype, P.squared, P.degree) == ((200, 200), np.float64, squared, 18 if squared else 9)
    assert P.kind == kind or kind == "auto"
    key = {"LA": -values, "SA": values, "LM": -np.abs(values), "SM": np.abs(values)}[which]
    assert set(np.argsort(-p)[:k]) == set(np.argsort(key)[:k])
    X = spla.eigsh(P, k, which="LA", v0=np.ones(200))[1]
    found = np.sort(np.linalg.eigvalsh(X.T @ (A @ X)))
    np.testing.assert_allclose(found, np.sort(values[np.argsort(key)[:k]]), rtol=1e-8)


@pytest.mark.parametrize(
    ("sign", "which", "same"), [(1.0, "SM", "SA"), (1.0, "LM", "LA"), (-1.0, "SM", "LA"), (-1.0, "LM", "SA")]
)
def test_a_definite_matrix_is_not_squared(sign, which, same):
    A = diagonal(sign * SPECTRA["squares"])
    P, expected = (nla.spectral_filter(A, 5, w, degree=7, rng=0) for w in (which, same))
    assert not P.squared
    assert P.recurrence == expected.recurrence


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_the_probe_sees_both_ends(which):
    values = SPECTRA["geometric"]
    seen = nla.spectral_filter(diagonal(values), 6, which, rng=0).probe
    wanted = np.sort(values) if which == "SA" else np.sort(values)[::-1]
    assert seen.values.shape == seen.residuals.shape == (24,)
    assert (np.abs(wanted[:, None] - seen.values).min(axis=0) <= seen.residuals + 1e-12).all()
    assert np.abs(seen.values[0] - wanted[0]) < 0.05 * wanted[0]
    assert abs(seen.far - wanted[-1]) < 0.01 * values.max() + 2.0 * seen.start_residuals[-1]
    assert (seen.far - wanted[-1]) * (1.0 if which == "SA" else -1.0) >= -1e-9
    assert seen.iterations <= 20
    assert seen.start_weights.sum() == pytest.approx(1.0)


def test_fewer_iterations_where_the_probe_converges():
    values = np.concatenate([[1.0, 2.0, 3.0], np.linspace(50.0, 60.0, 200)])
    seen = nla.spectral_filter(diagonal(values), 3, "SA", rng=0).probe
    assert seen.converged
    assert seen.iterations < 5
    assert nla.spectral_filter(diagonal(SPECTRA["squares"]), 10, "SA", probe=2, rng=0).probe.iterations == 2


def test_the_window_has_the_last_of_both_parts_at_its_ends():
    def probe(k: int, count: int) -> SpectralProbe:
        v = np.arange(float(count))
        return SpectralProbe(k, v, v + 100.0, v, v, v, 1, 1, False, 1e-16)

    for k, count in ((10, 40), (20, 80), (3, 12), (40, 400)):
        values, residuals = probe(k, count).window()
        assert values.shape == residuals.shape == (104,)
        assert (values[9], values[10], values[103]) == (k - 1.0, k, count - 1.0)
        assert values[0] == 0.0
        assert (np.diff(values) >= 0.0).all()
        np.testing.assert_array_equal(residuals, values + 100.0)
    assert probe(10, 104).window()[0].tolist() == list(range(104))
    assert probe(5, 20).window(1, 2)[0].tolist() == [4.0, 5.0, 19.0]


@pytest.mark.parametrize("what", SPECTRA)
@pytest.mark.parametrize("which", ["LA", "SA"])
def test_the_choice_is_about_as_good_as_the_best_single_one(what, which):
    values, k = SPECTRA[what], 8
    A = diagonal(values)
    single = {
        kind: iterations(values, k, which, nla.spectral_filter(A, k, which, kind, rng=0).recurrence) for kind in KINDS
    }
    chosen = iterations(values, k, which, nla.spectral_filter(A, k, which, rng=0).recurrence)
    assert chosen <= min(single.values()) + 1
    assert chosen <= max(1.0, 0.6 * single["power"])


def test_gaps_in_the_spectrum_are_used():
    """A few eigenvalues far away make the interval long: the points do without most of it."""
    values = np.concatenate([np.linspace(1.0, 1e3, 700), [1e5, 1.5e5, 4e5]])
    A = diagonal(values)
    filters = {kind: nla.spectral_filter(A, 10, "SA", kind, rng=0) for kind in ("chebyshev", "minimax", "auto")}
    counts = {kind: iterations(values, 10, "SA", P.recurrence) for kind, P in filters.items()}
    assert counts["minimax"] <= 0.8 * counts["chebyshev"]
    assert counts["auto"] == counts["minimax"]
    assert filters["auto"].kind == "minimax"
    assert filters["minimax"].gain > filters["chebyshev"].gain > 1.0


def test_what_was_compared_is_told():
    P: Any = nla.spectral_filter(diagonal(SPECTRA["random"]), 5, "SA", rng=0)
    labels = dict(P.considered)
    assert set(labels) == {"autospec", "chebyshev(k+5)", "chebyshev(1.5k)", "minimax", "power"}
    assert labels["power"] > min(labels.values())
    assert P.iterations <= math.ceil(1.01 * min(labels.values()))
    baseline: Any = nla.spectral_filter(diagonal(SPECTRA["random"]), 5, "SA", "power", rng=0)
    assert baseline.gain == pytest.approx(1.0)
    assert baseline.iterations == labels["power"] > P.iterations
    assert P.gain > 2.0


def promised(monkeypatch: Any, off: list[float], change: float = 0.0, kind: str = "auto") -> Any:
    """What is chosen where the engine says so of its filter, with gaps wider by exp(change) at the far end."""

    class Engine:
        def __call__(self, seen: SpectralProbe, degree: int) -> eigenproblems.Said:
            said = np.zeros(eigenproblems.OUTPUTS)
            said[1:] = change * np.linspace(-1.0, 1.0, eigenproblems.KNOTS)
            return eigenproblems.Said(
                eigenproblems.recurrence(eigenproblems.start(seen), said, degree), np.log(np.array(off))
            )

    with monkeypatch.context() as patch:
        patch.setattr(eigenproblems, "engine", Engine)
        return nla.spectral_filter(diagonal(SPECTRA["random"]), 5, "SA", kind, rng=0)


def test_the_engine_is_taken_where_it_expects_to_gain_even_where_it_may_lose(monkeypatch):
    plain: Any = nla.spectral_filter(diagonal(SPECTRA["random"]), 5, "SA", "chebyshev", rng=0)
    sure, doubtful, worse = (promised(monkeypatch, off) for off in ([0.3, 0.35, 0.4], [0.3, 1.5, 2.0], [1.5, 1.7, 2.0]))
    assert sure.kind == "autospec"
    assert dict(sure.considered)["autospec"] == sure.iterations == pytest.approx(0.3**0.6 * plain.iterations, abs=1.0)
    # what is promised counts, not what the probe says of the filter
    poor = promised(monkeypatch, [0.3, 0.35, 0.4], -2.5)
    assert dict(poor.considered)["autospec"] == dict(sure.considered)["autospec"]
    assert poor.recurrence != sure.recurrence
    assert doubtful.kind != "autospec"
    assert worse.kind != "autospec"


def test_the_engine_is_not_believed_where_its_filter_is_large_beyond_the_wanted_end(monkeypatch):
    P = promised(monkeypatch, [0.1, 0.1, 0.1], 3.0)
    assert "autospec" not in dict(P.considered)
    instead = promised(monkeypatch, [0.1, 0.1, 0.1], 3.0, "autospec")
    assert (instead.kind, instead.considered[0][0]) == ("chebyshev", "chebyshev(1.5k)")
    three: Any = nla.spectral_filter(np.diag([1.0, 5.0, 5.0]), 2, "SA", "autospec", rng=0)
    assert np.abs(three.recurrence(np.array([5.0])))[0] < 1.0


def test_other_kinds_do_without_the_engine():
    code = (
        "import sys, autonla, numpy as np; autonla.spectral_filter(np.diag(np.arange(1.0, 60.0)), 3, kind='chebyshev');"
        "assert 'autonla.primitives.autospec.eigenproblems' not in sys.modules;"
        "autonla.spectral_filter(np.diag(np.arange(1.0, 60.0)), 3, kind='autospec');"
        "assert 'autonla.primitives.autospec.eigenproblems' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_iterations_are_forecast_where_the_probe_has_seen_the_end():
    off = []
    for values in SPECTRA.values():
        for kind in KINDS:
            P: Any = nla.spectral_filter(diagonal(values), 8, "SA", kind, degree=3, probe=100, rng=0)
            off.append(P.iterations / iterations(values, 8, "SA", P.recurrence))
    assert 0.6 < np.median(off) < 1.7
    assert 0.15 < min(off) <= max(off) < 3.0


@pytest.mark.parametrize("form", ["dense", "sparse", "operator", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_form_of_A(form, dtype):
    A = diagonal(np.linspace(1.0, 9.0, 90).astype(dtype) ** 2)
    given: Any = {"dense": A.toarray(), "sparse": A, "operator": spla.aslinearoperator(A)}.get(form)
    if form == "torch":
        given = pytest.importorskip("torch").from_numpy(A.toarray())
    P: Any = nla.spectral_filter(given, 4, "SA", degree=6, rng=0)
    assert P.dtype == dtype
    assert (P @ np.ones(90, dtype)).dtype == dtype
    x = np.array([1.0, 20.0, 80.0])
    np.testing.assert_allclose(
        P.recurrence(x), nla.spectral_filter(A, 4, "SA", degree=6, rng=0).recurrence(x), rtol=1e-3, atol=1e-5
    )


def test_the_same_seed_gives_the_same_coefficients():
    A = diagonal(SPECTRA["random"])
    first, again, other = (nla.spectral_filter(A, 5, rng=seed).recurrence for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_small_matrices_and_equal_eigenvalues():
    for values, k in ((np.array([1.0, 2.0]), 1), (np.arange(1.0, 6.0), 3), (np.repeat([1.0, 5.0], 20), 3)):
        for kind in ("auto", *KINDS):
            P: Any = nla.spectral_filter(diagonal(values), k, "SA", kind, rng=0)
            p = P.recurrence(values)
            assert np.isfinite(p).all()
            assert set(np.flatnonzero(p >= np.sort(p)[-k])) & set(range(k))
            assert p[0] == pytest.approx(1.0, rel=1e-6)


BAD = {
    "a string": ("A", {}, "A"),
    "not square": (np.ones((3, 4)), {}, "A"),
    "complex": (np.eye(3) * 1j, {}, "A"),
    "one eigenvalue": (np.eye(9), {"k": 2}, "A"),
    "nothing but zeros": (np.zeros((9, 9)), {"k": 2}, "A"),
    "one row": (np.eye(1), {}, "k"),
    "all of them": (np.diag([1.0, 2.0, 3.0]), {"k": 3}, "k"),
    "none of them": (np.diag([1.0, 2.0, 3.0]), {"k": 0}, "k"),
    "half of one": (np.diag([1.0, 2.0, 3.0]), {"k": 0.5}, "k"),
    "no such kind": (np.diag([1.0, 2.0, 3.0]), {"kind": "magic"}, "kind"),
    "no such end": (np.diag([1.0, 2.0, 3.0]), {"which": "BE"}, "which"),
    "no degree": (np.diag([1.0, 2.0, 3.0]), {"degree": 0}, "degree"),
    "no probe": (np.diag([1.0, 2.0, 3.0]), {"probe": True}, "probe"),
    "rng": (np.diag([1.0, 2.0, 3.0]), {"rng": "x"}, "rng"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said(what):
    A, how, argument = BAD[what]
    with pytest.raises(InvalidProblem) as raised:
        nla.spectral_filter(A, **({"k": 1} | how))
    assert raised.value.argument == argument


def test_not_a_number():
    with pytest.raises(NonFiniteInput):
        nla.spectral_filter(np.full((9, 9), np.nan), 2, rng=0)


def test_importing_the_library_imports_no_eigensolvers():
    code = "import sys, autonla; assert 'scipy.sparse.linalg' not in sys.modules; autonla.spectral_filter"
    subprocess.run([sys.executable, "-c", code], check=True)


# Real matrices.


@pytest.mark.slow
@pytest.mark.parametrize(("name", "k", "most"), [("494_bus", 10, 0.85), ("494_bus", 20, 0.85), ("1138_bus", 20, 0.8)])
def test_fewer_iterations_than_chebyshev_with_the_boundary_of_the_paper(shared_data, name, k, most):
    values = np.linalg.eigvalsh(read_array(shared_data / f"{name}.mtx.gz").toarray())
    counts = dict.fromkeys(("auto", "chebyshev", "power"), 0)
    for kind in counts:
        for seed in range(3):
            P = nla.spectral_filter(diagonal(values), k, "SA", kind, rng=seed)
            counts[kind] += iterations(values, k, "SA", P.recurrence)
    assert counts["auto"] <= most * counts["chebyshev"]
    assert counts["auto"] <= 0.4 * counts["power"]
