"""Decisions on a known machine: which candidate comes first for what is known of a problem, and why others do not.

Nothing is solved here: tasks and evidence are stated, so sizes may be large.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autonla.planner.budget import Budget
from autonla.planner.candidates import (
    _RISK,
    SWITCH_MARGIN,
    Limits,
    enumerate_entries,
    frontier,
    show_bytes,
    show_seconds,
)
from autonla.planner.kinds import kind_of
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.task import Task
from autonla.profiles import Correction
from tests._support.fakes import FakeKind, fake
from tests._support.machine import synthetic_profile

pytest.importorskip("torch")  # loaded, so that no candidate has to pay for that

PROFILE = synthetic_profile()
TALL = Task("least_squares", 100_000, 200)
SQUARE = Task("linear_system", 4000, 4000)


def around(value: float, factor: float) -> Interval:
    return Interval(value, value / factor, value * factor)


def least_squares(condition: float, residual: float = 0.1, solution: float = 2.0, coherence: float = 2.0) -> Evidence:
    """What the sketching probe reports."""
    return Evidence(
        norm_fro=1.0,
        norm_2=around(1.0, 1.1),
        condition=around(condition, 2.0).at_least(1.0),
        scaled_condition=around(condition, 2.0).at_least(1.0),
        residual=around(residual, 1.1).at_most(1.0),
        solution=around(solution, 1.5),
        coherence=around(coherence, 2.0),
    )


def square(condition: float) -> Evidence:
    """What the conditioning probe reports."""
    return Evidence(
        norm_fro=60.0,
        norm_2=Interval(1.0, 0.99, 1.1),
        condition=Interval(condition, max(1.0, condition / 3.0), condition * 10.0),
        small_fraction=0.0 if condition < 1e6 else 0.5,
    )


def entries_for(task: Task, evidence: Evidence, budget: Budget, profile=PROFILE, ready=frozenset()) -> list[Any]:
    kind = kind_of(task.kind)
    target = budget.accuracy or kind.lapack_target(task, evidence)
    limits = Limits.of(budget, target, 0.0)
    return enumerate_entries(kind, replace(task, target=target), evidence, profile, limits, ready)


def chosen(task: Task, evidence: Evidence, profile=PROFILE, **budget: Any) -> Any:
    """The candidate that comes first."""
    first = entries_for(task, evidence, Budget(**budget), profile)[0].candidate
    assert first.feasible, first.reason
    return first


def names(entries) -> set[str]:
    return {e.candidate.algorithm for e in entries if e.candidate.feasible}


# Least squares.


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-8])
def test_normal_equations_where_condition_and_accuracy_allow(condition, accuracy):
    first = chosen(TALL, least_squares(condition), accuracy=accuracy)
    assert first.algorithm == "normal_equations"
    safe = next(e.candidate for e in entries_for(TALL, least_squares(condition), Budget(accuracy=accuracy))
                if e.candidate.algorithm == "svd")  # fmt: skip
    assert safe.forecast.seconds.median > 3.0 * first.forecast.seconds.median


@pytest.mark.parametrize("condition", [1e8, 1e10, 1e13])
@pytest.mark.parametrize("accuracy", [1e-1, 1e-4, 1e-8, None])
def test_normal_equations_never_above(condition, accuracy):
    entries = entries_for(TALL, least_squares(condition), Budget(accuracy=accuracy))
    squared = [e.candidate for e in entries if e.candidate.algorithm == "normal_equations"]
    assert squared
    assert not any(c.feasible for c in squared)
    assert all("condition number is at least" in c.reason for c in squared)


def test_normal_equations_are_corrected_as_the_accuracy_demands():
    for condition, accuracies in ((1e4, {1e-6: 0, 1e-10: 0, 1e-12: 1, 1e-14: 1}), (1e6, {1e-6: 0, 1e-10: 1, 1e-13: 2})):
        evidence, found = least_squares(condition), []
        for accuracy, corrections in accuracies.items():
            entries = entries_for(TALL, evidence, Budget(accuracy=accuracy))
            entry = next(e for e in entries if e.candidate.label == "normal_equations[scipy float64]")
            work = entry.algorithm.work(entry.task(replace(TALL, target=accuracy)), evidence, entry.options)
            calls = [c for c in work.calls if c.kernel == "gemv" and c.dims == (TALL.m, TALL.n)]
            assert sum(c.count for c in calls) == corrections, (condition, accuracy)
            found.append((corrections, entry.candidate.forecast))
        for (few, loose), (more, tight) in itertools.pairwise(found):
            assert (tight.error.median < loose.error.median) is (more > few)
            assert (tight.seconds.median > loose.seconds.median) is (more > few)
    assert chosen(TALL, least_squares(1e4), accuracy=1e-12).algorithm == "normal_equations"


def test_rank_deficient_problems_are_left_to_methods_that_find_the_rank():
    evidence = replace(least_squares(1e15), numerical_rank=150, condition=Interval(1e17, 1e15, math.inf))
    assert names(entries_for(TALL, evidence, Budget(accuracy=1e-8))) <= {"svd", "pivoted_qr"}


def test_ill_conditioned_problems_go_to_a_method_that_does_not_square():
    first = chosen(TALL, least_squares(1e10), accuracy=1e-6)
    assert first.algorithm in ("randomized_cholesky_qr", "spir", "householder_qr")


@pytest.mark.parametrize("coherence", [1.5, 400.0])
def test_sketch_and_solve_where_a_digit_is_enough(coherence):
    task, evidence = replace(TALL, m=200_000, n=400), least_squares(1e4, coherence=coherence)
    first = chosen(task, evidence, accuracy=0.1)
    assert first.algorithm == "sketch_and_solve"
    assert "sketch=" not in first.label  # the sparse sign sketch does not mind coherent rows
    assert first.forecast.error.high <= 0.2


def test_sketch_and_solve_not_for_more_digits():
    task = replace(TALL, m=200_000, n=400)
    assert chosen(task, least_squares(1e4), accuracy=1e-4).algorithm != "sketch_and_solve"
    for entry in entries_for(task, least_squares(1e4), Budget(accuracy=1e-6)):
        if entry.candidate.algorithm == "sketch_and_solve":
            assert not entry.candidate.feasible
            assert "above the target" in entry.candidate.reason


def test_too_few_rows_for_any_sketch():
    entries = entries_for(replace(TALL, m=500, n=300), least_squares(1e3), Budget(accuracy=1e-8))
    assert not names(entries) & {"spir", "sketch_and_solve", "randomized_cholesky_qr"}
    assert any("too few" in e.candidate.reason for e in entries)


# Linear systems.


def test_float32_refinement_of_a_well_conditioned_system():
    first = chosen(SQUARE, square(1e2), accuracy=1e-14)
    assert first.algorithm == "mixed_lu"
    lu = next(e.candidate for e in entries_for(SQUARE, square(1e2), Budget(accuracy=1e-14))
              if e.candidate.label == "lu[scipy float64]")  # fmt: skip
    assert 1.4 < lu.forecast.seconds.median / first.forecast.seconds.median < 2.2


@pytest.mark.parametrize("accuracy", [1e-13, 1e-10, None])
def test_float64_LU_of_an_ill_conditioned_system(accuracy):
    entries = entries_for(SQUARE, square(1e12), Budget(accuracy=accuracy))
    assert entries[0].candidate.label in ("lu[scipy float64]", "lu[numpy float64]")
    mixed = [e.candidate for e in entries if e.candidate.algorithm == "mixed_lu"]
    assert mixed
    assert all("would not converge" in c.reason for c in mixed)


def test_float32_alone_where_few_digits_are_asked_for():
    first = chosen(SQUARE, square(1e2), accuracy=1e-3)
    assert first.label.endswith("float32]")
    assert first.forecast.seconds.median < chosen(SQUARE, square(1e2), accuracy=1e-14).forecast.seconds.median


@pytest.mark.parametrize(
    ("structure", "bandwidth", "algorithms"),
    [
        ("diagonal", (0, 0), {"diagonal"}),
        ("upper", None, {"triangular"}),
        ("lower", None, {"triangular"}),
        ("banded", (3, 3), {"banded"}),
        ("spd", None, {"cholesky", "mixed_cholesky"}),
    ],
)
def test_structure_decides(structure, bandwidth, algorithms):
    task = replace(SQUARE, structure=structure, bandwidth=bandwidth)
    assert chosen(task, square(1e3), accuracy=1e-12).algorithm in algorithms


def test_indefinite_matrices_are_not_given_to_cholesky():
    entries = entries_for(replace(SQUARE, structure="indefinite"), square(1e3), Budget(accuracy=1e-12))
    reasons = {e.candidate.reason for e in entries if "cholesky" in e.candidate.algorithm}
    assert all("not positive definite" in reason for reason in reasons)
    assert entries[0].candidate.algorithm in ("lu", "mixed_lu", "ldlt")


def test_crossover_of_mixed_precision_depends_on_the_machine():
    """Where float32 is no faster there is nothing to gain."""
    tables = tuple(
        t if t.dtype != "float32" else t.model_copy(update={"points": tuple(
            p.model_copy(update={"seconds": 2.2 * p.seconds}) for p in t.points)})
        for t in PROFILE.kernels
    )  # fmt: skip
    assert chosen(SQUARE, square(1e2), synthetic_profile(kernels=tables), accuracy=1e-12).algorithm == "lu"


def test_backend_follows_the_prices():
    torch_only = synthetic_profile(without=(("getrs", "scipy"), ("getrs", "numpy")))
    first = chosen(SQUARE, square(1e12), torch_only, accuracy=1e-12)
    assert first.label == "lu[torch float64]"
    unpriced = [e.candidate for e in entries_for(SQUARE, square(1e12), Budget(accuracy=1e-12), torch_only)
                if e.candidate.label == "lu[scipy float64]"]  # fmt: skip
    assert "cannot be priced" in unpriced[0].reason
    assert "has not been measured" in unpriced[0].reason


def test_loading_torch_has_its_price(monkeypatch):
    """For operands that are not torch's, and only the first time."""
    budget = Budget(accuracy=1e-12)

    def seconds():
        entries = entries_for(SQUARE, square(1e12), budget)
        return next(e.candidate.forecast.seconds for e in entries if e.candidate.label == "lu[torch float64]")

    loaded = seconds()
    monkeypatch.delitem(sys.modules, "torch")
    fresh = seconds()
    assert 1.0 < fresh.median - loaded.median < 3.0
    assert fresh.high > fresh.median > fresh.low


