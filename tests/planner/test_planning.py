"""From a problem to a plan: which probes run, what they cost, that nothing random decides, and what is refused."""

from __future__ import annotations

import itertools
import math
import random
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import autonla as nla
from autonla.cost_models import spot_check
from autonla.cost_models.price import ASLEEP, Pool
from autonla.planner import planning
from autonla.planner.budget import Budget
from autonla.planner.candidates import _RISK, HOPELESS, SWITCH_MARGIN, Entry, Limits, enumerate_entries
from autonla.planner.kinds import ProbeStep, kind_of
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.planner.planning import machine_of, seed_of
from autonla.planner.prepare import Prepared
from autonla.primitives.evidence import Evidence, Finding
from autonla.primitives.interval import Interval
from autonla.primitives.task import Task
from autonla.primitives.work import KernelCall, Work
from autonla.profiles import dumps, fingerprint, save
from autonla.profiles.errors import InfeasibleBudget, InvalidProblem, ProfileError
from tests._support import matrices, spectra
from tests._support.fakes import FakeKind, fake, seconds_of_work
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)


def tall(m=3000, n=40, condition=1e3) -> nla.LeastSquares:
    rng = np.random.default_rng(1)
    A = matrices.with_spectrum(m, n, spectra.geometric(n, condition), rng).A
    return nla.LeastSquares(A, A @ rng.standard_normal(n) + 0.1 * rng.standard_normal(m))


def square(n=250, condition=1e3) -> nla.LinearSystem:
    rng = np.random.default_rng(2)
    A = matrices.with_spectrum(n, n, spectra.geometric(n, condition), rng).A
    return nla.LinearSystem(A, rng.standard_normal(n))


def low_rank(m=150, n=100, rank=None) -> nla.LowRank:
    return nla.LowRank(matrices.with_spectrum(m, n, spectra.exponential(n, 0.5), np.random.default_rng(3)).A, rank=rank)


def plan(problem, budget=None, **how) -> nla.Plan:
    return nla.plan(problem, budget, **({"rng": 0, "profile": PROFILE} | how))


# Seeds and machines.


def test_seeds():
    assert seed_of(5) == 5
    assert seed_of(np.int64(7)) == 7
    assert seed_of(2**63 - 1) == 2**63 - 1
    assert seed_of(np.random.default_rng(1)) == seed_of(np.random.default_rng(1))
    generator = np.random.default_rng(1)
    assert seed_of(generator) != seed_of(generator)
    assert seed_of(None) != seed_of(None)


@pytest.mark.parametrize("bad", [-1, 2**63, 1.5, "1", True, np.random.RandomState(0)])
def test_what_is_no_seed(bad):
    with pytest.raises(InvalidProblem, match="rng") as caught:
        nla.solve(square(20), rng=bad)
    assert caught.value.argument == "rng"


def test_a_profile_or_its_file(tmp_path, autonla_home):
    assert machine_of(PROFILE).profile is PROFILE
    file = tmp_path / "profile.json"
    here = synthetic_profile(fingerprint=fingerprint())
    file.write_bytes(dumps(here))
    for path in (file, str(file)):
        assert machine_of(path).profile == here
    file.write_bytes(dumps(PROFILE))
    with pytest.raises(ProfileError, match="does not fit this machine"):
        machine_of(file)
    with pytest.raises(ProfileError):
        machine_of(tmp_path / "missing.json")


def test_without_a_profile_the_shipped_one_is_scaled_once(monkeypatch):
    checks = []

    def check(profile):
        checks.append(profile)
        return SimpleNamespace(factor=2.5)

    monkeypatch.setattr(spot_check, "spot_check", check)
    planning._scaled_generic.cache_clear()
    try:
        first, second = machine_of(None), machine_of(None)
        assert first is second
        assert len(checks) == 1
        assert first.profile.scale == 2.5
        assert "generic profile" in first.description
        assert "scaled by 2.50" in first.description
        assert "autonla profile" in first.description
    finally:
        planning._scaled_generic.cache_clear()


def test_the_profile_that_prices_is_named_in_the_plan():
    assert "synthetic" in plan(tall()).profile
    assert "Priced on the profile 'synthetic'" in plan(tall()).explain()


