"""Inputs that hang, crash or fool other libraries: each gets a certified answer or an error that names it.

One class for each sort of them. Whatever happens, the operands are left as they were, bit by bit; no warning escapes
(they are errors here); and nothing but the errors of this library is raised.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import autonla as nla
from autonla.planner.files import read_operands
from autonla.planner.kinds import kind_of
from autonla.planner.prepare import prepare
from autonla.primitives.algorithm import Outcome
from autonla.primitives.kernels import library
from tests._support import bars, matrices, truth
from tests._support.backends import BACKENDS, layouts
from tests._support.machine import synthetic_profile

torch = pytest.importorskip("torch")

PROFILE = synthetic_profile()
# Small problems are solved at once; with a profile, everything is planned.
ROUTES = pytest.mark.parametrize("route", [None, PROFILE], ids=["at once", "planned"])
ON_BACKENDS = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(0)
N = 60
SQUARE = RNG.standard_normal((N, N))
SPD = SQUARE @ SQUARE.T + N * np.eye(N)
UPPER = np.triu(SQUARE) / 8.0 + 2.0 * np.eye(N)
BAND = np.triu(np.tril(SQUARE, 2), -1) + 9.0 * np.eye(N)
TALL, WIDE = SQUARE[:, :8].copy(), SQUARE[:8].copy()
ONES = np.ones(N)

# What can be solved: the operands, and how they state a problem.
STATED = {
    "linear system": (SQUARE, lambda A, b: nla.LinearSystem(A, b)),
    "symmetric": (SQUARE + SQUARE.T, lambda A, b: nla.LinearSystem(A, b, assume="symmetric")),
    "positive definite": (SPD, lambda A, b: nla.LinearSystem(A, b, assume="spd")),
    "definite, undeclared": (SPD, lambda A, b: nla.LinearSystem(A, b)),
    "upper": (UPPER, lambda A, b: nla.LinearSystem(A, b, assume="upper")),
    "lower": (UPPER.T.copy(), lambda A, b: nla.LinearSystem(A, b, assume="triangular")),
    "banded": (BAND, lambda A, b: nla.LinearSystem(A, b)),
    "diagonal": (np.diag(np.arange(1.0, N + 1)), lambda A, b: nla.LinearSystem(A, b, assume="diagonal")),
    "tall": (TALL, lambda A, b: nla.LeastSquares(A, b)),
    "wide": (WIDE, lambda A, b: nla.LeastSquares(A, b)),
    "ridge": (TALL, lambda A, b: nla.LeastSquares(A, b, ridge=0.1)),
    "low rank": (TALL, lambda A, b: nla.LowRank(A)),
    "of rank 3": (SQUARE[:, :40], lambda A, b: nla.LowRank(A, rank=3)),
    "principal components": (TALL, lambda A, b: nla.LowRank(A, rank=2, center=True)),
}
WITH_RHS = [name for name, (_, state) in STATED.items() if "LowRank" not in state.__code__.co_names]
KINDS = ("linear system", "tall", "wide", "low rank", "of rank 3")  # one of each


def seen(x: Any) -> Any:
    """All of an operand that its owner could see change."""
    if isinstance(x, torch.Tensor):
        if x.is_nested or x.layout != torch.strided or x.device.type != "cpu" or x.is_quantized:
            return x._version, x.requires_grad
        plain = x.detach().resolve_neg().contiguous().view(torch.uint8).numpy().tobytes()
        return x._version, x.requires_grad, x.stride(), plain
    if isinstance(x, np.ma.MaskedArray):
        return seen(x.data), seen(np.asarray(x.mask))
    if isinstance(x, np.ndarray):
        owner = seen(x.base) if isinstance(x.base, np.ndarray) else None  # what lies between the strides
        return x.tobytes(), x.strides, x.dtype.str, x.flags.writeable, owner
    if scipy.sparse.issparse(x) and x.format not in ("lil", "dok"):
        parts = {name: part for name, part in vars(x).items() if isinstance(part, np.ndarray)}
        return {name: (id(part), seen(part)) for name, part in parts.items()}
    return repr(x)


def outcome(state: Any, *operands: Any, budget: Any = None, route: Any = None, call: Any = nla.solve) -> Any:
    """What `solve` returns for the problem that `state` makes of the operands, or the error of the library's.

    The operands must be as they were, either way; any other error is a failure.
    """
    before = [seen(x) for x in operands]
    try:
        result = call(state(*operands), budget, rng=0, profile=route)
    except nla.AutonlaError as error:
        result = error
    assert [seen(x) for x in operands] == before
    return result


def solved(state: Any, *operands: Any, budget: Any = None, route: Any = None) -> nla.Solution:
    """The same where it must be an answer, and a certified one."""
    result = outcome(state, *operands, budget=budget, route=route)
    assert isinstance(result, nla.Solution), result
    assert result.status == "certified"
    return result


def parts_of(solution: nla.Solution) -> list[Any]:
    return list(solution.value) if isinstance(solution.value, tuple) else [solution.value]


def rhs(A: np.ndarray) -> np.ndarray:
    return np.linspace(1.0, 2.0, A.shape[0])


def positions(shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Where an entry may hide: in the corners, the middle, and either triangle."""
    m, n = shape
    return {
        "first": (0, 0), "last": (m - 1, n - 1), "bottom left": (m - 1, 0), "top right": (0, n - 1),
        "middle": (m // 2, n // 2), "below": (2 * m // 3, n // 4), "above": (m // 4, 2 * n // 3),
    }  # fmt: skip


class TestOneEntryThatIsNotFinite:
    """One NaN or infinity, on which numpy's lstsq, svd and pinv do not end: NonFiniteInput, with count and place."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", STATED)
    def test_wherever_it_is(self, name, backend, route):
        A, state = STATED[name]
        for place, at in positions(A.shape).items():
            for bad in (math.nan, -math.inf):
                spoilt = A.copy()
                spoilt[at] = bad
                error = outcome(state, backend.asarray(spoilt), backend.asarray(rhs(A)), route=route)
                assert isinstance(error, nla.NonFiniteInput), (place, error)
                assert (error.argument, error.found) == ("A", "1 non-finite")
                assert f"1 entry is NaN or infinite, the first at index {at}" in str(error)

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", WITH_RHS)
    def test_in_the_right_hand_side(self, name, backend, route):
        A, state = STATED[name]
        b = np.tile(rhs(A)[:, None], 2)
        b[-1, 1] = b[2, 0] = math.nan
        error = outcome(state, backend.asarray(A), backend.asarray(b), route=route)
        assert isinstance(error, nla.NonFiniteInput)
        assert error.argument == "b"
        assert "2 entries are NaN or infinite, the first at index (2, 0)" in str(error)

    @ROUTES
    @pytest.mark.parametrize("name", WITH_RHS)
    def test_under_a_zero_of_the_solution(self, name, route):
        """What it is multiplied with is zero, in some or all places; some libraries skip those."""
        A, state = STATED[name]
        half = np.where(np.arange(A.shape[0]) < A.shape[0] // 2, 0.0, 1.0)
        for b in (np.zeros(A.shape[0]), half):
            for at in positions(A.shape).values():
                spoilt = A.copy()
                spoilt[at] = math.nan
                error = outcome(state, spoilt, b, route=route, budget=nla.Budget(accuracy=1e-8))
                assert isinstance(error, nla.NonFiniteInput), (at, error)

    @pytest.mark.parametrize("budget", [
        nla.Budget(accuracy=0.5), nla.Budget(on_infeasible="best_effort"), nla.Budget(latency=60.0),
        nla.Budget(accuracy=1e-3, memory="1 GB", on_infeasible="best_effort"), nla.Budget(minimize="error"),
    ], ids=repr)  # fmt: skip
    @pytest.mark.parametrize("name", STATED)
    def test_no_budget_makes_an_answer_of_it(self, name, budget):
        A, state = STATED[name]
        for at in positions(A.shape).values():
            spoilt = A.copy()
            spoilt[at] = math.nan
            assert isinstance(outcome(state, spoilt, rhs(A), budget=budget, route=PROFILE), nla.NonFiniteInput)

    @pytest.mark.parametrize("order", [300, 500])
    def test_where_only_some_rows_are_looked_at(self, order):
        """Structure is guessed and float32 tried; a symmetric matrix has it in the half that nothing reads."""
        G = np.random.default_rng(order).standard_normal((order, order)) / math.sqrt(order)
        for A in (G, G @ G.T + np.eye(order), np.triu(G) + 2.0 * np.eye(order), np.diag(1.0 + np.abs(G[0])),
                  np.triu(np.tril(G, 1), -1) + 3.0 * np.eye(order)):  # fmt: skip
            for at in positions(A.shape).values():
                spoilt = A.copy()
                spoilt[at] = math.nan
                error = outcome(nla.LinearSystem, spoilt, np.ones(order))
                assert isinstance(error, nla.NonFiniteInput), (at, error)

    @ROUTES
    @pytest.mark.parametrize("name", ["symmetric", "positive definite", "definite, undeclared"])
    def test_infinities_on_both_sides_of_the_diagonal(self, name, route):
        """They are equal, and their difference is not a number."""
        A, state = STATED[name]
        spoilt = A.copy()
        spoilt[0, 5] = spoilt[5, 0] = math.inf
        error = outcome(state, spoilt, rhs(A), route=route)
        assert isinstance(error, nla.NonFiniteInput)
        assert error.found == "2 non-finite"

    def test_beside_numbers_whose_squares_overflow(self):
        for name in KINDS:
            A, state = STATED[name]
            spoilt = A * 1e300
            spoilt[1, 2] = math.inf
            error = outcome(state, spoilt, rhs(A))
            assert isinstance(error, nla.NonFiniteInput)
            assert error.found == "1 non-finite"

    @ROUTES
    def test_no_iteration_is_begun_on_it(self, route, monkeypatch):
        """LU ends on anything. What iterates until the numbers are small may not end on NaN: it must not see one."""
        begun = []
        for name in ("numpy", "scipy", "torch"):
            for method in ("svd", "svdvals", "eigh", "eigvalsh", "lstsq_svd"):
                original = getattr(library(name), method)

                def watched(A, *rest, original=original):
                    begun.append(bool(np.isfinite(np.asarray(A)).all()))
                    return original(A, *rest)

                monkeypatch.setattr(type(library(name)), method, lambda self, *a, watched=watched: watched(*a))
        for name, (A, state) in STATED.items():
            outcome(state, A, rhs(A), route=route)  # the watch works: some of these are begun
            for bad in (math.nan, math.inf):
                spoilt = A.copy()
                spoilt[2, 3] = bad
                assert isinstance(outcome(state, spoilt, rhs(A), route=route), nla.NonFiniteInput), name
        assert begun
        assert all(begun)

    def test_nothing_hangs_on_the_smallest_of_them(self):
        """3 x 3, in a process of its own that can be stopped."""
        lines = """
            import numpy as np, autonla as nla
            for bad in (np.nan, np.inf):
                for i in range(3):
                    for j in range(3):
                        A = np.eye(3) + 1.0
                        A[i, j] = bad
                        for problem in (nla.LinearSystem(A, np.ones(3)), nla.LeastSquares(A, np.ones(3)),
                                        nla.LowRank(A), nla.LowRank(A, rank=1)):
                            try:
                                print(nla.solve(problem).value)
                            except nla.NonFiniteInput:
                                pass
            print("done")
        """
        assert alone(lines).stdout.split() == ["done"]

    def test_where_there_is_nothing_to_compute(self):
        for A, b in ((np.zeros((3, 0)), np.array([1.0, math.nan, 2.0])), (np.full((3, 3), math.inf), np.zeros((3, 0)))):
            assert isinstance(outcome(nla.LeastSquares, A, b), nla.NonFiniteInput)


def alone(lines: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """The lines in a fresh interpreter, which may crash or hang."""
    import textwrap

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(lines)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=True)


class TestNaNFromWithin:
    """An algorithm that comes to NaN or infinity on finite operands: its answer is dropped, and the next one runs."""

    @ROUTES
    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("name", KINDS)
    def test_another_algorithm_answers(self, name, bad, route, monkeypatch):
        A, state = STATED[name]
        kind = kind_of(state(A, rhs(A)).kind)
        spoilt = tuple(a if a.safe else replace(a, solve=_spoiling(a, bad)) for a in kind.algorithms)
        monkeypatch.setattr(type(kind), "algorithms", property(lambda self: spoilt))
        solution = solved(state, A, rhs(A), route=route, budget=nla.Budget(accuracy=1e-10))
        assert all(np.isfinite(part).all() for part in parts_of(solution))
        label = solution.record.attempts[-1].label
        assert any(a.safe and label.startswith(a.name) for a in kind.algorithms)

    @ROUTES
    def test_float16_that_overflows_when_squared(self, route):
        A = (SQUARE * 1e4).astype(np.float16)  # 256 is the square root of its largest number
        exact = A.astype(float)
        solution = solved(nla.LinearSystem, A, ONES.astype(np.float16), route=route)
        assert bars.linear_solve_ratio(exact, solution.value, ONES, u=2.0**-24) < bars.BAR


def _spoiling(algorithm: Any, bad: float) -> Any:
    """The algorithm's `solve`, with one entry of the answer replaced."""

    def solve(*arguments: Any) -> Outcome:
        found = algorithm.solve(*arguments)
        value = found.value
        if isinstance(value, tuple):
            U, s, Vh = (np.array(part) for part in value)
            s[:1] = bad
            return replace(found, value=(U, s, Vh), by_products={})
        value = np.array(value)
        value[-1] = bad
        return replace(found, value=value, by_products={})

    return solve


def ratio_of(name: str, A: np.ndarray, b: np.ndarray, solution: Any) -> float:
    """LAPACK's test ratio of an answer, in float64: below 30 for whatever is backward stable."""
    u, value = 2.0**-53, [np.asarray(part) for part in parts_of(solution)]
    if name == "of rank 3":
        e = truth.exponent_of(A)
        exact = np.ldexp(np.linalg.svd(np.ldexp(A, -e), compute_uv=False)[:3], e)
        return bars.singular_value_ratio(value[1], exact, A.shape, u)
    if name == "low rank":
        return bars.svd_ratio(A, value[0], value[1], value[2], u)
    if name in ("tall", "wide"):
        return max(bars.lstsq_ratio(A, value[0], b, u), bars.minimum_norm_ratio(A, value[0], u))
    return bars.linear_solve_ratio(A, value[0], b, u)


SCALES = (1e150, 1e-150, 1e200, 1e-200, 1e290, 1e-290)


class TestSizesFarFromOne:
    """A times 1e+-150, 1e+-200, 1e+-290: norms and Gram matrices over- and underflow, answers must not notice."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", [n for n in STATED if n not in ("ridge", "principal components")])
    def test_the_residual_is_that_of_the_unscaled_problem(self, name, backend, route):
        A, state = STATED[name]
        b = rhs(A)
        plain = ratio_of(name, A, b, solved(state, backend.asarray(A), backend.asarray(b), route=route))
        assert plain < bars.BAR
        for scale in SCALES if route is None else (1e200, 1e-290):
            for scale_b in (1.0, scale):
                As, bs = A * scale, b * scale_b
                found = solved(state, backend.asarray(As), backend.asarray(bs), route=route)
                assert ratio_of(name, As, bs, found) < 2.0 * plain + 1.0, (scale, scale_b)

    @ROUTES
    @pytest.mark.parametrize("name", STATED)
    def test_one_entry_that_is_huge(self, name, route):
        """Its square overflows, and beside it everything else is rounding."""
        A, state = STATED[name]
        for at in (1, 5), (5, 1), (3, 3):
            for size in (1e160, -1e300):
                given = A.copy()
                given[at] = size
                found = outcome(state, given, rhs(A), route=route, budget=nla.Budget(accuracy=1e-8))
                if not isinstance(found, nla.Solution):
                    assert isinstance(found, (nla.InvalidProblem, nla.CertificationFailed)), found
                elif A.shape[0] == A.shape[1]:  # in the largest entries, whose squares are not needed
                    scaled, b, x = given / size, rhs(A) / size, found.value
                    whole = np.abs(scaled).max() * np.abs(x).max() + np.abs(b).max()
                    assert np.abs(b - scaled @ x).max() <= 1e-8 * N * whole

    @pytest.mark.parametrize("scale", SCALES)
    def test_a_ridge_and_means_scale_with_it(self, scale):
        if 1e-140 < scale < 1e140:
            ridge = 0.1 * scale**2
            x = solved(lambda A, b: nla.LeastSquares(A, b, ridge=ridge), TALL * scale, ONES * scale).value
            np.testing.assert_allclose(x, solved(STATED["ridge"][1], TALL, ONES).value, rtol=1e-10)
        _, state = STATED["principal components"]
        s = solved(state, TALL * scale, ONES).value.s
        np.testing.assert_allclose(s / scale, solved(state, TALL, ONES).value.s, rtol=1e-12)

    @pytest.mark.parametrize("name", KINDS)
    def test_float32_has_narrower_ends(self, name):
        A, state = STATED[name]
        A = A.astype(np.float32)
        for scale in (1e18, 1e-18, 1e30, 1e-30):
            As = A * np.float32(scale)
            solution = solved(state, As, rhs(A).astype(np.float32) * np.float32(scale))
            assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in parts_of(solution))
            reference = np.linalg.svd(A, compute_uv=False) if "rank" in name else np.linalg.pinv(A) @ rhs(A)
            found = solution.value.s / np.float32(scale) if "rank" in name else solution.value
            np.testing.assert_allclose(found, reference[: len(found)], rtol=0.02)


class TestTheEndsOfTheRange:
    """Entries of 1e308, and subnormal ones down to 5e-324: solved where the answer can be written, else refused."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("size", [1.7e308, 1e308])
    def test_norms_beyond_the_largest_number(self, size, backend, route):
        rng = np.random.default_rng(1)
        A, tall = size * rng.uniform(-1.0, 1.0, (12, 12)), size * rng.uniform(-1.0, 1.0, (200, 5))
        for state, operand in ((nla.LinearSystem, A), (nla.LeastSquares, A), (nla.LeastSquares, tall)):
            b = size * rng.uniform(-1.0, 1.0, (operand.shape[0], 2)) * [1.0, 1e-20]
            for given in (b, b[:, 0]):
                x = solved(state, backend.asarray(operand), backend.asarray(given), route=route).value
                exact = np.linalg.lstsq(operand / size, given / size)[0]
                np.testing.assert_allclose(backend.to_numpy(x), exact, rtol=1e-9)
        error = outcome(nla.LowRank, backend.asarray(tall), route=route)
        assert isinstance(error, nla.InvalidProblem)
        assert "the norm of A is beyond the largest float64" in str(error)

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("size", [1e-310, 2.0**-1060])
    def test_subnormal_entries(self, size, backend, route):
        """They hold few digits, which are those of the problem: the answer is to what was given."""
        integers = np.random.default_rng(2).integers(-9, 10, (12, 12)).astype(float)
        A, b = integers * size, np.arange(1.0, 13.0) * size
        for state, operand in ((nla.LinearSystem, A), (nla.LeastSquares, A), (nla.LeastSquares, A[:, :4])):
            x = solved(state, backend.asarray(operand), backend.asarray(b), route=route).value
            e = truth.exponent_of(operand)
            exact = np.linalg.lstsq(np.ldexp(operand, -e), np.ldexp(b, -e))[0]
            np.testing.assert_allclose(backend.to_numpy(x), exact, rtol=1e-9)
        error = outcome(nla.LowRank, backend.asarray(A), route=route)
        assert isinstance(error, nla.InvalidProblem)
        assert "the norm of A is below the smallest normal float64" in str(error)

    @ROUTES
    @pytest.mark.parametrize("name", WITH_RHS)
    def test_what_cannot_be_written_is_refused(self, name, route):
        A, state = STATED[name]
        for scale_A, scale_b in ((1e-290, 1e290), (1e200, 1e-200), (1e290, 1e-20)):
            error = outcome(state, A * scale_A, rhs(A) * scale_b, route=route)
            assert isinstance(error, nla.InvalidProblem), (scale_A, scale_b)

    def test_float32_has_its_own(self):
        A = np.random.default_rng(3).uniform(-1.0, 1.0, (60, 5)).astype(np.float32)
        b = ONES.astype(np.float32)
        for size in (3e38, 1e-44):
            error = outcome(nla.LowRank, A * np.float32(size))
            assert isinstance(error, nla.InvalidProblem)
            assert "float32" in str(error)
        x = solved(nla.LeastSquares, A * np.float32(3e38), b * np.float32(3e38)).value
        np.testing.assert_allclose(x, np.linalg.lstsq(A.astype(float), ONES)[0], rtol=1e-4)


class TestWrongAnswersOfSizesFarFromOne:
    """Squares of 1e-170 are zero and those of 1e170 infinite: x = 0 has a relative error of 1, not 0 and not NaN."""

    @ROUTES
    @pytest.mark.parametrize("scale", [1e-290, 1e-170, 1.0, 1e170, 1e290])
    @pytest.mark.parametrize("name", KINDS)
    def test_zero_is_not_an_answer(self, name, scale, route, monkeypatch):
        A, state = STATED[name]
        b = A @ np.ones(A.shape[1])
        kind = kind_of(state(A, b).kind)
        zero = tuple(replace(a, solve=_zero) for a in kind.algorithms if a.safe)
        monkeypatch.setattr(type(kind), "algorithms", property(lambda self: zero))
        monkeypatch.setattr(type(kind), "at_once", lambda self, task, A: ())
        budget = nla.Budget(accuracy=1e-3, on_infeasible="best_effort")
        solution = outcome(state, A * scale, b * scale, route=route, budget=budget)
        assert isinstance(solution, nla.Solution)
        assert solution.status == "best_effort"
        assert not solution.certificate.satisfied
        assert solution.certificate.bound >= 1.0 - 1e-9 if name != "of rank 3" else solution.certificate.bound > 0.1

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", ["linear system", "tall", "wide", "ridge"])
    def test_a_column_that_is_lost_beside_another_is_no_zero(self, name, backend, route):
        """Scaled by what suits the largest, the others vanish: x = 0 would fit them."""
        A, state = STATED[name]
        for exponent in (10, 35, 60, 100, 170, 300):
            B = np.stack([rhs(A), rhs(A) * 10.0**-exponent], axis=1)
            for scale in (1.0, 1e5, 1e-5):
                found = outcome(state, backend.asarray(A * scale), backend.asarray(B * scale), route=route)
                if isinstance(found, nla.InvalidProblem):
                    assert exponent >= 80
                    assert found.argument == "b"
                    assert "column 1 of b is smaller than column 0" in str(found)
                else:
                    assert exponent < 80
                    X = backend.to_numpy(found.value)
                    np.testing.assert_allclose(X[:, 1] * 10.0**exponent, X[:, 0], rtol=1e-8)

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", ["linear system", "tall", "wide"])
    def test_a_column_of_the_answer_that_falls_below_the_normal_numbers(self, name, backend, route):
        """The others are in range; of this one only a few digits could be written down."""
        A, state = STATED[name]
        B = np.stack([rhs(A) * 1e-60, rhs(A) * 1e-135], axis=1)
        error = outcome(state, backend.asarray(A * 1e180), backend.asarray(B), route=route)
        assert isinstance(error, nla.InvalidProblem)
        assert "beyond the range of float64" in str(error)

    @ROUTES
    def test_what_is_left_of_huge_means_has_to_be_in_range_too(self, route):
        A = 1e-300 + 1e-314 * np.rint(RNG.standard_normal((40, 6)) * 100.0)
        found = outcome(lambda A: nla.LowRank(A, rank=2, center=True), A, route=route)
        assert isinstance(found, nla.AutonlaError)

    def test_columns_of_zeros_are_in_order(self):
        B = np.stack([np.zeros(N), ONES, np.zeros(N)], axis=1)
        for name in ("linear system", "tall"):
            A, state = STATED[name]
            X = solved(state, A, B * 1e200).value
            assert not X[:, ::2].any()
            assert np.isfinite(X).all()
            assert X[:, 1].any()

    @ROUTES
    @pytest.mark.parametrize("metric", nla.LinearSystem.metrics)
    @pytest.mark.parametrize("size", [1.0, 1e-50])
    def test_entries_that_scaling_rounds(self, size, metric, route):
        """They are nothing beside the norm of A, but the second component of x is made of one alone."""
        A, b = np.diag([1e200, 1.23456789e-120]), np.full(2, size)
        found = outcome(lambda A, b: nla.LinearSystem(A, b, metric=metric), A, b, route=route,
                        budget=nla.Budget(accuracy=1e-8))  # fmt: skip
        if isinstance(found, nla.Solution):
            residual = b - A @ found.value
            norm_x = np.abs(found.value).max()
            whole = {"backward_error": 1e200 * norm_x, "relative_residual": 0.0, "forward_error": 0.0}[metric]
            assert np.abs(residual).max() <= 1e-8 * (whole + size)
        else:
            assert isinstance(found, (nla.InvalidProblem, nla.CertificationFailed)), found


def _zero(A: Any, b: Any, task: Any, options: Any, evidence: Any, reuse: Any) -> Outcome:
    """Nothing, in the right shape."""
    if task.kind == "low_rank":
        k = task.rank or min(task.m, task.n)
        return Outcome((np.eye(task.m, k), np.zeros(k), np.eye(k, task.n)))
    return Outcome(np.zeros((task.n, *b.shape[1:])))


class TestNothingInIt:
    """Zero rows, columns or right-hand sides: an empty or zero answer, certified, of the right dtype and library."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "float64"])
    def test_every_statement(self, backend, dtype, route):
        def zeros(*shape):
            return backend.asarray(np.zeros(shape), dtype)

        working = "float32" if dtype in ("float16", "float32") else "float64"
        none, four = zeros(0), zeros(4)
        cases = [(lambda d=d: nla.LinearSystem(zeros(0, 0), none, assume=d), (0,))
                 for d in (None, "spd", "upper", "banded", "diagonal")]  # fmt: skip
        cases += [
            (lambda: nla.LinearSystem(zeros(4, 4) + 1, zeros(4, 0)), (4, 0)),
            (lambda: nla.LeastSquares(zeros(0, 4), none), (4,)),
            (lambda: nla.LeastSquares(zeros(4, 0), four), (0,)),
            (lambda: nla.LeastSquares(zeros(0, 4), zeros(0, 2), ridge=1.0), (4, 2)),
            (lambda: nla.LeastSquares(zeros(0, 0), zeros(0, 0)), (0, 0)),
        ]
        for state, shape in cases:
            solution = solved(lambda state=state: state(), route=route)
            assert backend.owns(solution.value)
            assert tuple(solution.value.shape) == shape
            assert solution.value.dtype == backend.dtype(working)
            assert not backend.to_numpy(solution.value).any()
        for m, n in ((0, 0), (0, 4), (5, 0)):
            ways: list[dict[str, Any]] = [{}, {"rank": 1}, {"center": True}]
            for how in ways:
                value = solved(lambda m=m, n=n, how=how: nla.LowRank(zeros(m, n), **how), route=route).value
                assert [tuple(part.shape) for part in value] == [(m, 0), (0,), (0, n)]
                assert all(part.dtype == backend.dtype(working) for part in value)

    def test_zero_matrices_are_not_empty(self):
        for name in ("tall", "wide", "ridge", "low rank", "of rank 3", "principal components"):
            A, state = STATED[name]
            value = parts_of(solved(state, 0.0 * A, rhs(A)))
            assert not value[len(value) // 2].any()  # x, or the singular values


class TestOneRowOrColumn:
    """1 x 1, 1 x n and n x 1: exact but for a rounding or two."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_one_by_one(self, backend, dtype, route):
        eps = float(np.finfo(dtype).eps)
        for a in (3.0, -0.7, 1e-12, 1e12):
            A, b = backend.asarray([[a]], dtype), backend.asarray([2.0], dtype)
            for state in (nla.LinearSystem, nla.LeastSquares):
                x = backend.to_numpy(solved(state, A, b, route=route).value)
                np.testing.assert_allclose(x, [2.0 / a], rtol=4.0 * eps)
            U, s, Vh = (backend.to_numpy(part) for part in solved(nla.LowRank, A, route=route).value)
            np.testing.assert_allclose(U * s @ Vh, [[a]], rtol=4.0 * eps)
            assert s[0] > 0.0

    @ROUTES
    @ON_BACKENDS
    def test_a_row_and_a_column(self, backend, route):
        a = np.linspace(1.0, 2.0, 40)
        column, row = backend.asarray(a[:, None]), backend.asarray(a[None, :])
        x = backend.to_numpy(solved(nla.LeastSquares, column, backend.asarray(3.0 * a), route=route).value)
        np.testing.assert_allclose(x, [3.0], rtol=1e-14)
        x = backend.to_numpy(solved(nla.LeastSquares, row, backend.asarray([1.0]), route=route).value)
        np.testing.assert_allclose(x, a / (a @ a), rtol=1e-14)
        for A in (column, row):
            for rank in (None, 1):
                value = solved(lambda A, rank=rank: nla.LowRank(A, rank=rank), A, route=route).value
                U, s, Vh = (backend.to_numpy(part) for part in value)
                np.testing.assert_allclose(U * s @ Vh, backend.to_numpy(A), rtol=1e-14)


SINGULAR = {
    "ones": np.ones((12, 12)),
    "zeros": np.zeros((12, 12)),
    "a zero on the diagonal": np.diag(np.arange(12.0)),
    "nilpotent": np.eye(12, k=1),
    "a zero column": np.where(np.arange(12) == 5, 0.0, SQUARE[:12, :12]),
    "a zero row": np.where(np.arange(12)[:, None] == 11, 0.0, SQUARE[:12, :12]),
    "two equal rows": SQUARE[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0], :12],
    "magic": np.array([[16.0, 2, 3, 13], [5, 11, 10, 8], [9, 7, 6, 12], [4, 14, 15, 1]]),
    "of rank 3": matrices.exact_rank(12, 12, 3, np.random.default_rng(4)).A,
    "a Laplacian": 2.0 * np.eye(12) - np.roll(np.eye(12), 1, 0) - np.roll(np.eye(12), -1, 0),
}