def test_disabled_kernels_are_not_planned_with():
    tables = tuple(
        t.model_copy(update={"enabled": False, "reason": "its results are wrong"})
        if (t.kernel, t.backend) == ("getrf", "scipy")
        else t
        for t in PROFILE.kernels
    )
    entries = entries_for(SQUARE, square(1e12), Budget(accuracy=1e-12), synthetic_profile(kernels=tables))
    lu = next(e.candidate for e in entries if e.candidate.label == "lu[scipy float64]")
    assert not lu.feasible
    assert "its results are wrong" in lu.reason


# Low rank.

MATRIX = Task("low_rank", 2000, 2000, nrhs=0)


def decaying(power: float, seen: int = 200) -> Evidence:
    """What the range probe reports of singular values j^-power."""
    s = np.arange(1.0, 2001.0) ** -power
    return Evidence(
        norm_fro=float(np.linalg.norm(s)),
        singular_values=tuple(map(float, s[:seen])),
        tail_energy=float(np.sum(s[seen:] ** 2)),
    )


@pytest.mark.parametrize("accuracy", [0.1, 1e-2, 1e-4])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_randomized_SVD_for_a_small_rank(accuracy, power):
    first = chosen(replace(MATRIX, rank=20), decaying(power), accuracy=accuracy)
    assert first.algorithm in ("randomized_svd", "block_krylov")
    full = next(e.candidate for e in entries_for(replace(MATRIX, rank=20), decaying(power), Budget(accuracy=accuracy))
                if e.candidate.algorithm == "svd")  # fmt: skip
    assert full.forecast.seconds.median > 10.0 * first.forecast.seconds.median


