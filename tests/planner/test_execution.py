"""What happens when an algorithm does not do what it promised: another one does, or the caller is told.

The problem, its certificate and the planner are real; the algorithms are told what to do.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import autonla as nla
from autonla.planner import api, attempts, execution, fast_path, planning
from autonla.planner.certificate import Certificate
from autonla.planner.kinds import ProbeStep
from autonla.planner.kinds.least_squares import UNSEEN, LeastSquaresKind
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.primitives.algorithm import Breakdown, Outcome
from autonla.primitives.interval import Interval
from autonla.primitives.stopping import stop_asked
from autonla.primitives.task import Task
from autonla.primitives.work import Work
from autonla.profiles.errors import BudgetExceeded, CertificationFailed, InfeasibleBudget, PlanError
from tests._support import matrices, spectra, truth
from tests._support.fakes import FakeOptions, fake, seconds_of_work
from tests._support.faults import faulty_kernels
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
A, X = RNG.standard_normal((30, 30)), RNG.standard_normal(30)
B = A @ X
PROBLEM = nla.LinearSystem(A, B)
TIGHT = nla.Budget(accuracy=1e-12)


@pytest.fixture
def use(monkeypatch):
    """Make these the only algorithms for linear systems, without probes."""

    def install(*algorithms, probes=()):
        planning._enumerated.cache_clear()  # plans made with other algorithms
        planning._priced.cache_clear()
        monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: algorithms))
        monkeypatch.setattr(LinearSystemKind, "probes", property(lambda self: probes))
        monkeypatch.setattr(LinearSystemKind, "small", lambda self, task: True)
        monkeypatch.setattr(LinearSystemKind, "at_once", lambda self, task, A: [(algorithms[0], FakeOptions())])

    return install


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (attempts, execution, fast_path, planning):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def known_machine(monkeypatch) -> None:
    """What runs at once, and what follows it, is priced on the synthetic machine."""
    machine = planning.Machine(PROFILE, "the synthetic machine")
    for module in (api, fast_path, planning):
        monkeypatch.setattr(module, "machine_of", lambda profile: machine)


def after(clock: Clock, seconds: float, answer=None):
    """An algorithm that takes so long, and then does what another one does."""

    def solve(A, b, task, reuse):
        clock.now += seconds
        return (answer or lapack)(A, b, task, reuse)

    return solve


def lapack(A, b, task, reuse):
    return np.linalg.solve(A, b)


def breaks_down(A, b, task, reuse):
    raise Breakdown("a pivot is zero")


def off_by(relative):
    """An answer with about this backward error."""
    return lambda A, b, task, reuse: np.linalg.solve(A, b) * (1.0 + relative)


def runs_out(error):
    def solve(A, b, task, reuse):
        raise error

    return solve


def solve(budget: nla.Budget | None = TIGHT, problem=PROBLEM, **how) -> nla.Solution:
    return nla.solve(problem, budget, rng=0, profile=PROFILE, **how)


def outcomes(solution) -> list[tuple[str, str]]:
    return [(a.label.partition("[")[0], a.outcome) for a in solution.record.attempts]


SAFE = fake("safe", lapack, seconds=1.0, safe=True)

MISBEHAVIOUR = {
    "breaks down": breaks_down,
    "garbage": lambda A, b, task, reuse: np.arange(30.0) ** 3,
    "zeros": lambda A, b, task, reuse: np.zeros(30),
    "slightly wrong": off_by(1e-10),
    "not a number": lambda A, b, task, reuse: np.full(30, math.nan),
    "one entry infinite": lambda A, b, task, reuse: np.where(np.arange(30) == 7, math.inf, np.linalg.solve(A, b)),
    "a huge multiple": lambda A, b, task, reuse: 1e300 * np.linalg.solve(A, b),
    "a tiny multiple": lambda A, b, task, reuse: 1e-300 * np.linalg.solve(A, b),
    "the solution of another system": lambda A, b, task, reuse: np.linalg.solve(A.T, b),
    "no memory": runs_out(MemoryError("Unable to allocate 3 TiB")),
    "no memory in torch": runs_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_bad_answer_is_found_out_and_the_next_candidate_runs(use, what):
    use(fake("bad", MISBEHAVIOUR[what], seconds=0.1), SAFE)
    solution = solve()
    assert solution.status == "certified"
    assert solution.certificate.satisfied
    np.testing.assert_allclose(solution.value, X, rtol=1e-9)
    (first, why), (second, result) = outcomes(solution)
    assert (first, second, result) == ("bad", "safe", "certified")
    assert why.startswith(("broke down: ", "ran out of memory: ", "its certificate allows only "))
    assert "Tried     bad" in solution.explain()


@pytest.mark.parametrize("shape", [(30, 1), (1, 30), (29,), ()])
def test_an_answer_of_another_shape_is_not_handed_out(use, shape):
    use(fake("bad", lambda A, b, task, reuse: np.resize(np.linalg.solve(A, b), shape), seconds=0.1), SAFE)
    try:
        solution = solve()
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}")
    assert solution.value.shape == (30,)
    np.testing.assert_allclose(solution.value, X, rtol=1e-9)


def test_an_error_in_the_code_of_an_algorithm_is_not_swallowed(use):
    use(fake("bad", runs_out(RuntimeError("shape mismatch")), seconds=0.1), SAFE)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        solve()


def test_everything_breaks_down(use):
    use(fake("a", breaks_down, seconds=0.1), fake("b", breaks_down, seconds=0.2, safe=True))
    for how in ("raise", "best_effort"):
        with pytest.raises(CertificationFailed, match="no algorithm came to an answer") as caught:
            solve(nla.Budget(accuracy=1e-12, on_infeasible=how))
        assert [a.label for a in caught.value.tried] == ["a[numpy float64]", "b[numpy float64]"]
        assert caught.value.solution is None


def test_memory_runs_out_everywhere(use):
    use(fake("a", runs_out(MemoryError())), fake("b", runs_out(MemoryError()), safe=True))
    with pytest.raises(BudgetExceeded, match="memory ran out") as caught:
        solve()
    assert caught.value.resource == "memory"
    assert caught.value.plan is not None


def test_nothing_can_be_certified_the_best_is_attached(use):
    use(
        fake("a", off_by(1e-5), seconds=0.1),
        fake("b", off_by(1e-9), seconds=0.2),
        fake("c", off_by(1e-3), seconds=0.3, safe=True),
    )
    with pytest.raises(CertificationFailed, match=r"1\.0e-12 could not be certified") as caught:
        solve()
    best = caught.value.solution
    assert best.status == "best_effort"
    assert not best.certificate.satisfied
    np.testing.assert_array_equal(best.value, np.linalg.solve(A, B) * (1.0 + 1e-9))
    assert 1e-10 < best.certificate.bound < 1e-8
    assert [a.label[0] for a in caught.value.tried] == ["a", "b", "c"]
    assert all(word in str(caught.value) for word in ("a[", "b[", "c["))


def test_best_effort_returns_the_best_of_what_was_computed(use):
    use(fake("a", off_by(1e-9), seconds=0.1), fake("b", off_by(1e-5), seconds=0.2, safe=True))
    solution = solve(nla.Budget(accuracy=1e-12, on_infeasible="best_effort"))
    assert solution.status == "best_effort"
    assert not solution.certificate.satisfied
    np.testing.assert_array_equal(solution.value, np.linalg.solve(A, B) * (1.0 + 1e-9))
    assert "best_effort" in solution.explain()


def test_not_a_number_is_never_the_best(use):
    nan = MISBEHAVIOUR["not a number"]
    for order in ((nan, off_by(1e-3)), (off_by(1e-3), nan)):
        use(*(fake(name, how, seconds=s) for name, how, s in zip("ab", order, (0.1, 0.2), strict=True)))
        solution = solve(nla.Budget(accuracy=1e-12, on_infeasible="best_effort"))
        assert np.isfinite(solution.value).all()


def test_the_answer_with_the_smaller_bound_is_kept_whatever_the_order(use):
    errors = RNG.permutation([1e-9, 1e-7, 1e-5, 1e-3])
    use(*(fake(f"a{i}", off_by(e), seconds=0.1 + 0.1 * i) for i, e in enumerate(errors)))
    solution = solve(nla.Budget(accuracy=1e-12, on_infeasible="best_effort"))
    assert solution.certificate.bound < 1e-8


# Without an accuracy.


def test_without_a_budget_a_shortcut_far_from_LAPACK_is_not_taken(use):
    use(fake("quick", off_by(1e-8), seconds=0.1), SAFE)
    solution = solve(None)
    assert outcomes(solution)[-1] == ("safe", "certified")
    np.testing.assert_allclose(solution.value, X, rtol=1e-9)


def test_without_an_accuracy_but_a_limit_what_fits_is_taken(use, clock):
    use(fake("quick", off_by(1e-8), seconds=0.1, error=1e-8), SAFE)
    solution = solve(nla.Budget(latency=0.5))
    assert outcomes(solution) == [("quick", "certified")]
    assert solution.certificate.target is None
    assert 1e-10 < solution.certificate.bound < 1e-7


# Limits while escalating.


def test_a_fallback_never_breaks_the_memory_limit(use):
    ran = []

    def large(A, b, task, reuse):
        ran.append("large")
        return np.linalg.solve(A, b)

    use(
        fake("small", off_by(1e-6), seconds=0.1, peak_bytes=1e4),
        fake("large", large, seconds=0.2, peak_bytes=1e9, safe=True),
    )
    with pytest.raises(CertificationFailed):
        solve(nla.Budget(accuracy=1e-12, memory=1e8))
    assert ran == []
    assert solve(nla.Budget(accuracy=1e-12, memory=1e10)).status == "certified"
    assert ran == ["large"]


def test_the_fallback_counts_the_copies_that_scaling_made(use):
    use(
        fake("small", off_by(1e-6), seconds=0.1, peak_bytes=1e4),
        fake("large", lapack, seconds=0.2, peak_bytes=1e5, safe=True),
    )
    large = nla.plan(PROBLEM, TIGHT, rng=0, profile=PROFILE).candidate("large[numpy float64]").forecast
    assert large is not None
    budget = nla.Budget(accuracy=1e-12, memory=large.bytes.high + 1000.0)
    assert solve(budget).status == "certified"
    with pytest.raises(CertificationFailed):  # A and b were copied: 7440 bytes
        solve(budget, nla.LinearSystem(np.ldexp(A, 300), np.ldexp(B, 300)))


def test_what_does_not_fit_into_the_time_that_is_left_is_not_started(use, clock):
    ran = []

    def slow_and_wrong(A, b, task, reuse):
        clock.now += 0.8
        return np.linalg.solve(A, b) * (1.0 + 1e-6)

    def record(name):
        def run(A, b, task, reuse):
            ran.append(name)
            return np.linalg.solve(A, b)

        return run

    use(
        fake("first", slow_and_wrong, seconds=0.1),
        fake("long", record("long"), seconds=0.5),
        fake("short", record("short"), seconds=0.15),
    )
    solution = solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert ran == ["short"]
    assert solution.record.seconds["total"] == pytest.approx(0.8)

    ran.clear()
    use(fake("first", slow_and_wrong, seconds=0.1), fake("long", record("long"), seconds=0.5))
    with pytest.raises(CertificationFailed):
        solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert ran == []


def test_time_spent_on_probes_counts_against_the_latency(use, clock):
    def slow_probe(A, b, task, evidence, backend):
        clock.now += 0.9
        return task, evidence, {}

    step = ProbeStep("slow", lambda t, e: True, lambda t, e, backend: Work(()), slow_probe, always=True)
    use(fake("a", lapack, seconds=0.3), probes=(step,))
    with pytest.raises(InfeasibleBudget, match="nearest"):
        solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert solve(nla.Budget(accuracy=1e-12, latency=2.0)).record.seconds["probe"] == pytest.approx(0.9)


# Forecasts of time that were wrong.


BEST_EFFORT: dict[str, Any] = {"on_infeasible": "best_effort"}


def test_an_answer_that_comes_late_is_handed_out_as_the_budget_says(use, clock):
    use(fake("slow", after(clock, 3.0), seconds=0.1))
    with pytest.raises(
        BudgetExceeded, match=r"it took 3 s, and 1 s were allowed; the answer has backward_error"
    ) as caught:
        solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert caught.value.resource == "latency"
    assert caught.value.plan.chosen.algorithm == "slow"
    assert [a.outcome for a in caught.value.tried] == ["certified"]
    late = caught.value.solution
    for solution in (late, solve(nla.Budget(accuracy=1e-12, latency=1.0, **BEST_EFFORT))):
        assert solution.status == "best_effort"
        assert solution.certificate.satisfied  # what it promises of the answer holds all the same
        np.testing.assert_allclose(solution.value, X, rtol=1e-9)
        assert solution.record.seconds["total"] == pytest.approx(3.0)
        assert "it took 3 s, and 1 s were allowed" in solution.explain()
    assert solve(nla.Budget(accuracy=1e-12, latency=2.9)).status == "certified"  # what the system adds is no failure
    assert solve(nla.Budget(accuracy=1e-12)).status == "certified"


def test_what_runs_at_once_may_come_late_as_well(use, clock, known_machine):
    use(fake("slow", after(clock, 3.0), seconds=0.1))
    with pytest.raises(BudgetExceeded, match="it took 3 s, and 1 s were allowed") as caught:
        nla.solve(PROBLEM, nla.Budget(accuracy=1e-12, latency=1.0), rng=0)
    assert caught.value.plan.chosen.algorithm == "slow"
    assert caught.value.solution.certificate.satisfied
    solution = nla.solve(PROBLEM, nla.Budget(accuracy=1e-12, latency=1.0, **BEST_EFFORT), rng=0)
    assert (solution.status, solution.certificate.satisfied) == ("best_effort", True)
    assert nla.solve(PROBLEM, nla.Budget(accuracy=1e-12, latency=2.9), rng=0).status == "certified"


def test_after_an_attempt_that_took_all_the_time_nothing_is_started(use, clock):
    ran = []

    def record(A, b, task, reuse):
        ran.append("next")
        return lapack(A, b, task, reuse)

    use(fake("first", after(clock, 3.0, off_by(1e-6)), seconds=0.1), fake("next", record, seconds=0.2, safe=True))
    with pytest.raises(BudgetExceeded, match=r"at most [45]\.\de-07 and is attached") as caught:
        solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert caught.value.solution.status == "best_effort"
    assert not caught.value.solution.certificate.satisfied
    solution = solve(nla.Budget(accuracy=1e-12, latency=1.0, **BEST_EFFORT))
    assert solution.status == "best_effort"
    np.testing.assert_array_equal(solution.value, np.linalg.solve(A, B) * (1.0 + 1e-6))
    assert ran == []


@pytest.mark.parametrize("how", ["raise", "best_effort"])
def test_no_answer_in_time(use, clock, how):
    use(fake("first", after(clock, 3.0, breaks_down), seconds=0.1), SAFE)
    with pytest.raises(BudgetExceeded, match="no answer in time: it took 3 s, and 2 s were allowed") as caught:
        solve(nla.Budget(accuracy=1e-12, latency=2.0, on_infeasible=how))
    assert caught.value.resource == "latency"
    assert caught.value.solution is None
    assert [a.label for a in caught.value.tried] == ["first[numpy float64]"]


def test_no_time_is_left_when_the_plan_is_made(use, clock, monkeypatch):
    """Planning itself took longer than it may: nothing is started, or the answer is known to be late."""
    ran = []

    def record(A, b, task, reuse):
        ran.append("first")
        return lapack(A, b, task, reuse)

    use(fake("first", record, seconds=0.1))
    original = planning._choose

    def slow(*asked):
        clock.now += 5.0
        return original(*asked)

    monkeypatch.setattr(planning, "_choose", slow)
    with pytest.raises(BudgetExceeded, match="no answer in time") as caught:
        solve(nla.Budget(accuracy=1e-12, latency=1.0))
    assert caught.value.plan.chosen.algorithm == "first"
    assert ran == []
    solution = solve(nla.Budget(accuracy=1e-12, latency=1.0, **BEST_EFFORT))
    assert (solution.status, solution.certificate.satisfied) == ("best_effort", True)
    assert ran == ["first"]


def test_a_certificate_is_not_begun_where_it_would_take_long(use, clock, monkeypatch):
    """An answer comes after 100 s of 1 s, and its certificate would take 200 s more."""
    certify, certified = LinearSystemKind.certify, []

    def counting(self, *operands, **how):
        certified.append(1)
        return certify(self, *operands, **how)

    monkeypatch.setattr(LinearSystemKind, "certify", counting)
    monkeypatch.setattr(LinearSystemKind, "certify_work", lambda self, *how: Work((seconds_of_work(20.0),)))
    use(fake("slow", after(clock, 100.0), seconds=10.0))
    with pytest.raises(BudgetExceeded, match="at most inf") as caught:
        solve(nla.Budget(accuracy=1e-12, latency=60.0))
    solution = solve(nla.Budget(accuracy=1e-12, latency=60.0, **BEST_EFFORT))
    assert certified == []
    for answer in (caught.value.solution, solution):
        assert answer.status == "best_effort"
        assert answer.certificate.bound == math.inf
        assert answer.certificate.method == "no time was left to certify it"
        np.testing.assert_allclose(answer.value, X, rtol=1e-9)
        assert "no time was left to certify it" in answer.explain()
    assert solve(nla.Budget(accuracy=1e-12, latency=1e4)).status == "certified"
    assert certified == [1]


def test_an_answer_with_a_certificate_goes_before_one_without(use, clock, monkeypatch):
    monkeypatch.setattr(LinearSystemKind, "certify_work", lambda self, *how: Work((seconds_of_work(1.0),)))
    use(
        fake("first", after(clock, 1.0, off_by(1e-6)), seconds=1.0),
        fake("second", after(clock, 100.0), seconds=2.0),
    )
    monkeypatch.setattr(attempts, "_SHORT", 0.0)
    monkeypatch.setattr(attempts, "_WORTH_WAITING", 0.0)
    solution = solve(nla.Budget(accuracy=1e-12, latency=10.0, **BEST_EFFORT))
    assert [a.outcome for a in solution.record.attempts][1] == "no time was left to certify it"
    np.testing.assert_array_equal(solution.value, np.linalg.solve(A, B) * (1.0 + 1e-6))


def test_time_spent_before_the_plan_is_gone(use, clock, known_machine):
    """What was tried at once and failed has taken from the latency; the plan knows."""
    use(fake("first", after(clock, 0.8, breaks_down), seconds=0.5), fake("next", lapack, seconds=0.6, safe=True))
    with pytest.raises(InfeasibleBudget, match="200 ms are left"):
        nla.solve(PROBLEM, nla.Budget(accuracy=1e-12, latency=1.0), rng=0)
    assert nla.solve(PROBLEM, nla.Budget(accuracy=1e-12, latency=2.0), rng=0).status == "certified"


def test_a_plan_that_runs_again_keeps_the_time_too(use, clock):
    use(fake("slow", after(clock, 3.0), seconds=0.1), fake("other", lapack, seconds=0.2))
    plan = nla.plan(PROBLEM, nla.Budget(accuracy=1e-12, latency=1.0), rng=0, profile=PROFILE)
    with pytest.raises(BudgetExceeded, match="it took 3 s"):
        plan.run()
    named = plan.run(candidate="slow[numpy float64]")  # asked for by name: it is run as it is
    assert (named.status, named.certificate.satisfied) == ("best_effort", True)


def test_what_a_plan_ran_in_vain_is_not_run_twice(use):
    ran = []

    def wrong(A, b, task, reuse):
        ran.append("wrong")
        return off_by(1e-6)(A, b, task, reuse)

    use(fake("wrong", wrong, seconds=0.1), SAFE)
    plan = nla.plan(PROBLEM, TIGHT, rng=0, profile=PROFILE)
    (first, why), second = outcomes(plan.run())
    assert (first, second) == ("wrong", ("safe", "certified"))
    assert why.startswith("its certificate allows only ")
    assert ran == ["wrong"]


def test_a_plan_of_best_effort_does_not_promise_more_when_it_is_run(use):
    use(fake("quick", lapack, seconds=5.0))
    plan = nla.plan(PROBLEM, nla.Budget(accuracy=1e-12, latency=0.01, **BEST_EFFORT), rng=0, profile=PROFILE)
    assert plan.run().status == "best_effort"


# Iterations whose number nobody knows beforehand.


@pytest.mark.parametrize("how", ["raise", "best_effort"])
@pytest.mark.parametrize("name", ["spir", "mixed_lu", "block_krylov", "block_krylov, rank", "randomized_svd"])
def test_what_iterates_stops_when_the_time_is_over(clock, name, how):
    """Each product takes a second, where a millisecond was forecast: what there is after a few of them counts."""
    rng = np.random.default_rng(0)
    falling = [matrices.with_spectrum(240, 200, ratio ** np.arange(200.0), rng).A for ratio in (0.95, 0.97, 0.982)]
    G = matrices.with_spectrum(60, 60, spectra.geometric(60, 3e4), rng).A
    problem, accuracy, latency = {
        "spir": (tall(), 1e-12, 6.0),
        "mixed_lu": (nla.LinearSystem(G, G @ rng.standard_normal(60)), 1e-15, 1.0),
        "block_krylov": (nla.LowRank(falling[0]), 0.2, 3.0),
        "block_krylov, rank": (nla.LowRank(falling[1], rank=20), 1e-3, 8.0),
        "randomized_svd": (nla.LowRank(falling[2]), 0.3, 1.0),
    }[name]
    budget = nla.Budget(accuracy=accuracy, latency=latency, on_infeasible=how)
    plan = nla.plan(problem, budget, rng=0, profile=PROFILE, rigor="estimate")
    name = name.partition(",")[0]
    chosen = next(c for c in plan.candidates if c.algorithm == name and c.forecast)
    entries = [e for e in plan._entries if e.candidate.label == chosen.label]
    plan = replace(plan, chosen=replace(chosen, feasible=True, reason=""))

    def second() -> None:
        clock.now += 1.0

    with faulty_kernels() as faults:
        faults.each = {"matmul": second, "rmatmul": second}
        free = execution.execute(
            replace(plan, budget=nla.Budget(accuracy=accuracy, on_infeasible="best_effort")), entries, PROFILE
        )
        if how == "raise":
            with pytest.raises(BudgetExceeded) as caught:
                execution.execute(plan, entries, PROFILE)
            solution = caught.value.solution
        else:
            solution = execution.execute(plan, entries, PROFILE)
    assert solution is not None
    assert solution.status == "best_effort"
    (attempt,) = solution.record.attempts
    assert attempt.outcome.startswith("stopped when its time was over; ")
    assert solution.record.seconds["run"] < 0.8 * free.record.seconds["run"]
    assert math.isfinite(solution.certificate.bound)
    assert solution.certificate.bound > free.certificate.bound
    assert not stop_asked()


def test_what_has_nothing_yet_says_so_when_it_is_stopped(clock):
    rng = np.random.default_rng(0)
    problem = nla.LowRank(matrices.with_spectrum(240, 200, 0.97 ** np.arange(200.0), rng).A, rank=5)
    budget = nla.Budget(accuracy=1e-6, latency=5.0)
    plan = nla.plan(problem, budget, rng=0, profile=PROFILE, rigor="estimate")
    lanczos = [e for e in plan._entries if e.algorithm.name == "lanczos"]
    assert len(lanczos) == 2

    def second() -> None:
        clock.now += 1.0

    for entry in lanczos:
        with faulty_kernels() as faults:
            faults.each = {"matmul": second}
            with pytest.raises(BudgetExceeded, match=r"stopped after \d+ products, before any triplet") as caught:
                execution.execute(replace(plan, chosen=entry.candidate), lanczos, PROFILE)
        assert caught.value.resource == "latency"
        assert caught.value.solution is None
        assert clock.now < 100.0 + 2 * 9.0


def tall() -> nla.LeastSquares:
    rng = np.random.default_rng(0)
    A = matrices.with_spectrum(3000, 30, spectra.geometric(30, 1e6), rng).A
    return nla.LeastSquares(A, A @ rng.standard_normal(30) + rng.standard_normal(3000))


# Memory that runs out.


def test_where_memory_ran_out_what_needs_less_comes_first(use):
    none = runs_out(MemoryError("Unable to allocate 1 GiB"))
    use(
        fake("first", none, seconds=0.1, peak_bytes=1e8),
        fake("larger", lapack, seconds=0.2, peak_bytes=1e9),
        fake("leaner", lapack, seconds=0.3, peak_bytes=1e6),
    )
    assert outcomes(solve()) == [("first", "ran out of memory: Unable to allocate 1 GiB"), ("leaner", "certified")]
    use(fake("first", none, seconds=0.1, peak_bytes=1e8), fake("larger", lapack, seconds=0.2, peak_bytes=1e9))
    assert outcomes(solve())[-1] == ("larger", "certified")  # where nothing else is left


def test_memory_that_runs_out_at_once_is_planned_around(use, known_machine):
    none = runs_out(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."))
    use(fake("first", none, seconds=0.1, peak_bytes=1e8), fake("leaner", lapack, seconds=0.3, peak_bytes=1e6))
    solution = nla.solve(PROBLEM, TIGHT, rng=0)
    assert solution.status == "certified"
    assert [name for name, _ in outcomes(solution)] == ["first", "leaner"]
    use(fake("first", none, seconds=0.1), fake("other", none, seconds=0.2))
    with pytest.raises(BudgetExceeded, match="memory ran out: first") as caught:
        nla.solve(PROBLEM, TIGHT, rng=0)
    assert caught.value.resource == "memory"
    assert caught.value.plan.chosen.algorithm == "other"
    assert len(caught.value.tried) == 2


def test_memory_that_runs_out_in_the_certificate(use, monkeypatch):
    """The answer that it would have been of is no use; the next one's certificate may need less."""
    certify, calls = LinearSystemKind.certify, []

    def fails_once(self, *operands, **how):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("Unable to allocate 240 B")
        return certify(self, *operands, **how)

    monkeypatch.setattr(LinearSystemKind, "certify", fails_once)
    use(fake("first", lapack, seconds=0.1), fake("other", lapack, seconds=0.2))
    assert outcomes(solve()) == [("first", "ran out of memory: Unable to allocate 240 B"), ("other", "certified")]


