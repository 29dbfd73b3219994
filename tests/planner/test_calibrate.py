"""Calibration: what runs are off by becomes the corrections of a profile. Seconds are planted, or not looked at."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import autonla as nla
from autonla import profiles
from autonla.planner import calibrate
from autonla.planner.calibrate import Case, calibrated
from autonla.primitives.algorithm import Breakdown
from autonla.profiles import Correction, HardwareProfile, records
from tests._support.fakes import fake
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile(seconds_spent=50.0)
BUDGET = nla.Budget(accuracy=1e-10)


def system(n: int) -> Case:
    return Case(lambda rng: nla.LinearSystem(rng.standard_normal((n, n)) + n * np.eye(n), np.ones(n)), BUDGET)


SYSTEMS = tuple(system(n) for n in (20, 25, 30, 40, 50))


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    """No pauses, and no other programs."""
    monkeypatch.setattr(calibrate, "_PAUSE", 0.0)
    monkeypatch.setattr(calibrate, "waited_for_processor", lambda: 0.0)


@pytest.fixture
def takes(monkeypatch):
    """Plant what candidates take, as multiples of their forecasts; None is not certified. Gives the labels that ran."""

    def install(**factors: float | None) -> list[str]:
        ran = []

        def run(kind, prepared, entry, metric, accuracy, confidence):
            assert prepared.by_products == {}
            ran.append(entry.candidate.label)
            factor = factors.get(entry.algorithm.name, 1.0)
            stages = dict(entry.candidate.forecast.stages)
            satisfied = SimpleNamespace(satisfied=factor is not None)
            return None, satisfied, (factor or 1.0) * stages["run"], (factor or 1.0) * stages["certify"]

        monkeypatch.setattr(calibrate, "run_and_certify", run)
        return ran

    return install


def test_a_planted_bias_becomes_a_correction(use, takes):
    use(fake("slow", seconds=0.1), fake("quick", seconds=0.1), fake("right", seconds=0.1, safe=True))
    takes(slow=1.8, quick=0.6)
    profile = calibrated(PROFILE, cases=SYSTEMS)
    found = {key: math.exp(c.log_bias) for key, c in profile.corrections.items()}
    assert found == {
        "slow[numpy float64]": pytest.approx(1.8, rel=1e-2, abs=0.0),
        "quick[numpy float64]": pytest.approx(0.6, rel=1e-2, abs=0.0),
        "right[numpy float64]": pytest.approx(1.0, rel=1e-2, abs=0.0),
    }
    plain, corrected = (
        nla.plan(SYSTEMS[2].make(np.random.default_rng(0)), BUDGET, rng=0, profile=p) for p in (PROFILE, profile)
    )
    assert corrected.chosen.algorithm == "quick"
    for name, factor in (("slow", 1.8), ("quick", 0.6)):
        before, after = (p.candidate(f"{name}[numpy float64]").forecast for p in (plain, corrected))
        assert before is not None
        assert after is not None
        trust = 5 / (5 + 3)
        assert after.seconds.median / before.seconds.median == pytest.approx(factor**trust, rel=0.02, abs=0.0)


def test_the_profile_keeps_the_runs_and_all_else(use, takes, tmp_path):
    use(fake("a", seconds=0.1), fake("b", seconds=0.1, safe=True))
    takes()
    stale = PROFILE.model_copy(update={"corrections": {"a": Correction(log_bias=1.0, log_sigma=0.1, count=9)}})
    profile = calibrated(stale, cases=SYSTEMS)
    assert len(profile.calibration) == 2 * len(SYSTEMS)
    assert {run.profile for run in profile.calibration} == {records.identity(PROFILE)} == {records.identity(profile)}
    assert not any(run.first for run in profile.calibration)
    assert "a" not in profile.corrections
    assert profile.kernels is PROFILE.kernels
    assert profile.seconds_spent >= PROFILE.seconds_spent
    file = profiles.save(profile, tmp_path / "profile.json")
    assert profiles.load(file, any_machine=True) == profile
    assert not records.records_path().exists()


@pytest.mark.parametrize(("rigor", "repeats"), [("quick", 1), ("standard", 3)])
def test_repeats_and_a_first_run_that_does_not_count(use, takes, rigor, repeats):
    use(fake("a", seconds=0.1, safe=True))
    ran = takes()
    profile = calibrated(PROFILE.model_copy(update={"rigor": rigor}), cases=SYSTEMS)
    assert len(profile.calibration) == len(SYSTEMS)
    assert len(ran) == 1 + repeats * len(SYSTEMS)


def test_what_fails_teaches_nothing(use, takes, monkeypatch):
    use(fake("wrong", seconds=0.1), fake("right", seconds=0.1, safe=True))
    takes(wrong=None)
    assert {run.algorithm for run in calibrated(PROFILE, cases=SYSTEMS).calibration} == {"right"}

    for error in (Breakdown("a pivot is zero"), MemoryError(), TypeError("a bug")):

        def breaks(*arguments, error=error):
            raise error

        monkeypatch.setattr(calibrate, "run_and_certify", breaks)
        profile = calibrated(PROFILE, cases=SYSTEMS)
        assert profile.calibration == ()
        assert profile.corrections == {}


def test_the_hopeless_and_further_options_are_not_run(use, takes):
    use(
        fake("best", seconds=0.1, safe=True),
        fake("hopeless", seconds=5.0),
        fake("varied", seconds=(0.12, 0.11), error=(1e-15, 1e-15)),
    )
    ran = takes()
    calibrated(PROFILE, cases=SYSTEMS)
    assert set(ran) == {"best[numpy float64]", "varied(variant=1)[numpy float64]"}


def test_disturbed_runs_teach_nothing(use, takes, monkeypatch):
    waits = iter(float(i) for i in range(10_000))
    monkeypatch.setattr(calibrate, "waited_for_processor", lambda: next(waits))
    use(fake("a", seconds=0.1, safe=True))
    ran = takes()
    assert calibrated(PROFILE, cases=SYSTEMS).calibration == ()
    assert len(ran) > len(SYSTEMS), "it was tried again"


def test_no_time_no_runs(use, takes):
    use(fake("a", seconds=0.1, safe=True))
    ran = takes()
    assert calibrated(PROFILE, cases=SYSTEMS, time_limit=0.0).corrections == {}
    assert ran == []


def test_what_cannot_be_planned_is_left_out(use, takes):
    use(fake("a", seconds=0.1, safe=True))
    takes()
    unsolved = Case(lambda rng: nla.Trace(np.eye(5)), BUDGET)
    assert len(calibrated(PROFILE, cases=(unsolved, *SYSTEMS)).calibration) == len(SYSTEMS)


def test_progress_goes_from_0_to_1(use, takes):
    use(fake("a", seconds=0.1, safe=True))
    takes()
    seen = []
    calibrated(PROFILE, cases=SYSTEMS, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0.0
    assert fractions[-1] == 1.0
    assert "LinearSystem(20x20" in seen[0][1]


def test_real_algorithms_of_every_kind():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((60, 8)), rng.standard_normal(60)
    cases = (
        SYSTEMS[0],
        Case(lambda rng: nla.LeastSquares(A, b), nla.Budget(accuracy=1e-8)),
        Case(lambda rng: nla.LowRank(A, rank=3), nla.Budget(accuracy=0.5)),
    )
    runs = calibrated(PROFILE, cases=cases).calibration
    assert {run.kind for run in runs} == {"linear_system", "least_squares", "low_rank"}
    assert all(run.run > 0.0 and run.forecast_run > 0.0 for run in runs)


@pytest.mark.parametrize("rigor", ["quick", "standard"])
def test_profiling_measures_calibrates_and_reports_both(monkeypatch, rigor):
    def measured(rigor, *, progress) -> HardwareProfile:
        progress(0.0, "kernels")
        progress(1.0, "done")
        return synthetic_profile(rigor=rigor, fingerprint=profiles.fingerprint())

    monkeypatch.setattr("autonla.cost_models.measure.measure_profile", measured)
    monkeypatch.setattr(calibrate, "calibrated", lambda profile, *, progress: (progress(0.5, "runs"), profile)[1])
    seen = []
    profile = nla.profile_hardware(rigor, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[1] < fractions[2] < 1.0
    assert profiles.load() == profile


def test_definite_systems_are_symmetric_and_definite():
    problem = calibrate._definite(30).make(np.random.default_rng(1))
    assert isinstance(problem, nla.LinearSystem)
    np.testing.assert_array_equal(problem.A, problem.A.T)
    assert np.linalg.eigvalsh(problem.A).min() >= 0.01 * (1.0 - 1e-12)


def test_torch_is_only_loaded_where_the_machine_has_measured_it(use, takes, monkeypatch):
    """The import takes a second, which must not count against the first candidate that needs it."""
    use(fake("a", seconds=0.1, safe=True))
    takes()
    monkeypatch.setitem(sys.modules, "torch", None)  # to import it is an error
    without = synthetic_profile(kernels=tuple(t for t in PROFILE.kernels if t.backend != "torch"))
    assert len(calibrated(without, cases=SYSTEMS).calibration) == len(SYSTEMS)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        calibrated(PROFILE, cases=SYSTEMS)


def test_a_profile_that_cannot_be_kept_is_handed_out_with_a_warning(monkeypatch, autonla_home):
    autonla_home.rmdir()
    autonla_home.write_text("not a folder")
    profile = synthetic_profile(fingerprint=profiles.fingerprint())
    monkeypatch.setattr("autonla.cost_models.measure.measure_profile", lambda rigor, *, progress: profile)
    monkeypatch.setattr(calibrate, "calibrated", lambda profile, *, progress: profile)
    with pytest.warns(nla.AutonlaWarning, match="could not be kept .*; pass it as profile="):
        assert nla.profile_hardware() == profile
    assert nla.profile_hardware(save=False) == profile