class TestSingular:
    """Square and singular, exactly or to working precision: an error, or an answer that fits; never NaN."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", SINGULAR)
    def test_refused_by_name_or_certified(self, name, backend, route):
        A = SINGULAR[name]
        n = len(A)
        symmetric = bool((A == A.T).all())
        declared = (None, "symmetric", "spd") if symmetric else (None,)
        for b in (np.arange(1.0, n + 1), A @ np.ones(n), np.zeros(n)):
            for assume, accuracy in itertools.product(declared, (None, 1e-10)):
                found = outcome(lambda A, b, assume=assume: nla.LinearSystem(A, b, assume=assume), backend.asarray(A),
                                backend.asarray(b), route=route, budget=nla.Budget(accuracy=accuracy))  # fmt: skip
                if isinstance(found, nla.Solution):
                    assert truth.backward_error(A, backend.to_numpy(found.value), b).high <= 1e-10
                else:
                    assert isinstance(found, (nla.CertificationFailed, nla.DeclarationMismatch)), found

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", SINGULAR)
    def test_the_error_says_how_singular_it_is_and_what_to_do(self, name, backend, route):
        A = SINGULAR[name]
        n, rank = len(A), int(np.linalg.matrix_rank(A))
        b = np.arange(1.0, n + 1)
        found = outcome(nla.LinearSystem, backend.asarray(A), backend.asarray(b), route=route)
        if isinstance(found, nla.CertificationFailed):
            assert f"A is singular to working precision (rank {rank} of {n})" in str(found)
            assert "LeastSquares(A, b) gives the solution of minimum norm" in str(found)
            assert "\n" not in str(found)
        else:  # a pivot of rounding: x is huge, and fits
            assert name in ("magic", "a Laplacian", "of rank 3", "two equal rows", "a zero column"), found

    @ROUTES
    def test_of_a_regular_matrix_nothing_of_the_kind_is_said(self, route):
        budget = nla.Budget(accuracy=1e-17)
        found = outcome(nla.LinearSystem, SQUARE, ONES, route=route, budget=budget)
        assert isinstance(found, nla.AutonlaError)
        assert "singular" not in str(found)

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", SINGULAR)
    def test_least_squares_gives_the_solution_of_minimum_norm(self, name, backend, route):
        A = SINGULAR[name]
        b = np.arange(1.0, len(A) + 1)
        rank = int(np.linalg.matrix_rank(A))
        solution = solved(nla.LeastSquares, backend.asarray(A), backend.asarray(b), route=route)
        np.testing.assert_allclose(backend.to_numpy(solution.value), np.linalg.lstsq(A, b)[0], atol=1e-11)
        assert solution.certificate.numerical_rank == rank


class TestRankDeficientLeastSquares:
    """Tall and wide, of a rank that is exact: the solution of minimum norm, and the rank in the certificate."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("shape", [(60, 12), (12, 60), (30, 30)])
    def test_minimum_norm(self, shape, backend, route):
        A = matrices.exact_rank(shape[0], shape[1], 5, np.random.default_rng(5)).A
        for b in (rhs(A), np.stack([rhs(A), A @ np.ones(shape[1])], axis=1)):
            solution = solved(nla.LeastSquares, backend.asarray(A), backend.asarray(b), route=route)
            x = backend.to_numpy(solution.value)
            assert bars.lstsq_ratio(A, x, b) < bars.BAR
            assert truth.minimum_norm_excess(A, x, 5).high < 1e-7
            assert solution.certificate.numerical_rank == 5
        # all of A counts with a ridge
        x = solved(lambda A, b: nla.LeastSquares(A, b, ridge=1e-2), A, rhs(A), route=route).value
        exact = A.T @ np.linalg.solve(A @ A.T + 1e-2 * np.eye(shape[0]), rhs(A))
        np.testing.assert_allclose(x, exact, atol=1e-9)


