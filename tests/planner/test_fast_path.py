"""Small and empty problems: solved at once, certified all the same, and the plan written down when asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import autonla as nla
from autonla.cost_models.price import Pool
from autonla.planner import attempts, execution, fast_path, planning, prepare
from autonla.planner.kinds import kind_of
from autonla.primitives.algorithm import Breakdown
from autonla.primitives.task import Task
from autonla.probes import structure
from autonla.profiles.errors import CertificationFailed
from tests._support import matrices, spectra, truth
from tests._support.backends import BACKENDS, DTYPES
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((50, 50)), RNG.standard_normal(50)
TALL = RNG.standard_normal((60, 8))

SMALL = {
    "linear system": lambda: nla.LinearSystem(A, B),
    "several right-hand sides": lambda: nla.LinearSystem(A, RNG.standard_normal((50, 4))),
    "positive definite": lambda: nla.LinearSystem(A @ A.T + np.eye(50), B, assume="spd"),
    "symmetric": lambda: nla.LinearSystem(A + A.T, B, assume="symmetric"),
    "one by one": lambda: nla.LinearSystem(np.array([[2.0]]), np.array([3.0])),
    "least squares": lambda: nla.LeastSquares(TALL, np.ones(60)),
    "ridge": lambda: nla.LeastSquares(TALL, np.ones(60), ridge=0.5),
    "wide": lambda: nla.LeastSquares(TALL.T, np.ones(8)),
    "rank-deficient": lambda: nla.LeastSquares(matrices.exact_rank(30, 8, 3, np.random.default_rng(1)).A, np.ones(30)),
    "low rank": lambda: nla.LowRank(TALL),
    "of rank 3": lambda: nla.LowRank(TALL, rank=3),
    "principal components": lambda: nla.LowRank(TALL + 5.0, rank=3, center=True),
}


# What solves them at once; where nothing is said, the SVD.
CHOSEN = {
    "linear system": "lu", "several right-hand sides": "lu", "positive definite": "cholesky", "symmetric": "lu",
    "one by one": "lu", "least squares": "normal_equations", "ridge": "normal_equations", "wide": "normal_equations",
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """How often a plan was made."""
    count = []
    original = planning.make_plan

    def counting(*arguments, **how):
        count.append(1)
        return original(*arguments, **how)

    monkeypatch.setattr("autonla.planner.api.make_plan", counting)
    return count


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    """What is written down afterwards is priced on the synthetic machine."""
    machine = planning.Machine(PROFILE, "the synthetic machine")
    monkeypatch.setattr(planning, "machine_of", lambda profile: machine)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("accuracy", [None, 1e-10])
def test_small_problems_avoid_the_planner_and_are_certified(name, accuracy, calls):
    solution = nla.solve(SMALL[name](), nla.Budget(accuracy=accuracy), rng=0)
    assert calls == []
    assert solution.status == "certified"
    assert solution.certificate.satisfied
    assert solution.certificate.target == accuracy


@pytest.mark.parametrize("how", [
    {"profile": PROFILE}, {"rigor": "race"}, {"rigor": "exhaustive"}, {"budget": nla.Budget(memory="1 GiB")},
    {"budget": nla.Budget(energy="1 kJ")}, {"budget": nla.Budget(minimize="memory")},
    {"budget": nla.Budget(minimize="error")},
    {"budget": nla.Budget(latency="1 ms", on_infeasible="best_effort")},
])  # fmt: skip
def test_what_needs_the_planner_gets_it(how, calls):
    assert nla.solve(nla.LinearSystem(A, B), rng=0, **how).certificate.satisfied
    assert calls == [1]


@pytest.mark.parametrize("assume", ["upper", "diagonal", "banded", "triangular"])
def test_other_declarations_go_to_the_planner(assume, calls):
    solution = nla.solve(nla.LinearSystem(np.diag(np.arange(1.0, 9.0)), np.ones(8), assume=assume), rng=0)
    assert calls == [1]
    np.testing.assert_allclose(solution.value, 1.0 / np.arange(1.0, 9.0))


def test_a_large_problem_goes_to_the_planner(calls):
    nla.solve(nla.LinearSystem(RNG.standard_normal((1200, 1200)), np.ones(1200)), rng=0)
    assert calls == [1]


def test_values_are_right():
    x = nla.solve(SMALL["linear system"](), rng=0).value
    np.testing.assert_allclose(x, np.linalg.solve(A, B), rtol=1e-9)
    np.testing.assert_allclose(nla.solve(SMALL["least squares"]()).value, np.linalg.lstsq(TALL, np.ones(60))[0])
    ridge = nla.solve(SMALL["ridge"]()).value
    np.testing.assert_allclose(ridge, np.linalg.solve(TALL.T @ TALL + 0.5 * np.eye(8), TALL.T @ np.ones(60)))
    wide = nla.solve(SMALL["wide"]()).value
    np.testing.assert_allclose(wide, np.linalg.lstsq(TALL.T, np.ones(8))[0], atol=1e-12)
    U, s, Vh = nla.solve(SMALL["of rank 3"]()).value
    np.testing.assert_allclose(s, np.linalg.svd(TALL, compute_uv=False)[:3])
    assert (U.shape, Vh.shape) == ((60, 3), (3, 8))


# What is declared but not true.


def symmetric_indefinite() -> np.ndarray:
    return matrices.symmetric_indefinite(40, spectra.geometric(40, 10.0), np.random.default_rng(2)).A


def nearly_spd(lower: bool) -> np.ndarray:
    """Positive definite if only one triangle is read."""
    half = np.tril(RNG.standard_normal((40, 40)), -1)
    G = half + half.T + 40.0 * np.eye(40)
    other = np.triu(RNG.standard_normal((40, 40)), 1)
    return G + (other if lower else other.T)


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
@pytest.mark.parametrize("assume", ["spd", "symmetric"])
@pytest.mark.parametrize("make", [
    symmetric_indefinite, lambda: A[:40, :40], lambda: nearly_spd(True), lambda: nearly_spd(False),
    lambda: -np.eye(40), lambda: np.triu(A[:40, :40]) + 20.0 * np.eye(40),
], ids=["indefinite", "general", "lower half", "upper half", "negative", "triangular"])  # fmt: skip
def test_a_false_declaration_never_gives_a_wrong_answer(make, assume, profile):
    matrix = make()
    b = np.ones(len(matrix))
    problem = nla.LinearSystem(matrix, b, assume=assume)
    try:
        solution = nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=profile)
    except nla.DeclarationMismatch:
        return
    assert truth.backward_error(matrix, solution.value, b).high <= 1e-10


def test_singular_matrices():
    """Consistent or not, an answer that is handed out fits."""
    for matrix in (np.ones((5, 5)), np.zeros((5, 5)), np.diag([1.0, 1.0, 1.0, 1.0, 0.0])):
        for b in (np.ones(5), np.arange(5.0)):
            try:
                solution = nla.solve(nla.LinearSystem(matrix, b), nla.Budget(accuracy=1e-10), rng=0)
            except CertificationFailed:
                continue
            assert truth.backward_error(matrix, solution.value, b).high <= 1e-10


def test_growth_in_LU_is_found_out_and_QR_steps_in():
    rng = np.random.default_rng(3)
    matrix = np.asfortranarray(matrices.wilkinson_growth(70).A)  # its transpose does not grow
    matrix[np.tril_indices(70, -1)] *= 0.99  # every step is rounded, and no row is exchanged
    b = rng.standard_normal(70)
    solution = nla.solve(nla.LinearSystem(matrix, b), nla.Budget(accuracy=1e-12), rng=0)
    assert truth.backward_error(matrix, solution.value, b).high <= 1e-12
    assert solution.record.attempts[-1].label.startswith("qr")


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


# What is tried at once, in order.
AT_ONCE = {
    "linear system": ["lu"],
    "least squares": ["normal_equations", "householder_qr", "svd"],
    "of rank 3": ["svd"],
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_when_the_short_way_fails_the_planner_takes_over_knowing_what_was_tried(name, monkeypatch, calls):
    clock, original, tried = Clock(), attempts.run_and_certify, []

    def breaks_at_first(kind, prepared, entry, *how):
        clock.now += 5.0
        tried.append(entry.algorithm.name)
        if len(tried) <= len(AT_ONCE[name]):
            raise Breakdown("for the test")
        return original(kind, prepared, entry, *how)

    monkeypatch.setattr(attempts, "run_and_certify", breaks_at_first)
    for module in (attempts, execution, fast_path, planning):
        monkeypatch.setattr(module, "time", clock)
    solution = nla.solve(SMALL[name](), nla.Budget(accuracy=1e-8), rng=0)
    assert calls == [1]
    assert solution.status == "certified"
    # What has failed is not tried again, and all of it is on record, with its time.
    assert tried[:-1] == AT_ONCE[name]
    assert tried[-1] not in AT_ONCE[name]
    outcomes = [(a.label.partition("[")[0].partition("(")[0], a.outcome) for a in solution.record.attempts]
    assert outcomes == [*((first, "broke down: for the test") for first in AT_ONCE[name]), (tried[-1], "certified")]
    assert solution.record.seconds["total"] == 5.0 * len(tried)
    assert solution.record.seconds["run"] == 5.0 * len(AT_ONCE[name])
    assert sum("tried before planning" in note for note in solution.plan.notes) == len(AT_ONCE[name])
    again = [c for c in solution.plan.candidates if c.algorithm in AT_ONCE[name] and c.forecast is not None]
    assert again
    assert all(not c.feasible and "tried before planning, and failed" in c.reason for c in again)


def test_where_nothing_else_applies_another_library_tries_again(monkeypatch, calls):
    original, tried = attempts.run_and_certify, []

    def breaks_at_first(kind, prepared, entry, *how):
        tried.append(entry.candidate.label)
        if len(tried) == 1:
            raise Breakdown("for the test")
        return original(kind, prepared, entry, *how)

    monkeypatch.setattr(attempts, "run_and_certify", breaks_at_first)
    assert nla.solve(SMALL["low rank"](), nla.Budget(accuracy=1e-10), rng=0).status == "certified"
    assert calls == [1]
    assert tried == ["svd[scipy float64]", "svd[numpy float64]"]


def test_a_shortcut_that_is_not_good_enough_teaches_the_planner(calls):
    """The normal equations break down: the plan that follows knows the condition number, and leaves them out."""
    rng = np.random.default_rng(2)
    A = matrices.with_spectrum(3000, 120, spectra.geometric(120, 1e10), rng).A  # too large for an SVD at once
    b = A @ rng.standard_normal(120)
    solution = nla.solve(nla.LeastSquares(A, b), nla.Budget(accuracy=1e-6), rng=0)
    assert calls == [1]
    first, *_, last = solution.record.attempts
    assert first.label.startswith("normal_equations")
    assert first.outcome.startswith("broke down: ")
    assert last.outcome == "certified"
    assert len(solution.record.attempts) == 2
    assert solution.plan.evidence.condition.low > 1e7
    assert not any(c.feasible for c in solution.plan.candidates if c.algorithm == "normal_equations")
    assert truth.prediction_error(A, solution.value, b).high <= 1e-6


def test_a_problem_too_ill_conditioned_for_the_gram_matrix_falls_to_the_next_at_once(calls):
    rng = np.random.default_rng(3)
    A = matrices.with_spectrum(60, 8, spectra.geometric(8, 1e10), rng).A
    b = rng.standard_normal(60)
    solution = nla.solve(nla.LeastSquares(A, b), rng=0)
    assert calls == []
    assert [a.label.partition("[")[0] for a in solution.record.attempts] == ["normal_equations", "householder_qr"]
    assert solution.plan.chosen.algorithm == "householder_qr"
    assert "Householder QR ran at once" in " ".join(solution.plan.notes)


def test_with_a_latency_what_follows_a_failure_is_planned(calls):
    A = matrices.with_spectrum(60, 8, spectra.geometric(8, 1e10), np.random.default_rng(3)).A
    solution = nla.solve(nla.LeastSquares(A, np.ones(60)), nla.Budget(latency="1 s"), rng=0)
    assert calls == [1]
    assert solution.certificate.satisfied
    assert _tried(solution)[0] == "normal_equations"
    assert len(_tried(solution)) >= 2


def test_a_short_latency_is_left_to_planning_where_what_runs_at_once_may_take_longer(calls):
    kind = kind_of("low_rank")
    small, large = (Task("low_rank", n, n, nrhs=0, target=0.1) for n in (500, 3000))
    assert at_once(small)[0] == at_once(large)[0] == "block_krylov"
    assert kind.longest_at_once(small) == 0.05
    assert kind.longest_at_once(large) == pytest.approx(0.45)
    rng = np.random.default_rng(0)
    A = matrices.with_spectrum(1500, 1000, np.arange(1.0, 1001.0) ** -1.5, rng).A
    for latency, planned in ((0.06, [1]), (10.0, [])):
        calls.clear()
        budget = nla.Budget(accuracy=0.3, latency=latency, on_infeasible="best_effort")
        assert nla.solve(nla.LowRank(A), budget, rng=0).certificate.satisfied
        assert calls == planned


@pytest.mark.parametrize("matrix", ["definite", "indefinite", "general"])
def test_cholesky_goes_first_where_a_glance_says_that_the_matrix_may_be_definite(matrix, calls):
    G = {
        "definite": A @ A.T + np.eye(50),
        "indefinite": A + A.T + 3.0 * np.eye(50) * np.abs(A + A.T).max(),
        "general": A + 30.0 * np.eye(50),
    }[matrix]
    if matrix == "indefinite":
        G[20, 30] = G[30, 20] = 100.0 * np.abs(G).max()  # where no glance falls
    solution = nla.solve(nla.LinearSystem(G, B), nla.Budget(accuracy=1e-12), rng=0)
    assert calls == []
    expected = {"definite": ["cholesky"], "indefinite": ["cholesky", "lu"], "general": ["lu"]}[matrix]
    assert [a.label.partition("[")[0] for a in solution.record.attempts] == expected
    assert truth.backward_error(G, solution.value, B).high <= 1e-12


@pytest.mark.parametrize(
    ("spectrum", "expected"),
    [("flat", ["mixed_lu"]), ("geometric", ["lu"]), ("one small", ["mixed_lu", "lu"])],
)
def test_float32_factors_go_first_where_singular_values_look_even(spectrum, expected, calls):
    """One tiny singular value cannot be seen in a few rows: float32 is tried in vain, and its failure costs no plan."""
    n = 480
    s = {"flat": np.ones(n), "geometric": spectra.geometric(n, 1e9), "one small": spectra.one_small(n, 1e11)}[spectrum]
    G, b = matrices.with_spectrum(n, n, s, np.random.default_rng(4)).A, RNG.standard_normal(n)
    solution = nla.solve(nla.LinearSystem(G, b), nla.Budget(accuracy=1e-12), rng=0)
    assert calls == []
    assert [a.label.partition("[")[0] for a in solution.record.attempts] == expected
    assert truth.backward_error(G, solution.value, b).high <= 1e-12
    glance, *_, rest = solution.plan.evidence.findings
    assert glance.sentence.startswith("singular values are as even as")
    assert rest.sentence.startswith("nothing more was probed")


@pytest.mark.parametrize(
    ("condition", "dtype", "first"),
    [
        (1e3, "float64", "normal_equations"),
        (1e11, "float64", ""),
        (10.0, "float32", "normal_equations"),
        (1e5, "float32", ""),
    ],
)
def test_a_few_rows_tell_that_the_normal_equations_would_fail(condition, dtype, first, calls):
    """Without forming the Gram matrix; what was seen is handed to the planner, which does not look again."""
    A = matrices.with_spectrum(12_000, 100, spectra.geometric(100, condition), np.random.default_rng(6)).A
    A = A.astype(dtype)
    b = (A @ np.ones(100) + 0.1 * RNG.standard_normal(12_000)).astype(dtype)
    solution = nla.solve(nla.LeastSquares(A, b), nla.Budget(accuracy=1e-3), rng=0)
    assert calls == ([] if first else [1])
    assert first in _tried(solution)[0]
    assert sum("rows drawn at random" in f.sentence for f in solution.plan.evidence.findings) == 1
    x = solution.value.astype(float)
    assert truth.prediction_error(A.astype(float), x, b.astype(float)).high <= 1e-3


def test_without_an_accuracy_float32_factors_are_refined_to_what_LAPACK_would_give(calls):
    G, b = matrices.with_spectrum(480, 480, np.ones(480), np.random.default_rng(5)).A, RNG.standard_normal(480)
    solution = nla.solve(nla.LinearSystem(G, b), rng=0)
    assert calls == []
    assert _tried(solution) == ["mixed_lu"]
    assert truth.backward_error(G, solution.value, b).high <= 2e-15


def test_after_a_failure_the_library_whose_threads_are_awake_goes_on():
    """Where two are as fast; the profile says what taking over from another one costs."""
    pytest.importorskip("torch")
    task, kind = Task("least_squares", 20_000, 20, target=1e-6), kind_of("least_squares")
    names = ("scipy", "numpy", "torch")
    profile = synthetic_profile(pool_switch_seconds={f"{a}>{b}": 0.02 for a in names for b in names if a != b})
    algorithm, options = kind.setting("householder_qr", task)
    for awake in ("scipy", "torch"):
        after = fast_path._on_the_fastest_library(
            algorithm, replace(options, backend="torch"), task, planning.ByIdentity(profile), Pool(awake)
        )
        assert after.backend == awake


def test_a_matrix_whose_lower_triangle_differs_where_no_glance_falls_is_not_solved_by_half_of_it():
    G = A @ A.T + np.eye(50)
    G[30, 20] += 1.0
    solution = nla.solve(nla.LinearSystem(G, B), nla.Budget(accuracy=1e-12), rng=0)
    assert [a.label.partition("[")[0] for a in solution.record.attempts] == ["cholesky", "lu"]
    assert truth.backward_error(G, solution.value, B).high <= 1e-12


def test_below_the_floor_the_planner_refuses():
    with pytest.raises(nla.InfeasibleBudget, match="floor"):
        nla.solve(nla.LinearSystem(A, B), nla.Budget(accuracy=1e-18))


# What is written down afterwards.


@pytest.mark.parametrize("name", SMALL)
def test_the_plan_is_written_down_when_asked_for(name, monkeypatch):
    written = []
    original = fast_path._plan_afterwards
    monkeypatch.setattr(fast_path, "_plan_afterwards", lambda *a: written.append(1) or original(*a))
    solution = nla.solve(SMALL[name](), nla.Budget(accuracy=1e-8), rng=4)
    assert written == []
    plan = solution.plan
    assert solution.plan is plan
    assert written == [1]
    assert plan.chosen.forecast is not None
    assert plan.chosen is plan.candidates[0]
    assert len(plan.candidates) > 1
    assert plan.task.seed == 4
    assert plan.chosen.algorithm == CHOSEN.get(name, "svd")
    assert "nothing was probed" in plan.evidence.findings[0].sentence
    for text in (plan.evidence.findings[0].sentence, plan.notes[0]):
        assert plan.chosen.title in text
    failed, ran = solution.record.attempts[:-1], solution.record.attempts[-1]
    assert [a.outcome.partition(":")[0] for a in failed] == (["broke down"] if name == "rank-deficient" else [])
    assert ran.label == plan.chosen.label
    assert solution.record.seconds["run"] > 0.0
    assert solution.record.peak_bytes is None
    assert solution.record.energy_source == "modelled"


@pytest.mark.parametrize("name", SMALL)
def test_the_plan_runs_again(name):
    problem = SMALL[name]()
    solution = nla.solve(problem, nla.Budget(accuracy=1e-8), rng=4)
    again = solution.plan.run()
    restored = nla.Plan.from_json(solution.plan.to_json()).run(problem)
    for other in (again, restored):
        assert other.status == "certified"
        parts = [s.value if isinstance(s.value, tuple) else (s.value,) for s in (solution, other)]
        for a, b in zip(*parts, strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_two_runs_share_what_they_return():
    plan = nla.solve(nla.LinearSystem(A, B), rng=0).plan
    first, second = plan.run().value, plan.run().value
    assert not np.shares_memory(first, second)


# Empty problems.


@pytest.mark.parametrize("profile", [None, PROFILE], ids=["small", "planned"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_problems(backend, dtype, profile):
    def zeros(*shape):
        return backend.asarray(np.zeros(shape), dtype)

    cases = [
        (nla.LinearSystem(zeros(0, 0), zeros(0)), (0,)),
        (nla.LinearSystem(zeros(0, 0), zeros(0, 3)), (0, 3)),
        (nla.LeastSquares(zeros(0, 4), zeros(0)), (4,)),
        (nla.LeastSquares(zeros(0, 4), zeros(0, 2)), (4, 2)),
        (nla.LeastSquares(zeros(4, 0), zeros(4)), (0,)),
        (nla.LeastSquares(zeros(0, 0), zeros(0)), (0,)),
        (nla.LeastSquares(zeros(0, 4), zeros(0), ridge=1.0), (4,)),
    ]
    for problem, shape in cases:
        solution = nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=profile)
        assert solution.status == "certified"
        assert backend.owns(solution.value)
        assert tuple(solution.value.shape) == shape
        assert solution.value.dtype == backend.dtype(dtype)
        assert not backend.to_numpy(solution.value).any()
        assert solution.certificate.bound == 0.0
        assert solution.explain()
        assert nla.Plan.from_json(solution.plan.to_json()) == solution.plan
    for m, n in ((0, 0), (0, 4), (5, 0)):
        solution = nla.solve(nla.LowRank(zeros(m, n)), nla.Budget(accuracy=1e-3), rng=0, profile=profile)
        U, s, Vh = solution.value
        assert [tuple(part.shape) for part in (U, s, Vh)] == [(m, 0), (0,), (0, n)]
        assert all(backend.owns(part) and part.dtype == backend.dtype(dtype) for part in (U, s, Vh))
        assert solution.status == "certified"


@pytest.mark.parametrize("call", [nla.plan, nla.race])
def test_planning_and_racing_empty_problems(call):
    for problem in (
        nla.LinearSystem(np.zeros((0, 0)), np.zeros(0)),
        nla.LeastSquares(np.zeros((0, 3)), np.zeros(0)),
        nla.LowRank(np.zeros((4, 0))),
    ):
        made = call(problem, rng=0, profile=PROFILE)
        if call is nla.plan:
            assert made.run().status == "certified"


def test_no_right_hand_side():
    """b of shape (n, 0) asks for nothing."""
    for problem, rows in ((nla.LinearSystem(A, np.zeros((50, 0))), 50), (nla.LeastSquares(TALL, np.zeros((60, 0))), 8)):
        for profile in (None, PROFILE):
            solution = nla.solve(problem, nla.Budget(accuracy=1e-10), rng=0, profile=profile)
            assert solution.value.shape == (rows, 0)


# Which problems count as small.


def at_once(task: Task, A=None) -> list[str]:
    found = list(kind_of(task.kind).at_once(task, A))
    assert all(options.dtype == task.dtype for algorithm, options in found if algorithm.name != "mixed_lu")
    assert all(options.backend == "scipy" for _, options in found)
    return [algorithm.name for algorithm, _ in found]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_what_is_tried_at_once(dtype, library):
    def task(kind, m, n, **keywords):
        return Task(kind, m, n, dtype=dtype, library=library, **keywords)

    eye = np.eye(10)
    assert at_once(task("linear_system", 10, 10), eye) == ["lu"]  # looking at it would take longer
    assert at_once(task("linear_system", 60, 60), np.eye(60)) == ["cholesky", "lu"]
    assert at_once(task("linear_system", 60, 60), -np.eye(60)) == ["lu"]
    assert at_once(task("linear_system", 10, 10, structure="spd"), eye) == ["cholesky", "lu"]
    assert at_once(task("linear_system", 500, 500), -np.eye(500)) == ["mixed_lu", "lu"][dtype == "float32" :]
    assert at_once(task("linear_system", 500, 500, nrhs=300), -np.eye(500)) == ["lu"]
    assert at_once(task("linear_system", 1200, 1200)) == []
    for m, n in ((60, 8), (8, 60)):
        assert at_once(task("least_squares", m, n)) == ["normal_equations", "householder_qr", "svd"]
    assert at_once(task("least_squares", 3000, 120)) == ["normal_equations"]  # a sketch may do better than QR
    assert at_once(task("least_squares", 450, 280)) == ["normal_equations", "householder_qr", "svd"]
    assert at_once(task("least_squares", 30_000, 300)) == []
    assert at_once(task("low_rank", 60, 60, nrhs=0)) == ["svd"]
    assert at_once(task("low_rank", 500, 50, nrhs=0, rank=5, target=1e-2)) == ["gram", "svd"]
    assert at_once(task("low_rank", 50, 500, nrhs=0, target=1e-2)) == ["gram", "svd"]
    for fine in ({"rank": 5, "target": 1e-9}, {"rank": 40, "target": 1e-2}, {"target": 1e-9}):
        assert at_once(task("low_rank", 500, 50, nrhs=0, **fine)) == ["svd"]  # squared, it might not resolve that
    assert at_once(task("low_rank", 300, 20, nrhs=0, rank=5, target=1e-2)) == ["svd"]
    assert at_once(task("low_rank", 1000, 1000, nrhs=0, rank=5, target=0.1)) == ["block_krylov"]
    for slow in ({"rank": 5, "target": 1e-6}, {"rank": 500, "target": 0.1}):
        assert at_once(task("low_rank", 1000, 1000, nrhs=0, **slow)) == []
    assert at_once(task("low_rank", 1000, 1000, nrhs=0, target=0.1)) == ["block_krylov", "gram"]
    assert at_once(task("low_rank", 3000, 1000, nrhs=0, target=0.1)) == ["block_krylov"]  # much may do better than Gram
    assert at_once(task("low_rank", 12_000, 1000, nrhs=0, rank=5, target=0.1)) == []


# A guess at the structure, and a check of A that comes with the answer.

N = 1200  # too large to be factored at once
UPPER = np.triu(RNG.standard_normal((N, N))) / 30.0 + 2.0 * np.eye(N)
BAND = np.triu(np.tril(RNG.standard_normal((N, N)), 2), -1) + 9.0 * np.eye(N)
STRUCTURED = {"upper": (UPPER, "triangular"), "lower": (UPPER.T, "triangular"), "banded": (BAND, "banded"),
              "diagonal": (np.diag(np.arange(1.0, N + 1)), "diagonal")}  # fmt: skip


def _tried(solution):
    return [a.label.partition("[")[0] for a in solution.record.attempts]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STRUCTURED)
def test_what_looks_triangular_or_banded_is_solved_as_such_at_once(backend, name, calls):
    matrix, algorithm = STRUCTURED[name]
    problem = nla.LinearSystem(backend.asarray(matrix), backend.asarray(np.ones(N)))
    solution = nla.solve(problem, nla.Budget(accuracy=1e-12), rng=0)
    assert calls == []
    assert _tried(solution) == [algorithm]
    assert truth.backward_error(matrix, backend.to_numpy(solution.value), np.ones(N)).high <= 1e-12
    assert f"A looked {name}" in " ".join(solution.plan.notes)
    assert "the certificate has read all of it" in solution.plan.explain()


@pytest.mark.parametrize("name", ["upper", "banded"])
def test_a_wrong_guess_is_found_out_and_forgotten(name, calls):
    matrix, algorithm = STRUCTURED[name]
    matrix = matrix.copy()
    matrix[555, 333] = 0.5  # where no glance falls
    solution = nla.solve(nla.LinearSystem(matrix, np.ones(N)), nla.Budget(accuracy=1e-12), rng=0)
    assert calls == [1]
    assert _tried(solution)[0] == algorithm
    assert len(_tried(solution)) == 2
    assert solution.plan.task.structure == "general"
    assert solution.plan.task.bandwidth is None
    assert truth.backward_error(matrix, solution.value, np.ones(N)).high <= 1e-12


NOT_FINITE = {
    "at once": lambda M: nla.LinearSystem(M[:50, :50], np.ones(50)),
    "planned": lambda M: nla.LinearSystem(M, np.ones(N)),
    "guessed": lambda M: nla.LinearSystem(np.triu(M), np.ones(N)),
    "symmetric": lambda M: nla.LinearSystem(M + M.T, np.ones(N)),
    "normal equations": lambda M: nla.LeastSquares(M[:, :30], np.ones(N)),
    "wide": lambda M: nla.LeastSquares(M[:50], np.ones(50)),
    "planned least squares": lambda M: nla.LeastSquares(np.vstack([M[:, :200]] * 12), np.ones(12 * N)),
    "low rank": lambda M: nla.LowRank(M[:, :50], rank=3),
}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_entry_that_meets_nothing_but_zeros_is_seen_all_the_same(bad):
    A = np.array(UPPER[:100, :100])
    A[3, 17] = bad
    with pytest.raises(nla.NonFiniteInput, match=r"A is not finite: .* \(3, 17\)"):
        nla.solve(nla.LinearSystem(A, np.zeros(100)), nla.Budget(accuracy=1e-8), rng=0)


@pytest.mark.parametrize("name", NOT_FINITE)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_however_it_is_solved(name, bad):
    M = np.array(UPPER + UPPER.T)
    M[3, 17] = bad
    problem = NOT_FINITE[name](M)
    with pytest.raises(nla.NonFiniteInput, match=r"A is not finite: .* \(3, 17\)"):
        nla.solve(problem, nla.Budget(accuracy=1e-8), rng=0)


@pytest.mark.parametrize("exponent", [-900, -250, 250, 900])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_what_is_far_from_unit_size_is_scaled_however_it_is_solved(name, exponent):
    plain = NOT_FINITE[name](UPPER + UPPER.T)
    problem = NOT_FINITE[name](np.ldexp(UPPER + UPPER.T, exponent))
    solution = nla.solve(problem, nla.Budget(accuracy=1e-8), rng=0)
    expected = nla.solve(plain, nla.Budget(accuracy=1e-8), rng=0).value
    assert solution.status == "certified"
    if name == "low rank":
        np.testing.assert_allclose(np.ldexp(solution.value.s, -exponent), expected.s, rtol=1e-12)
    else:
        np.testing.assert_allclose(np.ldexp(solution.value, exponent), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["at once", "planned", "guessed", "normal equations", "planned least squares"])
def test_no_pass_over_A_is_made_to_look_at_it_first(name, monkeypatch):
    problem = NOT_FINITE[name](UPPER + UPPER.T)
    if name == "at once":  # all of a smaller one are the few rows that are looked at
        problem = nla.LinearSystem((UPPER + UPPER.T)[:100, :100], np.ones(100))
    read = []
    norm = prepare.norms.norm
    for module in (prepare.norms, structure, attempts):
        monkeypatch.setattr(module, "norm", lambda x: read.append(x.shape) or norm(x))
    assert nla.solve(problem, nla.Budget(accuracy=1e-8), rng=0).status == "certified"
    assert problem.shape not in read
