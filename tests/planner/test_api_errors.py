"""Wrong arguments: every one is refused by name, with the error of its kind, before anything is computed."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

import autonla as nla
from autonla.planner.kinds.least_squares import LeastSquaresKind
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.profiles import errors
from tests._support.fakes import fake
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((12, 12)), np.ones(12)
SYSTEM = nla.LinearSystem(A, B)
CALLS = [nla.solve, nla.plan, nla.race]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("problem", [None, A, "A x = b", (A, B), nla.LinearSystem, nla.Budget()])
def test_problem(call, problem):
    with pytest.raises(nla.InvalidProblem, match="problem is a") as caught:
        call(problem)
    assert caught.value.argument == "problem"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("budget", [1e-8, "2 s", {"accuracy": 1e-8}, nla.Budget, A])
def test_budget(call, budget):
    with pytest.raises(nla.InvalidBudget, match="budget is a"):
        call(SYSTEM, budget)


@pytest.mark.parametrize("call", [nla.solve, nla.plan])
@pytest.mark.parametrize("rigor", ["fast", None, 3, "Probe", ""])
@pytest.mark.parametrize("profile", [None, PROFILE])
def test_rigor(call, rigor, profile):
    with pytest.raises(nla.InvalidProblem, match="rigor") as caught:
        call(SYSTEM, rigor=rigor, profile=profile or PROFILE if call is nla.plan else profile)
    assert caught.value.argument == "rigor"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("rng", [-1, 2**63, 0.5, "seed", True, [1], np.random.RandomState(1)])
def test_rng(call, rng):
    with pytest.raises(nla.InvalidProblem, match="rng") as caught:
        call(SYSTEM, rng=rng, profile=PROFILE)
    assert caught.value.argument == "rng"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("profile", ["/no/such/file.json", 3.5, {"name": "mine"}, b"profile"])
def test_profile(call, profile):
    with pytest.raises(nla.AutonlaError, match="profile") as caught:
        call(SYSTEM, profile=profile)
    assert isinstance(caught.value, (nla.ProfileError, nla.InvalidProblem))


def test_a_profile_file_that_is_none(tmp_path):
    file = tmp_path / "profile.json"
    for content in ("", "{}", "not JSON"):
        file.write_text(content)
        with pytest.raises(nla.ProfileError, match="profile"):
            nla.solve(SYSTEM, profile=file)


@pytest.mark.parametrize("rigor", ["fast", "Thorough", None])
def test_rigor_of_a_profile(rigor):
    with pytest.raises(nla.InvalidProblem, match="rigor") as caught:
        nla.profile_hardware(rigor)
    assert caught.value.argument == "rigor"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("progress", [True, False])
def test_progress(call, progress, capsys):
    if call is nla.plan:
        return
    call(SYSTEM, nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert bool(captured.err) is progress
    assert all(line.startswith("autonla: ") for line in captured.err.splitlines())


def test_progress_to_a_function():
    said = []
    nla.solve(SYSTEM, nla.Budget(accuracy=1e-10), rng=0, profile=PROFILE, progress=said.append)
    assert any("planning" in line for line in said)
    assert any("certified" in line for line in said)


# What nothing solves yet.

UNSOLVED = {
    "product": nla.Product(A, A),
    "matrix_function": nla.MatrixFunction(A, "polar"),
    "trace": nla.Trace(A),
    "spectral_density": nla.SpectralDensity(A + A.T),
    "hierarchical": nla.Hierarchical(A, 2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", UNSOLVED)
def test_kinds_without_algorithms(call, kind):
    with pytest.raises(nla.NoAlgorithm, match=f"no algorithm registered yet for {kind.replace('_', ' ')}") as caught:
        call(UNSOLVED[kind], rng=0, profile=PROFILE)
    assert caught.value.kind == kind


def dask_array(x):
    """What is looked at of a dask array, whether dask is installed or not."""
    chunked = type(
        "Array", (), {"__module__": "dask.array.core", "shape": x.shape, "dtype": x.dtype, "chunks": ((4,),)}
    )
    return chunked()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("make", "access", "state"),
    [
        (make, access, state)
        for make, access in (
            (scipy.sparse.csr_array, "sparse"),
            (scipy.sparse.csc_matrix, "sparse"),
            (aslinearoperator, "operator"),
            (dask_array, "dask"),
        )
        for state in (nla.LinearSystem, nla.LeastSquares, nla.LowRank)
        if state is not nla.LinearSystem or access == "dask"
    ],
)
def test_operands_that_no_algorithm_takes(call, make, access, state):
    operand = make(A)
    problem = state(operand) if state is nla.LowRank else state(operand, B)
    with pytest.raises(nla.NoAlgorithm, match=f"{access} operand") as caught:
        call(problem, rng=0, profile=PROFILE)
    assert caught.value.kind == problem.kind


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("state", "metric"),
    [(state, metric) for state in (nla.LinearSystem, nla.LeastSquares) for metric in state.metrics],
)
def test_every_metric_can_be_asked_for(call, state, metric):
    matrix = A if state is nla.LinearSystem else A[:, :5]
    found = call(state(matrix, B + np.arange(12) ** 2, metric=metric), rng=0, profile=PROFILE)
    if call is nla.solve:
        assert found.certificate.metric == metric
        assert metric.replace("_", " ") in found.explain()
    elif call is nla.plan:
        assert found.metric == metric
        assert nla.Plan.from_json(found.to_json()).task.metric in (metric, "")
    else:
        assert found.best is not None


@pytest.mark.parametrize("profile", [None, PROFILE])
def test_relative_residual_can_be_asked_for(profile):
    solution = nla.solve(nla.LinearSystem(A, B, metric="relative_residual"), nla.Budget(accuracy=1e-9), profile=profile)
    assert solution.certificate.metric == "relative_residual"
    assert np.linalg.norm(B - A @ solution.value) <= 1e-9 * np.linalg.norm(B)
    assert "relative residual" in solution.explain()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_complex_operands(dtype, library):
    if library == "torch":
        xp = pytest.importorskip("torch")
        matrix, vector = xp.ones(4, 4, dtype=getattr(xp, dtype)), xp.ones(4, dtype=getattr(xp, dtype))
    else:
        matrix, vector = np.ones((4, 4), dtype), np.ones(4, dtype)
    for state in (lambda: nla.LinearSystem(matrix, vector), lambda: nla.LeastSquares(matrix, vector),
                  lambda: nla.LowRank(matrix)):  # fmt: skip
        with pytest.raises(nla.UnsupportedDtype, match="complex") as caught:
            state()
        assert caught.value.argument == "A"
        assert dtype in caught.value.found
    if library == "numpy":
        with pytest.raises(nla.UnsupportedDtype, match="complex") as caught:
            nla.LinearSystem(np.ones((4, 4)), vector)
        assert caught.value.argument == "b"


# When the registry lacks what it needs.


def test_no_algorithm_applies(monkeypatch):
    monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: (fake("a", reason="it never does"),)))
    for how in ("raise", "best_effort"):
        with pytest.raises(nla.InfeasibleBudget, match=r"no algorithm applies.*it never does"):
            nla.solve(SYSTEM, nla.Budget(on_infeasible=how), rng=0, profile=PROFILE)


@pytest.mark.parametrize("call", CALLS)
def test_an_empty_registry(call, monkeypatch):
    for kind in (LinearSystemKind, LeastSquaresKind):
        monkeypatch.setattr(kind, "algorithms", property(lambda self: ()))
    for problem in (SYSTEM, nla.LeastSquares(A, B)):
        with pytest.raises((nla.NoAlgorithm, nla.InfeasibleBudget), match="no algorithm"):
            call(problem, rng=0, profile=PROFILE)


def test_a_machine_on_which_nothing_was_measured():
    bare = synthetic_profile(kernels=())
    with pytest.raises(nla.InfeasibleBudget, match="cannot be priced"):
        nla.solve(SYSTEM, nla.Budget(accuracy=1e-10), rng=0, profile=bare)


# The errors themselves.


def public_errors() -> list[type[Exception]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, nla.AutonlaError)]


def test_every_error_is_public_and_of_one_family():
    for error in public_errors():
        assert getattr(nla, error.__name__) is error
        assert issubclass(error, nla.AutonlaError)


def test_errors_from_the_planner_survive_pickling():
    """A worker process hands them back."""
    caught = []
    for problem, budget in (
        (nla.LinearSystem(A * np.nan, B), None),
        (SYSTEM, nla.Budget(accuracy=1e-18)),
        (nla.Trace(A), None),
    ):
        with pytest.raises(nla.AutonlaError) as info:
            nla.solve(problem, budget, rng=0, profile=PROFILE)
        caught.append(info.value)
    for error in caught:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
    assert pickle.loads(pickle.dumps(caught[0])).argument == "A"


@pytest.mark.parametrize(
    "make",
    [
        lambda: nla.solve(nla.LinearSystem(A * np.inf, B)),
        lambda: nla.solve(SYSTEM, nla.Budget(accuracy=1e-18)),
        lambda: nla.solve(SYSTEM, rng="x"),
        lambda: nla.solve(nla.Trace(A)),
        lambda: nla.plan(SYSTEM, nla.Budget(accuracy=1e-10, latency=1e-9), profile=PROFILE),
        lambda: nla.Plan.from_json("{}"),
        lambda: nla.Budget(latency="soon"),
    ],
)
def test_messages_are_one_line_that_a_person_reads(make):
    with np.errstate(invalid="ignore"), pytest.raises(nla.AutonlaError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert 20 < len(message) < 500
    assert "object at 0x" not in message