def test_a_slower_machine_is_forecast_to_take_longer():
    first, second = (plan(tall(), profile=synthetic_profile(scale=s), rigor="estimate") for s in (1.0, 2.0))
    once, twice = first.chosen.forecast, second.candidate(first.chosen.label).forecast
    assert once is not None
    assert twice is not None
    assert twice.seconds.median == pytest.approx(2.0 * once.seconds.median, rel=1e-6, abs=0.0)
    assert twice.bytes == once.bytes


# Probes.


def probe_of(task: Task, name: str) -> ProbeStep:
    return next(step for step in kind_of(task.kind).probes if step.name == name)


def worth(task: Task, accuracy: float, name: str, evidence: Evidence | None = None) -> bool:
    """Whether the planner would run the probe `name` before anything else."""
    kind, step = kind_of(task.kind), probe_of(task, name)
    task, evidence = replace(task, target=accuracy), kind.known(task, evidence or Evidence(norm_fro=1.0))
    assert step.applies(task, evidence)
    limits = Limits.of(Budget(accuracy=accuracy), accuracy, 0.0)
    nothing = Prepared(None, None, task, evidence)
    entries = enumerate_entries(kind, task, evidence, PROFILE, limits)
    backend = planning._probing_backends(task, entries)[0]
    return planning._saved(kind, step, task, evidence, PROFILE, limits, nothing, entries, backend) > 0.0


def test_a_probe_is_run_where_it_may_save_more_than_it_costs():
    for shape in ((60_000, 60), (100_000, 200), (300_000, 20)):
        for accuracy in (0.1, 1e-8, 1e-12):
            assert worth(Task("least_squares", *shape), accuracy, "sampled rows")
    assert worth(Task("linear_system", 4000, 4000), 1e-12, "conditioning")
    assert worth(Task("linear_system", 2000, 2000), 1e-12, "effective rank")
    assert worth(Task("low_rank", 2000, 2000, nrhs=0, rank=100), 1e-2, "range")


@pytest.mark.parametrize("condition", [1e3, 1e10])
def test_the_condition_number_decides_about_the_normal_equations(condition):
    made = plan(tall(40_000, 60, condition), Budget(accuracy=1e-4))
    assert (made.chosen.algorithm == "normal_equations") is (condition < 1e7)
    assert made.run().status == "certified"


def test_no_probe_where_the_solve_is_as_cheap():
    assert not worth(Task("least_squares", 60, 50), 1e-8, "sketch")
    assert not worth(Task("least_squares", 2000, 40), 1e-8, "sampled rows")
    assert not worth(
        Task("least_squares", 5000, 200), 1e-8, "sampled rows"
    )  # a tenth of the rows, to save a run in four
    assert not worth(Task("linear_system", 200, 200), 1e-12, "conditioning")
    assert not probe_of(Task("linear_system", 20, 20), "conditioning").applies(
        Task("linear_system", 20, 20), Evidence(norm_fro=1.0)
    )


def test_no_probe_that_can_find_nothing_new():
    known = Evidence(
        norm_fro=1.0, norm_2=Interval(1.0, 0.9, 1.1), condition=Interval(30.0, 10.0, 100.0),
        scaled_condition=Interval(30.0, 10.0, 100.0), residual=Interval(0.1, 0.05, 0.2),
        solution=Interval(1.0, 0.5, 2.0), coherence=Interval(2.0, 1.0, 4.0),
    )  # fmt: skip
    task = Task("least_squares", 100_000, 200)
    assert not any(step.applies(task, known) for step in kind_of("least_squares").probes)
    for condition in (30.0, 1e10):  # whether the normal equations work is known: rows can tell nothing, a sketch little
        seen = Interval.around(condition, 3.0)
        settled = Evidence(norm_fro=1.0, condition=seen, scaled_condition=seen)
        assert not probe_of(task, "sampled rows").applies(task, settled)
        assert not worth(task, 1e-8, "sketch", settled)


# The value of information, on a kind of which all is known.

GOOD, BAD = Interval(10.0, 5.0, 20.0), Interval(1e10, 1e9, 1e11)
MEMORY = 1e6


def breaks_where_bad(chance: float):
    """Sure where the condition number has been seen, `chance` where not."""

    def breakdown(evidence: Evidence) -> float:
        return {GOOD: 0.0, BAD: 1.0}.get(evidence.condition, chance)

    return breakdown