# Never worse than what was computed on the way.


def test_an_answer_is_scaled_back_by_what_it_was_computed_with(monkeypatch, known_machine):
    """A row that a glance overlooks: at once A is taken as it is, then it is scaled. The first answer is the best."""
    rng = np.random.default_rng(0)
    G, b = rng.standard_normal((200, 200)), rng.standard_normal(200)
    G[3] *= 1e70
    certify, bounds = LinearSystemKind.certify, iter([1e-15, 1e-14, 1e-14, 1e-14, 1e-14])

    def told(self, *operands, **how):
        return replace(certify(self, *operands, **how), bound=next(bounds), satisfied=False)

    monkeypatch.setattr(LinearSystemKind, "certify", told)
    solution = nla.solve(nla.LinearSystem(G, b), nla.Budget(accuracy=1e-17, **BEST_EFFORT), rng=0)
    assert solution.certificate.bound == 1e-15
    assert any("computed with A * 2^" in note for note in solution.plan.notes)
    assert truth.backward_error(G, solution.value, b).high < 1e-13


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_on_the_way_the_best_answer_comes_back(use, clock, seed):
    """Answers of all sorts, breakdowns, no memory, NaN and time that runs out, in any order, within any limits."""
    rng = np.random.default_rng(seed)
    computed = []

    def told(what, seconds):
        def solve(A_, b, task, reuse):
            clock.now += seconds
            if what == "breaks down":
                raise Breakdown("a pivot is zero")
            if what == "no memory":
                raise MemoryError
            if what == "no convergence":
                raise np.linalg.LinAlgError("it did not converge")
            value = np.linalg.solve(A_, b) * (1.0 + what)
            if np.isfinite(value).all():
                computed.append(value)
            return value

        return solve

    kinds = ["breaks down", "no memory", "no convergence", math.nan, 1e-3, 1e-5, 1e-7, 1e-9, 1e-9, 0.0]
    algorithms = [
        fake(
            f"a{i}",
            told(kinds[rng.integers(len(kinds))], 10.0 ** rng.uniform(-2.0, 1.0)),
            seconds=10.0 ** rng.uniform(-2.0, 0.0),
            peak_bytes=10.0 ** rng.uniform(3.0, 8.0),
            error=10.0 ** rng.uniform(-15.0, -12.0),
            safe=bool(rng.random() < 0.3),
        )
        for i in range(6)
    ]
    use(*algorithms)
    budget = nla.Budget(
        accuracy=rng.choice([1e-6, 1e-8, 1e-12]),
        latency=rng.choice([None, 4.0, 40.0]),  # type: ignore[arg-type]
        memory=rng.choice([None, 3e7, 3e8]),  # type: ignore[arg-type]
        on_infeasible=str(rng.choice(["raise", "best_effort"])),
    )
    try:
        solution = solve(budget)
    except InfeasibleBudget:
        return
    except (CertificationFailed, BudgetExceeded) as error:
        solution, tried = error.solution, error.tried
        assert budget.on_infeasible == "raise" or solution is None
        assert solution is None or solution.status == "best_effort"
    else:
        tried = solution.record.attempts
    labels = [a.label for a in tried]
    assert len(set(labels)) == len(labels)
    if solution is None:
        assert computed == []
        return
    errors = [truth.backward_error(A, value, B) for value in computed]
    mine = truth.backward_error(A, solution.value, B)
    assert mine.low <= min(e.high for e in errors), (mine, errors)
    bounds = [a.bound for a in tried if a.bound is not None and math.isfinite(a.bound)]
    assert solution.certificate.bound == min(bounds)
    assert mine.low <= solution.certificate.bound
    took = solution.record.seconds["total"]
    in_time = budget.latency is None or took <= 1.1 * budget.latency
    if solution.status == "certified":
        assert solution.certificate.satisfied
        assert in_time
    elif in_time and solution.plan.chosen.feasible:
        assert not solution.certificate.satisfied
    # Every attempt is in the record, and all but the middle ones of many in the text.
    assert set(labels) <= {c.label for c in solution.plan.candidates}
    if len(labels) <= 4 and (len(labels) > 1 or solution.status != "certified"):
        assert all(f"Tried     {label}" in solution.explain() for label in labels)


