"""One attempt after the other: the best answer is kept, and what fails teaches."""

from __future__ import annotations

import errno
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import autonla as nla
from autonla.cost_models.price import Pool
from autonla.planner import attempts as module
from autonla.planner import execution
from autonla.planner.attempts import Attempts, certificate_seed, library_errors
from autonla.planner.candidates import Entry, Limits, enumerate_entries
from autonla.planner.certificate import Certificate
from autonla.planner.kinds import kind_of
from autonla.planner.plans import Candidate
from autonla.planner.prepare import Prepared, prepare
from autonla.primitives.algorithm import Algorithm, Breakdown, Outcome
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.linear_system import lu
from autonla.primitives.linear_system._common import Factor
from autonla.primitives.stopping import stop_asked
from autonla.primitives.task import Task
from tests._support import matrices, spectra, truth
from tests._support.fakes import FakeKind, FakeOptions, fake
from tests._support.faults import RAISED
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
N = 4
TASK = Task("fake", N, N, target=1e-6)


class ToldKind(FakeKind):
    """Its certificates believe the answer: x[0] is the bound, x[1] the numerical rank where it is not zero."""

    def certify(self, lib, A, b, outcome, task, evidence, **how) -> Certificate:
        bound, rank = float(outcome.value[0]), int(outcome.value[1]) or None
        target = how["target"]
        satisfied = target is None or bound <= target
        return Certificate(how["metric"], bound, bound, 1.0, "as told", target, satisfied, rank)


def tells(bound: float, rank: int = 0, **by_products):
    """An algorithm whose answer says so."""

    def solve(A, b, task, reuse):
        return Outcome(np.array([bound, rank, 0.0, 0.0]), dict(by_products), {"steps": 7})

    return solve


def breaks(condition: Interval | None = None, message: str = "a pivot is zero"):
    def solve(A, b, task, reuse):
        raise Breakdown(message, condition=condition)

    return solve


def entry_of(kind: FakeKind, name: str, variant: int = 0) -> Entry:
    found = enumerate_entries(kind, TASK, Evidence(), kind.profile, Limits.of(nla.Budget(accuracy=1e-6), 1e-6, 0.0))
    return next(e for e in found if e.algorithm.name == name and e.options.variant == variant)


def attempts(*algorithms: Algorithm, evidence: Evidence | None = None, **budget: Any) -> tuple[Attempts, list[Any]]:
    kind = ToldKind(*algorithms)
    prepared = Prepared(np.eye(N), np.ones(N), TASK, evidence or Evidence(norm_fro=2.0))
    run = Attempts(kind, prepared, nla.Budget(**{"accuracy": 1e-6, **budget}), "prediction_error", 0.0)
    return run, [entry_of(kind, a.name) for a in algorithms]


# What is kept.


def test_the_answer_with_the_smallest_bound_is_kept_in_whatever_order_they_come():
    for order in itertools.permutations([1e-9, 1e-7, math.nan, math.inf]):
        run, entries = attempts(*(fake(f"a{i}", tells(bound)) for i, bound in enumerate(order)), accuracy=1e-12)
        assert not any(run.attempt(entry) for entry in entries)
        assert run.best is not None
        assert run.best[1].bound == 1e-9
        assert run.best[0].value[0] == 1e-9
        assert len(run.failed) == len(run.tried) == len(run.attempts) == 4


def test_a_satisfied_one_is_better_than_any_other():
    run, (loose, tight) = attempts(fake("loose", tells(1e-5)), fake("tight", tells(1e-7)))
    assert not run.attempt(loose)
    assert run.attempt(tight)
    assert run.best is not None
    assert run.best[1].satisfied
    assert [a.outcome for a in run.attempts] == ["its certificate allows only 1.0e-05", "certified"]
    assert [e.algorithm.name for e in run.failed] == ["loose"]


def test_a_breakdown_has_no_answer():
    run, (entry,) = attempts(fake("a", breaks()))
    assert not run.attempt(entry)
    assert run.best is None
    assert run.attempts[0].outcome == "broke down: a pivot is zero"
    assert run.attempts[0].bound is None
    assert not run.learned


