"""The sweep over small problems: its stream, its judge, and what it says of the planner."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import autonla as nla
from autonla.planner.bench import small
from autonla.planner.bench.small import SmallReport, judge, run_small, small_problem, verdicts
from autonla.profiles.errors import AutonlaError, CertificationFailed

STREAM = 180


def quiet() -> Console:
    return Console(file=io.StringIO(), width=160)


def test_a_few_are_judged_and_none_is_wrong():
    report = SmallReport(tuple(verdicts(40, seed=5)))
    assert not report.misses, report.misses
    assert not report.failures, report.failures
    assert report.count("certified") >= 30
    assert report.unknown <= 4
    found = report.to_dict()
    assert sum(found[outcome] for outcome in small.OUTCOMES) == found["count"] == 40
    assert found["effectivity_median"] >= 1.0 - 1e-6
    assert json.loads(json.dumps(found)) == found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_none_of_a_few_hundred_is_wrong():
    out = quiet()
    report = run_small(out, count=400, seed=7)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert not report.misses, text
    assert not report.failures, text
    assert len(report.false_rejects) <= 0.02 * 400, text
    assert report.unknown <= 0.05 * 400


def test_a_problem_can_be_made_again():
    for index in range(24):
        first, second = small_problem(3, index), small_problem(3, index)
        np.testing.assert_array_equal(first.problem.A, second.problem.A)
        assert (str(first), first.budget, first.rank) == (str(second), second.budget, second.rank)
        assert f"small_problem(3, {index})" in str(first)
    assert not np.array_equal(small_problem(3, 0).problem.A, small_problem(4, 0).problem.A)


def test_the_stream_has_everything():
    stream = [small_problem(0, index) for index in range(STREAM)]
    for name, values in (("kind", small.KINDS), ("way", small.WAYS)):
        counts = [sum(getattr(case, name) == value for case in stream) for value in dict.fromkeys(values)]
        assert min(counts) >= STREAM // 5, name
    assert {(c.kind, c.way) for c in stream} == {(k, w) for k in small.KINDS for w in small.WAYS}
    conditions = [case.recipe["condition"] for case in stream if "condition" in case.recipe]
    assert min(conditions) < 1e2
    assert max(conditions) > 1e13
    norms = [float(np.abs(case.problem.A).max()) for case in stream if case.problem.A.dtype == np.float64]
    assert min(norms) < 1e-140
    assert max(norms) > 1e140
    assert {case.problem.A.dtype.name for case in stream} == {"float32", "float64"}
    accuracies = [case.budget.accuracy for case in stream if case.budget.accuracy is not None]
    assert len(accuracies) < STREAM
    assert min(accuracies) < 1e-11
    assert max(accuracies) > 1e-3
    for feature in ("ridge", "right-hand sides", "copied columns", "rank asked", "centered", "coherent", "declared"):
        assert sum(bool(case.recipe.get(feature)) for case in stream) >= 4, feature
    shapes = [case.problem.shape for case in stream if case.kind != "linear_system"]
    assert {np.sign(m - n) for m, n in shapes} == {-1, 0, 1}
    assert max(n for _, n in shapes) <= small.LARGEST
    assert any(m > 1000 for m, _ in shapes)
    assert all(np.isfinite(case.problem.A).all() for case in stream)


def test_copied_columns_make_the_rank_that_is_stated():
    found = [case for index in range(STREAM) if (case := small_problem(1, index)).rank is not None]
    assert len(found) >= 5
    for case in found:
        A = np.ldexp(case.problem.A.astype(float), -np.frexp(np.abs(case.problem.A).max())[1])
        s = np.linalg.svd(A, compute_uv=False)
        assert case.rank is not None
        assert s[case.rank :].max() < 1e-14 * s[0]


def certified(index: int) -> small.SmallProblem:
    """A problem by `solve`, asked for 1e-6, from index on."""
    for other in range(index, index + 60):
        case = replace(small_problem(0, other), budget=nla.Budget(accuracy=1e-6))
        ordinary = case.problem.A.dtype == np.float64 and not any("scale" in key for key in case.recipe)
        if case.way == "solve" and ordinary and case.kind != "low_rank" and judge(case).outcome == "certified":
            return case
    raise AssertionError("the stream has none")


@pytest.mark.parametrize("index", [0, 100])
def test_a_liar_is_found_out(index, monkeypatch):
    case = certified(index)
    assert not judge(case).miss
    honest = small.solve

    def lying(*args, **keywords):
        solution = honest(*args, **keywords)
        solution.value = solution.value + 1e-3 * (1.0 + np.abs(solution.value))
        return solution

    monkeypatch.setattr(small, "solve", lying)
    verdict = judge(case)
    assert verdict.miss
    assert verdict.broken_bound
    report = SmallReport((verdict,))
    assert report.to_dict()["misses"] == [[case.seed, case.index]]
    assert verdict.true is not None
    assert verdict.true.error > 1e-6


def test_a_coward_and_a_crash_are_found_out(monkeypatch):
    case = certified(0)

    def refuses(*args, **keywords):
        raise CertificationFailed("too hard")

    def crashes(*args, **keywords):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(small, "solve", refuses)
    refused = judge(case)
    assert refused.outcome == "refused"
    assert refused.false_reject
    hopeless = judge(replace(case, budget=nla.Budget(accuracy=1e-30)))
    assert hopeless.outcome == "refused"
    assert not hopeless.false_reject
    monkeypatch.setattr(small, "solve", crashes)
    crashed = judge(case)
    assert crashed.outcome == "failed"
    assert "ZeroDivisionError: oops" in str(crashed)
    report = SmallReport((refused, hopeless, crashed))
    assert (report.count("refused"), len(report.false_rejects), len(report.failures)) == (2, 1, 1)


def test_the_report_names_what_is_at_fault(monkeypatch):
    def crashes(*args, **keywords):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(small, "solve", crashes)
    out = quiet()
    run_small(out, count=3, seed=0)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("ZeroDivisionError: oops") == 3
    assert "small_problem(0, 2)" in text
    assert "silent misses" in text


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-3, 0), (10, -1)])
def test_counts_and_seeds_that_make_no_sense(count, seed):
    with pytest.raises(AutonlaError, match="must be positive"):
        run_small(quiet(), count=count, seed=seed)


def planned(problem, budget) -> small.SmallProblem:
    return small.SmallProblem(0, 0, problem.kind, "solve", {}, problem, budget, None)


def test_lapack_is_asked_for_the_problem_that_was_stated(monkeypatch):
    """With its ridge: what LAPACK makes of the augmented system is good enough, and refusing it was false."""

    def refuses(*args, **keywords):
        raise CertificationFailed("too hard")

    monkeypatch.setattr(small, "solve", refuses)
    rng = np.random.default_rng(6)
    A, B, budget = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), nla.Budget(accuracy=1e-12)
    problems = (
        nla.LeastSquares(A, B, ridge=0.5), nla.LeastSquares(A, B[:, 0], ridge=0.5), nla.LeastSquares(A, B),
        nla.LowRank(A, rank=2), nla.LowRank(A, rank=2, center=True), nla.LinearSystem(A[:4], B[:4]),
    )  # fmt: skip
    for problem in problems:
        verdict = judge(planned(problem, budget))
        assert verdict.lapack is not None, problem
        assert verdict.lapack.error < 1e-13, problem
        assert verdict.false_reject, problem


def test_refusing_what_lapack_cannot_solve_either_is_right(monkeypatch):
    case = planned(nla.LinearSystem(np.zeros((3, 3)), np.ones(3)), nla.Budget(accuracy=1e-6))
    verdict = judge(case)
    assert (verdict.outcome, verdict.lapack, verdict.false_reject) == ("refused", None, False)


def test_a_candidate_that_was_drawn_may_fail_and_what_is_asked_for_may_not(monkeypatch):
    rng = np.random.default_rng(8)
    case = planned(nla.LinearSystem(rng.standard_normal((20, 20)), np.ones(20)), nla.Budget(accuracy=1e-9))

    def fails(case):
        raise CertificationFailed("too hard")

    monkeypatch.setattr(small, "_solved", fails)
    drawn = judge(replace(case, way="candidate"))
    assert (drawn.outcome, drawn.note, drawn.lapack, drawn.false_reject) == ("uncertified", "too hard", None, False)
    asked = judge(case)
    assert (asked.outcome, asked.note, asked.false_reject) == ("refused", "CertificationFailed: too hard", True)


@pytest.mark.parametrize("way", ["solve", "candidate"])
def test_best_effort_is_judged_beside_lapack(way):
    """What is asked for is below rounding: LAPACK does not reach it either."""
    rng = np.random.default_rng(9)
    budget = nla.Budget(accuracy=1e-30, on_infeasible="best_effort")
    case = planned(nla.LinearSystem(rng.standard_normal((20, 20)), np.ones(20)), budget)
    verdict = judge(replace(case, way=way))
    assert verdict.outcome == {"solve": "best_effort", "candidate": "uncertified"}[way]
    assert verdict.true is not None
    assert 1e-30 < verdict.true.error < 1e-12
    assert (verdict.lapack is not None) == (way == "solve")
    assert not verdict.false_reject