def test_an_energy_limit_holds_for_the_fallback(use):
    ran = []

    def hungry(A, b, task, reuse):
        ran.append("hungry")
        return np.linalg.solve(A, b)

    use(fake("first", off_by(1e-6), seconds=0.1), fake("hungry", hungry, seconds=10.0, safe=True))
    with pytest.raises(CertificationFailed):
        solve(nla.Budget(accuracy=1e-12, energy=20.0))
    assert ran == []


# What follows what.


def test_the_same_method_is_not_tried_again_unless_it_is_more_accurate(use):
    ran = []

    def wrong(A, b, task, reuse):
        ran.append("wrong")
        return np.linalg.solve(A, b) * (1.0 + 1e-9)

    use(fake("wrong", wrong, seconds=0.1, error=(1e-14, 0.9e-14, 0.8e-14)), SAFE)
    assert outcomes(solve())[-1] == ("safe", "certified")
    assert len(ran) == 1

    ran.clear()
    use(fake("wrong", wrong, seconds=(0.1, 0.2), error=(1e-14, 1e-15)), SAFE)
    solve()
    assert len(ran) == 2


def test_candidates_follow_by_expected_cost_then_the_safe_ones(use):
    wrong = off_by(1e-9)
    use(
        fake("unlikely", wrong, seconds=0.01, error=1e-6),  # its forecast error is above the target
        fake("c", wrong, seconds=0.3),
        fake("a", wrong, seconds=0.1),
        fake("b", wrong, seconds=0.2),
        fake("last resort", lapack, seconds=2.0, error=1e-8, safe=True),
    )
    labels = [name for name, _ in outcomes(solve())]
    assert labels == ["a", "b", "c", "last resort"]