def test_what_is_recorded_of_an_attempt():
    run, (entry,) = attempts(fake("a", tells(1e-8)))
    run.attempt(entry)
    (recorded,) = run.attempts
    assert recorded.label == entry.candidate.label
    assert recorded.details == {"steps": 7}
    assert recorded.bound == 1e-8
    assert recorded.seconds == pytest.approx(run.seconds["run"] + run.seconds["certify"])
    assert run.joules == entry.candidate.forecast.joules.median


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), RuntimeError("can't allocate")])
def test_no_memory_is_a_failure_like_others(error):
    def solve(A, b, task, reuse):
        raise error

    run, (entry,) = attempts(fake("a", solve))
    assert not run.attempt(entry)
    assert run.out_of_memory
    assert run.attempts[0].outcome.startswith("ran out of memory")


@pytest.mark.parametrize("what", RAISED)
def test_every_librarys_errors_are_failures_of_the_attempt(what):
    def solve(A, b, task, reuse):
        raise RAISED[what]()

    run, (entry,) = attempts(fake("a", solve))
    assert not run.attempt(entry)
    assert run.out_of_memory is ("memory" in what)
    kind = "ran out of memory" if "memory" in what else "broke down"
    assert run.attempts[0].outcome == f"{kind}: {RAISED[what]()}"
    # The same where its certificate raises it.
    run, (entry,) = attempts(fake("a", tells(1e-9)))
    run.kind.certify = lambda *operands, **how: solve(*operands[:4])
    assert not run.attempt(entry)
    assert run.best is None
    assert run.attempts[0].outcome == f"{kind}: {RAISED[what]()}"


@pytest.mark.parametrize(("error", "becomes"), [
    (OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError),
    (RuntimeError("can't start new thread"), MemoryError),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MemoryError),
    (OSError(errno.EIO, "cannot allocate"), OSError), (ValueError("out of memory"), ValueError),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
    (Breakdown("out of memory"), Breakdown), (KeyboardInterrupt(), KeyboardInterrupt),
])  # fmt: skip
def test_which_errors_are_a_librarys(error, becomes):
    with pytest.raises(BaseException) as caught, library_errors():  # noqa: PT011 -- the type is what is tested
        raise error
    assert type(caught.value) is becomes
    assert caught.value is error or caught.value.__cause__ is error


def test_floating_point_errors_that_the_caller_has_asked_for_do_not_reach_the_algorithms():
    def divides(A, b, task, reuse):
        return tells(1e-9 if np.isinf(np.ones(1) / np.zeros(1)).all() else 1.0)(A, b, task, reuse)

    asked = dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
    with np.errstate(all="raise"):
        run, (entry,) = attempts(fake("a", divides))
        assert run.attempt(entry)
        assert np.geterr() == asked


@pytest.mark.parametrize("error", [RuntimeError("shapes"), TypeError("no"), ZeroDivisionError()])
def test_other_errors_are_the_algorithms_own(error):
    def solve(A, b, task, reuse):
        raise error

    run, (entry,) = attempts(fake("a", solve))
    with pytest.raises(type(error)):
        run.attempt(entry)


@pytest.mark.parametrize("shape", [(N + 1,), (N, 1), ()])
def test_an_answer_of_another_shape_is_a_breakdown(shape):
    run, (entry,) = attempts(fake("a", lambda A, b, task, reuse: np.zeros(shape)))
    assert not run.attempt(entry)
    assert run.best is None
    assert f"its answer has shape [{shape}]" in run.attempts[0].outcome


# What is learned.


def test_a_breakdown_with_a_condition_number_teaches_it():
    seen = Interval(1e9, 1e8, 1e14)
    run, (entry, other) = attempts(fake("a", breaks(seen)), fake("b", breaks(Interval(1e5, 1e3, 1e9))))
    before = run.prepared.evidence
    run.attempt(entry)
    assert run.learned
    assert run.prepared.evidence == replace(before, condition=seen, scaled_condition=seen)
    run.learned = False
    run.attempt(other)  # says less than what is known
    assert not run.learned
    assert run.prepared.evidence.condition == seen


def test_a_certificate_that_finds_the_rank_teaches_it():
    run, (entry,) = attempts(fake("a", tells(1e-3, rank=3)))
    run.attempt(entry)
    assert run.learned
    assert run.prepared.evidence.numerical_rank == 3


def test_an_answer_that_is_good_teaches_nothing():
    run, (entry,) = attempts(fake("a", tells(1e-8, rank=3)))
    assert run.attempt(entry)
    assert not run.learned
    assert run.prepared.evidence.numerical_rank is None


