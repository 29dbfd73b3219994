"""The instrument: its arithmetic on made-up rows, its instances, and one small problem measured for real."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from autonla.planner.bench import Row, measure, measuring, metrics, read, run_suite, suite, summarize, write
from autonla.planner.bench.spectra import SPECTRA, with_singular_values
from autonla.planner.cli import app
from autonla.primitives.algorithm import Breakdown
from autonla.profiles.errors import AutonlaError, BudgetExceeded
from tests._support.bench_rows import row, tiny


def test_every_number_of_a_summary_by_hand():
    rows = [
        row(1.0, 2.0),
        row(4.0, 2.0, candidates={"a": None, "b": 2.0}, stages={"probe": 1.0, "plan": 0.2, "run": 2.0, "certify": 0.4}),
    ]
    found = summarize(rows)
    assert (found.count, found.refused, found.best_effort, found.misses) == (2, 0, 0, 0)
    assert found.regret_mean == pytest.approx(math.sqrt(1.25 * 2.0))
    assert (found.regret_p95, found.regret_max) == (2.0, 2.0)
    assert found.harmed == 0.5
    assert found.harm_max == 2.0
    assert found.harmed_at_best == 0.0
    slow = row(4.0, 2.0, candidates={"a": 3.0, "b": 2.5})
    assert summarize([rows[0], slow]).harmed_at_best == 0.5  # whatever is chosen
    assert found.speedup == pytest.approx(1.0)
    assert found.overhead_median == pytest.approx(0.1)
    assert found.overhead_p95 == pytest.approx(0.3)
    assert found.certify_median == pytest.approx(0.1)
    assert found.certify_p95 == pytest.approx(0.3)
    assert found.q_median == pytest.approx(1.0 / 0.9)
    assert found.q_p95 == pytest.approx(2.4)
    assert found.coverage == 0.5
    assert found.memory_under == 0.0
    # The single best is b: 1.6 and 2.0 (a fails on the second, where the default takes 2.0: 0.8 and 2.0 is better).
    assert metrics.single_best(rows) == ("a", [0.8, 2.0])
    assert math.isnan(found.gap_closed)  # a with the default where it fails is the virtual best


def test_the_gap_closed_is_one_at_the_virtual_best_and_zero_at_the_single_best():
    fast = {"a": 1.0, "b": 4.0}, {"a": 4.0, "b": 1.0}, {"a": 1.0, "b": 9.0}

    def rows(*seconds: float) -> list[Row]:
        return [row(s, 10.0, candidates=c) for s, c in zip(seconds, fast, strict=True)]

    assert metrics.gap_closed(rows(1.0, 1.0, 1.0)) == pytest.approx(1.0)
    assert metrics.gap_closed(rows(1.0, 4.0, 1.0)) == pytest.approx(0.0)
    assert metrics.gap_closed(rows(1.0, 2.0, 1.0)) == pytest.approx(0.5)
    assert metrics.gap_closed(rows(4.0, 4.0, 4.0)) < 0.0


def test_families_have_single_bests_of_their_own():
    rows = [
        row(1.0, 10.0, "low_rank", candidates={"a": 1.0, "b": 2.0}),
        row(1.0, 10.0, "linear_system", candidates={"a": 2.0, "b": 1.0}),
    ]
    assert math.isnan(metrics.gap_closed(rows))  # in each family the single best is the virtual best
    assert metrics.gap_closed([replace(r, family="one") for r in rows]) == pytest.approx(1.0)


def test_what_a_row_does_not_know_does_not_count():
    """A refusal, the fast path (no forecast) and a second attempt (whose time is not what was forecast)."""
    refused = row(status="refused", candidates={}, stages={}, forecast=None)
    fast = row(forecast=None, candidates={}, peak_bytes=None)
    twice = row(attempts=2)
    found = summarize([refused, fast, twice])
    assert (found.count, found.refused) == (3, 1)
    assert math.isnan(found.q_median)
    assert math.isnan(found.coverage)
    assert found.regret_max == pytest.approx(1.25)
    assert summarize([refused]).to_dict()["regret_mean"] is None


def test_a_bound_above_the_target_that_is_called_certified_is_a_miss():
    assert summarize([row(bound=2e-8), row(bound=math.nan), row(bound=2e-8, status="best_effort"), row()]).misses == 2


def test_memory_beside_its_forecast():
    rows = [row(peak_bytes=130.0, likely_bytes=65.0), row(peak_bytes=125.0, likely_bytes=100.0), row()]
    found = summarize(rows)
    assert found.memory_under == pytest.approx(1 / 3)
    assert (found.memory_q_median, found.memory_q_p95) == (1.25, 2.0)
    assert summarize([row(peak_bytes=50.0, likely_bytes=100.0)]).memory_q_p95 == 2.0
    assert math.isnan(summarize([row(), row(peak_bytes=1.0, likely_bytes=9.0, attempts=2)]).memory_q_p95)


def test_what_cannot_be_compared_is_not():
    """Without an accuracy the fastest is not the best; a limit of memory or energy is none of the safe default's."""
    free, limited = row(6.0, 2.0, target=0.0), row(6.0, 2.0, memory=9.0)
    assert free.best is None
    assert limited.best == 0.8
    for other in (free, limited, row(6.0, 2.0, energy=9.0)):
        assert summarize([row(1.0, 2.0), other]).harm_max == 0.5
    assert summarize([row(1.0, 2.0), row(6.0, 2.0, latency=9.0)]).harm_max == 3.0
    assert math.isnan(summarize([free]).harm_max)
    assert math.isnan(summarize([free]).regret_max)


