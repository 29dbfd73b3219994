"""What planning and running do where it seldom happens: no fork, one candidate, a stored plan of an older registry."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import autonla as nla
from autonla.planner import planning
from autonla.planner.budget import Budget
from autonla.planner.candidates import Limits, enumerate_entries
from autonla.planner.execution import entries_of
from autonla.planner.kinds import ProbeStep, kind_of
from autonla.planner.plan_document import sealed
from autonla.planner.prepare import Prepared
from autonla.primitives.evidence import Evidence, Finding
from autonla.primitives.interval import Interval
from autonla.primitives.norms import sampled_norm
from autonla.primitives.task import Task
from autonla.primitives.work import Work
from autonla.profiles.errors import DeclarationMismatch, PlanError, ProfileError
from tests._support import matrices, spectra
from tests._support.certifying import certify
from tests._support.fakes import FakeKind, fake, seconds_of_work
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
BAD = Interval(1e10, 1e9, 1e11)


def test_planning_needs_no_fork(monkeypatch):
    """A system may have none; the lock is then what it is, and nothing resets it."""
    spec = planning.__spec__
    assert spec is not None
    assert spec.origin is not None
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    again = importlib.util.spec_from_file_location("autonla.planner._without_fork", spec.origin)
    assert again is not None
    assert again.loader is not None
    module = importlib.util.module_from_spec(again)
    monkeypatch.setitem(sys.modules, again.name, module)
    again.loader.exec_module(module)
    assert isinstance(module._FIRST, type(threading.Lock()))
    assert module.seed_of(5) == 5


# Probes.


def saved(other_seconds: float) -> float:
    """Seconds that a probe saves which always finds `BAD`.

    Where that holds the quick algorithm takes 10 s in place of 0.1 s, the other one `other_seconds` in place of 1 s;
    2 s are allowed.
    """

    def takes(seconds: float, then: float):
        return lambda task, evidence, options: Work((seconds_of_work(then if evidence.condition == BAD else seconds),))

    quick = replace(fake("quick", breakdown=0.1), work=takes(0.1, 10.0))
    other = replace(fake("other", safe=True), work=takes(1.0, other_seconds))
    step = ProbeStep(
        "look", lambda t, e: True, lambda t, e, backend: Work((seconds_of_work(1e-3),)),
        lambda A, b, t, e, backend: (t, e, {}), lambda t, e: [(1.0, replace(e, condition=BAD))],
    )  # fmt: skip
    kind = FakeKind(quick, other, probes=(step,))
    task, evidence = Task("fake", 100, 10, target=1e-6), Evidence(norm_fro=1.0)
    limits = Limits.of(Budget(accuracy=1e-6, latency=2.0), 1e-6, 0.0)
    profile = synthetic_profile(python_overhead_seconds=0.0)
    entries = enumerate_entries(kind, task, evidence, profile, limits)
    nothing = Prepared(None, None, task, evidence)
    return planning._saved(kind, step, task, evidence, profile, limits, nothing, entries, "scipy")


def test_knowing_that_nothing_will_fit_saves_nothing():
    """There is no other choice: the probe costs what it takes. Where another one is the better for it, it saves."""
    assert saved(20.0) == pytest.approx(-1e-3, rel=0.1, abs=0.0)
    assert saved(0.02) > 0.05


def test_a_declared_spd_matrix_with_a_negative_rayleigh_quotient_is_refused():
    """Its diagonal is positive, and so the structure probe has nothing against it."""
    n = 250
    G = RNG.standard_normal((n, n))
    A = 2.0 * np.eye(n) + (G + G.T) / np.sqrt(2.0 * n) * 2.0
    assert A.diagonal().min() > 0.0
    assert np.linalg.eigvalsh(A)[0] < -1.0
    for assume, says in (("spd", "a Rayleigh quotient of it is negative"), ("symmetric", "")):
        problem = nla.LinearSystem(A, np.ones(n), assume=assume)
        kind = kind_of("linear_system")
        task = kind.task(problem, 1e-10, 0)
        (step,) = (s for s in kind.probes if s.name == "conditioning")
        if says:
            with pytest.raises(DeclarationMismatch, match=says) as caught:
                step.run(A, problem.b, task, Evidence(), "scipy")
            assert caught.value.argument == "assume"
            with pytest.raises(DeclarationMismatch, match=says):
                nla.plan(problem, Budget(accuracy=1e-10), rng=0, profile=PROFILE, rigor="exhaustive")
        else:
            found, evidence, by_products = step.run(A, problem.b, task, Evidence(), "scipy")
            assert found.structure == "indefinite"
            assert by_products == {}
            assert math.isfinite(evidence.condition.median)


# Kinds.


def test_a_large_singular_system_is_not_diagnosed():
    """All its singular values would take longer than what the user waited for."""
    kind = kind_of("linear_system")
    task = kind.task(nla.LinearSystem(np.zeros((1000, 1000)), np.ones(1000)), 1e-10, 0)
    A = np.zeros((1000, 1000))
    A[0, 0] = 1.0
    assert "rank 1 of 1000" in kind.diagnosis(A, task)
    assert kind.diagnosis(None, replace(task, m=1001, n=1001)) == ""


def test_a_setting_that_the_registry_does_not_have():
    nowhere = replace(fake("a"), options=lambda task, evidence: [])
    kind = FakeKind(nowhere, fake("a", backend="torch"), fake("b"), fake("b", backend="scipy"))
    task = Task("fake", 10, 10)
    found = [kind.setting(name, task) for name in ("a", "b")]
    assert [(algorithm.name, options.backend) for algorithm, options in found] == [("a", "torch"), ("b", "numpy")]
    for known in (kind, FakeKind(nowhere)):
        with pytest.raises(LookupError, match=r"the registry has no [ac] for fake on scipy"):
            known.setting("c" if known is kind else "a", task)


@pytest.mark.parametrize(("rank", "part"), [(None, None), (5, 5), (40, 20)])
def test_low_rank_is_raced_on_a_ninth_of_the_matrix(rank, part):
    A = RNG.standard_normal((150, 60)) * np.geomspace(1.0, 1e-6, 60)
    problem = nla.LowRank(A, rank=rank)
    kind = kind_of("low_rank")
    slice_A, b, task = kind.slice_problem(A, None, kind.task(problem, 1e-3, 0))
    np.testing.assert_array_equal(slice_A, A[:50, :20])
    assert (b, task.m, task.n, task.rank) == (None, 50, 20, part)
    made = nla.plan(problem, Budget(accuracy=0.1), rng=0, profile=PROFILE, rigor="exhaustive")
    assert any(note.startswith("raced on a 50 x 20 part: ") for note in made.notes)


# Races and stored plans.


def test_one_candidate_is_not_raced(use):
    ran = []

    def solve(A, b, task, reuse):
        ran.append(task.n)
        return np.linalg.solve(A, b)

    problem = nla.LinearSystem(np.eye(30), np.ones(30))
    how = {"rng": 0, "profile": PROFILE}
    use(fake("only", solve, kind="linear_system"))
    made = nla.plan(problem, Budget(accuracy=1e-10), rigor="exhaustive", **how)
    assert [c.feasible for c in made.candidates] == [True]
    assert ran == []
    assert made.notes == ()
    use(fake("only", solve, kind="linear_system"), fake("other", solve, kind="linear_system"))
    made = nla.plan(problem, Budget(accuracy=1e-10), rigor="exhaustive", **how)
    assert len(ran) == 4, "each of two is warmed up and timed"
    assert "raced on a 15 x 15 part" in made.notes[0]


def test_what_the_registry_has_lost_matters_only_where_it_could_run():
    A = RNG.standard_normal((300, 20))
    problem = nla.LeastSquares(A, RNG.standard_normal(300))
    made = nla.plan(problem, Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    document = json.loads(made.to_json())
    del document["checksum"]
    rejected = next(c for c in document["candidates"] if not c["feasible"])
    rejected["label"] = "gone[scipy float64]"
    stored = nla.Plan.from_json(sealed(document))
    labels = {entry.candidate.label for entry in entries_of(stored)}
    assert "gone[scipy float64]" not in labels
    assert len(labels) == len(made.candidates) - 1
    assert stored.run(problem).certificate.satisfied
    other = next(c for c in document["candidates"] if c["feasible"] and c["label"] != made.chosen.label)
    other["label"] = "lost[scipy float64]"
    with pytest.raises(PlanError, match="no candidate 'lost"):
        nla.Plan.from_json(sealed(document)).run(problem)


# Certificates.


def test_a_second_look_that_overflows_leaves_the_bound_of_the_first():
    """What is left of the error is solved for once more where the bound is loose; that may go wrong on its own."""
    n = 40
    A = matrices.with_spectrum(n, n, spectra.geometric(n, 1e3), np.random.default_rng(5)).A
    b = np.random.default_rng(6).standard_normal(n)
    problem = nla.LinearSystem(A, b, metric="forward_error")
    x = np.linalg.solve(A, b) * (1.0 + 1e-3)

    def bound(second: float) -> float:
        """Where systems are solved to three hundredths, and the solutions of the second call are multiplied."""
        factors = iter([1.0, second])

        def again(wanted: np.ndarray) -> np.ndarray:
            noise = np.random.default_rng(7).standard_normal(wanted.shape)
            noise *= 0.03 * np.linalg.norm(wanted, axis=0) / np.linalg.norm(noise, axis=0)
            return next(factors) * np.linalg.solve(A, wanted + noise)

        with np.errstate(all="ignore"):  # as where it is called
            found = certify(problem, x, reuse={"again": again}).bound
        assert next(factors, None) is None, "it was solved twice"
        return found

    assert 1e-3 < bound(1.0) < 1.1e-3
    assert 2e-3 < bound(math.inf) < 4e-3
    assert bound(math.inf) == pytest.approx(bound(0.0), rel=1e-6, abs=0.0), "zeros tell nothing either"


# Seeds, prices, what is known of the norm.


def test_seeds_drawn_from_a_generator_fill_63_bits():
    rng = np.random.default_rng(2)
    drawn = [planning.seed_of(rng) for _ in range(200)]
    assert 0.4 < np.mean(np.array(drawn) >= 2**62) < 0.6
    assert max(drawn) < 2**63
    assert all(0 <= planning.seed_of(None) < 2**63 for _ in range(50))
    assert any(planning.seed_of(None) >= 2**62 for _ in range(50))


def test_a_race_corrects_forecasts_by_what_was_timed(use, monkeypatch):
    """A quarter of a second of forecast work that takes a second: four times as much as the other one. What warms up
    takes longer, and does not count."""
    clock = SimpleNamespace(now=0.375)
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def taking(seconds):
        runs = []

        def solve(A, b, task, reuse):
            runs.append(1)
            clock.now += seconds * (7.0 if len(runs) == 1 else 1.0)
            return np.linalg.solve(A, b)

        return solve

    use(
        fake("slower", taking(1.0), seconds=0.25, kind="linear_system"),
        fake("as said", taking(0.26), seconds=0.26, kind="linear_system"),
    )
    problem = nla.LinearSystem(np.eye(30), np.ones(30))
    how = {"rng": 0, "profile": PROFILE}
    assert nla.plan(problem, Budget(accuracy=1e-10), rigor="estimate", **how).chosen.algorithm == "slower"
    made = nla.plan(problem, Budget(accuracy=1e-10), rigor="exhaustive", **how)
    assert made.chosen.algorithm == "as said"
    ran = dict(re.findall(r"(\w[\w ]*)\[[^]]*\] ran at ([\d.]+) of", made.notes[0]))
    assert float(ran["slower"]) == pytest.approx(4.0, rel=0.02)
    assert float(ran["as said"]) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("rigor", "seconds", "raced"),
    [
        ("race", (1.0, 1.2, 1.3, 5.0), {"a0", "a1"}),
        ("race", (1.0, 5.0), set()),
        ("exhaustive", (1.0, 1.2, 1.3, 5.0), {"a0", "a1", "a2", "a3"}),
        ("probe", (1.0, 1.2), set()),
    ],
)
def test_who_is_raced(use, rigor, seconds, raced):
    """Two that come close, or all."""
    ran = set()

    def recording(name):
        def solve(A, b, task, reuse):
            ran.add(name)
            return np.linalg.solve(A, b)

        return solve

    use(*(fake(f"a{i}", recording(f"a{i}"), seconds=s, kind="linear_system") for i, s in enumerate(seconds)))
    problem = nla.LinearSystem(np.eye(30), np.ones(30))
    made = nla.plan(problem, Budget(accuracy=1e-10), rng=0, profile=PROFILE, rigor=rigor)
    assert ran == raced
    assert any(note.startswith("no race") for note in made.notes) == (rigor == "race" and not raced)


def test_the_seconds_of_a_plan_are_those_before_and_after_its_probes(use, monkeypatch):
    """What was tried before the plan counts as spent when its probes ask what still fits."""
    clock, spent = SimpleNamespace(now=0.375), []
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    prepare, probe, choose = planning.prepare, planning._probe, planning._choose

    def slowly(seconds, call):
        def called(*args, **how):
            clock.now += seconds
            return call(*args, **how)

        return called

    def probing(kind, prepared, budget, profile, rigor, gone):
        spent.append(gone)
        return slowly(2.0, probe)(kind, prepared, budget, profile, rigor, gone)

    monkeypatch.setattr(planning, "prepare", slowly(0.5, prepare))
    monkeypatch.setattr(planning, "_probe", probing)
    monkeypatch.setattr(planning, "_choose", slowly(0.25, choose))
    use(fake("only", kind="linear_system"))
    problem = nla.LinearSystem(np.eye(30), np.ones(30))
    made = nla.plan(problem, Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert made.seconds == {"probe": 2.0, "plan": 0.75}
    assert spent == [0.5]


def test_a_probe_has_its_price_on_its_first_finding(use, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def look(A, b, task, evidence, backend):
        clock.now += 0.75
        found = (*evidence.findings, Finding("x", "first"), Finding("x", "second"))
        return task, replace(evidence, findings=found), {}

    step = ProbeStep("look", lambda t, e: True, lambda t, e, backend: Work(()), look, always=True)
    use(fake("only", kind="linear_system"), probes=(step,))
    made = nla.plan(nla.LinearSystem(np.eye(30), np.ones(30)), Budget(accuracy=1e-10), rng=0, profile=PROFILE)
    assert made.evidence.findings[-2:] == (Finding("look", "first", 0.75), Finding("look", "second", 0.0))
    assert made.seconds["probe"] == 0.75


def test_with_a_ridge_a_glance_at_the_norm_bounds_the_condition_number():
    """By half as much again as it looks, and nothing is said of the norm itself."""
    A = np.random.default_rng(3).standard_normal((300, 20))
    kind = kind_of("least_squares")
    task = Task("least_squares", 300, 20, ridge=0.25, seed=4)
    found = planning._known(kind, Prepared(A, None, task, Evidence(), checked=False))
    norm = 1.5 * sampled_norm(A, 4)
    assert found.norm_fro is None
    assert found.condition.high == pytest.approx(math.hypot(norm, 0.5) / 0.5, rel=1e-12, abs=0.0)
    known = planning._known(kind, Prepared(A, None, task, Evidence(norm_fro=2.0)))
    assert known.norm_fro == 2.0
    assert known.condition.high == pytest.approx(math.hypot(2.0, 0.5) / 0.5, rel=1e-12, abs=0.0)
    without = planning._known(kind, Prepared(A, None, replace(task, ridge=0.0), Evidence(), checked=False))
    assert without.condition == kind.known(replace(task, ridge=0.0), Evidence()).condition


def test_a_profile_with_a_tuning_that_there_is_not():
    profile = PROFILE.model_copy(update={"tuning": {"nonsense": 1.0}, "name": "mine"})
    with pytest.raises(ProfileError, match=r"'mine'.*nonsense"):
        planning.tuning_of(profile)
    fine = PROFILE.model_copy(update={"tuning": {"switch_margin": 0.1, "oversampling": 12}})
    assert planning.tuning_of(fine).oversampling == 12
