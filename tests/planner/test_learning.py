"""What a planned run leaves behind, and what later plans make of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import autonla as nla
from autonla import profiles
from autonla.cost_models.corrections import level
from autonla.planner import learning, planning
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.planner.planning import machine_of
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.interval import Interval
from autonla.profiles import Correction, HardwareProfile, Run, records
from tests._support.fakes import fake
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
A, X = RNG.standard_normal((40, 40)), RNG.standard_normal(40)
PROBLEM = nla.LinearSystem(A, A @ X)
BUDGET = nla.Budget(accuracy=1e-12)
FEATURES = {
    "crc32", "version", "profile", "kind", "algorithm", "backend", "dtype", "label", "m", "n", "nrhs", "rank", "order",
    "forecast_run", "forecast_certify", "run", "certify", "forecast_bytes", "peak_bytes", "first",
}  # fmt: skip


def lapack(A, b, task, reuse):
    return np.linalg.solve(A, b)


def breaks(A, b, task, reuse):
    raise Breakdown("for the test")


GOOD = fake("good", lapack, seconds=0.1)
SAFE = fake("safe", lapack, seconds=1.0, safe=True)
BAD = fake("bad", breaks, seconds=0.01)


def solve(profile: HardwareProfile | None = PROFILE, **how) -> nla.Solution:
    return nla.solve(PROBLEM, BUDGET, rng=0, profile=profile, **how)


def lines() -> list[dict]:
    records.flush()
    path = records.records_path()
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_planned_solve_appends_one_record_with_features_and_nothing_else(use):
    use(GOOD, SAFE)
    solution = solve()
    (line,) = lines()
    assert set(line) == FEATURES
    forecast = solution.plan.chosen.forecast
    assert forecast is not None
    stages = dict(forecast.stages)
    assert line["profile"] == records.identity(PROFILE)
    assert (line["kind"], line["algorithm"], line["backend"], line["dtype"]) == (
        "linear_system", "good", "numpy", "float64",
    )  # fmt: skip
    assert line["label"] == solution.plan.chosen.label
    assert (line["m"], line["n"], line["nrhs"], line["rank"], line["order"]) == (40, 40, 1, None, "C")
    assert line["forecast_run"] == pytest.approx(stages["run"], rel=1e-3, abs=0.0)
    assert line["forecast_certify"] == pytest.approx(stages["certify"], rel=1e-3, abs=0.0)
    assert line["run"] == pytest.approx(solution.record.seconds["run"], rel=1e-3, abs=0.0)
    assert line["certify"] == pytest.approx(solution.record.seconds["certify"], rel=1e-3, abs=0.0)
    assert line["forecast_bytes"] == forecast.bytes.median
    assert line["first"] is True
    solve()
    assert [line["first"] for line in lines()] == [True, False]


def test_low_rank_with_a_rank_and_several_right_hand_sides():
    nla.solve(nla.LowRank(RNG.standard_normal((60, 30)), rank=4), nla.Budget(accuracy=0.5), rng=0, profile=PROFILE)
    F = np.asfortranarray(RNG.standard_normal((60, 8)))
    nla.solve(nla.LeastSquares(F, RNG.standard_normal((60, 3))), nla.Budget(accuracy=1e-6), rng=0, profile=PROFILE)
    low_rank, least_squares = lines()
    assert (low_rank["kind"], low_rank["m"], low_rank["n"], low_rank["nrhs"], low_rank["rank"]) == (
        "low_rank", 60, 30, 0, 4,
    )  # fmt: skip
    assert (least_squares["kind"], least_squares["nrhs"], least_squares["order"]) == ("least_squares", 3, "F")


def test_what_is_recorded_is_the_forecast_before_corrections(use):
    use(GOOD, SAFE)
    plain = solve()
    corrected = synthetic_profile(corrections={"good": Correction(log_bias=0.7, log_sigma=0.1, count=100)})
    moved = solve(corrected)
    assert moved.plan.chosen.forecast != plain.plan.chosen.forecast
    first, second = lines()
    for stage in ("forecast_run", "forecast_certify"):
        assert first[stage] == pytest.approx(second[stage], rel=2e-3, abs=0.0)


def test_nothing_is_recorded_of_plans_races_and_small_problems():
    nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE)
    nla.race(PROBLEM, BUDGET, rng=0, profile=PROFILE)
    nla.solve(PROBLEM, BUDGET)  # at once
    nla.plan(PROBLEM, BUDGET, rng=0).run()
    assert lines() == []


def test_nothing_is_recorded_of_failures_and_what_followed_them(use):
    use(BAD, SAFE)
    assert len(solve().record.attempts) == 2
    use(BAD)
    with pytest.raises(nla.CertificationFailed):
        solve()
    assert lines() == []


def test_nothing_is_recorded_when_switched_off(use, monkeypatch):
    monkeypatch.setenv("AUTONLA_RECORDS", "0")
    use(GOOD)
    solve()
    monkeypatch.delenv("AUTONLA_RECORDS")
    assert lines() == []


def test_a_home_that_cannot_be_written_hurts_no_solve(use, autonla_home):
    autonla_home.rmdir()
    autonla_home.write_text("not a folder")
    use(GOOD)
    for _ in range(records.EVERY + 1):
        assert solve().status == "certified"


def test_an_algorithm_that_no_record_can_hold_hurts_no_solve(use):
    use(fake("x" * 300, lapack))
    assert solve().status == "certified"
    assert lines() == []


# A profile of the user's own, and records of runs that were forecast with it.


@pytest.fixture
def mine(use) -> HardwareProfile:
    """The user's profile, on file; "good" is forecast to beat "safe" on it, by little."""
    profile = synthetic_profile(fingerprint=profiles.fingerprint(), name="mine")
    profiles.save(profile)
    use(fake("good", lapack, seconds=0.1), fake("safe", lapack, seconds=0.12, safe=True))
    return profile


