"""Plans as files: what is written is read back equal, what is not a plan is refused, and a plan runs elsewhere."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import numpy as np
import pytest

import autonla as nla
from autonla.planner.plan_document import sealed
from autonla.planner.plans import Plan
from autonla.profiles.errors import PlanError
from tests._support import matrices, spectra
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)


def least_squares(seed=1, m=800, n=20, ridge=0.0, dtype="float64", columns=()) -> nla.LeastSquares:
    rng = np.random.default_rng(seed)
    A = matrices.with_spectrum(m, n, spectra.geometric(n, 100.0), rng).A
    return nla.LeastSquares(A.astype(dtype), rng.standard_normal((m, *columns)).astype(dtype), ridge=ridge)


def linear_system(seed=1, n=220) -> nla.LinearSystem:
    rng = np.random.default_rng(seed)
    A = matrices.with_spectrum(n, n, spectra.geometric(n, 100.0), rng).A
    return nla.LinearSystem(A, rng.standard_normal(n))


def low_rank(seed=1, rank=None) -> nla.LowRank:
    A = matrices.with_spectrum(120, 100, spectra.exponential(100, 0.4), np.random.default_rng(seed)).A
    return nla.LowRank(A, rank=rank)


PROBLEMS = {
    "least squares": (least_squares, nla.Budget(accuracy=1e-8)),
    "ridge": (lambda seed=1: least_squares(seed, ridge=0.1), nla.Budget(accuracy=1e-8, latency="10 s", memory="1 GiB")),
    "rank-deficient": (
        lambda seed=1: nla.LeastSquares(matrices.exact_rank(300, 12, 5, np.random.default_rng(seed)).A, np.ones(300)),
        nla.Budget(accuracy=1e-6),
    ),
    "linear system": (linear_system, nla.Budget(accuracy=1e-12)),
    "low rank": (low_rank, nla.Budget(accuracy=1e-3)),
    "of rank 4": (lambda seed=1: low_rank(seed, rank=4), nla.Budget(accuracy=0.1, minimize="memory")),
    "no budget": (least_squares, nla.Budget()),
    "infeasible": (least_squares, nla.Budget(accuracy=1e-8, latency=1e-9, on_infeasible="best_effort")),
}


@pytest.fixture(scope="module", params=list(PROBLEMS))
def planned(request):
    make, budget = PROBLEMS[request.param]
    return make, nla.plan(make(), budget, rng=3, profile=PROFILE)


def test_round_trip(planned):
    _, plan = planned
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.explain() == plan.explain()
    assert again.to_json() == plan.to_json()
    assert again.seconds == plan.seconds


def test_it_is_strict_JSON_without_arrays(planned):
    _, plan = planned
    text = plan.to_json()
    assert len(text) < 200_000

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(text, parse_constant=refuse)
    assert document["schema_version"] == 1
    assert "numpy" not in text.replace("[numpy ", "").replace('"numpy"', "")

    def longest(value) -> int:
        children = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        return max([len(children), *map(longest, children)])

    assert longest(document) <= 220  # candidates, or the leading singular values; no operand


def test_what_is_compared_holds_no_arrays(planned):
    _, plan = planned
    for field in fields(Plan):
        if field.compare:
            assert "array(" not in repr(getattr(plan, field.name))
    hash((plan.task, plan.budget, plan.chosen.label))


def test_a_plan_from_a_file_runs_on_the_problem(planned):
    make, plan = planned
    again = Plan.from_json(plan.to_json())
    with pytest.raises(PlanError, match="holds no operands"):
        again.run()
    solution = again.run(make())
    reference = plan.run()
    assert solution.certificate.satisfied
    for a, b in zip(
        *(s.value if isinstance(s.value, tuple) else (s.value,) for s in (solution, reference)), strict=True
    ):
        np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-3)


def test_a_plan_from_a_file_runs_on_another_problem_of_the_shape(planned):
    make, plan = planned
    assert Plan.from_json(plan.to_json()).run(make(seed=2)).certificate.satisfied


def test_a_plan_for_a_looser_answer_than_LAPACKs_is_rebuilt():
    """No accuracy and little time: a sketch at a looser target is all that fits, and the file must say so."""
    problem = least_squares(m=20_000, n=100)
    profile = synthetic_profile(efficiency={"sparse_sign": 1.0, "geqrf": 1.0, "syrk": 0.1})  # sketches are cheap
    for latency in np.geomspace(3e-2, 3e-4, 60):
        budget = nla.Budget(latency=float(latency), on_infeasible="best_effort")
        plan = nla.plan(problem, budget, rng=3, profile=profile, rigor="estimate")
        if plan.chosen.feasible and plan.chosen.margin < 1.0:
            break
    else:
        pytest.fail("no latency made a looser target the choice")
    assert plan.chosen.algorithm == "sketch_and_solve"
    again = Plan.from_json(plan.to_json())
    assert again == plan
    reference = plan.run(candidate=plan.chosen)
    solution = again.run(problem, candidate=again.chosen.label)
    np.testing.assert_array_equal(solution.value, reference.value)
    assert solution.certificate.bound == reference.certificate.bound


def test_every_candidate_of_a_plan_from_a_file_can_be_run():
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-6), rng=3, profile=PROFILE)
    again = Plan.from_json(plan.to_json())
    ran = 0
    for candidate in again.candidates:
        if candidate.forecast is None:
            with pytest.raises(PlanError, match="cannot be run here"):
                again.run(least_squares(), candidate=candidate)
        elif candidate.feasible:
            assert again.run(least_squares(), candidate=candidate.label).certificate.satisfied
            ran += 1
    assert ran >= 5


def test_unknown_candidates_are_refused():
    plan = nla.plan(least_squares(), rng=3, profile=PROFILE)
    with pytest.raises(PlanError, match="not in this plan"):
        plan.run(candidate="magic[numpy float64]")
    with pytest.raises(PlanError, match="svd"):
        plan.candidate("magic")
    assert plan.candidate(plan.chosen.label) is plan.chosen


# Problems that do not fit.


@pytest.mark.parametrize(
    "other",
    [
        least_squares(m=801),
        least_squares(n=21),
        least_squares(columns=(2,)),
        least_squares(dtype="float32"),
        linear_system(),
        low_rank(),
    ],
    ids=repr,
)
def test_a_problem_of_another_kind_shape_or_dtype(other):
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)
    with pytest.raises(PlanError, match="plan"):
        plan.run(other)


def test_a_problem_of_another_library():
    torch = pytest.importorskip("torch")
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)
    problem = least_squares()
    with pytest.raises(PlanError, match="torch"):
        plan.run(nla.LeastSquares(torch.asarray(problem.A), torch.asarray(problem.b)))


def test_another_rank_is_another_problem():
    plan = nla.plan(low_rank(rank=4), nla.Budget(accuracy=0.1), rng=3, profile=PROFILE)
    for other in (low_rank(rank=5), low_rank(), nla.LowRank(low_rank().A, rank=4, center=True)):
        with pytest.raises(PlanError):
            plan.run(other)


def test_the_ridge_and_the_memory_order_may_change():
    plan = nla.plan(least_squares(ridge=0.1), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)
    other = nla.LeastSquares(np.asfortranarray(least_squares().A), least_squares().b, ridge=0.2)
    solution = plan.run(other)
    A, b = other.A, other.b
    np.testing.assert_allclose(solution.value, np.linalg.solve(A.T @ A + 0.2 * np.eye(20), A.T @ b), rtol=1e-6)


@pytest.mark.parametrize("planned_for", [
    np.diag(np.arange(1.0, 221.0)), np.triu(RNG.standard_normal((220, 220))) + 20.0 * np.eye(220),
    4.0 * np.eye(220) + np.eye(220, k=1) + np.eye(220, k=-1),
    (lambda G: G @ G.T + 220.0 * np.eye(220))(RNG.standard_normal((220, 220))),
], ids=["diagonal", "triangular", "banded", "positive definite"])  # fmt: skip
def test_structure_that_the_new_problem_does_not_have_is_found_out(planned_for):
    """What the probes found of one matrix is not true of another: the certificate decides."""
    budget = nla.Budget(accuracy=1e-12)
    plan = nla.plan(nla.LinearSystem(planned_for, np.ones(220)), budget, rng=3, profile=PROFILE)
    other = linear_system()
    solution = plan.run(other)
    assert solution.status == "certified"
    np.testing.assert_allclose(other.A @ solution.value, other.b, atol=1e-9)


def test_an_ill_conditioned_problem_for_a_plan_made_for_a_good_one():
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-9), rng=3, profile=PROFILE)
    rng = np.random.default_rng(5)
    A = matrices.with_spectrum(800, 20, spectra.geometric(20, 1e11), rng).A
    x = rng.standard_normal(20)
    solution = plan.run(nla.LeastSquares(A, A @ x))
    assert solution.status == "certified"
    np.testing.assert_allclose(A @ solution.value, A @ x, atol=1e-8)


def test_a_reused_plan_scales_each_problem_for_itself():
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)
    problem = least_squares(seed=4)
    plain = plan.run(problem).value
    scaled = plan.run(nla.LeastSquares(np.ldexp(problem.A, 600), np.ldexp(problem.b, -300))).value
    np.testing.assert_allclose(np.ldexp(scaled, 900), plain, rtol=1e-9)
    with pytest.raises(nla.NonFiniteInput):
        plan.run(nla.LeastSquares(problem.A * math.nan, problem.b))


def test_running_a_plan_changes_neither_it_nor_later_runs():
    plan = nla.plan(least_squares(), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)
    text, first = plan.to_json(), plan.run().value
    plan.run(least_squares(seed=7))
    plan.run(candidate="svd[scipy float64]")
    assert plan.to_json() == text
    np.testing.assert_array_equal(plan.run().value, first)


# Documents that are no plans.


def tampered(plan: Plan, *path, value=None, remove=False) -> str:
    """The text of a plan that was written so, with a right checksum."""
    document = json.loads(plan.to_json())
    del document["checksum"]
    place = document
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return sealed(document)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return nla.plan(least_squares(), nla.Budget(accuracy=1e-8), rng=3, profile=PROFILE)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"plan"', "{}", "not JSON", '{"schema_version": 1}', "\x00"]
)
def test_what_is_no_plan_at_all(text):
    with pytest.raises(PlanError):
        Plan.from_json(text)


def test_truncated(plan):
    text = plan.to_json()
    for end in range(0, len(text) - 1, len(text) // 23):
        with pytest.raises(PlanError):
            Plan.from_json(text[:end])


@pytest.mark.parametrize(("path", "value", "word"), [
    (("schema_version",), 2, "schema version 2"),
    (("schema_version",), "1x", "schema_version"),
    (("chosen",), "another", "not among the candidates"),
    (("budget", "accuracy"), -1.0, "budget"),
    (("budget", "accuracy"), "high", "budget"),
    (("budget", "colour"), "red", "budget"),
    (("task", "m"), "many", "task.m"),
    (("task", "dtype"), "complex128", "complex128"),
    (("task", "nonsense"), 1, "nonsense"),
    (("evidence", "condition"), None, "condition"),
    (("evidence", "singular_values"), "all", "singular_values"),
    (("candidates",), {}, "candidates"),
    (("candidates", 0, "forecast", "seconds"), None, "forecast"),
    (("candidates", 0, "forecast", "seconds"), [1.0], "forecast"),
    (("candidates", 0, "forecast", "stages"), 7, "forecast"),
    (("candidates", 0, "label"), 5, "label"),
    (("seconds",), [1.0], "seconds"),
    (("extra",), 1, "extra"),
])  # fmt: skip
def test_tampered_documents_are_refused_by_name(plan, path, value, word):
    with pytest.raises(PlanError, match=word):
        Plan.from_json(tampered(plan, *path, value=value)).run(least_squares())


def test_a_kind_that_nothing_solves(plan):
    text = tampered(plan, "task", "kind", value="spectral_density")
    with pytest.raises(nla.NoAlgorithm, match="spectral density"):
        Plan.from_json(text).run(least_squares())


@pytest.mark.parametrize("key", ["task", "budget", "metric", "target", "evidence", "candidates", "chosen", "notes"])
def test_missing_parts_are_named(plan, key):
    with pytest.raises(PlanError, match=key):
        Plan.from_json(tampered(plan, key, remove=True))


def test_an_algorithm_that_this_version_does_not_have(plan):
    document = json.loads(plan.to_json().replace(json.dumps(plan.chosen.label), '"future_algorithm[scipy float64]"'))
    del document["checksum"]
    with pytest.raises(PlanError, match="future_algorithm"):
        Plan.from_json(sealed(document)).run(least_squares())


def test_a_plan_that_is_far_too_long(plan):
    with pytest.raises(PlanError, match="too long"):
        Plan.from_json(plan.to_json() + " " * (5 * 2**20))


def test_deeply_nested_documents():
    with pytest.raises(PlanError):
        Plan.from_json("[" * 100_000 + "]" * 100_000)