FAMOUS = {
    "Hilbert": matrices.hilbert(20).A,
    "Vandermonde": matrices.vandermonde(30, 30).A,
    "Kahan": matrices.kahan(60).A,
}


class TestIllConditioned:
    """Hilbert, Vandermonde, Kahan: backward stable answers, and nothing claimed of their digits."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("name", FAMOUS)
    def test_residuals_are_those_of_lapack(self, name, backend, route):
        A = FAMOUS[name]
        b = rhs(A)
        solution = solved(nla.LinearSystem, backend.asarray(A), backend.asarray(b), route=route)
        assert bars.linear_solve_ratio(A, backend.to_numpy(solution.value), b) < bars.BAR
        assert solution.certificate.metric == "backward_error"
        value = [backend.to_numpy(part) for part in solved(nla.LowRank, backend.asarray(A), route=route).value]
        assert bars.svd_ratio(A, value[0], value[1], value[2]) < bars.SVD_BAR

    @ROUTES
    @pytest.mark.parametrize("name", FAMOUS)
    def test_least_squares(self, name, route):
        A = FAMOUS[name]
        found = outcome(nla.LeastSquares, A, rhs(A), route=route)
        if isinstance(found, nla.Solution):
            error = truth.prediction_error(A, found.value, rhs(A), rank=found.certificate.numerical_rank)
            assert error.low <= found.certificate.bound
        else:
            assert isinstance(found, nla.CertificationFailed)


class TestGrowth:
    """Wilkinson's matrix, on which LU with partial pivoting loses everything: the residual tells, and QR follows."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("n", [100, 300])
    def test_found_out(self, n, backend, route):
        A = matrices.wilkinson_growth(n).A
        A[np.tril_indices(n, -1)] *= 0.99  # every step is rounded, and no row is exchanged
        b = np.random.default_rng(n).standard_normal(n)
        given = np.asfortranarray(A) if backend.name == "numpy" else backend.asarray(A.T).T  # A' does not grow
        solution = solved(nla.LinearSystem, given, backend.asarray(b), route=route)
        assert bars.linear_solve_ratio(A, backend.to_numpy(solution.value), b) < bars.BAR
        labels = [attempt.label for attempt in solution.record.attempts]
        assert labels[-1].startswith("qr")
        assert len(labels) > 1

    def test_the_classical_one_in_either_order(self):
        for n in (100, 300):
            A, b = matrices.wilkinson_growth(n).A, np.random.default_rng(n).standard_normal(n)
            for given in (A, np.asfortranarray(A), A.T):
                x = solved(nla.LinearSystem, given, b).value
                assert bars.linear_solve_ratio(given, x, b) < bars.BAR