@pytest.mark.parametrize("accuracy", [0.1, 1e-6])
def test_a_direct_method_for_nearly_full_rank(accuracy):
    """The SVD, or the eigenvectors of the Gram matrix, which take as long with their certificate."""
    entries = entries_for(replace(MATRIX, rank=1900), decaying(1.0), Budget(accuracy=accuracy))
    assert entries[0].candidate.algorithm in ("svd", "gram")
    rejected = [e.candidate.reason for e in entries if e.candidate.algorithm in ("randomized_svd", "block_krylov")]
    assert rejected
    assert all("rank 1900" in reason for reason in rejected)


def test_power_steps_follow_the_decay_and_the_accuracy():
    """A steep spectrum is captured at once; a flat one, or a tight accuracy, takes power steps or a Krylov space."""
    steep = chosen(replace(MATRIX, rank=20), decaying(2.0), accuracy=0.5)
    flat = chosen(replace(MATRIX, rank=20), decaying(0.5), accuracy=1e-6)
    assert flat.forecast.seconds.median > steep.forecast.seconds.median
    assert flat.forecast.error.median <= 1e-6


def test_by_accuracy_a_steep_spectrum_needs_few_columns():
    loose, tight = (chosen(MATRIX, decaying(2.0), accuracy=a) for a in (1e-1, 1e-4))
    assert loose.algorithm != "svd"
    assert loose.forecast.seconds.median <= tight.forecast.seconds.median