def voi(
    chance: float,
    probe_seconds: float,
    outcomes=None,
    *,
    safe: float = 1.0,
    profile=None,
    peak: float = MEMORY,
    kernel=None,
    thin_calls: float = 700.0,
    **budget: Any,
) -> bool:
    """Whether a probe is run that tells whether the quick algorithm (0.1 s; the safe one takes 1 s) breaks down."""
    quick = fake("quick", seconds=0.1, breakdown=breaks_where_bad(chance))
    step = ProbeStep(
        "look",
        lambda t, e: True,
        lambda t, e, backend: Work((kernel or seconds_of_work(probe_seconds),), peak),
        lambda A, b, t, e, backend: (t, e, {}),
        outcomes or (lambda t, e: [(1.0 - chance, replace(e, condition=GOOD)), (chance, replace(e, condition=BAD))]),
        thin_calls=thin_calls,
    )
    kind = FakeKind(quick, fake("safe", seconds=safe, safe=True), probes=(step,))
    task, evidence = Task("fake", 100, 10, target=1e-6), Evidence(norm_fro=1.0)
    limits = Limits.of(Budget(**{"accuracy": 1e-6, **budget}), 1e-6, 0.0)
    profile = profile or synthetic_profile(python_overhead_seconds=0.0)
    entries = enumerate_entries(kind, task, evidence, profile, limits)
    nothing = Prepared(None, None, task, evidence)
    return planning._saved(kind, step, task, evidence, profile, limits, nothing, entries, "scipy") > 0.0


def gain(chance: float, quick: float = 0.1, safe: float = 1.0) -> float:
    """Expected seconds that looking saves: a run that fails, or the safe one where the quick one would have done."""
    if (1.0 + SWITCH_MARGIN) * quick + _RISK * chance * safe < safe and chance <= HOPELESS:
        return chance * quick
    return (1.0 - chance) * (safe - (1.0 + SWITCH_MARGIN) * quick)


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.45, 0.55, 0.9])
def test_a_probe_is_worth_what_it_saves_in_the_mean_over_its_outcomes(chance):
    worth_it = gain(chance)
    assert worth_it >= 0.01
    assert voi(chance, 0.9 * worth_it)
    assert not voi(chance, 1.1 * worth_it)


def test_a_probe_that_finds_nothing_half_of_the_time_is_worth_half():
    def half(t, e):
        return [(0.35, replace(e, condition=GOOD)), (0.15, replace(e, condition=BAD))]

    worth_it = 0.5 * gain(0.3)
    assert voi(0.3, 0.9 * worth_it, half)
    assert not voi(0.3, 1.1 * worth_it, half)


def test_nothing_is_worth_knowing_that_would_change_nothing():
    assert not voi(0.0, 1e-6)  # the quick one is sure
    assert not voi(0.3, 1e-6, lambda t, e: [])
    assert not voi(0.3, 1e-6, lambda t, e: [(1.0, e)])
    assert not voi(0.3, 1e-6, safe=0.1)  # the sure one is as quick


def test_its_overhead_in_python_is_part_of_its_price():
    worth_it = gain(0.3)
    slow = synthetic_profile(python_overhead_seconds=0.5 * worth_it / 300.0)
    assert voi(0.3, 0.4 * worth_it, profile=slow, thin_calls=300.0)
    assert not voi(0.3, 0.6 * worth_it, profile=slow, thin_calls=300.0)
    assert voi(0.3, 0.6 * worth_it, profile=slow, thin_calls=150.0)


def test_a_probe_keeps_within_the_limits():
    cheap = 0.1 * gain(0.3)
    assert voi(0.3, cheap, latency=10.0, memory=1e9)
    assert not voi(0.3, cheap, latency=0.9 * cheap)
    assert not voi(0.3, cheap, memory=0.9 * MEMORY)


def test_a_probe_that_cannot_be_priced_is_not_run():
    assert not voi(0.3, 0.0, kernel=KernelCall("srtt", (100, 10, 5), "float64", "numpy"))


