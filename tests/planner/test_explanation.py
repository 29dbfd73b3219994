"""What a person reads: short, complete, and true of every outcome."""

from __future__ import annotations

import re

import numpy as np
import pytest

import autonla as nla
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.primitives.algorithm import Breakdown
from autonla.profiles.errors import CertificationFailed, InfeasibleBudget
from tests._support import matrices, spectra
from tests._support.fakes import fake
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
MOST_LINES = 24  # under 25
WIDEST = 240


def tall(condition=100.0, m=3000, n=30, residual=0.3, **how) -> nla.LeastSquares:
    rng = np.random.default_rng(1)
    stated = matrices.least_squares(
        matrices.with_spectrum(m, n, spectra.geometric(n, condition), rng), residual, rng, rough=condition > 1e6
    )
    return nla.LeastSquares(stated.A, stated.b, **how)


def square(condition=100.0, n=230, **how) -> nla.LinearSystem:
    rng = np.random.default_rng(2)
    A = matrices.with_spectrum(n, n, spectra.geometric(n, condition), rng).A
    return nla.LinearSystem(A, rng.standard_normal(n), **how)


def positive_definite() -> nla.LinearSystem:
    return nla.LinearSystem(matrices.spd(230, spectra.geometric(230, 1e3), np.random.default_rng(3)).A, np.ones(230))


def low_rank(**how) -> nla.LowRank:
    return nla.LowRank(
        matrices.with_spectrum(150, 120, spectra.exponential(120, 0.3), np.random.default_rng(4)).A, **how
    )


BEST_EFFORT = {"on_infeasible": "best_effort"}
CASES = {
    "tall": (tall, {"accuracy": 1e-8}),
    "tall, ill-conditioned": (lambda: tall(1e11), {"accuracy": 1e-4}),
    "tall, one digit": (lambda: tall(m=20_000), {"accuracy": 0.1}),
    "ridge": (lambda: tall(ridge=0.01), {"accuracy": 1e-8}),
    "wide": (lambda: nla.LeastSquares(tall().A.T[:, :400], np.ones(30)), {"accuracy": 1e-8}),
    "rank-deficient": (
        lambda: nla.LeastSquares(matrices.exact_rank(400, 20, 7, np.random.default_rng(5)).A, np.ones(400)),
        {"accuracy": 1e-8},
    ),
    "square": (square, {"accuracy": 1e-12}),
    "square, ill-conditioned": (lambda: square(1e12), {"accuracy": 1e-12}),
    "positive definite": (positive_definite, {"accuracy": 1e-12}),
    "diagonal": (lambda: nla.LinearSystem(np.diag(np.arange(1.0, 231.0)), np.ones(230)), {"accuracy": 1e-12}),
    "by accuracy": (low_rank, {"accuracy": 1e-3}),
    "by rank": (lambda: low_rank(rank=6), {"accuracy": 0.1}),
    "principal components": (lambda: low_rank(rank=6, center=True), {"accuracy": 0.1}),
    "no budget": (tall, {}),
    "latency alone": (tall, {"latency": "10 s"}),
    "least memory": (tall, {"accuracy": 1e-8, "minimize": "memory"}),
    "least error": (tall, {"minimize": "error"}),
    "every limit": (square, {"accuracy": 1e-12, "latency": "10 s", "memory": "1 GiB", "energy": "1 kJ"}),
    "nothing fits": (tall, {"accuracy": 1e-8, "latency": 1e-9, **BEST_EFFORT}),
    "below the floor": (square, {"accuracy": 1e-18, **BEST_EFFORT}),
    "scaled": (lambda: nla.LeastSquares(np.ldexp(tall().A, 300), tall().b), {"accuracy": 1e-8}),
}


@pytest.fixture(scope="module", params=list(CASES))
def solution(request) -> nla.Solution:
    make, budget = CASES[request.param]
    return nla.solve(make(), nla.Budget(**budget), rng=0, profile=PROFILE)


def lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    assert len(lines) <= MOST_LINES, text
    assert all(line.strip() for line in lines)
    assert max(map(len, lines)) <= WIDEST
    assert "None" not in text
    assert "nan" not in re.findall(r"[a-z]+", text)
    return lines


def starting(lines: list[str], word: str) -> str:
    found = [line for line in lines if line.startswith(word)]
    assert found, f"no line starts with {word!r}:\n" + "\n".join(lines)
    return found[0]


def test_a_plan_says_what_was_found_chosen_rejected_and_why(solution):
    plan = solution.plan
    lines = lines_of(plan.explain())
    m, n = plan.task.m, plan.task.n
    assert f"{m} x {n}" in starting(lines, "Problem")
    assert plan.metric.replace("_", " ") in starting(lines, "Budget")
    starting(lines, "Found")
    chosen = starting(lines, "Chosen")
    assert plan.chosen.label in chosen
    assert plan.chosen.title in chosen
    forecast = starting(lines, "Forecast")
    assert "tdp-model" in forecast
    assert f"{plan.chosen.forecast.error.median:.1e}" in forecast
    assert len(starting(lines, "Because")) > 20
    assert "synthetic" in starting(lines, "Priced on")


def test_a_rejected_candidate_is_named_with_its_reason(solution):
    plan = solution.plan
    rejected = {c.algorithm for c in plan.candidates if not c.feasible}
    rejected -= {c.algorithm for c in plan.candidates if c.feasible} | {plan.chosen.algorithm}
    text = plan.explain()
    if not rejected:
        assert "Rejected" not in text
        return
    first = starting(text.split("\n"), "Rejected")
    candidates = [c for c in plan.candidates if c.algorithm in rejected]
    assert any(c.title in first and (c.reason[:30] in first or "no such structure" in first) for c in candidates)