def test_budgets_that_were_exceeded_are_counted_by_kind():
    """The slowest run counts, with five per cent of tolerance; memory and energy have none."""
    rows = [
        row(1.0, latency=1.0, slowest=1.06),
        row(1.0, latency=1.0, slowest=1.04),
        row(1.2, latency=1.0),
        row(peak_bytes=100.0, memory=100.0),
        row(peak_bytes=101.0, memory=100.0),
        row(peak_bytes=None, memory=100.0),
        row(joules=2.0, energy=1.0),
        row(joules=1.0, energy=1.0),
        row(joules=5.0),
        row(9.0, status="refused", candidates={}, stages={}, forecast=None, latency=1.0),
    ]
    found = summarize(rows)
    assert (found.late, found.over_memory, found.over_energy) == (2, 1, 1)


def test_certificates_are_judged_by_true_errors():
    rows = [
        row(bound=4e-9, true_error=1e-9),
        row(bound=1e-9, true_error=2e-9),  # below the target, above its bound
        row(bound=1e-9, true_error=2e-8),  # above both, and called certified
        row(bound=3e-8, true_error=2e-8, status="best_effort"),
        row(bound=1e-9, true_error=0.0),
        row(bound=5e-9, true_error=1e-9, target=0.0),  # no accuracy was asked for
        row(bound=1e-9, true_error=1.5e-8, true_error_off=1.45e-8),  # nobody can say that it is
        row(),
    ]
    found = summarize(rows)
    assert (found.errors_known, found.false_accepts, found.false_bounds) == (7, 1, 2)
    assert found.effectivity_median == pytest.approx(0.5)  # of 0.05, 0.07, 0.5, 1.5, 4 and 5
    assert found.effectivity_p95 == pytest.approx(5.0)
    nobody = summarize([row()])
    assert (nobody.errors_known, nobody.false_accepts) == (0, 0)
    assert math.isnan(nobody.effectivity_p95)
    assert summarize([row(true_error=math.nan)]).false_accepts == 1  # nothing is as good as a number that is none


