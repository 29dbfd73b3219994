"""The instances: real data where it is at hand, budgets with limits, other libraries and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import autonla as nla
from autonla.planner.bench import Row, measure, suite
from autonla.planner.bench.baselines import baseline
from autonla.planner.bench.real import left_out, real_instances
from autonla.planner.bench.spectra import SPECTRA
from autonla.planner.bench.suite import Instance, _approximable, _square, _with

LARGE = "bcsstk16", "cryg", "watt", "adder", "bcsstk14", "maxwell", "lsc", "cran"


def real(instances) -> list[Instance]:
    return [instance for instance in instances if "real" in instance.tags]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTONLA_SHARED_DATA", str(tmp_path))


def test_without_the_folder_its_instances_are_left_out_and_counted(nowhere, tmp_path):
    few = real(suite())
    assert left_out() >= 25
    assert {"digits, kernel ridge, to 1e-12", "china.jpg in grey, to 0.05"} <= {i.name for i in few}
    (tmp_path / "nos7.mtx.gz").touch()
    (tmp_path / "illc1033.mtx.gz").touch()  # without its right-hand side it is no instance
    assert len(real(suite())) == len(few) + 1
    assert left_out() + len(real(suite())) == left_out() + len(few) + 1


def test_the_folder_holds_all_of_them(shared_data, monkeypatch):
    monkeypatch.setenv("AUTONLA_SHARED_DATA", str(shared_data))
    assert left_out() == 0
    found = {instance.name: instance for instance in real_instances()}
    assert 55 <= len(found) <= 65
    assert 2 <= sum(instance.daily for instance in found.values()) <= 6
    seen = 0
    for name, instance in found.items():
        if instance.tags["real"].startswith(LARGE):
            continue
        problem = instance.problem()
        sparse = instance.name.startswith("sparse")
        assert sp.issparse(problem.A) == (sparse or (instance.family == "eigenpairs" and "digits" not in name))
        A = problem.A.data if sp.issparse(problem.A) else np.asarray(problem.A)
        assert np.isfinite(A).all(), name
        assert A.any(), name
        assert problem.kind == ("linear_system" if sparse else instance.family)
        seen += 1
    assert seen >= 25


def test_budgets_have_limits_and_names_that_say_so():
    limited = [instance for instance in suite() if "limited" in instance.tags]
    assert len(limited) >= 10
    for instance in limited:
        budget = instance.budget
        assert budget.limited
        assert (" ms" in instance.name) == (budget.latency is not None)
        assert ("within" in instance.name) == (budget.memory is not None)
        assert (", to " in instance.name) == (budget.accuracy is not None)
    assert {i.family for i in limited} == {"least_squares", "linear_system", "low_rank", "sparse_linear_system"}
    assert any(i.budget.accuracy is None for i in limited)


def test_operands_of_other_dtypes_and_libraries():
    import torch

    others = [instance for instance in suite() if "library" in instance.tags]
    assert {(i.tags["dtype"], i.tags["library"]) for i in others} == {
        ("float32", "numpy"), ("float64", "torch"), ("float32", "torch"),
    }  # fmt: skip
    makers = (
        lambda rng: nla.LeastSquares(rng.standard_normal((9, 4)), rng.standard_normal(9), ridge=0.5),
        lambda rng: nla.LinearSystem(rng.standard_normal((4, 4)), rng.standard_normal(4)),
        lambda rng: nla.LowRank(rng.standard_normal((9, 4)), rank=2),
    )
    for make in makers:
        for dtype, library in (("float32", "numpy"), ("float64", "torch")):
            plain, problem = make(np.random.default_rng(0)), _with(make, dtype, library)(np.random.default_rng(0))
            assert type(problem) is type(plain)
            assert isinstance(problem.A, torch.Tensor) == (library == "torch")
            for argument in ("A", "b"):
                if hasattr(plain, argument):
                    operand = getattr(problem, argument)
                    assert str(operand.dtype).endswith(dtype)
                    np.testing.assert_array_equal(np.asarray(operand), getattr(plain, argument).astype(dtype))
            for argument in ("ridge", "rank"):
                assert getattr(problem, argument, None) == getattr(plain, argument, None)
    several = [i for i in suite() if "right-hand sides" in i.tags]
    assert len(several) >= 4
    problem = next(i for i in several if i.family == "linear_system").problem()
    assert isinstance(problem, nla.LinearSystem)
    assert problem.right_hand_sides == 200


def test_the_default_call_is_that_of_the_operands_own_library():
    import torch

    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 4)), rng.standard_normal(30)
    T, t = torch.from_numpy(A), torch.from_numpy(b)
    x = np.linalg.lstsq(A, b)[0]
    name, call = baseline(nla.LeastSquares(T, t))
    assert name == "torch.linalg.lstsq"
    np.testing.assert_allclose(call().solution[:, 0].numpy(), x, rtol=1e-10)
    name, call = baseline(nla.LinearSystem(T[:4], t[:4]))
    assert name == "torch.linalg.solve"
    np.testing.assert_allclose(call().numpy(), np.linalg.solve(A[:4], b[:4]), rtol=1e-10)
    for matrix, expected in ((A, "numpy.linalg.svd"), (T, "torch.linalg.svd")):
        name, call = baseline(nla.LowRank(matrix, center=True))
        assert name == expected
        s = np.linalg.svd(A - A.mean(axis=0), compute_uv=False)
        np.testing.assert_allclose(np.asarray(call()[1]), s, rtol=1e-10)
    for matrix, right in ((A, b), (T, t)):
        name, call = baseline(nla.LeastSquares(matrix, right, ridge=0.5))
        assert name == "sklearn Ridge"
        np.testing.assert_allclose(call(), np.linalg.solve(A.T @ A + 0.5 * np.eye(4), A.T @ b), rtol=1e-8)
    # what LAPACK does not take is handed to it as it is computed with
    halves = nla.LowRank(np.eye(4, dtype=np.float16))
    assert baseline(halves)[1]()[1].dtype == np.float32


def test_a_row_knows_the_limits_and_the_true_error(monkeypatch):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)

    def make(rng: np.random.Generator) -> nla.LeastSquares:
        A = rng.standard_normal((900, 120))
        return nla.LeastSquares(A, rng.standard_normal(900))

    budget = nla.Budget(accuracy=1e-9, latency=60.0, memory="1 GB")
    row = measure(Instance("tiny", "least_squares", {}, make, budget), rounds=1, race=False)
    assert (row.status, row.latency, row.memory) == ("certified", 60.0, 1e9)
    assert row.true_error is not None
    assert row.true_error_off is not None
    assert 0.0 < row.true_error - row.true_error_off <= row.bound <= row.target
    assert Row.from_dict(row.to_dict()) == row


def test_a_refused_warm_up_is_no_refusal(monkeypatch):
    """The first call imports and compiles, which a latency need not allow for."""
    from autonla.planner.bench import measuring
    from autonla.profiles.errors import InfeasibleBudget

    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    honest, calls = measuring.solve, []

    def first_refused(*args, **keywords):
        calls.append(1)
        if len(calls) == 1:
            raise InfeasibleBudget("cold")
        return honest(*args, **keywords)

    monkeypatch.setattr(measuring, "solve", first_refused)
    make = lambda rng: nla.LinearSystem(rng.standard_normal((40, 40)), rng.standard_normal(40))  # noqa: E731
    row = measure(Instance("tiny", "linear_system", {}, make, nla.Budget(accuracy=1e-9)), rounds=2, race=False)
    assert row.status == "certified"
    assert len(calls) >= 3


def test_systems_have_the_structure_they_are_named_after():
    n = 40

    def made(structure: str, spectrum: str = "exponential", condition: float = 1e3) -> np.ndarray:
        problem = _square(n, structure, spectrum, condition)(np.random.default_rng(3))
        assert isinstance(problem, nla.LinearSystem)
        return problem.A

    i, j = np.indices((n, n))
    banded = made("banded", "")
    assert not banded[np.abs(i - j) > 3].any()
    assert (np.diagonal(banded, 3) != 0.0).all()
    assert (np.diagonal(banded, -3) != 0.0).all()
    triangular = made("triangular", "")
    assert not triangular[i > j].any()
    assert np.linalg.cond(triangular) < 1e3
    assert np.linalg.cond(made("general")) == pytest.approx(1e3, rel=1e-9, abs=0.0)
    for structure, negative in (("spd", 0), ("indefinite", n // 3)):
        A = made(structure)
        np.testing.assert_array_equal(A, A.T)
        values = np.linalg.eigvalsh(A)
        assert np.count_nonzero(values < 0.0) == negative, structure
        assert np.abs(values).max() / np.abs(values).min() == pytest.approx(1e3, rel=1e-9, abs=0.0)


@pytest.mark.parametrize("rank", [5, None])
def test_approximations_have_their_spectrum_and_rank(rank):
    problem = _approximable(30, 20, "exponential", rank)(np.random.default_rng(4))
    assert isinstance(problem, nla.LowRank)
    assert problem.rank == rank
    np.testing.assert_allclose(np.linalg.svd(problem.A, compute_uv=False), SPECTRA["exponential"](20, 1e6), atol=1e-12)