def test_a_solution_adds_what_happened(solution):
    lines = lines_of(solution.explain())
    status = lines[-1]
    assert status.startswith("Status")
    assert solution.status in status
    assert f"{solution.certificate.bound:.1e}" in status
    assert solution.certificate.method in status
    took = starting(lines, "Took")
    assert "modelled" in took or "measured" in took
    assert all(stage in took for stage in ("run", "certify"))
    starting(lines, "Chosen")
    starting(lines, "Because")


def test_budgets_are_spelled_out():
    def line(**budget) -> str:
        plan = nla.plan(tall(), nla.Budget(**budget, on_infeasible="best_effort"), rng=0, profile=PROFILE)
        return starting(plan.explain().split("\n"), "Budget")

    full = line(accuracy=1e-8, latency="2 s", memory="1 GiB", energy="50 J", minimize="energy")
    for words in ("accuracy 1.0e-08", "at most 2 s", "at most 1 GiB", "at most 50 J", "least energy"):
        assert words in full
    assert "LAPACK's accuracy" in line()
    assert "the most accurate answer that fits" in line(latency="2 s")


def test_why_the_chosen_one():
    def because(problem, **budget) -> str:
        return starting(
            nla.plan(problem, nla.Budget(**budget), rng=0, profile=PROFILE).explain().split("\n"), "Because"
        )

    assert "times faster than" in because(tall(m=20_000), accuracy=1e-8)
    assert "least memory" in because(tall(), accuracy=1e-8, minimize="memory")
    assert "most accurate" in because(tall(), latency="10 s")
    assert "nothing fits" in because(tall(), accuracy=1e-8, latency=1e-9, on_infeasible="best_effort")


def test_the_condition_number_that_decided_is_in_the_reason():
    plan = nla.plan(tall(1e11, m=60_000, n=80), nla.Budget(accuracy=1e-4), rng=0, profile=PROFILE)
    rejected = [line for line in plan.explain().split("\n") if "normal equations" in line]
    assert rejected
    number = re.search(r"condition number is about (\S+), above 3e\+07", rejected[0])
    assert number
    assert 3e7 < float(number[1]) < 1e14
    assert "condition number above 3e+07" in starting(plan.explain().split("\n"), "Found")


def test_a_refusal_carries_a_plan_that_explains_it():
    with pytest.raises(InfeasibleBudget) as caught:
        nla.plan(tall(), nla.Budget(accuracy=1e-8, latency=1e-9), rng=0, profile=PROFILE)
    lines = lines_of(caught.value.plan.explain())
    assert "nothing fits the budget" in starting(lines, "Because")
    assert "takes about" in "\n".join(lines)


@pytest.fixture
def failing(monkeypatch):
    def breaks_down(A, b, task, reuse):
        raise Breakdown("a pivot is zero")

    algorithms = [fake(f"attempt {i}", breaks_down, seconds=0.1 * (i + 1)) for i in range(8)]
    last = fake("last resort", lambda A, b, task, reuse: np.linalg.solve(A, b), seconds=2.0, safe=True)
    monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: (*algorithms, last)))


def test_after_escalation_the_attempts_are_told(failing):
    solution = nla.solve(square(), nla.Budget(accuracy=1e-12), rng=0, profile=PROFILE)
    lines = lines_of(solution.explain())
    tried = [line for line in lines if line.startswith("Tried")]
    assert "attempt 0" in tried[0]
    assert "broke down: a pivot is zero" in tried[0]
    # Nine attempts are too many to list; the one that gave the answer is not left out.
    assert any("last resort" in line and "certified" in line for line in tried)


def test_a_failure_carries_a_solution_that_explains_it(monkeypatch):
    off = fake("off", lambda A, b, task, reuse: 1.001 * np.linalg.solve(A, b), safe=True)
    monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: (off,)))
    with pytest.raises(CertificationFailed) as caught:
        nla.solve(square(), nla.Budget(accuracy=1e-12), rng=0, profile=PROFILE)
    lines = lines_of(caught.value.solution.explain())
    assert "not shown to be <= 1.0e-12" in lines[-1]
    assert "best_effort" in lines[-1]


def test_many_long_reasons_are_clipped(monkeypatch):
    long = "its reason takes very many words " * 20
    algorithms = [fake(f"rejected {i}", reason=long) for i in range(12)]
    good = fake("good", lambda A, b, task, reuse: np.linalg.solve(A, b))
    monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: (*algorithms, good)))
    lines = lines_of(nla.solve(square(), nla.Budget(accuracy=1e-12), rng=0, profile=PROFILE).explain())
    assert any("…" in line for line in lines)
    assert any("rejected 11" in line for line in lines)


def test_notebooks_get_the_same_text_escaped(solution):
    for thing in (solution, solution.plan):
        html = thing._repr_html_()
        assert html.startswith("<pre")
        assert "<=" not in html
        assert "Chosen" in html


def test_reprs_are_one_short_line(solution):
    for thing in (solution, solution.plan, solution.certificate):
        assert "\n" not in repr(thing)
        assert len(str(solution.certificate)) < 250


def test_small_problems_are_explained_too():
    solution = nla.solve(nla.LinearSystem(np.eye(3) + 1.0, np.ones(3)), nla.Budget(accuracy=1e-12), rng=0)
    lines = lines_of(solution.explain())
    assert "LU with partial pivoting ran at once and its answer was certified" in "\n".join(lines)
    empty = nla.solve(nla.LeastSquares(np.ones((0, 3)), np.ones(0)), rng=0)
    assert "nothing to compute" in "\n".join(lines_of(empty.explain()))