def test_the_condition_number_that_an_algorithm_has_seen_is_evidence():
    run, (entry,) = attempts(fake("a", tells(1e-3, condition=50.0)))
    run.attempt(entry)
    assert run.prepared.evidence.condition == run.prepared.evidence.scaled_condition
    assert run.prepared.evidence.condition.median == 50.0
    assert run.prepared.evidence.condition.low <= 50.0 / 2.0  # it is an estimate
    assert run.prepared.evidence.condition.high >= 2.0 * 50.0


def test_what_is_not_finite_is_not_handed_on():
    """A by-product that holds NaN would fail whatever goes on from it."""
    sick, well = np.array([1.0, math.nan]), np.ones(2)
    run, (entry, other) = attempts(
        fake("a", tells(1e-3, range=Factor("a", None, (well, sick)), factor=Factor("a", None, (well, np.arange(2))))),
        fake("b", lambda A, b, task, reuse: breaks_with({"sketch": sick, "gram_factor": well})),
    )
    run.attempt(entry)
    run.attempt(other)
    assert set(run.prepared.by_products) == {"factor", "gram_factor"}


def breaks_with(by_products: dict[str, Any]):
    raise Breakdown("a pivot is zero", by_products=by_products)


def test_a_condition_number_that_is_not_a_number_is_not_believed():
    run, (entry,) = attempts(fake("a", tells(1e-3, condition=math.nan)))
    before = run.prepared.evidence.condition
    run.attempt(entry)
    assert run.prepared.evidence.condition == before


def test_an_answer_that_is_not_finite_is_none():
    run, (sick, poor) = attempts(fake("a", tells(math.nan)), fake("b", tells(math.inf)))
    run.attempt(sick)
    assert run.best is None
    run.attempt(poor)  # its certificate says nothing of it, but it is an answer
    assert run.best is None  # here the bound is told by an entry of the answer itself
    solution = np.array([1e-3, 0.0, 0.0, math.inf])
    run, (entry,) = attempts(fake("c", lambda A, b, task, reuse: solution))
    run.attempt(entry)
    assert run.best is not None  # a finite bound is a promise: such a certificate would be at fault


def test_the_best_answer_is_kept_without_what_came_with_it():
    run, (entry,) = attempts(fake("a", tells(1e-3, range=np.eye(1000), gram_factor=np.eye(1000))))
    run.attempt(entry)
    assert run.best is not None
    assert run.best[0].by_products == {}
    assert run.best[0].details == {"steps": 7}


def test_what_may_be_continued_is_handed_on_and_the_callers_own_is_not_touched():
    kept = {"range": np.eye(2), "factor": 1, "gram_factor": np.eye(3)}
    run, (entry, other) = attempts(fake("a", tells(1e-3, **kept)), fake("b", tells(1e-8, range=None)))
    given = run.prepared.by_products
    original = Prepared(np.eye(N), np.ones(N), TASK, Evidence(), by_products={"sketch": 5})
    run = Attempts(run.kind, original, run.budget, run.metric, 0.0)
    run.attempt(entry)
    assert set(run.prepared.by_products) == {"sketch", "range", "factor"}
    assert original.by_products == {"sketch": 5}
    assert given == {}
    run.attempt(other)  # it succeeds: nothing follows that could use what it leaves
    assert run.prepared.by_products["range"] is kept["range"]


# What may follow.


def test_the_same_method_does_not_follow_unless_it_is_forecast_to_be_twice_as_accurate():
    errors = (1e-8, 0.6e-8, 0.4e-8)
    kind = ToldKind(fake("a", tells(1e-3), error=errors), fake("b", tells(1e-8)))
    run = Attempts(kind, Prepared(np.eye(N), np.ones(N), TASK, Evidence()), nla.Budget(accuracy=1e-6), "m", 0.0)
    first, second, third = (entry_of(kind, "a", i) for i in range(3))
    run.attempt(first)
    assert [run.may_follow(e) for e in (first, second, third, entry_of(kind, "b"))] == [False, False, True, True]
    run.attempt(third)
    assert not run.may_follow(third)


def test_what_failed_before_there_was_a_forecast_has_failed():
    run, (entry, other) = attempts(fake("a", breaks()), fake("b", tells(1e-8)))
    run.attempt(replace(entry, candidate=replace(entry.candidate, forecast=None)))
    assert run.has_failed(entry)
    assert not run.has_failed(other)
    assert not run.may_follow(entry)
    assert run.joules == 0.0


