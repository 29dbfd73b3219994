"""The demo from end to end on small problems."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

import autonla
from autonla import profiles
from autonla.planner.demo import picture, problems, report, run, run_demo, yardsticks
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
    assert np.linalg.cond(tall) == pytest.approx(1e4, rel=1e-6, abs=0.0)
    hard = built["hard system"].problem.A
    assert np.linalg.cond(hard) == pytest.approx(1e12, rel=1e-2, abs=0.0)


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
    assert error(x + step) == pytest.approx(np.linalg.norm(A @ step) / np.linalg.norm(b), rel=1e-9, abs=0.0)

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


@pytest.mark.parametrize(("load", "said"), [(0.1, False), (2.9, False), (3.1, True)])
def test_a_busy_machine_is_said(monkeypatch, load, said):
    monkeypatch.setattr(report.psutil, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(report.psutil, "cpu_count", lambda: 4)
    text = io.StringIO()
    report.busy(Console(file=text, width=200))
    expected = "The machine is busy (load 3.1 on 4 cores): times and comparisons of speed will be off.\n"
    assert text.getvalue() == (expected if said else "")


def raced(*rows, chosen: str = "a") -> SimpleNamespace:
    """A race of candidates: (label, forecast seconds and error or None, measured seconds and error or None)."""
    candidates = tuple(
        SimpleNamespace(
            label=label, algorithm=label,
            forecast=None if forecast is None else SimpleNamespace(
                seconds=SimpleNamespace(median=forecast[0]), error=SimpleNamespace(median=forecast[1])
            ),
        )
        for label, forecast, _ in rows
    )  # fmt: skip
    measured = tuple(
        SimpleNamespace(label=label, seconds=found[0], error=found[1], certified=found[1] < 1e-3)
        for label, _, found in rows
        if found is not None
    )
    plan = SimpleNamespace(candidates=candidates, chosen=SimpleNamespace(label=chosen))
    return SimpleNamespace(rows=measured, plan=plan)


def test_what_has_no_place_in_a_picture_is_left_out():
    found = points(
        raced(
            ("a", (1.0, 1e-9), (0.5, 0.0)),
            ("b", (1.0, 1e-9), (0.2, 0.1)),
            ("c", (2.0, 1e-9), None),
            ("endless", (math.inf, 1e-9), None),
            ("unknown", (1.0, math.inf), None),
            ("unpriced", None, None),
            ("unbounded", (1.0, 1e-9), (0.1, math.inf)),
        )
    )
    assert [(p.label, p.seconds, p.error, p.state, p.chosen) for p in found] == [
        ("b", 0.2, 0.1, "missed", False),
        ("a", 0.5, 1e-17, "measured", True),
        ("c", 2.0, 1e-9, "infeasible", False),
    ]


@pytest.mark.parametrize(("accuracy", "latency"), [(1e-6, None), (None, 0.7), (1e-6, 0.7)])
def test_the_lines_of_a_panel_are_what_the_budget_asks_for(accuracy, latency):
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    outcome: Any = SimpleNamespace(budget=autonla.Budget(accuracy, latency=latency), today=(), title="of nothing")
    found = points(raced(("a", (1.0, 1e-9), (0.5, 1e-8)), ("b", (1.0, 1e-9), (0.2, 1e-4))))
    picture._panel(axes, outcome, found, picture._colours(found))
    dashed = [np.asarray(line.get_ydata())[0] for line in axes.lines if line.get_linestyle() == "--"]
    dotted = [np.asarray(line.get_xdata())[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dashed == [accuracy] * (accuracy is not None)
    assert dotted == [latency] * (latency is not None)


@pytest.mark.parametrize(("ours", "theirs", "runs"), [(0.2, 0.2, (3, 3)), (9.0, 0.2, (1, 3)), (0.2, 9.0, (3, 1))])
def test_a_slow_call_is_timed_once_and_the_others_as_often_as_ever(monkeypatch, ours, theirs, runs):
    calls = {"ours": 0, "theirs": 0}

    def today() -> str:
        calls["theirs"] += 1
        return "theirs"

    def solve(*arguments, **how) -> str:
        calls["ours"] += 1
        return "ours"

    def timed(call):
        result = call()
        return {"ours": ours, "theirs": theirs}[result], result

    monkeypatch.setattr(run, "solve", solve)
    monkeypatch.setattr(run, "_timed", timed)
    case = replace(small_case(autonla.Budget()), today=(problems.Today("today", today),))
    found, said = [[theirs]], []
    kept = run._interleaved(case, [(ours, "warm")], found, None, said.append)  # type: ignore[list-item]
    assert (len(kept), len(found[0])) == runs
    assert kept[0] == (ours, "ours"), "the first run warmed up and does not count"
    assert calls == {"ours": runs[0], "theirs": runs[1]}
    assert said == ["run 1 of 3", "run 2 of 3", "run 3 of 3"]
