"""Tuning: what is found is planted, and what a profile holds reaches the algorithms."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import autonla as nla
from autonla.planner import planning, tuning
from autonla.planner.calibrate import Case, approximation, regression
from autonla.planner.candidates import SWITCH_MARGIN
from autonla.planner.plan_document import sealed
from autonla.planner.tuning import Study, tuned
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.tuning import DEFAULT, Tuning
from autonla.profiles import HardwareProfile, ProfileError, Run
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile(seconds_spent=50.0)
SPIR = Study("spir", ("sketch_factor", "nonzeros"), (regression(3000, 20, 1e6),))
SVD = Study("randomized_svd", ("oversampling",), (approximation(300, 200, 10),))


@pytest.fixture
def takes(monkeypatch):
    """Plant what a solve takes by the tuning of its profile; gives the tunings that were asked for."""

    def install(seconds):
        asked = []

        def measured(algorithm, problem, budget, profile):
            values = planning.tuning_of(profile)
            asked.append((algorithm, values))
            return seconds(values)

        monkeypatch.setattr(tuning, "_seconds", measured)
        return asked

    return install


def test_a_better_value_is_found_and_kept(takes):
    takes(lambda t: 1.0 + 0.1 * abs(t.sketch_factor - 7) + 0.02 * abs(t.nonzeros - 6))
    found = tuned(PROFILE, studies=(SPIR,))
    assert found.tuning["sketch_factor"] in (6, 7, 8)
    assert set(found.tuning) == {"sketch_factor", "nonzeros"}
    assert any("spir with sketch_factor = " in note for note in found.notes)
    assert found.seconds_spent >= PROFILE.seconds_spent
    assert tuned(PROFILE, studies=(SPIR,)).tuning == found.tuning  # seeded


def test_what_does_not_matter_keeps_its_default(takes):
    takes(lambda t: 1.0)
    found = tuned(PROFILE, studies=(SPIR, SVD))
    assert found.tuning == {}
    assert sum("keeps its defaults" in note for note in found.notes) == 2


def test_luck_is_not_kept(takes):
    """Noise of 20 %: the best of many trials looks good, and measured afresh it mostly does not."""
    kept = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        takes(lambda t, rng=rng: float(np.exp(0.2 * rng.standard_normal())))
        kept += bool(tuned(PROFILE, studies=(SPIR,)).tuning)
    assert kept <= 4


def test_a_value_that_fails_is_not_kept(takes):
    takes(lambda t: 1.0 if t == DEFAULT else None)
    assert tuned(PROFILE, studies=(SPIR,)).tuning == {}


def test_an_algorithm_that_solves_nothing_here(takes):
    takes(lambda t: None)
    found = tuned(PROFILE, studies=(SPIR,))
    assert found.tuning == {}
    assert "tuning: spir applies to none of its problems here" in found.notes


def test_later_studies_have_what_earlier_ones_found(takes):
    asked = takes(lambda t: 1.0 + 0.1 * abs(t.sketch_factor - 7))
    found = tuned(PROFILE, studies=(SPIR, SVD))
    assert {t.sketch_factor for name, t in asked if name == "randomized_svd"} == {found.tuning["sketch_factor"]}


def test_no_time_is_no_trial(takes):
    asked = takes(lambda t: 1.0)
    assert tuned(PROFILE, studies=(SPIR,), time_limit=0.0).tuning == {}
    assert asked == []


def test_progress_goes_to_the_end(takes):
    takes(lambda t: 1.0)
    seen = []
    tuned(PROFILE, studies=(SPIR, SVD), progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == (1.0, "done")
    assert {"tuning spir", "tuning randomized_svd"} <= {text for _, text in seen}


@pytest.mark.parametrize("study", [SPIR, SVD], ids=["spir", "randomized_svd"])
def test_really(study):
    """Nothing planted: the algorithms run, are certified, and what is kept can be planned with."""
    (case,) = study.cases
    problem = case.make(np.random.default_rng(0))
    assert tuning._seconds(study.algorithm, problem, case.budget, PROFILE) is not None
    found = tuned(PROFILE, studies=(study,), trials=2)
    assert not any("applies to none" in note for note in found.notes)
    nla.plan(problem, case.budget, rng=0, profile=found)


def test_an_answer_that_is_not_certified_is_none():
    case = Case(regression(300, 20, 1e6).make, nla.Budget(accuracy=1e-30, on_infeasible="best_effort"))
    assert tuning._seconds("spir", case.make(np.random.default_rng(0)), case.budget, PROFILE) is None


# The switch margin.


def calibrated(pairs) -> HardwareProfile:
    """A profile that ran LU, the default, and mixed LU on systems: (forecast, measured) of each."""
    runs = []
    for number, pair in enumerate(pairs):
        for name, (forecast, measured) in zip(("lu", "mixed_lu"), pair, strict=True):
            runs.append(
                Run(
                    profile="p", kind="linear_system", algorithm=name, backend="scipy", dtype="float64", label=name,
                    m=300 + number, n=300 + number, nrhs=1, rank=None, order="C", forecast_run=forecast,
                    forecast_certify=0.0, run=measured, certify=0.0, forecast_bytes=1.0, peak_bytes=None,
                )
            )  # fmt: skip
    return PROFILE.model_copy(update={"calibration": tuple(runs)})


def test_the_switch_margin_that_would_have_been_best(monkeypatch):
    """Where mixed LU is forecast to be 10 % faster it is slower, and where it is forecast twice as fast it is."""
    monkeypatch.setattr(tuning, "fit", lambda runs: {})
    close, clear = ((1.0, 1.0), (0.9, 1.2)), ((1.0, 1.0), (0.4, 0.55))
    margin, note = tuning.switch_margin(calibrated([close] * 8 + [clear] * 8))
    assert margin is not None
    assert margin > SWITCH_MARGIN
    assert 0.4 * (1.0 + margin) < 1.0 < 0.9 * (1.0 + margin)
    assert "lowers the regret" in note


def test_what_corrections_learn_of_the_other_shapes_needs_no_margin():
    """Mixed LU takes 1.3 times its forecast everywhere: once that is known, the forecasts choose well."""
    always = [((1.0, 1.0), (f, 1.3 * f)) for f in (0.9, 0.85, 0.8, 0.5) * 5]
    margin, note = tuning.switch_margin(calibrated(always))
    assert margin is None
    assert "regret 1.0" in note


def test_the_switch_margin_stays_where_nothing_speaks_against_it():
    margin, note = tuning.switch_margin(calibrated([((1.0, 1.0), (0.5, 0.5))] * 10))
    assert margin is None
    assert f"stays at {SWITCH_MARGIN}" in note
    margin, note = tuning.switch_margin(calibrated([((1.0, 1.0), (0.5, 0.5))] * 3))
    assert margin is None
    assert "say nothing" in note


def test_a_tuned_switch_margin_is_used():
    A = np.random.default_rng(0).standard_normal((1500, 1500))
    problem, budget = nla.LinearSystem(A, np.ones(1500)), nla.Budget(accuracy=1e-10)
    for margin in (0.0, 0.5):
        profile = PROFILE.model_copy(update={"tuning": {"switch_margin": margin}})
        plan = nla.plan(problem, budget, rng=0, profile=profile, rigor="estimate")
        for c in plan.candidates:
            if c.forecast is not None and c.feasible and c.failure == 0.0 and c.algorithm not in ("lu", "cholesky"):
                assert c.cost == pytest.approx((1.0 + margin) * c.forecast.seconds.median)
                break
        else:
            pytest.fail("nothing to switch to")


# What a profile holds.


def test_the_tuning_of_a_profile_reaches_the_algorithms_and_the_stored_plan():
    profile = PROFILE.model_copy(update={"tuning": {"sketch_factor": 7.0, "nonzeros": 5.0}})
    problem = regression(3000, 20, 1e6).make(np.random.default_rng(0))
    plan = nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=profile)
    assert plan.task.tuning == Tuning(sketch_factor=7, nonzeros=5)
    assert "spir(factor=7)[scipy float64]" in {c.label for c in plan.candidates}
    again = nla.Plan.from_json(plan.to_json())
    assert again.task == plan.task
    x = again.run(problem, candidate="spir(factor=7)[scipy float64]")
    assert x.certificate.satisfied


def test_plans_of_before_have_the_defaults():
    problem = regression(3000, 20, 1e6).make(np.random.default_rng(0))
    document = json.loads(nla.plan(problem, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE).to_json())
    del document["checksum"], document["task"]["tuning"]
    assert nla.Plan.from_json(sealed(document)).task.tuning == DEFAULT
    document["task"]["tuning"] = {"nonzeros": 1}
    with pytest.raises(nla.PlanError, match="nonzeros"):
        nla.Plan.from_json(sealed(document))


@pytest.mark.parametrize(
    ("values", "words"), [({"nonzeros": 1.0}, "nonzeros = 1"), ({"colour": 1.0}, "no parameter 'colour'")]
)
def test_a_profile_with_a_tuning_that_is_none(values, words):
    profile = PROFILE.model_copy(update={"tuning": values})
    with pytest.raises(ProfileError, match=words):
        nla.plan(nla.LinearSystem(np.eye(50), np.ones(50)), rng=0, profile=profile)


def test_thorough_tunes(monkeypatch):
    """`profile_hardware("thorough")`: kernels, then calibration, then tuning, each with its share of the progress."""
    from autonla.cost_models import measure
    from autonla.planner import calibrate

    order = []

    def stage(name, result):
        def run(*arguments, progress, **how):
            order.append(name)
            progress(0.0, name)
            progress(1.0, name)
            return result

        return run

    tuned_profile = PROFILE.model_copy(update={"tuning": {"nonzeros": 6.0}})
    monkeypatch.setattr(measure, "measure_profile", stage("kernels", PROFILE))
    monkeypatch.setattr(calibrate, "calibrated", stage("calibration", PROFILE))
    monkeypatch.setattr(tuning, "tuned", stage("tuning", tuned_profile))
    seen = []
    found = nla.profile_hardware("thorough", save=False, progress=lambda fraction, text: seen.append(fraction))
    assert found.tuning == {"nonzeros": 6.0}
    assert order == ["kernels", "calibration", "tuning"]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert math.isclose(seen[1], seen[2])
    order.clear()
    assert nla.profile_hardware("standard", save=False).tuning == {}
    assert order == ["kernels", "calibration"]


# What else can come of it.


def test_a_switch_margin_that_pays_is_kept_in_the_profile(monkeypatch):
    monkeypatch.setattr(tuning, "fit", lambda runs: {})
    close, clear = ((1.0, 1.0), (0.9, 1.2)), ((1.0, 1.0), (0.4, 0.55))
    profile = calibrated([close] * 8 + [clear] * 8)
    margin, note = tuning.switch_margin(profile)
    found = tuned(profile, studies=())
    assert found.tuning == {"switch_margin": margin}
    assert note in found.notes


def test_shapes_that_only_a_default_solved_say_nothing_of_the_switch_margin():
    profile = calibrated([((1.0, 1.0), (0.5, 0.5))] * 20)
    only = tuple(run for run in profile.calibration if run.algorithm == "lu")
    margin, note = tuning.switch_margin(profile.model_copy(update={"calibration": only}))
    assert margin is None
    assert "0 shapes" in note


def test_a_fraction_is_found_too(takes):
    """The width of a block is no whole number."""
    takes(lambda t: 1.0 + abs(math.log(t.krylov_width / 0.8)))
    study = Study("block_krylov", ("krylov_width",), (approximation(300, 200, 10),))
    width = tuned(PROFILE, studies=(study,)).tuning["krylov_width"]
    assert width == pytest.approx(0.8, abs=0.15)
    assert not float(width).is_integer()


def test_a_value_that_fails_later_is_not_kept(takes):
    """It is as bad as one that fails at once, however fast it was when it did not."""
    calls = []

    def seconds(values):
        if values == DEFAULT:
            return 1.0
        calls.append(values)
        return 0.1 if calls.count(values) % 2 else None  # warming up it does, timed it does not

    takes(seconds)
    found = tuned(PROFILE, studies=(SPIR,))
    assert calls
    assert found.tuning == {}


@pytest.mark.parametrize("error", [Breakdown("a pivot is zero"), MemoryError(), nla.PlanError("no")])
def test_what_breaks_down_has_no_seconds(monkeypatch, error):
    def breaks(*arguments):
        raise error

    case = SPIR.cases[0]
    problem = case.make(np.random.default_rng(0))
    assert tuning._seconds("no such algorithm", problem, case.budget, PROFILE) is None
    monkeypatch.setattr(tuning, "run_and_certify", breaks)
    assert tuning._seconds("spir", problem, case.budget, PROFILE) is None


def test_what_is_a_bug_is_not_taken_for_a_breakdown(monkeypatch):
    def broken(*arguments):
        raise TypeError("a bug")

    case = SPIR.cases[0]
    monkeypatch.setattr(tuning, "run_and_certify", broken)
    with pytest.raises(TypeError, match="a bug"):
        tuning._seconds("spir", case.make(np.random.default_rng(0)), case.budget, PROFILE)