def test_what_cannot_be_priced_does_not_follow():
    run, (entry,) = attempts(fake("a"))
    assert run.may_follow(entry)
    assert not run.may_follow(replace(entry, candidate=replace(entry.candidate, forecast=None)))


@pytest.mark.parametrize(("limit", "field"), [("memory", "bytes"), ("energy", "joules")])
def test_limits_hold_for_what_follows(limit, field):
    run, (entry,) = attempts(fake("a"))
    needed = getattr(entry.candidate.forecast, field)
    needed = needed.high if limit == "memory" else needed.median
    for factor, fits in ((0.99, False), (1.01, True)):
        limited = Attempts(run.kind, run.prepared, nla.Budget(accuracy=1e-6, **{limit: factor * needed}), "m", 0.0)
        assert limited.may_follow(entry) is fits


def test_the_answer_that_is_kept_takes_memory_too():
    needed = attempts(fake("a"))[1][0].candidate.forecast.bytes.high
    run, (first, second) = attempts(fake("a", tells(1e-3)), fake("b"), memory=needed + 8 * N - 1)
    assert run.may_follow(second)
    run.attempt(first)
    assert run.held_bytes == 8 * N

    assert not run.may_follow(second)


@pytest.mark.parametrize("backend", ["scipy", "torch"])
def test_factors_that_are_handed_on_take_memory_whatever_they_are_kept_in(backend):
    """LU in torch is a pair, in SciPy a record."""
    n = 60
    task, A, b = Task("linear_system", n, n), np.eye(n) + np.eye(n, k=1), np.ones(n)
    options = next(s for s in lu.ALGORITHM.options(task, Evidence()) if s.backend == backend)
    by_products = lu.ALGORITHM.solve(A, b, task, options, Evidence(), {}).by_products
    held = Prepared(A, b, task, Evidence(), by_products=by_products).held_bytes
    assert 8 * n * n < held <= 8 * n * n + 8 * n  # the factors, and the pivots


def test_energy_that_was_spent_is_gone():
    run, (first, second) = attempts(fake("a", tells(1e-3)), fake("b"))
    joules = first.candidate.forecast.joules.median
    limited = Attempts(run.kind, run.prepared, nla.Budget(accuracy=1e-6, energy=1.5 * joules), "m", 0.0)
    assert limited.may_follow(second)
    limited.attempt(first)
    assert not limited.may_follow(second)


class Clock:
    now = 10.0

    def perf_counter(self):
        return self.now