def test_a_pessimistic_forecast_is_overruled_by_the_certificate(use):
    """Nothing is forecast to reach the accuracy, but forecasts are cautious: it is tried, and certified."""
    use(fake("a", lapack, error=1e-8, safe=True))
    for how in ("raise", "best_effort"):
        solution = solve(nla.Budget(accuracy=1e-12, on_infeasible=how))
        assert solution.status == "certified"
        assert "certificate decides" in " ".join(solution.plan.notes)


# Budgets that nothing fits.


def test_nothing_fits_and_the_budget_says_raise(use):
    use(fake("quick", lapack, seconds=0.5, peak_bytes=1e6), fake("lean", lapack, seconds=2.0, peak_bytes=1e3))
    with pytest.raises(InfeasibleBudget, match="comes nearest but takes about 500 ms") as caught:
        solve(nla.Budget(accuracy=1e-12, latency=0.01))
    assert [c.algorithm for c in caught.value.nearest] == ["quick", "lean"]
    assert caught.value.plan.chosen.algorithm == "quick"
    assert not caught.value.plan.chosen.feasible
    assert "quick" in caught.value.plan.explain()


def test_best_effort_beyond_the_latency_says_so(use):
    use(fake("quick", lapack, seconds=5.0), fake("slow", lapack, seconds=9.0))
    solution = solve(nla.Budget(accuracy=1e-12, latency=0.01, on_infeasible="best_effort"))
    assert outcomes(solution)[0][0] == "quick"
    assert "nothing fits the budget" in solution.explain()
    assert solution.status == "best_effort"  # its accuracy is certified, but the budget was not kept
    assert solution.certificate.satisfied