def test_the_svd_is_forecast_to_be_exact_whatever_the_spectrum():
    """Also where the rank asked for is above the numerical rank, and nothing can be better than rounding."""
    exponential = 0.9 ** np.arange(2000.0)
    evidence = Evidence(
        norm_fro=float(np.linalg.norm(exponential)),
        singular_values=tuple(map(float, exponential[:200])),
        tail_energy=float(np.sum(exponential[200:] ** 2)),
    )
    for rank in (20, 500, 1900, 2000):
        entries = entries_for(replace(MATRIX, rank=rank), evidence, Budget(accuracy=1e-2))
        full = next(e.candidate for e in entries if e.candidate.label == "svd[numpy float64]")
        assert full.feasible, f"rank {rank}: {full.reason}"
        assert full.forecast.error.median < 1e-2


def test_no_room_for_the_copies_of_a_full_SVD():
    # A full SVD holds two factors and a workspace: a limit below that leaves the methods with a few columns.
    first = chosen(replace(MATRIX, rank=20), decaying(1.0), accuracy=1e-3, memory="120 MiB")
    assert first.forecast.bytes.high <= 120 * 2**20
    everything = entries_for(replace(MATRIX, rank=20), decaying(1.0), Budget(accuracy=1e-3, memory="120 MiB"))
    svd = [e.candidate for e in everything if e.candidate.algorithm == "svd"]
    assert svd
    assert not any(c.feasible for c in svd)


# Limits.


def test_a_tight_memory_budget_changes_the_choice():
    # Only what needs n^2 numbers fits: a Householder QR copies A (153 MiB).
    evidence = least_squares(1e10)
    fast = synthetic_profile(efficiency={"gels": 2.0, "geqrf": 1.0, "gesdd": 0.1})
    free, tight = (
        entries_for(TALL, evidence, Budget(accuracy=1e-6, memory=memory), fast)[0].candidate
        for memory in (None, "16 MiB")
    )
    assert free.algorithm == "householder_qr"
    assert tight.algorithm in ("spir", "randomized_cholesky_qr")
    assert tight.forecast.bytes.high <= 16 * 2**20
    assert free.forecast.bytes.median > 10 * tight.forecast.bytes.median


