"""Races: every feasible candidate runs, is certified, and the fastest certified one wins."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import autonla as nla
from autonla.planner import planning, racing
from autonla.primitives.algorithm import Breakdown
from autonla.profiles.errors import InfeasibleBudget, InvalidProblem
from tests._support import matrices, spectra
from tests._support.fakes import fake
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
A, X = RNG.standard_normal((40, 40)), RNG.standard_normal(40)
PROBLEM = nla.LinearSystem(A, A @ X)
BUDGET = nla.Budget(accuracy=1e-12)


def race(budget=BUDGET, problem=PROBLEM, **how) -> nla.Race:
    return nla.race(problem, budget, rng=0, profile=PROFILE, **how)


def logged(log, name, how=lambda A, b: np.linalg.solve(A, b)):
    def solve(A, b, task, reuse):
        log.append(name)
        return how(A, b)

    return solve


def breaks(A, b):
    raise Breakdown("for the test")


def starves(A, b):
    raise MemoryError


def test_every_feasible_candidate_runs_interleaved(use):
    log = []
    use(
        fake("a", logged(log, "a"), seconds=0.1),
        fake("b", logged(log, "b"), seconds=0.2),
        fake("c", logged(log, "c"), reason="it does not apply"),
        fake("d", logged(log, "d"), error=1e-3),
    )
    said = []
    result = race(repeats=3, progress=said.append)
    assert log == ["a", "b"] * 3
    assert {row.label[0] for row in result.rows} == {"a", "b"}
    assert said[0] == "round 1 of 3: a[numpy float64]"
    assert len(said) == 6
    assert all(row.certified and row.seconds and row.error is not None and row.bytes is not None for row in result.rows)


def test_rows_are_ordered_and_the_best_is_certified(use, monkeypatch):
    # Time as told: "wrong" is the quickest but not certified.
    times = {"quick": 1.0, "slow": 3.0, "wrong": 0.1}
    original = racing.run_and_certify

    def timed(kind, prepared, entry, *rest):
        outcome, certificate, _, _ = original(kind, prepared, entry, *rest)
        return outcome, certificate, times[entry.algorithm.name], 0.5

    monkeypatch.setattr(racing, "run_and_certify", timed)
    use(
        fake("slow", logged([], "slow"), seconds=0.1),
        fake("wrong", logged([], "wrong", lambda A, b: 1.001 * np.linalg.solve(A, b)), seconds=0.2),
        fake("quick", logged([], "quick"), seconds=0.3),
    )
    result = race()
    assert [row.label.partition("[")[0] for row in result.rows] == ["quick", "slow", "wrong"]
    assert [row.seconds for row in result.rows] == [1.5, 3.5, 0.6]
    assert result.best is result.rows[0]
    assert not result.rows[2].certified
    assert (result.rows[2].error or 0.0) > 1e-5
    assert result.plan.chosen.algorithm == "slow"
    text = str(result)
    assert "*slow[numpy float64]" in text
    assert "not certified" in text
    assert len(text.split("\n")) == 4


def test_what_breaks_down_does_not_stop_the_race(use):
    log = []
    use(
        fake("a", logged(log, "a", breaks), seconds=0.1),
        fake("b", logged(log, "b", starves), seconds=0.2),
        fake("c", logged(log, "c"), seconds=0.3),
    )
    result = race(repeats=2)
    assert log == ["a", "b", "c", "c"]
    by_name = {row.label[0]: row for row in result.rows}
    for name in "ab":
        assert not by_name[name].certified
        assert by_name[name].seconds is None
        assert "broke down" in by_name[name].note
    assert result.best is by_name["c"]
    assert "broke down: for the test" in str(result)


def test_nothing_is_certified(use):
    use(fake("a", logged([], "a", breaks)))
    assert race().best is None


def test_nothing_is_feasible(use):
    use(fake("a", logged([], "a"), seconds=10.0))
    with pytest.raises(InfeasibleBudget):
        race(nla.Budget(accuracy=1e-12, latency=1e-3))


@pytest.mark.parametrize("repeats", [0, -1, 1.5, "2", True, None])
def test_repeats(repeats):
    with pytest.raises(InvalidProblem, match="repeats") as caught:
        race(repeats=repeats)
    assert caught.value.argument == "repeats"


@pytest.mark.parametrize(
    "problem",
    [
        nla.LeastSquares(matrices.with_spectrum(600, 10, spectra.geometric(10, 100.0), RNG).A, np.ones(600)),
        nla.LinearSystem(A @ A.T + np.eye(40), np.ones(40), assume="spd"),
        nla.LowRank(matrices.with_spectrum(60, 50, spectra.exponential(50, 0.5), RNG).A, rank=5),
    ],
    ids=repr,
)
def test_every_real_candidate_is_certified(problem):
    """What the planner calls feasible keeps its promise."""
    result = race(nla.Budget(accuracy=1e-6), problem)
    assert len(result.rows) >= 5
    failed = [f"{row.label}: {row.note or row.error}" for row in result.rows if not row.certified]
    assert not failed
    assert result.best is not None


def test_a_race_within_planning_corrects_the_forecasts(use, monkeypatch):
    """rigor="race": the two closest are timed on a part of the problem, the better one is chosen."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(planning, "time", clock)

    def takes(seconds):
        def solve(A, b, task, reuse):
            clock.now += seconds * (len(A) / 40) ** 2
            return np.linalg.solve(A, b)

        return solve

    use(fake("promising", takes(5.0), seconds=1.0), fake("better", takes(0.5), seconds=1.1), fake("far", seconds=9.0))
    probed = nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE)
    raced = nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE, rigor="race")
    assert probed.chosen.algorithm == "promising"
    assert raced.chosen.algorithm == "better"
    assert any("raced on a 20 x 20 part" in note for note in raced.notes)
    assert not any("far" in note for note in raced.notes)
    alone = nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE, rigor="exhaustive")
    assert any("far[numpy float64]" in note for note in alone.notes)


def test_nobody_comes_close(use):
    use(fake("a", logged([], "a"), seconds=1.0), fake("b", logged([], "b"), seconds=9.0))
    made = nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE, rigor="race")
    assert made.notes == ("no race: no other candidate was forecast to come close",)


def test_one_that_breaks_down_on_the_part_is_not_preferred(use):
    def breaks_on_parts(A, b, task, reuse):
        if len(A) < 40:
            raise Breakdown("too small a part")
        return np.linalg.solve(A, b)

    use(fake("a", breaks_on_parts, seconds=1.0), fake("b", logged([], "b"), seconds=1.1))
    solution = nla.solve(PROBLEM, BUDGET, rng=0, profile=PROFILE, rigor="race")
    assert solution.status == "certified"


def test_a_race_shows_a_real_error_of_an_algorithm(use):
    def bug(A, b, task, reuse):
        raise TypeError("a bug")

    use(fake("a", bug), fake("b", logged([], "b"), seconds=1.0))
    with pytest.raises(TypeError, match="a bug"):
        race()