def test_best_effort_does_not_break_the_memory_limit_either(use):
    ran = []

    def large(A, b, task, reuse):
        ran.append("large")
        return np.linalg.solve(A, b)

    use(fake("large", large, peak_bytes=1e9))
    with pytest.raises(InfeasibleBudget):
        solve(nla.Budget(accuracy=1e-12, memory=1e8, on_infeasible="best_effort"))
    assert ran == []


def test_best_effort_within_the_memory_limit(use):
    use(
        fake("quick", lapack, seconds=1.0, peak_bytes=1e9),
        fake("lean", off_by(1e-7), seconds=2.0, peak_bytes=1e3, error=1e-7),
    )
    solution = solve(nla.Budget(accuracy=1e-12, memory=1e8, on_infeasible="best_effort"))
    assert [name for name, _ in outcomes(solution)] == ["lean"]
    assert solution.status == "best_effort"


def test_accuracy_below_rounding_is_refused_naming_the_floor(use):
    use(SAFE)
    with pytest.raises(InfeasibleBudget, match=r"floor is about 1\.1e-16"):
        solve(nla.Budget(accuracy=1e-17))
    assert solve(nla.Budget(accuracy=1e-17, on_infeasible="best_effort")).status == "best_effort"


# By-products.


def test_by_products_of_probes_reach_the_algorithm(use):
    seen = {}

    def probe(A, b, task, evidence, backend):
        return task, evidence, {"norm": 3.0}

    def consumer(A, b, task, reuse):
        seen.update(reuse)
        return np.linalg.solve(A, b)

    step = ProbeStep("norm", lambda t, e: True, lambda t, e, backend: Work(()), probe, always=True)
    use(fake("a", consumer), probes=(step, step))
    solve()
    assert seen == {"norm": 3.0}


