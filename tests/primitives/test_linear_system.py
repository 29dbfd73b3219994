from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest

from autonla.primitives.algorithm import Algorithm, Breakdown
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.linear_system import ALGORITHMS
from autonla.primitives.task import UNIT_ROUNDOFF, Task
from tests._support import matrices, spectra
from tests._support.backends import BACKENDS, DTYPES
from tests._support.bars import BAR, linear_solve_ratio

BY_NAME = {algorithm.name: algorithm for algorithm in ALGORITHMS}
N = 120


def _rng(seed=0):
    return np.random.default_rng(seed)


def _matrix(structure: str, n: int = N, cond: float = 1e3) -> np.ndarray:
    s = spectra.geometric(n, cond)
    rng = _rng(n)
    if structure == "spd":
        return matrices.spd(n, s, rng).A
    if structure in ("symmetric", "indefinite"):
        return matrices.symmetric_indefinite(n, s, rng).A
    if structure in ("upper", "lower"):
        return matrices.triangular(n, s, rng, lower=structure == "lower").A
    if structure == "banded":
        return matrices.banded(n, 3, 5, 1.0, rng).A
    if structure == "diagonal":
        return np.diag(rng.permutation(s))
    return matrices.with_spectrum(n, n, s, rng).A


STRUCTURE = {
    "diagonal": "diagonal", "triangular": "upper", "banded": "banded", "cholesky": "spd", "mixed_cholesky": "spd",
    "ldlt": "indefinite", "mixed_lu": "general", "lu": "general", "qr": "general",
    "refined_lu": "general",
}  # fmt: skip


def _task(name: str, **changes) -> Task:
    structure = STRUCTURE[name]
    n = changes.get("n", N)
    task = Task(
        "linear_system", n, n, structure=structure, bandwidth=(3, 5) if structure == "banded" else None, target=1e-13,
        metric="forward_error" if name == "refined_lu" else "",
    )  # fmt: skip
    return dataclasses.replace(task, **(changes | {"m": n}))


def _evidence(A: np.ndarray, cond: float = 1e3) -> Evidence:
    norm = float(np.linalg.norm(A.astype(np.float64), 2))
    return Evidence(
        norm_fro=float(np.linalg.norm(A.astype(np.float64))),
        norm_2=Interval(norm, 0.99 * norm, 1.2 * norm),
        condition=Interval(cond, 1.0, np.inf),
        small_fraction=0.0,
    )


def _settings(algorithm: Algorithm, task: Task, evidence: Evidence):
    return [s for s in algorithm.options(task, evidence) if algorithm.applies(task, evidence, s) is None]


def _ordered(A, order, backend):
    if order == "C":
        return backend.asarray(A)
    A = backend.asarray(A.T.copy())
    return A.T