def choosing(*libraries: tuple[str, float]) -> tuple[Any, list[Entry]]:
    """A kind with an algorithm of so many seconds in each library, and its candidates."""
    kind = FakeKind(*(fake(f"in {name}", seconds=seconds, backend=name) for name, seconds in libraries))
    task, limits = Task("fake", 100, 10, target=1e-6), Limits.of(Budget(accuracy=1e-6), 1e-6, 0.0)
    return task, enumerate_entries(kind, task, Evidence(norm_fro=1.0), PROFILE, limits)


def test_a_probe_may_run_in_any_library_that_comes_close():
    """What it finds may make another algorithm the best one, which need not be where the best one so far is."""
    pytest.importorskip("torch")  # it takes 1.6 s more where it has to be loaded
    assert planning._probing_backends(*choosing(("torch", 0.10), ("scipy", 0.11))) == ["torch", "scipy"]
    assert planning._probing_backends(*choosing(("torch", 0.10), ("scipy", 0.20))) == ["torch"]
    assert planning._probing_backends(*choosing(("numpy", 0.10), ("scipy", 0.11))) == ["scipy"]
    assert planning._probing_backends(
        *choosing(
            ("numpy", 0.10),
        )
    ) == ["scipy"]


def test_where_nothing_fits_a_probe_that_may_find_something_is_run():
    """However little it promises: without it there is no answer."""

    def rarely(t, e):
        return [(0.01, replace(e, condition=GOOD))]

    assert voi(0.9, 0.1, rarely, safe=100.0, latency=2.0)
    assert not voi(0.9, 0.1, lambda t, e: [(0.01, replace(e, condition=BAD))], safe=100.0, latency=2.0)


# What is remembered.


def remembered(kind, task, evidence, profile, limits, ready=frozenset(), pool=ASLEEP, only=None):
    return planning._remembered(kind, task, evidence, profile, limits, ready, pool, only)


@pytest.fixture
def made(monkeypatch):
    """How often candidates were forecast."""
    count = []
    original = planning.enumerate_entries

    def counting(*arguments, **how):
        count.append(arguments)
        return original(*arguments, **how)

    monkeypatch.setattr(planning, "enumerate_entries", counting)
    return count


def test_candidates_of_problems_of_one_shape_are_forecast_once(made):
    kind, task = kind_of("least_squares"), Task("least_squares", 3000, 40, target=1e-8)
    limits = Limits.of(Budget(accuracy=1e-8), 1e-8, 0.0)
    first = remembered(kind, task, Evidence(norm_fro=3.0), PROFILE, limits)
    second = remembered(kind, replace(task, seed=9), Evidence(norm_fro=1e9), PROFILE, limits)
    assert len(made) == 1
    assert first == second
    assert first is not second
    first.clear()  # the caller's own
    assert remembered(kind, task, Evidence(norm_fro=3.0), PROFILE, limits) == second


def test_nothing_is_mixed_up_that_forecasts_depend_on():
    """Remembered or not, in whatever order: the same candidates as when they are forecast anew."""
    rng = random.Random(0)
    profiles = [PROFILE, synthetic_profile(scale=2.0), synthetic_profile(efficiency={"syrk": 0.01})]
    tasks = [Task("least_squares", 3000, 40), Task("least_squares", 3000, 41), Task("least_squares", 3000, 40, nrhs=3),
             Task("least_squares", 3000, 40, ridge=0.1), Task("least_squares", 3000, 40, order="F"),
             Task("least_squares", 3000, 40, dtype="float32"), Task("linear_system", 300, 300),
             Task("linear_system", 300, 300, structure="spd")]  # fmt: skip
    known = [Evidence(), Evidence(norm_fro=2.0), Evidence(condition=GOOD, scaled_condition=GOOD),
             Evidence(condition=BAD, scaled_condition=BAD), Evidence(small_fraction=0.0, condition=GOOD),
             Evidence(residual=GOOD.at_most(0.5)), Evidence(numerical_rank=30), Evidence(norm_2=GOOD)]  # fmt: skip
    budgets = [Budget(accuracy=1e-3), Budget(accuracy=1e-12), Budget(accuracy=1e-3, minimize="memory"), Budget(),
               Budget(accuracy=1e-3, latency=1e-3), Budget(accuracy=1e-3, memory=1e5)]  # fmt: skip
    readies = [frozenset(), frozenset({"sketch"})]
    pools = [ASLEEP, Pool("scipy"), Pool("torch")]
    onlys = [None, frozenset({("svd", "scipy"), ("lu", "scipy"), ("normal_equations", "scipy")})]
    seen = []
    for _ in range(150):
        task, budget = rng.choice(tasks), rng.choice(budgets)
        kind, target = kind_of(task.kind), budget.accuracy or 1e-10
        case = (
            kind, replace(task, target=target), rng.choice(known), rng.choice(profiles),
            Limits.of(budget, target, 0.0), rng.choice(readies), rng.choice(pools), rng.choice(onlys),
        )  # fmt: skip
        kind, task, evidence, profile, limits, ready, pool, only = case
        scaled = replace(evidence, norm_fro=1.0) if evidence.norm_fro else evidence
        fresh = enumerate_entries(kind, task, scaled, profile, limits, ready, pool=pool, only=only)
        assert remembered(*case) == fresh, case
        seen.append([e.candidate for e in fresh])
    assert sum(a != b for a, b in itertools.pairwise(seen)) > 100  # they do differ