def test_memory_is_hard_to_the_upper_end_of_the_forecast():
    everything = entries_for(TALL, least_squares(1e10), Budget(accuracy=1e-6))
    qr = next(e.candidate for e in everything if e.candidate.label == "householder_qr[scipy float64]")
    for factor, fits in ((0.999, False), (1.001, True)):
        limited = entries_for(TALL, least_squares(1e10), Budget(accuracy=1e-6, memory=factor * qr.forecast.bytes.high))
        again = next(e.candidate for e in limited if e.candidate.label == qr.label)
        assert again.feasible is fits
        assert fits or "of memory" in again.reason


def test_latency_must_hold_with_the_confidence_asked_for():
    qr = next(e.candidate for e in entries_for(TALL, least_squares(1e4), Budget(accuracy=1e-8))
              if e.candidate.label == "householder_qr[scipy float64]")  # fmt: skip
    limit = qr.forecast.seconds.median * 1.03  # within the spread of the forecast
    feasible = []
    for confidence in (0.6, 0.99):
        entries = entries_for(TALL, least_squares(1e4), Budget(accuracy=1e-8, latency=limit, confidence=confidence))
        feasible.append(next(e.candidate.feasible for e in entries if e.candidate.label == qr.label))
    assert feasible == [True, False]


def test_seconds_spent_and_bytes_copied_leave_less():
    limits = Limits.of(Budget(latency=2.0, memory=1000.0), 1e-8, 0.5, 400.0)
    assert limits.latency == 1.5
    assert limits.memory == 600.0
    assert not limits.accuracy_given


def test_an_energy_limit_excludes_what_draws_more():
    budget = Budget(accuracy=1e-8, energy=3.0)
    entries = entries_for(TALL, least_squares(1e4), budget)
    assert entries[0].candidate.forecast.joules.high < 3.0
    svd = next(e.candidate for e in entries if e.candidate.algorithm == "svd")
    assert not svd.feasible
    assert "J" in svd.reason
    assert "tdp-model" in svd.reason


@pytest.mark.parametrize("minimize", ["memory", "energy", "latency"])
def test_minimize_minimizes(minimize):
    field = {"memory": "bytes", "energy": "joules", "latency": "seconds"}[minimize]
    entries = entries_for(TALL, least_squares(1e4), Budget(accuracy=1e-6, minimize=minimize))
    trusted = [getattr(e.candidate.forecast, field).median for e in entries
               if e.candidate.feasible and e.candidate.failure < 0.01]  # fmt: skip
    assert getattr(entries[0].candidate.forecast, field).median <= min(trusted) * (1.0 + SWITCH_MARGIN)


def test_minimize_error_takes_the_most_accurate():
    entries = entries_for(TALL, least_squares(1e6), Budget(minimize="error"))
    errors = [e.candidate.forecast.error.median for e in entries if e.candidate.feasible]
    assert errors[0] <= 3.0 * max(min(errors), kind_of("least_squares").lapack_target(TALL, least_squares(1e6)))


def test_latency_without_accuracy_takes_the_most_accurate_that_fits():
    task, evidence = replace(TALL, m=200_000, n=400), least_squares(1e4)
    for latency in (10.0, 0.6):
        first = entries_for(task, evidence, Budget(latency=latency))[0].candidate
        assert first.feasible
        assert first.forecast.seconds.high <= latency
        assert first.forecast.error.median < 1e-11


def test_when_only_a_sketch_fits_the_latency_its_answer_is_offered():
    task, evidence = replace(TALL, m=200_000, n=400), least_squares(1e4)
    rough = entries_for(task, evidence, Budget(accuracy=0.1, latency=0.45))[0].candidate
    assert (rough.algorithm, rough.feasible) == ("sketch_and_solve", True)
    first = entries_for(task, evidence, Budget(latency=0.45))[0].candidate
    assert first.feasible, f"{rough.label} fits 0.45 s, but without an accuracy: {first.label} {first.reason}"


