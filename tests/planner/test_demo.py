"""The demo from end to end on small problems."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

import autonla
from autonla import profiles
from autonla.planner.demo import problems, report, run, run_demo, yardsticks
from autonla.planner.demo.picture import Point, frontier, layout, points


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    text = io.StringIO()
    outcomes = run_demo(folder / "new" / "folder", quick=True, out=Console(file=text, width=100))
    return outcomes, text.getvalue(), folder / "new" / "folder" / "frontier.png"


@pytest.mark.slow
def test_every_problem_is_solved_and_certified(demo):
    outcomes, _, _ = demo
    assert len(outcomes) == len(list(problems.entries(problems.Sizes.quick()))) >= 7
    for outcome in outcomes:
        certificate = outcome.certificate
        assert outcome.status == "certified", outcome.title
        assert certificate.satisfied, outcome.title
        # the certificate covers what an independent yardstick measures, up to the yardstick's own rounding: where A is
        # rank-deficient its float64 basis of the range errs by u times the condition of what is kept, 1e-11 to 5e-11
        # with one BLAS or another
        rounding = 1e-15 if certificate.numerical_rank is None else 1e-10
        assert outcome.error <= 1.01 * certificate.bound + rounding, outcome.title


@pytest.mark.slow
def test_output_names_every_problem_and_its_numbers(demo):
    outcomes, text, _ = demo
    flat = " ".join(text.split())
    for outcome in outcomes:
        assert " ".join(outcome.title.split()) in flat
        for timing in outcome.today:
            assert timing.label in text
            assert math.isfinite(timing.error)
    for word in ("probes", "chosen", "because", "forecast", "measured", "certificate", "today", "summary"):
        assert word in text


@pytest.mark.slow
def test_picture_is_a_png_of_two_frontiers(demo):
    outcomes, text, picture = demo
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "frontier.png" in text
    raced = [o for o in outcomes if o.raced is not None]
    assert len(raced) >= 2
    for outcome in raced:
        shown = points(outcome.raced)
        assert [p.chosen for p in shown].count(True) == 1
        priced = {c.label for c in outcome.raced.plan.candidates if c.forecast is not None}
        assert {p.label for p in shown} <= priced
        assert len(shown) >= 3


def test_quick_problems_agree_with_their_recipes():
    sizes = problems.Sizes.quick()
    built = {entry.title: entry.build() for entry in problems.entries(sizes)}
    assert len(built) >= 7
    for case in built.values():
        for today in case.today:
            asked = case.budget.accuracy or 0.0
            assert case.error(today.value(today.call())) <= max(1e-3, asked), (case.title, today.label)
    tall = built["regression to 1e-8"].problem.A
    assert np.linalg.cond(tall) == pytest.approx(1e4, rel=1e-6)
    hard = built["hard system"].problem.A
    assert np.linalg.cond(hard) == pytest.approx(1e12, rel=1e-2)


def small_case(budget):
    rng = np.random.default_rng(4)
    A, b = rng.standard_normal((20, 3)), rng.standard_normal(20)
    today = problems.Today("numpy.linalg.lstsq", lambda: np.linalg.lstsq(A, b)[0])
    error = yardsticks.prediction_error(A, b, np.linalg.qr(A)[0])
    return problems.Case("tiny", "made here", autonla.LeastSquares(A, b), budget, error, (today,))


def test_a_refusal_is_reported_and_the_demo_goes_on(tmp_path, monkeypatch):
    cases = [
        problems.Entry("refused", lambda: small_case(autonla.Budget(memory="1 B"))),
        problems.Entry("solved", lambda: small_case(autonla.Budget(accuracy=1e-10))),
    ]
    monkeypatch.setattr(run, "entries", lambda sizes: cases)
    text = io.StringIO()
    outcomes = run_demo(tmp_path, quick=True, out=Console(file=text, width=100))
    assert [o.name for o in outcomes] == ["solved"]
    assert "InfeasibleBudget" in text.getvalue()
    assert "1 of 1 answers certified, 1 not solved" in text.getvalue()
    assert not (tmp_path / "frontier.png").exists()  # nothing was raced


@pytest.mark.parametrize(("wanted", "complete", "times"), [(True, True, 1), (True, False, 1), (False, True, 0)])
def test_the_machine_is_measured_once_unless_told_otherwise(tmp_path, monkeypatch, wanted, complete, times):
    measured = []

    def measure(out, rigor):
        measured.append(rigor)
        update = {"rigor": rigor, "fingerprint": profiles.fingerprint(), "complete": complete}
        return profiles.generic().model_copy(update=update)

    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(run, "entries", lambda sizes: [])
    for _ in range(2):
        run_demo(tmp_path, measure_profile=wanted, out=Console(file=io.StringIO()))
    assert measured == ["quick"] * times
    assert profiles.profile_path().exists() == wanted


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(autonla.AutonlaError, match="--output"):
        run_demo(tmp_path / "file", quick=True, out=Console(file=io.StringIO()))


def test_yardsticks_see_errors():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((30, 4)), rng.standard_normal(30)
    x = np.linalg.lstsq(A, b)[0]
    error = yardsticks.prediction_error(A, b, np.linalg.qr(A)[0])
    assert error(x) < 1e-14
    step = 1e-3 * rng.standard_normal(4)
    assert error(x + step) == pytest.approx(np.linalg.norm(A @ step) / np.linalg.norm(b), rel=1e-9)

    S = rng.standard_normal((6, 6))
    y = np.ones(6)
    wrong = yardsticks.backward_error(S, S @ y)(1.01 * y)
    assert 1e-4 < wrong < 1e-2
    U, s, Vh = np.linalg.svd(S)
    cut = (U[:, :2], s[:2], Vh[:2])
    assert yardsticks.relative_frobenius(S)(cut) == pytest.approx(yardsticks.best_error(s, 2))
    assert yardsticks.relative_frobenius(S, yardsticks.best_error(s, 2))(cut) < 1e-12
    assert len(yardsticks.truncated((U, s, Vh), yardsticks.best_error(s, 3) * 1.0001)[1]) == 3


def test_verdicts_are_honest():
    assert report.compare(2.0, 1.0)[0] == "2.0x faster"
    assert report.compare(1.0, 3.0)[0] == "3.0x slower"
    assert report.compare(1.0, 1.05)[0] == "as fast"


def test_frontier_keeps_what_nothing_beats():
    def point(seconds, error, state="measured"):
        return Point("x", "x", seconds, error, state, False)

    found = [point(1.0, 1e-3), point(2.0, 1e-2), point(3.0, 1e-6), point(0.5, 1e-9, "infeasible"), point(1.0, 1e-4)]
    assert [(p.seconds, p.error) for p in frontier(found)] == [(1.0, 1e-4), (3.0, 1e-6)]


def test_labels_of_crowded_points_do_not_cover_each_other():
    anchors = [(100.0 + 0.5 * i, 100.0) for i in range(12)]
    sizes = [(8.0, 10.0)] * 10 + [(13.0, 10.0)] * 2
    centres = layout(anchors, sizes, (0.0, 0.0, 200.0, 200.0))
    for i, ((x, y), (width, height)) in enumerate(zip(centres, sizes, strict=True)):
        assert width / 2 <= x <= 200.0 - width / 2
        for (u, v), (other_width, other_height) in zip(centres[:i], sizes, strict=False):
            assert abs(x - u) >= (width + other_width) / 2 or abs(y - v) >= (height + other_height) / 2


def test_labels_stay_inside_the_frame():
    centres = layout([(1.0, 1.0), (99.0, 49.0)], [(60.0, 10.0)] * 2, (0.0, 0.0, 100.0, 50.0))
    for x, y in centres:
        assert 30.0 <= x <= 70.0
        assert 5.0 <= y <= 45.0