@pytest.mark.parametrize("what", ["latency", "residual", "norm_2", "numerical_rank"])
def test_what_depends_on_the_data_or_the_clock_is_not_remembered(what, made):
    task = Task("least_squares", 3000, 40, target=1e-8)
    evidence = {
        "latency": Evidence(),
        "residual": Evidence(residual=Interval(0.1, 0.05, 0.2)),
        "norm_2": Evidence(norm_2=Interval(1.0, 0.9, 1.1)),
        "numerical_rank": Evidence(numerical_rank=30),
    }[what]
    limits = Limits.of(Budget(accuracy=1e-8, latency=1.0 if what == "latency" else None), 1e-8, 0.0)
    for _ in range(2):
        remembered(kind_of("least_squares"), task, evidence, PROFILE, limits)
    assert len(made) == 2
    assert planning._enumerated.cache_info().currsize == 0


def test_torch_that_was_loaded_meanwhile_is_noticed(monkeypatch, made):
    pytest.importorskip("torch")
    task, limits = Task("linear_system", 300, 300), Limits.of(Budget(accuracy=1e-8), 1e-8, 0.0)
    loaded = remembered(kind_of("linear_system"), task, Evidence(), PROFILE, limits)
    monkeypatch.delitem(sys.modules, "torch")
    assert remembered(kind_of("linear_system"), task, Evidence(), PROFILE, limits) != loaded
    assert len(made) == 2


def test_memory_is_bounded():
    limits = Limits.of(Budget(accuracy=1e-8), 1e-8, 0.0)
    kind = FakeKind(fake("a"))
    most = planning._enumerated.cache_info().maxsize
    assert most is not None
    for m in range(3 * most):
        remembered(kind, Task("fake", m + 1, 1), Evidence(), PROFILE, limits)
        assert planning._enumerated.cache_info().currsize <= most


def test_plans_of_the_same_shape_are_equal_and_those_of_other_budgets_are_not(made):
    """By `plan` itself, where data have no say (rigor "estimate")."""

    def candidates(problem, accuracy, profile=PROFILE):
        made_plan = plan(problem, Budget(accuracy=accuracy), profile=profile, rigor="estimate")
        return made_plan.candidates, made_plan.chosen

    rng = np.random.default_rng(0)
    problems = [nla.LeastSquares(s * rng.standard_normal((3000, 40)), rng.standard_normal(3000)) for s in (1.0, 1e-3)]
    first = candidates(problems[0], 1e-8)
    before = len(made)
    assert candidates(problems[1], 1e-8) == first
    assert len(made) == before
    assert candidates(problems[1], 1e-14) != first
    assert candidates(problems[1], 1e-8, synthetic_profile(scale=3.0)) != first
    assert candidates(problems[0], 1e-8) == first


def test_findings_and_their_price_are_in_the_plan():
    found = plan(tall(30_000, 60)).evidence
    assert found.findings
    assert found.condition.low <= 1e3 <= found.condition.high
    assert found.residual is None  # a few rows say nothing of it
    assert [f.probe for f in found.findings] == ["sampled rows"]
    assert found.findings[0].seconds > 0.0
    assert "rows drawn at random have the condition number" in found.findings[0].sentence
    everything = planning.all_candidates(tall(30_000, 60), Budget(), PROFILE, 0)[0].evidence
    assert everything.residual is not None
    assert [f.probe for f in everything.findings][:2] == ["sampled rows", "sketch"]
    assert all(f.seconds > 0.0 for f in everything.findings[:2])
    assert "condition number is about" in everything.findings[1].sentence


