"""Libraries that run out of memory, raise, or return NaN or a wrong number, at every call of every algorithm.

What comes of it is a certified answer that is right, or an error of ours; operands are as they were, and the next
solve knows nothing of it. A wrong number inside a certificate's own computation may defeat any certificate: those are
planted in what algorithms compute.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import autonla as nla
from autonla.planner import api, attempts, execution, fast_path, planning, prepare
from autonla.planner.certificate import Certificate
from autonla.planner.kinds.linear_system import LinearSystemKind
from autonla.planner.plans import Candidate, Plan
from autonla.primitives import Breakdown, algorithms_for
from autonla.primitives.kernels import library
from autonla.primitives.stopping import stop_asked
from autonla.probes import conditioning, effective_rank
from autonla.profiles.errors import AutonlaError, BudgetExceeded, CertificationFailed
from tests._support import matrices, spectra, truth
from tests._support.faults import PHASES, RAISED, Faults, faulty_kernels, lines_run, not_a_number, one_number_wrong
from tests._support.faults import raising_at as raising
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
MACHINE = planning.Machine(PROFILE, "the synthetic machine")
ROOT = Path(planning.__file__).resolve().parents[1]
WAYS = {"planned": {"profile": PROFILE}, "at once": {}}
LOOSE = 4  # in the quick tests, every so many calls fail in turn

FAULTS: dict[str, dict[str, Any]] = {
    "no memory": {"error": RAISED["no memory"]},
    "no convergence": {"error": RAISED["no convergence"]},
    "not a number": {"corrupt": not_a_number},
    "one number wrong": {"corrupt": one_number_wrong, "phases": ("run",)},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Threads gain nothing on problems so small, and lose much where other tests compete for the cores."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def known_machine(monkeypatch) -> None:
    """The fast path and the planner price on the synthetic machine."""
    for module in (api, fast_path, planning):
        monkeypatch.setattr(module, "machine_of", lambda profile: MACHINE)


def spectrum(m: int, n: int, condition: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return matrices.with_spectrum(m, n, spectra.geometric(min(m, n), condition), rng).A


def least_squares(A: np.ndarray, ridge: float = 0.0) -> nla.LeastSquares:
    rng = np.random.default_rng(A.size)
    return nla.LeastSquares(A, A @ rng.standard_normal(A.shape[1]) + 0.3 * rng.standard_normal(len(A)), ridge=ridge)


def falling(m: int, n: int, ratio: float) -> np.ndarray:
    return matrices.with_spectrum(m, n, ratio ** np.arange(float(min(m, n))), np.random.default_rng(m + n)).A


@cache
def problems() -> dict[str, tuple[nla.Problem, float]]:
    """Problems that between them every algorithm applies to, with the accuracy asked for."""
    rng = np.random.default_rng(0)
    n = 12
    G, b = spectrum(n, n, 20.0, 1), rng.standard_normal(n)
    S = G @ G.T
    deficient = matrices.exact_rank(300, 8, 3, rng).A
    return {
        "general": (nla.LinearSystem(G, b), 1e-8),
        "digits of x": (nla.LinearSystem(G, b, metric="forward_error"), 1e-8),
        "several right-hand sides": (nla.LinearSystem(G, rng.standard_normal((n, 3))), 1e-8),
        "positive definite": (nla.LinearSystem(0.5 * (S + S.T), b, assume="spd"), 1e-8),
        "symmetric": (nla.LinearSystem(G + G.T, b, assume="symmetric"), 1e-8),
        "triangular": (nla.LinearSystem(np.triu(G) + 3.0 * np.eye(n), b, assume="upper"), 1e-8),
        "diagonal": (nla.LinearSystem(np.diag(np.arange(1.0, n + 1.0)), b, assume="diagonal"), 1e-8),
        "banded": (nla.LinearSystem(np.triu(np.tril(G, 1), -1) + 2.0 * np.eye(n), b, assume="banded"), 1e-8),
        "tall": (least_squares(spectrum(400, 6, 30.0, 2)), 1e-8),
        "ridge": (least_squares(spectrum(400, 6, 30.0, 2), 0.1), 1e-8),
        "roughly": (least_squares(spectrum(1500, 6, 5.0, 2)), 0.5),
        "dependent columns": (nla.LeastSquares(deficient, rng.standard_normal(300)), 1e-8),
        "wide": (least_squares(spectrum(6, 30, 30.0, 3)), 1e-8),
        "wide, ridge": (least_squares(spectrum(6, 30, 30.0, 3), 0.1), 1e-8),
        "rank 5": (nla.LowRank(falling(60, 40, 0.5), rank=5), 0.05),
        "by accuracy": (nla.LowRank(falling(100, 80, 0.8)), 0.3),
        "wide, centred": (nla.LowRank(falling(40, 60, 0.5) + 0.1, rank=4, center=True), 0.05),
    }


@cache
def planned(name: str) -> Plan:
    problem, accuracy = problems()[name]
    return nla.plan(problem, nla.Budget(accuracy=accuracy), rng=1, profile=PROFILE, rigor="estimate")


def candidates(name: str) -> list[Candidate]:
    """One candidate of each algorithm on each library."""
    found = {}
    for candidate in planned(name).candidates:
        if candidate.forecast is not None:
            found.setdefault((candidate.algorithm, candidate.label.partition("[")[2].split()[0]), candidate)
    return list(found.values())


def run_first(name: str, candidate: Candidate) -> nla.Solution:
    """The solution where a candidate is tried first."""
    plan = planned(name)
    return execution.execute(replace(plan, chosen=candidate), plan._entries, PROFILE, recorded=False)


# What is true of an answer.


def true_error(problem: Any, value: Any) -> float:
    """In the metric of the problem, at least; measured in twice the precision."""
    if isinstance(problem, nla.LinearSystem):
        if problem.metric == "forward_error":
            exact = np.linalg.solve(problem.A, problem.b)  # its condition number is 20
            return float(np.linalg.norm(value - exact) / np.linalg.norm(exact)) - 1e-13
        return truth.backward_error(problem.A, value, problem.b).low
    if isinstance(problem, nla.LeastSquares):
        rank = 3 if problem.A.shape == (300, 8) else None  # "dependent columns"
        if rank is not None or (problem.A.shape[0] < problem.A.shape[1] and not problem.ridge):
            assert truth.minimum_norm_excess(problem.A, value, rank).low < 1e-6
        return truth.prediction_error(problem.A, value, problem.b, problem.ridge, rank).low
    A = problem.A - problem.A.mean(axis=0) if problem.center else problem.A
    U, s, Vh = value
    assert max(np.linalg.norm(U.T @ U - np.eye(len(s))), np.linalg.norm(Vh @ Vh.T - np.eye(len(s)))) < 1e-8
    if problem.rank is None:
        return truth.low_rank_error(A, U, s, Vh).low
    return truth.low_rank_excess(A, U, s, Vh, problem.rank).low


@cache
def _remembered_error(name: str, parts: tuple[bytes, ...], shapes: tuple[tuple[int, ...], ...]) -> float:
    arrays = [np.frombuffer(part).reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return true_error(problems()[name][0], arrays[0] if len(arrays) == 1 else arrays)


def error_of(name: str, value: Any) -> float:
    """`true_error`, of values that come again and again."""
    arrays = [np.ascontiguousarray(a) for a in (value if isinstance(value, tuple) else (value,))]
    return _remembered_error(name, tuple(a.tobytes() for a in arrays), tuple(a.shape for a in arrays))


def judged(name: str, solve: Callable[[], nla.Solution], accuracy: float, what: str, always: bool) -> str:
    """What is wrong with what came of a fault; empty where that is as it should be."""
    try:
        solution = solve()
    except BudgetExceeded as error:
        expected = always and what == "no memory" and error.resource == "memory" and error.plan is not None
        return "" if expected else f"BudgetExceeded: {error}"
    except CertificationFailed as error:
        if error.solution is not None and error.solution.status != "best_effort":
            return "a certified answer came with an error"
        # what an attempt hands on to the next may hold the wrong number, and fail those that rest on it
        return "" if always or what == "one number wrong" else f"CertificationFailed: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if solution.status != "certified":
        return f"{solution.status} where the budget says raise"
    error, bound = error_of(name, solution.value), solution.certificate.bound
    return (
        "" if error <= bound <= accuracy else f"WRONG: error {error:.2e}, bound {bound:.2e}, asked for {accuracy:.0e}"
    )


def faulty_runs(faults: Faults, name: str, what: str, always: bool, step: int = 1) -> tuple[int, list[str]]:
    """How often a call failed, and what was wrong with what came of it."""
    problem, accuracy = problems()[name]
    before = operands(problem)
    wrong, count = [], 0
    for number, candidate in enumerate(candidates(name)):
        how = {"phases": PHASES, **FAULTS[what]}
        faults.arm(phases=how["phases"])
        clean = run_first(name, candidate)
        assert clean.status == "certified"
        for k in range(number % step, faults.count, step):
            faults.arm(k, always=always, **how)
            verdict = judged(name, lambda c=candidate: run_first(name, c), accuracy, what, always)
            verdict = verdict or ("" if faults.fired else "nothing failed")
            count += 1
            if verdict:
                wrong.append(f"{candidate.label}, call {k}, {faults.fired}: {verdict}")
        faults.arm()
        after = run_first(name, candidate)
        assert [a.label for a in after.record.attempts] == [a.label for a in clean.record.attempts]
        assert operands(problem) == before, f"{candidate.label} changed its operands"
    return count, wrong


def operands(problem: Any) -> tuple[bytes, bytes]:
    b = getattr(problem, "b", None)
    return problem.A.tobytes(), b"" if b is None else b.tobytes()


# Every call of every algorithm, and of its certificate.


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("name", problems())
def test_a_call_that_fails_once_costs_an_attempt_and_not_the_answer(name, what):
    with faulty_kernels() as faults:
        count, wrong = faulty_runs(faults, name, what, always=False, step=LOOSE)
    assert count > 5
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("name", problems())
def test_a_library_that_goes_on_failing_gives_an_error_of_ours(name, what):
    with faulty_kernels() as faults:
        count, wrong = faulty_runs(faults, name, what, always=True, step=3 * LOOSE)
    assert count > 1
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("always", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("name", problems())
def test_every_call_may_fail(name, what, always):
    with faulty_kernels() as faults:
        _, wrong = faulty_runs(faults, name, what, always)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["linear_system", "least_squares", "low_rank"])
def test_every_algorithm_is_among_those_that_fail(kind):
    known = {a.name for a in algorithms_for(kind)}
    seen = {c.algorithm for name, (p, _) in problems().items() if p.kind == kind for c in candidates(name)}
    assert seen == known
    libraries = {c.label.partition("[")[2].split()[0] for name in problems() for c in candidates(name)}
    assert libraries == {"scipy", "numpy", "torch"}


def test_the_judge_finds_out_a_certificate_that_believes_everything(monkeypatch):
    """The negative control of all the above."""
    believing = Certificate("backward_error", 0.0, 0.0, 1.0, "believed", 1e-8, True)
    monkeypatch.setattr(LinearSystemKind, "certify", lambda *operands, **how: believing)
    with faulty_kernels() as faults:
        _, wrong = faulty_runs(faults, "general", "one number wrong", always=False)
    assert sum("WRONG" in verdict for verdict in wrong) > 5


def test_the_judge_finds_out_errors_that_are_let_through(monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr(attempts, "library_errors", nullcontext)
    with faulty_kernels() as faults:
        _, wrong = faulty_runs(faults, "general", "no convergence", always=False)
    assert sum("LinAlgError" in verdict for verdict in wrong) > 5


def test_with_best_effort_what_is_not_certified_says_so():
    """NaN in all that a certificate computes, from one of its calls on."""
    name = "tall"
    plan = planned(name)
    effort = replace(plan, budget=nla.Budget(accuracy=1e-8, on_infeasible="best_effort"))
    statuses = []
    with faulty_kernels() as faults:
        for candidate in candidates(name):
            chosen = replace(effort, chosen=candidate)
            faults.arm(phases=("certify",))
            execution.execute(chosen, plan._entries, PROFILE)
            for k in range(0, faults.count, LOOSE):
                faults.arm(k, corrupt=not_a_number, always=True, phases=("certify",))
                try:
                    solution = execution.execute(chosen, plan._entries, PROFILE)
                except CertificationFailed:  # no answer at all
                    continue
                statuses.append(solution.status)
                assert np.isfinite(solution.value).all()
                certified = solution.status == "certified"
                assert certified == (solution.certificate.bound <= 1e-8)
                assert not certified or error_of(name, solution.value) <= 1e-8
    assert statuses.count("best_effort") > 10


@pytest.mark.parametrize("n", [3, 30])
@pytest.mark.parametrize("entry", [np.nan, np.inf])
@pytest.mark.parametrize("backend", ["numpy", "scipy", "torch"])
def test_no_library_iterates_on_what_is_not_finite(backend, entry, n):
    """LAPACK may not come to an end on it, and what its callers raise is anything."""
    lib = library(backend)
    A, b = np.random.default_rng(0).standard_normal((n, n)), np.ones(n)
    sick = A.copy()
    sick[1, 2] = entry
    for routine in (lib.svd, lib.svdvals, lib.eigh, lib.eigvalsh):
        with pytest.raises(Breakdown, match="not finite"):
            routine(lib.asarray(sick))
    for routine in (lib.lstsq_svd, lib.lstsq_pivoted_qr):
        for operands in ((sick, b), (A, np.where(b > 0, entry, b))):
            with pytest.raises(Breakdown, match="not finite"):
                routine(*map(lib.asarray, operands))
    for routine in (lib.eigh, lib.eigvalsh):  # the lower triangle may hold anything
        lower = A.copy()
        lower[2, 1] = entry
        found, expected = routine(lib.asarray(lower)), routine(lib.asarray(A))
        found, expected = (x[0] if isinstance(x, tuple) else x for x in (found, expected))
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["general", "tall", "dependent columns", "wide, ridge", "rank 5", "by accuracy"])
def test_floating_point_errors_that_the_caller_has_asked_for(monkeypatch, known_machine, name, way):
    problem, accuracy = problems()[name]
    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)
    asked = dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
    with np.errstate(all="raise"):
        solution = nla.solve(problem, nla.Budget(accuracy=accuracy), rng=1, **WAYS[way])
        assert np.geterr() == asked
    assert solution.status == "certified"
    assert error_of(name, solution.value) <= accuracy


# Whole solves: probes, glances, scaling and planning as well.


def probed(name: str) -> tuple[nla.Problem, float]:
    """Problems of which all probes are worth something."""
    rng = np.random.default_rng(7)
    if name == "linear system":
        return nla.LinearSystem(spectrum(220, 220, 50.0, 4), rng.standard_normal(220)), 1e-8
    if name == "far from unit size":
        return nla.LinearSystem(1e80 * spectrum(40, 40, 50.0, 4), rng.standard_normal(40)), 1e-8
    if name == "least squares":
        return least_squares(spectrum(2000, 24, 1e3, 5)), 1e-8
    if name == "ill-conditioned":
        return least_squares(spectrum(2000, 24, 1e10, 6)), 1e-6
    return nla.LowRank(falling(200, 120, 0.8)), 1e-2


WHOLE = ["linear system", "far from unit size", "least squares", "ill-conditioned", "low rank"]


def whole_runs(monkeypatch, name: str, way: str, step: int) -> list[str]:
    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)  # every probe is worth its price
    problem, accuracy = probed(name)
    before = operands(problem)

    def solve() -> nla.Solution:
        return nla.solve(problem, nla.Budget(accuracy=accuracy), rng=1, **WAYS[way])

    problems()[name] = problem, accuracy
    wrong = []
    try:
        with faulty_kernels() as faults:
            for what, fault in FAULTS.items():
                how = {"phases": PHASES, **fault}
                solve()
                faults.arm(phases=how["phases"])
                clean = solve()
                count = faults.count
                for always in (False, True):
                    for k in range(len(wrong) % step, count, step):
                        faults.arm(k, always=always, **how)
                        verdict = judged(name, solve, accuracy, what, always)
                        if verdict or not faults.fired:
                            wrong.append(f"{what}, always={always}, call {k}, {faults.fired}: {verdict}")
                faults.arm()
                after = solve()
                assert [a.label for a in after.record.attempts] == [a.label for a in clean.record.attempts]
                assert after.plan.evidence.condition == clean.plan.evidence.condition
    finally:
        del problems()[name]
    assert operands(problem) == before
    return wrong


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_a_call_that_fails_anywhere_in_a_solve(monkeypatch, known_machine, name, way):
    wrong = whole_runs(monkeypatch, name, way, step=29 if way == "planned" else 5)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_every_call_may_fail_anywhere_in_a_solve(monkeypatch, known_machine, name, way):
    wrong = whole_runs(monkeypatch, name, way, step=5 if way == "planned" else 1)
    assert not wrong, "\n".join(wrong)


def test_a_probe_that_fails_is_done_without(monkeypatch):
    """It is on record, and the other probes and the answer are as they would be."""
    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)
    problem, accuracy = probed("linear system")
    for error in (np.linalg.LinAlgError("no convergence"), MemoryError("Unable to allocate 3 TiB")):

        def broken(*operands, error=error, **how):
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conditioning, "run", broken)
            solution = nla.solve(problem, nla.Budget(accuracy=accuracy), rng=1, profile=PROFILE)
        assert solution.status == "certified"
        told = [f.sentence for f in solution.plan.evidence.findings if f.probe == "conditioning"]
        assert told == [f"the conditioning probe gave up: {error}"]
        assert "gave up" in solution.explain()


def test_a_probe_that_finds_what_cannot_be_is_not_believed(monkeypatch):
    """An infinite lower bound on the norm of A would certify anything."""
    from autonla.primitives.interval import Interval

    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)
    problem, accuracy = probed("linear system")
    for end in (np.inf, np.nan):

        def lying(A, task, evidence, end=end, **how):
            return replace(evidence, norm_2=Interval(end, end, np.inf)), {}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conditioning, "run", lying)
            plan = nla.plan(problem, nla.Budget(accuracy=accuracy), rng=1, profile=PROFILE)
        assert plan.evidence.norm_2 is None
        assert "gave up: what it found is not finite" in plan.explain()


def test_a_glance_that_fails_leaves_out_what_it_was_to_tell_of(monkeypatch, known_machine):
    """Float32 factors are not tried at once where nothing says that they will do."""
    problem = nla.LinearSystem(spectrum(460, 460, 10.0, 9), np.ones(460))
    assert nla.solve(problem, rng=0).record.attempts[0].label.startswith("mixed_lu")
    for error in (np.linalg.LinAlgError("no convergence"), MemoryError("Unable to allocate 3 TiB")):

        def fails(*operands, error=error, **how):
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(effective_rank, "run", fails)
            solution = nla.solve(problem, rng=0)
        assert solution.status == "certified"
        assert [a.label for a in solution.record.attempts] == ["lu[scipy float64]"]


# Memory that runs out beside the kernels.


@pytest.mark.parametrize("way", ["planned", "at once", "a plan that is run again"])
@pytest.mark.parametrize("where", ["A", "b"])
def test_no_memory_for_a_scaled_copy(monkeypatch, known_machine, way, where):
    A, b = spectrum(30, 30, 10.0, 8), np.ones(30)
    large = nla.LinearSystem(1e80 * A, b) if where == "A" else nla.LinearSystem(A, 1e80 * b)
    original, called = prepare._scale, []

    def fails(x, exponent):
        called.append(x.shape)
        raise MemoryError("Unable to allocate 7.2 KiB")

    plan = nla.plan(large, nla.Budget(accuracy=1e-8), rng=0, profile=PROFILE)
    monkeypatch.setattr(prepare, "_scale", fails)
    again = way == "a plan that is run again"
    run = partial(plan.run, large) if again else partial(nla.solve, large, plan.budget, rng=0, **WAYS[way])
    with pytest.raises(BudgetExceeded, match="memory ran out") as caught:
        run()
    assert caught.value.resource == "memory"
    assert called
    assert (caught.value.plan is plan) is again  # there is none yet where it is being made
    monkeypatch.setattr(prepare, "_scale", original)
    solution = run()
    assert truth.backward_error(large.A, solution.value, large.b).low <= 1e-8


def test_no_memory_for_the_result_comes_with_the_plan(monkeypatch, known_machine):
    problem, accuracy = problems()["tall"]

    def fails(*operands):
        raise MemoryError("Unable to allocate 48 B")

    monkeypatch.setattr(execution, "to_library", fails)
    for how in WAYS.values():
        with pytest.raises(BudgetExceeded) as caught:
            nla.solve(problem, nla.Budget(accuracy=accuracy), rng=0, **how)
        assert caught.value.resource == "memory"
    assert caught.value.plan is None or isinstance(caught.value.plan, Plan)


# Interrupted by the user.


def surroundings() -> dict[str, Any]:
    """What a solve must leave as it was."""
    return {
        "errstate": np.geterr(),
        "threads": sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info()),
        "torch": (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "stop": stop_asked(),
        "trace": sys.gettrace(),
    }


def sound_files(home: Path) -> None:
    """No partial or temporary file, and every record a whole line."""
    for file in home.rglob("*"):
        assert file.is_dir() or file.suffix in (".jsonl", ".lock"), file
        if file.suffix == ".jsonl":
            for line in file.read_text().splitlines():
                json.loads(line)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WHOLE)
def test_an_interrupt_in_any_kernel_leaves_nothing_behind(monkeypatch, known_machine, autonla_home, name, way):
    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)
    problem, accuracy = probed(name)

    def solve() -> nla.Solution:
        return nla.solve(problem, nla.Budget(accuracy=accuracy), rng=1, **WAYS[way])

    with faulty_kernels() as faults:
        solve()
        faults.arm()
        clean = solve()
        before, data, count = surroundings(), operands(problem), faults.count
        for k in range(0, count, max(1, count // 12)):
            faults.arm(k, error=KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                solve()
            assert surroundings() == before
            assert operands(problem) == data
        faults.arm()
        after = solve()
    assert after.certificate == clean.certificate
    assert [a.label for a in after.record.attempts] == [a.label for a in clean.record.attempts]
    sound_files(autonla_home)


@pytest.mark.parametrize("solver", ["arpack", "propack"])
def test_an_interrupt_passes_through_compiled_code(solver):
    """It calls back for products, and would lose what they raise."""
    label = "lanczos[numpy float64]" if solver == "arpack" else "lanczos(solver=propack)[numpy float64]"
    candidate = planned("rank 5").candidate(label)
    with faulty_kernels() as faults:
        faults.arm(phases=("run",))
        run_first("rank 5", candidate)
        for k in range(faults.count):
            for always in (False, True):
                faults.arm(k, error=KeyboardInterrupt, always=always, phases=("run",))
                with pytest.raises(KeyboardInterrupt):
                    run_first("rank 5", candidate)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["linear system", "far from unit size", "least squares", "low rank"])
def test_an_interrupt_at_any_line_leaves_nothing_behind(monkeypatch, known_machine, autonla_home, name, way):
    monkeypatch.setattr(planning, "_saved", lambda *asked: 1.0)
    problem, accuracy = probed(name)

    def solve() -> nla.Solution:
        return nla.solve(problem, nla.Budget(accuracy=accuracy), rng=1, **WAYS[way])

    solve()
    clean = solve()
    lines = lines_run(solve, ROOT)
    before, data = surroundings(), operands(problem)
    assert len(lines) > 200
    for where in lines[:: 3 if way == "at once" else 17]:
        with pytest.raises(KeyboardInterrupt):
            raising(solve, where, KeyboardInterrupt())
        assert surroundings() == before, where
        assert operands(problem) == data, where
    after = solve()
    assert after.certificate == clean.certificate
    assert [a.label for a in after.record.attempts] == [a.label for a in clean.record.attempts]
    sound_files(autonla_home)


def test_errors_of_ours_pass_as_they_are():
    for error in (nla.InvalidProblem("cannot allocate"), CertificationFailed("out of memory")):
        with pytest.raises(type(error)) as caught, execution.typed_errors(), attempts.library_errors():
            raise error
        assert caught.value is error
        assert isinstance(error, AutonlaError)