@pytest.mark.parametrize("limit", [{"latency": 10.0}, {"memory": 1e8}, {"energy": 1e3}])
def test_any_limit_without_an_accuracy_asks_for_the_most_accurate(limit):
    limits = Limits.of(Budget(**limit), 1e-12, 0.0)
    kind = FakeKind(
        fake("rough", seconds=0.1, error=1e-6),
        fake("better", seconds=0.2, error=1e-9),
        fake("safe", seconds=1.0, error=1e-15, peak_bytes=1e9, safe=True),
    )
    entries = enumerate_entries(kind, Task("fake", 100, 10), Evidence(), kind.profile, limits)
    assert entries[0].candidate.algorithm == ("better" if "memory" in limit else "safe")


def test_nothing_more_accurate_fits():
    evidence = least_squares(1e10, residual=0.5)
    for latency in (0.3, 0.5, 2.0):
        entries = entries_for(TALL, evidence, Budget(latency=latency))
        feasible = [e.candidate for e in entries if e.candidate.feasible]
        assert feasible[0].forecast.error.median <= 3.1 * min(c.forecast.error.median for c in feasible)


def random_budget(rng: random.Random, scale: float, size: float) -> dict[str, Any]:
    budget = {"accuracy": 10.0 ** rng.uniform(-14, -1)}
    if rng.random() < 0.5:
        budget["latency"] = scale * 10.0 ** rng.uniform(-1.5, 1.0)
    if rng.random() < 0.5:
        budget["memory"] = max(1.0, size * 10.0 ** rng.uniform(-1.0, 1.0))
    if rng.random() < 0.3:
        budget["energy"] = 30.0 * scale * 10.0 ** rng.uniform(-1.0, 1.0)
    return budget


def test_a_looser_budget_never_costs_more():
    rng = random.Random(0)
    worse = []
    for _ in range(300):
        if rng.random() < 0.7:
            m = int(10.0 ** rng.uniform(3.0, 5.5))
            n = int(min(m / 2, 10.0 ** rng.uniform(1.0, 3.0)))
            task = Task("least_squares", m, n, nrhs=rng.choice([1, 1, 5]))
            evidence = least_squares(10.0 ** rng.uniform(0, 13), 10.0 ** rng.uniform(-6, 0), 10.0 ** rng.uniform(0, 3))
        else:
            n = int(10.0 ** rng.uniform(2.3, 3.7))
            task, evidence = Task("linear_system", n, n), square(10.0 ** rng.uniform(0, 13))
        tight = random_budget(rng, 3e-11 * task.m * task.n * task.n + 1e-4, 8.0 * task.m * task.n)
        loosened = rng.choice(sorted(tight))
        factor = 10.0 ** rng.uniform(0, 3)
        loose: dict[str, Any] = tight | {
            loosened: min(1.0, tight[loosened] * factor) if loosened == "accuracy" else tight[loosened] * factor
        }
        minimize = rng.choice(["latency", "latency", "memory", "energy"])
        before, after = (
            entries_for(task, evidence, Budget(**{**budget, "minimize": minimize}))[0].candidate
            for budget in (tight, loose)
        )
        # Which corrections are on the menu depends on the accuracy: a few per cent may be lost there.
        slack = 1.05 if loosened == "accuracy" else 1.0 + 1e-9
        if before.feasible and not (after.feasible and after.cost <= before.cost * slack):
            worse.append((task.m, task.n, tight, loosened, loose[loosened], minimize, before.label, after.label))
    assert not worse


# The order of candidates.


def test_a_switch_away_from_the_safe_default_must_be_worth_something():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    for saving, first in ((0.5 * SWITCH_MARGIN, "safe"), (2.0 * SWITCH_MARGIN, "quick")):
        kind = FakeKind(fake("quick", seconds=1.0 - saving), fake("safe", seconds=1.0, safe=True))
        entries = enumerate_entries(kind, task, Evidence(), kind.profile, limits)
        assert entries[0].candidate.algorithm == first


def test_a_likely_failure_counts_as_what_follows_it():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    risky = fake("risky", seconds=0.7, error=Interval(0.9e-6, 1e-8, 1e-4))
    kind = FakeKind(risky, fake("safe", seconds=1.0, safe=True))
    first, second = enumerate_entries(kind, task, Evidence(), kind.profile, limits)
    assert first.candidate.algorithm == "safe"
    expected = (1.0 + SWITCH_MARGIN) * 0.7 + _RISK * second.candidate.failure * 1.0
    assert second.candidate.cost == pytest.approx(expected, rel=0.02, abs=0.0)
    assert 0.3 < second.candidate.failure < 0.5