@pytest.mark.parametrize(("values", "q", "expected"), [([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.95, 1.0)])
def test_percentiles(values, q, expected):
    assert metrics.percentile(values, q) == expected
    assert metrics.percentile(list(np.arange(1.0, 101.0)), 0.95) == 95.0
    assert math.isnan(metrics.percentile([], q))


def test_the_suite_is_large_and_its_daily_part_touches_everything():
    instances = suite()
    assert len(instances) >= 120
    assert len({instance.name for instance in instances}) == len(instances)
    daily = [instance for instance in instances if instance.daily]
    assert 12 <= len(daily) <= 36
    assert {i.family for i in daily} == {i.family for i in instances} == {
        "least_squares", "linear_system", "low_rank", "sparse_linear_system", "eigenpairs",
    }  # fmt: skip
    assert {i.tags.get("spectrum") for i in instances} >= set(SPECTRA)
    conditions = {i.tags["condition"] for i in instances if i.tags.get("condition")}
    assert min(conditions) <= 10.0
    assert max(conditions) >= 1e12
    shapes = {np.sign(i.tags["m"] - i.tags["n"]) for i in instances if "m" in i.tags and i.family != "linear_system"}
    assert shapes == {-1, 0, 1}


def test_an_instance_is_the_same_problem_every_time():
    small = [i for i in suite() if i.tags.get("m", 10**9) <= 1000 and i.tags.get("n", 10**9) <= 100]
    assert small
    for instance in small:
        first, second = instance.problem(), instance.problem()
        np.testing.assert_array_equal(first.A, second.A)  # type: ignore[attr-defined]
        assert first.shape == (instance.tags["m"], instance.tags["n"])


@pytest.mark.parametrize("name", list(SPECTRA))
def test_matrices_have_the_spectrum_they_are_named_after(name):
    s = SPECTRA[name](30, 1e4)
    assert (np.diff(s) <= 1e-12).all()
    if name != "flat":
        assert s[0] / s[-1] == pytest.approx(1e4, rel=0.01, abs=0.0)
    for shape in ((50, 30), (30, 40)):
        for coherent in (False, True):
            A = with_singular_values(*shape, SPECTRA[name](30, 1e4), np.random.default_rng(0), coherent)
            np.testing.assert_allclose(np.linalg.svd(A, compute_uv=False), s, atol=1e-12)


def test_coherent_rows_are_coherent():
    rng = np.random.default_rng(0)
    for coherent, low, high in ((False, 1.0, 4.0), (True, 15.0, 40.0)):
        U = np.linalg.svd(with_singular_values(1000, 40, np.ones(40), rng, coherent), full_matrices=False)[0]
        assert low < np.max(np.sum(U**2, axis=1)) * 1000 / 40 < high


def test_a_problem_is_measured_with_its_candidates(monkeypatch):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)
    found = measure(tiny(memory="1 GiB"), rounds=2)
    assert found.memory == 2.0**30
    assert (found.status, found.default) == ("certified", "numpy.linalg.lstsq")
    assert found.bound <= found.target == 1e-8
    assert found.forecast is not None
    assert found.forecast[1] <= found.forecast[0] <= found.forecast[2]
    assert len({c.label for c in found.candidates}) == len(found.candidates) >= 3
    assert found.chosen in {c.label for c in found.candidates}
    again = [c for c in found.candidates if c.again]
    assert [c.seconds for c in again] == [found.best]  # the fastest was timed once more when it was known
    assert found.fastest == again[0]
    assert sum(found.stages.values()) <= found.seconds * 1.5
    assert found.slowest is not None
    assert found.slowest >= found.seconds
    assert found.features == {
        "m": 900, "n": 200, "nrhs": 1, "rank": None, "ridge": 0.0, "center": False, "dtype": "float64",
        "library": "numpy", "nnz": 0, "which": "",
    }  # fmt: skip
    labels = {c.label for c in found.candidates}
    assert not labels & {c.label for c in found.unraced}
    assert all(c.seconds is None for c in found.unraced)
    assert Row.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_fast_path_makes_no_forecast(monkeypatch):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)
    found = measure(tiny(60, 5), rounds=1)
    assert found.status == "certified"
    assert found.forecast is None
    assert summarize([found]).count == 1


def test_a_refusal_is_a_row_too(monkeypatch):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)
    found = measure(tiny(accuracy=1e-30), rounds=1)
    assert found.status == "refused"
    assert "InfeasibleBudget" in found.note


def test_the_command_measures_reports_and_writes(monkeypatch, tmp_path):
    monkeypatch.setattr("autonla.planner.bench.measuring.PAUSE", 0.0)
    monkeypatch.setattr("autonla.planner.bench.report.suite", lambda: [tiny(), replace(tiny(60, 5), daily=True)])
    file = tmp_path / "deep" / "rows.json"
    result = CliRunner().invoke(app, ["bench", "--rounds", "1", "--output", str(file)])
    assert result.exit_code == 0, result.output
    for expected in ("[1/2] tiny 900x200", "[2/2] tiny 60x5", "regret mean", "<= 1.10", "harm max"):
        assert expected in result.output
    rows = read(file)
    assert [r.name for r in rows] == ["tiny 900x200 to 1e-08", "tiny 60x5 to 1e-08"]
    assert json.loads(file.read_text())["summary"] == summarize(rows).to_dict()
    write(file, rows)
    assert read(file) == rows
    daily = run_suite(Console(file=io.StringIO()), daily=True, rounds=1, race=False)
    assert [r.name for r in daily] == ["tiny 60x5 to 1e-08"]


