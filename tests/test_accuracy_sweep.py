"""The acceptance sweep: random problems of every kind, size, condition and scale, judged in double-double.

Nothing that is called certified may miss its accuracy, and nothing may be refused that a plain call of LAPACK
solves. A failure lists every faulty problem; ``draws.draw(kind, index, seed)`` makes one of them again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import norm as nrm2  # BLAS nrm2: neither over- nor underflows

import autonla as nla
from autonla.planner import planning
from tests._support import draws, judge
from tests._support.judge import Answer, Refused

PROBLEMS_PER_KIND = 110


def stated(draw: draws.Draw) -> nla.Problem:
    problem = draw.problem
    if draw.kind == "linear_system":
        return nla.LinearSystem(problem.A, problem.b, assume=problem.assume)
    if draw.kind == "least_squares":
        return nla.LeastSquares(problem.A, problem.b, ridge=problem.ridge)
    return nla.LowRank(problem.A, rank=problem.rank)


def answer_of(solution: nla.Solution) -> Answer:
    return Answer(solution.value, solution.status == "certified", solution.certificate.bound)


def autonla_solver(draw: draws.Draw) -> Answer:
    try:
        return answer_of(nla.solve(stated(draw), nla.Budget(accuracy=draw.accuracy), rng=draw.index))
    except (nla.InfeasibleBudget, nla.CertificationFailed) as refusal:
        raise Refused(f"{type(refusal).__name__}: {refusal}") from refusal


def report(title: str, verdicts: list[judge.Verdict]) -> None:
    text = f"{title}: {judge.summary(verdicts)}"
    print(f"\n{text}")
    if any(verdict.faults for verdict in verdicts):
        pytest.fail(text, pytrace=False)


@pytest.mark.parametrize("kind", draws.KINDS)
def test_accuracy_is_kept_on_a_few(kind):
    report(kind, [judge.judge(draw, autonla_solver) for draw in draws.random_problems(kind, 22, seed=0)])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", draws.KINDS)
def test_accuracy_is_kept(kind):
    stream = draws.random_problems(kind, PROBLEMS_PER_KIND, seed=1)
    report(kind, [judge.judge(draw, autonla_solver) for draw in stream])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", draws.KINDS)
def test_every_candidate_is_honest(kind, monkeypatch):
    # Probes are run although these problems are hardly worth it: what they find makes more algorithms applicable.
    monkeypatch.setattr(planning, "_saved", lambda *arguments: 1.0)
    # What the planner would not choose is run as well: a certificate must catch an algorithm that is out of its
    # depth. A candidate may fail, but not certify what is not so.
    verdicts = []
    for draw in draws.random_problems(kind, 22, seed=2):
        try:
            plan = nla.plan(stated(draw), nla.Budget(accuracy=draw.accuracy), rng=draw.index)
        except nla.InfeasibleBudget:
            continue
        for candidate in plan.candidates:
            if candidate.forecast is None:
                continue

            def solver(_, plan=plan, label=candidate.label):
                try:
                    return answer_of(plan.run(candidate=label))
                except (nla.CertificationFailed, nla.PlanError) as refusal:
                    raise Refused(f"{type(refusal).__name__}: {refusal}") from refusal

            forced = replace(draw, parameters={"candidate": candidate.label} | draw.parameters)
            verdicts.append(
                (candidate.algorithm, judge.judge(forced, solver, may_refuse=True, minimum_norm=candidate.feasible))
            )
    certified = {algorithm for algorithm, verdict in verdicts if verdict.outcome == "certified"}
    print(f"\nalgorithms that certified something: {', '.join(sorted(certified))}")
    report(kind, [verdict for _, verdict in verdicts])
    assert len(certified) >= 3


# The judge must be able to find someone guilty.


@judge.one_thread
def lapack_solver(draw: draws.Draw) -> Answer:
    """Honest: it certifies what it can, and refuses the rest."""
    value = judge._numpy(draw)
    error = judge.true_error(draw, value)
    if error.low > draw.accuracy:
        raise Refused("out of reach")
    return Answer(value, True, draw.accuracy)


@judge.one_thread
def spoilt(draw: draws.Draw, factor: float) -> Answer:
    """An answer whose error is ``factor`` times the accuracy, by the textbook; certified all the same."""
    answer, problem, error = lapack_solver(draw), draw.problem, factor * draw.accuracy
    _, sigma, Vh = np.linalg.svd(problem.A, full_matrices=False)
    if draw.kind == "low_rank":
        _, s, _ = answer.value
        if problem.rank is None:
            change = error * nrm2(sigma)
        else:  # error / best - 1 is the excess
            change = np.sqrt(error * (2 + error)) * nrm2(sigma[problem.rank :])
        s = s + np.eye(len(s))[0] * change
        return replace(answer, value=(answer.value[0], s, answer.value[2]))
    x, b = (a.reshape(len(a), -1) for a in (answer.value, problem.b))
    for j in range(b.shape[1]):
        if draw.kind == "linear_system":
            size = error * (nrm2(x[:, j]) + nrm2(b[:, j]) / sigma[0])
        else:
            size = error * (nrm2(b[:, j]) / np.hypot(sigma[0], np.sqrt(problem.ridge)))
        x[:, j] += np.copysign(size, Vh[0] @ x[:, j]) * Vh[0]
    return replace(answer, value=x.reshape(answer.value.shape))


@pytest.mark.parametrize("kind", draws.KINDS)
def test_judge_acquits_an_honest_solver_and_convicts_others(kind):
    small = [d for d in draws.random_problems(kind, 33, seed=3) if not d.parameters["large"]]
    stream = [replace(d, accuracy=max(d.accuracy, 1e-11)) for d in small]

    def coward(draw):
        raise Refused("too hard")

    def vandal(draw):
        answer = lapack_solver(draw)
        draw.problem.A.flat[0] = np.nextafter(draw.problem.A.flat[0], np.inf)
        return answer

    def clumsy(draw):
        raise FloatingPointError("overflow")

    honest = [judge.judge(d, lapack_solver) for d in stream]
    assert not any(v.faults for v in honest), judge.summary(honest)
    solved = [v.draw for v in honest if v.error is not None and v.error.high < 1e-2 * v.draw.accuracy]
    assert len(solved) >= 15
    for d in solved:
        # A lie by a factor of 1.5 is a fault; spoiling by half of what is allowed is none.
        lie = judge.judge(d, lambda d: spoilt(d, 1.5))
        assert any("times the accuracy" in fault for fault in lie.faults), lie
        assert not (tolerable := judge.judge(d, lambda d: spoilt(d, 0.5))).faults, tolerable
        assert judge.judge(d, coward).faults == [f"refused, but LAPACK reaches {judge.lapack_error(d):.2e}"]
        assert "raised FloatingPointError" in str(judge.judge(d, clumsy))
        loose = judge.judge(d, lambda d: replace(lapack_solver(d), bound=1.0))
        assert any("with a bound of" in fault for fault in loose.faults)
    assert "A was changed" in judge.judge(solved[0], vandal).faults


def test_judge_sees_a_basic_solution_and_skewed_factors():
    wide = next(d for d in draws.random_problems("least_squares", 200, seed=3)
                if d.problem.A.shape[0] < d.problem.A.shape[1] and not d.problem.ridge
                and d.problem.rank == d.problem.A.shape[0])  # fmt: skip
    m, n = wide.problem.A.shape
    wide = replace(wide, accuracy=1e-2)

    def basic(draw):
        x = np.zeros((n, *draw.problem.b.shape[1:]))
        x[:m] = np.linalg.lstsq(draw.problem.A[:, :m], draw.problem.b)[0]
        return Answer(x, True, draw.accuracy)

    assert any("minimum norm" in fault for fault in judge.judge(wide, basic).faults)

    low_rank = next(d for d in draws.random_problems("low_rank", 60, seed=3) if min(d.problem.A.shape) > 5)

    def skewed(draw):
        U, s, Vh = judge._numpy(draw)
        return Answer((U * 2.0, s / 2.0, Vh), True, draw.accuracy)

    assert any("orthonormal" in fault for fault in judge.judge(low_rank, skewed).faults)