def test_rigor_estimate_probes_nothing_that_is_not_free():
    made = plan(tall(30_000, 60), rigor="estimate")
    assert made.evidence.residual is None
    assert not any("condition" in f.sentence for f in made.evidence.findings)
    # Structure is looked for all the same: it costs a pass.
    assert plan(square(), rigor="estimate").evidence.findings


@pytest.fixture
def probing(monkeypatch):
    def install(*steps):
        monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: (fake("a", np_solve, safe=True),)))
        monkeypatch.setattr(LinearSystemKind, "probes", property(lambda self: steps))

    return install


def np_solve(A, b, task, reuse):
    return np.linalg.solve(A, b)


def step(name, log, applies=True, always=True, seconds=0.0, **by_products) -> ProbeStep:
    work = Work((seconds_of_work(seconds),) if seconds else ())

    def run(A, b, task, evidence, backend):
        log.append(name)
        return task, replace(evidence, findings=(*evidence.findings, Finding("?", f"{name} looked"))), by_products

    return ProbeStep(name, lambda t, e: applies, lambda t, e, backend: work, run, always=always)


def test_probes_run_in_order_and_add_up(probing):
    log = []
    probing(step("first", log, a=1), step("second", log, b=2), step("never", log, applies=False))
    made = plan(square(20))
    assert log == ["first", "second"]
    assert [f.probe for f in made.evidence.findings] == ["first", "second"]
    assert [f.sentence for f in made.evidence.findings] == ["first looked", "second looked"]
    assert made._prepared.by_products == {"a": 1, "b": 2}
    assert made.seconds["probe"] > 0.0


def test_a_probe_that_cannot_pay_is_not_run(probing):
    log = []
    probing(step("dear", log, always=False, seconds=10.0))
    plan(square(20))
    assert log == []


@pytest.mark.parametrize(("assume", "A"), [
    ("spd", np.triu(RNG.standard_normal((250, 250)))),
    ("spd", -np.eye(250)[::-1]),
    ("upper", np.tril(RNG.standard_normal((250, 250)))),
    ("diagonal", RNG.standard_normal((250, 250))),
    ("symmetric", RNG.standard_normal((250, 250))),
])  # fmt: skip
def test_a_declaration_that_does_not_hold_is_refused(assume, A):
    with pytest.raises(nla.DeclarationMismatch) as caught:
        plan(nla.LinearSystem(A, np.ones(250), assume=assume))
    assert caught.value.argument == "assume"


@pytest.mark.parametrize(("A", "algorithm"), [
    (np.diag(np.arange(1.0, 251.0)), "diagonal"),
    (np.triu(RNG.standard_normal((250, 250))) + 30.0 * np.eye(250), "triangular"),
    (np.tril(RNG.standard_normal((250, 250))) + 30.0 * np.eye(250), "triangular"),
    (4.0 * np.eye(250) + np.eye(250, k=1) + np.eye(250, k=-1), "banded"),
])  # fmt: skip
def test_structure_is_found_and_used(A, algorithm):
    made = plan(nla.LinearSystem(A, np.ones(250)), Budget(accuracy=1e-12))
    assert made.chosen.algorithm == algorithm
    solution = made.run()
    assert solution.status == "certified"
    np.testing.assert_allclose(A @ solution.value, np.ones(250), atol=1e-10)


# Nothing random decides.


PROBLEMS = {
    "tall": (tall, Budget(accuracy=1e-8)),
    "tall, one digit": (lambda: tall(20_000, 30), Budget(accuracy=0.1)),
    "square": (square, Budget(accuracy=1e-12)),
    "low rank": (low_rank, Budget(accuracy=1e-3)),
    "rank 5": (lambda: low_rank(rank=5), Budget(accuracy=0.1)),
}


def without_times(made: nla.Plan) -> nla.Plan:
    findings = tuple(replace(f, seconds=0.0) for f in made.evidence.findings)
    return replace(made, evidence=replace(made.evidence, findings=findings))