@pytest.mark.parametrize("chance", [0.0, 0.1, 0.3, 0.45])
def test_a_breakdown_that_is_likely_counts_too(chance):
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    kind = FakeKind(fake("risky", seconds=0.5, breakdown=chance), fake("safe", seconds=1.0, safe=True))
    entries = enumerate_entries(kind, task, Evidence(), kind.profile, limits)
    risky: Any = next(e.candidate for e in entries if e.algorithm.name == "risky")
    assert risky.failure == pytest.approx(chance, abs=1e-6)
    assert risky.cost == pytest.approx((1.0 + SWITCH_MARGIN) * 0.5 + _RISK * chance * 1.0, rel=0.02, abs=0.0)
    assert risky.forecast.seconds.median == pytest.approx(
        0.5, rel=0.02, abs=0.0
    )  # its own price has nothing to do with it
    assert (entries[0].algorithm.name == "risky") is (risky.cost < 1.0)


def test_breaking_down_and_missing_the_target_are_independent_ways_to_fail():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    error = Interval(1e-7, 1e-8, 2e-6)
    plain, both = (
        enumerate_entries(kind := FakeKind(fake("a", error=error, breakdown=b)), task, Evidence(), kind.profile, limits)
        for b in (0.0, 0.2)
    )
    missing = plain[0].candidate.failure
    assert missing == pytest.approx(error.probability_above(1e-6))
    assert 0.01 < missing < 0.2
    assert both[0].candidate.failure == pytest.approx(1.0 - 0.8 * (1.0 - missing))


def test_what_will_probably_break_down_is_not_feasible_and_says_why():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    kind = FakeKind(fake("risky", seconds=0.1, breakdown=0.7), fake("safe", seconds=1.0, safe=True))
    first, second = enumerate_entries(kind, task, Evidence(), kind.profile, limits)
    assert first.algorithm.name == "safe"
    assert not second.candidate.feasible
    assert second.candidate.reason == "it breaks down with probability 0.70"
    wrong = FakeKind(fake("wrong", seconds=0.1, error=1e-4, breakdown=0.1), fake("safe", seconds=1.0, safe=True))
    reason = enumerate_entries(wrong, task, Evidence(), kind.profile, limits)[1].candidate.reason
    assert "its error is forecast at 1.0e-04" in reason


def test_a_failure_that_all_share_counts_against_none():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    kind = FakeKind(fake("quick", seconds=0.5, breakdown=0.4), fake("slow", seconds=1.0, breakdown=0.4))
    first = enumerate_entries(kind, task, Evidence(), kind.profile, limits)[0].candidate
    assert first.algorithm == "quick"
    assert first.cost == pytest.approx((1.0 + SWITCH_MARGIN) * 0.5, rel=0.02, abs=0.0)


def test_what_follows_a_failure_in_another_library_costs_its_threads_waking_up():
    """The best other algorithm is the cheapest including the switch, which costs no more than it takes itself."""
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    costs = {}
    for switch in (0.0, 0.2, 50.0):
        profile = synthetic_profile(pool_switch_seconds={"numpy>scipy": switch} if switch else {})
        kind = FakeKind(
            fake("risky", seconds=0.5, breakdown=0.3), fake("safe", seconds=1.0, safe=True, backend="scipy")
        )
        entries = enumerate_entries(kind, task, Evidence(), profile, limits)
        costs[switch] = next(e.candidate.cost for e in entries if e.algorithm.name == "risky")
    assert costs[0.2] - costs[0.0] == pytest.approx(_RISK * 0.3 * 0.2, rel=0.05, abs=0.0)
    assert costs[50.0] - costs[0.0] == pytest.approx(_RISK * 0.3 * 1.0, rel=0.05, abs=0.0)