class TestGraded:
    """Rows or columns that fall to 1e-30 of the first: Gram matrices break, answers do not."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("decades", [30, -30])
    @pytest.mark.parametrize("side", ["rows", "columns"])
    def test_residuals_are_small(self, side, decades, backend, route):
        A, tall = (matrices.graded(M, **{side: decades}) for M in (SQUARE, SQUARE[:, :8]))
        b = rhs(A)
        x = backend.to_numpy(solved(nla.LinearSystem, backend.asarray(A), backend.asarray(b), route=route).value)
        assert bars.linear_solve_ratio(A, x, b) < bars.BAR
        value = [backend.to_numpy(part) for part in solved(nla.LowRank, backend.asarray(A), route=route).value]
        assert bars.svd_ratio(A, value[0], value[1], value[2]) < bars.SVD_BAR
        found = outcome(nla.LeastSquares, backend.asarray(tall), backend.asarray(b), route=route)
        if isinstance(found, nla.Solution):
            error = truth.prediction_error(tall, backend.to_numpy(found.value), b)
            assert error.low <= found.certificate.bound
        else:  # rows that small take nearly all digits from the columns: not for every right-hand side
            assert side == "rows"
            assert isinstance(found, nla.CertificationFailed)


DECLARED = {
    "symmetric": SQUARE + SQUARE.T, "spd": SPD / N, "upper": UPPER, "lower": UPPER.T.copy(), "triangular": UPPER,
    "banded": BAND, "diagonal": np.diag(np.arange(1.0, N + 1)), "general": SQUARE,
}  # fmt: skip
# Where one entry more makes it false.
FALSE = {"symmetric": ("below", "above"), "spd": ("below", "above"), "upper": ("below",), "lower": ("above",),
         "triangular": ("below",), "diagonal": ("below", "above")}  # fmt: skip


class TestFalseDeclarations:
    """Declared spd, symmetric, triangular, banded, diagonal, and wrong in one entry, be it by 1e-8 of the norm of A:
    DeclarationMismatch, or an answer to the matrix that was given. Never one to another matrix."""

    @ROUTES
    @ON_BACKENDS
    @pytest.mark.parametrize("declared", DECLARED)
    def test_one_entry(self, declared, backend, route):
        rng = np.random.default_rng(6)
        b = rng.standard_normal(N)
        for place, at in {"below": (41, 7), "above": (7, 41), "diagonal": (23, 23)}.items():
            for size in (1e-8, 1.0):
                A = DECLARED[declared].copy()
                A[at] += size * np.linalg.norm(A)
                found = outcome(lambda A, b: nla.LinearSystem(A, b, assume=declared), backend.asarray(A),
                                backend.asarray(b), route=route, budget=nla.Budget(accuracy=1e-12))  # fmt: skip
                if isinstance(found, nla.Solution):
                    assert found.status == "certified"
                    assert truth.backward_error(A, backend.to_numpy(found.value), b).high <= 1e-12
                    false = place in FALSE.get(declared, ())
                    assert not false or declared in ("symmetric", "spd")
                    assert not false or route is None, "what is planned is checked beforehand"
                else:
                    assert isinstance(found, nla.DeclarationMismatch), found
                    assert found.argument == "assume"
                    assert place in FALSE[declared]

    @ROUTES
    @pytest.mark.parametrize("declared", ["spd", "symmetric", "upper", "diagonal"])
    def test_a_loose_accuracy_does_not_hide_it(self, declared, route):
        """A backward error of 0.1 leaves room for much, but not for reading one half of A only."""
        A = DECLARED[declared].copy()
        A[50:, :10] += np.linalg.norm(A)
        found = outcome(lambda A, b: nla.LinearSystem(A, b, assume=declared), A, ONES, route=route,
                        budget=nla.Budget(accuracy=0.1))  # fmt: skip
        if isinstance(found, nla.Solution):
            assert truth.backward_error(A, found.value, ONES).high <= 0.1
        else:
            assert isinstance(found, nla.DeclarationMismatch)


# --- what operands are made of: the table of docs/inputs.md


SMALL = RNG.standard_normal((12, 12)) + 12.0 * np.eye(12)
RHS = np.linspace(1.0, 2.0, 12)
SYMMETRIC = SMALL + SMALL.T
POSITIVE = np.rint(np.abs(SMALL) * 5.0)  # in the range of every integer dtype


def _numpy(dtype: str, values: np.ndarray = POSITIVE) -> list[tuple[Any, Any]]:
    return [(values.astype(dtype), RHS.astype(dtype))]


def _torch(dtype: Any, values: np.ndarray = POSITIVE) -> list[tuple[Any, Any]]:
    return [(torch.asarray(values).to(dtype), torch.asarray(RHS).to(dtype))]


def _both(*names: str) -> list[tuple[Any, Any]]:
    return [pair for name in names for pair in _numpy(name) + _torch(getattr(torch, name))]


class _Named:
    """An object of a library that may not be installed: nothing but what is looked at."""

    def __new__(cls, module: str, name: str, **attributes: Any) -> Any:
        return type(name, (), {"__module__": module, **attributes})()


class _Operator:
    shape, dtype = (12, 12), np.dtype(float)

    def matvec(self, x):
        return SMALL @ x


_linear_operator: Any = LinearOperator  # what it is called with, its type does not say


def _broken_csr() -> Any:
    A = scipy.sparse.csr_array(SMALL)
    A.indices[3] = 10**8
    return A


def _tensors(dtype: Any = torch.float64) -> tuple[Any, Any]:
    return torch.asarray(SMALL).to(dtype), torch.asarray(RHS).to(dtype)


def _without_gradients() -> list[tuple[Any, Any]]:
    t, b = _tensors()
    return [(torch.nn.Parameter(t), b), (t, b.clone().requires_grad_())]


def _overlapping() -> np.ndarray:
    """Every diagonal is one number in memory."""
    v = np.concatenate([RHS[:11], [30.0], RHS[:11]])
    return np.lib.stride_tricks.as_strided(v[11:], (12, 12), (-8, 8))


def _laid_out() -> list[tuple[Any, Any]]:
    return [(A, RHS) for _, A in layouts(SMALL)] + [(SMALL, b) for _, b in layouts(RHS)] + [
        (_overlapping(), RHS[::-1]), (SMALL[::-1, ::-1], RHS[::-1]),
        (SMALL, np.broadcast_to(1.5, (12,))), (SMALL, np.broadcast_to(RHS[:, None], (12, 3))),
    ]  # fmt: skip


def _strided_tensors() -> list[tuple[Any, Any]]:
    t, b = _tensors()
    wide = torch.zeros(24, 36, dtype=torch.float64)
    wide[::2, ::3] = t
    return [(t.T, b), (wide[::2, ::3], b), (t, b[:1].expand(12)), (t.T.contiguous().T, torch.stack([b, b], 1)[:, 1])]


def _read_only(folder: Path) -> list[tuple[Any, Any]]:
    A = SMALL.copy()
    A.setflags(write=False)
    mapped = np.memmap(folder / "A.bin", float, "w+", shape=(12, 12))
    mapped[:] = SMALL
    mapped.flush()
    return [(A, RHS), (np.memmap(folder / "A.bin", float, "r", shape=(12, 12)), RHS)]


def _subclasses(folder: Path) -> list[tuple[Any, Any]]:
    import warnings

    class Mine(np.ndarray):
        def __array_priority__(self):
            return 1e9

        def astype(self, *arguments, **how):
            raise RuntimeError("nothing of a subclass is to be called")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(SMALL)
    return [(matrix, RHS), (SMALL.view(Mine), RHS.view(Mine))]


def _layouts_of_torch(folder: Path) -> list[tuple[Any, Any]]:
    import warnings

    t, b = _tensors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [t.to_sparse(), t.to_sparse_csr(), torch.nested.nested_tensor([t, t]), t.float().to_mkldnn()]
    return [(A, b) for A in found] + [(t, b.to_sparse())]


def _quantized(folder: Path) -> list[tuple[Any, Any]]:
    import warnings

    t, b = _tensors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8), b), (t.to(torch.float8_e4m3fn), b)]


def _subclasses_of_torch(folder: Path) -> list[tuple[Any, Any]]:
    class Mine(torch.Tensor):
        pass

    t, b = _tensors()
    return [(t.as_subclass(Mine), b), (t, b.as_subclass(Mine))]


def _sparse_formats(folder: Path) -> list[tuple[Any, Any]]:
    arrays = [scipy.sparse.csr_array(SMALL).asformat(f) for f in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")]
    return [(A, RHS) for A in (*arrays, scipy.sparse.csr_matrix(SMALL), scipy.sparse.csr_array(POSITIVE.astype(int)))]


def _symmetric_formats() -> list[tuple[Any, Any]]:
    formats = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    return [(scipy.sparse.csr_array(SYMMETRIC).asformat(name), RHS) for name in formats]


def _operators() -> list[tuple[Any, Any]]:
    return [(A, RHS) for A in (aslinearoperator(SMALL), _Operator(), _linear_operator((12, 12), matvec=SMALL.dot))]


def _array_likes(folder: Path) -> list[tuple[Any, Any]]:
    frame = _Named("pandas", "DataFrame", shape=(12, 12), to_numpy=lambda self: SMALL, __array__=lambda self: SMALL)
    offers = _Named("elsewhere", "Array", shape=(12, 12), __array__=lambda self, dtype=None, copy=None: SMALL)
    faces = _Named("elsewhere", "Face", __array_interface__=SMALL.__array_interface__)
    packed = _Named("elsewhere", "Packed", __dlpack__=lambda self, **how: SMALL.__dlpack__(**how))
    return [(A, RHS) for A in (frame, offers, faces, packed)] + [(SMALL, A) for A in (frame, offers, faces, packed)]


def _elsewhere(folder: Path) -> list[tuple[Any, Any]]:
    t, b = _tensors()
    device = type("Device", (), {"id": 1})()
    on_gpu = _Named("cupy", "ndarray", shape=(12,), dtype=np.dtype(float), device=device)
    sparse_on_gpu = _Named("cupyx.scipy.sparse", "csr_matrix", shape=(12, 12), dtype=np.dtype(float), device=device,
                           tocsr=lambda self: self)  # fmt: skip
    return [(SMALL, b), (t, RHS), (t, RHS.tolist()), (SMALL, on_gpu), (scipy.sparse.csr_array(SMALL), b),
            (sparse_on_gpu, RHS)]  # fmt: skip


def _dask(folder: Path) -> list[tuple[Any, Any]]:
    return [(_Named("dask.array.core", "Array", shape=(12, 12), dtype=np.dtype(float), chunks=((12,),)), RHS)]


MADE_OF = {
    "`float64`": lambda f: _both("float64"),
    "`float32`, all operands": lambda f: _both("float32"),
    "`float32` beside `float64`": lambda f: [
        (SMALL.astype("f4"), RHS), (SMALL, RHS.astype("f4")), (torch.asarray(SMALL).float(), torch.asarray(RHS))],
    "`float16`": lambda f: _both("float16"),
    "`bfloat16`": lambda f: _torch(torch.bfloat16),
    "`float16` beside `bfloat16`": lambda f: [(_torch(torch.float16)[0][0], _torch(torch.bfloat16)[0][1])],
    "`float16` beside an integer": lambda f: [(POSITIVE.astype("f2"), RHS.astype("i1"))],
    "`int8` to `int64`": lambda f: _both("int8", "int16", "int32", "int64"),
    "`uint8` to `uint64`": lambda f: _both("uint8", "uint16", "uint32", "uint64"),
    "`bool`": lambda f: [(np.eye(12, dtype=bool), RHS > 1.5), (torch.eye(12).bool(), torch.asarray(RHS > 1.5))],
    "big-endian numbers": lambda f: [pair for d in (">f8", ">i4", ">u2") for pair in _numpy(d)],
    "`complex64`, `complex128`": lambda f: _both("complex64", "complex128"),
    "a complex b beside a real A": lambda f: [(SMALL, RHS + 0j), (_tensors()[0], _tensors(torch.complex128)[1])],
    "`longdouble`, `clongdouble`": lambda f: _numpy("longdouble") + _numpy("clongdouble"),
    "`object`": lambda f: [*_numpy("object"), ([[None] * 12] * 12, RHS), (SMALL, [10**400] * 12)],
    "text, dates, records": lambda f: [*_numpy("U8"), *_numpy("S8"), *_numpy("M8[s]"), *_numpy("m8[s]"),
                                       (np.zeros((12, 12), [("a", float)]), RHS), ([["1"] * 12] * 12, RHS)],
    "`float8` and quantized tensors": _quantized,
    "numpy array of any strides, alignment and memory order": lambda f: _laid_out(),
    "read-only numpy array, `numpy.memmap`": _read_only,
    "`numpy.matrix` and other subclasses of `numpy.ndarray`": _subclasses,
    "masked array, alone or in a list": lambda f: [
        (np.ma.masked_array(SMALL, SMALL > 10.0), RHS), (np.ma.masked_array(SMALL), RHS),
        (SMALL, np.ma.masked_array(RHS)), (list(np.ma.masked_array(SMALL, SMALL > 10.0)), RHS)],
    "nested list or tuple of numbers": lambda f: [
        (SMALL.tolist(), RHS.tolist()), (tuple(map(tuple, SMALL)), tuple(RHS)), (list(SMALL), RHS),
        (list(_tensors()[0]), RHS)],
    "torch tensor on the CPU, any strides": lambda f: _strided_tensors(),
    "torch tensor on a CUDA device": lambda f: [(_tensors()[0].cuda(), _tensors()[1].cuda())],
    "torch tensor with `requires_grad`": lambda f: _without_gradients(),
    "the same under `torch.no_grad()`": lambda f: _without_gradients(),
    "torch tensor with a negative bit": lambda f: [(torch._neg_view(_tensors()[0]), torch._neg_view(_tensors()[1]))],
    "torch tensor on any other device (`meta`, `mps`)": lambda f: [
        (_tensors()[0].to("meta"), _tensors()[1].to("meta")), (_tensors()[0], _tensors()[1].to("meta"))],
    "torch tensor that is sparse, nested or of another layout": _layouts_of_torch,
    "subclass of `torch.Tensor` other than `torch.nn.Parameter`": _subclasses_of_torch,
    "cupy array": lambda f: [(_cupy().asarray(SMALL), _cupy().asarray(RHS))],
    "symmetric array or tensor on the CPU: `Eigenpairs`, `MatrixFunction`": lambda f: [
        (SYMMETRIC, RHS), (torch.asarray(SYMMETRIC), torch.asarray(RHS))],
    "scipy.sparse array or matrix, any format: `LinearSystem`": _sparse_formats,
    "the same, symmetric: `Eigenpairs`, `MatrixFunction`": lambda f: _symmetric_formats(),
    "the same: other problems": _sparse_formats,
    "sparse array whose indices point outside it": lambda f: [(_broken_csr(), RHS)],
    "LinearOperator, or any object with `matvec`, `shape` and `dtype`: `LinearSystem`": lambda f: _operators(),
    "the same, symmetric: `Eigenpairs` (declared so), `MatrixFunction`": lambda f: [(aslinearoperator(SYMMETRIC), RHS)],
    "the same: other problems, or operators on a GPU": lambda f: _operators(),
    "operator without a dtype": lambda f: [(_Named("mine", "Op", shape=(12, 12), matvec=_Operator.matvec), RHS)],
    "dask array": _dask,
    "data frames; objects with `__array__`, `__array_interface__` or `__dlpack__`": _array_likes,
    "operands of two libraries, or on two devices": _elsewhere,
}  # fmt: skip


def _cupy() -> Any:
    import cupy  # pyright: ignore[reportMissingImports]

    return cupy


def table() -> dict[str, tuple[str, str, str]]:
    """What comes in -> (computed in, what comes out, refused with), of docs/inputs.md."""
    page = Path(__file__).resolve().parents[2] / "docs" / "inputs.md"
    if not page.is_file():
        pytest.skip("the tests were copied out of the checkout")
    lines = page.read_text().partition("|---|---|---|---|\n")[2].splitlines()
    rows = [line.strip("|").split("|") for line in lines[: lines.index("")]]
    return {row[0].strip(): (row[1].strip(), row[2].strip(), row[3].strip()) for row in rows}


ON_A_GPU = ("torch tensor on a CUDA device", "cupy array")


class TestTheTableOfInputs:
    """Precision, integers, long double, objects, byte order, complex numbers, layouts, libraries and devices: what the
    documentation says of each is what happens, for every kind of problem."""

    def test_every_row_is_tested_and_every_test_is_a_row(self):
        assert list(table()) == list(MADE_OF)

    @pytest.mark.parametrize("what", [pytest.param(w, marks=pytest.mark.gpu) if w in ON_A_GPU else w for w in MADE_OF])
    def test_what_is_said_is_what_happens(self, what, tmp_path):
        if what == "cupy array":
            pytest.importorskip("cupy")
        computed, comes_out, error = table()[what]
        for A, b in MADE_OF[what](tmp_path):
            operands = [x for x in (A, b) if isinstance(x, (np.ndarray, torch.Tensor)) or scipy.sparse.issparse(x)]
            before = [seen(x) for x in operands]
            with torch.set_grad_enabled("no_grad" not in what):
                stated = [(nla.LinearSystem, A, b), (nla.LeastSquares, A, b), (nla.LowRank, A)]
                stated = stated[:2] if "beside" in what else stated
                stated = stated[:1] if what.endswith(": `LinearSystem`") else stated
                stated = stated[1:] if what.startswith("the same: other problems") else stated
                stated = [(_eigenpairs, A, 2), (_inverse, A, b)] if what.endswith("`MatrixFunction`") else stated
                if not error:
                    for state, *arguments in stated:
                        self.is_solved(state, arguments, computed, comes_out)
                    continue
                at_fault = {self.is_refused(state, arguments, error) for state, *arguments in stated[:2]}
                if at_fault == {"A"}:
                    self.is_refused(nla.LowRank, [A], error)
            assert [seen(x) for x in operands] == before

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16"])
    @pytest.mark.parametrize("order", [60, 250, 500])
    def test_orders_from_which_a_matrix_is_looked_at_first(self, order, dtype):
        A = np.eye(order) if dtype == "bool" else np.diag(np.arange(order) % 50 + 1.0) + np.eye(order, k=3)
        given = [torch.asarray(A).to(getattr(torch, dtype))]
        given += [A.astype(dtype)] if dtype != "bfloat16" else []
        for operand in given:
            b = torch.ones(order).to(operand.dtype) if isinstance(operand, torch.Tensor) else np.ones(order, dtype)
            x = solved(nla.LinearSystem, operand, b).value
            np.testing.assert_allclose(_plain(x), np.linalg.solve(A, np.ones(order)), rtol=1e-5)

    @staticmethod
    def is_refused(state, arguments, error):
        """With the error that is named, of one line, and at once unless it is NoAlgorithm. Returns what is at fault."""
        if error == "NoAlgorithm":
            problem = state(*arguments)
            for call in (nla.solve, nla.plan):
                with pytest.raises(nla.NoAlgorithm, match="no algorithm registered yet"):
                    call(problem, rng=0, profile=PROFILE)
            return "A"
        with pytest.raises(nla.InvalidProblem) as caught:
            state(*arguments)
        assert type(caught.value).__name__ == error
        assert "\n" not in str(caught.value)
        assert 15 < len(str(caught.value)) < 300
        assert "object at 0x" not in str(caught.value)
        assert caught.value.argument in ("A", "b")
        return caught.value.argument

    @staticmethod
    def is_solved(state, arguments, computed, comes_out):
        A = np.array(_plain(arguments[0]), dtype=float)
        for route in (None, PROFILE):
            problem = state(*arguments)
            assert problem.working()[2] == computed
            solution = nla.solve(problem, nla.Budget(accuracy=1e-4), rng=0, profile=route)
            assert solution.status == "certified"
            for part in parts_of(solution):
                name = "torch" if isinstance(part, torch.Tensor) else type(part).__module__
                assert name == (library_name(arguments[0]) if comes_out == computed else comes_out.partition(",")[0])
                assert str(part.dtype).endswith(computed)
                if isinstance(part, torch.Tensor):
                    assert not part.requires_grad
            plain = [np.array(_plain(part), dtype=float) for part in parts_of(solution)]
            if state is _eigenpairs:
                w, V = plain
                assert np.linalg.norm(A @ V - V * w) <= 2e-4 * np.linalg.norm(A)
                np.testing.assert_allclose(w, np.linalg.eigvalsh(A)[:-3:-1], rtol=1e-3)
            elif state is nla.LowRank:
                U, s, Vh = plain
                assert np.linalg.norm(A - U * s @ Vh) <= 2e-4 * np.linalg.norm(A)
            else:
                b, x = np.array(_plain(arguments[1]), dtype=float), plain[0]
                scale = np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(b)
                assert np.linalg.norm(A.T @ (b - A @ x)) <= 2e-4 * np.linalg.norm(A, 2) * scale


def _eigenpairs(A: Any, k: int) -> nla.Eigenpairs:
    return nla.Eigenpairs(A, k, assume="symmetric")


def _inverse(A: Any, b: Any) -> nla.MatrixFunction:
    return nla.MatrixFunction(A, "inv", apply_to=b)


def library_name(operand: Any) -> str:
    return "torch" if isinstance(operand, torch.Tensor) else "numpy"


def _plain(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.detach().resolve_neg().double().cpu().numpy()
    if scipy.sparse.issparse(x):
        return x.toarray()
    if hasattr(x, "matvec"):
        return np.stack([x.matvec(column) for column in np.eye(x.shape[1])], axis=1)
    return x.get() if hasattr(x, "get") else x


class TestLayouts:
    """Negative and zero strides, Fortran order, read-only, broadcast: the same answers, and copies are counted."""

    @ROUTES
    @pytest.mark.parametrize("name", ["symmetric", "positive definite", "upper", "diagonal", "banded", "wide", "ridge",
                                      "low rank", "of rank 3", "principal components"])  # fmt: skip
    def test_any_layout_gives_the_same(self, name, route):
        A, state = STATED[name]
        expected = parts_of(solved(state, A, rhs(A), route=route))
        for layout, given in layouts(A):
            for b in (rhs(A), rhs(A)[::-1].copy()[::-1], np.repeat(rhs(A), 3)[::3]):
                found = parts_of(solved(state, given, b, route=route))
                for part, reference in zip(found, expected, strict=True):
                    np.testing.assert_allclose(np.abs(part), np.abs(reference), rtol=1e-6, atol=1e-9, err_msg=layout)

    @ROUTES
    def test_rows_and_entries_that_share_their_memory(self, route):
        row = np.linspace(1.0, 2.0, 20)
        for A in (np.broadcast_to(row, (30, 20)), np.broadcast_to(row[:, None], (20, 30)), np.broadcast_to(2.0, (9, 7)),
                  _overlapping()):  # fmt: skip
            b = np.broadcast_to(3.0, A.shape[:1])
            solution = solved(nla.LeastSquares, A, b, route=route)
            np.testing.assert_allclose(solution.value, np.linalg.lstsq(A.copy(), b.copy())[0], atol=1e-12)
            U, s, Vh = solved(nla.LowRank, A, route=route).value
            np.testing.assert_allclose(U * s @ Vh, A, atol=1e-12)
        U, s, Vh = solved(nla.LowRank, torch.asarray(row).expand(30, 20), route=route).value
        np.testing.assert_allclose((U * s @ Vh).numpy(), np.broadcast_to(row, (30, 20)), atol=1e-12)

    @pytest.mark.parametrize(("make", "copies"), [
        (lambda A: A, 0), (np.asfortranarray, 0), (torch.asarray, 0), (lambda A: torch.asarray(A).T.contiguous().T, 0),
        (lambda A: A[::-1], 8), (lambda A: np.repeat(A, 2, axis=1)[:, ::2], 8), (lambda A: A.astype(">f8"), 8),
        (lambda A: A.astype("f2"), 4), (lambda A: A.astype("i4"), 8), (lambda A: torch.asarray(A).bfloat16(), 4),
        (lambda A: torch._neg_view(torch.asarray(A)), 8),
    ])  # fmt: skip
    def test_copies_are_counted(self, make, copies):
        """In bytes an entry; and once more where the copy has to be scaled."""
        problem = nla.LeastSquares(make(TALL), make(ONES[:, None]))
        assert problem.copied_bytes == copies * (TALL.size + N)
        ready = prepare(problem, kind_of(problem.kind).task(problem, 1e-4, 0))
        assert ready.held_bytes == problem.copied_bytes

    def test_a_copy_that_does_not_fit_the_memory_is_infeasible(self):
        A = np.zeros((3000, 40), np.int8)
        A[:40] = np.eye(40, dtype=np.int8)
        b = np.ones(3000)
        copy = 8 * A.size
        needed = max(c.forecast.bytes.high for c in nla.plan(nla.LeastSquares(A, b), rng=0, profile=PROFILE).candidates
                     if c.forecast is not None)  # fmt: skip
        for limit in (0.5 * copy, 0.99 * copy):
            error = outcome(nla.LeastSquares, A, b, budget=nla.Budget(memory=limit), route=PROFILE)
            assert isinstance(error, nla.InfeasibleBudget)
        enough = nla.Budget(memory=copy + 2.0 * needed)
        record = solved(nla.LeastSquares, A, b, budget=enough, route=PROFILE).record
        assert record.peak_bytes is not None
        assert copy <= record.peak_bytes <= copy + 2.0 * needed

    @ROUTES
    def test_the_callers_error_state_does_not_matter(self, route):
        for name, (A, state) in STATED.items():
            for scale in (1.0, 1e200, 1e-200):
                with np.errstate(all="raise"):
                    found = outcome(state, A * scale, rhs(A) * scale, route=route)
                assert isinstance(found, (nla.Solution, nla.InvalidProblem)), name


class TestMaskedArrays:
    """Other libraries ignore the mask. np.matrix and subclasses are arrays; whatever looks like one is not."""

    @pytest.mark.parametrize("masked", [
        np.ma.masked_array(SMALL, mask=np.eye(12, dtype=bool)), np.ma.masked_array(SMALL), np.ma.masked_invalid(SMALL),
        [np.ma.masked_array([1.0, 2.0], [True, False]), [3.0, 4.0]], [[1.0, np.ma.masked], [3.0, 4.0]],
    ], ids=["masked", "no mask", "masked where invalid", "rows", "one entry"])  # fmt: skip
    def test_refused_in_any_form(self, masked):
        for state in (lambda A: nla.LowRank(A), lambda A: nla.LeastSquares(A, np.ones(len(A))),
                      lambda A: nla.LeastSquares(np.ones((len(A), 2)), A)):  # fmt: skip
            error = outcome(state, masked)
            assert isinstance(error, nla.InvalidProblem)
            assert "mask" in str(error)

    @pytest.mark.parametrize(("value", "how"), [
        (_Named("pandas", "DataFrame", to_numpy=lambda self: SMALL), r"DataFrame; pass its \.to_numpy\(\)"),
        (_Named("jax", "Array", __array__=lambda self: SMALL), "Array; pass numpy.asarray of it"),
        (_Named("x", "Face", __array_interface__=SMALL.__array_interface__), "Face; pass numpy.asarray of it"),
        (_Named("x", "Packed", __dlpack__=lambda self: None), "Packed; pass numpy.from_dlpack of it"),
        ((row for row in SMALL), "generator; pass a list of what it yields"),
        (memoryview(b"12"), "memoryview"), ({}, "dict"), (None, "NoneType"), (np, "module"), (np.ndarray, "type"),
    ])  # fmt: skip
    def test_what_is_no_array_is_told_how_to_become_one(self, value, how):
        for state in (lambda: nla.LowRank(value), lambda: nla.LinearSystem(SMALL, value)):
            with pytest.raises(nla.InvalidProblem, match=f"must be an array .*; got {how}"):
                state()

    @pytest.mark.parametrize("value", [
        [[1.0, 2.0], [3.0]], [[1.0], [[2.0]]], [torch.ones(2, requires_grad=True)] * 2, [np.ones(2), np.ones(3)],
        [torch.ones(2, device="meta")] * 2, [{"a": 1.0}], [[1.0, "a"], [2.0, None]],
    ])  # fmt: skip
    def test_lists_that_form_no_array(self, value):
        for state in (lambda: nla.LowRank(value), lambda: nla.LeastSquares(value, np.ones(2))):
            with pytest.raises(nla.InvalidProblem, match="A ") as caught:
                state()
            assert "\n" not in str(caught.value)


def _csr() -> Any:
    """Three by four, five nonzeros, sorted."""
    return scipy.sparse.csr_array(np.array([[1.0, 0, 2, 0], [0, 0, 0, 3], [4, 5, 0, 0]]))


def _set(A: Any, part: str, at: Any, value: Any) -> Any:
    getattr(A, part)[at] = value
    return A


def _put(A: Any, part: str, value: Any) -> Any:
    setattr(A, part, value)
    return A


BROKEN = {
    "an index beyond the last column": (lambda: _set(_csr(), "indices", 2, 4), "indices holds 0 to 4"),
    "one far beyond": (lambda: _set(_csr(), "indices", 2, 2**31 - 1), "indices holds 0 to 2147483647"),
    "a negative index": (lambda: _set(_csr(), "indices", 2, -1), "indices holds -1 to 2"),
    "csc": (lambda: _set(_csr().tocsc(), "indices", 0, 3), "csc matrix: indices holds 0 to 3"),
    "rows that end before they begin": (lambda: _set(_csr(), "indptr", 1, 4), "indptr does not rise"),
    "a first row that begins late": (lambda: _set(_csr(), "indptr", 0, 1), "indptr does not rise from 0"),
    "a negative beginning": (lambda: _set(_csr(), "indptr", 1, -2), "indptr holds -2 to 5"),
    "more entries than there are": (lambda: _set(_csr(), "indptr", 3, 6), "indptr holds 0 to 6"),
    "too few rows": (lambda: _put(_csr(), "indptr", np.array([0, 2, 5])), "indptr has 3 entries, not 4"),
    "too few indices": (lambda: _put(_csr(), "indices", np.array([0, 2])), "indptr speaks of 5 indices"),
    "too few numbers": (lambda: _put(_csr(), "data", np.ones(3)), "indptr holds 0 to 5"),
    "numbers in a matrix": (lambda: _put(_csr(), "data", np.ones((5, 1))), "data has another number of dimensions"),
    "fractions as indices": (lambda: _put(_csr(), "indices", np.zeros(5)), "indices is not a vector of integers"),
    "a list of indices": (lambda: _put(_csr(), "indptr", [0, 2, 3, 5]), "indptr is not a vector of integers"),
    "blocks": (lambda: _set(_csr().tobsr((1, 2)), "indices", 0, 2), "bsr matrix: indices holds 0 to 2"),
    "blocks that do not fill it": (lambda: _put(_csr().tobsr((1, 2)), "data", np.ones((4, 2, 2))), "do not fill it"),
    "coordinates of rows": (lambda: _set(_csr().tocoo(), "row", 0, 3), "coo matrix: row holds 0 to 3"),
    "coordinates of columns": (lambda: _set(_csr().tocoo(), "col", 0, -7), "coo matrix: col holds -7 to 3"),
    "coordinates without numbers": (lambda: _put(_csr().tocoo(), "data", np.ones(4)), "row has 5 entries, not 4"),
    "coordinates with numbers in a matrix": (lambda: _put(_csr().tocoo(), "data", np.ones((5, 1))), "is not a vector"),
    "diagonals in a vector": (lambda: _put(_csr().todia(), "data", np.ones(5)), "data is not a matrix"),
    "diagonals": (lambda: _put(_csr().todia(), "offsets", np.arange(9)), "offsets do not name the rows of data"),
    "a diagonal twice": (lambda: _set(_csr().todia(), "offsets", slice(None), 1), "offsets repeat"),
    "lists": (lambda: _set(_csr().tolil(), "rows", 1, [99]), "lil matrix: row 1 holds 99 to 99"),
    "lists of other lengths": (lambda: _set(_csr().tolil(), "data", 1, [1.0, 2.0]), "1 indices and 2 values"),
    "a list too few": (lambda: _put(_csr().tolil(), "rows", np.array([[0], [1]], object)), "a list for each row"),
    "a dictionary": (lambda: _csr_with_key((0, 99)), r"dok matrix: the index \(0, 99\) lies outside"),
}


def _csr_with_key(key: tuple[int, int]) -> Any:
    A = _csr().todok()
    A._dict[key] = 1.0
    return A


class TestBrokenSparseMatrices:
    """An index that points outside crashes what computes with it: refused where the problem is stated."""

    @pytest.mark.parametrize("name", BROKEN)
    def test_refused_with_the_reason(self, name):
        make, reason = BROKEN[name]
        for state in (lambda A: nla.LowRank(A), lambda A: nla.LeastSquares(A, np.ones(3)),
                      lambda A: nla.Product(A, np.ones((4, 2)))):  # fmt: skip
            A = make()
            before = seen(A)
            with pytest.raises(nla.InvalidProblem, match=f"A is a broken .*{reason}") as caught:
                state(A)
            assert caught.value.argument == "A"
            assert seen(A) == before

    @pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia"])
    def test_the_files_of_the_command_line_too(self, form, tmp_path):
        """A file says what it likes; in a process of its own, for compiled code reads where it points."""
        A = scipy.sparse.csr_array(np.eye(50)).asformat(form)
        scipy.sparse.save_npz(tmp_path / "good.npz", A)
        arrays = dict(np.load(tmp_path / "good.npz"))
        spoilt = {"coo": "row", "dia": "offsets"}.get(form, "indices")
        arrays[spoilt] = arrays[spoilt] + (0 if form == "dia" else 10**8)
        if form == "dia":
            arrays["offsets"] = np.arange(7)
        np.savez(tmp_path / "bad.npz", **arrays)
        lines = f"""
            from autonla.planner.files import read_operands
            assert read_operands({str(tmp_path / "good.npz")!r}).A.trace() == 50.0
            try:
                print(read_operands({str(tmp_path / "bad.npz")!r}).A.sum())
            except ValueError as error:
                print(type(error).__name__, "bad.npz" in str(error))
        """
        assert alone(lines).stdout.split() == ["InvalidProblem", "True"]

    def test_what_is_in_order_passes(self):
        for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
            some: list[Any] = [_csr(), scipy.sparse.csr_array((3, 4)), scipy.sparse.csr_array((0, 4))]
            for A in (*some, scipy.sparse.csr_matrix(_csr())):
                stated: Any = A.asformat(form)
                assert nla.LeastSquares(stated, np.ones(stated.shape[0])).access == "sparse"
        spare = _csr()  # more room than entries, as growing by doubling leaves
        spare.indices, spare.data = np.append(spare.indices, [99, -1]), np.append(spare.data, [0.0, 0.0])
        before = seen(spare)
        nla.LowRank(spare)
        assert seen(spare) == before


class TestUntidySparseMatrices:
    """Duplicates, unsorted indices, explicit zeros, empty rows: in order, and tidied in a copy alone."""

    def untidy(self) -> list[Any]:
        data, row, col = np.array([1.0, 2, 0, 4, 5]), np.array([2, 0, 0, 2, 2]), np.array([1, 3, 1, 1, 0])
        coo = scipy.sparse.coo_array((data, (row, col)), shape=(4, 4))
        unsorted = scipy.sparse.csr_array((data, np.array([3, 1, 1, 1, 0]), np.array([0, 2, 2, 5, 5])), shape=(4, 4))
        return [coo, unsorted]

    def test_accepted_and_left_alone(self):
        for A in self.untidy():
            assert not A.has_canonical_format
            before = seen(A)
            problem = nla.LinearSystem(A, np.ones(4))
            assert problem.working()[0].has_canonical_format
            np.testing.assert_array_equal(problem.working()[0].toarray(), A.toarray())
            nla.plan(problem, rng=0, profile=PROFILE)
            for route in (None, PROFILE):
                with pytest.raises(nla.CertificationFailed, match="singular"):
                    nla.solve(problem, rng=0, profile=route)
            assert seen(A) == before

    def test_files_are_summed(self, tmp_path):
        for A in self.untidy():
            scipy.sparse.save_npz(tmp_path / "A.npz", A)
            np.testing.assert_array_equal(read_operands(tmp_path / "A.npz").A.toarray(), A.toarray())


class TestOperators:
    """They can be stated, what is wrong with their form is refused, and none is called where nothing solves it yet."""

    class Watched(LinearOperator):
        def __init__(self, shape=(12, 12), dtype=float):
            super().__init__(dtype, shape)

        def _matvec(self, x):
            raise AssertionError("it was called")

        _rmatvec = _matvec

    @pytest.mark.parametrize("state", [nla.LeastSquares, nla.LowRank])
    def test_stated_but_not_called(self, state):
        problem = state(self.Watched()) if state is nla.LowRank else state(self.Watched(), RHS)
        with pytest.raises(nla.NoAlgorithm, match="operator operand"):
            nla.solve(problem, rng=0, profile=PROFILE)

    @pytest.mark.parametrize(("attributes", "why"), [
        ({"dtype": np.dtype(complex)}, "complex"), ({"dtype": np.dtype(object)}, "object"), ({"dtype": None}, "dtype"),
        ({"shape": (12,)}, "2-dimensional"), ({"shape": (12, 12, 12)}, "2-dimensional"), ({"shape": (12, -1)}, "shape"),
        ({"shape": (12, None)}, "shape"), ({"shape": (12, math.nan)}, "shape"), ({"shape": None}, "must be an array"),
        ({"matvec": None}, "must be an array"), ({"shape": (11, 12)}, "rows"),
    ])  # fmt: skip
    def test_what_has_no_form_is_refused(self, attributes, why):
        fields = {"shape": (12, 12), "dtype": np.dtype(float), "matvec": lambda self, x: x} | attributes
        operator = _Named("mine", "Operator", **fields)
        with pytest.raises(nla.InvalidProblem, match=why):
            nla.LeastSquares(operator, RHS)

    def test_dask_arrays_of_unknown_size_too(self):
        unknown = _Named("dask.array.core", "Array", shape=(math.nan, 12), dtype=np.dtype(float), chunks=((math.nan,),))
        with pytest.raises(nla.InvalidProblem, match="shape"):
            nla.LowRank(unknown)

    def test_no_operator_is_a_right_hand_side(self):
        some: list[Any] = [self.Watched((12, 1)), _csr()[:, :1], scipy.sparse.coo_array(np.ones(3))]
        for b in some:
            with pytest.raises(nla.InvalidProblem, match="b must be a dense vector"):
                nla.LeastSquares(np.ones((b.shape[0], 3)), b)


class TestTensors:
    """requires_grad, other devices, mixed libraries: a clear error; nothing is detached, moved or copied silently."""

    def test_the_argument_at_fault_is_named(self):
        t, b = _tensors()
        for A, c, name in ((t.clone().requires_grad_(), b, "A"), (t, b.clone().requires_grad_(), "b")):
            with pytest.raises(nla.InvalidProblem, match=rf"^{name} is .*requires_grad.*detach") as caught:
                nla.LinearSystem(A, c)
            assert caught.value.argument == name

    @ROUTES
    @pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
    def test_where_no_gradient_is_recorded_none_is_lost(self, guard, route):
        t, b = _tensors()
        layer = torch.nn.Parameter(t.clone())
        with guard():
            for state in (nla.LinearSystem, nla.LeastSquares):
                x = solved(state, layer, b, route=route).value
                assert not x.requires_grad
                np.testing.assert_allclose(x.numpy(), np.linalg.solve(SMALL, RHS), rtol=1e-9)
        assert layer.requires_grad
        assert layer.grad is None

    @ROUTES
    @pytest.mark.parametrize("name", KINDS)
    def test_tensors_made_in_inference_mode(self, name, route):
        A, state = STATED[name]
        with torch.inference_mode():
            t, b = torch.asarray(A.copy()), torch.asarray(rhs(A))
        assert nla.solve(state(t, b), rng=0, profile=route).status == "certified"

    @ROUTES
    def test_negative_bits_are_resolved(self, route):
        """Their memory holds the numbers with the other sign."""
        for name in KINDS:
            A, state = STATED[name]
            view = torch._neg_view(torch.asarray(-A))
            found = solved(state, view, torch._neg_view(torch.asarray(-rhs(A))), route=route)
            expected = parts_of(solved(state, A, rhs(A), route=route))
            for part, reference in zip(parts_of(found), expected, strict=True):
                np.testing.assert_allclose(np.abs(part.numpy()), np.abs(reference), rtol=1e-6, atol=1e-9)

    def test_two_devices(self):
        def on(device, *shape):
            return _Named("cupy", "ndarray", shape=shape, dtype=np.dtype(float), device=type("D", (), {"id": device})())

        with pytest.raises(nla.InvalidProblem, match="A is on device cuda:0 and b on cuda:1"):
            nla.LinearSystem(on(0, 3, 3), on(1, 3))
        assert nla.LinearSystem(on(1, 3, 3), on(1, 3)).device == "cuda:1"
        with pytest.raises(nla.InvalidProblem, match="A is on device cuda:0 and B on cuda:1"):
            nla.Product(on(0, 3, 3), on(1, 3, 3))

    def test_the_array_itself_is_asked_for_what_is_computed_with(self):
        """A copy of its own library, on its own device, where the dtype is another one."""
        asked = []

        def astype(array, dtype, *, copy):
            asked.append((dtype, copy))
            return array

        flags = type("Flags", (), {"c_contiguous": True, "f_contiguous": False})()
        fields = {"shape": (3, 2), "dtype": np.dtype("int32"), "flags": flags, "nbytes": 24, "device": None}
        A = _Named("cupy", "ndarray", astype=astype, **fields)
        working, b, dtype = nla.LowRank(A).working()
        assert working is A
        assert (b, dtype) == (None, "float64")
        assert asked == [("float64", False)]

    def test_a_sparse_matrix_and_its_right_hand_side_on_one_device(self):
        device = type("D", (), {"id": 1})()
        fields = {"shape": (3, 3), "dtype": np.dtype(float), "device": device}
        A = _Named("cupyx.scipy.sparse", "csr_matrix", tocsr=lambda self: self, **fields)
        b = _Named("cupy", "ndarray", **fields | {"shape": (3,)})
        assert nla.LinearSystem(A, b).device == "cuda:1"
        with pytest.raises(nla.InvalidProblem, match="one library"):
            nla.LinearSystem(A, np.ones(3))


class TestImpossibleBudgets:
    """Accuracy below what rounding allows, memory below the operands', no time: InfeasibleBudget at planning, with the
    nearest budgets that are feasible."""

    IMPOSSIBLE = ({"accuracy": 1e-18}, {"memory": 8}, {"latency": 1e-9}, {"energy": 1e-12},
                  {"accuracy": 1e-18, "memory": 8, "latency": 1e-9})  # fmt: skip

    @ROUTES
    @pytest.mark.parametrize("budget", IMPOSSIBLE, ids=str)
    @pytest.mark.parametrize("name", [*KINDS, "ridge", "positive definite"])
    def test_refused_before_anything_runs(self, name, budget, route, monkeypatch):
        A, state = STATED[name]
        kind = kind_of(state(A, rhs(A)).kind)
        watched = tuple(replace(a, solve=_never_run) for a in kind.algorithms)
        monkeypatch.setattr(type(kind), "algorithms", property(lambda self: watched))
        if route is None:  # what is tried at once is not weighed, unless the budget leaves no room
            monkeypatch.setattr(type(kind), "at_once", lambda self, task, A: ())
        error = outcome(state, A, rhs(A), budget=nla.Budget(**budget), route=route)
        assert isinstance(error, nla.InfeasibleBudget)
        assert error.nearest
        assert error.plan is not None

    @ROUTES
    @pytest.mark.parametrize("budget", IMPOSSIBLE, ids=str)
    @pytest.mark.parametrize("name", KINDS)
    def test_the_best_effort_is_no_promise(self, name, budget, route):
        A, state = STATED[name]
        found = outcome(state, A, rhs(A), budget=nla.Budget(on_infeasible="best_effort", **budget), route=route)
        if "memory" in budget:  # a hard limit, whatever else is said
            assert isinstance(found, nla.InfeasibleBudget)
        else:
            assert isinstance(found, nla.Solution)
            assert found.status == "best_effort"
            assert all(np.isfinite(part).all() for part in parts_of(found))

    @pytest.mark.parametrize("field", ["accuracy", "latency", "memory", "energy", "confidence"])
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf, 10**400, "", "nan s", "1e999 s", [1.0],
                                       np.ones(2), True, 1j, b"1 s"], ids=repr)  # fmt: skip
    def test_values_that_are_none(self, field, value):
        with pytest.raises(nla.InvalidBudget, match=field):
            nla.Budget(**{field: value})

    @pytest.mark.parametrize("field", ["minimize", "on_infeasible"])
    @pytest.mark.parametrize("value", [None, 1, ["latency"], np.array(["latency", "error"])], ids=repr)
    def test_words_that_are_none(self, field, value):
        with pytest.raises(nla.InvalidBudget, match=field):
            nla.Budget(**{field: value})


def _never_run(*arguments: Any) -> Any:
    raise AssertionError("nothing was to run")