class Sketch:
    """Stands for the by-product of a sketching probe."""

    kind, rows = "sparse_sign", 40


@pytest.mark.parametrize("randomized", [True, False])
def test_the_certificate_is_told_whether_the_algorithm_used_the_sketch(monkeypatch, randomized):
    told, sketch = [], Sketch()

    def probe(A, b, task, evidence, backend):
        return task, evidence, {"sketch": sketch}

    step = ProbeStep("sketch", lambda t, e: True, lambda t, e, backend: Work(()), probe, always=True)

    def least_squares(A, b, task, reuse):
        assert reuse["sketch"] is sketch
        return np.linalg.lstsq(A, b)[0]

    certify = LeastSquaresKind.certify

    def listening(self, *operands, reuse, seed, **how):
        told.append((reuse["sketch"] is sketch, reuse["sketch_used"], seed))
        return certify(self, *operands, reuse={}, seed=seed, **how)

    monkeypatch.setattr(LeastSquaresKind, "algorithms",
                        property(lambda self: (fake("a", least_squares, randomized=randomized),)))  # fmt: skip
    monkeypatch.setattr(LeastSquaresKind, "probes", property(lambda self: (step,)))
    monkeypatch.setattr(LeastSquaresKind, "certify", listening)
    nla.solve(nla.LeastSquares(A[:, :5], B), TIGHT, rng=12, profile=PROFILE)
    assert told == [(True, randomized, attempts.certificate_seed(12))]
    assert told[0][2] != 12


# The record.


def test_the_record_holds_every_stage_and_attempt(use):
    use(fake("bad", breaks_down, seconds=0.1), SAFE)
    record = solve().record
    assert set(record.seconds) == {"probe", "plan", "run", "certify", "total"}
    assert all(s >= 0.0 for s in record.seconds.values())
    assert record.seconds["total"] >= record.seconds["run"]
    assert record.joules > 0.0
    assert record.energy_source in ("modelled", "measured")
    assert record.peak_bytes is not None
    assert [a.bound is None for a in record.attempts] == [True, False]


def test_details_of_the_run_are_kept_and_shown(use):
    use(
        fake("a", lambda A, b, task, reuse: Outcome(np.linalg.solve(A, b), {}, {"corrections": 3, "contraction": 1e-4}))
    )
    solution = solve()
    assert solution.record.attempts[0].details == {"corrections": 3, "contraction": 1e-4}
    assert "corrections 3" in solution.explain()


# Running another candidate, or again.


def test_a_named_candidate_runs_as_it_is(use):
    use(fake("bad", off_by(1e-6), seconds=2.0), fake("worse", breaks_down, seconds=3.0), SAFE)
    plan = nla.plan(PROBLEM, TIGHT, rng=0, profile=PROFILE)
    assert plan.run().status == "certified"
    solution = plan.run(candidate="bad[numpy float64]")
    assert solution.status == "best_effort"
    assert outcomes(solution)[0][0] == "bad"
    assert len(solution.record.attempts) == 1
    assert solution.plan.chosen.algorithm == "bad"
    with pytest.raises(CertificationFailed):
        plan.run(candidate=plan.candidate("worse[numpy float64]"))
    assert plan.run().status == "certified"


def test_what_was_thought_as_likely_to_fail_comes_after_what_was_not():
    """All forecasts of error rest on one guess at the data, and a failure speaks against that."""

    def entry(name: str, failure: float, seconds: float = 1.0) -> Any:
        forecast = SimpleNamespace(seconds=Interval.exact(seconds))
        return SimpleNamespace(candidate=SimpleNamespace(label=name, failure=failure, forecast=forecast, feasible=True))

    quick, sure, last = entry("quick", 0.3), entry("sure", 0.01), entry("last", 0.9)
    run: Any = SimpleNamespace(failed=[entry("first", 0.2)], may_follow=lambda e: e is not last, out_of_memory=False)
    assert execution._next(run, [quick, sure, last]) is sure
    assert execution._next(run, [quick, last]) is quick
    assert execution._next(run, [last]) is None
    little, more = entry("little", 0.3, 0.04), entry("more", 0.3, 0.06)  # of the time of the sure one
    assert execution._next(run, [more, little, sure]) is little
    assert execution._next(run, [more, sure]) is sure
    run.failed.append(entry("second", 0.005))
    assert execution._next(run, [quick, sure, last]) is quick