def test_ties_are_broken_by_label_and_the_order_is_reproducible():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    kind = FakeKind(fake("b"), fake("a"), fake("c"))
    found = [e.candidate.label for e in enumerate_entries(kind, task, Evidence(), kind.profile, limits)]
    assert found == sorted(found)


def test_corrections_from_records_and_races_move_the_order():
    task, limits = Task("fake", 100, 10), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    kind = FakeKind(fake("a", seconds=1.0), fake("b", seconds=1.2))
    assert enumerate_entries(kind, task, Evidence(), kind.profile, limits)[0].candidate.algorithm == "a"
    slow = synthetic_profile(corrections={"a": Correction(log_bias=math.log(2.0), log_sigma=0.1, count=50)})
    assert enumerate_entries(kind, task, Evidence(), slow, limits)[0].candidate.algorithm == "b"
    raced = enumerate_entries(kind, task, Evidence(), kind.profile, limits, corrections={"b[numpy float64]": 0.5})
    assert raced[0].candidate.algorithm == "b"


def test_every_rejection_is_a_sentence_and_labels_are_unique():
    for task, evidence in ((TALL, least_squares(1e10)), (SQUARE, square(1e12))):
        budget = Budget(accuracy=1e-9, latency=0.45, memory="64 MiB")
        entries = entries_for(task, evidence, budget)
        labels = [e.candidate.label for e in entries]
        assert len(set(labels)) == len(labels)
        for entry in entries:
            assert entry.candidate.feasible is (entry.candidate.reason == "")
            assert math.isfinite(entry.candidate.cost) is entry.candidate.feasible
        feasible = [e.candidate.feasible for e in entries]
        assert feasible == sorted(feasible, reverse=True)
        costs = [e.candidate.cost for e in entries if e.candidate.feasible]
        assert costs == sorted(costs)


def test_frontier_holds_no_dominated_point():
    entries = entries_for(TALL, least_squares(1e6), Budget(accuracy=1e-8))
    front: list[Any] = frontier(entries)
    points = [(c.forecast.seconds.median, c.forecast.bytes.median, c.forecast.error.median) for c in front]
    assert points == sorted(points)
    everything = [e.candidate.forecast for e in entries if e.candidate.forecast]
    for point in points:
        for f in everything:
            other = (f.seconds.median, f.bytes.median, f.error.median)
            assert other == point or not all(np.array(other) <= np.array(point))


def test_quantities_are_shown_with_units():
    assert [show_seconds(s) for s in (2.5, 0.0123, 4.2e-5)] == ["2.5 s", "12.3 ms", "42 µs"]
    assert [show_bytes(b) for b in (12.0, 2048.0, 3 * 2.0**20, 2.0**31)] == ["12 B", "2 KiB", "3 MiB", "2 GiB"]


@pytest.mark.parametrize("asked", [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5])
@pytest.mark.parametrize("count", [1, 3])
def test_without_an_accuracy_the_least_that_is_reached_within_the_limits_is_asked_for(asked, count):
    """A hundred times LAPACK's, and so on, until an algorithm applies."""

    def applies(task: Task, evidence: Evidence, options: Any) -> str | None:
        return None if 0.9 * asked < task.target < 1.1 * asked else "not for this target"

    kind = FakeKind(*(replace(fake(f"a{i}", error=1e-13), applies=applies) for i in range(count)))
    task = Task("fake", 40, 4, target=1e-12)
    entries = enumerate_entries(kind, task, Evidence(), kind.profile, Limits.of(Budget(latency=10.0), 1e-12, 0.0))
    assert len(entries) == count
    for entry in entries:
        assert entry.candidate.feasible
        assert entry.candidate.margin == pytest.approx(1e-12 / asked, rel=1e-9, abs=0.0)
    if asked > 1e-12:
        for budget in (Budget(), Budget(accuracy=1e-12, latency=10.0)):
            limits = Limits.of(budget, 1e-12, 0.0)
            assert not enumerate_entries(kind, task, Evidence(), kind.profile, limits)[0].candidate.feasible