def record(count: int, factor: float, profile: HardwareProfile, algorithm: str = "good") -> None:
    """Runs of shapes about that of the problem which took `factor` times their forecast."""
    for i in range(count):
        run = Run(
            profile=records.identity(profile), kind="linear_system", algorithm=algorithm, backend="numpy",
            dtype="float64", label=f"{algorithm}[numpy float64]", m=30 + i % 20, n=30 + i % 20, nrhs=1, rank=None,
            order="C", forecast_run=0.1, forecast_certify=1e-5, run=0.1 * factor, certify=1e-5 * factor,
            forecast_bytes=1.0, peak_bytes=None,
        )  # fmt: skip
        records.append(run)
    records.flush()


def new_process() -> None:
    planning._ready.cache_clear()


def chosen(**how) -> str:
    return nla.plan(PROBLEM, BUDGET, rng=0, **how).chosen.algorithm


def test_records_correct_the_plans_of_the_next_process(mine):
    new_process()
    before = nla.plan(PROBLEM, BUDGET, rng=0)
    assert before.chosen.algorithm == "good"
    record(level(40), 2.0, mine)
    assert nla.plan(PROBLEM, BUDGET, rng=0) == before, "nothing changes within a process"
    new_process()
    after = nla.plan(PROBLEM, BUDGET, rng=0)
    assert after.chosen.algorithm == "safe"
    forecast = after.candidate("good[numpy float64]").forecast
    assert forecast is not None
    assert forecast.correction == pytest.approx(2.0, rel=0.1, abs=0.0)
    assert "corrected by" in after.profile
    assert "corrected" not in before.profile


def test_too_few_records_change_nothing(mine):
    new_process()
    before = nla.plan(PROBLEM, BUDGET, rng=0)
    record(level(20) - 1, 2.0, mine)
    new_process()
    assert nla.plan(PROBLEM, BUDGET, rng=0) == before


def test_between_levels_nothing_changes(mine):
    record(level(20), 2.0, mine)
    new_process()
    before = machine_of(None).profile.corrections
    record(level(40) - level(20) - 1, 0.5, mine)
    new_process()
    assert machine_of(None).profile.corrections == before != {}
    record(1, 0.5, mine)
    new_process()
    assert machine_of(None).profile.corrections != before


def test_a_profile_that_is_named_is_used_as_it_is(mine, monkeypatch):
    record(40, 2.0, mine)
    new_process()
    assert machine_of(mine).profile is mine
    assert machine_of(profiles.profile_path()).profile == mine
    monkeypatch.setenv("AUTONLA_PROFILE", str(profiles.profile_path()))
    assert machine_of(None).profile.corrections == {}


def test_records_that_are_switched_off_are_not_used(mine, monkeypatch):
    record(40, 2.0, mine)
    monkeypatch.setenv("AUTONLA_RECORDS", "0")
    new_process()
    assert machine_of(None).profile == mine


def test_records_of_another_profile_are_not_used(mine):
    record(40, 2.0, synthetic_profile(name="another"))
    new_process()
    assert machine_of(None).profile == mine


def test_records_refine_what_calibration_found(mine):
    record(20, 2.0, mine)
    calibration = tuple(
        run.model_copy(update={"algorithm": name, "run": 0.5 * run.forecast_run})
        for run in records.runs_of(mine)
        for name in ("good", "safe")
    )
    kept = Correction(log_bias=0.3, log_sigma=0.1, count=7)
    profiles.save(mine.model_copy(update={"calibration": calibration, "corrections": {"other": kept}}))
    new_process()
    found = machine_of(None).profile.corrections
    assert found["other"] == kept
    assert math.log(0.5) < found["good[numpy float64]"].log_bias < math.log(2.0)
    assert "safe[numpy float64]" not in found, "only what there are records of is fitted again"


@pytest.fixture
def planned(mine, monkeypatch) -> nla.Plan:
    """A plan of the user's, too large to be run at once."""
    monkeypatch.setattr(LinearSystemKind, "small", lambda self, task: False)
    new_process()
    return nla.plan(PROBLEM, BUDGET, rng=0)


def test_running_a_plan_records_what_was_planned_and_nothing_else(planned):
    planned.run()
    assert len(lines()) == 1
    planned.run(nla.LinearSystem(A, X))
    planned.run(candidate="safe[numpy float64]")
    nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE).run()
    assert len(lines()) == 1


def test_no_record_is_made_of_what_was_not_forecast(use):
    use(GOOD)
    plan = nla.plan(PROBLEM, BUDGET, rng=0, profile=PROFILE)
    entry = plan._entries[0]
    forecast = entry.candidate.forecast
    assert forecast is not None

    def made(forecast):
        known = replace(entry, candidate=replace(entry.candidate, forecast=forecast))
        return learning.run_of(plan.task, known, "p", 1.0, 0.5, None)

    run = made(forecast)
    assert run is not None
    assert (run.run, run.certify, run.peak_bytes) == (1.0, 0.5, None)
    assert made(None) is None
    assert made(replace(forecast, bytes=Interval(math.inf, 1.0, math.inf))) is None