def test_a_reused_plan_escalates_too(use):
    sick = nla.LinearSystem(np.eye(30), np.ones(30))

    def only_for_A(A_, b, task, reuse):
        if A_[0, 1] == 0.0:
            raise Breakdown("not the matrix it was made for")
        return np.linalg.solve(A_, b)

    use(fake("quick", only_for_A, seconds=0.1), SAFE)
    plan = nla.plan(PROBLEM, TIGHT, rng=0, profile=PROFILE)
    assert outcomes(plan.run()) == [("quick", "certified")]
    solution = plan.run(sick)
    assert outcomes(solution)[-1] == ("safe", "certified")
    np.testing.assert_allclose(solution.value, np.ones(30))


def test_a_failure_that_is_likely_makes_the_sure_candidate_first(use):
    use(fake("risky", off_by(1e-6), seconds=0.7, error=Interval(0.9e-12, 1e-14, 1e-9)), SAFE)
    assert [name for name, _ in outcomes(solve())] == ["safe"]


# What a failed certificate teaches.


def rank_deficient(m: int = 400, n: int = 120, rank: int = 100) -> nla.LeastSquares:
    rng = np.random.default_rng(5)
    A = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    return nla.LeastSquares(A, rng.standard_normal(m))


def test_a_rank_found_on_the_way_rules_out_what_needs_full_rank():
    """QR breaks down on dependent columns: what stands them follows at once, not every other method in turn."""
    problem = rank_deficient()
    plan = nla.plan(problem, nla.Budget(accuracy=1e-9), rng=0, profile=PROFILE, rigor="estimate")
    first = next(c for c in plan.candidates if c.algorithm == "householder_qr" and c.forecast is not None)
    entries = [e for e in plan._entries if e.candidate.forecast is not None]
    solution = execution.execute(replace(plan, chosen=first), entries, PROFILE)
    assert solution.status == "certified"
    first, second = (a.label.partition("[")[0] for a in solution.record.attempts)
    assert first == "householder_qr"
    assert second in ("svd", "pivoted_qr")  # as likely to do, so the faster of them
    assert solution.certificate.numerical_rank == 100


def test_after_a_failure_the_safe_ones_go_by_their_time_where_they_are_as_likely_to_do():
    problem = rank_deficient()
    plan = nla.plan(problem, nla.Budget(accuracy=1e-9), rng=0, profile=PROFILE, rigor="estimate")

    def but(entry, feasible, failure, seconds):
        forecast = replace(entry.candidate.forecast, seconds=Interval.exact(seconds))
        return replace(entry, candidate=replace(entry.candidate, feasible=feasible, failure=failure, forecast=forecast))

    known = {e.algorithm.name: e for e in plan._entries if e.candidate.forecast is not None}
    svd, pivoted, unsafe = (known[name] for name in ("svd", "pivoted_qr", "householder_qr"))
    assert [e.algorithm.safe for e in (svd, pivoted, unsafe)] == [True, True, False]
    order = execution._order_after(
        [but(pivoted, False, 0.99, 3.0), but(unsafe, False, 0.7, 1.0), but(svd, False, 0.97, 2.0)]
    )
    assert [e.algorithm.name for e in order] == ["svd", "pivoted_qr", "householder_qr"]
    order = execution._order_after([but(svd, False, 1.0, 2.0), but(pivoted, False, 0.6, 3.0)])
    assert [e.algorithm.name for e in order] == ["pivoted_qr", "svd"]
    assert (
        execution._order_after([but(svd, False, 1.0, 2.0), but(unsafe, True, 0.1, 9.0)])[0].algorithm.name
        == "householder_qr"
    )


def test_full_rank_is_not_reported_as_a_finding():
    rng = np.random.default_rng(0)
    solution = nla.solve(nla.LeastSquares(rng.standard_normal((60, 10)), rng.standard_normal(60)), rng=0)
    assert solution.certificate.numerical_rank is None