def test_time_that_has_passed_is_gone(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    run, (entry,) = attempts(fake("a", seconds=0.5), latency=1.0)
    run.started = 10.0
    assert run.left() == 1.0
    assert run.may_follow(entry)
    clock.now = 10.6
    assert run.left() == pytest.approx(0.4)
    assert not run.may_follow(entry)
    unlimited, _ = attempts(fake("a"))
    assert unlimited.left() == math.inf


# Time that is over.


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_iterations_end_when_the_time_is_over(clock):
    """Only then, only inside of the attempt, and what they have so far counts."""

    def iterating(A, b, task, reuse):
        for step in range(100):
            if stop_asked():
                return Outcome(np.array([1e-3, 0.0, 0.0, 0.0]), {}, {"steps": step})
            clock.now += 0.125
        return np.array([1e-9, 0.0, 0.0, 0.0])

    for latency, steps in ((1.0, 8), (1e3, 100), (None, 100)):
        clock.now = 100.0
        run, (entry,) = attempts(fake("a", iterating), latency=latency)
        run.started = 100.0
        assert run.attempt(entry) is (steps == 100)
        assert not stop_asked()
        (recorded,) = run.attempts
        if steps < 100:
            assert recorded.outcome == "stopped when its time was over; its certificate allows only 1.0e-03"
            assert recorded.details == {"steps": 8}
            assert run.best is not None
        else:
            assert recorded.outcome == "certified"


def test_the_next_attempt_is_not_said_to_have_been_stopped(clock):
    def asking(A, b, task, reuse):
        return np.array([1e-3 if stop_asked() else 1e-9, 0.0, 0.0, 0.0])

    run, (entry, other) = attempts(fake("a", asking), fake("b", tells(1e-4)), latency=1.0)
    run.started = clock.now - 2.0
    run.attempt(entry)
    run.attempt(other)
    assert [a.outcome.startswith("stopped") for a in run.attempts] == [True, False]


@pytest.mark.parametrize(("passed", "forecast", "expected"), [
    (0.5, 0.4, True),  # it fits what is left
    (0.5, 40.0, False),
    (2.0, 0.9, True),  # late, but it takes less than a second
    (5.0, 1.1, True),  # late, but less than a quarter of what has passed
    (5.0, 1.3, False),
    (500.0, 120.0, True),
    (500.0, 130.0, False),
])  # fmt: skip
def test_when_a_certificate_is_worth_its_time(clock, passed, forecast, expected):
    run, (entry,) = attempts(fake("a", tells(1e-9)), latency=1.0)
    foreseen = replace(entry.candidate.forecast, stages=(("run", passed), ("certify", forecast)))
    entry = replace(entry, candidate=replace(entry.candidate, forecast=foreseen))
    run.started = clock.now - passed
    assert run._worth_certifying(entry, passed) is expected
    # A machine that is three times slower than forecast is so for the certificate too ...
    foreseen = replace(foreseen, stages=(("run", passed / 3.0), ("certify", forecast / 3.0)))
    slow = replace(entry, candidate=replace(entry.candidate, forecast=foreseen))
    assert run._worth_certifying(slow, passed) is expected
    # ... and one that is a thousand times slower was only cold.
    foreseen = replace(foreseen, stages=(("run", passed / 1e3), ("certify", forecast / 10.0)))
    cold = replace(entry, candidate=replace(entry.candidate, forecast=foreseen))
    assert run._worth_certifying(cold, passed) is expected
    # What runs at once was not forecast, and is small.
    unknown = replace(entry, candidate=replace(entry.candidate, forecast=None))
    assert run._worth_certifying(unknown, passed)


@pytest.mark.parametrize("value", [1e-9, math.nan])
def test_an_answer_without_a_certificate_promises_nothing_but_that_it_is_finite(clock, value):
    def slow(A, b, task, reuse):
        clock.now += 100.0
        return np.array([value, 0.0, 0.0, 0.0])

    run, (entry,) = attempts(fake("a", slow, seconds=0.1), latency=1.0)
    foreseen = replace(entry.candidate.forecast, stages=(("run", 0.1), ("certify", 30.0)))
    entry = replace(entry, candidate=replace(entry.candidate, forecast=foreseen))
    run.started = clock.now
    run.kind.certify = lambda *operands, **how: pytest.fail("there was no time for this")
    assert not run.attempt(entry)
    if math.isnan(value):
        assert run.best is None
        assert run.attempts[0].outcome == "broke down: its answer is not finite"
        return
    assert run.best is not None
    certificate = run.best[1]
    assert certificate.bound == certificate.estimate == math.inf
    assert not certificate.satisfied
    assert run.attempts[0].outcome == "no time was left to certify it"


@pytest.mark.parametrize(("passed", "late"), [(0.5, False), (1.05, False), (1.15, True)])
def test_a_tenth_more_is_what_the_system_adds_to_a_clock(clock, passed, late):
    run, _ = attempts(fake("a"), latency=1.0)
    run.started = clock.now - passed
    assert run.late is late
    unlimited, _ = attempts(fake("a"))
    unlimited.started = clock.now - passed
    assert not unlimited.late


# Without an accuracy.


@pytest.mark.parametrize(("bound", "good"), [(5e-11, True), (5e-10, False)])  # LAPACK's is 1e-12 here
def test_without_an_accuracy_a_shortcut_far_from_LAPACK_is_not_good(bound, good):
    run, (entry,) = attempts(fake("a", tells(bound)), accuracy=None)
    assert run.attempt(entry) is good
    run, (entry,) = attempts(fake("a", tells(bound), safe=True), accuracy=None)
    assert run.attempt(entry)  # nothing is more accurate
    run, (entry,) = attempts(fake("a", tells(bound)), accuracy=None, latency=1e6)
    assert run.attempt(entry)  # the most accurate that fits


def test_without_an_accuracy_LAPACKs_is_that_of_the_residual_which_the_certificate_has_seen():
    seen = []

    class Shown(ToldKind):
        def certify(self, *operands, **how) -> Certificate:
            return replace(super().certify(*operands, **how), residual=0.125)

        def lapack_target(self, task, evidence) -> float:
            seen.append(evidence.residual)
            return super().lapack_target(task, evidence)

    kind = Shown(fake("a", tells(5e-11)))
    for known in (None, Interval.exact(0.5)):
        seen.clear()
        prepared = Prepared(np.eye(N), np.ones(N), TASK, Evidence(norm_fro=2.0, residual=known))
        run = Attempts(kind, prepared, nla.Budget(), "prediction_error", 0.0)
        assert run.attempt(entry_of(kind, "a"))
        assert seen == [Interval(0.125, 0.0, 0.125) if known is None else known]
        assert run.prepared.evidence.residual == known  # of another solution than the best


def test_normal_equations_are_not_taken_where_LAPACK_would_be_exact():
    """Without noise QR is right to rounding, however ill-conditioned; normal equations are off by the condition."""
    problem = tall(1e6, 2000, 30)
    consistent = nla.LeastSquares(problem.A, problem.A @ np.ones(30))
    solution = nla.solve(consistent, rng=0)
    assert solution.certificate.bound < 1e-13
    assert solution.certificate.residual < 1e-13
    noisy = nla.solve(problem, rng=0)
    assert noisy.certificate.residual == pytest.approx(
        np.linalg.norm(problem.b - problem.A @ noisy.value) / np.linalg.norm(problem.b), rel=1e-6, abs=0.0
    )


def test_the_failure_probability_of_all_attempts_is_the_budgets():
    asked = []

    class Chancy(ToldKind):
        def certify(self, *operands, **how) -> Certificate:
            asked.append(how["confidence"])
            return replace(super().certify(*operands, **how), confidence=how["confidence"])

    kind = Chancy(*(fake(name, tells(bound)) for name, bound in zip("abcd", (1e-2, 1e-3, 1e-4, 1e-7), strict=True)))
    prepared = Prepared(np.eye(N), np.ones(N), TASK, Evidence(norm_fro=2.0))
    run = Attempts(kind, prepared, nla.Budget(accuracy=1e-6, confidence=0.9), "prediction_error", 0.0)
    stated = []
    for a in kind.algorithms:
        run.attempt(entry_of(kind, a.name))
        assert run.best is not None
        stated.append(run.best[1].confidence)
    assert asked == pytest.approx([0.91, 0.995, 1.0 - 0.01 / 6.0, 1.0 - 0.01 / 12.0], rel=1e-12, abs=0.0)
    # of an answer that was chosen among several: that none of their certificates has been wrong
    assert stated == pytest.approx(1.0 - np.cumsum(1.0 - np.array(asked)), rel=1e-12, abs=0.0)
    assert min(stated) > 0.9


def test_chance_in_what_came_before_does_not_touch_what_is_certain():
    kind = ToldKind(fake("a", tells(1e-2)), fake("b", tells(1e-7)))
    prepared = Prepared(np.eye(N), np.ones(N), TASK, Evidence(norm_fro=2.0))
    run = Attempts(kind, prepared, nla.Budget(accuracy=1e-6), "prediction_error", 0.0)
    for a in kind.algorithms:
        run.attempt(entry_of(kind, a.name))
    assert run.best is not None
    assert run.best[1].confidence == 1.0


def test_a_breakdown_spends_no_probability():
    run, entries = attempts(fake("a", breaks()), fake("b", tells(1e-7)))
    for entry in entries:
        run.attempt(entry)
    assert run.spent == pytest.approx(0.009, rel=1e-12, abs=0.0)


def test_the_certificate_draws_from_a_stream_of_its_own():
    seeds = {certificate_seed(s) for s in range(100)}
    assert len(seeds) == 100
    assert all(0 <= s < 2**63 for s in seeds | {certificate_seed(2**63 - 1)})
    assert all(certificate_seed(s) != s for s in range(100))


# In the planner.


def tall(condition: float, m: int = 20_000, n: int = 50) -> nla.LeastSquares:
    rng = np.random.default_rng(1)
    A = matrices.with_spectrum(m, n, spectra.geometric(n, condition), rng).A
    return nla.LeastSquares(A, A @ rng.standard_normal(n) + 0.1 * rng.standard_normal(m))


def test_after_a_breakdown_comes_what_the_forecasts_say_of_a_matrix_as_ill_conditioned_as_that(monkeypatch):
    problem, budget = tall(1e10), nla.Budget(accuracy=1e-6)
    plan = nla.plan(problem, budget, rng=0, profile=PROFILE, rigor="estimate")
    assert plan.chosen.algorithm == "normal_equations"
    seen = []
    original = execution.enumerate_entries

    def watching(kind, task, evidence, profile, limits, ready, **how):
        seen.append((evidence, how["pool"]))
        return original(kind, task, evidence, profile, limits, ready, **how)

    monkeypatch.setattr(execution, "enumerate_entries", watching)
    solution = execution.execute(plan, plan._entries, PROFILE)
    first, second = solution.record.attempts
    assert first.label == plan.chosen.label
    assert first.outcome.startswith("broke down: ")
    assert second.outcome == "certified"
    # The candidates were forecast anew, once, with what the breakdown has shown ...
    ((evidence, pool),) = seen
    assert evidence.condition == evidence.scaled_condition
    assert evidence.condition.low > 3e7 > plan.evidence.condition.median
    assert pool == Pool("scipy")
    # ... and the best of them came next, not the slowest that is safe.
    limits = Limits.of(budget, plan.target, 0.0)
    anew: list[Any] = enumerate_entries(kind_of("least_squares"), plan.task, evidence, PROFILE, limits, pool=pool)
    assert second.label == anew[0].candidate.label
    slowest = max(e.candidate.forecast.seconds.median for e in anew if e.algorithm.safe and e.candidate.forecast)
    assert anew[0].candidate.forecast.seconds.median < 0.5 * slowest
    assert truth.prediction_error(problem.A, solution.value, problem.b).low <= solution.certificate.bound <= 1e-6


def test_what_is_learned_on_the_way_is_not_kept_in_the_plan():
    problem = tall(1e10, 3000, 30)
    plan = nla.plan(problem, nla.Budget(accuracy=1e-6), rng=0, profile=PROFILE, rigor="estimate")
    before = plan.evidence, plan._prepared.evidence, dict(plan._prepared.by_products)
    labels = [[a.label for a in execution.execute(plan, plan._entries, PROFILE).record.attempts] for _ in range(2)]
    assert labels[0] == labels[1]
    assert len(labels[0]) == 2
    assert (plan.evidence, plan._prepared.evidence, plan._prepared.by_products) == before


def test_what_was_tried_before_the_plan_counts():
    """Its answer may be the best, its time and energy are gone, and it is on record."""
    problem = tall(1e3, 3000, 30)
    kind, budget = kind_of("least_squares"), nla.Budget(accuracy=1e-18, on_infeasible="best_effort")
    prepared = prepare(problem, kind.task(problem, 1e-18, 0))
    run = Attempts(kind, prepared, budget, "prediction_error", -1e6)
    exact = truth.least_squares_solution(problem.A, problem.b).hi
    planted = fake("planted", lambda A, b, task, reuse: exact, kind="least_squares")
    candidate = Candidate("planted[numpy float64]", "planted", "planted", None, True, "")
    assert not run.attempt(Entry(candidate, planted, FakeOptions()))
    plan = nla.plan(problem, budget, rng=0, profile=PROFILE)
    solution = execution.execute(plan, plan._entries, PROFILE, before=run)
    assert solution.record.attempts[0].label == "planted[numpy float64]"
    assert len(solution.record.attempts) >= 2
    assert solution.record.seconds["total"] > 1e6
    bounds = [a.bound for a in solution.record.attempts if a.bound is not None]
    assert solution.certificate.bound == min(bounds)


@pytest.mark.parametrize("target", [1e-3, 1e-9, 1e-14])
@pytest.mark.parametrize("condition", [1e2, 1e9, 1e13])
def test_escalation_returns_the_best_of_what_was_computed(condition, target):
    problem = tall(condition, 600, 20)
    plan = nla.plan(problem, nla.Budget(accuracy=target, on_infeasible="best_effort"), rng=0, profile=PROFILE)
    firsts = {c.algorithm: c for c in plan.candidates if c.forecast is not None}
    assert len(firsts) >= 3
    for first in firsts.values():
        solution = execution.execute(replace(plan, chosen=first), plan._entries, PROFILE)
        bounds = [a.bound for a in solution.record.attempts if a.bound is not None]
        assert solution.certificate.bound == min(bounds)
        labels = [a.label for a in solution.record.attempts]
        assert labels[0] == first.label
        assert len(set(labels)) == len(labels), "the same candidate twice"
        assert truth.prediction_error(problem.A, solution.value, problem.b).low <= solution.certificate.bound


def test_where_the_range_was_too_narrow_for_the_certificate_a_wider_one_follows():
    """A plateau of 100 equal singular values, rank 50: no iteration tells the 50th from the 51st, more columns do."""
    rng = np.random.default_rng(0)
    A = matrices.with_spectrum(400, 400, np.where(np.arange(400) < 100, 1.0, 1e-6), rng).A
    problem, kind, budget = nla.LowRank(A, rank=50), kind_of("low_rank"), nla.Budget(accuracy=0.02)
    plan = nla.plan(problem, budget, rng=0, profile=synthetic_profile(), rigor="estimate")
    priced = [e for e in plan._entries if e.candidate.forecast is not None]
    widths = {e.candidate.label: kind.range_columns(plan.task, e.algorithm, e.options) for e in priced}
    first = next(e for e in priced if e.algorithm.name == "block_krylov" and widths[e.candidate.label] == 120)
    run = Attempts(kind, plan._prepared, budget, problem.metric, 0.0)
    assert not run.attempt(first)
    assert run.too_narrow == 120
    left = [e for e in priced if not run.has_failed(e)]
    assert left
    assert all((widths[e.candidate.label] or 999) > 120 for e in left)
    assert {"gram", "svd", "block_krylov"} <= {e.algorithm.name for e in left}
    wider = next(e for e in left if e.algorithm.name == "block_krylov" and e.options.backend == "scipy")
    assert run.attempt(wider)


def test_a_range_that_did_not_do_shows_the_singular_values():
    """A spectrum that falls slowly: a range of few columns is refused, and its Ritz values tell what is needed."""
    rng = np.random.default_rng(3)
    s = 0.985 ** np.arange(300)
    A = matrices.with_spectrum(400, 300, s, rng).A
    kind, problem = kind_of("low_rank"), nla.LowRank(A, rank=15)
    task = kind.task(problem, 0.01, 0)
    run = Attempts(kind, prepare(problem, task), nla.Budget(accuracy=0.01), "relative_frobenius", 0.0)
    limits = Limits.of(nla.Budget(accuracy=0.01), 0.01, 0.0)
    found = enumerate_entries(kind, task, run.prepared.evidence, PROFILE, limits)
    narrow = next(e for e in found if e.candidate.label.startswith("randomized_svd(power_steps=0)"))
    sure = {e.candidate.label: e.candidate.failure for e in found}
    assert not run.attempt(narrow)
    assert run.learned
    evidence = run.prepared.evidence
    seen = np.array(evidence.singular_values)
    assert len(seen) == run.prepared.by_products["range"].columns
    np.testing.assert_array_less(seen, s[: len(seen)] * (1.0 + 1e-12))  # Ritz values are lower bounds
    assert evidence.tail_energy is not None
    total = float(np.sum(seen**2)) + evidence.tail_energy
    assert total == pytest.approx(float(np.sum(s**2)), rel=0.1, abs=0.0)  # the tail is an estimate
    # What follows knows it: few columns without power steps are given up, the Gram matrix is as good as it was.
    after = enumerate_entries(kind, task, evidence, PROFILE, limits, frozenset(run.prepared.by_products))
    after = {e.candidate.label: e.candidate.failure for e in after}
    assert after[narrow.candidate.label] >= sure[narrow.candidate.label]
    assert after[narrow.candidate.label] > 0.9
    assert min(failure for label, failure in after.items() if label.startswith("gram")) < 0.1


def test_a_range_teaches_nothing_where_a_probe_has_looked():
    rng = np.random.default_rng(4)
    A = matrices.with_spectrum(400, 300, 0.985 ** np.arange(300), rng).A
    kind, problem = kind_of("low_rank"), nla.LowRank(A, rank=15)
    task = kind.task(problem, 0.01, 0)
    run = Attempts(kind, prepare(problem, task), nla.Budget(accuracy=0.01), "relative_frobenius", 0.0)
    seen = replace(run.prepared.evidence, singular_values=(1.0, 0.9), tail_energy=2.0)
    run.prepared.evidence = seen
    limits = Limits.of(nla.Budget(accuracy=0.01), 0.01, 0.0)
    found = enumerate_entries(kind, task, seen, PROFILE, limits)
    assert not run.attempt(next(e for e in found if e.candidate.label.startswith("randomized_svd(power_steps=0)")))
    assert run.prepared.evidence is seen
    assert not run.learned
