"""The command line on tiny files: what it prints, writes and refuses."""

from __future__ import annotations

import json
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from typer.testing import CliRunner

import autonla
from autonla import profiles
from autonla.planner import cli
from autonla.profiles import records
from tests.primitives.test_incomplete_cholesky import laplacian

RNG = np.random.default_rng(5)
SQUARE = RNG.standard_normal((12, 12)) + 6.0 * np.eye(12)
TALL = RNG.standard_normal((40, 5))


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def refused(result) -> str:
    """The one line of an error: exit status 2, no traceback."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture
def system(tmp_path):
    x = np.arange(12.0)
    np.savez(tmp_path / "system.npz", A=SQUARE, b=SQUARE @ x)
    return tmp_path / "system.npz", x


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"autonla {autonla.__version__}"


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for command in ("profile", "plan", "solve", "demo"):
        assert command in result.stdout


def test_solve_writes_the_answer(system, tmp_path):
    file, x = system
    result = run("solve", file, "--accuracy", "1e-12", "--output", tmp_path / "x.npy", "--seed", 1)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), x, atol=1e-10)
    assert "certified: backward_error" in result.stdout
    assert "stated as linear_system (12x12)" in result.stderr
    assert "written to" in result.stdout


def test_solve_json_is_json_alone(system):
    result = run("solve", system[0], "--json")
    summary = json.loads(result.stdout)
    assert summary["status"] == "certified"
    assert summary["certificate"]["satisfied"] is True
    assert summary["record"]["seconds"]["total"] >= 0.0
    assert result.stderr == ""


def test_solve_explains(system):
    result = run("solve", system[0], "--explain")
    assert result.exit_code == 0
    assert "certified" in result.stdout
    assert len(result.stdout.splitlines()) > 5


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npy"])
def test_least_squares_with_a_right_hand_side_file(tmp_path, suffix):
    x = np.linspace(-1.0, 1.0, 5)
    np.save(tmp_path / "b.npy", TALL @ x)
    file = tmp_path / f"A{suffix}"
    if suffix == ".npy":
        np.save(file, TALL)
    else:
        scipy.io.mmwrite(tmp_path / "A.mtx", TALL)
        if suffix == ".mtx.gz":
            import gzip

            file.write_bytes(gzip.compress((tmp_path / "A.mtx").read_bytes()))
    result = run("solve", file, "--rhs", tmp_path / "b.npy", "--output", tmp_path / "x.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "x.npz") as back:
        np.testing.assert_allclose(back["x"], x, atol=1e-10)
    assert "stated as least_squares (40x5)" in result.stderr


def test_ridge_is_used(tmp_path):
    b = RNG.standard_normal(40)
    np.savez(tmp_path / "p.npz", A=TALL, b=b)
    run("solve", tmp_path / "p.npz", "--ridge", 2.5, "--output", tmp_path / "x.npy")
    expected = np.linalg.solve(TALL.T @ TALL + 2.5 * np.eye(5), TALL.T @ b)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-10)


def test_low_rank_writes_factors(tmp_path):
    A = np.outer(np.arange(1.0, 9.0), np.ones(6)) + 1e-3 * RNG.standard_normal((8, 6))
    np.save(tmp_path / "A.npy", A)
    result = run("solve", tmp_path / "A.npy", "--rank", 1, "--accuracy", 0.1, "--output", tmp_path / "f.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "f.npz") as f:
        best = np.linalg.norm(np.linalg.svd(A, compute_uv=False)[1:])
        assert np.linalg.norm(A - f["U"] * f["s"] @ f["Vh"]) <= 1.1 * best


@pytest.fixture
def sparse(tmp_path):
    """A symmetric positive definite matrix of order 300 in a file, sparse, with a right-hand side beside it."""
    A = laplacian(20, 15)
    scipy.io.mmwrite(tmp_path / "S.mtx", A)
    np.save(tmp_path / "S_b.npy", np.ones(300))
    return tmp_path / "S.mtx", A


def test_a_sparse_linear_system_stays_sparse(sparse, tmp_path):
    file, A = sparse
    result = run("solve", file, "--assume", "spd", "--output", tmp_path / "x.npy", "--explain")
    assert result.exit_code == 0, result.output
    assert "(sparse with 1430 entries)" in result.stdout
    assert "made dense" not in result.stderr
    assert "S_b.npy, beside the matrix" in result.stderr
    np.testing.assert_allclose(A @ np.load(tmp_path / "x.npy"), 1.0, atol=1e-9)


@pytest.mark.parametrize("options", [("--dense",), ("--kind", "least_squares"), ("--rank", 3)])
def test_a_sparse_file_is_made_dense_with_a_word_where_it_has_to_be(sparse, options):
    result = run("solve", sparse[0], *options)
    assert result.exit_code == 0, result.output
    assert "made dense" in result.stderr


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "SM"])
@pytest.mark.parametrize("suffix", [".mtx", ".npz", ".npy"])
def test_eigenpairs_are_written_by_name(sparse, tmp_path, suffix, which):
    file, A = sparse
    if suffix == ".npz":
        file = tmp_path / "A.npz"
        scipy.sparse.save_npz(file, A)
    elif suffix == ".npy":
        file = tmp_path / "A.npy"
        np.save(file, A.toarray())
    how = ("--kind", "eigenpairs", "--count", 3, "--which", which, "--accuracy", 1e-9)
    result = run("solve", file, *how, "--output", tmp_path / "pairs.npz", "--seed", 0)
    assert result.exit_code == 0, result.output
    assert "certified: residual" in result.stdout
    assert "w 3, V 300x3" in result.stdout
    assert "made dense" not in result.stderr
    truth = np.linalg.eigvalsh(A.toarray())
    with np.load(tmp_path / "pairs.npz") as pairs:
        np.testing.assert_allclose(pairs["w"], truth[::-1][:3] if which[0] == "L" else truth[:3], atol=1e-7)
        np.testing.assert_allclose(A @ pairs["V"], pairs["V"] * pairs["w"], atol=1e-7)


def test_a_count_states_eigenpairs_and_a_plan_says_how(sparse):
    result = run("plan", sparse[0], "--count", 2, "--assume", "spd")
    assert result.exit_code == 0, result.output
    assert "stated as eigenpairs (300x300)" in result.stderr
    assert "2 eigenpairs (largest) of 300 x 300" in result.stdout
    assert "sparse with 1430 entries" in result.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--kind", "eigenpairs"), "--count K"),
        (("--which", "SA"), "--count K"),
        (("--count", 0), "k = 0"),
        (("--count", 301), "k = 301"),
        (("--count", 2, "--which", "BE"), "which = 'BE'"),
        (("--count", 2, "--assume", "round"), "assume = 'round'"),
        (("--count", 2, "--rank", 2), "--rank belongs to --kind low_rank, this is --kind eigenpairs"),
        (("--count", 2, "--ridge", 1.0), "--ridge belongs to --kind least_squares"),
        (
            ("--kind", "linear_system", "--count", 2),
            "--count belongs to --kind eigenpairs, this is --kind linear_system",
        ),
        (("--kind", "low_rank", "--which", "SA"), "--which belongs to --kind eigenpairs"),
        (("--kind", "low_rank", "--assume", "spd"), "--assume belongs to --kind linear_system or eigenpairs"),
        (("--count", 2, "--output", "pairs.npy"), "a set of eigenpairs is written to .npz"),
    ],
)
def test_options_of_eigenpairs_that_make_no_sense(sparse, options, expected):
    assert expected in refused(run("solve", sparse[0], *options))


def test_a_right_hand_side_has_no_place_among_eigenpairs(sparse, tmp_path):
    result = run("solve", sparse[0], "--count", 2, "--rhs", tmp_path / "S_b.npy")
    assert "--rhs belongs to --kind linear_system or least_squares" in refused(result)


def test_a_matrix_that_is_not_symmetric_has_no_eigenpairs_here(tmp_path):
    scipy.sparse.save_npz(tmp_path / "N.npz", scipy.sparse.csr_array(SQUARE))
    assert "not symmetric" in refused(run("solve", tmp_path / "N.npz", "--count", 2))


def test_plan_runs_nothing_and_round_trips(system):
    result = run("plan", system[0], "--accuracy", "1e-10", "--json", "--seed", 0)
    assert result.exit_code == 0, result.output
    back = autonla.Plan.from_json(result.stdout)
    assert back.budget.accuracy == 1e-10
    text = run("plan", system[0], "--accuracy", "1e-10").stdout
    assert back.chosen.label in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.npy"], "no such file"),
        (["A.npy"], "--rhs FILE"),
        (["A.npy", "--kind", "least_squares"], "--rhs FILE"),
        (["A.npy", "--kind", "linear_system", "--rhs", "b.npy"], "must be square"),
        (["A.npy", "--rhs", "short.npy"], "b has 3 rows and A has 40"),
        (["A.npy", "--kind", "cholesky"], "not one of linear_system"),
        (["A.npy", "--rank", "3", "--ridge", "1"], "--ridge belongs to --kind least_squares"),
        (["A.npy", "--rank", "99"], "rank = 99 must be an integer from 1 to 5"),
        (["A.npy", "--rhs", "b.npy", "--latency", "2 parsecs"], "not a quantity of latency"),
        (["A.npy", "--rhs", "b.npy", "--accuracy", "2"], "must be a relative error"),
        (["nan.npy", "--rhs", "b.npy"], "not finite"),
        (["several.npz"], "several arrays"),
        (["complex.npy", "--rank", "2"], "complex problems are not supported yet"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "solve"])
def test_one_red_line(tmp_path, command, arguments, says):
    np.save(tmp_path / "A.npy", TALL)
    np.save(tmp_path / "b.npy", np.ones(40))
    np.save(tmp_path / "short.npy", np.ones(3))
    np.save(tmp_path / "nan.npy", np.where(np.eye(40, 5) > 0, np.nan, TALL))
    np.save(tmp_path / "complex.npy", TALL + 1j)
    np.savez(tmp_path / "several.npz", X=TALL, Y=TALL)
    paths = [tmp_path / a if a.endswith((".npy", ".npz")) else a for a in arguments]
    assert says in refused(run(command, *paths))


def test_infeasible_budget_shows_the_nearest_points(system):
    result = run("plan", system[0], "--memory", "8 B")
    assert "memory" in refused(result)
    assert "nearest: " in result.stderr


def test_output_is_checked_before_solving(tmp_path, monkeypatch):
    np.savez(tmp_path / "p.npz", A=SQUARE, b=np.ones(12))
    monkeypatch.setattr("autonla.planner.solve", lambda *a, **k: pytest.fail("solved before the check"))
    assert ".npy or .npz" in refused(run("solve", tmp_path / "p.npz", "--output", tmp_path / "x.txt"))


def test_usage_errors_exit_with_two():
    assert run("solve").exit_code == 2
    assert run("solve", "--no-such-option").exit_code == 2
    assert run("profile", "--rigor", "sloppy").exit_code == 2


def test_profile_is_measured_saved_and_shown(tmp_path, monkeypatch):
    """With the shipped profile in the place of the measurement, which takes a minute."""

    def measured(rigor, *, progress):
        progress(0.5, "scipy gemm float64")
        return profiles.generic().model_copy(update={"rigor": rigor, "fingerprint": profiles.fingerprint()})

    monkeypatch.setattr("autonla.cost_models.measure.measure_profile", measured)
    monkeypatch.setattr("autonla.planner.calibrate.calibrated", lambda profile, *, progress: profile)
    result = run("profile", "--output", tmp_path / "mine.json")
    assert result.exit_code == 0, result.output
    assert "gemm" in result.stdout
    assert "mine.json" in result.stdout
    assert profiles.load(tmp_path / "mine.json").rigor == "quick"
    assert not profiles.profile_path().exists()
    assert run("profile").exit_code == 0
    assert profiles.find().source == "user"


def test_running_the_package_is_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["autonla", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("autonla", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"autonla {autonla.__version__}"
    runpy.run_module("autonla.__main__", run_name="imported")  # does nothing
    assert capsys.readouterr().out == ""


def test_too_little_memory_is_one_line(system, monkeypatch):
    def fails(*arguments, **how):
        raise MemoryError

    monkeypatch.setattr("autonla.planner.solve", fails)
    assert refused(run("solve", system[0])) == "error: not enough memory; try a smaller --memory"


def test_what_a_planned_solve_took_is_said_with_its_memory(system):
    result = run("solve", system[0], "--memory", "1 GiB", "--accuracy", "1e-10", "--seed", 0)
    assert result.exit_code == 0, result.output
    (spent,) = [line for line in result.stdout.splitlines() if line.startswith("spent:")]
    assert " of memory, " in spent
    (spent,) = [line for line in run("solve", system[0]).stdout.splitlines() if line.startswith("spent:")]
    assert "memory" not in spent, "short runs are not metered"


def test_records_are_forgotten_on_request():
    assert run("profile", "--forget").stdout.strip() == "there are no records"
    path = records.records_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    assert run("profile", "--forget").stdout.strip() == f"deleted {path}"
    assert not path.exists()
    assert not profiles.profile_path().exists(), "nothing was measured"


def test_what_is_wrong_with_a_measured_profile_is_said(tmp_path, monkeypatch):
    generic = profiles.generic()
    first, *others = generic.kernels
    off = first.model_copy(update={"enabled": False, "reason": "its results are wrong"})
    plain = dict(generic) | {"corrections": {}, "notes": ()}
    found = {
        "kernels": (off, *others), "complete": False, "notes": ("a note of the measurement",),
        "corrections": {"lu": profiles.Correction(log_bias=0.1, log_sigma=0.1, count=9)},
    }  # fmt: skip
    for profile, said in (
        (profiles.HardwareProfile(**plain | found), True),
        (profiles.HardwareProfile(**plain), False),
    ):
        monkeypatch.setattr(cli, "measure", lambda out, rigor, profile=profile: profile)
        result = run("profile", "--output", tmp_path / "mine.json")
        assert result.exit_code == 0, result.output
        for text in (
            f"not used: {off.backend} {off.kernel} {off.dtype}: its results are wrong",
            "the time limit cut the measurement",
            "correct the forecasts of 1 algorithms",
            "a note of the measurement",
        ):
            assert (text in result.stdout) == said, text


@pytest.mark.parametrize(
    ("arguments", "quick", "measures"),
    [((), False, True), (("--quick",), True, True), (("--no-profile",), False, False)],
)
def test_the_demo_is_run_as_it_was_asked_for(monkeypatch, tmp_path, arguments, quick, measures):
    asked = []
    monkeypatch.setattr("autonla.planner.demo.run_demo", lambda *a, **how: asked.append((a, how)))
    result = run("demo", "--output", tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert asked == [((tmp_path,), {"quick": quick, "measure_profile": measures})]


@pytest.mark.parametrize(("misses", "code"), [((), 0), (("one",), 1)])
def test_small_problems_are_judged_without_records_and_a_miss_is_a_failure(monkeypatch, misses, code):
    seen = []

    def judged(out, count):
        seen.append((count, records.recording()))
        return SimpleNamespace(misses=misses)

    monkeypatch.setattr("autonla.planner.bench.run_small", judged)
    assert records.recording()
    assert run("bench", "--small", 7).exit_code == code
    assert seen == [(7, False)]
    assert records.recording()


@pytest.mark.parametrize(
    "other",
    [("--daily",), ("--only", "x"), ("--ablations",), ("--stability", 2), ("--from", "f"), ("--output", "f"),
     ("--pictures", "f")],
)  # fmt: skip
def test_small_problems_stand_alone(monkeypatch, other):
    monkeypatch.setattr("autonla.planner.bench.run_small", lambda *a: pytest.fail("it was run"))
    result = run("bench", "--small", 7, *other)
    assert result.exit_code == 2
    assert "stands alone" in result.stderr


@pytest.mark.parametrize("other", [("--small", 7), ("--from", "f"), ()])
def test_profiles_of_a_benchmark_belong_to_its_stability(monkeypatch, other):
    for name in ("run_small", "run_suite", "read"):
        monkeypatch.setattr(f"autonla.planner.bench.{name}", lambda *a, **k: pytest.fail("it was run"))
    result = run("bench", *other, "--profile", "p.json")
    assert result.exit_code == 2
    assert "belongs to --stability N" in result.stderr
