"""Operands before anything runs: what is not finite is refused by name, and scaling changes no digit."""

from __future__ import annotations

import math

import numpy as np
import pytest

import autonla as nla
from autonla.planner.kinds import kind_of
from autonla.planner.prepare import prepare
from autonla.profiles.errors import InvalidProblem, NonFiniteInput
from tests._support.backends import BACKENDS, layouts
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
SQUARE, TALL = RNG.standard_normal((12, 12)), RNG.standard_normal((30, 5))


def prepared(problem, target=1e-10):
    return prepare(problem, kind_of(problem.kind).task(problem, target, 0))


def system(A=SQUARE, b=None):
    return nla.LinearSystem(A, np.ones(12) if b is None else b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_and_found(backend, bad):
    A = SQUARE.copy()
    A[3, 7] = A[5, 0] = bad
    with pytest.raises(NonFiniteInput, match=r"A is not finite: 2 entries .* \(3, 7\)") as caught:
        prepared(nla.LinearSystem(backend.asarray(A), backend.asarray(np.ones(12))))
    assert caught.value.argument == "A"
    b = np.ones((12, 3))
    b[11, 2] = bad
    with pytest.raises(NonFiniteInput, match=r"b is not finite: 1 entry is .* \(11, 2\)") as caught:
        prepared(nla.LinearSystem(backend.asarray(SQUARE), backend.asarray(b)))
    assert caught.value.argument == "b"


@pytest.mark.parametrize("make", [
    lambda A: nla.LinearSystem(A[:5], np.ones(5)), lambda A: nla.LeastSquares(A, np.ones(30)), nla.LowRank,
])  # fmt: skip
@pytest.mark.parametrize("profile", [None, PROFILE])
@pytest.mark.parametrize("call", [nla.solve, nla.plan, nla.race])
def test_every_entry_refuses_what_is_not_finite(make, call, profile):
    A = TALL.copy()
    A[2, 3] = math.nan
    with pytest.raises(NonFiniteInput, match=r"\(2, 3\)"):
        call(make(A), rng=0, profile=profile or PROFILE if call is not nla.solve else profile)


def test_large_finite_entries_are_finite():
    """Their squares overflow; they do not."""
    ready = prepared(system(np.full((12, 12), 1e300)))
    assert np.isfinite(ready.A).all()
    assert 0.4 < np.linalg.norm(ready.A) < 1.1


@pytest.mark.parametrize("exponent", [498, -498, 996, -996, 1020, -1010])
@pytest.mark.parametrize("backend", BACKENDS)
def test_scaling_is_exact(exponent, backend):
    """2^498 is about 1e150, 2^996 about 1e300."""
    A, b = np.ldexp(SQUARE, exponent), np.ldexp(np.linspace(1.0, 2.0, 12), -exponent)
    ready = prepared(nla.LinearSystem(backend.asarray(A), backend.asarray(b)))
    assert ready.exponent_A != 0
    assert ready.exponent_b != 0
    scaled_A, scaled_b = backend.to_numpy(ready.A), backend.to_numpy(ready.b)
    assert 0.25 < np.linalg.norm(scaled_A) < 1.1
    np.testing.assert_array_equal(scaled_A, np.ldexp(SQUARE, exponent - ready.exponent_A))
    np.testing.assert_array_equal(scaled_b, np.ldexp(np.linspace(1.0, 2.0, 12), -exponent - ready.exponent_b))
    assert ready.evidence.norm_fro == pytest.approx(np.linalg.norm(scaled_A))
    assert ready.copied_bytes == 8 * (144 + 12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tiny"), [("float64", 2.0**-1074), ("float32", 2.0**-149)])
def test_subnormal_numbers_are_scaled_exactly(backend, dtype, tiny):
    integers = np.arange(1.0, 145.0).reshape(12, 12)
    A = (integers * tiny).astype(dtype)
    ready = prepared(nla.LinearSystem(backend.asarray(A, dtype), backend.asarray(np.ones(12), dtype)))
    scaled = backend.to_numpy(ready.A).astype(float)
    np.testing.assert_array_equal(scaled / scaled[0, 0], integers)
    assert np.linalg.norm(scaled) < 1.1


def test_nothing_is_copied_where_nothing_needs_scaling():
    A, b = np.asfortranarray(SQUARE), np.ones(12)
    ready = prepared(nla.LinearSystem(A, b))
    assert np.shares_memory(ready.A, A)
    assert np.shares_memory(ready.b, b)
    assert (ready.exponent_A, ready.exponent_b, ready.copied_bytes) == (0, 0, 0.0)


def test_zeros_are_not_scaled():
    ready = prepared(nla.LeastSquares(np.zeros((4, 2)), np.zeros(4)))
    assert (ready.exponent_A, ready.exponent_b) == (0, 0)
    assert ready.evidence.norm_fro == 0.0


def test_the_ridge_is_scaled_with_A():
    exponent = 300
    ready = prepared(nla.LeastSquares(np.ldexp(TALL, exponent), np.ones(30), ridge=math.ldexp(3.0, 2 * exponent)))
    assert ready.task.ridge == math.ldexp(3.0, 2 * (exponent - ready.exponent_A))
    with pytest.raises(InvalidProblem, match="ridge") as caught:
        prepared(nla.LeastSquares(np.ldexp(TALL, -600), np.ones(30), ridge=1.0))
    assert caught.value.argument == "ridge"


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
@pytest.mark.parametrize(
    ("a", "b"), [(498, 260), (260, 498), (-498, 260), (260, -498), (996, 996), (-996, -996), (498, -498)]
)
def test_solutions_scale_exactly(a, b, profile):
    """The same bits, times a power of two: the same computation ran."""
    rhs, budget = np.linspace(-1.0, 2.0, 30), nla.Budget(accuracy=1e-10)

    def solve(a, b):
        problem = nla.LeastSquares(np.ldexp(TALL, a), np.ldexp(rhs, b))
        return nla.solve(problem, budget, rng=0, profile=profile)

    reference, scaled = solve(260, 260), solve(a, b)
    np.testing.assert_array_equal(scaled.value, np.ldexp(reference.value, b - a))
    assert scaled.certificate.bound == reference.certificate.bound


@pytest.mark.parametrize("exponent", [498, -498, 996, -996])
def test_low_rank_factors_scale(exponent):
    s = 10.0 ** -np.arange(12)
    Q = np.linalg.qr(SQUARE)[0]
    A = Q * s @ Q
    found = nla.solve(nla.LowRank(np.ldexp(A, exponent)), nla.Budget(accuracy=1e-4), rng=0)
    U, values, _ = found.value
    np.testing.assert_allclose(np.ldexp(values, -exponent), s[: len(values)], rtol=1e-6)
    assert 4 <= len(values) <= 6
    np.testing.assert_allclose(U.T @ U, np.eye(len(values)), atol=1e-12)
    assert found.status == "certified"


@pytest.mark.parametrize(("a", "b"), [(-660, 660), (660, -660), (500, -570)])
@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
def test_a_solution_that_cannot_be_written_down_is_refused(a, b, profile):
    """x overflows, vanishes, or falls among the subnormal numbers, which hold only a few digits."""
    for problem in (
        nla.LinearSystem(np.ldexp(SQUARE, a), np.ldexp(np.ones(12), b)),
        nla.LeastSquares(np.ldexp(TALL, a), np.ldexp(np.ones(30), b)),
    ):
        with pytest.raises(InvalidProblem, match="beyond the range of float64"):
            nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=profile)


def test_float32_has_its_own_range():
    A, b = (SQUARE * 1e-30).astype(np.float32), np.full(12, 1e20, np.float32)
    with pytest.raises(InvalidProblem, match="float32"):
        nla.solve(nla.LinearSystem(A, b), nla.Budget(accuracy=1e-4), rng=0)
    small = nla.solve(nla.LinearSystem(A, np.full(12, 1e-25, np.float32)), nla.Budget(accuracy=1e-4), rng=0)
    assert small.value.dtype == np.float32
    np.testing.assert_allclose(small.value, np.linalg.solve(SQUARE, np.full(12, 1e5)), rtol=1e-3)


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
@pytest.mark.parametrize("exponent", [0, 498])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_operands_of_every_layout_are_left_as_they_were(dtype, exponent, profile):
    A, b = SQUARE.astype(dtype), np.linspace(1.0, 2.0, 12).astype(dtype)
    if dtype == "float64":
        A = np.ldexp(A, exponent)
    elif exponent:
        A = np.ldexp(A, 60)
    expected = np.linalg.solve(A.astype(float), b.astype(float))
    accuracy = 1e-12 if dtype == "float64" else 1e-5
    right = dict(layouts(b))
    for name, laid_out in layouts(A):
        rhs = right.get(name, b)
        before = laid_out.tobytes(), rhs.tobytes(), laid_out.flags.writeable
        for problem in (nla.LinearSystem(laid_out, rhs), nla.LeastSquares(laid_out, rhs)):
            solution = nla.solve(problem, nla.Budget(accuracy=accuracy), rng=0, profile=profile)
            assert solution.value.dtype == np.dtype(dtype)
            np.testing.assert_allclose(solution.value, expected, rtol=1e-3 if dtype == "float32" else 1e-8)
        assert before == (laid_out.tobytes(), rhs.tobytes(), laid_out.flags.writeable), name


@pytest.mark.parametrize("assume", ["spd", "symmetric"])
def test_symmetric_solvers_leave_A_alone(assume):
    A = SQUARE @ SQUARE.T + np.eye(12)
    for name, laid_out in layouts(A):
        before = laid_out.tobytes()
        nla.solve(nla.LinearSystem(laid_out, np.ones(12), assume=assume), nla.Budget(accuracy=1e-12), rng=0)
        assert laid_out.tobytes() == before, name


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
def test_torch_operands_are_left_as_they_were(profile):
    torch = pytest.importorskip("torch")
    A, b = torch.asarray(SQUARE), torch.asarray(np.ones((12, 2)))
    for view in (A, A.T.contiguous().T, torch.asarray(np.repeat(SQUARE, 2, axis=1))[:, ::2]):
        before = view.clone(), b.clone()
        solution = nla.solve(nla.LinearSystem(view, b), nla.Budget(accuracy=1e-12), rng=0, profile=profile)
        assert isinstance(solution.value, torch.Tensor)
        assert torch.equal(view, before[0])
        assert torch.equal(b, before[1])
        np.testing.assert_allclose(solution.value.numpy(), np.linalg.solve(SQUARE, np.ones((12, 2))), rtol=1e-8)


def test_the_value_shares_no_memory_with_the_operands():
    A, b = np.eye(3), np.ones(3)
    for profile in (None, PROFILE):
        x = nla.solve(nla.LinearSystem(A, b), rng=0, profile=profile).value
        assert not np.shares_memory(x, b)
        assert not np.shares_memory(x, A)