@pytest.mark.parametrize("name", PROBLEMS)
def test_same_inputs_same_plan_same_bits(name):
    make, budget = PROBLEMS[name]
    first, second = (nla.solve(make(), budget, rng=3, profile=PROFILE) for _ in range(2))
    assert without_times(first.plan) == without_times(second.plan)
    parts = [s.value if isinstance(s.value, tuple) else (s.value,) for s in (first, second)]
    for a, b in zip(*parts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.certificate == second.certificate


def test_another_seed_another_sketch():
    make, budget = PROBLEMS["tall, one digit"]
    sketched = "sketch_and_solve"
    first, second = (plan(make(), budget, rng=seed) for seed in (1, 2))
    label = next(c.label for c in first.candidates if (c.algorithm == sketched and c.forecast and "=" not in c.label)
                 or (c.algorithm == sketched and c.forecast))  # fmt: skip
    again = plan(make(), budget, rng=1)
    x, y, z = (made.run(candidate=label).value for made in (first, second, again))
    np.testing.assert_array_equal(x, z)
    assert not np.array_equal(x, y)


@pytest.mark.parametrize("rigor", ["race", "exhaustive"])
def test_racing_on_a_part_of_the_problem(rigor):
    made = plan(tall(), Budget(accuracy=1e-8), rigor=rigor)
    assert made.chosen.feasible
    notes = " ".join(made.notes)
    assert "raced on a" in notes or "no race" in notes
    if rigor == "exhaustive":
        assert notes.count("of its forecast") >= 3
    assert nla.solve(tall(), Budget(accuracy=1e-8), rng=0, profile=PROFILE, rigor=rigor).status == "certified"


# Budgets.


def test_the_target_without_an_accuracy_is_what_LAPACK_would_give():
    for problem, at_most in ((square(), 1e-13), (tall(), 1e-10), (low_rank(), 1e-12)):
        made = plan(problem)
        assert made.budget.accuracy is None
        assert 1e-16 < made.target < at_most
        solution = made.run()
        assert solution.status == "certified"
        assert solution.certificate.target is None
        assert solution.certificate.bound <= 100.0 * made.target


def test_a_latency_that_nothing_fits():
    with pytest.raises(InfeasibleBudget, match="comes nearest but takes about") as caught:
        plan(tall(), Budget(accuracy=1e-8, latency="1 us"))
    nearest = caught.value.nearest
    assert nearest
    seconds = [c.forecast.seconds.median for c in nearest]
    assert seconds == sorted(seconds)
    assert caught.value.plan.evidence.norm_fro is not None


def test_a_memory_that_nothing_fits():
    with pytest.raises(InfeasibleBudget, match="of memory"):
        plan(tall(), Budget(accuracy=1e-8, memory="100 B"))


def test_an_energy_that_nothing_fits():
    with pytest.raises(InfeasibleBudget, match=" J "):
        plan(tall(), Budget(accuracy=1e-8, energy=1e-9))


@pytest.mark.parametrize("problem", [square(), tall(), low_rank(), low_rank(rank=5)], ids=repr)
def test_accuracy_below_rounding(problem):
    with pytest.raises(InfeasibleBudget, match="floor"):
        plan(problem, Budget(accuracy=1e-18))
    made = plan(problem, Budget(accuracy=1e-18, on_infeasible="best_effort"))
    assert made.chosen.forecast is not None


def test_far_from_unit_size_is_noted():
    problem = nla.LinearSystem(np.ldexp(square().A, 300), square().b)
    made = plan(problem, Budget(accuracy=1e-12))
    assert any("computed with A * 2^-3" in note for note in made.notes)


def test_choosing_never_touches_the_operands():
    problem = tall()
    before = problem.A.tobytes(), problem.b.tobytes()
    plan(problem, Budget(accuracy=1e-8), rigor="exhaustive")
    assert before == (problem.A.tobytes(), problem.b.tobytes())


def test_time_is_accounted_for():
    made = plan(tall())
    assert set(made.seconds) == {"probe", "plan"}
    assert all(math.isfinite(s) and s >= 0.0 for s in made.seconds.values())


def test_a_user_profile_is_used_and_named(autonla_home):
    save(synthetic_profile(fingerprint=fingerprint()))
    machine = machine_of(None)
    assert machine.profile.name == "synthetic"
    assert machine.description == "the profile of this machine, measured 2026-01-01"