def _backward_error(A, x, b) -> float:
    A, x, b = (np.asarray(a, dtype=np.float64) for a in (A, x, b))
    x, b = x.reshape(len(A), -1), b.reshape(len(A), -1)
    norm = np.linalg.norm(A, 2)
    r = np.linalg.norm(b - A @ x, axis=0)
    return float(np.max(r / (norm * np.linalg.norm(x, axis=0) + np.linalg.norm(b, axis=0))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BY_NAME)
def test_backward_error(backend, dtype, name):
    """Residual ratio below LAPACK's bar, or the target where that is what was aimed at; forecasts that hold."""
    algorithm = BY_NAME[name]
    A = _matrix(STRUCTURE[name]).astype(dtype)
    if STRUCTURE[name] in ("spd", "indefinite"):
        A = (A + A.T) / 2
    evidence = _evidence(A)
    tried = 0
    for order in ("C", "F"):
        for nrhs in (1, 3):
            task = _task(name, dtype=dtype, library=backend.module, order=order, nrhs=nrhs)
            b = _rng(nrhs).standard_normal((N, nrhs) if nrhs > 1 else N).astype(dtype)
            for settings in _settings(algorithm, task, evidence):
                tried += 1
                A_, b_ = _ordered(A, order, backend), backend.asarray(b)
                outcome = algorithm.solve(A_, b_, task, settings, evidence, {})
                x = np.asarray(outcome.value)
                assert x.shape == b.shape
                np.testing.assert_array_equal(backend.to_numpy(A_), A)
                np.testing.assert_array_equal(backend.to_numpy(b_), b)
                error = _backward_error(A, x.astype(dtype), b)
                forecast = algorithm.error(task, evidence, settings)
                assert forecast.low / 10 <= error <= 3 * forecast.high, (settings, error, forecast)
                if name.startswith("mixed"):
                    assert error <= task.target
                else:
                    assert linear_solve_ratio(A, x.astype(dtype), b, UNIT_ROUNDOFF[dtype]) < BAR, settings
    assert tried > 0 or (name.startswith("mixed") and dtype == "float32")


def test_every_backend_and_dtype_is_offered():
    def offered(name, **changes):
        task = _task(name, **changes)
        evidence = Evidence()
        return [(s.backend, s.dtype) for s in _settings(BY_NAME[name], task, evidence)]

    assert offered("lu") == [("scipy", "float64"), ("numpy", "float64"), ("torch", "float64")]
    assert offered("lu", library="torch")[0] == ("torch", "float64")
    assert offered("lu", library="cupy", device="cuda:0") == [("cupy", "float64")]
    assert ("scipy", "float32") in offered("lu", target=1e-4)
    assert ("scipy", "float64") in offered("lu", dtype="float32", target=1e-7)
    assert offered("mixed_lu") == [("scipy", "float32"), ("torch", "float32")]
    assert offered("diagonal", library="torch") == [("torch", "float64")]
    assert offered("banded", library="torch") == [("scipy", "float64")]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_refusals_are_sentences(algorithm):
    settings = next(iter(algorithm.options(_task(algorithm.name), Evidence())))
    rectangular = dataclasses.replace(_task(algorithm.name), m=N + 1)
    assert "not square" in str(algorithm.applies(rectangular, Evidence(), settings))
    general = dataclasses.replace(_task(algorithm.name), structure="general", bandwidth=None)
    reason = algorithm.applies(general, Evidence(), settings)
    assert (reason is None) == (algorithm.name in ("lu", "mixed_lu", "qr", "refined_lu"))
    assert reason is None or "not known to be" in reason


@pytest.mark.parametrize("backend", ["scipy", "torch"])
@pytest.mark.parametrize("nrhs", [1, 3])
def test_corrections_in_twice_the_precision_give_every_digit(backend, nrhs):
    """Of an x* in few bits, so that b = A x* is exact: A too, rounded to 20 bits."""
    algorithm, rng = BY_NAME["refined_lu"], _rng(3)
    for cond, corrections in ((1e2, 1), (1e6, 2), (1e11, 4), (1e14, 8)):
        A = np.round(_matrix("general", 60, cond) * 2.0**26) / 2.0**26
        x_true = rng.integers(-1000, 1000, (60, nrhs)).astype(float)
        b = A @ x_true
        assert (b == (A.astype(np.longdouble) @ x_true.astype(np.longdouble)).astype(float)).all()
        reached = np.linalg.cond(A)
        task = _task("refined_lu", n=60, nrhs=nrhs)
        evidence = Evidence(condition=Interval.around(reached, 2.0))
        settings = next(s for s in algorithm.options(task, evidence) if s.backend == backend)
        outcome = algorithm.solve(A, b, task, settings, evidence, {})
        error = np.linalg.norm(np.asarray(outcome.value) - x_true, axis=0) / np.linalg.norm(x_true, axis=0)
        assert error.max() <= 2.0**-52, cond
        assert 1 <= float(outcome.details["corrections"]) <= corrections
        plain = BY_NAME["lu"].solve(A, b, task, settings, evidence, {}).value
        assert np.linalg.norm(np.asarray(plain) - x_true) > 10 * np.linalg.norm(np.asarray(outcome.value) - x_true)
        # the factor of LU serves, and so does its own
        for kept in (BY_NAME["lu"].solve(A, b, task, settings, evidence, {}).by_products, outcome.by_products):
            again = algorithm.solve(A, b, task, settings, evidence, kept)
            np.testing.assert_array_equal(np.asarray(again.value), np.asarray(outcome.value))


def test_corrections_that_do_not_shrink_are_a_breakdown():
    algorithm, task = BY_NAME["refined_lu"], _task("refined_lu")
    A = _matrix("general", N, 1e19)
    settings = next(iter(algorithm.options(task, Evidence())))
    with pytest.raises(Breakdown, match="do not shrink"):
        algorithm.solve(A, _rng(1).standard_normal(N), task, settings, Evidence(), {})
    known = Evidence(condition=Interval(1e18, 1e17, np.inf))
    assert "would not converge" in str(algorithm.applies(task, known, settings))
    plain = dataclasses.replace(task, metric="")
    assert "forward error" in str(algorithm.applies(plain, Evidence(), settings))
    device = dataclasses.replace(task, library="cupy", device="cuda:0")
    assert "CPU" in str(algorithm.applies(device, Evidence(), settings))


def test_refinement_is_refused_where_the_condition_forbids_it():
    evidence = Evidence(condition=Interval(1e12, 1e10, np.inf))
    settings = next(iter(BY_NAME["mixed_lu"].options(_task("mixed_lu"), evidence)))
    assert "at least 1e+10" in str(BY_NAME["mixed_lu"].applies(_task("mixed_lu"), evidence, settings))
    indefinite = _task("cholesky", structure="indefinite")
    assert "diagonal entry" in str(BY_NAME["cholesky"].applies(indefinite, evidence, settings))


@pytest.mark.parametrize("name", ["mixed_lu", "mixed_cholesky"])
@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_refinement_converges_or_says_so(name, backend):
    algorithm = BY_NAME[name]
    structure = STRUCTURE[name]
    for cond, target in ((1e5, 1e-12), (1e5, 1e-15), (1e2, 1e-9), (1e12, 1e-12), (1e12, 1e-15), (1e9, 1e-12)):
        A = _matrix(structure, 300, cond)
        b = _rng(1).standard_normal((300, 2))
        task = _task(name, n=300, nrhs=2, target=target)
        settings = next(s for s in algorithm.options(task, Evidence()) if s.backend == backend)
        if cond > 1e8:
            with pytest.raises(Breakdown):
                algorithm.solve(A, b, task, settings, Evidence(), {})
            continue
        outcome = algorithm.solve(A, b, task, settings, Evidence(), {})
        error = _backward_error(A, outcome.value, b)
        assert error <= max(target, 20 * 2.0**-53)
        assert float(outcome.details["backward_error"]) >= 0.5 * error
        assert int(outcome.details["corrections"]) <= 5


def test_refinement_meets_one_tiny_singular_value_in_its_first_correction():
    A = matrices.with_spectrum(N, N, spectra.one_small(N, 1e13), _rng()).A
    for settings in BY_NAME["mixed_lu"].options(_task("mixed_lu"), Evidence()):
        with pytest.raises(Breakdown, match="ill-conditioned"):
            BY_NAME["mixed_lu"].solve(A, _rng(1).standard_normal(N), _task("mixed_lu"), settings, Evidence(), {})


def test_refinement_of_right_hand_sides_of_unequal_scale():
    A = _matrix("general", 200)
    b = _rng().standard_normal((200, 4)) * np.array([1e-200, 1.0, 0.0, 1e150])
    task = _task("mixed_lu", n=200, nrhs=4)
    settings = next(iter(BY_NAME["mixed_lu"].options(task, Evidence())))
    x = BY_NAME["mixed_lu"].solve(A, b, task, settings, Evidence(), {}).value
    for j, scale in enumerate((1e-200, 1.0, 1.0, 1e150)):
        assert not x[:, 2].any()
        assert j == 2 or _backward_error(A, x[:, j] / scale, b[:, j] / scale) <= task.target


def test_wilkinson_growth_defeats_lu_and_not_qr():
    n = 100
    # in Fortran order: of a C-ordered matrix SciPy factors the transpose, in which nothing grows
    A = np.asfortranarray(matrices.wilkinson_growth(n).A)
    b = _rng().standard_normal(n)
    ratio = {}
    for name in ("lu", "qr"):
        task = _task(name, n=n, order="F")
        for settings in BY_NAME[name].options(task, Evidence()):
            x = np.asarray(BY_NAME[name].solve(A, b, task, settings, Evidence(), {}).value)
            ratio[name, settings.backend] = linear_solve_ratio(A, x, b)
    assert all((value > 1e6) == (name == "lu") for (name, _), value in ratio.items()), ratio
    assert all(value < BAR for (name, _), value in ratio.items() if name == "qr"), ratio
    assert [a.name for a in ALGORITHMS if a.safe] == ["qr"]
    settings = next(iter(BY_NAME["mixed_lu"].options(_task("mixed_lu", n=n), Evidence())))
    with pytest.raises(Breakdown):  # refinement may not pretend either
        BY_NAME["mixed_lu"].solve(A, b, _task("mixed_lu", n=n), settings, Evidence(), {})


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in BY_NAME for d in DTYPES if d == "float64" or not n.startswith("mixed")]
)
def test_exactly_singular(name, dtype):
    algorithm = BY_NAME[name]
    A = _matrix(STRUCTURE[name]).astype(dtype)
    A[17], A[:, 17] = 0.0, 0.0
    task = _task(name, dtype=dtype)
    for settings in algorithm.options(task, Evidence()):
        for b in (np.ones(N, dtype), np.ones((N, 3), dtype)):
            with pytest.raises(Breakdown):
                algorithm.solve(A, b, dataclasses.replace(task, nrhs=b.size // N), settings, Evidence(), {})


@pytest.mark.parametrize("name", ["cholesky", "mixed_cholesky"])
def test_cholesky_of_an_indefinite_matrix(name):
    A = _matrix("indefinite")
    task = _task(name)
    for settings in BY_NAME[name].options(task, Evidence()):
        with pytest.raises(Breakdown, match="positive definite"):
            BY_NAME[name].solve(A, np.ones(N), task, settings, Evidence(), {})


def test_a_solution_beyond_float32_is_a_breakdown():
    A = np.diag(np.full(N, 1e-30, np.float32))
    b = np.full(N, 1e20, np.float32)
    for name in ("lu", "qr", "diagonal"):
        task = _task(name, dtype="float32", target=1e-8)
        for settings in BY_NAME[name].options(task, Evidence()):
            with np.errstate(over="ignore"), pytest.raises(Breakdown, match="overflow"):
                BY_NAME[name].solve(A, b, task, settings, Evidence(), {})


FACTORING = ("lu", "cholesky", "ldlt", "mixed_lu", "mixed_cholesky")


@pytest.mark.parametrize("name", FACTORING)
def test_factors_are_reused(name):
    """A second right-hand side is solved from the factor alone: A is not looked at by the direct solvers."""
    algorithm = BY_NAME[name]
    A = _matrix(STRUCTURE[name])
    task = _task(name)
    for settings in algorithm.options(task, Evidence()):
        first = algorithm.solve(A, np.ones(N), task, settings, Evidence(), {})
        if settings.backend == "numpy":
            assert "factor" not in first.by_products
            continue
        b = _rng(9).standard_normal((N, 2))
        again = A if name.startswith("mixed") else None
        second = algorithm.solve(again, b, dataclasses.replace(task, nrhs=2), settings, Evidence(), first.by_products)
        assert _backward_error(A, second.value, b) < 1e-13


def test_a_factor_of_another_algorithm_is_not_used():
    A = _matrix("spd")
    task = _task("cholesky")
    settings = next(iter(BY_NAME["cholesky"].options(task, Evidence())))
    wrong = BY_NAME["cholesky"].solve(np.eye(N), np.ones(N), task, settings, Evidence(), {})
    x = BY_NAME["lu"].solve(A, np.ones(N), task, settings, Evidence(), wrong.by_products).value
    assert _backward_error(A, x, np.ones(N)) < 1e-14


def test_cholesky_reads_one_triangle_and_substitution_one_side():
    S, T = _matrix("spd"), _matrix("lower")
    b = np.ones(N)
    for order in ("C", "F"):
        for name, A, structure in (("cholesky", S, "spd"), ("triangular", T, "lower")):
            B = np.array(np.tril(A) if name == "triangular" else A, order=order)
            task = _task(name, structure=structure, order=order)
            for settings in BY_NAME[name].options(task, Evidence()):
                x = np.asarray(BY_NAME[name].solve(B, b, task, settings, Evidence(), {}).value)
                assert _backward_error(B, x, b) < 1e-14


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("nrhs", [1, 40])
@pytest.mark.parametrize("name", BY_NAME)
def test_peak_bytes(name, nrhs, order):
    """The forecast is never more than 5 % below what numpy allocates, nor far above."""
    n = 300
    A = np.array(_matrix(STRUCTURE[name], n), order=order)
    b = _rng().standard_normal((n, nrhs) if nrhs > 1 else n)
    evidence = _evidence(A)
    for dtype, target in (("float64", 1e-12), ("float64", 1e-4), ("float32", 1e-9)):
        task = _task(name, n=n, nrhs=nrhs, dtype=dtype, target=target, order=order)
        A_, b_ = A.astype(dtype), b.astype(dtype)
        for settings in _settings(BY_NAME[name], task, evidence):
            if settings.backend == "torch" or (name, settings.backend) == ("lu", "numpy"):
                continue  # allocated where Python cannot see
            BY_NAME[name].solve(A_, b_, task, settings, evidence, {})  # what a first call imports and caches
            tracemalloc.start()
            try:
                outcome = BY_NAME[name].solve(A_, b_, task, settings, evidence, {})
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert outcome.value is not None
            forecast = BY_NAME[name].work(task, evidence, settings).peak_bytes
            assert peak <= 1.05 * forecast + 8192, (settings, peak / forecast)
            assert peak >= 0.5 * forecast - 2**16, (settings, peak / forecast)


def test_work_counts_what_runs():
    task = _task("mixed_lu", n=1000)
    evidence = Evidence(condition=Interval(1e3, 1.0, np.inf), small_fraction=0.0)
    settings = next(iter(BY_NAME["mixed_lu"].options(task, evidence)))
    counts = {call.kernel: call.count for call in BY_NAME["mixed_lu"].work(task, evidence, settings).calls}
    assert set(counts) == {"cast", "getrf", "getrs", "gemv"}
    assert counts["getrs"] == counts["gemv"] + 0.5 == pytest.approx(3, abs=1)
    harder = dataclasses.replace(evidence, condition=Interval(1e6, 1.0, np.inf))
    more = {call.kernel: call.count for call in BY_NAME["mixed_lu"].work(task, harder, settings).calls}
    assert more["gemv"] > counts["gemv"]
    several = BY_NAME["mixed_lu"].work(dataclasses.replace(task, nrhs=4), evidence, settings).calls
    assert [call.dims for call in several if call.kernel == "gemm"] == [(1000, 4, 1000)]
    direct = BY_NAME["lu"].work(task, evidence, dataclasses.replace(settings, dtype="float64")).calls
    assert [call.kernel for call in direct] == ["getrf", "getrs"]