def test_what_cannot_be_done_is_one_error(monkeypatch, tmp_path):
    with pytest.raises(AutonlaError, match="no instance"):
        run_suite(Console(file=io.StringIO()), only="no such thing")
    (tmp_path / "file").write_text("not JSON")
    with pytest.raises(AutonlaError, match="not the result of a benchmark"):
        read(tmp_path / "file")
    with pytest.raises(AutonlaError, match="--output"):
        write(tmp_path / "file" / "rows.json", [])


@pytest.fixture
def candidates_that(monkeypatch):
    """Plant what comes of each candidate of a race: seconds, None where it is not certified, or what it raises.

    Fates are given out in the order in which the candidates first run, the last one to all that are left; gives the
    runs of each label.
    """
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    monkeypatch.setattr(measuring, "is_short", lambda call: False)  # short calls are made four times

    def install(*fates: float | Exception | None) -> dict[str, int]:
        runs: dict[str, int] = {}

        def run(kind, prepared, entry, metric, accuracy, confidence, *, stop):
            label = entry.candidate.label
            runs[label] = runs.get(label, 0) + 1
            fate = fates[min(list(runs).index(label), len(fates) - 1)]
            if isinstance(fate, Exception):
                raise fate
            return None, SimpleNamespace(satisfied=fate is not None), fate or 1e-6, 0.0

        monkeypatch.setattr(measuring, "run_and_certify", run)
        return runs

    return install


@pytest.mark.parametrize("breaks", [Breakdown("a pivot is zero"), MemoryError()])
def test_what_fails_in_a_race_has_no_time_and_is_not_run_again(candidates_that, breaks):
    runs = candidates_that(breaks, None, 1e-4)
    found = measure(tiny(memory="1 GiB"), rounds=2)
    broke, refused, *others = found.candidates
    assert (broke.seconds, refused.seconds) == (None, None)
    assert (runs[broke.label], runs[refused.label]) == (1, 1)
    assert len(others) >= 1
    assert {c.seconds for c in others} == {1e-4}
    assert found.best == 1e-4


def test_what_is_far_from_the_fastest_is_not_timed_in_every_round(candidates_that):
    """Its first call may have compiled something, and is made again; then it is out of the race."""
    runs = candidates_that(1e-6, 1e3)
    found = measure(tiny(memory="1 GiB"), rounds=4)
    first, *others = found.candidates
    assert (first.seconds, first.again) == (1e-6, True)
    assert runs[first.label] == 4 + 4
    assert {runs[c.label] for c in others} == {2}
    assert {c.seconds for c in others} == {1e3}


def test_where_nothing_is_certified_there_is_no_best(candidates_that):
    candidates_that(None)
    found = measure(tiny(memory="1 GiB"), rounds=1)
    assert len(found.candidates) >= 3
    assert {c.seconds for c in found.candidates} == {None}
    assert (found.fastest, found.best) == (None, None)
    assert found.status == "certified", "what solve did is another matter"


def test_an_answer_that_came_late_is_measured_and_none_is_a_refusal(monkeypatch):
    monkeypatch.setattr(measuring, "PAUSE", 0.0)
    honest = measuring.solve

    def late(*arguments, **how):
        raise BudgetExceeded("too late", resource="latency", solution=honest(*arguments, **how))

    def out_of_memory(*arguments, **how):
        raise BudgetExceeded("memory ran out", resource="memory")

    monkeypatch.setattr(measuring, "solve", late)
    found = measure(tiny(60, 5), rounds=1, race=False)
    assert (found.status, found.note) == ("certified", "")
    assert found.bound <= found.target
    monkeypatch.setattr(measuring, "solve", out_of_memory)
    found = measure(tiny(60, 5), rounds=1, race=False)
    assert (found.status, found.note) == ("refused", "BudgetExceeded: memory ran out")