@pytest.mark.parametrize("shape", [(800, 300), (300, 800)])
def test_ridge_bounds_the_condition_number_for_free(shape):
    """Without any probe: normal equations apply, and their answer is certified."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal(shape) @ np.diag(np.geomspace(1.0, 1e-12, shape[1]))
    problem = nla.LeastSquares(A, rng.standard_normal(shape[0]), ridge=1e-2)
    plan = nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor="estimate")
    singular = np.linalg.svd(A, compute_uv=False)
    condition = math.sqrt((singular[0] ** 2 + 1e-2) / (singular[-1] ** 2 + 1e-2))
    assert condition <= plan.evidence.condition.high < math.inf
    solution = plan.run(candidate=next(c for c in plan.candidates if c.algorithm == "normal_equations" and c.feasible))
    assert solution.status == "certified"


def test_without_ridge_the_condition_number_is_that_of_problems_never_seen():
    rng = np.random.default_rng(1)
    problem = nla.LeastSquares(rng.standard_normal((800, 300)), rng.standard_normal(800))
    plan = nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor="estimate")
    assert plan.evidence.condition == plan.evidence.scaled_condition == UNSEEN
    assert (UNSEEN.low, UNSEEN.high) == (1.0, 1e12)
    assert plan.chosen.algorithm == "normal_equations"
    assert 0.2 < plan.chosen.failure < 0.4  # they may break down, and that has its price
    others = [
        c.forecast.seconds.median
        for c in plan.candidates
        if c.forecast is not None and c.feasible and c.algorithm != "normal_equations"
    ]
    assert plan.chosen.forecast is not None
    assert plan.chosen.cost > plan.chosen.forecast.seconds.median + 0.2 * min(others)


def test_narrow_ranges_are_tried_after_all_where_nothing_wider_is_left(monkeypatch):
    rng = np.random.default_rng(0)
    A = matrices.with_spectrum(300, 300, np.where(np.arange(300) < 100, 1.0, 1e-6), rng).A
    plan = nla.plan(nla.LowRank(A, rank=50), nla.Budget(accuracy=0.05), rng=0, profile=PROFILE, rigor="estimate")
    kind = execution.kind_of("low_rank")
    priced = [e for e in plan._entries if e.candidate.forecast is not None]
    narrow = [e for e in priced if (kind.range_columns(plan.task, e.algorithm, e.options) or 999) <= 120]
    first = next(e for e in narrow if e.algorithm.name == "block_krylov")
    refused = Certificate("relative_frobenius", 0.06, 0.055, 1.0, "told", 0.05, False, columns=120)
    monkeypatch.setattr(type(kind), "certify", lambda *operands, **how: refused)
    with pytest.raises(nla.CertificationFailed) as caught:
        execution.execute(replace(plan, chosen=first.candidate), narrow, PROFILE)
    tried = [a.label.partition("[")[0].partition("(")[0] for a in caught.value.tried]
    assert tried[0] == "block_krylov"
    assert "randomized_svd" in tried


# What goes out.


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_goes_out_has_the_dtype_of_what_came_in_and_is_not_copied_without_need(dtype):
    torch = pytest.importorskip("torch")
    task = Task("linear_system", 3, 3, dtype=dtype)
    for given in ("float64", "float32"):
        value = np.arange(3.0).astype(given)
        out = execution.to_library(value, task)
        assert out.dtype == dtype
        assert (out is value) == (given == dtype)
        np.testing.assert_array_equal(out, value)
        assert type(execution.to_library(torch.from_numpy(value), task)) is np.ndarray
        out = execution.to_library(value, replace(task, library="torch"))
        assert out.dtype == getattr(torch, dtype)
        assert (out.data_ptr() == value.__array_interface__["data"][0]) == (given == dtype)


@pytest.mark.parametrize(("dtype", "smallest"), [("float64", 2.0**-1022), ("float32", 2.0**-126)])
def test_what_loses_its_digits_when_it_is_scaled_back_cannot_be_written(dtype, smallest):
    largest = float(np.finfo(dtype).max)
    one = np.ones(1)
    for value, fine in ((smallest, True), (smallest / 2, False), (0.0, False), (1.0, True), (math.inf, False)):
        assert execution._can_be_written(np.array([value]), one, dtype) is fine
        columns = np.array([[1.0, value], [1.0, 0.0]])
        assert execution._can_be_written(columns, np.ones((2, 2)), dtype) is fine
    assert execution._can_be_written(np.array([largest]), one, dtype)
    assert execution._can_be_written(np.zeros(1), np.zeros(1), dtype)  # nothing is lost of nothing


@pytest.mark.parametrize(
    ("how", "recorded"),
    [
        ({}, True),
        ({"problem": nla.LinearSystem(np.array(PROBLEM.A), np.array(PROBLEM.b))}, False),
        ({"candidate": "good"}, False),
        ({"machine": "another"}, False),
    ],
)
def test_a_plan_that_runs_again_is_recorded_where_it_runs_as_it_was_planned(use, monkeypatch, how, recorded):
    use(fake("good", lapack, seconds=0.5), SAFE)
    kept = []
    monkeypatch.setattr(execution, "remember", lambda *run: kept.append(run))
    plan = nla.plan(PROBLEM, TIGHT, rng=0, profile=PROFILE)
    described = how.get("machine", plan.profile)
    monkeypatch.setattr(planning, "machine_of", lambda profile: planning.Machine(PROFILE, described))
    monkeypatch.setattr(type(execution.kind_of("linear_system")), "small", lambda self, task: False)
    candidate = plan.chosen if "candidate" in how else None
    assert plan.run(how.get("problem"), candidate=candidate).status == "certified"
    assert bool(kept) is recorded


def test_only_a_success_at_the_first_attempt_is_recorded(use, monkeypatch):
    kept = []
    monkeypatch.setattr(execution, "remember", lambda *run: kept.append(run))
    use(fake("bad", breaks_down, seconds=0.5), SAFE)
    assert len(solve().record.attempts) == 2
    use(fake("bad", off_by(1e-3), seconds=0.5))
    with pytest.raises(CertificationFailed):
        solve()
    assert not kept
    use(SAFE)
    solution = solve()
    ((task, entry, profile, run, certify, memory),) = kept
    assert (task, entry.algorithm, profile) == (solution.plan.task, SAFE, PROFILE)
    assert (run, certify) == (solution.record.seconds["run"], solution.record.seconds["certify"])
    assert memory.method == solution.record.memory_source


def test_what_runs_at_once_is_given_the_power_of_a_machine_that_idles(known_machine):
    solution = nla.solve(nla.LinearSystem(np.eye(3), np.ones(3)), rng=0)
    record = solution.record
    watts = PROFILE.energy.idle_watts
    assert watts > 0.0
    assert record.joules == pytest.approx(watts * record.seconds["total"], rel=1e-9, abs=0.0)
    assert record.seconds["probe"] == record.seconds["plan"] == 0.0
    assert record.peak_bytes is None


# What is kept of a plan, and what is not.


def test_what_attempts_leave_behind_is_not_kept_in_the_plan_that_follows_one_at_once(use, known_machine):
    def leaves(name):
        def solve(A, b, task, reuse):
            raise Breakdown("no", by_products={name: np.ones(3)})

        return solve

    use(fake("first", leaves("early"), seconds=0.1), fake("second", leaves("late"), seconds=0.2), SAFE)
    solution = nla.solve(PROBLEM, nla.Budget(accuracy=1e-12), rng=0)
    assert [name for name, _ in outcomes(solution)] == ["first", "second", "safe"]
    assert set(solution.plan._prepared.by_products) == {"early"}  # the plan was made with it


def test_peak_memory_counts_what_was_held_before(use, monkeypatch):
    class Measured:
        bytes, method = 1000.0, "told"

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            pass

    use(SAFE)
    monkeypatch.setattr(execution, "PeakMemory", Measured)
    assert solve().record.peak_bytes == 1000.0
    whole = nla.LinearSystem(np.eye(30, dtype=np.int64) * 3, np.ones(30, np.int64))
    copies = 8.0 * (30 * 30 + 30)  # in float64
    assert solve(problem=whole).record.peak_bytes == 1000.0 + copies
    monkeypatch.setattr(Measured, "bytes", 0.0)
    assert solve(problem=whole).record.peak_bytes == copies


def test_plans_of_nothing_and_of_something_are_not_mixed_up():
    empty, other = nla.LinearSystem(np.zeros((0, 0)), np.zeros(0)), nla.LinearSystem(np.eye(3), np.ones(3))
    of_nothing, of_something = (nla.plan(p, rng=0, profile=PROFILE) for p in (empty, other))
    assert of_nothing.chosen.algorithm == "empty"
    assert of_nothing.run().value.shape == of_nothing.run(empty).value.shape == (0,)
    for plan, problem in ((of_nothing, other), (of_something, empty)):
        with pytest.raises(PlanError):
            plan.run(problem)


def test_what_the_probes_found_holds_for_another_problem_but_its_norm():
    rng = np.random.default_rng(9)
    A = rng.standard_normal((40, 40))
    plan = nla.plan(nla.LinearSystem(A, np.ones(40)), nla.Budget(accuracy=1e-9), rng=0, profile=PROFILE)
    seen = replace(plan.evidence, effective_rank=0.123, norm_2=Interval.exact(5.0))
    bound = execution._bind(replace(plan, evidence=seen), nla.LinearSystem(3.0 * A, np.ones(40)))
    assert bound.evidence.effective_rank == 0.123
    assert bound.evidence.norm_2 is None
    assert bound.evidence.norm_fro == pytest.approx(3.0 * np.linalg.norm(A), rel=1e-12, abs=0.0)
